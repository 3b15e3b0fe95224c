//! Behind `@netserv/measure`: to be told when flows have carried more than a limit.

use std::net::IpAddr;

use crate::base::filter::address_bits;
use crate::base::id::FlowId;
use crate::container::api::Answer;
use crate::container::api::block::{Block, Item};
use crate::container::api::effects::one_line;
use crate::container::api::watches::{Measure, Subject};
use crate::container::instance::Effect;
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

pub(crate) const BLOCK: Block = Block {
    name: "measure",
    summary: "To be told when a flow, a host, or all traffic that the module looks at crosses a limit.",
    about: "The node looks once per second, natively: no code of the module runs before a limit is crossed, also for flows \
            that it has given up with `pass_flow`. `limit` is one of `{ bytes = n }`, `{ packets = n }` (in all, ended \
            flows included from when the watch was set) and `{ bits_per_second = n }` (over the last second). `run` gets \
            the value. It is called when the limit is crossed, and again only after the value was below. An instance has \
            at most 256 watches, those of `@netserv/node` included.",
    types: "export type Limit = { bytes: number?, packets: number?, bits_per_second: number? }\n\
            export type Watch = { cancel: (self: Watch) -> () }",
    items: &[
        Item {
            name: "flow",
            luau: "(id: number, limit: Limit, run: (value: number) -> ()) -> Watch",
            about: "One flow: `packet.flow`, or `id` of a flow.",
        },
        Item {
            name: "host",
            luau: "(address: string, limit: Limit, run: (value: number) -> ()) -> Watch",
            about: "All flows from and to an address.",
        },
        Item {
            name: "total",
            luau: "(limit: Limit, run: (value: number) -> ()) -> Watch",
            about: "All flows that the module looks at.",
        },
        Item { name: "Watch.cancel", luau: "(self: Watch) -> ()", about: "Ends it." },
    ],
    example: "local measure = require(\"@netserv/measure\")\n\
              local M = {}\n\
              function M.start(ctx: Context)\n  \
                local watch = measure.total({ bits_per_second = 8e9 }, function(rate)\n    \
                  ctx:log(\"warn\", `{rate} bits per second`)\n  \
                end)\n  \
                assert(not pcall(measure.host, \"nowhere\", { bytes = 1 }, print or function() end))\n  \
                watch:cancel()\n  \
                ctx:log(\"info\", \"done\")\n\
              end\n\
              return M\n",
    natives: &[("cancel", cancel), ("watch", watch)],
    code: include_str!("measure.luau"),
};

/// `watch(subject, number or address, measure, limit)`: its number.
fn watch(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let subject = match arguments.bytes(1, "subject")? {
        b"flow" => {
            let number = arguments.number(2, "the flow")?;
            let id = FlowId::from_number(number).ok_or_else(|| format!("{number} is no flow; packet.flow is one"))?;
            Subject::Flow(id)
        }
        b"host" => {
            let text = arguments.bytes(2, "the address")?;
            let address = std::str::from_utf8(text).ok().and_then(|text| text.parse::<IpAddr>().ok());
            let address = address.ok_or_else(|| format!("\"{}\" is no address", one_line(text, 64)))?;
            Subject::Host(address_bits(address))
        }
        _ => Subject::All,
    };
    let measure = match arguments.bytes(3, "measure")? {
        b"bytes" => Measure::Bytes,
        b"packets" => Measure::Packets,
        _ => Measure::Rate,
    };
    add(host, subject, measure, arguments.number(4, "limit")?)
}

/// Adds a watch, and has the node look.
pub(crate) fn add(host: &Host, subject: Subject, measure: Measure, limit: f64) -> Result<Answer, String> {
    let mut watches = host.watches.borrow_mut();
    let was_empty = watches.is_empty();
    let number = watches.add(subject, measure, limit)?;
    if was_empty && let Err(problem) = host.effects.borrow_mut().add(Effect::Watch) {
        watches.cancel(number);
        return Err(problem);
    }
    Ok(Answer::Number(f64::from(number)))
}

/// `cancel(number)`.
pub(crate) fn cancel(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    host.watches.borrow_mut().cancel(arguments.number(1, "watch")? as u32);
    Ok(Answer::Nil)
}

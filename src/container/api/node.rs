//! Behind `@netserv/node`: what a module is told of the machine that the node runs on.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::base::limits::{MACHINE_NEIGHBOURS_MAX, MACHINE_ROUTES_MAX};
use crate::base::machine::{Interface, MachineChange, MachineView, Neighbour, RouteEntry, Way};
use crate::container::api::block::{Block, Item};
use crate::container::api::effects::one_line;
use crate::container::api::watches::{Measure, Subject};
use crate::container::api::{Answer, measure};
use crate::container::permissions::{SystemPart, Use};
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

// What has changed, as the Luau side numbers it.
const ROUTES: u32 = 1;
const INTERFACES: u32 = 2;
const ADDRESSES: u32 = 4;

/// Safepoints that stand for a question to the system where time is virtual.
const QUESTION_SAFEPOINTS: u64 = 64;

/// A change as the Luau side numbers it.
pub(crate) fn bits_of(change: MachineChange) -> u32 {
    let bit = |yes: bool, bit: u32| if yes { bit } else { 0 };
    bit(change.routes, ROUTES) | bit(change.interfaces, INTERFACES) | bit(change.addresses, ADDRESSES)
}

pub(crate) const BLOCK: Block = Block {
    name: "node",
    summary: "The machine that the node runs on: load, interfaces, addresses, neighbours, routes, and when they change.",
    about: "Each part needs its word in `permissions.system`: `\"load\"`, `\"interfaces\"`, `\"addresses\"`, `\"routes\"`, \
            `\"neighbours\"`, `\"location\"`. What this system cannot tell is nil. Do not ask again and again: `on_...` \
            calls you when there is something new, mostly within a quarter of a second. Routes are those of the \
            machine without this node's own steering.",
    types: "export type Load = {\n  \
              uptime: number, load1: number, load5: number, load15: number, cpus: number,\n  \
              memory_bytes: number, memory_free_bytes: number,\n\
            }\n\
            export type Interface = {\n  \
              name: string, up: boolean, carrier: boolean, mtu: number, speed: number?, hardware: string?,\n  \
              bytes_in: number, packets_in: number, bytes_out: number, packets_out: number, addresses: { string }?,\n\
            }\n\
            export type Neighbour = { address: string, interface: string, hardware: string?, reachable: boolean }\n\
            export type Route = { to: string, via: string?, interface: string?, metric: number }\n\
            export type Way = { interface: string, via: string?, source: string? }\n\
            export type Location = { latitude: number?, longitude: number?, place: string? }\n\
            export type Change = { name: string, what: string, now: Interface? }",
    items: &[
        Item {
            name: "load",
            luau: "() -> Load?",
            about: "Seconds since the machine was started, load averages, processors, memory.",
        },
        Item {
            name: "interfaces",
            luau: "() -> { Interface }?",
            about: "In the order of their names. `speed` in bits per second; `addresses` with the lengths of their \
                    prefixes, if the module may be told `\"addresses\"`.",
        },
        Item { name: "addresses", luau: "() -> { string }?", about: "The machine's addresses, sorted as text." },
        Item {
            name: "neighbours",
            luau: "() -> { Neighbour }?",
            about: "Others on the machine's links, at most 4096.",
        },
        Item {
            name: "routes",
            luau: "(max: number?) -> { Route }?",
            about: "The first `max` lines of the routing table, at most 4096.",
        },
        Item {
            name: "route_to",
            luau: "(address: string) -> Way?",
            about: "How the machine reaches an address; nil if it does not, or cannot tell. Needs `\"routes\"`.",
        },
        Item { name: "location", luau: "() -> Location?", about: "Where the node is, as its owner says." },
        Item {
            name: "on_route_change",
            luau: "(address: string, run: (now: Way?, before: Way?) -> ()) -> Watch",
            about: "Calls `run` when the way to an address changes: another interface, next hop or source address. Needs \
                    `\"routes\"`.",
        },
        Item {
            name: "on_interface_change",
            luau: "(run: (changes: { Change }) -> ()) -> Watch",
            about: "Calls `run` when interfaces change. `what` is `\"new\"`, `\"gone\"`, `\"up\"`, `\"down\"` (with carrier or \
                    without), or `\"changed\"` (speed or MTU). Needs `\"interfaces\"`.",
        },
        Item {
            name: "on_address_change",
            luau: "(run: (added: { string }, removed: { string }) -> ()) -> Watch",
            about: "Calls `run` when the machine gets or loses addresses. Needs `\"addresses\"`.",
        },
        Item {
            name: "on_load_above",
            luau: "(load: number, run: (load: number) -> ()) -> Watch",
            about: "Calls `run` when the load average of one minute rises above a number. The node looks once per second. \
                    Needs `\"load\"`.",
        },
        Item {
            name: "on_memory_below",
            luau: "(bytes: number, run: (bytes: number) -> ()) -> Watch",
            about: "The same when less memory is free. Needs `\"load\"`.",
        },
    ],
    example: "local node = require(\"@netserv/node\")\n\
              local M = {}\n\
              function M.start(ctx: Context)\n  \
                local watch = node.on_route_change(\"192.0.2.1\", function(now, before)\n    \
                  ctx:log(\"info\", `by {if now then now.interface else \"no way\"}`)\n  \
                end)\n  \
                local load = node.load()\n  \
                assert(load == nil or load.cpus >= 0)\n  \
                watch:cancel()\n  \
                ctx:log(\"info\", \"done\")\n\
              end\n\
              return M\n",
    natives: &[
        ("addresses", addresses),
        ("cancel", measure::cancel),
        ("interfaces", interfaces),
        ("load", load),
        ("location", location),
        ("neighbours", neighbours),
        ("observe", observe),
        ("routes", routes),
        ("watch_load", watch_load),
        ("way_to", way_to),
    ],
    code: include_str!("node.luau"),
};

/// The machine, if the module may be told of this part.
fn machine(host: &Host, part: SystemPart) -> Result<&dyn MachineView, String> {
    host.allowed.check(&Use::System(part)).map_err(|refusal| refusal.to_string())?;
    host.guard().charge(QUESTION_SAFEPOINTS);
    Ok(&*host.machine)
}

fn listed<T>(items: Option<Vec<T>>, shown: impl Fn(&T) -> Value) -> Answer {
    items.map_or(Answer::Nil, |items| Answer::Value(items.iter().map(shown).collect()))
}

fn prefix((address, len): &(IpAddr, u8)) -> String {
    format!("{address}/{len}")
}

fn load(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    let load = machine(host, SystemPart::Load)?.load();
    Ok(load.map_or(Answer::Nil, |load| {
        Answer::Value(json!({
            "uptime": load.uptime_s,
            "load1": load.load[0],
            "load5": load.load[1],
            "load15": load.load[2],
            "cpus": load.cpus,
            "memory_bytes": load.memory_bytes,
            "memory_free_bytes": load.memory_free_bytes,
        }))
    }))
}

fn interfaces(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    let with_addresses = host.allowed.check(&Use::System(SystemPart::Addresses)).is_ok();
    let shown = |interface: &Interface| {
        let mut value = json!({
            "name": interface.name,
            "up": interface.is_up,
            "carrier": interface.has_carrier,
            "mtu": interface.mtu,
            "speed": interface.speed,
            "hardware": interface.hardware,
            "bytes_in": interface.counters[0],
            "packets_in": interface.counters[1],
            "bytes_out": interface.counters[2],
            "packets_out": interface.counters[3],
        });
        if with_addresses {
            value["addresses"] = interface.addresses.iter().map(prefix).collect();
        }
        value
    };
    Ok(listed(machine(host, SystemPart::Interfaces)?.interfaces(), shown))
}

fn addresses(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    let interfaces = machine(host, SystemPart::Addresses)?.interfaces();
    let addresses = interfaces.map(|interfaces| {
        let all = interfaces.iter().flat_map(|interface| &interface.addresses);
        let mut all: Vec<String> = all.map(|(address, _)| address.to_string()).collect();
        all.sort_unstable();
        all.dedup();
        all
    });
    Ok(listed(addresses, |address| Value::from(address.as_str())))
}

fn neighbours(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    let shown = |neighbour: &Neighbour| {
        json!({
            "address": neighbour.address.to_string(),
            "interface": neighbour.interface,
            "hardware": neighbour.hardware,
            "reachable": neighbour.is_reachable,
        })
    };
    let neighbours = machine(host, SystemPart::Neighbours)?.neighbours();
    Ok(listed(neighbours.map(|all| all.into_iter().take(MACHINE_NEIGHBOURS_MAX).collect()), shown))
}

fn routes(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let max = if arguments.is_nil(1) { MACHINE_ROUTES_MAX as f64 } else { arguments.number(1, "max")? };
    let shown = |route: &RouteEntry| {
        json!({
            "to": prefix(&route.to),
            "via": route.via.map(|via| via.to_string()),
            "interface": route.interface,
            "metric": route.metric,
        })
    };
    let routes = machine(host, SystemPart::Routes)?.routes((max as usize).min(MACHINE_ROUTES_MAX));
    Ok(listed(routes, shown))
}

/// `way_to(address)`.
fn way_to(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let machine = machine(host, SystemPart::Routes)?;
    let text = arguments.bytes(1, "the address")?;
    let address = std::str::from_utf8(text).ok().and_then(|text| text.parse::<IpAddr>().ok());
    let address = address.ok_or_else(|| format!("\"{}\" is no address", one_line(text, 64)))?;
    let shown = |way: Way| {
        json!({
            "interface": way.interface,
            "via": way.via.map(|via| via.to_string()),
            "source": way.source.map(|source| source.to_string()),
        })
    };
    Ok(machine.way_to(address).flatten().map_or(Answer::Nil, |way| Answer::Value(shown(way))))
}

fn location(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    let location = machine(host, SystemPart::Location)?.location();
    Ok(location.map_or(Answer::Nil, |at| {
        Answer::Value(json!({ "latitude": at.latitude, "longitude": at.longitude, "place": at.place }))
    }))
}

/// `observe(what)`: from now on the module is told of these changes.
fn observe(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let bits = arguments.number(1, "what")? as u32;
    let parts =
        [(ROUTES, SystemPart::Routes), (INTERFACES, SystemPart::Interfaces), (ADDRESSES, SystemPart::Addresses)];
    for (_, part) in parts.iter().filter(|(bit, _)| bits & bit != 0) {
        machine(host, *part)?;
    }
    host.observed.set(bits);
    Ok(Answer::Nil)
}

/// `watch_load(what, limit)`: the number of a watch.
fn watch_load(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    machine(host, SystemPart::Load)?;
    let subject = if arguments.bytes(1, "what")? == b"load" { Subject::Load } else { Subject::MemoryFree };
    measure::add(host, subject, Measure::Bytes, arguments.number(2, "the limit")?)
}

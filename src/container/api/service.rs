//! Behind `@netserv/service`, `ctx:provide` and `ctx:use`: what one module offers to the others.
//!
//! A call is a message: it leaves the caller's VM as an effect and enters the provider's when the node says so, so that
//! no VM is ever called from within another one.

use semver::{Version, VersionReq};

use crate::base::id::InstanceId;
use crate::base::limits::{
    NAME_BYTES_MAX, SERVICE_DEPTH_MAX, SERVICE_FUNCTIONS_MAX, SERVICE_USES_MAX, SERVICE_VALUE_BYTES_MAX,
};
use crate::container::api::Answer;
use crate::container::api::block::{Block, Item};
use crate::container::api::effects::one_line;
use crate::container::instance::{Effect, ServiceCall};
use crate::container::services::Copied;
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

/// Bytes of an error that goes from one module to another.
const ERROR_BYTES_MAX: usize = 1024;
/// Bytes that stand for one safepoint where time is virtual.
const BYTES_PER_SAFEPOINT: usize = 16;
/// What a proxy has beside the service's own functions.
const RESERVED: &[&str] = &["available", "on_change", "version"];

pub(crate) const BLOCK: Block = Block {
    name: "service",
    summary: "Services: functions that modules offer to each other, by name and version.",
    about: "`ctx:provide` and `ctx:use` are the same functions. A service must stand in the manifest: under `[provides]` \
            with the version of its interface, or under `[uses]` with the versions that will do. A call waits for its \
            answer, so only a task may call; from a handler, `spawn` one. Arguments and results are copied: nil, truth \
            values, numbers, strings, buffers, and tables of those, 256 KiB in all. The function runs in its own module, \
            as a task with that module's limits; its CPU time until it first waits counts for the caller. An error in it is raised at the caller, \
            as are: that nobody provides the service, that the provider was stopped, that there was no answer in 10 \
            seconds, more than 8 calls one within the other.",
    types: "export type Provided = { withdraw: (self: Provided) -> () }\n\
            export type Service = {\n  \
              available: (self: Service) -> boolean,\n  \
              version: (self: Service) -> string?,\n  \
              on_change: (self: Service, run: (available: boolean, version: string?) -> ()) -> (),\n  \
              [string]: (...any) -> ...any,\n\
            }",
    items: &[
        Item {
            name: "provide",
            luau: "(name: string, functions: { [string]: (...any) -> ...any }) -> Provided",
            about: "Offers a service, in place of what this module offered under the name before. Others see it when the \
                    code at hand has ended.",
        },
        Item {
            name: "use",
            luau: "(name: string, versions: string?) -> Service",
            about: "A service that this module uses, whether anybody provides it now or not. With `versions`, such as \
                    `\"^1.2\"`, these must fit too. Of several providers the one with the highest version is called, of \
                    equal ones the one that was loaded first; each call chooses anew.",
        },
        Item { name: "Provided.withdraw", luau: "(self: Provided) -> ()", about: "Offers it no longer." },
        Item { name: "Service.available", luau: "(self: Service) -> boolean", about: "Whether somebody provides it." },
        Item {
            name: "Service.version",
            luau: "(self: Service) -> string?",
            about: "The version of the interface that a call would reach.",
        },
        Item {
            name: "Service.on_change",
            luau: "(self: Service, run: (available: boolean, version: string?) -> ()) -> ()",
            about: "Calls `run` when the service comes, goes, or is provided by somebody else.",
        },
    ],
    example: "local service = require(\"@netserv/service\")\n\
              local M = {}\n\
              function M.start(ctx: Context)\n  \
                local names = { alice = \"192.0.2.1\" }\n  \
                ctx:provide(\"example.names\", {\n    \
                  lookup = function(name) return names[name] end,\n  \
                })\n\
              end\n\
              function M.run(ctx: Context)\n  \
                local directory = service.use(\"example.names\", \"^1\")\n  \
                assert(directory:available() and directory:version() == \"1.0.0\")\n  \
                assert(directory.lookup(\"alice\") == \"192.0.2.1\")\n  \
                assert(not pcall(directory.forget, \"alice\"))\n  \
                ctx:log(\"info\", \"done\")\n\
              end\n\
              return M\n",
    natives: &[
        ("answer", answer),
        ("asked", asked),
        ("available", available),
        ("call", call),
        ("provide", provide),
        ("returned", returned),
        ("use", use_service),
        ("withdraw", withdraw),
    ],
    code: include_str!("service.luau"),
};

/// A service that an instance uses.
struct Usage {
    name: String,
    /// All of them must fit.
    versions: Vec<VersionReq>,
    /// What it was told last.
    known: Option<(InstanceId, Version)>,
}

/// What goes in and out between an instance and the services.
#[derive(Default)]
pub(crate) struct Exchange {
    uses: Vec<Usage>,
    call_count: u32,
    /// What somebody calls, until the Luau side has taken it.
    pub(crate) asked: Option<(u64, ServiceCall)>,
    /// What came back, until the Luau side has taken it.
    pub(crate) answer: Option<Result<Copied, String>>,
}

impl Host {
    fn best(&self, usage: &Usage) -> Option<(InstanceId, Version)> {
        let services = self.services.borrow();
        services.best(&usage.name, &usage.versions).map(|offer| (offer.instance, offer.version.clone()))
    }

    /// The numbers of the services in use that are not as they were.
    pub(crate) fn changed_uses(&self) -> Vec<usize> {
        let mut exchange = self.exchange.borrow_mut();
        let mut changed = Vec::new();
        for (at, usage) in exchange.uses.iter_mut().enumerate() {
            let best = self.best(usage);
            if best != usage.known {
                usage.known = best;
                changed.push(at);
            }
        }
        changed
    }
}

fn text<'a>(arguments: &Arguments<'a>, at: i32, name: &str) -> Result<&'a str, String> {
    std::str::from_utf8(arguments.bytes(at, name)?).map_err(|_| format!("{name} must be text"))
}

/// `provide(name, names of functions)`.
fn provide(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let name = declared(host, arguments, "provides", |host, name| host.manifest.provides.contains_key(name))?;
    let list = arguments.json(2, SERVICE_VALUE_BYTES_MAX)?;
    let plain = |name: &serde_json::Value| name.as_str().unwrap_or_default().to_owned();
    let mut functions: Vec<String> = list.as_array().into_iter().flatten().map(plain).collect();
    functions.sort_unstable();
    if functions.is_empty() || functions.len() > SERVICE_FUNCTIONS_MAX {
        return Err(format!("a service has 1 to {SERVICE_FUNCTIONS_MAX} functions, not {}", functions.len()));
    }
    if let Some(odd) = functions.iter().find(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
        return Err(format!("a function of a service has a name of 1 to {NAME_BYTES_MAX} bytes, not {}", odd.len()));
    }
    if let Some(name) = functions.iter().find(|name| RESERVED.contains(&name.as_str())) {
        return Err(format!("a function of a service cannot be called \"{name}\": each service has that already"));
    }
    host.effects.borrow_mut().add(Effect::Provide { name, functions })?;
    Ok(Answer::Nil)
}

/// The name of a service that the manifest names under `table`.
fn declared(
    host: &Host,
    arguments: &Arguments<'_>,
    table: &str,
    has: fn(&Host, &str) -> bool,
) -> Result<String, String> {
    let name = text(arguments, 1, "the name of a service")?;
    if has(host, name) {
        return Ok(name.to_owned());
    }
    let shown = one_line(name.as_bytes(), NAME_BYTES_MAX);
    let version = if table == "uses" { "^1" } else { "1.0.0" };
    Err(format!(
        "module.toml does not declare the service \"{shown}\"; write \"{shown}\" = \"{version}\" under [{table}]"
    ))
}

/// `withdraw(name)`.
fn withdraw(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let name = text(arguments, 1, "the name of a service")?.to_owned();
    host.effects.borrow_mut().add(Effect::Withdraw { name })?;
    Ok(Answer::Nil)
}

/// `use(name [, versions])`: the number of a service in use.
fn use_service(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let name = declared(host, arguments, "uses", |host, name| host.manifest.uses.contains_key(name))?;
    let mut versions: Vec<VersionReq> =
        host.manifest.uses.get(&name).map(|usage| usage.version.clone()).into_iter().collect();
    if !arguments.is_nil(2) {
        let range = text(arguments, 2, "versions")?;
        let shown = one_line(range.as_bytes(), NAME_BYTES_MAX);
        let parsed = VersionReq::parse(range)
            .map_err(|e| format!("\"{shown}\" is no range of versions: {e}; write one such as \"^1.2\""))?;
        versions.push(parsed);
    }
    let mut exchange = host.exchange.borrow_mut();
    if exchange.uses.len() >= SERVICE_USES_MAX {
        return Err(format!("limit service_uses ({SERVICE_USES_MAX}) exceeded: keep what `use` returns"));
    }
    let mut usage = Usage { name, versions, known: None };
    usage.known = host.best(&usage);
    exchange.uses.push(usage);
    Ok(Answer::Number((exchange.uses.len() - 1) as f64))
}

/// `available(use)`: the version that a call would reach; nil if there is none.
fn available(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let exchange = host.exchange.borrow();
    let usage = exchange.uses.get(arguments.number(1, "use")? as usize);
    let best = usage.and_then(|usage| host.best(usage));
    Ok(best.map_or(Answer::Nil, |(_, version)| Answer::Bytes(version.to_string().into_bytes())))
}

/// `call(use, function, packed arguments, depth)`: the number of the call.
fn call(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let mut exchange = host.exchange.borrow_mut();
    let usage = exchange.uses.get(arguments.number(1, "use")? as usize).ok_or("there is no such service in use")?;
    let function = text(arguments, 2, "the name of a function")?;
    let depth = arguments.number(4, "depth")? as u32;
    let services = host.services.borrow();
    let service = usage.name.clone();
    let Some(offer) = services.best(&service, &usage.versions) else {
        let ranges: Vec<String> = usage.versions.iter().map(ToString::to_string).collect();
        return Err(format!("no module on this node provides {service} {}", ranges.join(" and ")));
    };
    if offer.functions.binary_search_by(|name| name.as_str().cmp(function)).is_err() {
        let shown = one_line(function.as_bytes(), NAME_BYTES_MAX);
        let (version, names) = (&offer.version, offer.functions.join(", "));
        return Err(format!("{service} {version} has no function \"{shown}\"; it has {names}"));
    }
    if depth >= SERVICE_DEPTH_MAX {
        return Err(format!(
            "{service}.{function}: limit service_depth ({SERVICE_DEPTH_MAX}) exceeded: services call each other in a circle"
        ));
    }
    let copied = arguments.copied(3, SERVICE_VALUE_BYTES_MAX).map_err(|e| format!("{service}.{function}: {e}"))?;
    host.guard().charge((copied.bytes_len() / BYTES_PER_SAFEPOINT) as u64);
    let (to, function) = (offer.instance, function.to_owned());
    exchange.call_count = exchange.call_count.wrapping_add(1);
    let number = exchange.call_count;
    let call = ServiceCall { number, to, service, function, arguments: copied, depth };
    host.effects.borrow_mut().add(Effect::Call(call))?;
    Ok(Answer::Number(f64::from(number)))
}

/// `asked(what)`: a part of what somebody calls. The arguments come last: with them all of it is taken.
fn asked(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let mut exchange = host.exchange.borrow_mut();
    let what = arguments.bytes(1, "what")?;
    let Some((number, call)) = &exchange.asked else { return Ok(Answer::Nil) };
    Ok(match what {
        b"number" => Answer::Number(*number as f64),
        b"service" => Answer::Bytes(call.service.clone().into_bytes()),
        b"function" => Answer::Bytes(call.function.clone().into_bytes()),
        b"depth" => Answer::Number(f64::from(call.depth)),
        _ => exchange.asked.take().map_or(Answer::Nil, |(_, call)| Answer::Copied(call.arguments)),
    })
}

/// `answer(number, ok, packed results or message)`.
fn answer(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let call = arguments.number(1, "call")? as u64;
    let result = if arguments.truth(2) {
        let copied = arguments.copied(3, SERVICE_VALUE_BYTES_MAX).map_err(|e| format!("what it returns: {e}"))?;
        host.guard().charge((copied.bytes_len() / BYTES_PER_SAFEPOINT) as u64);
        Ok(copied)
    } else {
        Err(one_line(arguments.bytes(3, "message")?, ERROR_BYTES_MAX))
    };
    // There is one for each call that came in.
    host.effects.borrow_mut().add_always(Effect::Return { call, result });
    Ok(Answer::Nil)
}

/// `returned()`: the packed results of a call; its error as a text.
fn returned(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    Ok(match host.exchange.borrow_mut().answer.take() {
        Some(Ok(results)) => Answer::Copied(results),
        Some(Err(message)) => Answer::Bytes(message.into_bytes()),
        None => Answer::Nil,
    })
}

//! Behind `@netserv/signal`: a module signals along a path, as `netserv probe`, `setup` and `remove` do.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::base::amount::span_of;
use crate::base::crypto::from_hex;
use crate::container::api::Answer;
use crate::container::api::block::{Block, Item};
use crate::container::instance::{Effect, SignalAnswers, SignalOrder};
use crate::container::permissions::Use;
use crate::container::properties::shortened;
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;
use crate::wire::nslp::answer::{Answer as NodeAnswer, ReportItem, class};
use crate::wire::nslp::request::{ModuleRequest, Operation, Target, ask};

/// Bytes of what a signal is described by.
const DESCRIPTION_BYTES_MAX: usize = 16 * 1024;
/// Lifetime when nothing else is said.
const LIFETIME_MS: u64 = 3_600_000;

pub(crate) const BLOCK: Block = Block {
    name: "signal",
    summary: "Signals along the path to a host: asks its nodes, sets modules up there, and removes them.",
    about: "Needs `permissions.signal = true`, and signalling switched on at this node (`[signaling]`, or `netserv run \
            --signal`). What is sent is signed with the node's own key (`netserv key show /var/lib/netserv/node.key`): the owners of other \
            nodes decide in their trust files what that key may do. Each function waits for the answers of the nodes, \
            often some seconds, so only a task may call it. It raises an error if nothing could be sent; what the nodes \
            refuse stands in the answer.",
    types: "export type PathNode = {\n  \
              hop: number, node: string, ok: boolean, result: string, says: string, last: boolean, rtt_ms: number?,\n  \
              name: string?, software: string?, addresses: { string }, properties: { [string]: string },\n  \
              uptime: number?, load: number?, memory_free_bytes: number?, flows: number?,\n  \
              route: { interface: string, via: string? }?,\n  \
              modules: { { instance: string, module: string, version: string, state: string, lifetime: number?, \
              counters: { [string]: number } } },\n\
            }\n\
            export type Path = { nodes: { PathNode }, complete: boolean, problem: string? }\n\
            export type Towards = {\n  \
              to: string, target: string?, conditions: { string }?, transport: (\"udp\" | \"tcp\" | \"tls\")?,\n\
            }\n\
            export type Setup = Towards & {\n  \
              module: string, version: string?, url: string, digest: string, lifetime: (number | string)?, \
              name: string?, properties: { [string]: string }?, notify: string?,\n\
            }",
    items: &[
        Item {
            name: "probe",
            luau: "(towards: Towards & { asks: { string }? }) -> Path",
            about: "Asks the nodes on the path to an address who and how they are. `asks` names what is wanted: \
                    `\"modules\"`, `\"system\"`, `\"route\"`; all if not given. `target` and `conditions` are as for \
                    `netserv probe` (`--target`, `--if`); `transport` is `\"tls\"` if not given.",
        },
        Item {
            name: "setup",
            luau: "(what: Setup) -> Path",
            about: "Has nodes run a module: `module` is its name, `version` a range, `url` and `digest` (SHA-256, in \
                    hexadecimal digits) its package, `lifetime` seconds or a text such as `\"10m\"` (an hour if not given). \
                    The same again before the lifetime is over keeps it running.",
        },
        Item {
            name: "remove",
            luau: "(what: Towards & { name: string }) -> Path",
            about: "Removes what was set up under `name` (the module's name, if `setup` said no other) with the same key.",
        },
    ],
    example: "local signal = require(\"@netserv/signal\")\n\
              local M = {}\n\
              function M.run(ctx: Context)\n  \
                local ok, problem = pcall(signal.probe, { to = \"192.0.2.1\", transport = \"udp\" })\n  \
                assert(ok or string.find(problem, \"signalling is switched off\"))\n  \
                ctx:log(\"info\", \"done\")\n\
              end\n\
              return M\n",
    natives: &[("answers", answers), ("send", send)],
    code: include_str!("signal.luau"),
};

/// A field of a description.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{name} must be a string")),
        }
    }

    fn needed(&self, name: &str) -> Result<&'a str, String> {
        self.text(name)?.ok_or_else(|| format!("{name} must be given"))
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        let wrong = || format!("{name} must be a list of strings");
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    fn lifetime_ms(&self) -> Result<u64, String> {
        let span = match self.0.get("lifetime") {
            None | Some(Value::Null) => return Ok(LIFETIME_MS),
            Some(Value::Number(seconds)) => seconds.as_f64().map(|seconds| (seconds * 1000.0) as u64),
            Some(Value::String(text)) => span_of(text).map(|span| span.as_millis() as u64),
            Some(_) => None,
        };
        span.filter(|ms| *ms > 0).ok_or_else(|| "lifetime must be seconds, or a text such as \"10m\"".to_owned())
    }
}

/// `send(operation, description)`: its number.
fn send(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    host.allowed.check(&Use::Signal).map_err(|refusal| refusal.to_string())?;
    let description = arguments.json(2, DESCRIPTION_BYTES_MAX)?;
    let fields = Fields(description.as_object().ok_or("write { to = \"192.0.2.1\", ... }")?);
    let to = fields.needed("to")?;
    let to: IpAddr = to.parse().map_err(|_| format!("to: \"{}\" is no address", shortened(to)))?;
    let target = match fields.text("target")? {
        Some(text) => text.parse().map_err(|e| format!("target: {e}"))?,
        None => Target::All,
    };
    let (reliable, secure) = match fields.text("transport")? {
        Some("udp") => (false, false),
        Some("tcp") => (true, false),
        None | Some("tls") => (true, true),
        Some(other) => return Err(format!("transport: \"{}\" is none; write udp, tcp or tls", shortened(other))),
    };
    let (operation, module, asks) = match arguments.bytes(1, "operation")? {
        b"setup" => (Operation::Setup, Some(module(&fields)?), 0),
        b"remove" => (Operation::Remove, None, 0),
        _ => (Operation::Probe, None, asks(&fields.texts("asks")?)?),
    };
    let name = match (fields.text("name")?, &module) {
        (Some(name), _) => name.to_owned(),
        (None, Some(module)) => module.name.clone(),
        (None, None) if operation == Operation::Remove => return Err("name must be given".to_owned()),
        (None, None) => String::new(),
    };
    let number = host.signal_count.get().wrapping_add(1);
    host.signal_count.set(number);
    host.effects.borrow_mut().add(Effect::Signal(SignalOrder {
        number,
        to,
        operation,
        target,
        conditions: fields.texts("conditions")?,
        instance: name,
        module,
        asks,
        reliable,
        secure,
    }))?;
    Ok(Answer::Number(f64::from(number)))
}

fn asks(words: &[String]) -> Result<u8, String> {
    if words.is_empty() {
        return Ok(ask::MODULES | ask::SYSTEM | ask::ROUTE);
    }
    words.iter().try_fold(0, |bits, word| match word.as_str() {
        "modules" => Ok(bits | ask::MODULES),
        "system" => Ok(bits | ask::SYSTEM),
        "route" => Ok(bits | ask::ROUTE),
        other => Err(format!("asks: \"{}\" is none of modules, system and route", shortened(other))),
    })
}

fn module(fields: &Fields<'_>) -> Result<ModuleRequest, String> {
    let digest = fields.needed("digest")?;
    let properties = match fields.0.get("properties") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) if items.is_empty() => Vec::new(),
        Some(Value::Object(properties)) => {
            let pair = |(name, value): (&String, &Value)| match value {
                Value::String(text) => Ok((name.clone(), text.clone())),
                Value::Number(_) | Value::Bool(_) => Ok((name.clone(), value.to_string())),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    Err(format!("properties: {} must be a string, a number or a boolean", shortened(name)))
                }
            };
            properties.iter().map(pair).collect::<Result<_, _>>()?
        }
        Some(_) => return Err("properties must be a table of names and values".to_owned()),
    };
    Ok(ModuleRequest {
        name: fields.needed("module")?.to_owned(),
        version: fields.text("version")?.unwrap_or("*").to_owned(),
        url: fields.needed("url")?.to_owned(),
        digest: from_hex(digest)
            .ok_or_else(|| format!("digest: \"{}\" is not 64 hexadecimal digits", shortened(digest)))?,
        lifetime_ms: fields.lifetime_ms()?,
        properties,
        notify: fields.text("notify")?.unwrap_or_default().to_owned(),
    })
}

/// `answers()`: what came of a signal; a text if it could not be sent.
fn answers(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    Ok(match host.signal_answers.borrow_mut().take() {
        Some(Ok(SignalAnswers { answers, problem })) => {
            let nodes: Vec<Value> = answers.iter().map(shown).collect();
            Answer::Value(json!({ "nodes": nodes, "complete": problem.is_none(), "problem": problem }))
        }
        Some(Err(problem)) => Answer::Bytes(problem.into_bytes()),
        None => Answer::Nil,
    })
}

/// One node's answer as modules see it.
fn shown(answer: &NodeAnswer) -> Value {
    let mut node = json!({
        "hop": answer.hop,
        "node": answer.node.to_string(),
        "ok": answer.code.class() == class::SUCCESS,
        "result": answer.code.name(),
        "says": answer.sentence,
        "last": answer.is_last,
        "rtt_ms": answer.hop_rtt_us.map(|us| f64::from(us) / 1000.0),
        "addresses": [],
        "properties": {},
        "modules": [],
    });
    let list = |node: &mut Value, name: &str, value: Value| {
        if let Some(items) = node[name].as_array_mut() {
            items.push(value);
        }
    };
    for item in &answer.report {
        match item {
            ReportItem::Name(name) => node["name"] = json!(name),
            ReportItem::Software(software) => node["software"] = json!(software),
            ReportItem::Address(address) => list(&mut node, "addresses", json!(address.to_string())),
            ReportItem::Property { name, value } => node["properties"][name] = json!(value),
            ReportItem::System { uptime_s, load_percent, memory_free_kib, flows } => {
                node["uptime"] = json!(uptime_s);
                node["load"] = json!(f64::from(*load_percent) / 100.0);
                node["memory_free_bytes"] = json!(u64::from(*memory_free_kib) * 1024);
                node["flows"] = json!(flows);
            }
            ReportItem::Route { interface, via } => {
                node["route"] = json!({ "interface": interface, "via": via.map(|via| via.to_string()) });
            }
            ReportItem::Module { instance, module, version, state, lifetime_s, counters } => {
                let counters: Map<String, Value> =
                    counters.iter().map(|(name, count)| (name.clone(), json!(count))).collect();
                let module = json!({
                    "instance": instance, "module": module, "version": version, "state": state,
                    "lifetime": lifetime_s, "counters": counters,
                });
                list(&mut node, "modules", module);
            }
        }
    }
    node
}

//! Between the values of test scripts and those of a [`TestHost`].

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mlua::{Function, IntoLuaMulti, Lua, LuaString, Table, Value};

use super::machine::Facts;
use super::{Decoded, Leaving, PacketKind, PacketSpec, Sent, SharedHost, TestHost};
use crate::base::limits::PACKET_BYTES_MAX;

/// Longest time that one `advance` may take: a day.
const ADVANCE_SECONDS_MAX: f64 = 86_400.0;
/// Tables within tables of a property.
const DEPTH_MAX: usize = 8;

/// The table of functions that the library of test scripts builds on.
pub(super) fn host_table(lua: &Lua, host: SharedHost) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    hex_functions(lua, &table)?;
    let set = |name: &str, function: Function| table.set(name, function);
    set(
        "new_node",
        with_host(lua, &host, |_, host, (config, entry): (Table, Option<String>)| new_node(host, &config, entry))?,
    )?;
    set(
        "build",
        with_host(lua, &host, |lua, host, (kind, fields): (String, Table)| {
            lua.create_string(host.build(&spec(&kind, &fields)?).map_err(wrong)?)
        })?,
    )?;
    set(
        "decode",
        with_host(lua, &host, |lua, host, bytes: LuaString| {
            decoded(lua, &host.decode(&bytes.as_bytes()).map_err(wrong)?, &bytes.as_bytes())
        })?,
    )?;
    set(
        "send",
        with_host(lua, &host, |lua, host, (node, bytes, back): (usize, LuaString, bool)| {
            let sent_bytes = bytes.as_bytes().to_vec();
            if sent_bytes.len() > PACKET_BYTES_MAX {
                return Err(wrong(format!("a packet has at most {PACKET_BYTES_MAX} bytes, not {}", sent_bytes.len())));
            }
            let sent = host.send(node, sent_bytes, back).map_err(wrong)?;
            self::sent(lua, host, &sent)
        })?,
    )?;
    set(
        "advance",
        with_host(lua, &host, |lua, host, (node, seconds): (usize, f64)| {
            if !(0.0..=ADVANCE_SECONDS_MAX).contains(&seconds) {
                return Err(wrong(format!("time advances by 0 to {ADVANCE_SECONDS_MAX} seconds, not by {seconds}")));
            }
            let packets = host.advance(node, Duration::from_secs_f64(seconds)).map_err(wrong)?;
            leaving(lua, host, &packets)
        })?,
    )?;
    views(lua, &host, &table)?;
    set("set_machine", with_host(lua, &host, |_, host, (node, facts)| set_machine(host, node, facts))?)?;
    set("unload", with_host(lua, &host, |_, host, node: usize| host.unload(node).map_err(wrong))?)?;
    super::net::add(lua, &host, &table)?;
    Ok(table)
}

/// What shows how a node is.
fn views(lua: &Lua, host: &SharedHost, table: &Table) -> mlua::Result<()> {
    let set = |name: &str, function: Function| table.set(name, function);
    set(
        "counters",
        with_host(lua, host, |lua, host, node: usize| {
            let counters = host.counters(node).map_err(wrong)?;
            lua.create_table_from(counters.into_iter().map(|(name, count)| (name, count as f64)))
        })?,
    )?;
    set(
        "packets_seen",
        with_host(lua, host, |lua, host, node: usize| {
            let (handler, native) = host.packets_seen(node).map_err(wrong)?;
            lua.create_table_from([("handler", handler as f64), ("native", native as f64)])
        })?,
    )?;
    set("report", with_host(lua, host, |lua, host, node: usize| from_json(lua, &host.report(node).map_err(wrong)?))?)?;
    set(
        "log",
        with_host(lua, host, |lua, host, node: usize| {
            let lines = host.log(node).map_err(wrong)?;
            let line = |(level, text)| lua.create_table_from([("level", level), ("text", text)]);
            lua.create_sequence_from(lines.into_iter().map(line).collect::<mlua::Result<Vec<Table>>>()?)
        })?,
    )?;
    set(
        "faults",
        with_host(lua, host, |lua, host, node: usize| lua.create_sequence_from(host.faults(node).map_err(wrong)?))?,
    )
}

fn hex_functions(lua: &Lua, table: &Table) -> mlua::Result<()> {
    table.set("from_hex", lua.create_function(|lua, text: String| lua.create_string(from_hex(&text)?))?)?;
    table.set("to_hex", lua.create_function(|_, bytes: LuaString| Ok(to_hex(&bytes.as_bytes())))?)
}

fn set_machine(host: &mut dyn TestHost, node: usize, Facts(facts): Facts) -> mlua::Result<()> {
    host.set_machine(node, facts).map_err(wrong)
}

/// A function that gets the host and its arguments.
pub(super) fn with_host<A, R>(
    lua: &Lua,
    host: &SharedHost,
    run: impl Fn(&Lua, &mut dyn TestHost, A) -> mlua::Result<R> + 'static,
) -> mlua::Result<Function>
where
    A: mlua::FromLuaMulti,
    R: IntoLuaMulti,
{
    let host = Rc::clone(host);
    lua.create_function(move |lua, arguments: A| run(lua, host.borrow_mut().as_mut(), arguments))
}

pub(super) fn wrong(text: String) -> mlua::Error {
    mlua::Error::RuntimeError(text)
}

fn new_node(host: &mut dyn TestHost, config: &Table, entry: Option<String>) -> mlua::Result<usize> {
    let mut properties = toml::Table::new();
    for pair in config.pairs::<String, Value>() {
        let (key, value) = pair?;
        let value =
            to_toml(&value, 0).ok_or_else(|| wrong(format!("config.{key} is no value that a property can have")))?;
        properties.insert(key, value);
    }
    host.new_node(entry, properties).map_err(wrong)
}

fn to_toml(value: &Value, depth: usize) -> Option<toml::Value> {
    if let Some(number) = value.as_i64().map(|number| number as f64).or_else(|| value.as_f64()) {
        let whole = number.fract() == 0.0 && number.abs() <= 9e15;
        return Some(if whole { toml::Value::Integer(number as i64) } else { toml::Value::Float(number) });
    }
    if let Some(truth) = value.as_boolean() {
        return Some(toml::Value::Boolean(truth));
    }
    if let Some(text) = value.as_string() {
        return Some(toml::Value::String(text.to_str().ok()?.to_owned()));
    }
    let items = value.as_table().filter(|_| depth < DEPTH_MAX)?.sequence_values::<Value>();
    let items: Option<Vec<toml::Value>> = items.map(|item| to_toml(&item.ok()?, depth + 1)).collect();
    Some(toml::Value::Array(items?))
}

fn from_json(lua: &Lua, json: &serde_json::Value) -> mlua::Result<Value> {
    use serde_json::Value as Json;
    Ok(match json {
        Json::Null => Value::Nil,
        Json::Bool(truth) => Value::Boolean(*truth),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(items) => {
            let items: mlua::Result<Vec<Value>> = items.iter().map(|item| from_json(lua, item)).collect();
            Value::Table(lua.create_sequence_from(items?)?)
        }
        Json::Object(fields) => {
            let table = lua.create_table()?;
            for (key, value) in fields {
                table.set(key.as_str(), from_json(lua, value)?)?;
            }
            Value::Table(table)
        }
    })
}

const SPEC_FIELDS: &[&str] = &["from", "to", "payload", "ttl", "flags", "seq", "ack", "id"];

fn spec(kind: &str, fields: &Table) -> mlua::Result<PacketSpec> {
    for pair in fields.pairs::<Value, Value>() {
        let key = pair?.0;
        let known = key.as_string().is_some_and(|key| SPEC_FIELDS.iter().any(|field| key == field));
        if !known {
            return Err(wrong(format!(
                "a packet has no field {}; its fields: {}",
                key.to_string()?,
                SPEC_FIELDS.join(", ")
            )));
        }
    }
    let kind = match kind {
        "udp" => PacketKind::Udp,
        "tcp" => PacketKind::Tcp,
        "icmp_echo" => PacketKind::IcmpEcho,
        _ => PacketKind::IcmpEchoReply,
    };
    let number = |name: &str, default: u32, max: u32| -> mlua::Result<u32> {
        let value: Option<f64> = fields.get(name)?;
        let Some(value) = value else { return Ok(default) };
        let fits = value.fract() == 0.0 && (0.0..=f64::from(max)).contains(&value);
        if fits {
            Ok(value as u32)
        } else {
            Err(wrong(format!("{name} = {value}: must be a whole number from 0 to {max}")))
        }
    };
    let payload: Option<LuaString> = fields.get("payload")?;
    let has_ports = matches!(kind, PacketKind::Udp | PacketKind::Tcp);
    Ok(PacketSpec {
        kind,
        from: end(fields, "from", has_ports)?,
        to: end(fields, "to", has_ports)?,
        payload: payload.map(|payload| payload.as_bytes().to_vec()).unwrap_or_default(),
        ttl: number("ttl", 64, 255)? as u8,
        flags: fields.get::<Option<String>>("flags")?.unwrap_or_else(|| "PA".to_owned()),
        seq: number("seq", 1, u32::MAX)?,
        ack: number("ack", 1, u32::MAX)?,
        id: number("id", 1, 65_535)? as u16,
    })
}

/// An address, with a port where the kind of packet has one.
fn end(fields: &Table, name: &str, has_port: bool) -> mlua::Result<(IpAddr, u16)> {
    let text: Option<String> = fields.get(name)?;
    let text = text.ok_or_else(|| wrong(format!("{name} is missing")))?;
    let end = if has_port {
        text.parse::<SocketAddr>().ok().map(|end| (end.ip(), end.port()))
    } else {
        text.parse::<IpAddr>().ok().map(|address| (address, 0))
    };
    let example =
        if has_port { "\"10.0.0.1:1000\" or \"[2001:db8::1]:1000\"" } else { "\"10.0.0.1\" or \"2001:db8::1\"" };
    end.ok_or_else(|| wrong(format!("{name} = \"{text}\": write {example}")))
}

fn sent(lua: &Lua, host: &mut dyn TestHost, sent: &Sent) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("verdict", sent.verdict)?;
    table.set("reason", sent.reason)?;
    table.set("changed", sent.changed)?;
    table.set("packets", leaving(lua, host, &sent.packets)?)?;
    Ok(table)
}

fn leaving(lua: &Lua, host: &mut dyn TestHost, packets: &[Leaving]) -> mlua::Result<Table> {
    let list = lua.create_table()?;
    for packet in packets {
        let table = match host.decode(&packet.bytes) {
            Ok(parts) => decoded(lua, &parts, &packet.bytes)?,
            Err(problem) => lua.create_table_from([("problem", problem), ("hex", to_hex(&packet.bytes))])?,
        };
        table.set("way", if packet.back { "back" } else { "onward" })?;
        list.push(table)?;
    }
    Ok(list)
}

fn decoded(lua: &Lua, packet: &Decoded, bytes: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("ip_version", packet.ip_version)?;
    table.set("protocol", packet.protocol.as_str())?;
    table.set("from", packet.from.as_str())?;
    table.set("to", packet.to.as_str())?;
    table.set("payload", lua.create_string(&packet.payload)?)?;
    table.set("checksum_ok", packet.checksum_ok)?;
    table.set("ttl", packet.ttl)?;
    table.set("flags", packet.flags.as_deref())?;
    table.set("seq", packet.numbers.map(|(seq, _)| f64::from(seq)))?;
    table.set("ack", packet.numbers.map(|(_, ack)| f64::from(ack)))?;
    table.set("length", bytes.len())?;
    table.set("hex", to_hex(bytes))?;
    Ok(table)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of hexadecimal digits; white space between them does not count.
fn from_hex(text: &str) -> mlua::Result<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0);
    let digits =
        digits.ok_or_else(|| wrong("write pairs of hexadecimal digits, such as \"45 00 00 1c\"".to_owned()))?;
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

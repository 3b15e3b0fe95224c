//! Behind `ctx`: log, time, random numbers, timers, packets to send, flows, report.

use serde_json::{Map, Value, json};

use crate::base::filter::address_of;
use crate::base::id::FlowId;
use crate::base::limits::{MODULE_REPORT_BYTES_MAX, PACKET_BYTES_MAX, UPDATE_STATE_BYTES_MAX};
use crate::base::time::Instant;
use crate::container::api::{Answer, malformed};
use crate::container::instance::{Effect, LogLevel, SendTo};
use crate::container::manifest::{Changes, Sees};
use crate::container::permissions::Use;
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;
use crate::wire::checksum;
use crate::wire::header::{Fragment, Header, ICMP, ICMPV6, TCP, UDP};

/// Flows that one call of `ctx:flows` returns at most.
const FLOWS_PER_CALL_MAX: usize = 4_096;
/// Slots of the flow cache that stand for one safepoint where time is virtual: all may be looked through.
const SLOTS_PER_SAFEPOINT: u64 = 4;

/// What the manifest allows, for the Luau side.
pub(crate) fn settings(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    let manifest = &host.manifest;
    let counters: Vec<&String> = manifest.counters.keys().collect();
    Ok(Answer::Value(json!({
        "name": manifest.name,
        "entry": manifest.entry,
        "counters": counters,
        "sees_payload": manifest.sees == Sees::Payload,
        "may_headers": manifest.changes >= Changes::Headers,
        "may_payload": manifest.changes >= Changes::Payload,
        "may_length": manifest.changes >= Changes::Length,
        "may_drop": manifest.drops,
        "tasks_max": manifest.limits.tasks,
        "counts": host.guard().counts(),
    })))
}

/// `ctx.config`: the properties.
pub(crate) fn config(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    let values = host.properties.0.iter().map(|(name, value)| (name.clone(), from_toml(value))).collect();
    Ok(Answer::Value(Value::Object(values)))
}

fn from_toml(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(yes) => Value::from(*yes),
        toml::Value::Datetime(time) => Value::from(time.to_string()),
        toml::Value::Array(items) => items.iter().map(from_toml).collect(),
        toml::Value::Table(table) => {
            Value::Object(table.iter().map(|(key, value)| (key.clone(), from_toml(value))).collect::<Map<_, _>>())
        }
    }
}

/// Raises an error in the name of the module's line.
pub(crate) fn fail(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Err(String::from_utf8_lossy(arguments.bytes(1, "message")?).into_owned())
}

/// Counts work that Luau does between two safepoints, where time is virtual.
pub(crate) fn charge(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    host.guard().charge(arguments.number(1, "safepoints")? as u64);
    Ok(Answer::Nil)
}

/// `ctx:log(level, text)`.
pub(crate) fn log(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let level = match arguments.bytes(1, "level")? {
        b"debug" => LogLevel::Debug,
        b"info" => LogLevel::Info,
        b"warn" => LogLevel::Warn,
        other => {
            let other = super::effects::one_line(other, 32);
            return Err(format!("\"{other}\" is no log level; there are \"debug\", \"info\" and \"warn\""));
        }
    };
    let text = arguments.bytes(2, "text")?;
    host.effects.borrow_mut().log(host.now.get(), level, text)?;
    Ok(Answer::Nil)
}

/// `ctx:now()`, in seconds.
pub(crate) fn now(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Number(host.now.get().as_secs_f64()))
}

/// `ctx:wall_time()`, in seconds since 1970-01-01 UTC.
pub(crate) fn wall_time(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Number(host.wall.at(host.now.get()).as_nanos() as f64 / 1e9))
}

/// `ctx:random([n])`: a number in `0..1`, or a whole one from 1 to `n`.
pub(crate) fn random(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let mut rng = host.rng.borrow_mut();
    if arguments.is_nil(1) {
        return Ok(Answer::Number(rng.unit()));
    }
    let n = arguments.number(1, "n")?;
    if !(1.0..=9_007_199_254_740_992.0).contains(&n) {
        return Err(format!("random numbers go from 1 to n; n cannot be {n}"));
    }
    Ok(Answer::Number((rng.below(n as u64) + 1) as f64))
}

/// `ctx:every` and `ctx:after`: sets a timer and returns its number.
pub(crate) fn timer(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let seconds = arguments.number(1, "seconds")?;
    let repeats = arguments.truth(2);
    let mut timers = host.timers.borrow_mut();
    let number = timers.add(host.now.get(), seconds, repeats)?;
    if let Some(wakeup) = timers.wakeup(host.now.get()) {
        let effect = Effect::SetTimer { number: wakeup.number, delay: wakeup.delay };
        if let Err(limit) = host.effects.borrow_mut().add(effect) {
            timers.woken(wakeup.number);
            timers.cancel(number);
            return Err(limit);
        }
    }
    Ok(Answer::Number(f64::from(number)))
}

/// `timer:cancel()`.
pub(crate) fn cancel(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let number = arguments.number(1, "timer")?;
    host.timers.borrow_mut().cancel(number as u32);
    Ok(Answer::Nil)
}

/// `ctx:inject(packet, to)`: sends a packet that the module made, once its checksums are complete.
pub(crate) fn inject(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    host.allowed.check(&Use::Inject).map_err(|refusal| refusal.to_string())?;
    let bytes = arguments.bytes(1, "packet")?;
    let to = if arguments.is_nil(2) { b"onward".as_slice() } else { arguments.bytes(2, "to")? };
    let to = match to {
        b"onward" => SendTo::Onward,
        b"back" => SendTo::Back,
        _ => return Err("a packet is sent \"onward\" or \"back\"".to_owned()),
    };
    if bytes.len() > PACKET_BYTES_MAX {
        return Err(format!("the packet has {} bytes; it may have {PACKET_BYTES_MAX}", bytes.len()));
    }
    let header = Header::parse(bytes, false).map_err(malformed)?;
    let source = address_of(header.source, header.ip_version).to_canonical();
    if let Err(refusal) = host.allowed.check(&Use::AnswerFor(source))
        && !host.is_own(source)
    {
        return Err(refusal.to_string());
    }
    let mut bytes = bytes[..header.end as usize].to_vec();
    complete_checksums(&mut bytes, &header);
    host.effects.borrow_mut().add(Effect::Send { bytes, to })?;
    Ok(Answer::Nil)
}

/// Writes the checksums of a packet from scratch.
fn complete_checksums(bytes: &mut [u8], header: &Header) {
    checksum::write_ipv4(bytes);
    let offset = match header.protocol {
        TCP => 16,
        UDP => 6,
        ICMP | ICMPV6 => 2,
        _ => return,
    };
    // The checksum of a fragmented packet covers bytes that are not here.
    let transport_at = usize::from(header.transport_at);
    if header.fragment != Fragment::Whole || bytes.len() < transport_at + offset + 2 {
        return;
    }
    let at = transport_at + offset;
    bytes[at..at + 2].fill(0);
    let transport = &bytes[transport_at..];
    let pseudo = if header.protocol == ICMP { 0 } else { checksum::pseudo_header(bytes, header, transport.len()) };
    let mut sum = !checksum::fold(checksum::add(pseudo, transport));
    if header.protocol == UDP && sum == 0 {
        sum = 0xffff;
    }
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// `ctx:flows([max [, after [, since]]])`: flows behind the one called `after`, with a packet since the time `since`.
pub(crate) fn flows(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let count_max = if arguments.is_nil(1) { FLOWS_PER_CALL_MAX as f64 } else { arguments.number(1, "max")? };
    let count_max = (count_max as usize).min(FLOWS_PER_CALL_MAX);
    let after = if arguments.is_nil(2) { None } else { FlowId::from_number(arguments.number(2, "after")?) };
    let since = if arguments.is_nil(3) { 0.0 } else { arguments.number(3, "since")? };
    // The time was rounded when the module got it: a nanosecond more of flows is better than one less.
    let since = Instant::from_nanos(((since * 1e9).max(0.0) as u64).saturating_sub(1_000));
    host.guard().charge(host.flows.slot_count() as u64 / SLOTS_PER_SAFEPOINT);
    Ok(Answer::Flows(host.flows.flows_since(host.id, after, since, count_max)))
}

/// `ctx:flow(id)`; nil if the flow is over.
pub(crate) fn flow(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let id = FlowId::from_number(arguments.number(1, "flow")?);
    Ok(id.and_then(|id| host.flows.flow(host.id, id)).map_or(Answer::Nil, Answer::Flow))
}

/// The argument of `on_flow_end`.
pub(crate) fn flow_end(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    Ok(host.flow_end.get().map_or(Answer::Nil, Answer::Flow))
}

/// The argument of `stop`.
pub(crate) fn stop_reason(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Bytes(host.stop_reason.borrow().clone().into_bytes()))
}

/// Takes what `report` returned.
pub(crate) fn report(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let value = arguments.json(1, MODULE_REPORT_BYTES_MAX).map_err(|e| format!("report: {e}"))?;
    *host.report.borrow_mut() = Some(value);
    Ok(Answer::Nil)
}

/// Takes what `export_state` returned.
pub(crate) fn exported(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let state = arguments.copied(1, UPDATE_STATE_BYTES_MAX).map_err(|e| format!("export_state: {e}"))?;
    *host.handed_over.borrow_mut() = Some(state);
    Ok(Answer::Nil)
}

/// The argument of `import_state`.
pub(crate) fn imported(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    Ok(host.handed_over.borrow_mut().take().map_or(Answer::Nil, Answer::Copied))
}

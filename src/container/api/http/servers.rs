//! Natives of servers.

use std::ops::Range;
use std::time::Duration;

use super::{Clock, Connection, Http, SERVER_LIMITS, Server, head_bytes};
use crate::blocks::http::body::BodyPart;
use crate::blocks::http::conditional::{self, Outcome, Validators};
use crate::blocks::http::range::{self, Ranges};
use crate::blocks::http::response::Outgoing;
use crate::blocks::http::server::{End, ResponseError, ServerLimits};
use crate::container::api::sockets::{Sockets, State};
use crate::container::api::{Answer, SEVERAL_MAX};
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

/// Longest time that a module may ask for, in seconds.
const SECONDS_MAX: f64 = 3_600.0;

/// `adopt(listener, head_bytes?, body_bytes?, head_seconds?, idle_seconds?, body_rate?, requests?)`: what the listener
/// accepts are connections of a server from here on.
pub(super) fn adopt(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let listener = arguments.number(1, "listener")? as u32;
    let limits = limits(arguments)?;
    let mut http = host.http.borrow_mut();
    http.servers.insert(listener, Server { limits, ready: Default::default(), drains: false });
    let _ = http.accept(&mut host.sockets.borrow_mut(), Clock::of(host), listener);
    http.keep_ticking(host);
    Ok(Answer::Nil)
}

fn limits(arguments: &Arguments<'_>) -> Result<ServerLimits, String> {
    let mut limits = SERVER_LIMITS;
    let wish = |at, name: &str, least: f64, most: f64| {
        if arguments.is_nil(at) {
            return Ok(None);
        }
        let number = arguments.number(at, name)?;
        if (least..=most).contains(&number) {
            return Ok(Some(number));
        }
        Err(format!("{name} is a number from {least} to {most}, not {number}"))
    };
    if !arguments.is_nil(2) {
        limits.head.bytes_max = head_bytes(arguments.number(2, "head_bytes")?)?;
    }
    if let Some(bytes) = wish(3, "body_bytes", 0.0, 1e12)? {
        limits.body_bytes_max = bytes as u64;
    }
    if let Some(seconds) = wish(4, "head_seconds", 1.0, SECONDS_MAX)? {
        limits.head_wait = Duration::from_secs_f64(seconds);
    }
    if let Some(seconds) = wish(5, "idle_seconds", 1.0, SECONDS_MAX)? {
        limits.idle_wait = Duration::from_secs_f64(seconds);
    }
    if let Some(rate) = wish(6, "body_rate", 1.0, 1e9)? {
        limits.body_rate = rate as u64;
    }
    if let Some(requests) = wish(7, "requests", 1.0, 1e9)? {
        limits.requests_max = requests as u32;
    }
    Ok(limits)
}

/// `next(listener)`: stream, number, method, path and query of the next request; false if there is none yet; nil, and
/// why, when the server has ended.
pub(super) fn next(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let listener = arguments.number(1, "listener")? as u32;
    let mut http = host.http.borrow_mut();
    let Some(stream) = http.servers.get_mut(&listener).and_then(|server| server.ready.pop_front()) else {
        return Ok(match host.sockets.borrow().state(listener) {
            _ if !http.servers.contains_key(&listener) => Answer::Nil,
            State::Closed(reason) => failed(reason),
            State::Open | State::Opening => Answer::Truth(false),
        });
    };
    let connection = http.connections.get(&stream).and_then(|c| Some((c.head.as_ref()?, c.machine.request_number()?)));
    let (head, number) = connection.expect("what is ready has a request, until it is forgotten");
    let text = |text: &str| Answer::Bytes(text.as_bytes().to_vec());
    Ok(Answer::Several(vec![
        Answer::Number(f64::from(stream)),
        Answer::Number(f64::from(number)),
        text(head.method()),
        text(head.path()),
        head.query().map_or(Answer::Nil, text),
    ]))
}

/// The connection of a request that is still at hand.
fn at_hand<'a>(http: &'a mut Http, arguments: &Arguments<'_>) -> Result<Option<(u32, &'a mut Connection)>, String> {
    let stream = arguments.number(1, "stream")? as u32;
    let number = arguments.number(2, "number")? as u32;
    let connection = http.connections.get_mut(&stream);
    Ok(connection.filter(|c| c.machine.request_number() == Some(number)).map(|connection| (stream, connection)))
}

fn gone() -> Answer {
    failed(ResponseError::Gone.to_string())
}

pub(super) fn failed(reason: String) -> Answer {
    Answer::Several(vec![Answer::Nil, Answer::Bytes(reason.into_bytes())])
}

/// `fields(stream, number)`: the header fields, as a list of names and values; nil once the request is over.
pub(super) fn fields(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let mut http = host.http.borrow_mut();
    let head = at_hand(&mut http, arguments)?.and_then(|(_, connection)| connection.head.as_ref());
    Ok(head.map_or(Answer::Nil, |head| field_list(&head.fields)))
}

/// Names and values, one after the other.
pub(super) fn field_list(fields: &crate::blocks::http::fields::Fields) -> Answer {
    let texts = fields.iter().flat_map(|(name, value)| [name, value]);
    Answer::List(texts.map(|text| Answer::Bytes(text.to_vec())).collect())
}

/// `target(stream, number)`: the target as it came, and the address and port of the client; nil once it is over.
pub(super) fn target(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let mut http = host.http.borrow_mut();
    let Some((stream, connection)) = at_hand(&mut http, arguments)? else { return Ok(Answer::Nil) };
    let target = connection.head.as_ref().map(|head| head.target().as_bytes().to_vec()).unwrap_or_default();
    let peer = host.sockets.borrow().ends(stream).peer;
    let (address, port) = peer.map_or((Answer::Nil, Answer::Nil), |peer| {
        let address = peer.ip().to_canonical().to_string();
        (Answer::Bytes(address.into_bytes()), Answer::Number(f64::from(peer.port())))
    });
    Ok(Answer::Several(vec![Answer::Bytes(target), address, port]))
}

/// `read(stream, number, count)`: bytes of the body; false if none is there yet; nil at its end, and why if it does not
/// end well.
pub(super) fn read(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let mut http = host.http.borrow_mut();
    let clock = Clock::of(host);
    let count = arguments.number(3, "count")?;
    let count =
        if count >= 1.0 { count as usize } else { return Err(format!("one reads 1 byte or more, not {count}")) };
    let mut sockets = host.sockets.borrow_mut();
    loop {
        let Some((stream, connection)) = at_hand(&mut http, arguments)? else { return Ok(gone()) };
        let part = connection.machine.read_body(clock.now, clock.wall, count);
        if let Ok(BodyPart::Waits) = part
            && (sockets.received_bytes(stream) > 0 || sockets.is_finished(stream))
        {
            let _ = http.pump(&mut sockets, clock, stream);
            continue;
        }
        http.flush(&mut sockets, clock, stream);
        return Ok(match part {
            Ok(BodyPart::Bytes(bytes)) => Answer::Bytes(bytes),
            Ok(BodyPart::Waits) => Answer::Truth(false),
            Ok(BodyPart::End) => Answer::Nil,
            Err(error) => failed(error.to_string()),
        });
    }
}

/// What a module is told of a response that could not be sent: nil and why if the client is gone, otherwise an error.
fn refused(result: Result<(), ResponseError>) -> Result<Option<Answer>, String> {
    match result {
        Ok(()) => Ok(None),
        Err(ResponseError::Gone) => Ok(Some(gone())),
        Err(error) => Err(error.to_string()),
    }
}

fn status(arguments: &Arguments<'_>) -> Result<u16, String> {
    let number = arguments.number(3, "status")?;
    if number.fract() == 0.0 && (200.0..=599.0).contains(&number) {
        return Ok(number as u16);
    }
    Err(format!("{number} is no status of a response; it goes from 200 to 599"))
}

/// `start(stream, number, status, fields)`: begins a response whose body follows.
pub(super) fn start(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (status, fields) = (status(arguments)?, Outgoing::unpack(arguments.bytes(4, "fields")?)?);
    let length = fields.length()?;
    let mut http = host.http.borrow_mut();
    let clock = Clock::of(host);
    let Some((stream, connection)) = at_hand(&mut http, arguments)? else { return Ok(gone()) };
    let result = connection.machine.start(clock.wall, status, &fields, length);
    http.flush(&mut host.sockets.borrow_mut(), clock, stream);
    refused(result).map(|refused| refused.unwrap_or(Answer::Truth(true)))
}

/// `write(stream, number, bytes, from)`: writes a part of the body from `from` on, as far as there is room; up to where
/// it came, or nil and why.
pub(super) fn write(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (bytes, from) = (arguments.bytes(3, "bytes")?, arguments.number(4, "from")?);
    let mut http = host.http.borrow_mut();
    let clock = Clock::of(host);
    let Some((stream, connection)) = at_hand(&mut http, arguments)? else { return Ok(gone()) };
    let rest = bytes.get(from as usize..).unwrap_or_default();
    let mut sockets = host.sockets.borrow_mut();
    let len = sockets.room(stream).min(rest.len());
    if len == 0 && !rest.is_empty() {
        connection.full_since.get_or_insert(clock.now);
    }
    let result = connection.machine.write(&rest[..len]);
    http.flush(&mut sockets, clock, stream);
    refused(result).map(|refused| refused.unwrap_or(Answer::Number(from + len as f64)))
}

/// `finish(stream, number)`: ends the response.
pub(super) fn finish(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let mut http = host.http.borrow_mut();
    let clock = Clock::of(host);
    let Some((stream, connection)) = at_hand(&mut http, arguments)? else { return Ok(gone()) };
    let result = connection.machine.finish(clock.now);
    settled(&mut http, &mut host.sockets.borrow_mut(), clock, stream, result)
}

/// What a response that ended answers: true, and keys for the Luau side to wake, since the next request may be there
/// already; or nil and why.
fn settled(
    http: &mut Http,
    sockets: &mut Sockets,
    clock: Clock,
    stream: u32,
    result: Result<(), ResponseError>,
) -> Result<Answer, String> {
    // What was written goes out first: a client that does not read gets no further responses.
    http.flush(sockets, clock, stream);
    let keys = http.pump(sockets, clock, stream);
    let keys = keys.into_iter().take(SEVERAL_MAX - 1).map(Answer::Number);
    let done = || Answer::Several(std::iter::once(Answer::Truth(true)).chain(keys).collect());
    refused(result).map(|refused| refused.unwrap_or_else(done))
}

/// `respond(stream, number, status, fields, body, ranges)`: the whole response.
pub(super) fn respond(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (status, mut fields) = (status(arguments)?, Outgoing::unpack(arguments.bytes(4, "fields")?)?);
    let body = if arguments.is_nil(5) { b"".as_slice() } else { arguments.bytes(5, "body")? };
    if let Some(length) = fields.length()?
        && length != body.len() as u64
    {
        return Err(format!("content-length says {length}, but the body has {} bytes; leave it out", body.len()));
    }
    let mut http = host.http.borrow_mut();
    let clock = Clock::of(host);
    let Some((stream, connection)) = at_hand(&mut http, arguments)? else { return Ok(gone()) };
    let selected = if arguments.truth(6) && status == 200 {
        select(host, connection, &mut fields, body, clock)
    } else {
        Selected { status, body: Body::Slice(0..body.len()) }
    };
    let bytes = match &selected.body {
        Body::Slice(range) => &body[range.clone()],
        Body::Made(made) => made,
    };
    if let Err(reason) = host.sockets.borrow().may_write(stream, bytes.len()) {
        connection.machine.abandon();
        http.flush(&mut host.sockets.borrow_mut(), clock, stream);
        return Ok(failed(reason));
    }
    let machine = &mut connection.machine;
    let bodiless = matches!(selected.status, 204 | 304) && bytes.is_empty();
    let length = (!bodiless).then_some(bytes.len() as u64);
    let result = machine.start(clock.wall, selected.status, &fields, length);
    let result = result.and_then(|()| machine.write(bytes)).and_then(|()| machine.finish(clock.now));
    settled(&mut http, &mut host.sockets.borrow_mut(), clock, stream, result)
}

struct Selected {
    status: u16,
    body: Body,
}

enum Body {
    /// A part of the module's own.
    Slice(Range<usize>),
    Made(Vec<u8>),
}

/// What of a whole body the client wants: conditions first, then ranges (RFC 9110, sections 13.2.2 and 14.2).
fn select(host: &Host, connection: &Connection, fields: &mut Outgoing, body: &[u8], clock: Clock) -> Selected {
    let whole = |status| Selected { status, body: Body::Slice(0..body.len()) };
    let nothing = |status| Selected { status, body: Body::Slice(0..0) };
    let Some(head) = &connection.head else { return whole(200) };
    let now = clock.wall.as_nanos() / 1_000_000_000;
    let (etag, modified) =
        (fields.first("etag").map(<[u8]>::to_vec), fields.first("last-modified").map(<[u8]>::to_vec));
    let validators = Validators { etag: etag.as_deref(), last_modified: modified.as_deref() };
    match conditional::evaluate(head.method(), &head.fields, &validators, now) {
        Outcome::Proceed => {}
        Outcome::NotModified => return nothing(304),
        Outcome::PreconditionFailed => return nothing(412),
    }
    fields.set("accept-ranges", "bytes".to_owned());
    let range = head.fields.first("range").filter(|_| head.method() == "GET");
    let counts = conditional::range_counts(&head.fields, &validators, now);
    let length = body.len() as u64;
    match range.filter(|_| counts).map(|range| Ranges::parse(range, length)) {
        None | Some(Ranges::Whole) => whole(200),
        Some(Ranges::Unsatisfiable) => {
            fields.set("content-range", format!("bytes */{length}"));
            nothing(416)
        }
        Some(Ranges::Parts(parts)) if parts.len() == 1 => {
            let part = &parts[0];
            fields.set("content-range", range::content_range(part, length));
            Selected { status: 206, body: Body::Slice(part.start as usize..part.end as usize) }
        }
        Some(Ranges::Parts(parts)) => {
            let mut rng = host.rng.borrow_mut();
            let boundary = format!("{:016x}{:016x}", rng.below(u64::MAX), rng.below(u64::MAX));
            let content_type = fields.first("content-type").map(<[u8]>::to_vec);
            fields.set("content-type", format!("multipart/byteranges; boundary={boundary}"));
            let made = range::multipart(body, &parts, content_type.as_deref(), &boundary);
            Selected { status: 206, body: Body::Made(made) }
        }
    }
}

/// `give_up(stream, number)`: answers 500, or cuts a response off that has begun. Whether there was something to end.
pub(super) fn give_up(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let mut http = host.http.borrow_mut();
    let clock = Clock::of(host);
    let Some((stream, connection)) = at_hand(&mut http, arguments)? else { return Ok(Answer::Truth(false)) };
    let machine = &mut connection.machine;
    let body = b"the server failed\n";
    let fields = Outgoing::unpack(b"content-type\0text/plain; charset=utf-8\0")?;
    let answered = !machine.has_started()
        && machine.start(clock.wall, 500, &fields, Some(body.len() as u64)).is_ok()
        && machine.write(body).is_ok()
        && machine.finish(clock.now).is_ok();
    if !answered && machine.end() == End::Not {
        machine.abandon();
    }
    settled(&mut http, &mut host.sockets.borrow_mut(), clock, stream, Ok(()))
}

/// `drain(listener)`: the server ends; what it is doing goes on to its end.
pub(super) fn drain(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let listener = arguments.number(1, "listener")? as u32;
    let mut http = host.http.borrow_mut();
    let clock = Clock::of(host);
    let mut sockets = host.sockets.borrow_mut();
    if let Some(server) = http.servers.get_mut(&listener) {
        server.drains = true;
        let of_it = |c: &Connection| c.listener == listener;
        let numbers: Vec<u32> = http.connections.iter().filter(|(_, c)| of_it(c)).map(|(n, _)| *n).collect();
        for number in numbers {
            if let Some(connection) = http.connections.get_mut(&number) {
                connection.machine.drain();
            }
            let _ = http.pump(&mut sockets, clock, number);
        }
    }
    http.forget_server(listener);
    sockets.close(listener, false);
    Ok(Answer::Nil)
}

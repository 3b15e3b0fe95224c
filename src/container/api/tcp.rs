//! Behind `@netserv/tcp`, and the natives of streams that `@netserv/tls` uses too.

use std::ffi::c_int;
use std::net::{IpAddr, SocketAddr};

use crate::base::limits::{SOCKET_NAME_BYTES_MAX, SOCKET_PEM_BYTES_MAX, SOCKET_PROTOCOLS_MAX, SOCKET_READ_BYTES_MAX};
use crate::base::net::Security;
use crate::container::api::block::{Block, Item};
use crate::container::api::sockets::{self, State, Taken};
use crate::container::api::{Answer, context};
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

/// Types of streams, of this block and of [`super::tls`].
const TYPES: &str = "export type Stream = {\n  \
    read: (self: Stream, seconds: number?) -> (string?, string?),\n  \
    read_exactly: (self: Stream, count: number, seconds: number?) -> (string?, string?),\n  \
    read_line: (self: Stream, seconds: number?, bytes_max: number?) -> (string?, string?),\n  \
    write: (self: Stream, bytes: string, seconds: number?) -> (boolean?, string?),\n  \
    finish: (self: Stream) -> (),\n  \
    close: (self: Stream, abort: boolean?) -> (),\n  \
    peer: (self: Stream) -> (string?, number?),\n  \
    here: (self: Stream) -> (string?, number?),\n  \
    protocol: (self: Stream) -> string?,\n\
    }\n\
    export type Listener = {\n  \
    accept: (self: Listener, seconds: number?) -> (Stream?, string?),\n  \
    streams: (self: Listener) -> () -> Stream?,\n  \
    serve: (self: Listener, run: (Stream) -> (), at_once: number?) -> (nil, string?),\n  \
    here: (self: Listener) -> (string?, number?),\n  \
    close: (self: Listener) -> (),\n\
    }";

pub(crate) const BLOCK: Block = Block {
    name: "tcp",
    summary: "Streams over TCP: listen, connect, read, write.",
    about: "Needs `permissions.listen` (`\"tcp:8080\"`) or `permissions.connect` (`\"tcp:example.org:443\"`); a rule for \
            a name holds for its addresses, but not for those of the node's own machine. At most `limits.sockets` are \
            open at once, and a stream that nobody closes stays open until its end was read.\n\n\
            What waits, waits in a task, and returns nil and a reason when it cannot be done: `\"timeout\"` after the \
            seconds given, or what the network says. What is a mistake of the module, a missing permission or a limit \
            raises an error.\n\n\
            A peer that sends more than the module reads has to wait; so has a module that writes more than its peer \
            reads (256 KiB wait at most in each direction).",
    types: TYPES,
    items: &[
        Item {
            name: "listen",
            luau: "(options: { port: number, address: string? }) -> (Listener?, string?)",
            about: "Listens at a port of the machine, of all its addresses unless one is given. Port 0 takes any free one; \
                    `here` tells which.",
        },
        Item {
            name: "connect",
            luau: "(host: string, port: number, seconds: number?) -> (Stream?, string?)",
            about: "Opens a stream to a name or an address. The addresses of a name are tried one after the other.",
        },
        Item {
            name: "Listener.accept",
            luau: "(self: Listener, seconds: number?) -> (Stream?, string?)",
            about: "Waits for the next stream. While nobody accepts, 256 wait; others wait with the system.",
        },
        Item {
            name: "Listener.streams",
            luau: "(self: Listener) -> () -> Stream?",
            about: "For loops: `for stream in listener:streams() do ... end`. Ends when the listener is closed.",
        },
        Item {
            name: "Listener.serve",
            luau: "(self: Listener, run: (Stream) -> (), at_once: number?) -> (nil, string?)",
            about: "Accepts streams, runs the function in a task of its own for each, and closes the stream when it ends, \
                    with an error too. At most `at_once` run at the same time (nearly all of `limits.tasks` if not \
                    given); others wait. Returns why when the listener ends.",
        },
        Item {
            name: "Listener.here",
            luau: "(self: Listener) -> (string?, number?)",
            about: "Address and port at which it listens.",
        },
        Item {
            name: "Listener.close",
            luau: "(self: Listener) -> ()",
            about: "Ends it. Streams that were accepted stay.",
        },
        Item {
            name: "Stream.read",
            luau: "(self: Stream, seconds: number?) -> (string?, string?)",
            about: "Waits for bytes and returns what there is, at most 64 KiB. Nil alone when the peer has finished, nil \
                    and a reason when the stream broke or the time is over.",
        },
        Item {
            name: "Stream.read_exactly",
            luau: "(self: Stream, count: number, seconds: number?) -> (string?, string?)",
            about: "Waits for so many bytes, at most 64 KiB. When they do not come, nil and the reason; what came stays to \
                    be read.",
        },
        Item {
            name: "Stream.read_line",
            luau: "(self: Stream, seconds: number?, bytes_max: number?) -> (string?, string?)",
            about: "Waits for a line, and returns it without its end (`\\n` or `\\r\\n`). Nil alone when the peer has \
                    finished and nothing is left. A line longer than `bytes_max` (8192 if not given, at most 64 KiB) is \
                    nil and a reason.",
        },
        Item {
            name: "Stream.write",
            luau: "(self: Stream, bytes: string, seconds: number?) -> (boolean?, string?)",
            about: "Writes all of it: true once the rest fits into what may wait. Many small writes go out as one. When the \
                    peer does not read for so long, nil and `\"timeout\"`: a part of it was written.",
        },
        Item {
            name: "Stream.finish",
            luau: "(self: Stream) -> ()",
            about: "Says that nothing more is written; what was written still arrives. Reading goes on.",
        },
        Item {
            name: "Stream.close",
            luau: "(self: Stream, abort: boolean?) -> ()",
            about: "Ends it. What was written still goes out, unless `abort` is true: then the stream is reset.",
        },
        Item {
            name: "Stream.peer",
            luau: "(self: Stream) -> (string?, number?)",
            about: "Address and port of the other side; nil once it is closed.",
        },
        Item {
            name: "Stream.here",
            luau: "(self: Stream) -> (string?, number?)",
            about: "Address and port of this side; nil once it is closed.",
        },
        Item {
            name: "Stream.protocol",
            luau: "(self: Stream) -> string?",
            about: "The application protocol that TLS agreed on; nil without.",
        },
    ],
    example: include_str!("examples/tcp.luau"),
    natives: &[
        ("accept", accept),
        ("close", close),
        ("connect", connect),
        ("ends", ends),
        ("fail", context::fail),
        ("finish", finish),
        ("listen", listen),
        ("now", context::now),
        ("state", state),
        ("take", take),
        ("take_exactly", take_exactly),
        ("take_line", take_line),
        ("write", write),
    ],
    code: include_str!("tcp.luau"),
};

/// A socket's number, in any argument.
pub(super) fn socket(arguments: &Arguments<'_>, at: c_int) -> Result<u32, String> {
    Ok(arguments.number(at, "socket")? as u32)
}

/// A text.
pub(super) fn text<'a>(arguments: &Arguments<'a>, at: c_int, name: &str) -> Result<&'a str, String> {
    std::str::from_utf8(arguments.bytes(at, name)?).map_err(|_| format!("{name} is no text"))
}

/// A port; `least` is 1 where 0 has no meaning.
pub(super) fn port(arguments: &Arguments<'_>, at: c_int, least: u16) -> Result<u16, String> {
    let number = arguments.number(at, "port")?;
    if number.fract() == 0.0 && (f64::from(least)..=65_535.0).contains(&number) {
        return Ok(number as u16);
    }
    Err(format!("a port is a number from {least} to 65535, not {number}"))
}

/// An address.
pub(super) fn address(arguments: &Arguments<'_>, at: c_int, name: &str) -> Result<IpAddr, String> {
    let text = text(arguments, at, name)?;
    text.parse().map_err(|_| {
        format!("\"{}\" is no address; @netserv/dns looks names up", text.chars().take(64).collect::<String>())
    })
}

/// Where to listen: all addresses if none is given.
pub(super) fn local(arguments: &Arguments<'_>, at: c_int) -> Result<SocketAddr, String> {
    let unspecified = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
    let address = if arguments.is_nil(at) { unspecified } else { address(arguments, at, "address")? };
    Ok(SocketAddr::new(address, port(arguments, at + 1, 0)?))
}

fn pem(arguments: &Arguments<'_>, at: c_int, name: &str) -> Result<String, String> {
    let pem = text(arguments, at, name)?;
    if pem.len() > SOCKET_PEM_BYTES_MAX {
        return Err(format!("{name} has {} bytes; it may have {SOCKET_PEM_BYTES_MAX}", pem.len()));
    }
    Ok(pem.to_owned())
}

fn protocols(arguments: &Arguments<'_>, at: c_int) -> Result<Vec<String>, String> {
    let wrong = || format!("protocols are a list of at most {SOCKET_PROTOCOLS_MAX} names of 1 to 255 bytes");
    let list = arguments.json(at, SOCKET_PROTOCOLS_MAX * 256).map_err(|_| wrong())?;
    let items = list.as_array().filter(|items| items.len() <= SOCKET_PROTOCOLS_MAX).ok_or_else(wrong)?;
    let name = |item: &serde_json::Value| {
        let name = item.as_str().filter(|name| (1..=255).contains(&name.len()));
        name.map(str::to_owned).ok_or_else(wrong)
    };
    items.iter().map(name).collect()
}

/// `listen(address?, port, certificate?, key?, protocols?)`: the listener's number.
fn listen(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let security = if arguments.is_nil(3) {
        Security::Plain
    } else {
        let (certificate, key) = (pem(arguments, 3, "certificate")?, pem(arguments, 4, "key")?);
        Security::TlsServer { certificate, key, protocols: protocols(arguments, 5)? }
    };
    sockets::listen(host, local(arguments, 1)?, security).map(|number| Answer::Number(f64::from(number)))
}

/// `connect(name, address, port, server_name?, authorities?, protocols?)`: the stream's number.
fn connect(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let name = text(arguments, 1, "host")?;
    let to = SocketAddr::new(address(arguments, 2, "address")?, port(arguments, 3, 1)?);
    let security = if arguments.is_nil(4) {
        Security::Plain
    } else {
        let server_name = text(arguments, 4, "name")?;
        if server_name.len() > SOCKET_NAME_BYTES_MAX {
            return Err(format!("a name has at most {SOCKET_NAME_BYTES_MAX} bytes"));
        }
        let authorities = if arguments.is_nil(5) { None } else { Some(pem(arguments, 5, "authorities")?) };
        let server_name = server_name.to_owned();
        Security::TlsClient { server_name, authorities, protocols: protocols(arguments, 6)? }
    };
    sockets::connect(host, name, to, security).map(|number| Answer::Number(f64::from(number)))
}

/// `state(socket)`: true when open; false while it is being opened; nil and why when it is over.
pub(super) fn state(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(match host.sockets.borrow().state(socket(arguments, 1)?) {
        State::Open => Answer::Truth(true),
        State::Opening => Answer::Truth(false),
        State::Closed(reason) => failed(reason),
    })
}

fn failed(reason: String) -> Answer {
    Answer::Several(vec![Answer::Nil, Answer::Bytes(reason.into_bytes())])
}

/// `accept(listener)`: a stream's number, or nil.
fn accept(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let stream = host.sockets.borrow_mut().accept(socket(arguments, 1)?);
    Ok(stream.map_or(Answer::Nil, |number| Answer::Number(f64::from(number))))
}

fn answer(taken: Taken) -> Answer {
    match taken {
        Taken::Bytes(bytes) => Answer::Bytes(bytes),
        Taken::Nothing => Answer::Truth(false),
        Taken::Ended => Answer::Nil,
        Taken::Failed(reason) => failed(reason),
    }
}

/// `take(stream)`: what came; false if nothing did yet; nil, and a reason unless the peer has finished.
fn take(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(answer(host.sockets.borrow_mut().take_received(socket(arguments, 1)?, SOCKET_READ_BYTES_MAX)))
}

/// A number of bytes that one read may give.
fn count(arguments: &Arguments<'_>, at: c_int, name: &str) -> Result<usize, String> {
    let number = arguments.number(at, name)?;
    if number.fract() == 0.0 && (1.0..=SOCKET_READ_BYTES_MAX as f64).contains(&number) {
        return Ok(number as usize);
    }
    Err(format!("{name} is a number from 1 to {SOCKET_READ_BYTES_MAX}, not {number}"))
}

/// `take_exactly(stream, count)`: as [`take`], but so many bytes.
fn take_exactly(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (number, count) = (socket(arguments, 1)?, count(arguments, 2, "count")?);
    Ok(answer(host.sockets.borrow_mut().take_exactly(number, count)))
}

/// `take_line(stream, bytes_max)`: as [`take`], but a line without its end.
fn take_line(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (number, bytes_max) = (socket(arguments, 1)?, count(arguments, 2, "bytes_max")?);
    Ok(answer(host.sockets.borrow_mut().take_line(number, bytes_max)))
}

/// `write(stream, bytes, from)`: writes the bytes from `from` on as far as there is room; up to where it came, or nil
/// and why.
fn write(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (number, bytes, from) = (socket(arguments, 1)?, arguments.bytes(2, "bytes")?, arguments.number(3, "from")?);
    let rest = bytes.get(from as usize..).unwrap_or_default();
    let mut sockets = host.sockets.borrow_mut();
    let len = sockets.room(number).min(rest.len());
    Ok(match sockets.write(number, &rest[..len]) {
        Ok(_) => Answer::Number(from + len as f64),
        Err(reason) => failed(reason),
    })
}

fn finish(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    host.sockets.borrow_mut().finish(socket(arguments, 1)?);
    Ok(Answer::Nil)
}

/// `close(socket, abort?)`, of any kind. Who waits for it is woken.
pub(super) fn close(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    host.sockets.borrow_mut().close(socket(arguments, 1)?, arguments.truth(2));
    Ok(Answer::Nil)
}

/// `ends(socket)`: address and port of this side, and of the other, and the protocol.
pub(super) fn ends(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let ends = host.sockets.borrow().ends(socket(arguments, 1)?);
    let mut answers = Vec::with_capacity(5);
    for end in [ends.local, ends.peer] {
        match end {
            Some(end) => answers.extend([address_answer(end.ip()), Answer::Number(f64::from(end.port()))]),
            None => answers.extend([Answer::Nil, Answer::Nil]),
        }
    }
    answers.push(ends.protocol.map_or(Answer::Nil, |protocol| Answer::Bytes(protocol.into_bytes())));
    Ok(Answer::Several(answers))
}

/// An address as text.
pub(super) fn address_answer(address: IpAddr) -> Answer {
    Answer::Bytes(address.to_canonical().to_string().into_bytes())
}

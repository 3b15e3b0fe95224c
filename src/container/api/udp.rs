//! Behind `@netserv/udp`.

use std::net::SocketAddr;

use crate::base::limits::SOCKET_DATAGRAMS_MAX;
use crate::container::api::block::{Block, Item};
use crate::container::api::{Answer, context, sockets, tcp};
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

pub(crate) const BLOCK: Block = Block {
    name: "udp",
    summary: "Datagrams over UDP, one by one or many at once.",
    about: "Needs `permissions.listen` (`\"udp:5060\"`) for a port of its own. Whoever writes to such a socket may be \
            answered; to write to others needs `permissions.connect` (`\"udp:192.0.2.0/24:3478\"`; a rule for a name \
            holds for the addresses that `@netserv/dns` found for it). Without the permission to listen, a socket has any \
            free port, and only those to whom it wrote are heard.\n\n\
            What waits returns nil and a reason when it cannot be done; mistakes, missing permissions and limits raise an \
            error. 256 datagrams wait to be received; more are dropped, and so is what does not fit into the network.",
    types: "export type Datagram = { bytes: string, address: string, port: number }\n\
            export type UdpSocket = {\n  \
              receive: (self: UdpSocket, seconds: number?) -> (string?, string?, number?),\n  \
              receive_many: (self: UdpSocket, count: number?, seconds: number?) -> ({ Datagram }?, string?),\n  \
              datagrams: (self: UdpSocket) -> () -> (string?, string?, number?),\n  \
              send: (self: UdpSocket, bytes: string, address: string, port: number, from: string?) -> boolean,\n  \
              here: (self: UdpSocket) -> (string?, number?),\n  \
              close: (self: UdpSocket) -> (),\n\
            }",
    items: &[
        Item {
            name: "open",
            luau: "(options: { port: number?, address: string? }?) -> (UdpSocket?, string?)",
            about: "Opens a socket at a port, any free one if not given, of all addresses of the machine unless one is \
                    given.",
        },
        Item {
            name: "UdpSocket.receive",
            luau: "(self: UdpSocket, seconds: number?) -> (string?, string?, number?)",
            about: "Waits for a datagram: its bytes, and address and port of the sender. Nil and a reason when the time is \
                    over (`\"timeout\"`) or the socket ended.",
        },
        Item {
            name: "UdpSocket.receive_many",
            luau: "(self: UdpSocket, count: number?, seconds: number?) -> ({ Datagram }?, string?)",
            about: "As `receive`, but all that wait already, at most `count` (64 if not given).",
        },
        Item {
            name: "UdpSocket.datagrams",
            luau: "(self: UdpSocket) -> () -> (string?, string?, number?)",
            about: "For loops: `for bytes, address, port in socket:datagrams() do ... end`.",
        },
        Item {
            name: "UdpSocket.send",
            luau: "(self: UdpSocket, bytes: string, address: string, port: number, from: string?) -> boolean",
            about: "Sends a datagram to an address. Does not wait: false if there is no room, and then it is lost. An answer \
                    goes from the address that the peer wrote to. `from` is another address to send from; one that is not \
                    the machine's own needs `permissions.answer_for`.",
        },
        Item {
            name: "UdpSocket.here",
            luau: "(self: UdpSocket) -> (string?, number?)",
            about: "Its address and port.",
        },
        Item { name: "UdpSocket.close", luau: "(self: UdpSocket) -> ()", about: "Closes it." },
    ],
    example: include_str!("examples/udp.luau"),
    natives: &[
        ("close", tcp::close),
        ("ends", tcp::ends),
        ("fail", context::fail),
        ("now", context::now),
        ("open", open),
        ("send", send),
        ("state", tcp::state),
        ("take", take),
        ("take_many", take_many),
    ],
    code: include_str!("udp.luau"),
};

/// `open(address?, port)`: the socket's number.
fn open(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    sockets::bind(host, tcp::local(arguments, 1)?).map(|number| Answer::Number(f64::from(number)))
}

/// `send(socket, bytes, address, port, from?)`: whether there was room.
fn send(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (number, bytes) = (tcp::socket(arguments, 1)?, arguments.bytes(2, "bytes")?);
    let to = SocketAddr::new(tcp::address(arguments, 3, "address")?, tcp::port(arguments, 4, 1)?);
    let from = if arguments.is_nil(5) { None } else { Some(tcp::address(arguments, 5, "from")?) };
    let is_own = |address| host.is_own(address);
    host.sockets.borrow_mut().send(&host.allowed, &is_own, number, bytes, to, from).map(Answer::Truth)
}

/// `take(socket)`: bytes, address and port, or nil.
fn take(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let datagram = host.sockets.borrow_mut().take_datagram(tcp::socket(arguments, 1)?);
    Ok(datagram.map_or(Answer::Nil, |datagram| {
        let (address, port) = (tcp::address_answer(datagram.from.ip()), f64::from(datagram.from.port()));
        Answer::Several(vec![Answer::Bytes(datagram.bytes), address, Answer::Number(port)])
    }))
}

/// `take_many(socket, count)`: a list of datagrams, or nil if there is none.
fn take_many(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (number, count) = (tcp::socket(arguments, 1)?, arguments.number(2, "count")?);
    if count.is_nan() || count < 1.0 {
        return Err(format!("count is a number from 1 on, not {count}"));
    }
    let mut sockets = host.sockets.borrow_mut();
    let count = (count as usize).min(SOCKET_DATAGRAMS_MAX);
    let datagrams: Vec<Answer> = std::iter::from_fn(|| sockets.take_datagram(number))
        .take(count)
        .map(|datagram| {
            Answer::Record(vec![
                ("bytes", Answer::Bytes(datagram.bytes)),
                ("address", tcp::address_answer(datagram.from.ip())),
                ("port", Answer::Number(f64::from(datagram.from.port()))),
            ])
        })
        .collect();
    Ok(if datagrams.is_empty() { Answer::Nil } else { Answer::List(datagrams) })
}

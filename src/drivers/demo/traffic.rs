//! A little conversation, made in memory: what a demonstration replays.

use std::io;
use std::net::Ipv6Addr;

use etherparse::{Ethernet2Header, PacketBuilder, PacketBuilderStep, TcpHeader};

use crate::base::rng::Rng;
use crate::drivers::replay::reader::Frame;
use crate::drivers::replay::writer::CaptureWriter;
use crate::wire::frame;

/// Noon of 1 January 2026, UTC.
const START_NS: u64 = 1_767_268_800_000_000_000;

const CLIENT: [u8; 4] = [192, 0, 2, 10];
const RESOLVER: [u8; 4] = [192, 0, 2, 53];
const SERVER: [u8; 4] = [198, 51, 100, 20];
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, 0, 0x20);
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The conversation as a capture file: a name is looked up, a page is fetched over HTTP, one more over HTTPS, and some
/// messages go by UDP, over IPv4 and IPv6.
///
/// # Errors
///
/// When a payload would be too long for its packet.
pub(super) fn capture() -> io::Result<Vec<u8>> {
    let mut tape = Tape { writer: CaptureWriter::new(Vec::new(), frame::ETHERNET)?, time_ns: START_NS };
    names(&mut tape)?;
    page(&mut tape)?;
    page_over_tls(&mut tape)?;
    messages(&mut tape)?;
    tape.writer.finish()
}

/// Frames one after the other.
struct Tape {
    writer: CaptureWriter<Vec<u8>>,
    time_ns: u64,
}

/// The client's connection to a port of the server.
struct Connection {
    ports: (u16, u16),
    /// The next sequence numbers of client and server.
    next: (u32, u32),
}

impl Tape {
    /// One frame, `after_us` microseconds after the last one.
    fn add(&mut self, after_us: u64, bytes: &[u8]) -> io::Result<()> {
        self.time_ns += after_us * 1_000;
        let wire_bytes = bytes.len() as u32;
        self.writer.write(&Frame { link_type: frame::ETHERNET, time_ns: self.time_ns, bytes, wire_bytes })
    }

    /// Two datagrams, there and back, between the client and a server.
    fn udp(&mut self, server: [u8; 4], ports: (u16, u16), question: &[u8], answer: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let builder = onward().ipv4(CLIENT, server, 64).udp(ports.0, ports.1);
        builder.write(&mut bytes, question).map_err(io::Error::other)?;
        self.add(40_000, &bytes)?;
        bytes.clear();
        let builder = back().ipv4(server, CLIENT, 60).udp(ports.1, ports.0);
        builder.write(&mut bytes, answer).map_err(io::Error::other)?;
        self.add(1_800, &bytes)
    }

    fn udp6(&mut self, ports: (u16, u16), question: &[u8], answer: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let builder = onward().ipv6(CLIENT6.octets(), SERVER6.octets(), 64).udp(ports.0, ports.1);
        builder.write(&mut bytes, question).map_err(io::Error::other)?;
        self.add(40_000, &bytes)?;
        bytes.clear();
        let builder = back().ipv6(SERVER6.octets(), CLIENT6.octets(), 60).udp(ports.1, ports.0);
        builder.write(&mut bytes, answer).map_err(io::Error::other)?;
        self.add(2_100, &bytes)
    }

    /// One segment of the client or of the server.
    fn tcp(&mut self, of: &mut Connection, client: bool, flags: Flags, payload: &[u8]) -> io::Result<()> {
        let (ports, (mine, theirs)) = match client {
            true => (of.ports, of.next),
            false => ((of.ports.1, of.ports.0), (of.next.1, of.next.0)),
        };
        let mut header = TcpHeader::new(ports.0, ports.1, mine, 64_240);
        header.syn = flags == Flags::Syn;
        header.fin = flags == Flags::Fin;
        header.psh = !payload.is_empty();
        header.ack = !(client && header.syn);
        header.acknowledgment_number = if header.ack { theirs } else { 0 };
        let mut bytes = Vec::new();
        let builder = if client { onward().ipv4(CLIENT, SERVER, 64) } else { back().ipv4(SERVER, CLIENT, 60) };
        builder.tcp_header(header).write(&mut bytes, payload).map_err(io::Error::other)?;
        let sent = payload.len() as u32 + u32::from(flags != Flags::Data);
        if client {
            of.next.0 += sent
        } else {
            of.next.1 += sent
        }
        self.add(if client { 300 } else { 2_400 }, &bytes)
    }

    fn open(&mut self, ports: (u16, u16)) -> io::Result<Connection> {
        let mut connection = Connection { ports, next: (1_000, 5_000) };
        self.tcp(&mut connection, true, Flags::Syn, &[])?;
        self.tcp(&mut connection, false, Flags::Syn, &[])?;
        self.tcp(&mut connection, true, Flags::Data, &[])?;
        Ok(connection)
    }

    fn close(&mut self, mut connection: Connection) -> io::Result<()> {
        self.tcp(&mut connection, true, Flags::Fin, &[])?;
        self.tcp(&mut connection, false, Flags::Fin, &[])?;
        self.tcp(&mut connection, true, Flags::Data, &[])
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flags {
    Syn,
    Fin,
    Data,
}

fn onward() -> PacketBuilderStep<Ethernet2Header> {
    PacketBuilder::ethernet2(CLIENT_MAC, ROUTER_MAC)
}

fn back() -> PacketBuilderStep<Ethernet2Header> {
    PacketBuilder::ethernet2(ROUTER_MAC, CLIENT_MAC)
}

fn names(tape: &mut Tape) -> io::Result<()> {
    for (id, name) in [(0x2a01, "www.example.org"), (0x2a02, "shop.example.net")] {
        let (question, answer) = dns(id, name);
        tape.udp(RESOLVER, (40_000 + (id & 0xff), 53), &question, &answer)?;
    }
    Ok(())
}

fn page(tape: &mut Tape) -> io::Result<()> {
    let mut connection = tape.open((40_100, 80))?;
    let request = "GET /netserv.html HTTP/1.1\r\nHost: www.example.org\r\nAccept: text/html\r\n\r\n";
    tape.tcp(&mut connection, true, Flags::Data, request.as_bytes())?;
    let body = "<p>Modules of netserv run on the nodes along a path.</p>\n";
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    tape.tcp(&mut connection, false, Flags::Data, answer.as_bytes())?;
    tape.tcp(&mut connection, true, Flags::Data, &[])?;
    tape.close(connection)
}

fn page_over_tls(tape: &mut Tape) -> io::Result<()> {
    let mut connection = tape.open((40_101, 443))?;
    tape.tcp(&mut connection, true, Flags::Data, &client_hello("shop.example.net"))?;
    // What follows is encrypted: bytes that say nothing.
    let mut rng = Rng::seeded(7);
    let sealed: Vec<u8> = (0..200).map(|_| rng.next_u64() as u8).collect();
    let record = [&[0x17, 3, 3, 0, 200][..], &sealed].concat();
    tape.tcp(&mut connection, false, Flags::Data, &record)?;
    tape.tcp(&mut connection, true, Flags::Data, &[])?;
    tape.close(connection)
}

fn messages(tape: &mut Tape) -> io::Result<()> {
    tape.udp(SERVER, (40_200, 5_000), b"is there a netserv node on this path?", b"yes: netserv, and netserv again")?;
    tape.udp(SERVER, (40_200, 5_000), b"nothing to change here", b"nor here")?;
    tape.udp6((40_201, 5_000), b"netserv over IPv6", b"the same netserv, the same code")
}

/// A question for the address of `name`, and its answer (RFC 1035, section 4).
fn dns(id: u16, name: &str) -> (Vec<u8>, Vec<u8>) {
    let head = |flags: u16, answers: u16| -> Vec<u8> {
        [id, flags, 1, answers, 0, 0].iter().flat_map(|half| half.to_be_bytes()).collect()
    };
    let mut question = Vec::new();
    for label in name.split('.') {
        question.push(label.len() as u8);
        question.extend(label.as_bytes());
    }
    // The root; type A, class IN.
    question.extend([0, 0, 1, 0, 1]);
    // The name is that of the question; type A, class IN, 300 s, 4 bytes.
    let answer = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0x2c, 0, 4][..], &SERVER].concat();
    ([head(0x0100, 0), question.clone()].concat(), [head(0x8180, 1), question, answer].concat())
}

/// A TLS ClientHello that asks for `name` (RFC 8446, section 4.1.2; RFC 6066, section 3).
fn client_hello(name: &str) -> Vec<u8> {
    let with_length = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let names = with_length(&[&[0][..], &with_length(name.as_bytes())].concat());
    let extensions = [
        // server_name, and supported_versions with TLS 1.3.
        [&[0, 0][..], &with_length(&names)].concat(),
        [&[0, 43][..], &with_length(&[2, 3, 4])].concat(),
    ]
    .concat();
    let mut rng = Rng::seeded(11);
    let mut hello = vec![3, 3];
    hello.extend((0..32).map(|_| rng.next_u64() as u8));
    // No session; TLS_AES_128_GCM_SHA256; no compression.
    hello.extend([0, 0, 2, 0x13, 1, 1, 0]);
    hello.extend(with_length(&extensions));
    let handshake = [&[1, 0][..], &with_length(&hello)].concat();
    [&[0x16, 3, 1][..], &with_length(&handshake)].concat()
}

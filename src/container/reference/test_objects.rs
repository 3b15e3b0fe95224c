//! What test scripts see: `@netserv/test`.

use super::{Object, Page};
use crate::container::api::block::{Item, item};

pub(super) const PAGE: Page = Page {
    file: "test",
    title: "@netserv/test",
    about: "`require(\"@netserv/test\")`, in test scripts only. The nodes are real ones, between two links, on virtual time: \
            nothing happens until the test says so, and each run is the same.",
    types_name: Some("Test"),
    objects: &[
        Object { name: "Test", about: "What `require(\"@netserv/test\")` returns.", luau: "", items: TEST },
        Object { name: "TestNode", about: "A node that runs the module between two links.", luau: "", items: NODE },
        Object {
            name: "TestStream",
            about: "A stream between a test and the module. The network around the node is in memory; what is outside has \
                    the address `192.0.2.1` if none is given. TLS is not spoken in it: a server with `@netserv/tls` is \
                    reached by a module's own client only.",
            luau: "",
            items: STREAM,
        },
        Object { name: "TestListener", about: "Where the module may connect to.", luau: "", items: LISTENER },
        Object { name: "TestUdpSocket", about: "A UDP socket outside of the node.", luau: "", items: UDP },
        Object { name: "Sent", about: "What became of a packet.", luau: "", items: SENT },
        Object {
            name: "PacketFields",
            about: "The fields of `test.udp`, `test.tcp`, `test.icmp_echo` and `test.icmp_echo_reply`.",
            luau: "",
            items: FIELDS,
        },
        Object { name: "Decoded", about: "A packet taken apart.", luau: "", items: DECODED },
    ],
};

const TEST: &[Item] = &[
    item(
        "case",
        "(name: string, run: () -> ()) -> ()",
        "A case; the name says what the module does. At most 1024 in a script.",
    ),
    item(
        "node",
        "(options: { config: { [string]: any }?, entry: string? }?) -> TestNode",
        "A node with the module and these properties. With `entry` another file of the module is run in the place of its \
         own entry: a file below a folder in `tests/`, which is no test script itself, may require the module's files and \
         all building blocks, and `assert` in its `start` or `run`.",
    ),
    item("udp", "(fields: PacketFields) -> string", "A packet with right lengths and checksums."),
    item("tcp", "(fields: PacketFields) -> string", "The same of TCP."),
    item("icmp_echo", "(fields: PacketFields) -> string", "An echo request."),
    item("icmp_echo_reply", "(fields: PacketFields) -> string", "An echo reply."),
    item("packet", "(hex: string) -> string", "A packet of hexadecimal digits; white space does not count."),
    item("hex", "(bytes: string) -> string", "The other way round."),
    item("decode", "(bytes: string) -> Decoded", "Takes a packet apart."),
    item(
        "equal",
        "(got: any, want: any, what: string?) -> ()",
        "Tables are equal when all that is in them is. `what` says what was compared.",
    ),
    item("is_true", "(got: any, what: string?) -> ()", "Fails for anything but true."),
    item(
        "error_contains",
        "(run: () -> (), want: string) -> ()",
        "Calls `run`, which must raise an error that holds the text.",
    ),
];

const NODE: &[Item] = &[
    item(
        "send",
        "(self: TestNode, packet: string, from: (\"front\" | \"back\")?) -> Sent",
        "Feeds a packet; it comes from the `\"front\"` if nothing is said.",
    ),
    item(
        "advance",
        "(self: TestNode, seconds: number) -> { Decoded }",
        "Lets time pass, at most a day; returns what the module sent meanwhile.",
    ),
    item("counters", "(self: TestNode) -> { [string]: number }", "The module's counters by name."),
    item("packets_seen", "(self: TestNode) -> number", "How many packets the handler saw."),
    item("packets_native", "(self: TestNode) -> number", "For how many a verdict for the whole flow answered."),
    item("report", "(self: TestNode) -> any", "What `M.report` returns."),
    item(
        "log",
        "(self: TestNode) -> { { level: LogLevel, text: string } }",
        "What the module logged since the last call.",
    ),
    item(
        "faults",
        "(self: TestNode) -> { string }",
        "What it did wrong since the last call. A case fails if there is something and nobody asked.",
    ),
    item(
        "set_machine",
        "(self: TestNode, machine: {\n  load: { [string]: number }?,\n  interfaces: { any }?,\n  \
         neighbours: { Neighbour }?,\n  routes: { Route }?,\n  location: Location?,\n}) -> ()",
        "From now on the machine is so, and the module is told what has changed. What is not given is not known. The fields are \
         those of [@netserv/node](node.md): of `load` those that matter, of an interface `name`, `up`, `carrier`, \
         `mtu`, `speed`, `hardware` and `addresses`.",
    ),
    item("unload", "(self: TestNode) -> ()", "Unloads the module."),
    item(
        "connect",
        "(self: TestNode, port: number, from: string?, to: string?) -> (TestStream?, string?)",
        "Opens a TCP stream to a server of the module; nil and a reason if nobody listens. `to` is the node's address, \
         `192.0.2.254` if not given: of a server that listens at `127.0.0.1` only, that.",
    ),
    item(
        "listen",
        "(self: TestNode, port: number, address: string?) -> (TestListener?, string?)",
        "Listens outside, where the module may connect to.",
    ),
    item(
        "udp",
        "(self: TestNode, port: number?, address: string?) -> (TestUdpSocket?, string?)",
        "Opens a UDP socket outside.",
    ),
    item(
        "set_name",
        "(self: TestNode, name: string, addresses: string | { string }) -> ()",
        "Says which addresses a name has; `localhost` is known.",
    ),
];

const STREAM: &[Item] = &[
    item("write", "(self: TestStream, bytes: string) -> ()", "Writes to the module."),
    item("read", "(self: TestStream) -> string", "All that came since the last call; empty if nothing did."),
    item(
        "ended",
        "(self: TestStream) -> string?",
        "Why nothing more comes, as of the last read: `\"finished\"` when the module has finished.",
    ),
    item("finish", "(self: TestStream) -> ()", "Writes nothing more."),
    item("close", "(self: TestStream, abort: boolean?) -> ()", "Closes it, or breaks it off."),
];

const LISTENER: &[Item] = &[
    item("accept", "(self: TestListener) -> TestStream?", "A stream that the module opened; nil if there is none."),
    item("close", "(self: TestListener) -> ()", "Closes it."),
];

const UDP: &[Item] = &[
    item(
        "send",
        "(self: TestUdpSocket, bytes: string, port: number, address: string?) -> ()",
        "Sends a datagram to a port of the module.",
    ),
    item(
        "receive",
        "(self: TestUdpSocket) -> (string?, string?, number?)",
        "The next datagram, and its sender's address and port; nil if there is none.",
    ),
    item("close", "(self: TestUdpSocket) -> ()", "Closes it."),
];

const SENT: &[Item] = &[
    item("verdict", "\"pass\" | \"drop\" | \"reply\"", "What became of it."),
    item("reason", "string?", "Why it was dropped, as in `netserv status`."),
    item("changed", "boolean", "Whether it left with other bytes than it came with."),
    item("packets", "{ Decoded }", "What left the node: the packet itself first, then what the module sent."),
];

const FIELDS: &[Item] = &[
    item("from", "string", "`\"10.0.0.1:1000\"`, `\"[2001:db8::1]:1000\"`; of an echo without port."),
    item("to", "string", "The same."),
    item("payload", "string?", "Empty if not given."),
    item("ttl", "number?", "64 if not given."),
    item("flags", "string?", "Of TCP: letters of `\"FSRPAUEC\"`; `\"PA\"` if not given."),
    item("seq", "number?", "Of TCP and echoes: 1 if not given."),
    item("ack", "number?", "Of TCP: 1 if not given."),
    item("id", "number?", "Of an echo: 1 if not given."),
];

const DECODED: &[Item] = &[
    item("ip_version", "number", "4 or 6."),
    item("protocol", "string", "Its name, such as `\"udp\"`."),
    item("from", "string", "Address, and port where there is one."),
    item("to", "string", "The same."),
    item("payload", "string", "Its payload."),
    item("checksum_ok", "boolean", "Whether all its checksums are right."),
    item("ttl", "number", "TTL or hop limit."),
    item("flags", "string?", "Of TCP: letters of `\"FSRPAUEC\"`."),
    item("seq", "number?", "Of TCP."),
    item("ack", "number?", "Of TCP."),
    item("length", "number", "Bytes of the IP packet."),
    item("hex", "string", "All its bytes as hexadecimal digits."),
    item(
        "way",
        "(\"onward\" | \"back\")?",
        "Of packets that leave a node: whether on to the other side, or back to where the last packet came from.",
    ),
];

//! What modules see without any building block: the packet, the context, the module itself, and `@netserv`.

use super::{Object, Page};
use crate::container::api::block::{Item, item};

pub(super) const PAGES: &[Page] = &[
    Page {
        file: "module",
        title: "The module's table",
        about: "What the entry file returns. All functions are optional; there is `on_packet`, or `on_packet_raw`, or \
                neither. Keep state in local variables of the file. When the module is started again after a fault, it \
                begins anew.",
        types_name: None,
        objects: &[
            Object { name: "Module", about: "What the entry file returns.", luau: "", items: MODULE },
            Object {
                name: "Verdict",
                about: "What a packet handler returns; nothing stands for `\"pass\"`. `\"drop\"` and `\"reply\"` need \
                        `drops = true` in the manifest. `\"pass_flow\"` and `\"drop_flow\"` hold for the packet and all \
                        that follow in its flow: a native rule answers, and the handler is not asked again.",
                luau: "\"pass\" | \"drop\" | \"reply\" | \"pass_flow\" | \"drop_flow\"",
                items: &[],
            },
        ],
    },
    Page {
        file: "packet",
        title: "packet",
        about: "The packet at hand, while `on_packet` runs, and nothing once it has returned. Offsets count from the \
                first byte of the IP header. Lengths and checksums are kept right; what came with a wrong checksum \
                leaves with a wrong one. Later fragments are not shown: they share the fate of the first one, but not \
                its changes, so give no fragment another address.",
        types_name: None,
        objects: &[Object { name: "Packet", about: "What `on_packet` gets.", luau: "", items: PACKET }],
    },
    Page {
        file: "ctx",
        title: "ctx",
        about: "What `M.start` and `M.run` get. One call of the module may send packets, write lines and set timers 256 \
                times in all.",
        types_name: None,
        objects: &[
            Object { name: "Context", about: "What `M.start` and `M.run` get.", luau: "", items: CONTEXT },
            Object { name: "Counter", about: "A counter of the manifest.", luau: "", items: COUNTER },
            Object { name: "Timer", about: "A timer that was set.", luau: "", items: TIMER },
            Object {
                name: "Flow",
                about: "One direction of a conversation. Later fragments of a conversation's packets are a flow of \
                        their own.",
                luau: "",
                items: FLOW,
            },
            Object {
                name: "LogLevel",
                about: "How much a line of the log matters.",
                luau: "\"debug\" | \"info\" | \"warn\"",
                items: &[],
            },
        ],
    },
    Page {
        file: "netserv",
        title: "@netserv",
        about: "`require(\"@netserv\")`: constants, and what every module needs.",
        types_name: Some("Netserv"),
        objects: &[Object {
            name: "Netserv",
            about: "What `require(\"@netserv\")` returns.",
            luau: "",
            items: NETSERV,
        }],
    },
];

const MODULE: &[Item] = &[
    item("start", "((ctx: Context) -> ())?", "Once, before the first packet. It cannot wait."),
    item("run", "((ctx: Context) -> ())?", "A task that begins after `start`: straight-line code, which may wait."),
    item(
        "on_packet",
        "((packet: Packet) -> (Verdict?, string?))?",
        "For each packet that the filters name. A second value is the name of a counter, which goes up by one.",
    ),
    item(
        "on_packet_raw",
        "((\n  buf: buffer,\n  len: number,\n  protocol: number,\n  source: number,\n  source_port: number,\n  \
         destination: number,\n  destination_port: number,\n  payload_offset: number,\n  flow: number,\n  \
         flags: number,\n  payload_end: number,\n  transport_offset: number\n) -> (number, number?))?",
        "The fast form. `source` and `destination` are IPv4 addresses as numbers, 0 for IPv6. Bits of `flags`: see \
         `@netserv`; the TCP flags from bit 8, the number of segments from bit 16. Returns `PASS`, `DROP`, `CHANGED` \
         (it wrote into the buffer) or `REPLY`, with `FLOW` added to the first two where it holds for the flow, and a \
         new length where it changed. The buffer is used again for the next packet.",
    ),
    item("on_flow_end", "((flow: Flow) -> ())?", "When a flow that it looked at is over or was forgotten."),
    item(
        "report",
        "(() -> any)?",
        "When somebody asks, or a replay ends: what status, top and replay show of it. Returns tables, texts, numbers, \
         truth values.",
    ),
    item("stop", "((reason: string) -> ())?", "Before it is unloaded. Not after a fault."),
    item(
        "export_state",
        "(() -> any)?",
        "When a new version is about to take its place: what that one needs to go on. Tables, strings, buffers, numbers, \
         truth values; at most 16 MiB. The module goes on as before if the new version does not start.",
    ),
    item(
        "import_state",
        "((state: any) -> ())?",
        "What the version before has exported; after `start`, before the first packet. If it fails, the version before \
         goes on.",
    ),
];

const PACKET: &[Item] = &[
    item("protocol", "number", "IP protocol number; for IPv6 the one behind the extension headers."),
    item("source_port", "number", "Port of TCP, UDP and SCTP; 0 where there is none."),
    item("destination_port", "number", "The same of the destination."),
    item("length", "number", "Length of the IP packet in bytes."),
    item("flow", "number", "Number of the flow: one direction of a conversation."),
    item("ip_version", "number", "4 or 6."),
    item(
        "segments",
        "number",
        "How many packets on the wire it stands for: TCP comes in super-packets of up to 64 KiB.",
    ),
    item("payload_offset", "number", "Where the transport's payload begins."),
    item("source", "(self: Packet) -> string", "Source address as text."),
    item("destination", "(self: Packet) -> string", "Destination address as text."),
    item("payload", "(self: Packet) -> string", "The payload. Needs `sees = \"payload\"`."),
    item("payload_length", "(self: Packet) -> number", "Bytes of the payload."),
    item(
        "payload_contains",
        "(self: Packet, text: string) -> boolean",
        "Whether the payload holds a text of at most 64 bytes. Much faster than `payload()` and `string.find`.",
    ),
    item(
        "set_payload",
        "(self: Packet, payload: string) -> ()",
        "Replaces the payload. Needs `changes = \"payload\"`, and `\"length\"` for another length, which TCP cannot \
         have.",
    ),
    item(
        "truncated",
        "(self: Packet) -> boolean",
        "Whether a capture holds only a part of the packet: then it cannot be changed or answered.",
    ),
    item(
        "fragmented",
        "(self: Packet) -> boolean",
        "Whether it is the first fragment of a packet: then its length stays, and it cannot be answered. The other \
         fragments are not shown, and keep their addresses.",
    ),
    item("u8", "(self: Packet, offset: number) -> number", "The byte there."),
    item("u16", "(self: Packet, offset: number) -> number", "Two bytes in network order."),
    item("u32", "(self: Packet, offset: number) -> number", "Four bytes in network order."),
    item(
        "set_u8",
        "(self: Packet, offset: number, value: number) -> ()",
        "Writes a byte. Needs `changes = \"headers\"`, in the payload `\"payload\"`.",
    ),
    item("set_u16", "(self: Packet, offset: number, value: number) -> ()", "The same with two bytes in network order."),
    item("set_u32", "(self: Packet, offset: number, value: number) -> ()", "The same with four bytes."),
    item("ttl", "(self: Packet) -> number", "TTL or hop limit."),
    item("set_ttl", "(self: Packet, ttl: number) -> ()", "Needs `changes = \"headers\"`."),
    item("tcp_flags", "(self: Packet) -> number", "The eight TCP flags; 0 for other packets."),
    item(
        "set_source",
        "(self: Packet, address: string?, port: number?) -> ()",
        "nil leaves address or port as it is. Needs `changes = \"headers\"`.",
    ),
    item("set_destination", "(self: Packet, address: string?, port: number?) -> ()", "The same of the destination."),
    item(
        "reply",
        "(self: Packet, payload: string?) -> Verdict",
        "Turns a UDP datagram or an echo request into its answer: addresses and ports exchanged, with another payload if \
         one is given. Returns the verdict. Needs `drops = true`.",
    ),
    item(
        "pass_flow",
        "(self: Packet) -> Verdict",
        "The verdict that lets it and all further packets of its flow go on, without asking the module.",
    ),
    item("drop_flow", "(self: Packet) -> Verdict", "The same with dropping. Needs `drops = true`."),
];

const CONTEXT: &[Item] = &[
    item("name", "string", "The module's name."),
    item(
        "config",
        "{ [string]: any }",
        "The properties, as `module.toml` declares them. Durations are seconds; ranges of ports, and addresses, are text.",
    ),
    item(
        "log",
        "(self: Context, level: LogLevel, text: string) -> ()",
        "A line in the node's log: at most 1,024 bytes, and 100 lines per second.",
    ),
    item("now", "(self: Context) -> number", "Seconds since the node started."),
    item("wall_time", "(self: Context) -> number", "Seconds since 1970-01-01 UTC."),
    item(
        "random",
        "(self: Context, n: number?) -> number",
        "A number from 0 up to 1, or a whole number from 1 to n. Not for secrets: see `@netserv/crypto`.",
    ),
    item(
        "every",
        "(self: Context, seconds: number, run: () -> ()) -> Timer",
        "Calls a function again and again. At least 1 ms between.",
    ),
    item("after", "(self: Context, seconds: number, run: () -> ()) -> Timer", "Calls a function once."),
    item("counter", "(self: Context, name: string) -> Counter", "The counter of that name in `module.toml`."),
    item(
        "inject",
        "(self: Context, packet: string, to: (\"onward\" | \"back\")?) -> ()",
        "Sends an IP packet; its checksums are completed. Needs `permissions.inject`.",
    ),
    item(
        "flows",
        "(self: Context, max: number?, after: number?, since: number?) -> { Flow }",
        "The flows that this module looks at, at most `max` (4096 if not given) in a fixed order: those behind the flow \
         `after`, and with a packet since the time `since`, where these are given.",
    ),
    item("flow", "(self: Context, id: number) -> Flow?", "One flow; nil if it is over."),
    item(
        "provide",
        "(self: Context, name: string, functions: { [string]: (...any) -> ...any }) -> Provided",
        "Offers functions to other modules: see [@netserv/service](service.md). The manifest declares the service under \
         `[provides]`.",
    ),
    item(
        "use",
        "(self: Context, name: string, versions: string?) -> Service",
        "A service of another module: see [@netserv/service](service.md). The manifest names it under `[uses]`.",
    ),
];

const COUNTER: &[Item] = &[
    item("name", "string", "Its name."),
    item("add", "(self: Counter, n: number?) -> ()", "Adds n, or 1."),
    item("value", "(self: Counter) -> number", "What it has come to."),
];

const TIMER: &[Item] =
    &[item("cancel", "(self: Timer) -> ()", "Stops it. Nothing happens if it has fired or was stopped.")];

const FLOW: &[Item] = &[
    item("id", "number", "Its number."),
    item("ip_version", "number", "4 or 6."),
    item("protocol", "number", "IP protocol number."),
    item("source", "string", "Source address."),
    item("destination", "string", "Destination address."),
    item("source_port", "number?", "nil where the protocol has no ports."),
    item("destination_port", "number?", "The same of the destination."),
    item("fragments", "boolean", "Whether these are later fragments."),
    item("packets", "number", "Packets so far; a super-packet counts as its segments."),
    item("bytes", "number", "Bytes as on the wire of the link, with the link's header where it has one."),
    item("first_seen", "number", "Seconds since the node started, of the first packet."),
    item("last_seen", "number", "The same of the last packet."),
];

const NETSERV: &[Item] = &[
    item("PASS", "number", "Verdict of `on_packet_raw`: it goes on."),
    item("DROP", "number", "Verdict: it ends here."),
    item("CHANGED", "number", "Verdict: it goes on as it now stands in the buffer."),
    item("REPLY", "number", "Verdict: what stands in the buffer goes back."),
    item("FLOW", "number", "To be added to `PASS` or `DROP`: all further packets of the flow likewise."),
    item("IPV6", "number", "Bit of the flags of `on_packet_raw`."),
    item("FIRST_FRAGMENT", "number", "Bit of the flags."),
    item("LATER_FRAGMENT", "number", "Bit of the flags."),
    item("SUPER_PACKET", "number", "Bit of the flags: it stands for several packets on the wire."),
    item("TRUNCATED", "number", "Bit of the flags: a capture holds only a part of it."),
    item("ICMP", "number", "IP protocol number."),
    item("TCP", "number", "IP protocol number."),
    item("UDP", "number", "IP protocol number."),
    item("ICMPV6", "number", "IP protocol number."),
    item("SCTP", "number", "IP protocol number."),
    item("TCP_FIN", "number", "TCP flag."),
    item("TCP_SYN", "number", "TCP flag."),
    item("TCP_RST", "number", "TCP flag."),
    item("TCP_PSH", "number", "TCP flag."),
    item("TCP_ACK", "number", "TCP flag."),
    item("TCP_URG", "number", "TCP flag."),
    item(
        "sorted_pairs",
        "<K, V>(items: { [K]: V }) -> () -> (K?, V?)",
        "Like `pairs`, in the order of the keys: numbers, texts, truth values.",
    ),
    item("address_bytes", "(text: string) -> string?", "The 4 or 16 bytes of an address; nil for what is none."),
    item("address_text", "(bytes: string) -> string", "The text of 4 or 16 bytes."),
    item("hex", "(bytes: string) -> string", "Bytes as hexadecimal digits."),
    item("from_hex", "(digits: string) -> string?", "The bytes of hexadecimal digits, blanks allowed; nil for others."),
    item("json", "(value: any) -> string", "A value as JSON text, keys in order."),
];

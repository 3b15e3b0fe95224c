//! Messages of another implementation: each decodes to the fields that are known for it, and encodes to the same bytes.
//! `tests/data/gist/messages.json` lists them; the captures beside it hold these and more.

#![expect(clippy::unwrap_used, reason = "a test: what fails must stop it, and say why")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use netserv::drivers::replay::reader::CaptureReader;
use netserv::wire::frame::{self, FrameContent};
use netserv::wire::gist::error::{ErrorInfo, ErrorObject};
use netserv::wire::gist::header::{CommonHeader, MAGIC, MessageType, VERSION};
use netserv::wire::gist::message::{self, Message};
use netserv::wire::gist::mri::{Direction, Mri};
use netserv::wire::gist::object::Nli;
use netserv::wire::gist::stack::StackConfiguration;
use netserv::wire::header::Header;
use serde_json::{Value, json};

#[test]
fn decodes_every_listed_message_to_the_listed_fields() {
    let listed = listed();
    assert_eq!(listed.len(), 37);
    for (at, entry) in listed.iter().enumerate() {
        let bytes = message_bytes(entry);
        let message = Message::decode(&bytes).unwrap_or_else(|rejection| panic!("message {at}: {rejection:?}"));
        let header = CommonHeader::peek(&bytes).unwrap();
        let fields = json!({ "hdr": header_fields(&header), "objs": objects(&message) });
        assert_eq!(fields, entry["decoded"], "message {at}");
    }
}

#[test]
fn encodes_every_listed_message_to_the_same_bytes() {
    for (at, entry) in listed().iter().enumerate() {
        let bytes = message_bytes(entry);
        let message = Message::decode(&bytes).unwrap();
        // Its Errors count their information otherwise than RFC 5971 does; all else is exact.
        if message.kind != MessageType::Error {
            assert_eq!(entry["strict_roundtrip"], true, "message {at}");
            assert_eq!(message.encode(), bytes, "message {at}");
        }
        assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message), "message {at}");
    }
}

#[test]
fn decodes_all_messages_of_the_captures() {
    let mut counts = BTreeMap::new();
    for path in captures() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (datagrams, streams) = payloads(&path);
        for datagram in &datagrams {
            let bytes = datagram.strip_prefix(&MAGIC).unwrap_or_else(|| panic!("{name}: no magic number"));
            check(bytes, &name);
        }
        let mut in_streams = 0;
        for stream in streams {
            // The first byte of a record of TLS is no version of GIST.
            if stream.first() != Some(&VERSION) {
                assert_eq!(name, "tls-kaq");
                continue;
            }
            let mut rest = stream.as_slice();
            while !rest.is_empty() {
                let len = message::frame(rest).unwrap().expect("a whole message");
                check(&rest[..len], &name);
                rest = &rest[len..];
                in_streams += 1;
            }
        }
        counts.insert(name, (datagrams.len(), in_streams));
    }
    let counts: Vec<_> = counts.iter().map(|(name, (udp, tcp))| format!("{name} {udp} {tcp}")).collect();
    assert_eq!(counts, COUNTS);
}

/// Captures, and how many messages each has over UDP and over TCP.
const COUNTS: [&str; 6] =
    ["cmode-kaq 4 6", "dmode-kaq 4 0", "hello-kaq 8 9", "nrs-kaq 10 0", "tls-kaq 2 0", "v6-kaq 4 0"];

/// Decodes one message; if it is no Error, it must encode to the same bytes.
fn check(bytes: &[u8], name: &str) {
    let message = Message::decode(bytes).unwrap_or_else(|rejection| panic!("{name}: {rejection:?}"));
    if message.kind != MessageType::Error {
        assert_eq!(message.encode(), bytes, "{name}");
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gist")
}

fn listed() -> Vec<Value> {
    serde_json::from_str(&fs::read_to_string(folder().join("messages.json")).unwrap()).unwrap()
}

fn captures() -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    found.sort();
    found
}

/// The message of an entry, without the magic number that it has in UDP.
fn message_bytes(entry: &Value) -> Vec<u8> {
    let hex = entry["payload"].as_str().unwrap();
    let mut bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    if entry["encap"] == "udp" {
        bytes = bytes.strip_prefix(&MAGIC).unwrap().to_vec();
    }
    bytes
}

/// The payloads of all UDP datagrams of a capture, and of each direction of its TCP connections, put together.
fn payloads(path: &Path) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut reader = CaptureReader::new(File::open(path).unwrap()).unwrap();
    let mut datagrams = Vec::new();
    let mut streams: BTreeMap<_, BTreeMap<u32, Vec<u8>>> = BTreeMap::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        let FrameContent::Ip { at } = frame::find_ip(frame.link_type, frame.bytes) else { continue };
        let packet = &frame.bytes[at..];
        let Ok(header) = Header::parse(packet, false) else { continue };
        let payload = header.payload(packet);
        match header.protocol {
            17 => datagrams.push(payload.to_vec()),
            6 if !payload.is_empty() => {
                let sequence = packet[header.transport_at as usize + 4..].first_chunk().copied().unwrap();
                let stream = (header.source, header.destination, header.ports);
                // A segment that was sent again has the same number: nothing was lost in these captures.
                streams.entry(stream).or_default().insert(u32::from_be_bytes(sequence), payload.to_vec());
            }
            _ => {}
        }
    }
    (datagrams, streams.into_values().map(|stream| stream.into_values().flatten().collect()).collect())
}

fn header_fields(header: &CommonHeader) -> Value {
    let kind = match header.message_type() {
        Some(MessageType::Query) => "Query",
        Some(MessageType::Response) => "Response",
        Some(MessageType::Confirm) => "Confirm",
        Some(MessageType::Data) => "Data",
        Some(MessageType::Error) => "Error",
        Some(MessageType::Hello) => "MA-Hello",
        None => "?",
    };
    json!({
        "version": header.version, "hops": header.hops, "length": header.length_words, "nslpid": header.nslp.0,
        "C": u8::from(header.context_free), "type": kind, "S": u8::from(header.source_addressing),
        "R": u8::from(header.reply_requested), "E": u8::from(header.explicit_routing), "rsv": 0,
    })
}

/// The objects of a message as the list has them.
fn objects(message: &Message) -> Vec<Value> {
    let objects = [
        ("MRI", message.mri.as_ref().map(mri_fields)),
        ("SID", message.sid.map(|sid| hex(&sid.0))),
        ("NLI", message.nli.as_ref().map(nli_fields)),
        ("QueryCookie", message.query_cookie.as_ref().map(|cookie| hex(&cookie.0))),
        ("ResponderCookie", message.responder_cookie.as_ref().map(|cookie| hex(&cookie.0))),
        ("StackProposal", message.stack_proposal.as_ref().map(|proposal| json!(proposal.profiles))),
        ("SCD", message.stack_configuration.as_ref().map(configuration_fields)),
        ("NSLPData", message.nslp_data.as_ref().map(|data| hex(data))),
        ("Error", message.error.as_ref().map(error_fields)),
        ("HelloID", message.hello_id.map(|id| json!(id))),
    ];
    let present = objects.into_iter().filter_map(|(name, value)| Some((name, value?)));
    present.map(|(name, value)| json!({ "AB": 0, "rsv": 0, "type": name, "val": value })).collect()
}

fn hex(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn mri_fields(mri: &Mri) -> Value {
    let Mri::PathCoupled(flow) = mri else { panic!("not in the captures: {mri:?}") };
    let mut fields = json!({
        "mrm": "path-coupled", "N": u8::from(flow.nat_ignorable), "ipver": mri.ip_version(),
        "P": u8::from(flow.protocol.is_some()), "T": u8::from(flow.dscp.is_some()),
        "F": u8::from(flow.flow_label.is_some()), "S": u8::from(flow.spi.is_some()),
        "A": u8::from(flow.source_port.is_some()), "B": u8::from(flow.destination_port.is_some()),
        "D": u8::from(flow.direction == Direction::Upstream), "src": flow.source, "dst": flow.destination,
        "srcpfx": flow.source_prefix, "dstpfx": flow.destination_prefix, "proto": flow.protocol.unwrap_or(0),
        "ds": flow.dscp.unwrap_or(0) << 2,
    });
    if let (Some(source), Some(destination)) = (flow.source_port, flow.destination_port) {
        fields["sport"] = source.into();
        fields["dport"] = destination.into();
    }
    fields
}

fn nli_fields(nli: &Nli) -> Value {
    json!({
        "pi": hex(&nli.peer_identity.0), "ipttl": nli.ip_ttl, "ipver": if nli.address.is_ipv4() { 4 } else { 6 },
        "rsvalid_ms": nli.validity_ms, "addr": nli.address,
    })
}

fn configuration_fields(configuration: &StackConfiguration) -> Value {
    let options: Vec<_> = configuration
        .options
        .iter()
        .map(|option| {
            json!({
                "proto": option.protocol, "profile": option.profile, "D": u8::from(option.forbidden),
                "data": hex(&option.data),
            })
        })
        .collect();
    json!({ "hold_ms": configuration.hold_time_ms, "mpo": options })
}

fn error_fields(error: &ErrorObject) -> Value {
    let mri = error.mri.as_deref().unwrap();
    assert_eq!(error.info, Vec::<ErrorInfo>::new());
    json!({
        "cls": error.class, "code": error.code, "sub": error.subcode, "S": u8::from(error.sid.is_some()),
        "M": u8::from(error.mri.is_some()), "C": u8::from(error.comment.is_some()), "D": u8::from(error.d_mode),
        "Q": u8::from(error.q_mode), "mri_words": mri.len() / 4, "info": error.info.len(),
        "orig": header_fields(&CommonHeader::peek(&error.header).unwrap()), "sid": hex(&error.sid.unwrap().0),
        "mri": mri_fields(&Mri::decode_value(mri).unwrap()), "ai": [],
    })
}

//! Requests, answers and messages: there and back, and everything that is refused.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::base::limits::NSLP_DATAGRAM6_BYTES_MAX;
use crate::base::text::is_plain;
use crate::wire::gist::object::RawObject;
use crate::wire::nslp::answer::{Answer, AnswerCode, ReportItem};
use crate::wire::nslp::message::{AnswerPart, Message, Place, RequestMessage};
use crate::wire::nslp::parts::Merger;
use crate::wire::nslp::request::{Authorisation, ModuleRequest, NodeId, Operation, Request, Target};

fn text(bytes_max: usize) -> impl Strategy<Value = String> {
    proptest::string::string_regex(&format!("[a-zA-Z0-9 .:/=<>ä-]{{0,{}}}", bytes_max / 2)).expect("a regex")
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9.-]{0,63}"
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::All),
        Just(Target::First),
        Just(Target::Last),
        vec("[0-9a-f]{8,32}", 1..5).prop_map(Target::Nodes),
        name().prop_map(Target::OnePer),
    ]
}

fn module() -> impl Strategy<Value = ModuleRequest> {
    (name(), text(60), text(300), any::<[u8; 32]>(), any::<u64>(), vec((name(), text(100)), 0..4), text(100)).prop_map(
        |(name, version, url, digest, lifetime_ms, properties, notify)| ModuleRequest {
            name,
            version,
            url,
            digest,
            lifetime_ms,
            properties,
            notify,
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let numbers = (any::<[u8; 16]>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u8>());
    let lists = (vec("[0-9a-f]{8,32}", 0..3), target(), vec(text(60), 0..3));
    (1u8..=4, numbers, lists, name(), module()).prop_map(|(operation, numbers, lists, instance, module)| Request {
        operation: Operation::from_number(operation).expect("1 to 4"),
        nonce: Nonce(numbers.0),
        issued_ms: numbers.1,
        expires_ms: numbers.2,
        search_ms: numbers.3,
        asks: numbers.4,
        scope: lists.0,
        target: lists.1,
        conditions: lists.2,
        instance,
        module: (operation <= 2).then_some(module),
    })
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

fn item() -> impl Strategy<Value = ReportItem> {
    prop_oneof![
        text(200).prop_map(ReportItem::Name),
        text(200).prop_map(ReportItem::Software),
        address().prop_map(ReportItem::Address),
        (name(), text(64)).prop_map(|(name, value)| ReportItem::Property { name, value }),
        any::<[u32; 4]>().prop_map(|[uptime_s, load_percent, memory_free_kib, flows]| ReportItem::System {
            uptime_s,
            load_percent,
            memory_free_kib,
            flows
        }),
        (name(), option::of(address())).prop_map(|(interface, via)| ReportItem::Route { interface, via }),
        (name(), name(), name(), "[a-z]{1,16}", option::of(0..u32::MAX), vec((name(), any::<u64>()), 0..40)).prop_map(
            |(instance, module, version, state, lifetime_s, counters)| ReportItem::Module {
                instance,
                module,
                version,
                state,
                lifetime_s,
                counters
            }
        ),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let who = (any::<[u8; 16]>(), any::<[u8; 16]>(), 0u8..=64, any::<bool>(), option::of(1u32..));
    (who, 0usize..25, text(200), vec(item(), 0..12)).prop_map(|(who, code, sentence, report)| Answer {
        nonce: Nonce(who.0),
        node: NodeId(who.1),
        hop: who.2,
        code: AnswerCode::all().nth(code).expect("there are 25"),
        sentence,
        is_last: who.3,
        hop_rtt_us: who.4,
        report,
    })
}

fn request_message() -> impl Strategy<Value = RequestMessage> {
    let signed = option::of((any::<[u8; 32]>(), any::<[u8; 32]>()));
    let forward = vec((0x8100u16..0x8fff, vec(any::<[u8; 4]>(), 0..4)), 0..3);
    (request(), signed, any::<u8>(), any::<u32>(), vec(name(), 0..5), forward).prop_map(
        |(request, signed, hop, keep_s, covered, forward)| RequestMessage {
            canonical: request.encode(),
            request,
            authorisation: signed.map(|(key, half)| {
                let mut signature = [7; 64];
                signature[..32].copy_from_slice(&half);
                Authorisation { key, signature }
            }),
            hop,
            keep_s,
            covered,
            forward: forward.into_iter().map(|(head, value)| RawObject { head, value: value.concat() }).collect(),
        },
    )
}

proptest! {
    #[test]
    fn a_request_comes_back_from_its_canonical_form(request in request()) {
        let canonical = request.encode();
        prop_assert_eq!(Request::decode(&canonical), Ok(request));
    }

    #[test]
    fn a_request_message_comes_back_and_its_padding_does_not_matter(message in request_message()) {
        let message = Message::Request(Box::new(message));
        let mut bytes = message.encode();
        prop_assert_eq!(Message::decode(&bytes), Ok(message.clone()));
        bytes.extend_from_slice(&[0, 0, 0]);
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }

    #[test]
    fn an_answer_comes_back_from_its_parts_in_any_order(
        answer in answer(), bytes_max in NSLP_DATAGRAM6_BYTES_MAX..2_000usize, turn in any::<usize>(),
    ) {
        let mut parts = answer.split(bytes_max);
        prop_assert!(parts.iter().all(|part| part.len() <= bytes_max && part.len() % 4 == 0));
        let count = parts.len();
        parts.rotate_left(turn % count);
        // Each comes twice.
        let parts: Vec<_> = parts.iter().flat_map(|part| [part, part]).collect();
        let mut merger = Merger::default();
        let mut whole = None;
        for bytes in parts {
            let Ok(Message::Response(part)) = Message::decode(bytes) else { panic!("a response") };
            whole = merger.push(part).or(whole);
        }
        prop_assert_eq!(whole, Some(answer));
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(&bytes);
        let _ = Request::decode(&bytes);
    }

    #[test]
    fn a_changed_byte_of_a_request_gives_another_request_or_none(
        request in request(), at in any::<usize>(), by in 1u8..,
    ) {
        let canonical = request.encode();
        let mut changed = canonical.clone();
        let at = at % changed.len();
        changed[at] = changed[at].wrapping_add(by);
        if let Ok(other) = Request::decode(&changed) {
            prop_assert_ne!(&other, &request);
            prop_assert_eq!(other.encode(), changed);
        }
    }

    #[test]
    fn a_message_that_is_cut_short_is_refused(message in request_message(), at in any::<usize>()) {
        let bytes = Message::Request(Box::new(message)).encode();
        prop_assert!(Message::decode(&bytes[..at % bytes.len()]).is_err());
    }
}

// --- fixed bytes ---

fn probe() -> Request {
    Request {
        operation: Operation::Probe,
        nonce: Nonce([0xaa; 16]),
        issued_ms: 0x0102,
        expires_ms: 0x0304,
        scope: vec!["0a0b0c0d".to_owned()],
        target: Target::OnePer("as".to_owned()),
        conditions: vec!["as=64500".to_owned()],
        search_ms: 8_000,
        instance: "m".to_owned(),
        module: None,
        asks: 3,
    }
}

fn bytes(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

const PROBE: &str =
    "0001 000a  04 03 04 00  00001f40  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 0000000000000102 0000000000000304
    0002 0001 61730000
    0003 0002 3061306230633064
    0004 0002 61733d3634353030
    0005 0001 6d000000";

#[test]
fn a_probe_has_these_bytes() {
    assert_eq!(probe().encode(), bytes(PROBE));
    assert_eq!(Request::decode(&bytes(PROBE)), Ok(probe()));
    let message = RequestMessage {
        canonical: bytes(PROBE),
        request: probe(),
        authorisation: Some(Authorisation { key: [0x11; 32], signature: [0x22; 64] }),
        hop: 2,
        keep_s: 60,
        covered: vec!["64500".to_owned(), "1".to_owned()],
        forward: vec![RawObject { head: 0x8123, value: vec![1, 2, 3, 4] }],
    };
    let rest = format!(
        "0002 0018 {} {}  0003 0001 02000000  4004 0001 0000003c  0005 0002 05 3634353030 01 31  8123 0001 01020304",
        "11".repeat(32),
        "22".repeat(64)
    );
    let objects = bytes(&format!("0001 0015 {PROBE} {rest}"));
    let message = Message::Request(Box::new(message));
    let wire = [bytes("04 01 00e4"), objects].concat();
    assert_eq!(wire.len(), 0xe4);
    assert_eq!(message.encode(), wire);
    assert_eq!(Message::decode(&wire), Ok(message));
}

#[test]
fn an_answer_and_a_place_have_these_bytes() {
    let answer = Answer {
        nonce: Nonce([0xaa; 16]),
        node: NodeId([0xbb; 16]),
        hop: 3,
        code: AnswerCode::Probed,
        sentence: "hi".to_owned(),
        is_last: true,
        hop_rtt_us: Some(1_500),
        report: vec![ReportItem::Address([192, 0, 2, 1].into())],
    };
    let names = format!("{} {}", "aa".repeat(16), "bb".repeat(16));
    let wire = bytes(&format!(
        "05 01 0044  0010 000b {names} 03 01 10 01  00 01 0000  000005dc  8011 0001 68690000  8022 0001 c0000201"
    ));
    assert_eq!(answer.split(420), std::slice::from_ref(&wire));
    let part = AnswerPart { answer, part: 0, parts: 1, sequence: 0, forward: Vec::new() };
    assert_eq!(Message::decode(&wire), Ok(Message::Response(part.clone())));
    let notify = [&[6], &wire[1..]].concat();
    assert_eq!(Message::decode(&notify), Ok(Message::Notify(part)));
    let nonce = Nonce([0xaa; 16]);
    let place =
        Place { nonce, node: NodeId([0xbb; 16]), hop: 3, is_last: true, hop_rtt_us: None, sequence: 0x01020304 };
    let wire = bytes(&format!("05 01 003c  0010 000b {names} 03 00 00 03  00 01 0000  00000000  4012 0001 01020304"));
    assert_eq!(Message::Place(place).encode(), wire);
    assert_eq!(Message::decode(&wire), Ok(Message::Place(place)));
    let wire = bytes("07 01 000c  0013 0001 01020304");
    assert_eq!(Message::Ack(0x0102_0304).encode(), wire);
    assert_eq!(Message::decode(&wire), Ok(Message::Ack(0x0102_0304)));
}

/// The fault of the probe with one piece of it replaced.
fn fault(from: &str, to: &str) -> NslpFault {
    assert!(PROBE.contains(from), "{from}");
    Request::decode(&bytes(&PROBE.replacen(from, to, 1))).expect_err("it is refused").fault
}

#[test]
fn a_request_has_one_form_only() {
    assert_eq!(Request::decode(&[]).unwrap_err().fault, NslpFault::Missing(1));
    assert_eq!(fault("0001 000a  04", "0001 000a  05"), NslpFault::Value(1));
    assert_eq!(fault("04 03 04 00", "04 03 05 00"), NslpFault::Value(2));
    assert_eq!(fault("04 03 04 00", "01 03 04 00"), NslpFault::Missing(6));
    assert_eq!(fault("04 03 04 00", "04 03 04 01"), NslpFault::NotCanonical);
    assert_eq!(fault("0002 0001 61730000", "0002 0002 6173000000000000"), NslpFault::NotCanonical);
    assert_eq!(fault("0002 0001 61730000", ""), NslpFault::Value(2));
    assert_eq!(fault("0002 0001 61730000", "0002 0001 61730000 0002 0001 61730000"), NslpFault::Value(2));
    assert_eq!(fault("0002 0001 6173", "0002 0001 61 07"), NslpFault::Text(2));
    assert_eq!(fault("0002 0001 6173", "0002 0001 61 ff"), NslpFault::Text(2));
    assert_eq!(fault("0003 0002", "4003 0002"), NslpFault::NotCanonical);
    assert_eq!(fault("0003 0002 30", "0003 0002 7a"), NslpFault::Text(3));
    assert_eq!(fault("0004 0002", "0fff 0002"), NslpFault::UnknownObject(0xfff));
    assert_eq!(fault("0004 0002", "0004 1002"), NslpFault::NotCanonical);
    assert_eq!(fault("0005 0001 6d000000", "0005 0001 6d000000 0005 0001 6d000000"), NslpFault::NotCanonical);
    assert_eq!(fault("0005 0001 6d000000", "0005 0002 6d000000"), NslpFault::ShortObject);
    assert_eq!(fault("0005 0001 6d000000", "0007 0001 6d000000"), NslpFault::Misplaced(7));
    assert_eq!(fault("0005 0001 6d000000", "0001 0001 6d000000"), NslpFault::UnknownObject(1));
}

#[test]
fn what_is_too_long_for_a_request_is_refused_not_cut() {
    let mut request = probe();
    request.instance = "a".repeat(65);
    assert!(Request::decode(&request.encode()).is_err());
    request = probe();
    request.conditions = vec![String::from("a=1"); 65];
    assert!(Request::decode(&request.encode()).is_err());
    request = probe();
    request.operation = Operation::Setup;
    request.module = Some(ModuleRequest { url: "a".repeat(1_025), ..ModuleRequest::default() });
    assert!(Request::decode(&request.encode()).is_err());
    request.module = Some(ModuleRequest { url: "a".repeat(20_000), ..ModuleRequest::default() });
    assert!(Request::decode(&request.encode()).is_err());
    request.module =
        Some(ModuleRequest { properties: vec![("n".repeat(300), "v".to_owned())], ..ModuleRequest::default() });
    assert!(Request::decode(&request.encode()).is_err());
    request.module = Some(ModuleRequest { url: "a".repeat(1_024), ..ModuleRequest::default() });
    assert_eq!(Request::decode(&request.encode()), Ok(request));
}

#[test]
fn unknown_objects_are_treated_as_their_flags_say() {
    let base = format!("0001 0015 {PROBE} 0003 0001 02000000");
    let with = |object: &str| {
        let objects = bytes(&format!("{base} {object}"));
        let length = u16::try_from(4 + objects.len()).unwrap().to_be_bytes();
        Message::decode(&[&[4, 1, length[0], length[1]], objects.as_slice()].concat())
    };
    let forwarded = |message: Result<Message, NslpError>| match message {
        Ok(Message::Request(message)) => Ok(message.forward),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err((error.fault, error.nonce)),
    };
    let nonce = Some(Nonce([0xaa; 16]));
    assert_eq!(forwarded(with("")), Ok(vec![]));
    assert_eq!(forwarded(with("0123 0001 01020304")), Err((NslpFault::UnknownObject(0x123), nonce)));
    assert_eq!(forwarded(with("4123 0001 01020304")), Ok(vec![]));
    let raw = RawObject { head: 0x8123, value: vec![1, 2, 3, 4] };
    assert_eq!(forwarded(with("8123 0001 01020304")), Ok(vec![raw]));
    assert_eq!(forwarded(with("c123 0001 01020304")), Err((NslpFault::Flags(0x123), nonce)));
    assert_eq!(forwarded(with("c003 0001 01020304")), Err((NslpFault::Flags(3), nonce)));
    assert_eq!(forwarded(with("0003 0001 02000000")), Err((NslpFault::Misplaced(3), nonce)));
    assert_eq!(forwarded(with("0002 0001 01020304")), Err((NslpFault::Value(2), nonce)));
    let many = "8123 0000".repeat(17);
    assert_eq!(forwarded(with(&many)), Err((NslpFault::TooMany(0x123), nonce)));
}

#[test]
fn a_message_of_another_version_or_type_is_refused() {
    let fault = |text: &str| Message::decode(&bytes(text)).unwrap_err().fault;
    assert_eq!(fault(""), NslpFault::Short);
    assert_eq!(fault("04 01 00"), NslpFault::Short);
    assert_eq!(fault("04 02 0004"), NslpFault::Version(2));
    assert_eq!(fault("00 01 0004"), NslpFault::Type(0));
    assert_eq!(fault("08 01 0004"), NslpFault::Type(8));
    assert_eq!(fault("04 01 0003"), NslpFault::Short);
    assert_eq!(fault("04 01 0008"), NslpFault::Short);
    assert_eq!(fault("04 01 0004"), NslpFault::Missing(1));
    assert_eq!(fault("05 01 0004"), NslpFault::Missing(16));
    assert_eq!(fault("07 01 0004"), NslpFault::Missing(19));
    assert_eq!(fault("05 01 0006 0000"), NslpFault::ShortObject);
}

#[test]
fn a_part_beyond_the_last_and_a_place_beyond_the_longest_path_are_refused() {
    let answer = |hop: &str, part: &str| {
        let names = "aa".repeat(32);
        let text = format!("05 01 0034  0010 000b {names} {hop} 01 10 00  {part} 0000  00000000");
        Message::decode(&bytes(&text)).map(|_| ())
    };
    assert_eq!(answer("40", "3f 40"), Ok(()));
    for (hop, part) in [("41", "00 01"), ("01", "01 01"), ("01", "00 00"), ("01", "00 41")] {
        assert_eq!(answer(hop, part).map_err(|error| error.fault), Err(NslpFault::Value(16)));
    }
}

#[test]
fn a_report_that_is_too_long_is_cut_and_says_so() {
    let answer = Answer {
        nonce: Nonce([1; 16]),
        node: NodeId([2; 16]),
        hop: 1,
        code: AnswerCode::Probed,
        sentence: "s".repeat(300),
        is_last: false,
        hop_rtt_us: None,
        report: vec![ReportItem::Name("n".repeat(200)); 2_000],
    };
    let parts = answer.split(420);
    assert_eq!(parts.len(), 64);
    let mut merger = Merger::default();
    let whole = parts.iter().filter_map(|part| match Message::decode(part) {
        Ok(Message::Response(part)) => merger.push(part),
        other => panic!("{other:?}"),
    });
    let whole = whole.last().expect("all parts are there");
    assert!(whole.sentence.ends_with("sss (the report is cut short)"), "{}", whole.sentence);
    assert!(whole.report.len() > 60);
}

#[test]
fn texts_that_could_fool_a_person_are_not_sent_and_not_read() {
    assert_eq!(text::fit("a\u{1b}[2Jb\u{202e}c\n", 99), "a?[2Jb?c?");
    assert_eq!(text::fit("\u{e4}\u{e4}\u{e4}", 5), "\u{e4}\u{e4}");
    assert!(!is_plain("\u{7}") && !is_plain("\u{2066}") && is_plain("na\u{ef}ve \u{2713}"));
}

#[test]
fn targets_and_node_ids_are_read_as_people_write_them() {
    for text in ["all", "first", "last", "node:0a0b0c0d,00112233445566778899aabbccddeeff", "one-per:as"] {
        assert_eq!(text.parse::<Target>().map(|target| target.to_string()), Ok(text.to_owned()));
    }
    for wrong in ["", "ALL", "node:", "node:1234567", "node:0a0b0c0g", "one-per:", "one-per:a\nb", "middle"] {
        assert!(wrong.parse::<Target>().is_err(), "{wrong}");
    }
    let id: NodeId = "00112233445566778899AABBCCDDEEFF".parse().expect("32 digits");
    assert_eq!(id.to_string(), "00112233445566778899aabbccddeeff");
    assert!(id.matches("00112233") && id.matches("00112233445566778899aabbccddeeff"));
    assert!(!id.matches("0011223") && !id.matches("00112234") && !id.matches(""));
    for wrong in ["", "0011", "00112233445566778899aabbccddeefg", "\u{e4}0112233445566778899aabbccddeef"] {
        assert!(wrong.parse::<NodeId>().is_err(), "{wrong}");
    }
}

#[test]
fn signatures_are_over_a_text_that_nothing_else_begins_with() {
    assert_eq!(signing_bytes(b"x"), b"netserv-request-1\0x");
}

use proptest::prelude::*;

use super::*;
use crate::base::limits::{GIST_ERROR_OBJECT_BYTES_MAX, GIST_FORWARD_OBJECTS_MAX};
use crate::wire::gist::object::PeerIdentity;
use crate::wire::gist::stack::{FORWARDS_TCP, StackOption};
use crate::wire::gist::testing::{hex, messages};

// Objects of a flow, each with its header.
const MRI: &str = "0000 0004 00004000 0a090101 0a090309 20200000";
const SID: &str = "0001 0004 3db13f7c17f931be446b98202e71fdcc";
const NLI: &str = "0002 0004 04404000 00007530 a1a2a3a4 0a090101";
const NAT: &str = "0007 0006 04010000 00004000 0a090101 0a090309 20200000 00000000";
const PROPOSAL: &str = "0003 0002 01000000 01010000";
const CONFIGURATION: &str = "0004 0003 01000000 0002bf20 01010000";
const QUERY_COOKIE: &str = "0005 0001 c446e1c6";
const RESPONDER_COOKIE: &str = "0006 0002 0e1950ef 00020000";
const DATA: &str = "0008 0001 64617461";
const ERROR: &str = "0009 0004 02000500 10000000 0100000800000380";
const HELLO: &str = "000a 0001 00000007";

// Type with C-flag, other flags.
const QUERY: &str = "80 c0";
const RESPONSE: &str = "01 c0";
const CONFIRM: &str = "02 80";
const DATA_MESSAGE: &str = "03 80";
const ERROR_MESSAGE: &str = "04 80";
const HELLO_MESSAGE: &str = "05 c0";

/// The bytes of a message of application 32704 with these objects, of the right length.
fn bytes(flags: &str, objects: &[&str]) -> Vec<u8> {
    let body = hex(&objects.concat());
    let words = (body.len() / 4) as u16;
    [hex("01 20").as_slice(), &words.to_be_bytes(), &hex("7fc0"), &hex(flags), &body].concat()
}

fn rejection(bytes: &[u8]) -> Rejection {
    *Message::decode(bytes).expect_err("malformed")
}

/// Error and the one type that it names.
fn object_type(flags: &str, objects: &[&str]) -> (GistError, u16) {
    let rejection = rejection(&bytes(flags, objects));
    let [ErrorInfo::ObjectType(kind)] = rejection.info[..] else { panic!("{:?}", rejection.info) };
    (rejection.error, kind)
}

/// Error, the byte at which the trouble is, and the object shown.
fn object_value(flags: &str, objects: &[&str]) -> (GistError, u16, Vec<u8>) {
    let rejection = rejection(&bytes(flags, objects));
    let [ErrorInfo::ObjectValue { real_length_words, offset, object }] = &rejection.info[..] else {
        panic!("{:?}", rejection.info)
    };
    assert_eq!(usize::from(*real_length_words) * 4, object.len());
    (rejection.error, *offset, object.clone())
}

fn flow() -> Mri {
    Mri::flow([10, 9, 1, 1].into(), [10, 9, 3, 9].into())
}

fn query() -> Message {
    let options = vec![StackOption { protocol: FORWARDS_TCP, profile: 1, forbidden: false, data: Vec::new() }];
    Message {
        mri: Some(flow()),
        sid: Some(Sid(hex("3db13f7c17f931be446b98202e71fdcc").try_into().unwrap())),
        nli: Some(Nli {
            peer_identity: PeerIdentity(hex("a1a2a3a4")),
            ip_ttl: 64,
            validity_ms: 30_000,
            address: [10, 9, 1, 1].into(),
        }),
        query_cookie: Some(Cookie(hex("c446e1c6"))),
        stack_proposal: Some(StackProposal { profiles: vec![vec![FORWARDS_TCP]] }),
        stack_configuration: Some(StackConfiguration { hold_time_ms: 180_000, options }),
        nslp_data: Some(b"data".to_vec()),
        ..Message::new(MessageType::Query, NslpId(32_704))
    }
}

#[test]
fn takes_a_query_apart_and_builds_it() {
    let objects = [MRI, SID, NLI, QUERY_COOKIE, PROPOSAL, CONFIGURATION, DATA];
    assert_eq!(Message::decode(&bytes(QUERY, &objects)), Ok(query()));
    assert_eq!(query().encode(), bytes(QUERY, &objects));
}

#[test]
fn takes_every_form_of_every_type() {
    for (flags, objects) in [
        (QUERY, vec![NAT, MRI, SID, NLI, QUERY_COOKIE]),
        (RESPONSE, vec![NAT, MRI, SID, NLI, QUERY_COOKIE, RESPONDER_COOKIE, PROPOSAL, CONFIGURATION, DATA]),
        (RESPONSE, vec![MRI, SID, NLI, QUERY_COOKIE, RESPONDER_COOKIE]),
        ("01 80", vec![MRI, SID, NLI, QUERY_COOKIE, DATA]),
        (CONFIRM, vec![MRI, SID, NLI, RESPONDER_COOKIE, PROPOSAL, CONFIGURATION, DATA]),
        (CONFIRM, vec![MRI, SID, NLI, RESPONDER_COOKIE, PROPOSAL]),
        (CONFIRM, vec![MRI, SID, NLI, RESPONDER_COOKIE]),
        (CONFIRM, vec![MRI, SID, NLI]),
        (DATA_MESSAGE, vec![NAT, MRI, SID, NLI, DATA]),
        ("83 00", vec![MRI, SID, NLI, DATA]),
        ("03 a0", vec![MRI, SID, DATA]),
        (ERROR_MESSAGE, vec![NAT, NLI, ERROR]),
        ("04 00", vec![ERROR]),
        (HELLO_MESSAGE, vec![HELLO]),
        ("05 80", vec!["000a 0001 00000000"]),
    ] {
        let bytes = bytes(flags, &objects);
        let message = Message::decode(&bytes).unwrap_or_else(|rejection| panic!("{flags}: {rejection:?}"));
        assert_eq!(message.encode(), bytes, "{flags}");
    }
}

#[test]
fn sets_the_flags_that_each_type_has_as_a_rule() {
    for (kind, hops, flags) in [
        (MessageType::Query, 32, "80 c0"),
        (MessageType::Response, 1, "01 80"),
        (MessageType::Confirm, 1, "02 80"),
        (MessageType::Data, 1, "03 80"),
        (MessageType::Error, 1, "04 80"),
        (MessageType::Hello, 1, "05 80"),
    ] {
        let bytes = Message::new(kind, NslpId(33)).encode();
        assert_eq!(bytes, [hex("01"), vec![hops], hex("0000 0021"), hex(flags)].concat());
    }
}

#[test]
fn fills_data_to_whole_words() {
    let message = Message { nslp_data: Some(vec![1, 2, 3, 4, 5]), ..query() };
    let back = Message::decode(&message.encode()).expect("well formed");
    assert_eq!(back.nslp_data, Some(vec![1, 2, 3, 4, 5, 0, 0, 0]));
}

#[test]
fn refuses_what_has_no_header() {
    for len in 0..8 {
        let rejection = rejection(&bytes(QUERY, &[])[..len]);
        assert_eq!((rejection.error, rejection.header), (GistError::IncorrectMessageLength, None));
    }
}

#[test]
fn refuses_another_version_and_reads_no_further() {
    let mut bytes = bytes(QUERY, &[MRI, SID, NLI, QUERY_COOKIE]);
    bytes[0] = 2;
    let rejection = rejection(&bytes);
    assert_eq!((rejection.error, rejection.sid, rejection.mri), (GistError::UnknownVersion, None, None));
    assert_eq!(rejection.header, CommonHeader::peek(&bytes));
}

#[test]
fn refuses_types_that_it_does_not_know() {
    for number in ["06", "38", "7f"] {
        assert_eq!(rejection(&bytes(&format!("{number} 80"), &[MRI])).error, GistError::UnknownType);
    }
}

#[test]
fn refuses_flags_that_do_not_fit_the_type() {
    let flow = [MRI, SID, NLI, QUERY_COOKIE];
    for (flags, error) in [
        ("00 c0", GistError::InvalidCFlag),
        ("81 c0", GistError::InvalidCFlag),
        ("82 80", GistError::InvalidCFlag),
        ("84 80", GistError::InvalidCFlag),
        ("85 80", GistError::InvalidCFlag),
        ("80 80", GistError::InvalidRFlag),
        ("02 c0", GistError::InvalidRFlag),
        ("03 c0", GistError::InvalidRFlag),
        ("04 c0", GistError::InvalidRFlag),
        ("80 e0", GistError::InvalidEFlag),
        ("01 e0", GistError::InvalidEFlag),
        ("02 a0", GistError::InvalidEFlag),
        ("04 a0", GistError::InvalidEFlag),
        ("05 a0", GistError::InvalidEFlag),
    ] {
        let rejection = rejection(&bytes(flags, &flow));
        assert_eq!((rejection.error, rejection.info), (error, vec![]), "{flags}");
        // What could be read goes along, for whoever must find out where to send the Error.
        assert_eq!((rejection.sid, rejection.nli), (query().sid, query().nli), "{flags}");
        assert_eq!(rejection.mri, Some(query().mri.unwrap().encode_value()), "{flags}");
    }
    let unasked = bytes("01 80", &[MRI, SID, NLI, QUERY_COOKIE, RESPONDER_COOKIE]);
    assert_eq!(rejection(&unasked).error, GistError::InvalidRFlag);
}

#[test]
fn refuses_a_length_that_is_not_that_of_the_objects() {
    let whole = bytes(QUERY, &[MRI, SID, NLI, QUERY_COOKIE]);
    let calculated = |bytes: &[u8]| {
        let rejection = rejection(bytes);
        let [ErrorInfo::MessageLength(words)] = rejection.info[..] else { panic!("{:?}", rejection.info) };
        (rejection.error, words)
    };
    // The last object is the cookie, of two words.
    for len in 8..whole.len() {
        let (error, words) = calculated(&whole[..len]);
        assert_eq!(error, GistError::IncorrectMessageLength, "{len} bytes");
        assert!(words <= 17, "{len} bytes");
    }
    assert_eq!(calculated(&whole[..whole.len() - 4]), (GistError::IncorrectMessageLength, 17));
    assert_eq!(calculated(&[whole.as_slice(), &[0; 4]].concat()), (GistError::IncorrectMessageLength, 18));
    let mut shorter = whole.clone();
    shorter[3] -= 2;
    assert_eq!(calculated(&shorter), (GistError::IncorrectMessageLength, 17));
    let huge = bytes(QUERY, &["0000 0fff 00000000"]);
    assert_eq!(calculated(&huge), (GistError::IncorrectMessageLength, 4_096));
}

#[test]
fn refuses_an_object_that_is_there_twice() {
    let twice = [MRI, SID, SID, NLI, QUERY_COOKIE];
    assert_eq!(object_type(QUERY, &twice), (GistError::DuplicateObject, kind::SID));
    let apart = [MRI, SID, NLI, QUERY_COOKIE, MRI];
    assert_eq!(object_type(QUERY, &apart), (GistError::DuplicateObject, kind::MRI));
}

#[test]
fn does_with_unknown_objects_what_their_flags_say() {
    let with = |object| [MRI, SID, NLI, object, QUERY_COOKIE, PROPOSAL, CONFIGURATION, DATA];
    assert_eq!(object_type(QUERY, &with("000b 0000")), (GistError::UnrecognisedObject, 11));
    assert_eq!(object_type(QUERY, &with("0fff 0001 00000000")), (GistError::UnrecognisedObject, 4_095));
    assert_eq!(Message::decode(&bytes(QUERY, &with("47d0 0001 01020304"))), Ok(query()));
    let forward = vec![RawObject { head: 0x87d0, value: vec![1, 2, 3, 4] }];
    let forwarded = Message::decode(&bytes(QUERY, &with("87d0 0001 01020304"))).expect("well formed");
    assert_eq!(forwarded, Message { forward, ..query() });
    assert!(forwarded.encode().ends_with(&hex("87d0 0001 01020304")));
    assert_eq!(object_type(QUERY, &with("c7d0 0000")), (GistError::InvalidExtensibilityFlags, 2_000));
    assert_eq!(object_type(QUERY, &with("c008 0000")), (GistError::InvalidExtensibilityFlags, kind::NSLP_DATA));
}

#[test]
fn bounds_the_objects_to_be_forwarded() {
    let objects = |count| [vec![MRI, SID, NLI, QUERY_COOKIE], vec!["87d0 0000"; count]].concat();
    assert!(Message::decode(&bytes(QUERY, &objects(GIST_FORWARD_OBJECTS_MAX))).is_ok());
    let too_many = objects(GIST_FORWARD_OBJECTS_MAX + 1);
    assert_eq!(object_type(QUERY, &too_many), (GistError::UnrecognisedObject, 2_000));
}

#[test]
fn takes_known_objects_whatever_their_flags() {
    let objects = ["4000 0004 00004000 0a090101 0a090309 20200000", "8001 0004 3db13f7c17f931be446b98202e71fdcc"];
    let decoded = Message::decode(&bytes(DATA_MESSAGE, &[objects[0], objects[1], DATA])).expect("well formed");
    assert_eq!(decoded.encode(), bytes(DATA_MESSAGE, &[MRI, SID, DATA]));
}

#[test]
fn refuses_a_message_without_an_object_that_it_must_have() {
    for (flags, objects) in [
        (QUERY, vec![MRI, SID, NLI, QUERY_COOKIE]),
        (RESPONSE, vec![MRI, SID, NLI, QUERY_COOKIE]),
        (CONFIRM, vec![MRI, SID, NLI]),
        (DATA_MESSAGE, vec![MRI, SID, DATA]),
        (ERROR_MESSAGE, vec![ERROR]),
        (HELLO_MESSAGE, vec![HELLO]),
    ] {
        for left_out in 0..objects.len() {
            let kind = u16::from(hex(objects[left_out])[1]);
            let mut objects = objects.clone();
            objects.remove(left_out);
            assert_eq!(object_type(flags, &objects), (GistError::MissingObject, kind), "{flags}");
        }
    }
}

#[test]
fn refuses_a_proposal_without_configuration_or_cookie() {
    let start = [MRI, SID, NLI, QUERY_COOKIE];
    let with = |flags, more: &[&str]| object_type(flags, &[&start, more].concat());
    let missing = |kind| (GistError::MissingObject, kind);
    assert_eq!(with(QUERY, &[PROPOSAL]), missing(kind::STACK_CONFIGURATION));
    assert_eq!(with(QUERY, &[CONFIGURATION]), missing(kind::STACK_PROPOSAL));
    assert_eq!(with(RESPONSE, &[RESPONDER_COOKIE, PROPOSAL]), missing(kind::STACK_CONFIGURATION));
    assert_eq!(with(RESPONSE, &[RESPONDER_COOKIE, CONFIGURATION]), missing(kind::STACK_PROPOSAL));
    assert_eq!(with(RESPONSE, &[PROPOSAL, CONFIGURATION]), missing(kind::RESPONDER_COOKIE));
    let confirm = |more: &[&str]| object_type(CONFIRM, &[&start[..3], more].concat());
    assert_eq!(confirm(&[RESPONDER_COOKIE, CONFIGURATION]), missing(kind::STACK_PROPOSAL));
    assert_eq!(confirm(&[PROPOSAL]), missing(kind::RESPONDER_COOKIE));
}

#[test]
fn refuses_objects_that_the_type_does_not_have() {
    for (flags, objects, kind) in [
        (QUERY, vec![MRI, SID, NLI, QUERY_COOKIE, RESPONDER_COOKIE], kind::RESPONDER_COOKIE),
        (QUERY, vec![MRI, SID, NLI, QUERY_COOKIE, ERROR], kind::ERROR),
        (RESPONSE, vec![MRI, SID, NLI, QUERY_COOKIE, HELLO], kind::HELLO_ID),
        (CONFIRM, vec![NAT, MRI, SID, NLI], kind::NAT_TRAVERSAL),
        (CONFIRM, vec![MRI, SID, NLI, QUERY_COOKIE], kind::QUERY_COOKIE),
        (DATA_MESSAGE, vec![MRI, SID, PROPOSAL, DATA], kind::STACK_PROPOSAL),
        (ERROR_MESSAGE, vec![SID, ERROR], kind::SID),
        (HELLO_MESSAGE, vec![HELLO, DATA], kind::NSLP_DATA),
    ] {
        assert_eq!(object_type(flags, &objects), (GistError::InvalidObjectType, kind), "{flags}");
    }
}

#[test]
fn refuses_objects_in_another_order() {
    let first = [SID, MRI, NLI, QUERY_COOKIE];
    assert_eq!(object_type(QUERY, &first), (GistError::InvalidObjectType, kind::MRI));
    let nat_last = [MRI, SID, NLI, DATA, NAT];
    assert_eq!(object_type(DATA_MESSAGE, &nat_last), (GistError::InvalidObjectType, kind::NAT_TRAVERSAL));
}

#[test]
fn shows_an_object_whose_value_is_wrong_and_where() {
    for (flags, objects, at, error, offset) in [
        (QUERY, vec!["0000 0001 00005000", SID, NLI, QUERY_COOKIE], 0, GistError::ValueNotSupported, 6),
        (QUERY, vec!["0000 0001 00004000", SID, NLI, QUERY_COOKIE], 0, GistError::IncorrectLength, 8),
        (
            QUERY,
            vec!["0000 0004 00004100 0a090101 0a090309 20200000", SID, NLI, QUERY_COOKIE],
            0,
            GistError::InvalidFlagFieldCombination,
            6,
        ),
        (DATA_MESSAGE, vec![MRI, "0001 0003 000000000000000000000000", DATA], 1, GistError::IncorrectLength, 16),
        (
            DATA_MESSAGE,
            vec![MRI, "0001 0005 0000000000000000000000000000000000000000", DATA],
            1,
            GistError::IncorrectLength,
            20,
        ),
        (
            QUERY,
            vec![MRI, SID, "0002 0003 00404000 00000000 0a090101", QUERY_COOKIE],
            2,
            GistError::ValueNotSupported,
            8,
        ),
        (
            QUERY,
            vec![MRI, SID, NLI, QUERY_COOKIE, "0003 0001 00000000", CONFIGURATION],
            4,
            GistError::ValueNotSupported,
            4,
        ),
        (
            QUERY,
            vec![MRI, SID, NLI, QUERY_COOKIE, "0003 0002 01000000 00000000", CONFIGURATION],
            4,
            GistError::EmptyList,
            8,
        ),
        (
            QUERY,
            vec![MRI, SID, NLI, QUERY_COOKIE, PROPOSAL, "0004 0002 00000000 00000000"],
            5,
            GistError::ValueNotSupported,
            8,
        ),
        (DATA_MESSAGE, vec!["0007 0001 01000000", MRI, SID, DATA], 0, GistError::IncorrectLength, 8),
        (HELLO_MESSAGE, vec!["000a 0001 00000000"], 0, GistError::ValueNotSupported, 4),
        (HELLO_MESSAGE, vec!["000a 0002 00000007 00000000"], 0, GistError::IncorrectLength, 8),
        (HELLO_MESSAGE, vec!["000a 0000"], 0, GistError::IncorrectLength, 4),
        (ERROR_MESSAGE, vec!["0009 0003 02000500 10000000 01000008"], 0, GistError::IncorrectLength, 16),
    ] {
        assert_eq!(object_value(flags, &objects), (error, offset, hex(objects[at])), "{objects:?}");
    }
}

#[test]
fn shows_proposal_and_configuration_that_do_not_fit() {
    let configuration = "0004 0003 01000000 0002bf20 01020000";
    let rejection = rejection(&bytes(QUERY, &[MRI, SID, NLI, QUERY_COOKIE, PROPOSAL, configuration]));
    assert_eq!(rejection.error, GistError::StackMismatch);
    let shown =
        |real_length_words, offset, object| ErrorInfo::ObjectValue { real_length_words, offset, object: hex(object) };
    assert_eq!(rejection.info, [shown(3, 4, PROPOSAL), shown(4, 13, configuration)]);
}

#[test]
fn reads_of_a_refused_message_what_is_well_formed() {
    let broken = "0002 0004 04407000 00007530 a1a2a3a4 0a090101";
    let rejection = rejection(&bytes(DATA_MESSAGE, &[NAT, MRI, SID, broken, DATA]));
    assert_eq!((rejection.error, rejection.nli), (GistError::ValueNotSupported, None));
    assert_eq!((rejection.sid, rejection.mri), (query().sid, Some(flow().encode_value())));
    assert_eq!(rejection.nat_traversal.expect("well formed").original_mri, flow().encode_value());
}

#[test]
fn refuses_a_message_that_fits_the_grammar_for_another_reason() {
    let shown = |rejection: &Rejection| rejection.info.len();
    let wild = Rejection::of(&query(), GistError::MriTooWild);
    assert_eq!(wild.info, [ErrorInfo::object(kind::MRI, &flow().encode_value(), 0)]);
    assert_eq!((wild.sid, &wild.nli, &wild.mri), (query().sid, &query().nli, &Some(flow().encode_value())));
    assert_eq!(wild.header.expect("made").to_bytes().as_slice(), &query().encode()[..8]);
    assert_eq!(shown(&Rejection::of(&query(), GistError::NoRoutingState)), 0);
    assert_eq!(shown(&Rejection::of(&query(), GistError::StackMismatch)), 2);
    let cookies = Message { responder_cookie: Some(Cookie(vec![9; 400])), ..query() };
    let confirm = Message { kind: MessageType::Confirm, ..cookies.clone() };
    let [ErrorInfo::ObjectValue { object, .. }] = &Rejection::of(&confirm, GistError::InvalidCookie).info[..] else {
        panic!("no object")
    };
    assert_eq!((object[1], object.len()), (6, GIST_ERROR_OBJECT_BYTES_MAX));
    let response = Message { kind: MessageType::Response, ..cookies };
    let [ErrorInfo::ObjectValue { object, .. }] = &Rejection::of(&response, GistError::InvalidCookie).info[..] else {
        panic!("no object")
    };
    assert_eq!(object, &hex(QUERY_COOKIE));
}

#[test]
fn makes_an_error_that_fits_in_a_datagram() {
    let long = Message {
        mri: Some(Mri::flow("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap())),
        stack_proposal: Some(StackProposal { profiles: vec![vec![FORWARDS_TCP; 255]; 8] }),
        stack_configuration: Some(StackConfiguration {
            hold_time_ms: 1,
            options: vec![StackOption { data: vec![0; 255], ..StackOption::tcp(9, 1) }; 8],
        }),
        ..query()
    };
    let rejection = rejection(&long.encode());
    let nli = Nli {
        address: "2001:db8::1".parse().unwrap(),
        peer_identity: PeerIdentity(vec![0; 16]),
        ..query().nli.unwrap()
    };
    let error = Message {
        nli: Some(nli),
        error: Some(ErrorObject::new(&rejection, true, true)),
        ..Message::new(MessageType::Error, NslpId::GIST)
    };
    assert_eq!(rejection.error, GistError::StackMismatch);
    assert!(error.encode().len() <= 512, "{} bytes", error.encode().len());
    assert_eq!(Message::decode(&error.encode()), Ok(error));
}

#[test]
fn finds_the_messages_in_a_stream() {
    let first = bytes(HELLO_MESSAGE, &[HELLO]);
    let stream = [first.as_slice(), &bytes(DATA_MESSAGE, &[MRI, SID, DATA])].concat();
    for len in 0..first.len() {
        assert_eq!(frame(&stream[..len]), Ok(None), "{len} bytes");
    }
    assert_eq!(frame(&stream[..first.len()]), Ok(Some(first.len())));
    assert_eq!(frame(&stream), Ok(Some(first.len())));
    assert_eq!(frame(&stream[first.len()..]), Ok(Some(stream.len() - first.len())));
    // A record of TLS begins with 22.
    assert_eq!(frame(&[22]), Err(FrameError::Version(22)));
}

proptest! {
    #[test]
    fn survives_the_wire(message in messages()) {
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn bears_a_damaged_message(message in messages(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = message.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        match Message::decode(&bytes) {
            Ok(message) => prop_assert_eq!(Message::decode(&message.encode()), Ok(message)),
            Err(rejection) => {
                let error = ErrorObject::new(&rejection, true, false);
                prop_assert_eq!(ErrorObject::decode_value(&error.encode_value()), Ok(error));
            }
        }
    }
}

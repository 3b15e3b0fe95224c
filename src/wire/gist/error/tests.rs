use super::*;
use crate::wire::gist::header::CommonHeader;
use crate::wire::gist::testing::hex;

/// Every part, with the session before the flow: RFC 5971, appendix A.4.1.
const FULL: &str = "02 0009 03  f8 00 04 05  0120001d7fc080c0 \
    3db13f7c17f931be446b98202e71fdcc  00004000 0a090101 0a090309 20200000 \
    0001 0001 001d 0000  0002 0001 05dc 0000  0003 0001 0007 0000 \
    0004 0003 0002 0008 00070001 a1a2a3a4  0005 0000 \
    6e6f 2c20 7468 616e 6b73 0000";

fn full() -> ErrorObject {
    ErrorObject {
        class: 2,
        code: 9,
        subcode: 3,
        d_mode: true,
        q_mode: true,
        header: hex("0120001d7fc080c0").try_into().unwrap(),
        sid: Some(Sid(hex("3db13f7c17f931be446b98202e71fdcc").try_into().unwrap())),
        mri: Some(hex("00004000 0a090101 0a090309 20200000")),
        info: vec![
            ErrorInfo::MessageLength(29),
            ErrorInfo::Mtu(1_500),
            ErrorInfo::ObjectType(7),
            ErrorInfo::ObjectValue { real_length_words: 2, offset: 8, object: hex("00070001 a1a2a3a4") },
            ErrorInfo::Unknown { kind: 5, value: Vec::new() },
        ],
        comment: Some("no, thanks".to_owned()),
    }
}

#[test]
fn takes_an_error_apart_and_builds_it() {
    assert_eq!(ErrorObject::decode_value(&hex(FULL)), Ok(full()));
    assert_eq!(full().encode_value(), hex(FULL));
    assert_eq!(full().error(), Some(GistError::InvalidObjectType));
}

#[test]
fn keeps_each_flag_in_its_bit() {
    let bare =
        ErrorObject { sid: None, mri: None, info: Vec::new(), comment: None, d_mode: false, q_mode: false, ..full() };
    let flags = |error: &ErrorObject| error.encode_value()[4];
    assert_eq!(flags(&bare), 0);
    assert_eq!(flags(&ErrorObject { sid: full().sid, ..bare.clone() }), 0x80);
    assert_eq!(flags(&ErrorObject { mri: full().mri, ..bare.clone() }), 0x40);
    assert_eq!(flags(&ErrorObject { comment: full().comment, ..bare.clone() }), 0x20);
    assert_eq!(flags(&ErrorObject { d_mode: true, ..bare.clone() }), 0x10);
    assert_eq!(flags(&ErrorObject { q_mode: true, ..bare }), 0x08);
}

#[test]
fn refuses_an_error_whose_header_session_or_flow_is_not_whole() {
    let bytes = hex(FULL);
    for len in 0..48 {
        assert_eq!(ErrorObject::decode_value(&bytes[..len]), Err(ValueFault::length(len)), "{len} bytes");
    }
}

#[test]
fn takes_what_is_whole_of_information_and_comment() {
    let bytes = hex(FULL);
    for len in 48..bytes.len() {
        let error = ErrorObject::decode_value(&bytes[..len]).expect("the rest may be missing");
        assert_eq!((error.sid, &error.mri), (full().sid, &full().mri));
        assert!(full().info.starts_with(&error.info), "{len} bytes");
    }
}

#[test]
fn bears_information_that_is_counted_but_not_there() {
    let error = ErrorObject::decode_value(&hex("02 0005 00  10 00 00 01  0100000800000380")).expect("well formed");
    assert_eq!((error.error(), error.info), (Some(GistError::NoRoutingState), Vec::new()));
}

#[test]
fn bears_codes_that_it_does_not_know() {
    let error = ErrorObject::decode_value(&hex("07 00ff 09  00 00 00 00  0100000800000380")).expect("well formed");
    assert_eq!((error.class, error.code, error.subcode, error.error()), (7, 255, 9, None));
}

#[test]
fn cuts_a_comment_that_is_not_text_or_too_long() {
    let with_comment = |comment: &[u8]| [&hex("02 0005 00  30 00 00 00  0100000800000380"), comment].concat();
    let comment = |bytes: &[u8]| ErrorObject::decode_value(&with_comment(bytes)).expect("well formed").comment;
    assert_eq!(comment(b"ab\xff\0\0\0\0\0").as_deref(), Some("ab?"));
    assert_eq!(comment(b"abcd").as_deref(), Some("abc"));
    assert_eq!(comment(b"\0\0\0\0").as_deref(), Some(""));
    assert_eq!(comment(b""), None);
    let long = comment(&[0xff; tlv::VALUE_BYTES_MAX - 16]).expect("it has one");
    assert_eq!(long, "?".repeat(GIST_COMMENT_BYTES_MAX));
    let built = ErrorObject { comment: Some("x".repeat(20_000)), ..full() }.encode_value();
    assert!(built.len() <= tlv::VALUE_BYTES_MAX);
    let built = ErrorObject { comment: Some("one\0two".to_owned()), ..full() }.encode_value();
    assert_eq!(ErrorObject::decode_value(&built).expect("well formed").comment.as_deref(), Some("one"));
}

#[test]
fn fits_a_comment_behind_a_full_object() {
    let mut value = hex("02 0005 00  30 00 00 01  0100000800000380  0005 0ff8");
    value.resize(tlv::VALUE_BYTES_MAX - 8, 0);
    value.extend(b"abcdefgh");
    let error = ErrorObject::decode_value(&value).expect("well formed");
    assert_eq!(error.comment.as_deref(), Some("abcdefg"));
    assert_eq!(error.encode_value().len(), tlv::VALUE_BYTES_MAX);
    assert_eq!(ErrorObject::decode_value(&error.encode_value()), Ok(error));
}

#[test]
fn has_the_codes_of_the_catalogue() {
    let codes: Vec<_> = GistError::ALL.iter().map(|error| error.code()).collect();
    // Class, code, highest subcode (RFC 5971, appendix A.4.4).
    let catalogue = [
        (2, 1, 5),
        (4, 2, 0),
        (2, 3, 0),
        (2, 4, 0),
        (2, 5, 0),
        (4, 6, 0),
        (4, 7, 0),
        (4, 8, 0),
        (2, 9, 5),
        (2, 10, 5),
        (4, 11, 0),
        (4, 12, 2),
    ];
    let want: Vec<_> =
        catalogue.iter().flat_map(|(class, code, last)| (0..=*last).map(|subcode| (*class, *code, subcode))).collect();
    assert_eq!(codes, want);
    for error in GistError::ALL {
        let (_, code, subcode) = error.code();
        assert_eq!(GistError::from_code(code, subcode), Some(error));
    }
    for (code, subcode) in [(0, 0), (1, 6), (2, 1), (9, 6), (10, 6), (12, 3), (13, 0), (u16::MAX, 0)] {
        assert_eq!(GistError::from_code(code, subcode), None);
    }
    assert_eq!(GistError::StackMismatch.to_string(), "Stack-Proposal - Stack-Configuration-Data Mismatch");
}

#[test]
fn shows_the_front_of_a_long_object_and_tells_its_length() {
    let ErrorInfo::ObjectValue { real_length_words, offset, object } = ErrorInfo::object(8, &[7; 16_380], 2_000) else {
        panic!("another kind of information")
    };
    assert_eq!((real_length_words, offset, object.len()), (4_095, 2_004, GIST_ERROR_OBJECT_BYTES_MAX));
    assert_eq!(object[..5], [0, 8, 0x0f, 0xff, 7]);
}

#[test]
fn leaves_session_and_flow_out_of_an_error_in_the_header() {
    let rejection = |error| Rejection {
        error,
        info: vec![ErrorInfo::Mtu(1_280)],
        header: CommonHeader::peek(&full().header),
        sid: full().sid,
        mri: full().mri,
        nli: None,
        nat_traversal: None,
    };
    let error = ErrorObject::new(&rejection(GistError::MessageTooLarge), true, false);
    assert_eq!((error.class, error.code, error.subcode, error.d_mode, error.q_mode), (4, 8, 0, true, false));
    assert_eq!((error.header, error.sid, error.mri), (full().header, full().sid, full().mri));
    assert_eq!(error.info, [ErrorInfo::Mtu(1_280)]);
    let error = ErrorObject::new(&rejection(GistError::InvalidRFlag), false, true);
    assert_eq!((error.sid, error.mri, error.d_mode, error.q_mode), (None, None, false, false));
}

use super::*;
use crate::wire::gist::testing::hex;

#[test]
fn takes_a_header_apart_and_builds_it() {
    let bytes = hex("01 20 001d 7fc0 80 c0");
    let header = CommonHeader::peek(&bytes).expect("8 bytes");
    let want = CommonHeader {
        version: 1,
        hops: 32,
        length_words: 29,
        nslp: NslpId(32_704),
        context_free: true,
        kind: 0,
        source_addressing: true,
        reply_requested: true,
        explicit_routing: false,
    };
    assert_eq!(header, want);
    assert_eq!(header.message_type(), Some(MessageType::Query));
    assert_eq!(header.message_bytes(), 8 + 29 * 4);
    assert_eq!(header.to_bytes().as_slice(), bytes);
}

#[test]
fn keeps_each_flag_in_its_bit_and_clears_reserved_ones() {
    let header = CommonHeader::peek(&hex("ff 00 ffff 0000 85 ff 99")).expect("8 bytes");
    assert_eq!(header.to_bytes().as_slice(), hex("ff 00 ffff 0000 85 e0"));
    for (flags, bits) in [("80", (true, false, false)), ("40", (false, true, false)), ("20", (false, false, true))] {
        let header = CommonHeader::peek(&hex(&format!("01 01 0000 0000 03 {flags}"))).expect("8 bytes");
        assert_eq!((header.source_addressing, header.reply_requested, header.explicit_routing), bits);
    }
}

#[test]
fn has_a_number_for_every_type_and_no_type_for_other_numbers() {
    for number in 0..=127 {
        let kind = MessageType::from_number(number);
        assert_eq!(kind.map(MessageType::number), (number < 6).then_some(number));
    }
}

#[test]
fn needs_eight_bytes() {
    assert_eq!(CommonHeader::peek(&hex("01 20 001d 7fc0 80")), None);
    assert_eq!(CommonHeader::peek(&[]), None);
}

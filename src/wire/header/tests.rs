use super::*;
use crate::base::filter::address_of;

/// UDP 10.0.0.1:4096 -> 10.0.0.2:53, payload "abcd", and two bytes of padding of the link.
const UDP4: &str = "45000020 00000000 4011 66cb 0a000001 0a000002 1000 0035 000c 0000 61626364 0000";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn finds_ports_and_payload_and_leaves_out_padding() {
    let bytes = hex(UDP4);
    let header = Header::parse(&bytes, false).unwrap();
    assert_eq!((header.ip_version, header.protocol, header.ports), (4, UDP, Some((4096, 53))));
    assert_eq!(address_of(header.source, 4).to_string(), "10.0.0.1");
    assert_eq!(header.payload(&bytes), b"abcd");
    assert_eq!((header.transport_at, header.end), (20, 32));
}

#[test]
fn every_cut_of_a_packet_has_a_drop_reason() {
    let bytes = hex(UDP4);
    assert_eq!(Header::parse(&[], false), Err(DropReason::IpHeader));
    for len in 1..20 {
        assert_eq!(Header::parse(&bytes[..len], false), Err(DropReason::IpHeader), "{len}");
    }
    for len in 20..32 {
        assert_eq!(Header::parse(&bytes[..len], false), Err(DropReason::IpLength), "{len}");
    }
    let cut = Header::parse(&bytes[..30], true).unwrap();
    assert_eq!(cut.payload(&bytes[..30]), b"ab");
    assert_eq!(Header::parse(&bytes[..26], true), Err(DropReason::TransportHeader));
}

#[test]
fn a_version_that_is_not_4_or_6_is_no_ip_packet() {
    let mut bytes = hex(UDP4);
    for version in [0u8, 1, 5, 7, 15] {
        bytes[0] = version << 4 | 5;
        assert_eq!(Header::parse(&bytes, false), Err(DropReason::NotIp));
    }
}

#[test]
fn a_udp_length_beyond_the_packet_is_malformed() {
    let mut bytes = hex(UDP4);
    for said in [1u16, 7, 13, 0xffff] {
        bytes[24..26].copy_from_slice(&said.to_be_bytes());
        assert_eq!(Header::parse(&bytes, false), Err(DropReason::TransportHeader), "{said}");
    }
    bytes[24..26].copy_from_slice(&10u16.to_be_bytes());
    assert_eq!(Header::parse(&bytes, false).unwrap().payload(&bytes), b"ab");
}

#[test]
fn a_tcp_data_offset_outside_of_the_packet_is_malformed() {
    let mut bytes =
        hex("45000028 00000000 4006 0000 0a000001 0a000002 1000 0050 00000001 00000002 5018 ffff 0000 0000");
    let header = Header::parse(&bytes, false).unwrap();
    assert_eq!((header.tcp_flags, header.payload_bytes()), (0x18, 0));
    for offset in [0u8, 4, 6, 15] {
        bytes[32] = offset << 4;
        assert_eq!(Header::parse(&bytes, false), Err(DropReason::TransportHeader), "{offset}");
    }
}

#[test]
fn only_the_first_fragment_has_ports() {
    let mut bytes = hex(UDP4);
    bytes[4..6].copy_from_slice(&[0x12, 0x34]);
    bytes[6] = 0x20;
    bytes[24..26].copy_from_slice(&2000u16.to_be_bytes());
    let first = Header::parse(&bytes, false).unwrap();
    assert_eq!((first.fragment, first.ports), (Fragment::First(0x1234), Some((4096, 53))));
    bytes[6..8].copy_from_slice(&[0x00, 0x10]);
    let later = Header::parse(&bytes, false).unwrap();
    assert_eq!((later.fragment, later.ports), (Fragment::Later(0x1234), None));
}

#[test]
fn walks_ipv6_extension_headers_to_the_transport() {
    let bytes = hex("60000000 0020 00 40 fd000000000000000000000000000001 fd000000000000000000000000000002
         2c 00 0104 00000000  11 00 0001 0000002a  1000 0035 0010 0000 6162636465666768");
    let header = Header::parse(&bytes, false).unwrap();
    assert_eq!((header.protocol, header.ports), (UDP, Some((4096, 53))));
    assert_eq!((header.fragment, header.transport_at), (Fragment::First(42), 56));
    assert_eq!(header.payload(&bytes), b"abcdefgh");
    for len in 40..72 {
        assert!(Header::parse(&bytes[..len], false).is_err(), "{len}");
    }
}

#[test]
fn a_hop_by_hop_header_in_the_wrong_place_is_malformed() {
    let bytes = hex("60000000 0018 3c 40 fd000000000000000000000000000001 fd000000000000000000000000000002
         00 00 0104 00000000  11 00 0104 00000000  1000 0035 0008 0000");
    assert_eq!(Header::parse(&bytes, false), Err(DropReason::ExtensionHeader));
}

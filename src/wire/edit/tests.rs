use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

use super::*;
use crate::base::packet::Offload;

fn udp4(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(1000, 2000).write(&mut bytes, payload).unwrap();
    bytes
}

fn tcp6(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv6([1; 16], [2; 16], 64).tcp(1000, 2000, 77, 4096);
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

/// Applies `edit` to a copy of `bytes` and commits it; the buffer has room for 32 bytes more.
fn committed(bytes: &[u8], offload: Offload, edit: impl Fn(&mut Vec<u8>)) -> Result<Vec<u8>, EditError> {
    let header = Header::parse(bytes, false).unwrap();
    let mut room = bytes.to_vec();
    room.resize(bytes.len() + 32, 0xee);
    let mut edited = bytes[..header.end as usize].to_vec();
    edit(&mut edited);
    let mut packet = PacketMut::new(&mut room, bytes.len(), offload);
    commit(&mut packet, &header, &edited)?;
    Ok(packet.bytes().to_vec())
}

/// Whether both checksums are right, as etherparse computes them.
fn checksums_are_right(bytes: &[u8]) -> bool {
    let sliced = SlicedPacket::from_ip(bytes).unwrap();
    let header = Header::parse(bytes, false).unwrap();
    let transport = &bytes[usize::from(header.transport_at)..];
    let ip_is_right = header.ip_version == 6 || checksum::fold(checksum::add(0, &bytes[..20])) == 0xffff;
    assert!(matches!(sliced.transport, Some(TransportSlice::Udp(_) | TransportSlice::Tcp(_))));
    let sum = checksum::add(checksum::pseudo_header(bytes, &header, transport.len()), transport);
    ip_is_right && checksum::fold(sum) == 0xffff
}

#[test]
fn a_longer_payload_gets_right_lengths_and_checksums() {
    let out = committed(&udp4(b"abc"), Offload::default(), |b| b.extend_from_slice(b"defgh")).unwrap();
    assert!(checksums_are_right(&out));
    assert_eq!(Header::parse(&out, false).unwrap().payload(&out), b"abcdefgh");
    let out = committed(&udp4(b"abc"), Offload::default(), |b| b.truncate(29)).unwrap();
    assert!(checksums_are_right(&out));
    assert_eq!(Header::parse(&out, false).unwrap().payload(&out), b"a");
}

#[test]
fn new_addresses_and_ports_get_right_checksums() {
    let out = committed(&tcp6(b"hello"), Offload::default(), |b| {
        b[8..24].fill(9);
        b[40..42].copy_from_slice(&[1, 2]);
    });
    assert!(checksums_are_right(&out.unwrap()));
    let out = committed(&udp4(b"hello"), Offload::default(), |b| {
        b[12..20].copy_from_slice(&[192, 0, 2, 1, 198, 51, 100, 7]);
        b[8] = 3;
    });
    assert!(checksums_are_right(&out.unwrap()));
}

#[test]
fn a_wrong_checksum_stays_wrong_and_none_stays_none() {
    let mut bytes = udp4(b"hello");
    bytes[26] ^= 0x55;
    let out = committed(&bytes, Offload::default(), |b| b[28..].make_ascii_uppercase()).unwrap();
    assert!(!checksums_are_right(&out));
    bytes[26..28].fill(0);
    let out = committed(&bytes, Offload::default(), |b| b[28..].make_ascii_uppercase()).unwrap();
    assert_eq!(out[26..28], [0, 0]);
}

#[test]
fn a_wrong_checksum_of_the_ip_header_stays_wrong() {
    let mut bytes = udp4(b"hello");
    bytes[11] ^= 0x55;
    let out = committed(&bytes, Offload::default(), |b| b[8] = 3).unwrap();
    assert_ne!(checksum::fold(checksum::add(0, &out[..20])), 0xffff);
    bytes[11] ^= 0x55;
    let out = committed(&bytes, Offload::default(), |b| b[8] = 3).unwrap();
    assert_eq!(checksum::fold(checksum::add(0, &out[..20])), 0xffff);
}

#[test]
fn length_fields_cannot_be_edited() {
    let bytes = udp4(b"hello");
    let out = committed(&bytes, Offload::default(), |b| {
        b[2..4].fill(1);
        b[24..26].fill(2);
    });
    assert_eq!(out.unwrap(), bytes);
    let bytes = tcp6(b"hello");
    assert_eq!(committed(&bytes, Offload::default(), |b| b[4..6].fill(9)).unwrap(), bytes);
    let mut room = bytes.clone();
    let mut packet = PacketMut::new(&mut room, bytes.len(), Offload::default());
    let mut head = bytes[..60].to_vec();
    head[4] = 7;
    commit_head(&mut packet, &Header::parse(&bytes, false).unwrap(), &head).unwrap();
    assert_eq!(packet.bytes(), bytes);
}

#[test]
fn a_datagram_that_ends_before_its_packet_gets_right_checksums() {
    let mut bytes = udp4(b"hello");
    bytes.extend_from_slice(b"TRAILER");
    bytes[2..4].copy_from_slice(&40u16.to_be_bytes());
    checksum::write_ipv4(&mut bytes);
    let out = committed(&bytes, Offload::default(), |b| {
        b.truncate(28);
        b.extend_from_slice(b"four");
    });
    assert!(checksums_are_right(&out.unwrap()));
    let mut out = committed(&bytes, Offload::default(), |b| b[28..].make_ascii_lowercase()).unwrap();
    assert_eq!(out[33..], *b"trailer");
    out.truncate(33);
    out[2..4].copy_from_slice(&33u16.to_be_bytes());
    checksum::write_ipv4(&mut out);
    assert!(checksums_are_right(&out));
}

#[test]
fn a_checksum_that_is_still_to_be_completed_follows_addresses_and_length_only() {
    let mut bytes = udp4(b"hello");
    let header = Header::parse(&bytes, false).unwrap();
    let pseudo = checksum::fold(checksum::pseudo_header(&bytes, &header, 13));
    bytes[26..28].copy_from_slice(&pseudo.to_be_bytes());
    let offload =
        Offload { flags: Offload::NEEDS_CHECKSUM, checksum_start: 20, checksum_offset: 6, ..Offload::default() };
    let out = committed(&bytes, offload, |b| {
        b[28..].make_ascii_uppercase();
        b[12] = 172;
        b.push(b'!');
    })
    .unwrap();
    let want = checksum::fold(checksum::pseudo_header(&out, &header, 14));
    assert_eq!(u16::from_be_bytes([out[26], out[27]]), want);
}

#[test]
fn a_first_fragment_keeps_its_checksum_in_step() {
    let whole = udp4(b"hello, fragments");
    let mut first = whole[..36].to_vec();
    first[2..4].copy_from_slice(&36u16.to_be_bytes());
    first[6] = 0x20;
    checksum::write_ipv4(&mut first);
    let out = committed(&first, Offload::default(), |b| b[28..36].make_ascii_uppercase()).unwrap();
    let mut rebuilt = whole.clone();
    rebuilt[28..36].copy_from_slice(&out[28..36]);
    rebuilt[26..28].copy_from_slice(&out[26..28]);
    assert!(checksums_are_right(&rebuilt));
    assert_eq!(committed(&first, Offload::default(), |b| b.push(0)), Err(EditError::Length { what: "a fragment" }));
}

#[test]
fn refuses_changes_of_structure() {
    let refused = |bytes: &[u8], edit: fn(&mut Vec<u8>)| committed(bytes, Offload::default(), edit).unwrap_err();
    assert!(matches!(refused(&udp4(b"x"), |b| b[0] = 0x46), EditError::Structure { .. }));
    assert!(matches!(refused(&udp4(b"x"), |b| b[9] = 6), EditError::Structure { .. }));
    assert!(matches!(refused(&udp4(b"x"), |b| b[6] = 0x20), EditError::Structure { .. }));
    assert!(matches!(refused(&tcp6(b"x"), |b| b[52] = 0xf0), EditError::Structure { .. }));
    assert!(matches!(refused(&tcp6(b"x"), |b| b[6] = 17), EditError::Structure { .. }));
    assert_eq!(refused(&udp4(b"x"), |b| b.truncate(27)), EditError::TooShort);
    assert_eq!(refused(&tcp6(b"x"), |b| b.push(0)), EditError::Length { what: "TCP payload" });
    assert!(matches!(refused(&udp4(b"x"), |b| b.resize(70_000, 0)), EditError::TooLong { .. }));
    assert!(matches!(refused(&udp4(b"x"), |b| b.resize(100, 0)), EditError::TooLong { max_bytes: 29, .. }));
}

#[test]
fn a_changed_head_leaves_the_rest_alone() {
    let bytes = udp4(&[b'z'; 400]);
    let header = Header::parse(&bytes, false).unwrap();
    let mut room = bytes.clone();
    let mut packet = PacketMut::new(&mut room, bytes.len(), Offload::default());
    let mut head = bytes[..128].to_vec();
    head[20] = 9;
    commit_head(&mut packet, &header, &head).unwrap();
    assert!(checksums_are_right(packet.bytes()));
    assert_eq!(packet.bytes()[128..], bytes[128..]);
}

#[test]
fn a_hop_given_back_keeps_the_checksum_right_and_stops_at_255() {
    let mut bytes = udp4(b"x");
    for ttl in [1u8, 63, 254, 255] {
        bytes[8] = ttl;
        checksum::write_ipv4(&mut bytes);
        add_hops(&mut bytes, 1);
        assert_eq!(bytes[8], ttl.saturating_add(1));
        assert!(checksums_are_right(&bytes));
    }
}

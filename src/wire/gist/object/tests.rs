use super::*;
use crate::wire::gist::testing::hex;

const NLI4: &str = "05 40 40 00  00007530  a1a2a3a4 a5000000  0a090101";
const NAT: &str =
    "04 03 02 00  00004000 0a090101 0a090309 20200000  0000 0002 8007 0000  0003 a1a2a3 000000  0000 0000";

#[test]
fn takes_an_nli_apart_and_builds_it() {
    let nli = Nli {
        peer_identity: PeerIdentity(hex("a1a2a3a4 a5")),
        ip_ttl: 64,
        validity_ms: 30_000,
        address: [10, 9, 1, 1].into(),
    };
    assert_eq!(Nli::decode_value(&hex(NLI4)), Ok(nli.clone()));
    assert_eq!(nli.encode_value(), hex(NLI4));
    let long = hex("00 00 60 00  00000001  20010db8000000000000000000000001");
    let nli = Nli {
        peer_identity: PeerIdentity(Vec::new()),
        ip_ttl: 0,
        validity_ms: 1,
        address: "2001:db8::1".parse().unwrap(),
    };
    assert_eq!(Nli::decode_value(&long), Ok(nli.clone()));
    assert_eq!(nli.encode_value(), long);
}

#[test]
fn refuses_an_nli_of_every_other_length() {
    let bytes = hex(NLI4);
    for len in 0..bytes.len() {
        assert_eq!(Nli::decode_value(&bytes[..len]), Err(ValueFault::length(len)), "{len} bytes");
    }
    let longer = [bytes.as_slice(), &[0; 4]].concat();
    assert_eq!(Nli::decode_value(&longer), Err(ValueFault::length(bytes.len())));
}

#[test]
fn refuses_an_nli_without_validity_or_with_an_unknown_ip_version() {
    let no_time = hex("00 40 40 00  00000000  0a090101");
    assert_eq!(Nli::decode_value(&no_time), Err(ValueFault::not_supported(4)));
    let no_version = hex("00 40 70 00  00007530  0a090101");
    assert_eq!(Nli::decode_value(&no_version), Err(ValueFault::not_supported(2)));
}

#[test]
fn takes_a_nat_traversal_apart_and_builds_it() {
    let nat = NatTraversal {
        original_mri: hex("00004000 0a090101 0a090309 20200000"),
        translated: vec![0, 2, 0x8007],
        opaque: vec![hex("a1a2a3"), Vec::new()],
    };
    assert_eq!(NatTraversal::decode_value(&hex(NAT)), Ok(nat.clone()));
    assert_eq!(nat.encode_value(), hex(NAT));
}

#[test]
fn refuses_a_nat_traversal_of_every_other_length() {
    let bytes = hex(NAT);
    for len in 0..bytes.len() {
        assert_eq!(NatTraversal::decode_value(&bytes[..len]), Err(ValueFault::length(len)), "{len} bytes");
    }
    let longer = [bytes.as_slice(), &[0; 4]].concat();
    assert_eq!(NatTraversal::decode_value(&longer), Err(ValueFault::length(bytes.len())));
}

use proptest::prelude::*;

use super::*;
use crate::wire::gist::error::GistError;
use crate::wire::gist::testing::{hex, mris};

const HOSTS4: &str = "00 00 40 00  0a090101 0a090309  20 20 00 00";

fn flow4() -> PathCoupled {
    let Mri::PathCoupled(flow) = Mri::flow([10, 9, 1, 1].into(), [10, 9, 3, 9].into()) else { unreachable!() };
    flow
}

fn fault(text: &str) -> ValueFault {
    Mri::decode_value(&hex(text)).expect_err("malformed")
}

#[test]
fn takes_a_flow_between_two_hosts_apart_and_builds_it() {
    let mri = Mri::flow([10, 9, 1, 1].into(), [10, 9, 3, 9].into());
    assert_eq!(Mri::decode_value(&hex(HOSTS4)), Ok(mri.clone()));
    assert_eq!(mri.encode_value(), hex(HOSTS4));
}

#[test]
fn takes_a_flow_with_every_field_apart_and_builds_it() {
    let bytes = hex("00 80 6f e0  20010db8000000000000000000000001 20010db8000000000000000000000002  40 80 32 b8 \
         000abcde 12345678 0fa0 1388");
    let mri = Mri::PathCoupled(PathCoupled {
        nat_ignorable: true,
        source: "2001:db8::1".parse().unwrap(),
        source_prefix: 64,
        destination: "2001:db8::2".parse().unwrap(),
        destination_prefix: 128,
        direction: Direction::Upstream,
        protocol: Some(50),
        dscp: Some(46),
        flow_label: Some(0xabcde),
        spi: Some(0x1234_5678),
        source_port: Some(4_000),
        destination_port: Some(5_000),
    });
    assert_eq!(Mri::decode_value(&bytes), Ok(mri.clone()));
    assert_eq!(mri.encode_value(), bytes);
    assert_eq!((mri.ip_version(), mri.is_downstream()), (6, false));
}

#[test]
fn keeps_each_port_by_its_own_flag() {
    let udp = PathCoupled { protocol: Some(17), ..flow4() };
    let source = Mri::PathCoupled(PathCoupled { source_port: Some(0), ..udp.clone() });
    let destination = Mri::PathCoupled(PathCoupled { destination_port: Some(53), ..udp });
    for (mri, text) in [
        (source, "00 00 48 80  0a090101 0a090309  20 20 11 00  0000 0000"),
        (destination, "00 00 48 40  0a090101 0a090309  20 20 11 00  0000 0035"),
    ] {
        assert_eq!(mri.encode_value(), hex(text));
        assert_eq!(Mri::decode_value(&hex(text)), Ok(mri));
    }
}

#[test]
fn takes_a_loose_end_apart_and_builds_it() {
    let up = "01 80 48 00  0a090101 0a090309";
    let mri = Mri::LooseEnd(LooseEnd {
        nat_ignorable: true,
        source: [10, 9, 1, 1].into(),
        destination: [10, 9, 3, 9].into(),
        direction: Direction::Upstream,
    });
    assert_eq!(Mri::decode_value(&hex(up)), Ok(mri.clone()));
    assert_eq!(mri.encode_value(), hex(up));
    let down = "01 80 40 00  0a090101 0a090309";
    assert_eq!(mri.inverted().encode_value(), hex(down));
    assert_eq!(Mri::decode_value(&hex(down)), Ok(mri.inverted()));
    let long = hex("01 00 60 00  20010db8000000000000000000000001 20010db8000000000000000000000002");
    let mri = Mri::decode_value(&long).expect("well formed");
    assert_eq!((mri.ip_version(), mri.source()), (6, "2001:db8::1".parse().unwrap()));
    assert_eq!(mri.encode_value(), long);
}

#[test]
fn refuses_every_other_length() {
    for text in
        [HOSTS4, "00 00 49 c0  0a090101 0a090309  20 20 11 00  00000001 0000 0000", "01 00 40 00 00000000 00000000"]
    {
        let bytes = hex(text);
        for len in 0..bytes.len() {
            assert_eq!(Mri::decode_value(&bytes[..len]), Err(ValueFault::length(len)), "{len} bytes of {text}");
        }
        let longer = [bytes.as_slice(), &[0; 4]].concat();
        assert_eq!(Mri::decode_value(&longer), Err(ValueFault::length(bytes.len())), "{text}");
    }
}

#[test]
fn refuses_methods_and_ip_versions_that_it_does_not_know() {
    assert_eq!(fault("7d 00 40 00  0a090101 0a090309  20 20 00 00"), ValueFault::not_supported(0));
    assert_eq!(fault("00 00 50 00  0a090101 0a090309  20 20 00 00"), ValueFault::not_supported(2));
    assert_eq!(fault("01 00 00 00  0a090101 0a090309"), ValueFault::not_supported(2));
}

#[test]
fn refuses_fields_that_do_not_go_together() {
    // A flow label with IPv4; an SPI, a source port, a destination port without protocol; prefixes that are too long.
    for (text, offset) in [
        ("00 00 42 00  0a090101 0a090309  20 20 00 00  00000001", 2),
        ("00 00 41 00  0a090101 0a090309  20 20 00 00  00000001", 2),
        ("00 00 40 80  0a090101 0a090309  20 20 00 00  00010000", 3),
        ("00 00 40 40  0a090101 0a090309  20 20 00 00  00000001", 3),
        ("00 00 40 00  0a090101 0a090309  21 20 00 00", 12),
        ("00 00 40 00  0a090101 0a090309  20 21 00 00", 13),
    ] {
        assert_eq!(fault(text), ValueFault { error: GistError::InvalidFlagFieldCombination, offset }, "{text}");
    }
}

#[test]
fn ignores_reserved_bits_and_fields_without_their_flag() {
    let noisy = hex("00 7f 40 1f  0a090101 0a090309  20 20 11 ff");
    assert_eq!(Mri::decode_value(&noisy), Ok(Mri::PathCoupled(flow4())));
}

#[test]
fn has_the_same_key_for_the_same_flow() {
    let net = PathCoupled { source_prefix: 24, destination_prefix: 0, ..flow4() };
    let key = Mri::PathCoupled(net.clone()).key();
    let other = PathCoupled {
        source: [10, 9, 1, 200].into(),
        destination: [192, 0, 2, 1].into(),
        nat_ignorable: true,
        ..net.clone()
    };
    assert_eq!(Mri::PathCoupled(other).key(), key);
    assert_eq!(key.mri().source(), IpAddr::from([10, 9, 1, 0]));
    assert_eq!(key.mri().destination(), IpAddr::from([0, 0, 0, 0]));
    let neighbour = PathCoupled { source: [10, 9, 2, 1].into(), ..net.clone() };
    assert_ne!(Mri::PathCoupled(neighbour).key(), key);
    assert_ne!(Mri::PathCoupled(net.clone()).inverted().key(), key);
    assert_ne!(Mri::PathCoupled(PathCoupled { source_prefix: 23, ..net.clone() }).key(), key);
    assert_ne!(Mri::PathCoupled(PathCoupled { protocol: Some(0), ..net }).key(), key);
}

proptest! {
    #[test]
    fn survives_the_wire_and_keeps_its_key(mri in mris()) {
        let back = Mri::decode_value(&mri.encode_value());
        prop_assert_eq!(back.as_ref(), Ok(&mri));
        prop_assert_eq!(mri.inverted().inverted(), mri.clone());
        prop_assert_eq!(mri.key().mri().key(), mri.key());
        prop_assert_ne!(mri.inverted().key(), mri.key());
    }
}

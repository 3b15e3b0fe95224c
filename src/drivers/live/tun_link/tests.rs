use etherparse::PacketBuilder;
use platform::tun::TunOptions;

use super::*;
use crate::wire::checksum;

/// A real TUN device, where the test was asked to use one.
fn device() -> Option<TunLink> {
    if std::env::var_os("NETSERV_LIVE").is_none() {
        eprintln!("skipped: needs a TUN device; set NETSERV_LIVE=1 and run as root");
        return None;
    }
    Some(TunLink::new(Tun::open(&TunOptions::default()).expect("NETSERV_LIVE=1 asks for a TUN device")))
}

/// A TCP super-packet of three segments, to an address that no machine has.
fn super_packet() -> (Vec<u8>, Offload) {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).tcp(1, 2, 3, 4).ack(5);
    builder.write(&mut bytes, &[7; 2_500]).unwrap();
    let header = Header::parse(&bytes, false).unwrap();
    let sum = checksum::fold(checksum::pseudo_header(&bytes, &header, bytes.len() - 20));
    bytes[36..38].copy_from_slice(&sum.to_be_bytes());
    let offload = Offload {
        flags: Offload::NEEDS_CHECKSUM,
        gso_type: Offload::TCP4,
        header_bytes: 40,
        segment_bytes: 1_000,
        checksum_start: 20,
        checksum_offset: 16,
    };
    (bytes, offload)
}

fn put(arena: &mut Arena, bytes: &[u8], offload: Offload) -> TunPacket {
    let at = arena.next() + HEAD_BYTES;
    arena.bytes_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    arena.keep(at + bytes.len());
    TunPacket { at, len: bytes.len(), offload }
}

#[test]
fn a_super_packet_that_the_kernel_refuses_is_split_and_no_more_are_asked_for() {
    let Some(mut link) = device() else { return };
    let (bytes, offload) = super_packet();
    let mut arena = Arena::new();
    let good = put(&mut arena, &bytes, offload);
    let _ = link.push(good);
    link.flush(&mut arena, |reason| panic!("{}", reason.name()));
    assert_eq!((link.counters.writes, link.counters.split_segments), (1, 0));
    // The kernel answers EINVAL to a header that does not fit, as some kernels do to every one.
    let bad = put(&mut arena, &bytes, Offload { checksum_offset: 6, ..offload });
    let _ = link.push(bad);
    link.flush(&mut arena, |reason| panic!("{}", reason.name()));
    assert_eq!((link.counters.offload_refused, link.counters.split_segments), (1, 3));
    assert_eq!(link.joinable, Joinable::NOTHING);
    // A packet that the node makes takes the same way.
    let packet = Packet { bytes, offload: Offload { checksum_offset: 6, ..offload } };
    link.transmit(&packet).unwrap();
    assert_eq!((link.counters.offload_refused, link.counters.split_segments), (2, 6));
}

#[test]
fn what_is_no_ip_packet_is_not_sent_and_counted() {
    let Some(mut link) = device() else { return };
    let mut arena = Arena::new();
    let odd = put(&mut arena, &[0xff; 40], Offload::default());
    let _ = link.push(odd);
    let mut failed = Vec::new();
    link.flush(&mut arena, |reason| failed.push(reason));
    assert_eq!(failed, [DropReason::LinkDown]);
    assert_eq!(link.counters.not_sent, 1);
}

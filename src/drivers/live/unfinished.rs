//! Recognises packets that a sender of this machine left unfinished.
//!
//! A capture interface hands over packets of programs and virtual machines as they left the kernel: without a transport
//! checksum, and larger than the MTU, because the sender counts on a network card that does the rest. There is no
//! offload header to say so; a veth pair into a container or a tap of a virtual machine behaves like this, and its far
//! end is out of reach. What is recognised here is finished when it is sent.

use crate::base::packet::Offload;
use crate::wire::checksum;
use crate::wire::header::{Fragment, Header, TCP, UDP};

/// The offload header that the packet should have had; all zero for an ordinary packet. `mtu` is that of the interface,
/// in bytes.
pub(super) fn offload_of(bytes: &[u8], mtu: usize) -> Offload {
    let finished = Offload::default();
    let Ok(header) = Header::parse(bytes, false) else { return finished };
    let checksum_offset = match header.protocol {
        TCP => 16,
        UDP => 6,
        _ => return finished,
    };
    let (transport_at, payload_at, end) =
        (usize::from(header.transport_at), usize::from(header.payload_at), header.end as usize);
    let field = transport_at + checksum_offset;
    if header.fragment != Fragment::Whole || end < field + 2 {
        return finished;
    }
    // Where a large datagram is to be cut only its sender knows.
    let is_long = header.protocol == TCP && end > mtu && payload_at < mtu;
    let transport_bytes = end - transport_at;
    let value = u16::from_be_bytes([bytes[field], bytes[field + 1]]);
    // A finished checksum looks like this once in 65,536 packets; then it is computed anew, to the same value.
    let is_partial = value != 0 && value == checksum::fold(checksum::pseudo_header(bytes, &header, transport_bytes));
    if !is_long && !is_partial {
        return finished;
    }
    let mut offload = Offload {
        flags: Offload::NEEDS_CHECKSUM,
        checksum_start: header.transport_at,
        checksum_offset: checksum_offset as u16,
        ..finished
    };
    if is_long {
        offload.gso_type = if header.ip_version == 4 { Offload::TCP4 } else { Offload::TCP6 };
        offload.header_bytes = header.payload_at;
        offload.segment_bytes = (mtu - payload_at) as u16;
    }
    offload
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn packet(payload_bytes: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(1, 2, 3, 4).ack(5);
        builder.write(&mut bytes, &vec![7; payload_bytes]).unwrap();
        bytes
    }

    fn without_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
        let header = Header::parse(&bytes, false).unwrap();
        let sum = checksum::fold(checksum::pseudo_header(&bytes, &header, bytes.len() - 20));
        bytes[36..38].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    #[test]
    fn finished_packets_are_left_alone() {
        assert_eq!(offload_of(&packet(1460), 1500), Offload::default());
        assert_eq!(offload_of(&[], 1500), Offload::default());
        assert_eq!(offload_of(&[0x45; 60], 1500), Offload::default());
    }

    #[test]
    fn a_packet_without_checksum_or_longer_than_the_mtu_is_finished_when_sent() {
        let small = offload_of(&without_checksum(packet(100)), 1500);
        assert!(small.needs_checksum() && !small.is_super_packet());
        for large in [packet(4000), without_checksum(packet(4000))] {
            let offload = offload_of(&large, 1500);
            assert_eq!((offload.gso_type, offload.segment_bytes), (Offload::TCP4, 1460));
            assert_eq!(offload.segment_count(4000), 3);
        }
    }
}

//! Splits a super-packet into the packets that it stands for, as a network card would.

use crate::base::packet::Offload;
use crate::wire::checksum;
use crate::wire::header::{Header, TCP, TCP_FIN, UDP};

/// TCP flag PSH (RFC 9293, section 3.1).
const TCP_PSH: u8 = 0x08;
/// TCP flag CWR (RFC 3168, section 6.1).
const TCP_CWR: u8 = 0x80;

/// Calls `emit` with each segment of the super-packet `bytes`, in order, with complete lengths and checksums.
///
/// `segment` is the buffer in which they are built. Anything but a TCP or UDP super-packet comes out as it is, and only
/// with its checksum completed.
pub fn split(bytes: &[u8], header: &Header, offload: Offload, segment: &mut Vec<u8>, mut emit: impl FnMut(&[u8])) {
    let end = header.end as usize;
    let payload_at = usize::from(header.payload_at);
    let payload = &bytes[payload_at..end];
    let step = match header.protocol {
        TCP | UDP if offload.is_super_packet() => usize::from(offload.segment_bytes),
        _ => payload.len().max(1),
    };
    let count = payload.len().div_ceil(step).max(1);
    for index in 0..count {
        let from = index * step;
        let part = &payload[from..payload.len().min(from + step)];
        segment.clear();
        segment.extend_from_slice(&bytes[..payload_at]);
        segment.extend_from_slice(part);
        if count > 1 {
            write_header(segment, header, index, from, index + 1 == count);
        }
        if offload.needs_checksum() || count > 1 {
            write_checksum(segment, header);
        }
        emit(segment);
    }
}

/// Lengths, identification, sequence number and flags of segment `index`, whose payload began at `from`.
fn write_header(segment: &mut [u8], header: &Header, index: usize, from: usize, last: bool) {
    let (transport_at, len) = (usize::from(header.transport_at), segment.len());
    if header.ip_version == 4 {
        segment[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        let id = u16::from_be_bytes([segment[4], segment[5]]).wrapping_add(index as u16);
        segment[4..6].copy_from_slice(&id.to_be_bytes());
        checksum::write_ipv4(segment);
    } else {
        segment[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
    }
    let transport = &mut segment[transport_at..];
    if header.protocol == TCP {
        let sequence = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
        transport[4..8].copy_from_slice(&sequence.wrapping_add(from as u32).to_be_bytes());
        if index > 0 {
            transport[13] &= !TCP_CWR;
        }
        if !last {
            transport[13] &= !(TCP_FIN | TCP_PSH);
        }
    } else {
        let udp_bytes = transport.len() as u16;
        transport[4..6].copy_from_slice(&udp_bytes.to_be_bytes());
    }
}

/// Computes the transport checksum of a whole segment.
fn write_checksum(segment: &mut [u8], header: &Header) {
    let transport_at = usize::from(header.transport_at);
    let at = transport_at
        + match header.protocol {
            TCP => 16,
            UDP => 6,
            _ => return,
        };
    segment[at..at + 2].fill(0);
    let transport_bytes = segment.len() - transport_at;
    let sum = checksum::pseudo_header(segment, header, transport_bytes);
    let value = match !checksum::fold(checksum::add(sum, &segment[transport_at..])) {
        0 if header.protocol == UDP => 0xffff,
        value => value,
    };
    segment[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn right(bytes: &[u8]) -> bool {
        let header = Header::parse(bytes, false).unwrap();
        let transport = &bytes[usize::from(header.transport_at)..];
        let sum = checksum::add(checksum::pseudo_header(bytes, &header, transport.len()), transport);
        checksum::fold(sum) == 0xffff && header.end as usize == bytes.len()
    }

    fn segments(bytes: &[u8], gso_type: u8, segment_bytes: u16) -> Vec<Vec<u8>> {
        let offload = Offload { flags: Offload::NEEDS_CHECKSUM, gso_type, segment_bytes, ..Offload::default() };
        let header = Header::parse(bytes, false).unwrap();
        let mut out = Vec::new();
        split(bytes, &header, offload, &mut Vec::new(), |s| out.push(s.to_vec()));
        out
    }

    #[test]
    fn tcp_segments_follow_each_other_and_only_the_last_ends() {
        let mut bytes = Vec::new();
        let payload: Vec<u8> = (0..250).collect();
        let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(1, 2, u32::MAX - 50, 99).fin().psh();
        builder.write(&mut bytes, &payload).unwrap();
        bytes[33] |= TCP_CWR;
        let out = segments(&bytes, Offload::TCP4, 100);
        assert_eq!(out.iter().map(|s| s.len() - 40).collect::<Vec<_>>(), [100, 100, 50]);
        assert!(out.iter().all(|s| right(s)));
        let sequence = |s: &[u8]| u32::from_be_bytes([s[24], s[25], s[26], s[27]]);
        assert_eq!(out.iter().map(|s| sequence(s)).collect::<Vec<_>>(), [u32::MAX - 50, 49, 149]);
        assert_eq!(out.iter().map(|s| s[33] & 0x89).collect::<Vec<_>>(), [0x80, 0, 9]);
        assert_eq!(out.concat().len(), 250 + 120);
    }

    #[test]
    fn udp_segments_are_datagrams_of_their_own() {
        let mut bytes = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(1, 2).write(&mut bytes, &[7; 25]).unwrap();
        let out = segments(&bytes, Offload::UDP_SEGMENT, 10);
        assert_eq!(out.len(), 3);
        assert!(out.iter().all(|s| right(s)));
        assert_eq!(u16::from_be_bytes([out[2][44], out[2][45]]), 13);
    }

    #[test]
    fn what_is_no_super_packet_only_gets_its_checksum() {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(1, 2).write(&mut bytes, b"").unwrap();
        let out = segments(&bytes, 0, 0);
        assert_eq!(out.len(), 1);
        assert!(right(&out[0]));
    }
}

//! Puts a changed packet in the place of the one it came from, with right lengths and checksums.
//!
//! Checksums are updated, not computed anew (RFC 1624): a packet that came with a wrong checksum leaves with a wrong
//! one, so that nobody downstream mistakes damage for data.

use crate::base::limits::PACKET_BYTES_MAX;
use crate::base::packet::PacketMut;
use crate::wire::checksum;
use crate::wire::header::{Fragment, Header, ICMP, ICMPV6, SCTP, TCP, UDP};

/// Why a changed packet is refused. The packet then stays as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The capture holds less than the whole packet.
    #[error("the capture holds only a part of this packet; it cannot be changed")]
    Truncated,
    /// The new packet is too long for its header or for the buffer.
    #[error("the packet would be {got_bytes} bytes long; {max_bytes} fit")]
    TooLong {
        /// The length asked for.
        got_bytes: usize,
        /// The longest that fits.
        max_bytes: usize,
    },
    /// The headers are no longer whole.
    #[error("the packet would end within its headers")]
    TooShort,
    /// A field was changed that says how the packet is to be read.
    #[error("{field} must stay as it is; other fields and the payload can be changed")]
    Structure {
        /// The field.
        field: &'static str,
    },
    /// The length of something whose length must stay was changed.
    #[error("the length of {what} cannot be changed")]
    Length {
        /// What it is.
        what: &'static str,
    },
    /// The transport's checksum is none that this program computes.
    #[error("the payload of protocol {protocol} cannot be changed: its checksum is not supported")]
    Checksum {
        /// IP protocol number.
        protocol: u8,
    },
}

/// Replaces the whole packet by `edited`, which begins with its IP header.
///
/// Length fields and checksums in `edited` are ignored and written as they must be. Padding behind the IP packet goes.
///
/// # Errors
///
/// See [`EditError`]; nothing is changed then.
pub fn commit(packet: &mut PacketMut<'_>, header: &Header, edited: &[u8]) -> Result<(), EditError> {
    let end = header.end as usize;
    check_structure(packet.bytes(), header, edited)?;
    if edited.len() != end {
        check_length(packet, header, edited.len())?;
    }
    let before = Before::of(packet, header);
    if !packet.resize(edited.len()) {
        return Err(EditError::TooLong { got_bytes: edited.len(), max_bytes: end });
    }
    packet.bytes_mut().copy_from_slice(edited);
    before.write_lengths(packet.bytes_mut(), header, edited.len());
    before.write_checksums(packet, header, edited.len());
    Ok(())
}

/// Replaces the first bytes of the packet by `head`; the rest and all lengths stay.
///
/// # Errors
///
/// See [`EditError`]; nothing is changed then.
pub fn commit_head(packet: &mut PacketMut<'_>, header: &Header, head: &[u8]) -> Result<(), EditError> {
    let end = header.end as usize;
    if head.len() > end {
        return Err(EditError::TooLong { got_bytes: head.len(), max_bytes: end });
    }
    check_structure(packet.bytes(), header, head)?;
    let before = Before::of(packet, header);
    packet.bytes_mut()[..head.len()].copy_from_slice(head);
    before.write_lengths(packet.bytes_mut(), header, end);
    before.write_checksums(packet, header, end);
    Ok(())
}

/// Adds `hops` to the TTL or hop limit, at most up to 255.
pub fn add_hops(bytes: &mut [u8], hops: u8) {
    if bytes[0] >> 4 == 4 {
        let ttl = bytes[8].saturating_add(hops);
        let (old, new) = (u16::from_be_bytes([bytes[8], bytes[9]]), u16::from_be_bytes([ttl, bytes[9]]));
        let sum = checksum::update(u16::from_be_bytes([bytes[10], bytes[11]]), old, new);
        bytes[8] = ttl;
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        bytes[7] = bytes[7].saturating_add(hops);
    }
}

/// Refuses changes to fields that say how the packet is to be read.
fn check_structure(old: &[u8], header: &Header, new: &[u8]) -> Result<(), EditError> {
    let (transport_at, payload_at) = (usize::from(header.transport_at), usize::from(header.payload_at));
    if new.len() < payload_at {
        return Err(EditError::TooShort);
    }
    let same = |range: std::ops::Range<usize>, field| {
        if old[range.clone()] == new[range] { Ok(()) } else { Err(EditError::Structure { field }) }
    };
    if header.ip_version == 4 {
        same(0..1, "the IP version and header length")?;
        same(4..8, "the IP identification and fragment fields")?;
        same(9..10, "the IP protocol")?;
    } else {
        if old[0] >> 4 != new[0] >> 4 {
            return Err(EditError::Structure { field: "the IP version" });
        }
        same(6..7, "the IPv6 next header")?;
        same(40..transport_at, "an IPv6 extension header")?;
    }
    match header.protocol {
        TCP if header.ports.is_some() && old[transport_at + 12] >> 4 != new[transport_at + 12] >> 4 => {
            Err(EditError::Structure { field: "the TCP data offset" })
        }
        SCTP if old.get(transport_at..new.len()) != new.get(transport_at..) => {
            Err(EditError::Checksum { protocol: SCTP })
        }
        _ => Ok(()),
    }
}

/// Refuses another length where there must not be one.
fn check_length(packet: &PacketMut<'_>, header: &Header, new_bytes: usize) -> Result<(), EditError> {
    if packet.truncated {
        return Err(EditError::Truncated);
    }
    if header.fragment != Fragment::Whole {
        return Err(EditError::Length { what: "a fragment" });
    }
    if header.protocol == TCP {
        return Err(EditError::Length { what: "TCP payload" });
    }
    if packet.offload.is_super_packet() {
        return Err(EditError::Length { what: "a super-packet" });
    }
    if new_bytes > PACKET_BYTES_MAX {
        return Err(EditError::TooLong { got_bytes: new_bytes, max_bytes: PACKET_BYTES_MAX });
    }
    Ok(())
}

/// What a packet said before it was changed.
struct Before {
    ip_length: [u8; 2],
    udp_length: Option<[u8; 2]>,
    ip_sum: u16,
    ip_checksum: u16,
    transport_sum: u16,
    transport_checksum: u16,
}

impl Before {
    fn of(packet: &PacketMut<'_>, header: &Header) -> Before {
        let bytes = packet.bytes();
        let pair = |at: usize| [bytes[at], bytes[at + 1]];
        let end = transport_end(header, header.end as usize);
        Before {
            ip_length: pair(ip_length_at(header)),
            udp_length: udp_length_at(header).map(pair),
            ip_sum: ipv4_sum(bytes),
            ip_checksum: if header.ip_version == 4 { u16::from_be_bytes(pair(10)) } else { 0 },
            transport_sum: covered(&bytes[..end], header, packet.offload.needs_checksum()),
            transport_checksum: checksum_at(header).map_or(0, |at| u16::from_be_bytes(pair(at))),
        }
    }

    /// Writes the length fields of IP and UDP for a packet of `len` bytes. One that kept its length keeps the fields: a
    /// datagram may end before its packet, and a super-packet has odd ones.
    fn write_lengths(&self, bytes: &mut [u8], header: &Header, len: usize) {
        let changed = len != header.end as usize;
        let (at, value) = (ip_length_at(header), if header.ip_version == 4 { len } else { len - 40 });
        let ip_length = if changed { (value as u16).to_be_bytes() } else { self.ip_length };
        bytes[at..at + 2].copy_from_slice(&ip_length);
        if let (Some(at), Some(old)) = (udp_length_at(header), self.udp_length) {
            let value = (len - usize::from(header.transport_at)) as u16;
            bytes[at..at + 2].copy_from_slice(&if changed { value.to_be_bytes() } else { old });
        }
    }

    /// Writes the checksums of IPv4 and of the transport, after what they cover has changed.
    fn write_checksums(&self, packet: &mut PacketMut<'_>, header: &Header, len: usize) {
        let partial = packet.offload.needs_checksum();
        let bytes = packet.bytes_mut();
        if header.ip_version == 4 {
            let sum = !after(!self.ip_checksum, self.ip_sum, ipv4_sum(bytes));
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let Some(at) = checksum_at(header) else { return };
        let field = self.transport_checksum;
        let new = covered(&bytes[..transport_end(header, len)], header, partial);
        let value = match (partial, header.protocol, field) {
            (true, ..) => after(field, self.transport_sum, new),
            // No checksum was wanted (RFC 768).
            (false, UDP, 0) => 0,
            (false, protocol, _) => match !after(!field, self.transport_sum, new) {
                0 if protocol == UDP => 0xffff,
                sum => sum,
            },
        };
        bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
}

/// The folded sum `total`, of which a part went from `old` to `new` (RFC 1624, section 3).
fn after(total: u16, old: u16, new: u16) -> u16 {
    checksum::fold(u64::from(total) + u64::from(!old) + u64::from(new))
}

const fn ip_length_at(header: &Header) -> usize {
    if header.ip_version == 4 { 2 } else { 4 }
}

fn udp_length_at(header: &Header) -> Option<usize> {
    let is_here = header.protocol == UDP && !matches!(header.fragment, Fragment::Later(_));
    is_here.then(|| usize::from(header.transport_at) + 4)
}

/// Where what the transport's checksum covers ends in a packet of `len` bytes: not behind the end that UDP says.
fn transport_end(header: &Header, len: usize) -> usize {
    if len == header.end as usize { header.payload_end as usize } else { len }
}

/// Where the transport's checksum stands; `None` where there is none to keep right.
fn checksum_at(header: &Header) -> Option<usize> {
    let offset = match header.protocol {
        TCP => 16,
        UDP => 6,
        ICMP | ICMPV6 => 2,
        _ => return None,
    };
    (!matches!(header.fragment, Fragment::Later(_))).then(|| usize::from(header.transport_at) + offset)
}

/// The folded sum of all that the transport's checksum covers, without its own field. `partial`: only the pseudo-header.
fn covered(bytes: &[u8], header: &Header, partial: bool) -> u16 {
    let Some(at) = checksum_at(header) else { return 0 };
    let transport = &bytes[usize::from(header.transport_at)..];
    // ICMP over IPv4 has no pseudo-header (RFC 792); ICMPv6 has one (RFC 4443, section 2.3).
    let pseudo = if header.protocol == ICMP { 0 } else { checksum::pseudo_header(bytes, header, transport.len()) };
    if partial {
        return checksum::fold(pseudo);
    }
    let field_at = at - usize::from(header.transport_at);
    let before = checksum::add(pseudo, &transport[..field_at]);
    checksum::fold(checksum::add(before, &transport[field_at + 2..]))
}

/// The folded sum of an IPv4 header without its checksum; 0 for IPv6.
fn ipv4_sum(bytes: &[u8]) -> u16 {
    if bytes[0] >> 4 != 4 {
        return 0;
    }
    let header_bytes = usize::from(bytes[0] & 15) * 4;
    checksum::fold(checksum::add(checksum::add(0, &bytes[..10]), &bytes[12..header_bytes]))
}

#[cfg(test)]
mod tests;

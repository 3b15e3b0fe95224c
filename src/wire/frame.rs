//! Finds the IP packet in a captured frame. Link types are numbered as in capture files (LINKTYPE of pcap).
//!
//! Packets behind MPLS labels are not looked for: nothing there says that it is IP, and a wrong guess would drop them.

/// Ethernet.
pub const ETHERNET: u32 = 1;
/// Raw IP, as capture files number it.
pub const RAW: u32 = 101;
/// Linux "cooked" capture, version 1: what tcpdump writes for `-i any`.
pub const LINUX_SLL: u32 = 113;

const NULL: u32 = 0;
const PPP: u32 = 9;
const RAW_BSD: u32 = 12;
const RAW_OPENBSD: u32 = 14;
const PPP_HDLC: u32 = 50;
const PPP_ETHER: u32 = 51;
const C_HDLC: u32 = 104;
const LOOP: u32 = 108;
const IPV4: u32 = 228;
const IPV6: u32 = 229;
const LINUX_SLL2: u32 = 276;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_PPPOE_SESSION: u16 = 0x8864;
/// Length values of IEEE 802.3 end here; what is above is an EtherType.
const TYPE_MIN: u16 = 0x0600;
/// Head of an IEEE 802.2 frame that goes on with an EtherType (RFC 1042).
const SNAP: [u8; 6] = [0xaa, 0xaa, 0x03, 0, 0, 0];

const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

/// Longest link header that [`header_for`] builds, in bytes.
pub const HEADER_BYTES_MAX: usize = 20;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameContent {
    /// An IP packet, or what the link header says is one; it has at least one byte.
    Ip {
        /// Where its IP header begins, in bytes from the frame's start.
        at: usize,
    },
    /// Something else: ARP, a bridge's message, a link type that is not supported.
    NotIp,
    /// The frame ends within its link header, or right behind it.
    Short,
}

/// Whether frames of this link type are looked into.
#[must_use]
pub const fn supports(link_type: u32) -> bool {
    matches!(
        link_type,
        NULL | ETHERNET
            | PPP
            | RAW_BSD
            | RAW_OPENBSD
            | PPP_HDLC
            | PPP_ETHER
            | RAW
            | C_HDLC
            | LOOP
            | LINUX_SLL
            | IPV4
            | IPV6
            | LINUX_SLL2
    )
}

/// The name of a link type in reports; `unknown` for one that is not supported.
#[must_use]
pub const fn name(link_type: u32) -> &'static str {
    match link_type {
        NULL => "BSD loopback",
        ETHERNET => "Ethernet",
        PPP | PPP_HDLC => "PPP",
        PPP_ETHER => "PPPoE",
        RAW_BSD | RAW_OPENBSD | RAW => "raw IP",
        C_HDLC => "Cisco HDLC",
        LOOP => "OpenBSD loopback",
        LINUX_SLL => "Linux cooked",
        IPV4 => "raw IPv4",
        IPV6 => "raw IPv6",
        LINUX_SLL2 => "Linux cooked v2",
        _ => "unknown",
    }
}

/// Finds the IP packet in `frame`.
#[must_use]
pub fn find_ip(link_type: u32, frame: &[u8]) -> FrameContent {
    look(link_type, frame).map_or(FrameContent::Short, |found| match found {
        Some(found) if found.at < frame.len() => FrameContent::Ip { at: found.at },
        Some(_) => FrameContent::Short,
        None => FrameContent::NotIp,
    })
}

/// Writes into the link header of `frame` that `ip_bytes` bytes of IP packet follow it.
///
/// Only PPPoE and IEEE 802.3 headers say so; nothing happens to others.
pub fn set_length(link_type: u32, frame: &mut [u8], ip_bytes: usize) {
    let Some(Some(Found { at, length_at: Some(length_at) })) = look(link_type, frame) else { return };
    let length = u16::try_from(at - length_at - 2 + ip_bytes).unwrap_or(u16::MAX);
    if let Some(field) = frame.get_mut(length_at..length_at + 2) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Exchanges the link addresses of the header of `frame`, where the link type has two: for a packet that goes back.
pub fn turn_around(link_type: u32, frame: &mut [u8]) {
    if link_type == ETHERNET && frame.len() >= 12 {
        let (destination, source) = frame[..12].split_at_mut(6);
        destination.swap_with_slice(source);
    }
}

/// A link header without addresses for an IP packet of `ip_version` with `ip_bytes` bytes; appended to `out`.
///
/// Returns false, and appends nothing, for a link type that is not supported.
pub fn header_for(link_type: u32, ip_version: u8, ip_bytes: usize, out: &mut Vec<u8>) -> bool {
    let six = ip_version == 6;
    let ether_type = if six { TYPE_IPV6 } else { TYPE_IPV4 }.to_be_bytes();
    let ppp = if six { PPP_IPV6 } else { PPP_IPV4 }.to_be_bytes();
    match link_type {
        // The family's number is that of the machine which wrote the file; 24 is read by all as IPv6.
        NULL => out.extend(if six { 24u32 } else { 2 }.to_le_bytes()),
        LOOP => out.extend(if six { 24u32 } else { 2 }.to_be_bytes()),
        ETHERNET => {
            out.extend([0; 12]);
            out.extend(ether_type);
        }
        PPP | PPP_HDLC => out.extend([0xff, 0x03, ppp[0], ppp[1]]),
        PPP_ETHER => {
            let len = u16::try_from(ip_bytes + 2).unwrap_or(u16::MAX).to_be_bytes();
            out.extend([0x11, 0, 0, 0, len[0], len[1], ppp[0], ppp[1]]);
        }
        C_HDLC => out.extend([0x0f, 0, ether_type[0], ether_type[1]]),
        RAW_BSD | RAW_OPENBSD | RAW => {}
        IPV4 if !six => {}
        IPV6 if six => {}
        // Sent by this host, on Ethernet, without a link address.
        LINUX_SLL => {
            out.extend([0, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            out.extend(ether_type);
        }
        LINUX_SLL2 => {
            out.extend(ether_type);
            out.extend([0, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        _ => return false,
    }
    true
}

/// Where an IP packet is, and the field of the link header that holds its length.
#[derive(Clone, Copy)]
struct Found {
    at: usize,
    length_at: Option<usize>,
}

/// `None`: the frame is cut within its link header. `Some(None)`: no IP packet.
type Look = Option<Option<Found>>;

fn look(link_type: u32, frame: &[u8]) -> Look {
    match link_type {
        NULL | LOOP => loopback(frame),
        ETHERNET => by_ether_type(frame, 12),
        PPP | PPP_HDLC => ppp(frame, 0, None),
        PPP_ETHER => pppoe(frame, 0),
        RAW_BSD | RAW_OPENBSD | RAW | IPV4 | IPV6 => found(0, None),
        C_HDLC => by_ether_type(frame, 2),
        LINUX_SLL => by_ether_type(frame, 14),
        LINUX_SLL2 => {
            let protocol = half(frame, 0)?;
            frame.get(19)?;
            by_protocol(frame, protocol, 20, None)
        }
        _ => Some(None),
    }
}

// Always `Some`: the type that the callers return.
#[expect(clippy::unnecessary_wraps, reason = "the callers return it as it is")]
fn found(at: usize, length_at: Option<usize>) -> Look {
    Some(Some(Found { at, length_at }))
}

fn half(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

/// The EtherType, or the length of IEEE 802.3, stands at `at`.
fn by_ether_type(frame: &[u8], at: usize) -> Look {
    let kind = half(frame, at)?;
    if kind >= TYPE_MIN {
        return by_protocol(frame, kind, at + 2, None);
    }
    match frame.get(at + 2..at + 8) {
        Some(head) if head == SNAP => by_protocol(frame, half(frame, at + 8)?, at + 10, Some(at)),
        _ => Some(None),
    }
}

/// What `kind` names begins at `at`. Tags of IEEE 802.1Q and 802.1ad, and their older numbers, may be stacked.
fn by_protocol(frame: &[u8], kind: u16, at: usize, length_at: Option<usize>) -> Look {
    match kind {
        TYPE_IPV4 | TYPE_IPV6 => found(at, length_at),
        0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
            // Each tag moves on by four bytes: the loop ends with the frame.
            let (mut at, mut kind) = (at, kind);
            while matches!(kind, 0x8100 | 0x88a8 | 0x9100 | 0x9200) {
                kind = half(frame, at + 2)?;
                at += 4;
            }
            if kind < TYPE_MIN { by_ether_type(frame, at - 2) } else { by_protocol(frame, kind, at, length_at) }
        }
        TYPE_PPPOE_SESSION => pppoe(frame, at),
        _ => Some(None),
    }
}

/// A PPPoE session header (RFC 2516, section 4) begins at `at`.
fn pppoe(frame: &[u8], at: usize) -> Look {
    let head = frame.get(at..at + 6)?;
    // Version 1, type 1, code 0: session data. Discovery has other codes.
    if head[0] != 0x11 || head[1] != 0 {
        return Some(None);
    }
    ppp(frame, at + 6, Some(at + 4))
}

/// A PPP frame begins at `at`, perhaps with address and control (RFC 1662, section 3.1); its protocol field may be
/// compressed to one byte (RFC 1661, section 6.5).
fn ppp(frame: &[u8], at: usize, length_at: Option<usize>) -> Look {
    // 0xff is the address of all stations, and no protocol: the control byte must follow.
    let at = if *frame.get(at)? == 0xff && half(frame, at)? == 0xff03 { at + 2 } else { at };
    let first = *frame.get(at)?;
    let (protocol, at) = if first & 1 == 1 { (u16::from(first), at + 1) } else { (half(frame, at)?, at + 2) };
    match protocol {
        PPP_IPV4 | PPP_IPV6 => found(at, length_at),
        _ => Some(None),
    }
}

/// A protocol family of four bytes, in the byte order of the machine that wrote it.
fn loopback(frame: &[u8]) -> Look {
    let head = frame.get(..4)?;
    let family = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    // A family is a small number: with the upper half set it is the other byte order.
    let family = if family > 0xffff { family.swap_bytes() } else { family };
    match family {
        // IPv4 everywhere; IPv6 on Linux, on NetBSD and OpenBSD, on FreeBSD, on macOS.
        2 | 10 | 24 | 28 | 30 => found(4, None),
        _ => Some(None),
    }
}

#[cfg(test)]
mod tests;

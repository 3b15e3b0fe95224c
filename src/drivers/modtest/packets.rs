//! Packets as test scripts describe them: made, and taken apart.

use std::net::IpAddr;

use etherparse::{IpHeaders, IpNumber, PacketBuilder, PacketBuilderStep, TcpHeader};

use crate::base::filter::{address_of, protocol_name};
use crate::container::script::{Decoded, PacketKind, PacketSpec};
use crate::wire::header::{Fragment, Header, ICMP, ICMPV6, TCP, UDP};

/// Letters of the TCP flags, from the lowest bit on (RFC 9293, section 3.1).
const FLAGS: &str = "FSRPAUEC";

/// Makes the packet, with right lengths and checksums.
pub(super) fn build(spec: &PacketSpec) -> Result<Vec<u8>, String> {
    let ip = match (spec.from.0, spec.to.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), spec.ttl),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), spec.ttl),
        (from, to) => return Err(format!("{from} and {to} are not of one IP version")),
    };
    let mut bytes = Vec::new();
    let payload = &spec.payload;
    match spec.kind {
        PacketKind::Udp => ip.udp(spec.from.1, spec.to.1).write(&mut bytes, payload),
        PacketKind::Tcp => ip.tcp_header(tcp_header(spec)?).write(&mut bytes, payload),
        PacketKind::IcmpEcho | PacketKind::IcmpEchoReply => return echo(spec, ip),
    }
    .map_err(|error| format!("no packet can be made of it: {error}"))?;
    Ok(bytes)
}

fn echo(spec: &PacketSpec, ip: PacketBuilderStep<IpHeaders>) -> Result<Vec<u8>, String> {
    let seq = u16::try_from(spec.seq).map_err(|_| format!("seq = {}: an echo has 0 to 65535", spec.seq))?;
    let mut bytes = Vec::new();
    match (spec.kind == PacketKind::IcmpEcho, spec.from.0.is_ipv4()) {
        (true, true) => ip.icmpv4_echo_request(spec.id, seq).write(&mut bytes, &spec.payload),
        (false, true) => ip.icmpv4_echo_reply(spec.id, seq).write(&mut bytes, &spec.payload),
        (true, false) => ip.icmpv6_echo_request(spec.id, seq).write(&mut bytes, &spec.payload),
        (false, false) => ip.icmpv6_echo_reply(spec.id, seq).write(&mut bytes, &spec.payload),
    }
    .map_err(|error| format!("no packet can be made of it: {error}"))?;
    Ok(bytes)
}

fn tcp_header(spec: &PacketSpec) -> Result<TcpHeader, String> {
    if let Some(other) = spec.flags.chars().find(|letter| !FLAGS.contains(*letter)) {
        return Err(format!("flags = \"{}\": \"{other}\" is no flag; write letters of {FLAGS}", spec.flags));
    }
    let has = |letter: char| spec.flags.contains(letter);
    Ok(TcpHeader {
        acknowledgment_number: if has('A') { spec.ack } else { 0 },
        fin: has('F'),
        syn: has('S'),
        rst: has('R'),
        psh: has('P'),
        ack: has('A'),
        urg: has('U'),
        ece: has('E'),
        cwr: has('C'),
        ..TcpHeader::new(spec.from.1, spec.to.1, spec.seq, u16::MAX)
    })
}

/// Takes a packet apart.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let header = Header::parse(bytes, false).map_err(|reason| reason.meaning().trim().to_owned())?;
    let end = |bits: u128, port: Option<u16>| {
        let address = address_of(bits, header.ip_version);
        match port {
            Some(port) => std::net::SocketAddr::new(address, port).to_string(),
            None => address.to_string(),
        }
    };
    let at = usize::from(header.transport_at);
    let is_tcp = header.protocol == TCP && !matches!(header.fragment, Fragment::Later(_));
    let word = |at: usize| bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    let flags =
        || FLAGS.chars().enumerate().filter(|(bit, _)| header.tcp_flags & 1 << bit != 0).map(|(_, c)| c).collect();
    Ok(Decoded {
        ip_version: header.ip_version,
        protocol: protocol_name(header.protocol),
        from: end(header.source, header.ports.map(|ports| ports.0)),
        to: end(header.destination, header.ports.map(|ports| ports.1)),
        payload: header.payload(bytes).to_vec(),
        checksum_ok: checksums_are_right(bytes, &header),
        ttl: bytes[if header.ip_version == 4 { 8 } else { 7 }],
        flags: is_tcp.then(flags),
        numbers: is_tcp.then(|| (word(at + 4), word(at + 8))),
    })
}

/// Computed in the plainest way, so that it checks what the program computes faster. Fragments have no checksum that
/// could be checked alone.
fn checksums_are_right(bytes: &[u8], header: &Header) -> bool {
    let ip_header_bytes = if header.ip_version == 4 { usize::from(bytes[0] & 0xf) * 4 } else { 0 };
    let ip_is_right = header.ip_version == 6 || sum(&bytes[..ip_header_bytes]) == 0xffff;
    let transport = &bytes[usize::from(header.transport_at)..header.end as usize];
    let udp_without = header.ip_version == 4 && header.protocol == UDP && transport.get(6..8) == Some(&[0, 0]);
    let checked = matches!(header.protocol, TCP | UDP | ICMP | ICMPV6) && header.fragment == Fragment::Whole;
    if !checked || udp_without {
        return ip_is_right;
    }
    let mut summed = Vec::with_capacity(transport.len() + 40);
    if header.protocol != IpNumber::ICMP.0 {
        summed.extend_from_slice(if header.ip_version == 4 { &bytes[12..20] } else { &bytes[8..40] });
        summed.extend_from_slice(&u32::from(header.protocol).to_be_bytes());
        summed.extend_from_slice(&(transport.len() as u32).to_be_bytes());
    }
    summed.extend_from_slice(transport);
    ip_is_right && sum(&summed) == 0xffff
}

/// The one's complement sum (RFC 1071).
fn sum(bytes: &[u8]) -> u32 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

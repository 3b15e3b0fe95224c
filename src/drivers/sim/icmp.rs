//! ICMP (RFC 792) and ICMPv6 (RFC 4443), as far as hosts and routers here speak it: errors, and echo.

use std::net::{IpAddr, SocketAddr};

use crate::base::filter::address_of;
use crate::wire::checksum;
use crate::wire::header::{Fragment, Header, ICMP, ICMPV6};

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// There is no way to the destination.
    NoRoute,
    /// The destination itself cannot be reached.
    HostUnreachable,
    /// Nobody has the port.
    PortClosed,
    /// The TTL or hop limit was used up.
    TimeExceeded,
}

/// Type and code of a problem.
const fn numbers(problem: Problem, is_v6: bool) -> (u8, u8) {
    match (problem, is_v6) {
        (Problem::NoRoute, false) => (3, 0),
        (Problem::HostUnreachable, false) => (3, 1),
        (Problem::PortClosed, false) => (3, 3),
        (Problem::TimeExceeded, false) => (11, 0),
        (Problem::NoRoute, true) => (1, 0),
        (Problem::HostUnreachable, true) => (1, 3),
        (Problem::PortClosed, true) => (1, 4),
        (Problem::TimeExceeded, true) => (3, 0),
    }
}

const ECHO_REQUEST: (u8, u8) = (8, 128);
const ECHO_REPLY: (u8, u8) = (0, 129);
/// Bytes of the ICMP header.
const HEAD_BYTES: usize = 8;
/// A whole error over IPv4 has no more bytes than this (RFC 1812, section 4.3.2.3).
const ERROR4_BYTES_MAX: usize = 576;
/// A whole error over IPv6 has no more bytes than this (RFC 4443, section 2.4).
const ERROR6_BYTES_MAX: usize = 1_280;
const TTL: u8 = 64;

/// An error about a packet; `None` where there must be none (RFC 1122, section 3.2.2): about another error, about a later
/// fragment, to nobody.
pub(super) fn error(packet: &[u8], header: &Header, problem: Problem, from: IpAddr) -> Option<Vec<u8>> {
    let source = address_of(header.source, header.ip_version);
    if matches!(header.fragment, Fragment::Later(_)) || source.is_unspecified() || source.is_multicast() {
        return None;
    }
    let kind = packet.get(usize::from(header.transport_at)).copied().unwrap_or(0);
    let is_error = match header.protocol {
        ICMP => !matches!(kind, 0 | 8),
        ICMPV6 => kind < 128,
        _ => false,
    };
    if is_error || from.is_ipv4() != source.is_ipv4() {
        return None;
    }
    let (head, most) = if source.is_ipv4() { (20, ERROR4_BYTES_MAX) } else { (40, ERROR6_BYTES_MAX) };
    let quoted = &packet[..packet.len().min(most - head - HEAD_BYTES)];
    let (kind, code) = numbers(problem, source.is_ipv6());
    let mut body = vec![kind, code, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(quoted);
    message(from, source, body)
}

/// The answer to an echo request; `None` if the packet is none.
pub(super) fn echo_reply(packet: &[u8], header: &Header) -> Option<Vec<u8>> {
    let is_v6 = header.protocol == ICMPV6;
    let (request, reply) = if is_v6 { (ECHO_REQUEST.1, ECHO_REPLY.1) } else { (ECHO_REQUEST.0, ECHO_REPLY.0) };
    let mut body = packet.get(usize::from(header.transport_at)..header.end as usize)?.to_vec();
    if body.first() != Some(&request) || body.len() < HEAD_BYTES {
        return None;
    }
    body[0] = reply;
    let end = |bits| address_of(bits, header.ip_version);
    message(end(header.destination), end(header.source), body)
}

/// An echo request.
pub(super) fn echo_request(from: IpAddr, to: IpAddr, id: u16, sequence: u16, payload: &[u8]) -> Option<Vec<u8>> {
    let kind = if from.is_ipv4() { ECHO_REQUEST.0 } else { ECHO_REQUEST.1 };
    let mut body = vec![kind, 0, 0, 0];
    body.extend_from_slice(&id.to_be_bytes());
    body.extend_from_slice(&sequence.to_be_bytes());
    body.extend_from_slice(payload);
    message(from, to, body)
}

/// A packet with an ICMP message, whose checksum is filled in.
fn message(from: IpAddr, to: IpAddr, mut body: Vec<u8>) -> Option<Vec<u8>> {
    let length = u16::try_from(body.len()).ok()?;
    body[2..4].fill(0);
    let mut packet = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut ip = vec![0x45, 0];
            ip.extend_from_slice(&length.checked_add(20)?.to_be_bytes());
            ip.extend_from_slice(&[0, 0, 0, 0, TTL, ICMP, 0, 0]);
            ip.extend_from_slice(&from.octets());
            ip.extend_from_slice(&to.octets());
            checksum::write_ipv4(&mut ip);
            let sum = !checksum::fold(checksum::add(0, &body));
            body[2..4].copy_from_slice(&sum.to_be_bytes());
            ip
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut ip = vec![0x60, 0, 0, 0];
            ip.extend_from_slice(&length.to_be_bytes());
            ip.extend_from_slice(&[ICMPV6, TTL]);
            ip.extend_from_slice(&from.octets());
            ip.extend_from_slice(&to.octets());
            // The pseudo-header (RFC 8200, section 8.1).
            let pseudo = checksum::add(u64::from(ICMPV6) + u64::from(length), &ip[8..40]);
            let sum = !checksum::fold(checksum::add(pseudo, &body));
            body[2..4].copy_from_slice(&sum.to_be_bytes());
            ip
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    packet.extend_from_slice(&body);
    Some(packet)
}

/// What an error says of a packet that this machine sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report<'a> {
    pub(super) problem: Problem,
    pub(super) protocol: u8,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    /// What is shown of the packet's payload.
    pub(super) payload: &'a [u8],
}

/// Reads an error; `None` if the packet is none, or says nothing that can be used.
pub(super) fn report<'a>(packet: &'a [u8], header: &Header) -> Option<Report<'a>> {
    let body = packet.get(usize::from(header.transport_at)..header.end as usize)?;
    let (kind, code) = (*body.first()?, *body.get(1)?);
    let is_v6 = header.protocol == ICMPV6;
    let all = [Problem::NoRoute, Problem::HostUnreachable, Problem::PortClosed, Problem::TimeExceeded];
    let problem = all.into_iter().find(|problem| numbers(*problem, is_v6) == (kind, code))?;
    let quoted = body.get(HEAD_BYTES..)?;
    let inner = Header::parse(quoted, true).ok()?;
    let (from, to) = inner.ports.unwrap_or((0, 0));
    let end = |bits, port| SocketAddr::new(address_of(bits, inner.ip_version), port);
    Some(Report {
        problem,
        protocol: inner.protocol,
        source: end(inner.source, from),
        destination: end(inner.destination, to),
        payload: inner.payload(quoted),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::datagram::{self, IpFields};

    fn datagram(from: &str, to: &str) -> (Vec<u8>, Header) {
        let fields = IpFields { ttl: 9, ..IpFields::default() };
        let packet = datagram::udp(from.parse().unwrap(), to.parse().unwrap(), fields, b"what was sent").unwrap();
        let header = Header::parse(&packet, false).unwrap();
        (packet, header)
    }

    #[test]
    fn an_error_names_the_packet_that_it_is_about_and_there_is_none_about_an_error() {
        for (from, to, router) in [("10.0.0.1:5", "10.0.0.2:7", "10.0.0.9"), ("[fd00::1]:5", "[fd00::2]:7", "fd00::9")]
        {
            let (packet, header) = datagram(from, to);
            for problem in [Problem::NoRoute, Problem::HostUnreachable, Problem::PortClosed, Problem::TimeExceeded] {
                let message = error(&packet, &header, problem, router.parse().unwrap()).unwrap();
                let outer = Header::parse(&message, false).unwrap();
                let transport = &message[usize::from(outer.transport_at)..];
                let pseudo = checksum::pseudo_header(&message, &outer, transport.len());
                let start = if outer.ip_version == 4 { 0 } else { pseudo };
                assert_eq!(checksum::fold(checksum::add(start, transport)), 0xffff);
                let told = report(&message, &outer).unwrap();
                assert_eq!((told.problem, told.payload), (problem, &b"what was sent"[..]));
                assert_eq!((told.source.to_string().as_str(), told.destination.to_string().as_str()), (from, to));
                assert_eq!(error(&message, &outer, problem, to.parse::<SocketAddr>().unwrap().ip()), None);
            }
            assert_eq!(report(&packet, &header), None);
        }
    }

    #[test]
    fn an_echo_comes_back_as_it_was() {
        for (from, to) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let request = echo_request(from.parse().unwrap(), to.parse().unwrap(), 7, 8, b"abc").unwrap();
            let header = Header::parse(&request, false).unwrap();
            let reply = echo_reply(&request, &header).unwrap();
            let back = Header::parse(&reply, false).unwrap();
            assert_eq!((back.source, back.destination), (header.destination, header.source));
            assert_eq!(reply[usize::from(back.transport_at) + 4..], request[usize::from(header.transport_at) + 4..]);
            assert_eq!(echo_reply(&reply, &back), None);
        }
    }
}

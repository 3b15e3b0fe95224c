//! A NAT box: RFC 4787 for UDP, RFC 5382 for TCP, RFC 5508 for ICMP, as far as their behaviours differ from box to box.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::base::filter::address_of;
use crate::base::limits::{SIM_NAT_ICMP_TIMEOUT, SIM_NAT_PEERS_MAX, SIM_NAT_TCP_CLOSED_TIMEOUT, SIM_NAT_TCP_TIMEOUT};
use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::drivers::sim::config::{NatConfig, NatDependence};
use crate::wire::checksum;
use crate::wire::header::{Fragment, Header, ICMP, TCP, TCP_FIN, TCP_RST, UDP};

/// Ports that a box gives.
const PORTS: std::ops::RangeInclusive<u16> = 1_024..=65_535;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Translated {
    /// It was changed, and goes on.
    Done,
    /// Nothing for a box to translate.
    NotMine,
    /// It may not pass.
    Refused,
}

/// What tells one mapping from another, seen from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    protocol: u8,
    inner: SocketAddr,
    /// As far as the box looks at it.
    peer: Option<IpAddr>,
    peer_port: Option<u16>,
}

struct Mapping {
    key: Key,
    outer_port: u16,
    /// To whom was sent.
    peers: BTreeSet<SocketAddr>,
    used_at: Instant,
    expires_at: Instant,
    is_closed: bool,
}

/// The mappings of a box.
pub(super) struct Nat {
    config: NatConfig,
    rng: Rng,
    mappings: BTreeMap<u64, Mapping>,
    by_key: BTreeMap<Key, u64>,
    by_port: BTreeMap<(u8, u16), u64>,
    by_use: BTreeSet<(Instant, u64)>,
    by_end: BTreeSet<(Instant, u64)>,
    count: u64,
}

/// Which end of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// Where the field is that stands for a port: the number of an ICMP echo is one.
fn port_at(header: &Header, end: End) -> usize {
    usize::from(header.transport_at)
        + match (header.protocol, end) {
            (ICMP, _) => 4,
            (_, End::Source) => 0,
            (_, End::Destination) => 2,
        }
}

/// Where the checksum of the transport is, and whether it covers the addresses.
const fn checksum_at(protocol: u8) -> (usize, bool) {
    match protocol {
        TCP => (16, true),
        UDP => (6, true),
        _ => (2, false),
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// The address and port of one end; the number of an echo at both.
fn endpoint(bytes: &[u8], header: &Header, end: End) -> Option<SocketAddr> {
    let bits = if end == End::Source { header.source } else { header.destination };
    Some(SocketAddr::new(address_of(bits, 4), half(bytes, port_at(header, end))?))
}

/// The other side of a mapping; who answers an echo has no number of his own.
fn peer_of(bytes: &[u8], header: &Header, end: End) -> Option<SocketAddr> {
    let peer = endpoint(bytes, header, end)?;
    Some(if header.protocol == ICMP { SocketAddr::new(peer.ip(), 0) } else { peer })
}

/// Changes one end of an IPv4 packet. Checksums are updated: a packet that came damaged leaves damaged.
fn rewrite(bytes: &mut [u8], header: &Header, end: End, to: SocketAddr) {
    let IpAddr::V4(address) = to.ip() else { return };
    let at = if end == End::Source { 12 } else { 16 };
    let port_at = port_at(header, end);
    let (sum_at, covers_addresses) = checksum_at(header.protocol);
    let sum_at = usize::from(header.transport_at) + sum_at;
    let mut words: Vec<(usize, u16)> = Vec::new();
    let octets = address.octets();
    if covers_addresses {
        words.push((at, u16::from_be_bytes([octets[0], octets[1]])));
        words.push((at + 2, u16::from_be_bytes([octets[2], octets[3]])));
    }
    words.push((port_at, to.port()));
    // A quoted packet may be cut before its checksum.
    let has_sum = half(bytes, sum_at).is_some_and(|sum| header.protocol != UDP || sum != 0);
    if has_sum {
        let sum = words.iter().fold(half(bytes, sum_at).unwrap_or(0), |sum, (at, new)| {
            checksum::update(sum, half(bytes, *at).unwrap_or(0), *new)
        });
        bytes[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    bytes[at..at + 4].copy_from_slice(&octets);
    if let Some(port) = bytes.get_mut(port_at..port_at + 2) {
        port.copy_from_slice(&to.port().to_be_bytes());
    }
    checksum::write_ipv4(bytes);
}

/// Whether a packet is one that is mapped: TCP, UDP, or an ICMP echo.
fn is_mapped(bytes: &[u8], header: &Header) -> bool {
    let kind = bytes.get(usize::from(header.transport_at));
    header.fragment == Fragment::Whole
        && match header.protocol {
            TCP | UDP => true,
            ICMP => matches!(kind, Some(0 | 8)),
            _ => false,
        }
}

fn is_icmp_error(bytes: &[u8], header: &Header) -> bool {
    header.protocol == ICMP && matches!(bytes.get(usize::from(header.transport_at)), Some(3 | 4 | 11 | 12))
}

impl Nat {
    pub(super) fn new(config: NatConfig, seed: u64) -> Nat {
        Nat {
            config,
            rng: Rng::seeded(seed),
            mappings: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_port: BTreeMap::new(),
            by_use: BTreeSet::new(),
            by_end: BTreeSet::new(),
            count: 0,
        }
    }

    /// A packet from inside that leaves by the outside address.
    pub(super) fn outward(&mut self, now: Instant, outside: IpAddr, bytes: &mut [u8], header: &Header) -> Translated {
        self.expire(now);
        if is_icmp_error(bytes, header) {
            return self.error_outward(outside, bytes, header);
        }
        if !is_mapped(bytes, header) {
            return Translated::Refused;
        }
        let ends = (endpoint(bytes, header, End::Source), peer_of(bytes, header, End::Destination));
        let (Some(inner), Some(peer)) = ends else { return Translated::Refused };
        let Some(port) = self.map(now, header, inner, peer) else { return Translated::Refused };
        rewrite(bytes, header, End::Source, SocketAddr::new(outside, port));
        Translated::Done
    }

    /// A packet from outside to the outside address.
    pub(super) fn inward(&mut self, now: Instant, outside: IpAddr, bytes: &mut [u8], header: &Header) -> Translated {
        self.expire(now);
        if is_icmp_error(bytes, header) {
            return self.error_inward(outside, bytes, header);
        }
        let is_request = header.protocol == ICMP && bytes.get(usize::from(header.transport_at)) == Some(&8);
        if !is_mapped(bytes, header) || is_request {
            return Translated::NotMine;
        }
        let ends = (peer_of(bytes, header, End::Source), endpoint(bytes, header, End::Destination));
        let (Some(peer), Some(outer)) = ends else { return Translated::Refused };
        let Some(id) = self.by_port.get(&(header.protocol, outer.port())).copied() else { return Translated::Refused };
        let Some(mapping) = self.mappings.get(&id) else { return Translated::Refused };
        let lets_in = match self.config.filtering {
            NatDependence::EndpointIndependent => true,
            NatDependence::AddressDependent => mapping.peers.iter().any(|known| known.ip() == peer.ip()),
            NatDependence::AddressAndPortDependent => mapping.peers.contains(&peer),
        };
        if !lets_in {
            return Translated::Refused;
        }
        let inner = mapping.key.inner;
        // TCP is alive whoever speaks (RFC 5382, section 5).
        if self.config.refreshed_from_outside || header.protocol != UDP {
            self.touch(now, id, header.tcp_flags);
        }
        rewrite(bytes, header, End::Destination, inner);
        Translated::Done
    }

    /// A packet from inside to the outside address: for somebody else inside (RFC 4787, section 6).
    pub(super) fn hairpin(&mut self, now: Instant, outside: IpAddr, bytes: &mut [u8], header: &Header) -> Translated {
        let is_request = header.protocol == ICMP && bytes.get(usize::from(header.transport_at)) == Some(&8);
        if !is_mapped(bytes, header) || is_request {
            return Translated::NotMine;
        }
        if !self.config.hairpins {
            return Translated::Refused;
        }
        // What comes back has the outer address as its source (RFC 4787, section 6, REQ-9a).
        match self.outward(now, outside, bytes, header) {
            Translated::Done => {
                let Ok(header) = Header::parse(bytes, false) else { return Translated::Refused };
                self.inward(now, outside, bytes, &header)
            }
            other @ (Translated::NotMine | Translated::Refused) => other,
        }
    }

    /// The outer port of an inner endpoint that sends to a peer.
    fn map(&mut self, now: Instant, header: &Header, inner: SocketAddr, peer: SocketAddr) -> Option<u16> {
        let key = Key {
            protocol: header.protocol,
            inner,
            peer: (self.config.mapping != NatDependence::EndpointIndependent).then_some(peer.ip()),
            peer_port: (self.config.mapping == NatDependence::AddressAndPortDependent).then_some(peer.port()),
        };
        let id = match self.by_key.get(&key) {
            Some(id) => *id,
            None => self.add(now, key)?,
        };
        self.touch(now, id, header.tcp_flags);
        let mapping = self.mappings.get_mut(&id)?;
        mapping.peers.insert(peer);
        if mapping.peers.len() > SIM_NAT_PEERS_MAX {
            mapping.peers.retain(|other| *other == peer);
        }
        Some(mapping.outer_port)
    }

    fn add(&mut self, now: Instant, key: Key) -> Option<u64> {
        while self.mappings.len() >= self.config.mappings_max.max(1) {
            let (_, oldest) = *self.by_use.first()?;
            self.remove(oldest);
        }
        let outer_port = self.port(key.protocol, key.inner.port())?;
        self.count += 1;
        let id = self.count;
        let peers = BTreeSet::new();
        let mapping = Mapping { key, outer_port, peers, used_at: now, expires_at: now, is_closed: false };
        self.mappings.insert(id, mapping);
        self.by_key.insert(key, id);
        self.by_port.insert((key.protocol, outer_port), id);
        self.by_use.insert((now, id));
        self.by_end.insert((now, id));
        Some(id)
    }

    /// A free outer port.
    fn port(&mut self, protocol: u8, inner: u16) -> Option<u16> {
        let is_free = |port: u16| !self.by_port.contains_key(&(protocol, port));
        if self.config.keeps_ports && is_free(inner) {
            return Some(inner);
        }
        let span = u64::from(PORTS.end() - PORTS.start()) + 1;
        let first = self.rng.below(span);
        (0..span)
            .map(|step| PORTS.start() + ((first + step) % span) as u16)
            .find(|port| !self.by_port.contains_key(&(protocol, *port)))
    }

    fn lifetime(&self, protocol: u8, is_closed: bool) -> Duration {
        match protocol {
            TCP if is_closed => SIM_NAT_TCP_CLOSED_TIMEOUT,
            TCP => SIM_NAT_TCP_TIMEOUT,
            UDP => self.config.udp_timeout,
            _ => SIM_NAT_ICMP_TIMEOUT,
        }
    }

    fn touch(&mut self, now: Instant, id: u64, tcp_flags: u8) {
        let Some(mapping) = self.mappings.get(&id) else { return };
        let is_closed = mapping.is_closed || tcp_flags & (TCP_FIN | TCP_RST) != 0;
        let expires_at = now + self.lifetime(mapping.key.protocol, is_closed);
        self.by_use.remove(&(mapping.used_at, id));
        self.by_end.remove(&(mapping.expires_at, id));
        self.by_use.insert((now, id));
        self.by_end.insert((expires_at, id));
        if let Some(mapping) = self.mappings.get_mut(&id) {
            (mapping.used_at, mapping.expires_at, mapping.is_closed) = (now, expires_at, is_closed);
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((_, id)) = self.by_end.first().copied().filter(|(at, _)| *at <= now) {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(mapping) = self.mappings.remove(&id) else { return };
        self.by_key.remove(&mapping.key);
        self.by_port.remove(&(mapping.key.protocol, mapping.outer_port));
        self.by_use.remove(&(mapping.used_at, id));
        self.by_end.remove(&(mapping.expires_at, id));
    }

    /// Mappings at this moment.
    pub(super) fn len(&mut self, now: Instant) -> usize {
        self.expire(now);
        self.mappings.len()
    }

    /// An ICMP error about a packet that left by the outside address: it quotes that packet (RFC 5508, section 4).
    fn error_inward(&self, outside: IpAddr, bytes: &mut [u8], header: &Header) -> Translated {
        let Some((at, inner)) = quoted(bytes, header) else { return Translated::NotMine };
        let Some(outer) = endpoint(&bytes[at..], &inner, End::Source).filter(|outer| outer.ip() == outside) else {
            return Translated::NotMine;
        };
        let id = self.by_port.get(&(inner.protocol, outer.port()));
        let Some(mapping) = id.and_then(|id| self.mappings.get(id)) else { return Translated::NotMine };
        rewrite(&mut bytes[at..], &inner, End::Source, mapping.key.inner);
        finish_error(bytes, header, End::Destination, mapping.key.inner.ip());
        Translated::Done
    }

    /// An ICMP error from inside about a packet that came in.
    fn error_outward(&self, outside: IpAddr, bytes: &mut [u8], header: &Header) -> Translated {
        let Some((at, inner)) = quoted(bytes, header) else { return Translated::Refused };
        let Some(end) = endpoint(&bytes[at..], &inner, End::Destination) else { return Translated::Refused };
        let is_it = |mapping: &&Mapping| mapping.key.protocol == inner.protocol && mapping.key.inner == end;
        let Some(mapping) = self.mappings.values().find(is_it) else { return Translated::Refused };
        rewrite(&mut bytes[at..], &inner, End::Destination, SocketAddr::new(outside, mapping.outer_port));
        finish_error(bytes, header, End::Source, outside);
        Translated::Done
    }
}

/// The packet that an ICMP error quotes, and where it begins.
fn quoted(bytes: &[u8], header: &Header) -> Option<(usize, Header)> {
    let at = usize::from(header.transport_at) + 8;
    let inner = Header::parse(bytes.get(at..)?, true).ok()?;
    (inner.ip_version == 4 && matches!(inner.protocol, TCP | UDP | ICMP)).then_some((at, inner))
}

/// Changes the outer address of an ICMP error, whose content has changed too.
fn finish_error(bytes: &mut [u8], header: &Header, end: End, address: IpAddr) {
    let IpAddr::V4(address) = address else { return };
    let octets: [u8; 4] = Ipv4Addr::octets(&address);
    let at = if end == End::Source { 12 } else { 16 };
    bytes[at..at + 4].copy_from_slice(&octets);
    checksum::write_ipv4(bytes);
    let (from, to) = (usize::from(header.transport_at), header.end as usize);
    bytes[from + 2..from + 4].fill(0);
    let sum = !checksum::fold(checksum::add(0, &bytes[from..to]));
    bytes[from + 2..from + 4].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests;

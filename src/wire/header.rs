//! The headers of a packet, parsed once: what filters, the flow cache and modules look at.

use std::net::IpAddr;

use etherparse::{IpSlice, Ipv4HeaderSlice, Ipv6ExtensionSlice, Ipv6ExtensionsSlice, LaxIpSlice, err};

use crate::base::filter::{FilterSubject, address_bits};
use crate::base::stats::DropReason;

/// IP protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// IP protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// IP protocol number of SCTP.
pub const SCTP: u8 = 132;

// Extension headers of IPv6 (RFC 8200, section 4).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;

/// TCP flag FIN (RFC 9293, section 3.1).
pub const TCP_FIN: u8 = 0x01;
/// TCP flag SYN (RFC 9293, section 3.1).
pub const TCP_SYN: u8 = 0x02;
/// TCP flag RST (RFC 9293, section 3.1).
pub const TCP_RST: u8 = 0x04;

/// Which part of a fragmented packet this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// Not fragmented.
    Whole,
    /// The first fragment, with the transport header; the id is the one of the IP header.
    First(u32),
    /// A later fragment, without transport header.
    Later(u32),
}

/// Where things are in a packet, and who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 4 or 6.
    pub ip_version: u8,
    /// IP protocol number of the transport; for IPv6 the one behind the extension headers.
    pub protocol: u8,
    /// Source, as [`address_bits`].
    pub source: u128,
    /// Destination, as [`address_bits`].
    pub destination: u128,
    /// Source and destination port in host order, of TCP, UDP and SCTP; not of later fragments.
    pub ports: Option<(u16, u16)>,
    /// Which part of a fragmented packet this is.
    pub fragment: Fragment,
    /// Where the transport header begins, in bytes from the IP header; of a later fragment, its data.
    pub transport_at: u16,
    /// Where the transport's payload begins. Equal to `transport_at` where the transport is not known.
    pub payload_at: u16,
    /// Where the transport's payload ends: padding behind it does not count.
    pub payload_end: u32,
    /// Where the IP packet ends.
    pub end: u32,
    /// TCP flags FIN to CWR; 0 for everything else.
    pub tcp_flags: u8,
}

impl Header {
    /// Parses the packet that begins with its IP header at `bytes[0]`.
    ///
    /// `truncated` says that `bytes` may be cut short: then lengths that reach behind the end are cut too.
    ///
    /// # Errors
    ///
    /// The [`DropReason`] of a malformed packet.
    pub fn parse(bytes: &[u8], truncated: bool) -> Result<Header, DropReason> {
        if truncated { parse_cut(bytes) } else { parse_whole(bytes) }
    }

    /// What filters look at.
    #[must_use]
    pub fn subject(&self) -> FilterSubject {
        FilterSubject {
            ip_version: self.ip_version,
            protocol: self.protocol,
            source: self.source,
            destination: self.destination,
            ports: self.ports,
        }
    }

    /// The transport's payload, as far as `bytes` holds it.
    #[must_use]
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(usize::from(self.payload_at)..self.payload_end as usize).unwrap_or(&[])
    }

    /// Whether nothing stands between the IP header and the transport that would make it another packet: of the extension
    /// headers only hop-by-hop, routing and destination options (RFC 5971, section 5.3.2.2).
    #[must_use]
    pub fn leads_straight_to_transport(&self, bytes: &[u8]) -> bool {
        if self.ip_version == 4 {
            return bytes.get(9) == Some(&self.protocol);
        }
        let (mut next, mut at) = (bytes.get(6).copied(), 40);
        // Each turn passes a header of 8 bytes or more.
        while at < usize::from(self.transport_at) && matches!(next, Some(HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS)) {
            next = bytes.get(at).copied();
            at += bytes.get(at + 1).map_or(8, |len| (usize::from(*len) + 1) * 8);
        }
        at == usize::from(self.transport_at) && next == Some(self.protocol)
    }

    /// Length of the transport's payload in bytes.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        (self.payload_end as usize).saturating_sub(usize::from(self.payload_at))
    }
}

/// What the IP layer says; offsets are from the IP header.
struct Network {
    ip_version: u8,
    protocol: u8,
    source: u128,
    destination: u128,
    fragment: Fragment,
    transport_at: usize,
    end: usize,
}

impl Network {
    /// From what either parser found; `payload` is a part of `bytes`.
    fn new(bytes: &[u8], payload: &[u8], protocol: u8, between: (IpAddr, IpAddr), fragment: Fragment) -> Network {
        let transport_at = payload.as_ptr() as usize - bytes.as_ptr() as usize;
        Network {
            ip_version: if between.0.is_ipv4() { 4 } else { 6 },
            protocol,
            source: address_bits(between.0),
            destination: address_bits(between.1),
            fragment,
            transport_at,
            end: transport_at + payload.len(),
        }
    }
}

fn parse_whole(bytes: &[u8]) -> Result<Header, DropReason> {
    let ip = IpSlice::from_slice(bytes).map_err(|e| drop_reason(&e))?;
    let fragment = match &ip {
        IpSlice::Ipv4(v4) => fragment_of_ipv4(&v4.header()),
        IpSlice::Ipv6(v6) => fragment_of_extensions(v6.extensions()),
    };
    let between = (ip.source_addr(), ip.destination_addr());
    let network = Network::new(bytes, ip.payload().payload, ip.payload_ip_number().0, between, fragment);
    transport(bytes, &network, false)
}

fn parse_cut(bytes: &[u8]) -> Result<Header, DropReason> {
    let (ip, stopped) = LaxIpSlice::from_slice(bytes).map_err(|e| match e {
        err::ip::LaxHeaderSliceError::Len(_) => DropReason::IpHeader,
        err::ip::LaxHeaderSliceError::Content(e) => {
            drop_reason(&err::ip::SliceError::IpHeaders(err::ip::HeadersError::Ip(e)))
        }
    })?;
    if stopped.is_some() {
        return Err(DropReason::ExtensionHeader);
    }
    let fragment = match &ip {
        LaxIpSlice::Ipv4(v4) => fragment_of_ipv4(&v4.header()),
        LaxIpSlice::Ipv6(v6) => fragment_of_extensions(v6.extensions()),
    };
    let between = (ip.source_addr(), ip.destination_addr());
    let network = Network::new(bytes, ip.payload().payload, ip.payload_ip_number().0, between, fragment);
    transport(bytes, &network, true)
}

/// Finds ports and payload behind the IP headers.
fn transport(bytes: &[u8], network: &Network, truncated: bool) -> Result<Header, DropReason> {
    let at = network.transport_at;
    let body = &bytes[at..network.end];
    let whole_header = |len: usize| if body.len() >= len { Ok(()) } else { Err(DropReason::TransportHeader) };
    let half = |i: usize| u16::from_be_bytes([body[i], body[i + 1]]);
    let (mut ports, mut header_bytes, mut payload_end, mut tcp_flags) = (None, 0, network.end, 0);
    if !matches!(network.fragment, Fragment::Later(_)) {
        match network.protocol {
            TCP => {
                whole_header(20)?;
                ports = Some((half(0), half(2)));
                header_bytes = usize::from(body[12] >> 4) * 4;
                tcp_flags = body[13];
                if header_bytes < 20 {
                    return Err(DropReason::TransportHeader);
                }
                if truncated {
                    header_bytes = header_bytes.min(body.len());
                }
                whole_header(header_bytes)?;
            }
            UDP => {
                whole_header(8)?;
                ports = Some((half(0), half(2)));
                header_bytes = 8;
                // 0 stands for "longer than the field can say" (RFC 2675, section 4); the first fragment
                // carries the length of the whole datagram (RFC 768).
                let said = usize::from(half(4));
                let unbounded = said == 0 || truncated || network.fragment != Fragment::Whole;
                if !unbounded && !(8..=body.len()).contains(&said) || (1..8).contains(&said) {
                    return Err(DropReason::TransportHeader);
                }
                if said != 0 {
                    payload_end = (at + said).min(network.end);
                }
            }
            ICMP | ICMPV6 => {
                whole_header(4)?;
                header_bytes = body.len().min(8);
            }
            SCTP => {
                whole_header(12)?;
                ports = Some((half(0), half(2)));
                header_bytes = 12;
            }
            _ => {}
        }
    }
    Ok(Header {
        ip_version: network.ip_version,
        protocol: network.protocol,
        source: network.source,
        destination: network.destination,
        ports,
        fragment: network.fragment,
        transport_at: u16::try_from(at).map_err(|_| DropReason::ExtensionHeader)?,
        payload_at: u16::try_from(at + header_bytes).map_err(|_| DropReason::ExtensionHeader)?,
        payload_end: payload_end as u32,
        end: network.end as u32,
        tcp_flags,
    })
}

fn fragment_of(offset: u16, more: bool, id: u32) -> Fragment {
    match (offset, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First(id),
        _ => Fragment::Later(id),
    }
}

fn fragment_of_ipv4(header: &Ipv4HeaderSlice<'_>) -> Fragment {
    fragment_of(header.fragments_offset().value(), header.more_fragments(), u32::from(header.identification()))
}

fn fragment_of_extensions(extensions: &Ipv6ExtensionsSlice<'_>) -> Fragment {
    if extensions.is_empty() {
        return Fragment::Whole;
    }
    let fragment = extensions.clone().into_iter().find_map(|extension| match extension {
        Ipv6ExtensionSlice::Fragment(fragment) => Some(fragment),
        Ipv6ExtensionSlice::HopByHop(_)
        | Ipv6ExtensionSlice::Routing(_)
        | Ipv6ExtensionSlice::DestinationOptions(_)
        | Ipv6ExtensionSlice::Authentication(_) => None,
    });
    fragment
        .map_or(Fragment::Whole, |f| fragment_of(f.fragment_offset().value(), f.more_fragments(), f.identification()))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all layers but IP's own are extension headers here")]
fn drop_reason(error: &err::ip::SliceError) -> DropReason {
    use err::ip::{HeaderError, HeadersError, SliceError};
    match error {
        SliceError::Len(e) => match e.layer {
            err::Layer::IpHeader | err::Layer::Ipv4Header | err::Layer::Ipv6Header => DropReason::IpHeader,
            err::Layer::Ipv4Packet | err::Layer::Ipv6Packet => DropReason::IpLength,
            _ => DropReason::ExtensionHeader,
        },
        SliceError::IpHeaders(HeadersError::Ip(HeaderError::UnsupportedIpVersion { .. })) => DropReason::NotIp,
        SliceError::IpHeaders(HeadersError::Ip(HeaderError::Ipv4HeaderLengthSmallerThanHeader { .. })) => {
            DropReason::IpHeader
        }
        SliceError::IpHeaders(HeadersError::Ipv4Ext(_) | HeadersError::Ipv6Ext(_)) => DropReason::ExtensionHeader,
    }
}

#[cfg(test)]
mod tests;

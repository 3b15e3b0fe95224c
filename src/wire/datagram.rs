//! Makes whole UDP datagrams, with or without router alert.

use std::net::{IpAddr, SocketAddr};

use crate::base::filter::address_bits;
use crate::wire::checksum;
use crate::wire::header::UDP;
use crate::wire::router_alert;

/// What the IP header of a datagram says besides its addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpFields {
    /// TTL or hop limit.
    pub ttl: u8,
    /// Differentiated services code point, 6 bits.
    pub dscp: u8,
    /// IPv6 flow label, 20 bits.
    pub flow_label: u32,
    /// Value of the router alert option, if there is to be one.
    pub router_alert: Option<u16>,
}

/// A UDP datagram from its IP header on; IPv4 with the bit "do not fragment". `None` if the addresses are of different
/// versions, or the payload is longer than a datagram can be.
#[must_use]
pub fn udp(source: SocketAddr, destination: SocketAddr, fields: IpFields, payload: &[u8]) -> Option<Vec<u8>> {
    let udp_bytes = u16::try_from(8 + payload.len()).ok()?;
    let mut bytes = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header_bytes = 20 + fields.router_alert.map_or(0, |_| router_alert::IPV4_OPTION_BYTES);
            let total = u16::try_from(header_bytes).ok()?.checked_add(udp_bytes)?;
            let mut ip = vec![0x40 | (header_bytes / 4) as u8, fields.dscp << 2];
            ip.extend_from_slice(&total.to_be_bytes());
            ip.extend_from_slice(&[0, 0, 0x40, 0, fields.ttl, UDP, 0, 0]);
            ip.extend_from_slice(&from.octets());
            ip.extend_from_slice(&to.octets());
            ip.extend_from_slice(fields.router_alert.map(router_alert::ipv4_option).as_ref().map_or(&[], |o| &o[..]));
            checksum::write_ipv4(&mut ip);
            ip
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let extension = fields.router_alert.map(|value| router_alert::ipv6_hop_by_hop(UDP, value));
            let length = udp_bytes.checked_add(extension.map_or(0, |e| e.len() as u16))?;
            let first = 6 << 28 | u32::from(fields.dscp) << 22 | (fields.flow_label & 0xf_ffff);
            let mut ip = first.to_be_bytes().to_vec();
            ip.extend_from_slice(&length.to_be_bytes());
            ip.extend_from_slice(&[if extension.is_some() { 0 } else { UDP }, fields.ttl]);
            ip.extend_from_slice(&from.octets());
            ip.extend_from_slice(&to.octets());
            ip.extend_from_slice(extension.as_ref().map_or(&[], |e| &e[..]));
            ip
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let at = bytes.len();
    bytes.extend_from_slice(&source.port().to_be_bytes());
    bytes.extend_from_slice(&destination.port().to_be_bytes());
    bytes.extend_from_slice(&udp_bytes.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(payload);
    let pseudo = [source.ip(), destination.ip()].map(|a| match a {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(_) => address_bits(a),
    });
    let sum =
        pseudo.iter().fold(u64::from(UDP) + u64::from(udp_bytes), |sum, bits| checksum::add(sum, &bits.to_be_bytes()));
    // A sum of zero would mean "no checksum" (RFC 768).
    let sum = match !checksum::fold(checksum::add(sum, &bytes[at..])) {
        0 => 0xffff,
        sum => sum,
    };
    bytes[at + 6..at + 8].copy_from_slice(&sum.to_be_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::Header;

    #[test]
    fn what_is_made_can_be_parsed_and_its_checksums_fit() {
        let fields = IpFields { ttl: 64, dscp: 10, flow_label: 0x12345, router_alert: Some(65_503) };
        for (from, to) in [("10.0.0.1:1", "10.0.0.2:270"), ("[fd00::1]:1", "[fd00::2]:270")] {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            for (router_alert, payload) in [(Some(65_503), &b"odd"[..]), (None, b"even")] {
                let bytes = udp(from, to, IpFields { router_alert, ..fields }, payload).unwrap();
                let header = Header::parse(&bytes, false).unwrap();
                assert_eq!(header.ports, Some((1, 270)));
                assert_eq!(header.payload(&bytes), payload);
                assert_eq!(router_alert::find(&bytes, &header), router_alert);
                let transport = &bytes[usize::from(header.transport_at)..];
                let sum = checksum::pseudo_header(&bytes, &header, transport.len());
                assert_eq!(checksum::fold(checksum::add(sum, transport)), 0xffff);
                if header.ip_version == 4 {
                    assert_eq!(bytes[6..8], [0x40, 0], "never in fragments");
                    assert_eq!(checksum::fold(checksum::add(0, &bytes[..usize::from(header.transport_at)])), 0xffff);
                }
            }
        }
        assert_eq!(udp("10.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap(), fields, b""), None);
        assert_eq!(udp("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap(), fields, &[0; 65_530]), None);
    }
}

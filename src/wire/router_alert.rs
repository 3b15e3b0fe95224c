//! The router alert option: asks each router on the way to look at a packet (RFC 2113, RFC 2711).

use crate::wire::header::Header;

/// Length of the option in an IPv4 header, in bytes.
pub const IPV4_OPTION_BYTES: usize = 4;
/// Length of the IPv6 hop-by-hop header that holds the option, in bytes.
pub const IPV6_HEADER_BYTES: usize = 8;

const IPV4_OPTION: u8 = 0x94;
const IPV4_END: u8 = 0;
const IPV4_NO_OPERATION: u8 = 1;
const IPV6_OPTION: u8 = 5;
const IPV6_PAD1: u8 = 0;
const IPV6_PADN: u8 = 1;

/// The option in an IPv4 header (RFC 2113, section 2.1).
#[must_use]
pub const fn ipv4_option(value: u16) -> [u8; IPV4_OPTION_BYTES] {
    let value = value.to_be_bytes();
    [IPV4_OPTION, 4, value[0], value[1]]
}

/// The IPv6 hop-by-hop header with the option and padding (RFC 2711, section 2.1; RFC 8200, section 4.3).
#[must_use]
pub const fn ipv6_hop_by_hop(next_header: u8, value: u16) -> [u8; IPV6_HEADER_BYTES] {
    let value = value.to_be_bytes();
    [next_header, 0, IPV6_OPTION, 2, value[0], value[1], IPV6_PADN, 0]
}

/// The option's value in the packet that begins with its IP header at `bytes[0]` and was parsed to `header`.
#[must_use]
pub fn find(bytes: &[u8], header: &Header) -> Option<u16> {
    if header.ip_version == 4 {
        let end = usize::from(bytes.first()? & 0x0f) * 4;
        return find_ipv4(bytes.get(20..end)?);
    }
    // Only directly behind the IP header may a hop-by-hop header stand (RFC 8200, section 4.1).
    if *bytes.get(6)? != 0 {
        return None;
    }
    let len = (usize::from(*bytes.get(41)?) + 1) * 8;
    find_ipv6(bytes.get(42..40 + len)?)
}

fn find_ipv4(mut options: &[u8]) -> Option<u16> {
    loop {
        match options {
            [] | [IPV4_END, ..] => return None,
            [IPV4_NO_OPERATION, rest @ ..] => options = rest,
            [IPV4_OPTION, 4, high, low, ..] => return Some(u16::from_be_bytes([*high, *low])),
            [_, len, ..] if *len >= 2 => options = options.get(usize::from(*len)..)?,
            _ => return None,
        }
    }
}

fn find_ipv6(mut options: &[u8]) -> Option<u16> {
    loop {
        match options {
            [] => return None,
            [IPV6_PAD1, rest @ ..] => options = rest,
            [IPV6_OPTION, 2, high, low, ..] => return Some(u16::from_be_bytes([*high, *low])),
            [_, len, rest @ ..] => options = rest.get(usize::from(*len)..)?,
            [_] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_found_behind_others_and_nowhere_else() {
        assert_eq!(find_ipv4(&ipv4_option(0x1234)), Some(0x1234));
        assert_eq!(find_ipv4(&[1, 7, 3, 0, 0x94, 4, 0, 9, 0]), Some(9));
        for odd in [&[][..], &[0, 0x94, 4, 0, 9], &[7, 0, 0, 0], &[7, 9, 0, 0], &[0x94, 3, 0, 9], &[0x94, 4, 0]] {
            assert_eq!(find_ipv4(odd), None, "{odd:?}");
        }
        assert_eq!(find_ipv6(&ipv6_hop_by_hop(17, 77)[2..]), Some(77));
        assert_eq!(find_ipv6(&[0, 1, 1, 9, 5, 2, 0, 3]), Some(3));
        for odd in [&[][..], &[1, 9, 0], &[5, 1, 0], &[5]] {
            assert_eq!(find_ipv6(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn captured_packets_show_it() {
        let ipv4 = [
            0x46, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x94, 4, 0, 1, 1, 14, 1, 14, 0, 8, 0, 0,
        ];
        let header = Header::parse(&ipv4, false).unwrap();
        assert_eq!((find(&ipv4, &header), header.ports), (Some(1), Some((270, 270))));
        let mut ipv6 = vec![0x60, 0, 0, 0, 0, 16, 0, 64];
        ipv6.extend_from_slice(&[0x20; 32]);
        ipv6.extend_from_slice(&ipv6_hop_by_hop(17, 65_503));
        ipv6.extend_from_slice(&[1, 14, 1, 14, 0, 8, 0, 0]);
        let header = Header::parse(&ipv6, false).unwrap();
        assert_eq!((find(&ipv6, &header), header.ports), (Some(65_503), Some((270, 270))));
    }
}

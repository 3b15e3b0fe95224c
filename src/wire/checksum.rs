//! The Internet checksum, whole (RFC 1071) and incremental (RFC 1624).

use crate::wire::header::Header;

/// Adds `bytes` to a running sum; a last odd byte counts as the high half of a word (RFC 1071, section 4.1).
///
/// `sum` may come from earlier calls whose bytes were even in number.
#[must_use]
pub fn add(sum: u64, bytes: &[u8]) -> u64 {
    // The sum is the same in both byte orders but for the order of its bytes (RFC 1071, section 2), and four bytes at a
    // time give the same as two.
    let (words, tail) = bytes.as_chunks::<4>();
    let mut sum = words.iter().fold(sum, |sum, word| sum + u64::from(u32::from_be_bytes(*word)));
    if let [a, b, ..] = tail {
        sum += u64::from(u16::from_be_bytes([*a, *b]));
    }
    if tail.len() % 2 == 1 {
        sum += u64::from(tail[tail.len() - 1]) << 8;
    }
    sum
}

/// Folds a sum to 16 bits. Not complemented.
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

/// The checksum after a 16-bit word that it covers went from `old` to `new` (RFC 1624, section 3, equation 3).
#[must_use]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// The sum of the pseudo-header of IPv4 (RFC 9293, section 3.1) or IPv6 (RFC 8200, section 8.1), not complemented.
///
/// `bytes` begins with the IP header; `transport_bytes` is the length of transport header and payload.
#[must_use]
pub fn pseudo_header(bytes: &[u8], header: &Header, transport_bytes: usize) -> u64 {
    let addresses = if header.ip_version == 4 { &bytes[12..20] } else { &bytes[8..40] };
    add(u64::from(header.protocol) + transport_bytes as u64, addresses)
}

/// Computes the checksum field of an IPv4 header anew; nothing is done for IPv6, which has none.
pub fn write_ipv4(bytes: &mut [u8]) {
    if bytes[0] >> 4 == 4 {
        let header_bytes = usize::from(bytes[0] & 15) * 4;
        bytes[10..12].fill(0);
        let sum = !fold(add(0, &bytes[..header_bytes]));
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_example_of_rfc_1071() {
        assert_eq!(fold(add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
        assert_eq!(fold(add(0, &[0x00, 0x01, 0xf2])), 0xf201);
    }

    #[test]
    fn updates_as_the_example_of_rfc_1624() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }
}

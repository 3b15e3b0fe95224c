//! Ancillary data of Linux: a list of `cmsghdr` with their values, and the IP options in them.

/// Bytes of a `cmsghdr`: a length of the machine's word size, level and type.
const HEAD: usize = size_of::<usize>() + 8;
/// Bytes of IPv4 options at most.
const IPV4_OPTIONS_MAX: usize = 40;

/// Router alert option of IPv4 (RFC 2113, section 2.1).
const ROUTER_ALERT_V4: u8 = 148;
/// Router alert option of IPv6 (RFC 2711, section 2.1).
const ROUTER_ALERT_V6: u8 = 5;

/// A list of values in the form that the kernel wants; aligned, because it is made of words.
#[derive(Default)]
pub(super) struct Ancillary {
    words: Vec<usize>,
}

impl Ancillary {
    pub(super) fn push(&mut self, level: libc::c_int, kind: libc::c_int, value: &[u8]) {
        let mut bytes = Vec::with_capacity((HEAD + value.len()).next_multiple_of(size_of::<usize>()));
        bytes.extend_from_slice(&(HEAD + value.len()).to_ne_bytes());
        bytes.extend_from_slice(&level.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(size_of::<usize>()), 0);
        let words = bytes.chunks_exact(size_of::<usize>());
        self.words.extend(words.map(|word| usize::from_ne_bytes(word.try_into().expect("chunks are words"))));
    }

    pub(super) fn words(&mut self) -> &mut [usize] {
        &mut self.words
    }
}

/// The values of a list that the kernel wrote: level, type, value.
pub(super) fn values(mut rest: &[u8]) -> impl Iterator<Item = (libc::c_int, libc::c_int, &[u8])> {
    std::iter::from_fn(move || {
        let word = size_of::<usize>();
        let len = usize::from_ne_bytes(rest.get(..word)?.try_into().ok()?);
        let level = libc::c_int::from_ne_bytes(rest.get(word..word + 4)?.try_into().ok()?);
        let kind = libc::c_int::from_ne_bytes(rest.get(word + 4..word + 8)?.try_into().ok()?);
        let value = rest.get(HEAD..len)?;
        rest = rest.get(len.next_multiple_of(word)..).unwrap_or_default();
        Some((level, kind, value))
    })
}

/// A number of the machine's byte order at the start of a value.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The router alert option of IPv4.
pub(super) fn alert_v4(value: u16) -> [u8; 4] {
    let [high, low] = value.to_be_bytes();
    [ROUTER_ALERT_V4, 4, high, low]
}

/// A hop-by-hop header with the router alert option of IPv6; the kernel fills in what comes next.
pub(super) fn alert_v6(value: u16) -> [u8; 8] {
    let [high, low] = value.to_be_bytes();
    // Two bytes of padding (PadN) at the end.
    [0, 0, ROUTER_ALERT_V6, 2, high, low, 1, 0]
}

/// The router alert value among the options of an IPv4 header.
pub(super) fn find_alert_v4(options: &[u8]) -> Option<u16> {
    let mut rest = &options[..options.len().min(IPV4_OPTIONS_MAX)];
    loop {
        match *rest {
            [] | [0, ..] => return None,
            [1, ..] => rest = &rest[1..],
            [ROUTER_ALERT_V4, 4, high, low, ..] => return Some(u16::from_be_bytes([high, low])),
            [_, len, ..] if len >= 2 => rest = rest.get(usize::from(len)..)?,
            [_, ..] => return None,
        }
    }
}

/// The router alert value in a hop-by-hop header.
pub(super) fn find_alert_v6(header: &[u8]) -> Option<u16> {
    let len = (usize::from(*header.get(1)?) + 1) * 8;
    let mut rest = header.get(2..len)?;
    loop {
        match *rest {
            [0, ..] => rest = &rest[1..],
            [ROUTER_ALERT_V6, 2, high, low, ..] => return Some(u16::from_be_bytes([high, low])),
            [_, len, ..] => rest = rest.get(2 + usize::from(len)..)?,
            [] | [_] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut ancillary = Ancillary::default();
        ancillary.push(1, 2, &[3; 5]);
        ancillary.push(4, 5, &[]);
        ancillary.push(6, 7, &8u32.to_ne_bytes());
        let bytes: Vec<u8> = ancillary.words().iter().flat_map(|word| word.to_ne_bytes()).collect();
        let found: Vec<_> = values(&bytes).collect();
        assert_eq!(found, [(1, 2, &[3; 5][..]), (4, 5, &[]), (6, 7, &8u32.to_ne_bytes())]);
        for end in 0..bytes.len() {
            assert!(values(&bytes[..end]).count() <= 3);
        }
    }

    #[test]
    fn router_alerts_are_found_among_other_options() {
        assert_eq!(find_alert_v4(&alert_v4(0x1234)), Some(0x1234));
        assert_eq!(find_alert_v4(&[1, 1, 7, 3, 0, 148, 4, 0, 9]), Some(9));
        assert_eq!(find_alert_v6(&alert_v6(0x8001)), Some(0x8001));
        assert_eq!(find_alert_v6(&[17, 0, 1, 0, 5, 2, 0, 7]), Some(7));
    }

    #[test]
    fn broken_options_end_the_search() {
        for options in [&[][..], &[0, 148, 4, 0, 9], &[7, 0, 1], &[7, 200], &[148], &[148, 4, 0], &[255; 100]] {
            assert_eq!(find_alert_v4(options), None, "{options:?}");
        }
        for header in [&[][..], &[17], &[17, 0], &[17, 9, 5, 2, 0, 1, 0, 0], &[17, 0, 1, 200, 0, 0, 0, 0]] {
            assert_eq!(find_alert_v6(header), None, "{header:?}");
        }
    }
}

//! Addresses, prefixes, and hosts with ports, as text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is for (RFC 6890 and its registries).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reachable from anywhere, as far as one can tell.
    Global,
    /// Of a private network: RFC 1918, RFC 4193.
    Private,
    /// Between a provider and its customers' translators: RFC 6598.
    Shared,
    /// The machine itself.
    Loopback,
    /// Of one link: RFC 3927, RFC 4291, section 2.5.6.
    LinkLocal,
    /// Of a group.
    Multicast,
    /// All hosts of a link.
    Broadcast,
    /// None: all zeros.
    Unspecified,
    /// For examples: RFC 5737, RFC 3849, RFC 9637.
    Documentation,
    /// Set aside for something else.
    Reserved,
}

/// All kinds with their words.
pub const KINDS: &[(Kind, &str)] = &[
    (Kind::Global, "global"),
    (Kind::Private, "private"),
    (Kind::Shared, "shared"),
    (Kind::Loopback, "loopback"),
    (Kind::LinkLocal, "link-local"),
    (Kind::Multicast, "multicast"),
    (Kind::Broadcast, "broadcast"),
    (Kind::Unspecified, "unspecified"),
    (Kind::Documentation, "documentation"),
    (Kind::Reserved, "reserved"),
];

impl Kind {
    /// The kind of an address. An IPv4 address within IPv6 (`::ffff:192.0.2.1`) is what the IPv4 address is.
    #[must_use]
    pub fn of(address: IpAddr) -> Kind {
        match address.to_canonical() {
            IpAddr::V4(v4) => Kind::of_v4(v4),
            IpAddr::V6(v6) => Kind::of_v6(v6),
        }
    }

    fn of_v4(v4: Ipv4Addr) -> Kind {
        match v4.octets() {
            [0, 0, 0, 0] => Kind::Unspecified,
            [0, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] => Kind::Reserved,
            [127, ..] => Kind::Loopback,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Kind::Private,
            [100, 64..=127, ..] => Kind::Shared,
            [169, 254, ..] => Kind::LinkLocal,
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Kind::Documentation,
            [224..=239, ..] => Kind::Multicast,
            [255, 255, 255, 255] => Kind::Broadcast,
            [240..=255, ..] => Kind::Reserved,
            _ => Kind::Global,
        }
    }

    fn of_v6(v6: Ipv6Addr) -> Kind {
        match v6.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Kind::Unspecified,
            [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Loopback,
            [0xff00..=0xffff, ..] => Kind::Multicast,
            [0xfe80..=0xfebf, ..] => Kind::LinkLocal,
            [0xfc00..=0xfdff, ..] => Kind::Private,
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Kind::Documentation,
            // Translation prefixes are reachable (RFC 6052), as is the rest of 2000::/3.
            [0x64, 0xff9b, 0, ..] | [0x2000..=0x3fff, ..] => Kind::Global,
            _ => Kind::Reserved,
        }
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| *word)
    }
}

/// An address moved by `offset`; `None` when it would leave the addresses of its version.
#[must_use]
pub fn moved(address: IpAddr, offset: i64) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            u32::try_from(i64::from(v4.to_bits()).checked_add(offset)?).ok().map(Ipv4Addr::from_bits).map(IpAddr::V4)
        }
        IpAddr::V6(v6) => v6.to_bits().checked_add_signed(i128::from(offset)).map(Ipv6Addr::from_bits).map(IpAddr::V6),
    }
}

/// A host (a name or an address) and a port: `example.org:80`, `192.0.2.1:80`, `[2001:db8::1]:80`; each without port too,
/// an IPv6 address then without brackets as well. The host comes back in lower case, addresses in their usual form.
#[must_use]
pub fn split_host(text: &str) -> Option<(String, Option<u16>)> {
    if let Ok(v6) = text.parse::<Ipv6Addr>() {
        return Some((v6.to_string(), None));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        let v6: Ipv6Addr = inside.parse().ok()?;
        let port = if after.is_empty() { None } else { Some(port_of(after.strip_prefix(':')?)?) };
        return Some((v6.to_string(), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port_of(port)?)),
        None => (text, None),
    };
    if let Ok(v4) = host.parse::<Ipv4Addr>() {
        return Some((v4.to_string(), port));
    }
    is_name(host).then(|| (host.to_ascii_lowercase(), port))
}

/// A port from 0 to 65535, in digits only.
fn port_of(text: &str) -> Option<u16> {
    let plain = !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// Whether a text is a host's name (RFC 1123, section 2.1, with `_` as many have it) and no number of an address.
fn is_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> &'static str {
        Kind::of(text.parse().unwrap()).word()
    }

    #[test]
    fn kinds_are_those_of_the_registries() {
        for (text, word) in [
            ("8.8.8.8", "global"),
            ("10.1.2.3", "private"),
            ("172.15.255.255", "global"),
            ("172.16.0.0", "private"),
            ("172.31.255.255", "private"),
            ("172.32.0.0", "global"),
            ("192.168.1.1", "private"),
            ("100.64.0.1", "shared"),
            ("100.128.0.1", "global"),
            ("127.0.0.1", "loopback"),
            ("169.254.1.1", "link-local"),
            ("192.0.2.1", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "reserved"),
            ("198.18.0.1", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::ffff:10.0.0.1", "private"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "reserved"),
            ("fd00::1", "private"),
            ("ff02::1", "multicast"),
            ("2001:db8::1", "documentation"),
            ("2606:4700::1", "global"),
            ("64:ff9b::808:808", "global"),
            ("100::1", "reserved"),
        ] {
            assert_eq!(kind(text), word, "{text}");
        }
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        let split = |text: &str| split_host(text).map(|(host, port)| format!("{host} {port:?}"));
        for (text, want) in [
            ("Example.ORG:80", "example.org Some(80)"),
            ("example.org", "example.org None"),
            ("192.0.2.1:65535", "192.0.2.1 Some(65535)"),
            ("[2001:DB8::1]:80", "2001:db8::1 Some(80)"),
            ("[::1]", "::1 None"),
            ("::1", "::1 None"),
            ("_sip._udp.example.org.:5060", "_sip._udp.example.org. Some(5060)"),
        ] {
            assert_eq!(split(text).as_deref(), Some(want), "{text}");
        }
        for wrong in [
            "",
            ":80",
            "a:",
            "a:65536",
            "a:+80",
            "a:080000",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[1.2.3.4]:1",
            "1.2.3",
            "1.2.3.4.5",
            "999.1.1.1",
            "-a",
            "a-",
            "a..b",
            "a b",
            "1::2::3",
            "a/b",
            "é",
        ] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn addresses_move_within_their_version() {
        let go = |text: &str, offset| moved(text.parse().unwrap(), offset).map(|address: IpAddr| address.to_string());
        assert_eq!(go("192.0.2.255", 1).as_deref(), Some("192.0.3.0"));
        assert_eq!(go("0.0.0.0", -1), None);
        assert_eq!(go("255.255.255.255", 1), None);
        assert_eq!(go("::", -1), None);
        assert_eq!(go("2001:db8::ffff", 1).as_deref(), Some("2001:db8::1:0"));
    }
}

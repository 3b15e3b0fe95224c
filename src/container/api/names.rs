//! What names resolved to, so that a permission for a name holds for its addresses.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::limits::{NAME_ADDRESSES_MAX, NAMES_KNOWN_MAX};

/// Names with their addresses, in lower case and without a dot at the end. The oldest give way.
#[derive(Default)]
pub(crate) struct Names {
    addresses: BTreeMap<String, Vec<IpAddr>>,
    order: VecDeque<String>,
}

impl Names {
    /// Remembers what a name resolved to.
    pub(crate) fn learn(&mut self, name: &str, mut addresses: Vec<IpAddr>) {
        addresses.truncate(NAME_ADDRESSES_MAX);
        let name = canonical(name);
        if self.addresses.insert(name.clone(), addresses).is_none() {
            self.order.push_back(name);
        }
        if self.order.len() > NAMES_KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.addresses.remove(&oldest);
        }
    }

    /// The addresses of a name, as they were last told.
    pub(crate) fn addresses(&self, name: &str) -> &[IpAddr] {
        self.addresses.get(&canonical(name)).map_or(&[], Vec::as_slice)
    }

    /// The names that have this address.
    pub(crate) fn of(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        let has = move |addresses: &Vec<IpAddr>| addresses.contains(&address);
        self.addresses.iter().filter(move |(_, addresses)| has(addresses)).map(|(name, _)| name.as_str())
    }
}

fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether a name may stand for an address. None stands for the machine itself and its links: who owns the name would
/// choose what is reached there. For addresses that are private to a site only names do that nobody outside of it can own.
pub(crate) fn may_stand_for(name: &str, address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => may_stand_for_v4(name, v4),
        IpAddr::V6(v6) => {
            let is_here = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local();
            // fec0::/10 is what fc00::/7 was called before (RFC 3879).
            let is_of_site = v6.is_unique_local() || v6.segments()[0] & 0xffc0 == 0xfec0;
            !is_here && (!is_of_site || is_of_a_site(name)) && embedded(v6).is_none_or(|v4| may_stand_for_v4(name, v4))
        }
    }
}

fn may_stand_for_v4(name: &str, v4: Ipv4Addr) -> bool {
    let [first, second, ..] = v4.octets();
    let is_here = v4.is_loopback() || first == 0 || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast();
    // 100.64.0.0/10 is shared within a provider's network (RFC 6598).
    let is_of_site = v4.is_private() || (first == 100 && second & 0xc0 == 64);
    !is_here && (!is_of_site || is_of_a_site(name))
}

/// Whether a name is one of a site: a single word, or below what nobody can register.
fn is_of_a_site(name: &str) -> bool {
    let name = canonical(name);
    !name.contains('.') || [".local", ".home.arpa", ".internal", ".test"].iter().any(|end| name.ends_with(end))
}

/// The IPv4 address in an IPv6 address that some gateway would take it out of: NAT64 (RFC 6052), 6to4 (RFC 3056), and the
/// old compatible ones (RFC 4291, section 2.5.5.1).
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, .., g, h] = v6.segments();
    let of = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match v6.segments() {
        [0x64, 0xff9b, ..] | [0, 0, 0, 0, 0, 0, ..] => of(g, h),
        _ if a == 0x2002 => of(b, c),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_firewall_is_inward_however_it_is_written() {
        for text in [
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.9.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:192.168.0.1",
            "::127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::7f00:1",
            "2002:c0a8:101::1",
            "fe80::1",
            "fd00::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!may_stand_for("evil.example", text.parse().unwrap()), "{text}");
        }
        for text in ["192.0.2.1", "100.128.0.1", "172.32.0.1", "8.8.8.8", "2001:db8::1", "64:ff9b::808:808"] {
            assert!(may_stand_for("evil.example", text.parse().unwrap()), "{text}");
        }
        for (name, text, may) in [
            ("nas", "192.168.1.5", true),
            ("nas.home.arpa.", "fd00::5", true),
            ("NAS.local", "10.0.0.5", true),
            ("nas", "127.0.0.1", false),
            ("nas", "fe80::5", false),
            ("local.example", "10.0.0.5", false),
        ] {
            assert_eq!(may_stand_for(name, text.parse().unwrap()), may, "{name} {text}");
        }
    }
}

//! What two filters have in common.

use super::{Filter, Prefix};

impl Prefix {
    /// The addresses that are in both; `None` if there are none.
    #[must_use]
    pub fn common(self, other: Prefix) -> Option<Prefix> {
        let (long, short) = if self.len >= other.len { (self, other) } else { (other, self) };
        short.contains(long.address).then_some(long)
    }
}

impl Filter {
    /// The filters that match exactly the packets that both match: none, one or two.
    #[must_use]
    pub fn common(&self, other: &Filter) -> Vec<Filter> {
        let both_directions = self.both_directions && other.both_directions;
        let mut pairs = vec![(*self, *other)];
        if both_directions || other.both_directions {
            pairs.push((*self, other.reversed()));
        } else if self.both_directions {
            pairs.push((self.reversed(), *other));
        }
        let mut common: Vec<Filter> = Vec::new();
        for (a, b) in pairs {
            let Some(filter) = one_way(&a, &b) else { continue };
            let filter = Filter { both_directions, ..filter };
            let is_known = |known: &Filter| *known == filter || (both_directions && *known == filter.reversed());
            if !common.iter().any(is_known) {
                common.push(filter);
            }
        }
        common
    }
}

/// What both match in the direction in which they are written.
fn one_way(a: &Filter, b: &Filter) -> Option<Filter> {
    let filter = Filter {
        ip_version: both(a.ip_version, b.ip_version, same)?,
        protocol: both(a.protocol, b.protocol, same)?,
        from: both(a.from, b.from, Prefix::common)?,
        to: both(a.to, b.to, Prefix::common)?,
        from_port: both(a.from_port, b.from_port, super::PortRange::common)?,
        to_port: both(a.to_port, b.to_port, super::PortRange::common)?,
        both_directions: false,
    };
    let version = |prefix: Prefix| if prefix.address.is_ipv4() { 4 } else { 6 };
    let mut versions = [filter.from.map(version), filter.to.map(version), filter.ip_version].into_iter().flatten();
    let first = versions.next();
    versions.all(|version| Some(version) == first).then_some(filter)
}

fn same(a: u8, b: u8) -> Option<u8> {
    (a == b).then_some(a)
}

/// `None` when both are given and exclude each other.
#[expect(clippy::option_option, reason = "no packet, any packet, these packets")]
fn both<T: Copy>(a: Option<T>, b: Option<T>, common: impl Fn(T, T) -> Option<T>) -> Option<Option<T>> {
    match (a, b) {
        (Some(a), Some(b)) => common(a, b).map(Some),
        (one, None) | (None, one) => Some(one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::filter::{FilterSubject, address_bits};

    fn common(a: &str, b: &str) -> Vec<String> {
        let (a, b): (Filter, Filter) = (a.parse().unwrap(), b.parse().unwrap());
        a.common(&b).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn filters_are_narrowed_field_by_field() {
        assert_eq!(common("udp", "udp to 192.0.2.1 to port 5060"), ["udp to 192.0.2.1/32 to port 5060"]);
        assert_eq!(common("udp to port 5060-5070", "udp to port 5065-6000"), ["udp to port 5065-5070"]);
        assert_eq!(common("udp", "tcp"), Vec::<String>::new());
        assert_eq!(common("to 192.0.2.0/24", "from 2001:db8::/32"), Vec::<String>::new());
        assert_eq!(common("udp and back", "udp to port 53 and back"), ["udp to port 53 and back"]);
    }

    #[test]
    fn exactly_what_both_match_is_matched() {
        let texts = [
            "all",
            "udp",
            "udp and back",
            "udp to port 53",
            "udp to port 53 and back",
            "udp from port 53 to port 99",
            "udp from port 53 to port 99 and back",
            "udp from 10.0.0.0/8",
            "udp from 10.0.0.0/8 to port 53 and back",
        ];
        for a in texts {
            for b in texts {
                let (a, b): (Filter, Filter) = (a.parse().unwrap(), b.parse().unwrap());
                let common = a.common(&b);
                for (ports, source, destination) in [
                    ((53, 99), [10, 0, 0, 1], [9, 9, 9, 9]),
                    ((99, 53), [10, 0, 0, 1], [9, 9, 9, 9]),
                    ((53, 99), [9, 9, 9, 9], [10, 0, 0, 1]),
                    ((99, 53), [9, 9, 9, 9], [10, 0, 0, 1]),
                    ((1, 2), [10, 0, 0, 1], [10, 0, 0, 2]),
                ] {
                    let bits = |octets: [u8; 4]| address_bits(octets.into());
                    let (source, destination) = (bits(source), bits(destination));
                    let subject =
                        FilterSubject { ip_version: 4, protocol: 17, source, destination, ports: Some(ports) };
                    let want = a.matches(&subject) && b.matches(&subject);
                    let got = common.iter().any(|filter| filter.matches(&subject));
                    assert_eq!(got, want, "{a} | {b} | {subject:?} | {common:?}");
                }
            }
        }
    }
}

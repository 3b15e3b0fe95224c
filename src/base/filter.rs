//! Which packets a module asks for.

mod common;
mod text;

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address as one number: IPv4 addresses are mapped (`::ffff:a.b.c.d`), so that one comparison serves both.
#[must_use]
pub fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address of [`address_bits`] in a packet of `ip_version`: an IPv6 packet may carry a mapped address too.
#[must_use]
pub fn address_of(bits: u128, ip_version: u8) -> IpAddr {
    if ip_version == 4 { IpAddr::V4((bits as u32).into()) } else { IpAddr::V6(bits.into()) }
}

/// An address with the number of its leading bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

impl Prefix {
    /// The prefix of the first `len` bits of `address`; `None` if the family has fewer. The other bits are cleared.
    #[must_use]
    pub fn new(address: IpAddr, len: u8) -> Option<Self> {
        let whole = if address.is_ipv4() { 32 } else { 128 };
        (len <= whole).then(|| {
            let mask = Self { address, len }.mask();
            Prefix { address: address_of(address_bits(address) & mask, if address.is_ipv4() { 4 } else { 6 }), len }
        })
    }

    /// The prefix that holds one address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Prefix { address, len: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The address, with the bits behind the prefix cleared.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Number of leading bits: 0 to 32 for IPv4, 0 to 128 for IPv6.
    #[must_use]
    pub const fn prefix_len(self) -> u8 {
        self.len
    }

    /// The bits of [`address_bits`] that count.
    #[must_use]
    pub fn mask(self) -> u128 {
        let bits = if self.address.is_ipv4() { u32::from(self.len) + 96 } else { u32::from(self.len) };
        if bits == 0 { 0 } else { u128::MAX << (128 - bits) }
    }

    /// Whether the prefix holds the address of `bits`.
    #[must_use]
    pub fn contains_bits(self, bits: u128) -> bool {
        bits & self.mask() == address_bits(self.address)
    }

    /// Whether the prefix holds `address`.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && self.contains_bits(address_bits(address))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.to_string()
    }
}

impl TryFrom<String> for Prefix {
    type Error = FilterError;

    fn try_from(text: String) -> Result<Self, FilterError> {
        text.parse()
    }
}

impl FromStr for Prefix {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let wrong = || FilterError::Prefix { got: text.to_owned() };
        match text.split_once('/') {
            None => Ok(Prefix::host(text.parse().map_err(|_| wrong())?)),
            Some((address, len)) => {
                let address = address.parse().map_err(|_| wrong())?;
                Prefix::new(address, len.parse().map_err(|_| wrong())?).ok_or_else(wrong)
            }
        }
    }
}

/// Ports `first..=last`, in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port, not below `first`.
    pub last: u16,
}

impl PortRange {
    /// The range that holds one port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        PortRange { first: port, last: port }
    }

    /// The ports.
    #[must_use]
    pub const fn ports(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }

    /// Whether the range holds `port`.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// The ports that are in both ranges; `None` if there are none.
    #[must_use]
    pub fn common(self, other: PortRange) -> Option<PortRange> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(PortRange { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> String {
        range.to_string()
    }
}

impl TryFrom<String> for PortRange {
    type Error = FilterError;

    fn try_from(text: String) -> Result<Self, FilterError> {
        text.parse()
    }
}

impl FromStr for PortRange {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let wrong = || FilterError::Ports { got: text.to_owned() };
        let port = |s: &str| s.trim().parse::<u16>().map_err(|_| wrong());
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = PortRange { first: port(first)?, last: port(last)? };
        if range.first <= range.last { Ok(range) } else { Err(wrong()) }
    }
}

/// IP protocol numbers that have a name in filters.
const PROTOCOLS: &[(&str, u8)] = &[("icmp", 1), ("tcp", 6), ("udp", 17), ("icmpv6", 58), ("sctp", 132)];

/// The number of `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, or of a number in decimal.
///
/// # Errors
///
/// [`FilterError::Protocol`] for anything else.
pub fn protocol_number(text: &str) -> Result<u8, FilterError> {
    let named = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    named.or_else(|| text.parse().ok()).ok_or_else(|| FilterError::Protocol { got: text.to_owned() })
}

/// The name of an IP protocol as filters write it; unknown ones as a decimal number.
#[must_use]
pub fn protocol_name(number: u8) -> String {
    let named = PROTOCOLS.iter().find(|(_, n)| *n == number);
    named.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// What a packet must be to be shown to a module. A field that is `None` matches anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// 4 or 6.
    pub ip_version: Option<u8>,
    /// IP protocol number; for IPv6 the one behind the extension headers.
    pub protocol: Option<u8>,
    /// Source address.
    pub from: Option<Prefix>,
    /// Destination address.
    pub to: Option<Prefix>,
    /// Source port; only TCP, UDP and SCTP packets have one.
    pub from_port: Option<PortRange>,
    /// Destination port; only TCP, UDP and SCTP packets have one.
    pub to_port: Option<PortRange>,
    /// Whether packets of the other direction (`from` and `to` exchanged) match as well.
    pub both_directions: bool,
}

/// The part of a packet that filters look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterSubject {
    /// 4 or 6.
    pub ip_version: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Source, as [`address_bits`].
    pub source: u128,
    /// Destination, as [`address_bits`].
    pub destination: u128,
    /// Source and destination port; `None` for packets without ports, also for later fragments.
    pub ports: Option<(u16, u16)>,
}

impl Filter {
    /// Whether a packet matches, in one of the directions asked for.
    #[must_use]
    pub fn matches(&self, subject: &FilterSubject) -> bool {
        self.matches_forward(subject) || (self.both_directions && self.reversed().matches_forward(subject))
    }

    /// Whether a packet matches in the direction as written.
    #[must_use]
    pub fn matches_forward(&self, subject: &FilterSubject) -> bool {
        let version = |v: u8| v == subject.ip_version;
        let address = |prefix: Option<Prefix>, bits: u128| {
            prefix.is_none_or(|p| version(if p.address().is_ipv4() { 4 } else { 6 }) && p.contains_bits(bits))
        };
        let port = |range: Option<PortRange>, pick: fn((u16, u16)) -> u16| {
            range.is_none_or(|r| subject.ports.is_some_and(|p| r.contains(pick(p))))
        };
        self.ip_version.is_none_or(version)
            && self.protocol.is_none_or(|p| p == subject.protocol)
            && address(self.from, subject.source)
            && address(self.to, subject.destination)
            && port(self.from_port, |p| p.0)
            && port(self.to_port, |p| p.1)
    }

    /// The filter for the other direction.
    #[must_use]
    pub fn reversed(&self) -> Filter {
        Filter { from: self.to, to: self.from, from_port: self.to_port, to_port: self.from_port, ..*self }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.ip_version.map(|v| format!("ipv{v}")));
        words.extend(self.protocol.map(protocol_name));
        words.extend(self.from.map(|p| format!("from {p}")));
        words.extend(self.from_port.map(|p| format!("from port {p}")));
        words.extend(self.to.map(|p| format!("to {p}")));
        words.extend(self.to_port.map(|p| format!("to port {p}")));
        if words.is_empty() {
            words.push("all".to_owned());
        }
        if self.both_directions {
            words.push("and back".to_owned());
        }
        f.write_str(&words.join(" "))
    }
}

/// What is wrong with the text of a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not an address or prefix.
    #[error("\"{got}\" is not an address or prefix; write for example 192.0.2.0/24 or 2001:db8::1")]
    Prefix {
        /// What stood there.
        got: String,
    },
    /// Not a port or range of ports.
    #[error("\"{got}\" is not a port or range of ports; write for example 5060 or 8000-8099")]
    Ports {
        /// What stood there.
        got: String,
    },
    /// Not a protocol.
    #[error("\"{got}\" is not a protocol; write tcp, udp, icmp, icmpv6, sctp or a number from 0 to 255")]
    Protocol {
        /// What stood there.
        got: String,
    },
    /// Not a word of a filter.
    #[error(
        "\"{got}\" does not belong into a filter; write for example \"udp to 192.0.2.1 port 5060\", \"tcp port 80\", \
         \"ipv6 from 2001:db8::/32 and back\", \"icmp\" or \"all\""
    )]
    Word {
        /// What stood there.
        got: String,
    },
    /// Something is missing at the end.
    #[error("a filter cannot end with \"{after}\"")]
    Unfinished {
        /// The last word.
        after: String,
    },
    /// The same thing is said twice.
    #[error("a filter says only once what the {what} is; give --capture twice for two filters")]
    Twice {
        /// What.
        what: &'static str,
    },
    /// No packet can match.
    #[error("no packet can match \"{got}\": {reason}")]
    Impossible {
        /// The filter.
        got: String,
        /// Why.
        reason: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(source: &str, destination: &str, ports: Option<(u16, u16)>) -> FilterSubject {
        let (source, destination): (IpAddr, IpAddr) = (source.parse().unwrap(), destination.parse().unwrap());
        FilterSubject {
            ip_version: if source.is_ipv4() { 4 } else { 6 },
            protocol: 17,
            source: address_bits(source),
            destination: address_bits(destination),
            ports,
        }
    }

    #[test]
    fn a_filter_for_both_directions_matches_the_answer_too() {
        let filter = Filter {
            protocol: Some(17),
            to: Some("192.0.2.0/24".parse().unwrap()),
            to_port: Some(PortRange::one(5060)),
            both_directions: true,
            ..Filter::default()
        };
        assert!(filter.matches(&subject("10.0.0.1", "192.0.2.9", Some((4000, 5060)))));
        assert!(filter.matches(&subject("192.0.2.9", "10.0.0.1", Some((5060, 4000)))));
        assert!(!filter.matches_forward(&subject("192.0.2.9", "10.0.0.1", Some((5060, 4000)))));
        assert!(!filter.matches(&subject("10.0.0.1", "192.0.2.9", None)));
        assert_eq!(filter.to_string(), "udp to 192.0.2.0/24 to port 5060 and back");
    }

    #[test]
    fn the_prefix_of_everything_keeps_to_its_family() {
        let everything = |text: &str| Filter { to: Some(text.parse().unwrap()), ..Filter::default() };
        assert!(everything("0.0.0.0/0").matches(&subject("10.0.0.1", "192.0.2.9", None)));
        assert!(!everything("0.0.0.0/0").matches(&subject("fd00::1", "fd00::2", None)));
        assert!(everything("::/0").matches(&subject("fd00::1", "fd00::2", None)));
        assert!(!everything("::/0").matches(&subject("10.0.0.1", "192.0.2.9", None)));
    }

    #[test]
    fn refuses_what_is_no_prefix_or_port() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/-1", "host"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        for text in ["", "65536", "9-8", "a", "1-2-3"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
        assert_eq!("10.1.2.3/8".parse::<Prefix>().unwrap().to_string(), "10.0.0.0/8");
    }
}

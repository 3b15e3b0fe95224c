//! The filters of a manifest before and after its properties are known.

use std::str::FromStr;

use toml::Value;

use crate::base::filter::{Filter, PortRange, Prefix, protocol_number};
use crate::base::limits::FILTERS_PER_INSTANCE_MAX;
use crate::container::manifest::ManifestError;
use crate::container::properties::{ANY, ItemType, Properties, PropertyKey};

/// One `[[filters]]` of a manifest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilterRule {
    pub(super) ip_version: Option<Term>,
    pub(super) protocol: Option<Term>,
    pub(super) from: Option<Term>,
    pub(super) to: Option<Term>,
    pub(super) from_port: Option<Term>,
    pub(super) to_port: Option<Term>,
    pub(super) both_directions: bool,
}

/// A value in a filter: as written, or the name of the property that holds it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Term {
    Written(Value),
    Property(String),
}

/// What stands at one place of a filter; says which values and properties may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    IpVersion,
    Protocol,
    Address,
    Port,
}

impl Place {
    /// What may be written there.
    pub(super) const fn allowed(self) -> &'static str {
        match self {
            Place::IpVersion => "write 4, 6 or \"$name\" of a property of type integer with choices 4 and 6",
            Place::Protocol => {
                "write \"udp\", \"tcp\", \"icmp\", \"icmpv6\", \"sctp\", a number from 0 to 255, or \
                                \"$name\" of a property of type protocol"
            }
            Place::Address => {
                "write \"192.0.2.0/24\", \"2001:db8::1\", or \"$name\" of a property of type address or prefix"
            }
            Place::Port => "write 5060, \"8000-8099\", or \"$name\" of a property of type port or ports",
        }
    }

    /// Whether a value may stand there.
    pub(super) fn takes(self, value: &Value) -> bool {
        match self {
            Place::IpVersion => parsed::<IpVersion>(value).is_ok(),
            Place::Protocol => protocol_number(&spelled(value)).is_ok(),
            Place::Address => parsed::<Prefix>(value).is_ok(),
            Place::Port => parsed::<PortRange>(value).is_ok(),
        }
    }

    /// Whether a property may stand there.
    pub(super) fn takes_property(self, key: &PropertyKey) -> bool {
        match self {
            Place::IpVersion => {
                let choices = &key.choices;
                key.kind.item == ItemType::Integer && !choices.is_empty() && choices.iter().all(|c| self.takes(c))
            }
            Place::Protocol => key.kind.item == ItemType::Protocol,
            Place::Address => matches!(key.kind.item, ItemType::Address | ItemType::Prefix),
            Place::Port => matches!(key.kind.item, ItemType::Port | ItemType::Ports),
        }
    }
}

struct IpVersion(u8);

impl FromStr for IpVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        text.parse().ok().filter(|version| matches!(version, 4 | 6)).map(IpVersion).ok_or(())
    }
}

/// Why a filter can match no packet; `None` if it can.
fn contradiction(filter: &Filter) -> Option<&'static str> {
    let version_of = |prefix: Prefix| if prefix.address().is_ipv4() { 4 } else { 6 };
    let versions = [filter.ip_version, filter.from.map(version_of), filter.to.map(version_of)];
    let mut versions = versions.into_iter().flatten();
    let first = versions.next();
    if versions.any(|version| Some(version) != first) {
        return Some("ip_version, from and to are not of one IP version");
    }
    let has_ports = filter.from_port.is_some() || filter.to_port.is_some();
    if has_ports && filter.protocol.is_some_and(|p| !matches!(p, 6 | 17 | 132)) {
        return Some("only tcp, udp and sctp have ports");
    }
    None
}

/// See [`super::Manifest::filters`].
pub(super) fn filters(rules: &[FilterRule], properties: &Properties) -> Result<Vec<Filter>, ManifestError> {
    let mut filters = Vec::new();
    let mut left_out = None;
    for rule in rules {
        let rule = Values {
            ip_version: values(rule.ip_version.as_ref(), properties, |text| text.parse().ok().map(|v: IpVersion| v.0))?,
            protocol: values(rule.protocol.as_ref(), properties, |text| protocol_number(text).ok())?,
            from: values(rule.from.as_ref(), properties, |text| text.parse().ok())?,
            to: values(rule.to.as_ref(), properties, |text| text.parse().ok())?,
            from_port: values(rule.from_port.as_ref(), properties, |text| text.parse().ok())?,
            to_port: values(rule.to_port.as_ref(), properties, |text| text.parse().ok())?,
            both_directions: rule.both_directions,
        };
        if rule.count().saturating_add(filters.len()) > FILTERS_PER_INSTANCE_MAX {
            let message = format!(
                "the lists in the properties make more than {FILTERS_PER_INSTANCE_MAX} filters; write prefixes and \
                 ranges of ports instead of single ones"
            );
            return Err(ManifestError::Filters { message });
        }
        rule.for_each(|filter| match contradiction(&filter) {
            // What is the same in both directions needs only one.
            None => filters
                .push(Filter { both_directions: filter.both_directions && filter.reversed() != filter, ..filter }),
            Some(why) => left_out = Some((filter, why)),
        });
    }
    match left_out {
        Some((filter, why)) if filters.is_empty() => {
            Err(ManifestError::Filters { message: format!("\"{filter}\" can match nothing: {why}") })
        }
        _ => {
            filters.sort_unstable();
            filters.dedup();
            Ok(filters)
        }
    }
}

/// All values at each place; `None` stands for "anything".
struct Values {
    ip_version: Vec<Option<u8>>,
    protocol: Vec<Option<u8>>,
    from: Vec<Option<Prefix>>,
    to: Vec<Option<Prefix>>,
    from_port: Vec<Option<PortRange>>,
    to_port: Vec<Option<PortRange>>,
    both_directions: bool,
}

impl Values {
    /// How many filters they make.
    fn count(&self) -> usize {
        let counts = [
            self.ip_version.len(),
            self.protocol.len(),
            self.from.len(),
            self.to.len(),
            self.from_port.len(),
            self.to_port.len(),
        ];
        counts.into_iter().fold(1, usize::saturating_mul)
    }

    /// Gives each combination.
    fn for_each(&self, mut take: impl FnMut(Filter)) {
        let mut filter = Filter { both_directions: self.both_directions, ..Filter::default() };
        for ip_version in &self.ip_version {
            filter.ip_version = *ip_version;
            for protocol in &self.protocol {
                filter.protocol = *protocol;
                self.for_each_address(filter, &mut take);
            }
        }
    }

    fn for_each_address(&self, mut filter: Filter, take: &mut impl FnMut(Filter)) {
        for from in &self.from {
            filter.from = *from;
            for to in &self.to {
                filter.to = *to;
                for from_port in &self.from_port {
                    filter.from_port = *from_port;
                    for to_port in &self.to_port {
                        filter.to_port = *to_port;
                        take(filter);
                    }
                }
            }
        }
    }
}

/// The values of one place. The manifest and the properties were checked, so what does not parse is an error of ours
/// or of whoever made [`Properties`] by hand.
fn values<T>(
    term: Option<&Term>,
    properties: &Properties,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<Option<T>>, ManifestError> {
    let value = match term {
        None => return Ok(vec![None]),
        Some(Term::Written(value)) => value,
        Some(Term::Property(name)) => properties.0.get(name).ok_or_else(|| ManifestError::Filters {
            message: format!("property \"{name}\" is not there; check the properties against the manifest first"),
        })?,
    };
    if value.as_str() == Some(ANY) {
        return Ok(vec![None]);
    }
    let one = |value: &Value| {
        let message = || format!("{value} does not fit the place where it stands in a filter");
        parse(&spelled(value)).map(Some).ok_or_else(|| ManifestError::Filters { message: message() })
    };
    match value.as_array() {
        Some(items) => items.iter().map(one).collect(),
        None => Ok(vec![one(value)?]),
    }
}

fn spelled(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn parsed<T: FromStr>(value: &Value) -> Result<T, T::Err> {
    spelled(value).parse()
}

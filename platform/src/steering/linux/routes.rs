//! Routes: what leads into the TUN device, and how this machine would have sent its own traffic without it.

#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel says more than is of use here")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};

use super::netlink::Rtnetlink;
use super::{Family, OWN_PROTOCOL, TABLE_FORWARDED, TABLE_INBOUND, TABLE_OWN, TABLES};
use crate::steering::Match;

pub(super) use crate::steering::Net;

/// Most routes that are copied for this machine's own traffic; a machine with the whole Internet's routes has more.
pub(super) const OWN_ROUTES_MAX: usize = 4_096;
/// Places in a prefix that are tried to find one that no longer prefix covers.
const SAMPLES_MAX: usize = 256;
const TABLE_LOCAL: u32 = 255;

/// An interface.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) mtu: u32,
    pub(super) up: bool,
}

/// Where a packet goes that finds the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Into the TUN device, as what this machine sends: with the source and the MTU of the real way.
    Tun { source: Option<IpAddr>, mtu: Option<u32> },
    /// Back to the rules: as if there had been no match.
    Throw,
}

/// One of our routes: table and prefix, and where it leads.
pub(super) type Routes = BTreeMap<(u32, Net), Way>;

/// What the kernel's tables of one family say, reduced to what is of use here.
pub(super) struct Tables {
    family: Family,
    routes: Vec<Known>,
}

struct Known {
    table: u32,
    net: Net,
    kind: RouteType,
    oif: Vec<u32>,
    gateway: bool,
    ours: Option<Way>,
}

/// The interfaces by index.
pub(super) fn links(rtnl: &mut Rtnetlink) -> io::Result<BTreeMap<u32, Link>> {
    let mut links = BTreeMap::new();
    for answer in rtnl.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
        let RouteNetlinkMessage::NewLink(message) = answer else { continue };
        let up = message.header.flags.contains(LinkFlags::Up);
        let mut link = Link { name: String::new(), mtu: 0, up };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                _ => {}
            }
        }
        links.insert(message.header.index, link);
    }
    Ok(links)
}

/// The interfaces that have an IPv6 address of global scope.
pub(super) fn with_global_v6(rtnl: &mut Rtnetlink) -> io::Result<BTreeSet<u32>> {
    let mut message = AddressMessage::default();
    message.header.family = Family::V6.address_family();
    let answers = rtnl.dump(RouteNetlinkMessage::GetAddress(message))?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(a) if a.header.scope == AddressScope::Universe => Some(a.header.index),
            _ => None,
        })
        .collect())
}

/// Whether an interface has an address of `family`.
pub(super) fn has_address(rtnl: &mut Rtnetlink, family: Family, index: u32) -> io::Result<bool> {
    let mut message = AddressMessage::default();
    message.header.family = family.address_family();
    let answers = rtnl.dump(RouteNetlinkMessage::GetAddress(message))?;
    Ok(answers.iter().any(|a| matches!(a, RouteNetlinkMessage::NewAddress(a) if a.header.index == index)))
}

/// Gives an interface an address of its own.
pub(super) fn add_address(rtnl: &mut Rtnetlink, index: u32, address: Ipv4Addr) -> io::Result<()> {
    let mut message = AddressMessage::default();
    message.header.family = Family::V4.address_family();
    message.header.prefix_len = 32;
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(address.into()), AddressAttribute::Address(address.into())];
    rtnl.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
}

impl Tables {
    pub(super) fn read(rtnl: &mut Rtnetlink, family: Family) -> io::Result<Tables> {
        let mut message = RouteMessage::default();
        message.header.address_family = family.address_family();
        let answers = rtnl.dump(RouteNetlinkMessage::GetRoute(message))?;
        let routes = answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRoute(route) => Known::of(family, route),
                _ => None,
            })
            .collect();
        Ok(Tables { family, routes })
    }

    /// Our own routes, as the kernel has them.
    pub(super) fn ours(&self) -> Routes {
        self.routes.iter().filter_map(|r| r.ours.map(|way| ((r.table, r.net), way))).collect()
    }

    fn foreign(&self) -> impl Iterator<Item = &Known> {
        self.routes.iter().filter(|r| r.ours.is_none())
    }

    /// This machine's addresses that others may send to, without those of `tun`.
    pub(super) fn local(&self, tun: u32) -> BTreeSet<Net> {
        let usable = |net: &Net| match net.0 {
            IpAddr::V4(a) => !a.is_loopback(),
            IpAddr::V6(a) => !a.is_loopback() && !a.is_unicast_link_local(),
        };
        self.foreign()
            .filter(|r| r.table == TABLE_LOCAL && r.kind == RouteType::Local && !r.oif.contains(&tun))
            .map(|r| r.net)
            .filter(usable)
            .collect()
    }

    /// Prefixes of directly connected networks.
    pub(super) fn on_link(&self) -> Vec<Net> {
        let nets: BTreeSet<Net> = self
            .foreign()
            .filter(|r| r.table != TABLE_LOCAL && r.kind == RouteType::Unicast && !r.gateway && r.net.1 > 0)
            .map(|r| r.net)
            .filter(|net| !is_special(net))
            .collect();
        nets.into_iter().collect()
    }

    /// The interfaces that lead to everywhere.
    pub(super) fn outside(&self) -> BTreeSet<u32> {
        self.foreign().filter(|r| r.kind == RouteType::Unicast && r.net.1 == 0).flat_map(|r| r.oif.clone()).collect()
    }

    /// The prefixes that lie behind interfaces other than `outside` and `tun`.
    pub(super) fn inside(&self, outside: &BTreeSet<u32>, tun: u32) -> Vec<Net> {
        let nets: BTreeSet<Net> = self
            .foreign()
            .filter(|r| r.table != TABLE_LOCAL && r.kind == RouteType::Unicast && r.net.1 > 0)
            .filter(|r| r.oif.iter().any(|oif| *oif != tun && !outside.contains(oif)))
            .map(|r| r.net)
            .filter(|net| !is_special(net))
            .collect();
        nets.into_iter().collect()
    }

    /// How traffic of this machine that fits `matches` is sent into the TUN device as it would have been sent without.
    ///
    /// The kernel itself is asked, for one address in each prefix that it tells apart, with the mark that skips our own
    /// rules: so all the machine's rules and tables count. `None` when there are more than [`OWN_ROUTES_MAX`].
    pub(super) fn own(&self, rtnl: &mut Rtnetlink, by: &OwnBy<'_>) -> io::Result<Option<Routes>> {
        let reached = |net: &Net| by.matches.iter().any(|m| m.to.is_none_or(|to| overlaps(to, *net)));
        let all: BTreeSet<Net> =
            self.foreign().filter(|r| r.table != TABLE_LOCAL).map(|r| r.net).filter(|n| !is_special(n)).collect();
        let nets: Vec<Net> = all.iter().copied().filter(reached).collect();
        if nets.len() > OWN_ROUTES_MAX {
            return Ok(None);
        }
        // An address of this machine would be answered by itself.
        let taken: BTreeSet<Net> =
            all.into_iter().chain(self.foreign().filter(|r| r.table == TABLE_LOCAL).map(|r| r.net)).collect();
        let mut routes = Routes::new();
        for net in nets {
            let Some(sample) = sample(net, &taken) else { continue };
            routes.insert((TABLE_OWN, net), self.ask(rtnl, sample, by)?);
        }
        // Multicast and link-local traffic belongs to one link: it cannot take another way.
        for net in special(self.family) {
            routes.insert((TABLE_OWN, net), Way::Throw);
        }
        Ok(Some(routes))
    }

    fn ask(&self, rtnl: &mut Rtnetlink, to: IpAddr, by: &OwnBy<'_>) -> io::Result<Way> {
        let mut message = RouteMessage::default();
        message.header.address_family = self.family.address_family();
        message.header.destination_prefix_length = self.family.bits();
        message.attributes =
            vec![RouteAttribute::Destination(RouteAddress::from(to)), RouteAttribute::Mark(by.own_mark)];
        let answer = match rtnl.ask(RouteNetlinkMessage::GetRoute(message)) {
            Ok(Some(RouteNetlinkMessage::NewRoute(answer))) => answer,
            // No way to there: the kernel itself tells the sender.
            _ => return Ok(Way::Throw),
        };
        let (mut oif, mut source, mut mtu) = (None, None, None);
        for attribute in &answer.attributes {
            match attribute {
                RouteAttribute::Oif(index) => oif = Some(*index),
                RouteAttribute::PrefSource(address) => source = address_of(address),
                RouteAttribute::Metrics(metrics) => {
                    mtu = metrics.iter().find_map(|m| if let RouteMetric::Mtu(mtu) = m { Some(*mtu) } else { None });
                }
                _ => {}
            }
        }
        let link = oif.filter(|oif| *oif != by.tun).and_then(|oif| by.links.get(&oif)).filter(|l| l.name != "lo");
        let Some(link) = link.filter(|_| answer.header.kind == RouteType::Unicast) else { return Ok(Way::Throw) };
        let source = source.filter(|_| self.family == Family::V4 || by.choose_v6_source);
        Ok(Way::Tun { source, mtu: Some(mtu.unwrap_or(link.mtu)) })
    }
}

/// What [`Tables::own`] goes by.
pub(super) struct OwnBy<'a> {
    pub(super) matches: &'a [Match],
    pub(super) own_mark: u32,
    pub(super) tun: u32,
    pub(super) links: &'a BTreeMap<u32, Link>,
    /// Whether IPv6 sources are fixed by the route. With addresses on one interface only, the kernel's own choice is
    /// right, and better: it knows temporary addresses.
    pub(super) choose_v6_source: bool,
}

/// The routes for forwarded traffic.
pub(super) fn forwarded(family: Family) -> Routes {
    let mut routes = Routes::new();
    routes.insert((TABLE_FORWARDED, (family.any(), 0)), Way::Tun { source: None, mtu: None });
    if family == Family::V6 {
        // The kernel looks for multicast by the same rules.
        for net in special(family) {
            routes.insert((TABLE_FORWARDED, net), Way::Throw);
        }
    }
    routes
}

/// The routes for traffic to this machine.
pub(super) fn inbound(local: &BTreeSet<Net>) -> Routes {
    local.iter().map(|net| ((TABLE_INBOUND, *net), Way::Tun { source: None, mtu: None })).collect()
}

/// The message for one of our routes.
pub(super) fn to_message(family: Family, (table, net): (u32, Net), way: Way, tun: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family.address_family();
    message.header.destination_prefix_length = net.1;
    message.header.protocol = RouteProtocol::from(OWN_PROTOCOL);
    message.attributes.push(RouteAttribute::Table(table));
    if net.1 > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(net.0)));
    }
    match way {
        Way::Throw => message.header.kind = RouteType::Throw,
        Way::Tun { source, mtu } => {
            message.header.kind = RouteType::Unicast;
            if family == Family::V4 {
                message.header.scope = RouteScope::Link;
            }
            message.attributes.push(RouteAttribute::Oif(tun));
            message.attributes.extend(source.map(|address| RouteAttribute::PrefSource(RouteAddress::from(address))));
            message.attributes.extend(mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
        }
    }
    message
}

/// What names a route to the kernel, without how it is to be used.
pub(super) const fn without_metrics(way: Way) -> Way {
    match way {
        Way::Tun { .. } => Way::Tun { source: None, mtu: None },
        Way::Throw => Way::Throw,
    }
}

/// A route in a table of ours is named well enough without its interface, which may be gone.
pub(super) fn without_interface(mut message: RouteMessage) -> RouteMessage {
    message.attributes.retain(|a| matches!(a, RouteAttribute::Table(_) | RouteAttribute::Destination(_)));
    message
}

/// Whether a route is ours: by its table and its protocol.
pub(super) fn is_ours(message: &RouteMessage) -> bool {
    Known::of(Family::V4, message).is_some_and(|known| known.ours.is_some())
}

impl Known {
    fn of(family: Family, message: &RouteMessage) -> Option<Known> {
        // Routes that the kernel only remembers for a while are no table entries.
        if message.header.flags.contains(netlink_packet_route::route::RouteFlags::Cloned) {
            return None;
        }
        let mut known = Known {
            table: u32::from(message.header.table),
            net: (family.any(), message.header.destination_prefix_length),
            kind: message.header.kind,
            oif: Vec::new(),
            gateway: false,
            ours: None,
        };
        let (mut source, mut mtu) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(table) => known.table = *table,
                RouteAttribute::Destination(address) => known.net.0 = address_of(address)?,
                RouteAttribute::Oif(index) => known.oif.push(*index),
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => known.gateway = true,
                RouteAttribute::MultiPath(hops) => {
                    known.gateway = true;
                    known.oif.extend(hops.iter().map(|hop| hop.interface_index));
                }
                RouteAttribute::PrefSource(address) => source = address_of(address),
                RouteAttribute::Metrics(metrics) => {
                    mtu = metrics.iter().find_map(|m| if let RouteMetric::Mtu(mtu) = m { Some(*mtu) } else { None });
                }
                _ => {}
            }
        }
        if u8::from(message.header.protocol) == OWN_PROTOCOL && TABLES.contains(&known.table) {
            let throw = known.kind == RouteType::Throw;
            known.ours = Some(if throw { Way::Throw } else { Way::Tun { source, mtu } });
        }
        Some(known)
    }
}

fn address_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// Multicast, broadcast and link-local prefixes.
fn special(family: Family) -> [Net; 2] {
    match family {
        Family::V4 => [(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4), (IpAddr::V4(Ipv4Addr::BROADCAST), 32)],
        Family::V6 => [
            (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
            (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
        ],
    }
}

fn is_special(net: &Net) -> bool {
    match net.0 {
        IpAddr::V4(a) => a.is_multicast() || a.is_broadcast(),
        IpAddr::V6(a) => a.is_multicast() || a.is_unicast_link_local(),
    }
}

/// The first and the last address of a prefix, as numbers.
fn range(net: Net) -> (u128, u128) {
    let (bits, width) = match net.0 {
        IpAddr::V4(a) => (u128::from(u32::from(a)), 32),
        IpAddr::V6(a) => (u128::from(a), 128),
    };
    let host = if net.1 >= width { 0 } else { u128::MAX >> (128 - u32::from(width - net.1)) };
    (bits & !host, bits | host)
}

pub(super) fn overlaps(one: Net, other: Net) -> bool {
    let ((a, b), (c, d)) = (range(one), range(other));
    one.0.is_ipv4() == other.0.is_ipv4() && a <= d && c <= b
}

/// An address in `net` that no longer prefix of `all` covers; `None` if there seems to be none.
fn sample(net: Net, all: &BTreeSet<Net>) -> Option<IpAddr> {
    let (first, last) = range(net);
    let longer: Vec<(u128, u128)> =
        all.iter().filter(|n| n.1 > net.1 && overlaps(net, **n)).map(|n| range(*n)).collect();
    let mut at = match (net.0, net.1) {
        // Neither the network 0 nor the addresses below 2000:: are sent to by anyone.
        (IpAddr::V4(_), 0) => u128::from(u32::from(Ipv4Addr::new(1, 0, 0, 1))),
        (IpAddr::V6(_), 0) => u128::from(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1)),
        _ => (first + 1).min(last),
    };
    for _ in 0..SAMPLES_MAX {
        match longer.iter().filter(|(a, b)| (*a..=*b).contains(&at)).map(|(_, b)| *b).max() {
            None => return Some(if net.0.is_ipv4() { IpAddr::V4((at as u32).into()) } else { IpAddr::V6(at.into()) }),
            Some(end) if end < last => at = end + 1,
            Some(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Net {
        let (address, len) = text.split_once('/').unwrap();
        (address.parse().unwrap(), len.parse().unwrap())
    }

    #[test]
    fn asks_for_an_address_that_no_longer_prefix_covers() {
        let all: BTreeSet<Net> = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.1.0/32", "1.0.0.0/8"].map(net).into();
        assert_eq!(sample(net("10.0.0.0/8"), &all), Some("10.0.1.1".parse().unwrap()));
        assert_eq!(sample(net("0.0.0.0/0"), &all), Some("2.0.0.0".parse().unwrap()));
        assert_eq!(sample(net("10.0.1.0/32"), &all), Some("10.0.1.0".parse().unwrap()));
        let halves: BTreeSet<Net> = ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"].map(net).into();
        assert_eq!(sample(net("0.0.0.0/0"), &halves), None, "two halves cover the whole");
    }

    #[test]
    fn prefixes_of_two_families_never_overlap() {
        assert!(overlaps(net("10.0.0.0/8"), net("10.1.2.3/32")));
        assert!(overlaps(net("::/0"), net("2001:db8::/32")));
        assert!(!overlaps(net("10.0.0.0/8"), net("11.0.0.0/8")));
        assert!(!overlaps(net("0.0.0.0/0"), net("::/0")));
    }
}

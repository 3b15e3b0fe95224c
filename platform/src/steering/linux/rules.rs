//! Policy rules: which ones a plan needs, and which of them the kernel has.

#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel says more than is of use here")]

use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange};

use super::{Family, OWN_PROTOCOL, TABLE_FORWARDED, TABLE_INBOUND, TABLE_OWN};
use crate::steering::Match;

/// Rules for traffic to this machine: before the local table, which usually stands here.
pub(super) const INBOUND: u32 = 0;
/// Where traffic goes on that is not to be looked at by the rules of [`INBOUND`]: the local table once more.
pub(super) const INBOUND_END: u32 = 1;
/// Who skips the rules below, and who goes where.
pub(super) const BRANCHES: u32 = 70;
/// Rules for traffic that this machine sends.
pub(super) const OWN: u32 = 71;
/// Where this machine's traffic leaves that fitted no rule of [`OWN`].
pub(super) const OWN_END: u32 = 72;
/// Rules for traffic that this machine forwards.
pub(super) const FORWARDED: u32 = 73;
/// What came by an interface that forwards only for our sake goes no further.
pub(super) const NO_ROUTER: u32 = 74;
/// The end: the rules of the machine go on behind it.
pub(super) const END: u32 = 75;
/// The kernel's table of this machine's addresses.
const TABLE_LOCAL: u32 = 255;

/// ICMP for IPv6.
const ICMPV6: u8 = 58;
/// Protocols with ports that filters may mean: TCP, UDP, SCTP.
const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// The protocols that stand for "all", without the ICMP of the other family.
///
/// A rule without a protocol would fit more than packets: the kernel asks the same rules whether a question by ARP is
/// for this machine, and would no longer answer it. What is not listed here concerns one link only, or nobody.
const ALL: [u8; 16] = [1, 4, 6, 17, 33, 41, 46, 47, 50, 51, ICMPV6, 94, 108, 115, 132, 136];

/// What a packet that fits does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Goto(u32),
    Nop,
    Table(u32),
    Blackhole,
}

/// One rule of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) family: Family,
    pub(super) preference: u32,
    pub(super) action: Action,
    pub(super) not: bool,
    pub(super) iif: Option<String>,
    pub(super) mark: Option<u32>,
    pub(super) protocol: Option<u8>,
    pub(super) from: Option<(IpAddr, u8)>,
    pub(super) to: Option<(IpAddr, u8)>,
    pub(super) from_port: Option<(u16, u16)>,
    pub(super) to_port: Option<(u16, u16)>,
}

impl Rule {
    fn new(family: Family, preference: u32, action: Action) -> Rule {
        Rule {
            family,
            preference,
            action,
            not: false,
            iif: None,
            mark: None,
            protocol: None,
            from: None,
            to: None,
            from_port: None,
            to_port: None,
        }
    }

    fn iif(self, name: &str) -> Rule {
        Rule { iif: Some(name.to_owned()), ..self }
    }

    fn of_match(family: Family, preference: u32, table: u32, of: &Match) -> Rule {
        Rule {
            protocol: of.protocol,
            // A prefix of length 0 is no selector to the kernel.
            from: of.from.filter(|(_, len)| *len > 0),
            to: of.to.filter(|(_, len)| *len > 0),
            from_port: of.from_port,
            to_port: of.to_port,
            ..Rule::new(family, preference, Action::Table(table))
        }
    }

    pub(super) fn to_message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = self.family.address_family();
        message.header.action = match self.action {
            Action::Goto(_) => RuleAction::Goto,
            Action::Nop => RuleAction::Nop,
            Action::Table(_) => RuleAction::ToTable,
            Action::Blackhole => RuleAction::Blackhole,
        };
        if self.not {
            message.header.flags = RuleFlags::Invert;
        }
        let mut put = |attribute| message.attributes.push(attribute);
        put(RuleAttribute::Protocol(RouteProtocol::from(OWN_PROTOCOL)));
        put(RuleAttribute::Priority(self.preference));
        match self.action {
            Action::Goto(target) => put(RuleAttribute::Goto(target)),
            Action::Table(table) => put(RuleAttribute::Table(table)),
            Action::Nop | Action::Blackhole => {}
        }
        self.iif.iter().for_each(|name| put(RuleAttribute::Iifname(name.clone())));
        self.mark.iter().for_each(|mark| {
            put(RuleAttribute::FwMark(*mark));
            put(RuleAttribute::FwMask(u32::MAX));
        });
        self.protocol.iter().for_each(|protocol| put(RuleAttribute::IpProtocol((*protocol).into())));
        let range = |(start, end): (u16, u16)| RulePortRange { start, end };
        self.from_port.iter().for_each(|ports| put(RuleAttribute::SourcePortRange(range(*ports))));
        self.to_port.iter().for_each(|ports| put(RuleAttribute::DestinationPortRange(range(*ports))));
        self.from.iter().for_each(|(address, _)| put(RuleAttribute::Source(*address)));
        self.to.iter().for_each(|(address, _)| put(RuleAttribute::Destination(*address)));
        message.header.src_len = self.from.map_or(0, |(_, len)| len);
        message.header.dst_len = self.to.map_or(0, |(_, len)| len);
        // The kernel looks for a table below 256 in the header as well.
        if let Action::Table(table) = self.action {
            message.header.table = u8::try_from(table).unwrap_or(0);
        }
        message
    }

    /// Reads back a rule of ours; `None` for one that is not ours.
    pub(super) fn from_message(message: &RuleMessage) -> Option<Rule> {
        let family = Family::of(message.header.family)?;
        if rule_protocol(message) != Some(OWN_PROTOCOL) {
            return None;
        }
        let (mut target, mut table) = (0, u32::from(message.header.table));
        let mut rule = Rule::new(family, 0, Action::Nop);
        rule.not = message.header.flags.contains(RuleFlags::Invert);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Priority(preference) => rule.preference = *preference,
                RuleAttribute::Goto(preference) => target = *preference,
                RuleAttribute::Table(number) => table = *number,
                RuleAttribute::Iifname(name) => rule.iif = Some(name.trim_end_matches('\0').to_owned()),
                RuleAttribute::FwMark(mark) => rule.mark = Some(*mark),
                RuleAttribute::IpProtocol(protocol) => rule.protocol = Some(u8::from(*protocol)),
                RuleAttribute::Source(address) => rule.from = Some((*address, message.header.src_len)),
                RuleAttribute::Destination(address) => rule.to = Some((*address, message.header.dst_len)),
                RuleAttribute::SourcePortRange(ports) => rule.from_port = Some((ports.start, ports.end)),
                RuleAttribute::DestinationPortRange(ports) => rule.to_port = Some((ports.start, ports.end)),
                _ => {}
            }
        }
        rule.action = match message.header.action {
            RuleAction::Goto => Action::Goto(target),
            RuleAction::ToTable => Action::Table(table),
            RuleAction::Blackhole => Action::Blackhole,
            _ => Action::Nop,
        };
        Some(rule)
    }
}

fn rule_protocol(message: &RuleMessage) -> Option<u8> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Protocol(protocol) => Some(u8::from(*protocol)),
        _ => None,
    })
}

/// The preference of a rule, and whether it is the plain look into the local table.
pub(super) fn plain_local(message: &RuleMessage) -> Option<u32> {
    let mut preference = 0;
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(number) => preference = *number,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Protocol(_) | RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
            _ => return None,
        }
    }
    let plain = message.header.action == RuleAction::ToTable
        && message.header.src_len == 0
        && message.header.dst_len == 0
        && !message.header.flags.contains(RuleFlags::Invert)
        && rule_protocol(message) != Some(OWN_PROTOCOL);
    (plain && table == TABLE_LOCAL).then_some(preference)
}

/// Everything that decides about the rules of one family.
pub(super) struct Wanted<'a> {
    pub(super) family: Family,
    pub(super) tun: &'a str,
    pub(super) own_mark: u32,
    pub(super) forwarded: &'a [Match],
    pub(super) own: &'a [Match],
    pub(super) inbound: &'a [Match],
    /// Prefixes of directly connected networks (IPv6): their ICMP to this machine is neighbour discovery.
    pub(super) on_link: &'a [(IpAddr, u8)],
    /// Interfaces that forward only for our sake.
    pub(super) no_router: &'a [String],
}

impl Wanted<'_> {
    /// The rules, in an order in which they may be added one by one: each jump stands before what it jumps over, so a
    /// packet of the node itself is at no moment steered to it again.
    pub(super) fn rules(&self) -> Vec<Rule> {
        let family = self.family;
        let mut rules = Vec::new();
        if !self.forwarded.is_empty() || !self.own.is_empty() || !self.no_router.is_empty() {
            let goto = |target| Rule::new(family, BRANCHES, Action::Goto(target));
            rules.push(Rule::new(family, END, Action::Nop));
            rules.push(Rule::new(family, FORWARDED, Action::Nop));
            rules.push(goto(END).iif(self.tun));
            rules.push(Rule { mark: Some(self.own_mark), ..goto(END) });
            rules.push(Rule { not: true, ..goto(FORWARDED).iif("lo") });
            // The kernel has this machine's own traffic come from `lo`.
            rules.push(Rule::new(family, OWN_END, Action::Goto(END)).iif("lo"));
            rules.extend(self.own.iter().map(|m| Rule::of_match(family, OWN, TABLE_OWN, m)));
            rules.extend(self.forwarded.iter().map(|m| Rule::of_match(family, FORWARDED, TABLE_FORWARDED, m)));
            for name in self.no_router {
                rules.push(Rule::new(family, NO_ROUTER, Action::Blackhole).iif(name));
            }
        }
        if !self.inbound.is_empty() {
            let goto = || Rule::new(family, INBOUND, Action::Goto(INBOUND_END));
            rules.push(Rule::new(family, INBOUND_END, Action::Table(TABLE_LOCAL)));
            rules.push(goto().iif(self.tun));
            rules.push(goto().iif("lo"));
            if self.inbound.iter().any(|m| m.protocol.is_none_or(|p| p == ICMPV6)) {
                let discovery = |from| Rule { protocol: Some(ICMPV6), from: Some(from), ..goto() };
                rules.extend(self.on_link.iter().map(|prefix| discovery(*prefix)));
            }
            rules.extend(self.inbound.iter().map(|m| Rule::of_match(family, INBOUND, TABLE_INBOUND, m)));
        }
        rules
    }
}

/// The matches that can be of `family`, with the protocols written out that a rule with ports needs.
pub(super) fn of_family(matches: &[Match], family: Family) -> Vec<Match> {
    let version = family.version();
    let fits = |m: &&Match| {
        m.ip_version.is_none_or(|v| v == version)
            && [m.from, m.to].into_iter().flatten().all(|(address, _)| Family::of_address(address) == family)
    };
    let mut of: Vec<Match> = Vec::new();
    for m in matches.iter().filter(fits) {
        let m = Match { ip_version: Some(version), ..*m };
        match m.protocol {
            None if m.from_port.is_some() || m.to_port.is_some() => {
                of.extend(WITH_PORTS.iter().map(|p| Match { protocol: Some(*p), ..m }));
            }
            // Number 0 means "all" to the kernel, and no packet to us.
            Some(0) => {}
            Some(protocol) if is_icmp_of_the_other(protocol, family) => {}
            _ => of.push(m),
        }
    }
    of.sort_unstable();
    of.dedup();
    of
}

/// Writes out the protocols of matches that name none.
pub(super) fn with_protocols(matches: &[Match], family: Family) -> Vec<Match> {
    let mut with = Vec::new();
    for m in matches {
        match m.protocol {
            Some(_) => with.push(*m),
            None => {
                let all = ALL.iter().filter(|protocol| !is_icmp_of_the_other(**protocol, family));
                with.extend(all.map(|protocol| Match { protocol: Some(*protocol), ..*m }));
            }
        }
    }
    with.sort_unstable();
    with.dedup();
    with
}

const fn is_icmp_of_the_other(protocol: u8, family: Family) -> bool {
    match family {
        Family::V4 => protocol == ICMPV6,
        Family::V6 => protocol == 1,
    }
}

/// Rules that jump over others must stand before them, and those of [`INBOUND`] before the local table.
///
/// `rules` are ours of one family in the kernel's order.
pub(super) fn jumps_come_first(rules: &[Rule]) -> bool {
    let first_table =
        |preference| rules.iter().position(|r| r.preference == preference && matches!(r.action, Action::Table(_)));
    let last_jump =
        |preference| rules.iter().rposition(|r| r.preference == preference && matches!(r.action, Action::Goto(_)));
    match (last_jump(INBOUND), first_table(INBOUND)) {
        (Some(jump), Some(table)) => jump < table,
        (None, Some(_)) => false,
        _ => true,
    }
}

impl Family {
    pub(super) fn of(family: AddressFamily) -> Option<Family> {
        match family {
            AddressFamily::Inet => Some(Family::V4),
            AddressFamily::Inet6 => Some(Family::V6),
            _ => None,
        }
    }
}

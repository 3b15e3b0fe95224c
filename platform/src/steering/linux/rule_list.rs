//! The kernel's list of rules, and how it is changed without a moment in which it is wrong.

use std::io;

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::rule::RuleMessage;

use super::Family;
use super::netlink::Rtnetlink;
use super::rules::{self, Rule};

/// All rules of a family, in the kernel's order.
pub(super) fn dump_rules(rtnl: &mut Rtnetlink, family: Family) -> io::Result<Vec<RuleMessage>> {
    let mut message = RuleMessage::default();
    message.header.family = family.address_family();
    let answers = rtnl.dump(RouteNetlinkMessage::GetRule(message))?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| if let RouteNetlinkMessage::NewRule(rule) = answer { Some(rule) } else { None })
        .collect())
}

/// Makes our rules of one family exactly `wanted`: new ones first, then those that are no longer wanted go.
pub(super) fn put_rules(rtnl: &mut Rtnetlink, family: Family, wanted: &[Rule]) -> io::Result<()> {
    let mut have: Vec<Rule> = dump_rules(rtnl, family)?.iter().filter_map(Rule::from_message).collect();
    if !rules::jumps_come_first(&have) {
        // Somebody removed one of ours: those behind it must not stand there without it.
        remove_rules(rtnl, &have)?;
        have.clear();
    }
    let mut inbound_added = false;
    for rule in wanted.iter().filter(|rule| !have.contains(rule)) {
        rtnl.change(RouteNetlinkMessage::NewRule(rule.to_message()), NLM_F_CREATE)?;
        inbound_added |= rule.preference == rules::INBOUND;
    }
    if inbound_added {
        move_local_rule_back(rtnl, family)?;
    }
    let superfluous: Vec<Rule> = have.into_iter().filter(|rule| !wanted.contains(rule)).collect();
    remove_rules(rtnl, &superfluous)
}

/// Removes rules so that none stands without the jumps that keep the node's own packets off it.
pub(super) fn remove_rules(rtnl: &mut Rtnetlink, rules: &[Rule]) -> io::Result<()> {
    let (jumps, others): (Vec<&Rule>, Vec<&Rule>) =
        rules.iter().partition(|rule| !matches!(rule.action, rules::Action::Table(_)));
    let last = |rule: &&Rule| rule.preference == rules::INBOUND_END;
    let (ends, tables): (Vec<&Rule>, Vec<&Rule>) = others.into_iter().partition(last);
    for rule in tables.into_iter().chain(jumps).chain(ends) {
        match rtnl.change(RouteNetlinkMessage::DelRule(rule.to_message()), 0) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            result => result?,
        }
    }
    Ok(())
}

/// Puts the kernel's look into the local table behind our rules of the same preference, without a moment in which there
/// is none: a second one is added at the end, then the first is removed. Ours go without another change.
fn move_local_rule_back(rtnl: &mut Rtnetlink, family: Family) -> io::Result<()> {
    let all = dump_rules(rtnl, family)?;
    let Some(local) = all.iter().find(|rule| rules::plain_local(rule) == Some(rules::INBOUND)) else {
        // The machine has moved it to a later place itself.
        return Ok(());
    };
    rtnl.change(RouteNetlinkMessage::NewRule(local.clone()), NLM_F_CREATE)?;
    rtnl.change(RouteNetlinkMessage::DelRule(local.clone()), 0)
}

/// A process that died between the two steps of [`move_local_rule_back`] left two of them.
pub(super) fn remove_second_local_rule(rtnl: &mut Rtnetlink, family: Family) -> io::Result<()> {
    let all = dump_rules(rtnl, family)?;
    let mut local = all.iter().filter(|rule| rules::plain_local(rule) == Some(rules::INBOUND));
    match (local.next(), local.next()) {
        (Some(first), Some(second)) if first == second => rtnl.change(RouteNetlinkMessage::DelRule(first.clone()), 0),
        _ => Ok(()),
    }
}

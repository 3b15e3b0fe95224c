//! Takes everything out of the kernel: at the end of a node, or in its place when it can no longer.

use std::io;
use std::path::Path;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteMessage;

use super::journal::{self, Journal};
use super::netlink::Rtnetlink;
use super::rule_list::{dump_rules, remove_rules, remove_second_local_rule};
use super::rules::{self, Rule};
use super::{Family, at, nat, routes};
use crate::steering::{CleanupReport, SteeringError};

/// Takes everything of ours out of the kernel; goes on when something fails, and returns the first error.
pub(super) fn take_out(rtnl: &mut Rtnetlink, journal: &mut Journal) -> Result<CleanupReport, SteeringError> {
    let mut report = CleanupReport::default();
    let mut first_error = None;
    let mut note = |result: Result<(), SteeringError>| {
        if let Err(error) = result {
            first_error.get_or_insert(error);
        }
    };
    for family in Family::present() {
        note(take_out_rules(rtnl, family, &mut report).map_err(at("remove the policy rules")));
        note(take_out_routes(rtnl, family, &mut report).map_err(at("remove the routes")));
        note(nat::remove(family).map_err(at("remove the nft table")));
    }
    match journal.restore(|_| false) {
        Ok(keys) => report.switches = keys,
        Err(source) => note(Err(SteeringError::kernel("put a kernel switch back", source))),
    }
    first_error.map_or(Ok(report), Err)
}

fn take_out_rules(rtnl: &mut Rtnetlink, family: Family, report: &mut CleanupReport) -> io::Result<()> {
    let ours: Vec<Rule> = dump_rules(rtnl, family)?.iter().filter_map(Rule::from_message).collect();
    remove_rules(rtnl, &ours)?;
    report.rule_count += ours.len();
    remove_second_local_rule(rtnl, family)
}

fn take_out_routes(rtnl: &mut Rtnetlink, family: Family, report: &mut CleanupReport) -> io::Result<()> {
    let mut query = RouteMessage::default();
    query.header.address_family = family.address_family();
    for answer in rtnl.dump(RouteNetlinkMessage::GetRoute(query))? {
        let RouteNetlinkMessage::NewRoute(route) = answer else { continue };
        if routes::is_ours(&route) {
            match rtnl.change(RouteNetlinkMessage::DelRoute(routes::without_interface(route)), 0) {
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
                result => result?,
            }
            report.route_count += 1;
        }
    }
    Ok(())
}

/// See [`crate::steering::cleanup`].
pub(in crate::steering) fn cleanup(dir: &Path) -> Result<CleanupReport, SteeringError> {
    let path = journal::path_in(dir).map_err(at("find out the network namespace"))?;
    cleanup_journal(&path, false)
}

/// See [`crate::steering::take_out_of`].
pub(in crate::steering) fn take_out_of(path: &Path) -> Result<CleanupReport, SteeringError> {
    cleanup_journal(path, true)
}

/// See [`crate::steering::journal_path`].
pub(in crate::steering) fn journal_path(dir: &Path) -> io::Result<std::path::PathBuf> {
    journal::path_in(dir)
}

pub(super) fn cleanup_journal(path: &Path, although_it_lives: bool) -> Result<CleanupReport, SteeringError> {
    let error = |source| SteeringError::Journal { path: path.to_owned(), source };
    let Some(mut journal) = Journal::read(path).map_err(error)? else {
        return if although_it_lives { Ok(CleanupReport::default()) } else { cleanup_orphans() };
    };
    if journal.process.lives() && !although_it_lives {
        return Err(SteeringError::Busy { process: journal.process.id, path: path.to_owned() });
    }
    let mut rtnl = Rtnetlink::open().map_err(at("open a netlink socket"))?;
    let report = take_out(&mut rtnl, &mut journal)?;
    journal.remove().map_err(error)?;
    Ok(report)
}

/// Removes rules without a journal (it was deleted), if no TUN device is there any more that they lead to.
fn cleanup_orphans() -> Result<CleanupReport, SteeringError> {
    let mut report = CleanupReport::default();
    let mut rtnl = Rtnetlink::open().map_err(at("open a netlink socket"))?;
    let links = routes::links(&mut rtnl).map_err(at("list the interfaces"))?;
    for family in Family::present() {
        let all = dump_rules(&mut rtnl, family).map_err(at("list the policy rules"))?;
        let ours: Vec<Rule> = all.iter().filter_map(Rule::from_message).collect();
        let alive = |rule: &Rule| {
            let tun = rule.iif.as_ref().filter(|name| *name != "lo" && matches!(rule.action, rules::Action::Goto(_)));
            tun.is_some_and(|name| links.values().any(|link| link.name == *name))
        };
        if ours.is_empty() || ours.iter().any(alive) {
            continue;
        }
        take_out_rules(&mut rtnl, family, &mut report).map_err(at("remove the policy rules"))?;
        take_out_routes(&mut rtnl, family, &mut report).map_err(at("remove the routes"))?;
        nat::remove(family).map_err(at("remove the nft table"))?;
    }
    Ok(report)
}

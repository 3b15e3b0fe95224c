//! Steering on Linux: policy rules and routes, by netlink.
//!
//! docs/steering.md shows what stands in the kernel, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

pub(super) use self::cleanup::{cleanup, journal_path, take_out_of};
use self::cleanup::{cleanup_journal, take_out};
use self::coarsen::coarsen;
use self::journal::Journal;
use self::nat::Untracked;
use self::netlink::{Changes, Rtnetlink};
use self::routes::{Link, Net, OwnBy, Routes, Tables};
use self::rule_list::put_rules;
use self::rules::Wanted;
use super::{Applied, Masquerade, Match, Options, Plan, Steering, SteeringError};

mod cleanup;
mod coarsen;
mod journal;
mod nat;
pub(crate) mod netlink;
mod routes;
mod rule_list;
mod rules;
mod switches;

/// The number by which our rules and routes are known (`proto` in the output of `ip`); free in linux/rtnetlink.h.
const OWN_PROTOCOL: u8 = 78;
/// Our tables: what is forwarded,
const TABLE_FORWARDED: u32 = 7_801;
/// what this machine sends,
const TABLE_OWN: u32 = 7_802;
/// and what comes to it.
const TABLE_INBOUND: u32 = 7_803;
const TABLES: [u32; 3] = [TABLE_FORWARDED, TABLE_OWN, TABLE_INBOUND];

/// Whether a routing table is one of steering's own.
pub(crate) fn is_own_table(table: u32) -> bool {
    TABLES.contains(&table)
}
/// The TUN device's own address: the IPv4 dummy address (RFC 7600, section 4.8). The kernel's loose reverse-path check
/// wants an interface to have one.
const TUN_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// Matches of one family that become rules as they are. The kernel looks at all rules for each route that it looks up,
/// at some 15 ns each.
const MATCHES_MAX: usize = 512;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

impl Family {
    const BOTH: [Family; 2] = [Family::V4, Family::V6];

    const fn of_address(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    const fn address_family(self) -> AddressFamily {
        match self {
            Family::V4 => AddressFamily::Inet,
            Family::V6 => AddressFamily::Inet6,
        }
    }

    const fn version(self) -> u8 {
        match self {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    const fn any(self) -> IpAddr {
        match self {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// The families that this kernel has.
    fn present() -> impl Iterator<Item = Family> {
        let has_v6 = Path::new("/proc/sys/net/ipv6").exists();
        Family::BOTH.into_iter().filter(move |family| *family == Family::V4 || has_v6)
    }
}

/// Steering through one TUN device.
pub(super) struct LinuxSteering {
    rtnl: Rtnetlink,
    changes: Changes,
    options: Options,
    journal: Journal,
    plan: Option<Plan>,
    applied: Applied,
    /// What is left untracked in each family.
    untracked: BTreeMap<Family, Untracked>,
}

/// What one pass found out about the machine and decided.
struct Pass {
    links: BTreeMap<u32, Link>,
    tun: u32,
    notes: Vec<String>,
    rule_count: usize,
}

fn at(action: &'static str) -> impl FnOnce(io::Error) -> SteeringError {
    move |source| SteeringError::kernel(action, source)
}

/// See [`super::open`].
pub(super) fn open(options: Options) -> Result<LinuxSteering, SteeringError> {
    let path = journal::path_in(&options.journal_dir).map_err(at("find out the network namespace"))?;
    cleanup_journal(&path, false)?;
    let rtnl = Rtnetlink::open().map_err(at("open a netlink socket"))?;
    let changes = Changes::open().map_err(at("listen to changes of routes"))?;
    let journal = Journal::new(path).map_err(at("read this process's start time"))?;
    let mut steering = LinuxSteering {
        rtnl,
        changes,
        options,
        journal,
        plan: None,
        applied: Applied::default(),
        untracked: BTreeMap::new(),
    };
    steering.prepare_tun()?;
    Ok(steering)
}

impl Steering for LinuxSteering {
    fn apply(&mut self, plan: &Plan) -> Result<Applied, SteeringError> {
        self.plan = Some(plan.clone());
        match self.pass(plan) {
            Ok(applied) => {
                self.applied = applied;
                Ok(self.applied.clone())
            }
            Err(error) => {
                // Half of the rules would be worse than none.
                let _ = self.withdraw();
                Err(error)
            }
        }
    }

    fn refresh(&mut self) -> Result<Option<Applied>, SteeringError> {
        let (true, Some(plan)) = (self.changes.drain(), self.plan.clone()) else { return Ok(None) };
        let before = self.applied.clone();
        let applied = self.apply(&plan)?;
        Ok((applied != before).then_some(applied))
    }

    fn withdraw(&mut self) -> Result<(), SteeringError> {
        self.plan = None;
        self.applied = Applied::default();
        self.untracked.clear();
        take_out(&mut self.rtnl, &mut self.journal)?;
        self.journal.remove().map_err(|source| self.journal_error(source))
    }
}

impl Drop for LinuxSteering {
    fn drop(&mut self) {
        let _ = self.withdraw();
    }
}

impl LinuxSteering {
    fn journal_error(&self, source: io::Error) -> SteeringError {
        SteeringError::Journal { path: self.journal.path().to_owned(), source }
    }

    /// Sets what the device needs. Nothing of it outlives the device, so nothing is written down.
    fn prepare_tun(&mut self) -> Result<(), SteeringError> {
        let tun = self.options.tun.clone();
        let links = routes::links(&mut self.rtnl).map_err(at("list the interfaces"))?;
        let index = self.tun_index(&links)?;
        switches::prepare_tun(&tun).map_err(at("set up the TUN device"))?;
        let has = routes::has_address(&mut self.rtnl, Family::V4, index).map_err(at("list the addresses"))?;
        if !has {
            routes::add_address(&mut self.rtnl, index, TUN_ADDRESS).map_err(at("give the TUN device an address"))?;
        }
        Ok(())
    }

    fn tun_index(&self, links: &BTreeMap<u32, Link>) -> Result<u32, SteeringError> {
        let found = links.iter().find(|(_, link)| link.name == self.options.tun);
        found.map(|(index, _)| *index).ok_or_else(|| SteeringError::NoTun { name: self.options.tun.clone() })
    }

    fn pass(&mut self, plan: &Plan) -> Result<Applied, SteeringError> {
        self.journal.write().map_err(|source| self.journal_error(source))?;
        let links = routes::links(&mut self.rtnl).map_err(at("list the interfaces"))?;
        let tun = self.tun_index(&links)?;
        let mut pass = Pass { links, tun, notes: Vec::new(), rule_count: 0 };
        let found = nat::find();
        let mut kept_switches = BTreeSet::new();
        for family in Family::present() {
            let tables = Tables::read(&mut self.rtnl, family).map_err(at("read the routes"))?;
            self.pass_family(plan, family, &tables, &found, &mut pass, &mut kept_switches)?;
        }
        self.journal.restore(|key| kept_switches.contains(key)).map_err(at("put a kernel switch back"))?;
        self.journal.write().map_err(|source| self.journal_error(source))?;
        if !plan.matches.is_empty() {
            pass.notes.extend(found.drops_forwarded.iter().map(|chain| drop_note(chain, &self.options.tun)));
        }
        Ok(Applied { rule_count: pass.rule_count, notes: pass.notes })
    }

    fn pass_family(
        &mut self,
        plan: &Plan,
        family: Family,
        tables: &Tables,
        found: &nat::Found,
        pass: &mut Pass,
        kept_switches: &mut BTreeSet<String>,
    ) -> Result<(), SteeringError> {
        let mut all = rules::of_family(&plan.matches, family);
        if family == Family::V4 {
            self.add_answers(&mut all, pass);
        }
        let matches = coarsen(&all, MATCHES_MAX);
        if matches.len() < all.len() {
            pass.notes.push(format!(
                "{} filters for IPv{} are steered as {} wider ones: more comes to the node than they name",
                all.len(),
                family.version(),
                matches.len(),
            ));
        }
        let mut use_ = Use::of(plan, &rules::with_protocols(&matches, family));
        let mut routes = Routes::new();
        if !use_.own.is_empty() {
            self.own_routes(family, tables, pass, &mut use_, &mut routes)?;
        }
        let local = tables.local(pass.tun);
        if !use_.forwarded.is_empty() {
            routes.extend(routes::forwarded(family));
        }
        if !use_.inbound.is_empty() {
            routes.extend(routes::inbound(&local));
        }
        let switched = switches::set(&mut self.journal, family, &self.options.tun, &pass.links, &use_)
            .map_err(at("set a kernel switch"))?;
        kept_switches.extend(switched.keys);
        pass.notes.extend(switched.notes);
        let untracked = self.untracked(plan, family, tables, found, pass, &use_, &local);
        self.put_untracked(family, untracked, found, pass)?;
        // Routes come before the rules that lead to them, and go after them.
        self.add_routes(family, tables, &routes, pass.tun)?;
        let wanted = Wanted {
            family,
            tun: &self.options.tun,
            own_mark: self.options.own_mark,
            forwarded: &use_.forwarded,
            own: &use_.own,
            inbound: &use_.inbound,
            on_link: &if family == Family::V6 { tables.on_link() } else { Vec::new() },
            no_router: &switched.no_router,
        }
        .rules();
        pass.rule_count += wanted.len();
        put_rules(&mut self.rtnl, family, &wanted).map_err(at("change the policy rules"))?;
        self.remove_routes(family, tables, &routes)
    }

    /// Where an interface checks that answers would go out by it, what is steered in one direction must be steered in
    /// the other as well: the check finds the rule, and would drop the answers.
    fn add_answers(&self, matches: &mut Vec<Match>, pass: &mut Pass) {
        let strict = switches::strict_interfaces(&pass.links, &self.options.tun);
        let missing: Vec<Match> = matches.iter().map(reversed).filter(|m| !matches.contains(m)).collect();
        if strict.is_empty() || missing.is_empty() {
            return;
        }
        pass.notes.push(format!(
            "answers are steered as well where a filter names one direction only: {} would drop them (rp_filter 1)",
            strict.join(", "),
        ));
        matches.extend(missing);
        matches.sort_unstable();
        matches.dedup();
    }

    fn own_routes(
        &mut self,
        family: Family,
        tables: &Tables,
        pass: &mut Pass,
        use_: &mut Use,
        routes: &mut Routes,
    ) -> Result<(), SteeringError> {
        let global = routes::with_global_v6(&mut self.rtnl).map_err(at("list the addresses"))?;
        let by = OwnBy {
            matches: &use_.own,
            own_mark: self.options.own_mark,
            tun: pass.tun,
            links: &pass.links,
            choose_v6_source: global.iter().filter(|index| **index != pass.tun).count() > 1,
        };
        match tables.own(&mut self.rtnl, &by).map_err(at("ask for a route"))? {
            Some(own) => routes.extend(own),
            None => {
                pass.notes.push(format!(
                    "this machine's own IPv{} traffic is not steered: it has more than {} routes to where the filters lead",
                    family.version(),
                    routes::OWN_ROUTES_MAX,
                ));
                use_.own.clear();
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "each is one thing that decides")]
    fn untracked(
        &self,
        plan: &Plan,
        family: Family,
        tables: &Tables,
        found: &nat::Found,
        pass: &Pass,
        use_: &Use,
        local: &BTreeSet<Net>,
    ) -> Option<Untracked> {
        let translates = match plan.masquerade {
            Masquerade::Auto => found.translates.contains(&family),
            Masquerade::Yes => true,
            Masquerade::No => false,
        };
        if !translates || (use_.forwarded.is_empty() && use_.own.is_empty()) {
            return None;
        }
        let mut outside = tables.outside();
        outside.remove(&pass.tun);
        let name = |index: &u32| pass.links.get(index).map(|link| link.name.clone());
        Some(Untracked {
            family,
            tun: self.options.tun.clone(),
            inside: tables.inside(&outside, pass.tun),
            outside: outside.iter().filter_map(name).collect(),
            local: local.iter().copied().collect(),
            matches: use_.forwarded.clone(),
            own: !use_.own.is_empty(),
        })
    }

    fn put_untracked(
        &mut self,
        family: Family,
        untracked: Option<Untracked>,
        found: &nat::Found,
        pass: &mut Pass,
    ) -> Result<(), SteeringError> {
        match untracked {
            Some(wanted) => {
                pass.notes.push(format!(
                    "this machine translates IPv{} addresses: what is steered is tracked only on its outer side \
                     (nft table {})",
                    family.version(),
                    nat::TABLE,
                ));
                if self.untracked.get(&family) != Some(&wanted) || !found.ours.contains(&family) {
                    nat::put(&wanted).map_err(at("keep steered packets out of connection tracking"))?;
                    self.untracked.insert(family, wanted);
                }
                Ok(())
            }
            None if self.untracked.remove(&family).is_some() => nat::remove(family).map_err(at("remove the nft table")),
            None => Ok(()),
        }
    }

    fn add_routes(&mut self, family: Family, tables: &Tables, wanted: &Routes, tun: u32) -> Result<(), SteeringError> {
        let have = tables.ours();
        for (key, way) in wanted.iter().filter(|(key, way)| have.get(*key) != Some(*way)) {
            // The kernel replaces no route by one of another type.
            if have.get(key).is_some_and(|old| (*old == routes::Way::Throw) != (*way == routes::Way::Throw)) {
                self.delete_route(family, *key, have[key])?;
            }
            let message = RouteNetlinkMessage::NewRoute(routes::to_message(family, *key, *way, tun));
            match self.rtnl.change(message, NLM_F_CREATE | NLM_F_REPLACE) {
                // The address that it names as source is gone again: the next look at the routes will see that.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) && key.0 == TABLE_OWN => {}
                result => result.map_err(at("add a route"))?,
            }
        }
        Ok(())
    }

    fn remove_routes(&mut self, family: Family, tables: &Tables, wanted: &Routes) -> Result<(), SteeringError> {
        for (key, way) in tables.ours().into_iter().filter(|(key, _)| !wanted.contains_key(key)) {
            self.delete_route(family, key, way)?;
        }
        Ok(())
    }

    fn delete_route(&mut self, family: Family, key: (u32, Net), way: routes::Way) -> Result<(), SteeringError> {
        let message = routes::to_message(family, key, routes::without_metrics(way), 0);
        match self.rtnl.change(RouteNetlinkMessage::DelRoute(routes::without_interface(message)), 0) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => result.map_err(at("remove a route")),
        }
    }
}

/// Which matches are for which traffic.
struct Use {
    forwarded: Vec<Match>,
    own: Vec<Match>,
    inbound: Vec<Match>,
}

impl Use {
    fn of(plan: &Plan, matches: &[Match]) -> Use {
        let all_if = |wanted: bool| if wanted { matches.to_vec() } else { Vec::new() };
        let inbound = if plan.to_self {
            matches.to_vec()
        } else if plan.own {
            // The answers to own traffic: what is asked for in both directions.
            matches.iter().filter(|m| matches.contains(&reversed(m))).copied().collect()
        } else {
            Vec::new()
        };
        Use { forwarded: all_if(plan.forwarded), own: all_if(plan.own), inbound }
    }
}

fn reversed(m: &Match) -> Match {
    Match { from: m.to, to: m.from, from_port: m.to_port, to_port: m.from_port, ..*m }
}

fn drop_note(chain: &str, tun: &str) -> String {
    format!(
        "the chain {chain} drops forwarded packets unless a rule allows them: steered traffic needs two rules there \
         that accept what comes in by {tun} and what goes out by it"
    )
}

/// See [`super::quiet`].
pub(super) fn quiet(tun: &str) -> io::Result<()> {
    switches::quiet_tun(tun)
}

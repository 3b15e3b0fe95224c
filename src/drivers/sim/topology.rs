//! Who is joined with whom, and which way packets go: the shortest by delay, unless a route says otherwise.
//!
//! A NAT box parts the network for IPv4. Each side is a realm, in which addresses mean something; shortest paths do not
//! lead through the box, and what is meant for nobody in a realm goes to the nearest box that leads out of it. For IPv6
//! the box is an ordinary router.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;

use crate::base::filter::Prefix;
use crate::drivers::sim::config::{LinkId, MachineId};

/// No link.
const NONE: u32 = u32::MAX;
/// The only realm of IPv6.
const REALM_V6: u32 = u32::MAX;

type Seeded = foldhash::fast::FixedState;

/// A machine, as routing sees it.
pub(super) struct Spot {
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) is_nat: bool,
    pub(super) forwards: bool,
    pub(super) is_up: bool,
    /// Its links; of a NAT box the first one leads outside.
    pub(super) links: Vec<usize>,
    /// Routes that somebody set, the longest prefix first.
    routes: Vec<(Prefix, usize)>,
    /// Of a NAT box the inner one.
    realm: u32,
    outer_realm: u32,
}

struct Edge {
    ends: [usize; 2],
    /// Delay of each direction.
    delays: [Duration; 2],
    is_up: bool,
}

/// Which ways are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ways {
    /// All.
    All,
    /// Those that cross no NAT box.
    InRealm,
    /// The same, to the inner sides of NAT boxes.
    Out,
}

/// The ways to one machine: for each other one the link by which it goes on.
type Tree = Box<[u32]>;

/// The whole network.
#[derive(Default)]
pub(super) struct Topology {
    pub(super) spots: Vec<Spot>,
    edges: Vec<Edge>,
    /// What is known of the present state; made anew when something changes.
    known: RefCell<Known>,
}

#[derive(Default)]
struct Known {
    has_realms: bool,
    owners: HashMap<(u32, IpAddr), u32, Seeded>,
    /// By machine: to it for IPv4, to it for IPv6. They are one where there is no NAT box.
    trees: Vec<[Option<Tree>; 2]>,
    /// To the nearest NAT box that leads out.
    exits: Option<Tree>,
}

impl Topology {
    pub(super) fn add_spot(&mut self, name: &str, addresses: &[IpAddr], is_nat: bool, forwards: bool) {
        self.spots.push(Spot {
            name: name.to_owned(),
            addresses: addresses.to_vec(),
            is_nat,
            forwards,
            is_up: true,
            links: Vec::new(),
            routes: Vec::new(),
            realm: 0,
            outer_realm: 0,
        });
        self.changed();
    }

    pub(super) fn add_edge(&mut self, ends: [usize; 2], delays: [Duration; 2]) {
        let link = self.edges.len();
        self.edges.push(Edge { ends, delays, is_up: true });
        for end in ends {
            self.spots[end].links.push(link);
        }
        self.changed();
    }

    pub(super) fn set_edge(&mut self, link: usize, is_up: bool, delays: [Duration; 2]) {
        (self.edges[link].is_up, self.edges[link].delays) = (is_up, delays);
        self.changed();
    }

    pub(super) fn set_up(&mut self, machine: usize, is_up: bool) {
        self.spots[machine].is_up = is_up;
        self.changed();
    }

    /// From now on what is for `to` leaves `machine` by `link`; `None` takes the route out.
    pub(super) fn set_route(&mut self, machine: usize, to: Prefix, link: Option<usize>) {
        let routes = &mut self.spots[machine].routes;
        routes.retain(|(prefix, _)| *prefix != to);
        routes.extend(link.map(|link| (to, link)));
        routes.sort_by_key(|(prefix, _)| (Reverse(prefix.prefix_len()), *prefix));
    }

    fn changed(&mut self) {
        self.known.get_mut().owners.clear();
        self.known.get_mut().trees.clear();
    }

    /// The machine at the other end of a link.
    pub(super) fn neighbour(&self, machine: usize, link: usize) -> usize {
        let ends = self.edges[link].ends;
        if ends[0] == machine { ends[1] } else { ends[0] }
    }

    /// The link between two neighbours; the first, if there are several.
    pub(super) fn link_between(&self, one: usize, other: usize) -> Option<usize> {
        self.spots[one].links.iter().copied().find(|link| self.neighbour(one, *link) == other)
    }

    /// Whether something can cross a link now.
    pub(super) fn is_usable(&self, link: usize) -> bool {
        let edge = &self.edges[link];
        edge.is_up && edge.ends.iter().all(|end| self.spots[*end].is_up)
    }

    pub(super) fn delay(&self, link: usize, from: usize) -> Duration {
        self.edges[link].delays[usize::from(self.edges[link].ends[0] != from)]
    }

    pub(super) fn is_local(&self, machine: usize, address: IpAddr) -> bool {
        self.spots[machine].addresses.contains(&address) || address.is_loopback()
    }

    /// The outside link and address of a NAT box.
    pub(super) fn outside(&self, machine: usize) -> Option<(usize, IpAddr)> {
        let spot = &self.spots[machine];
        let address = spot.addresses.iter().find(|address| address.is_ipv4())?;
        spot.is_nat.then_some(())?;
        Some((*spot.links.first()?, *address))
    }

    /// The address from which a machine sends to `to`.
    pub(super) fn source_for(&self, machine: usize, to: IpAddr) -> Option<IpAddr> {
        if self.is_local(machine, to) {
            return Some(to);
        }
        let spot = &self.spots[machine];
        let mut own = spot.addresses.iter().copied().filter(|address| address.is_ipv4() == to.is_ipv4());
        match self.outside(machine) {
            Some((outside, address)) if to.is_ipv4() && self.next(machine, to) != Some(outside) => {
                own.find(|own| *own != address).or(Some(address))
            }
            Some(_) | None => own.next(),
        }
    }

    /// The link by which what is for `to` leaves a machine; `None` if there is no way.
    pub(super) fn next(&self, machine: usize, to: IpAddr) -> Option<usize> {
        let spot = &self.spots[machine];
        if let Some((_, link)) = spot.routes.iter().find(|(prefix, _)| prefix.contains(to)) {
            return Some(*link).filter(|link| self.is_usable(*link));
        }
        let mut known = self.known.borrow_mut();
        if known.trees.is_empty() {
            self.learn(&mut known);
        }
        let realms = match (to.is_ipv4(), known.has_realms) {
            (false, _) | (true, false) => [REALM_V6, REALM_V6],
            (true, true) => [spot.realm, spot.outer_realm],
        };
        let owner = realms.iter().find_map(|realm| known.owners.get(&(*realm, to)).copied());
        let link = match owner {
            Some(owner) => {
                let kind = usize::from(to.is_ipv6() && known.has_realms);
                if known.trees[owner as usize][kind].is_none() {
                    let ways = if kind == 0 && known.has_realms { Ways::InRealm } else { Ways::All };
                    let tree = self.tree(&[owner as usize], ways);
                    known.trees[owner as usize][kind] = Some(tree);
                }
                known.trees[owner as usize][kind].as_ref().map_or(NONE, |tree| tree[machine])
            }
            None if to.is_ipv4() && known.has_realms => self.way_out(machine, &mut known),
            None => NONE,
        };
        (link != NONE).then_some(link as usize)
    }

    fn way_out(&self, machine: usize, known: &mut Known) -> u32 {
        if let Some((outside, _)) = self.outside(machine) {
            return if self.is_usable(outside) { outside as u32 } else { NONE };
        }
        if known.exits.is_none() {
            let boxes: Vec<usize> = (0..self.spots.len()).filter(|spot| self.spots[*spot].is_nat).collect();
            known.exits = Some(self.tree(&boxes, Ways::Out));
        }
        known.exits.as_ref().map_or(NONE, |tree| tree[machine])
    }

    /// The machines through which packets from `from` to `to` go, both ends with them; empty if they do not arrive.
    pub(super) fn path(&self, from: usize, to: IpAddr) -> Vec<usize> {
        let mut path = vec![from];
        let mut at = from;
        while !self.spots[at].addresses.contains(&to) {
            let Some(link) = self.next(at, to).filter(|_| path.len() <= self.spots.len()) else { return Vec::new() };
            at = self.neighbour(at, link);
            path.push(at);
        }
        path
    }

    fn learn(&self, known: &mut Known) {
        known.has_realms = self.spots.iter().any(|spot| spot.is_nat);
        known.exits = None;
        known.trees = self.spots.iter().map(|_| [None, None]).collect();
        for (index, spot) in self.spots.iter().enumerate() {
            let outside = self.outside(index).map(|(_, address)| address);
            for address in &spot.addresses {
                let realm = match (address.is_ipv4(), known.has_realms) {
                    (false, _) | (true, false) => REALM_V6,
                    (true, true) if outside == Some(*address) => spot.outer_realm,
                    (true, true) => spot.realm,
                };
                // Who has an address first keeps it.
                known.owners.entry((realm, *address)).or_insert(index as u32);
            }
        }
    }

    /// Finds the realms anew; after each link that was added.
    pub(super) fn part_into_realms(&mut self) {
        if !self.spots.iter().any(|spot| spot.is_nat) {
            return;
        }
        let mut realms = vec![NONE; self.edges.len()];
        let mut count = 0;
        for first in 0..self.edges.len() {
            if realms[first] != NONE {
                continue;
            }
            let mut open = vec![first];
            realms[first] = count;
            while let Some(link) = open.pop() {
                for end in self.edges[link].ends {
                    let links = self.joined(end, link);
                    let new: Vec<usize> = links.iter().copied().filter(|link| realms[*link] == NONE).collect();
                    new.iter().for_each(|link| realms[*link] = count);
                    open.extend(new);
                }
            }
            count += 1;
        }
        for (index, spot) in self.spots.iter_mut().enumerate() {
            // A machine without links is alone.
            let of = |link: Option<&usize>| link.map_or(count + index as u32, |link| realms[*link]);
            spot.outer_realm = of(spot.links.first());
            spot.realm = if spot.is_nat { of(spot.links.get(1)) } else { spot.outer_realm };
        }
        self.changed();
    }

    /// The links that are in one realm with `link` at one of its ends.
    fn joined(&self, end: usize, link: usize) -> &[usize] {
        let spot = &self.spots[end];
        match (spot.is_nat, spot.links.first() == Some(&link)) {
            (false, _) => &spot.links,
            (true, true) => &spot.links[..1],
            (true, false) => &spot.links[1..],
        }
    }

    /// The shortest ways to the nearest of some machines. Of ways of the same delay the one with fewer links is taken,
    /// then the one by the link that was added first.
    fn tree(&self, to: &[usize], ways: Ways) -> Tree {
        let stops_at_nat = ways != Ways::All;
        let mut next = vec![NONE; self.spots.len()].into_boxed_slice();
        let mut best = vec![(Duration::MAX, u32::MAX, NONE); self.spots.len()];
        let mut open = BinaryHeap::new();
        for target in to {
            best[*target] = (Duration::ZERO, 0, NONE);
            open.push(Reverse((Duration::ZERO, 0u32, *target)));
        }
        while let Some(Reverse((far, hops, at))) = open.pop() {
            if (far, hops) != (best[at].0, best[at].1) || !self.spots[at].is_up {
                continue;
            }
            let spot = &self.spots[at];
            let is_target = hops == 0;
            // What does not forward, or parts realms, is the end of a way, never its middle.
            if !is_target && (!spot.forwards || (stops_at_nat && spot.is_nat)) {
                continue;
            }
            for link in spot.links.iter().copied().filter(|link| self.is_usable(*link)) {
                // Out of a realm it goes by the inner links of the box.
                if ways == Ways::Out && spot.links.first() == Some(&link) && is_target {
                    continue;
                }
                let from = self.neighbour(at, link);
                let way = (far + self.delay(link, from), hops + 1, link as u32);
                if way < best[from] {
                    best[from] = way;
                    next[from] = link as u32;
                    open.push(Reverse((way.0, way.1, from)));
                }
            }
        }
        next
    }
}

impl LinkId {
    /// Its place, as routing counts.
    pub(super) const fn index(self) -> usize {
        self.0
    }
}

impl MachineId {
    /// Its place, as routing counts.
    pub(super) const fn index(self) -> usize {
        self.0
    }
}

//! The simulator: many real [`Node`]s in one process, on virtual time, joined by links that delay, queue, lose and damage
//! what crosses them. What is modelled and what is not stands in docs/simulator.md.
//!
//! ```text
//! let mut sim = Sim::new(seed);
//! let a = sim.add_machine(MachineConfig::new("a", MachineKind::Host, &addresses))?;    // and others
//! sim.add_link(LinkConfig::new(a, b, LinkQuality::delay(ms)))?;                        // routes follow by themselves
//! sim.load(a, module, None, properties)?;                                              // an application, or a module
//! sim.run_until(at);                                                                   // virtual time
//! sim.take_events(a);  sim.take_observations();  sim.link_counters(link);  sim.path(a, address);
//! ```
//!
//! - *Time.* Nothing happens but in [`Sim::run_until`] and [`Sim::step`]; [`Sim::next_event_at`] says when something
//!   would. A driver that shows it to people calls `run_until` as its own clock goes on.
//! - *Nodes.* [`Sim::load`] (again at each start of the node), [`Sim::command`], [`Sim::order`], [`Sim::order_again`]
//!   and [`Sim::with_node`] reach one. A host has a node from the first of these on.
//! - *Faults.* [`Sim::crash`] and [`Sim::restart`] (the program), [`Sim::set_machine_up`], [`Sim::set_link_up`],
//!   [`Sim::set_quality`], [`Sim::set_cost`] (a slow node), [`Sim::jump_clock`].
//! - *Names and pages.* Each machine's name resolves to its addresses, [`Sim::set_name`] adds more. What a node fetches
//!   comes from the machine that the URL names, over simulated TCP; or from [`Sim::set_page`], without any server.
//! - *Looking.* [`Sim::observe`] switches observations on; without, nothing is decoded for them. [`Sim::capture`] writes
//!   what crosses a link as a capture file. [`Sim::set_trace`] keeps a line for each thing that happened.
//!
//! The same seed, configuration and calls give the same run, byte for byte. Each machine and each link has a random
//! generator of its own, made of the seed and its name, so that adding one leaves the others as they were.

mod computer;
mod config;
mod faults;
mod fetch;
mod icmp;
mod link;
mod nat;
mod nodes;
mod observe;
mod packets;
mod place;
mod queue;
mod stack;
mod stream;
mod tcp;
mod tls;
mod topology;

pub use config::{
    LinkConfig, LinkId, LinkQuality, MachineConfig, MachineId, MachineKind, NatConfig, NatDependence, SignalOptions,
    SimError,
};
pub use link::LinkCounters;
pub use observe::{Conversation, InstanceSeen, MessageSeen, Observation};

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::rc::Rc;

use crate::base::filter::Prefix;
use crate::base::limits::{SIM_LINKS_MAX, SIM_MACHINES_MAX};
use crate::base::net::SocketId;
use crate::base::time::{Instant, WallTime};
use crate::controller::api::{FetchId, FetchProblem};
use crate::drivers::replay::writer::CaptureWriter;
use crate::drivers::sim::computer::{Computer, name_seed};
use crate::drivers::sim::link::{Direction, Link};
use crate::drivers::sim::nat::Nat;
use crate::drivers::sim::observe::Observer;
use crate::drivers::sim::queue::Queue;
use crate::drivers::sim::stack::Told;
use crate::drivers::sim::topology::Topology;
use crate::node::Node;

/// The wall clock when a simulation begins: 2027-01-15 08:00:00 UTC.
pub const WALL_START: WallTime = WallTime::from_nanos(1_800_000_000_000_000_000);
/// Link type of a capture whose frames begin with the IP header (LINKTYPE_RAW).
const LINK_TYPE_RAW: u32 = 101;

/// What is going to happen.
enum Happening {
    /// A packet arrives over a link, at the end of one of its directions.
    Arrives { link: usize, direction: usize, life: u32, bytes: Vec<u8> },
    /// A packet of a machine to itself.
    Loops { machine: usize, bytes: Vec<u8> },
    /// A slow node gets to a packet.
    Turn { machine: usize, link: Option<usize>, bytes: Vec<u8> },
    /// Something of a machine is due.
    Wake { machine: usize },
    /// A look-up is answered.
    Resolved { machine: usize, life: u32, query: SocketId, told: Told },
    /// A page was there, or was not.
    Fetched { machine: usize, life: u32, id: FetchId, result: Result<Vec<u8>, FetchProblem> },
}

/// A simulated network.
pub struct Sim {
    seed: u64,
    now: Instant,
    /// The same, for those who are asked for it.
    clock: Rc<Cell<Instant>>,
    queue: Queue<Happening>,
    topology: Rc<RefCell<Topology>>,
    computers: Vec<Computer>,
    nats: BTreeMap<usize, Nat>,
    links: Vec<Link>,
    by_name: BTreeMap<String, usize>,
    names: BTreeMap<String, Vec<IpAddr>>,
    pages: BTreeMap<String, Vec<u8>>,
    fetches: fetch::Fetches,
    observer: Observer,
    command_count: u64,
    happened: u64,
}

impl Sim {
    /// An empty network.
    #[must_use]
    pub fn new(seed: u64) -> Sim {
        Sim {
            seed,
            now: Instant::START,
            clock: Rc::new(Cell::new(Instant::START)),
            queue: Queue::new(),
            topology: Rc::default(),
            computers: Vec::new(),
            nats: BTreeMap::new(),
            links: Vec::new(),
            by_name: BTreeMap::new(),
            names: BTreeMap::new(),
            pages: BTreeMap::new(),
            fetches: fetch::Fetches::default(),
            observer: Observer::default(),
            command_count: 0,
            happened: 0,
        }
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// What right clocks show.
    #[must_use]
    pub const fn wall(&self) -> WallTime {
        WALL_START.at(self.now)
    }

    /// Adds a machine, and starts its node if it is one that has a node from the beginning.
    ///
    /// # Errors
    ///
    /// When its name is taken, or an address is missing.
    pub fn add_machine(&mut self, config: MachineConfig) -> Result<MachineId, SimError> {
        if self.computers.len() >= SIM_MACHINES_MAX {
            return Err(SimError::TooMany { what: "machines", max: SIM_MACHINES_MAX });
        }
        let name = config.name.clone();
        if self.by_name.contains_key(&name) {
            return Err(SimError::NameTaken { name });
        }
        if config.addresses.is_empty() {
            return Err(SimError::NoAddress { name });
        }
        let index = self.computers.len();
        if let MachineKind::Nat(nat) = &config.kind {
            if !config.addresses.iter().any(IpAddr::is_ipv4) {
                return Err(SimError::NoOutsideAddress { name });
            }
            self.nats.insert(index, Nat::new(*nat, self.seed ^ name_seed(&name)));
        }
        let forwards = !matches!(config.kind, MachineKind::Host);
        self.topology.borrow_mut().add_spot(&name, &config.addresses, self.nats.contains_key(&index), forwards);
        self.set_name(&name, config.addresses.clone());
        self.by_name.insert(name, index);
        let boots = config.signal.is_some() || matches!(config.kind, MachineKind::Node);
        self.computers.push(Computer::new(index, config, Rc::clone(&self.topology), self.seed));
        if boots {
            self.boot(index);
        }
        Ok(MachineId(index))
    }

    /// Joins two machines.
    ///
    /// # Errors
    ///
    /// When one of them does not exist, or both are one.
    pub fn add_link(&mut self, config: LinkConfig) -> Result<LinkId, SimError> {
        if self.links.len() >= SIM_LINKS_MAX {
            return Err(SimError::TooMany { what: "links", max: SIM_LINKS_MAX });
        }
        let ends = config.ends.map(MachineId::index);
        if let Some(end) = ends.iter().find(|end| **end >= self.computers.len()) {
            return Err(SimError::NoMachine { number: *end });
        }
        let names = ends.map(|end| self.computers[end].config.name.clone());
        if ends[0] == ends[1] {
            return Err(SimError::Loop { name: names[0].clone() });
        }
        let ordinal = self.topology.borrow().spots[ends[0]].links.len();
        let seed = |from: usize, to: usize| self.seed ^ name_seed(&format!("{} {} {ordinal}", names[from], names[to]));
        let [there, back] = config.quality;
        let directions = [Direction::new(there, seed(0, 1)), Direction::new(back, seed(1, 0))];
        self.links.push(Link { ends: config.ends, directions, is_up: true, life: 0, capture: None });
        let mut topology = self.topology.borrow_mut();
        topology.add_edge(ends, [there.delay, back.delay]);
        topology.part_into_realms();
        Ok(LinkId(self.links.len() - 1))
    }

    /// The machine of a name.
    #[must_use]
    pub fn machine(&self, name: &str) -> Option<MachineId> {
        self.by_name.get(name).map(|index| MachineId(*index))
    }

    /// A machine's configuration.
    ///
    /// # Panics
    ///
    /// When there is no such machine, as all that takes a [`MachineId`] or [`LinkId`] of another network.
    #[must_use]
    pub fn config(&self, machine: MachineId) -> &MachineConfig {
        &self.computers[machine.index()].config
    }

    /// Machines and links.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.computers.len(), self.links.len())
    }

    /// The machines at the ends of a link.
    #[must_use]
    pub fn ends(&self, link: LinkId) -> [MachineId; 2] {
        self.links[link.index()].ends
    }

    /// The link between two machines; the first, if there are several.
    #[must_use]
    pub fn link_between(&self, one: MachineId, other: MachineId) -> Option<LinkId> {
        self.topology.borrow().link_between(one.index(), other.index()).map(LinkId)
    }

    /// A route that goes before the shortest path: at `machine`, what is for `to` goes to its neighbour `via`. `None`
    /// takes it out. The machine's node is told. False if they are no neighbours.
    pub fn set_route(&mut self, machine: MachineId, to: Prefix, via: Option<MachineId>) -> bool {
        let link = via.map(|via| self.link_between(machine, via));
        if link == Some(None) {
            return false;
        }
        self.topology.borrow_mut().set_route(machine.index(), to, link.flatten().map(LinkId::index));
        self.routes_changed(&[machine.index()]);
        true
    }

    /// From now on a name has these addresses; none if the list is empty.
    pub fn set_name(&mut self, name: &str, addresses: Vec<IpAddr>) {
        self.names.insert(name.trim_end_matches('.').to_ascii_lowercase(), addresses);
    }

    /// From now on whoever fetches this URL gets these bytes, without any machine that serves it.
    pub fn set_page(&mut self, url: &str, bytes: Vec<u8>) {
        self.pages.insert(url.to_owned(), bytes);
    }

    /// The machines through which packets from a machine to an address go, both ends with them; empty if they do not
    /// arrive. What a NAT box makes of the address is not looked at.
    #[must_use]
    pub fn path(&self, from: MachineId, to: IpAddr) -> Vec<MachineId> {
        self.topology.borrow().path(from.index(), to).into_iter().map(MachineId).collect()
    }

    /// When the next thing happens.
    #[must_use]
    pub fn next_event_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    /// Lets the next thing happen, if there is one at `until` or before. Whether there was.
    pub fn step(&mut self, until: Instant) -> bool {
        let Some((at, happening)) = self.queue.pop(until) else { return false };
        self.set_now(at);
        self.happened += 1;
        self.happen(happening);
        true
    }

    /// Lets time pass.
    pub fn run_until(&mut self, at: Instant) {
        while self.step(at) {}
        self.set_now(at);
    }

    fn set_now(&mut self, at: Instant) {
        self.now = self.now.max(at);
        self.clock.set(self.now);
    }

    /// Things that happened, and packets for which there was no room, since the beginning.
    #[must_use]
    pub fn happened(&self) -> (u64, u64) {
        (self.happened, self.queue.refused)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives { link, direction, life, bytes } => {
                if self.links[link].life == life {
                    let machine = self.links[link].ends[1 - direction].index();
                    self.arrives(machine, Some(link), bytes);
                }
            }
            Happening::Loops { machine, bytes } => self.arrives(machine, None, bytes),
            Happening::Turn { machine, link, bytes } => self.look_at(machine, link, bytes),
            Happening::Wake { machine } => self.wake(machine),
            Happening::Resolved { machine, life, query, told } => self.resolved(machine, life, query, told),
            Happening::Fetched { machine, life, id, result } => self.fetched(machine, life, id, result),
        }
    }

    /// What a link counted, in the direction from its first end, and in the other.
    #[must_use]
    pub fn link_counters(&self, link: LinkId) -> [LinkCounters; 2] {
        let link = &self.links[link.index()];
        [link.directions[0].counters, link.directions[1].counters]
    }

    /// Bytes that wait before a link, in both directions.
    #[must_use]
    pub fn link_waiting(&self, link: LinkId) -> [u64; 2] {
        let link = &self.links[link.index()];
        [link.directions[0].waiting_bytes(self.now), link.directions[1].waiting_bytes(self.now)]
    }

    /// From now on all that is put on a link, in both directions, is written as a capture file, with the time at which it
    /// leaves. What is lost on the way is written too.
    ///
    /// # Errors
    ///
    /// When the sink cannot be written.
    pub fn capture(&mut self, link: LinkId, sink: Box<dyn Write>) -> io::Result<()> {
        self.links[link.index()].capture = Some(CaptureWriter::new(sink, LINK_TYPE_RAW)?);
        Ok(())
    }

    /// Ends the capture of a link, and flushes its file.
    ///
    /// # Errors
    ///
    /// When the sink cannot be written.
    pub fn end_capture(&mut self, link: LinkId) -> io::Result<()> {
        match self.links[link.index()].capture.take() {
            Some(mut capture) => capture.sink().flush(),
            None => Ok(()),
        }
    }

    /// The node of a machine, if it runs.
    #[must_use]
    pub fn node(&self, machine: MachineId) -> Option<&Node> {
        self.computers[machine.index()].node.as_ref()
    }
}

#[cfg(test)]
mod tests;

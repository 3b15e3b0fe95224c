//! The machines of these tests by their names, in a simulated network.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use netserv::base::time::Instant;
use netserv::controller::trust::Trust;
use netserv::drivers::sim::{
    LinkConfig, LinkQuality, MachineConfig, MachineId, MachineKind, SignalOptions, Sim, WALL_START,
};
use netserv::node::{Event, Node};
use netserv::signaling::nslp::api::{NslpEvent, OrderId};

use crate::order::order_of;

/// The wall clock when a world begins: ms since 1970-01-01 UTC.
pub(crate) const WALL_MS: u64 = WALL_START.as_nanos() / 1_000_000;

/// What a link does to packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Lost, in percent.
    pub(crate) loss: u64,
    /// Sent twice, in percent.
    pub(crate) duplicates: u64,
    /// Held back by up to this long, each by another time; a third goes past others.
    pub(crate) jitter: Duration,
}

pub(crate) struct World {
    pub(crate) sim: Sim,
    events: BTreeMap<MachineId, VecDeque<(Instant, Event)>>,
}

impl World {
    pub(crate) fn seeded(seed: u64) -> World {
        World { sim: Sim::new(seed), events: BTreeMap::new() }
    }

    pub(crate) fn now(&self) -> Instant {
        self.sim.now()
    }

    pub(crate) fn id(&self, name: &str) -> MachineId {
        self.sim.machine(name).unwrap_or_else(|| panic!("no machine {name}"))
    }

    fn add(&mut self, name: &str, kind: MachineKind, addresses: &[&str], signal: Option<SignalOptions>) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let config = MachineConfig { signal, ..MachineConfig::new(name, kind, &addresses) };
        self.sim.add_machine(config).unwrap();
    }

    /// A router that knows nothing of NetServ; or a host.
    pub(crate) fn plain(&mut self, name: &str, addresses: &[&str]) {
        self.add(name, MachineKind::Router, addresses, None);
    }

    /// A node on the path, with this trust file.
    pub(crate) fn node(&mut self, name: &str, addresses: &[&str], trust: &str) {
        let options = SignalOptions { trust: Trust::parse(trust).unwrap(), ..SignalOptions::default() };
        self.add(name, MachineKind::Node, addresses, Some(options));
    }

    /// A user's machine, from which orders come.
    pub(crate) fn initiator(&mut self, name: &str, addresses: &[&str]) {
        self.add(name, MachineKind::Host, addresses, Some(SignalOptions::default()));
    }

    /// Starts a node again: what it stored is all that it has.
    pub(crate) fn start(&mut self, name: &str) {
        let id = self.id(name);
        self.sim.restart(id);
    }

    /// Ends a node as a crash does: its peers hear of it by their streams.
    pub(crate) fn crash(&mut self, name: &str) {
        let id = self.id(name);
        self.sim.crash(id);
    }

    pub(crate) fn link(&mut self, one: &str, other: &str, delay: Duration) {
        let config = LinkConfig::new(self.id(one), self.id(other), LinkQuality::delay(delay));
        self.sim.add_link(config).unwrap();
    }

    pub(crate) fn faults(&mut self, one: &str, other: &str, faults: Faults) {
        let link = self.sim.link_between(self.id(one), self.id(other)).unwrap();
        let quality = self.sim.quality(link).map(|old| LinkQuality {
            delay: old.delay,
            loss: faults.loss as f64 / 100.0,
            duplication: faults.duplicates as f64 / 100.0,
            jitter: faults.jitter,
            reordering: if faults.jitter.is_zero() { 0.0 } else { 0.3 },
            ..LinkQuality::default()
        });
        self.sim.set_quality(link, quality);
    }

    /// From `at`, what is for `to` goes by `via`.
    pub(crate) fn route(&mut self, at: &str, to: &str, via: &str) {
        let (at, via) = (self.id(at), self.id(via));
        assert!(self.sim.set_route(at, to.parse().unwrap(), Some(via)));
    }

    /// A chain of machines.
    pub(crate) fn chain(&mut self, names: &[&str], delay: Duration) {
        names.windows(2).for_each(|pair| self.link(pair[0], pair[1], delay));
    }

    /// Lets time pass until `is_so`, at most for `longest`. Answers whether it became so.
    pub(crate) fn until(&mut self, longest: Duration, mut is_so: impl FnMut(&mut World) -> bool) -> bool {
        let end = self.now() + longest;
        while !is_so(self) {
            if !self.sim.step(end) {
                self.sim.run_until(end);
                return is_so(self);
            }
        }
        true
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now() + time;
        self.sim.run_until(end);
    }

    /// A machine's public key.
    pub(crate) fn key(&self, name: &str) -> [u8; 32] {
        self.sim.key(self.id(name))
    }

    /// The node of a machine, if it runs.
    pub(crate) fn running(&self, name: &str) -> Option<&Node> {
        self.sim.node(self.id(name))
    }

    /// Gives a node something to do from outside, and takes what comes of it.
    pub(crate) fn with<R>(&mut self, name: &str, f: impl FnOnce(&mut Node, Instant) -> R) -> R {
        let id = self.id(name);
        self.sim.with_node(id, f).expect("the node runs")
    }

    /// What an initiator heard of an order so far; taken out.
    pub(crate) fn heard(&mut self, name: &str, id: OrderId) -> Vec<NslpEvent> {
        let machine = self.id(name);
        let events = self.events.entry(machine).or_default();
        events.extend(self.sim.take_events(machine));
        let mut heard = Vec::new();
        events.retain(|(_, event)| {
            let Event::Signal(event) = event else { return true };
            let is_it = order_of(event) == Some(id);
            if is_it {
                heard.push((**event).clone());
            }
            !is_it
        });
        heard
    }
}

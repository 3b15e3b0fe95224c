//! One machine of the network, with all that is on it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use crate::base::crypto::SigningKey;
use crate::base::filter::Filter;
use crate::base::limits::SIM_NODE_EVENTS_MAX;
use crate::base::rng::Rng;
use crate::base::storage::MemoryStores;
use crate::base::time::{Instant, WallTime};
use crate::blocks::hash::Secret;
use crate::container::module::Module;
use crate::container::surroundings::CpuGuard;
use crate::controller::api::{ControllerConfig, StoreOp};
use crate::drivers::sim::config::{MachineConfig, MachineKind};
use crate::drivers::sim::place::Here;
use crate::drivers::sim::stack::Stack;
use crate::drivers::sim::topology::Topology;
use crate::node::{Answer, Event, LinkConfig, LinkKind, Node, NodeConfig, SignalSetup};
use crate::signaling::SignalingConfig;
use crate::signaling::gist::GistConfig;
use crate::signaling::nslp::NslpConfig;
use crate::wire::gist::header::PORT;
use crate::wire::gist::object::PeerIdentity;
use crate::wire::nslp::request::NodeId;

/// The TCP port of a node's signalling.
pub(super) const TCP_PORT: u16 = 270;
/// The TLS port of a node's signalling.
pub(super) const TLS_PORT: u16 = 271;

/// A module that is started with its node.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) module: Module,
    pub(super) name: Option<String>,
    pub(super) properties: toml::Table,
}

/// A machine.
pub(super) struct Computer {
    pub(super) index: usize,
    pub(super) config: MachineConfig,
    pub(super) key: SigningKey,
    pub(super) node: Option<Node>,
    /// Its node was ended on purpose, and is not started by itself.
    pub(super) is_crashed: bool,
    pub(super) is_up: bool,
    pub(super) steer: Vec<Filter>,
    /// When the node wants to be woken.
    pub(super) deadline: Option<Instant>,
    /// When a wake-up of the machine is under way.
    pub(super) wake_at: Option<Instant>,
    pub(super) stack: Stack,
    /// What [`crate::node::Errand::Store`] left behind.
    pub(super) stored: BTreeMap<String, Vec<u8>>,
    pub(super) stores: Rc<MemoryStores>,
    pub(super) modules: Vec<Kept>,
    pub(super) events: VecDeque<(Instant, Event)>,
    pub(super) events_lost: u64,
    pub(super) answers: Vec<(u64, Answer)>,
    rng: Rng,
    /// The network's.
    seed: u64,
    /// Counts the starts of its node: what was asked for in an earlier life is answered to nobody.
    pub(super) life: u32,
    /// The wall clock is ahead of the network's by so much, or behind.
    pub(super) clock_ms: i64,
    /// When the node is done with what it was shown.
    pub(super) busy_until: Instant,
    /// The second for which ICMP errors are counted, and how many there were.
    pub(super) icmp_errors: (u64, u32),
    /// Packets dropped because they were damaged, could not be parsed, or found the node too far behind.
    pub(super) dropped: u64,
}

impl Computer {
    pub(super) fn new(index: usize, config: MachineConfig, topology: Rc<RefCell<Topology>>, seed: u64) -> Computer {
        let key = config.key(seed);
        let mut rng = Rng::seeded(seed ^ name_seed(&config.name));
        let stack = Stack::new(topology, index, rng.next_u64(), key.public());
        Computer {
            index,
            config,
            key,
            node: None,
            is_crashed: false,
            is_up: true,
            steer: Vec::new(),
            deadline: None,
            wake_at: None,
            stack,
            stored: BTreeMap::new(),
            stores: Rc::default(),
            modules: Vec::new(),
            events: VecDeque::new(),
            events_lost: 0,
            answers: Vec::new(),
            rng,
            seed,
            life: 0,
            clock_ms: 0,
            busy_until: Instant::START,
            icmp_errors: (0, 0),
            dropped: 0,
        }
    }

    /// Whether it passes on what is for others.
    pub(super) fn forwards(&self) -> bool {
        !matches!(self.config.kind, MachineKind::Host)
    }

    /// Whether its node is shown what passes.
    pub(super) fn intercepts(&self) -> bool {
        matches!(self.config.kind, MachineKind::Node)
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.rng.next_u64() as u8)
    }

    /// Makes its node anew: what it stored is all that it has.
    pub(super) fn boot(
        &mut self,
        now: Instant,
        clock: &Rc<Cell<Instant>>,
        wall: WallTime,
        topology: &Rc<RefCell<Topology>>,
    ) {
        self.life += 1;
        self.is_crashed = false;
        self.busy_until = now;
        let wall_ns = i128::from(wall.as_nanos()) + i128::from(self.clock_ms) * 1_000_000;
        let mut node = Node::new(NodeConfig {
            flows_max: self.config.flows_max,
            capture: Vec::new(),
            seed: self.rng.next_u64(),
            wall: WallTime::from_nanos(u64::try_from(wall_ns.max(0)).unwrap_or(u64::MAX)),
            cpu: CpuGuard::Safepoints,
        });
        let here = Rc::new(Here {
            topology: Rc::clone(topology),
            machine: self.index,
            location: self.config.location.clone(),
            now: Rc::clone(clock),
        });
        node.set_machine(here.clone());
        node.set_sources(Secret::new(self.bytes()), self.stores.clone());
        if self.intercepts() {
            node.add_link(LinkConfig { name: "tun".to_owned(), kind: LinkKind::Tun });
        }
        node.set_signing_key(self.config.key(self.seed));
        if let Some(setup) = self.signal_setup(here) {
            node.enable_signaling(now, setup, self.stored.clone().into_iter().collect());
        }
        self.node = Some(node);
    }

    fn signal_setup(&mut self, here: Rc<Here>) -> Option<SignalSetup> {
        let options = self.config.signal.clone()?;
        let id = NodeId::of_key(&self.key.public());
        let intercepts = self.intercepts();
        let ports = intercepts.then_some((TCP_PORT, TLS_PORT)).unzip();
        // An initiator has no rights to a low port.
        let udp = if intercepts { PORT } else { self.stack.free_port()? };
        self.stack.open_signal(udp, ports.0, ports.1);
        let gist = GistConfig {
            identity: PeerIdentity(id.0.to_vec()),
            secret: self.bytes(),
            tcp_port: ports.0,
            tls_port: ports.1,
            ..options.gist
        };
        let properties = self.config.all_properties();
        let nslp = NslpConfig { hosts: intercepts, properties: properties.clone(), ..NslpConfig::new(id) };
        let secret = self.bytes();
        Some(SignalSetup {
            signaling: SignalingConfig { gist, nslp, secret, paths: here.clone() },
            controller: ControllerConfig { trust: options.trust, properties, ..ControllerConfig::new(id) },
            machine: here,
            name: self.config.name.clone(),
            intercepts,
        })
    }

    pub(super) fn store(&mut self, op: StoreOp) {
        match op {
            StoreOp::Put { key, bytes } => drop(self.stored.insert(key, bytes)),
            StoreOp::Append { key, bytes } => self.stored.entry(key).or_default().extend(bytes),
            StoreOp::Remove { key } => drop(self.stored.remove(&key)),
        }
    }

    pub(super) fn keep_event(&mut self, now: Instant, event: Event) {
        if self.events.len() >= SIM_NODE_EVENTS_MAX {
            self.events.pop_front();
            self.events_lost += 1;
        }
        self.events.push_back((now, event));
    }

    /// When the node is done with one more packet. `None`: it is too far behind.
    pub(super) fn take_turn(&mut self, now: Instant, lag_max: Duration) -> Option<Instant> {
        let begins = self.busy_until.max(now);
        if begins.since(now) > lag_max {
            return None;
        }
        self.busy_until = begins + self.config.cost;
        Some(self.busy_until)
    }
}

/// A number of a name, so that a machine is the same whatever others there are.
pub(super) fn name_seed(name: &str) -> u64 {
    let digest = crate::base::crypto::sha256(name.as_bytes());
    u64::from_be_bytes(std::array::from_fn(|at| digest[at]))
}

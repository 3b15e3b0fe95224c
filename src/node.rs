//! The core: takes one input at a time, says what to do, owns no descriptor and reads no clock.

mod commands;
mod dispatch;
mod filters;
mod flows;
mod fragments;
mod key;
mod machine;
mod metering;
mod module_signals;
mod services;
mod signal;
mod updates;

pub use crate::controller::instances::{InstanceState, InstanceView, LoadError};
pub use crate::controller::ledger::{Account as UsageAccount, Row as UsageRow, Usage};
pub use crate::node::signal::{Machine, SignalSetup};

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::base::filter::Filter;
use crate::base::id::{FlowId, InstanceId, LinkId};
use crate::base::limits;
use crate::base::machine::MachineChange;
use crate::base::net::{NetEvent, NetOutput, SocketId};
use crate::base::packet::Packet;
use crate::base::stats::{DropReason, Drops, LinkStats};
use crate::base::storage::Stores;
use crate::base::time::{Instant, WallTime};
use crate::base::timer::{Timer, TimerQueue};
use crate::blocks::hash::Secret;
use crate::blocks::metrics::Metrics;
use crate::container::fault::Fault;
use crate::container::grant::Grant;
use crate::container::instance::LogLevel;
use crate::container::module::Module;
use crate::container::services::Registry;
use crate::container::surroundings::{CpuGuard, FlowRecord, FlowView, Surroundings};
use crate::controller::api::{FetchId, FetchProblem, StoreOp};
use crate::controller::instances::Instances;
use crate::controller::ledger::Ledger;
use crate::node::filters::FilterSet;
use crate::node::flows::FlowTable;
use crate::node::fragments::FragmentTable;
use crate::node::module_signals::ModuleSignals;
use crate::node::services::Calls;
use crate::node::signal::Signal;
use crate::node::updates::{Draining, NetTable};
use crate::signaling::io::{SignalInput, SocketOutput};
use crate::signaling::nslp::api::NslpEvent;

/// What a node is made with.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Flows remembered at once.
    pub flows_max: u32,
    /// Captured although no module asks for it: to count it, or to measure.
    pub capture: Vec<Filter>,
    /// For everything random.
    pub seed: u64,
    /// The wall clock at [`Instant::START`].
    pub wall: WallTime,
    /// Who stops a module that runs for too long.
    pub cpu: CpuGuard,
}

/// What a link does with a packet that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// Written back into the same link: the kernel routes it on. It has lost one hop by the detour, which is given back.
    Tun,
    /// Goes out of another link.
    Inline {
        /// The other link; may be added later.
        to: LinkId,
    },
    /// Only looked at: the packet goes its way without the node. Modules that hold packets are refused.
    Tap,
}

/// A link as the driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// The interface's name.
    pub name: String,
    /// What it does with a packet that passes.
    pub kind: LinkKind,
}

/// What becomes of the packet that the driver holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Send it, as it now stands in the driver's buffer, by this link.
    Forward(LinkId),
    /// Forget it. It was counted.
    Drop(DropReason),
    /// The node has taken what it needs; what is to be sent comes out of [`Node::poll`].
    Taken,
}

/// One thing the world tells a node, besides packets.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The deadline of the last [`Output::Idle`] has come.
    Wakeup,
    /// An order; answered by [`Output::Answer`] with the same number.
    Command(u64, Command),
    /// A packet could not be sent although the node said so.
    NotSent(LinkId, DropReason),
    /// Something came to the signalling sockets.
    Signal(SignalInput<'a>),
    /// A package was fetched, or why not.
    Fetched(FetchId, Result<Vec<u8>, FetchProblem>),
    /// Something of the machine has changed.
    MachineChanged(MachineChange),
    /// Something happened to a socket of an instance.
    Net(SocketId, NetEvent<'a>),
}

/// An order to the node.
#[derive(Clone, Debug)]
pub enum Command {
    /// Start a module.
    Load {
        /// The checked module.
        module: Module,
        /// What the instance is called; the module's name if not given. Must be free.
        name: Option<String>,
        /// Its properties, as written by the user; checked here.
        properties: toml::Table,
        /// What its owner grants it; all that its manifest asks for if not given.
        grant: Option<Box<Grant>>,
    },
    /// Put a new version of a module in the place of a running one, with its name, its state and its sockets. If it does
    /// not start, the old one goes on as if nothing had happened.
    Update {
        /// What the instance is called.
        name: String,
        /// The checked module, of the same name.
        module: Module,
        /// Its properties; those of the old version if not given.
        properties: Option<toml::Table>,
        /// What its owner grants; what he granted the old version if not given.
        grant: Option<Box<Grant>>,
        /// How long the old version may go on with the connections that it has;
        /// [`crate::base::limits::UPDATE_DRAIN_DEFAULT`] if not given.
        drain: Option<Duration>,
    },
    /// Stop an instance and forget it.
    Unload {
        /// What it is called.
        name: String,
    },
}

/// The answer to a [`Command`]: the instance's id.
pub type Answer = Result<InstanceId, CommandError>;

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The module cannot run on one of the links.
    #[error(
        "{module} holds or changes packets, which the tap \"{link}\" cannot do: it only sees copies; \
         use a TUN link or an inline pair"
    )]
    Tap {
        /// The module's name.
        module: String,
        /// The link's name.
        link: String,
    },
    /// The module was not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A new version did not take the place of the old one, which runs on.
    #[error("{name} goes on as it was, with version {old}; version {new} cannot take its place: {problem}")]
    Update {
        /// What the instance is called.
        name: String,
        /// The version that runs.
        old: String,
        /// The version that was to run.
        new: String,
        /// Why, as a sentence.
        problem: String,
    },
    /// No such instance.
    #[error("no instance is called \"{name}\"; `netserv status` lists them")]
    NoInstance {
        /// What was asked for.
        name: String,
    },
}

/// Something that a person or a test may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A module wrote a line.
    Log {
        /// The instance's name.
        instance: String,
        /// How much it matters.
        level: LogLevel,
        /// One line.
        text: String,
    },
    /// An instance runs.
    Started {
        /// Its name.
        instance: String,
    },
    /// An instance raised an error; it runs on.
    Erred {
        /// Its name.
        instance: String,
        /// What it did.
        fault: Fault,
    },
    /// An instance failed and was stopped; `restart_in` says when it is started again, `None` that it was unloaded.
    Failed {
        /// Its name.
        instance: String,
        /// What it did.
        fault: Fault,
        /// Time to the restart.
        restart_in: Option<Duration>,
    },
    /// An instance has used up one of its limits. It is not said again for the same limit as long as it goes on.
    OverBudget {
        /// Its name.
        instance: String,
        /// The limit's name in the manifest.
        limit: &'static str,
        /// How long it has to wait this time; zero if it is not it who waits.
        wait: Duration,
    },
    /// An instance was unloaded by order.
    Unloaded {
        /// Its name.
        instance: String,
    },
    /// What an initiator hears of its order.
    Signal(Box<NslpEvent>),
    /// The controller did something that the node's owner should know.
    Note(String),
}

/// What signalling needs of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// For the signalling sockets.
    Socket(SocketOutput),
    /// Fetch a package; answered by [`Input::Fetched`].
    Fetch {
        /// Which.
        id: FetchId,
        /// From where.
        url: String,
        /// Give up when it is larger.
        bytes_max: u64,
        /// Give up after this.
        timeout: Duration,
    },
    /// Nobody waits for this package any more; no answer is needed.
    CancelFetch(FetchId),
    /// Keep something over a restart; before any later errand is done.
    Store(StoreOp),
    /// Tell a web server something, without waiting for what it says.
    Post {
        /// Where: http or https.
        url: String,
        /// JSON.
        body: String,
    },
}

/// One thing a node asks of the world.
#[derive(Debug)]
pub enum Output {
    /// Send `packet` on `link`; give its buffer back with [`Node::recycle`].
    Transmit {
        /// Where.
        link: LinkId,
        /// What.
        packet: Packet,
    },
    /// From now on capture exactly what these filters name.
    Steer(Vec<Filter>),
    /// The answer to a command.
    Answer(u64, Answer),
    /// Something that a person or a test may want to know.
    Event(Event),
    /// What signalling needs of the world.
    Errand(Errand),
    /// For the sockets of instances.
    Net(NetOutput),
    /// Drained. Wait for input, at most until the deadline; [`Timer`] says what for.
    Idle {
        /// When to give [`Input::Wakeup`] at the latest.
        deadline: Option<(Instant, Timer)>,
    },
}

/// The flow cache as modules read it.
struct SharedFlows(Rc<RefCell<FlowTable>>);

impl FlowView for SharedFlows {
    fn flows(&self, instance: InstanceId, count_max: usize) -> Vec<FlowRecord> {
        self.flows_since(instance, None, Instant::START, count_max)
    }

    fn flows_since(
        &self,
        instance: InstanceId,
        after: Option<FlowId>,
        since: Instant,
        count_max: usize,
    ) -> Vec<FlowRecord> {
        self.0.borrow().records(instance, after, since).take(count_max).collect()
    }

    fn slot_count(&self) -> usize {
        self.0.borrow().slot_count()
    }

    fn flow(&self, instance: InstanceId, id: FlowId) -> Option<FlowRecord> {
        self.0.borrow().record_of(instance, id)
    }
}

struct Link {
    config: LinkConfig,
    stats: LinkStats,
}

/// A node. See the crate's documentation for the loop contract.
pub struct Node {
    config: NodeConfig,
    links: Vec<Link>,
    /// Shared with the modules, which read it while they are called; never borrowed across such a call.
    flows: Rc<RefCell<FlowTable>>,
    filters: FilterSet,
    /// Changes with the filters: what was decided for a flow in another epoch must be decided again.
    epoch: u32,
    fragments: FragmentTable,
    instances: Instances,
    timers: TimerQueue,
    sweep_is_set: bool,
    outputs: VecDeque<Output>,
    drops: Drops,
    /// Buffers of packets that were sent.
    pool: Vec<Vec<u8>>,
    segment: Vec<u8>,
    signal: Option<Box<Signal>>,
    /// Libraries for modules that come by signalling.
    libraries: Vec<Module>,
    ledger: Ledger,
    /// The ledger is kept over restarts.
    keeps_usage: bool,
    /// Shared with the modules; changed only while none of them runs.
    services: Rc<RefCell<Registry>>,
    calls: Calls,
    /// Which sockets the instances have.
    net: NetTable,
    /// Old versions that go on with what they have.
    draining: Vec<Draining>,
    module_signals: ModuleSignals,
    /// Whether a look at the watches of modules is due.
    watches_are_set: bool,
}

impl Node {
    /// A node without links and modules.
    #[must_use]
    pub fn new(config: NodeConfig) -> Node {
        let flows = Rc::new(RefCell::new(FlowTable::new(config.flows_max, config.seed)));
        let services = Rc::<RefCell<Registry>>::default();
        let shared = Rc::new(SharedFlows(Rc::clone(&flows)));
        let surroundings = Surroundings {
            services: Rc::clone(&services),
            ..Surroundings::new(config.wall, config.cpu.clone(), shared, config.seed)
        };
        let mut node = Node {
            links: Vec::new(),
            flows,
            filters: FilterSet::new(config.seed),
            epoch: 0,
            fragments: FragmentTable::default(),
            instances: Instances::new(surroundings),
            timers: TimerQueue::default(),
            sweep_is_set: false,
            outputs: VecDeque::new(),
            drops: Drops::default(),
            pool: Vec::new(),
            segment: Vec::new(),
            signal: None,
            libraries: Vec::new(),
            ledger: Ledger::default(),
            keeps_usage: false,
            services,
            calls: Calls::default(),
            net: NetTable::default(),
            draining: Vec::new(),
            module_signals: ModuleSignals::seeded(config.seed),
            watches_are_set: false,
            config,
        };
        node.filters_changed();
        node
    }

    /// Adds a link; ids count from 0.
    ///
    /// # Panics
    ///
    /// At the 257th link.
    pub fn add_link(&mut self, config: LinkConfig) -> LinkId {
        let id = LinkId(u8::try_from(self.links.len()).expect("a node has at most 256 links"));
        self.links.push(Link { config, stats: LinkStats::default() });
        id
    }

    /// Counts a frame that holds no IP packet. It passes inline.
    pub fn frame_without_ip(&mut self, link: LinkId, _wire_bytes: u32) {
        self.links[usize::from(link.0)].stats.not_ip += 1;
    }

    /// Feeds one input. Never fails.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Wakeup => self.expire_timers(now),
            Input::Command(number, command) => {
                let answer = self.obey(now, command);
                self.outputs.push_back(Output::Answer(number, answer));
            }
            Input::NotSent(_, reason) => self.drops.add(reason, 1),
            Input::Signal(input) => self.signal_input(now, input),
            Input::Fetched(id, result) => self.fetched(now, id, result),
            Input::MachineChanged(change) => self.machine_changed(now, change),
            Input::Net(socket, event) => self.net_event(now, socket, event),
        }
        self.carry_signals(now);
        self.carry_calls(now);
        self.end_drained(now);
    }

    /// The next output. Call until [`Output::Idle`].
    pub fn poll(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| {
            let signal = self.signal_deadline().map(|at| (at, Timer::Signaling));
            Output::Idle { deadline: [self.timers.next(), signal].into_iter().flatten().min() }
        })
    }

    /// Takes back the buffer of a packet that was sent.
    pub fn recycle(&mut self, packet: Packet) {
        if self.pool.len() < limits::POOL_BUFFERS_MAX {
            self.pool.push(packet.bytes);
        }
    }

    /// Ends everything: all flows end, all instances get their `stop`. Poll afterwards.
    pub fn shut_down(&mut self, now: Instant, reason: &str) {
        let mut from = 0;
        loop {
            let ended = self.flows.borrow_mut().take_next(&mut from);
            let Some(ended) = ended else { break };
            self.flow_ended(now, &ended);
        }
        let ids: Vec<InstanceId> = self.instances.iter().map(|slot| slot.id).collect();
        for id in ids {
            self.stop_instance(now, id, reason);
        }
        self.save_usage(now);
        self.config.capture.clear();
        self.filters_changed();
    }

    /// The links in the order of their ids, with what they counted.
    pub fn links(&self) -> impl Iterator<Item = (&LinkConfig, LinkStats)> {
        self.links.iter().map(|link| (&link.config, link.stats))
    }

    /// What was dropped and why.
    #[must_use]
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// The instances in the order in which they were loaded.
    #[must_use]
    pub fn instances(&self) -> Vec<InstanceView> {
        self.instances.views()
    }

    /// What an instance's `report` returns; `null` if it has none.
    ///
    /// # Errors
    ///
    /// Why there is none, as a sentence.
    pub fn report(&mut self, now: Instant, instance: &str) -> Result<serde_json::Value, String> {
        let id = self
            .instances
            .by_name(instance)
            .ok_or_else(|| CommandError::NoInstance { name: instance.to_owned() }.to_string())?;
        let slot = self.instances.get(id).expect("it was found by name just now");
        let running = slot.instance.as_mut().ok_or_else(|| format!("{instance} does not run now"))?;
        let result = running.report(now);
        self.take_effects(now, id, None);
        self.settle(now, id);
        match result {
            Ok(report) => Ok(report.unwrap_or(serde_json::Value::Null)),
            Err(fault) => {
                let text = format!("{instance} failed to report: {fault}");
                self.fault(now, id, fault);
                Err(text)
            }
        }
    }

    /// From now on instances get random bytes for secrets, and keep things, by these. Without it both are made of the
    /// seed and of memory, as is right where time is virtual.
    pub fn set_sources(&mut self, secret: Secret, stores: Rc<dyn Stores>) {
        self.instances.set_sources(secret, stores);
    }

    /// Where instances keep things: to ask how much, and to forget what an uninstalled one kept.
    #[must_use]
    pub fn stores(&self) -> &dyn Stores {
        self.instances.stores()
    }

    /// What the running instances show to monitoring, by their names.
    #[must_use]
    pub fn metrics(&self) -> Vec<(&str, Metrics)> {
        self.instances.metrics()
    }

    /// Most flows that the cache holds.
    #[must_use]
    pub const fn flows_max(&self) -> u32 {
        self.config.flows_max
    }

    /// Flows in the cache, and flows that were pushed out because it was full.
    #[must_use]
    pub fn flow_counts(&self) -> (usize, u64) {
        let flows = self.flows.borrow();
        (flows.len(), flows.pushed_out)
    }
}

#[cfg(test)]
mod tests;

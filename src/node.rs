//! The core: takes one input at a time, says what to do, owns no descriptor and reads no clock.

use std::time::Duration;

use crate::base::filter::Filter;
use crate::base::id::{InstanceId, LinkId};
use crate::base::packet::{Packet, PacketMut};
use crate::base::stats::{DropReason, Drops, LinkStats};
use crate::base::time::{Instant, WallTime};
use crate::base::timer::Timer;
use crate::container::instance::LogLevel;
use crate::container::module::Module;
use crate::container::surroundings::CpuGuard;

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
pub enum Input {
    /// The deadline of the last [`Output::Idle`] has come.
    Wakeup,
    /// An order; answered by [`Output::Answer`] with the same number.
    Command(u64, Command),
    /// A packet could not be sent although the node said so.
    NotSent(LinkId, DropReason),
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
    /// An instance failed and was stopped; `restart_in` says when it is started again, `None` that it was unloaded.
    Failed {
        /// Its name.
        instance: String,
        /// What it did.
        fault: crate::container::fault::Fault,
        /// Time to the restart.
        restart_in: Option<Duration>,
    },
    /// An instance was unloaded by order.
    Unloaded {
        /// Its name.
        instance: String,
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
    /// Drained. Wait for input, at most until the deadline; [`Timer`] says what for.
    Idle {
        /// When to give [`Input::Wakeup`] at the latest.
        deadline: Option<(Instant, Timer)>,
    },
}

/// How an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// It runs.
    Running,
    /// It failed, and is started again at this time.
    Waiting {
        /// When.
        restart_at: Instant,
    },
    /// It failed too often. Its name stays taken until it is unloaded, so that the reason can be read.
    Failed,
}

/// An instance as reports show it.
#[derive(Clone, Debug)]
pub struct InstanceView {
    /// Its id.
    pub id: InstanceId,
    /// What it is called.
    pub name: String,
    /// The module's name.
    pub module: String,
    /// The module's version.
    pub version: String,
    /// How it is.
    pub state: InstanceState,
    /// Since when it is in this state.
    pub since: Instant,
    /// What it did wrong last, as a sentence.
    pub last_fault: Option<String>,
    /// Faults by the name of the limit; errors under `error`.
    pub faults: Vec<(String, u64)>,
    /// How often it was started again.
    pub restarts: u32,
    /// Its filters.
    pub filters: Vec<Filter>,
    /// Packets that its handler saw.
    pub packets_seen: u64,
    /// Packets that native rules of its flows answered for, without the handler.
    pub packets_native: u64,
    /// Its own counters.
    pub counters: Vec<(String, u64)>,
    /// Memory of its VM, in bytes.
    pub memory_bytes: u64,
}

/// A node. See the crate's documentation for the loop contract.
pub struct Node {
    _todo: (),
}

impl Node {
    /// A node without links and modules.
    #[must_use]
    pub fn new(_config: NodeConfig) -> Node {
        todo!()
    }

    /// Adds a link; ids count from 0.
    pub fn add_link(&mut self, _link: LinkConfig) -> LinkId {
        todo!()
    }

    /// Feeds a packet where the driver read it, and says what becomes of it. The fast path: nothing is allocated for a
    /// packet of a known flow.
    pub fn packet(&mut self, _now: Instant, _link: LinkId, _packet: &mut PacketMut<'_>) -> Decision {
        todo!()
    }

    /// Counts a frame that holds no IP packet. It passes inline.
    pub fn frame_without_ip(&mut self, _link: LinkId, _wire_bytes: u32) {
        todo!()
    }

    /// Feeds one input. Never fails.
    pub fn handle(&mut self, _now: Instant, _input: Input) {
        todo!()
    }

    /// The next output. Call until [`Output::Idle`].
    pub fn poll(&mut self) -> Output {
        todo!()
    }

    /// Takes back the buffer of a packet that was sent.
    pub fn recycle(&mut self, _packet: Packet) {
        todo!()
    }

    /// Ends everything: all instances get their `stop`, all flows end. Poll afterwards.
    pub fn shut_down(&mut self, _now: Instant, _reason: &str) {
        todo!()
    }

    /// The links in the order of their ids, with what they counted.
    pub fn links(&self) -> impl Iterator<Item = (&LinkConfig, LinkStats)> {
        std::iter::empty()
    }

    /// What was dropped and why.
    #[must_use]
    pub fn drops(&self) -> &Drops {
        todo!()
    }

    /// The instances in the order in which they were loaded.
    #[must_use]
    pub fn instances(&self) -> Vec<InstanceView> {
        todo!()
    }

    /// What an instance's `report` returns.
    ///
    /// # Errors
    ///
    /// Why there is none, as a sentence.
    pub fn report(&mut self, _now: Instant, _instance: &str) -> Result<serde_json::Value, String> {
        todo!()
    }

    /// Flows in the cache, and flows that were pushed out because it was full.
    #[must_use]
    pub fn flow_counts(&self) -> (usize, u64) {
        todo!()
    }
}

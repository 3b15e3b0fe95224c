//! A running module: one VM, its limits, and the effects that wait for the node.

use std::time::Duration;

use crate::base::id::{FlowId, InstanceId, LinkId};
use crate::base::packet::PacketMut;
use crate::base::time::Instant;
use crate::container::fault::Fault;
use crate::container::module::Module;
use crate::container::properties::Properties;
use crate::container::surroundings::{FlowRecord, Surroundings};
use crate::wire::header::Header;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on as it came.
    Pass,
    /// It goes on; the handler changed it.
    Changed,
    /// It is dropped.
    Drop,
    /// The handler turned it into its answer: it goes back to where it came from.
    Reply,
}

/// What a packet handler returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of the packet.
    pub action: Action,
    /// The same for all further packets of the flow, without asking the handler: a native rule. Pass and drop only.
    pub whole_flow: bool,
}

/// Where a packet that a module made leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendTo {
    /// By the link that the packet at hand would go on by; outside of a packet handler, the node's first link.
    Onward,
    /// By the link that the packet at hand came from; outside of a packet handler, the node's first link.
    Back,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For the module's author.
    Debug,
    /// A state that a user sees.
    Info,
    /// Somebody should look.
    Warn,
}

/// What module code asked for while it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a packet; it is checked to be valid IP, its checksums are complete.
    Send {
        /// From the IP header on.
        bytes: Vec<u8>,
        /// Where to.
        to: SendTo,
    },
    /// A line for the log.
    Log {
        /// How much it matters.
        level: LogLevel,
        /// At most [`crate::base::limits::LOG_LINE_BYTES_MAX`] bytes.
        text: String,
    },
    /// Call [`Instance::on_timer`] with `number` after `delay`.
    SetTimer {
        /// The instance's own number for it.
        number: u32,
        /// From now.
        delay: Duration,
    },
}

/// A running module.
///
/// After each call take the effects with [`Instance::next_effect`] until there is none.
pub struct Instance {
    _todo: (),
}

impl Instance {
    /// Makes the VM, runs the module's entry file and its `start`.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn start(
        _id: InstanceId,
        _module: &Module,
        _properties: &Properties,
        _surroundings: &Surroundings,
        _now: Instant,
    ) -> Result<Instance, Fault> {
        todo!()
    }

    /// Shows a packet to the module, and puts its changes into the packet, with right lengths and checksums.
    ///
    /// # Errors
    ///
    /// The fault of the module; the packet is then as it came.
    pub fn on_packet(
        &mut self,
        _now: Instant,
        _link: LinkId,
        _flow: FlowId,
        _header: &Header,
        _packet: &mut PacketMut<'_>,
    ) -> Result<Verdict, Fault> {
        todo!()
    }

    /// A timer is due. Does nothing when it was cancelled.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn on_timer(&mut self, _now: Instant, _number: u32) -> Result<(), Fault> {
        todo!()
    }

    /// Whether the module wants to know when flows end: it has an `on_flow_end`.
    #[must_use]
    pub fn wants_flow_ends(&self) -> bool {
        todo!()
    }

    /// A flow that it looked at is forgotten.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn on_flow_end(&mut self, _now: Instant, _flow: &FlowRecord) -> Result<(), Fault> {
        todo!()
    }

    /// What the module's `report` returns; `None` if it has none.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn report(&mut self, _now: Instant) -> Result<Option<serde_json::Value>, Fault> {
        todo!()
    }

    /// Runs the module's `stop`, if it has one.
    ///
    /// # Errors
    ///
    /// The fault of the module.
    pub fn stop(&mut self, _now: Instant, _reason: &str) -> Result<(), Fault> {
        todo!()
    }

    /// What the last call asked for, in order.
    pub fn next_effect(&mut self) -> Option<Effect> {
        todo!()
    }

    /// The module's counters, in the order of their names.
    #[must_use]
    pub fn counters(&self) -> Vec<(&str, u64)> {
        todo!()
    }

    /// Memory that the VM uses, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        todo!()
    }
}

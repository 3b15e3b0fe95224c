//! What an instance is given from outside.

use std::cell::RefCell;
use std::rc::Rc;

use crate::base::id::{FlowId, InstanceId};
use crate::base::machine::{FixedMachine, MachineView};
use crate::base::storage::{MemoryStores, Stores};
use crate::base::time::{Instant, WallTime};
use crate::blocks::hash::Secret;
use crate::container::permissions::Allowed;
use crate::container::services::Registry;

/// One flow (one direction) as a module sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// The flow.
    pub id: FlowId,
    /// 4 or 6.
    pub ip_version: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Source, as [`crate::base::filter::address_bits`].
    pub source: u128,
    /// Destination, as [`crate::base::filter::address_bits`].
    pub destination: u128,
    /// Source and destination port, where the protocol has ports.
    pub ports: Option<(u16, u16)>,
    /// Whether these are later fragments, which have no ports.
    pub fragments: bool,
    /// Packets so far; a super-packet counts as its segments.
    pub packets: u64,
    /// Bytes so far, as on the wire of the link.
    pub bytes: u64,
    /// When the first packet came.
    pub first_seen: Instant,
    /// When the last packet came.
    pub last_seen: Instant,
}

/// The flow cache as modules may read it. Not to be asked while the node itself changes it.
pub trait FlowView {
    /// The flows that `instance` looks at, at most `count_max`, in the order of their slots.
    fn flows(&self, instance: InstanceId, count_max: usize) -> Vec<FlowRecord>;
    /// The same of those that had a packet at or after `since`, and whose slots come after that of `after`: so that all
    /// can be read in parts, and silent ones only once.
    fn flows_since(
        &self,
        instance: InstanceId,
        after: Option<FlowId>,
        since: Instant,
        count_max: usize,
    ) -> Vec<FlowRecord> {
        let wanted = |flow: &FlowRecord| after.is_none_or(|a| flow.id.slot() > a.slot()) && flow.last_seen >= since;
        self.flows(instance, usize::MAX).into_iter().filter(wanted).take(count_max).collect()
    }
    /// Slots that one call of [`FlowView::flows_since`] may look through.
    fn slot_count(&self) -> usize {
        0
    }
    /// One flow, if `instance` looks at it.
    fn flow(&self, instance: InstanceId, id: FlowId) -> Option<FlowRecord>;
}

/// Who stops a module that runs for too long.
#[derive(Clone, Debug)]
pub enum CpuGuard {
    /// A thread of the driver that calls [`crate::container::watch::Watch::tick`] once per millisecond.
    Watch(crate::container::watch::Watch),
    /// Safepoints are counted, so that a run can be repeated exactly: virtual time.
    Safepoints,
}

/// What an instance is given when it starts.
#[derive(Clone)]
pub struct Surroundings {
    /// The wall clock at [`Instant::START`].
    pub wall: WallTime,
    /// Who stops a call that runs for too long.
    pub cpu: CpuGuard,
    /// The flows that it looks at.
    pub flows: Rc<dyn FlowView>,
    /// What its owner grants of what its manifest asks for; `None` = all of it.
    pub grant: Option<Rc<Allowed>>,
    /// The services of the node. Changed only while no module runs.
    pub services: Rc<RefCell<Registry>>,
    /// The machine that the node runs on.
    pub machine: Rc<dyn MachineView>,
    /// For its random numbers.
    pub seed: u64,
    /// For its random bytes that nobody can guess.
    pub secret: Secret,
    /// What instances keep over restarts.
    pub stores: Rc<dyn Stores>,
    /// What the instance is called: what it keeps is kept under this name.
    pub name: String,
}

impl Surroundings {
    /// Without anything that a driver may add: secrets come from the seed, and what is kept is kept in memory.
    #[must_use]
    pub fn new(wall: WallTime, cpu: CpuGuard, flows: Rc<dyn FlowView>, seed: u64) -> Surroundings {
        Surroundings {
            wall,
            cpu,
            flows,
            grant: None,
            services: Rc::default(),
            machine: Rc::<FixedMachine>::default(),
            seed,
            secret: Secret::from_seed(seed),
            stores: Rc::new(MemoryStores::default()),
            name: String::new(),
        }
    }
}

//! Limits that are watched natively: load, memory, and how much flows carry. A module is called only when one is
//! crossed; it polls nothing, and no packet is slower for it.

use std::collections::BTreeMap;

use crate::base::id::{FlowId, InstanceId};
use crate::base::limits::WATCHES_MAX;
use crate::base::machine::MachineLoad;
use crate::base::time::Instant;
use crate::container::surroundings::{FlowRecord, FlowView};

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Subject {
    /// The load average of one minute.
    Load,
    /// Memory that is free, in bytes; crossed when there is less.
    MemoryFree,
    /// One flow.
    Flow(FlowId),
    /// All flows from and to an address, as [`crate::base::filter::address_bits`], of those that the module looks at.
    Host(u128),
    /// All flows that the module looks at.
    All,
}

/// What of a flow is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Bytes in all.
    Bytes,
    /// Packets in all.
    Packets,
    /// Bits per second since the last look.
    Rate,
}

struct Watch {
    subject: Subject,
    measure: Measure,
    limit: f64,
    /// It is crossed, and was told.
    is_over: bool,
    /// What flows have carried that are over: bytes and packets.
    gone: [u64; 2],
    /// Bytes at the last look, and when that was.
    last: Option<(u64, Instant)>,
}

/// The watches of one instance.
#[derive(Default)]
pub(crate) struct Watches {
    next: u32,
    watches: BTreeMap<u32, Watch>,
}

impl Watches {
    /// Adds one.
    ///
    /// # Errors
    ///
    /// The sentence that names the limit.
    pub(crate) fn add(&mut self, subject: Subject, measure: Measure, limit: f64) -> Result<u32, String> {
        if !limit.is_finite() || limit < 0.0 {
            return Err(format!("a limit is a number from 0 on, not {limit}"));
        }
        if self.watches.len() >= WATCHES_MAX {
            return Err(format!("limit watches ({WATCHES_MAX}) exceeded; cancel some"));
        }
        self.next = self.next.wrapping_add(1);
        self.watches.insert(self.next, Watch { subject, measure, limit, is_over: false, gone: [0; 2], last: None });
        Ok(self.next)
    }

    pub(crate) fn cancel(&mut self, number: u32) {
        self.watches.remove(&number);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// A flow is over: what it carried still counts.
    pub(crate) fn flow_ended(&mut self, flow: &FlowRecord) {
        for watch in self.watches.values_mut().filter(|watch| watch.subject.covers(flow)) {
            watch.gone[0] += flow.bytes;
            watch.gone[1] += flow.packets;
        }
    }

    /// Those that are crossed now and were not before, with the value.
    pub(crate) fn crossed(
        &mut self,
        now: Instant,
        id: InstanceId,
        load: Option<MachineLoad>,
        flows: &dyn FlowView,
    ) -> Vec<(u32, f64)> {
        let needs_all = |watch: &Watch| matches!(watch.subject, Subject::Host(_) | Subject::All);
        let all = if self.watches.values().any(needs_all) { flows.flows(id, usize::MAX) } else { Vec::new() };
        let mut crossed = Vec::new();
        for (number, watch) in &mut self.watches {
            let sum = |flows: &[FlowRecord]| {
                let of = flows.iter().filter(|flow| watch.subject.covers(flow));
                of.fold(watch.gone, |sum, flow| [sum[0] + flow.bytes, sum[1] + flow.packets])
            };
            let value = match watch.subject {
                Subject::Load => load.map(|load| load.load[0]),
                Subject::MemoryFree => load.map(|load| load.memory_free_bytes as f64),
                Subject::Flow(flow) => {
                    let totals = sum(flows.flow(id, flow).as_slice());
                    watch.value(now, totals)
                }
                Subject::Host(_) | Subject::All => {
                    let totals = sum(&all);
                    watch.value(now, totals)
                }
            };
            let Some(value) = value else { continue };
            let is_over = if watch.subject == Subject::MemoryFree { value < watch.limit } else { value > watch.limit };
            if is_over && !watch.is_over {
                crossed.push((*number, value));
            }
            watch.is_over = is_over;
        }
        crossed
    }
}

impl Watch {
    fn value(&mut self, now: Instant, [bytes, packets]: [u64; 2]) -> Option<f64> {
        match self.measure {
            Measure::Bytes => Some(bytes as f64),
            Measure::Packets => Some(packets as f64),
            Measure::Rate => {
                let (before, at) = self.last.replace((bytes, now))?;
                let seconds = now.since(at).as_secs_f64();
                (seconds > 0.0).then(|| bytes.saturating_sub(before) as f64 * 8.0 / seconds)
            }
        }
    }
}

impl Subject {
    fn covers(self, flow: &FlowRecord) -> bool {
        match self {
            Subject::Load | Subject::MemoryFree => false,
            Subject::Flow(id) => flow.id == id,
            Subject::Host(address) => flow.source == address || flow.destination == address,
            Subject::All => true,
        }
    }
}

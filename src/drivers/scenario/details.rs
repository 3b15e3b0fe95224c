//! What one can read of single machines: their status, and the last lines that their modules wrote.

use std::collections::{BTreeMap, VecDeque};

use crate::base::limits::SCENARIO_LOG_LINES_MAX;
use crate::base::time::Instant;
use crate::dashboard::scene::{Detail, Moment};
use crate::dashboard::status::Status;
use crate::drivers::sim::{MachineId, Sim};

/// Seconds between two looks at all machines.
const PERIOD_S: f64 = 1.0;

/// What was told of the machines.
#[derive(Default)]
pub(super) struct Details {
    logs: BTreeMap<usize, VecDeque<String>>,
    /// The status without the uptime, and the number of log lines: what changed since is told.
    told: BTreeMap<usize, (serde_json::Value, u64)>,
    lines: BTreeMap<usize, u64>,
    next_s: f64,
}

impl Details {
    /// A line of a module, or about one.
    pub(super) fn log(&mut self, machine: usize, at_s: f64, text: &str) {
        let log = self.logs.entry(machine).or_default();
        if log.len() >= SCENARIO_LOG_LINES_MAX {
            log.pop_front();
        }
        log.push_back(format!("{at_s:.3} {text}"));
        *self.lines.entry(machine).or_default() += 1;
    }

    /// Puts what changed into a moment, once per second.
    pub(super) fn tell(&mut self, sim: &Sim, moment: &mut Moment) {
        if moment.at_s < self.next_s {
            return;
        }
        self.next_s = moment.at_s + PERIOD_S;
        for machine in 0..sim.counts().0 {
            let status = match sim.node(MachineId(machine)) {
                Some(node) => status_of(node, sim.now()),
                None => serde_json::Value::Null,
            };
            let mut compared = status.clone();
            if let Some(table) = compared.as_object_mut() {
                table.remove("uptime_s");
            }
            let now = (compared, self.lines.get(&machine).copied().unwrap_or_default());
            if self.told.get(&machine) != Some(&now) {
                self.told.insert(machine, now);
                let log = self.logs.get(&machine).into_iter().flatten().cloned().collect();
                moment.details.push(Detail { machine, status, log });
            }
        }
    }
}

fn status_of(node: &crate::node::Node, now: Instant) -> serde_json::Value {
    // Its keys are texts, and its numbers finite.
    serde_json::to_value(Status::of(node, now)).unwrap_or_default()
}

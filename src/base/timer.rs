//! Deadlines, each with a name, and the queue that finds the next one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::id::InstanceId;
use crate::base::time::Instant;

/// What a deadline is for: what happens when it fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Looks at a part of the flow cache for flows that have been silent for too long.
    FlowSweep,
    /// Calls a function of a module instance; `u32` is the instance's own number for it.
    Module(InstanceId, u32),
    /// Starts an instance again whose last run ended in a fault.
    InstanceRestart(InstanceId),
    /// An instance that had to wait for its share of CPU or bandwidth goes on.
    InstanceBudget(InstanceId),
    /// Keeps the ledger.
    LedgerSave,
    /// An old version of a module has drained for long enough, or its listeners have waited for long enough.
    Drain(InstanceId),
    /// Looks at limits that modules watch.
    Watches,
    /// A call of a service has had no answer for too long, or calls wait for their turn.
    ServiceCalls,
    /// Signalling: retries, refreshes, lifetimes. Never queued: those who own these deadlines keep them.
    Signaling,
}

/// Deadlines in order; equal ones in the order in which they were set.
///
/// A cancelled timer stays queued and must be recognised as stale by its owner when it fires.
#[derive(Debug, Default)]
pub struct TimerQueue {
    heap: BinaryHeap<Reverse<(Instant, u64, Timer)>>,
    set_count: u64,
}

impl TimerQueue {
    /// Adds a deadline.
    pub fn set(&mut self, at: Instant, timer: Timer) {
        self.set_count += 1;
        self.heap.push(Reverse((at, self.set_count, timer)));
    }

    /// The next deadline.
    #[must_use]
    pub fn next(&self) -> Option<(Instant, Timer)> {
        self.heap.peek().map(|Reverse((at, _, timer))| (*at, *timer))
    }

    /// Takes out the next timer whose deadline is not after `now`.
    pub fn expire(&mut self, now: Instant) -> Option<Timer> {
        match self.next() {
            Some((at, timer)) if at <= now => {
                self.heap.pop();
                Some(timer)
            }
            _ => None,
        }
    }

    /// Forgets all timers for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&Timer) -> bool) {
        self.heap.retain(|Reverse((_, _, timer))| keep(timer));
    }

    /// How many timers wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no timer waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_deadlines_fire_in_the_order_in_which_they_were_set() {
        let mut queue = TimerQueue::default();
        let at = Instant::from_nanos(5);
        queue.set(at, Timer::Module(InstanceId(2), 0));
        queue.set(at, Timer::Module(InstanceId(1), 0));
        queue.set(Instant::from_nanos(9), Timer::FlowSweep);
        assert_eq!(queue.expire(Instant::from_nanos(4)), None);
        assert_eq!(queue.expire(at), Some(Timer::Module(InstanceId(2), 0)));
        assert_eq!(queue.expire(at), Some(Timer::Module(InstanceId(1), 0)));
        assert_eq!(queue.expire(at), None);
        queue.retain(|t| *t != Timer::FlowSweep);
        assert!(queue.is_empty());
    }
}

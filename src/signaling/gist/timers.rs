//! Deadlines of entries and associations: at most one for each, so that nothing stale piles up.

use std::collections::BTreeSet;

use crate::base::time::Instant;
use crate::signaling::gist::routing::EntryId;
use crate::signaling::io::StreamId;

/// Whose deadline it is; the owner knows what is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Of a routing entry.
    Entry(EntryId),
    /// Of a messaging association.
    Association(StreamId),
}

/// All deadlines in order.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    /// Moves an owner's deadline. `armed` is where the owner remembers it.
    pub(super) fn set(&mut self, armed: &mut Option<Instant>, to: Option<Instant>, timer: Timer) {
        if *armed == to {
            return;
        }
        if let Some(old) = *armed {
            self.queue.remove(&(old, timer));
        }
        if let Some(new) = to {
            self.queue.insert((new, timer));
        }
        *armed = to;
    }

    /// Takes out the next timer that is due. Its owner must forget that it was armed.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Timer> {
        let first = *self.queue.first()?;
        if first.0 > now {
            return None;
        }
        self.queue.remove(&first);
        Some(first.1)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

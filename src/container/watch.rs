//! The kill that cannot be caught: notices a call that runs for too long, and arms Luau's interrupt.
//!
//! No clock is read. The thread beside the loop counts its own milliseconds ([`Watch::tick`]), and compares what the
//! loop says it is doing. A call costs the loop two relaxed stores. Only when a call lasts does the thread arm the VM's
//! interrupt, which then runs in the loop's own thread at the next safepoint.
//!
//! A machine under load may keep the loop off the processor in the middle of a short call. So that such a call is not
//! killed, the count stands still at each quarter of the limit until the interrupt has shown that the call does run.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::container::vm::trigger::Trigger;

/// Into how many parts a call's time is cut; in each of them it must be seen to run.
const CHECKPOINTS: u64 = 4;
/// Bits of a call's number; above them stands the seat.
const CALL_BITS: u32 = 48;

/// Shared between one loop, which says when module code runs, and the thread that watches it.
#[derive(Clone, Default)]
pub struct Watch {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The call that runs now; 0 if none.
    running: AtomicU64,
    observed: Mutex<Observed>,
}

/// What the watching thread knows. The lock is taken once per call that lasts longer than a tick, never by others.
#[derive(Default)]
struct Observed {
    seats: Vec<Option<Watched>>,
    /// The call that was running at the last tick, and for how many ticks.
    call: u64,
    ticks: u64,
    /// Checkpoints at which it was seen to run.
    checkpoints: u64,
    /// The interrupt is armed for `call` and has not run yet.
    armed: bool,
}

struct Watched {
    trigger: Trigger,
    limit_ms: u64,
}

impl Watch {
    /// To be called once per millisecond by a thread beside the loop. Ticks that were missed must not be made up for.
    pub fn tick(&self) {
        let call = self.shared.running.load(Ordering::Relaxed);
        if call == 0 {
            return;
        }
        let mut observed = self.shared.lock();
        if observed.call != call {
            *observed = Observed { seats: std::mem::take(&mut observed.seats), call, ..Observed::default() };
        }
        if observed.armed || observed.checkpoints == CHECKPOINTS {
            return;
        }
        observed.ticks += 1;
        let (ticks, checkpoints) = (observed.ticks, observed.checkpoints);
        let Some(Some(watched)) = observed.seats.get(seat_of(call)) else { return };
        // One tick more than the limit: the first one came some time within the first millisecond.
        if (ticks - 1) * CHECKPOINTS >= watched.limit_ms * (checkpoints + 1) {
            watched.trigger.arm();
            observed.armed = true;
        }
    }

    /// Gives a VM its place. Its calls are killed once they have taken `limit_ms`.
    pub(crate) fn seat(&self, trigger: Trigger, limit_ms: u64) -> Seat {
        let mut observed = self.shared.lock();
        // The calls of this seat begin to count anew: none of them may be taken for one of its last VM's.
        *observed = Observed { seats: std::mem::take(&mut observed.seats), ..Observed::default() };
        let watched = Some(Watched { trigger, limit_ms });
        let index = match observed.seats.iter().position(Option::is_none) {
            Some(free) => {
                observed.seats[free] = watched;
                free
            }
            None => {
                observed.seats.push(watched);
                observed.seats.len() - 1
            }
        };
        Seat { shared: Arc::clone(&self.shared), base: (index as u64) << CALL_BITS, count: Cell::new(0) }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("running", &self.shared.running).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seat_of(call: u64) -> usize {
    (call >> CALL_BITS) as usize
}

/// The place of one VM.
pub(crate) struct Seat {
    shared: Arc<Shared>,
    base: u64,
    /// Calls so far.
    count: Cell<u64>,
}

impl Seat {
    /// Module code begins to run.
    pub(crate) fn enter(&self) {
        // Never 0, so that a call is always told from none.
        self.count.set(self.count.get() % ((1 << CALL_BITS) - 1) + 1);
        self.resume();
    }

    /// Module code has ended, or time begins that is not its own.
    pub(crate) fn leave(&self) {
        self.shared.running.store(0, Ordering::Relaxed);
    }

    /// Goes on with the call after [`Seat::leave`]: its time so far still counts.
    pub(crate) fn resume(&self) {
        self.shared.running.store(self.base | self.count.get(), Ordering::Relaxed);
    }

    /// The interrupt runs in the call at hand: whether it must end now.
    ///
    /// An interrupt that was armed too late, for a call that is over, is disarmed and forgotten.
    pub(crate) fn must_end(&self) -> bool {
        let call = self.base | self.count.get();
        let mut observed = self.shared.lock();
        if observed.call == call && observed.armed {
            observed.armed = false;
            observed.checkpoints += 1;
            if observed.checkpoints == CHECKPOINTS {
                return true;
            }
        }
        if let Some(Some(watched)) = observed.seats.get(seat_of(call)) {
            watched.trigger.disarm();
        }
        false
    }
}

impl Seat {
    /// Gives the place back: from now on the trigger is not used any more. To be called once, before the VM goes.
    pub(crate) fn give_back(&self) {
        let mut observed = self.shared.lock();
        if let Some(seat) = observed.seats.get_mut(seat_of(self.base)) {
            *seat = None;
        }
    }
}

#[cfg(test)]
mod tests;

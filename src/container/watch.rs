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

/// How often the clock is read to learn what that takes.
const READINGS: u32 = 64;
/// Into how many parts a call's time is cut; in each of them it must be seen to run.
const CHECKPOINTS: u64 = 4;
/// Bits of a call's number; above them stands the seat.
const CALL_BITS: u32 = 48;

/// Time of a clock, in ns. It counts the CPU time of the thread that asks, or any time that passes at least as fast.
pub type CpuClock = fn() -> u64;

/// Shared between one loop, which says when module code runs, and the thread that watches it.
#[derive(Clone)]
pub struct Watch {
    shared: Arc<Shared>,
    clock: CpuClock,
    /// What reading the clock takes, in ns: a call that takes no time at all seems to take so long.
    reading_ns: u64,
}

impl Default for Watch {
    /// Without a clock: only what the thread sees of long calls is measured.
    fn default() -> Self {
        Watch::with_clock(|| 0)
    }
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
    unmeasured_ms: Arc<AtomicU64>,
}

/// Ticks after which a call counts as long: from then on the thread measures it, unless the loop does.
const LONG_TICKS: u64 = 4;

impl Watch {
    /// The clock measures what calls take; it is read in the loop's thread.
    #[must_use]
    pub fn with_clock(clock: CpuClock) -> Watch {
        let readings = (0..READINGS).map(|_| {
            let began = clock();
            clock().saturating_sub(began)
        });
        Watch { shared: Arc::default(), clock, reading_ns: readings.min().unwrap_or(0) }
    }

    /// What measures calls, and what measuring nothing with it gives, in ns.
    pub(crate) fn clock(&self) -> (CpuClock, u64) {
        (self.clock, self.reading_ns)
    }

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
        if ticks >= LONG_TICKS {
            let ms = if ticks == LONG_TICKS { LONG_TICKS - 1 } else { 1 };
            watched.unmeasured_ms.fetch_add(ms, Ordering::Relaxed);
        }
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
        let unmeasured_ms = Arc::new(AtomicU64::new(0));
        let watched = Some(Watched { trigger, limit_ms, unmeasured_ms: Arc::clone(&unmeasured_ms) });
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
        let shared = Arc::clone(&self.shared);
        Seat { shared, base: (index as u64) << CALL_BITS, count: Cell::new(0), unmeasured_ms }
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
    /// What the thread saw of long calls.
    unmeasured_ms: Arc<AtomicU64>,
}

impl Seat {
    /// Which seat it is.
    pub(crate) fn number(&self) -> u32 {
        (self.base >> CALL_BITS) as u32
    }

    /// What the thread has seen of long calls since this was last asked, in ms.
    pub(crate) fn take_unmeasured_ms(&self) -> u64 {
        if self.unmeasured_ms.load(Ordering::Relaxed) == 0 { 0 } else { self.unmeasured_ms.swap(0, Ordering::Relaxed) }
    }

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

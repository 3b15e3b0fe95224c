//! Ends calls that take too long, in a way that module code cannot catch.
#![expect(unsafe_code, reason = "Luau calls the interrupt with its raw state")]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use mlua::ffi;

use crate::base::limits::SAFEPOINTS_PER_MS;
use crate::container::surroundings::CpuGuard;
use crate::container::vm::host::Host;
use crate::container::vm::meter::{LONG_NS, Meter};
use crate::container::vm::tier;
use crate::container::vm::trigger::Trigger;
use crate::container::watch::Seat;

/// Bytes of a fresh allocation that stand for one safepoint where time is virtual: about what filling them takes.
const BYTES_PER_SAFEPOINT: u64 = 32;
/// Where time is virtual, each safepoint of a VM that ever made an object this large counts for more: one operation may
/// walk all of it. The longest packet is below it.
const LARGE_OBJECT_BYTES: u64 = 1 << 17;
/// How much more, for each [`LARGE_OBJECT_BYTES`] of a string: two of them may be compared.
const LARGE_STRING_SAFEPOINTS: u64 = 128;
/// How much more, for each [`LARGE_OBJECT_BYTES`] of anything else: a table that was emptied may be looked through.
const LARGE_TABLE_SAFEPOINTS: u64 = 1;

/// Counts, or lets count, what a call takes.
pub(crate) struct Guard {
    kind: Kind,
    /// A call was ended. From then on every safepoint ends what runs.
    killed: Cell<bool>,
    /// Calls so far.
    calls: Cell<u64>,
    /// The VM has run for so long that machine code is worth its price. True once.
    is_hot: Cell<bool>,
    was_hot: Cell<bool>,
}

enum Kind {
    Watch(Seat, Meter),
    Safepoints { per_call: u64, left: Cell<u64>, each: Cell<u64>, used: Cell<u64> },
}

impl Guard {
    /// # Safety
    ///
    /// The callbacks must live until [`Guard::end`].
    pub(super) unsafe fn new(cpu: &CpuGuard, limit_ms: u64, callbacks: NonNull<ffi::lua_Callbacks>) -> Self {
        let kind = match cpu {
            CpuGuard::Watch(watch) => {
                // SAFETY: `end` gives the seat back, and the trigger with it.
                let seat = watch.seat(unsafe { Trigger::new(callbacks, interrupt) }, limit_ms);
                let meter = Meter::new(watch.clock(), seat.number());
                Kind::Watch(seat, meter)
            }
            CpuGuard::Safepoints => {
                // SAFETY: the callbacks live, and no other thread knows of them.
                unsafe {
                    (*callbacks.as_ptr()).interrupt = Some(interrupt);
                    (*callbacks.as_ptr()).onallocate = Some(on_allocate);
                }
                let per_call = limit_ms.saturating_mul(SAFEPOINTS_PER_MS);
                let (left, each, used) = (Cell::new(per_call), Cell::new(1), Cell::new(0));
                Kind::Safepoints { per_call, left, each, used }
            }
        };
        let (is_hot, was_hot) = (Cell::new(false), Cell::new(false));
        Guard { kind, killed: Cell::new(false), calls: Cell::new(0), is_hot, was_hot }
    }

    /// The VM goes: nobody may arm its interrupt any more.
    pub(super) fn end(&self) {
        if let Kind::Watch(seat, _) = &self.kind {
            seat.give_back();
        }
    }

    /// A call begins.
    #[inline]
    pub(crate) fn enter(&self) {
        self.calls.set(self.calls.get() + 1);
        match &self.kind {
            Kind::Watch(seat, meter) => {
                meter.enter();
                seat.enter();
            }
            Kind::Safepoints { per_call, left, .. } => left.set(*per_call),
        }
    }

    /// A call has ended.
    #[inline]
    pub(crate) fn leave(&self) {
        match &self.kind {
            Kind::Watch(seat, meter) => {
                seat.leave();
                if let Some(ns) = meter.leave() {
                    self.settle(seat, meter, ns);
                }
            }
            Kind::Safepoints { per_call, left, used, .. } => {
                used.set(used.get() + per_call - left.get());
                self.heat();
            }
        }
    }

    /// A call was measured. What the watching thread saw of calls that were not is added; it may have seen this one too.
    #[cold]
    fn settle(&self, seat: &Seat, meter: &Meter, measured_ns: u64) {
        let seen_ns = seat.take_unmeasured_ms() * 1_000_000;
        meter.add_ns(seen_ns.saturating_sub(if measured_ns >= LONG_NS { measured_ns } else { 0 }));
        self.heat();
    }

    fn heat(&self) {
        if !self.was_hot.get() && (self.calls.get() >= tier::CALLS_MIN || self.cpu_ns() >= tier::CPU_NS_MIN) {
            self.was_hot.set(true);
            self.is_hot.set(true);
        }
    }

    /// Whether it is time for machine code; says so once.
    #[inline]
    pub(super) fn take_hot(&self) -> bool {
        self.is_hot.get() && self.is_hot.replace(false)
    }

    /// The next call is measured by itself.
    pub(super) fn measure_next(&self) {
        if let Kind::Watch(_, meter) = &self.kind {
            meter.measure_next();
        }
    }

    /// CPU time of all calls so far, in ns; where time is virtual, by the safepoints.
    pub(crate) fn cpu_ns(&self) -> u64 {
        match &self.kind {
            Kind::Watch(_, meter) => meter.used_ns(),
            Kind::Safepoints { used, .. } => used.get() * (1_000_000 / SAFEPOINTS_PER_MS),
        }
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.get()
    }

    /// Does work of the node's own for this module, whose CPU time counts for it. Where time is virtual it is worth so many
    /// safepoints.
    pub(crate) fn work<T>(&self, safepoints: u64, work: impl FnOnce() -> T) -> T {
        match &self.kind {
            Kind::Watch(_, meter) => meter.work(work),
            Kind::Safepoints { used, .. } => {
                used.set(used.get() + safepoints);
                work()
            }
        }
    }

    /// Time that is not the module's own, such as compiling its files, until the answer is dropped.
    pub(crate) fn pause(&self) -> Pause<'_> {
        if let Kind::Watch(seat, _) = &self.kind {
            seat.leave();
        }
        Pause(self)
    }

    /// Whether a call was ended. The VM must not be used any more.
    pub(crate) fn killed(&self) -> bool {
        self.killed.get()
    }

    /// Whether work that Luau does between two safepoints must be said with [`Guard::charge`].
    pub(crate) fn counts(&self) -> bool {
        matches!(self.kind, Kind::Safepoints { .. })
    }

    /// Counts work that is worth so many safepoints. Only where time is virtual: there is no clock that would see it.
    pub(crate) fn charge(&self, safepoints: u64) {
        if let Kind::Safepoints { left, .. } = &self.kind {
            left.set(left.get().saturating_sub(safepoints));
        }
    }

    fn allocated(&self, bytes: u64, is_string: bool) {
        if let Kind::Safepoints { each, .. } = &self.kind {
            let more = if is_string { LARGE_STRING_SAFEPOINTS } else { LARGE_TABLE_SAFEPOINTS };
            let weight = 1 + bytes / LARGE_OBJECT_BYTES * more;
            each.set(each.get().max(weight));
        }
        self.charge(bytes / BYTES_PER_SAFEPOINT);
    }

    fn must_end(&self) -> bool {
        let ends = self.killed.get()
            || match &self.kind {
                Kind::Watch(seat, _) => seat.must_end(),
                Kind::Safepoints { left, each, .. } => {
                    left.set(left.get().saturating_sub(each.get()));
                    left.get() == 0
                }
            };
        self.killed.set(ends);
        ends
    }
}

/// See [`Guard::pause`].
pub(crate) struct Pause<'a>(&'a Guard);

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        if let Kind::Watch(seat, _) = &self.0.kind {
            seat.resume();
        }
    }
}

/// Runs at a safepoint: ends what runs there if it must end.
///
/// Ending is a yield that nobody answers: nothing is unwound and no code of the module runs. Where Luau cannot yield
/// (in comparators, metamethods and the like) it is an error, and whoever catches that meets the next safepoint.
pub(super) unsafe extern "C-unwind" fn interrupt(state: *mut ffi::lua_State, gc: c_int) {
    // SAFETY: Luau calls this with a live state; the main thread's data is the host (see `Vm::start`).
    unsafe {
        if gc >= 0 {
            return;
        }
        let host = ffi::lua_getthreaddata(ffi::lua_mainthread(state)).cast::<Host>();
        if host.is_null() || !(*host).guard().must_end() {
            return;
        }
        if ffi::lua_isyieldable(state) != 0 {
            ffi::lua_yield(state, 0);
            return;
        }
        ffi::lua_rawcheckstack(state, 1);
        // No message: it would need memory, and nobody is to read it.
        ffi::lua_pushnil(state);
        ffi::lua_error(state);
    }
}

unsafe extern "C-unwind" fn on_allocate(
    state: *mut ffi::lua_State,
    _block: *mut c_void,
    old_bytes: usize,
    new_bytes: usize,
    _category: u8,
    kind: c_int,
    _tag: c_int,
) {
    // SAFETY: as in `interrupt`.
    unsafe {
        let host = ffi::lua_getthreaddata(ffi::lua_mainthread(state)).cast::<Host>();
        if !host.is_null() && new_bytes > old_bytes {
            (*host).guard().allocated(new_bytes as u64, kind == ffi::LUA_TSTRING);
        }
    }
}

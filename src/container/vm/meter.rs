//! Measures the CPU time of calls without reading a clock in each of them.
//!
//! Of short calls one in some dozens is measured, at random, and stands for those since the last one: reading the clock
//! may take longer than a handler. Of long calls each is measured: one by one after a long one, and those that nobody
//! foresaw by the thread that watches ([`crate::container::watch`]), to the millisecond.

use std::cell::Cell;

use crate::container::watch::CpuClock;

/// What reading the clock may take of what is measured: one part in so many.
const PARTS: u64 = 32;
/// What reading the clock twice takes, in ns, on most machines at most.
const READING_NS: u64 = 400;
/// Most calls for which one stands.
const CALLS_MAX: u64 = 128;
/// From here on the watching thread sees a call for sure, in ns.
pub(super) const LONG_NS: u64 = 3_000_000;

/// The CPU time of one VM.
pub(super) struct Meter {
    clock: CpuClock,
    reading_ns: u64,
    used_ns: Cell<u64>,
    /// Calls that will not be measured before the next one that is.
    skip: Cell<u32>,
    /// For how many calls the next one that is measured stands.
    stands_for: Cell<u32>,
    began: Cell<Option<u64>>,
    /// The next call is measured by itself; how many were to be skipped.
    alone: Cell<Option<u32>>,
    /// State of a small generator (xorshift): nobody shall foresee which call is measured.
    random: Cell<u32>,
}

impl Meter {
    /// `reading_ns` is what measuring nothing with the clock gives.
    pub(super) fn new((clock, reading_ns): (CpuClock, u64), seed: u32) -> Self {
        Meter {
            clock,
            reading_ns,
            used_ns: Cell::new(0),
            skip: Cell::new(0),
            stands_for: Cell::new(1),
            began: Cell::new(None),
            alone: Cell::new(None),
            random: Cell::new(seed | 1),
        }
    }

    /// CPU time so far, in ns.
    pub(super) fn used_ns(&self) -> u64 {
        self.used_ns.get()
    }

    /// A call begins.
    #[inline]
    pub(super) fn enter(&self) {
        let skip = self.skip.get();
        if skip == 0 {
            self.began.set(Some((self.clock)()));
        } else {
            self.skip.set(skip - 1);
        }
    }

    /// The next call is measured by itself: it is of another kind than packets.
    pub(super) fn measure_next(&self) {
        self.alone.set(Some(self.skip.replace(0)));
    }

    /// A call has ended. What it took, in ns, if it was measured.
    #[inline]
    pub(super) fn leave(&self) -> Option<u64> {
        let began = self.began.take()?;
        let ns = (self.clock)().saturating_sub(began).saturating_sub(self.reading_ns);
        self.measured(ns);
        Some(ns)
    }

    /// Adds time that was seen otherwise.
    pub(super) fn add_ns(&self, ns: u64) {
        self.used_ns.set(self.used_ns.get() + ns);
    }

    /// Measures work between calls.
    pub(super) fn work<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = (self.clock)();
        let done = work();
        self.add_ns((self.clock)().saturating_sub(began).saturating_sub(self.reading_ns));
        done
    }

    #[cold]
    fn measured(&self, ns: u64) {
        if let Some(skip) = self.alone.take() {
            self.skip.set(skip);
            return self.add_ns(ns);
        }
        // A long one stands for itself only: other long ones are seen by the watching thread.
        let stands_for = if ns >= LONG_NS { 1 } else { u64::from(self.stands_for.get()) };
        self.add_ns(ns * stands_for);
        let mean = (READING_NS * PARTS / ns.max(1)).clamp(1, CALLS_MAX) as u32;
        let next = if mean == 1 { 1 } else { 1 + self.random() % (2 * mean - 1) };
        self.stands_for.set(next);
        self.skip.set(next - 1);
    }

    fn random(&self) -> u32 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random.set(x);
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(0) };
    }

    fn clock() -> u64 {
        NOW.get()
    }

    fn call(meter: &Meter, ns: u64) {
        meter.enter();
        NOW.set(NOW.get() + ns);
        meter.leave();
    }

    #[test]
    fn short_calls_are_measured_to_within_some_percent_and_seldom() {
        let meter = Meter::new((clock, 0), 7);
        let mut driven = 0;
        for i in 0..1_000_000_u64 {
            let ns = 80 + i * 7919 % 200;
            driven += ns;
            call(&meter, ns);
        }
        let error = (meter.used_ns() as f64 / driven as f64 - 1.0).abs();
        assert!(error < 0.03, "{error}");
    }

    #[test]
    fn calls_of_two_kinds_in_turn_are_both_seen() {
        let meter = Meter::new((clock, 0), 7);
        let mut driven = 0;
        for i in 0..200_000_u64 {
            // Every 16th takes a hundred times as long: a beat that a regular sample might always miss.
            let ns = if i % 16 == 0 { 20_000 } else { 200 };
            driven += ns;
            call(&meter, ns);
        }
        let error = (meter.used_ns() as f64 / driven as f64 - 1.0).abs();
        assert!(error < 0.1, "{error}");
    }

    #[test]
    fn a_call_of_another_kind_stands_for_itself_only() {
        let meter = Meter::new((clock, 0), 7);
        let mut driven = 0;
        for i in 0..100_000_u64 {
            call(&meter, 100);
            driven += 100;
            if i % 10 == 0 {
                meter.measure_next();
                call(&meter, 50_000);
                driven += 50_000;
            }
        }
        let error = (meter.used_ns() as f64 / driven as f64 - 1.0).abs();
        assert!(error < 0.01, "{error}");
    }
}

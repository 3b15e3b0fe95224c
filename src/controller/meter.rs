//! What one instance uses, added up until the ledger takes it.

use crate::base::time::Instant;
use crate::container::instance::Instance;
use crate::controller::ledger::Usage;

/// Bytes over time in ns come to kB-seconds by this.
const BYTE_NANOS_PER_KB_S: u128 = 1_000 * 1_000_000_000;

/// Adds up what an instance uses. Fractions of a unit are kept for later, so that sums agree.
#[derive(Clone, Debug)]
pub struct Meter {
    /// Since the instance was loaded, less what is not yet a whole unit.
    total: Usage,
    /// Of `total`, what the ledger has.
    booked: Usage,
    at: Instant,
    /// What the VM's own counters said the last time.
    cpu_ns: u64,
    calls: u64,
    memory_bytes: u64,
    stored_bytes: u64,
    rest_cpu_ns: u64,
    rest_running_ns: u64,
    rest_memory: u128,
    rest_stored: u128,
}

impl Meter {
    /// Nothing is used yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Meter {
            total: Usage::default(),
            booked: Usage::default(),
            at: now,
            cpu_ns: 0,
            calls: 0,
            memory_bytes: 0,
            stored_bytes: 0,
            rest_cpu_ns: 0,
            rest_running_ns: 0,
            rest_memory: 0,
            rest_stored: 0,
        }
    }

    /// The instance runs anew: its VM counts from 0, and the time until now was none of its own.
    pub fn restarted(&mut self, now: Instant) {
        (self.at, self.cpu_ns, self.calls, self.memory_bytes) = (now, 0, 0, 0);
    }

    /// Takes in what the running instance has used. Answers its CPU time since the last time, in ns.
    pub fn settle(&mut self, now: Instant, instance: &Instance) -> u64 {
        let cpu_ns = instance.cpu_ns();
        let used_ns = cpu_ns.saturating_sub(self.cpu_ns);
        self.cpu_ns = cpu_ns;
        let (more, rest) = split(u128::from(used_ns + self.rest_cpu_ns), 1_000);
        (self.total.cpu_us, self.rest_cpu_ns) = (self.total.cpu_us + more, rest as u64);
        let calls = instance.calls();
        self.total.calls += calls.saturating_sub(self.calls);
        self.calls = calls;
        self.pass_time(now);
        self.memory_bytes = instance.memory_bytes();
        self.stored_bytes = instance.stored_bytes();
        used_ns
    }

    /// As [`Meter::settle`], but somebody else pays for the CPU time.
    pub fn settle_for_other(&mut self, now: Instant, instance: &Instance) -> u64 {
        let used_ns = instance.cpu_ns().saturating_sub(self.cpu_ns);
        self.cpu_ns += used_ns;
        self.settle(now, instance);
        used_ns
    }

    /// Pays for CPU time that another instance has used for this one, in ns.
    pub fn pay(&mut self, cpu_ns: u64) {
        let (more, rest) = split(u128::from(cpu_ns + self.rest_cpu_ns), 1_000);
        (self.total.cpu_us, self.rest_cpu_ns) = (self.total.cpu_us + more, rest as u64);
    }

    /// As [`Meter::settle`], at the time of the last one.
    pub fn settle_now(&mut self, instance: &Instance) {
        self.settle(self.at, instance);
    }

    /// Whether the instance has used CPU time since the last time.
    #[must_use]
    #[inline]
    pub fn is_behind(&self, instance: &Instance) -> bool {
        instance.cpu_ns() != self.cpu_ns
    }

    /// Time passes, with what the instance held since the last time.
    fn pass_time(&mut self, now: Instant) {
        let elapsed = now.since(self.at).as_nanos();
        self.at = self.at.max(now);
        if elapsed == 0 {
            return;
        }
        let (more, rest) = split(elapsed + u128::from(self.rest_running_ns), 1_000_000);
        (self.total.running_ms, self.rest_running_ns) = (self.total.running_ms + more, rest as u64);
        let held = elapsed * u128::from(self.memory_bytes) + self.rest_memory;
        let (more, rest) = split(held, BYTE_NANOS_PER_KB_S);
        (self.total.memory_kb_s, self.rest_memory) = (self.total.memory_kb_s + more, rest);
        let held = elapsed * u128::from(self.stored_bytes) + self.rest_stored;
        let (more, rest) = split(held, BYTE_NANOS_PER_KB_S);
        (self.total.stored_kb_s, self.rest_stored) = (self.total.stored_kb_s + more, rest);
    }

    /// What was used since the instance was loaded, up to the last time.
    #[must_use]
    pub const fn total(&self) -> Usage {
        self.total
    }

    /// What was used since the last booking.
    pub fn book(&mut self) -> Usage {
        let (total, booked) = (self.total, self.booked);
        self.booked = total;
        Usage {
            cpu_us: total.cpu_us - booked.cpu_us,
            memory_kb_s: total.memory_kb_s - booked.memory_kb_s,
            stored_kb_s: total.stored_kb_s - booked.stored_kb_s,
            bytes_in: total.bytes_in - booked.bytes_in,
            bytes_out: total.bytes_out - booked.bytes_out,
            packets_seen: total.packets_seen - booked.packets_seen,
            packets_changed: total.packets_changed - booked.packets_changed,
            packets_injected: total.packets_injected - booked.packets_injected,
            calls: total.calls - booked.calls,
            running_ms: total.running_ms - booked.running_ms,
        }
    }

    /// Packets that a handler saw; whether it changed, answered or dropped them.
    #[inline]
    pub fn packets(&mut self, count: u32, changed: bool) {
        self.total.packets_seen += u64::from(count);
        self.total.packets_changed += if changed { u64::from(count) } else { 0 };
    }

    /// A packet that the instance injected.
    pub fn injected(&mut self, bytes: usize) {
        self.total.packets_injected += 1;
        self.total.bytes_out += bytes as u64;
    }

    /// Bytes that it sent by a socket.
    pub fn sent(&mut self, bytes: usize) {
        self.total.bytes_out += bytes as u64;
    }

    /// Bytes that came by a socket.
    pub fn received(&mut self, bytes: usize) {
        self.total.bytes_in += bytes as u64;
    }
}

/// Whole units, and what is left.
fn split(amount: u128, unit: u128) -> (u64, u128) {
    (u64::try_from(amount / unit).unwrap_or(u64::MAX), amount % unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_counted_over_time_and_no_fraction_is_lost() {
        let mut meter = Meter::new(Instant::START);
        meter.stored_bytes = 500;
        for ms in 1..=10_000 {
            meter.pass_time(Instant::from_nanos(ms * 1_000_000));
        }
        assert_eq!((meter.total().stored_kb_s, meter.total().running_ms), (5, 10_000));
        assert_eq!(meter.book().stored_kb_s, 5);
        assert_eq!(meter.book(), Usage::default());
    }
}

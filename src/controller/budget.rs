//! What one instance may use over time: CPU and bandwidth, as buckets that fill at a steady rate.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::base::limits::{BANDWIDTH_BURST_BITS_MIN, CPU_RESUME, CPU_SHARE_WINDOW, OVER_BUDGET_QUIET};
use crate::base::net::{NetOutput, SocketId};
use crate::base::time::Instant;
use crate::container::manifest::Limits;
use crate::container::surroundings::FlowRecord;

const NANOS: u128 = 1_000_000_000;

/// Tokens that come at a steady rate up to a bound. It may be overdrawn: what is taken then is waited for later.
#[derive(Clone, Debug)]
pub struct Bucket {
    per_second: u64,
    capacity: i64,
    level: i64,
    at: Instant,
    /// Of a token, in billionths.
    rest: u64,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(now: Instant, per_second: u64, capacity: u64) -> Bucket {
        let capacity = i64::try_from(capacity).unwrap_or(i64::MAX);
        Bucket { per_second, capacity, level: capacity, at: now, rest: 0 }
    }

    /// How much is in it; below 0 if it is overdrawn.
    pub fn level(&mut self, now: Instant) -> i64 {
        let elapsed = now.since(self.at).as_nanos();
        let come = elapsed * u128::from(self.per_second) + u128::from(self.rest);
        let more = i64::try_from(come / NANOS).unwrap_or(i64::MAX);
        self.rest = (come % NANOS) as u64;
        self.at = self.at.max(now);
        self.level = self.level.saturating_add(more).min(self.capacity);
        self.level
    }

    /// Takes something out, whether it is there or not.
    pub fn take(&mut self, now: Instant, amount: u64) {
        self.level(now);
        self.level = self.level.saturating_sub(i64::try_from(amount).unwrap_or(i64::MAX));
    }

    /// Time until so much is in it.
    pub fn wait(&mut self, now: Instant, wanted: i64) -> Duration {
        let missing = u128::try_from(wanted.min(self.capacity).saturating_sub(self.level(now))).unwrap_or(0);
        let nanos = (missing * NANOS).div_ceil(u128::from(self.per_second.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Something that waits until an instance may use the CPU again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deferred {
    /// A timer is due.
    Timer(u32),
    /// A task can be woken by its key.
    Wake(f64),
    /// Tasks can go on.
    GoOn,
    /// A flow is over.
    FlowEnd(FlowRecord),
}

/// What waits for an instance's bandwidth.
#[derive(Clone, Debug, Default)]
pub struct Shaping {
    /// Writes to streams, and what must not overtake them.
    pub held: VecDeque<NetOutput>,
    /// Streams that are not read, because too much came.
    pub throttled: BTreeSet<SocketId>,
    /// Streams that the instance itself does not want to be read.
    pub paused: BTreeSet<SocketId>,
}

impl Shaping {
    /// A socket is closed.
    pub fn forget(&mut self, socket: SocketId) {
        self.throttled.remove(&socket);
        self.paused.remove(&socket);
    }

    /// Drops what waits for a socket.
    pub fn drop_held(&mut self, socket: SocketId) {
        self.held.retain(|output| {
            let (NetOutput::Write { socket: of, .. } | NetOutput::Finish(of) | NetOutput::Close { socket: of, .. }) =
                output
            else {
                return true;
            };
            *of != socket
        });
    }

    /// The streams that are to be read again, now that there is bandwidth.
    pub fn resumed(&mut self) -> Vec<SocketId> {
        let all = std::mem::take(&mut self.throttled);
        all.into_iter().filter(|socket| !self.paused.contains(socket)).collect()
    }
}

/// What one instance has used, and may use now.
#[derive(Clone, Debug)]
pub struct Budget {
    cpu: Bucket,
    bits_in: Option<Bucket>,
    bits_out: Option<Bucket>,
    hits: BTreeMap<&'static str, u64>,
    told: BTreeMap<&'static str, Instant>,
}

impl Budget {
    /// With all that `limits` give.
    #[must_use]
    pub fn new(now: Instant, limits: &Limits) -> Budget {
        let per_second = u64::from(limits.cpu_share_percent) * 10_000_000;
        let window = per_second.saturating_mul(CPU_SHARE_WINDOW.as_millis() as u64) / 1_000;
        // A single call may take all its time without the instance having to wait for it again.
        let capacity = window.max(limits.cpu_ms_per_call * 1_000_000);
        let bits = |rate: u64| (rate > 0).then(|| Bucket::new(now, rate, rate.max(BANDWIDTH_BURST_BITS_MIN)));
        Budget {
            cpu: Bucket::new(now, per_second, capacity),
            bits_in: bits(limits.bandwidth_in),
            bits_out: bits(limits.bandwidth_out),
            hits: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// The instance has used CPU time. Answers how long it must wait, if its share is used up.
    pub fn use_cpu(&mut self, now: Instant, ns: u64) -> Option<Duration> {
        self.cpu.take(now, ns);
        if self.cpu.level(now) > 0 {
            return None;
        }
        let resume = self.cpu.per_second / 1_000 * CPU_RESUME.as_millis() as u64;
        Some(self.cpu.wait(now, i64::try_from(resume).unwrap_or(i64::MAX)))
    }

    /// The instance is about to send so many bytes: whether it may.
    pub fn may_send(&mut self, now: Instant, bytes: usize) -> bool {
        let Some(bucket) = &mut self.bits_out else { return true };
        let may = bucket.level(now) > 0;
        if may {
            bucket.take(now, bytes as u64 * 8);
        }
        may
    }

    /// Time until it may send again.
    pub fn send_wait(&mut self, now: Instant) -> Duration {
        self.bits_out.as_mut().map_or(Duration::ZERO, |bucket| bucket.wait(now, 1))
    }

    /// So many bytes came for the instance. Answers whether they were within its bandwidth.
    pub fn received(&mut self, now: Instant, bytes: usize) -> bool {
        let Some(bucket) = &mut self.bits_in else { return true };
        let may = bucket.level(now) > 0;
        if may {
            bucket.take(now, bytes as u64 * 8);
        }
        may
    }

    /// Bytes of a stream came, which cannot be refused. Answers how long no more should come.
    pub fn received_stream(&mut self, now: Instant, bytes: usize) -> Option<Duration> {
        let bucket = self.bits_in.as_mut()?;
        bucket.take(now, bytes as u64 * 8);
        (bucket.level(now) <= 0).then(|| bucket.wait(now, 1))
    }

    /// Time until more may come.
    pub fn receive_wait(&mut self, now: Instant) -> Duration {
        self.bits_in.as_mut().map_or(Duration::ZERO, |bucket| bucket.wait(now, 1))
    }

    /// Counts that a limit was reached. Answers whether it is time to say so: not again soon.
    pub fn hit(&mut self, now: Instant, limit: &'static str, count: u64) -> bool {
        *self.hits.entry(limit).or_default() += count;
        let last = self.told.insert(limit, now);
        last.is_none_or(|last| now.since(last) >= OVER_BUDGET_QUIET)
    }

    /// How often which limit was reached.
    pub fn hits(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.hits.iter().map(|(limit, count)| (*limit, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_bucket_fills_by_its_rate_and_loses_no_fraction() {
        let mut bucket = Bucket::new(at(0), 3, 10);
        bucket.take(at(0), 10);
        for ms in 1..=2_000 {
            bucket.level(at(ms));
        }
        assert_eq!(bucket.level(at(2_000)), 6);
        assert_eq!(bucket.wait(at(2_000), 9), Duration::from_secs(1));
        assert_eq!(bucket.level(at(60_000)), 10);
        bucket.take(at(60_000), 25);
        assert_eq!(bucket.wait(at(60_000), 0), Duration::from_secs(5));
    }

    #[test]
    fn a_busy_instance_gets_its_share_and_no_more() {
        let limits = Limits { cpu_share_percent: 25, cpu_ms_per_call: 20, ..Limits::default() };
        let mut budget = Budget::new(at(0), &limits);
        let (mut now, mut used) = (at(0), Duration::ZERO);
        while now < at(20_000) {
            let call = Duration::from_millis(2);
            now += call;
            used += call;
            if let Some(wait) = budget.use_cpu(now, call.as_nanos() as u64) {
                assert!(wait < Duration::from_millis(50), "{wait:?}");
                now += wait;
            }
        }
        // Its share of 20 s, and once the window's worth.
        let share = used.as_secs_f64() / 20.25;
        assert!((0.24..0.265).contains(&share), "{share}");
    }

    #[test]
    fn what_cannot_be_refused_is_waited_for() {
        let limits = Limits { bandwidth_in: 80_000, bandwidth_out: 80_000, ..Limits::default() };
        let mut budget = Budget::new(at(0), &limits);
        let burst = (BANDWIDTH_BURST_BITS_MIN / 8) as usize;
        assert_eq!(budget.received_stream(at(0), burst - 1), None);
        let wait = budget.received_stream(at(0), 10_001).expect("it is overdrawn");
        assert!((Duration::from_millis(999)..Duration::from_millis(1_002)).contains(&wait), "{wait:?}");
        assert!(budget.may_send(at(0), burst) && !budget.may_send(at(0), 1));
        assert!(budget.may_send(at(1), 10_000), "it may be overdrawn by one");
        assert!(!budget.may_send(at(500), 1) && budget.may_send(at(1_002), 1));
    }

    #[test]
    fn a_limit_that_is_hit_all_the_time_is_told_seldom() {
        let mut budget = Budget::new(at(0), &Limits::default());
        assert!(budget.hit(at(0), "cpu_share_percent", 1));
        for ms in 1..5_000 {
            assert!(!budget.hit(at(ms), "cpu_share_percent", 1));
        }
        assert!(budget.hit(at(60_000), "cpu_share_percent", 1));
        assert_eq!(budget.hits().collect::<Vec<_>>(), [("cpu_share_percent", 5_001)]);
    }
}

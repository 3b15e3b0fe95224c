//! Token buckets (RFC 5971, section 5.3.3).

use crate::base::time::Instant;

/// Lets through `rate` units per second on average, and `burst` at once.
#[derive(Clone, Debug)]
pub(super) struct TokenBucket {
    rate: u64,
    burst: u64,
    /// Tokens, in billionths of a unit.
    level: u128,
    filled_at: Instant,
}

const NANOS: u128 = 1_000_000_000;

impl TokenBucket {
    /// A full bucket.
    pub(super) fn new(rate: u64, burst: u64) -> Self {
        TokenBucket { rate, burst, level: u128::from(burst) * NANOS, filled_at: Instant::START }
    }

    /// Takes `units`; false, and nothing taken, if there are not so many.
    pub(super) fn take(&mut self, now: Instant, units: u64) -> bool {
        let elapsed = now.since(self.filled_at).as_nanos();
        let full = u128::from(self.burst) * NANOS;
        self.level = self.level.saturating_add(elapsed.saturating_mul(u128::from(self.rate))).min(full);
        self.filled_at = self.filled_at.max(now);
        let wanted = u128::from(units) * NANOS;
        let is_enough = self.level >= wanted;
        if is_enough {
            self.level -= wanted;
        }
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = TokenBucket::new(10, 5);
        let start = Instant::from_nanos(77);
        assert!((0..5).all(|_| bucket.take(start, 1)));
        assert!(!bucket.take(start, 1));
        assert!(bucket.take(start + Duration::from_millis(100), 1));
        assert!(!bucket.take(start + Duration::from_millis(150), 1));
        assert!(!bucket.take(start + Duration::from_secs(1_000_000), 6), "never more than the burst");
        assert!(bucket.take(start + Duration::from_secs(1_000_000), 5));
    }
}

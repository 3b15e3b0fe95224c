//! How a querier repeats its Query (RFC 5971, section 5.3.3).

use std::time::Duration;

use crate::base::time::Instant;
use crate::wire::gist::object::Cookie;

/// A cookie that was sent, and when: a Response to any of them is good, and tells the round-trip time.
#[derive(Clone, Debug)]
pub(super) struct SentCookie {
    pub(super) cookie: Cookie,
    pub(super) sent_at: Instant,
}

/// A search for the next node.
#[derive(Clone, Debug)]
pub(super) struct Search {
    /// The wait that is running.
    wait: Duration,
    retry_at: Instant,
    give_up_at: Instant,
    /// Queries sent so far.
    pub(super) sent_count: u32,
}

impl Search {
    /// A search whose first Query is sent at `now`. It ends after `timeout` (RFC 5971, section 5.3.3: the process must
    /// end within the application's timeout), and before a wait would be longer than `t2`.
    pub(super) fn new(now: Instant, t1: Duration, t2: Duration, timeout: Option<Duration>) -> Search {
        // The waits t1, 2 t1, ... up to t2 add up to this.
        let mut whole = Duration::ZERO;
        let mut wait = t1.max(Duration::from_millis(1));
        while wait <= t2 {
            whole += wait;
            wait *= 2;
        }
        let give_up_at = now + timeout.map_or(whole, |t| t.min(whole));
        Search { wait: t1.max(Duration::from_millis(1)), retry_at: now, give_up_at, sent_count: 0 }
    }

    /// Another message has less time.
    pub(super) fn shorten(&mut self, give_up_at: Instant) {
        self.give_up_at = self.give_up_at.min(give_up_at);
    }

    pub(super) fn next_at(&self) -> Instant {
        self.retry_at.min(self.give_up_at)
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.give_up_at
    }

    /// A Query is sent now; sets the time of the next one.
    pub(super) fn sent(&mut self, now: Instant) {
        if self.sent_count > 0 {
            self.wait *= 2;
        }
        self.sent_count += 1;
        self.retry_at = now + self.wait;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_repeated_after_t1_doubling_up_to_t2() {
        let ms = Duration::from_millis;
        let mut search = Search::new(Instant::START, ms(500), Duration::from_secs(32), None);
        let mut at = Vec::new();
        while !search.is_over(search.next_at()) {
            let now = search.next_at();
            at.push(now.as_nanos() / 1_000_000);
            search.sent(now);
        }
        assert_eq!(at, [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
        assert_eq!(search.next_at().as_nanos() / 1_000_000, 63_500);
    }

    #[test]
    fn a_search_ends_within_the_timeout_of_the_application() {
        let mut search = Search::new(
            Instant::START,
            Duration::from_millis(500),
            Duration::from_secs(32),
            Some(Duration::from_secs(2)),
        );
        search.sent(Instant::START);
        search.shorten(Instant::START + Duration::from_millis(300));
        assert_eq!(search.next_at(), Instant::START + Duration::from_millis(300));
        assert!(search.is_over(search.next_at()));
    }
}

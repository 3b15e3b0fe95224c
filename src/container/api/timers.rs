//! The timers of one instance. The node sees only wake-ups, so that its queue stays short whatever a module does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::limits::MODULE_TIMER_MIN;
use crate::base::time::Instant;

/// Wake-ups that the node may have waiting for one instance. A new one is asked for only when it is earlier than all
/// others, so that a module which is no attack has two or three.
const WAKEUPS_MAX: usize = 64;
/// Longest time of a timer.
const DELAY_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The timers of one instance.
pub(crate) struct Timers {
    count_max: u32,
    next_number: u32,
    timers: BTreeMap<u32, Timer>,
    /// Timers by deadline, then by number.
    order: BTreeSet<(Instant, u32)>,
    /// Wake-ups that the node knows of, the earliest last.
    wakeups: Vec<(Instant, u32)>,
    next_wakeup: u32,
}

struct Timer {
    due: Instant,
    period: Option<Duration>,
}

/// A wake-up to ask the node for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wakeup {
    /// What it comes back with.
    pub(crate) number: u32,
    /// From now.
    pub(crate) delay: Duration,
}

impl Timers {
    pub(crate) fn new(count_max: u32) -> Self {
        Timers {
            count_max,
            next_number: 0,
            timers: BTreeMap::new(),
            order: BTreeSet::new(),
            wakeups: Vec::new(),
            next_wakeup: 0,
        }
    }

    /// Adds a timer that fires after `seconds`, and then, if `repeats`, again and again.
    ///
    /// # Errors
    ///
    /// The sentence about a bad time, or one that names the limit.
    pub(crate) fn add(&mut self, now: Instant, seconds: f64, repeats: bool) -> Result<u32, String> {
        if !(0.0..=DELAY_MAX.as_secs_f64()).contains(&seconds) {
            return Err(format!(
                "a timer cannot run for {seconds} seconds; it takes 0 to {} of them",
                DELAY_MAX.as_secs()
            ));
        }
        if self.timers.len() >= self.count_max as usize || self.wakeups.len() >= WAKEUPS_MAX {
            return Err(format!("limit timers ({}) exceeded; cancel some, or raise it in module.toml", self.count_max));
        }
        let delay = Duration::from_secs_f64(seconds).max(MODULE_TIMER_MIN);
        let number = self.free_number();
        self.insert(number, now + delay, repeats.then_some(delay));
        Ok(number)
    }

    /// Adds a timer of the node itself, beside those of the module: it fires once.
    pub(crate) fn add_own(&mut self, now: Instant, delay: Duration) -> u32 {
        let number = self.free_number();
        self.insert(number, now + delay, None);
        number
    }

    fn free_number(&mut self) -> u32 {
        while self.timers.contains_key(&self.next_number) {
            self.next_number = self.next_number.wrapping_add(1);
        }
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        number
    }

    /// Forgets a timer; true if it was there.
    pub(crate) fn cancel(&mut self, number: u32) -> bool {
        let timer = self.timers.remove(&number);
        timer.is_some_and(|timer| self.order.remove(&(timer.due, number)))
    }

    /// The wake-up that the node must be asked for now, if any.
    pub(crate) fn wakeup(&mut self, now: Instant) -> Option<Wakeup> {
        let due = self.order.first()?.0;
        if self.wakeups.last().is_some_and(|(at, _)| *at <= due) {
            return None;
        }
        let number = self.next_wakeup;
        self.next_wakeup = self.next_wakeup.wrapping_add(1);
        self.wakeups.push((due, number));
        Some(Wakeup { number, delay: due.since(now) })
    }

    /// A wake-up came.
    pub(crate) fn woken(&mut self, number: u32) {
        self.wakeups.retain(|(_, other)| *other != number);
    }

    /// Takes out the first timer that is due. One that repeats is set again, on its own beat.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<u32> {
        let (due, number) = *self.order.first().filter(|(due, _)| *due <= now)?;
        self.order.pop_first();
        let period = self.timers.remove(&number)?.period;
        if let Some(period) = period {
            let next = due + period;
            self.insert(number, if next > now { next } else { now + period }, Some(period));
        }
        Some(number)
    }

    fn insert(&mut self, number: u32, due: Instant, period: Option<Duration>) {
        self.timers.insert(number, Timer { due, period });
        self.order.insert((due, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_repeating_timer_keeps_its_beat_when_it_is_woken_late() {
        let mut timers = Timers::new(4);
        let number = timers.add(at(0), 0.01, true).unwrap();
        assert_eq!(timers.wakeup(at(0)), Some(Wakeup { number: 0, delay: Duration::from_millis(10) }));
        assert_eq!(timers.expire(at(9)), None);
        timers.woken(0);
        assert_eq!(timers.expire(at(13)), Some(number));
        assert_eq!(timers.wakeup(at(13)), Some(Wakeup { number: 1, delay: Duration::from_millis(7) }));
        timers.woken(1);
        assert_eq!(timers.expire(at(55)), Some(number));
        assert_eq!(timers.wakeup(at(55)).unwrap().delay, Duration::from_millis(10));
    }

    #[test]
    fn the_node_is_asked_only_for_an_earlier_wakeup() {
        let mut timers = Timers::new(4);
        timers.add(at(0), 1.0, false).unwrap();
        assert!(timers.wakeup(at(0)).is_some());
        let later = timers.add(at(0), 2.0, false).unwrap();
        assert_eq!(timers.wakeup(at(0)), None);
        assert!(timers.cancel(later) && !timers.cancel(later));
        timers.add(at(0), 0.5, false).unwrap();
        assert!(timers.wakeup(at(0)).is_some());
    }

    #[test]
    fn setting_and_cancelling_for_ever_asks_for_a_bounded_number_of_wakeups() {
        let mut timers = Timers::new(4);
        let mut asked = 0;
        for i in 0..10_000 {
            let Ok(number) = timers.add(at(0), 10_000.0 - f64::from(i), false) else { continue };
            asked += usize::from(timers.wakeup(at(0)).is_some());
            timers.cancel(number);
        }
        assert_eq!(asked, WAKEUPS_MAX);
    }

    #[test]
    fn refuses_odd_times_and_one_timer_too_many() {
        let mut timers = Timers::new(1);
        for odd in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert!(timers.add(at(0), odd, false).unwrap_err().contains("cannot run for"), "{odd}");
        }
        timers.add(at(0), 0.0, false).unwrap();
        assert!(timers.add(at(0), 0.0, false).unwrap_err().contains("limit timers (1)"));
    }
}

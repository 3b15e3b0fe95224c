//! A link: two directions, each with its delay, its rate and queue, and what goes wrong on the way.

use std::io::Write;
use std::time::Duration;

use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::drivers::replay::writer::CaptureWriter;
use crate::drivers::sim::config::{LinkQuality, MachineId};

/// What a link counted in one direction, since it was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Packets that set out.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets lost on the way, or since the link was down.
    pub lost: u64,
    /// Packets that found no room in the queue; they did not set out.
    pub queue_full: u64,
    /// Packets in which a bit was changed.
    pub corrupted: u64,
    /// Packets that arrived twice.
    pub duplicated: u64,
}

/// What becomes of a packet that is put on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// When it begins to leave: the packets before it are gone.
    pub(super) leaves: Instant,
    /// When it arrives; `None` if it is lost.
    pub(super) arrives: Option<Instant>,
    /// When a copy of it arrives.
    pub(super) copy_arrives: Option<Instant>,
    /// The bit that is changed, counted from the first; any number.
    pub(super) changed_bit: Option<u64>,
}

/// One direction.
pub(super) struct Direction {
    pub(super) quality: LinkQuality,
    pub(super) counters: LinkCounters,
    rng: Rng,
    /// When all that was put on it has left.
    free_at: Instant,
    /// When the last packet arrives that was not held back.
    last_arrival: Instant,
}

impl Direction {
    pub(super) fn new(quality: LinkQuality, seed: u64) -> Direction {
        Direction {
            quality,
            counters: LinkCounters::default(),
            rng: Rng::seeded(seed),
            free_at: Instant::START,
            last_arrival: Instant::START,
        }
    }

    /// The time that so many bytes take to leave.
    fn time_for(&self, bytes: u64) -> Duration {
        match self.quality.rate_bps {
            None => Duration::ZERO,
            Some(rate) => {
                let nanos = (u128::from(bytes) * 8 * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
                Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
        }
    }

    /// Bytes that have not left yet.
    pub(super) fn waiting_bytes(&self, now: Instant) -> u64 {
        let left = self.free_at.since(now).as_nanos();
        let bits = left * u128::from(self.quality.rate_bps.unwrap_or(0)) / 1_000_000_000;
        u64::try_from(bits / 8).unwrap_or(u64::MAX)
    }

    /// Puts a packet on the link. `None`: the queue is full.
    pub(super) fn send(&mut self, now: Instant, bytes: u64) -> Option<Fate> {
        let quality = self.quality;
        let waiting = self.waiting_bytes(now);
        if waiting > 0 && waiting + bytes > quality.queue_bytes {
            self.counters.queue_full += 1;
            return None;
        }
        self.counters.packets += 1;
        self.counters.bytes += bytes;
        let leaves = self.free_at.max(now);
        self.free_at = leaves + self.time_for(bytes);
        if self.happens(quality.loss) {
            self.counters.lost += 1;
            return Some(Fate { leaves, arrives: None, copy_arrives: None, changed_bit: None });
        }
        let mut arrives = self.free_at + quality.delay + self.up_to(quality.jitter);
        if self.happens(quality.reordering) {
            arrives += self.up_to(quality.delay + quality.jitter);
        } else {
            arrives = arrives.max(self.last_arrival);
            self.last_arrival = arrives;
        }
        let copy_arrives = self.happens(quality.duplication).then(|| {
            self.counters.duplicated += 1;
            arrives + self.up_to(quality.jitter)
        });
        let changed_bit = self.happens(quality.corruption).then(|| {
            self.counters.corrupted += 1;
            self.rng.next_u64()
        });
        Some(Fate { leaves, arrives: Some(arrives), copy_arrives, changed_bit })
    }

    fn happens(&mut self, share: f64) -> bool {
        // Nothing random is used for what cannot happen: a link without faults costs less.
        share > 0.0 && self.rng.unit() < share
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        if longest.is_zero() {
            return Duration::ZERO;
        }
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(self.rng.below(nanos + 1))
    }

    /// What was put on it is gone.
    pub(super) fn cut(&mut self, now: Instant) {
        self.free_at = now;
        self.last_arrival = now;
    }
}

/// A link.
pub(super) struct Link {
    pub(super) ends: [MachineId; 2],
    pub(super) directions: [Direction; 2],
    pub(super) is_up: bool,
    /// Counts how often it was cut: what was under way then does not arrive.
    pub(super) life: u32,
    pub(super) capture: Option<CaptureWriter<Box<dyn Write>>>,
}

impl Link {
    /// The direction of what leaves a machine: 0 or 1.
    pub(super) fn direction_from(&self, machine: MachineId) -> usize {
        usize::from(self.ends[0] != machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant::START + Duration::from_millis(ms)
    }

    fn direction(quality: LinkQuality) -> Direction {
        Direction::new(quality, 1)
    }

    #[test]
    fn a_packet_takes_its_length_by_the_rate_and_the_delay() {
        let mut link = direction(LinkQuality {
            delay: Duration::from_millis(10),
            rate_bps: Some(8_000_000),
            ..LinkQuality::default()
        });
        // 1,000 bytes are 1 ms at 8 Mbit/s; the second one waits for the first.
        assert_eq!(link.send(ms(0), 1_000).unwrap().arrives, Some(ms(11)));
        assert_eq!(link.waiting_bytes(ms(0)), 1_000);
        let second = link.send(ms(0), 1_000).unwrap();
        assert_eq!((second.leaves, second.arrives), (ms(1), Some(ms(12))));
        // Later nothing is in its way.
        assert_eq!(link.send(ms(50), 1_000).unwrap().arrives, Some(ms(61)));
    }

    #[test]
    fn what_finds_the_queue_full_is_dropped_and_a_link_without_rate_has_no_queue() {
        let quality = LinkQuality { rate_bps: Some(8_000_000), queue_bytes: 3_000, ..LinkQuality::default() };
        let mut link = direction(quality);
        let sent = (0..5).filter(|_| link.send(ms(0), 1_000).is_some()).count();
        assert_eq!((sent, link.counters.queue_full, link.counters.packets), (3, 2, 3));
        // After one has left there is room for one.
        assert!(link.send(ms(1), 1_000).is_some() && link.send(ms(1), 1_000).is_none());
        // One packet always fits into an empty queue.
        assert!(direction(quality).send(ms(0), 9_000).is_some());
        let mut free = direction(LinkQuality { queue_bytes: 1, ..LinkQuality::default() });
        assert!((0..100).all(|_| free.send(ms(0), 1_500).is_some_and(|fate| fate.arrives == Some(ms(0)))));
    }

    #[test]
    fn shares_of_packets_are_lost_doubled_changed_and_late() {
        let mut link = direction(LinkQuality {
            delay: Duration::from_millis(10),
            loss: 0.2,
            duplication: 0.1,
            reordering: 0.3,
            corruption: 0.05,
            ..LinkQuality::default()
        });
        let (mut last, mut overtaken) = (Instant::START, 0);
        for n in 0..10_000 {
            let fate = link.send(Instant::from_nanos(n * 1_000), 100).unwrap();
            let Some(arrives) = fate.arrives else { continue };
            overtaken += u32::from(arrives < last);
            last = arrives.max(last);
        }
        let LinkCounters { lost, duplicated, corrupted, .. } = link.counters;
        assert!((1_900..2_100).contains(&lost) && (700..900).contains(&duplicated), "{:?}", link.counters);
        assert!((350..450).contains(&corrupted) && overtaken > 1_000, "{:?} {overtaken}", link.counters);
    }

    #[test]
    fn jitter_keeps_the_order() {
        let jitter = Duration::from_millis(5);
        let mut link = direction(LinkQuality { jitter, ..LinkQuality::default() });
        let arrivals: Vec<Instant> =
            (0..1_000).map(|n| link.send(Instant::from_nanos(n * 1_000), 100).unwrap().arrives.unwrap()).collect();
        assert!(arrivals.is_sorted() && arrivals[0] > Instant::START);
    }
}

//! What is going to happen, by time; at one time in the order in which it was put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::limits::SIM_EVENTS_MAX;
use crate::base::time::Instant;

/// The queue. Things lie in a store of their own, so that few bytes move when the order is kept.
pub(super) struct Queue<T> {
    heap: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    things: Vec<Option<T>>,
    free: Vec<u32>,
    count: u64,
    /// Things for which there was no room.
    pub(super) refused: u64,
}

impl<T> Queue<T> {
    pub(super) const fn new() -> Queue<T> {
        Queue { heap: BinaryHeap::new(), things: Vec::new(), free: Vec::new(), count: 0, refused: 0 }
    }

    /// Puts something in. What finds no room is lost.
    pub(super) fn push(&mut self, at: Instant, thing: T) {
        if self.heap.len() >= SIM_EVENTS_MAX {
            self.refused += 1;
            return;
        }
        self.count += 1;
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.things.push(None);
                (self.things.len() - 1) as u32
            }
        };
        self.things[place as usize] = Some(thing);
        self.heap.push(Reverse((at, self.count, place)));
    }

    /// When the next thing is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Takes out the next thing that is due at `until` or before.
    pub(super) fn pop(&mut self, until: Instant) -> Option<(Instant, T)> {
        if self.next_at()? > until {
            return None;
        }
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.free.push(place);
        self.things[place as usize].take().map(|thing| (at, thing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_by_time_and_then_by_the_order_in_which_it_was_put_in() {
        let mut queue = Queue::new();
        for (at, thing) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b'), (9, 'e')] {
            queue.push(Instant::from_nanos(at), thing);
        }
        let mut out = String::new();
        while let Some((_, thing)) = queue.pop(Instant::from_nanos(5)) {
            out.push(thing);
            if thing == 'a' {
                queue.push(Instant::from_nanos(3), 'x');
            }
        }
        assert_eq!((out.as_str(), queue.next_at()), ("abxcd", Some(Instant::from_nanos(9))));
    }
}

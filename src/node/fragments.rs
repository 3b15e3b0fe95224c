//! What became of first fragments, so that the later ones can follow them.

use std::collections::{BTreeMap, VecDeque};

use crate::base::id::InstanceId;
use crate::base::limits;
use crate::base::time::Instant;
use crate::node::flows::Chain;

/// What fragments of one packet have in common (RFC 791, section 3.2; RFC 8200, section 4.5), on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FragmentKey {
    pub(crate) source: u128,
    pub(crate) destination: u128,
    pub(crate) id: u32,
    pub(crate) protocol: u8,
    pub(crate) link: u8,
}

/// What became of a first fragment.
#[derive(Clone, Debug)]
pub(crate) struct First {
    /// Those who looked at it.
    pub(crate) chain: Chain,
    /// It went no further.
    pub(crate) dropped: bool,
    seen: Instant,
}

/// First fragments seen lately; the oldest go when there are too many.
#[derive(Default)]
pub(crate) struct FragmentTable {
    firsts: BTreeMap<FragmentKey, First>,
    order: VecDeque<(Instant, FragmentKey)>,
}

impl FragmentTable {
    pub(crate) fn insert(&mut self, now: Instant, key: FragmentKey, chain: Chain, dropped: bool) {
        self.expire(now);
        while self.order.len() >= limits::FRAGMENTS_MAX {
            self.forget_oldest();
        }
        self.firsts.insert(key, First { chain, dropped, seen: now });
        self.order.push_back((now, key));
    }

    pub(crate) fn find(&mut self, now: Instant, key: &FragmentKey) -> Option<&First> {
        self.expire(now);
        self.firsts.get(key)
    }

    /// From now on `new` stands where `old` stood.
    pub(crate) fn replace_instance(&mut self, old: InstanceId, new: InstanceId) {
        for hook in self.firsts.values_mut().flat_map(|first| &mut first.chain) {
            if hook.instance == old {
                hook.instance = new;
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(seen, _)| now.since(*seen) > limits::FRAGMENT_LIFETIME) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((seen, key)) = self.order.pop_front() {
            // The id may have been used again since; then the newer entry stays.
            if self.firsts.get(&key).is_some_and(|first| first.seen == seen) {
                self.firsts.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> FragmentKey {
        FragmentKey { source: 1, destination: 2, id, protocol: 17, link: 0 }
    }

    #[test]
    fn first_fragments_are_forgotten_by_age_and_by_number() {
        let mut table = FragmentTable::default();
        let start = Instant::START;
        for id in 0..limits::FRAGMENTS_MAX as u32 + 10 {
            table.insert(start, key(id), Chain::new(), true);
        }
        assert!(table.find(start, &key(9)).is_none());
        assert!(table.find(start, &key(10)).is_some_and(|first| first.dropped));
        let later = start + limits::FRAGMENT_LIFETIME + std::time::Duration::from_secs(1);
        assert!(table.find(later, &key(10)).is_none());
        assert!(table.firsts.is_empty() && table.order.is_empty());
    }
}

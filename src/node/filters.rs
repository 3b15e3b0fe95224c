//! All filters of all instances, matched at once when a flow is new.
//!
//! Filters that look at the same fields share a hash table keyed by the values of these fields ("tuple space search"),
//! so that ten thousand filters of one shape cost one look-up. Ranges of ports are not part of the key; the filters
//! found are checked whole.

use std::collections::BTreeMap;

use hashbrown::HashTable;

use crate::base::filter::{Filter, FilterSubject, address_bits};
use crate::base::id::InstanceId;
use crate::node::key::KeyedHash;

/// Which fields the filters of a group look at, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    source_mask: u128,
    destination_mask: u128,
    source_port: bool,
    destination_port: bool,
    protocol: bool,
}

/// The values of these fields; 0 where the shape does not look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Values {
    source: u128,
    destination: u128,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
}

struct Bucket {
    values: Values,
    /// Place in `FilterSet::filters`.
    filters: Vec<u32>,
}

struct Group {
    shape: Shape,
    buckets: HashTable<Bucket>,
}

/// The filters of all instances.
pub(crate) struct FilterSet {
    hash: KeyedHash,
    filters: Vec<(Filter, InstanceId)>,
    groups: Vec<Group>,
}

impl FilterSet {
    pub(crate) fn new(seed: u64) -> Self {
        FilterSet { hash: KeyedHash::seeded(seed), filters: Vec::new(), groups: Vec::new() }
    }

    /// Replaces all filters. Filters for both directions are kept as two.
    pub(crate) fn set(&mut self, filters: impl Iterator<Item = (Filter, InstanceId)>) {
        self.filters.clear();
        for (filter, instance) in filters {
            let forward = Filter { both_directions: false, ..filter };
            self.filters.push((forward, instance));
            if filter.both_directions && forward != forward.reversed() {
                self.filters.push((forward.reversed(), instance));
            }
        }
        let mut groups: BTreeMap<Shape, HashTable<Bucket>> = BTreeMap::new();
        for (at, (filter, _)) in self.filters.iter().enumerate() {
            let (shape, values) = (shape_of(filter), values_of(filter));
            let buckets = groups.entry(shape).or_default();
            let hash = self.hash.of(&values);
            match buckets.find_mut(hash, |bucket| bucket.values == values) {
                Some(bucket) => bucket.filters.push(at as u32),
                None => {
                    let bucket = Bucket { values, filters: vec![at as u32] };
                    buckets.insert_unique(hash, bucket, |bucket| self.hash.of(&bucket.values));
                }
            }
        }
        self.groups = groups.into_iter().map(|(shape, buckets)| Group { shape, buckets }).collect();
    }

    /// Calls `found` with each instance that asks for the packet; the same one perhaps more than once.
    pub(crate) fn matching(&self, subject: &FilterSubject, mut found: impl FnMut(InstanceId)) {
        for group in &self.groups {
            let values = project(&group.shape, subject);
            let bucket = group.buckets.find(self.hash.of(&values), |bucket| bucket.values == values);
            for at in bucket.iter().flat_map(|bucket| &bucket.filters) {
                let (filter, instance) = &self.filters[*at as usize];
                if filter.matches_forward(subject) {
                    found(*instance);
                }
            }
        }
    }
}

fn shape_of(filter: &Filter) -> Shape {
    let one_port = |range: Option<crate::base::filter::PortRange>| range.is_some_and(|r| r.first == r.last);
    Shape {
        source_mask: filter.from.map_or(0, |p| p.mask()),
        destination_mask: filter.to.map_or(0, |p| p.mask()),
        source_port: one_port(filter.from_port),
        destination_port: one_port(filter.to_port),
        protocol: filter.protocol.is_some(),
    }
}

fn values_of(filter: &Filter) -> Values {
    let shape = shape_of(filter);
    Values {
        source: filter.from.map_or(0, |p| address_bits(p.address()) & p.mask()),
        destination: filter.to.map_or(0, |p| address_bits(p.address()) & p.mask()),
        source_port: filter.from_port.filter(|_| shape.source_port).map_or(0, |r| r.first),
        destination_port: filter.to_port.filter(|_| shape.destination_port).map_or(0, |r| r.first),
        protocol: filter.protocol.unwrap_or(0),
    }
}

fn project(shape: &Shape, subject: &FilterSubject) -> Values {
    let (source_port, destination_port) = subject.ports.unwrap_or((0, 0));
    Values {
        source: subject.source & shape.source_mask,
        destination: subject.destination & shape.destination_mask,
        source_port: if shape.source_port { source_port } else { 0 },
        destination_port: if shape.destination_port { destination_port } else { 0 },
        protocol: if shape.protocol { subject.protocol } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::filter::{PortRange, Prefix};
    use crate::base::rng::Rng;

    fn random_filter(rng: &mut Rng) -> Filter {
        let prefix = |rng: &mut Rng| {
            let v4 = std::net::IpAddr::from([10, 0, 0, rng.below(4) as u8]);
            let v6 = std::net::IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, rng.below(4) as u16]);
            match rng.below(6) {
                0 => Some(Prefix::host(v4)),
                1 => Prefix::new(v4, 31),
                2 => Some(Prefix::host(v6)),
                3 => Prefix::new(v6, rng.below(129) as u8),
                _ => None,
            }
        };
        let port = |rng: &mut Rng| match rng.below(4) {
            0 => Some(PortRange::one(rng.below(3) as u16)),
            1 => Some(PortRange { first: 1, last: 2 }),
            _ => None,
        };
        Filter {
            ip_version: [None, Some(4), Some(6)][rng.below(3) as usize],
            protocol: [None, Some(6), Some(17)][rng.below(3) as usize],
            from: prefix(rng),
            to: prefix(rng),
            from_port: port(rng),
            to_port: port(rng),
            both_directions: rng.below(2) == 0,
        }
    }

    #[test]
    fn finds_exactly_the_filters_that_match_one_by_one() {
        let mut rng = Rng::seeded(11);
        let filters: Vec<Filter> = (0..400).map(|_| random_filter(&mut rng)).collect();
        let mut set = FilterSet::new(3);
        set.set(filters.iter().enumerate().map(|(i, f)| (*f, InstanceId(i as u32))));
        let mut hits = 0;
        for _ in 0..2_000 {
            let v4 = rng.below(2) == 0;
            let base = if v4 { 0xffff_0a00_0000 } else { 0xfd00 << 112 };
            let subject = FilterSubject {
                ip_version: if v4 { 4 } else { 6 },
                protocol: [6, 17, 1][rng.below(3) as usize],
                source: base + u128::from(rng.below(4)),
                destination: base + u128::from(rng.below(4)),
                ports: (rng.below(4) != 0).then(|| (rng.below(4) as u16, rng.below(4) as u16)),
            };
            let want: Vec<u32> = (0..400).filter(|i| filters[*i as usize].matches(&subject)).collect();
            let mut got = Vec::new();
            set.matching(&subject, |instance| got.push(instance.0));
            got.sort_unstable();
            got.dedup();
            assert_eq!(got, want, "{subject:?}");
            hits += got.len();
        }
        assert!(hits > 1_000, "the test must test something: {hits}");
    }
}

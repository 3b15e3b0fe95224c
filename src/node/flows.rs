//! The flow cache: what was once decided for a flow, and what the flow has counted since.
//!
//! Bounded: when it is full, a flow that was not used lately makes room ("second chance"). Nothing is lost by that but
//! the native rules that modules left for the flow: its next packet is matched again.

use std::time::Duration;

use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::base::id::{FlowId, InstanceId};
use crate::base::limits;
use crate::base::time::Instant;
use crate::container::surroundings::FlowRecord;
use crate::node::key::{FlowKey, KeyedHash};
use crate::wire::header::{TCP, TCP_FIN, TCP_RST};

/// What an instance does with the packets of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookAction {
    /// Its handler is asked for each packet.
    Call,
    /// Native rule: packets pass.
    Pass,
    /// Native rule: packets are dropped.
    Drop,
}

/// An instance's interest in a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) instance: InstanceId,
    pub(crate) action: HookAction,
}

/// The instances that look at a flow, in the order in which they were loaded.
pub(crate) type Chain = SmallVec<[Hook; 2]>;

struct Flow {
    key: FlowKey,
    chain: Chain,
    packets: u64,
    bytes: u64,
    first_seen: Instant,
    last_seen: Instant,
    generation: u32,
    /// The filters' epoch in which `chain` was made.
    epoch: u32,
    /// Used since the hand last came by.
    used: bool,
    closed: bool,
}

/// A packet, for the counters of its flow.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) now: Instant,
    pub(crate) packets: u32,
    pub(crate) bytes: u64,
    pub(crate) tcp_flags: u8,
}

/// A flow that was forgotten, for those who want to know.
pub(crate) struct Ended {
    pub(crate) record: FlowRecord,
    pub(crate) chain: Chain,
}

/// What [`FlowTable::touch`] found.
pub(crate) enum Touched {
    /// The flow is known, and what was decided still holds.
    Known(u32),
    /// The flow is new, or the filters have changed: give it a chain with [`FlowTable::decide`].
    Undecided(u32),
}

pub(crate) struct FlowTable {
    hash: KeyedHash,
    index: HashTable<u32>,
    slots: Vec<Option<Flow>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    capacity: usize,
    hand: usize,
    sweep_at: usize,
    /// Flows that had to make room for others.
    pub(crate) pushed_out: u64,
}

impl FlowTable {
    pub(crate) fn new(capacity: u32, seed: u64) -> Self {
        let capacity = capacity.clamp(1, limits::FLOWS_MAX) as usize;
        FlowTable {
            hash: KeyedHash::seeded(seed),
            index: HashTable::new(),
            slots: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            capacity,
            hand: 0,
            sweep_at: 0,
            pushed_out: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Slots, taken or free.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// Finds or makes the flow of a packet and counts the packet. A flow that had to make room comes back too.
    pub(crate) fn touch(&mut self, key: FlowKey, epoch: u32, seen: Seen) -> (Touched, Option<Ended>) {
        let hash = self.hash.of(&key);
        let slots = &self.slots;
        let same = |slot: &u32| slots[*slot as usize].as_ref().is_some_and(|flow| flow.key == key);
        if let Some(slot) = self.index.find(hash, same).copied() {
            let flow = self.slots[slot as usize].as_mut().expect("the index names taken slots only");
            flow.packets += u64::from(seen.packets);
            flow.bytes += seen.bytes;
            flow.last_seen = seen.now;
            flow.used = true;
            flow.closed |= key_is_closed(&flow.key, seen.tcp_flags);
            let touched = if flow.epoch == epoch { Touched::Known(slot) } else { Touched::Undecided(slot) };
            return (touched, None);
        }
        let ended = if self.index.len() >= self.capacity { self.push_out() } else { None };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.generations.push(0);
            (self.slots.len() - 1) as u32
        });
        self.slots[slot as usize] = Some(Flow {
            key,
            chain: Chain::new(),
            packets: u64::from(seen.packets),
            bytes: seen.bytes,
            first_seen: seen.now,
            last_seen: seen.now,
            generation: self.generations[slot as usize],
            epoch: epoch.wrapping_sub(1),
            used: true,
            closed: key_is_closed(&key, seen.tcp_flags),
        });
        let (slots, hasher) = (&self.slots, &self.hash);
        self.index.insert_unique(hash, slot, |s| {
            hasher.of(&slots[*s as usize].as_ref().expect("the index names taken slots only").key)
        });
        (Touched::Undecided(slot), ended)
    }

    pub(crate) fn chain(&self, slot: u32) -> &Chain {
        &self.flow(slot).chain
    }

    pub(crate) fn id(&self, slot: u32) -> FlowId {
        FlowId::new(slot, self.flow(slot).generation)
    }

    /// Sets what was decided for a flow. Native rules of instances that are still in the chain stay.
    pub(crate) fn decide(&mut self, slot: u32, epoch: u32, mut chain: Chain) {
        let flow = self.flow_mut(slot);
        for hook in &mut chain {
            if let Some(old) = flow.chain.iter().find(|old| old.instance == hook.instance) {
                hook.action = old.action;
            }
        }
        flow.chain = chain;
        flow.epoch = epoch;
    }

    /// Makes a native rule of what an instance said about a flow.
    pub(crate) fn set_rule(&mut self, slot: u32, instance: InstanceId, action: HookAction) {
        if let Some(hook) = self.flow_mut(slot).chain.iter_mut().find(|hook| hook.instance == instance) {
            hook.action = action;
        }
    }

    /// Forgets the rules that an instance left behind: after a restart it is asked again.
    pub(crate) fn reset_rules(&mut self, instance: InstanceId) {
        for flow in self.slots.iter_mut().flatten() {
            for hook in flow.chain.iter_mut().filter(|hook| hook.instance == instance) {
                hook.action = HookAction::Call;
            }
        }
    }

    /// From now on `new` stands where `old` stood, with the rules that it left.
    pub(crate) fn replace_instance(&mut self, old: InstanceId, new: InstanceId) {
        for hook in self.slots.iter_mut().flatten().flat_map(|flow| &mut flow.chain) {
            if hook.instance == old {
                hook.instance = new;
            }
        }
    }

    /// Looks at the next part of the table and takes out one flow that has been silent for too long, if there is one.
    /// `budget` is how many slots may still be looked at.
    pub(crate) fn sweep(&mut self, now: Instant, budget: &mut usize) -> Option<Ended> {
        while *budget > 0 && !self.slots.is_empty() {
            *budget -= 1;
            self.sweep_at = (self.sweep_at + 1) % self.slots.len();
            let slot = self.sweep_at as u32;
            if self.slots[self.sweep_at].as_ref().is_some_and(|flow| now.since(flow.last_seen) >= idle_limit(flow)) {
                return self.take(slot);
            }
        }
        None
    }

    /// Slots that one sweep looks at.
    pub(crate) fn sweep_budget(&self) -> usize {
        self.slots.len().div_ceil(limits::FLOW_SWEEP_PARTS as usize)
    }

    /// Takes out the next flow in the order of slots: used at the end, when all must go. `from` starts at 0.
    pub(crate) fn take_next(&mut self, from: &mut usize) -> Option<Ended> {
        let slot = *from + self.slots.get(*from..)?.iter().position(Option::is_some)?;
        *from = slot + 1;
        self.take(slot as u32)
    }

    /// The flows that `instance` looks at.
    pub(crate) fn records(
        &self,
        instance: InstanceId,
        after: Option<FlowId>,
        since: Instant,
    ) -> impl Iterator<Item = FlowRecord> + '_ {
        let first = after.map_or(0, |id| id.slot() as usize + 1);
        let slots = self.slots.iter().enumerate().skip(first);
        let taken = slots.filter_map(|(slot, flow)| Some((slot as u32, flow.as_ref()?)));
        taken
            .filter(move |(_, flow)| flow.last_seen >= since)
            .filter(move |(_, flow)| flow.chain.iter().any(|hook| hook.instance == instance))
            .map(|(slot, flow)| record(slot, flow))
    }

    /// One flow, if `instance` looks at it.
    pub(crate) fn record_of(&self, instance: InstanceId, id: FlowId) -> Option<FlowRecord> {
        let flow = self.slots.get(id.slot() as usize)?.as_ref()?;
        let theirs = flow.generation == id.generation() && flow.chain.iter().any(|h| h.instance == instance);
        theirs.then(|| record(id.slot(), flow))
    }

    fn flow(&self, slot: u32) -> &Flow {
        self.slots[slot as usize].as_ref().expect("a slot is asked for while its packet is at hand")
    }

    fn flow_mut(&mut self, slot: u32) -> &mut Flow {
        self.slots[slot as usize].as_mut().expect("a slot is asked for while its packet is at hand")
    }

    /// Lets the hand go round until it meets a flow that was not used since it last came by.
    fn push_out(&mut self) -> Option<Ended> {
        for _ in 0..=2 * self.slots.len() {
            self.hand = (self.hand + 1) % self.slots.len();
            match &mut self.slots[self.hand] {
                Some(flow) if flow.used => flow.used = false,
                Some(_) => {
                    self.pushed_out += 1;
                    return self.take(self.hand as u32);
                }
                None => {}
            }
        }
        None
    }

    fn take(&mut self, slot: u32) -> Option<Ended> {
        let flow = self.slots[slot as usize].take()?;
        if let Ok(entry) = self.index.find_entry(self.hash.of(&flow.key), |s| *s == slot) {
            entry.remove();
        }
        self.generations[slot as usize] = flow.generation.wrapping_add(1);
        self.free.push(slot);
        Some(Ended { record: record(slot, &flow), chain: flow.chain })
    }
}

fn key_is_closed(key: &FlowKey, tcp_flags: u8) -> bool {
    key.subject().protocol == TCP && tcp_flags & (TCP_FIN | TCP_RST) != 0
}

fn idle_limit(flow: &Flow) -> Duration {
    match (flow.key.subject().protocol, flow.closed) {
        (TCP, true) => limits::FLOW_IDLE_TCP_CLOSED,
        (TCP, false) => limits::FLOW_IDLE_TCP,
        _ => limits::FLOW_IDLE_OTHER,
    }
}

fn record(slot: u32, flow: &Flow) -> FlowRecord {
    let subject = flow.key.subject();
    FlowRecord {
        id: FlowId::new(slot, flow.generation),
        ip_version: subject.ip_version,
        protocol: subject.protocol,
        source: subject.source,
        destination: subject.destination,
        ports: subject.ports,
        fragments: flow.key.is_fragments(),
        packets: flow.packets,
        bytes: flow.bytes,
        first_seen: flow.first_seen,
        last_seen: flow.last_seen,
    }
}

#[cfg(test)]
mod tests;

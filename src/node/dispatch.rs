//! One packet's way through the node.

use std::time::Duration;

use smallvec::SmallVec;

use crate::base::id::{InstanceId, LinkId};
use crate::base::limits;
use crate::base::packet::{Offload, Packet, PacketMut};
use crate::base::stats::DropReason;
use crate::base::time::Instant;
use crate::base::timer::Timer;
use crate::container::fault::Fault;
use crate::container::instance::{Action, Effect, SendTo, Verdict};
use crate::container::manifest::{Changes, Sees};
use crate::controller::instances::Deferred;
use crate::node::flows::{Chain, Ended, Hook, HookAction, Seen, Touched};
use crate::node::fragments::FragmentKey;
use crate::node::key::FlowKey;
use crate::node::{Decision, Event, LinkKind, Node, Output};
use crate::wire::header::{Fragment, Header, UDP};
use crate::wire::{edit, segment};

/// A packet's place while it is looked at.
#[derive(Clone, Copy)]
struct Place {
    now: Instant,
    link: LinkId,
    /// Its flow's slot in the flow cache.
    flow: u32,
    segments: u32,
}

/// What those who look at a packet decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It goes on.
    Onward,
    /// It goes back to where it came from.
    Back,
    /// It ends here.
    Drop(DropReason),
    /// It was split, and what became of its segments is in the outputs.
    Split,
}

impl Node {
    /// Feeds a packet where the driver read it, and says what becomes of it. The fast path: nothing is allocated for a
    /// packet of a known flow that no handler looks at.
    pub fn packet(&mut self, now: Instant, link: LinkId, packet: &mut PacketMut<'_>) -> Decision {
        let kind = self.links[usize::from(link.0)].config.kind;
        let header = match Header::parse(packet.bytes(), packet.truncated) {
            Ok(header) => header,
            Err(reason) => return self.refuse(link, packet, reason),
        };
        let segments = packet.offload.segment_count(header.payload_bytes());
        let bytes = u64::from(packet.wire_bytes) + u64::from(segments - 1) * u64::from(header.payload_at);
        let stats = &mut self.links[usize::from(link.0)].stats;
        stats.reads += 1;
        stats.packets_in += u64::from(segments);
        stats.bytes_in += bytes;
        if kind == LinkKind::Tun {
            edit::add_hops(packet.bytes_mut(), 1);
        }
        if self.signal.is_some()
            && let Some(decision) = self.intercept(now, link, &header, packet)
        {
            if let Decision::Forward(to) = decision {
                let stats = &mut self.links[usize::from(to.0)].stats;
                stats.packets_out += u64::from(segments);
                stats.bytes_out += bytes;
            }
            return decision;
        }
        let seen = Seen { now, packets: segments, bytes, tcp_flags: header.tcp_flags };
        let (touched, ended) = self.flows.borrow_mut().touch(FlowKey::new(link, &header), self.epoch, seen);
        if let Some(ended) = ended {
            self.flow_ended(now, &ended);
        }
        let flow = match touched {
            Touched::Known(flow) => flow,
            Touched::Undecided(flow) => {
                self.decide(now, flow, link, &header);
                flow
            }
        };
        let place = Place { now, link, flow, segments };
        let fate = match header.fragment {
            Fragment::Whole => self.run_chain(place, header, packet, 0),
            Fragment::First(_) => self.first_fragment(place, header, packet),
            Fragment::Later(_) => self.later_fragment(place, &header),
        };
        let decision = self.decision(place, fate, bytes);
        self.carry_signals(now);
        self.carry_calls(now);
        decision
    }

    fn refuse(&mut self, link: LinkId, packet: &PacketMut<'_>, reason: DropReason) -> Decision {
        let stats = &mut self.links[usize::from(link.0)].stats;
        stats.reads += 1;
        stats.packets_in += 1;
        stats.bytes_in += u64::from(packet.wire_bytes);
        self.drops.add(reason, 1);
        Decision::Drop(reason)
    }

    fn decision(&mut self, place: Place, fate: Fate, bytes: u64) -> Decision {
        let out = match fate {
            Fate::Drop(reason) => {
                self.drops.add(reason, u64::from(place.segments));
                return Decision::Drop(reason);
            }
            Fate::Split => return Decision::Taken,
            Fate::Back => Some(place.link),
            Fate::Onward => self.onward(place.link),
        };
        let Some(link) = out else { return Decision::Taken };
        let stats = &mut self.links[usize::from(link.0)].stats;
        stats.packets_out += u64::from(place.segments);
        stats.bytes_out += bytes;
        Decision::Forward(link)
    }

    /// The link by which a packet from `link` goes on; `None` on a tap, where it goes without the node.
    pub(crate) fn onward(&self, link: LinkId) -> Option<LinkId> {
        match self.links[usize::from(link.0)].config.kind {
            LinkKind::Tun => Some(link),
            LinkKind::Inline { to } => Some(to),
            LinkKind::Tap => None,
        }
    }

    /// Matches the filters for a flow that is new, or whose chain was made for other filters.
    #[cold]
    fn decide(&mut self, now: Instant, flow: u32, link: LinkId, header: &Header) {
        let mut found: Vec<InstanceId> = Vec::new();
        self.filters.matching(&header.subject(), |instance| found.push(instance));
        if let Some(key) = fragment_key(link, header).filter(|_| matches!(header.fragment, Fragment::Later(_))) {
            let first = self.fragments.find(now, &key);
            found.extend(first.iter().flat_map(|first| &first.chain).map(|hook| hook.instance));
        }
        found.sort_unstable();
        found.dedup();
        // An updated module stays where its first version was.
        found.sort_by_key(|id| self.instances.place_of(*id));
        found.truncate(limits::CHAIN_MAX);
        self.admit(now, flow, &mut found);
        // Later fragments are counted for those who look at the flow, but no handler sees them.
        let whole = !matches!(header.fragment, Fragment::Later(_));
        let action = if whole { HookAction::Call } else { HookAction::Pass };
        let chain: Chain = found.into_iter().map(|instance| Hook { instance, action }).collect();
        self.flows.borrow_mut().decide(flow, self.epoch, chain);
        if !self.sweep_is_set {
            self.sweep_is_set = true;
            self.timers.set(now + limits::FLOW_SWEEP_PERIOD, Timer::FlowSweep);
        }
    }

    /// Leaves those in `found` who may look at one more flow, and lets the others of its chain go.
    fn admit(&mut self, now: Instant, flow: u32, found: &mut Vec<InstanceId>) {
        let old: SmallVec<[InstanceId; 2]> = self.flows.borrow().chain(flow).iter().map(|hook| hook.instance).collect();
        found.retain(|id| {
            let admits = old.contains(id) || self.instances.get(*id).is_some_and(|slot| slot.admit_flow());
            if !admits {
                self.limit_hit(now, *id, "flows", Duration::ZERO);
            }
            admits
        });
        for id in old.iter().filter(|id| !found.contains(id)) {
            if let Some(slot) = self.instances.get(*id) {
                slot.flows = slot.flows.saturating_sub(1);
            }
        }
    }

    fn first_fragment(&mut self, place: Place, header: Header, packet: &mut PacketMut<'_>) -> Fate {
        let fate = self.run_chain(place, header, packet, 0);
        if let Some(key) = fragment_key(place.link, &header) {
            let chain = self.flows.borrow().chain(place.flow).clone();
            self.fragments.insert(place.now, key, chain, !matches!(fate, Fate::Onward));
        }
        fate
    }

    fn later_fragment(&mut self, place: Place, header: &Header) -> Fate {
        let key = fragment_key(place.link, header);
        let dropped = key.and_then(|key| self.fragments.find(place.now, &key)).is_some_and(|first| first.dropped);
        let chain = self.flows.borrow().chain(place.flow).clone();
        for hook in chain {
            self.count_native(hook.instance, place.segments);
        }
        if dropped { Fate::Drop(DropReason::FragmentOfDropped) } else { Fate::Onward }
    }

    /// Asks those who look at the flow, from `start` on, until one decides.
    fn run_chain(&mut self, place: Place, mut header: Header, packet: &mut PacketMut<'_>, start: usize) -> Fate {
        let chain = {
            let flows = self.flows.borrow();
            let chain = flows.chain(place.flow);
            if chain.is_empty() {
                return Fate::Onward;
            }
            Chain::from_slice(chain)
        };
        for (at, hook) in chain.iter().enumerate().skip(start) {
            match hook.action {
                HookAction::Pass => self.count_native(hook.instance, place.segments),
                HookAction::Drop => {
                    self.count_native(hook.instance, place.segments);
                    return Fate::Drop(DropReason::FlowRule);
                }
                HookAction::Call => {
                    if self.must_split(hook.instance, &header, packet) {
                        self.split(place, &header, packet, at);
                        return Fate::Split;
                    }
                    match self.call(place, hook.instance, &header, packet) {
                        Ok(Action::Pass) => {}
                        Ok(Action::Changed) => match Header::parse(packet.bytes(), packet.truncated) {
                            Ok(changed) => header = changed,
                            Err(reason) => return Fate::Drop(reason),
                        },
                        Ok(Action::Drop) => return Fate::Drop(DropReason::ModuleVerdict),
                        Ok(Action::Reply) => return Fate::Back,
                        Err(reason) => return Fate::Drop(reason),
                    }
                }
            }
        }
        Fate::Onward
    }

    fn count_native(&mut self, instance: InstanceId, packets: u32) {
        if let Some(slot) = self.instances.get(instance) {
            slot.packets_native += u64::from(packets);
        }
    }

    /// Whether a super-packet must be split before the module may look at it: it changes lengths, or the boundaries
    /// between datagrams matter to it.
    fn must_split(&mut self, instance: InstanceId, header: &Header, packet: &PacketMut<'_>) -> bool {
        packet.offload.is_super_packet()
            && self.instances.get(instance).is_some_and(|slot| {
                let manifest = slot.manifest();
                manifest.changes == Changes::Length || (manifest.sees == Sees::Payload && header.protocol == UDP)
            })
    }

    /// Splits a super-packet; each segment goes on from hook `at` by itself.
    #[cold]
    fn split(&mut self, place: Place, header: &Header, packet: &PacketMut<'_>, at: usize) {
        let mut buffer = std::mem::take(&mut self.segment);
        let mut segments: Vec<Vec<u8>> = Vec::new();
        segment::split(packet.bytes(), header, packet.offload, &mut buffer, |bytes| {
            let mut copy = self.pool.pop().unwrap_or_default();
            copy.clear();
            copy.extend_from_slice(bytes);
            segments.push(copy);
        });
        self.segment = buffer;
        let place = Place { segments: 1, ..place };
        for mut bytes in segments {
            let len = bytes.len();
            bytes.resize(len + limits::GROWTH_BYTES_MAX, 0);
            let mut part = PacketMut::new(&mut bytes, len, Offload::default());
            part.truncated = packet.truncated;
            let fate = match Header::parse(part.bytes(), part.truncated) {
                Ok(header) => self.run_chain(place, header, &mut part, at),
                Err(reason) => Fate::Drop(reason),
            };
            let len = part.len();
            bytes.truncate(len);
            if let Decision::Forward(link) = self.decision(place, fate, len as u64) {
                self.transmit(link, Packet { bytes, offload: Offload::default() });
            }
        }
    }

    /// Shows a packet to an instance. If it cannot judge, its manifest says what becomes of the packet; an error is why it
    /// is dropped.
    fn call(
        &mut self,
        place: Place,
        id: InstanceId,
        header: &Header,
        packet: &mut PacketMut<'_>,
    ) -> Result<Action, DropReason> {
        let flow = self.flows.borrow().id(place.flow);
        let Some(slot) = self.instances.get(id) else { return Ok(Action::Pass) };
        let passes = slot.manifest().passes_on_fault;
        let unjudged = |reason| if passes { Ok(Action::Pass) } else { Err(reason) };
        if slot.waits_until.is_some() {
            slot.packets_unseen += u64::from(place.segments);
            return unjudged(DropReason::ModuleBudget);
        }
        let Some(instance) = slot.instance.as_mut() else { return unjudged(DropReason::ModuleFault) };
        slot.packets_seen += u64::from(place.segments);
        // Padding of the link is no part of the packet that a module sees.
        let len = packet.len();
        let _ = packet.resize(header.end as usize);
        let result = instance.on_packet(place.now, place.link, flow, header, packet);
        let is_behind = slot.meter.is_behind(instance);
        slot.meter.packets(place.segments, result.as_ref().is_ok_and(|verdict| verdict.action != Action::Pass));
        match result {
            Ok(Verdict { action, whole_flow }) => {
                if action == Action::Pass {
                    let _ = packet.resize(len);
                }
                if whole_flow {
                    let rule = if action == Action::Drop { HookAction::Drop } else { HookAction::Pass };
                    self.flows.borrow_mut().set_rule(place.flow, id, rule);
                }
                self.take_effects(place.now, id, Some(place.link));
                if is_behind {
                    self.settle(place.now, id);
                }
                Ok(action)
            }
            Err(fault) => {
                let _ = packet.resize(len);
                self.take_effects(place.now, id, Some(place.link));
                self.settle(place.now, id);
                self.fault(place.now, id, fault);
                unjudged(DropReason::ModuleFault)
            }
        }
    }

    /// Carries out what an instance asked for in its last call. `link` is where the packet at hand came from.
    pub(crate) fn take_effects(&mut self, now: Instant, id: InstanceId, link: Option<LinkId>) {
        loop {
            let Some(slot) = self.instances.get(id) else { return };
            let Some(effect) = slot.instance.as_mut().and_then(|instance| instance.next_effect()) else { return };
            match effect {
                Effect::Log { level, text } => {
                    let instance = slot.name.clone();
                    self.event(Event::Log { instance, level, text });
                }
                Effect::SetTimer { number, delay } => {
                    self.timers.set(now + delay.max(limits::MODULE_TIMER_MIN), Timer::Module(id, number));
                }
                Effect::Send { bytes, to } => self.inject(now, id, bytes, to, link),
                Effect::Net(output) => self.net_output(now, id, output),
                Effect::GoOn if slot.waits_until.is_some() => slot.deferred.push_back(Deferred::GoOn),
                Effect::GoOn => {
                    let result = slot.instance.as_mut().map_or(Ok(()), |instance| instance.go_on(now));
                    if let Err(fault) = result {
                        self.fault(now, id, fault);
                    }
                }
                Effect::TaskFailed { message } => self.fault(now, id, Fault::Raised { message }),
                Effect::Watch => self.set_watches(now),
                Effect::Signal(order) => self.module_signals.begin(id, order),
                Effect::Provide { name, functions } => self.provide(id, &name, functions),
                Effect::Withdraw { name } => self.withdraw(id, &name),
                Effect::Call(call) => self.calls.begin(id, call),
                Effect::Return { call, result } => self.calls.end(call, result),
            }
        }
    }

    /// Sends a packet that a module made.
    fn inject(&mut self, now: Instant, id: InstanceId, bytes: Vec<u8>, to: SendTo, from: Option<LinkId>) {
        if self.links.is_empty() {
            return self.drops.add(DropReason::LinkDown, 1);
        }
        let from = from.unwrap_or(LinkId(0));
        let link = match to {
            SendTo::Back => from,
            SendTo::Onward => self.onward(from).unwrap_or(from),
        };
        if Header::parse(&bytes, false).is_err() {
            return self.drops.add(DropReason::InjectedMalformed, 1);
        }
        let Some(slot) = self.instances.get(id) else { return };
        if !slot.budget.may_send(now, bytes.len()) {
            self.drops.add(DropReason::ModuleBandwidth, 1);
            return self.limit_hit(now, id, "bandwidth_out", Duration::ZERO);
        }
        slot.meter.injected(bytes.len());
        let stats = &mut self.links[usize::from(link.0)].stats;
        stats.packets_out += 1;
        stats.bytes_out += bytes.len() as u64;
        self.transmit(link, Packet { bytes, offload: Offload::default() });
    }

    pub(crate) fn transmit(&mut self, link: LinkId, packet: Packet) {
        if self.outputs.len() < limits::OUTPUTS_MAX {
            self.outputs.push_back(Output::Transmit { link, packet });
        } else {
            self.drops.add(DropReason::OutputsFull, 1);
        }
    }

    /// Tells those who want to know that a flow was forgotten.
    pub(crate) fn flow_ended(&mut self, now: Instant, ended: &Ended) {
        for hook in &ended.chain {
            self.tell_flow_end(now, hook.instance, &ended.record);
        }
    }
}

fn fragment_key(link: LinkId, header: &Header) -> Option<FragmentKey> {
    let (Fragment::First(id) | Fragment::Later(id)) = header.fragment else { return None };
    let Header { source, destination, protocol, .. } = *header;
    Some(FragmentKey { source, destination, id, protocol, link: link.0 })
}

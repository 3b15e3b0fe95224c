//! What instances use: metered after each call, and held to their limits.
//!
//! An instance that has used up its share of the CPU waits: packets go their way without it, and timers, ended flows and
//! tasks that could go on are kept for later, in their order. One that has used up its bandwidth loses datagrams and
//! injected packets; its streams wait.

use std::time::Duration;

use smallvec::SmallVec;

use crate::base::id::InstanceId;
use crate::base::limits::{FLOW_ENDS_DEFERRED_MAX, LEDGER_SAVE_PERIOD, NET_HELD_MAX};
use crate::base::net::{Datagram, NetEvent, NetOutput, SocketId};
use crate::base::time::Instant;
use crate::base::timer::Timer;
use crate::container::fault::Fault;
use crate::container::surroundings::FlowRecord;
use crate::controller::api::StoreOp;
use crate::controller::instances::{Deferred, Slot};
use crate::controller::ledger::{self, Account, Row};
use crate::node::{Errand, Event, Node, Output};

impl Node {
    /// Takes in what an instance has used in a call.
    pub(crate) fn settle(&mut self, now: Instant, id: InstanceId) {
        let Some(slot) = self.instances.get(id) else { return };
        let wait = slot.settle(now);
        if !slot.untold.is_empty() {
            let (instance, limits) = (slot.name.clone(), std::mem::take(&mut slot.untold));
            for limit in limits {
                self.event(Event::OverBudget { instance: instance.clone(), limit, wait: Duration::ZERO });
            }
        }
        self.wait_for_share(now, id, wait);
    }

    /// What an instance has used since it was last looked at is not its own: answers its CPU time, in ns.
    pub(crate) fn settle_for_other(&mut self, now: Instant, id: InstanceId) -> u64 {
        self.instances.get(id).map_or(0, |slot| slot.settle_for_other(now))
    }

    /// An instance pays for CPU time that others, or the driver, have used for it.
    pub fn pay(&mut self, now: Instant, id: InstanceId, cpu_ns: u64) {
        let wait = self.instances.get(id).and_then(|slot| slot.pay(now, cpu_ns));
        self.wait_for_share(now, id, wait);
    }

    fn wait_for_share(&mut self, now: Instant, id: InstanceId, wait: Option<Duration>) {
        let Some(wait) = wait else { return };
        let Some(slot) = self.instances.get(id) else { return };
        if slot.waits_until.is_some() {
            return;
        }
        slot.waits_until = Some(now + wait);
        self.timers.set(now + wait, Timer::InstanceBudget(id));
        self.limit_hit(now, id, "cpu_share_percent", wait);
    }

    /// Counts that an instance has reached a limit, and says so if it has not said so lately.
    pub(crate) fn limit_hit(&mut self, now: Instant, id: InstanceId, limit: &'static str, wait: Duration) {
        let Some(slot) = self.instances.get(id) else { return };
        if slot.budget.hit(now, limit, 1) {
            let instance = slot.name.clone();
            self.event(Event::OverBudget { instance, limit, wait });
        }
    }

    /// An instance that had to wait may go on, if its time has come.
    pub(crate) fn resume(&mut self, now: Instant, id: InstanceId) {
        let Some(slot) = self.instances.get(id) else { return };
        if slot.waits_until.is_some_and(|until| until <= now) {
            slot.waits_until = None;
        }
        self.release(now, id);
        loop {
            let Some(slot) = self.instances.get(id) else { return };
            if slot.waits_until.is_some() {
                return;
            }
            let Some(deferred) = slot.deferred.pop_front() else { return };
            if let Deferred::Timer(number) = deferred {
                self.timer_due(now, id, number);
                continue;
            }
            let Some(instance) = slot.instance.as_mut() else { return };
            let result = match deferred {
                Deferred::Timer(_) => Ok(()),
                Deferred::Wake(key) => instance.wake_up(now, key),
                Deferred::GoOn => instance.go_on(now),
                Deferred::FlowEnd(record) => instance.on_flow_end(now, &record),
            };
            self.called(now, id, result);
        }
    }

    /// What follows from every call but that of a packet handler.
    pub(crate) fn called(&mut self, now: Instant, id: InstanceId, result: Result<(), Fault>) {
        self.take_effects(now, id, None);
        self.settle(now, id);
        if let Err(fault) = result {
            self.fault(now, id, fault);
        }
    }

    /// A timer of an instance is due.
    pub(crate) fn timer_due(&mut self, now: Instant, id: InstanceId, number: u32) {
        let Some(slot) = self.instances.get(id) else { return };
        if slot.waits_until.is_some() {
            return slot.deferred.push_back(Deferred::Timer(number));
        }
        let Some(instance) = slot.instance.as_mut() else { return };
        let result = instance.on_timer(now, number);
        self.called(now, id, result);
    }

    /// A flow that an instance looked at is over.
    pub(crate) fn tell_flow_end(&mut self, now: Instant, id: InstanceId, record: &FlowRecord) {
        let Some(slot) = self.instances.get(id) else { return };
        slot.flows = slot.flows.saturating_sub(1);
        let Some(instance) = slot.instance.as_mut() else { return };
        instance.flow_gone(record);
        if !instance.wants_flow_ends() {
            return;
        }
        if slot.waits_until.is_some() {
            let waiting = slot.deferred.iter().filter(|deferred| matches!(deferred, Deferred::FlowEnd(_))).count();
            if waiting < FLOW_ENDS_DEFERRED_MAX {
                slot.deferred.push_back(Deferred::FlowEnd(*record));
            }
            return;
        }
        let result = instance.on_flow_end(now, record);
        self.called(now, id, result);
    }

    /// Something happened to a socket of an instance.
    pub(crate) fn net_event(&mut self, now: Instant, socket: SocketId, event: NetEvent<'_>) {
        let id = socket.instance;
        self.net.happened(socket, &event);
        let mut room: SmallVec<[Datagram<'_>; 8]> = SmallVec::new();
        let event = if let NetEvent::Datagrams(datagrams) = event {
            let taken = datagrams.iter().filter(|datagram| self.takes_datagram(now, id, datagram.bytes.len()));
            room.extend(taken.copied());
            if room.is_empty() {
                return;
            }
            NetEvent::Datagrams(&room)
        } else {
            event
        };
        self.take_received(now, socket, &event);
        let Some(slot) = self.instances.get(id) else { return };
        let Some(instance) = slot.instance.as_mut() else { return };
        if slot.waits_until.is_none() {
            let result = instance.on_net(now, socket, event);
            return self.called(now, id, result);
        }
        for key in instance.happened(now, socket, event) {
            // A key that is kept already wakes the same task.
            if !slot.deferred.iter().any(|deferred| matches!(deferred, Deferred::Wake(other) if *other == key)) {
                slot.deferred.push_back(Deferred::Wake(key));
            }
        }
        self.take_effects(now, id, None);
    }

    /// Counts a datagram that came. False if there is no bandwidth for it.
    fn takes_datagram(&mut self, now: Instant, id: InstanceId, bytes: usize) -> bool {
        let Some(slot) = self.instances.get(id) else { return false };
        let takes = slot.budget.received(now, bytes);
        if takes {
            slot.meter.received(bytes);
        } else {
            self.limit_hit(now, id, "bandwidth_in", Duration::ZERO);
        }
        takes
    }

    /// Counts what came by a stream. When it is too much, the stream is not read for a while.
    fn take_received(&mut self, now: Instant, socket: SocketId, event: &NetEvent<'_>) {
        let id = socket.instance;
        let Some(slot) = self.instances.get(id) else { return };
        if let NetEvent::Closed { .. } = event {
            slot.shaping.forget(socket);
        } else if let NetEvent::Received(bytes) = event {
            slot.meter.received(bytes.len());
            if let Some(wait) = slot.budget.received_stream(now, bytes.len()) {
                slot.shaping.throttled.insert(socket);
                self.outputs.push_back(Output::Net(NetOutput::Pause(socket)));
                self.timers.set(now + wait, Timer::InstanceBudget(id));
                self.limit_hit(now, id, "bandwidth_in", wait);
            }
        }
    }

    /// Does what an instance asks of its sockets, as far as its bandwidth allows.
    pub(crate) fn net_output(&mut self, now: Instant, id: InstanceId, output: NetOutput) {
        if !self.draining.is_empty() && self.claim(now, &output) {
            return;
        }
        let Some(slot) = self.instances.get(id) else { return };
        if let Some(output) = slot.shape(output) {
            self.put_net(now, id, output);
        }
    }

    /// Sends an output whose turn it is. One for which there is no bandwidth waits, or is lost.
    fn put_net(&mut self, now: Instant, id: InstanceId, output: NetOutput) {
        let Some(slot) = self.instances.get(id) else { return };
        let bytes =
            if let NetOutput::Write { bytes, .. } | NetOutput::Send { bytes, .. } = &output { bytes.len() } else { 0 };
        if bytes > 0 && !slot.budget.may_send(now, bytes) {
            let wait = slot.budget.send_wait(now);
            if matches!(output, NetOutput::Write { .. }) {
                slot.shaping.held.push_front(output);
                self.timers.set(now + wait, Timer::InstanceBudget(id));
            }
            return self.limit_hit(now, id, "bandwidth_out", wait);
        }
        slot.meter.sent(bytes);
        self.put_output(output);
    }

    /// Lets go of what waited for bandwidth.
    fn release(&mut self, now: Instant, id: InstanceId) {
        loop {
            let Some(slot) = self.instances.get(id) else { return };
            let before = slot.shaping.held.len();
            if before > NET_HELD_MAX {
                let message = format!("limit bandwidth_out: more than {NET_HELD_MAX} writes wait");
                return self.fault(now, id, Fault::Raised { message });
            }
            let Some(output) = slot.shaping.held.pop_front() else { break };
            self.put_net(now, id, output);
            if self.instances.get(id).is_none_or(|slot| slot.shaping.held.len() == before) {
                break;
            }
        }
        let Some(slot) = self.instances.get(id) else { return };
        let wait = slot.budget.receive_wait(now);
        if wait == Duration::ZERO {
            let resumed = slot.shaping.resumed();
            self.outputs.extend(resumed.into_iter().map(|socket| Output::Net(NetOutput::Resume(socket))));
        } else if !slot.shaping.throttled.is_empty() {
            self.timers.set(now + wait, Timer::InstanceBudget(id));
        }
    }

    /// From now on what is used is kept over restarts, by [`Errand::Store`] under [`ledger::KEY`]; `kept` is what an earlier
    /// run left behind.
    ///
    /// # Errors
    ///
    /// Why `kept` is not used, as a sentence; the ledger begins anew then.
    pub fn keep_usage(&mut self, now: Instant, kept: Option<&[u8]>) -> Result<(), String> {
        self.timers.set(now + LEDGER_SAVE_PERIOD, Timer::LedgerSave);
        self.keeps_usage = true;
        kept.map_or(Ok(()), |bytes| self.ledger.restore(bytes))
    }

    /// What was used from a day on (days since 1970-01-01, UTC), by day, requester and instance.
    pub fn usage(&mut self, now: Instant, since_day: u64) -> Vec<Row> {
        let ids: Vec<InstanceId> = self.instances.iter().map(|slot| slot.id).collect();
        for id in ids {
            self.settle(now, id);
            self.book(now, id);
        }
        self.ledger.rows(since_day).collect()
    }

    /// Gives the ledger what an instance has used since the last time.
    pub(crate) fn book(&mut self, now: Instant, id: InstanceId) {
        let day = ledger::day_of(self.config.wall.at(now));
        let Some(slot) = self.instances.get(id) else { return };
        let usage = slot.meter.book();
        let (requester, instance) = (slot.requester.clone(), slot.name.clone());
        let module = slot.manifest().name.clone();
        self.ledger.add(Account { day, requester, instance, module }, &usage);
    }

    /// Keeps the ledger, if something has changed.
    pub(crate) fn save_usage(&mut self, now: Instant) {
        if !self.keeps_usage {
            return;
        }
        self.usage(now, u64::MAX);
        if let Some(bytes) = self.ledger.changed_bytes() {
            let op = StoreOp::Put { key: ledger::KEY.to_owned(), bytes };
            self.outputs.push_back(Output::Errand(Errand::Store(op)));
        }
    }
}

impl Slot {
    /// Whether the output may be sent now, in its order. What waits is kept.
    fn shape(&mut self, output: NetOutput) -> Option<NetOutput> {
        let shaping = &mut self.shaping;
        if let NetOutput::Pause(socket) = &output {
            shaping.paused.insert(*socket);
        } else if let NetOutput::Resume(socket) = &output {
            shaping.paused.remove(socket);
            if shaping.throttled.contains(socket) {
                return None;
            }
        } else if let NetOutput::Close { socket, abort } = &output {
            if *abort {
                shaping.drop_held(*socket);
            }
            shaping.forget(*socket);
        }
        let keeps_order =
            matches!(output, NetOutput::Write { .. } | NetOutput::Finish(_) | NetOutput::Close { abort: false, .. });
        if keeps_order && !shaping.held.is_empty() {
            shaping.held.push_back(output);
            return None;
        }
        Some(output)
    }
}

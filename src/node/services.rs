//! Carries calls of services from one instance to another, and answers back.
//!
//! A call is never made from within another one: it waits here until the code that asked for it has ended. What is
//! carried, and in which order, depends on the order of the calls alone.

use std::collections::{BTreeMap, VecDeque};

use crate::base::id::InstanceId;
use crate::base::limits::{
    MODULE_TIMER_MIN, SERVICE_CALLS_MAX, SERVICE_STEPS_MAX, SERVICE_WAIT_MAX, SERVICE_WAITING_BYTES_MAX,
};
use crate::base::time::Instant;
use crate::base::timer::Timer;
use crate::container::instance::ServiceCall;
use crate::container::services::{Copied, Offer};
use crate::node::Node;

type Outcome = Result<Copied, String>;

/// What is to be carried next.
enum Step {
    Call { caller: InstanceId, call: ServiceCall },
    Answer { caller: InstanceId, number: u32, result: Outcome },
}

/// A call that the provider has, and has not answered.
struct Open {
    caller: InstanceId,
    /// The caller's number for it.
    number: u32,
    provider: InstanceId,
    /// Service and function, for people.
    what: String,
    until: Instant,
}

/// The calls under way.
#[derive(Default)]
pub(crate) struct Calls {
    steps: VecDeque<Step>,
    /// Answers to those who have to wait for their share of the CPU.
    later: Vec<Step>,
    /// By a number that no other call has had: also the order of their deadlines.
    open: BTreeMap<u64, Open>,
    per_caller: BTreeMap<InstanceId, u32>,
    /// Bytes of arguments and answers that wait to be carried, by caller.
    waiting_bytes: BTreeMap<InstanceId, usize>,
    count: u64,
    /// Services have come or gone, and those who use them do not know yet.
    changed: bool,
    /// Set for the first deadline, or for the steps that are left.
    timer: Option<Instant>,
}

impl Calls {
    /// An instance calls another one.
    pub(crate) fn begin(&mut self, caller: InstanceId, call: ServiceCall) {
        let count = self.per_caller.get(&caller).copied().unwrap_or_default();
        let what = format!("{}.{}", call.service, call.function);
        let problem = if count >= SERVICE_CALLS_MAX {
            Some(format!("{what}: limit service_calls ({SERVICE_CALLS_MAX}) exceeded: so many calls wait"))
        } else if self.waits_for(caller) + call.arguments.bytes_len() > SERVICE_WAITING_BYTES_MAX {
            Some(format!("{what}: limit service_bytes ({SERVICE_WAITING_BYTES_MAX}) exceeded: so many wait"))
        } else {
            None
        };
        if let Some(problem) = problem {
            self.steps.push_back(Step::Answer { caller, number: call.number, result: Err(problem) });
            return;
        }
        self.per_caller.insert(caller, count + 1);
        self.add_waiting(caller, call.arguments.bytes_len());
        self.steps.push_back(Step::Call { caller, call });
    }

    /// A provider answers.
    pub(crate) fn end(&mut self, call: u64, result: Outcome) {
        if let Some(open) = self.open.remove(&call) {
            self.answer(open, result);
        }
    }

    fn answer(&mut self, open: Open, result: Outcome) {
        self.settle(open.caller);
        let len = result.as_ref().map_or(0, Copied::bytes_len);
        let result = match result {
            Ok(_) if self.waits_for(open.caller) + len > SERVICE_WAITING_BYTES_MAX => {
                Err(format!("limit service_bytes ({SERVICE_WAITING_BYTES_MAX}) exceeded: so many wait"))
            }
            result => result,
        };
        self.add_waiting(open.caller, result.as_ref().map_or(0, Copied::bytes_len));
        let result = result.map_err(|problem| format!("{}: {problem}", open.what));
        self.steps.push_back(Step::Answer { caller: open.caller, number: open.number, result });
    }

    /// Bytes that wait to be carried for this caller.
    fn waits_for(&self, caller: InstanceId) -> usize {
        self.waiting_bytes.get(&caller).copied().unwrap_or_default()
    }

    fn add_waiting(&mut self, caller: InstanceId, bytes: usize) {
        if bytes > 0 {
            *self.waiting_bytes.entry(caller).or_default() += bytes;
        }
    }

    /// A step of this caller is carried, or forgotten.
    fn take_waiting(&mut self, caller: InstanceId, bytes: usize) {
        if let Some(waiting) = self.waiting_bytes.get_mut(&caller) {
            *waiting = waiting.saturating_sub(bytes);
            if *waiting == 0 {
                self.waiting_bytes.remove(&caller);
            }
        }
    }

    /// One call less of this caller waits.
    fn settle(&mut self, caller: InstanceId) {
        if let Some(count) = self.per_caller.get_mut(&caller) {
            *count -= 1;
            if *count == 0 {
                self.per_caller.remove(&caller);
            }
        }
    }

    /// Services have come or gone, if `changed` says so.
    pub(crate) fn withdrawn(&mut self, changed: bool) {
        self.changed |= changed;
    }

    /// Whether the instance still has calls to answer.
    pub(crate) fn are_open_at(&self, provider: InstanceId) -> bool {
        let waits = |step: &Step| matches!(step, Step::Call { call, .. } if call.to == provider);
        self.open.values().any(|open| open.provider == provider) || self.steps.iter().any(waits)
    }
}

impl Node {
    pub(crate) fn provide(&mut self, id: InstanceId, name: &str, functions: Vec<String>) {
        let Some(slot) = self.instances.get(id) else { return };
        let Some(version) = slot.manifest().provides.get(name).cloned() else { return };
        self.services.borrow_mut().provide(name, Offer { instance: id, version, functions });
        self.calls.changed = true;
    }

    pub(crate) fn withdraw(&mut self, id: InstanceId, name: &str) {
        self.calls.changed |= self.services.borrow_mut().withdraw(name, id);
    }

    /// An instance is gone, or begins anew: what it offered ends, who waits for it is told, and it waits for nothing.
    pub(crate) fn services_lost(&mut self, id: InstanceId, why: &str) {
        self.module_signals.forget(id);
        self.calls.changed |= self.services.borrow_mut().withdraw_all(id);
        if self.calls.steps.is_empty() && self.calls.open.is_empty() {
            return;
        }
        self.calls.steps.retain(|step| match step {
            Step::Call { caller, .. } | Step::Answer { caller, .. } => *caller != id,
        });
        self.calls.per_caller.remove(&id);
        self.calls.waiting_bytes.remove(&id);
        let open = std::mem::take(&mut self.calls.open);
        for (number, open) in open {
            if open.provider == id && open.caller != id {
                self.calls.answer(open, Err(format!("the module that provides it was stopped: {why}")));
            } else if open.caller != id {
                self.calls.open.insert(number, open);
            }
        }
    }

    /// Carries what waits, up to a bound; the rest follows a little later, so that calls without end stop nobody else.
    pub(crate) fn carry_calls(&mut self, now: Instant) {
        if self.calls.steps.is_empty() && !self.calls.changed {
            return;
        }
        for _ in 0..SERVICE_STEPS_MAX {
            if std::mem::take(&mut self.calls.changed) {
                self.tell_of_services(now);
            }
            match self.calls.steps.pop_front() {
                Some(Step::Call { caller, call }) => self.carry_call(now, caller, call),
                Some(Step::Answer { caller, number, result }) => self.carry_answer(now, caller, number, result),
                None if self.calls.changed => {}
                None => break,
            }
        }
        let later = std::mem::take(&mut self.calls.later);
        self.calls.steps.extend(later);
        self.set_call_timer(now);
    }

    fn carry_call(&mut self, now: Instant, caller: InstanceId, call: ServiceCall) {
        let len = call.arguments.bytes_len();
        self.calls.take_waiting(caller, len);
        self.calls.count += 1;
        let (number, provider) = (self.calls.count, call.to);
        let what = format!("{}.{}", call.service, call.function);
        let open = Open { caller, number: call.number, provider, what, until: now + SERVICE_WAIT_MAX };
        self.settle(now, provider);
        let Some(instance) = self.instances.get(provider).and_then(|slot| slot.instance.as_mut()) else {
            self.calls.answer(open, Err("the module that provides it was stopped".to_owned()));
            return;
        };
        // A caller must not be able to end its provider by what it hands over.
        if !instance.has_room_for(len) {
            self.calls.answer(open, Err("the module that provides it has no memory for the arguments".to_owned()));
            return;
        }
        self.calls.open.insert(number, open);
        let result = instance.on_call(now, number, call);
        self.take_effects(now, provider, None);
        // The time that the function took is the caller's. What it does after it has waited is its own module's.
        let cpu_ns = self.settle_for_other(now, provider);
        self.pay(now, caller, cpu_ns);
        if let Err(fault) = result {
            self.fault(now, provider, fault);
        }
    }

    fn carry_answer(&mut self, now: Instant, caller: InstanceId, number: u32, result: Outcome) {
        let Some(slot) = self.instances.get(caller) else { return };
        if slot.waits_until.is_some() {
            // It has used up its share of the CPU: it hears of it later.
            self.calls.later.push(Step::Answer { caller, number, result });
            return;
        }
        self.calls.take_waiting(caller, result.as_ref().map_or(0, Copied::bytes_len));
        let Some(instance) = slot.instance.as_mut() else { return };
        let result = instance.on_answer(now, number, result);
        self.called(now, caller, result);
    }

    /// Services have changed: those who use them learn of it.
    fn tell_of_services(&mut self, now: Instant) {
        let ids: Vec<InstanceId> =
            self.instances.iter().filter(|slot| slot.uses_services()).map(|slot| slot.id).collect();
        for id in ids {
            let Some(instance) = self.instances.get(id).and_then(|slot| slot.instance.as_mut()) else { continue };
            let result = instance.on_services_changed(now);
            self.called(now, id, result);
        }
    }

    /// Calls that had no answer for too long are answered; what could not be carried is carried.
    pub(crate) fn expire_calls(&mut self, now: Instant) {
        self.calls.timer = None;
        while let Some(first) = self.calls.open.first_entry().filter(|first| first.get().until <= now) {
            let open = first.remove();
            let waited = SERVICE_WAIT_MAX.as_secs();
            self.calls.answer(open, Err(format!("no answer in {waited} seconds")));
        }
        self.set_call_timer(now);
    }

    fn set_call_timer(&mut self, now: Instant) {
        let left = (!self.calls.steps.is_empty() || self.calls.changed).then(|| now + MODULE_TIMER_MIN);
        let first = self.calls.open.first_key_value().map(|(_, open)| open.until);
        let Some(at) = [left, first].into_iter().flatten().min() else { return };
        if self.calls.timer.is_none_or(|set| at < set) {
            self.calls.timer = Some(at);
            self.timers.set(at, Timer::ServiceCalls);
        }
    }
}

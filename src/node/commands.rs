//! Orders, timers, and what follows from faults.

use std::collections::BTreeSet;

use crate::base::filter::Filter;
use crate::base::id::InstanceId;
use crate::base::limits;
use crate::base::net::NetOutput;
use crate::base::time::Instant;
use crate::base::timer::Timer;
use crate::container::fault::Fault;
use crate::container::grant::Grant;
use crate::container::module::Module;
use crate::controller::Ended;
use crate::controller::instances::{Consequence, InstanceState};
use crate::node::updates::Change;
use crate::node::{Answer, Command, CommandError, Event, LinkKind, Node, Output};

impl Node {
    pub(crate) fn obey(&mut self, now: Instant, command: Command) -> Answer {
        match command {
            Command::Load { module, name, properties, grant } => {
                self.load(now, module, name, &properties, grant.as_deref())
            }
            Command::Update { name, module, properties, grant, drain } => {
                self.update(now, name, module, Change { properties, grant, drain })
            }
            Command::Unload { name } => {
                let id =
                    self.instances.by_name(&name).ok_or_else(|| CommandError::NoInstance { name: name.clone() })?;
                self.end_versions_before(now, id, "the instance was unloaded");
                self.stop_instance(now, id, "unloaded");
                self.filters_changed();
                self.instance_gone(now, &name, &Ended::Unloaded);
                Ok(id)
            }
        }
    }

    fn load(
        &mut self,
        now: Instant,
        module: Module,
        name: Option<String>,
        properties: &toml::Table,
        grant: Option<&Grant>,
    ) -> Answer {
        let module = grant.map_or_else(|| module.clone(), |grant| grant.narrow(module.clone()));
        if module.manifest.needs_to_hold_packets()
            && let Some(tap) = self.links.iter().find(|link| link.config.kind == LinkKind::Tap)
        {
            let (module, link) = (module.manifest.name.clone(), tap.config.name.clone());
            return Err(CommandError::Tap { module, link });
        }
        let slot = self.instances.load(now, module, name, properties, grant)?;
        let (id, instance) = (slot.id, slot.name.clone());
        self.event(Event::Started { instance });
        self.called(now, id, Ok(()));
        self.filters_changed();
        Ok(id)
    }

    /// Lets an instance say good-bye and forgets it. The caller changes the filters.
    pub(crate) fn stop_instance(&mut self, now: Instant, id: InstanceId, reason: &str) {
        if let Some(instance) = self.retire(now, id, reason) {
            self.put_output(NetOutput::CloseAll(id));
            self.event(Event::Unloaded { instance });
        }
    }

    /// The same without a word; answers what it was called.
    pub(crate) fn retire(&mut self, now: Instant, id: InstanceId, reason: &str) -> Option<String> {
        let slot = self.instances.get(id)?;
        let name = slot.name.clone();
        let result = slot.instance.as_mut().map_or(Ok(()), |instance| instance.stop(now, reason));
        self.take_effects(now, id, None);
        self.settle(now, id);
        if let Err(fault) = result {
            self.event(Event::Erred { instance: name.clone(), fault });
        }
        self.book(now, id);
        self.instances.remove(id);
        self.services_lost(id, reason);
        self.timers.retain(|timer| {
            let of = [Timer::InstanceRestart(id), Timer::InstanceBudget(id)];
            !of.contains(timer) && !matches!(timer, Timer::Module(owner, _) if *owner == id)
        });
        Some(name)
    }

    /// Counts what an instance did wrong, and draws the consequence.
    pub(crate) fn fault(&mut self, now: Instant, id: InstanceId, fault: Fault) {
        let Some(slot) = self.instances.get(id) else { return };
        let instance = slot.name.clone();
        if slot.is_draining() {
            return self.fault_while_draining(now, id, instance, fault);
        }
        let restart_in = match slot.fault(now, &fault) {
            Consequence::Tolerated => return self.event(Event::Erred { instance, fault }),
            Consequence::RestartIn(delay) => {
                self.timers.set(now + delay, Timer::InstanceRestart(id));
                Some(delay)
            }
            Consequence::Unloaded => None,
        };
        self.timers.retain(|timer| !matches!(timer, Timer::Module(owner, _) if *owner == id));
        self.put_output(NetOutput::CloseAll(id));
        self.services_lost(id, "it failed");
        let gone = restart_in.is_none().then(|| (instance.clone(), fault.to_string()));
        self.event(Event::Failed { instance, fault, restart_in });
        if let Some((instance, why)) = gone {
            self.filters_changed();
            self.instance_gone(now, &instance, &Ended::Failed(why));
        }
    }

    pub(crate) fn expire_timers(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::FlowSweep => self.sweep(now),
                Timer::Module(id, number) => self.timer_due(now, id, number),
                Timer::InstanceBudget(id) => self.resume(now, id),
                Timer::LedgerSave => {
                    self.save_usage(now);
                    self.timers.set(now + limits::LEDGER_SAVE_PERIOD, Timer::LedgerSave);
                }
                Timer::InstanceRestart(id) => self.restart(now, id),
                Timer::Drain(id) => self.drain_timer(now, id),
                Timer::Watches => self.look_at_watches(now),
                Timer::ServiceCalls => self.expire_calls(now),
                Timer::Signaling => {}
            }
        }
        self.expire_signaling(now);
    }

    fn restart(&mut self, now: Instant, id: InstanceId) {
        let Some(name) = self.instances.get(id).map(|slot| slot.name.clone()) else { return };
        let surroundings = self.instances.surroundings(&name);
        let Some(slot) = self.instances.get(id) else { return };
        if !matches!(slot.state, InstanceState::Waiting { .. }) {
            return;
        }
        let instance = slot.name.clone();
        match slot.restart(now, &surroundings) {
            Ok(()) => {
                self.flows.borrow_mut().reset_rules(id);
                self.event(Event::Started { instance });
                self.called(now, id, Ok(()));
            }
            Err(fault) => self.fault(now, id, fault),
        }
    }

    fn sweep(&mut self, now: Instant) {
        let mut budget = self.flows.borrow().sweep_budget();
        loop {
            let ended = self.flows.borrow_mut().sweep(now, &mut budget);
            let Some(ended) = ended else { break };
            self.flow_ended(now, &ended);
        }
        self.sweep_is_set = self.flows.borrow().len() > 0;
        if self.sweep_is_set {
            self.timers.set(now + limits::FLOW_SWEEP_PERIOD, Timer::FlowSweep);
        }
    }

    /// Takes over the filters of all instances: all flows are decided anew, and the driver steers anew.
    pub(crate) fn filters_changed(&mut self) {
        let instances = self.instances.iter();
        self.filters.set(instances.flat_map(|slot| slot.filters.iter().map(move |filter| (*filter, slot.id))));
        self.epoch = self.epoch.wrapping_add(1);
        let mut wanted: BTreeSet<Filter> = self.config.capture.iter().copied().collect();
        wanted.extend(self.instances.iter().flat_map(|slot| &slot.filters));
        wanted.extend(self.signal_filter());
        self.outputs.push_back(Output::Steer(wanted.into_iter().collect()));
    }

    pub(crate) fn event(&mut self, event: Event) {
        if self.outputs.len() < limits::OUTPUTS_MAX {
            self.outputs.push_back(Output::Event(event));
        }
    }
}

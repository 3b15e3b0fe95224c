//! Orders, timers, and what follows from faults.

use std::collections::BTreeSet;

use crate::base::filter::Filter;
use crate::base::id::InstanceId;
use crate::base::limits;
use crate::base::net::{NetEvent, NetOutput, SocketId};
use crate::base::time::Instant;
use crate::base::timer::Timer;
use crate::container::fault::Fault;
use crate::container::module::Module;
use crate::controller::Ended;
use crate::controller::instances::{Consequence, InstanceState};
use crate::node::{Answer, Command, CommandError, Event, LinkKind, Node, Output};

impl Node {
    pub(crate) fn obey(&mut self, now: Instant, command: Command) -> Answer {
        match command {
            Command::Load { module, name, properties } => self.load(now, module, name, &properties),
            Command::Unload { name } => {
                let id =
                    self.instances.by_name(&name).ok_or_else(|| CommandError::NoInstance { name: name.clone() })?;
                self.stop_instance(now, id, "unloaded");
                self.filters_changed();
                self.instance_gone(now, &name, &Ended::Unloaded);
                Ok(id)
            }
        }
    }

    fn load(&mut self, now: Instant, module: Module, name: Option<String>, properties: &toml::Table) -> Answer {
        if module.manifest.needs_to_hold_packets()
            && let Some(tap) = self.links.iter().find(|link| link.config.kind == LinkKind::Tap)
        {
            let (module, link) = (module.manifest.name.clone(), tap.config.name.clone());
            return Err(CommandError::Tap { module, link });
        }
        let slot = self.instances.load(now, module, name, properties)?;
        let (id, instance) = (slot.id, slot.name.clone());
        self.event(Event::Started { instance });
        self.take_effects(now, id, None);
        self.filters_changed();
        Ok(id)
    }

    /// Lets an instance say good-bye and forgets it. The caller changes the filters.
    pub(crate) fn stop_instance(&mut self, now: Instant, id: InstanceId, reason: &str) {
        let Some(slot) = self.instances.get(id) else { return };
        let name = slot.name.clone();
        let result = slot.instance.as_mut().map_or(Ok(()), |instance| instance.stop(now, reason));
        self.take_effects(now, id, None);
        if let Err(fault) = result {
            self.event(Event::Erred { instance: name.clone(), fault });
        }
        self.instances.remove(id);
        self.outputs.push_back(Output::Net(NetOutput::CloseAll(id)));
        self.timers
            .retain(|timer| !matches!(timer, Timer::Module(owner, _) | Timer::InstanceRestart(owner) if *owner == id));
        self.event(Event::Unloaded { instance: name });
    }

    /// Counts what an instance did wrong, and draws the consequence.
    pub(crate) fn fault(&mut self, now: Instant, id: InstanceId, fault: Fault) {
        let Some(slot) = self.instances.get(id) else { return };
        let instance = slot.name.clone();
        let restart_in = match slot.fault(now, &fault) {
            Consequence::Tolerated => return self.event(Event::Erred { instance, fault }),
            Consequence::RestartIn(delay) => {
                self.timers.set(now + delay, Timer::InstanceRestart(id));
                Some(delay)
            }
            Consequence::Unloaded => None,
        };
        self.timers.retain(|timer| !matches!(timer, Timer::Module(owner, _) if *owner == id));
        self.outputs.push_back(Output::Net(NetOutput::CloseAll(id)));
        let gone = restart_in.is_none().then(|| (instance.clone(), fault.to_string()));
        self.event(Event::Failed { instance, fault, restart_in });
        if let Some((instance, why)) = gone {
            self.filters_changed();
            self.instance_gone(now, &instance, &Ended::Failed(why));
        }
    }

    /// Something happened to a socket of an instance.
    pub(crate) fn net_event(&mut self, now: Instant, socket: SocketId, event: NetEvent<'_>) {
        let id = socket.instance;
        let Some(instance) = self.instances.get(id).and_then(|slot| slot.instance.as_mut()) else { return };
        let result = instance.on_net(now, socket, event);
        self.take_effects(now, id, None);
        if let Err(fault) = result {
            self.fault(now, id, fault);
        }
    }

    pub(crate) fn expire_timers(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::FlowSweep => self.sweep(now),
                Timer::Module(id, number) => {
                    let Some(slot) = self.instances.get(id) else { continue };
                    let Some(instance) = slot.instance.as_mut() else { continue };
                    let result = instance.on_timer(now, number);
                    self.take_effects(now, id, None);
                    if let Err(fault) = result {
                        self.fault(now, id, fault);
                    }
                }
                Timer::InstanceRestart(id) => self.restart(now, id),
                Timer::Signaling => {}
            }
        }
        self.expire_signaling(now);
    }

    fn restart(&mut self, now: Instant, id: InstanceId) {
        let surroundings = self.instances.surroundings();
        let Some(slot) = self.instances.get(id) else { return };
        if !matches!(slot.state, InstanceState::Waiting { .. }) {
            return;
        }
        let instance = slot.name.clone();
        match slot.restart(now, &surroundings) {
            Ok(()) => {
                self.flows.borrow_mut().reset_rules(id);
                self.event(Event::Started { instance });
                self.take_effects(now, id, None);
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

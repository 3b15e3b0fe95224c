//! Updates of running modules: the new version takes over filters, flows, services and listening sockets; the old one
//! goes on with the connections and calls that it has, for a while.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::base::id::InstanceId;
use crate::base::limits::{UPDATE_CLAIM_WAIT, UPDATE_DRAIN_DEFAULT, UPDATE_DRAIN_MAX};
use crate::base::net::{NetEvent, NetOutput, Security, SocketId};
use crate::base::time::Instant;
use crate::base::timer::Timer;
use crate::container::fault::Fault;
use crate::container::grant::Grant;
use crate::container::module::Module;
use crate::controller::instances::NewVersion;
use crate::node::{Answer, CommandError, Event, LinkKind, Node, Output};

/// What an instance listens at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Listener { at: SocketAddr, security: Security },
    Udp { at: SocketAddr },
}

/// The sockets of all instances, as far as an update must know them. Bounded by the limits of the instances.
#[derive(Debug, Default)]
pub(crate) struct NetTable {
    /// Where they listen; `None` for a stream, and for a look-up under way.
    sockets: BTreeMap<SocketId, Option<Place>>,
    /// The addresses of those that are open and listen.
    local: BTreeMap<SocketId, SocketAddr>,
}

impl NetTable {
    /// An instance asks for something.
    fn asked(&mut self, output: &NetOutput) {
        match output {
            NetOutput::Listen { socket, at, security } => {
                self.sockets.insert(*socket, Some(Place::Listener { at: *at, security: security.clone() }));
            }
            NetOutput::Bind { socket, at } => drop(self.sockets.insert(*socket, Some(Place::Udp { at: *at }))),
            NetOutput::Connect { socket, .. } | NetOutput::Resolve { query: socket, .. } => {
                self.sockets.insert(*socket, None);
            }
            NetOutput::Close { socket, .. } => self.forget(*socket),
            NetOutput::CloseAll(id) => {
                let all: Vec<SocketId> = self.of(*id).map(|(socket, _)| socket).collect();
                for socket in all {
                    self.forget(socket);
                }
            }
            NetOutput::HandOver { from, to } => {
                if let Some(place) = self.sockets.remove(from) {
                    self.sockets.insert(*to, place);
                }
                if let Some(local) = self.local.remove(from) {
                    self.local.insert(*to, local);
                }
            }
            NetOutput::Write { .. }
            | NetOutput::Send { .. }
            | NetOutput::Pause(_)
            | NetOutput::Resume(_)
            | NetOutput::Finish(_) => {}
        }
    }

    /// Something happened to a socket.
    pub(crate) fn happened(&mut self, socket: SocketId, event: &NetEvent<'_>) {
        match event {
            NetEvent::Accepted { stream, .. } => drop(self.sockets.insert(*stream, None)),
            NetEvent::Closed { .. } | NetEvent::Resolved(_) => self.forget(socket),
            NetEvent::Opened { local, .. } if matches!(self.sockets.get(&socket), Some(Some(_))) => {
                self.local.insert(socket, *local);
            }
            NetEvent::Opened { .. }
            | NetEvent::Received(_)
            | NetEvent::Datagrams(_)
            | NetEvent::Drained
            | NetEvent::Finished => {}
        }
    }

    fn forget(&mut self, socket: SocketId) {
        self.sockets.remove(&socket);
        self.local.remove(&socket);
    }

    fn of(&self, id: InstanceId) -> impl Iterator<Item = (SocketId, Option<&Place>)> {
        let all = SocketId { instance: id, number: 0 }..=SocketId { instance: id, number: u32::MAX };
        self.sockets.range(all).map(|(socket, place)| (*socket, place.as_ref()))
    }
}

/// What an update changes, besides the code; what is not given stays.
pub(crate) struct Change {
    pub(crate) properties: Option<toml::Table>,
    pub(crate) grant: Option<Box<Grant>>,
    pub(crate) drain: Option<Duration>,
}

/// An old version that goes on with what it has.
#[derive(Debug)]
pub(crate) struct Draining {
    id: InstanceId,
    /// Who has taken its place.
    successor: InstanceId,
    /// When its listeners are closed that nobody has taken over.
    claim_until: Instant,
    until: Instant,
}

impl Node {
    /// Puts a new version in the place of a running one.
    pub(crate) fn update(&mut self, now: Instant, name: String, module: Module, change: Change) -> Answer {
        let id = self.instances.by_name(&name).ok_or_else(|| CommandError::NoInstance { name: name.clone() })?;
        let slot = self.instances.get(id).expect("it was found by name just now");
        let old = slot.manifest().version.to_string();
        let (new, is) = (module.manifest.version.to_string(), slot.manifest().name.clone());
        let failed = |problem: String| {
            let (name, old, new) = (name.clone(), old.clone(), new.clone());
            Err(CommandError::Update { name, old, new, problem })
        };
        if module.manifest.name != is {
            let other = &module.manifest.name;
            return failed(format!("it is the module {other}, and {name} runs {is}; unload {name}, and load {other}"));
        }
        if module.manifest.needs_to_hold_packets()
            && let Some(tap) = self.links.iter().find(|link| link.config.kind == LinkKind::Tap)
        {
            let link = tap.config.name.clone();
            return Err(CommandError::Tap { module: is, link });
        }
        let exported = slot.instance.as_mut().map_or(Ok(None), |instance| instance.export_state(now));
        let (state, fault) = match exported {
            Ok(state) => (state, Ok(())),
            Err(fault) => (None, Err(fault)),
        };
        let problem = fault.as_ref().err().map(|fault| format!("version {old} cannot hand over its state: {fault}"));
        self.called(now, id, fault);
        if let Some(problem) = problem {
            return failed(problem);
        }
        let until = now + change.drain.unwrap_or(UPDATE_DRAIN_DEFAULT).min(UPDATE_DRAIN_MAX);
        let Change { properties, grant, .. } = change;
        match self.instances.update(now, id, NewVersion { module, properties, grant, state, until }) {
            Ok(successor) => {
                self.switch(now, id, successor, until);
                self.event(Event::Note(format!("{name}: version {new} has taken the place of version {old}")));
                Ok(successor)
            }
            Err(problem) => failed(problem.to_string()),
        }
    }

    /// The new version stands where the old one stood.
    fn switch(&mut self, now: Instant, old: InstanceId, new: InstanceId, until: Instant) {
        self.flows.borrow_mut().replace_instance(old, new);
        self.fragments.replace_instance(old, new);
        let claim_until = now + UPDATE_CLAIM_WAIT.min(until.since(now));
        if self.instances.get(old).is_some() {
            self.draining.push(Draining { id: old, successor: new, claim_until, until });
            self.timers.set(claim_until, Timer::Drain(old));
            self.timers.set(until, Timer::Drain(old));
        } else {
            self.timers.retain(|timer| !matches!(timer, Timer::InstanceRestart(owner) if *owner == old));
        }
        self.called(now, new, Ok(()));
        // Only now, so that those who use a service that both provide see no time without it.
        self.calls.withdrawn(self.services.borrow_mut().withdraw_all(old));
        self.filters_changed();
    }

    /// Gives the driver something for sockets.
    pub(crate) fn put_output(&mut self, output: NetOutput) {
        self.net.asked(&output);
        self.outputs.push_back(Output::Net(output));
    }

    /// Whether a new version wants to listen where its old one does: then it gets that very socket.
    pub(crate) fn claim(&mut self, now: Instant, output: &NetOutput) -> bool {
        let (to, wanted) = match output {
            NetOutput::Listen { socket, at, security } => {
                (*socket, Place::Listener { at: *at, security: security.clone() })
            }
            NetOutput::Bind { socket, at } => (*socket, Place::Udp { at: *at }),
            NetOutput::Connect { .. }
            | NetOutput::Write { .. }
            | NetOutput::Send { .. }
            | NetOutput::Pause(_)
            | NetOutput::Resume(_)
            | NetOutput::Finish(_)
            | NetOutput::Close { .. }
            | NetOutput::Resolve { .. }
            | NetOutput::CloseAll(_)
            | NetOutput::HandOver { .. } => return false,
        };
        let old = self.draining.iter().find(|draining| draining.successor == to.instance).map(|draining| draining.id);
        let Some(old) = old else { return false };
        let found = self.net.of(old).find(|(_, place)| *place == Some(&wanted)).map(|(socket, _)| socket);
        let found = found.and_then(|from| Some((from, *self.net.local.get(&from)?)));
        if let Some((from, local)) = found {
            let version = self.instances.get(to.instance).map(|slot| slot.manifest().version.to_string());
            for output in [NetOutput::HandOver { from, to }, NetOutput::Resume(to)] {
                self.put_output(output);
            }
            let reason = format!("version {} has taken it over", version.unwrap_or_default());
            self.net_event(now, from, NetEvent::Closed { reason });
            self.net_event(now, to, NetEvent::Opened { local, peer: None, protocol: None });
            return true;
        }
        // The same port with another certificate, say: the old one makes room.
        let address = |place: &Place| match place {
            Place::Listener { at, .. } => (true, *at),
            Place::Udp { at } => (false, *at),
        };
        let in_the_way =
            self.net.of(old).find(|(_, place)| place.is_some_and(|place| address(place) == address(&wanted)));
        if let Some((socket, _)) = in_the_way {
            self.close_unclaimed(now, socket);
        }
        false
    }

    fn close_unclaimed(&mut self, now: Instant, socket: SocketId) {
        self.put_output(NetOutput::Close { socket, abort: false });
        let reason = "a new version has taken this module's place".to_owned();
        self.net_event(now, socket, NetEvent::Closed { reason });
    }

    /// The time of an old version is over, or that of its listeners.
    pub(crate) fn drain_timer(&mut self, now: Instant, id: InstanceId) {
        let Some(draining) = self.draining.iter().find(|draining| draining.id == id) else { return };
        let (claim_is_over, is_over) = (draining.claim_until <= now, draining.until <= now);
        if claim_is_over {
            let unclaimed = self.net.of(id).filter(|(_, place)| place.is_some()).map(|(socket, _)| socket);
            for socket in unclaimed.collect::<Vec<_>>() {
                self.close_unclaimed(now, socket);
            }
        }
        if is_over {
            self.end_draining(now, id, "its connections were closed, because its time was over");
        }
    }

    /// Ends old versions that have nothing more to do.
    pub(crate) fn end_drained(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(draining) = self.draining.get(at) {
            let id = draining.id;
            if self.net.of(id).next().is_none() && !self.calls.are_open_at(id) {
                self.end_draining(now, id, "it had nothing more to do");
            }
            if self.draining.get(at).is_some_and(|draining| draining.id == id) {
                at += 1;
            }
        }
    }

    fn end_draining(&mut self, now: Instant, id: InstanceId, why: &str) {
        self.draining.retain(|draining| draining.id != id);
        self.timers.retain(|timer| *timer != Timer::Drain(id));
        let version = self.instances.get(id).map(|slot| slot.manifest().version.to_string()).unwrap_or_default();
        // What it has written still goes out, unless there are connections that its time was too short for.
        let has_sockets = self.net.of(id).next().is_some();
        if let Some(name) = self.retire(now, id, "a new version has taken its place") {
            if has_sockets {
                self.put_output(NetOutput::CloseAll(id));
            }
            self.event(Event::Note(format!("{name}: version {version} has ended: {why}")));
        }
    }

    /// An old version does something wrong: it is not started again.
    pub(crate) fn fault_while_draining(&mut self, now: Instant, id: InstanceId, instance: String, fault: Fault) {
        let lives = fault.leaves_vm_usable();
        let why = format!("it failed: {fault}");
        self.event(Event::Erred { instance, fault });
        if !lives {
            self.end_draining(now, id, &why);
        }
    }

    /// The old versions of an instance go with it.
    pub(crate) fn end_versions_before(&mut self, now: Instant, successor: InstanceId, why: &str) {
        let before =
            self.draining.iter().filter(|draining| draining.successor == successor).map(|draining| draining.id);
        for id in before.collect::<Vec<_>>() {
            self.end_draining(now, id, why);
        }
    }

    /// Whether an instance drains.
    #[cfg(test)]
    pub(crate) fn is_draining(&self, name: &str) -> bool {
        self.instances()
            .iter()
            .any(|view| view.name == name && matches!(view.state, crate::node::InstanceState::Draining { .. }))
    }
}

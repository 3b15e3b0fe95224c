//! Signalling in a node: taking messages out of the traffic, and joining the NetServ application with the controller.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::base::filter::{Filter, PortRange, address_of};
use crate::base::id::{InstanceId, LinkId};
use crate::base::limits;
use crate::base::packet::{Offload, Packet, PacketMut};
use crate::base::stats::DropReason;
use crate::base::time::Instant;
use crate::container::module::Module;
use crate::controller::api::{Asked, ControllerConfig, ControllerOutput, Facts, FetchId, FetchProblem};
use crate::controller::trust::Trust;
use crate::controller::{Controller, Ended};
use crate::node::module_signals::Sent;
use crate::node::{Command, Decision, Errand, Event, InstanceState, LinkKind, Node, Output};
use crate::signaling::gist::Interception;
use crate::signaling::io::{DatagramIn, Paths, SignalInput};
use crate::signaling::nslp::api::{NslpEvent, Order, OrderId, Token};
use crate::signaling::{SignalOutput, Signaling, SignalingConfig};
use crate::wire::gist::header::{MAGIC, PORT};
use crate::wire::gist::mri::Mri;
use crate::wire::header::{Fragment, Header, UDP};
use crate::wire::nslp::answer::{AnswerCode, ReportItem};
use crate::wire::nslp::request::{NodeId, ask};
use crate::wire::{edit, router_alert, segment};

/// What a node must know of the machine that it runs on. Asked when somebody signals, never per packet.
pub trait Machine: Paths {
    /// Memory that is free, in bytes.
    fn memory_free_bytes(&self) -> u64;

    /// Load average of one minute, in hundredths.
    fn load_percent(&self) -> u32;

    /// Addresses of this machine by which others may reach it.
    fn addresses(&self) -> Vec<std::net::IpAddr>;
}

/// With what signalling is switched on in a node.
pub struct SignalSetup {
    /// GIST and the application.
    pub signaling: SignalingConfig,
    /// The controller.
    pub controller: ControllerConfig,
    /// The machine.
    pub machine: Rc<dyn Machine>,
    /// The node's name for people.
    pub name: String,
    /// Messages are taken out of passing traffic; otherwise the node is only an initiator.
    pub intercepts: bool,
}

/// The signalling half of a node.
pub(crate) struct Signal {
    signaling: Signaling,
    controller: Controller,
    machine: Rc<dyn Machine>,
    node: NodeId,
    name: String,
    intercepts: bool,
    properties: Vec<(String, String)>,
    /// The controller has something to say although nobody asked it.
    has_more: bool,
    /// Probes that are allowed, each with its flow.
    probes: VecDeque<(Token, Mri)>,
}

/// The filter for signalling messages in passing traffic (RFC 5971, section 5.3.2.3).
fn gist_filter() -> Filter {
    Filter { protocol: Some(UDP), to_port: Some(PortRange::one(PORT)), ..Filter::default() }
}

impl Node {
    /// Switches signalling on. `stored` is what [`Errand::Store`] left behind in earlier runs.
    pub fn enable_signaling(&mut self, now: Instant, setup: SignalSetup, stored: Vec<(String, Vec<u8>)>) {
        let properties = setup.controller.properties.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let node = setup.signaling.nslp.node;
        let mut signal = Signal {
            signaling: Signaling::new(setup.signaling),
            controller: Controller::new(setup.controller),
            machine: setup.machine,
            node,
            name: setup.name,
            intercepts: setup.intercepts,
            properties,
            has_more: false,
            probes: VecDeque::new(),
        };
        signal.controller.set_libraries(self.libraries.clone());
        let facts = self.facts(now, &signal);
        signal.controller.restore(now, &facts, stored);
        self.signal = Some(Box::new(signal));
        self.filters_changed();
        self.pump(now);
    }

    /// The libraries that its owner installed, for modules that come by signalling and require them. What runs already
    /// keeps its own.
    pub fn set_libraries(&mut self, libraries: Vec<Module>) {
        if let Some(signal) = &mut self.signal {
            signal.controller.set_libraries(libraries.clone());
        }
        self.libraries = libraries;
    }

    /// What is captured for signalling.
    pub(crate) fn signal_filter(&self) -> Option<Filter> {
        self.signal.as_ref().filter(|signal| signal.intercepts).map(|_| gist_filter())
    }

    /// Starts signalling along a path; answered by events.
    ///
    /// # Errors
    ///
    /// Why that cannot be, as a sentence.
    pub fn order(&mut self, now: Instant, order: Order) -> Result<OrderId, String> {
        let signal = self.signal.as_mut().ok_or("signalling is switched off")?;
        let result = signal.signaling.order(now, order);
        self.pump(now);
        result
    }

    /// Sends another request in the session of an order: a refresh, or a removal. Answered by events of the same order.
    ///
    /// # Errors
    ///
    /// Why that cannot be, as a sentence.
    pub fn order_again(&mut self, now: Instant, id: OrderId, order: Order) -> Result<(), String> {
        let signal = self.signal.as_mut().ok_or("signalling is switched off")?;
        let result = signal.signaling.order_again(now, id, order);
        self.pump(now);
        result
    }

    /// Forgets an order.
    pub fn cancel_order(&mut self, now: Instant, order: OrderId) {
        if let Some(signal) = &mut self.signal {
            signal.signaling.cancel(now, order);
            self.pump(now);
        }
    }

    /// From now on this trust file holds.
    pub fn set_trust(&mut self, now: Instant, trust: Trust) {
        if let Some(mut signal) = self.signal.take() {
            signal.controller.set_trust(now, trust);
            self.signal = Some(signal);
            self.pump(now);
        }
    }

    /// The node's id and its name for people, where signalling is switched on.
    #[must_use]
    pub fn signal_identity(&self) -> Option<(NodeId, &str)> {
        self.signal.as_ref().map(|signal| (signal.node, signal.name.as_str()))
    }

    /// What signalling counts, by name; empty where it is switched off.
    #[must_use]
    pub fn signal_counters(&self) -> Vec<(&'static str, u64)> {
        self.signal.as_ref().map(|signal| signal.signaling.counters()).unwrap_or_default()
    }

    /// The controller, where signalling is switched on.
    #[must_use]
    pub fn controller(&self) -> Option<&Controller> {
        self.signal.as_ref().map(|signal| &signal.controller)
    }

    /// Starts signalling for a module.
    pub(crate) fn order_for_module(&mut self, now: Instant, order: Order, sent: Sent) -> Result<(), String> {
        let signal = self.signal.as_mut().ok_or("signalling is switched off")?;
        let id = signal.signaling.order(now, order)?;
        // Before anything can be heard of it.
        self.module_signals.sent(id, sent);
        self.pump(now);
        Ok(())
    }

    /// The address from which this node signals to `to`.
    pub(crate) fn signal_source(&self, to: std::net::IpAddr) -> Option<std::net::IpAddr> {
        self.signal.as_ref().and_then(|signal| signal.machine.source_for(to))
    }

    pub(crate) fn signal_input(&mut self, now: Instant, input: SignalInput<'_>) {
        if let Some(signal) = &mut self.signal {
            signal.signaling.handle(now, input);
            self.pump(now);
        }
    }

    pub(crate) fn fetched(&mut self, now: Instant, id: FetchId, result: Result<Vec<u8>, FetchProblem>) {
        if let Some(mut signal) = self.signal.take() {
            let facts = self.facts(now, &signal);
            signal.controller.fetched(now, &facts, id, result);
            self.signal = Some(signal);
            self.pump(now);
        }
    }

    pub(crate) fn expire_signaling(&mut self, now: Instant) {
        let Some(mut signal) = self.signal.take() else { return };
        signal.has_more = false;
        if signal.signaling.deadline().is_some_and(|at| at <= now) {
            signal.signaling.expire(now);
        }
        if signal.controller.deadline().is_some_and(|at| at <= now) {
            let facts = self.facts(now, &signal);
            signal.controller.expire(now, &facts);
        }
        self.signal = Some(signal);
        self.pump(now);
    }

    /// When signalling is to be woken at the latest.
    pub(crate) fn signal_deadline(&self) -> Option<Instant> {
        let signal = self.signal.as_ref()?;
        if signal.has_more {
            return Some(Instant::START);
        }
        [signal.signaling.deadline(), signal.controller.deadline()].into_iter().flatten().min()
    }

    /// Tells the controller that an instance is gone without its doing.
    pub(crate) fn instance_gone(&mut self, now: Instant, name: &str, ended: &Ended) {
        if let Some(signal) = &mut self.signal {
            signal.controller.instance_ended(now, name, ended);
            signal.has_more = true;
        }
    }

    /// Takes a signalling message out of the traffic. `None`: it goes on like any packet.
    pub(crate) fn intercept(
        &mut self,
        now: Instant,
        link: LinkId,
        header: &Header,
        packet: &mut PacketMut<'_>,
    ) -> Option<Decision> {
        let is_candidate = header.protocol == UDP
            && header.ports.is_some_and(|(_, to)| to == PORT)
            && header.fragment == Fragment::Whole
            && header.leads_straight_to_transport(packet.bytes())
            && !packet.truncated;
        let kind = self.links[usize::from(link.0)].config.kind;
        // A tap cannot hold what it sees: the message would also go on without us.
        if !is_candidate || kind == LinkKind::Tap || !self.signal.as_ref().is_some_and(|signal| signal.intercepts) {
            return None;
        }
        if packet.offload.is_super_packet() {
            self.intercept_each(now, link, header, packet);
            return Some(Decision::Taken);
        }
        let decision = self.intercept_one(now, link, header, packet);
        self.pump(now);
        decision
    }

    /// A super-packet to the signalling port: each datagram in it is looked at.
    #[cold]
    fn intercept_each(&mut self, now: Instant, link: LinkId, header: &Header, packet: &PacketMut<'_>) {
        let mut segments: Vec<Vec<u8>> = Vec::new();
        let mut buffer = std::mem::take(&mut self.segment);
        segment::split(packet.bytes(), header, packet.offload, &mut buffer, |bytes| segments.push(bytes.to_vec()));
        self.segment = buffer;
        for mut bytes in segments {
            let len = bytes.len();
            bytes.resize(len + limits::GROWTH_BYTES_MAX, 0);
            let mut part = PacketMut::new(&mut bytes, len, Offload::default());
            let Ok(header) = Header::parse(part.bytes(), false) else { continue };
            let out = match self.intercept_one(now, link, &header, &mut part) {
                None => self.onward(link),
                Some(Decision::Forward(to)) => Some(to),
                Some(Decision::Drop(_) | Decision::Taken) => None,
            };
            let len = part.len();
            bytes.truncate(len);
            if let Some(to) = out {
                self.transmit(to, Packet { bytes, offload: Offload::default() });
            }
        }
        self.pump(now);
    }

    fn intercept_one(
        &mut self,
        now: Instant,
        link: LinkId,
        header: &Header,
        packet: &mut PacketMut<'_>,
    ) -> Option<Decision> {
        let signal = self.signal.as_mut()?;
        let (from_port, to_port) = header.ports?;
        let bytes = packet.bytes();
        let datagram = DatagramIn {
            source: (address_of(header.source, header.ip_version), from_port).into(),
            destination: (address_of(header.destination, header.ip_version), to_port).into(),
            ttl: bytes.get(if header.ip_version == 4 { 8 } else { 7 }).copied(),
            router_alert: router_alert::find(bytes, header),
            interface: u32::from(link.0),
            payload: header.payload(bytes),
        };
        let payload = match signal.signaling.intercept(now, &datagram) {
            Interception::Forward => return None,
            Interception::Consumed => return Some(Decision::Taken),
            Interception::Drop(reason) => {
                self.drops.add(reason, 1);
                return Some(Decision::Drop(reason));
            }
            Interception::Relay { hops } => {
                let mut payload = header.payload(bytes).to_vec();
                // The hop count is the second byte behind the magic number (RFC 5971, appendix A.1).
                if let Some(place) = payload.get_mut(MAGIC.len() + 1) {
                    *place = hops;
                }
                payload
            }
            Interception::Replace(payload) => payload,
        };
        let mut edited = bytes[..usize::from(header.payload_at)].to_vec();
        edited.extend_from_slice(&payload);
        if edit::commit(packet, header, &edited).is_err() {
            self.drops.add(DropReason::GistNoRoom, 1);
            return Some(Decision::Drop(DropReason::GistNoRoom));
        }
        self.onward(link).map(Decision::Forward)
    }

    fn facts(&self, now: Instant, signal: &Signal) -> Facts {
        let wall_ms = self.config.wall.at(now).as_nanos() / 1_000_000;
        let modules = self.instances.iter().flat_map(|slot| [slot.name.clone(), slot.manifest().name.clone()]);
        Facts { memory_free_bytes: signal.machine.memory_free_bytes(), wall_ms, modules: modules.collect() }
    }

    /// Carries what signalling and the controller want from one to the other, until both are quiet.
    pub(crate) fn pump(&mut self, now: Instant) {
        for _ in 0..limits::SIGNAL_PUMP_ROUNDS_MAX {
            let Some(signal) = self.signal.as_mut() else { return };
            if let Some(output) = signal.controller.poll() {
                self.obey_controller(now, output);
            } else if let Some(output) = signal.signaling.poll() {
                match output {
                    SignalOutput::Socket(output) => self.errand(Errand::Socket(output)),
                    SignalOutput::Event(event) => self.take_nslp_event(now, *event),
                }
            } else {
                return;
            }
        }
    }

    fn take_nslp_event(&mut self, now: Instant, event: NslpEvent) {
        let NslpEvent::Asked { token, request, signed, authorisation, mri, .. } = event else {
            let Some(event) = self.module_signals.hear(event) else { return };
            self.event(Event::Signal(Box::new(event)));
            return;
        };
        let Some(mut signal) = self.signal.take() else { return };
        let facts = self.facts(now, &signal);
        if signal.probes.len() >= limits::SIGNAL_PROBES_MAX {
            signal.probes.pop_front();
        }
        signal.probes.push_back((token, mri));
        signal.controller.ask(now, &facts, Asked { token, request, signed, authorisation });
        self.signal = Some(signal);
    }

    /// What this instance uses its requester used.
    fn belongs_to_requester(&mut self, id: InstanceId) {
        let (Some(signal), Some(slot)) = (&self.signal, self.instances.get(id)) else { return };
        if let Some(requester) = signal.controller.requester_of(&slot.name) {
            slot.requester = requester;
        }
    }

    fn obey_controller(&mut self, now: Instant, output: ControllerOutput) {
        match output {
            ControllerOutput::Decide { token, decision } => {
                if let Some(signal) = &mut self.signal {
                    signal.probes.retain(|(probe, _)| *probe != token);
                    signal.signaling.answer(now, token, decision);
                }
            }
            ControllerOutput::Report { token, asks } => self.report_to(now, token, asks),
            ControllerOutput::Load { name, module, properties, grant } => {
                let command = Command::Load { module, name: Some(name.clone()), properties, grant: Some(grant) };
                let result = self.obey(now, command);
                if let Ok(id) = result {
                    self.belongs_to_requester(id);
                }
                let result = result.map(|_| ()).map_err(|e| e.to_string());
                if let Some(signal) = &mut self.signal {
                    signal.controller.loaded(now, &name, result);
                }
            }
            ControllerOutput::Unload { name, reason } => {
                if let Some(id) = self.instances.by_name(&name) {
                    self.end_versions_before(now, id, &reason);
                    self.stop_instance(now, id, &reason);
                    self.filters_changed();
                }
            }
            ControllerOutput::Tell(happening) => {
                if let Some(signal) = &mut self.signal {
                    signal.signaling.happened(now, happening);
                }
            }
            ControllerOutput::Note(text) => self.event(Event::Note(text)),
            ControllerOutput::Fetch { id, url, bytes_max, timeout } => {
                self.errand(Errand::Fetch { id, url, bytes_max, timeout });
            }
            ControllerOutput::CancelFetch(id) => self.errand(Errand::CancelFetch(id)),
            ControllerOutput::Store(op) => self.errand(Errand::Store(op)),
            ControllerOutput::Post { url, body } => self.errand(Errand::Post { url, body }),
        }
    }

    fn errand(&mut self, errand: Errand) {
        self.outputs.push_back(Output::Errand(errand));
    }

    /// Answers a probe that is allowed.
    fn report_to(&mut self, now: Instant, token: Token, asks: u8) {
        let Some(signal) = &self.signal else { return };
        let mri = signal.probes.iter().find(|(probe, _)| *probe == token).map(|(_, mri)| mri.clone());
        let report = self.probe_report(now, signal, mri.as_ref(), asks);
        let decision =
            crate::signaling::nslp::api::Decision { code: AnswerCode::Probed, sentence: String::new(), report };
        if let Some(signal) = &mut self.signal {
            signal.probes.retain(|(probe, _)| *probe != token);
            signal.signaling.answer(now, token, decision);
        }
    }

    fn probe_report(&self, now: Instant, signal: &Signal, mri: Option<&Mri>, asks: u8) -> Vec<ReportItem> {
        let mut report = vec![ReportItem::Name(signal.name.clone())];
        report.extend(signal.properties.iter().map(|(name, value)| {
            let (name, value) = (name.clone(), value.clone());
            ReportItem::Property { name, value }
        }));
        if asks & ask::SYSTEM != 0 {
            report.push(ReportItem::Software(format!("netserv {}", env!("CARGO_PKG_VERSION"))));
            report.extend(signal.machine.addresses().into_iter().map(ReportItem::Address));
            report.push(ReportItem::System {
                uptime_s: now.as_secs_f64() as u32,
                load_percent: signal.machine.load_percent(),
                memory_free_kib: u32::try_from(signal.machine.memory_free_bytes() / 1024).unwrap_or(u32::MAX),
                flows: u32::try_from(self.flow_counts().0).unwrap_or(u32::MAX),
            });
        }
        if asks & ask::ROUTE != 0
            && let Some(route) = mri.and_then(|mri| signal.machine.route_to(mri.destination()))
        {
            report.push(ReportItem::Route { interface: route.interface, via: route.via });
        }
        if asks & ask::MODULES != 0 {
            report.extend(self.instances().into_iter().take(limits::SIGNAL_REPORT_MODULES_MAX).map(|view| {
                let state = match view.state {
                    InstanceState::Running => "running",
                    InstanceState::Waiting { .. } => "waiting",
                    InstanceState::Failed => "failed",
                    InstanceState::Draining { .. } => "draining",
                };
                ReportItem::Module {
                    lifetime_s: signal.controller.expires_in(now, &view.name).map(|left| left.as_secs() as u32),
                    instance: view.name,
                    module: view.module,
                    version: view.version,
                    state: state.to_owned(),
                    counters: view.counters,
                }
            }));
        }
        report
    }
}

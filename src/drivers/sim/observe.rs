//! Looking at a simulated network without touching it: what the live page shows, and a trace of all that happened.
//!
//! Nothing is decoded, kept or written while nobody looks.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::filter::{address_of, protocol_name};
use crate::base::limits::{
    GIST_STREAM_MESSAGE_BYTES_MAX, SIM_CONVERSATIONS_MAX, SIM_OBSERVATIONS_MAX, SIM_TRACE_BYTES_MAX,
    SIM_WATCHED_STREAMS_MAX,
};
use crate::base::time::Instant;
use crate::dashboard::scene::{InstanceState, Layer};
use crate::drivers::sim::Sim;
use crate::drivers::sim::config::{LinkId, MachineId};
use crate::drivers::sim::link::Fate;
use crate::drivers::sim::topology::Topology;
use crate::node::{Event, Node};
use crate::signaling::io::StreamId;
use crate::wire::gist::header::{MAGIC, MessageType};
use crate::wire::gist::message::{self, Message};
use crate::wire::header::{Header, UDP};
use crate::wire::nslp::NSLP_ID;
use crate::wire::nslp::message::Message as NslpMessage;
use crate::wire::nslp::request::Operation;

/// A message of signalling on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSeen {
    /// Whose.
    pub layer: Layer,
    /// What it is called: "Query", "SETUP", "answer: installed".
    pub label: String,
    /// The link.
    pub link: LinkId,
    /// The machine that it leaves.
    pub from: MachineId,
    /// When it leaves.
    pub left: Instant,
    /// When it arrives; `None` if it is lost. In a stream: when it would, if nothing of it is lost.
    pub arrives: Option<Instant>,
}

/// An instance that came, changed or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSeen {
    /// When.
    pub at: Instant,
    /// Where.
    pub machine: MachineId,
    /// What it is called.
    pub instance: String,
    /// Its module.
    pub module: String,
    /// How it is now.
    pub state: InstanceState,
    /// It came by signalling.
    pub signalled: bool,
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// A message of signalling set out.
    Message(MessageSeen),
    /// An instance came, changed or went.
    Instance(InstanceSeen),
    /// A node told something.
    Event {
        /// When.
        at: Instant,
        /// Which.
        machine: MachineId,
        /// What.
        event: Event,
    },
    /// A machine went down or came up.
    Machine {
        /// When.
        at: Instant,
        /// Which.
        machine: MachineId,
        /// It works.
        is_up: bool,
    },
    /// A link went down or came up.
    Link {
        /// When.
        at: Instant,
        /// Which.
        link: LinkId,
        /// It works.
        is_up: bool,
    },
    /// The program of a machine ended or began.
    Program {
        /// When.
        at: Instant,
        /// Which.
        machine: MachineId,
        /// It runs.
        runs: bool,
    },
}

/// Packets between two addresses, both ways, of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conversation {
    /// The two addresses, the lower one first.
    pub ends: [IpAddr; 2],
    /// TCP or UDP.
    pub protocol: u8,
    /// The lower port: mostly that of the service.
    pub port: u16,
}

/// Who looks.
#[derive(Default)]
pub(super) struct Observer {
    is_on: bool,
    seen: VecDeque<Observation>,
    lost: u64,
    trace: Option<String>,
    /// Conversations, with the time of the last packet.
    conversations: BTreeMap<Conversation, Instant>,
    /// Bytes of streams that are no whole message yet.
    streams: BTreeMap<(usize, StreamId), Vec<u8>>,
    /// Instances that run, with their modules: what is gone cannot be asked.
    instances: BTreeMap<(usize, String), (String, bool)>,
}

impl Observer {
    pub(super) const fn is_on(&self) -> bool {
        self.is_on
    }

    fn push(&mut self, observation: Observation) {
        if !self.is_on {
            return;
        }
        if self.seen.len() >= SIM_OBSERVATIONS_MAX {
            self.seen.pop_front();
            self.lost += 1;
        }
        self.seen.push_back(observation);
    }

    fn line(&mut self, now: Instant, what: impl FnOnce(&mut String)) {
        let Some(trace) = self.trace.as_mut().filter(|trace| trace.len() < SIM_TRACE_BYTES_MAX) else { return };
        let (seconds, nanos) = (now.as_nanos() / 1_000_000_000, now.as_nanos() % 1_000_000_000);
        // Text can always be written to a string.
        let _ = write!(trace, "{seconds}.{nanos:09} ");
        what(trace);
        trace.push('\n');
    }

    /// A packet is put on a link; `fate` is `None` if there is no room for it.
    pub(super) fn packet(&mut self, now: Instant, link: usize, machine: usize, bytes: &[u8], fate: Option<Fate>) {
        if !self.is_on && self.trace.is_none() {
            return;
        }
        let Ok(header) = Header::parse(bytes, false) else { return };
        self.line(now, |line| {
            let end = |bits, port: Option<u16>| match (address_of(bits, header.ip_version), port) {
                (address, Some(port)) => SocketAddr::new(address, port).to_string(),
                (address, None) => address.to_string(),
            };
            let from = end(header.source, header.ports.map(|ports| ports.0));
            let to = end(header.destination, header.ports.map(|ports| ports.1));
            let sum = crc32fast::hash(bytes);
            let protocol = protocol_name(header.protocol);
            let _ =
                write!(line, "machine {machine} link {link} {protocol} {from} > {to} {} bytes {sum:08x}", bytes.len());
            let _ = match fate {
                None => write!(line, " no room"),
                Some(Fate { arrives: None, .. }) => write!(line, " lost"),
                Some(Fate { arrives: Some(at), .. }) => write!(line, " arrives {}", at.as_nanos()),
            };
        });
        let payload = header.payload(bytes);
        let is_signal = header.protocol == UDP && payload.starts_with(&MAGIC);
        if self.is_on && !is_signal {
            self.converse(now, &header);
        }
        if !self.is_on || !is_signal {
            return;
        }
        let Some((layer, label)) = describe(&payload[MAGIC.len()..]) else { return };
        let (left, arrives) = fate.map_or((now, None), |fate| (fate.leaves, fate.arrives));
        let (link, from) = (LinkId(link), MachineId(machine));
        self.push(Observation::Message(MessageSeen { layer, label, link, from, left, arrives }));
    }

    fn converse(&mut self, now: Instant, header: &Header) {
        let Some((from_port, to_port)) = header.ports else { return };
        let [one, other] = [header.source, header.destination].map(|bits| address_of(bits, header.ip_version));
        let ends = [one.min(other), one.max(other)];
        let conversation = Conversation { ends, protocol: header.protocol, port: from_port.min(to_port) };
        if self.conversations.len() < SIM_CONVERSATIONS_MAX || self.conversations.contains_key(&conversation) {
            self.conversations.insert(conversation, now);
        }
    }

    /// Signalling writes to a stream. Its messages are shown on each link of the way to the peer.
    pub(super) fn stream_bytes(
        &mut self,
        now: Instant,
        machine: usize,
        stream: StreamId,
        peer: SocketAddr,
        bytes: &[u8],
        topology: &Topology,
    ) {
        if self.streams.len() >= SIM_WATCHED_STREAMS_MAX && !self.streams.contains_key(&(machine, stream)) {
            self.streams.pop_first();
        }
        let waiting = self.streams.entry((machine, stream)).or_default();
        waiting.extend_from_slice(bytes);
        let mut whole = Vec::new();
        loop {
            match message::frame(waiting) {
                Ok(Some(len)) => {
                    let rest = waiting.split_off(len);
                    whole.push(std::mem::replace(waiting, rest));
                }
                Ok(None) if waiting.len() <= 2 * GIST_STREAM_MESSAGE_BYTES_MAX => break,
                Ok(None) | Err(_) => {
                    waiting.clear();
                    break;
                }
            }
        }
        let path = topology.path(machine, peer.ip());
        for (layer, label) in whole.iter().filter_map(|bytes| describe(bytes)) {
            let mut left = now;
            for (at, next) in path.iter().zip(path.iter().skip(1)) {
                let Some(link) = topology.link_between(*at, *next) else { break };
                let arrives = left + topology.delay(link, *at);
                let (link, from) = (LinkId(link), MachineId(*at));
                let label = label.clone();
                self.push(Observation::Message(MessageSeen { layer, label, link, from, left, arrives: Some(arrives) }));
                left = arrives;
            }
        }
    }

    /// A node told something.
    pub(super) fn event(&mut self, now: Instant, machine: usize, event: &Event, node: Option<&Node>) {
        self.line(now, |line| {
            let _ = write!(line, "machine {machine} tells {event:?}");
        });
        if !self.is_on {
            return;
        }
        let at = MachineId(machine);
        match event {
            Event::Started { instance } => {
                let view = node.and_then(|node| node.instances().into_iter().find(|view| view.name == *instance));
                let module = view.map_or_else(|| instance.clone(), |view| view.module);
                let controller = node.and_then(Node::controller);
                let signalled = controller.is_some_and(|controller| controller.requester_of(instance).is_some());
                self.instances.insert((machine, instance.clone()), (module, signalled));
                self.instance(now, at, instance, InstanceState::Running);
            }
            Event::Failed { instance, restart_in: Some(_), .. } => {
                self.instance(now, at, instance, InstanceState::Failed)
            }
            Event::Failed { instance, restart_in: None, .. } | Event::Unloaded { instance } => {
                self.gone(now, at, instance);
            }
            Event::Log { .. } | Event::Erred { .. } | Event::OverBudget { .. } | Event::Signal(_) | Event::Note(_) => {}
        }
        self.push(Observation::Event { at: now, machine: at, event: event.clone() });
    }

    fn instance(&mut self, at: Instant, machine: MachineId, instance: &str, state: InstanceState) {
        let known = self.instances.get(&(machine.0, instance.to_owned())).cloned();
        let (module, signalled) = known.unwrap_or_else(|| (instance.to_owned(), false));
        let instance = instance.to_owned();
        self.push(Observation::Instance(InstanceSeen { at, machine, instance, module, state, signalled }));
    }

    fn gone(&mut self, at: Instant, machine: MachineId, instance: &str) {
        self.instance(at, machine, instance, InstanceState::Gone);
        self.instances.remove(&(machine.0, instance.to_owned()));
    }

    /// The node of a machine is gone, with all its instances.
    pub(super) fn forget(&mut self, machine: usize, now: Instant) {
        let of = |key: &&(usize, String)| key.0 == machine;
        let names: Vec<String> = self.instances.keys().filter(of).map(|(_, name)| name.clone()).collect();
        names.iter().for_each(|name| self.gone(now, MachineId(machine), name));
        self.streams.retain(|(of, _), _| *of != machine);
    }

    /// A program ended or began.
    pub(super) fn program(&mut self, now: Instant, machine: MachineId, runs: bool) {
        self.line(now, |line| {
            let _ = write!(line, "machine {} program {}", machine.0, if runs { "starts" } else { "ends" });
        });
        self.push(Observation::Program { at: now, machine, runs });
    }

    /// A machine or a link went down or came up.
    pub(super) fn state(&mut self, now: Instant, machine: Option<MachineId>, link: Option<LinkId>, is_up: bool) {
        let word = if is_up { "up" } else { "down" };
        if let Some(machine) = machine {
            self.line(now, |line| {
                let _ = write!(line, "machine {} {word}", machine.0);
            });
            self.push(Observation::Machine { at: now, machine, is_up });
        }
        if let Some(link) = link {
            self.line(now, |line| {
                let _ = write!(line, "link {} {word}", link.0);
            });
            self.push(Observation::Link { at: now, link, is_up });
        }
    }
}

impl Sim {
    /// Whether observations are made from now on. What was not taken is forgotten when they are not.
    pub fn observe(&mut self, is_on: bool) {
        self.observer.is_on = is_on;
        if !is_on {
            self.observer.seen.clear();
            self.observer.streams.clear();
            self.observer.instances.clear();
        }
    }

    /// What was seen since this was called last, in the order in which it happened, and how much more was lost because
    /// nobody took it.
    pub fn take_observations(&mut self) -> (Vec<Observation>, u64) {
        let lost = std::mem::take(&mut self.observer.lost);
        (std::mem::take(&mut self.observer.seen).into(), lost)
    }

    /// Conversations other than signalling that had a packet since `since`, while observations are made. Older ones are
    /// forgotten.
    pub fn conversations(&mut self, since: Instant) -> Vec<Conversation> {
        self.observer.conversations.retain(|_, last| *last >= since);
        self.observer.conversations.keys().copied().collect()
    }

    /// Whether a line is kept from now on for each packet, event and fault.
    pub fn set_trace(&mut self, is_on: bool) {
        self.observer.trace = is_on.then(String::new);
    }

    /// The lines so far; further ones are kept.
    pub fn take_trace(&mut self) -> String {
        self.observer.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The delay of the way between two machines by their addresses, as routes now are.
    #[must_use]
    pub fn distance(&self, path: &[MachineId]) -> Duration {
        let topology = self.topology.borrow();
        let pairs = path.iter().zip(path.iter().skip(1));
        pairs.filter_map(|(at, next)| Some(topology.delay(topology.link_between(at.0, next.0)?, at.0))).sum()
    }
}

/// What a message is called: by the application, if it carries one of its messages.
fn describe(bytes: &[u8]) -> Option<(Layer, String)> {
    let message = Message::decode(bytes).ok()?;
    if let Some(data) = message.nslp_data.as_ref().filter(|_| message.nslp == NSLP_ID)
        && let Ok(inner) = NslpMessage::decode(data)
    {
        return Some((Layer::Netserv, nslp_label(&inner)));
    }
    let label = match message.kind {
        MessageType::Query => "Query",
        MessageType::Response => "Response",
        MessageType::Confirm => "Confirm",
        MessageType::Data => "Data",
        MessageType::Error => "Error",
        MessageType::Hello => "Hello",
    };
    Some((Layer::Gist, label.to_owned()))
}

fn nslp_label(message: &NslpMessage) -> String {
    match message {
        NslpMessage::Request(request) => match request.request.operation {
            Operation::Setup => "SETUP".to_owned(),
            Operation::Refresh => "REFRESH".to_owned(),
            Operation::Remove => "REMOVE".to_owned(),
            Operation::Probe => "PROBE".to_owned(),
        },
        NslpMessage::Response(part) => format!("answer: {}", part.answer.code.name()),
        NslpMessage::Notify(part) => format!("NOTIFY: {}", part.answer.code.name()),
        NslpMessage::Place(_) => "place".to_owned(),
        NslpMessage::Ack(_) => "ACK".to_owned(),
    }
}

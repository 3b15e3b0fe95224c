//! A small network on virtual time: real nodes, plain routers and hosts, joined by links with delay, loss, duplicates and
//! reordering. Datagrams are whole IP packets that cross the nodes; streams are ordered pipes along the same path.
//!
//! The same seed gives the same run.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use netserv::base::crypto::SigningKey;
use netserv::base::id::LinkId;
use netserv::base::packet::{Offload, PacketMut};
use netserv::base::rng::Rng;
use netserv::base::time::{Instant, WallTime};
use netserv::container::surroundings::CpuGuard;
use netserv::controller::api::{ControllerConfig, FetchId, FetchProblem, StoreOp};
use netserv::controller::trust::Trust;
use netserv::node::{Decision, Errand, Event, Input, LinkConfig, LinkKind, Node, NodeConfig, Output, SignalSetup};
use netserv::signaling::SignalingConfig;
use netserv::signaling::gist::GistConfig;
use netserv::signaling::io::{
    DatagramIn, DatagramOut, Paths, PeerKey, SignalInput, SocketOutput, StreamEvent, StreamId, StreamSecurity,
    Unreachable,
};
use netserv::signaling::nslp::NslpConfig;
use netserv::signaling::nslp::api::{NslpEvent, OrderId};
use netserv::wire::datagram::{self, IpFields};
use netserv::wire::gist::header::PORT;
use netserv::wire::gist::object::PeerIdentity;
use netserv::wire::header::Header;
use netserv::wire::nslp::request::NodeId;
use netserv::wire::router_alert;

use crate::order::order_of;
use crate::place::{Here, Place};

/// The wall clock when a world begins: ms since 1970-01-01 UTC.
pub(crate) const WALL_MS: u64 = 1_800_000_000_000;
pub(crate) const TCP_PORT: u16 = 270;
pub(crate) const TLS_PORT: u16 = 271;
/// The port of initiators, which have no root rights.
const INITIATOR_PORT: u16 = 40_000;

/// What a link does to packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Lost, in percent.
    pub(crate) loss: u64,
    /// Sent twice, in percent.
    pub(crate) duplicates: u64,
    /// Held back by up to this long, each by another time.
    pub(crate) jitter: Duration,
}

/// What travels over a link.
#[derive(Clone, Debug)]
enum Travelling {
    Ip(Vec<u8>),
    /// An ICMP error on its way back to `to`.
    Unreachable {
        to: SocketAddr,
        destination: SocketAddr,
        reporter: IpAddr,
        payload: Vec<u8>,
    },
}

#[derive(Clone, Debug)]
enum Happening {
    Arrives { machine: usize, what: Travelling },
    Stream { machine: usize, stream: StreamId, event: OwnedStreamEvent },
    Fetched { machine: usize, id: FetchId, result: Result<Vec<u8>, FetchProblem> },
}

#[derive(Clone, Debug)]
enum OwnedStreamEvent {
    Accepted { from: SocketAddr, to: SocketAddr, security: StreamSecurity, peer_key: Option<PeerKey> },
    Connected { from: SocketAddr, peer_key: Option<PeerKey> },
    Received(Vec<u8>),
    Closed(String),
}

/// A machine: a node, an initiator, a plain router, or a host.
pub(crate) struct Computer {
    pub(crate) name: &'static str,
    pub(crate) node: Option<Node>,
    place: Rc<RefCell<Place>>,
    intercepts: bool,
    key: [u8; 32],
    streams: BTreeMap<StreamId, Pipe>,
    next_accepted: u64,
    pub(crate) stored: BTreeMap<String, Vec<u8>>,
    pub(crate) events: VecDeque<(Duration, Event)>,
    deadline: Option<Instant>,
    trust: Trust,
    /// Packets of signalling that this machine sent itself.
    pub(crate) sent: u64,
}

#[derive(Clone, Copy, Debug)]
struct Pipe {
    peer: usize,
    stream: StreamId,
    delay: Duration,
    /// Nothing overtakes in a pipe.
    free_at: Instant,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    rng: Rng,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    count: u64,
    pub(crate) machines: Vec<Computer>,
    links: BTreeMap<(usize, usize), (Duration, Faults)>,
    pub(crate) web: BTreeMap<String, Vec<u8>>,
    gist: fn(&mut GistConfig),
}

impl World {
    pub(crate) fn seeded(seed: u64) -> World {
        World {
            now: Instant::START,
            rng: Rng::seeded(seed),
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            count: 0,
            machines: Vec::new(),
            links: BTreeMap::new(),
            web: BTreeMap::new(),
            gist: |_| {},
        }
    }

    pub(crate) fn index(&self, name: &str) -> usize {
        self.machines.iter().position(|m| m.name == name).unwrap_or_else(|| panic!("no machine {name}"))
    }

    pub(crate) fn machine(&mut self, name: &str) -> &mut Computer {
        let index = self.index(name);
        &mut self.machines[index]
    }

    /// A machine without a node: a host, or a router if packets come that are for others.
    pub(crate) fn plain(&mut self, name: &'static str, addresses: &[&str]) {
        let index = self.machines.len() as u8;
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        self.machines.push(Computer {
            name,
            node: None,
            place: Rc::new(RefCell::new(Place { addresses, ..Place::default() })),
            intercepts: false,
            key: SigningKey::from_seed(&[index + 1; 32]).public(),
            streams: BTreeMap::new(),
            next_accepted: 1,
            stored: BTreeMap::new(),
            events: VecDeque::new(),
            deadline: None,
            trust: Trust::default(),
            sent: 0,
        });
    }

    /// A node on the path, with this trust file.
    pub(crate) fn node(&mut self, name: &'static str, addresses: &[&str], trust: &str) {
        self.plain(name, addresses);
        let machine = self.machine(name);
        machine.intercepts = true;
        machine.trust = Trust::parse(trust).unwrap();
        self.start(name);
    }

    /// A user's machine, from which orders come.
    pub(crate) fn initiator(&mut self, name: &'static str, addresses: &[&str]) {
        self.plain(name, addresses);
        self.start(name);
    }

    /// Starts a node, again if it ran before: what it stored is all that it has.
    pub(crate) fn start(&mut self, name: &str) {
        let index = self.index(name);
        let (now, configure) = (self.now, self.gist);
        let secret: [u8; 32] = std::array::from_fn(|_| self.rng.next_u64() as u8);
        let machine = &mut self.machines[index];
        let id = NodeId::of_key(&machine.key);
        let mut gist = GistConfig { identity: PeerIdentity(id.0.to_vec()), secret, ..GistConfig::default() };
        if machine.intercepts {
            (gist.tcp_port, gist.tls_port) = (Some(TCP_PORT), Some(TLS_PORT));
        }
        configure(&mut gist);
        let nslp = NslpConfig { hosts: machine.intercepts, ..NslpConfig::new(id) };
        let here = Rc::new(Here { place: Rc::clone(&machine.place) });
        let controller = ControllerConfig { trust: machine.trust.clone(), ..ControllerConfig::new(id) };
        let mut node = Node::new(NodeConfig {
            flows_max: 64,
            capture: Vec::new(),
            seed: index as u64,
            wall: WallTime::from_nanos(WALL_MS * 1_000_000),
            cpu: CpuGuard::Safepoints,
        });
        if machine.intercepts {
            node.add_link(LinkConfig { name: "tun".to_owned(), kind: LinkKind::Tun });
        }
        let setup = SignalSetup {
            signaling: SignalingConfig { gist, nslp, secret, paths: here.clone() },
            controller,
            machine: here,
            name: name.to_owned(),
            intercepts: machine.intercepts,
        };
        node.enable_signaling(now, setup, machine.stored.clone().into_iter().collect());
        machine.node = Some(node);
        machine.streams.clear();
        self.drain(index);
    }

    /// Ends a node as a crash does: its peers hear of it by their streams.
    pub(crate) fn crash(&mut self, name: &str) {
        let index = self.index(name);
        let machine = &mut self.machines[index];
        (machine.node, machine.deadline) = (None, None);
        for (_, pipe) in std::mem::take(&mut machine.streams) {
            let closed = OwnedStreamEvent::Closed("reset".to_owned());
            self.at(pipe.delay, Happening::Stream { machine: pipe.peer, stream: pipe.stream, event: closed });
        }
    }

    /// Joins two machines; routes are set apart from this.
    pub(crate) fn link(&mut self, one: &str, other: &str, delay: Duration) {
        let (a, b) = (self.index(one), self.index(other));
        for pair in [(a, b), (b, a)] {
            self.links.insert(pair, (delay, Faults::default()));
        }
    }

    pub(crate) fn faults(&mut self, one: &str, other: &str, faults: Faults) {
        let (a, b) = (self.index(one), self.index(other));
        for pair in [(a, b), (b, a)] {
            self.links.get_mut(&pair).unwrap().1 = faults;
        }
    }

    /// From `at`, what is for `to` goes by `via`; `to` = "default" for everything else.
    pub(crate) fn route(&mut self, at: &str, to: &str, via: &str) {
        let neighbour = self.index(via);
        let place = Rc::clone(&self.machine(at).place);
        match to {
            "default" => place.borrow_mut().default = Some(neighbour),
            to => drop(place.borrow_mut().routes.insert(to.parse().unwrap(), neighbour)),
        }
    }

    /// A chain of machines, each with routes to all others along it.
    pub(crate) fn chain(&mut self, names: &[&str], delay: Duration) {
        for pair in names.windows(2) {
            self.link(pair[0], pair[1], delay);
        }
        for (at, name) in names.iter().enumerate() {
            for (target, other) in names.iter().enumerate().filter(|(target, _)| *target != at) {
                let via = if target > at { names[at + 1] } else { names[at - 1] };
                let addresses = self.machine(other).place.borrow().addresses.clone();
                addresses.iter().for_each(|address| self.route(name, &address.to_string(), via));
            }
        }
    }

    fn at(&mut self, delay: Duration, happening: Happening) {
        self.count += 1;
        self.queue.push(Reverse((self.now + delay, self.count)));
        self.happenings.insert(self.count, happening);
    }

    /// Lets time pass until `is_so`, at most for `longest`. Answers whether it became so.
    pub(crate) fn until(&mut self, longest: Duration, mut is_so: impl FnMut(&mut World) -> bool) -> bool {
        let end = self.now + longest;
        while !is_so(self) {
            let next = self.queue.peek().map(|Reverse((at, _))| *at);
            let due = self.machines.iter().enumerate().filter_map(|(i, m)| m.deadline.map(|at| (at, i))).min();
            let at = [next, due.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(at) = at.filter(|at| *at <= end) else {
                self.now = end;
                return is_so(self);
            };
            self.now = self.now.max(at);
            match due.filter(|(at, _)| next.is_none_or(|next| *at <= next)) {
                Some((_, index)) => self.input(index, Input::Wakeup),
                None => {
                    let Some(Reverse((_, number))) = self.queue.pop() else { continue };
                    let happening = self.happenings.remove(&number).unwrap();
                    self.happen(happening);
                }
            }
        }
        true
    }

    /// A machine's public key.
    pub(crate) fn key(&self, name: &str) -> [u8; 32] {
        self.machines[self.index(name)].key
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.until(time, |_| false);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives { machine, what } => self.arrives(machine, what),
            Happening::Fetched { machine, id, result } => self.input(machine, Input::Fetched(id, result)),
            Happening::Stream { machine, stream, event } => {
                if !matches!(event, OwnedStreamEvent::Accepted { .. })
                    && !self.machines[machine].streams.contains_key(&stream)
                {
                    return;
                }
                let event = match &event {
                    OwnedStreamEvent::Accepted { from, to, security, peer_key } => {
                        StreamEvent::Accepted { from: *from, to: *to, security: *security, peer_key: *peer_key }
                    }
                    OwnedStreamEvent::Connected { from, peer_key } => {
                        StreamEvent::Connected { from: *from, peer_key: *peer_key }
                    }
                    OwnedStreamEvent::Received(bytes) => StreamEvent::Received(bytes),
                    OwnedStreamEvent::Closed(reason) => {
                        self.machines[machine].streams.remove(&stream);
                        StreamEvent::Closed { reason: reason.clone() }
                    }
                };
                self.input(machine, Input::Signal(SignalInput::Stream(stream, event)));
            }
        }
    }

    fn input(&mut self, index: usize, input: Input<'_>) {
        let now = self.now;
        if let Some(node) = &mut self.machines[index].node {
            node.handle(now, input);
            self.drain(index);
        }
    }

    /// Gives a node something to do from outside, and takes what comes of it.
    pub(crate) fn with<R>(&mut self, name: &str, f: impl FnOnce(&mut Node, Instant) -> R) -> R {
        let (index, now) = (self.index(name), self.now);
        let result = f(self.machines[index].node.as_mut().expect("the node runs"), now);
        self.drain(index);
        result
    }

    fn drain(&mut self, index: usize) {
        while let Some(node) = &mut self.machines[index].node {
            match node.poll() {
                Output::Idle { deadline } => {
                    self.machines[index].deadline = deadline.map(|(at, _)| at);
                    return;
                }
                Output::Transmit { packet, .. } => self.send(index, Travelling::Ip(packet.bytes)),
                Output::Errand(Errand::Socket(output)) => self.socket(index, output),
                Output::Errand(Errand::Fetch { id, url, bytes_max, .. }) => {
                    let found = self.web.get(&url).cloned();
                    let result = match found {
                        None => Err(FetchProblem::Failed(format!("{url} answered 404"))),
                        Some(bytes) if bytes.len() as u64 > bytes_max => Err(FetchProblem::TooLarge),
                        Some(bytes) => Ok(bytes),
                    };
                    self.at(Duration::from_millis(20), Happening::Fetched { machine: index, id, result });
                }
                Output::Errand(Errand::Store(op)) => store(&mut self.machines[index].stored, op),
                Output::Event(event) => {
                    let at = self.now.since(Instant::START);
                    self.machines[index].events.push_back((at, event));
                }
                Output::Steer(_)
                | Output::Answer(..)
                | Output::Net(_)
                | Output::Errand(Errand::CancelFetch(_) | Errand::Post { .. }) => {}
            }
        }
    }

    fn own_port(&self, index: usize) -> u16 {
        if self.machines[index].intercepts { PORT } else { INITIATOR_PORT }
    }

    fn socket(&mut self, index: usize, output: SocketOutput) {
        match output {
            SocketOutput::Datagram(datagram) => {
                self.machines[index].sent += 1;
                let bytes = self.packet_of(index, &datagram);
                self.send(index, Travelling::Ip(bytes));
            }
            SocketOutput::Connect { stream, to, security, .. } => self.connect(index, stream, to, security),
            SocketOutput::Write { stream, bytes } => self.write(index, stream, OwnedStreamEvent::Received(bytes)),
            SocketOutput::Close { stream } => {
                self.write(index, stream, OwnedStreamEvent::Closed("closed by the peer".to_owned()));
                self.machines[index].streams.remove(&stream);
            }
        }
    }

    fn packet_of(&self, index: usize, out: &DatagramOut) -> Vec<u8> {
        let source = out.source.unwrap_or_else(|| {
            let addresses = &self.machines[index].place.borrow().addresses;
            *addresses.iter().find(|a| a.is_ipv4() == out.destination.is_ipv4()).expect("an address of this version")
        });
        let port = if out.source_port == 0 { self.own_port(index) } else { out.source_port };
        let fields = IpFields {
            ttl: out.ttl.unwrap_or(64),
            dscp: out.dscp.unwrap_or(0),
            flow_label: out.flow_label.unwrap_or(0),
            router_alert: out.router_alert,
        };
        datagram::udp((source, port).into(), out.destination, fields, &out.payload).expect("it fits")
    }

    /// Sends something from a machine on its way, over the link to the next one.
    fn send(&mut self, index: usize, what: Travelling) {
        let to = match &what {
            Travelling::Ip(bytes) => {
                let header = Header::parse(bytes, false).expect("what is sent is whole");
                netserv::base::filter::address_of(header.destination, header.ip_version)
            }
            Travelling::Unreachable { to, .. } => to.ip(),
        };
        if self.machines[index].place.borrow().addresses.contains(&to) {
            return self.at(Duration::ZERO, Happening::Arrives { machine: index, what });
        }
        let Some(next) = self.next_hop(index, to) else { return };
        let (delay, faults) = self.links[&(index, next)];
        if self.rng.below(100) < faults.loss {
            return;
        }
        let copies = if self.rng.below(100) < faults.duplicates { 2 } else { 1 };
        for _ in 0..copies {
            let jitter = Duration::from_nanos(self.rng.below(faults.jitter.as_nanos() as u64 + 1));
            self.at(delay + jitter, Happening::Arrives { machine: next, what: what.clone() });
        }
    }

    fn next_hop(&self, index: usize, to: IpAddr) -> Option<usize> {
        let place = self.machines[index].place.borrow();
        place.routes.get(&to).copied().or(place.default)
    }

    fn arrives(&mut self, index: usize, what: Travelling) {
        let bytes = match what {
            Travelling::Unreachable { to, destination, reporter, payload } => {
                if self.machines[index].place.borrow().addresses.contains(&to.ip()) {
                    let unreachable =
                        Unreachable { destination, reporter: Some(reporter), port_closed: true, payload: &payload };
                    self.input(index, Input::Signal(SignalInput::Unreachable(unreachable)));
                } else {
                    self.send(index, Travelling::Unreachable { to, destination, reporter, payload });
                }
                return;
            }
            Travelling::Ip(bytes) => bytes,
        };
        let header = Header::parse(&bytes, false).expect("what travels is whole");
        let (from_port, to_port) = header.ports.expect("all is UDP");
        let source = SocketAddr::new(netserv::base::filter::address_of(header.source, header.ip_version), from_port);
        let destination =
            SocketAddr::new(netserv::base::filter::address_of(header.destination, header.ip_version), to_port);
        if self.machines[index].place.borrow().addresses.contains(&destination.ip()) {
            self.deliver(index, &bytes, &header, source, destination);
        } else {
            self.forward(index, bytes, &header);
        }
    }

    fn deliver(&mut self, index: usize, bytes: &[u8], header: &Header, source: SocketAddr, destination: SocketAddr) {
        let payload = header.payload(bytes);
        if self.machines[index].node.is_some() && destination.port() == self.own_port(index) {
            let datagram = DatagramIn {
                source,
                destination,
                ttl: Some(bytes[if header.ip_version == 4 { 8 } else { 7 }]),
                router_alert: router_alert::find(bytes, header),
                interface: 0,
                payload,
            };
            return self.input(index, Input::Signal(SignalInput::Datagram(datagram)));
        }
        let reporter = destination.ip();
        self.send(index, Travelling::Unreachable { to: source, destination, reporter, payload: payload.to_vec() });
    }

    fn forward(&mut self, index: usize, mut bytes: Vec<u8>, header: &Header) {
        let at = if header.ip_version == 4 { 8 } else { 7 };
        if bytes[at] <= 1 {
            return;
        }
        bytes[at] -= 1;
        if header.ip_version == 4 {
            netserv::wire::checksum::write_ipv4(&mut bytes);
        }
        let now = self.now;
        let steers = self.machines[index].intercepts && header.ports.is_some_and(|(_, to)| to == PORT);
        if let Some(node) = self.machines[index].node.as_mut().filter(|_| steers) {
            let len = bytes.len();
            bytes.resize(len + 2_048, 0);
            let mut packet = PacketMut::new(&mut bytes, len, Offload::default());
            let decision = node.packet(now, LinkId(0), &mut packet);
            let len = packet.len();
            bytes.truncate(len);
            self.drain(index);
            if !matches!(decision, Decision::Forward(_)) {
                return;
            }
            // What the kernel takes for the second time that it forwards the packet; the node has given one back.
            bytes[at] -= 1;
        }
        self.send(index, Travelling::Ip(bytes));
    }

    /// The delay of the path, and the machine at its end.
    fn path(&self, from: usize, to: IpAddr) -> Option<(usize, Duration)> {
        let (mut at, mut delay) = (from, Duration::ZERO);
        for _ in 0..64 {
            if self.machines[at].place.borrow().addresses.contains(&to) {
                return Some((at, delay));
            }
            let next = self.next_hop(at, to)?;
            delay += self.links[&(at, next)].0;
            at = next;
        }
        None
    }

    fn connect(&mut self, index: usize, stream: StreamId, to: SocketAddr, security: StreamSecurity) {
        let port = if security == StreamSecurity::Tls { TLS_PORT } else { TCP_PORT };
        let found = self.path(index, to.ip());
        let Some((peer, delay)) = found.filter(|(peer, _)| {
            self.machines[*peer].node.is_some() && self.machines[*peer].intercepts && to.port() == port
        }) else {
            let closed = OwnedStreamEvent::Closed("connection refused".to_owned());
            let pipe = Pipe { peer: index, stream, delay: Duration::ZERO, free_at: self.now };
            self.machines[index].streams.insert(stream, pipe);
            return self.at(Duration::from_millis(1), Happening::Stream { machine: index, stream, event: closed });
        };
        let accepted = StreamId(self.machines[peer].next_accepted);
        self.machines[peer].next_accepted += 2;
        let from = SocketAddr::new(
            Here { place: Rc::clone(&self.machines[index].place) }.source_for(to.ip()).unwrap(),
            50_000,
        );
        // TCP takes one round trip, TLS another one.
        let trips = if security == StreamSecurity::Tls { 3 } else { 1 };
        let ready = delay * trips;
        let free_at = self.now + ready;
        self.machines[index].streams.insert(stream, Pipe { peer, stream: accepted, delay, free_at });
        self.machines[peer].streams.insert(accepted, Pipe { peer: index, stream, delay, free_at });
        let is_tls = security == StreamSecurity::Tls;
        let keys = [peer, index].map(|i| is_tls.then(|| PeerKey(self.machines[i].key)));
        let event = OwnedStreamEvent::Accepted { from, to, security, peer_key: keys[1] };
        self.at(ready, Happening::Stream { machine: peer, stream: accepted, event });
        let event = OwnedStreamEvent::Connected { from, peer_key: keys[0] };
        self.at(ready + delay, Happening::Stream { machine: index, stream, event });
    }

    fn write(&mut self, index: usize, stream: StreamId, event: OwnedStreamEvent) {
        let now = self.now;
        let Some(pipe) = self.machines[index].streams.get_mut(&stream) else { return };
        pipe.free_at = pipe.free_at.max(now + pipe.delay);
        let (peer, other, delay) = (pipe.peer, pipe.stream, pipe.free_at.since(now));
        self.at(delay, Happening::Stream { machine: peer, stream: other, event });
    }

    /// What an initiator heard of an order so far; taken out.
    pub(crate) fn heard(&mut self, name: &str, id: OrderId) -> Vec<NslpEvent> {
        let mut heard = Vec::new();
        self.machine(name).events.retain(|(_, event)| match event {
            Event::Signal(event) if order_of(event) == Some(id) => {
                heard.push((**event).clone());
                false
            }
            Event::Signal(_)
            | Event::Note(_)
            | Event::Log { .. }
            | Event::Started { .. }
            | Event::Erred { .. }
            | Event::Failed { .. }
            | Event::OverBudget { .. }
            | Event::Unloaded { .. } => true,
        });
        heard
    }
}

fn store(stored: &mut BTreeMap<String, Vec<u8>>, op: StoreOp) {
    match op {
        StoreOp::Put { key, bytes } => drop(stored.insert(key, bytes)),
        StoreOp::Append { key, bytes } => stored.entry(key).or_default().extend(bytes),
        StoreOp::Remove { key } => drop(stored.remove(&key)),
    }
}

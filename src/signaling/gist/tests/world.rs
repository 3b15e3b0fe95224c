//! Machines joined by a small network in virtual time: a path of nodes, datagrams that may be lost, streams.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::signaling::gist::api::{
    MessageHandle, MessageStatus, NetworkNotification, Nslp, Peering, ReceivedMessage, Request, SendMessage, SiiHandle,
    TransferAttributes,
};
use crate::signaling::gist::{Env, Gist, GistConfig, Interception};
use crate::signaling::io::{
    DatagramIn, DatagramOut, Paths, PeerKey, Route, SocketOutput, StreamEvent, StreamId, StreamSecurity, Unreachable,
};
use crate::wire::gist::header::{MAGIC, MessageType, NslpId, PORT};
use crate::wire::gist::message::Message;
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::{PeerIdentity, Sid};

pub(crate) const NSLP: NslpId = NslpId(32_704);
pub(crate) const SID: Sid = Sid([7; 16]);
const HOP: Duration = Duration::from_millis(5);

/// What an application was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) data: Vec<u8>,
    pub(crate) sid: Sid,
    pub(crate) mri: Mri,
    pub(crate) sii: Option<SiiHandle>,
    pub(crate) attributes: TransferAttributes,
    pub(crate) peer_key: Option<PeerKey>,
    pub(crate) is_unvalidated: bool,
    pub(crate) is_address_validated: bool,
    pub(crate) hops: u8,
    pub(crate) ip_distance: u8,
}

/// Writes down all that it is told.
pub(crate) struct Recorder {
    pub(crate) peering: Peering,
    pub(crate) received: Vec<Got>,
    pub(crate) asked: Vec<Vec<u8>>,
    pub(crate) statuses: Vec<(u64, MessageStatus)>,
    pub(crate) notes: Vec<(Mri, NetworkNotification)>,
    /// Answered against the direction of each message that comes.
    pub(crate) reply: Option<Vec<u8>>,
}

impl Nslp for Recorder {
    fn id(&self) -> NslpId {
        NSLP
    }

    fn router_alert(&self) -> (u16, u16) {
        (65_503, 65_504)
    }

    fn check_peering(&mut self, _now: Instant, query: &ReceivedMessage<'_>) -> Peering {
        self.asked.push(query.data.to_vec());
        self.peering.clone()
    }

    fn receive(&mut self, _now: Instant, m: &ReceivedMessage<'_>, requests: &mut Vec<Request>) {
        self.received.push(Got {
            data: m.data.to_vec(),
            sid: m.sid,
            mri: m.mri.clone(),
            sii: m.sii.clone(),
            attributes: m.attributes,
            peer_key: m.peer_key,
            is_unvalidated: m.is_unvalidated,
            is_address_validated: m.is_address_validated,
            hops: m.hops,
            ip_distance: m.ip_distance,
        });
        if let Some(reply) = &self.reply {
            let mri = m.mri.inverted();
            requests.push(Request::Send(SendMessage { attributes: m.attributes, ..message(&mri, m.sid, reply) }));
        }
    }

    fn message_status(&mut self, _: Instant, handle: MessageHandle, status: MessageStatus, _: &mut Vec<Request>) {
        self.statuses.push((handle.0, status));
    }

    fn notify(&mut self, _: Instant, _: Sid, mri: &Mri, what: &NetworkNotification, _: &mut Vec<Request>) {
        self.notes.push((mri.clone(), what.clone()));
    }
}

/// A message without any wishes.
pub(crate) fn message(mri: &Mri, sid: Sid, data: &[u8]) -> SendMessage {
    SendMessage {
        data: data.to_vec(),
        handle: None,
        sid,
        mri: mri.clone(),
        sii: None,
        attributes: TransferAttributes::default(),
        timeout: None,
        ip_ttl: None,
        hops: None,
    }
}

pub(crate) const RELIABLE: TransferAttributes = TransferAttributes { reliable: true, secure: false };
pub(crate) const SECURE: TransferAttributes = TransferAttributes { reliable: true, secure: true };

pub(crate) struct Place {
    address: IpAddr,
    pub(crate) route: &'static str,
}

impl Paths for Place {
    fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        (destination.is_ipv4() == self.address.is_ipv4()).then_some(self.address)
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address == self.address
    }

    fn route_to(&self, _: IpAddr) -> Option<Route> {
        Some(Route { interface: self.route.into(), via: None })
    }
}

pub(crate) struct Host {
    /// None: a plain host that only answers by ICMP, if at all.
    pub(crate) gist: Option<Gist>,
    pub(crate) app: Recorder,
    pub(crate) place: Place,
    pub(crate) config: GistConfig,
    /// The application is here.
    pub(crate) hosts: bool,
    /// Answers by ICMP where nobody listens.
    pub(crate) icmp: bool,
}

/// Something on its way.
enum Flight {
    Datagram { to: usize, source: SocketAddr, destination: SocketAddr, ttl: u8, payload: Vec<u8>, is_transit: bool },
    Accepted(usize, StreamId, SocketAddr, StreamSecurity, Option<PeerKey>),
    Connected(usize, StreamId, Option<PeerKey>),
    Bytes(usize, StreamId, Vec<u8>),
    Closed(usize, StreamId),
    Unreachable(usize, SocketAddr, Vec<u8>),
}

/// A message that a node sent, over whatever.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at_ms: u64,
    pub(crate) from: usize,
    pub(crate) message: Message,
    pub(crate) stream: Option<StreamId>,
    pub(crate) datagram: Option<DatagramOut>,
}

pub(crate) struct World {
    pub(crate) hosts: Vec<Host>,
    /// The way of the flow, by index of `hosts`.
    pub(crate) path: Vec<usize>,
    pub(crate) now: Instant,
    pub(crate) sent: Vec<Sent>,
    pub(crate) loss_percent: u64,
    rng: Rng,
    drops: Vec<(usize, MessageType, usize)>,
    flights: BTreeMap<(Instant, u64), Flight>,
    flight_count: u64,
    streams: BTreeMap<(usize, StreamId), (usize, StreamId)>,
    accepted_count: u64,
}

pub(crate) fn address(i: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 9, 0, i as u8 + 1))
}

impl World {
    /// Nodes in a line; the flow goes from the first to the last.
    pub(crate) fn line(count: usize) -> World {
        World::with(count, |_, _| {})
    }

    /// The same, with changes to the configuration of each.
    pub(crate) fn with(count: usize, change: impl Fn(usize, &mut GistConfig)) -> World {
        let hosts = (0..count)
            .map(|i| {
                let mut config = GistConfig {
                    identity: PeerIdentity(vec![i as u8 + 1; 16]),
                    secret: [i as u8 + 1; 32],
                    tcp_port: Some(4_000),
                    tls_port: Some(4_001),
                    ..GistConfig::default()
                };
                change(i, &mut config);
                Host {
                    gist: Some(Gist::new(config.clone())),
                    app: Recorder {
                        peering: Peering::Accept(None),
                        received: Vec::new(),
                        asked: Vec::new(),
                        statuses: Vec::new(),
                        notes: Vec::new(),
                        reply: None,
                    },
                    place: Place { address: address(i), route: "eth0" },
                    config,
                    hosts: true,
                    icmp: false,
                }
            })
            .collect();
        World {
            hosts,
            path: (0..count).collect(),
            now: Instant::from_nanos(1_000_000_000),
            sent: Vec::new(),
            loss_percent: 0,
            rng: Rng::seeded(7),
            drops: Vec::new(),
            flights: BTreeMap::new(),
            flight_count: 0,
            streams: BTreeMap::new(),
            accepted_count: 0,
        }
    }

    pub(crate) fn seed(&mut self, seed: u64) {
        self.rng = Rng::seeded(seed);
    }

    /// The flow from the first node to the last.
    pub(crate) fn flow(&self) -> Mri {
        Mri::flow(address(self.path[0]), address(*self.path.last().expect("a path")))
    }

    /// Loses the next messages of a kind that a node sends as datagrams.
    pub(crate) fn drop_next(&mut self, from: usize, kind: MessageType, count: usize) {
        self.drops.push((from, kind, count));
    }

    pub(crate) fn request(&mut self, node: usize, request: Request) {
        self.call(node, |gist, now, env| gist.request(now, env, NSLP, request));
    }

    pub(crate) fn send(&mut self, node: usize, m: SendMessage) {
        self.request(node, Request::Send(m));
    }

    /// Sends along the flow from the first node.
    pub(crate) fn start(&mut self, data: &[u8]) {
        let m = SendMessage { handle: Some(MessageHandle(1)), ..message(&self.flow(), SID, data) };
        self.send(self.path[0], m);
    }

    /// A node loses all that it knows.
    pub(crate) fn reboot(&mut self, node: usize) {
        let mut config = self.hosts[node].config.clone();
        config.secret[0] ^= 0xff;
        self.hosts[node].gist = Some(Gist::new(config));
    }

    pub(crate) fn gist(&mut self, node: usize) -> &mut Gist {
        self.hosts[node].gist.as_mut().expect("a node with GIST")
    }

    pub(crate) fn ms(&self) -> u64 {
        (self.now.as_nanos() - 1_000_000_000) / 1_000_000
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..5_000_000 {
            let flight = self.flights.first_key_value().map(|((at, _), _)| *at);
            let due = self.hosts.iter().filter_map(|h| h.gist.as_ref()?.deadline()).min();
            let Some(next) = flight.into_iter().chain(due).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            if flight == Some(next) {
                let (_, flight) = self.flights.pop_first().expect("there is one");
                self.land(flight);
            } else {
                for node in 0..self.hosts.len() {
                    if self.hosts[node].gist.as_ref().and_then(Gist::deadline).is_some_and(|at| at <= self.now) {
                        self.call(node, |gist, now, env| gist.expire(now, env));
                    }
                }
            }
        }
        self.now = end;
    }

    pub(crate) fn call<T>(
        &mut self,
        node: usize,
        call: impl FnOnce(&mut Gist, Instant, &mut Env<'_>) -> T,
    ) -> Option<T> {
        let now = self.now;
        let host = &mut self.hosts[node];
        let gist = host.gist.as_mut()?;
        let mut nslps: Vec<&mut dyn Nslp> = if host.hosts { vec![&mut host.app] } else { Vec::new() };
        let mut env = Env { paths: &host.place, nslps: &mut nslps };
        let result = call(gist, now, &mut env);
        let mut outputs = VecDeque::new();
        while let Some(output) = gist.poll() {
            outputs.push_back(output);
        }
        for output in outputs {
            self.output(node, output);
        }
        Some(result)
    }

    fn fly(&mut self, after: Duration, flight: Flight) {
        self.flight_count += 1;
        self.flights.insert((self.now + after, self.flight_count), flight);
    }

    fn output(&mut self, node: usize, output: SocketOutput) {
        match output {
            SocketOutput::Datagram(datagram) => self.datagram(node, datagram),
            SocketOutput::Connect { stream, to, security, .. } => self.connect(node, stream, to, security),
            SocketOutput::Write { stream, bytes } => {
                let message = Message::decode(&bytes).expect("what is sent is well-formed");
                self.sent.push(Sent { at_ms: self.ms(), from: node, message, stream: Some(stream), datagram: None });
                if let Some((peer, other)) = self.streams.get(&(node, stream)).copied() {
                    self.fly(HOP, Flight::Bytes(peer, other, bytes));
                }
            }
            SocketOutput::Close { stream } => {
                if let Some((peer, other)) = self.streams.remove(&(node, stream)) {
                    self.streams.remove(&(peer, other));
                    self.fly(HOP, Flight::Closed(peer, other));
                }
            }
        }
    }

    fn connect(&mut self, node: usize, stream: StreamId, to: SocketAddr, security: StreamSecurity) {
        let port = |h: &Host| match security {
            StreamSecurity::Plain => h.config.tcp_port,
            StreamSecurity::Tls => h.config.tls_port,
        };
        let found = self.hosts.iter().position(|h| h.place.address == to.ip() && port(h) == Some(to.port()));
        let Some(peer) = found.filter(|p| self.hosts[*p].gist.is_some()) else {
            return self.fly(HOP, Flight::Closed(node, stream));
        };
        self.accepted_count += 1;
        let other = StreamId(self.accepted_count * 2 + 1);
        self.streams.insert((node, stream), (peer, other));
        self.streams.insert((peer, other), (node, stream));
        let key = |i: usize| (security == StreamSecurity::Tls).then_some(PeerKey([i as u8 + 1; 32]));
        let from = SocketAddr::new(address(node), 50_000);
        self.fly(HOP, Flight::Accepted(peer, other, from, security, key(node)));
        self.fly(HOP * 2, Flight::Connected(node, stream, key(peer)));
    }

    /// Breaks all streams of a node, as if its cable was cut and the system noticed.
    pub(crate) fn break_streams(&mut self, node: usize) {
        let streams: Vec<_> = self.streams.keys().filter(|(n, _)| *n == node).copied().collect();
        for (node, stream) in streams {
            if let Some((peer, other)) = self.streams.remove(&(node, stream)) {
                self.streams.remove(&(peer, other));
                self.fly(HOP, Flight::Closed(node, stream));
                self.fly(HOP, Flight::Closed(peer, other));
            }
        }
    }

    /// The other end falls silent, and nobody notices.
    pub(crate) fn cut_streams(&mut self) {
        self.streams.clear();
    }

    fn datagram(&mut self, node: usize, out: DatagramOut) {
        let message = Message::decode(&out.payload[MAGIC.len()..]).expect("what is sent is well-formed");
        let kind = message.kind;
        let is_transit = message.context_free;
        let kept = Some(out.clone());
        self.sent.push(Sent { at_ms: self.ms(), from: node, message, stream: None, datagram: kept });
        if let Some(drop) = self.drops.iter_mut().find(|(n, k, left)| *n == node && *k == kind && *left > 0) {
            drop.2 -= 1;
            return;
        }
        if self.loss_percent > self.rng.below(100) {
            return;
        }
        let source = SocketAddr::new(out.source.unwrap_or(address(node)), PORT);
        let ttl = out.ttl.unwrap_or(64);
        self.forward(node, source, out.destination, ttl, out.payload, is_transit);
    }

    /// One hop along the path for Q-mode; straight to the address for everything else.
    fn forward(
        &mut self,
        node: usize,
        source: SocketAddr,
        destination: SocketAddr,
        ttl: u8,
        payload: Vec<u8>,
        is_transit: bool,
    ) {
        let at = self.path.iter().position(|n| *n == node);
        let end = self.path.iter().position(|n| address(*n) == destination.ip());
        let next = match (at, end) {
            (Some(at), Some(end)) if is_transit && at < end => Some(self.path[at + 1]),
            (Some(at), Some(end)) if is_transit && at > end => Some(self.path[at - 1]),
            _ => self.hosts.iter().position(|h| h.place.address == destination.ip()),
        };
        if let Some(to) = next {
            self.fly(HOP, Flight::Datagram { to, source, destination, ttl, payload, is_transit });
        }
    }

    /// Gives a node a datagram from nowhere.
    pub(crate) fn inject(&mut self, to: usize, source: SocketAddr, m: &Message) -> Option<Interception> {
        let payload = [&MAGIC[..], &m.encode()].concat();
        let destination = SocketAddr::new(address(*self.path.last().expect("a path")), PORT);
        let datagram =
            DatagramIn { source, destination, ttl: Some(60), router_alert: None, interface: 1, payload: &payload };
        self.call(to, |gist, now, env| gist.intercept(now, env, &datagram))
    }

    /// Gives a node a datagram at its own address.
    pub(crate) fn give(&mut self, to: usize, source: SocketAddr, m: &Message) {
        let payload = [&MAGIC[..], &m.encode()].concat();
        let datagram = DatagramIn {
            source,
            destination: SocketAddr::new(address(to), PORT),
            ttl: Some(60),
            router_alert: None,
            interface: 1,
            payload: &payload,
        };
        self.call(to, |gist, now, env| gist.datagram(now, env, &datagram));
    }

    fn land(&mut self, flight: Flight) {
        match flight {
            Flight::Datagram { to, source, destination, ttl, payload, is_transit } => {
                self.arrive(to, source, destination, ttl, payload, is_transit);
            }
            Flight::Accepted(node, stream, from, security, peer_key) => {
                let to = SocketAddr::new(address(node), 4_000);
                let event = StreamEvent::Accepted { from, to, security, peer_key };
                self.call(node, |gist, now, env| gist.stream(now, env, stream, event));
            }
            Flight::Connected(node, stream, peer_key) => {
                let from = SocketAddr::new(address(node), 50_000);
                if self.streams.contains_key(&(node, stream)) {
                    let event = StreamEvent::Connected { from, peer_key };
                    self.call(node, |gist, now, env| gist.stream(now, env, stream, event));
                }
            }
            Flight::Bytes(node, stream, bytes) => {
                if self.streams.contains_key(&(node, stream)) {
                    // In two pieces: messages must not depend on how the bytes come.
                    let (a, b) = bytes.split_at(bytes.len() / 2);
                    for part in [a, b] {
                        self.call(node, |g, now, env| g.stream(now, env, stream, StreamEvent::Received(part)));
                    }
                }
            }
            Flight::Closed(node, stream) => {
                let event = StreamEvent::Closed { reason: "closed".into() };
                self.call(node, |gist, now, env| gist.stream(now, env, stream, event));
            }
            Flight::Unreachable(node, destination, payload) => {
                let report =
                    Unreachable { destination, reporter: Some(destination.ip()), port_closed: true, payload: &payload };
                self.call(node, |gist, now, env| gist.unreachable(now, env, &report));
            }
        }
    }

    fn arrive(
        &mut self,
        to: usize,
        source: SocketAddr,
        destination: SocketAddr,
        ttl: u8,
        mut payload: Vec<u8>,
        is_transit: bool,
    ) {
        let is_end = self.hosts[to].place.address == destination.ip();
        if self.hosts[to].gist.is_none() {
            if !is_end {
                return self.forward(to, source, destination, ttl - 1, payload, is_transit);
            }
            if self.hosts[to].icmp
                && let Some(from) = self.hosts.iter().position(|h| h.place.address == source.ip())
            {
                self.fly(HOP, Flight::Unreachable(from, destination, payload));
            }
            return;
        }
        let datagram =
            DatagramIn { source, destination, ttl: Some(ttl), router_alert: None, interface: 1, payload: &payload };
        if !is_transit {
            self.call(to, |gist, now, env| gist.datagram(now, env, &datagram));
            return;
        }
        let verdict = self.call(to, |gist, now, env| gist.intercept(now, env, &datagram)).expect("a node with GIST");
        match verdict {
            Interception::Forward if is_end => return,
            Interception::Forward => {}
            Interception::Relay { hops } => payload[5] = hops,
            Interception::Replace(new) => payload = new,
            Interception::Consumed | Interception::Drop(_) => return,
        }
        assert!(!is_end, "a node at the end of the way cannot forward");
        self.forward(to, source, destination, ttl - 1, payload, is_transit);
    }

    /// The times at which a node sent messages of a kind.
    pub(crate) fn times(&self, from: usize, kind: MessageType) -> Vec<u64> {
        self.sent_by(from, kind).iter().map(|s| s.at_ms).collect()
    }

    pub(crate) fn sent_by(&self, from: usize, kind: MessageType) -> Vec<&Sent> {
        self.sent.iter().filter(|s| s.from == from && s.message.kind == kind).collect()
    }

    /// The payloads that a node's application received.
    pub(crate) fn got(&self, node: usize) -> Vec<Vec<u8>> {
        self.hosts[node].app.received.iter().map(|g| g.data.clone()).collect()
    }

    pub(crate) fn notes(&self, node: usize) -> Vec<NetworkNotification> {
        self.hosts[node].app.notes.iter().map(|(_, n)| n.clone()).collect()
    }

    pub(crate) fn statuses(&self, node: usize) -> Vec<MessageStatus> {
        self.hosts[node].app.statuses.iter().map(|(_, s)| *s).collect()
    }

    /// The errors that a node sent, as code and subcode.
    pub(crate) fn errors(&self, node: usize) -> Vec<(u16, u8)> {
        let errors = self.sent_by(node, MessageType::Error);
        errors.iter().filter_map(|s| s.message.error.as_ref().map(|e| (e.code, e.subcode))).collect()
    }
}

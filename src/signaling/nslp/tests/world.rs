//! Nodes in a line, with an initiator at its beginning, and something that carries messages like GIST.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::signaling::gist::api::{
    MessageHandle, MessageStatus, NetworkNotification, Nslp, ReceivedMessage, Request, SendError, SendMessage,
    SiiHandle, TransferAttributes,
};
use crate::signaling::nslp::api::{Decision, NslpEvent, Order, OrderId, Token};
use crate::signaling::nslp::{NetservNslp, NslpConfig};
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::{PeerIdentity, Sid};
use crate::wire::nslp::answer::{Answer, AnswerCode};
use crate::wire::nslp::request::{self, NodeId, Nonce, Operation, Target};

/// What a node's controller says, and how long it takes.
#[derive(Clone, Debug)]
pub(super) struct Controller {
    pub(super) decision: Decision,
    pub(super) delay: Duration,
}

pub(super) struct Host {
    pub(super) nslp: NetservNslp,
    pub(super) controller: Controller,
    /// Requests that the controller was asked about.
    pub(super) asked: Vec<Nonce>,
    /// GIST lifetimes, as they were set.
    pub(super) lifetimes: Vec<Duration>,
}

#[derive(Debug)]
enum Later {
    Deliver { from: usize, to: usize, message: Box<SendMessage> },
    Status { at: usize, handle: MessageHandle, status: MessageStatus },
    Notify { at: usize, sid: Sid, mri: Mri, what: NetworkNotification },
    Decide { at: usize, token: Token, decision: Decision },
}

/// The world: host 0 is the initiator.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) hosts: Vec<Host>,
    /// The hosts that the flow passes, in order.
    pub(super) path: Vec<usize>,
    pub(super) rng: Rng,
    /// Percent of messages lost, and doubled.
    pub(super) loss: u64,
    pub(super) doubled: u64,
    /// Longest delay of a message, in ms; shortest 1.
    pub(super) delay_ms: u64,
    /// Whether the flow's destination answers a Query with an ICMP error.
    pub(super) has_icmp: bool,
    /// What a send from this host fails with.
    pub(super) send_fails: BTreeMap<usize, SendError>,
    pub(super) events: Vec<(Instant, NslpEvent)>,
    /// Messages that reached a host.
    pub(super) delivered: Vec<(usize, usize, Vec<u8>)>,
    peers: BTreeMap<(usize, Sid), usize>,
    upstream: BTreeMap<(usize, Sid), usize>,
    later: BTreeMap<(Instant, u64), Later>,
    count: u64,
    pub(super) mri: Mri,
}

pub(super) fn node(number: usize) -> NodeId {
    NodeId([number as u8; 16])
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn decision(code: AnswerCode) -> Decision {
    Decision { code, sentence: code.name().to_owned(), report: Vec::new() }
}

fn sii(host: usize) -> SiiHandle {
    let address = IpAddr::from(Ipv4Addr::new(10, 0, 0, host as u8));
    SiiHandle { identity: PeerIdentity(node(host).0.to_vec()), address }
}

impl World {
    /// An initiator and `count` nodes behind it, whose controllers answer at once.
    pub(super) fn line(seed: u64, count: usize) -> World {
        let host = |number: usize| {
            let config = NslpConfig { hosts: number > 0, ..NslpConfig::new(node(number)) };
            Host {
                nslp: NetservNslp::new(config, [seed as u8 ^ number as u8; 32]),
                controller: Controller { decision: decision(AnswerCode::Installed), delay: Duration::ZERO },
                asked: Vec::new(),
                lifetimes: Vec::new(),
            }
        };
        World {
            now: Instant::START,
            hosts: (0..=count).map(host).collect(),
            path: (0..=count).collect(),
            rng: Rng::seeded(seed),
            loss: 0,
            doubled: 0,
            delay_ms: 1,
            has_icmp: true,
            send_fails: BTreeMap::new(),
            events: Vec::new(),
            delivered: Vec::new(),
            peers: BTreeMap::new(),
            upstream: BTreeMap::new(),
            later: BTreeMap::new(),
            count: 0,
            mri: Mri::flow(Ipv4Addr::new(10, 0, 0, 0).into(), Ipv4Addr::new(10, 9, 9, 9).into()),
        }
    }

    pub(super) fn property(&mut self, host: usize, name: &str, value: &str) {
        let old = &self.hosts[host].nslp;
        let mut config = old.config.clone();
        config.properties.insert(name.to_owned(), value.to_owned());
        self.hosts[host].nslp = NetservNslp::new(config, [host as u8; 32]);
    }

    pub(super) fn controller(&mut self, host: usize, code: AnswerCode, delay: Duration) {
        self.hosts[host].controller = Controller { decision: decision(code), delay };
    }

    pub(super) fn order(&mut self, request: &request::Request, keep: bool) -> OrderId {
        let order = Order {
            mri: self.mri.clone(),
            request: request.encode(),
            authorisation: None,
            attributes: TransferAttributes::default(),
            keep,
        };
        let id = self.hosts[0].nslp.order(self.now, order).expect("the order is right");
        self.drain(0);
        id
    }

    fn put(&mut self, after: Duration, what: Later) {
        self.count += 1;
        self.later.insert((self.now + after, self.count), what);
    }

    fn some_delay(&mut self) -> Duration {
        Duration::from_micros(1_000 + self.rng.below(self.delay_ms.saturating_sub(1) * 1_000 + 1))
    }

    /// Lets time pass until nothing is left to do, or until `after` from now.
    pub(super) fn run(&mut self, after: Duration) {
        let until = self.now + after;
        for _ in 0..2_000_000 {
            let message = self.later.first_key_value().map(|((at, _), _)| *at);
            let timer = self.hosts.iter().filter_map(|host| host.nslp.deadline()).min();
            let Some(at) = [message, timer].into_iter().flatten().min().filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(at);
            if message == Some(at) {
                let (_, what) = self.later.pop_first().expect("it was there");
                self.do_it(what);
            } else {
                for host in 0..self.hosts.len() {
                    if self.hosts[host].nslp.deadline().is_some_and(|at| at <= self.now) {
                        self.hosts[host].nslp.expire(self.now);
                        self.drain(host);
                    }
                }
            }
        }
        panic!("the world does not come to rest");
    }

    fn do_it(&mut self, what: Later) {
        let mut requests = Vec::new();
        match what {
            Later::Deliver { from, to, message } => {
                self.delivered.push((from, to, message.data.clone()));
                self.upstream.entry((to, message.sid)).or_insert(from);
                if self.is_with_requests(&message.mri) {
                    self.upstream.insert((to, message.sid), from);
                }
                self.receive(from, to, message.sid, &message.mri, &message.data);
            }
            Later::Status { at, handle, status } => {
                self.hosts[at].nslp.message_status(self.now, handle, status, &mut requests);
                self.carry(at, requests);
            }
            Later::Notify { at, sid, mri, what } => {
                self.hosts[at].nslp.notify(self.now, sid, &mri, &what, &mut requests);
                self.carry(at, requests);
            }
            Later::Decide { at, token, decision } => {
                self.hosts[at].nslp.answer(self.now, token, decision);
                self.drain(at);
            }
        }
    }

    pub(super) fn receive(&mut self, from: usize, to: usize, sid: Sid, mri: &Mri, data: &[u8]) {
        let mut requests = Vec::new();
        let message = ReceivedMessage {
            data,
            sid,
            mri,
            sii: Some(sii(from)),
            attributes: TransferAttributes::default(),
            peer_key: None,
            is_unvalidated: false,
            is_address_validated: true,
            is_from_endpoint: false,
            ip_ttl: None,
            ip_distance: 1,
            hops: 1,
            interface: 0,
        };
        self.hosts[to].nslp.receive(self.now, &message, &mut requests);
        self.carry(to, requests);
    }

    fn is_with_requests(&self, mri: &Mri) -> bool {
        mri.key() == self.mri.key()
    }

    pub(super) fn drain(&mut self, host: usize) {
        let requests = self.hosts[host].nslp.take_requests();
        self.carry(host, requests);
    }

    fn carry(&mut self, host: usize, requests: Vec<Request>) {
        let mut requests = VecDeque::from(requests);
        while let Some(request) = requests.pop_front() {
            match request {
                Request::Send(message) if self.is_with_requests(&message.mri) => self.send_down(host, message),
                Request::Send(message) => {
                    if let Some(to) = self.upstream.get(&(host, message.sid)).copied() {
                        self.transmit(host, to, message);
                    }
                }
                Request::SetStateLifetime { lifetime, .. } => self.hosts[host].lifetimes.push(lifetime),
                Request::InvalidateRoutingState { .. } => {}
            }
        }
        while let Some(event) = self.hosts[host].nslp.poll_event() {
            if let NslpEvent::Asked { token, request, .. } = &event {
                let Controller { mut decision, delay } = self.hosts[host].controller.clone();
                if request.operation == Operation::Probe && decision.code == AnswerCode::Installed {
                    decision.code = AnswerCode::Probed;
                }
                self.hosts[host].asked.push(request.nonce);
                self.put(delay, Later::Decide { at: host, token: *token, decision });
            } else {
                self.events.push((self.now, event));
            }
        }
    }

    fn next_of(&self, host: usize) -> Option<usize> {
        let at = self.path.iter().position(|on_path| *on_path == host)?;
        self.path.get(at + 1).copied()
    }

    fn send_down(&mut self, host: usize, message: SendMessage) {
        let Some(handle) = message.handle else {
            if let Some(to) = self.peers.get(&(host, message.sid)).copied() {
                self.transmit(host, to, message);
            }
            return;
        };
        let (sid, mri) = (message.sid, message.mri.clone());
        if let Some(error) = self.send_fails.get(&host).copied() {
            self.put(ms(1), Later::Status { at: host, handle, status: MessageStatus::Failed(error) });
            return;
        }
        let Some(next) = self.next_of(host) else {
            let after = if self.has_icmp { ms(3) } else { message.timeout.expect("a search has an end") };
            self.put(after, Later::Notify { at: host, sid, mri, what: NetworkNotification::LastNode });
            let status = MessageStatus::Failed(SendError::NoNextNode);
            self.put(after, Later::Status { at: host, handle, status });
            return;
        };
        if self.peers.insert((host, sid), next) != Some(next) {
            let what = NetworkNotification::RoutingGood { sii: sii(next), rtt: Some(ms(2)) };
            self.put(ms(2), Later::Notify { at: host, sid, mri, what });
        }
        let status = MessageStatus::Sent(TransferAttributes::default());
        self.put(ms(2), Later::Status { at: host, handle, status });
        self.transmit(host, next, message);
    }

    fn transmit(&mut self, from: usize, to: usize, message: SendMessage) {
        let copies = 1 + u64::from(self.rng.below(100) < self.doubled);
        for _ in 0..copies {
            if self.rng.below(100) >= self.loss {
                let after = self.some_delay() + ms(2);
                self.put(after, Later::Deliver { from, to, message: Box::new(message.clone()) });
            }
        }
    }

    /// The path changes, and the nodes whose next node is another one notice it.
    pub(super) fn reroute(&mut self, path: Vec<usize>) {
        self.path = path;
        let peers: Vec<_> = self.peers.iter().map(|((host, sid), peer)| (*host, *sid, *peer)).collect();
        for (host, sid, peer) in peers {
            let Some(next) = self.next_of(host).filter(|next| *next != peer) else { continue };
            self.peers.insert((host, sid), next);
            let (mri, what) = (self.mri.clone(), NetworkNotification::RouteDeleted { sii: sii(peer) });
            self.put(ms(1), Later::Notify { at: host, sid, mri: mri.clone(), what });
            let what = NetworkNotification::RoutingGood { sii: sii(next), rtt: Some(ms(2)) };
            self.put(ms(2), Later::Notify { at: host, sid, mri, what });
        }
    }

    // --- what the initiator saw ---

    /// The last answer from each place of the path, in order.
    pub(super) fn answers(&self) -> Vec<Answer> {
        let mut by_hop = BTreeMap::new();
        for (_, event) in &self.events {
            if let NslpEvent::Answered { answer, .. } = event {
                by_hop.insert(answer.hop, answer.clone());
            }
        }
        by_hop.into_values().collect()
    }

    /// Who said what, from each place of the path in order; the last one is marked.
    pub(super) fn said(&self) -> Vec<String> {
        let said = |a: Answer| format!("{} {}{}", a.node.0[0], a.code.name(), if a.is_last { " last" } else { "" });
        self.answers().into_iter().map(said).collect()
    }

    pub(super) fn notified(&self) -> Vec<Answer> {
        let notified = self.events.iter().filter_map(|(_, event)| {
            if let NslpEvent::Notified { answer, .. } = event { Some(answer.clone()) } else { None }
        });
        notified.collect()
    }

    pub(super) fn progress(&self) -> Vec<String> {
        let texts = self.events.iter().filter_map(|(_, event)| {
            if let NslpEvent::Progress { text, .. } = event { Some(text.clone()) } else { None }
        });
        texts.collect()
    }

    /// When and how the orders finished.
    pub(super) fn finished(&self) -> Vec<(Duration, Result<(), String>)> {
        let finished = self.events.iter().filter_map(|(at, event)| {
            let NslpEvent::Finished { result, .. } = event else { return None };
            Some((at.since(Instant::START), result.clone()))
        });
        finished.collect()
    }

    /// Finished once, and well; returns when.
    pub(super) fn assert_complete(&self) -> Duration {
        let finished = self.finished();
        assert_eq!(finished.len(), 1, "{:?}", self.events);
        assert_eq!(finished[0].1, Ok(()), "{:?}", self.events);
        finished[0].0
    }
}

pub(super) fn request(operation: Operation, target: Target) -> request::Request {
    numbered(operation, target, 1)
}

/// A request with a nonce of its own, made `number` seconds after the first one.
pub(super) fn numbered(operation: Operation, target: Target, number: u8) -> request::Request {
    let wants_module = matches!(operation, Operation::Setup | Operation::Refresh);
    let module = request::ModuleRequest {
        name: "monitor".to_owned(),
        version: "^1".to_owned(),
        url: "https://example.org/monitor.nsm".to_owned(),
        digest: [7; 32],
        lifetime_ms: 3_600_000,
        ..request::ModuleRequest::default()
    };
    request::Request {
        operation,
        nonce: Nonce([number; 16]),
        issued_ms: 1_000 * u64::from(number),
        expires_ms: 1_000_000,
        scope: Vec::new(),
        target,
        conditions: Vec::new(),
        search_ms: 0,
        instance: "monitor".to_owned(),
        module: wants_module.then_some(module),
        asks: request::ask::MODULES,
    }
}

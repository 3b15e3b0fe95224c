//! Two GIST machines and somebody between them: a list of operations on them, each a byte and what it needs. Datagrams
//! are passed on, lost, repeated, changed, or made up; streams break; time passes; applications ask for things.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use netserv::base::limits::{GIST_ASSOCIATIONS_MAX, GIST_SESSIONS_MAX, GIST_UNCONFIRMED_MAX, GIST_WAITING_BYTES_MAX};
use netserv::base::time::Instant;
use netserv::signaling::gist::api::{
    MessageHandle, MessageStatus, NetworkNotification, Nslp, Peering, ReceivedMessage, Request, SendMessage,
    TransferAttributes,
};
use netserv::signaling::gist::{Env, Gist, GistConfig, Interception};
use netserv::signaling::io::{
    DatagramIn, Paths, Route, SocketOutput, StreamEvent, StreamId, StreamSecurity, Unreachable,
};
use netserv::wire::gist::header::NslpId;
use netserv::wire::gist::mri::Mri;
use netserv::wire::gist::object::{PeerIdentity, Sid};

const NSLP: NslpId = NslpId(32_704);
/// Datagrams and stream bytes that wait for the fuzzer to do something with them.
const KEPT_MAX: usize = 64;

struct App {
    peering: Peering,
    reply: bool,
}

impl Nslp for App {
    fn id(&self) -> NslpId {
        NSLP
    }

    fn router_alert(&self) -> (u16, u16) {
        (0, 0)
    }

    fn check_peering(&mut self, _: Instant, _: &ReceivedMessage<'_>) -> Peering {
        self.peering.clone()
    }

    fn receive(&mut self, _: Instant, m: &ReceivedMessage<'_>, requests: &mut Vec<Request>) {
        if self.reply {
            requests.push(Request::Send(message(&m.mri.inverted(), m.sid, m.attributes, b"pong")));
        }
    }

    fn message_status(&mut self, _: Instant, _: MessageHandle, _: MessageStatus, _: &mut Vec<Request>) {}

    fn notify(&mut self, _: Instant, _: Sid, _: &Mri, _: &NetworkNotification, _: &mut Vec<Request>) {}
}

fn message(mri: &Mri, sid: Sid, attributes: TransferAttributes, data: &[u8]) -> SendMessage {
    SendMessage {
        data: data.to_vec(),
        handle: Some(MessageHandle(1)),
        sid,
        mri: mri.clone(),
        sii: None,
        attributes,
        timeout: None,
        ip_ttl: None,
        hops: None,
    }
}

struct Place(IpAddr, u8);

impl Paths for Place {
    fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        destination.is_ipv4().then_some(self.0)
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address == self.0
    }

    fn route_to(&self, _: IpAddr) -> Option<Route> {
        Some(Route { interface: format!("eth{}", self.1), via: None })
    }
}

fn address(node: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 9, 0, node as u8 + 1))
}

struct Pair {
    gists: [Gist; 2],
    apps: [App; 2],
    places: [Place; 2],
    now: Instant,
    /// From whom, to where, and what.
    datagrams: Vec<(usize, SocketAddr, Vec<u8>)>,
    writes: Vec<(usize, StreamId, Vec<u8>)>,
    /// Streams by their ends: at node 0, at node 1.
    streams: Vec<[StreamId; 2]>,
    accepted_count: u64,
}

impl Pair {
    fn new(flags: u8) -> Pair {
        let config = |node: u8| GistConfig {
            identity: PeerIdentity(vec![node + 1; 4]),
            secret: [node; 32],
            tcp_port: (flags & 1 == 0).then_some(4_000),
            tls_port: (flags & 2 == 0).then_some(4_001),
            delayed_installation: flags & 4 != 0,
            report_invalid_cookies: flags & 8 != 0,
            ..GistConfig::default()
        };
        let app = |reply| App { peering: Peering::Accept(None), reply };
        Pair {
            gists: [Gist::new(config(0)), Gist::new(config(1))],
            apps: [app(flags & 16 != 0), app(flags & 32 != 0)],
            places: [Place(address(0), 0), Place(address(1), 0)],
            now: Instant::from_nanos(1),
            datagrams: Vec::new(),
            writes: Vec::new(),
            streams: Vec::new(),
            accepted_count: 0,
        }
    }

    fn call<T>(&mut self, node: usize, call: impl FnOnce(&mut Gist, Instant, &mut Env<'_>) -> T) -> T {
        let mut nslps: [&mut dyn Nslp; 1] = [&mut self.apps[node]];
        let mut env = Env { paths: &self.places[node], nslps: &mut nslps };
        let result = call(&mut self.gists[node], self.now, &mut env);
        let mut connects = Vec::new();
        while let Some(output) = self.gists[node].poll() {
            match output {
                SocketOutput::Datagram(d) => {
                    assert!(d.payload.len() <= 2_000, "{}", d.payload.len());
                    if self.datagrams.len() < KEPT_MAX {
                        self.datagrams.push((node, d.destination, d.payload));
                    }
                }
                SocketOutput::Connect { stream, security, .. } => connects.push((stream, security)),
                SocketOutput::Write { stream, bytes } => {
                    if self.writes.len() < KEPT_MAX {
                        self.writes.push((node, stream, bytes));
                    }
                }
                SocketOutput::Close { stream } => self.streams.retain(|ends| ends[node] != stream),
            }
        }
        for (stream, security) in connects {
            self.connect(node, stream, security);
        }
        result
    }

    fn connect(&mut self, node: usize, stream: StreamId, security: StreamSecurity) {
        self.accepted_count += 1;
        let other = StreamId(self.accepted_count * 2 + 1);
        self.streams.push(if node == 0 { [stream, other] } else { [other, stream] });
        let (from, to) = (SocketAddr::new(address(node), 5_000), SocketAddr::new(address(1 - node), 4_000));
        let accepted = StreamEvent::Accepted { from, to, security, peer_key: None };
        self.call(1 - node, |g, now, env| g.stream(now, env, other, accepted));
        self.call(node, |g, now, env| g.stream(now, env, stream, StreamEvent::Connected { from, peer_key: None }));
    }

    fn datagram(&mut self, from: usize, destination: SocketAddr, payload: &[u8], is_direct: bool) {
        let node = 1 - from;
        let source = SocketAddr::new(address(from), 270);
        let datagram = DatagramIn { source, destination, ttl: Some(60), router_alert: None, interface: 1, payload };
        if is_direct {
            self.call(node, |g, now, env| g.datagram(now, env, &datagram));
        } else {
            let verdict = self.call(node, |g, now, env| g.intercept(now, env, &datagram));
            if let Interception::Replace(new) = verdict {
                assert!(new.len() <= payload.len() + 64);
            }
        }
    }

    fn check(&self) {
        for gist in &self.gists {
            let stats = gist.stats();
            assert!(stats.sessions <= GIST_SESSIONS_MAX);
            assert!(stats.unconfirmed <= GIST_UNCONFIRMED_MAX && stats.unconfirmed <= stats.sessions);
            assert!(stats.associations <= GIST_ASSOCIATIONS_MAX);
            assert!(stats.timers <= stats.sessions + stats.associations);
            assert!(stats.waiting_bytes <= GIST_WAITING_BYTES_MAX);
        }
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Something happens to datagrams.
fn carry(pair: &mut Pair, input: &mut Input<'_>, op: u8, what: u8) -> Option<()> {
    let node = usize::from(op >> 7);
    let pick = |len: usize| (len > 0).then(|| usize::from(what) % len.max(1));
    match op & 0x0f {
        // The oldest datagrams get where they go.
        0 | 1 => {
            for _ in 0..=what % 8 {
                if !pair.datagrams.is_empty() {
                    let (from, to, payload) = pair.datagrams.remove(0);
                    pair.datagram(from, to, &payload, op & 0x10 != 0);
                }
            }
        }
        // Some datagram arrives, and may do so again.
        2 => {
            let (from, to, payload) = pair.datagrams.get(pick(pair.datagrams.len())?)?.clone();
            pair.datagram(from, to, &payload, op & 0x10 != 0);
        }
        // One arrives changed.
        3 | 4 => {
            let (from, to, mut payload) = pair.datagrams.get(pick(pair.datagrams.len())?)?.clone();
            for _ in 0..=op >> 5 & 3 {
                let (at, value) = (input.byte()?, input.byte()?);
                let len = payload.len();
                payload[usize::from(at) % len] = value;
            }
            pair.datagram(from, to, &payload, op & 0x10 != 0);
        }
        // One is lost, or shown by ICMP.
        5 => {
            let (from, destination, payload) = pair.datagrams.remove(pick(pair.datagrams.len())?);
            let shown = usize::from(input.byte()?).min(payload.len());
            let report = Unreachable { destination, reporter: None, port_closed: true, payload: &payload[..shown] };
            pair.call(from, |g, now, env| g.unreachable(now, env, &report));
        }
        6 => {
            let payload = [&[0x4e, 0x04, 0xbd, 0xa5][..], input.bytes(usize::from(what))].concat();
            pair.datagram(node, SocketAddr::new(address(1), 270), &payload, op & 0x10 != 0);
        }
        _ => {}
    }
    Some(())
}

/// An application asks for something.
fn ask(pair: &mut Pair, op: u8, what: u8) -> Option<()> {
    let node = usize::from(op >> 7);
    match op & 0x0f {
        8 | 9 => {
            let mri = Mri::flow(address(0), address(1));
            let mri = if node == 0 { mri } else { mri.inverted() };
            let attributes = TransferAttributes { reliable: what & 0x30 != 0, secure: what & 0x20 != 0 };
            let data = vec![7; usize::from(what & 7) * 90];
            let m = message(&mri, Sid([what >> 6; 16]), attributes, &data);
            pair.call(node, |g, now, env| g.request(now, env, NSLP, Request::Send(m)));
        }
        10 => {
            let mri = Mri::flow(address(0), address(1));
            let mri = if node == 0 { mri } else { mri.inverted() };
            let request = if what & 1 == 0 {
                let lifetime = Duration::from_secs(u64::from(what >> 2) * 4);
                Request::SetStateLifetime { mri, sid: Sid([what & 3; 16]), lifetime }
            } else {
                let data = (what & 8 != 0).then(|| vec![1; 20]);
                let sid = (what & 0x10 != 0).then_some(Sid([what >> 6; 16]));
                Request::InvalidateRoutingState { mri, sid, is_bad: what & 2 != 0, urgent: what & 4 != 0, data }
            };
            pair.call(node, |g, now, env| g.request(now, env, NSLP, request));
        }
        _ => {}
    }
    Some(())
}

/// Something happens to streams.
fn stream(pair: &mut Pair, input: &mut Input<'_>, op: u8, what: u8) -> Option<()> {
    let node = usize::from(op >> 7);
    let pick = |len: usize| (len > 0).then(|| usize::from(what) % len.max(1));
    match op & 0x0f {
        11 | 12 => {
            for _ in 0..=what % 8 {
                if !pair.writes.is_empty() {
                    let (from, stream, mut bytes) = pair.writes.remove(0);
                    if op & 0x10 != 0 {
                        let (at, value) = (input.byte()?, input.byte()?);
                        let len = bytes.len();
                        bytes[usize::from(at) % len] = value;
                    }
                    if let Some(ends) = pair.streams.iter().find(|ends| ends[from] == stream).copied() {
                        let event = StreamEvent::Received(&bytes);
                        pair.call(1 - from, |g, now, env| g.stream(now, env, ends[1 - from], event));
                    }
                }
            }
        }
        13 => {
            let ends = *pair.streams.get(pick(pair.streams.len())?)?;
            let bytes = input.bytes(usize::from(op >> 4 & 7) * 8);
            pair.call(node, |g, now, env| g.stream(now, env, ends[node], StreamEvent::Received(bytes)));
        }
        14 => {
            let ends = pair.streams.remove(pick(pair.streams.len())?);
            for node in 0..2 {
                let event = StreamEvent::Closed { reason: String::new() };
                pair.call(node, |g, now, env| g.stream(now, env, ends[node], event));
            }
        }
        _ => {}
    }
    Some(())
}

/// One operation; `None` at the end of the input.
fn operate(pair: &mut Pair, input: &mut Input<'_>) -> Option<()> {
    let op = input.byte()?;
    let what = input.byte()?;
    let node = usize::from(op >> 7);
    match op & 0x0f {
        0..=6 => return carry(pair, input, op, what),
        7 => {
            pair.now += Duration::from_millis(u64::from(what) * u64::from(what));
            for node in 0..2 {
                pair.call(node, |g, now, env| g.expire(now, env));
                let deadline = pair.gists[node].deadline();
                assert!(deadline.is_none_or(|at| at > pair.now || at == Instant::START), "nothing is due any more");
            }
        }
        8..=10 => return ask(pair, op, what),
        11..=14 => return stream(pair, input, op, what),
        _ => {
            pair.places[node].1 = what;
            pair.apps[node].peering = match what % 3 {
                0 => Peering::Accept(None),
                1 => Peering::Accept(Some(vec![2; 8])),
                _ => Peering::Decline(Some(vec![3; 8])),
            };
            pair.call(node, |g, now, env| g.route_changed(now, env));
        }
    }
    Some(())
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let Some(flags) = input.byte() else { return };
    let mut pair = Pair::new(flags);
    while !input.0.is_empty() {
        operate(&mut pair, &mut input);
        pair.check();
    }
    // Whatever happened: if nothing comes any more, all ends.
    for _ in 0..400 {
        pair.now += Duration::from_secs(30);
        for node in 0..2 {
            pair.call(node, |g, now, env| g.expire(now, env));
        }
        pair.datagrams.clear();
        pair.writes.clear();
    }
    for gist in &pair.gists {
        assert_eq!(gist.stats().unconfirmed, 0);
    }
});

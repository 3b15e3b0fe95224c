//! GIST sessions: handshakes and refreshes per second, and what a session costs in memory.
#![expect(clippy::print_stdout, reason = "the figures are what this is for")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use netserv::base::time::Instant;
use netserv::signaling::gist::api::{
    MessageHandle, MessageStatus, NetworkNotification, Nslp, Peering, ReceivedMessage, Request, SendMessage,
    TransferAttributes,
};
use netserv::signaling::gist::{Env, Gist, GistConfig};
use netserv::signaling::io::{DatagramIn, DatagramOut, Paths, Route, SocketOutput};
use netserv::wire::gist::header::NslpId;
use netserv::wire::gist::mri::Mri;
use netserv::wire::gist::object::{PeerIdentity, Sid};

const NSLP: NslpId = NslpId(32_704);
const SESSIONS: u32 = 10_000;

/// Always wants to be a peer.
struct App;

impl Nslp for App {
    fn id(&self) -> NslpId {
        NSLP
    }

    fn router_alert(&self) -> (u16, u16) {
        (0, 0)
    }

    fn check_peering(&mut self, _: Instant, _: &ReceivedMessage<'_>) -> Peering {
        Peering::Accept(None)
    }

    fn receive(&mut self, _: Instant, message: &ReceivedMessage<'_>, _: &mut Vec<Request>) {
        black_box(message);
    }

    fn message_status(&mut self, _: Instant, _: MessageHandle, _: MessageStatus, _: &mut Vec<Request>) {}

    fn notify(&mut self, _: Instant, _: Sid, _: &Mri, _: &NetworkNotification, _: &mut Vec<Request>) {}
}

struct Place(IpAddr);

impl Paths for Place {
    fn source_for(&self, _: IpAddr) -> Option<IpAddr> {
        Some(self.0)
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address == self.0
    }

    fn route_to(&self, _: IpAddr) -> Option<Route> {
        None
    }
}

fn address(node: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 9, 0, node + 1))
}

fn machine(node: u8) -> Gist {
    Gist::new(GistConfig {
        identity: PeerIdentity(vec![node; 16]),
        secret: [node; 32],
        d_mode_bytes_per_second: u64::MAX / 1_000_000_000,
        d_mode_burst_bytes: u64::MAX / 1_000_000_000,
        intercepts_per_second: 1_000_000_000,
        queries_per_second: 1_000_000_000,
        ..GistConfig::default()
    })
}

fn call<T>(gist: &mut Gist, node: u8, call: impl FnOnce(&mut Gist, &mut Env<'_>) -> T) -> (T, Vec<DatagramOut>) {
    let mut nslps: [&mut dyn Nslp; 1] = [&mut App];
    let result = call(gist, &mut Env { paths: &Place(address(node)), nslps: &mut nslps });
    let outputs = std::iter::from_fn(|| gist.poll());
    let datagrams = outputs.filter_map(|o| if let SocketOutput::Datagram(d) = o { Some(d) } else { None });
    (result, datagrams.collect())
}

/// Carries datagrams to and fro until there are none.
fn settle(now: Instant, gists: &mut [Gist; 2], from: u8, mut datagrams: Vec<DatagramOut>) {
    let mut node = from;
    while !datagrams.is_empty() {
        node = 1 - node;
        let mut next = Vec::new();
        for d in datagrams {
            let source = SocketAddr::new(address(1 - node), 270);
            let datagram = DatagramIn {
                source,
                destination: d.destination,
                ttl: Some(64),
                router_alert: None,
                interface: 1,
                payload: &d.payload,
            };
            next.extend(call(&mut gists[usize::from(node)], node, |g, env| g.datagram(now, env, &datagram)).1);
        }
        datagrams = next;
    }
}

fn open(now: Instant, gists: &mut [Gist; 2], number: u32) {
    let mut sid = [0; 16];
    sid[..4].copy_from_slice(&number.to_be_bytes());
    let (sid, mri) = (Sid(sid), Mri::flow(address(0), address(1)));
    let send = SendMessage {
        data: vec![1; 100],
        handle: None,
        sid,
        mri: mri.clone(),
        sii: None,
        attributes: TransferAttributes::default(),
        timeout: None,
        ip_ttl: None,
        hops: None,
    };
    let keep = Request::SetStateLifetime { mri, sid, lifetime: Duration::from_secs(1_000_000) };
    for request in [Request::Send(send), keep] {
        let out = call(&mut gists[0], 0, |g, env| g.request(now, env, NSLP, request)).1;
        settle(now, gists, 0, out);
    }
}

fn with_sessions(count: u32) -> [Gist; 2] {
    let mut gists = [machine(0), machine(1)];
    for number in 0..count {
        open(Instant::START, &mut gists, number);
    }
    gists
}

/// Resident memory of this process, in bytes; 0 where that is not known.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|s| s.split(' ').nth(1)?.parse::<u64>().ok()).map_or(0, |pages| pages * 4_096)
}

fn main() {
    let before = resident_bytes();
    let gists = with_sessions(6 * SESSIONS);
    assert_eq!(gists[1].stats().sessions, 6 * SESSIONS as usize);
    let bytes = resident_bytes().saturating_sub(before) / u64::from(6 * SESSIONS);
    println!("a session takes {bytes} bytes, querier and responder together");
    drop(gists);

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("gist");
    group.throughput(Throughput::Elements(1));
    let mut gists = with_sessions(SESSIONS);
    let mut number = SESSIONS;
    group.bench_function("handshake beside 10,000 sessions", |b| {
        b.iter(|| {
            number += 1;
            // The table is bounded: begin again before it is full.
            if number > 5 * SESSIONS {
                gists = with_sessions(SESSIONS);
                number = SESSIONS + 1;
            }
            open(Instant::START, &mut gists, number);
        });
    });
    group.throughput(Throughput::Elements(u64::from(SESSIONS)));
    group.sample_size(10);
    group.bench_function("refresh of 10,000 sessions", |b| {
        b.iter_batched_ref(
            || with_sessions(SESSIONS),
            |gists| {
                let now = Instant::START + Duration::from_secs(24);
                let out = call(&mut gists[0], 0, |g, env| g.expire(now, env)).1;
                assert_eq!(out.len(), SESSIONS as usize);
                settle(now, gists, 0, out);
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    criterion.final_summary();
}

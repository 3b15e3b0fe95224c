#![expect(
    clippy::disallowed_types,
    clippy::wildcard_enum_match_arm,
    reason = "peers outside of the driver; what else comes than is expected fails a test"
)]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use mio::{Events, Poll, Token};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;
use crate::base::limits::{
    SIGNAL_CONNECT_WAIT_MAX, SIGNAL_HANDSHAKE_WAIT_MAX, SIGNAL_HANDSHAKES_MAX, SIGNAL_STREAM_QUEUE_BYTES_MAX,
    SIGNAL_STREAMS_ACCEPTED_MAX, SIGNAL_STREAMS_PER_SOURCE_MAX, SIGNAL_WRITE_WAIT_MAX,
};
use crate::signaling::io::DatagramOut;

/// What came, without borrows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Came {
    Datagram { source: SocketAddr, to: IpAddr, ttl: Option<u8>, router_alert: Option<u16>, payload: Vec<u8> },
    Accepted(StreamId, StreamSecurity, Option<PeerKey>),
    Connected(StreamId, SocketAddr, Option<PeerKey>),
    Received(StreamId, Vec<u8>),
    Closed(StreamId, String),
    Unreachable { destination: SocketAddr, reporter: Option<IpAddr>, port_closed: bool, payload: Vec<u8> },
}

/// Sockets with their poll.
struct Side {
    poll: Poll,
    sockets: SignalSockets,
    now: Instant,
    came: VecDeque<Came>,
    key: PeerKey,
}

impl Side {
    fn new() -> Side {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let config = SignalConfig {
            udp_port: 0,
            tcp_port: Some(0),
            tls_port: Some(0),
            identity: document.as_ref().to_vec(),
            mark: Some(OWN_MARK),
            foreign_sources: true,
        };
        let poll = Poll::new().unwrap();
        let sockets = SignalSockets::open(&config, poll.registry(), 100).unwrap();
        let key = PeerKey(pair.public_key().as_ref().try_into().unwrap());
        assert_eq!(sockets.own_key(), key);
        Side { poll, sockets, now: Instant::START, came: VecDeque::new(), key }
    }

    /// One turn of a loop, as the owner of the sockets has it.
    fn turn(&mut self, wait: Duration) {
        let mut events = Events::with_capacity(16);
        let wait = if self.sockets.has_more() { Duration::ZERO } else { wait };
        self.poll.poll(&mut events, Some(wait)).unwrap();
        for event in &events {
            let Token(token) = event.token();
            self.sockets.ready(token);
        }
        self.take();
        self.sockets.expire(self.now);
        self.take();
    }

    fn take(&mut self) {
        while let Some(input) = self.sockets.next_input(self.now) {
            self.came.push_back(match input {
                SignalInput::Datagram(d) => Came::Datagram {
                    source: d.source,
                    to: d.destination.ip(),
                    ttl: d.ttl,
                    router_alert: d.router_alert,
                    payload: d.payload.to_vec(),
                },
                SignalInput::RoutesChanged => unreachable!("sockets do not look at routes"),
                SignalInput::Unreachable(u) => Came::Unreachable {
                    destination: u.destination,
                    reporter: u.reporter,
                    port_closed: u.port_closed,
                    payload: u.payload.to_vec(),
                },
                SignalInput::Stream(id, event) => match event {
                    StreamEvent::Accepted { security, peer_key, .. } => Came::Accepted(id, security, peer_key),
                    StreamEvent::Connected { from, peer_key } => Came::Connected(id, from, peer_key),
                    StreamEvent::Received(bytes) => Came::Received(id, bytes.to_vec()),
                    StreamEvent::Closed { reason } => Came::Closed(id, reason),
                },
            });
        }
    }

    /// Waits for what comes next.
    fn next(&mut self) -> Came {
        self.next_with(|| ())
    }

    /// The same, while something else goes on too.
    fn next_with(&mut self, mut other: impl FnMut()) -> Came {
        for _ in 0..2_000 {
            if let Some(came) = self.came.pop_front() {
                return came;
            }
            self.turn(Duration::from_millis(5));
            other();
        }
        panic!("nothing came; counters: {:?}", self.sockets.counters());
    }

    fn perform(&mut self, output: SocketOutput) {
        self.sockets.perform(output, self.now);
    }

    fn connect(&mut self, number: u64, to: SocketAddr, security: StreamSecurity) {
        self.perform(SocketOutput::Connect { stream: StreamId(number), from: None, to, security });
    }

    fn write(&mut self, stream: StreamId, bytes: &[u8]) {
        self.perform(SocketOutput::Write { stream, bytes: bytes.to_vec() });
    }

    fn udp(&self, host: &str) -> SocketAddr {
        let host: IpAddr = host.parse().unwrap();
        SocketAddr::new(host, self.sockets.udp_port(host.is_ipv6()).unwrap())
    }

    fn stream_address(&self, host: &str, security: StreamSecurity) -> SocketAddr {
        let host: IpAddr = host.parse().unwrap();
        SocketAddr::new(host, self.sockets.stream_port(security, host.is_ipv6()).unwrap())
    }
}

fn datagram(destination: SocketAddr) -> DatagramOut {
    DatagramOut {
        source: None,
        source_port: 0,
        destination,
        ttl: None,
        router_alert: None,
        dscp: None,
        flow_label: None,
        payload: b"hello".to_vec(),
    }
}

fn has_v6() -> bool {
    let has = std::net::UdpSocket::bind("[::1]:0").is_ok();
    if !has {
        eprintln!("skipped: this machine has no IPv6");
    }
    has
}

fn hosts() -> Vec<&'static str> {
    if has_v6() { vec!["127.0.0.1", "::1"] } else { vec!["127.0.0.1"] }
}

#[test]
fn datagrams_carry_source_ttl_and_router_alert() {
    let (mut a, mut b) = (Side::new(), Side::new());
    for host in hosts() {
        let to = b.udp(host);
        a.perform(SocketOutput::Datagram(DatagramOut {
            source: Some(to.ip()),
            ttl: Some(17),
            router_alert: Some(0x1234),
            dscp: Some(46),
            flow_label: to.is_ipv6().then_some(0x12345),
            ..datagram(to)
        }));
        // Without the right to send it, an IPv6 router alert is left out, and that is counted.
        let is_without = a.sockets.counters().sent_without_router_alert > 0;
        assert!(to.is_ipv6() || !is_without);
        let (ttl, router_alert) = (Some(17), (!is_without).then_some(0x1234));
        let expected = Came::Datagram { source: a.udp(host), to: to.ip(), ttl, router_alert, payload: b"hello".into() };
        if cfg!(target_os = "linux") {
            assert_eq!(b.next(), expected);
        } else {
            assert!(matches!(b.next(), Came::Datagram { .. }));
        }
    }
    assert_eq!(a.sockets.counters().sent_without_flow_label, 0);
}

#[test]
fn both_ip_versions_have_the_same_port() {
    let a = Side::new();
    if has_v6() {
        assert_eq!(a.sockets.udp_port(false), a.sockets.udp_port(true));
    }
}

#[test]
fn a_datagram_from_another_port_is_sent_once_from_there() {
    let (mut a, mut b) = (Side::new(), Side::new());
    let spare = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let out = DatagramOut { source: Some(spare.ip()), source_port: spare.port(), ..datagram(b.udp("127.0.0.1")) };
    a.perform(SocketOutput::Datagram(out));
    assert!(matches!(b.next(), Came::Datagram { source, .. } if source == spare));
}

#[test]
#[cfg(target_os = "linux")]
fn a_closed_port_is_told_with_the_payload() {
    let mut a = Side::new();
    for host in hosts() {
        let closed = std::net::UdpSocket::bind((host, 0)).unwrap().local_addr().unwrap();
        a.perform(SocketOutput::Datagram(datagram(closed)));
        let Came::Unreachable { destination, reporter, port_closed, payload } = a.next() else { panic!() };
        assert_eq!((destination, reporter, port_closed), (closed, Some(closed.ip()), true));
        assert_eq!(payload, b"hello");
        // What ICMP said of one datagram does not keep the next from being sent.
        let mut b = Side::new();
        a.perform(SocketOutput::Datagram(datagram(closed)));
        a.perform(SocketOutput::Datagram(datagram(b.udp(host))));
        assert!(matches!(b.next(), Came::Datagram { .. }));
        assert!(matches!(a.next(), Came::Unreachable { .. }));
    }
    assert_eq!((a.sockets.counters().datagrams_failed, a.sockets.counters().datagrams_sent), (0, 6));
}

#[test]
fn a_datagram_with_nonsense_is_counted_and_not_sent() {
    let mut a = Side::new();
    let to = a.udp("127.0.0.1");
    for out in [
        DatagramOut { ttl: Some(0), ..datagram(to) },
        DatagramOut { source: Some("::1".parse().unwrap()), ..datagram(to) },
        DatagramOut { payload: vec![0; 70_000], ..datagram(to) },
    ] {
        a.perform(SocketOutput::Datagram(out));
    }
    assert_eq!((a.sockets.counters().datagrams_failed, a.sockets.counters().datagrams_sent), (3, 0));
}

/// Opens a stream from `a` to `b`; answers its number at `b`.
fn opened(a: &mut Side, b: &mut Side, number: u64, host: &str, security: StreamSecurity) -> StreamId {
    a.connect(number, b.stream_address(host, security), security);
    let is_tls = security == StreamSecurity::Tls;
    let Came::Connected(id, from, peer_key) = a.next_with(|| b.turn(Duration::ZERO)) else { panic!() };
    assert_eq!((id, from.ip().to_string().as_str()), (StreamId(number), host));
    assert_eq!(peer_key, is_tls.then_some(b.key));
    let Came::Accepted(id, got, peer_key) = b.next_with(|| a.turn(Duration::ZERO)) else { panic!() };
    assert_eq!((got, peer_key), (security, is_tls.then_some(a.key)));
    id
}

/// Reads so many bytes of one stream.
fn read(side: &mut Side, stream: StreamId, len: usize, mut other: impl FnMut()) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < len {
        match side.next_with(&mut other) {
            Came::Received(id, bytes) if id == stream => all.extend(bytes),
            came => panic!("{came:?} after {} bytes", all.len()),
        }
    }
    all
}

#[test]
fn streams_carry_bytes_both_ways_and_end_in_order() {
    let (mut a, mut b) = (Side::new(), Side::new());
    let mut number = 0;
    for security in [StreamSecurity::Plain, StreamSecurity::Tls] {
        for host in hosts() {
            number += 2;
            let id = StreamId(number);
            let at_b = opened(&mut a, &mut b, number, host, security);
            assert_eq!(at_b.0 % 2, 1);
            let long: Vec<u8> = (0..1_000_000u32).map(|n| (n.wrapping_mul(n) >> 5) as u8).collect();
            a.write(id, b"question");
            assert_eq!(read(&mut b, at_b, 8, || a.turn(Duration::ZERO)), b"question");
            // What is written before the end arrives before the end, however much it is.
            b.write(at_b, &long);
            b.perform(SocketOutput::Close { stream: at_b });
            assert_eq!(read(&mut a, id, long.len(), || b.turn(Duration::ZERO)), long);
            assert_eq!(a.next_with(|| b.turn(Duration::ZERO)), Came::Closed(id, "the peer ended it".to_owned()));
            for _ in 0..200 {
                b.turn(Duration::from_millis(1));
            }
            assert_eq!((a.sockets.stream_count(), b.sockets.stream_count()), (0, 0));
            assert!(b.came.is_empty(), "{:?}", b.came);
        }
    }
}

#[test]
fn a_closed_port_and_an_address_that_is_not_ours_refuse() {
    let mut a = Side::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for security in [StreamSecurity::Plain, StreamSecurity::Tls] {
        a.connect(2, closed, security);
        assert_eq!(a.next(), Came::Closed(StreamId(2), "the peer refuses connections to this port".to_owned()));
    }
    let from = Some("192.0.2.1".parse().unwrap());
    a.perform(SocketOutput::Connect { stream: StreamId(4), from, to: closed, security: StreamSecurity::Plain });
    assert!(matches!(a.next(), Came::Closed(StreamId(4), _)));
    assert_eq!(a.sockets.stream_count(), 0);
}

/// A TLS client of our own making, blocking, with or without a certificate.
fn tls_client(to: SocketAddr, key: Option<&'static rcgen::SignatureAlgorithm>, tuning: &Tuning) -> Result<(), String> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[tuning.version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(tls::any_ed25519(&provider));
    let mut config = match key {
        Some(algorithm) => {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
            let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
            builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![tuning.protocol.to_vec()];
    let name = rustls::pki_types::ServerName::IpAddress(to.ip().into());
    let mut connection = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut socket = TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    stream.write_all(b"hello").map_err(|e| e.to_string())?;
    stream.conn.send_close_notify();
    stream.flush().map_err(|e| e.to_string())?;
    match stream.read_to_end(&mut Vec::new()) {
        // After a farewell the other side may end it as it likes.
        Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => Err(e.to_string()),
        _ => Ok(()),
    }
}

struct Tuning {
    version: &'static rustls::SupportedProtocolVersion,
    protocol: &'static [u8],
}

const USUAL: Tuning = Tuning { version: &rustls::version::TLS13, protocol: b"netserv-gist" };
const OLDER: Tuning = Tuning { version: &rustls::version::TLS12, protocol: b"netserv-gist" };

/// Runs `peer` in a thread of its own while `side` serves.
fn serve<T: Send>(side: &mut Side, peer: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let handle = scope.spawn(peer);
        while !handle.is_finished() {
            side.turn(Duration::from_millis(5));
        }
        handle.join().unwrap()
    })
}

#[test]
fn a_tls_peer_without_the_right_certificate_is_refused_and_told() {
    let mut side = Side::new();
    let to = side.stream_address("127.0.0.1", StreamSecurity::Tls);
    for tuning in [USUAL, OLDER] {
        let without = serve(&mut side, || tls_client(to, None, &tuning)).unwrap_err();
        assert!(without.contains("CertificateRequired") || without.contains("HandshakeFailure"), "{without}");
        // A key that is not Ed25519 cannot even be offered.
        serve(&mut side, || tls_client(to, Some(&rcgen::PKCS_ECDSA_P256_SHA256), &tuning)).unwrap_err();
    }
    let other = Tuning { protocol: b"h2", ..USUAL };
    let other = serve(&mut side, || tls_client(to, Some(&rcgen::PKCS_ED25519), &other)).unwrap_err();
    assert!(other.to_lowercase().contains("noapplicationprotocol"), "{other}");
    assert_eq!(side.sockets.counters().handshakes_failed, 5);
    assert_eq!(side.came, []);
}

#[test]
fn both_tls_versions_are_accepted_with_an_ed25519_key() {
    let mut side = Side::new();
    let to = side.stream_address("127.0.0.1", StreamSecurity::Tls);
    for (number, tuning) in [(1, USUAL), (3, OLDER)] {
        serve(&mut side, || tls_client(to, Some(&rcgen::PKCS_ED25519), &tuning)).unwrap();
        let id = StreamId(number);
        assert!(matches!(side.next(), Came::Accepted(got, StreamSecurity::Tls, Some(_)) if got == id));
        assert_eq!(side.next(), Came::Received(id, b"hello".into()));
        assert_eq!(side.next(), Came::Closed(id, "the peer ended it".to_owned()));
    }
}

#[test]
fn garbage_on_the_tls_port_ends_that_connection_only() {
    let (mut a, mut b) = (Side::new(), Side::new());
    let to = b.stream_address("127.0.0.1", StreamSecurity::Tls);
    for garbage in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0; 5_000], &[22, 3, 1, 255, 255, 1], &[22; 40_000]] {
        serve(&mut b, || {
            let mut socket = TcpStream::connect(to).unwrap();
            let _ = socket.write_all(garbage);
            let _ = socket.shutdown(std::net::Shutdown::Write);
            let _ = socket.read_to_end(&mut Vec::new());
        });
    }
    assert_eq!((b.sockets.counters().handshakes_failed, b.sockets.stream_count()), (4, 0));
    assert_eq!(b.came, []);
    opened(&mut a, &mut b, 2, "127.0.0.1", StreamSecurity::Tls);
}

#[test]
fn a_tls_client_is_told_that_a_plain_server_does_not_speak_it() {
    let mut a = Side::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    a.connect(2, server.local_addr().unwrap(), StreamSecurity::Tls);
    let (mut peer, _) = server.accept().unwrap();
    peer.write_all(b"220 what is this\r\n").unwrap();
    let Came::Closed(StreamId(2), reason) = a.next() else { panic!() };
    assert!(reason.contains("does not speak TLS"), "{reason}");
}

#[test]
fn a_peer_that_does_not_read_is_closed() {
    let (mut a, mut b) = (Side::new(), Side::new());
    for (number, security) in [(2, StreamSecurity::Plain), (4, StreamSecurity::Tls)] {
        opened(&mut a, &mut b, number, "127.0.0.1", security);
        // Much at once: the bound on what waits.
        let chunk = vec![7; 1 << 20];
        let mut written = 0;
        while a.sockets.stream_count() == 1 && written < 64 << 20 {
            a.write(StreamId(number), &chunk);
            written += chunk.len();
        }
        assert!(written > SIGNAL_STREAM_QUEUE_BYTES_MAX);
        let Came::Closed(_, reason) = a.next() else { panic!() };
        assert!(reason.starts_with("the peer does not read"), "{reason}");
        a.came.clear();
        b = Side::new();
    }
    // Little, but for long.
    opened(&mut a, &mut b, 6, "127.0.0.1", StreamSecurity::Plain);
    a.now += SIGNAL_CONNECT_WAIT_MAX;
    a.turn(Duration::ZERO);
    let chunk = vec![7; 64 << 10];
    while a.sockets.longest_wait(a.now).is_none() {
        a.write(StreamId(6), &chunk);
    }
    a.now += SIGNAL_WRITE_WAIT_MAX;
    assert_eq!(a.next(), Came::Closed(StreamId(6), "the peer read nothing of what waits within 30 s".to_owned()));
}

#[test]
fn a_peer_that_does_not_go_on_is_given_up_in_time() {
    let mut a = Side::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    a.connect(2, silent.local_addr().unwrap(), StreamSecurity::Tls);
    let idle = TcpStream::connect(a.stream_address("127.0.0.1", StreamSecurity::Tls)).unwrap();
    while a.sockets.counters().streams_accepted == 0 {
        a.turn(Duration::from_millis(5));
    }
    for _ in 0..20 {
        a.turn(Duration::from_millis(1));
    }
    a.now += SIGNAL_HANDSHAKE_WAIT_MAX.max(SIGNAL_CONNECT_WAIT_MAX);
    let Came::Closed(StreamId(2), reason) = a.next() else { panic!() };
    assert!(reason.contains("within 10 s"), "{reason}");
    assert_eq!((a.sockets.counters().handshakes_failed, a.sockets.stream_count()), (1, 0));
    drop(idle);
}

#[test]
fn one_source_has_only_so_many_connections() {
    let mut side = Side::new();
    let to = side.stream_address("127.0.0.1", StreamSecurity::Plain);
    let peers: Vec<TcpStream> =
        (0..SIGNAL_STREAMS_PER_SOURCE_MAX + 5).map(|_| TcpStream::connect(to).unwrap()).collect();
    while side.sockets.counters().streams_refused < 5 {
        side.turn(Duration::from_millis(5));
    }
    assert_eq!(side.sockets.stream_count(), SIGNAL_STREAMS_PER_SOURCE_MAX);
    assert_eq!(side.came.len(), SIGNAL_STREAMS_PER_SOURCE_MAX);
    drop(peers);
    while side.sockets.stream_count() > 0 {
        side.turn(Duration::from_millis(5));
    }
}

/// Held by tests that open many sockets: a process may have some 1,000.
static MANY: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn there_are_only_so_many_streams() {
    let _alone = MANY.lock();
    let mut side = Side::new();
    // A listener that accepts nothing: the system does.
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for number in 0..=SIGNAL_STREAMS_MAX as u64 {
        side.connect(number * 2, server.local_addr().unwrap(), StreamSecurity::Plain);
    }
    assert_eq!(side.sockets.stream_count(), SIGNAL_STREAMS_MAX);
    let reason = format!("this side has {SIGNAL_STREAMS_MAX} connections already");
    assert_eq!(side.next(), Came::Closed(StreamId(SIGNAL_STREAMS_MAX as u64 * 2), reason));
    side.perform(SocketOutput::Close { stream: StreamId(0) });
    side.connect(2_000, server.local_addr().unwrap(), StreamSecurity::Plain);
    assert_eq!(side.sockets.stream_count(), SIGNAL_STREAMS_MAX);
}

#[test]
fn what_is_asked_of_a_stream_that_is_not_there_does_nothing() {
    let mut side = Side::new();
    side.write(StreamId(2), b"x");
    side.perform(SocketOutput::Close { stream: StreamId(2) });
    side.sockets.ready(0);
    side.sockets.ready(usize::MAX);
    side.sockets.ready(side.sockets.tokens().end - 1);
    side.turn(Duration::ZERO);
    assert_eq!(side.came, []);
}

#[test]
fn a_port_that_is_taken_and_a_key_that_is_none_are_errors() {
    let side = Side::new();
    let poll = Poll::new().unwrap();
    let config = SignalConfig {
        udp_port: side.sockets.udp_port(false).unwrap(),
        tcp_port: None,
        tls_port: None,
        identity: Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref().to_vec(),
        mark: None,
        foreign_sources: false,
    };
    let error = |config: &SignalConfig| SignalSockets::open(config, poll.registry(), 0).err().unwrap().to_string();
    assert!(error(&config).ends_with("another program has it"), "{}", error(&config));
    let broken = SignalConfig { identity: vec![1; 48], udp_port: 0, ..config };
    assert!(error(&broken).starts_with("this side's key cannot be used"), "{}", error(&broken));
}

#[test]
#[cfg(target_os = "linux")]
fn silent_handshakes_give_way_to_one_from_elsewhere() {
    let (mut a, mut b) = (Side::new(), Side::new());
    let to = b.stream_address("127.0.0.1", StreamSecurity::Tls);
    let silent: Vec<TcpStream> = (0..SIGNAL_HANDSHAKES_MAX).map(|_| TcpStream::connect(to).unwrap()).collect();
    while b.sockets.stream_count() < SIGNAL_HANDSHAKES_MAX {
        b.turn(Duration::from_millis(5));
    }
    let from = Some("127.0.0.2".parse().unwrap());
    a.perform(SocketOutput::Connect { stream: StreamId(2), from, to, security: StreamSecurity::Tls });
    let Came::Connected(_, from, _) = a.next_with(|| b.turn(Duration::ZERO)) else { panic!() };
    assert_eq!(from.ip().to_string(), "127.0.0.2");
    assert!(matches!(b.next_with(|| a.turn(Duration::ZERO)), Came::Accepted(..)));
    assert_eq!(b.sockets.counters().streams_evicted, 1);
    assert!(b.came.is_empty(), "the node never heard of it");
    drop(silent);
}

#[test]
fn accepted_connections_that_said_nothing_give_way_when_all_places_are_taken() {
    let _alone = MANY.lock();
    let mut b = Side::new();
    let to = b.stream_address("127.0.0.1", StreamSecurity::Plain);
    let hosts = |n: usize| std::net::Ipv4Addr::new(127, 0, 1, (n / SIGNAL_STREAMS_PER_SOURCE_MAX) as u8 + 1);
    let peers: Vec<TcpStream> = (0..=SIGNAL_STREAMS_ACCEPTED_MAX)
        .map(|n| {
            let socket = platform::signal_socket::tcp::connect(Some(hosts(n).into()), to, None).unwrap();
            let socket = TcpStream::from(socket);
            socket.set_nonblocking(false).unwrap();
            while b.sockets.counters().streams_accepted < n as u64 + 1 {
                b.turn(Duration::from_millis(5));
            }
            // The first one says something, and keeps its place.
            if n == 0 {
                (&socket).write_all(b"hello").unwrap();
                while b.came.len() < 2 {
                    b.turn(Duration::from_millis(5));
                }
            }
            socket
        })
        .collect();
    assert_eq!(b.sockets.stream_count(), SIGNAL_STREAMS_ACCEPTED_MAX);
    let closed: Vec<&Came> = b.came.iter().filter(|came| matches!(came, Came::Closed(..))).collect();
    assert_eq!(closed, [&Came::Closed(StreamId(3), "it said nothing, and its place was needed".to_owned())]);
    drop(peers);
}

//! The signalling sockets where they have rights: in a network namespace of their own, as its root.
//!
//! The test calls itself by `unshare`, which needs root or a system that gives everybody user namespaces; without it
//! the test is skipped and says so. The namespace goes with its process.

#![cfg(all(target_os = "linux", feature = "live"))]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test: what fails must stop it, and say why")]

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use mio::{Events, Poll};
use netserv::base::time::Instant;
use netserv::drivers::live::signal::paths::SystemPaths;
use netserv::drivers::live::signal::{OWN_MARK, SignalConfig, SignalSockets};
use netserv::signaling::io::SignalInput;
use netserv::signaling::io::{DatagramOut, Paths, Route, SocketOutput};
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;

/// Set where the test runs inside of its namespace.
const INSIDE: &str = "NETSERV_SIGNAL_INSIDE";

/// Runs `name` again in a namespace. Answers whether this is already there.
fn is_inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = ["--map-root-user", "--net"];
    let works = Command::new("unshare").args(unshare).arg("true").output().is_ok_and(|output| output.status.success());
    if !works || Command::new("ip").arg("-V").output().is_err() {
        println!("skipped: needs the programs unshare and ip, and the right to make a network namespace");
        return false;
    }
    let own = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(unshare)
        .arg(own)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

/// Calls `ip` with each line.
fn ip(lines: &[&str]) {
    for line in lines {
        let output = Command::new("ip").args(line.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A namespace with one network behind a router that is not there.
fn network() {
    ip(&[
        "link set lo up",
        "link add net0 type veth peer name far0",
        "link set net0 up",
        "link set far0 up",
        "address add 192.0.2.1/24 dev net0",
        "address add 2001:db8::1/64 dev net0 nodad",
        "route add default via 192.0.2.254",
        "route add unreachable 203.0.113.0/24",
        "-6 route add default via 2001:db8::fe",
        "-6 route add unreachable 2001:db8:dead::/48",
    ]);
}

struct Side {
    poll: Poll,
    sockets: SignalSockets,
}

impl Side {
    fn new(udp_port: u16) -> Side {
        let config = SignalConfig {
            udp_port,
            tcp_port: None,
            tls_port: None,
            identity: Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref().to_vec(),
            mark: Some(OWN_MARK),
            foreign_sources: true,
        };
        let poll = Poll::new().unwrap();
        let sockets = SignalSockets::open(&config, poll.registry(), 0).unwrap();
        Side { poll, sockets }
    }

    fn send(&mut self, datagram: DatagramOut) {
        self.sockets.perform(SocketOutput::Datagram(datagram), Instant::START);
    }

    /// Gives the next input to `look`.
    fn next<T>(&mut self, look: impl FnOnce(SignalInput<'_>) -> T) -> T {
        let mut events = Events::with_capacity(16);
        for _ in 0..100 {
            if !self.sockets.has_more() {
                self.poll.poll(&mut events, Some(Duration::from_millis(50))).unwrap();
                events.iter().for_each(|event| self.sockets.ready(event.token().0));
            }
            if let Some(input) = self.sockets.next_input(Instant::START) {
                return look(input);
            }
        }
        panic!("nothing came: {:?}", self.sockets.counters());
    }
}

fn datagram(source: &str, to: &str) -> DatagramOut {
    DatagramOut {
        source: Some(source.parse().unwrap()),
        source_port: 0,
        destination: SocketAddr::new(to.parse().unwrap(), 270),
        ttl: Some(9),
        router_alert: Some(7),
        dscp: Some(46),
        flow_label: to.contains(':').then_some(0xabcde),
        payload: b"query".to_vec(),
    }
}

#[test]
fn a_query_can_have_the_source_of_another_machine_and_a_router_alert() {
    if !is_inside("a_query_can_have_the_source_of_another_machine_and_a_router_alert") {
        return;
    }
    network();
    let (mut a, mut b) = (Side::new(0), Side::new(270));
    assert!(a.sockets.can_send_foreign());
    assert_eq!((b.sockets.udp_port(false), b.sockets.udp_port(true)), (Some(270), Some(270)));
    for (source, to) in [("198.51.100.7", "192.0.2.1"), ("2001:db8:f00::7", "2001:db8::1")] {
        // From the sockets' own port, and from one that is not theirs.
        for port in [0, 5_000] {
            a.send(DatagramOut { source_port: port, ..datagram(source, to) });
            let own = a.sockets.udp_port(to.contains(':')).unwrap();
            b.next(|input| {
                let SignalInput::Datagram(d) = input else { panic!("{input:?}") };
                let from = SocketAddr::new(source.parse().unwrap(), if port == 0 { own } else { port });
                assert_eq!((d.source, d.destination.ip()), (from, to.parse::<IpAddr>().unwrap()));
                assert_eq!((d.ttl, d.router_alert, d.payload), (Some(9), Some(7), &b"query"[..]));
                assert!(d.interface > 0);
            });
        }
    }
    let counters = a.sockets.counters();
    assert_eq!((counters.sent_without_router_alert, counters.sent_without_flow_label), (0, 0), "{counters:?}");
}

#[test]
fn paths_follow_the_routes_and_a_missing_one_is_told() {
    if !is_inside("paths_follow_the_routes_and_a_missing_one_is_told") {
        return;
    }
    network();
    let paths = SystemPaths::new(Some(OWN_MARK));
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    for (own, near, far, gateway, none) in [
        ("192.0.2.1", "192.0.2.9", "198.51.100.1", "192.0.2.254", "203.0.113.1"),
        ("2001:db8::1", "2001:db8::9", "2001:db8:1::1", "2001:db8::fe", "2001:db8:dead::1"),
    ] {
        assert!(paths.is_local(address(own)) && !paths.is_local(address(near)));
        assert_eq!(paths.source_for(address(far)), Some(address(own)));
        let route = |via| Some(Route { interface: "net0".to_owned(), via });
        assert_eq!(paths.route_to(address(far)), route(Some(address(gateway))));
        assert_eq!(paths.route_to(address(near)), route(None));
        assert_eq!((paths.source_for(address(none)), paths.route_to(address(none))), (None, None));
        let mut side = Side::new(0);
        side.send(datagram(own, none));
        side.next(|input| {
            let SignalInput::Unreachable(u) = input else { panic!("{input:?}") };
            assert_eq!((u.destination.ip(), u.reporter, u.port_closed), (address(none), None, false));
            assert_eq!(u.payload, b"query");
        });
    }
}

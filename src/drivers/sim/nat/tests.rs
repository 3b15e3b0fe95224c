use super::*;
use crate::wire::datagram::{self, IpFields};

const OUTSIDE: &str = "192.0.2.1";

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn seconds(count: u64) -> Instant {
    Instant::START + Duration::from_secs(count)
}

fn datagram(from: &str, to: &str) -> (Vec<u8>, Header) {
    let fields = IpFields { ttl: 64, ..IpFields::default() };
    let bytes = datagram::udp(socket(from), socket(to), fields, b"payload").unwrap();
    let header = Header::parse(&bytes, false).unwrap();
    (bytes, header)
}

/// Ends of a packet whose checksums are right.
fn ends(bytes: &[u8]) -> (SocketAddr, SocketAddr) {
    let header = Header::parse(bytes, false).unwrap();
    let transport = &bytes[usize::from(header.transport_at)..];
    let sum = checksum::pseudo_header(bytes, &header, transport.len());
    assert_eq!(checksum::fold(checksum::add(sum, transport)), 0xffff, "the checksum is right");
    assert_eq!(checksum::fold(checksum::add(0, &bytes[..20])), 0xffff, "that of the header too");
    (endpoint(bytes, &header, End::Source).unwrap(), endpoint(bytes, &header, End::Destination).unwrap())
}

/// Sends outward; answers the outer port.
fn out(nat: &mut Nat, now: Instant, from: &str, to: &str) -> u16 {
    let (mut bytes, header) = datagram(from, to);
    assert_eq!(nat.outward(now, OUTSIDE.parse().unwrap(), &mut bytes, &header), Translated::Done);
    let (source, destination) = ends(&bytes);
    assert_eq!((source.ip().to_string().as_str(), destination), (OUTSIDE, socket(to)));
    source.port()
}

/// Sends inward; to whom it is passed on.
fn into(nat: &mut Nat, now: Instant, from: &str, port: u16) -> Option<SocketAddr> {
    let (mut bytes, header) = datagram(from, &format!("{OUTSIDE}:{port}"));
    match nat.inward(now, OUTSIDE.parse().unwrap(), &mut bytes, &header) {
        Translated::Done => Some(ends(&bytes).1),
        Translated::Refused | Translated::NotMine => None,
    }
}

fn nat(config: NatConfig) -> Nat {
    Nat::new(config, 1)
}

const ALL: [NatDependence; 3] =
    [NatDependence::EndpointIndependent, NatDependence::AddressDependent, NatDependence::AddressAndPortDependent];

#[test]
fn what_a_mapping_depends_on_decides_which_peers_see_one_port() {
    for (mapping, want) in ALL.into_iter().zip([1, 2, 3]) {
        let mut nat = nat(NatConfig { mapping, ..NatConfig::default() });
        let peers = ["198.51.100.1:1", "198.51.100.1:2", "198.51.100.2:1"];
        let ports: BTreeSet<u16> = peers.map(|peer| out(&mut nat, seconds(0), "10.0.0.1:5000", peer)).into();
        assert_eq!((ports.len(), nat.len(seconds(0))), (want, want), "{mapping:?}");
        assert!(ports.contains(&5000), "{mapping:?} keeps the port as long as it is free");
    }
}

#[test]
fn what_a_filter_depends_on_decides_who_may_answer() {
    let peers = ["198.51.100.1:1", "198.51.100.1:2", "198.51.100.2:1"];
    for (filtering, want) in ALL.into_iter().zip([[true, true, true], [true, true, false], [true, false, false]]) {
        let mut nat = nat(NatConfig { filtering, ..NatConfig::default() });
        let port = out(&mut nat, seconds(0), "10.0.0.1:5000", peers[0]);
        let got = peers.map(|peer| into(&mut nat, seconds(0), peer, port).is_some());
        assert_eq!(got, want, "{filtering:?}");
        assert_eq!(into(&mut nat, seconds(0), peers[0], port), Some(socket("10.0.0.1:5000")));
        assert_eq!(into(&mut nat, seconds(0), peers[0], port + 1), None, "nobody has that port");
    }
}

#[test]
fn a_mapping_lives_as_long_as_it_is_used_from_the_side_that_counts() {
    for refreshed_from_outside in [false, true] {
        let udp_timeout = Duration::from_secs(30);
        let mut nat = nat(NatConfig { udp_timeout, refreshed_from_outside, ..NatConfig::default() });
        let peer = "198.51.100.1:1";
        let port = out(&mut nat, seconds(0), "10.0.0.1:5000", peer);
        assert!(into(&mut nat, seconds(20), peer, port).is_some());
        assert_eq!(into(&mut nat, seconds(40), peer, port).is_some(), refreshed_from_outside);
        assert_eq!(nat.len(seconds(100)), 0);
    }
}

#[test]
fn ports_are_kept_or_not_and_never_given_twice() {
    let peer = "198.51.100.1:1";
    let mut keeping = nat(NatConfig::default());
    let ports = ["10.0.0.1:5000", "10.0.0.2:5000"].map(|inner| out(&mut keeping, seconds(0), inner, peer));
    assert!(ports[0] == 5000 && ports[1] != 5000);
    let mut other = nat(NatConfig { keeps_ports: false, ..NatConfig::default() });
    assert_ne!(out(&mut other, seconds(0), "10.0.0.1:5000", peer), 5000);
}

#[test]
fn a_full_table_gives_up_the_mapping_that_was_not_used_for_longest() {
    let mut nat = nat(NatConfig { mappings_max: 2, ..NatConfig::default() });
    let peer = "198.51.100.1:1";
    for (at, inner) in [(0, "10.0.0.1:1001"), (1, "10.0.0.1:1002"), (2, "10.0.0.1:1001"), (3, "10.0.0.1:1003")] {
        out(&mut nat, seconds(at), inner, peer);
    }
    let alive = [1001, 1002, 1003].map(|port| into(&mut nat, seconds(3), peer, port).is_some());
    assert_eq!((alive, nat.len(seconds(3))), ([true, false, true], 2));
}

#[test]
fn those_inside_reach_each_other_by_their_outer_addresses_if_the_box_lets_them() {
    for hairpins in [true, false] {
        let mut nat =
            nat(NatConfig { hairpins, filtering: NatDependence::EndpointIndependent, ..NatConfig::default() });
        let port = out(&mut nat, seconds(0), "10.0.0.2:6000", "198.51.100.1:1");
        let (mut bytes, header) = datagram("10.0.0.1:5000", &format!("{OUTSIDE}:{port}"));
        let outcome = nat.hairpin(seconds(0), OUTSIDE.parse().unwrap(), &mut bytes, &header);
        if hairpins {
            assert_eq!(outcome, Translated::Done);
            assert_eq!(ends(&bytes), (socket("192.0.2.1:5000"), socket("10.0.0.2:6000")));
        } else {
            assert_eq!(outcome, Translated::Refused);
        }
    }
}

#[test]
fn errors_find_the_one_inside_whose_packet_they_quote() {
    use crate::drivers::sim::icmp::{self, Problem};
    let mut nat = nat(NatConfig::default());
    let outside: IpAddr = OUTSIDE.parse().unwrap();
    let (mut sent, header) = datagram("10.0.0.1:5000", "198.51.100.1:1");
    nat.outward(seconds(0), outside, &mut sent, &header);
    let header = Header::parse(&sent, false).unwrap();
    let mut error = icmp::error(&sent, &header, Problem::PortClosed, "198.51.100.1".parse().unwrap()).unwrap();
    let header = Header::parse(&error, false).unwrap();
    assert_eq!(nat.inward(seconds(0), outside, &mut error, &header), Translated::Done);
    let header = Header::parse(&error, false).unwrap();
    let body = &error[usize::from(header.transport_at)..];
    assert_eq!(checksum::fold(checksum::add(0, body)), 0xffff);
    assert_eq!(address_of(header.destination, 4).to_string(), "10.0.0.1");
    assert_eq!(icmp::report(&error, &header).unwrap().source, socket("10.0.0.1:5000"));
}

#[test]
fn echoes_come_back_to_the_one_who_asked() {
    use crate::drivers::sim::icmp;
    let mut nat = nat(NatConfig::default());
    let outside: IpAddr = OUTSIDE.parse().unwrap();
    let peer: IpAddr = "198.51.100.1".parse().unwrap();
    for inner in ["10.0.0.1", "10.0.0.2"] {
        let mut request = icmp::echo_request(inner.parse().unwrap(), peer, 7, 1, b"abc").unwrap();
        let header = Header::parse(&request, false).unwrap();
        assert_eq!(nat.outward(seconds(0), outside, &mut request, &header), Translated::Done);
        let header = Header::parse(&request, false).unwrap();
        let mut reply = icmp::echo_reply(&request, &header).unwrap();
        let header = Header::parse(&reply, false).unwrap();
        assert_eq!(nat.inward(seconds(0), outside, &mut reply, &header), Translated::Done);
        let header = Header::parse(&reply, false).unwrap();
        assert_eq!(address_of(header.destination, 4).to_string(), inner);
        assert_eq!(checksum::fold(checksum::add(0, &reply[20..])), 0xffff);
    }
}

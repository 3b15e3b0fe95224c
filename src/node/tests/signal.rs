//! Signalling messages in passing traffic, as IP packets.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::*;
use crate::controller::api::ControllerConfig;
use crate::signaling::SignalingConfig;
use crate::signaling::gist::GistConfig;
use crate::signaling::io::{Paths, Route};
use crate::signaling::nslp::NslpConfig;
use crate::wire::checksum;
use crate::wire::datagram::{IpFields, udp};
use crate::wire::gist::header::{MAGIC, MessageType, NslpId, PORT};
use crate::wire::gist::message::Message;
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::{Cookie, Nli, PeerIdentity, Sid};
use crate::wire::header::Header;
use crate::wire::nslp::request::NodeId;
use crate::wire::router_alert;

/// A router with addresses of its own that no test packet has.
struct Router;

impl Paths for Router {
    fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        Some(if destination.is_ipv4() { "10.0.9.9" } else { "fd00::99" }.parse().unwrap())
    }

    fn is_local(&self, address: IpAddr) -> bool {
        Some(address) == self.source_for(address)
    }

    fn route_to(&self, _: IpAddr) -> Option<Route> {
        None
    }
}

impl Machine for Router {
    fn memory_free_bytes(&self) -> u64 {
        1 << 30
    }

    fn load_percent(&self) -> u32 {
        0
    }

    fn addresses(&self) -> Vec<IpAddr> {
        Vec::new()
    }
}

fn signalling_node() -> Node {
    let id = NodeId([1; 16]);
    let mut node = node(LinkKind::Tun);
    let here = Rc::new(Router);
    let signaling = SignalingConfig {
        gist: GistConfig { identity: PeerIdentity(id.0.to_vec()), secret: [1; 32], ..GistConfig::default() },
        nslp: NslpConfig::new(id),
        secret: [2; 32],
        paths: here.clone(),
    };
    let controller = ControllerConfig::new(id);
    let setup = SignalSetup { signaling, controller, machine: here, name: "r1".to_owned(), intercepts: true };
    node.enable_signaling(Instant::START, setup, Vec::new());
    node
}

/// A Query of an application that this node does not host, and its ends.
fn foreign_query(from: &str, to: &str) -> (SocketAddr, SocketAddr, Vec<u8>) {
    let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let mut query = Message::new(MessageType::Query, NslpId(32_750));
    query.mri = Some(Mri::flow(from, to));
    query.sid = Some(Sid([3; 16]));
    let peer_identity = PeerIdentity(vec![7; 16]);
    query.nli = Some(Nli { peer_identity, ip_ttl: 64, validity_ms: 30_000, address: from });
    query.query_cookie = Some(Cookie(vec![5; 8]));
    let payload = [&MAGIC[..], &query.encode()].concat();
    ((from, PORT).into(), (to, PORT).into(), payload)
}

fn is_whole(bytes: &[u8], header: &Header) -> bool {
    let transport = &bytes[usize::from(header.transport_at)..];
    let sum = checksum::pseudo_header(bytes, header, transport.len());
    let ip =
        header.ip_version == 6 || checksum::fold(checksum::add(0, &bytes[..usize::from(bytes[0] & 15) * 4])) == 0xffff;
    ip && checksum::fold(checksum::add(sum, transport)) == 0xffff
}

#[test]
fn a_query_that_passes_loses_a_gist_hop_and_what_any_packet_loses_and_nothing_else() {
    for (from, to) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let (from, to, payload) = foreign_query(from, to);
        for router_alert in [Some(65_503), None] {
            let fields = IpFields { ttl: 63, router_alert, ..IpFields::default() };
            let bytes = udp(from, to, fields, &payload).unwrap();
            let (decision, out) = feed(&mut signalling_node(), &bytes);
            assert_eq!(decision, Decision::Forward(LinkId(0)));
            // The machine took a hop on the way to the node, and takes another one behind it; only one counts.
            let mut relayed = payload.clone();
            relayed[5] -= 1;
            assert_eq!(out, udp(from, to, IpFields { ttl: 64, ..fields }, &relayed).unwrap());
            let header = Header::parse(&out, false).unwrap();
            assert!(is_whole(&out, &header));
            assert_eq!(router_alert::find(&out, &header), router_alert);
        }
    }
}

#[test]
fn a_query_on_its_last_gist_hop_is_not_forwarded() {
    let (from, to, mut payload) = foreign_query("10.0.0.1", "10.0.0.2");
    payload[5] = 1;
    let bytes = udp(from, to, IpFields { ttl: 63, ..IpFields::default() }, &payload).unwrap();
    assert!(matches!(feed(&mut signalling_node(), &bytes).0, Decision::Drop(_)));
}

#[test]
fn a_packet_with_router_alert_that_is_not_q_mode_passes_as_any_other() {
    let (from, to, payload) = foreign_query("10.0.0.1", "10.0.0.2");
    let fields = IpFields { ttl: 63, router_alert: Some(65_503), ..IpFields::default() };
    let packet = |to, payload: &[u8]| udp(from, to, fields, payload).unwrap();
    let other_port = packet((to.ip(), 271).into(), &payload);
    let no_magic = packet(to, &payload[1..]);
    let mut not_udp = packet(to, &payload);
    // ESP and IP in IP: what is inside is nobody's business here.
    let tunnelled = [50, 4].map(|protocol| {
        not_udp[9] = protocol;
        not_udp[10..12].copy_from_slice(&[0, 0]);
        let sum = !checksum::fold(checksum::add(0, &not_udp[..24]));
        not_udp[10..12].copy_from_slice(&sum.to_be_bytes());
        not_udp.clone()
    });
    for bytes in [&[other_port, no_magic][..], &tunnelled].concat() {
        let (decision, out) = feed(&mut signalling_node(), &bytes);
        assert_eq!(decision, Decision::Forward(LinkId(0)));
        assert_eq!((out[8], &out[12..]), (64, &bytes[12..]));
    }
}

#[test]
fn a_query_behind_an_authentication_header_is_not_taken_out() {
    for (from, to) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let (from, to, payload) = foreign_query(from, to);
        let plain = udp(from, to, IpFields { ttl: 63, ..IpFields::default() }, &payload).unwrap();
        let is_v6 = from.is_ipv6();
        let at = if is_v6 { 40 } else { 20 };
        let extended = |number: u8, extension: &[u8]| {
            let mut bytes = [&plain[..at], extension, &plain[at..]].concat();
            let len = (bytes.len() - if is_v6 { 40 } else { 0 }) as u16;
            let (next_at, len_at) = if is_v6 { (6, 4) } else { (9, 2) };
            bytes[next_at] = number;
            bytes[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
            if !is_v6 {
                bytes[10..12].copy_from_slice(&[0, 0]);
                let sum = !checksum::fold(checksum::add(0, &bytes[..at]));
                bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            bytes
        };
        let hops_after = |bytes: &[u8], extension_len: usize| {
            let (decision, out) = feed(&mut signalling_node(), bytes);
            assert_eq!(decision, Decision::Forward(LinkId(0)));
            out[at + extension_len + 8 + 5]
        };
        let authentication = extended(51, &[17, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        assert_eq!(Header::parse(&authentication, false).unwrap().ports, Some((PORT, PORT)));
        assert_eq!(hops_after(&authentication, 24), payload[5]);
        if is_v6 {
            // Destination options are allowed.
            let options = extended(60, &[17, 0, 1, 4, 0, 0, 0, 0]);
            assert_eq!(hops_after(&options, 8), payload[5] - 1);
        }
    }
}

/// Loads a module that probes and logs what comes of it.
fn probing(node: &mut Node, manifest: &str) -> Vec<String> {
    let code = "local signal = require('@netserv/signal')
                function M.run(ctx)
                  local ok, path = pcall(signal.probe, { to = '10.0.0.2', transport = 'udp', asks = { 'system' } })
                  if ok then
                    ctx:log('info', `{path.complete} {#path.nodes} {path.problem ~= nil}`)
                  else
                    ctx:log('info', path)
                  end
                end";
    let module = crate::node::tests::modules::module("prober", manifest, code);
    let command = Command::Load { module, name: None, properties: toml::Table::new(), grant: None };
    let mut now = Instant::START;
    node.handle(now, Input::Command(1, command));
    let mut lines = Vec::new();
    loop {
        match node.poll() {
            Output::Event(Event::Log { text, .. }) => lines.push(text),
            Output::Errand(Errand::Socket(crate::signaling::io::SocketOutput::Datagram(datagram))) => {
                let sent = format!("to {}", datagram.destination);
                if lines.last() != Some(&sent) {
                    lines.push(sent);
                }
            }
            Output::Idle { deadline: Some((at, _)) } if at < Instant::START + Duration::from_secs(120) => {
                now = now.max(at);
                node.handle(now, Input::Wakeup);
            }
            Output::Idle { .. } => return lines,
            Output::Transmit { .. }
            | Output::Steer(_)
            | Output::Answer(..)
            | Output::Event(_)
            | Output::Errand(_)
            | Output::Net(_) => {}
        }
    }
}

#[test]
fn a_module_signals_with_the_nodes_key_and_hears_what_came_of_it() {
    let permission = "[permissions]\nsignal = true\n";
    let mut node = signalling_node();
    node.set_signing_key(crate::base::crypto::SigningKey::from_seed(&[7; 32]));
    let lines = probing(&mut node, permission);
    assert_eq!(lines, ["to 10.0.0.2:270", "false 0 true"]);
}

#[test]
fn why_a_module_cannot_signal_is_told() {
    let permission = "[permissions]\nsignal = true\n";
    let lines = probing(&mut node(LinkKind::Tun), permission);
    assert!(lines[0].contains("signalling is switched off on this node; its owner switches it on"), "{lines:?}");
    let lines = probing(&mut signalling_node(), "");
    assert!(lines[0].contains("module.toml does not say signal = true under [permissions]"), "{lines:?}");
}

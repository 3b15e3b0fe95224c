mod budgets;
mod machine;
mod modules;
mod services;
mod signal;
mod updates;

use etherparse::PacketBuilder;

use super::*;
use crate::base::packet::{Offload, PacketMut};

fn config() -> NodeConfig {
    NodeConfig {
        flows_max: 100,
        capture: vec![Filter { protocol: Some(17), ..Filter::default() }],
        seed: 7,
        wall: WallTime::default(),
        cpu: CpuGuard::Safepoints,
    }
}

fn node(kind: LinkKind) -> Node {
    let mut node = Node::new(config());
    node.add_link(LinkConfig { name: "link0".to_owned(), kind });
    node
}

fn udp4(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 63).udp(1000, 2000).write(&mut bytes, payload).unwrap();
    bytes
}

/// Feeds a packet and returns the decision and what the driver's buffer then holds.
fn feed(node: &mut Node, bytes: &[u8]) -> (Decision, Vec<u8>) {
    let mut room = bytes.to_vec();
    let mut packet = PacketMut::new(&mut room, bytes.len(), Offload::default());
    let decision = node.packet(Instant::START, LinkId(0), &mut packet);
    (decision, packet.bytes().to_vec())
}

#[test]
fn says_first_what_to_capture_and_then_that_it_is_idle() {
    let mut node = node(LinkKind::Tun);
    assert!(matches!(node.poll(), Output::Steer(filters) if filters == config().capture));
    assert!(matches!(node.poll(), Output::Idle { deadline: None }));
}

#[test]
fn a_tun_gets_its_packet_back_with_the_hop_that_the_detour_took() {
    let mut node = node(LinkKind::Tun);
    let (decision, out) = feed(&mut node, &udp4(b"hello"));
    assert_eq!(decision, Decision::Forward(LinkId(0)));
    let mut want = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(1000, 2000).write(&mut want, b"hello").unwrap();
    assert_eq!(out, want);
}

#[test]
fn an_inline_packet_leaves_unchanged_by_the_other_link() {
    let mut node = node(LinkKind::Inline { to: LinkId(1) });
    node.add_link(LinkConfig { name: "link1".to_owned(), kind: LinkKind::Inline { to: LinkId(0) } });
    let bytes = udp4(b"hello");
    assert_eq!(feed(&mut node, &bytes), (Decision::Forward(LinkId(1)), bytes));
    let stats: Vec<LinkStats> = node.links().map(|(_, stats)| stats).collect();
    assert_eq!((stats[0].packets_in, stats[0].packets_out), (1, 0));
    assert_eq!((stats[1].packets_in, stats[1].packets_out, stats[1].bytes_out), (0, 1, 33));
}

#[test]
fn malformed_packets_are_dropped_and_counted_by_reason() {
    let mut node = node(LinkKind::Tun);
    assert_eq!(feed(&mut node, &[0x10; 40]).0, Decision::Drop(DropReason::NotIp));
    assert_eq!(feed(&mut node, &udp4(b"x")[..20]).0, Decision::Drop(DropReason::IpLength));
    let counted: Vec<_> = node.drops().iter().collect();
    assert_eq!(counted, [(DropReason::NotIp, 1), (DropReason::IpLength, 1)]);
    assert_eq!(node.flow_counts(), (0, 0));
}

#[test]
fn a_super_packet_counts_as_its_segments_with_their_headers() {
    let mut node = node(LinkKind::Tun);
    let mut bytes = udp4(&[0; 1000]);
    let len = bytes.len();
    let offload = Offload { gso_type: Offload::UDP_SEGMENT, segment_bytes: 300, ..Offload::default() };
    let mut packet = PacketMut::new(&mut bytes, len, offload);
    assert_eq!(node.packet(Instant::START, LinkId(0), &mut packet), Decision::Forward(LinkId(0)));
    let (_, stats) = node.links().next().unwrap();
    assert_eq!((stats.reads, stats.packets_in, stats.bytes_in), (1, 4, 1000 + 4 * 28));
}

#[test]
fn forgets_silent_flows_and_then_needs_no_more_wakeups() {
    let mut node = node(LinkKind::Tun);
    node.poll();
    let _ = feed(&mut node, &udp4(b"x"));
    let mut wakeups = 0;
    while let Output::Idle { deadline: Some((at, _)) } = node.poll() {
        node.handle(at, Input::Wakeup);
        wakeups += 1;
        assert!(wakeups < 1_000, "a node without flows must sleep");
    }
    assert_eq!(node.flow_counts(), (0, 0));
}

#[test]
fn an_order_for_an_unknown_instance_is_answered_by_name() {
    let mut node = node(LinkKind::Tun);
    node.poll();
    node.handle(Instant::START, Input::Command(9, Command::Unload { name: "ghost".to_owned() }));
    let Output::Answer(9, Err(error)) = node.poll() else { panic!("an answer was expected") };
    assert!(error.to_string().contains("\"ghost\""));
}

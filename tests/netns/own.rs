//! The node on a host that forwards for nobody: its own traffic, and traffic to it.

use crate::world::{World, can_run, must_be_as_before};

#[test]
fn all_kinds_of_own_traffic_pass_the_node_both_ways() {
    if !can_run() {
        return;
    }
    let mut world = World::line();
    world.serve("b");
    let before = world.snapshot("a");
    let node = world.node("a", "--link tun --own --capture all");
    let moved = world.everything("a", "10.2.0.2", "fd00:2::2", 20);
    let bytes = node.bytes_in();
    assert!(bytes > moved, "{moved} bytes of payload were moved both ways, the node saw {bytes}");
    // What concerns this host alone, and its neighbours, works as ever.
    for to in ["127.0.0.1", "10.1.0.2", "10.1.0.1", "::1", "fd00:1::2", "fd00:1::1"] {
        assert_eq!(world.ping("a", to, 2, ""), 0, "{to}");
    }
    let link_local = world.sh("r", "ip -6 -o addr show dev ra scope link | awk '{print $4}' | cut -d/ -f1");
    assert_eq!(world.ping("a", &format!("{}%a0", link_local.trim()), 2, ""), 0);
    node.stop();
    must_be_as_before(&world, "a", &before);
}

#[test]
fn a_host_that_captures_its_own_traffic_becomes_no_router() {
    if !can_run() {
        return;
    }
    let world = World::line();
    // r sends something through a that is not for a.
    world.sh("r", "ip route add 192.0.2.0/24 via 10.1.0.2; ip -6 route add 2001:db8::/64 via fd00:1::2");
    world.link("a", "a1", "b", "b1");
    world.sh("a", "ip addr add 192.0.2.1/24 dev a1; ip addr add 2001:db8::1/64 dev a1");
    // Packets for these would leave without a question for their owner.
    let mac = world.sh("b", "cat /sys/class/net/b1/address");
    for to in ["192.0.2.77", "2001:db8::77"] {
        world.sh("a", &format!("ip neigh add {to} lladdr {} dev a1", mac.trim()));
    }
    let node = world.node("a", "--link tun --own --capture all");
    let file = world.capture("b", "b1", "passed-on.pcap", || {
        assert_eq!(world.ping("r", "192.0.2.77", 3, ""), 3);
        assert_eq!(world.ping("r", "2001:db8::77", 3, ""), 3);
        // What the host sends itself does leave.
        world.ping("a", "192.0.2.77", 1, "");
    });
    let passed = world.tshark(&file, "icmp.type == 8 || icmpv6.type == 128");
    assert_eq!(passed.len(), 1, "only its own: {passed:#?}");
    node.stop();
}

#[test]
fn traffic_to_this_machine_passes_the_node_when_asked_for() {
    if !can_run() {
        return;
    }
    let mut world = World::line();
    world.serve("r");
    let before = world.snapshot("r");
    let node =
        world.node("r", "--link tun --to-self --own --capture 'tcp' --capture 'udp' --capture icmp --capture icmpv6");
    let moved = world.everything("a", "10.1.0.1", "fd00:1::1", 5);
    // Also by the address of the other side.
    for (host, url) in [("10.2.0.1", "10.2.0.1"), ("fd00:2::1", "[fd00:2::1]")] {
        assert_eq!(world.ping("a", host, 3, ""), 0, "{host}");
        world.download("a", url, 5);
    }
    assert!(node.bytes_in() > moved, "{:#}", node.status());
    node.stop();
    must_be_as_before(&world, "r", &before);
}

#[test]
fn established_connections_survive_the_coming_and_going_of_filters() {
    if !can_run() {
        return;
    }
    let mut world = World::line();
    world.serve("b");
    let node = world.node("a", "--link tun --own --capture icmp");
    let mut transfer = world.command("a", "iperf3 -J -c 10.2.0.2 -t 4 >transfer.json").spawn().unwrap();
    for _ in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let loaded = node.load("modules/monitor");
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        std::thread::sleep(std::time::Duration::from_millis(500));
        node.unload("monitor");
    }
    assert!(transfer.wait().unwrap().success());
    assert_eq!(world.ping("a", "10.2.0.2", 5, ""), 0);
    node.stop();
}

#[test]
fn neighbours_are_found_anew_while_everything_is_captured() {
    if !can_run() {
        return;
    }
    let world = World::line();
    for (ns, arguments) in [("a", "--own --to-self"), ("r", "--own --to-self --forwarded")] {
        let node = world.node(ns, &format!("--link tun {arguments} --capture all"));
        for to in ["10.2.0.2", "fd00:2::2"] {
            for host in ["a", "r", "b"] {
                world.sh(host, "ip neigh flush all");
            }
            assert_eq!(world.ping("a", to, 3, ""), 0, "{to}, the node on {ns}");
        }
        assert!(node.packets_in() >= 12);
        node.stop();
    }
}

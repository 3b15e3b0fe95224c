//! The way looks to others as if the node were not there: hops, sizes, fragments, and changes of the machine.

use crate::world::{World, can_run, must_be_as_before, until};

/// The TTL or hop limit with which an echo arrives, as ping says; or who says that it ran out.
fn echo(world: &World, ns: &str, to: &str, ttl: u32) -> String {
    let output = world.try_sh(ns, &format!("ping -n -c 1 -W 2 -t {ttl} {to}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let word = |key: &str| text.split(key).nth(1).and_then(|t| t.split([' ', '\n']).next()).map(str::to_owned);
    let from = word("From ").map(|who| format!("exceeded at {who}"));
    from.or_else(|| word("ttl=").map(|ttl| format!("ttl {ttl}"))).unwrap_or_else(|| "nothing".to_owned())
}

#[test]
fn the_node_adds_no_hop() {
    if !can_run() {
        return;
    }
    let world = World::line();
    let all = || {
        let mut seen = Vec::new();
        for (ns, to) in [("a", "10.2.0.2"), ("a", "fd00:2::2"), ("b", "10.1.0.2"), ("b", "fd00:1::2")] {
            for ttl in [1, 2, 3, 64] {
                // A packet with its last hop for a machine that captures what comes to it: see below.
                if ns == "a" || ttl != 2 {
                    seen.push(format!("{ns} to {to} with {ttl}: {}", echo(&world, ns, to, ttl)));
                }
            }
        }
        seen
    };
    let before = all();
    assert!(before[0].contains("exceeded at 10.1.0.1") && before[1].contains("ttl 63"), "{before:#?}");
    let node = world.node("r", "--link tun --forwarded --capture all");
    assert_eq!(all(), before, "forwarded");
    node.stop();
    let node = world.node("a", "--link tun --own --capture all");
    assert_eq!(all(), before, "own");
    // The one known difference: the kernel forwards what is captured on its way to this machine, and forwards nothing
    // that has no hop left.
    assert_eq!(echo(&world, "b", "10.1.0.2", 2), "exceeded at 10.1.0.2");
    node.stop();
}

#[test]
fn too_big_packets_are_answered_with_the_true_size() {
    if !can_run() {
        return;
    }
    let mut world = World::line();
    world.serve("b");
    world.sh("r", "ip link set rb mtu 1300");
    world.sh("b", "ip link set b0 mtu 1300");
    for (ns, arguments) in [("r", "--forwarded"), ("a", "--own")] {
        let node = world.node(ns, &format!("--link tun {arguments} --capture all"));
        world.sh("a", "ip route flush cache; ip -6 route flush cache");
        let v4 = world.try_sh("a", "ping -n -c 2 -i 0.2 -W 1 -M do -s 1400 10.2.0.2");
        let text = String::from_utf8_lossy(&[v4.stdout, v4.stderr].concat()).into_owned();
        assert!(text.contains("mtu=1300") || text.contains("mtu = 1300"), "{ns}: {text}");
        world.try_sh("a", "ping -n -c 2 -i 0.2 -W 1 -M do -s 1400 fd00:2::2");
        let route = world.sh("a", "ip -6 route get fd00:2::2");
        assert!(route.contains("mtu 1300"), "{ns}: {route}");
        // TCP finds its size by the same answers.
        world.iperf("a", "10.2.0.2", "-n 2M");
        world.iperf("a", "fd00:2::2", "-n 2M");
        world.iperf("a", "10.2.0.2", "-R -n 2M");
        node.stop();
    }
}

#[test]
fn fragments_arrive_whole_whether_or_not_they_are_steered() {
    if !can_run() {
        return;
    }
    let mut world = World::line();
    world.serve("b");
    for (ns, arguments) in [("r", "--forwarded"), ("a", "--own")] {
        for capture in ["udp", "udp port 7000"] {
            let node = world.node(ns, &format!("--link tun {arguments} --capture '{capture}'"));
            for host in ["10.2.0.2", "fd00:2::2"] {
                let answers = world.ask("a", host, 7000, &["@4096", "@20480", "@256"]);
                assert_eq!(answers, ["True", "True", "True"], "{capture} to {host} on {ns}");
            }
            assert_eq!(world.ping("a", "10.2.0.2", 2, "-s 5000"), 0);
            let seen = node.packets_in();
            // A rule with ports fits no fragment, not even the first.
            let fewest = if capture == "udp" { 60 } else { 4 };
            assert!(seen >= fewest, "{capture} on {ns}: {seen}");
            node.stop();
        }
    }
}

#[test]
fn own_traffic_follows_changes_of_addresses_and_routes() {
    if !can_run() {
        return;
    }
    let world = World::line();
    let before = world.snapshot("a");
    let node = world.node("a", "--link tun --own --capture icmp --capture icmpv6");
    let source = |to: &str| {
        let text = world.sh("a", &format!("ip route get {to}"));
        text.split(" src ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    };
    assert_eq!(source("10.2.0.2"), "10.1.0.2");
    // A second way: another address, another router's address.
    world.link("a", "a1", "r", "ra1");
    world.sh("a", "ip addr add 10.9.0.2/24 dev a1");
    world.sh("r", "ip addr add 10.9.0.1/24 dev ra1");
    world.sh("a", "ip route replace default via 10.9.0.1");
    until("the new source is used", || source("10.2.0.2") == "10.9.0.2");
    let seen = node.packets_in();
    assert_eq!(world.ping("a", "10.2.0.2", 3, ""), 0);
    assert!(node.packets_in() >= seen + 6);
    world.sh("a", "ip route replace default via 10.1.0.1; ip link del a1");
    until("the old source is used again", || source("10.2.0.2") == "10.1.0.2");
    assert_eq!(world.ping("a", "10.2.0.2", 3, ""), 0);
    // Somebody flushes all rules that are not the kernel's own.
    world.sh("a", "ip rule flush; ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default");
    until("the rules are back", || {
        let seen = node.packets_in();
        world.ping("a", "10.2.0.2", 2, "") == 0 && node.packets_in() >= seen + 4
    });
    node.stop();
    let rules = |text: &str| text.lines().filter(|line| line.contains("lookup")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(rules(&world.snapshot("a")), rules(&before));
}

#[test]
fn rules_of_the_machine_still_hold_for_steered_traffic() {
    if !can_run() {
        return;
    }
    let world = World::line();
    // What comes from a's second address goes nowhere by a rule of the machine.
    world.sh("a", "ip addr add 10.1.0.3/24 dev a0");
    world.sh("r", "ip rule add pref 200 from 10.1.0.3 to 10.2.0.0/24 prohibit");
    let before = world.snapshot("r");
    let node = world.node("r", "--link tun --capture icmp");
    assert_eq!(world.ping("a", "10.2.0.2", 3, "-I 10.1.0.2"), 0);
    assert_eq!(world.ping("a", "10.2.0.2", 3, "-I 10.1.0.3"), 3, "the rule holds");
    assert!(node.packets_in() >= 9);
    node.stop();
    must_be_as_before(&world, "r", &before);
}

#[test]
fn many_filters_become_few_rules_that_miss_nothing() {
    if !can_run() {
        return;
    }
    let world = World::line();
    let filters: String =
        (0..2_000).map(|i| format!(", \"icmp from 10.1.{}.{} to 10.2.0.2 and back\"", i / 250, i % 250)).collect();
    let file = world.dir.join("many.toml");
    std::fs::write(
        &file,
        format!(
            "state = {:?}\ncontrol = {:?}\ncapture = [{}]\n",
            world.dir.join("state-r"),
            world.dir.join("r.sock"),
            filters.trim_start_matches(", ")
        ),
    )
    .unwrap();
    let before = world.snapshot("r");
    let node = world.node_with("r", &file, "--link tun --forwarded");
    let steering = node.status()["steering"].clone();
    assert!(steering["rules"].as_u64().unwrap() < 600, "{steering}");
    assert!(steering["notes"].to_string().contains("wider"), "{steering}");
    assert_eq!(world.ping("a", "10.2.0.2", 3, ""), 0);
    assert_eq!(node.packets_in(), 6);
    node.stop();
    must_be_as_before(&world, "r", &before);
}

#[test]
fn strict_reverse_path_checks_drop_nothing() {
    if !can_run() {
        return;
    }
    let mut world = World::line();
    world.serve("b");
    let filters = ["udp port 7000", "udp to 10.2.0.2 port 7000", "udp from 10.2.0.2 port 7000"];
    for strict in ["a0.rp_filter=1 net.ipv4.conf.ra.rp_filter=1 net.ipv4.conf.rb.rp_filter=1", "all.rp_filter=1"] {
        for ns in ["a", "r"] {
            world.try_sh(ns, &format!("sysctl -qw net.ipv4.conf.{strict}"));
        }
        for (ns, arguments) in [("r", "--forwarded"), ("a", "--own")] {
            for filter in filters {
                let node = world.node(ns, &format!("--link tun {arguments} --capture '{filter}'"));
                assert_eq!(world.ask("a", "10.2.0.2", 7000, &["one", "two"]), ["one", "two"], "{filter} on {ns}");
                // Both directions: with one alone, the interface drops the other.
                assert!(node.packets_in() >= 4, "{filter} on {ns}");
                let notes = node.status()["steering"]["notes"].to_string();
                assert_eq!(notes.contains("rp_filter"), filter != filters[0], "{notes}");
                node.stop();
            }
        }
    }
}

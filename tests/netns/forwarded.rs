//! The node on a router, between others.

use std::fs;

use crate::traffic::WRONG_CHECKSUM;
use crate::world::{World, can_run, must_be_as_before};

#[test]
fn all_kinds_of_forwarded_traffic_pass_the_node() {
    if !can_run() {
        return;
    }
    let mut world = World::line();
    world.serve("b");
    let before = world.snapshot("r");
    let node = world.node("r", "--link tun --forwarded --capture all");
    let moved = world.everything("a", "10.2.0.2", "fd00:2::2", 100);
    let bytes = node.bytes_in();
    assert!(bytes > moved, "{moved} bytes of payload were moved, the node saw {bytes}");
    let status = node.status();
    assert_eq!(status["drops"].as_array().unwrap().len(), 0, "{status:#}");
    node.stop();
    must_be_as_before(&world, "r", &before);
}

#[test]
fn traffic_that_no_filter_names_never_reaches_the_node() {
    if !can_run() {
        return;
    }
    let mut world = World::line();
    world.serve("b");
    let node = world.node("r", "--link tun --capture 'udp port 7001'");
    world.everything("a", "10.2.0.2", "fd00:2::2", 5);
    assert_eq!(world.ping("r", "10.2.0.2", 3, ""), 0);
    assert_eq!(world.ping("r", "fd00:1::2", 3, ""), 0);
    assert_eq!(node.packets_in(), 0, "{:#}", node.status());
    // And what one names does: three datagrams and their answers, of each family.
    for host in ["10.2.0.2", "fd00:2::2"] {
        world.ask("a", host, 7001, &["1", "2", "3"]);
    }
    assert_eq!(node.packets_in(), 12, "{:#}", node.status());
    node.stop();
}

#[test]
fn uppercase_changes_exactly_the_payloads_meant_while_it_is_loaded() {
    if !can_run() {
        return;
    }
    let mut world = World::line();
    world.serve("b");
    for (ns, interface) in [("a", "a0"), ("b", "b0")] {
        world.sh(ns, &format!("ethtool -K {interface} tx off >/dev/null"));
    }
    fs::write(world.dir.join("page.txt"), "all about netserv and NetServ\n").unwrap();
    let before = world.snapshot("r");
    let node = world.node("r", "--link tun");
    assert_eq!(world.ask("a", "10.2.0.2", 7000, &["hello netserv"]), ["hello netserv"]);
    let loaded = node.load("modules/uppercase,ports=7000;8000");
    let loaded = if loaded.status.success() { loaded } else { node.load("modules/uppercase") };
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));

    let file = world.capture("b", "b0", "uppercase.pcap", || {
        for (host, url) in [("10.2.0.2", "10.2.0.2"), ("fd00:2::2", "[fd00:2::2]")] {
            let answers = world.ask("a", host, 7000, &["hello netserv", "hello world", "netserv netserv"]);
            assert_eq!(answers, ["hello NETSERV", "hello world", "NETSERV NETSERV"], "{host}");
            assert_eq!(world.fetch("a", url, "page.txt"), "all about NETSERV and NetServ\n", "{host}");
        }
    });
    assert!(world.tshark(&file, "udp").len() >= 12, "the capture holds the traffic");
    assert_eq!(world.tshark(&file, WRONG_CHECKSUM), Vec::<String>::new());
    let seen = node.packets_in();
    assert!(seen >= 12, "{seen}");

    node.unload("uppercase");
    for host in ["10.2.0.2", "fd00:2::2"] {
        assert_eq!(world.ask("a", host, 7000, &["hello netserv"]), ["hello netserv"], "{host}");
    }
    assert_eq!(world.fetch("a", "10.2.0.2", "page.txt"), "all about netserv and NetServ\n");
    assert_eq!(node.packets_in(), seen, "nothing is steered without a module");
    node.stop();
    must_be_as_before(&world, "r", &before);
}

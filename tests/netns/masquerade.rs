//! A router that translates addresses goes on doing so.

use crate::world::{World, can_run, must_be_as_before};

const NFT: &str = r#"nft -f - <<END
table ip nat {
  chain post {
    type nat hook postrouting priority srcnat
    oifname "rb" masquerade
  }
}
END"#;
/// Without an interface: a packet on its way to the TUN device fits as well.
const NFT_ANYWHERE: &str = r#"nft -f - <<END
table ip nat {
  chain post {
    type nat hook postrouting priority srcnat
    masquerade
  }
}
END"#;
const IPTABLES: &str = "iptables -t nat -A POSTROUTING -o rb -j MASQUERADE";
/// What a careful router filters, with the two rules that docs/steering.md asks for.
const FIREWALL: &str = r#"nft -f - <<END
table ip firewall {
  chain forward {
    type filter hook forward priority 0
    policy drop
    ct state established,related accept
    iifname "ra" accept
    iifname "steered" accept
    oifname "steered" accept
  }
}
END"#;

/// The router `r` translates what comes from `a`; `b` has no way back to a's network.
fn masquerading(rules: &str) -> World {
    let world = World::line();
    world.sh("b", "ip route del default");
    world.sh("r", "ip route add default via 10.2.0.2");
    world.sh("r", rules);
    world
}

fn check(rules: &str, firewall: bool) {
    let mut world = masquerading(rules);
    world.serve("b");
    assert_eq!(world.ping("a", "10.2.0.2", 2, ""), 0, "the router translates");
    if firewall {
        world.sh("r", FIREWALL);
    }
    let counters = |text: String| -> String {
        text.lines().map(|l| l.split(" counter packets").next().unwrap().to_owned() + "\n").collect()
    };
    let before = counters(world.snapshot("r"));
    let node = world.node("r", "--link tun:steered --capture all");
    let notes = node.status()["steering"]["notes"].to_string();
    assert!(notes.contains("translates IPv4 addresses"), "{notes}");
    assert_eq!(notes.contains("ip firewall forward drops"), firewall, "{notes}");

    let mut moved = 0;
    let file = world.capture("b", "b0", "nat.pcap", || {
        assert_eq!(world.ping("a", "10.2.0.2", 5, ""), 0);
        assert_eq!(world.ask("a", "10.2.0.2", 7000, &["one", "two"]), ["one", "two"]);
        moved += world.iperf("a", "10.2.0.2", "-n 5M");
        moved += world.iperf("a", "10.2.0.2", "-R -n 5M");
        // To the router itself, and the router's own.
        assert_eq!(world.ping("a", "10.1.0.1", 2, ""), 0);
        assert_eq!(world.ping("r", "10.2.0.2", 2, ""), 0);
        moved += world.iperf("r", "10.2.0.2", "-n 2M");
    });
    assert!(!world.tshark(&file, "ip.src == 10.2.0.1").is_empty());
    assert_eq!(world.tshark(&file, "ip.addr == 10.1.0.0/24"), Vec::<String>::new(), "no inner address goes out");
    let bytes = node.bytes_in();
    assert!(bytes > moved, "{moved} bytes of payload were moved, the node saw {bytes}");
    node.stop();
    let after = counters(world.snapshot("r"));
    assert_eq!(crate::world::difference(&before, &after), Vec::<String>::new());
}

#[test]
fn a_router_that_masquerades_with_nft_goes_on_doing_so() {
    if can_run() {
        check(NFT, false);
    }
}

#[test]
fn a_rule_without_an_interface_does_not_translate_to_the_tun_devices_address() {
    if can_run() {
        check(NFT_ANYWHERE, false);
    }
}

#[test]
fn a_router_that_masquerades_with_iptables_behind_a_firewall_goes_on_doing_so() {
    if can_run() {
        check(IPTABLES, true);
    }
}

#[test]
fn a_translation_that_comes_later_is_noticed() {
    if !can_run() {
        return;
    }
    let world = masquerading("true");
    let before = world.snapshot("r");
    let node = world.node("r", "--link tun --forwarded --capture icmp");
    assert_eq!(world.ping("a", "10.2.0.2", 1, ""), 1, "b has no way back");
    world.sh("r", NFT);
    crate::world::until("the translation works with the node", || world.ping("a", "10.2.0.2", 2, "") == 0);
    assert!(world.sh("r", "nft list tables").contains("netserv"));
    world.sh("r", "nft delete table ip nat");
    crate::world::until("the table is gone", || !world.sh("r", "nft list tables").contains("netserv"));
    node.stop();
    must_be_as_before(&world, "r", &before);
}

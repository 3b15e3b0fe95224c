//! Capture links: a bump in the wire, and a tap.

use std::fs;

use crate::traffic::WRONG_CHECKSUM;
use crate::world::{World, can_run, must_be_as_before};

/// A module that sends one datagram for each that it sees, and holds none.
const WITNESS: (&str, &str) = (
    r#"
name = "witness"
version = "1.0.0"
api = 1
summary = "Tells another port of what it sees."
authors = []
licence = "Apache-2.0"

[packets]
sees = "payload"

[permissions]
inject = true
answer_for = ["any"]

[[filters]]
protocol = "udp"
to_port = 7000

[counters]
seen = "Datagrams that were seen."
"#,
    r#"--!strict
local M = {}
local inject: (string) -> ()
local seen: Counter

function M.start(ctx: Context)
  inject = function(packet) ctx:inject(packet, "onward") end
  seen = ctx:counter("seen")
end

-- IPv4 and UDP headers by hand; checksums are completed by the node.
function M.on_packet(packet: Packet): Verdict
  seen:add(1)
  local payload = "seen: " .. packet:payload()
  local bytes: { number } = {}
  for _, address in { packet:source(), packet:destination() } do
    for part in string.gmatch(address, "%d+") do
      table.insert(bytes, tonumber(part) :: number)
    end
  end
  local header = string.pack(">BBI2I2I2BBI2", 0x45, 0, 28 + #payload, 0, 0, 64, 17, 0)
  inject(header .. string.char(table.unpack(bytes)) .. string.pack(">I2I2I2I2", 9, 7009, 8 + #payload, 0) .. payload)
  return "pass"
end

return M
"#,
);

/// Hosts `a` (10.3.0.1) and `b` (10.3.0.2) on one net, with `m` in the middle of the wire between them.
fn wire() -> World {
    let world = World::empty(&["a", "m", "b"]);
    for (host, number) in [("a", 1), ("b", 2)] {
        world.link(host, &format!("{host}0"), "m", &format!("m{host}"));
        world.sh(
            host,
            &format!("ip addr add 10.3.0.{number}/24 dev {host}0; ip addr add fd00:3::{number}/64 dev {host}0"),
        );
        world.sh(host, &format!("ethtool -K {host}0 tx off tso off gso off gro off >/dev/null"));
    }
    world.sh("m", "sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
    world.settle();
    world
}

#[test]
fn a_bump_in_the_wire_joins_two_hosts_and_changes_what_is_meant() {
    if !can_run() {
        return;
    }
    let mut world = wire();
    world.serve("b");
    fs::write(world.dir.join("page.txt"), "all about netserv and NetServ\n").unwrap();
    let offloads = || world.sh("m", "ethtool -k ma; ethtool -k mb");
    let (before, offloads_before) = (world.snapshot("m"), offloads());
    assert_eq!(world.ping("a", "10.3.0.2", 2, ""), 2, "there is no way without the node");
    let node = world.node("m", "--link pcap:ma,mb");
    for (host, url) in [("10.3.0.2", "10.3.0.2"), ("fd00:3::2", "[fd00:3::2]")] {
        assert_eq!(world.ping("a", host, 3, ""), 0, "{host}");
        assert_eq!(world.ask("a", host, 7000, &["hello netserv"]), ["hello netserv"], "{host}");
        world.download("a", url, 10);
        world.iperf("a", host, "-R -n 5M");
    }
    assert!(node.bytes_in() > 30 << 20, "{:#}", node.status());

    let loaded = node.load("modules/uppercase");
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    let file = world.capture("b", "b0", "wire.pcap", || {
        for (host, url) in [("10.3.0.2", "10.3.0.2"), ("fd00:3::2", "[fd00:3::2]")] {
            let answers = world.ask("a", host, 7000, &["hello netserv", "hello world"]);
            assert_eq!(answers, ["hello NETSERV", "hello world"], "{host}");
            assert_eq!(world.fetch("a", url, "page.txt"), "all about NETSERV and NetServ\n", "{host}");
        }
    });
    assert!(world.tshark(&file, "udp").len() >= 8);
    assert_eq!(world.tshark(&file, WRONG_CHECKSUM), Vec::<String>::new());
    node.unload("uppercase");
    assert_eq!(world.ask("a", "10.3.0.2", 7000, &["hello netserv"]), ["hello netserv"]);
    node.stop();
    assert_eq!(world.ping("a", "10.3.0.2", 2, ""), 2, "the wire is cut");
    assert_eq!(offloads(), offloads_before, "the offloads are as they were");
    must_be_as_before(&world, "m", &before);
}

#[test]
fn a_tap_sees_and_injects_and_holds_nothing() {
    if !can_run() {
        return;
    }
    let mut world = World::line();
    world.serve("b");
    let folder = world.dir.join("witness");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("module.toml"), WITNESS.0).unwrap();
    fs::write(folder.join("init.luau"), WITNESS.1).unwrap();
    let before = world.snapshot("b");
    let node = world.node("b", "--link tap:b0");
    for refused in ["modules/uppercase", "modules/_template"] {
        let loaded = node.load(refused);
        let said = String::from_utf8_lossy(&loaded.stderr).into_owned();
        assert!(!loaded.status.success() && said.contains("tap"), "{refused}: {said}");
    }
    let loaded = node.load(&folder.display().to_string());
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    let file = world.capture("r", "rb", "tap.pcap", || {
        assert_eq!(world.ask("a", "10.2.0.2", 7000, &["one", "two"]), ["one", "two"]);
        std::thread::sleep(std::time::Duration::from_millis(300));
    });
    let instance = node.status()["instances"][0].clone();
    assert_eq!(instance["packets_seen"], 2, "{instance:#}");
    let injected = world.tshark(&file, "udp.dstport == 7009 && ip.checksum.status == 1 && udp.checksum.status == 1");
    assert_eq!(injected.len(), 2, "{:#?}", world.tshark(&file, "udp"));
    node.stop();
    must_be_as_before(&world, "b", &before);
}

//! Machines that end, links that are cut, and what is told of it.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

use super::*;
use crate::base::net::NetOutput;

/// A file in memory.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends a number to b every 100 ms.
const TICKER: &str = r#"
local udp = require("@netserv/udp")
local task = require("@netserv/task")
local M = {}
function M.run(ctx)
  local socket = assert(udp.open({ port = 0 }))
  local count = 0
  while true do
    count += 1
    socket:send(tostring(count), "10.0.2.1", 9)
    task.sleep(0.1)
  end
end
return M
"#;

/// Says what comes.
const SINK: &str = r#"
local udp = require("@netserv/udp")
local M = {}
function M.run(ctx)
  local socket = assert(udp.open({ port = 9 }))
  while true do
    ctx:log("info", (socket:receive()) :: any)
  end
end
return M
"#;

/// a and b, joined by r1 (2 ms) and by r2 (20 ms).
fn two_ways() -> (Sim, [MachineId; 4], [LinkId; 4]) {
    let mut sim = Sim::new(1);
    let a = add(&mut sim, "a", MachineKind::Host, "10.0.0.1");
    let r1 = add(&mut sim, "r1", MachineKind::Router, "10.0.1.1");
    let r2 = add(&mut sim, "r2", MachineKind::Router, "10.0.1.2");
    let b = add(&mut sim, "b", MachineKind::Host, "10.0.2.1");
    let links = [(a, r1, 1), (r1, b, 1), (a, r2, 10), (r2, b, 10)];
    let links = links.map(|(one, other, ms)| join(&mut sim, one, other, LinkQuality::delay(ms * MS)));
    (sim, [a, r1, r2, b], links)
}

#[test]
fn packets_take_the_shortest_way_that_there_is() {
    let (mut sim, [a, r1, r2, b], links) = two_ways();
    let to = "10.0.2.1".parse().unwrap();
    assert_eq!(sim.path(a, to), [a, r1, b]);
    sim.set_link_up(links[1], false);
    assert_eq!(sim.path(a, to), [a, r2, b]);
    sim.set_machine_up(r2, false);
    assert!(sim.path(a, to).is_empty());
    sim.set_link_up(links[1], true);
    assert_eq!(sim.path(a, to), [a, r1, b]);
    sim.set_machine_up(r2, true);
    sim.set_quality(links[0], [LinkQuality::delay(100 * MS); 2]);
    assert_eq!(sim.path(a, to), [a, r2, b]);
    assert_eq!(sim.distance(&[a, r2, b]), 20 * MS);
    assert!(sim.set_route(a, "10.0.2.0/24".parse().unwrap(), Some(r1)));
    assert_eq!(sim.path(a, to), [a, r1, b]);
    assert!(!sim.set_route(a, "10.0.2.0/24".parse().unwrap(), Some(b)), "no neighbours");
}

#[test]
fn a_host_is_no_way_for_others() {
    let mut sim = Sim::new(1);
    let names = ["a", "h", "b"];
    let ids = names.map(|name| add(&mut sim, name, MachineKind::Host, &format!("10.0.0.{}", name.as_bytes()[0])));
    join(&mut sim, ids[0], ids[1], LinkQuality::default());
    join(&mut sim, ids[1], ids[2], LinkQuality::default());
    let to = sim.config(ids[2]).addresses[0];
    assert!(sim.path(ids[0], to).is_empty());
}

#[test]
fn a_cut_link_loses_what_is_under_way_and_the_rest_goes_round() {
    let (mut sim, [a, _, _, b], links) = two_ways();
    load(&mut sim, b, application(SINK));
    load(&mut sim, a, application(TICKER));
    sim.run_until(at(400) + 1_500 * Duration::from_micros(1));
    sim.set_link_up(links[1], false);
    sim.run_until(at(900));
    let said = said(&mut sim, b);
    assert_eq!(words(&said), ["1", "2", "3", "4", "6", "7", "8", "9"]);
    assert_eq!(said.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [2, 102, 202, 302, 520, 620, 720, 820]);
}

#[test]
fn a_machine_that_starts_again_has_its_modules_and_what_they_kept_and_nothing_else() {
    let counter = r#"
local kv = require("@netserv/kv")
local M = {}
function M.run(ctx)
  local count = (tonumber(kv.get("starts") or "0") :: any) + 1
  kv.set("starts", tostring(count))
  ctx:log("info", `start {count}`)
end
return M
"#;
    let manifest = "name = \"keeps\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"For a test.\"\nauthors = []\n\
        licence = \"Apache-2.0\"\n[permissions]\nstore = true\n[limits]\nstorage_bytes = 10000\n";
    let Line { mut sim, r, .. } = line(1, LinkQuality::default());
    load(&mut sim, r, module(manifest, counter));
    sim.run_until(at(100));
    sim.crash(r);
    assert!(sim.node(r).is_none());
    sim.run_until(at(200));
    sim.restart(r);
    sim.run_until(at(300));
    sim.set_machine_up(r, false);
    sim.run_until(at(400));
    sim.set_machine_up(r, true);
    sim.run_until(at(500));
    assert_eq!(words(&said(&mut sim, r)), ["start 1", "start 2", "start 3"]);
}

#[test]
fn a_clock_that_jumped_is_seen_at_the_next_start() {
    let clock = r#"
local M = {}
function M.run(ctx)
  ctx:log("info", string.format("%.0f", ctx:wall_time()))
end
return M
"#;
    let Line { mut sim, a, .. } = line(1, LinkQuality::default());
    load(&mut sim, a, application(clock));
    sim.jump_clock(a, -3_600_000);
    sim.run_until(at(1_000));
    sim.restart(a);
    sim.run_until(at(1_000));
    assert_eq!(words(&said(&mut sim, a)), ["1800000000", "1799996401"]);
}

#[test]
fn a_slow_node_sees_packets_later_one_after_the_other() {
    let Line { mut sim, a, r, b, .. } = line(1, LinkQuality::delay(MS));
    load(&mut sim, b, application(SINK));
    load(&mut sim, a, application(TICKER));
    sim.set_cost(r, 150 * MS);
    sim.run_until(at(1_000));
    let said = said(&mut sim, b);
    assert_eq!(said.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [152, 302, 452, 602, 752, 902]);
}

#[test]
fn a_damaged_packet_is_seen_by_nobody() {
    let quality = LinkQuality { delay: MS, corruption: 1.0, ..LinkQuality::default() };
    let Line { mut sim, a, b, links, .. } = line(1, quality);
    load(&mut sim, b, application(SINK));
    load(&mut sim, a, application(TICKER));
    sim.run_until(at(5_000));
    assert_eq!(words(&said(&mut sim, b)), [""; 0]);
    assert!(sim.link_counters(links[0])[0].corrupted >= 50);
}

#[test]
fn a_capture_of_a_link_holds_its_packets_with_virtual_times() {
    use crate::drivers::replay::reader::CaptureReader;
    let Line { mut sim, a, b, links, .. } = line(1, LinkQuality { delay: MS, loss: 0.5, ..LinkQuality::default() });
    let file = Shared::default();
    sim.capture(links[0], Box::new(file.clone())).unwrap();
    load(&mut sim, b, application(SINK));
    load(&mut sim, a, application(TICKER));
    sim.run_until(at(950));
    sim.end_capture(links[0]).unwrap();
    let bytes = file.0.borrow().clone();
    let mut reader = CaptureReader::new(&bytes[..]).unwrap();
    let mut times = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        assert_eq!(frame.link_type, LINK_TYPE_RAW);
        let header = crate::wire::header::Header::parse(frame.bytes, false).unwrap();
        assert_eq!(header.ports.unwrap().1, 9);
        times.push((frame.time_ns - WALL_START.as_nanos()) / 1_000_000);
    }
    assert_eq!(times, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
}

fn traced(seed: u64) -> String {
    let quality = LinkQuality { delay: MS, loss: 0.2, jitter: MS, duplication: 0.1, ..LinkQuality::default() };
    let Line { mut sim, a, b, links, .. } = line(seed, quality);
    sim.set_trace(true);
    load(&mut sim, b, application(SINK));
    load(&mut sim, a, application(TICKER));
    sim.run_until(at(2_000));
    sim.set_link_up(links[0], false);
    sim.run_until(at(2_500));
    sim.take_trace()
}

#[test]
fn one_seed_gives_one_trace_and_another_seed_another_one() {
    let first = traced(5);
    assert!(first.lines().count() > 40 && first == traced(5), "{first}");
    assert_ne!(first, traced(6));
}

#[test]
fn what_is_added_does_not_change_the_luck_of_others() {
    let lost = |more: bool| {
        let quality = LinkQuality { delay: MS, loss: 0.3, ..LinkQuality::default() };
        let Line { mut sim, a, b, .. } = line(9, quality);
        if more {
            let other = add(&mut sim, "other", MachineKind::Router, "10.9.9.9");
            join(&mut sim, b, other, quality);
        }
        load(&mut sim, b, application(SINK));
        load(&mut sim, a, application(TICKER));
        sim.run_until(at(3_000));
        said(&mut sim, b)
    };
    assert_eq!(lost(false), lost(true));
}

#[test]
fn what_cannot_be_is_told() {
    let mut sim = Sim::new(1);
    let a = add(&mut sim, "a", MachineKind::Host, "10.0.0.1");
    let taken = MachineConfig::new("a", MachineKind::Host, &addresses("10.0.0.2"));
    assert!(matches!(sim.add_machine(taken), Err(SimError::NameTaken { .. })));
    let bare = MachineConfig::new("b", MachineKind::Host, &[]);
    assert!(matches!(sim.add_machine(bare), Err(SimError::NoAddress { .. })));
    let nat = MachineConfig::new("b", MachineKind::Nat(NatConfig::default()), &addresses("fd00::1"));
    assert!(matches!(sim.add_machine(nat), Err(SimError::NoOutsideAddress { .. })));
    let q = LinkQuality::default();
    assert!(matches!(sim.add_link(LinkConfig::new(a, a, q)), Err(SimError::Loop { .. })));
    let nobody = LinkConfig::new(a, MachineId(7), q);
    assert!(matches!(sim.add_link(nobody), Err(SimError::NoMachine { number: 7 })));
    // Orders for sockets of nobody mean nothing.
    let id = SocketId { instance: crate::base::id::InstanceId(3), number: 4 };
    sim.computers[a.index()].stack.perform(NetOutput::Finish(id), at(0));
    sim.settle(a.index());
}

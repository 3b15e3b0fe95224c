//! The node with modules: chains, native rules, faults and restarts.

use etherparse::PacketBuilder;

use crate::base::packet::{Offload, PacketMut};
use crate::container::source::ModuleSource;
use crate::controller::instances::InstanceState;
use crate::node::*;

/// A module that may do everything, with this body for `on_packet(packet)` and more of the file behind it.
pub(super) fn module(name: &str, manifest: &str, code: &str) -> Module {
    version(name, "1.0.0", manifest, code)
}

/// The same of another version.
pub(super) fn version(name: &str, version: &str, manifest: &str, code: &str) -> Module {
    let manifest = format!(
        "name = \"{name}\"\nversion = \"{version}\"\napi = 1\nsummary = \"For tests.\"\nauthors = [\"Nobody\"]\n\
         licence = \"Apache-2.0\"\n{manifest}\n"
    );
    let files = [("module.toml", manifest), ("init.luau", format!("local M = {{}}\n{code}\nreturn M\n"))];
    let files = files.into_iter().map(|(path, text)| (path.to_owned(), text.into_bytes())).collect();
    Module::check(ModuleSource { files }).unwrap()
}

pub(super) const ALL_UDP: &str = "[packets]\nsees = \"payload\"\nchanges = \"length\"\ndrops = true\n\
                       [[filters]]\nprotocol = \"udp\"\n[permissions]\ninject = true\nanswer_for = [\"any\"]\n";

pub(super) struct World {
    pub(super) node: Node,
    pub(super) now: Instant,
    pub(super) events: Vec<Event>,
    pub(super) sent: Vec<Vec<u8>>,
    pub(super) steered: Vec<Filter>,
}

impl World {
    pub(super) fn new(kind: LinkKind) -> World {
        let cpu = CpuGuard::Safepoints;
        let mut node =
            Node::new(NodeConfig { flows_max: 100, capture: vec![], seed: 7, wall: WallTime::default(), cpu });
        node.add_link(LinkConfig { name: "link0".to_owned(), kind });
        World { node, now: Instant::START, events: vec![], sent: vec![], steered: vec![] }
    }

    pub(super) fn load(&mut self, module: Module) -> Answer {
        let command = Command::Load { module, name: None, properties: toml::Table::new(), grant: None };
        self.node.handle(self.now, Input::Command(1, command));
        self.drain().expect("a command is answered")
    }

    pub(super) fn with(mut self, name: &str, code: &str) -> World {
        self.load(module(name, ALL_UDP, code)).unwrap();
        self
    }

    pub(super) fn drain(&mut self) -> Option<Answer> {
        let mut answer = None;
        loop {
            match self.node.poll() {
                Output::Idle { .. } => return answer,
                Output::Transmit { packet, .. } => {
                    self.sent.push(packet.bytes.clone());
                    self.node.recycle(packet);
                }
                Output::Steer(filters) => self.steered = filters,
                Output::Answer(_, a) => answer = Some(a),
                Output::Event(event) => self.events.push(event),
                Output::Errand(_) | Output::Net(_) => {}
            }
        }
    }

    /// Feeds a UDP packet; returns the decision and the payload that then stands in the driver's buffer.
    pub(super) fn udp(&mut self, payload: &[u8]) -> (Decision, Vec<u8>) {
        self.feed(&udp(payload), Offload::default())
    }

    pub(super) fn feed(&mut self, bytes: &[u8], offload: Offload) -> (Decision, Vec<u8>) {
        let mut room = bytes.to_vec();
        room.resize(bytes.len() + 100, 0);
        let mut packet = PacketMut::new(&mut room, bytes.len(), offload);
        let decision = self.node.packet(self.now, LinkId(0), &mut packet);
        let payload = packet.bytes()[28..].to_vec();
        self.drain();
        (decision, payload)
    }

    pub(super) fn advance(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Output::Idle { deadline: Some((at, _)) } = self.node.poll() {
            if at > end {
                break;
            }
            self.now = at;
            self.node.handle(at, Input::Wakeup);
            self.drain();
        }
        self.now = end;
    }

    pub(super) fn view(&self, name: &str) -> InstanceView {
        self.node.instances().into_iter().find(|view| view.name == name).unwrap()
    }
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 63).udp(1000, 2000).write(&mut bytes, payload).unwrap();
    bytes
}

pub(super) const ON: Decision = Decision::Forward(LinkId(0));

#[test]
fn refuses_names_that_would_break_tables_and_logs() {
    let mut w = World::new(LinkKind::Tun);
    for name in ["", "a b", "a\x1b[31m", "\u{e9}", &"a".repeat(65)] {
        let command = Command::Load {
            module: module("m", ALL_UDP, ""),
            name: Some(name.to_owned()),
            properties: toml::Table::new(),
            grant: None,
        };
        w.node.handle(w.now, Input::Command(1, command));
        let answer = w.drain().unwrap();
        assert!(matches!(answer, Err(CommandError::Load(LoadError::Name { .. }))), "{name:?}: {answer:?}");
    }
}

#[test]
fn modules_see_a_packet_in_the_order_of_their_loading_and_what_those_before_made_of_it() {
    let add = |letter: &str| {
        format!("function M.on_packet(p) p:set_payload(p:payload() .. \"{letter}\") return \"pass\" end")
    };
    let mut world = World::new(LinkKind::Tun).with("first", &add("1")).with("second", &add("2"));
    assert_eq!(world.udp(b"x"), (ON, b"x12".to_vec()));
}

#[test]
fn a_rule_for_the_whole_flow_ends_the_calls() {
    let mut world = World::new(LinkKind::Tun).with("drop", "function M.on_packet(p) return p:drop_flow() end");
    assert_eq!(world.udp(b"x").0, Decision::Drop(DropReason::ModuleVerdict));
    assert_eq!(world.udp(b"x").0, Decision::Drop(DropReason::FlowRule));
    let view = world.view("drop");
    assert_eq!((view.packets_seen, view.packets_native), (1, 1));
}

#[test]
fn a_flow_released_by_one_module_is_still_shown_to_the_other() {
    let mut world = World::new(LinkKind::Tun)
        .with("done", "function M.on_packet(p) return p:pass_flow() end")
        .with("busy", "function M.on_packet(p) return \"pass\" end");
    for _ in 0..3 {
        assert_eq!(world.udp(b"x").0, ON);
    }
    assert_eq!((world.view("done").packets_seen, world.view("busy").packets_seen), (1, 3));
}

#[test]
fn loading_another_module_keeps_the_rules_that_flows_have() {
    let mut world = World::new(LinkKind::Tun).with("done", "function M.on_packet(p) return p:pass_flow() end");
    let _ = world.udp(b"x");
    let mut world = world.with("late", "function M.on_packet(p) return \"pass\" end");
    let _ = world.udp(b"x");
    assert_eq!((world.view("done").packets_seen, world.view("late").packets_seen), (1, 1));
}

#[test]
fn unloading_takes_the_filters_out_and_lets_traffic_go_on() {
    let mut world = World::new(LinkKind::Tun).with("drop", "function M.on_packet(p) return \"drop\" end");
    assert_eq!(world.steered.len(), 1);
    assert_eq!(world.udp(b"x").0, Decision::Drop(DropReason::ModuleVerdict));
    world.node.handle(world.now, Input::Command(2, Command::Unload { name: "drop".to_owned() }));
    world.drain().unwrap().unwrap();
    assert_eq!((world.steered.len(), world.udp(b"x").0), (0, ON));
}

#[test]
fn a_reply_goes_back_by_the_link_it_came_from() {
    let mut world = World::new(LinkKind::Inline { to: LinkId(1) })
        .with("echo", "function M.on_packet(p) p:reply(\"pong\") return \"reply\" end");
    world.node.add_link(LinkConfig { name: "link1".to_owned(), kind: LinkKind::Inline { to: LinkId(0) } });
    assert_eq!(world.udp(b"ping"), (Decision::Forward(LinkId(0)), b"pong".to_vec()));
}

#[test]
fn errors_are_tolerated_at_first_and_then_lead_to_restarts_with_backoff_and_in_the_end_to_unloading() {
    let mut world = World::new(LinkKind::Tun).with("bad", "function M.on_packet(p) error(\"oops\") end");
    for _ in 0..limits::MODULE_ERRORS_MAX {
        assert_eq!(world.udp(b"x").0, ON);
    }
    assert_eq!(world.view("bad").state, InstanceState::Running);
    let mut waits = Vec::new();
    for _ in 0..200 {
        assert_eq!(world.udp(b"x").0, ON);
        match world.view("bad").state {
            InstanceState::Running => {}
            InstanceState::Waiting { restart_at } => {
                waits.push((restart_at - world.now).as_secs());
                world.advance(waits[waits.len() - 1]);
            }
            InstanceState::Failed => break,
            InstanceState::Draining { .. } => panic!("nobody updates it"),
        }
    }
    assert_eq!(waits, [1, 2, 4, 8, 16]);
    let view = world.view("bad");
    assert_eq!((view.state, view.restarts), (InstanceState::Failed, limits::MODULE_RESTARTS_MAX));
    assert!(view.last_fault.unwrap().contains("oops"));
    assert!(world.steered.is_empty(), "nothing is captured for a module that failed");
}

#[test]
fn a_broken_limit_is_reported_by_name_and_stops_only_that_instance() {
    let mut world = World::new(LinkKind::Tun)
        .with("loop", "function M.on_packet(p) while true do end end")
        .with("good", "function M.on_packet(p) return \"pass\" end");
    assert_eq!(world.udp(b"x").0, ON);
    assert!(matches!(world.view("loop").state, InstanceState::Waiting { .. }));
    assert_eq!(world.view("loop").faults, [("cpu_ms_per_call".to_owned(), 1)]);
    assert_eq!(world.udp(b"x").0, ON);
    assert_eq!((world.view("loop").packets_seen, world.view("good").packets_seen), (1, 2));
    world.advance(1);
    assert_eq!(world.view("loop").state, InstanceState::Running);
}

#[test]
fn what_cannot_be_judged_is_dropped_where_the_manifest_says_so() {
    let manifest = ALL_UDP.replace("drops = true", "drops = true\non_fault = \"drop\"");
    let mut world = World::new(LinkKind::Tun);
    world.load(module("guard", &manifest, "function M.on_packet(p) while true do end end")).unwrap();
    for _ in 0..2 {
        assert_eq!(world.udp(b"x").0, Decision::Drop(DropReason::ModuleFault));
    }
}

#[test]
fn a_module_that_fails_to_start_is_not_loaded() {
    let mut world = World::new(LinkKind::Tun);
    let error = world.load(module("bad", ALL_UDP, "function M.start() error(\"no luck\") end")).unwrap_err();
    assert!(error.to_string().contains("no luck"), "{error}");
    assert!(world.node.instances().is_empty() && world.steered.is_empty());
}

#[test]
fn a_tap_takes_only_modules_that_look() {
    let mut world = World::new(LinkKind::Tap);
    let pass = "function M.on_packet(p) return \"pass\" end";
    let error = world.load(module("holder", ALL_UDP, pass)).unwrap_err();
    assert!(error.to_string().contains("holder") && error.to_string().contains("link0"), "{error}");
    world.load(module("looker", "[[filters]]\nprotocol = \"udp\"", pass)).unwrap();
    assert_eq!(world.udp(b"x").0, Decision::Taken);
    assert_eq!(world.view("looker").packets_seen, 1);
}

#[test]
fn datagrams_of_a_super_packet_are_shown_one_by_one() {
    let mut world = World::new(LinkKind::Tun)
        .with("mark", "function M.on_packet(p) p:set_payload(p:payload() .. \"!\") return \"pass\" end");
    let offload = Offload { gso_type: Offload::UDP_SEGMENT, segment_bytes: 4, ..Offload::default() };
    assert_eq!(world.feed(&udp(b"aaaabbbbcc"), offload).0, Decision::Taken);
    let payloads: Vec<&[u8]> = world.sent.iter().map(|bytes| &bytes[28..]).collect();
    assert_eq!(payloads, [b"aaaa!".as_slice(), b"bbbb!", b"cc!"]);
}

#[test]
fn later_fragments_follow_the_first() {
    let mut world = World::new(LinkKind::Tun)
        .with("drop", "function M.on_packet(p) return p:payload() == \"dropdrop\" and \"drop\" or \"pass\" end");
    let mut fragment = |payload: &[u8], id: u8, offset: u8, more: bool| {
        let mut bytes = udp(payload);
        bytes[4..8].copy_from_slice(&[0, id, u8::from(more) << 5, offset]);
        bytes[24..26].copy_from_slice(&1000u16.to_be_bytes());
        world.feed(&bytes, Offload::default()).0
    };
    assert_eq!(fragment(b"dropdrop", 1, 0, true), Decision::Drop(DropReason::ModuleVerdict));
    assert_eq!(fragment(b"whatever", 1, 2, false), Decision::Drop(DropReason::FragmentOfDropped));
    assert_eq!(fragment(b"passpass", 2, 0, true), ON);
    assert_eq!(fragment(b"whatever", 2, 2, false), ON);
    assert_eq!(fragment(b"whatever", 3, 2, false), ON);
}

#[test]
fn the_end_of_a_flow_is_told_with_its_totals() {
    let code = "local total = 0\nfunction M.on_packet(p) return p:pass_flow() end\n\
                function M.on_flow_end(flow) total = total + flow.packets end\n\
                function M.report() return { total = total } end";
    let mut world = World::new(LinkKind::Tun).with("count", code);
    for _ in 0..5 {
        let _ = world.udp(b"x");
    }
    world.advance(100);
    assert_eq!(world.node.report(world.now, "count").unwrap()["total"], 5);
}

#[test]
fn timers_run_at_their_time_and_may_send_packets() {
    let hex: String = udp(b"tick").iter().map(|b| format!("{b:02x}")).collect();
    let code = format!(
        "local netserv = require(\"@netserv\")\nfunction M.start(ctx) ctx:every(10, function() \
         ctx:inject(netserv.from_hex(\"{hex}\"), \"onward\") end) end\nfunction M.on_packet(p) end"
    );
    let mut world = World::new(LinkKind::Tun).with("clock", &code);
    world.advance(9);
    assert_eq!(world.sent.len(), 0);
    world.advance(21);
    assert_eq!(world.sent.len(), 3);
    assert_eq!(world.sent[0], udp(b"tick"));
}

#[test]
fn looking_through_all_flows_costs_what_there_are() {
    let code = "local ctx function M.start(c) ctx = c end
        function M.on_packet(packet)
          if packet:payload() == 'look' then for _ = 1, 100000 do ctx:flows(1, nil, 1e9) end end
        end";
    let mut w = World::new(LinkKind::Tun).with("m", code);
    let failed = |w: &World| w.events.iter().any(|event| matches!(event, Event::Failed { .. }));
    let _ = w.udp(b"look");
    assert!(!failed(&w), "one flow is looked through at once: {:?}", w.events);
    for port in 0..100 {
        let mut bytes = udp(b"other");
        bytes[21] = port;
        let _ = w.feed(&bytes, Offload::default());
    }
    let _ = w.udp(b"look");
    assert!(failed(&w), "{:?}", w.events);
}

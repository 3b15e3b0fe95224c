//! Each budget, driven over its limit by a module: enforced, reported, and felt by no other.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use etherparse::PacketBuilder;

use crate::base::net::Datagram;
use crate::base::packet::{Offload, PacketMut};
use crate::container::source::ModuleSource;
use crate::controller::ledger;
use crate::node::*;

struct World {
    node: Node,
    now: Instant,
    events: Vec<Event>,
    sent: Vec<Vec<u8>>,
    net: Vec<NetOutput>,
    kept: Vec<StoreOp>,
}

impl World {
    fn new() -> World {
        let wall = WallTime::from_nanos(3 * 86_400 * 1_000_000_000);
        let mut node =
            Node::new(NodeConfig { flows_max: 1_000, capture: vec![], seed: 7, wall, cpu: CpuGuard::Safepoints });
        node.add_link(LinkConfig { name: "tun".to_owned(), kind: LinkKind::Tun });
        World { node, now: Instant::START, events: vec![], sent: vec![], net: vec![], kept: vec![] }
    }

    fn with(mut self, name: &str, manifest: &str, code: &str) -> World {
        let manifest = format!(
            "name = \"{name}\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"For tests.\"\nlicence = \"Apache-2.0\"\n\
             {manifest}\n"
        );
        let files = [("module.toml", manifest), ("init.luau", format!("local M = {{}}\n{code}\nreturn M\n"))];
        let files = files.into_iter().map(|(path, text)| (path.to_owned(), text.into_bytes())).collect();
        let module = Module::check(ModuleSource { files }).unwrap();
        let load = Command::Load { module, name: None, properties: toml::Table::new(), grant: None };
        self.node.handle(self.now, Input::Command(1, load));
        self.drain();
        self.view(name);
        self
    }

    fn drain(&mut self) {
        loop {
            match self.node.poll() {
                Output::Idle { .. } => return,
                Output::Transmit { packet, .. } => self.sent.push(packet.bytes),
                Output::Answer(_, answer) => drop(answer.unwrap()),
                Output::Event(event) => self.events.push(event),
                Output::Net(output) => self.net.push(output),
                Output::Errand(Errand::Store(op)) => self.kept.push(op),
                Output::Errand(_) | Output::Steer(_) => {}
            }
        }
    }

    /// Feeds a UDP packet of 30 bytes.
    fn udp(&mut self, from_port: u16) -> Decision {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 63).udp(from_port, 2000).write(&mut bytes, b"xy").unwrap();
        let len = bytes.len();
        bytes.resize(len + 100, 0);
        let decision = self.node.packet(self.now, LinkId(0), &mut PacketMut::new(&mut bytes, len, Offload::default()));
        self.drain();
        decision
    }

    fn net(&mut self, socket: SocketId, event: NetEvent<'_>) {
        self.node.handle(self.now, Input::Net(socket, event));
        self.drain();
    }

    fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Output::Idle { deadline: Some((at, _)) } = self.node.poll() {
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.node.handle(self.now, Input::Wakeup);
            self.drain();
        }
        self.now = end;
    }

    fn view(&self, name: &str) -> InstanceView {
        self.node.instances().into_iter().find(|view| view.name == name).expect("it runs")
    }

    fn hits(&self, name: &str, limit: &str) -> u64 {
        self.view(name).limit_hits.iter().filter(|(hit, _)| hit == limit).map(|(_, count)| count).sum()
    }

    fn told(&self, wanted: &str) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::OverBudget { limit, .. } if *limit == wanted)).count()
    }
}

const MS: Duration = Duration::from_millis(1);
const UDP: &str = "[[filters]]\nprotocol = \"udp\"\n";
/// Takes 1 ms for each packet.
const BUSY: &str = "function M.on_packet(p) for i = 1, 100000 do end end";
const QUICK: &str = "function M.on_packet(p) end";

#[test]
fn a_busy_module_gets_its_share_of_the_cpu_and_another_sees_all_packets() {
    let manifest = format!("{UDP}[limits]\ncpu_share_percent = 10\n");
    let mut w = World::new().with("busy", &manifest, BUSY).with("quick", UDP, QUICK);
    for _ in 0..10_000 {
        assert_eq!(w.udp(1000), Decision::Forward(LinkId(0)), "packets pass without it");
        w.advance(MS);
    }
    let busy = w.view("busy");
    let share = busy.usage.cpu_us as f64 / 1e6 / 10.0;
    // A tenth of 10 s, and once the tenth of a second that it may use at once.
    assert!((0.1..0.115).contains(&share), "{share}");
    assert_eq!(busy.packets_seen + busy.packets_unseen, 10_000);
    assert!((1_000..1_150).contains(&busy.packets_seen), "{}", busy.packets_seen);
    assert_eq!((w.view("quick").packets_seen, w.view("quick").packets_unseen), (10_000, 0));
    assert!(w.hits("busy", "cpu_share_percent") > 100 && w.hits("quick", "cpu_share_percent") == 0);
    assert_eq!(w.told("cpu_share_percent"), 1, "it is told once as long as it goes on");
}

#[test]
fn packets_are_dropped_without_it_if_the_manifest_says_so() {
    let manifest = format!("[packets]\ndrops = true\non_fault = \"drop\"\n{UDP}[limits]\ncpu_share_percent = 1\n");
    let mut w = World::new().with("busy", &manifest, BUSY);
    let decisions: Vec<Decision> = (0..100).map(|_| w.udp(1000)).collect();
    assert_eq!(decisions[0], Decision::Forward(LinkId(0)));
    assert_eq!(decisions[99], Decision::Drop(DropReason::ModuleBudget));
    assert_eq!(w.node.drops().of(DropReason::ModuleBudget), w.view("busy").packets_unseen);
}

#[test]
fn timers_and_tasks_of_a_busy_module_are_late_but_none_is_lost() {
    let code = "
        local task = require(\"@netserv/task\")
        local ran = 0
        function M.start(ctx)
            for i = 1, 40 do
                ctx:after(i / 1000, function() ran += 1 for j = 1, 500000 do end end)
            end
            task.spawn(function() task.sleep(0.0405) assert(ran == 40, ran) ctx:log(\"info\", \"last\") end)
        end";
    let mut w = World::new().with("late", "[limits]\ncpu_share_percent = 10\n", code);
    w.advance(Duration::from_millis(300));
    assert!(!w.events.iter().any(|event| matches!(event, Event::Log { .. })), "200 ms of work take two seconds");
    assert!(w.view("late").is_waiting);
    w.advance(Duration::from_millis(2_500));
    let log = |event: &&Event| matches!(event, Event::Log { text, .. } if text == "last");
    assert_eq!(w.events.iter().filter(log).count(), 1, "{:?}", w.events);
    assert!(w.view("late").faults.is_empty() && !w.view("late").is_waiting);
}

#[test]
fn flows_beyond_the_limit_pass_unseen_until_there_is_room() {
    let mut w = World::new().with("few", &format!("{UDP}[limits]\nflows = 3\n"), QUICK).with("all", UDP, QUICK);
    for port in 0..10 {
        assert_eq!(w.udp(1000 + port), Decision::Forward(LinkId(0)));
        assert_eq!(w.udp(1000 + port), Decision::Forward(LinkId(0)));
    }
    assert_eq!((w.view("few").flows, w.view("few").packets_seen, w.hits("few", "flows")), (3, 6, 7));
    assert_eq!((w.view("all").flows, w.view("all").packets_seen), (10, 20));
    assert_eq!(w.told("flows"), 1);
    // Silent flows are forgotten, and their places are free.
    w.advance(Duration::from_secs(70));
    assert_eq!((w.view("few").flows, w.view("all").flows), (0, 0));
    let _ = w.udp(2000);
    assert_eq!(w.view("few").flows, 1);
}

const INJECT: &str = "
    local packet
    function M.on_packet(p)
        packet = require(\"@netserv\").from_hex(\"4500001e00000000401100000a0000010a00000207d003e8000a00007879\")
        M.ctx:inject(packet, \"back\")
    end
    function M.start(ctx) M.ctx = ctx end";

#[test]
fn injected_packets_beyond_the_bandwidth_are_dropped_and_counted() {
    // 30 bytes are 240 bits: after the burst, ten packets per second.
    let manifest =
        format!("{UDP}[permissions]\ninject = true\nanswer_for = [\"any\"]\n[limits]\nbandwidth_out = 2400\n");
    let mut w = World::new().with("loud", &manifest, INJECT);
    let burst = limits::BANDWIDTH_BURST_BITS_MIN / 240;
    for _ in 0..burst + 1_000 {
        let _ = w.udp(1000);
    }
    let first = w.sent.len() as u64;
    assert!((burst..=burst + 1).contains(&first), "{first}");
    assert_eq!(w.node.drops().of(DropReason::ModuleBandwidth), burst + 1_000 - first);
    assert_eq!(w.hits("loud", "bandwidth_out"), burst + 1_000 - first);
    for _ in 0..10_000 {
        w.advance(MS);
        let _ = w.udp(1000);
    }
    let later = w.sent.len() as u64 - first;
    assert!((98..=101).contains(&later), "{later}");
    let usage = w.view("loud").usage;
    assert_eq!((usage.packets_injected, usage.bytes_out), (first + later, 30 * (first + later)));
}

fn socket(w: &World, number: u32) -> SocketId {
    SocketId { instance: w.view("m").id, number }
}

#[test]
fn a_stream_waits_for_bandwidth_in_both_directions_and_loses_nothing() {
    let mut w = World::new().with("m", "[limits]\nbandwidth_in = 8000\nbandwidth_out = 8000\n", "");
    let (a, id) = (socket(&w, 1), w.view("m").id);
    let burst = limits::BANDWIDTH_BURST_BITS_MIN as usize / 8;
    // In: one second's worth too much stops the reading for a second.
    w.net(a, NetEvent::Received(&vec![0; burst + 1_000]));
    assert_eq!(w.net, [NetOutput::Pause(a)]);
    w.advance(Duration::from_millis(990));
    assert_eq!(w.net.len(), 1);
    w.advance(Duration::from_millis(20));
    assert_eq!(w.net.pop(), Some(NetOutput::Resume(a)));
    // Out: what has no bandwidth waits, and what comes behind it too.
    w.net.clear();
    let write = |size: usize| NetOutput::Write { socket: a, bytes: vec![1; size] };
    for output in [write(burst + 1_000), write(500), write(500), NetOutput::Finish(a)] {
        w.node.net_output(w.now, id, output);
    }
    w.drain();
    assert_eq!(w.net.len(), 1);
    w.advance(Duration::from_secs(3));
    assert_eq!(w.net[1..], [write(500), write(500), NetOutput::Finish(a)]);
    let usage = w.view("m").usage;
    assert_eq!((usage.bytes_in, usage.bytes_out), (burst as u64 + 1_000, burst as u64 + 2_000));
    assert!(w.hits("m", "bandwidth_in") >= 1 && w.hits("m", "bandwidth_out") >= 1);
}

#[test]
fn reading_goes_on_only_if_the_module_wants_it_too() {
    let mut w = World::new().with("m", "[limits]\nbandwidth_in = 8000\n", "");
    let (a, b, id) = (socket(&w, 1), socket(&w, 2), w.view("m").id);
    w.node.net_output(w.now, id, NetOutput::Pause(a));
    let burst = limits::BANDWIDTH_BURST_BITS_MIN as usize / 8;
    w.net(a, NetEvent::Received(&vec![0; burst + 1_000]));
    w.net(b, NetEvent::Received(b"x"));
    w.node.net_output(w.now, id, NetOutput::Resume(b));
    w.drain();
    assert_eq!(w.net, [NetOutput::Pause(a), NetOutput::Pause(a), NetOutput::Pause(b)]);
    w.advance(Duration::from_secs(2));
    assert_eq!(w.net[3..], [NetOutput::Resume(b)]);
    w.node.net_output(w.now, id, NetOutput::Resume(a));
    w.drain();
    assert_eq!(w.net[4..], [NetOutput::Resume(a)]);
}

#[test]
fn datagrams_beyond_the_bandwidth_are_lost_in_both_directions() {
    let mut w = World::new().with("m", "[limits]\nbandwidth_in = 8000\nbandwidth_out = 8000\n", "");
    let (a, id) = (socket(&w, 1), w.view("m").id);
    let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
    let bytes = vec![0; 10_000];
    for _ in 0..20 {
        w.net(a, NetEvent::Datagrams(&[Datagram { from: peer, to: None, bytes: &bytes }]));
        w.node.net_output(w.now, id, NetOutput::Send { socket: a, from: None, to: peer, bytes: bytes.clone() });
    }
    w.drain();
    // 131,070 bytes at once: 14 of 10,000, the last one of them on credit.
    assert_eq!(w.net.len(), 14);
    let usage = w.view("m").usage;
    assert_eq!((usage.bytes_in, usage.bytes_out), (140_000, 140_000));
    assert_eq!((w.hits("m", "bandwidth_in"), w.hits("m", "bandwidth_out")), (6, 6));
}

#[test]
fn limits_that_code_is_told_of_by_an_error_are_counted_too() {
    let code = "
        local task = require(\"@netserv/task\")
        function M.start(ctx)
            for i = 1, 5 do pcall(function() ctx:after(60, function() end) end) end
            for i = 1, 5 do pcall(task.spawn, function() end) end
        end";
    let w = World::new().with("m", "[limits]\ntimers = 2\ntasks = 1\n", code);
    assert_eq!((w.hits("m", "timers"), w.hits("m", "tasks")), (3, 4));
    assert_eq!((w.told("timers"), w.told("tasks")), (1, 1));
    assert!(w.view("m").faults.is_empty());
}

/// Opens five sockets, and counts those that it was refused.
const SOCKETS: &str = "
    local task, udp = require(\"@netserv/task\"), require(\"@netserv/udp\")
    function M.start(ctx)
        for i = 1, 5 do
            task.spawn(function()
                local ok, says = pcall(udp.open, { port = 7000 + i })
                if not ok then ctx:log(\"info\", says) end
            end)
        end
    end";

#[test]
fn sockets_beyond_the_limit_are_refused_and_those_of_others_are_not() {
    let manifest = "[permissions]\nlisten = [\"udp:*\"]\n";
    let mut w =
        World::new().with("m", &format!("{manifest}[limits]\nsockets = 3\n"), SOCKETS).with("other", manifest, SOCKETS);
    let of = |w: &World, name: &str| {
        let id = w.view(name).id;
        w.net.iter().filter(|o| matches!(o, NetOutput::Bind { socket, .. } if socket.instance == id)).count()
    };
    assert_eq!((of(&w, "m"), of(&w, "other")), (3, 5));
    assert_eq!((w.hits("m", "sockets"), w.hits("other", "sockets"), w.told("sockets")), (2, 0, 1));
    let logged =
        |event: &&Event| matches!(event, Event::Log { text, .. } if text.contains("limit sockets (3) exceeded"));
    assert_eq!(w.events.iter().filter(logged).count(), 2);
    // What comes to the three is metered; what finds no room is a limit that was reached, and is told.
    let a = socket(&w, 1);
    let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7001);
    w.net(a, NetEvent::Opened { local, peer: None, protocol: None });
    let (peer, bytes) = (SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9), [0; 100]);
    let datagram = Datagram { from: peer, to: Some(local.ip()), bytes: &bytes };
    for _ in 0..limits::SOCKET_DATAGRAMS_MAX + 7 {
        w.net(a, NetEvent::Datagrams(&[datagram]));
    }
    assert_eq!((w.hits("m", "datagrams"), w.hits("other", "datagrams"), w.told("datagrams")), (7, 0, 1));
    let rows = w.node.usage(w.now, 0);
    let came: Vec<u64> = rows.iter().map(|row| row.usage.bytes_in).collect();
    assert_eq!(came, [100 * (limits::SOCKET_DATAGRAMS_MAX as u64 + 7), 0]);
    assert!(w.view("m").faults.is_empty());
}

#[test]
fn a_listener_waits_while_all_sockets_are_in_use_and_a_stream_too_many_is_turned_away() {
    let code = "
        local task, tcp = require(\"@netserv/task\"), require(\"@netserv/tcp\")
        function M.start(ctx)
            task.spawn(function() assert(tcp.listen({ port = 80 })):serve(function(s) s:read() end) end)
        end";
    let mut w = World::new().with("m", "[permissions]\nlisten = [\"tcp:80\"]\n[limits]\nsockets = 3\n", code);
    let (a, local) = (socket(&w, 1), SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80));
    w.net(a, NetEvent::Opened { local, peer: None, protocol: None });
    for i in 0..4 {
        let stream = SocketId { number: SocketId::ACCEPTED | i, ..a };
        w.net(a, NetEvent::Accepted { stream, local, peer: local, protocol: None });
    }
    assert_eq!(w.net.iter().filter(|output| **output == NetOutput::Pause(a)).count(), 1);
    let away = |output: &&NetOutput| matches!(output, NetOutput::Close { abort: true, .. });
    assert_eq!(w.net.iter().filter(away).count(), 2);
    assert_eq!((w.hits("m", "sockets"), w.told("sockets")), (3, 1), "it waited once, and two were turned away");
}

#[test]
fn bytes_beyond_the_storage_limit_are_refused_and_what_is_kept_is_in_the_ledger() {
    let code = "
        local kv = require(\"@netserv/kv\")
        function M.start(ctx)
            local kept = 0
            for i = 1, 20 do
                local ok, says = pcall(kv.set, `key {i}`, string.rep(\"x\", 100))
                if ok then kept += 1 end
            end
            ctx:log(\"info\", `{kept} {kv.used()}`)
        end";
    let manifest = |bytes: u64| format!("[permissions]\nstore = true\n[limits]\nstorage_bytes = {bytes}\n");
    let mut w = World::new().with("m", &manifest(1_000), code).with("other", &manifest(100_000), code);
    let logged = |event: &Event| {
        let Event::Log { instance, text, .. } = event else { return None };
        let (kept, bytes) = text.split_once(' ').unwrap();
        Some((instance.clone(), (kept.parse().unwrap(), bytes.parse().unwrap())))
    };
    let kept: BTreeMap<String, (u64, u64)> = w.events.iter().filter_map(logged).collect();
    let refused = 20 - kept["m"].0;
    // What is kept counts with its keys, and something for each.
    assert!((600..=1_000).contains(&kept["m"].1) && refused > 10, "{kept:?}");
    assert_eq!(kept["other"].0, 20);
    assert_eq!((w.hits("m", "storage_bytes"), w.hits("other", "storage_bytes")), (refused, 0));
    assert_eq!(w.told("storage_bytes"), 1);
    // 100 s of what is kept, in kB-seconds.
    w.advance(Duration::from_secs(100));
    for row in w.node.usage(w.now, 0) {
        let (_, bytes) = kept[&row.account.instance];
        assert_eq!(row.usage.stored_kb_s, bytes / 10, "{}", row.account.instance);
    }
}

#[test]
fn faults_by_a_limit_are_among_its_hits() {
    let manifest = format!("{UDP}[limits]\nmemory_bytes = 4194304\n");
    let code = "local t = {}\nfunction M.on_packet(p) while true do t[#t + 1] = buffer.create(100000) end end";
    let mut w = World::new().with("m", &manifest, code);
    let _ = w.udp(1000);
    assert_eq!(w.hits("m", "memory_bytes"), 1);
}

#[test]
fn the_ledger_says_what_was_driven_by_day_and_survives_unloading_and_restarts() {
    let code = "function M.on_packet(p) if p:payload_length() == 2 then M.ctx:inject(M.packet, \"back\") end end
        function M.start(ctx)
            M.ctx = ctx
            M.packet = require(\"@netserv\").from_hex(\"4500001e00000000401100000a0000010a00000207d003e8000a00007879\")
        end";
    let drop = "function M.on_packet(p) return \"drop\" end";
    let mut w = World::new()
        .with("answers", &format!("{UDP}[permissions]\ninject = true\nanswer_for = [\"any\"]\n"), code)
        .with("drops", &format!("[packets]\ndrops = true\n{UDP}"), drop);
    w.node.keep_usage(w.now, None).unwrap();
    for _ in 0..50 {
        let _ = w.udp(1000);
    }
    let a = SocketId { instance: w.view("drops").id, number: 1 };
    w.net(a, NetEvent::Received(&[0; 777]));
    w.advance(Duration::from_secs(100));
    let row = |w: &mut World, instance: &str, since| {
        w.node.usage(w.now, since).into_iter().find(|row| row.account.instance == instance).expect("it is there")
    };
    let answers = row(&mut w, "answers", 3);
    assert_eq!((answers.account.day, answers.account.requester.as_str()), (3, ledger::OWNER));
    let usage = answers.usage;
    assert_eq!((usage.packets_seen, usage.packets_changed, usage.packets_injected), (50, 0, 50));
    // The entry file, `start`, and 50 packets.
    assert_eq!((usage.bytes_out, usage.calls, usage.running_ms), (1_500, 52, 100_000));
    let memory = w.view("answers").memory_bytes * 100 / 1_000;
    assert!(usage.memory_kb_s.abs_diff(memory) < memory / 5, "{} {memory}", usage.memory_kb_s);
    let usage = row(&mut w, "drops", 0).usage;
    assert_eq!((usage.packets_seen, usage.packets_changed, usage.bytes_in), (50, 50, 777));

    w.node.handle(w.now, Input::Command(2, Command::Unload { name: "drops".to_owned() }));
    w.drain();
    // Another day.
    w.advance(Duration::from_secs(86_400));
    let _ = w.udp(1000);
    assert_eq!(w.node.usage(w.now, 4).iter().map(|row| row.usage.packets_injected).sum::<u64>(), 1);
    let all = w.node.usage(w.now, 0);
    assert_eq!(all.iter().map(|row| row.usage.packets_seen).sum::<u64>(), 101);
    assert!(w.kept.len() > 1_000, "it is kept every minute");

    w.node.shut_down(w.now, "test");
    w.drain();
    let Some(StoreOp::Put { key, bytes }) = w.kept.pop() else { panic!("the ledger was kept") };
    assert_eq!(key, ledger::KEY);
    let mut again = World::new();
    again.node.keep_usage(again.now, Some(&bytes)).unwrap();
    let sum = |rows: &[UsageRow]| rows.iter().map(|row| row.usage.packets_seen).sum::<u64>();
    assert_eq!(sum(&again.node.usage(again.now, 0)), 101);
}

//! Many instances on one node: memory and time to start of each, for the template and for a module that sees no packets.
#![expect(clippy::print_stdout, reason = "the figures are what this is for")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use netserv::base::id::LinkId;
use netserv::base::limits;
use netserv::base::packet::{Offload, PacketMut};
use netserv::base::time::{Instant, WallTime};
use netserv::container::module::Module;
use netserv::container::source::ModuleSource;
use netserv::container::surroundings::CpuGuard;
use netserv::container::watch::Watch;
use netserv::node::{Command, Input, InstanceView, LinkConfig, LinkKind, Node, NodeConfig, Output};

const COUNT: usize = 1_000;
/// Runs of each row of the table of shares.
const ROUNDS: usize = 3;

const LIGHT_MANIFEST: &str = "name = \"light\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"Sees no packets.\"\n\
                              licence = \"Apache-2.0\"\n";
const LIGHT_CODE: &str = "--!strict\nlocal M = {}\n\nfunction M.start(ctx: Context)\n  ctx:every(60, function()\n    \
                          ctx:log(\"info\", \"still here\")\n  end)\nend\n\nreturn M\n";

fn light() -> Module {
    let files = [("module.toml", LIGHT_MANIFEST), ("init.luau", LIGHT_CODE)];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    Module::check(ModuleSource { files: BTreeMap::from(files) }).expect("the module is right")
}

fn template() -> Module {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("modules/_template");
    let mut source = ModuleSource::default();
    for file in ["module.toml", "init.luau"] {
        source.files.insert(file.to_owned(), fs::read(folder.join(file)).expect("the template is there"));
    }
    Module::check(source).expect("the template is right")
}

/// Memory of this process that is in RAM, in bytes; `None` where the system does not tell.
fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn node() -> Node {
    let mut node = Node::new(NodeConfig {
        flows_max: limits::FLOWS_DEFAULT,
        capture: Vec::new(),
        seed: 1,
        wall: WallTime::from_nanos(0),
        cpu: CpuGuard::Watch(Watch::with_clock(platform::thread::cpu_ns)),
    });
    node.add_link(LinkConfig { name: "tun".to_owned(), kind: LinkKind::Tun });
    node
}

/// Gives the order to load, and takes what comes out.
fn load(node: &mut Node, module: &Module, name: String) {
    let command =
        Command::Load { module: module.clone(), name: Some(name), properties: toml::Table::new(), grant: None };
    node.handle(Instant::START, Input::Command(0, command));
    loop {
        match node.poll() {
            Output::Idle { .. } => return,
            Output::Answer(_, answer) => drop(answer.expect("the module can be loaded")),
            Output::Transmit { .. } | Output::Steer(_) | Output::Event(_) | Output::Errand(_) | Output::Net(_) => {}
        }
    }
}

/// Starts [`COUNT`] instances, and prints a row of the table. The node stays, so that the next row begins with no memory
/// that was given back.
fn row(name: &str, module: &Module) -> Node {
    let mut node = node();
    load(&mut node, module, "first".to_owned());
    let before = resident_bytes();
    let mut starts_us = Vec::with_capacity(COUNT);
    for number in 0..COUNT {
        let began = std::time::Instant::now();
        load(&mut node, module, format!("n{number}"));
        starts_us.push(began.elapsed().as_nanos() as f64 / 1e3);
    }
    let after = resident_bytes();
    starts_us.sort_by(f64::total_cmp);
    let resident = match (before, after) {
        (Some(before), Some(after)) => format!("{}", (after - before) / COUNT as u64 / 1024),
        _ => "-".to_owned(),
    };
    let vm = node.instances()[0].memory_bytes / 1024;
    println!("| {name} | {resident} | {vm} | {:.0} | {:.0} |", starts_us[COUNT / 2], starts_us[COUNT / 10]);
    node
}

/// A module that looks at UDP to one port; each packet takes it `turns` turns of an empty loop.
fn worker(name: &str, port: u16, turns: u32, share_percent: u32) -> Module {
    let manifest = format!(
        "name = \"{name}\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"Works.\"\nlicence = \"Apache-2.0\"\n\
         [[filters]]\nprotocol = \"udp\"\nto_port = {port}\n[limits]\ncpu_share_percent = {share_percent}\n"
    );
    let code = format!("return {{ on_packet = function(packet) for i = 1, {turns} do end end }}\n");
    let files = [("module.toml", manifest), ("init.luau", code)];
    let files = files.map(|(path, text)| (path.to_owned(), text.into_bytes()));
    Module::check(ModuleSource { files: BTreeMap::from(files) }).expect("the module is right")
}

/// A UDP packet over IPv4, without checksums.
fn packet(port: u16) -> Vec<u8> {
    let mut bytes =
        vec![0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 1, 2, 198, 18, 2, 2, 0x4e, 0x20, 0, 0, 0, 26, 0, 0];
    bytes[22..24].copy_from_slice(&port.to_be_bytes());
    bytes.resize(46, 0);
    bytes
}

/// What came of one run of a quick and a busy module.
#[derive(Clone, Copy)]
struct Shares {
    /// Packets that the quick one saw, thousands per CPU-second.
    rate: f64,
    quick_percent: f64,
    busy_percent: f64,
    /// Of its packets, those that the busy one saw, in percent.
    seen_percent: f64,
}

/// Runs a quick and a busy module for two seconds, each with as many packets as the node takes in turn. The node's time is
/// the thread's CPU time: so it is as on a machine that does nothing else.
fn shares(busy: Option<&Module>) -> Shares {
    const RUN: Duration = Duration::from_secs(2);
    let mut node = node();
    load(&mut node, &worker("quick", 1, 10, 100), "quick".to_owned());
    if let Some(busy) = busy {
        load(&mut node, busy, "busy".to_owned());
    }
    let packets = [packet(1), packet(2)];
    let began_ns = platform::thread::cpu_ns();
    let mut room = [0; 128];
    let mut now = Instant::START;
    while now.since(Instant::START) < RUN {
        now = Instant::from_nanos(platform::thread::cpu_ns() - began_ns);
        node.handle(now, Input::Wakeup);
        while !matches!(node.poll(), Output::Idle { .. }) {}
        // A turn of the driver: up to 64 packets of each flow.
        for bytes in packets.iter().flat_map(|bytes| [bytes; 64]) {
            room[..bytes.len()].copy_from_slice(bytes);
            let _ = node.packet(now, LinkId(0), &mut PacketMut::new(&mut room, bytes.len(), Offload::default()));
        }
    }
    let cpu = (platform::thread::cpu_ns() - began_ns) as f64 / 1e3;
    let view = |name: &str| node.instances().into_iter().find(|view| view.name == name);
    let percent = |view: Option<&InstanceView>| view.map_or(0.0, |view| 100.0 * view.usage.cpu_us as f64 / cpu);
    let (quick, busy) = (view("quick").expect("it runs"), view("busy"));
    let of_all = |view: &InstanceView| {
        100.0 * view.packets_seen as f64 / (view.packets_seen + view.packets_unseen).max(1) as f64
    };
    Shares {
        rate: quick.packets_seen as f64 / cpu * 1e3,
        quick_percent: percent(Some(&quick)),
        busy_percent: percent(busy.as_ref()),
        seen_percent: busy.as_ref().map_or(0.0, of_all),
    }
}

/// Prints the table of shares: of [`ROUNDS`] runs of each row, by turns, the one in the middle.
fn fairness() {
    // Some 50 us for each packet.
    let busy = [1, 10, 25, 100].map(|share| (format!("a busy one, share {share} %"), worker("busy", 2, 20_000, share)));
    let rows = [("nothing".to_owned(), None)].into_iter().chain(busy.into_iter().map(|(name, m)| (name, Some(m))));
    let rows: Vec<(String, Option<Module>)> = rows.collect();
    let mut runs: Vec<Vec<Shares>> = vec![Vec::new(); rows.len()];
    for _ in 0..ROUNDS {
        for ((_, busy), runs) in rows.iter().zip(&mut runs) {
            runs.push(shares(busy.as_ref()));
        }
    }
    let middle = |runs: &mut Vec<Shares>| {
        runs.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        runs[ROUNDS / 2]
    };
    let medians: Vec<Shares> = runs.iter_mut().map(middle).collect();
    let alone = medians[0].rate;
    println!(
        "\n| beside the quick module | packets it saw, 1000 per CPU-second | its CPU, % | CPU of the busy one, % | \
         packets that one saw, % | kept, of what that one's CPU leaves, % |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for ((name, _), Shares { rate, quick_percent, busy_percent, seen_percent }) in rows.iter().zip(&medians) {
        let kept = 100.0 * rate / (alone * (1.0 - busy_percent / 100.0));
        println!("| {name} | {rate:.0} | {quick_percent:.1} | {busy_percent:.1} | {seen_percent:.1} | {kept:.0} |");
    }
}

fn main() {
    println!("{COUNT} instances on one node\n");
    println!("| module | KB in RAM, each | KB of the VM | us to start, median | fastest tenth |");
    println!("|---|---:|---:|---:|---:|");
    let nodes = [row("without packets", &light()), row("template", &template())];
    assert!(nodes.iter().all(|node| node.instances().len() == COUNT + 1));
    drop(nodes);
    fairness();
}

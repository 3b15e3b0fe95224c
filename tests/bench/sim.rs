//! The simulator at size: a thousand nodes on a grid, and ten thousand sessions of one packet per second each.
//!
//! Prints virtual seconds per real second, packets over links per real second, and memory per node.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench: what fails must stop it, and figures are printed"
)]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use netserv::base::rng::Rng;
use netserv::base::time::Instant;
use netserv::container::module::Module;
use netserv::container::source::ModuleSource;
use netserv::drivers::sim::{LinkConfig, LinkQuality, MachineConfig, MachineId, MachineKind, Sim};

const SIDE: usize = 32;
const NODES: usize = 1_000;
const HOSTS: usize = 200;
const SESSIONS_PER_HOST: usize = 50;
const VIRTUAL_S: u64 = 20;

const MANIFEST: &str = r#"
name = "sessions"
version = "1.0.0"
api = 1
summary = "Sends and takes datagrams."
authors = []
licence = "Apache-2.0"
[permissions]
listen = ["udp:*"]
connect = ["udp:*"]
[config.peers]
type = "list of string"
default = []
meaning = "To whom one datagram is sent each second."
[counters]
came = "Datagrams that came."
"#;

const CODE: &str = r#"--!strict
local udp = require("@netserv/udp")
local task = require("@netserv/task")
local M = {}
function M.run(ctx)
  local came = ctx:counter("came")
  local server = assert(udp.open({ port = 9 }))
  task.spawn(function()
    while true do
      came:add(#(server:receive_many() :: any))
    end
  end)
  local socket = assert(udp.open({ port = 0 }))
  local peers: any = ctx.config.peers
  while true do
    for _, peer in peers do
      socket:send("a datagram of a session", peer, 9)
    end
    task.sleep(1)
  end
end
return M
"#;

/// Only counts what passes: each flow is matched once, and then known.
const WATCHER: &str = "name = \"watcher\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"Looks at flows.\"\nauthors = []\n\
    licence = \"Apache-2.0\"\n[[filters]]\nprotocol = \"udp\"\nto_port = 9\n";
const WATCHER_CODE: &str =
    "--!strict\nlocal M = {}\nfunction M.on_packet(packet: Packet): Verdict\n  return \"pass\"\nend\nreturn M\n";

fn module(manifest: &str, code: &str) -> Module {
    let files = [("module.toml", manifest), ("init.luau", code)];
    let files: BTreeMap<_, _> =
        files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    Module::check(ModuleSource { files }).unwrap()
}

fn address(kind: u8, number: usize) -> IpAddr {
    Ipv4Addr::new(10, kind, (number / 250) as u8, (number % 250 + 1) as u8).into()
}

/// Resident memory of this process, in bytes; 0 where that cannot be read.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

fn grid(sim: &mut Sim) -> Vec<MachineId> {
    let quality =
        LinkQuality { delay: Duration::from_millis(2), rate_bps: Some(100_000_000), ..LinkQuality::default() };
    let nodes: Vec<MachineId> = (0..NODES)
        .map(|number| {
            let config = MachineConfig::new(&format!("n{number}"), MachineKind::Node, &[address(1, number)]);
            sim.add_machine(config).unwrap()
        })
        .collect();
    for number in 0..NODES {
        let right = Some(number + 1).filter(|right| right % SIDE != 0);
        for other in [right, Some(number + SIDE)].into_iter().flatten().filter(|other| *other < NODES) {
            sim.add_link(LinkConfig::new(nodes[number], nodes[other], quality)).unwrap();
        }
    }
    nodes
}

fn main() {
    let (mut sim, mut rng) = (Sim::new(1), Rng::seeded(1));
    let before = resident_bytes();
    let nodes = grid(&mut sim);
    let bare = resident_bytes();
    let watcher = module(WATCHER, WATCHER_CODE);
    for node in &nodes {
        sim.load(*node, watcher.clone(), None, toml::Table::new()).unwrap().unwrap();
    }
    let loaded = resident_bytes();
    let application = module(MANIFEST, CODE);
    let hosts: Vec<MachineId> = (0..HOSTS)
        .map(|number| {
            let config = MachineConfig::new(&format!("h{number}"), MachineKind::Host, &[address(2, number)]);
            let host = sim.add_machine(config).unwrap();
            let node = nodes[rng.below(NODES as u64) as usize];
            sim.add_link(LinkConfig::new(host, node, LinkQuality::delay(Duration::from_millis(1)))).unwrap();
            host
        })
        .collect();
    for host in &hosts {
        let peers = (0..SESSIONS_PER_HOST).map(|_| address(2, rng.below(HOSTS as u64) as usize).to_string());
        let peers = toml::Value::Array(peers.map(toml::Value::String).collect());
        let properties = [("peers".to_owned(), peers)].into_iter().collect();
        sim.load(*host, application.clone(), None, properties).unwrap().unwrap();
    }
    // The first second finds the ways and fills the flow caches.
    sim.run_until(Instant::START + Duration::from_secs(1));
    let began = std::time::Instant::now();
    let first = sim.happened().0;
    sim.run_until(Instant::START + Duration::from_secs(1 + VIRTUAL_S));
    let took = began.elapsed().as_secs_f64();
    let events = sim.happened().0 - first;
    println!("{NODES} nodes, {} sessions, {VIRTUAL_S} virtual seconds in {took:.2} s", HOSTS * SESSIONS_PER_HOST);
    println!(
        "{:.1} virtual seconds per second, {:.0} events per second",
        VIRTUAL_S as f64 / took,
        events as f64 / took
    );
    println!(
        "{} KiB per node, {} KiB with a module",
        (bare - before) / 1_024 / NODES as u64,
        (loaded - before) / 1_024 / NODES as u64
    );
    println!("{} MiB in all", resident_bytes() >> 20);
}

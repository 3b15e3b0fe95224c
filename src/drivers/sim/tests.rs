//! Small networks with real nodes, hosts and modules.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::container::module::Module;
use crate::container::source::ModuleSource;
use crate::node::Event;

mod machines;
mod streams;

const MS: Duration = Duration::from_millis(1);

/// Addresses as text.
fn addresses(text: &str) -> Vec<IpAddr> {
    text.split(' ').map(|address| address.parse().unwrap()).collect()
}

fn add(sim: &mut Sim, name: &str, kind: MachineKind, text: &str) -> MachineId {
    sim.add_machine(MachineConfig::new(name, kind, &addresses(text))).unwrap()
}

fn join(sim: &mut Sim, one: MachineId, other: MachineId, quality: LinkQuality) -> LinkId {
    sim.add_link(LinkConfig::new(one, other, quality)).unwrap()
}

/// a - r - b, where r is a node.
struct Line {
    sim: Sim,
    a: MachineId,
    r: MachineId,
    b: MachineId,
    /// a - r and r - b.
    links: [LinkId; 2],
}

fn line(seed: u64, quality: LinkQuality) -> Line {
    let mut sim = Sim::new(seed);
    let a = add(&mut sim, "a", MachineKind::Host, "10.0.0.1 fd00::1");
    let r = add(&mut sim, "r", MachineKind::Node, "10.0.1.1 fd00:1::1");
    let b = add(&mut sim, "b", MachineKind::Host, "10.0.2.1 fd00:2::1");
    let links = [join(&mut sim, a, r, quality), join(&mut sim, r, b, quality)];
    Line { sim, a, r, b, links }
}

/// A module of one file.
fn application(code: &str) -> Module {
    let manifest = "name = \"app\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"For a test.\"\nauthors = []\n\
        licence = \"Apache-2.0\"\n[permissions]\nlisten = [\"tcp:*\", \"udp:*\"]\nconnect = [\"tcp:*\", \"udp:*\"]\n";
    module(manifest, code)
}

fn module(manifest: &str, code: &str) -> Module {
    let code = format!("--!strict\n{code}");
    let files = [("module.toml", manifest), ("init.luau", code.as_str())];
    let files: BTreeMap<_, _> =
        files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    Module::check(ModuleSource { files }).unwrap()
}

fn load(sim: &mut Sim, machine: MachineId, module: Module) {
    sim.load(machine, module, None, toml::Table::new()).unwrap().unwrap();
}

/// The lines that the modules of a machine wrote, with the times in ms.
fn said(sim: &mut Sim, machine: MachineId) -> Vec<(u64, String)> {
    let events = sim.take_events(machine).into_iter().filter_map(|(at, event)| match event {
        Event::Log { text, .. } => Some((at.as_nanos() / 1_000_000, text)),
        Event::Erred { fault, .. } | Event::Failed { fault, .. } => panic!("{fault}"),
        Event::Started { .. }
        | Event::OverBudget { .. }
        | Event::Unloaded { .. }
        | Event::Signal(_)
        | Event::Note(_) => None,
    });
    events.collect()
}

fn words(said: &[(u64, String)]) -> Vec<&str> {
    said.iter().map(|(_, text)| text.as_str()).collect()
}

fn at(ms: u64) -> Instant {
    Instant::START + Duration::from_millis(ms)
}

//! Runs a module's tests: each case makes nodes that run the module on virtual time.

mod net;
mod packets;

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::base::id::LinkId;
use crate::base::limits::{GROWTH_BYTES_MAX, SCRIPT_WAKEUPS_MAX};
use crate::base::machine::{FixedMachine, MachineFacts};
use crate::base::packet::{Offload, PacketMut};
use crate::base::time::{Instant, WallTime};
use crate::container::instance::LogLevel;
use crate::container::module::Module;
use crate::container::script::{self, CaseResult, Decoded, Leaving, NetAnswer, NetOp, PacketSpec, Sent, TestHost};
use crate::container::surroundings::CpuGuard;
use crate::drivers::loopback_net::OUTSIDE;
use crate::drivers::modtest::net::TestNet;
use crate::drivers::module_dir::{self, ModuleDirError};
use crate::node::{Command, Decision, Event, Input, LinkConfig, LinkKind, Node, NodeConfig, Output};

/// What the module under test is called in its nodes.
const INSTANCE: &str = "module";
/// What the wall clock shows when a test's node is made: 2026-01-01 00:00:00 UTC.
const WALL: WallTime = WallTime::from_nanos(1_767_225_600_000_000_000);
/// Flows that a test's node remembers at once.
const FLOWS: u32 = 4_096;
/// The link by which a test's packets come in, unless it says otherwise.
const FRONT: LinkId = LinkId(0);
/// The link by which they go on.
const BACK: LinkId = LinkId(1);

/// How the tests of a module ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestReport {
    /// The module's name.
    pub module: String,
    /// All cases, in the order in which they ran.
    pub cases: Vec<CaseResult>,
}

impl TestReport {
    /// Whether there were tests, and none failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.cases.is_empty() && self.failures() == 0
    }

    /// How many cases failed.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.cases.iter().filter(|case| case.failure.is_some()).count()
    }
}

impl fmt::Display for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            let word = if case.failure.is_some() { "FAILED" } else { "ok" };
            let name = if case.name.is_empty() { "(the script itself)" } else { &case.name };
            writeln!(f, "{word:6} {}: {name}", case.file)?;
            for line in case.failure.iter().flat_map(|failure| failure.lines()) {
                writeln!(f, "       {line}")?;
            }
        }
        match self.cases.len() {
            0 => write!(f, "{}: no tests; write some into tests/NAME.luau", self.module),
            count => write!(f, "{}: {} of {count} cases passed", self.module, count - self.failures()),
        }
    }
}

/// Runs the tests of the module in the folder `dir`: its `tests/*.luau`. Libraries that it requires are in folders beside
/// it, or in one of `libraries`.
///
/// # Errors
///
/// When there is no right module.
pub fn test(dir: &Path, libraries: &[PathBuf]) -> Result<TestReport, ModuleDirError> {
    Ok(test_module(&module_dir::load_to_run(dir, libraries)?))
}

/// Runs the tests of a module.
#[must_use]
pub fn test_module(module: &Module) -> TestReport {
    let run = |path| script::run(&module.source, path, Box::new(Bench::new(module.clone())));
    TestReport { module: module.manifest.name.clone(), cases: module.source.test_paths().flat_map(run).collect() }
}

/// What an instance did by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AloneReport {
    /// What it logged: level and text.
    pub log: Vec<(String, String)>,
    /// What it did wrong.
    pub faults: Vec<String>,
}

/// Runs a module on virtual time for so long, with its sockets in memory and no packets.
///
/// # Errors
///
/// Why it was not loaded, or that it never comes to rest.
pub fn run_alone(module: &Module, time: Duration) -> Result<AloneReport, String> {
    let mut bench = Bench::new(module.clone());
    let number = bench.new_node(None, toml::Table::new())?;
    let node = bench.node(number)?;
    node.advance(time)?;
    Ok(AloneReport { log: std::mem::take(&mut node.log), faults: std::mem::take(&mut node.faults) })
}

/// The nodes of one script.
struct Bench {
    module: Module,
    nodes: Vec<TestNode>,
    /// How many nodes earlier cases had: their numbers are not used again.
    forgotten: usize,
}

/// A node that runs the module between two links, and what came out of it that was not asked for yet.
struct TestNode {
    node: Node,
    now: Instant,
    /// What the module is told of the machine.
    machine: Rc<FixedMachine>,
    /// When the node wants to be woken.
    deadline: Option<Instant>,
    /// By which link the last packet came.
    last_from: LinkId,
    left: Vec<Leaving>,
    log: Vec<(String, String)>,
    faults: Vec<String>,
    net: TestNet,
}

impl Bench {
    fn new(module: Module) -> Bench {
        Bench { module, nodes: Vec::new(), forgotten: 0 }
    }

    fn node(&mut self, number: usize) -> Result<&mut TestNode, String> {
        let at = number.checked_sub(self.forgotten).filter(|at| *at < self.nodes.len());
        at.map(|at| &mut self.nodes[at]).ok_or_else(|| "this node belongs to another case; make a new one".to_owned())
    }
}

impl TestHost for Bench {
    fn new_node(&mut self, entry: Option<String>, properties: toml::Table) -> Result<usize, String> {
        let mut module = self.module.clone();
        if let Some(entry) = entry {
            let mut manifest = (*module.manifest).clone();
            manifest.entry = entry;
            module.manifest = std::rc::Rc::new(manifest);
        }
        let mut node = Node::new(NodeConfig {
            flows_max: FLOWS,
            capture: Vec::new(),
            seed: 1,
            wall: WALL,
            cpu: CpuGuard::Safepoints,
        });
        node.add_link(LinkConfig { name: "front".to_owned(), kind: LinkKind::Inline { to: BACK } });
        node.add_link(LinkConfig { name: "back".to_owned(), kind: LinkKind::Inline { to: FRONT } });
        let now = Instant::START;
        let machine = Rc::new(FixedMachine::default());
        node.set_machine(machine.clone());
        let mut node = TestNode {
            node,
            now,
            machine,
            deadline: None,
            last_from: FRONT,
            left: vec![],
            log: vec![],
            faults: vec![],
            net: TestNet::default(),
        };
        let command = Command::Load { module, name: Some(INSTANCE.to_owned()), properties, grant: None };
        node.command(command)?;
        node.settle()?;
        self.nodes.push(node);
        Ok(self.forgotten + self.nodes.len() - 1)
    }

    fn build(&mut self, spec: &PacketSpec) -> Result<Vec<u8>, String> {
        packets::build(spec)
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, String> {
        packets::decode(bytes)
    }

    fn send(&mut self, node: usize, bytes: Vec<u8>, from_back: bool) -> Result<Sent, String> {
        Ok(self.node(node)?.send(&bytes, if from_back { BACK } else { FRONT }))
    }

    fn advance(&mut self, node: usize, by: Duration) -> Result<Vec<Leaving>, String> {
        self.node(node)?.advance(by)
    }

    fn counters(&mut self, node: usize) -> Result<Vec<(String, u64)>, String> {
        let views = self.node(node)?.node.instances();
        Ok(views.into_iter().next().map(|view| view.counters).unwrap_or_default())
    }

    fn packets_seen(&mut self, node: usize) -> Result<(u64, u64), String> {
        let views = self.node(node)?.node.instances();
        Ok(views.first().map_or((0, 0), |view| (view.packets_seen, view.packets_native)))
    }

    fn report(&mut self, node: usize) -> Result<serde_json::Value, String> {
        let node = self.node(node)?;
        let report = node.node.report(node.now, INSTANCE);
        node.drain();
        report
    }

    fn log(&mut self, node: usize) -> Result<Vec<(String, String)>, String> {
        Ok(std::mem::take(&mut self.node(node)?.log))
    }

    fn faults(&mut self, node: usize) -> Result<Vec<String>, String> {
        Ok(std::mem::take(&mut self.node(node)?.faults))
    }

    fn set_machine(&mut self, node: usize, facts: MachineFacts) -> Result<(), String> {
        let node = self.node(node)?;
        let change = node.machine.set(facts);
        node.node.handle(node.now, Input::MachineChanged(change));
        node.drain();
        Ok(())
    }

    fn net(&mut self, node: usize, op: NetOp) -> Result<NetAnswer, String> {
        let node = self.node(node)?;
        let opened = node.net.begin(&op)?;
        node.settle()?;
        Ok(node.net.outside.answer(&op, opened))
    }

    fn unload(&mut self, node: usize) -> Result<(), String> {
        let node = self.node(node)?;
        node.command(Command::Unload { name: INSTANCE.to_owned() })?;
        node.settle()
    }

    fn end_case(&mut self) -> Vec<String> {
        self.forgotten += self.nodes.len();
        self.nodes.drain(..).flat_map(|node| node.faults).collect()
    }
}

impl TestNode {
    /// Takes all outputs. Returns the answer to a command, if one came.
    fn drain(&mut self) -> Option<Result<(), String>> {
        let mut answer = None;
        loop {
            match self.node.poll() {
                Output::Transmit { link, packet } => {
                    self.left.push(Leaving { bytes: packet.bytes.clone(), back: link == self.last_from });
                    self.node.recycle(packet);
                }
                // Nobody signals in a test of a module.
                Output::Steer(_) | Output::Errand(_) => {}
                Output::Net(output) => self.net.net.perform(output),
                Output::Answer(_, result) => answer = Some(result.map(|_| ()).map_err(|error| error.to_string())),
                Output::Event(event) => self.event(event),
                Output::Idle { deadline } => {
                    self.deadline = deadline.map(|(at, _)| at);
                    return answer;
                }
            }
        }
    }

    /// Gives the node what happens to its sockets, until nothing more does.
    fn settle(&mut self) -> Result<(), String> {
        self.drain();
        for _ in 0..SCRIPT_WAKEUPS_MAX {
            let (node, now) = (&mut self.node, self.now);
            let TestNet { net, outside } = &mut self.net;
            let came = net.next_event(|socket, event| match socket.instance {
                OUTSIDE => outside.happened(socket.number, event),
                _ => node.handle(now, Input::Net(socket, event)),
            });
            if !came {
                self.tell_lost();
                return Ok(());
            }
            self.drain();
        }
        Err(format!("the module's sockets do not come to rest: more than {SCRIPT_WAKEUPS_MAX} events at one time"))
    }

    /// What the network around the node has lost stands in the log, so that nobody looks for it in the module.
    fn tell_lost(&mut self) {
        let lost = self.net.net.take_lost() + self.net.outside.take_lost();
        if lost > 0 {
            let text = format!("the test's network lost {lost} datagrams: too many waited in a socket");
            self.log.push(("warn".to_owned(), text));
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Log { level, text, .. } => {
                let level = match level {
                    LogLevel::Debug => "debug",
                    LogLevel::Info => "info",
                    LogLevel::Warn => "warn",
                };
                self.log.push((level.to_owned(), text));
            }
            Event::Erred { fault, .. } | Event::Failed { fault, .. } => self.faults.push(fault.to_string()),
            Event::Started { .. }
            | Event::OverBudget { .. }
            | Event::Unloaded { .. }
            | Event::Signal(_)
            | Event::Note(_) => {}
        }
    }

    fn command(&mut self, command: Command) -> Result<(), String> {
        self.node.handle(self.now, Input::Command(0, command));
        self.drain().unwrap_or_else(|| Err("the node did not answer".to_owned()))
    }

    fn send(&mut self, bytes: &[u8], from: LinkId) -> Sent {
        self.last_from = from;
        let mut room = bytes.to_vec();
        room.resize(bytes.len() + GROWTH_BYTES_MAX, 0);
        let mut packet = PacketMut::new(&mut room, bytes.len(), Offload::default());
        let decision = self.node.packet(self.now, from, &mut packet);
        let out = packet.bytes().to_vec();
        let (verdict, reason) = match decision {
            Decision::Forward(link) if link == from => ("reply", None),
            Decision::Forward(_) | Decision::Taken => ("pass", None),
            Decision::Drop(reason) => ("drop", Some(reason.name())),
        };
        let changed = reason.is_none() && out != bytes;
        if let Decision::Forward(link) = decision {
            self.left.insert(0, Leaving { bytes: out, back: link == from });
        }
        // A module that never rests is found by the next call that can say so.
        let _ = self.settle();
        Sent { verdict, reason, changed, packets: std::mem::take(&mut self.left) }
    }

    fn advance(&mut self, by: Duration) -> Result<Vec<Leaving>, String> {
        let until = self.now + by;
        for _ in 0..SCRIPT_WAKEUPS_MAX {
            let Some(deadline) = self.deadline.filter(|at| *at <= until) else {
                self.now = until;
                return Ok(std::mem::take(&mut self.left));
            };
            self.now = self.now.max(deadline);
            self.node.handle(self.now, Input::Wakeup);
            self.settle()?;
        }
        Err(format!("more than {SCRIPT_WAKEUPS_MAX} timers fired; advance by less, or make the timers slower"))
    }
}

#[cfg(test)]
mod tests;

//! Driving the nodes: one input, then all outputs, as the contract in src/node.rs says.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::base::limits::SIM_LOOKUP_TIME;
use crate::base::machine::MachineChange;
use crate::base::net::{Family, NetOutput, SocketId};
use crate::base::storage::Stores;
use crate::base::time::Instant;
use crate::container::module::Module;
use crate::controller::ledger;
use crate::drivers::sim::computer::Kept;
use crate::drivers::sim::config::MachineId;
use crate::drivers::sim::stack::{Out, Told};
use crate::drivers::sim::{Happening, Sim, WALL_START};
use crate::node::{Answer, Command, Errand, Event, Input, Node, Output};
use crate::signaling::io::{SignalInput, SocketOutput};
use crate::signaling::nslp::api::{Order, OrderId};

/// Shortest time to a wake-up, so that time passes.
const WAKE_TIME_MIN: Duration = Duration::from_nanos(1);

impl Sim {
    /// Starts the node of a machine.
    pub(super) fn boot(&mut self, machine: usize) {
        let now = self.now;
        let computer = &mut self.computers[machine];
        computer.boot(now, &self.clock, WALL_START, &self.topology);
        let kept = computer.stored.get(ledger::KEY).cloned();
        if computer.config.signal.is_some()
            && let Some(node) = &mut computer.node
            && let Err(problem) = node.keep_usage(now, kept.as_deref())
        {
            computer.keep_event(now, Event::Note(problem));
        }
        self.drain(machine);
        for Kept { module, name, properties } in self.computers[machine].modules.clone() {
            // It was loaded once; what is wrong now is told by the node's events.
            let _ = self.obey(machine, Command::Load { module, name, properties, grant: None });
        }
        self.settle(machine);
    }

    /// The node of a machine, started if it is to have one.
    fn awake(&mut self, machine: usize) -> Option<&mut Node> {
        let computer = &self.computers[machine];
        if computer.node.is_none() && !computer.is_crashed && computer.is_up {
            self.boot(machine);
        }
        self.computers[machine].node.as_mut()
    }

    /// Gives a node something to do from outside, and takes what comes of it. `None` if the node was ended.
    pub fn with_node<R>(&mut self, machine: MachineId, f: impl FnOnce(&mut Node, Instant) -> R) -> Option<R> {
        let now = self.now;
        let result = f(self.awake(machine.index())?, now);
        self.drain(machine.index());
        self.settle(machine.index());
        Some(result)
    }

    /// Gives a node an order. `None` if the node was ended.
    pub fn command(&mut self, machine: MachineId, command: Command) -> Option<Answer> {
        self.awake(machine.index())?;
        let answer = self.obey(machine.index(), command);
        self.settle(machine.index());
        answer
    }

    fn obey(&mut self, machine: usize, command: Command) -> Option<Answer> {
        self.command_count += 1;
        let number = self.command_count;
        self.input(machine, Input::Command(number, command));
        let answers = std::mem::take(&mut self.computers[machine].answers);
        answers.into_iter().find(|(of, _)| *of == number).map(|(_, answer)| answer)
    }

    /// Loads a module, now and at each later start of the node. `None` if the node was ended.
    pub fn load(
        &mut self,
        machine: MachineId,
        module: Module,
        name: Option<String>,
        properties: toml::Table,
    ) -> Option<Answer> {
        let kept = Kept { module: module.clone(), name: name.clone(), properties: properties.clone() };
        let answer = self.command(machine, Command::Load { module, name, properties, grant: None })?;
        if answer.is_ok() {
            self.computers[machine.index()].modules.push(kept);
        }
        Some(answer)
    }

    /// Where the modules of a machine keep things, also before its node starts.
    #[must_use]
    pub fn stores(&self, machine: MachineId) -> Rc<dyn Stores> {
        self.computers[machine.index()].stores.clone()
    }

    /// Starts signalling along a path. What is heard of it comes with the machine's events.
    ///
    /// # Errors
    ///
    /// Why that cannot be, as a sentence.
    pub fn order(&mut self, machine: MachineId, order: Order) -> Result<OrderId, String> {
        self.with_node(machine, |node, now| node.order(now, order))
            .unwrap_or_else(|| Err("the node does not run".to_owned()))
    }

    /// Sends another request in the session of an order.
    ///
    /// # Errors
    ///
    /// Why that cannot be, as a sentence.
    pub fn order_again(&mut self, machine: MachineId, id: OrderId, order: Order) -> Result<(), String> {
        self.with_node(machine, |node, now| node.order_again(now, id, order))
            .unwrap_or_else(|| Err("the node does not run".to_owned()))
    }

    /// What the node of a machine told since this was called last, with the times.
    pub fn take_events(&mut self, machine: MachineId) -> Vec<(Instant, Event)> {
        std::mem::take(&mut self.computers[machine.index()].events).into()
    }

    /// Gives a node an input.
    pub(super) fn input(&mut self, machine: usize, input: Input<'_>) {
        let now = self.now;
        if let Some(node) = &mut self.computers[machine].node {
            node.handle(now, input);
            self.drain(machine);
        }
    }

    /// Takes all outputs of a node.
    pub(super) fn drain(&mut self, machine: usize) {
        let now = self.now;
        while let Some(node) = &mut self.computers[machine].node {
            match node.poll() {
                Output::Idle { deadline } => {
                    self.computers[machine].deadline = deadline.map(|(at, _)| at);
                    return;
                }
                Output::Transmit { packet, .. } => self.leaves_node(machine, packet.bytes),
                Output::Steer(filters) => self.computers[machine].steer = filters,
                Output::Answer(number, answer) => self.computers[machine].answers.push((number, answer)),
                Output::Event(event) => {
                    let computer = &mut self.computers[machine];
                    self.observer.event(now, machine, &event, computer.node.as_ref());
                    computer.keep_event(now, event);
                }
                Output::Errand(errand) => self.run_errand(machine, errand),
                Output::Net(NetOutput::Resolve { query, name, family }) => {
                    self.resolve(machine, query, &name, family);
                }
                Output::Net(output) => self.computers[machine].stack.perform(output, now),
            }
        }
    }

    fn run_errand(&mut self, machine: usize, errand: Errand) {
        match errand {
            Errand::Socket(output) => {
                if self.observer.is_on()
                    && let SocketOutput::Write { stream, bytes } = &output
                    && let Some(peer) = self.computers[machine].stack.signal_peer(*stream)
                {
                    let topology = self.topology.borrow();
                    self.observer.stream_bytes(self.now, machine, *stream, peer, bytes, &topology);
                }
                self.computers[machine].stack.perform_signal(output, self.now);
            }
            Errand::Fetch { id, url, bytes_max, timeout } => self.fetch(machine, id, url, bytes_max, timeout),
            Errand::CancelFetch(id) => self.cancel_fetch(machine, id),
            Errand::Store(op) => self.computers[machine].store(op),
            Errand::Post { url, body } => self.post(machine, url, body),
        }
    }

    /// Does what the sockets of a machine have to do, and sees to it that it is woken.
    pub(super) fn settle(&mut self, machine: usize) {
        let now = self.now;
        while let Some(out) = self.computers[machine].stack.next(now) {
            match out {
                Out::Packet(bytes) => self.send_own(machine, bytes),
                Out::Net(socket, told) => {
                    if let Some(node) = &mut self.computers[machine].node {
                        told.give(|event| node.handle(now, Input::Net(socket, event)));
                        self.drain(machine);
                    }
                }
                Out::Signal(stream, told) => {
                    if let Some(node) = &mut self.computers[machine].node {
                        told.give(|event| node.handle(now, Input::Signal(SignalInput::Stream(stream, event))));
                        self.drain(machine);
                    }
                }
                Out::Fetch(id, step) => self.fetch_step(machine, id, step),
            }
        }
        let computer = &mut self.computers[machine];
        let at = [computer.deadline, computer.stack.deadline()].into_iter().flatten().min();
        let Some(at) = at.map(|at| at.max(now + WAKE_TIME_MIN)) else { return };
        if computer.wake_at.is_none_or(|wake_at| at < wake_at) {
            computer.wake_at = Some(at);
            self.queue.push(at, Happening::Wake { machine });
        }
    }

    /// Something of a machine is due.
    pub(super) fn wake(&mut self, machine: usize) {
        let now = self.now;
        let computer = &mut self.computers[machine];
        // An earlier one was put in after it, or it was too early.
        if computer.wake_at.is_some_and(|at| at > now) {
            return;
        }
        computer.wake_at = None;
        if !computer.config.cost.is_zero() && computer.busy_until > now {
            computer.wake_at = Some(computer.busy_until);
            return self.queue.push(computer.busy_until, Happening::Wake { machine });
        }
        computer.stack.expire(now);
        if computer.deadline.is_some_and(|at| at <= now) {
            computer.deadline = None;
            self.input(machine, Input::Wakeup);
        }
        self.settle(machine);
    }

    fn resolve(&mut self, machine: usize, query: SocketId, name: &str, family: Family) {
        let known = self.names.get(&name.trim_end_matches('.').to_ascii_lowercase());
        let wanted = |address: &&IpAddr| match family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        let addresses: Vec<IpAddr> = known.into_iter().flatten().filter(wanted).copied().collect();
        let result = if addresses.is_empty() { Err(format!("there is no address for {name}")) } else { Ok(addresses) };
        let life = self.computers[machine].life;
        let resolved = Happening::Resolved { machine, life, query, told: Told::Resolved(result) };
        self.queue.push(self.now + SIM_LOOKUP_TIME, resolved);
    }

    pub(super) fn resolved(&mut self, machine: usize, life: u32, query: SocketId, told: Told) {
        let now = self.now;
        let computer = &mut self.computers[machine];
        if computer.life == life
            && let Some(node) = &mut computer.node
        {
            told.give(|event| node.handle(now, Input::Net(query, event)));
            self.drain(machine);
            self.settle(machine);
        }
    }

    /// Tells nodes that routes have changed.
    pub(super) fn routes_changed(&mut self, machines: &[usize]) {
        let change = MachineChange { routes: true, ..MachineChange::default() };
        machines.iter().for_each(|machine| self.machine_changed(*machine, change));
    }

    pub(super) fn machine_changed(&mut self, machine: usize, change: MachineChange) {
        if self.computers[machine].node.is_some() {
            self.input(machine, Input::MachineChanged(change));
            self.settle(machine);
        }
    }

    /// All of them.
    pub(super) fn all_routes_changed(&mut self) {
        let all: Vec<usize> = (0..self.computers.len()).collect();
        self.routes_changed(&all);
    }

    /// The key by which a machine's node is known in signalling.
    #[must_use]
    pub fn key(&self, machine: MachineId) -> [u8; 32] {
        self.computers[machine.index()].key.public()
    }
}

//! Runs a node over real links: one thread around one poll, and a second one that only watches for modules that run for
//! too long.
//!
//! A ready link is read until it is empty or its turn is over; then it stays in a set of its own and is read again after
//! the others, because the system may not tell twice. The clock is read once per turn of the loop.
#![expect(clippy::disallowed_methods, reason = "a driver reads the clock")]

pub mod config;
pub mod control;
pub mod counters;
pub mod fetcher;
pub mod initiator;
pub mod installed;
pub mod installer;
pub mod links;
pub mod modules;
pub mod repository;
pub mod serve;
pub mod shelf;
pub mod signal;
pub mod storage;
pub mod store;
pub mod trust_watch;
pub mod web;

mod arena;
mod coalesce;
mod events;
mod machine;
mod net;
mod node_page;
mod port_link;
mod pump;
pub mod services;
mod signals;
mod steer;
mod tun_link;
mod unfinished;
mod usage_file;
mod watching;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::base::limits::{
    CONTROL_CONNECTIONS_MAX, NET_EVENTS_PER_TURN_MAX, NET_SOCKETS_MAX, SIGNAL_INPUTS_PER_TURN_MAX,
};
use crate::base::time::{Instant, WallTime};
use crate::blocks::hash::Secret;
use crate::container::surroundings::CpuGuard;
use crate::container::watch::Watch;
use crate::controller::ledger;
use crate::dashboard::metrics;
use crate::dashboard::status::Status;
use crate::drivers::live::config::{LinkChoice, LiveConfig, ModuleChoice, SignalChoice};
use crate::drivers::live::control::server::ControlServer;
use crate::drivers::live::control::{ControlError, Request};
use crate::drivers::live::links::{LinkError, Links, Order};
use crate::drivers::live::machine::WatchedMachine;
use crate::drivers::live::modules::{Running, with_needed_links};
use crate::drivers::live::net::NetSockets;
use crate::drivers::live::node_page::{NodePage, NodePageError};
use crate::drivers::live::services::{Services, ServicesError, random};
use crate::drivers::live::signals::Signals;
use crate::drivers::live::steer::Steerer;
use crate::drivers::live::storage::DiskStores;
use crate::drivers::live::watching::Watching;
use crate::drivers::module_dir::ModuleDirError;
use crate::node::{Answer, Command, CommandError, Errand, Input, Node, NodeConfig};

/// Events taken from the system at once.
const EVENTS: usize = 64;
const SIGNAL: Token = Token(usize::MAX);
/// The control socket has the tokens from here on; links have those below.
const CONTROL: usize = 1 << 16;
/// The sockets of signalling have the tokens from here on.
const SOCKETS: usize = 1 << 20;
/// The sockets of modules have the tokens from here on.
const MODULE_SOCKETS: usize = 1 << 24;
/// A thread has something: a package, or the addresses of a name.
const WOKEN: Token = Token(usize::MAX - 1);
/// Something of the machine has changed.
const MACHINE: Token = Token(usize::MAX - 2);
/// Turns in which a link is emptied when the node stops: some thousand packets.
const LAST_TURNS_MAX: usize = 16;

/// Why a node does not run, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// A link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A module's folder.
    #[error(transparent)]
    ModuleDir(#[from] ModuleDirError),
    /// A module was not loaded.
    #[error("module {}: {error}", folder.display())]
    Module {
        /// Its folder.
        folder: PathBuf,
        /// Why.
        error: CommandError,
    },
    /// Traffic cannot be steered.
    #[error(transparent)]
    Steering(#[from] platform::steering::SteeringError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The live page.
    #[error(transparent)]
    Page(#[from] NodePageError),
    /// The kernel hands the chosen traffic to one device.
    #[error("there can be only one TUN link")]
    TwoTuns,
    /// What signalling needs.
    #[error(transparent)]
    Services(#[from] ServicesError),
    /// There must be something to look at.
    #[error("no link is given; use --link tun, --link pcap:IF1,IF2 or --link tap:IF")]
    NoLink,
    /// A module that looks at packets, or sends some, in a node that has none.
    #[error("{module} deals with packets, and this node has no link; start it with --link tun, or another link")]
    ModuleNeedsLink {
        /// Its name.
        module: String,
    },
    /// The system refused what a loop needs.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs a node until it is told to stop.
///
/// # Errors
///
/// What could not be set up, or that a link is gone. Whatever was put into the kernel is taken out first.
pub fn run(config: &LiveConfig) -> Result<(), LiveError> {
    let config = &with_needed_links(config)?;
    let mut live = Live::new(config)?;
    let result = live.start(config).and_then(|()| live.run());
    live.shut_down();
    result
}

/// The hidden subcommand that calls [`guard`] with a journal.
pub const GUARD_SUBCOMMAND: &str = platform::guard::SUBCOMMAND;

/// The guard of a node, in a process of its own; see [`platform::guard`].
///
/// # Errors
///
/// What could not be taken out of the kernel.
pub fn guard(journal: &std::path::Path) -> io::Result<()> {
    platform::guard::main(journal)
}

/// Takes out of the kernel what a killed node left behind; says what, in a person's words.
///
/// # Errors
///
/// When a node lives, or something cannot be taken out.
pub fn clean_up(state: &std::path::Path) -> Result<Vec<String>, LiveError> {
    let mut lines = steer::clean_up(state)?;
    lines.extend(steer::restore_left_behind(state));
    Ok(lines)
}

/// A node with its surroundings.
struct Live {
    node: Node,
    links: Links,
    poll: Poll,
    /// When the loop started.
    began: std::time::Instant,
    now: Instant,
    deadline: Option<Instant>,
    /// Links that may have more to read.
    ready: Vec<bool>,
    steerer: Steerer,
    control: Option<ControlServer>,
    page: Option<NodePage>,
    services: Option<Services>,
    /// The sockets of modules.
    net: NetSockets,
    signals: Signals,
    watching: Watching,
    /// Where the ledger is kept without signalling.
    usage_file: PathBuf,
    machine: WatchedMachine,
    command_count: u64,
    is_stopping: bool,
    /// The folder of what outlives a restart.
    data: PathBuf,
    repositories: Vec<String>,
    ca: Option<PathBuf>,
    /// Installed modules that were started, by name.
    running: BTreeMap<String, Running>,
}

impl Live {
    fn new(config: &LiveConfig) -> Result<Live, LiveError> {
        if config.links.is_empty() && !config.links_are_default {
            return Err(LiveError::NoLink);
        }
        if config.links.iter().filter(|link| matches!(link, LinkChoice::Tun { .. })).count() > 1 {
            return Err(LiveError::TwoTuns);
        }
        let system = |action| move |source| LiveError::System { action, source };
        let poll = Poll::new().map_err(system("make a poll"))?;
        let signals = Signals::install(poll.registry(), SIGNAL).map_err(system("catch signals"))?;
        // First, so that a second node is told before it touches anything.
        let control = match &config.control {
            Some(path) => Some(ControlServer::open(path, poll.registry(), CONTROL)?),
            None => None,
        };
        let watch = Watch::with_clock(platform::thread::cpu_ns);
        let wall = wall_clock();
        let mut node = Node::new(NodeConfig {
            flows_max: config.flows_max,
            capture: config.capture.clone(),
            seed: seed(wall),
            wall,
            cpu: CpuGuard::Watch(watch.clone()),
        });
        let machine = WatchedMachine::open(poll.registry(), MACHINE, config.location.clone(), &mut node);
        node.set_sources(Secret::new(random()?), Rc::new(DiskStores::new(&config.data)));
        // A node that lives is in the way only of another one that steers, which is told when it begins to.
        for line in clean_up(&config.state).unwrap_or_default() {
            tracing::info!("left behind by a node that was killed: {line}");
        }
        let mut links = Links::new();
        for choice in &config.links {
            links.open(&mut node, choice, config.plain)?;
        }
        for (index, link) in links.iter().enumerate() {
            let descriptor = link.as_raw_fd();
            let mut source = SourceFd(&descriptor);
            let registered = poll.registry().register(&mut source, Token(index), Interest::READABLE);
            registered.map_err(system("wait for a link"))?;
        }
        let steerer = Steerer::new(config, &links)?;
        let net = NetSockets::new(poll.registry(), MODULE_SOCKETS, WOKEN).map_err(system("wait for sockets"))?;
        // What came before the link was registered is not told.
        let ready = links.iter().map(|_| true).collect();
        Ok(Live {
            node,
            links,
            poll,
            began: std::time::Instant::now(),
            now: Instant::START,
            deadline: None,
            ready,
            steerer,
            control,
            page: None,
            services: None,
            net,
            signals,
            watching: Watching::new(watch),
            usage_file: config.state.join("usage.json"),
            machine,
            command_count: 0,
            is_stopping: false,
            data: config.data.clone(),
            repositories: config.repositories.clone(),
            ca: config.signal.as_ref().and_then(|signal| signal.ca.clone()),
            running: BTreeMap::new(),
        })
    }

    /// Loads the modules and begins to steer.
    fn start(&mut self, config: &LiveConfig) -> Result<(), LiveError> {
        // Each connection takes one; without them, modules are told so.
        let _ = platform::module_socket::raise_descriptor_limit(NET_SOCKETS_MAX as u64);
        self.page = NodePage::open(config, self.net.waker())?;
        if config.signal.is_none() {
            self.keep_usage(usage_file::load(&self.usage_file).as_deref());
        }
        for choice in &config.modules {
            let answer = self.load(choice)?;
            answer.map_err(|error| LiveError::Module { folder: choice.folder.clone(), error })?;
        }
        self.start_installed();
        if let Some(choice) = &config.signal {
            self.enable_signaling(choice)?;
        }
        self.drain();
        self.take_orders();
        self.steerer.check()?;
        for link in self.links.iter() {
            tracing::info!("link {} is up", link.name());
        }
        if self.control.is_none() {
            tracing::info!("no control socket");
        }
        tracing::info!("running");
        Ok(())
    }

    fn enable_signaling(&mut self, choice: &SignalChoice) -> Result<(), LiveError> {
        // Modules may come at any time, and those that ran before come now.
        let failed = |source| LiveError::System { action: "start the thread that watches modules", source };
        self.watching.start().map_err(failed)?;
        let (registry, machine) = (self.poll.registry(), self.machine.machine.clone());
        let opened = Services::open(choice, registry, SOCKETS, self.net.waker(), machine)?;
        self.services = Some(opened.services);
        self.node.set_signing_key(opened.key);
        let kept = opened.stored.iter().find(|(key, _)| key == ledger::KEY).map(|(_, bytes)| bytes.clone());
        self.keep_usage(kept.as_deref());
        self.watching.turn_begins();
        self.node.enable_signaling(self.now, opened.setup, opened.stored);
        self.drain();
        self.watching.turn_ends();
        Ok(())
    }

    /// What instances use is kept; `kept` is what an earlier run left.
    fn keep_usage(&mut self, kept: Option<&[u8]>) {
        if let Err(problem) = self.node.keep_usage(self.now, kept) {
            tracing::warn!("{problem}; it begins anew");
        }
    }

    /// Gives the node an order, which it carries out at once.
    fn command(&mut self, command: Command) -> Answer {
        self.command_count += 1;
        let number = self.command_count;
        self.watching.turn_begins();
        self.node.handle(self.now, Input::Command(number, command));
        self.drain();
        self.watching.turn_ends();
        if self.node.instances().is_empty() && self.services.is_none() {
            self.watching.stop();
        }
        let is_answer = |order: &Order| matches!(order, Order::Answer(n, _) if *n == number);
        let place =
            self.links.orders.iter().position(is_answer).expect("a node answers each command when it is polled");
        match self.links.orders.remove(place) {
            Order::Answer(_, answer) => answer,
            Order::Steer(_) | Order::Event(_) | Order::Errand(_) | Order::Net(_) => {
                unreachable!("the place of an answer was looked for")
            }
        }
    }

    fn drain(&mut self) {
        self.deadline = self.links.drain(&mut self.node, self.now, None);
    }

    fn run(&mut self) -> Result<(), LiveError> {
        let mut events = Events::with_capacity(EVENTS);
        let mut control_tokens = Vec::new();
        while !self.is_stopping {
            self.wait(&mut events)?;
            self.now = Instant::from_nanos(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX));
            if self.watching.is_on() {
                self.watching.turn_begins();
            }
            for event in &events {
                match event.token() {
                    SIGNAL => self.is_stopping = self.signals.came(),
                    WOKEN => {}
                    MACHINE => self.machine.ready(),
                    Token(token) if token >= MODULE_SOCKETS => self.net.ready(token),
                    Token(token) if token >= SOCKETS => {
                        if let Some(services) = &mut self.services {
                            services.sockets.ready(token);
                        }
                    }
                    Token(token) if token >= CONTROL => control_tokens.push(token),
                    Token(index) => self.ready[index] = true,
                }
            }
            for index in 0..self.ready.len() {
                if self.ready[index] {
                    self.ready[index] = self.links.turn(&mut self.node, self.now, index)?;
                }
            }
            self.tell_of_machine();
            self.turn_services();
            self.turn_net();
            if self.deadline.is_some_and(|at| at <= self.now) {
                self.node.handle(self.now, Input::Wakeup);
            }
            self.drain();
            if self.watching.is_on() {
                self.watching.turn_ends();
            }
            self.serve(&mut control_tokens);
            self.take_orders();
            self.turn_page();
            self.steerer.beat(self.now);
            self.steerer.refresh(self.now);
        }
        Ok(())
    }

    /// Gives the node what came for signalling.
    fn turn_services(&mut self) {
        for _ in 0..SIGNAL_INPUTS_PER_TURN_MAX {
            let Some(services) = &mut self.services else { return };
            if !services.give(&mut self.node, self.now) {
                break;
            }
            self.drain();
            // What is stored must be stored before what follows from it is said.
            self.take_orders();
        }
        if let Some(services) = &mut self.services {
            services.expire(&mut self.node, self.now);
        }
    }

    /// Gives the node what happened to the sockets of its modules.
    fn turn_net(&mut self) {
        self.net.expire(self.now);
        for _ in 0..NET_EVENTS_PER_TURN_MAX {
            let (node, now) = (&mut self.node, self.now);
            if !self.net.next_event(now, |socket, event| node.handle(now, Input::Net(socket, event))) {
                break;
            }
            self.drain();
            self.take_orders();
        }
        for (instance, cpu_ns) in self.net.take_costs() {
            self.node.pay(self.now, instance, cpu_ns);
        }
    }

    fn wait(&mut self, events: &mut Events) -> Result<(), LiveError> {
        let more = self.ready.contains(&true)
            || self.control.as_ref().is_some_and(ControlServer::has_more)
            || self.net.has_more()
            || self.services.as_ref().is_some_and(|services| services.sockets.has_more());
        let timeout = if more { Some(Duration::ZERO) } else { self.longest_wait() };
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                Err(LiveError::System { action: "wait for packets", source: e })
            }
            _ => Ok(()),
        }
    }

    /// The time to the next deadline, of the node or of those around it.
    fn longest_wait(&self) -> Option<Duration> {
        let elapsed = Duration::from_nanos(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let now = Instant::START + elapsed;
        let node = self.deadline.map(|at| at.since(now));
        let control = self.control.as_ref().and_then(ControlServer::longest_wait);
        let services = self.services.as_ref().map(|services| services.longest_wait(now));
        let machine = self.machine.longest_wait(now);
        let net = self.net.longest_wait(now);
        let page = self.page.as_ref().and_then(|page| page.longest_wait(now));
        [node, control, services, machine, net, page, self.steerer.longest_wait()].into_iter().flatten().min()
    }

    fn take_orders(&mut self) {
        let mut orders = std::mem::take(&mut self.links.orders);
        for order in orders.drain(..) {
            match order {
                Order::Steer(filters) => self.steerer.steer(&filters),
                Order::Event(event) => {
                    events::log(&event);
                    if let Some(page) = &mut self.page {
                        page.note(&event, self.now);
                    }
                }
                Order::Errand(errand) => self.perform(errand),
                Order::Net(output) => self.net.perform(output, self.now),
                Order::Answer(..) => {}
            }
        }
        // The same memory serves for the next ones.
        if self.links.orders.is_empty() {
            self.links.orders = orders;
        }
    }

    /// Does what the node asks of the machine. Without signalling only the ledger is kept.
    fn perform(&mut self, errand: Errand) {
        match (&mut self.services, errand) {
            (Some(services), errand) => services.perform(errand, self.now),
            (None, Errand::Store(op)) => usage_file::store(&self.usage_file, &op),
            (None, _) => {}
        }
    }

    /// Answers what came in on the control socket.
    fn serve(&mut self, tokens: &mut Vec<usize>) {
        let Some(mut control) = self.control.take() else { return };
        for token in tokens.drain(..) {
            control.ready(token, self.poll.registry(), self.now);
        }
        for _ in 0..CONTROL_CONNECTIONS_MAX {
            let Some((connection, request)) = control.next_request() else { break };
            let answer = self.obey(request);
            control.answer(connection, &answer, self.now);
        }
        control.close_stuck(self.now);
        self.control = Some(control);
    }

    fn obey(&mut self, request: Request) -> Result<serde_json::Value, String> {
        match request {
            Request::Status => serde_json::to_value(self.status()).map_err(|e| e.to_string()),
            Request::Load { folder, name, properties } => {
                let choice = ModuleChoice { folder, name, properties };
                match self.load(&choice) {
                    Ok(Ok(id)) => Ok(serde_json::json!({ "instance": id.0 })),
                    Ok(Err(e)) => Err(e.to_string()),
                    Err(e) => Err(e.to_string()),
                }
            }
            Request::Update { name, path, properties, drain_s } => self.update(name, &path, properties, drain_s),
            Request::Unload { name } => match self.command(Command::Unload { name }) {
                Ok(id) => Ok(serde_json::json!({ "instance": id.0 })),
                Err(e) => Err(e.to_string()),
            },
            Request::Places => Ok(self.places()),
            Request::Install { name } => self.install(&name),
            Request::Uninstall { name } => self.uninstall(&name),
            Request::Report { instance } => {
                self.watching.turn_begins();
                let report = self.node.report(self.now, &instance);
                self.drain();
                self.watching.turn_ends();
                report
            }
            Request::Metrics => Ok(metrics::text(&self.node, self.now).into()),
            Request::Usage { since_day } => {
                serde_json::to_value(self.node.usage(self.now, since_day)).map_err(|e| e.to_string())
            }
            Request::Stop => {
                self.is_stopping = true;
                Ok(serde_json::Value::Null)
            }
        }
    }

    fn status(&mut self) -> Status {
        let mut status = Status::of(&self.node, self.now);
        for (view, link) in status.links.iter_mut().zip(self.links.iter_mut()) {
            view.driver = link.counters().named();
        }
        status.steering = self.steerer.status();
        status
    }

    fn shut_down(&mut self) {
        tracing::info!("stopping");
        // Traffic goes around the node from here on.
        self.steerer.withdraw();
        self.watching.turn_begins();
        // What came in while the rules were taken out is still to be sent on.
        for index in 0..self.ready.len() {
            for _ in 0..LAST_TURNS_MAX {
                if !self.links.turn(&mut self.node, self.now, index).unwrap_or(false) {
                    break;
                }
            }
        }
        self.node.shut_down(self.now, "the node stops");
        self.drain();
        for order in std::mem::take(&mut self.links.orders) {
            if let Order::Event(event) = order {
                events::log(&event);
            } else if let Order::Errand(errand @ Errand::Store(_)) = order {
                self.perform(errand);
            }
        }
        self.watching.turn_ends();
        self.control = None;
    }
}

fn wall_clock() -> WallTime {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_nanos(u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX))
}

/// Different for each start; nothing that must stay secret depends on it alone.
fn seed(wall: WallTime) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The hasher's keys come from the system's random numbers.
    RandomState::new().hash_one(wall.as_nanos())
}

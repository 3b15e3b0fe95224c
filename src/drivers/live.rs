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
pub mod links;
pub mod serve;
pub mod shelf;
pub mod signal;
pub mod store;
pub mod trust_watch;
pub mod web;

mod arena;
mod coalesce;
mod machine;
mod port_link;
pub mod services;
mod signals;
mod steer;
mod tun_link;
mod unfinished;
mod watching;

use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::base::limits::{CONTROL_CONNECTIONS_MAX, SIGNAL_INPUTS_PER_TURN_MAX};
use crate::base::time::{Instant, WallTime};
use crate::container::instance::LogLevel;
use crate::container::surroundings::CpuGuard;
use crate::container::watch::Watch;
use crate::dashboard::status::Status;
use crate::drivers::live::config::{LinkChoice, LiveConfig, ModuleChoice, SignalChoice};
use crate::drivers::live::control::server::ControlServer;
use crate::drivers::live::control::{ControlError, Request};
use crate::drivers::live::links::{LinkError, Links, Order};
use crate::drivers::live::services::{Services, ServicesError};
use crate::drivers::live::signals::Signals;
use crate::drivers::live::steer::Steerer;
use crate::drivers::live::watching::Watching;
use crate::drivers::module_dir::{self, ModuleDirError};
use crate::node::{Answer, Command, CommandError, Event, Input, Node, NodeConfig};

/// Events taken from the system at once.
const EVENTS: usize = 64;
const SIGNAL: Token = Token(usize::MAX);
/// The control socket has the tokens from here on; links have those below.
const CONTROL: usize = 1 << 16;
/// The sockets of signalling have the tokens from here on.
const SOCKETS: usize = 1 << 20;
/// A package is there.
const FETCHED: Token = Token(usize::MAX - 1);
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
    /// The kernel hands the chosen traffic to one device.
    #[error("there can be only one TUN link")]
    TwoTuns,
    /// What signalling needs.
    #[error(transparent)]
    Services(#[from] ServicesError),
    /// There must be something to look at.
    #[error("no link is given; use --link tun, --link pcap:IF1,IF2 or --link tap:IF")]
    NoLink,
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
    services: Option<Services>,
    signals: Signals,
    watching: Watching,
    command_count: u64,
    is_stopping: bool,
}

impl Live {
    fn new(config: &LiveConfig) -> Result<Live, LiveError> {
        if config.links.is_empty() {
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
        let watch = Watch::default();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = WallTime::from_nanos(u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX));
        let mut node = Node::new(NodeConfig {
            flows_max: config.flows_max,
            capture: config.capture.clone(),
            seed: seed(wall),
            wall,
            cpu: CpuGuard::Watch(watch.clone()),
        });
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
            services: None,
            signals,
            watching: Watching::new(watch),
            command_count: 0,
            is_stopping: false,
        })
    }

    /// Loads the modules and begins to steer.
    fn start(&mut self, config: &LiveConfig) -> Result<(), LiveError> {
        for choice in &config.modules {
            let answer = self.load(choice)?;
            answer.map_err(|error| LiveError::Module { folder: choice.folder.clone(), error })?;
        }
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
        let opened = Services::open(choice, self.poll.registry(), SOCKETS, FETCHED)?;
        self.services = Some(opened.services);
        self.watching.turn_begins();
        self.node.enable_signaling(self.now, opened.setup, opened.stored);
        self.drain();
        self.watching.turn_ends();
        Ok(())
    }

    fn load(&mut self, choice: &ModuleChoice) -> Result<Answer, LiveError> {
        let module = module_dir::load(&choice.folder)?;
        let failed = |source| LiveError::System { action: "start the thread that watches modules", source };
        self.watching.start().map_err(failed)?;
        let (name, properties) = (choice.name.clone(), choice.properties.clone());
        Ok(self.command(Command::Load { module, name, properties }))
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
                    FETCHED => {}
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
            self.turn_services();
            if self.deadline.is_some_and(|at| at <= self.now) {
                self.node.handle(self.now, Input::Wakeup);
            }
            self.drain();
            if self.watching.is_on() {
                self.watching.turn_ends();
            }
            self.serve(&mut control_tokens);
            self.take_orders();
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

    fn wait(&mut self, events: &mut Events) -> Result<(), LiveError> {
        let more = self.ready.contains(&true)
            || self.control.as_ref().is_some_and(ControlServer::has_more)
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
        [node, control, services, self.steerer.longest_wait()].into_iter().flatten().min()
    }

    fn take_orders(&mut self) {
        for order in std::mem::take(&mut self.links.orders) {
            match order {
                Order::Steer(filters) => self.steerer.steer(&filters),
                Order::Event(event) => log(&event),
                Order::Errand(errand) => {
                    if let Some(services) = &mut self.services {
                        services.perform(errand, self.now);
                    }
                }
                Order::Answer(..) | Order::Net(_) => {}
            }
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
            Request::Unload { name } => match self.command(Command::Unload { name }) {
                Ok(id) => Ok(serde_json::json!({ "instance": id.0 })),
                Err(e) => Err(e.to_string()),
            },
            Request::Report { instance } => {
                self.watching.turn_begins();
                let report = self.node.report(self.now, &instance);
                self.drain();
                self.watching.turn_ends();
                report
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
                log(&event);
            }
        }
        self.watching.turn_ends();
        self.control = None;
    }
}

/// Different for each start; nothing that must stay secret depends on it alone.
fn seed(wall: WallTime) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The hasher's keys come from the system's random numbers.
    RandomState::new().hash_one(wall.as_nanos())
}

fn log(event: &Event) {
    match event {
        Event::Log { instance, level, text } => match level {
            LogLevel::Debug => tracing::debug!(target: "module", instance, "{text}"),
            LogLevel::Info => tracing::info!(target: "module", instance, "{text}"),
            LogLevel::Warn => tracing::warn!(target: "module", instance, "{text}"),
        },
        Event::Started { instance } => tracing::info!("instance {instance} runs"),
        Event::Erred { instance, fault } => tracing::warn!("instance {instance}: {fault}"),
        Event::Failed { instance, fault, restart_in: Some(wait) } => {
            tracing::warn!("instance {instance} failed: {fault}; it is started again in {} s", wait.as_secs_f64());
        }
        Event::Failed { instance, fault, restart_in: None } => {
            tracing::warn!(
                "instance {instance} failed for good: {fault}; `netserv module unload {instance}` frees its name"
            );
        }
        Event::Unloaded { instance } => tracing::info!("instance {instance} is unloaded"),
        Event::Note(text) => tracing::info!("{text}"),
        // Only who started to signal wants to know that.
        Event::Signal(_) => {}
    }
}

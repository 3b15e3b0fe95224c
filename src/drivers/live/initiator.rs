//! A node without links that starts signalling: `netserv setup`, `probe` and `remove`. Needs no rights.
#![expect(clippy::disallowed_methods, reason = "a driver reads the clock")]

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::{Events, Poll, Token, Waker};

use crate::base::limits::{PACKAGE_BYTES_MAX, SIGNAL_INPUTS_PER_TURN_MAX};
use crate::base::time::{Instant, WallTime};
use crate::container::surroundings::CpuGuard;
use crate::controller::api::{ControllerConfig, FetchId, FetchProblem};
use crate::drivers::key_file::KeyFile;
use crate::drivers::listening::ListenError;
use crate::drivers::live::LiveError;
use crate::drivers::live::fetcher::{Fetcher, FetcherConfig};
use crate::drivers::live::machine::ThisMachine;
use crate::drivers::live::services::{ServicesError, random};
use crate::drivers::live::signal::{SignalConfig, SignalSockets};
use crate::drivers::live::signals::Signals;
use crate::drivers::live::web::WebServer;
use crate::node::{Errand, Event, Input, Node, NodeConfig, Output, SignalSetup};
use crate::signaling::SignalingConfig;
use crate::signaling::gist::GistConfig;
use crate::signaling::nslp::NslpConfig;
use crate::signaling::nslp::api::{NslpEvent, Order, OrderId};
use crate::wire::gist::object::PeerIdentity;
use crate::wire::nslp::request::NodeId;

const SIGNAL: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const SOCKETS: usize = 1 << 20;
const WEB: usize = 1 << 24;
/// Longest time for the package that the user names by its URL.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// With what an initiator is opened.
pub struct InitiatorConfig<'a> {
    /// The user's key; without one there is a new one for the connections of this run, and nothing is signed.
    pub key: Option<&'a KeyFile>,
}

/// What came of one step.
#[derive(Debug)]
pub enum Step {
    /// The nodes, or the end of an order, were heard.
    Event(Box<NslpEvent>),
    /// The time that the caller set has come.
    Deadline,
    /// The user wants no more.
    Interrupted,
}

/// See the module's documentation.
pub struct Initiator {
    node: Node,
    machine: Rc<ThisMachine>,
    sockets: SignalSockets,
    web: Option<WebServer>,
    poll: Poll,
    signals: Signals,
    is_resumed: bool,
    began: std::time::Instant,
    deadline: Option<Instant>,
    heard: VecDeque<Box<NslpEvent>>,
}

impl Initiator {
    /// Opens the sockets.
    ///
    /// # Errors
    ///
    /// What the system refuses.
    pub fn open(config: &InitiatorConfig<'_>) -> Result<Initiator, LiveError> {
        let system = |action| move |source| LiveError::System { action, source };
        let poll = Poll::new().map_err(system("make a poll"))?;
        let signals = Signals::install(poll.registry(), SIGNAL).map_err(system("catch signals"))?;
        let identity = match config.key {
            Some(key) => key.pkcs8.clone(),
            None => crate::base::crypto::SigningKey::pkcs8_of_seed(&random()?),
        };
        let sockets = SignalSockets::open(
            &SignalConfig { udp_port: 0, tcp_port: None, tls_port: None, identity, mark: None, foreign_sources: false },
            poll.registry(),
            SOCKETS,
        )
        .map_err(ServicesError::from)?;
        let machine = Rc::new(ThisMachine::new(None));
        let id = NodeId::of_key(&sockets.own_key().0);
        let mut node = Node::new(NodeConfig {
            flows_max: 1,
            capture: Vec::new(),
            seed: u64::from_ne_bytes(random()?),
            wall: WallTime::from_nanos(wall_ms().saturating_mul(1_000_000)),
            cpu: CpuGuard::Safepoints,
        });
        // Of its own for each run: two commands of one user on one machine are two peers, and what is for one must not go
        // over the association of the other (RFC 5971, section 4.4.3).
        let identity = PeerIdentity(random::<16>()?.to_vec());
        let setup = SignalSetup {
            signaling: SignalingConfig {
                gist: GistConfig { identity, secret: random()?, ..GistConfig::default() },
                nslp: NslpConfig { hosts: false, ..NslpConfig::new(id) },
                secret: random()?,
                paths: machine.clone(),
            },
            controller: ControllerConfig::new(id),
            machine: machine.clone(),
            name: String::new(),
            intercepts: false,
        };
        node.enable_signaling(Instant::START, setup, Vec::new());
        Ok(Initiator {
            node,
            machine,
            sockets,
            web: None,
            poll,
            signals,
            is_resumed: false,
            began: std::time::Instant::now(),
            deadline: None,
            heard: VecDeque::new(),
        })
    }

    /// The clock, in ms since 1970-01-01 UTC.
    #[must_use]
    pub fn wall_ms() -> u64 {
        wall_ms()
    }

    /// Random bytes of the system.
    ///
    /// # Panics
    ///
    /// When the system has none.
    #[must_use]
    pub fn random<const N: usize>() -> [u8; N] {
        random().expect("opening the initiator took random numbers before")
    }

    /// The time of this run.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// This machine's address towards `to`; `None` without a route.
    #[must_use]
    pub fn source_for(&self, to: IpAddr) -> Option<IpAddr> {
        use crate::signaling::io::Paths;
        self.machine.source_for(to)
    }

    /// Offers a file to the nodes, on a port of this machine's `address`; returns the port.
    ///
    /// # Errors
    ///
    /// What the system refuses.
    pub fn offer(&mut self, name: &str, bytes: std::sync::Arc<[u8]>, address: IpAddr) -> Result<u16, ListenError> {
        let mut web = WebServer::open(SocketAddr::new(address, 0), self.poll.registry(), WEB)?;
        web.offer(&format!("/{name}"), bytes);
        let port = web.address().port();
        self.web = Some(web);
        Ok(port)
    }

    /// Fetches the package that the user named by its URL. Waits for it.
    ///
    /// # Errors
    ///
    /// A sentence that names the URL.
    pub fn fetch(&mut self, url: &str) -> Result<Vec<u8>, String> {
        let waker = Waker::new(self.poll.registry(), WAKER).map_err(|e| format!("{url}: {e}"))?;
        let config = FetcherConfig { files_allowed: true, ..FetcherConfig::default() };
        // If the loop cannot be woken, it looks at its next deadline.
        let wake = move || drop(waker.wake());
        let fetcher = Fetcher::new(&config, wake).map_err(|e| e.to_string())?;
        fetcher.start(FetchId(0), url, PACKAGE_BYTES_MAX as u64, FETCH_TIMEOUT);
        let mut events = Events::with_capacity(8);
        loop {
            if let Some((_, result)) = fetcher.finished() {
                return result.map_err(|problem| match problem {
                    FetchProblem::TooLarge => format!("{url}: more than {PACKAGE_BYTES_MAX} bytes"),
                    FetchProblem::Failed(sentence) => sentence,
                });
            }
            if self.signals.came() {
                return Err(format!("{url}: interrupted"));
            }
            let waited = self.poll.poll(&mut events, None);
            waited.or_else(|e| if e.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(e.to_string()) })?;
        }
    }

    /// Starts signalling.
    ///
    /// # Errors
    ///
    /// Why that cannot be, as a sentence.
    pub fn order(&mut self, order: Order) -> Result<OrderId, String> {
        let now = self.now();
        let id = self.node.order(now, order)?;
        self.drain(now);
        Ok(id)
    }

    /// Sends another request in the session of an order: a refresh, or a removal.
    ///
    /// # Errors
    ///
    /// Why that cannot be, as a sentence.
    pub fn ask_again(&mut self, id: OrderId, order: Order) -> Result<(), String> {
        let now = self.now();
        self.node.order_again(now, id, order)?;
        self.drain(now);
        Ok(())
    }

    /// Goes on after [`Step::Interrupted`]: for what must still be said. A second signal ends the process.
    pub fn resume(&mut self) {
        self.is_resumed = true;
    }

    /// Waits for the next thing that the caller wants to know, at most until `until`.
    ///
    /// # Errors
    ///
    /// When the system does not let it wait.
    pub fn step(&mut self, until: Option<Instant>) -> Result<Step, LiveError> {
        let mut events = Events::with_capacity(64);
        loop {
            if let Some(event) = self.heard.pop_front() {
                return Ok(Step::Event(event));
            }
            if !self.is_resumed && self.signals.came() {
                return Ok(Step::Interrupted);
            }
            let now = self.now();
            if until.is_some_and(|at| at <= now) {
                return Ok(Step::Deadline);
            }
            self.wait(&mut events, until, now)?;
            self.turn(&events);
        }
    }

    fn wait(&mut self, events: &mut Events, until: Option<Instant>, now: Instant) -> Result<(), LiveError> {
        let node = self.deadline.map(|at| at.since(now));
        let web = self.web.as_ref().and_then(|web| web.longest_wait(now));
        let waits = [node, web, until.map(|at| at.since(now)), self.sockets.longest_wait(now)];
        let timeout = if self.sockets.has_more() { Some(Duration::ZERO) } else { waits.into_iter().flatten().min() };
        match self.poll.poll(events, timeout) {
            Err(source) if source.kind() != io::ErrorKind::Interrupted => {
                Err(LiveError::System { action: "wait for answers", source })
            }
            _ => Ok(()),
        }
    }

    fn turn(&mut self, events: &Events) {
        let now = self.now();
        for event in events {
            match event.token() {
                SIGNAL | WAKER => {}
                Token(token) if token >= WEB => {
                    if let Some(web) = &mut self.web {
                        web.ready(token, self.poll.registry(), now);
                    }
                }
                Token(token) => self.sockets.ready(token),
            }
        }
        for _ in 0..SIGNAL_INPUTS_PER_TURN_MAX {
            let Some(input) = self.sockets.next_input(now) else { break };
            self.node.handle(now, Input::Signal(input));
            self.drain(now);
        }
        if self.deadline.is_some_and(|at| at <= now) {
            self.node.handle(now, Input::Wakeup);
        }
        self.drain(now);
        self.sockets.expire(now);
        if let Some(web) = &mut self.web {
            web.expire(self.poll.registry(), now);
        }
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.node.poll() {
                Output::Idle { deadline } => {
                    self.deadline = deadline.map(|(at, _)| at);
                    return;
                }
                Output::Errand(Errand::Socket(output)) => self.sockets.perform(output, now),
                Output::Event(Event::Signal(event)) => self.heard.push_back(event),
                Output::Event(event) => tracing::debug!("{event:?}"),
                // An initiator has no links and no modules, and its controller allows nothing.
                Output::Transmit { .. }
                | Output::Steer(_)
                | Output::Answer(..)
                | Output::Errand(_)
                | Output::Net(_) => {}
            }
        }
    }
}

fn wall_ms() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
}

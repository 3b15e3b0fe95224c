//! What signalling needs of this machine: sockets, packages from the web, a folder for what outlives a restart, and the
//! trust file.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mio::{Registry, Waker};
use ring::rand::{SecureRandom, SystemRandom};

use crate::base::crypto::SigningKey;
use crate::base::time::Instant;
use crate::controller::api::ControllerConfig;
use crate::controller::trust::Trust;
use crate::drivers::key_file::{self, KeyFileError};
use crate::drivers::live::config::SignalChoice;
use crate::drivers::live::fetcher::{Fetcher, FetcherConfig, FetcherError};
use crate::drivers::live::machine::{ThisMachine, host_name};
use crate::drivers::live::signal::{OWN_MARK, SignalConfig, SignalError, SignalSockets};
use crate::drivers::live::store::{Store, StoreError};
use crate::drivers::live::trust_watch::TrustWatch;
use crate::node::{Errand, Input, Node, SignalSetup};
use crate::signaling::SignalingConfig;
use crate::signaling::gist::{GistConfig, PeerRule, QuerySource};
use crate::signaling::io::PeerKey;
use crate::signaling::nslp::NslpConfig;
use crate::wire::gist::header::PORT;
use crate::wire::gist::object::PeerIdentity;
use crate::wire::nslp::request::NodeId;

/// How often it is looked whether the trust file has changed.
const TRUST_PERIOD: Duration = Duration::from_secs(1);

/// Why a node cannot signal.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    /// The node's key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sockets.
    #[error(transparent)]
    Sockets(#[from] SignalError),
    /// What fetches.
    #[error(transparent)]
    Fetcher(#[from] FetcherError),
    /// The trust file is wrong.
    #[error("trust file: {0}")]
    Trust(String),
    /// The system.
    #[error("signalling: the system refuses {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        source: std::io::Error,
    },
}

/// What a node signals with.
pub(super) struct Services {
    pub(super) sockets: SignalSockets,
    fetcher: Fetcher,
    store: Store,
    trust: TrustWatch,
    trust_at: Instant,
}

/// With what [`Node::enable_signaling`] is to be called.
pub(super) struct Opened {
    pub(super) services: Services,
    pub(super) setup: SignalSetup,
    pub(super) stored: Vec<(String, Vec<u8>)>,
    /// The node's own key.
    pub(super) key: SigningKey,
}

impl Services {
    /// Opens everything. Sockets have tokens from `first_token` on; `waker` is woken when a package is there.
    pub(super) fn open(
        choice: &SignalChoice,
        registry: &Registry,
        first_token: usize,
        waker: Arc<Waker>,
        machine: Rc<ThisMachine>,
    ) -> Result<Opened, ServicesError> {
        let store = Store::open(&choice.data)?;
        let key = key_file::load_or_create(&choice.data.join("node.key"))?;
        let node = NodeId::of_key(&key.signing.public());
        let port = |port: u16| Some(port).filter(|port| *port != 0);
        let sockets = SignalSockets::open(
            &SignalConfig {
                udp_port: PORT,
                tcp_port: port(choice.tcp_port),
                tls_port: port(choice.tls_port),
                identity: key.pkcs8.clone(),
                mark: Some(OWN_MARK),
                foreign_sources: choice.query_as_flow,
            },
            registry,
            first_token,
        )?;
        let config = FetcherConfig { ca_file: choice.ca.clone(), files_allowed: choice.file_urls };
        // If the loop cannot be woken, it looks at its next deadline.
        let fetcher = Fetcher::new(&config, move || drop(waker.wake()))?;
        let mut watch = TrustWatch::open(&choice.trust);
        let trust = read_trust(&mut watch).map_err(ServicesError::Trust)?;
        let loaded = store.load_all()?;
        for note in &loaded.notes {
            tracing::warn!("{note}");
        }
        let secret = random()?;
        let name = choice.name.clone().or_else(host_name).unwrap_or_else(|| node.to_string()[..8].to_owned());
        tracing::info!("node {node} ({name}) signals on UDP port {PORT}; key {}", key.public_hex());
        let mut controller = ControllerConfig::new(node);
        (controller.properties, controller.trust) = (choice.properties.clone(), trust);
        controller.file_urls_allowed = choice.file_urls;
        let setup = SignalSetup {
            signaling: SignalingConfig {
                gist: GistConfig {
                    identity: PeerIdentity(node.0.to_vec()),
                    secret: random()?,
                    tcp_port: port(choice.tcp_port),
                    tls_port: port(choice.tls_port),
                    query_source: if choice.query_as_flow { QuerySource::Flow } else { QuerySource::Own },
                    peers: peer_rules(&choice.peers),
                    ..GistConfig::default()
                },
                nslp: NslpConfig {
                    properties: choice.properties.clone(),
                    search: choice.search,
                    ..NslpConfig::new(node)
                },
                secret,
                paths: machine.clone(),
            },
            controller,
            machine,
            name,
            intercepts: true,
        };
        let services = Services { sockets, fetcher, store, trust: watch, trust_at: Instant::START + TRUST_PERIOD };
        Ok(Opened { services, setup, stored: loaded.values, key: key.signing })
    }

    /// Does what the node asks for.
    pub(super) fn perform(&mut self, errand: Errand, now: Instant) {
        match errand {
            Errand::Socket(output) => self.sockets.perform(output, now),
            Errand::Fetch { id, url, bytes_max, timeout } => self.fetcher.start(id, &url, bytes_max, timeout),
            Errand::CancelFetch(id) => self.fetcher.cancel(id),
            Errand::Store(op) => {
                if let Err(e) = self.store.apply(&op) {
                    tracing::error!(
                        "{e}; what runs now may be forgotten at the next start, and requests could be replayed"
                    );
                }
            }
            Errand::Post { url, body } => self.fetcher.post(&url, &body),
        }
    }

    /// Gives the node one thing that happened, if there is one.
    pub(super) fn give(&mut self, node: &mut Node, now: Instant) -> bool {
        if let Some(input) = self.sockets.next_input(now) {
            node.handle(now, Input::Signal(input));
            return true;
        }
        if let Some((id, result)) = self.fetcher.finished() {
            node.handle(now, Input::Fetched(id, result));
            return true;
        }
        false
    }

    /// Looks after what has a time.
    pub(super) fn expire(&mut self, node: &mut Node, now: Instant) {
        self.sockets.expire(now);
        if now < self.trust_at {
            return;
        }
        self.trust_at = now + TRUST_PERIOD;
        match self.trust.changed().map(|result| result.and_then(|text| Trust::parse(&text).map_err(|e| e.to_string())))
        {
            None => {}
            Some(Ok(trust)) => {
                tracing::info!("the trust file {} was read", self.trust.path().display());
                node.set_trust(now, trust);
            }
            Some(Err(problem)) => {
                tracing::warn!("trust file {}: {problem}; what it said before still holds", self.trust.path().display())
            }
        }
    }

    /// When [`Services::expire`] is to be called again at the latest.
    pub(super) fn longest_wait(&self, now: Instant) -> Duration {
        let sockets = self.sockets.longest_wait(now).unwrap_or(TRUST_PERIOD);
        sockets.min(self.trust_at.since(now)).min(TRUST_PERIOD)
    }
}

fn read_trust(watch: &mut TrustWatch) -> Result<Trust, String> {
    match watch.changed() {
        None => Ok(Trust::default()),
        Some(text) => Trust::parse(&text?).map_err(|e| format!("{}: {e}", watch.path().display())),
    }
}

fn peer_rules(keys: &[[u8; 32]]) -> Vec<PeerRule> {
    if keys.is_empty() {
        return GistConfig::default().peers;
    }
    let allowed = keys.iter().map(|key| PeerRule { key: Some(PeerKey(*key)), allow: true });
    allowed.chain([PeerRule { key: None, allow: false }]).collect()
}

/// Random bytes of the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], ServicesError> {
    let mut bytes = [0; N];
    let refused = |_| ServicesError::System { what: "random numbers", source: std::io::Error::other("none given") };
    SystemRandom::new().fill(&mut bytes).map_err(refused)?;
    Ok(bytes)
}

//! What the controller and the node tell each other.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::limits;
use crate::container::grant::Grant;
use crate::container::module::Module;
use crate::controller::trust::Trust;
use crate::signaling::nslp::api::{Decision, Happening, Token};
use crate::wire::nslp::request::{Authorisation, NodeId, Request};

/// What a controller is made with.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// The node.
    pub node: NodeId,
    /// The node's properties, such as `as`: what conditions compare with.
    pub properties: BTreeMap<String, String>,
    /// The owner's trust.
    pub trust: Trust,
    /// Longest time for one attempt to fetch a package.
    pub fetch_timeout: Duration,
    /// Attempts to fetch a package; between them the wait doubles.
    pub fetch_attempts: u32,
    /// Packages that are fetched at once; others wait.
    pub fetches_max: usize,
    /// Whether packages may be files of the node.
    pub file_urls_allowed: bool,
}

impl ControllerConfig {
    /// The defaults: nobody is trusted.
    #[must_use]
    pub fn new(node: NodeId) -> ControllerConfig {
        ControllerConfig {
            node,
            properties: BTreeMap::new(),
            trust: Trust::default(),
            fetch_timeout: limits::FETCH_TIMEOUT_DEFAULT,
            fetch_attempts: limits::FETCH_ATTEMPTS_DEFAULT,
            fetches_max: limits::FETCHES_DEFAULT,
            file_urls_allowed: false,
        }
    }
}

/// What the node knows when it gives an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The clock, in ms since 1970-01-01 UTC.
    pub wall_ms: u64,
    /// Memory that is free, in bytes.
    pub memory_free_bytes: u64,
    /// The modules of all instances that run, and the names of these. Only `Controller::ask` looks at them; may be
    /// empty elsewhere.
    pub modules: Vec<String>,
}

/// A request that arrived: what of [`crate::signaling::nslp::api::NslpEvent::Asked`] counts here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// For the answer.
    pub token: Token,
    /// The request, as it was read from `signed`.
    pub request: Request,
    /// Its canonical bytes, which were signed.
    pub signed: Vec<u8>,
    /// Who signed it.
    pub authorisation: Option<Authorisation>,
}

/// A fetch, by its own number. Never used again within one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// Why there is no package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchProblem {
    /// It is larger than `bytes_max`; fetching was given up.
    TooLarge,
    /// Something else, as a sentence that names the URL; it is tried again.
    Failed(String),
}

impl From<String> for FetchProblem {
    fn from(sentence: String) -> Self {
        FetchProblem::Failed(sentence)
    }
}

/// One thing the controller asks of the node.
#[derive(Clone, Debug)]
pub enum ControllerOutput {
    /// Answer a request.
    Decide {
        /// Which.
        token: Token,
        /// How.
        decision: Decision,
    },
    /// Answer a probe that is allowed: build the report, and answer with `Probed`.
    Report {
        /// Which request.
        token: Token,
        /// What is asked for: bits of [`crate::wire::nslp::request::ask`].
        asks: u8,
    },
    /// Fetch a package, and tell by `Controller::fetched`.
    Fetch {
        /// Which.
        id: FetchId,
        /// From where.
        url: String,
        /// Give up when it is larger.
        bytes_max: u64,
        /// Give up after this.
        timeout: Duration,
    },
    /// Nobody waits for it any more; it must not be told.
    CancelFetch(FetchId),
    /// Load a module under this name, and tell by `Controller::loaded`.
    Load {
        /// What the instance is called at the node.
        name: String,
        /// The module.
        module: Module,
        /// Its properties, checked to fit.
        properties: toml::Table,
        /// What its requester may have it do.
        grant: Box<Grant>,
    },
    /// Unload the instance of this name, if it is there. Is not told by `Controller::instance_ended`.
    Unload {
        /// Its name.
        name: String,
        /// Why, for the module and for logs.
        reason: String,
    },
    /// Keep something on disk, in this order, before what follows is done.
    Store(StoreOp),
    /// Tell the initiator that set up an instance.
    Tell(Happening),
    /// Send this to a URL (http or https) by POST, once; whether it arrives does not matter.
    Post {
        /// Where.
        url: String,
        /// JSON.
        body: String,
    },
    /// For the log: one sentence.
    Note(String),
}

/// A change of what is kept on disk. Keys are relative paths of lower-case letters, digits, `.`, `-` and `/`:
/// `instances/HEX.json`, `packages/HEX`, `nonces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOp {
    /// Replace the whole value.
    Put {
        /// Which.
        key: String,
        /// The new value.
        bytes: Vec<u8>,
    },
    /// Add to the end of the value; it may be missing so far.
    Append {
        /// Which.
        key: String,
        /// What is added.
        bytes: Vec<u8>,
    },
    /// Forget the value, if it is there.
    Remove {
        /// Which.
        key: String,
    },
}

/// An instance that signalling set up, as reports show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalledView {
    /// What it is called at the node.
    pub name: String,
    /// Who asked for it: the name in the trust file.
    pub requester: String,
    /// The module.
    pub module: String,
    /// Its version; empty while it is not known.
    pub version: String,
    /// SHA-256 of its package, in hexadecimal digits.
    pub digest: String,
    /// Bytes of its package; 0 while it is not known.
    pub package_bytes: u64,
    /// Time left to live.
    pub expires_in: Duration,
    /// `queued`, `fetching`, `starting`, `running`.
    pub state: &'static str,
}

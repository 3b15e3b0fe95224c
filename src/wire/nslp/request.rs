//! What is asked of the nodes on a path, and who asks.

use std::fmt;

/// A node's identity: the first 16 bytes of the SHA-256 of its Ed25519 public key; also its GIST peer identity.
/// Written as 32 hexadecimal digits; 8 or more of the first ones name a node too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 16]);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Names one request for ever: random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub [u8; 16]);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Install a module, or go on with an instance that runs.
    Setup,
    /// As `Setup`, from one who believes that the instance runs.
    Refresh,
    /// Remove an instance.
    Remove,
    /// Say what is there.
    Probe,
}

/// Which nodes on the path are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// All.
    #[default]
    All,
    /// The one nearest to the initiator that takes it.
    First,
    /// The one nearest to the destination.
    Last,
    /// Those with these ids, or ids that begin so (lower-case hexadecimal, at least 8 digits).
    Nodes(Vec<String>),
    /// The first with each value of this property of nodes, such as `as`.
    OnePer(String),
}

/// A request: the part that is signed, and that no node on the way may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub operation: Operation,
    /// Names the request.
    pub nonce: Nonce,
    /// When it was made, in ms since 1970-01-01 UTC.
    pub issued_ms: u64,
    /// Until when it may be acted on, in ms since 1970-01-01 UTC.
    pub expires_ms: u64,
    /// Nodes that may act on it, as in [`Target::Nodes`]; empty = any.
    pub scope: Vec<String>,
    /// Which nodes are meant.
    pub target: Target,
    /// All must hold at a node: `as=64500`, `memory>=64M`, `absent:monitor`.
    pub conditions: Vec<String>,
    /// How long the last node may wait for a next one that does not answer, in ms.
    pub search_ms: u32,
    /// What the instance is called; at each node, names of different requesters do not clash.
    pub instance: String,
    /// For `Setup` and `Refresh`.
    pub module: Option<ModuleRequest>,
    /// For `Probe`: what to tell, bits of [`ask`].
    pub asks: u8,
}

/// Bits of [`Request::asks`].
pub mod ask {
    /// Modules and their counters.
    pub const MODULES: u8 = 1;
    /// System: software, load, memory, uptime.
    pub const SYSTEM: u8 = 2;
    /// Route towards the flow's destination.
    pub const ROUTE: u8 = 4;
    /// Flows.
    pub const FLOWS: u8 = 8;
}

/// The module that is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleRequest {
    /// Its name.
    pub name: String,
    /// Versions that will do, as a semver range.
    pub version: String,
    /// Where the package is: http, https or file.
    pub url: String,
    /// SHA-256 of the package.
    pub digest: [u8; 32],
    /// How long it is to run without a refresh, in ms.
    pub lifetime_ms: u64,
    /// Properties for the module, as `netserv module load --property` takes them.
    pub properties: Vec<(String, String)>,
    /// Asks each node to tell this URL (http or https) what happens to the instance; may be empty.
    pub notify: String,
}

/// Proves who made a request: Ed25519 over its canonical bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorisation {
    /// The requester's public key.
    pub key: [u8; 32],
    /// The signature.
    pub signature: [u8; 64],
}

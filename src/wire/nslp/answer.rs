//! What a node on the path answers.

use std::net::IpAddr;

use crate::wire::nslp::request::{NodeId, Nonce};

/// Response classes (after RFC 5971, appendix A.4.4).
pub mod class {
    /// For information: the node was not meant.
    pub const INFORMATION: u8 = 0;
    /// It was done.
    pub const SUCCESS: u8 = 1;
    /// The message is wrong.
    pub const PROTOCOL: u8 = 2;
    /// It may work later.
    pub const TRANSIENT: u8 = 3;
    /// It will not work.
    pub const PERMANENT: u8 = 4;
}

/// What an answer says: the code decides the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnswerCode {
    /// Here is what was asked for.
    Probed,
    /// The node was not the target.
    NotTarget,
    /// A condition does not hold.
    ConditionFalse,
    /// The instance now runs.
    Installed,
    /// It ran already; its lifetime was set anew.
    Refreshed,
    /// It was removed.
    Removed,
    /// There was nothing to remove.
    NotInstalled,
    /// It ended at the end of its lifetime (NOTIFY).
    Expired,
    /// It failed and was unloaded (NOTIFY).
    Failed,
    /// The path moved to another node (NOTIFY).
    Moved,
    /// The message cannot be read, and went no further.
    Malformed,
    /// Not signed.
    NotSigned,
    /// The signature is wrong.
    BadSignature,
    /// The key is not in the node's trust file.
    UnknownKey,
    /// The time of the request has passed, or is not yet.
    OutOfTime,
    /// It was seen before.
    Replayed,
    /// The node is not in the request's scope.
    OutOfScope,
    /// The trust file does not allow it.
    NotAllowed,
    /// The package cannot be had.
    FetchFailed,
    /// The package is not the one that was signed for.
    WrongDigest,
    /// The package is too large.
    TooLarge,
    /// The package or its manifest is broken.
    BadPackage,
    /// The module did not start.
    StartFailed,
    /// The node has no room.
    Busy,
    /// The node could not pass the request on in the way in which it came (NOTIFY).
    NotForwarded,
    /// The request can be read, but asks for what cannot be: a property that the module does not have, a condition that
    /// the node does not know. Other nodes may see that differently.
    Invalid,
}

/// One node's answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which request.
    pub nonce: Nonce,
    /// Who answers.
    pub node: NodeId,
    /// The node's place on the path: 1 is the one next to the initiator.
    pub hop: u8,
    /// What became of it.
    pub code: AnswerCode,
    /// A sentence for people.
    pub sentence: String,
    /// No node comes behind this one.
    pub is_last: bool,
    /// Round-trip time of the handshake between this node and the one before it, in µs; filled in by the one before.
    pub hop_rtt_us: Option<u32>,
    /// What was asked for.
    pub report: Vec<ReportItem>,
}

/// One thing that a node tells about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportItem {
    /// Its name for people.
    Name(String),
    /// Program and version.
    Software(String),
    /// An address of it.
    Address(IpAddr),
    /// A property of the node, such as `as`.
    Property {
        /// Name.
        name: String,
        /// Value.
        value: String,
    },
    /// How it is.
    System {
        /// Seconds since it was started.
        uptime_s: u32,
        /// Load average of one minute, in hundredths.
        load_percent: u32,
        /// Memory that is free, in KiB.
        memory_free_kib: u32,
        /// Flows in its cache.
        flows: u32,
    },
    /// How it reaches the flow's destination.
    Route {
        /// Interface.
        interface: String,
        /// The next hop, if not the destination itself.
        via: Option<IpAddr>,
    },
    /// An instance that runs there.
    Module {
        /// What it is called.
        instance: String,
        /// The module.
        module: String,
        /// Its version.
        version: String,
        /// `running`, `waiting`, `failed`, `fetching`.
        state: String,
        /// Seconds left to live; `None` if it stays until it is unloaded.
        lifetime_s: Option<u32>,
        /// Its counters.
        counters: Vec<(String, u64)>,
    },
}

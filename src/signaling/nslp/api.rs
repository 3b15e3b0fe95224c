//! What the NetServ application and those above it tell each other.

use std::net::IpAddr;

use crate::signaling::gist::api::TransferAttributes;
use crate::signaling::io::PeerKey;
use crate::wire::gist::mri::Mri;
use crate::wire::nslp::answer::{Answer, AnswerCode, ReportItem};
use crate::wire::nslp::request::{Authorisation, Nonce, Request};

/// A request that waits for the controller's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// An order of the initiator, by its own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u64);

/// What a node that starts signalling wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The flow.
    pub mri: Mri,
    /// The request in canonical form, as it was signed.
    pub request: Vec<u8>,
    /// Who signed it; none for a probe that nobody signed.
    pub authorisation: Option<Authorisation>,
    /// How it is to travel, at every hop.
    pub attributes: TransferAttributes,
    /// Keep the session when the answers are in: follow route changes, wait for notifications.
    pub keep: bool,
}

/// What the application tells those above it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "they are drained at once, never kept in number")]
pub enum NslpEvent {
    /// For the controller: is this allowed, and do it. Must be answered, now or later, by its token.
    Asked {
        /// For the answer.
        token: Token,
        /// The request.
        request: Request,
        /// Its canonical bytes, which were signed.
        signed: Vec<u8>,
        /// Who signed it.
        authorisation: Option<Authorisation>,
        /// The flow.
        mri: Mri,
        /// Who sent it to this node, and how.
        from: Option<IpAddr>,
        /// The key of the peer's certificate, if it came over TLS.
        peer_key: Option<PeerKey>,
    },
    /// For the initiator: a node answered.
    Answered {
        /// Which order.
        order: OrderId,
        /// What.
        answer: Answer,
    },
    /// For the initiator: a node on the path tells something by itself.
    Notified {
        /// Which order.
        order: OrderId,
        /// What.
        answer: Answer,
    },
    /// For the initiator: how far it is, for people.
    Progress {
        /// Which order.
        order: OrderId,
        /// One sentence.
        text: String,
    },
    /// For the initiator: no more answers will come.
    Finished {
        /// Which order.
        order: OrderId,
        /// Whether all nodes up to the last one answered; otherwise why not, as a sentence.
        result: Result<(), String>,
    },
}

/// The controller's answer to [`NslpEvent::Asked`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What became of it.
    pub code: AnswerCode,
    /// A sentence for people.
    pub sentence: String,
    /// What was asked for.
    pub report: Vec<ReportItem>,
}

/// Something that happened to an instance that was set up by signalling, to be told to its initiator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// The request that set it up last.
    pub nonce: Nonce,
    /// What happened.
    pub code: AnswerCode,
    /// A sentence for people.
    pub sentence: String,
}

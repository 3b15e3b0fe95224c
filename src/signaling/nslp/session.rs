//! What a node remembers of the requests that pass it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::limits::{NSLP_ORDER_TIME_MAX, NSLP_SEARCH_MAX, NSLP_SESSION_IDLE};
use crate::base::time::Instant;
use crate::signaling::gist::api::{MessageHandle, SiiHandle, TransferAttributes};
use crate::signaling::io::PeerKey;
use crate::signaling::nslp::api::Token;
use crate::wire::gist::mri::{Mri, MriKey};
use crate::wire::gist::object::Sid;
use crate::wire::nslp::answer::Answer;
use crate::wire::nslp::message::RequestMessage;
use crate::wire::nslp::request::{NodeId, Nonce};

/// A session by the node's own number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionId(pub(super) u64);

/// What makes a session: the flow in the direction of the requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionKey {
    pub(super) sid: Sid,
    pub(super) mri: MriKey,
}

impl SessionKey {
    pub(super) fn new(sid: Sid, mri: &Mri) -> SessionKey {
        SessionKey { sid, mri: mri.key() }
    }
}

/// The peer in the direction of the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) sii: SiiHandle,
    pub(super) rtt: Option<Duration>,
}

impl Next {
    pub(super) fn rtt_us(&self) -> Option<u32> {
        self.rtt.map(|rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1))
    }
}

/// The peer as people know it: its node id, or its address if its identity is none.
pub(super) fn peer_name(sii: &SiiHandle) -> String {
    match <[u8; 16]>::try_from(sii.identity.0.as_slice()) {
        Ok(id) => format!("node {}", NodeId(id)),
        Err(_) => format!("the node at {}", sii.address),
    }
}

/// How far a request has got on its way to the next node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forward {
    /// It waits for the controller's decision.
    Held,
    /// GIST has it, and has not said yet what became of it.
    Searching(MessageHandle),
    /// It was sent.
    Passed,
    /// There is no next node.
    Ended,
    /// It goes no further: this node took it.
    Stopped,
    /// There is a next node, but it could not be sent there.
    Blocked,
}

/// How far this node's own answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Whether this node is meant is known only when there is a next one, or none.
    Open,
    /// The controller was asked.
    Asked(Token, Instant),
    /// This is the answer.
    Answered(Box<Answer>),
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Served {
    /// As it came; `hop` is this node's own place, and `covered` has this node's value if it took the request.
    pub(super) message: RequestMessage,
    /// What it takes, with the answer to it.
    pub(super) bytes: usize,
    pub(super) stage: Stage,
    pub(super) forward: Forward,
    /// When it came last.
    pub(super) came: Instant,
    /// When to say that this node is there, if it has not answered by then.
    pub(super) place_at: Option<Instant>,
    /// Whether anything came from the nodes behind.
    pub(super) is_heard: bool,
    /// When to send it to the next node again, if nothing is heard from there, and how often that was done.
    pub(super) again: Option<(Instant, u32)>,
}

impl Served {
    pub(super) fn nonce(&self) -> Nonce {
        self.message.request.nonce
    }

    /// Whether something is to happen yet, and until when at most.
    fn waits_until(&self) -> Option<Instant> {
        let asked = match &self.stage {
            Stage::Asked(_, since) => Some(*since + NSLP_ORDER_TIME_MAX),
            Stage::Open | Stage::Answered(_) => None,
        };
        let searching = match self.forward {
            Forward::Searching(_) => Some(self.came + NSLP_SEARCH_MAX),
            Forward::Held | Forward::Passed | Forward::Ended | Forward::Stopped | Forward::Blocked => None,
        };
        asked.max(searching)
    }
}

/// A datagram that the node before this one has not acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Unacked {
    pub(super) sequence: u32,
    pub(super) data: Vec<u8>,
    /// The request, if it is this node's own answer to it.
    pub(super) own: Option<Nonce>,
    /// When it is sent again.
    pub(super) at: Instant,
    pub(super) resends: u32,
}

/// One session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) key: SessionKey,
    /// Flow and direction of the requests.
    pub(super) mri: Mri,
    pub(super) attributes: TransferAttributes,
    pub(super) from: Option<IpAddr>,
    pub(super) peer_key: Option<PeerKey>,
    /// Zero if it is not to be kept.
    pub(super) keep: Duration,
    /// When the last request came.
    pub(super) requested: Instant,
    /// When anything came by.
    pub(super) touched: Instant,
    pub(super) next: Option<Next>,
    /// In the order in which they came.
    pub(super) served: Vec<Served>,
    /// What the node before this one has not acknowledged.
    pub(super) unacked: Vec<Unacked>,
    /// Numbers of datagrams that came from the next node.
    pub(super) seen: VecDeque<u32>,
    /// Where it stands in the queue of deadlines.
    pub(super) due: Option<Instant>,
}

impl Session {
    /// Whether what is sent may be lost.
    pub(super) fn is_lossy(&self) -> bool {
        !(self.attributes.reliable || self.attributes.secure)
    }

    pub(super) fn served(&mut self, nonce: Nonce) -> Option<&mut Served> {
        self.served.iter_mut().find(|served| served.nonce() == nonce)
    }

    /// The request that was made last, whatever order they came in.
    pub(super) fn latest(&mut self) -> Option<&mut Served> {
        self.served.iter_mut().max_by_key(|served| served.message.request.issued_ms)
    }

    /// When it ends, if nothing comes by any more.
    pub(super) fn ends(&self) -> Instant {
        let longest = self.requested + NSLP_ORDER_TIME_MAX;
        let idle = (self.touched + NSLP_SESSION_IDLE).min(longest);
        let waits = self.served.iter().filter_map(Served::waits_until).max();
        let kept = self.requested + self.keep;
        idle.max(kept).max(waits.map_or(idle, |until| (until + NSLP_SESSION_IDLE).min(longest)))
    }

    /// The next moment at which something is to be done.
    pub(super) fn next_due(&self) -> Instant {
        let places = self.served.iter().filter_map(|served| served.place_at);
        let decisions = self.served.iter().filter_map(|served| match &served.stage {
            Stage::Asked(_, since) => Some(*since + NSLP_ORDER_TIME_MAX),
            Stage::Open | Stage::Answered(_) => None,
        });
        let again = self.served.iter().filter_map(|served| served.again.map(|(at, _)| at));
        let unacked = self.unacked.iter().map(|unacked| unacked.at);
        places.chain(decisions).chain(again).chain(unacked).fold(self.ends(), Instant::min)
    }
}

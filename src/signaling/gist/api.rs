//! The service that GIST offers to signalling applications (RFC 5971, appendix B).

use std::net::IpAddr;
use std::time::Duration;

use crate::base::time::Instant;
use crate::signaling::io::PeerKey;
use crate::wire::gist::error::GistError;
use crate::wire::gist::header::NslpId;
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::{PeerIdentity, Sid};

/// A signalling application's own number for a message that it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageHandle(pub u64);

/// A peer as an application may name it: the SII-handle. Changes when the route does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiiHandle {
    /// The peer's identity.
    pub identity: PeerIdentity,
    /// The peer's address.
    pub address: IpAddr,
}

/// How a message is to be, or was, transferred (RFC 5971, section 4.1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferAttributes {
    /// Over a messaging association.
    pub reliable: bool,
    /// Over a messaging association that is protected by TLS; includes `reliable`.
    pub secure: bool,
}

/// SendMessage (RFC 5971, appendix B.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendMessage {
    /// The message; padded to whole words with zeros on the wire.
    pub data: Vec<u8>,
    /// What [`Nslp::message_status`] calls it; `None` if that is of no interest.
    pub handle: Option<MessageHandle>,
    /// The session.
    pub sid: Sid,
    /// Flow and direction.
    pub mri: Mri,
    /// Sends to this peer, past the routing table.
    pub sii: Option<SiiHandle>,
    /// How.
    pub attributes: TransferAttributes,
    /// How long GIST may try to find the next node before it says that there is none; zero: only a peer that is known
    /// already will do.
    pub timeout: Option<Duration>,
    /// IP TTL.
    pub ip_ttl: Option<u8>,
    /// GIST hop count; never 0.
    pub hops: Option<u8>,
}

/// RecvMessage (RFC 5971, appendix B.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage<'a> {
    /// The message with its padding; empty for a Query without payload.
    pub data: &'a [u8],
    /// The session.
    pub sid: Sid,
    /// Flow and direction.
    pub mri: &'a Mri,
    /// Who sent it, if known.
    pub sii: Option<SiiHandle>,
    /// How it came.
    pub attributes: TransferAttributes,
    /// The key of the peer's certificate, if it came over TLS.
    pub peer_key: Option<PeerKey>,
    /// It was sent past the routing table, or without any: nobody checked that it fits the state here.
    pub is_unvalidated: bool,
    /// Return routability of the source address was checked.
    pub is_address_validated: bool,
    /// The sender is an endpoint of the flow.
    pub is_from_endpoint: bool,
    /// TTL with which it came, if known.
    pub ip_ttl: Option<u8>,
    /// IP hops from the sender; 0 if not known.
    pub ip_distance: u8,
    /// GIST hop count after this node took one.
    pub hops: u8,
    /// The link or interface by which it came.
    pub interface: u32,
}

/// What an application answers to a Query: the routing state check (RFC 5971, section 4.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peering {
    /// Be the querier's peer; with this payload in the Response.
    Accept(Option<Vec<u8>>),
    /// Let the Query go on; with this payload in place of its own, if given. Not possible at the end of the flow.
    Decline(Option<Vec<u8>>),
}

/// MessageStatus (RFC 5971, appendix B.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageStatus {
    /// It was handed to a messaging association, or sent as a datagram, with these attributes.
    Sent(TransferAttributes),
    /// It was not sent.
    Failed(SendError),
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nobody answered the Queries, or ICMP says that nobody will.
    #[error("no next node was found")]
    NoNextNode,
    /// The peer offers no protocol that fits what was asked for.
    #[error("the next node offers no transport that fits")]
    NoTransport,
    /// The messaging association broke, or could not be made.
    #[error("the connection to the next node failed")]
    AssociationFailed,
    /// It does not fit in a datagram, and may not go over an association; or is longer than GIST can carry.
    #[error("the message is too large: {got_bytes} bytes, at most {max_bytes}")]
    TooLarge {
        /// Its length.
        got_bytes: usize,
        /// What is possible.
        max_bytes: usize,
    },
    /// Too many messages wait.
    #[error("too many messages wait")]
    QueueFull,
    /// There is no routing state in this direction: only the other side can make it.
    #[error("there is no routing state for this direction")]
    NoRoutingState,
    /// The peer refused with an error.
    #[error("the next node refused: {0:?}")]
    Refused(GistError),
}

/// NetworkNotification (RFC 5971, appendix B.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkNotification {
    /// This is the last node on the path that hosts the application (RFC 5971, section 4.3.4).
    LastNode,
    /// The peer is now this one; `rtt` is the time from Query to Response, if it was measured.
    RoutingGood {
        /// The peer.
        sii: SiiHandle,
        /// Round-trip time of the handshake.
        rtt: Option<Duration>,
    },
    /// The peer may no longer be the right one.
    RoutingTentative,
    /// There is no valid peer now.
    RoutingBad,
    /// Flows no longer go by this peer.
    RouteDeleted {
        /// The old peer.
        sii: SiiHandle,
    },
    /// The peer is no longer authorised.
    AuthorisationChanged,
    /// The connection to the peer failed; messages may be lost.
    CommunicationFailure,
}

/// What an application asks of GIST, from within a call or from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Sends a message.
    Send(SendMessage),
    /// SetStateLifetime (RFC 5971, appendix B.5): keeps the routing state of the flow and session refreshed for this
    /// long from now; zero means that it is of no more interest.
    SetStateLifetime {
        /// Flow and direction.
        mri: Mri,
        /// The session.
        sid: Sid,
        /// How long.
        lifetime: Duration,
    },
    /// InvalidateRoutingState (RFC 5971, appendix B.6).
    InvalidateRoutingState {
        /// Flow and direction.
        mri: Mri,
        /// Only the state of this session; that of all sessions of the flow if not given, as in the RFC.
        sid: Option<Sid>,
        /// Bad if true, else Tentative.
        is_bad: bool,
        /// Whether to look for the peer at once.
        urgent: bool,
        /// What to carry in the next Query.
        data: Option<Vec<u8>>,
    },
}

/// A signalling application (NSLP). GIST calls it; what it asks for in return goes into `requests`, which GIST carries
/// out when the call is over.
pub trait Nslp {
    /// Its number.
    fn id(&self) -> NslpId;

    /// The router alert value of its Queries, for IPv4 and IPv6.
    fn router_alert(&self) -> (u16, u16);

    /// A Query asks whether to be its peer (RecvMessage with Routing-State-Check). Must be quick and keep no state:
    /// the querier's address is not verified yet.
    fn check_peering(&mut self, now: Instant, query: &ReceivedMessage<'_>) -> Peering;

    /// A message came (RecvMessage).
    fn receive(&mut self, now: Instant, message: &ReceivedMessage<'_>, requests: &mut Vec<Request>);

    /// What became of a message that had a handle.
    fn message_status(
        &mut self,
        now: Instant,
        handle: MessageHandle,
        status: MessageStatus,
        requests: &mut Vec<Request>,
    );

    /// Something happened to the route of a flow that the application signals for.
    fn notify(
        &mut self,
        now: Instant,
        sid: Sid,
        mri: &Mri,
        notification: &NetworkNotification,
        requests: &mut Vec<Request>,
    );
}

//! The simple objects, and the header that all objects have (RFC 5971, appendices A.2 and A.3).

use std::net::IpAddr;

/// Object types (RFC 5971, appendix A.3), 12 bits.
pub mod kind {
    /// Message-Routing-Information.
    pub const MRI: u16 = 0;
    /// Session-ID.
    pub const SID: u16 = 1;
    /// Network-Layer-Information.
    pub const NLI: u16 = 2;
    /// Stack-Proposal.
    pub const STACK_PROPOSAL: u16 = 3;
    /// Stack-Configuration-Data.
    pub const STACK_CONFIGURATION: u16 = 4;
    /// Query-Cookie.
    pub const QUERY_COOKIE: u16 = 5;
    /// Responder-Cookie.
    pub const RESPONDER_COOKIE: u16 = 6;
    /// NAT-Traversal.
    pub const NAT_TRAVERSAL: u16 = 7;
    /// NSLP-Data.
    pub const NSLP_DATA: u16 = 8;
    /// Error.
    pub const ERROR: u16 = 9;
    /// Hello-ID.
    pub const HELLO_ID: u16 = 10;
}

/// Most bytes of one object's value: 4095 words.
pub const OBJECT_BYTES_MAX: usize = 4_095 * 4;

/// Session identifier: cryptographically random, the one thing that keeps others from a session's state
/// (RFC 5971, section 4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid(pub [u8; 16]);

/// What names a peer, as chosen by the peer; at most 255 bytes. Protected by nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIdentity(pub Vec<u8>);

/// Network-Layer-Information: who the sender is, and how long it may be believed (RFC 5971, appendix A.3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nli {
    /// Names the peer.
    pub peer_identity: PeerIdentity,
    /// IP-TTL field: what the sender put into the IP header (downstream), or the hop distance (upstream); 0 = not known.
    pub ip_ttl: u8,
    /// Routing state validity time in ms; never 0.
    pub validity_ms: u32,
    /// An address at which the peer can be reached.
    pub address: IpAddr,
}

/// A cookie: whole words, of a length that its maker chose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub Vec<u8>);

/// NAT-Traversal (RFC 5971, appendix A.3.8). Kept as it came, so that it can be echoed; `original_mri` without header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatTraversal {
    /// The value of the MRI object as the querier sent it.
    pub original_mri: Vec<u8>,
    /// First halves of the headers of the objects that were translated.
    pub translated: Vec<u16>,
    /// What each NAT on the way left for itself.
    pub opaque: Vec<Vec<u8>>,
}

/// An object that this codec does not know, with its A- and B-flags, to be forwarded unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawObject {
    /// Flags and type: the first half of the object's header.
    pub head: u16,
    /// Its value: whole words.
    pub value: Vec<u8>,
}

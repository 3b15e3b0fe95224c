//! The common header (RFC 5971, appendix A.1) and the constants of the protocol.

use std::fmt;

/// UDP destination port of Q-mode messages (RFC 5971, section 5.3.2.3).
pub const PORT: u16 = 270;
/// First word of every UDP payload; never on a stream (RFC 5971, section 5.3.1).
pub const MAGIC: [u8; 4] = [0x4e, 0x04, 0xbd, 0xa5];
/// The protocol's version.
pub const VERSION: u8 = 1;
/// Length of the common header, in bytes.
pub const HEADER_BYTES: usize = 8;
/// Most words that may follow the header.
pub const MESSAGE_WORDS_MAX: usize = 65_535;

/// Which signalling application a message belongs to (RFC 5971, section 9). 0 is GIST itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NslpId(pub u16);

impl NslpId {
    /// GIST itself: Error and MA-Hello.
    pub const GIST: NslpId = NslpId(0);
}

impl fmt::Display for NslpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a message is (RFC 5971, appendix A.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageType {
    /// Looks for the next node; Q-mode only.
    Query,
    /// Answers a Query.
    Response,
    /// Ends the three-way handshake.
    Confirm,
    /// Carries a message of a signalling application.
    Data,
    /// Says what was wrong with a message.
    Error,
    /// Keeps a messaging association alive.
    Hello,
}

/// The common header as it stands on the wire, checked for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommonHeader {
    /// Should be [`VERSION`].
    pub version: u8,
    /// GIST hop count: nodes that may still process the message.
    pub hops: u8,
    /// Words behind the header.
    pub length_words: u16,
    /// The signalling application.
    pub nslp: NslpId,
    /// C-flag: the receiver needs no context to process the message.
    pub context_free: bool,
    /// Type, 7 bits; see [`CommonHeader::message_type`].
    pub kind: u8,
    /// S-flag: the IP source address is the sender's own.
    pub source_addressing: bool,
    /// R-flag: a reply is asked for.
    pub reply_requested: bool,
    /// E-flag: sent by an SII-handle, past the routing table.
    pub explicit_routing: bool,
}

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
/// GIST hop count of a Query, if the signalling application wants no other.
pub const HOPS_DEFAULT: u8 = 32;
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

impl MessageType {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            MessageType::Query => 0,
            MessageType::Response => 1,
            MessageType::Confirm => 2,
            MessageType::Data => 3,
            MessageType::Error => 4,
            MessageType::Hello => 5,
        }
    }

    /// The type with this number, if it is one that RFC 5971 defines.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<MessageType> {
        Some(match number {
            0 => MessageType::Query,
            1 => MessageType::Response,
            2 => MessageType::Confirm,
            3 => MessageType::Data,
            4 => MessageType::Error,
            5 => MessageType::Hello,
            _ => return None,
        })
    }
}

impl CommonHeader {
    /// Reads the header at the front of `bytes`, without a magic number before it. Checks nothing; `None` only if there
    /// are less than 8 bytes.
    #[must_use]
    pub fn peek(bytes: &[u8]) -> Option<CommonHeader> {
        let [version, hops, l0, l1, n0, n1, kind, flags] = *bytes.first_chunk::<HEADER_BYTES>()?;
        Some(CommonHeader {
            version,
            hops,
            length_words: u16::from_be_bytes([l0, l1]),
            nslp: NslpId(u16::from_be_bytes([n0, n1])),
            context_free: kind & C != 0,
            kind: kind & !C,
            source_addressing: flags & S != 0,
            reply_requested: flags & R != 0,
            explicit_routing: flags & E != 0,
        })
    }

    /// The header on the wire; `kind` has 7 bits.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let [l0, l1] = self.length_words.to_be_bytes();
        let [n0, n1] = self.nslp.0.to_be_bytes();
        let kind = flag(self.context_free, C) | self.kind & !C;
        let flags = flag(self.source_addressing, S) | flag(self.reply_requested, R) | flag(self.explicit_routing, E);
        [self.version, self.hops, l0, l1, n0, n1, kind, flags]
    }

    /// What the message is, if its type is known.
    #[must_use]
    pub const fn message_type(&self) -> Option<MessageType> {
        MessageType::from_number(self.kind)
    }

    /// Length of the whole message, in bytes.
    #[must_use]
    pub const fn message_bytes(&self) -> usize {
        HEADER_BYTES + self.length_words as usize * 4
    }
}

const C: u8 = 0x80;
const S: u8 = 0x80;
const R: u8 = 0x40;
const E: u8 = 0x20;

#[cfg(test)]
mod tests;

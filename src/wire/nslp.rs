//! Messages of the NetServ signalling application: objects in GIST's own style, type, flags and length in words
//! (RFC 5971, appendix A.2). A codec without state.
//!
//! A message is a header of 4 bytes (type, version, length in bytes with the header, because GIST pads to whole words)
//! and objects behind it. Numbers are big-endian. A text is UTF-8 without control characters, filled up with zeros.

pub mod answer;
pub mod code;
pub mod message;
pub mod parts;
mod report;
pub mod request;
pub mod target;
mod text;

mod canonical;

pub use canonical::signing_bytes;

use crate::wire::gist::header::NslpId;
use crate::wire::nslp::request::Nonce;

/// The application's number: from the range for experiments (RFC 5971, section 9).
pub const NSLP_ID: NslpId = NslpId(32_743);
/// Router alert value of its Queries: from the range for experiments (RFC 5350, section 3).
pub const ROUTER_ALERT: u16 = 65_503;
/// The version of these messages.
pub const VERSION: u8 = 1;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NslpFault {
    /// The header is cut short, or says more bytes than came.
    #[error("the message is cut short")]
    Short,
    /// Another version.
    #[error("version {0} of the protocol is not known")]
    Version(u8),
    /// Another type.
    #[error("message type {0} is not known")]
    Type(u8),
    /// An object is cut short, or the type of an object is not known and may not be passed over.
    #[error("object {0} is not known")]
    UnknownObject(u16),
    /// An object's flags have no meaning.
    #[error("object {0} has flags without meaning")]
    Flags(u16),
    /// An object is cut short.
    #[error("an object is cut short")]
    ShortObject,
    /// An object is there twice, or where it may not be.
    #[error("object {0} is out of place")]
    Misplaced(u16),
    /// An object that must be there is not.
    #[error("object {0} is missing")]
    Missing(u16),
    /// An object's value has the wrong length, or a value that is not known.
    #[error("object {0} has a value that makes no sense")]
    Value(u16),
    /// A text is too long, not UTF-8, or has control characters.
    #[error("object {0} has a text that is too long or cannot be shown")]
    Text(u16),
    /// Too many objects or items of one kind.
    #[error("too many of object {0}")]
    TooMany(u16),
    /// The bytes are not the one canonical form of what they say.
    #[error("the request is not in canonical form")]
    NotCanonical,
}

/// As [`NslpFault`], with the request that it is about, if that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct NslpError {
    /// What is wrong.
    pub fault: NslpFault,
    /// Which request.
    pub nonce: Option<Nonce>,
}

impl From<NslpFault> for NslpError {
    fn from(fault: NslpFault) -> NslpError {
        NslpError { fault, nonce: None }
    }
}

#[cfg(test)]
mod tests;

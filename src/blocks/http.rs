//! HTTP/1.1 without sockets (RFC 9110, RFC 9112): one connection of a server, one of a client, and what both share.
//!
//! Bytes go in, heads and bodies come out; heads and bodies go in, bytes come out. Where two readers of a message could
//! disagree about where it ends, it is refused: a node may stand behind or before others.

pub mod body;
pub mod client;
pub mod conditional;
pub mod date;
pub mod error;
pub mod fields;
pub mod head;
mod input;
pub mod range;
pub mod response;
pub mod server;
pub mod url;

/// The part of the version behind "HTTP/1.".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

#[cfg(test)]
mod tests;

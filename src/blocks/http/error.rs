//! What is wrong with a message, and which status says so.

use crate::base::limits::{HTTP_CHUNK_EXTENSION_BYTES_MAX, HTTP_TRAILER_BYTES_MAX};

/// Why a message is refused. The other side is told the status and the sentence, and the connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The head has more bytes than allowed.
    #[error("the head has more than {max_bytes} bytes")]
    HeadTooLong {
        /// The bound.
        max_bytes: usize,
    },
    /// More fields than allowed.
    #[error("the head has more than {max} header fields")]
    TooManyFields {
        /// The bound.
        max: usize,
    },
    /// The target has more bytes than allowed.
    #[error("the request target has {bytes} bytes, more than {max_bytes}")]
    TargetTooLong {
        /// What came.
        bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// A line of the head ends without CR, or CR stands alone (RFC 9112, section 2.2).
    #[error("a line of the head does not end with CR and LF")]
    BareLineEnd,
    /// A field is continued on the next line (RFC 9112, section 5.2).
    #[error("a header field is continued on a second line")]
    FoldedField,
    /// The head does not fit the grammar.
    #[error("the head is malformed: {what}")]
    Malformed {
        /// Which part of it.
        what: &'static str,
    },
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("this is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
    /// Not one Host field (RFC 9112, section 3.2).
    #[error("the request has {count} Host fields; it must have one")]
    HostCount {
        /// How many.
        count: usize,
    },
    /// The target names another host than the Host field.
    #[error("the request target and the Host field name different hosts")]
    HostMismatch,
    /// The length of the body is stated in ways of which some reader would take another one.
    #[error("the length of the body is ambiguous: {what}")]
    AmbiguousLength {
        /// How.
        what: &'static str,
    },
    /// A transfer coding other than chunked.
    #[error("the only transfer coding here is chunked")]
    TransferCoding,
    /// An expectation other than 100-continue (RFC 9110, section 10.1.1).
    #[error("the only expectation that is met here is 100-continue")]
    Expectation,
    /// A method that this server has no part in.
    #[error("this server is no proxy and opens no tunnels")]
    Connect,
    /// The body has more bytes than allowed.
    #[error("the body has more than {max_bytes} bytes")]
    BodyTooLong {
        /// The bound.
        max_bytes: u64,
    },
    /// A chunk does not fit the grammar (RFC 9112, section 7.1).
    #[error("the chunked body is malformed: {what}")]
    Chunk {
        /// Which part of it.
        what: &'static str,
    },
    /// Too many bytes of chunk extensions.
    #[error("the chunk extensions have more than {HTTP_CHUNK_EXTENSION_BYTES_MAX} bytes")]
    ChunkExtensions,
    /// Too many bytes of trailers.
    #[error("the trailers have more than {HTTP_TRAILER_BYTES_MAX} bytes")]
    Trailers,
    /// The other side went away within a message.
    #[error("the connection ended within a message")]
    CutShort,
    /// The head did not arrive in time.
    #[error("the request did not arrive in time")]
    TooSlow,
    /// The peer takes nothing of what is written.
    #[error("the other side takes nothing")]
    Stalled,
    /// The server answers an Upgrade that nobody asked for (RFC 9110, section 15.2.2).
    #[error("the server switched to another protocol, which was not asked for")]
    Switched,
    /// More interim responses than anyone needs.
    #[error("the server sent too many interim responses")]
    InterimResponses,
}

impl HttpError {
    /// The status that a server answers with.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            HttpError::BareLineEnd
            | HttpError::FoldedField
            | HttpError::Malformed { .. }
            | HttpError::HostCount { .. }
            | HttpError::HostMismatch
            | HttpError::AmbiguousLength { .. }
            | HttpError::Chunk { .. }
            | HttpError::ChunkExtensions
            | HttpError::Trailers
            | HttpError::CutShort
            | HttpError::Stalled
            | HttpError::Switched
            | HttpError::InterimResponses => 400,
            HttpError::TooSlow => 408,
            HttpError::BodyTooLong { .. } => 413,
            HttpError::TargetTooLong { .. } => 414,
            HttpError::Expectation => 417,
            HttpError::HeadTooLong { .. } | HttpError::TooManyFields { .. } => 431,
            HttpError::TransferCoding | HttpError::Connect => 501,
            HttpError::Version => 505,
        }
    }
}

/// The usual phrase for a status (RFC 9110, section 15); empty for others.
#[must_use]
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

//! The Error object (RFC 5971, appendix A.4).

use std::fmt;

use crate::base::limits::{GIST_COMMENT_BYTES_MAX, GIST_ERROR_OBJECT_BYTES_MAX};
use crate::wire::gist::message::Rejection;
use crate::wire::gist::object::Sid;
use crate::wire::tlv::{self, Fields};

/// An Error object as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorObject {
    /// 0 informational, 1 success, 2 protocol error, 3 transient, 4 permanent.
    pub class: u8,
    /// Error code (RFC 5971, appendix A.4.4).
    pub code: u16,
    /// Error subcode.
    pub subcode: u8,
    /// D-flag: the original came in D-mode.
    pub d_mode: bool,
    /// Q-flag: the original was in Q-mode encapsulation.
    pub q_mode: bool,
    /// The common header of the original.
    pub header: [u8; 8],
    /// The session of the original (S-flag).
    pub sid: Option<Sid>,
    /// The value of the original's MRI object, as it came (M-flag).
    pub mri: Option<Vec<u8>>,
    /// Additional information.
    pub info: Vec<ErrorInfo>,
    /// A sentence for people (C-flag).
    pub comment: Option<String>,
}

/// Additional information in an Error object (RFC 5971, appendix A.4.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorInfo {
    /// The calculated length of the message, in words.
    MessageLength(u16),
    /// The MTU of the link, in bytes.
    Mtu(u16),
    /// The type of the object at fault.
    ObjectType(u16),
    /// The object at fault.
    ObjectValue {
        /// Its real length, in words with its header; 0 if not known.
        real_length_words: u16,
        /// The byte of the object at which the trouble is.
        offset: u16,
        /// The object with its header.
        object: Vec<u8>,
    },
    /// Something else.
    Unknown {
        /// AI-Type.
        kind: u16,
        /// Value: whole words.
        value: Vec<u8>,
    },
}

/// Every error of RFC 5971, appendix A.4.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GistError {
    /// 1/0.
    UnknownVersion,
    /// 1/1.
    UnknownType,
    /// 1/2.
    InvalidRFlag,
    /// 1/3.
    IncorrectMessageLength,
    /// 1/4.
    InvalidEFlag,
    /// 1/5.
    InvalidCFlag,
    /// 2/0.
    HopLimitExceeded,
    /// 3/0.
    IncorrectEncapsulation,
    /// 4/0.
    IncorrectlyDelivered,
    /// 5/0.
    NoRoutingState,
    /// 6/0.
    UnknownNslpId,
    /// 7/0.
    EndpointFound,
    /// 8/0.
    MessageTooLarge,
    /// 9/0.
    DuplicateObject,
    /// 9/1.
    UnrecognisedObject,
    /// 9/2.
    MissingObject,
    /// 9/3.
    InvalidObjectType,
    /// 9/4.
    UntranslatedObject,
    /// 9/5.
    InvalidExtensibilityFlags,
    /// 10/0.
    IncorrectLength,
    /// 10/1.
    ValueNotSupported,
    /// 10/2.
    InvalidFlagFieldCombination,
    /// 10/3.
    EmptyList,
    /// 10/4.
    InvalidCookie,
    /// 10/5.
    StackMismatch,
    /// 11/0.
    InvalidIpTtl,
    /// 12/0.
    MriTooWild,
    /// 12/1.
    IpVersionMismatch,
    /// 12/2.
    IngressFilterFailure,
}

impl GistError {
    /// Class, code and subcode.
    #[must_use]
    pub const fn code(self) -> (u8, u16, u8) {
        let (class, code, subcode, _) = self.entry();
        (class, code, subcode)
    }

    /// The error with this code and subcode. The class says nothing more (RFC 5971, appendix A.4.3).
    #[must_use]
    pub fn from_code(code: u16, subcode: u8) -> Option<GistError> {
        GistError::ALL.iter().copied().find(|error| {
            let (_, own_code, own_subcode) = error.code();
            (own_code, own_subcode) == (code, subcode)
        })
    }

    /// Every error, by code.
    pub const ALL: [GistError; 29] = [
        GistError::UnknownVersion,
        GistError::UnknownType,
        GistError::InvalidRFlag,
        GistError::IncorrectMessageLength,
        GistError::InvalidEFlag,
        GistError::InvalidCFlag,
        GistError::HopLimitExceeded,
        GistError::IncorrectEncapsulation,
        GistError::IncorrectlyDelivered,
        GistError::NoRoutingState,
        GistError::UnknownNslpId,
        GistError::EndpointFound,
        GistError::MessageTooLarge,
        GistError::DuplicateObject,
        GistError::UnrecognisedObject,
        GistError::MissingObject,
        GistError::InvalidObjectType,
        GistError::UntranslatedObject,
        GistError::InvalidExtensibilityFlags,
        GistError::IncorrectLength,
        GistError::ValueNotSupported,
        GistError::InvalidFlagFieldCombination,
        GistError::EmptyList,
        GistError::InvalidCookie,
        GistError::StackMismatch,
        GistError::InvalidIpTtl,
        GistError::MriTooWild,
        GistError::IpVersionMismatch,
        GistError::IngressFilterFailure,
    ];

    /// Class, code, subcode and name (RFC 5971, appendix A.4.4).
    const fn entry(self) -> (u8, u16, u8, &'static str) {
        const PROTOCOL: u8 = 2;
        const PERMANENT: u8 = 4;
        match self {
            GistError::UnknownVersion => (PROTOCOL, 1, 0, "Unknown Version"),
            GistError::UnknownType => (PROTOCOL, 1, 1, "Unknown Type"),
            GistError::InvalidRFlag => (PROTOCOL, 1, 2, "Invalid R-flag"),
            GistError::IncorrectMessageLength => (PROTOCOL, 1, 3, "Incorrect Message Length"),
            GistError::InvalidEFlag => (PROTOCOL, 1, 4, "Invalid E-flag"),
            GistError::InvalidCFlag => (PROTOCOL, 1, 5, "Invalid C-flag"),
            GistError::HopLimitExceeded => (PERMANENT, 2, 0, "Hop Limit Exceeded"),
            GistError::IncorrectEncapsulation => (PROTOCOL, 3, 0, "Incorrect Encapsulation"),
            GistError::IncorrectlyDelivered => (PROTOCOL, 4, 0, "Incorrectly Delivered Message"),
            GistError::NoRoutingState => (PROTOCOL, 5, 0, "No Routing State"),
            GistError::UnknownNslpId => (PERMANENT, 6, 0, "Unknown NSLPID"),
            GistError::EndpointFound => (PERMANENT, 7, 0, "Endpoint Found"),
            GistError::MessageTooLarge => (PERMANENT, 8, 0, "Message Too Large"),
            GistError::DuplicateObject => (PROTOCOL, 9, 0, "Duplicate Object"),
            GistError::UnrecognisedObject => (PROTOCOL, 9, 1, "Unrecognised Object"),
            GistError::MissingObject => (PROTOCOL, 9, 2, "Missing Object"),
            GistError::InvalidObjectType => (PROTOCOL, 9, 3, "Invalid Object Type"),
            GistError::UntranslatedObject => (PROTOCOL, 9, 4, "Untranslated Object"),
            GistError::InvalidExtensibilityFlags => (PROTOCOL, 9, 5, "Invalid Extensibility Flags"),
            GistError::IncorrectLength => (PROTOCOL, 10, 0, "Incorrect Length"),
            GistError::ValueNotSupported => (PROTOCOL, 10, 1, "Value Not Supported"),
            GistError::InvalidFlagFieldCombination => (PROTOCOL, 10, 2, "Invalid Flag-Field Combination"),
            GistError::EmptyList => (PROTOCOL, 10, 3, "Empty List"),
            GistError::InvalidCookie => (PROTOCOL, 10, 4, "Invalid Cookie"),
            GistError::StackMismatch => (PROTOCOL, 10, 5, "Stack-Proposal - Stack-Configuration-Data Mismatch"),
            GistError::InvalidIpTtl => (PERMANENT, 11, 0, "Invalid IP-Layer TTL"),
            GistError::MriTooWild => (PERMANENT, 12, 0, "MRI Too Wild"),
            GistError::IpVersionMismatch => (PERMANENT, 12, 1, "IP Version Mismatch"),
            GistError::IngressFilterFailure => (PERMANENT, 12, 2, "Ingress Filter Failure"),
        }
    }
}

impl fmt::Display for GistError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry().3)
    }
}

impl std::error::Error for GistError {}

/// What is wrong with the value of an object, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueFault {
    /// What.
    pub error: GistError,
    /// The byte of the value; the object's header is not counted.
    pub offset: usize,
}

impl ValueFault {
    pub(crate) const fn length(offset: usize) -> ValueFault {
        ValueFault { error: GistError::IncorrectLength, offset }
    }

    pub(crate) const fn not_supported(offset: usize) -> ValueFault {
        ValueFault { error: GistError::ValueNotSupported, offset }
    }

    pub(crate) const fn combination(offset: usize) -> ValueFault {
        ValueFault { error: GistError::InvalidFlagFieldCombination, offset }
    }
}

impl ErrorInfo {
    /// Shows the object at fault: `kind` without flags, its value, and the byte of the value at which the trouble is.
    ///
    /// Deviation: of a long object only the front is shown, because an Error must fit in a datagram and must not be
    /// larger than what it answers; its real length is told all the same.
    #[must_use]
    pub fn object(kind: u16, value: &[u8], offset: usize) -> ErrorInfo {
        let real_words = (tlv::HEADER_BYTES + value.len()).div_ceil(4);
        let mut object = Vec::new();
        tlv::write(&mut object, kind & tlv::KIND_MASK, value);
        object.truncate(GIST_ERROR_OBJECT_BYTES_MAX);
        ErrorInfo::ObjectValue {
            real_length_words: real_words.min(0x0fff) as u16,
            offset: u16::try_from(tlv::HEADER_BYTES + offset).unwrap_or(u16::MAX),
            object,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let (kind, value) = match self {
            ErrorInfo::MessageLength(words) => (1, word(*words)),
            ErrorInfo::Mtu(bytes) => (2, word(*bytes)),
            ErrorInfo::ObjectType(kind) => (3, word(*kind)),
            ErrorInfo::ObjectValue { real_length_words, offset, object } => {
                let mut value = (real_length_words & 0x0fff).to_be_bytes().to_vec();
                value.extend(offset.to_be_bytes());
                value.extend(object);
                (4, value)
            }
            ErrorInfo::Unknown { kind, value } => (*kind, value.clone()),
        };
        out.extend(u16::to_be_bytes(kind));
        out.extend((value.len().div_ceil(4) as u16).to_be_bytes());
        out.extend(&value);
        tlv::pad(out, value.len());
    }

    /// Takes the next one; `None` if it is not whole.
    fn decode(fields: &mut Fields<'_>) -> Option<ErrorInfo> {
        let kind = fields.u16()?;
        let words = fields.u16()?;
        let value = fields.take(usize::from(words) * 4)?;
        Some(match (kind, value) {
            (1, [a, b, _, _]) => ErrorInfo::MessageLength(u16::from_be_bytes([*a, *b])),
            (2, [a, b, _, _]) => ErrorInfo::Mtu(u16::from_be_bytes([*a, *b])),
            (3, [a, b, _, _]) => ErrorInfo::ObjectType(u16::from_be_bytes([*a, *b])),
            (4, [a, b, c, d, object @ ..]) => ErrorInfo::ObjectValue {
                real_length_words: u16::from_be_bytes([*a, *b]) & 0x0fff,
                offset: u16::from_be_bytes([*c, *d]),
                object: object.to_vec(),
            },
            _ => ErrorInfo::Unknown { kind, value: value.to_vec() },
        })
    }
}

impl ErrorObject {
    /// What to answer to a message that was refused. `d_mode` and `q_mode` say how it came; `q_mode` only with `d_mode`.
    #[must_use]
    pub fn new(rejection: &Rejection, d_mode: bool, q_mode: bool) -> ErrorObject {
        let (class, code, subcode) = rejection.error.code();
        // An error in the header goes without session and MRI (RFC 5971, appendix A.4.4.1).
        let is_header_error = code == 1;
        ErrorObject {
            class,
            code,
            subcode,
            d_mode,
            q_mode: d_mode && q_mode,
            header: rejection.header.unwrap_or_default().to_bytes(),
            sid: rejection.sid.filter(|_| !is_header_error),
            mri: rejection.mri.clone().filter(|_| !is_header_error),
            info: rejection.info.clone(),
            comment: None,
        }
    }

    /// Which error this is, if it is one of RFC 5971.
    #[must_use]
    pub fn error(&self) -> Option<GistError> {
        GistError::from_code(self.code, self.subcode)
    }

    /// The value of the object. `mri` has at most 255 whole words, `info` at most 255 entries; a comment ends at its
    /// first NUL, or where it would be too long.
    #[must_use]
    pub fn encode_value(&self) -> Vec<u8> {
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let mri = self.mri.as_deref().unwrap_or_default();
        debug_assert!(mri.len() <= 255 * 4 && mri.len().is_multiple_of(4), "an MRI of {} bytes", mri.len());
        debug_assert!(self.info.len() <= 255, "{} additional informations", self.info.len());
        let mri = mri.get(..255 * 4).unwrap_or(mri);
        let info = self.info.get(..255).unwrap_or(&self.info);
        let [code_high, code_low] = self.code.to_be_bytes();
        let flags = flag(self.sid.is_some(), S)
            | flag(self.mri.is_some(), M)
            | flag(self.comment.is_some(), C)
            | flag(self.d_mode, D)
            | flag(self.q_mode, Q);
        let mut value = vec![self.class, code_high, code_low, self.subcode];
        value.extend([flags, 0, mri.len().div_ceil(4) as u8, info.len() as u8]);
        value.extend(self.header);
        // The session comes first, other than the grammar of section 5.2.2 has it (RFC 5971, appendix A.4.1).
        if let Some(sid) = self.sid {
            value.extend(sid.0);
        }
        value.extend(mri);
        tlv::pad(&mut value, mri.len());
        for info in info {
            info.encode(&mut value);
        }
        if let Some(comment) = &self.comment {
            let comment = clipped(comment, comment_room(value.len()));
            value.extend(comment.as_bytes());
            value.push(0);
            tlv::pad(&mut value, comment.len() + 1);
        }
        value
    }

    /// Reads the value of the object. Takes what it can of additional information and comment, because other
    /// implementations count them otherwise.
    ///
    /// # Errors
    ///
    /// [`GistError::IncorrectLength`] if header, session or MRI are not whole.
    pub fn decode_value(value: &[u8]) -> Result<ErrorObject, ValueFault> {
        let mut fields = Fields::new(value);
        let short = ValueFault::length(value.len());
        let [class, code_high, code_low, subcode] = fields.array().ok_or(short)?;
        let [flags, _, mri_words, info_count] = fields.array().ok_or(short)?;
        let header = fields.array().ok_or(short)?;
        let sid = if flags & S == 0 { None } else { Some(Sid(fields.array().ok_or(short)?)) };
        let mri =
            if flags & M == 0 { None } else { Some(fields.take(usize::from(mri_words) * 4).ok_or(short)?.to_vec()) };
        let mut info = Vec::new();
        let mut is_whole = true;
        for _ in 0..info_count {
            if fields.is_empty() {
                break;
            }
            let Some(next) = ErrorInfo::decode(&mut fields) else {
                is_whole = false;
                break;
            };
            info.push(next);
        }
        let has_comment = flags & C != 0 && is_whole && !fields.is_empty();
        let comment = has_comment.then(|| decode_comment(fields.rest()));
        Ok(ErrorObject {
            class,
            code: u16::from_be_bytes([code_high, code_low]),
            subcode,
            d_mode: flags & D != 0,
            q_mode: flags & Q != 0,
            header,
            sid,
            mri,
            info,
            comment,
        })
    }
}

// Flags of the Error object (RFC 5971, appendix A.4.1).
const S: u8 = 0x80;
const M: u8 = 0x40;
const C: u8 = 0x20;
const D: u8 = 0x10;
const Q: u8 = 0x08;

/// A word: 16 bits and 16 reserved ones.
fn word(high: u16) -> Vec<u8> {
    let [a, b] = high.to_be_bytes();
    vec![a, b, 0, 0]
}

/// How long a comment may be that begins `at` bytes into the value, with one byte for its end.
fn comment_room(at: usize) -> usize {
    GIST_COMMENT_BYTES_MAX.min(tlv::VALUE_BYTES_MAX.saturating_sub(at + 1))
}

/// The text up to its first NUL. It gets no longer, so that a message which came in can also go out: what is not UTF-8
/// becomes `?`, and without a NUL the last byte makes room for one.
fn decode_comment(bytes: &[u8]) -> String {
    let room = GIST_COMMENT_BYTES_MAX.min(bytes.len().saturating_sub(1));
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut comment = String::new();
    for chunk in text.get(..room).unwrap_or(text).utf8_chunks() {
        comment.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            comment.push('?');
        }
    }
    comment
}

/// The comment up to its first NUL, and not longer than `bytes_max`.
fn clipped(comment: &str, bytes_max: usize) -> &str {
    let comment = comment.split('\0').next().unwrap_or_default();
    let mut end = comment.len().min(bytes_max);
    while !comment.is_char_boundary(end) {
        end -= 1;
    }
    &comment[..end]
}

#[cfg(test)]
mod tests;

//! The Error object (RFC 5971, appendix A.4).

use crate::wire::gist::object::Sid;

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

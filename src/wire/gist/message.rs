//! Whole messages: which objects each has, and in which order (RFC 5971, section 5.2 and appendix A).

use crate::wire::gist::error::{ErrorInfo, ErrorObject, GistError};
use crate::wire::gist::header::{CommonHeader, MessageType, NslpId};
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::{Cookie, NatTraversal, Nli, RawObject, Sid};
use crate::wire::gist::stack::{StackConfiguration, StackProposal};

/// A message that fits the grammar of its type; objects in the order in which they stand on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// GIST hop count.
    pub hops: u8,
    /// The signalling application; [`NslpId::GIST`] for Error and Hello.
    pub nslp: NslpId,
    /// What it is.
    pub kind: MessageType,
    /// C-flag.
    pub context_free: bool,
    /// S-flag.
    pub source_addressing: bool,
    /// R-flag.
    pub reply_requested: bool,
    /// E-flag.
    pub explicit_routing: bool,
    /// What NATs on the way left behind.
    pub nat_traversal: Option<NatTraversal>,
    /// The flow.
    pub mri: Option<Mri>,
    /// The session.
    pub sid: Option<Sid>,
    /// The sender.
    pub nli: Option<Nli>,
    /// The querier's cookie.
    pub query_cookie: Option<Cookie>,
    /// The responder's cookie.
    pub responder_cookie: Option<Cookie>,
    /// Profiles of messaging associations.
    pub stack_proposal: Option<StackProposal>,
    /// What they need to know.
    pub stack_configuration: Option<StackConfiguration>,
    /// The signalling application's message: whole words on the wire, padded with zeros.
    pub nslp_data: Option<Vec<u8>>,
    /// What was wrong.
    pub error: Option<ErrorObject>,
    /// Which MA-Hello this asks for or answers.
    pub hello_id: Option<u32>,
    /// Unknown objects with the flags AB = 10, behind the others.
    pub forward: Vec<RawObject>,
}

/// Why a message cannot be used, with what is needed to say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// What is wrong.
    pub error: GistError,
    /// Additional information that goes with it.
    pub info: Vec<ErrorInfo>,
    /// The header, as far as there was one.
    pub header: Option<CommonHeader>,
    /// The session, if it could be read.
    pub sid: Option<Sid>,
    /// The value of the MRI object, if it could be found.
    pub mri: Option<Vec<u8>>,
    /// The sender, if it could be read.
    pub nli: Option<Nli>,
    /// What NATs left behind, if it could be read: goes first into the Error message.
    pub nat_traversal: Option<NatTraversal>,
}

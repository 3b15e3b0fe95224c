//! Whole messages: which objects each has, and in which order (RFC 5971, section 5.2 and appendix A).

use crate::wire::gist::error::{ErrorInfo, ErrorObject, GistError};
use crate::wire::gist::header::{
    CommonHeader, HEADER_BYTES, HOPS_DEFAULT, MESSAGE_WORDS_MAX, MessageType, NslpId, VERSION,
};
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::{Cookie, NatTraversal, Nli, RawObject, Sid, kind};
use crate::wire::gist::stack::{StackConfiguration, StackProposal};
use crate::wire::tlv;

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

impl Message {
    /// A message without objects, with the flags and the hop count that its type has as a rule: S-flag set, C- and R-flag
    /// only in a Query. A Query may go to nodes behind the next one, all others to the next one.
    #[must_use]
    pub const fn new(kind: MessageType, nslp: NslpId) -> Message {
        let is_query = matches!(kind, MessageType::Query);
        Message {
            hops: if is_query { HOPS_DEFAULT } else { 1 },
            nslp,
            kind,
            context_free: is_query,
            source_addressing: true,
            reply_requested: is_query,
            explicit_routing: false,
            nat_traversal: None,
            mri: None,
            sid: None,
            nli: None,
            query_cookie: None,
            responder_cookie: None,
            stack_proposal: None,
            stack_configuration: None,
            nslp_data: None,
            error: None,
            hello_id: None,
            forward: Vec::new(),
        }
    }

    /// The message on the wire, from the common header on.
    ///
    /// Each object has at most [`OBJECT_BYTES_MAX`](super::object::OBJECT_BYTES_MAX) bytes, all with their headers at
    /// most [`MESSAGE_WORDS_MAX`] words; the objects are those of the type's grammar. Data of the signalling application
    /// is filled up with zeros to whole words.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES];
        if let Some(nat) = &self.nat_traversal {
            tlv::write(&mut out, kind::NAT_TRAVERSAL, &nat.encode_value());
        }
        if let Some(mri) = &self.mri {
            tlv::write(&mut out, kind::MRI, &mri.encode_value());
        }
        if let Some(sid) = &self.sid {
            tlv::write(&mut out, kind::SID, &sid.0);
        }
        if let Some(nli) = &self.nli {
            tlv::write(&mut out, kind::NLI, &nli.encode_value());
        }
        if let Some(cookie) = &self.query_cookie {
            tlv::write(&mut out, kind::QUERY_COOKIE, &cookie.0);
        }
        if let Some(cookie) = &self.responder_cookie {
            tlv::write(&mut out, kind::RESPONDER_COOKIE, &cookie.0);
        }
        if let Some(proposal) = &self.stack_proposal {
            tlv::write(&mut out, kind::STACK_PROPOSAL, &proposal.encode_value());
        }
        if let Some(configuration) = &self.stack_configuration {
            tlv::write(&mut out, kind::STACK_CONFIGURATION, &configuration.encode_value());
        }
        if let Some(data) = &self.nslp_data {
            tlv::write(&mut out, kind::NSLP_DATA, data);
        }
        if let Some(error) = &self.error {
            tlv::write(&mut out, kind::ERROR, &error.encode_value());
        }
        if let Some(id) = self.hello_id {
            tlv::write(&mut out, kind::HELLO_ID, &id.to_be_bytes());
        }
        for object in &self.forward {
            tlv::write(&mut out, object.head, &object.value);
        }
        let words = (out.len() - HEADER_BYTES) / 4;
        debug_assert!(words <= MESSAGE_WORDS_MAX, "a message of {words} words");
        let header = self.header(u16::try_from(words).unwrap_or(u16::MAX));
        out[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        out
    }

    /// The header of this message with the given length.
    fn header(&self, length_words: u16) -> CommonHeader {
        CommonHeader {
            version: VERSION,
            hops: self.hops,
            length_words,
            nslp: self.nslp,
            context_free: self.context_free,
            kind: self.kind.number(),
            source_addressing: self.source_addressing,
            reply_requested: self.reply_requested,
            explicit_routing: self.explicit_routing,
        }
    }
}

impl Rejection {
    /// Refuses a message that fits the grammar. Objects that must be shown are taken from the message; a link's MTU is for
    /// the caller to add, in [`ErrorInfo::Mtu`].
    #[must_use]
    pub fn of(message: &Message, error: GistError) -> Rejection {
        let mri = message.mri.as_ref().map(Mri::encode_value);
        let show = |kind, value: Option<Vec<u8>>| value.map(|value| ErrorInfo::object(kind, &value, 0));
        let proposal = || message.stack_proposal.as_ref().map(StackProposal::encode_value);
        let configuration = || message.stack_configuration.as_ref().map(StackConfiguration::encode_value);
        let responder_cookie = || message.responder_cookie.clone().map(|cookie| cookie.0);
        let query_cookie = || message.query_cookie.clone().map(|cookie| cookie.0);
        let (_, code, _) = error.code();
        let info = if error == GistError::StackMismatch {
            [show(kind::STACK_PROPOSAL, proposal()), show(kind::STACK_CONFIGURATION, configuration())]
        } else if error == GistError::InvalidCookie && message.kind == MessageType::Response {
            // A Response proves itself by the querier's cookie, a Confirm by the responder's.
            [show(kind::QUERY_COOKIE, query_cookie()), None]
        } else if error == GistError::InvalidCookie {
            [show(kind::RESPONDER_COOKIE, responder_cookie()), None]
        } else if error == GistError::UntranslatedObject {
            // Of all objects with addresses, the MRI is the one that a NAT must translate (RFC 5971, section 7.2.1).
            [Some(ErrorInfo::ObjectType(kind::MRI)), None]
        } else if code == 12 {
            [show(kind::MRI, mri.clone()), None]
        } else {
            [None, None]
        };
        let words = (message.encode().len() - HEADER_BYTES) / 4;
        Rejection {
            error,
            info: info.into_iter().flatten().collect(),
            header: Some(message.header(u16::try_from(words).unwrap_or(u16::MAX))),
            sid: message.sid,
            mri,
            nli: message.nli.clone(),
            nat_traversal: message.nat_traversal.clone(),
        }
    }
}

/// Why a stream of messages cannot be read on: fatal for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The next message is of another version, or the stream is out of step.
    #[error("GIST version {0}, want {VERSION}")]
    Version(u8),
}

/// How many bytes the first message in `bytes` takes; `None` if more must come to have it whole.
///
/// # Errors
///
/// [`FrameError::Version`] as soon as the first byte says so.
pub fn frame(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    if let Some(version) = bytes.first().filter(|version| **version != VERSION) {
        return Err(FrameError::Version(*version));
    }
    Ok(CommonHeader::peek(bytes).map(|header| header.message_bytes()).filter(|len| *len <= bytes.len()))
}

#[cfg(test)]
mod tests;

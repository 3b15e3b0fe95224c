//! From bytes to a [`Message`] that fits the grammar of its type (RFC 5971, section 5.2), or to a [`Rejection`].

use crate::base::limits::GIST_FORWARD_OBJECTS_MAX;
use crate::wire::gist::error::{ErrorInfo, ErrorObject, GistError, ValueFault};
use crate::wire::gist::header::{CommonHeader, HEADER_BYTES, MessageType, VERSION};
use crate::wire::gist::message::{Message, Rejection};
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::{Cookie, NatTraversal, Nli, RawObject, Sid, kind};
use crate::wire::gist::stack::{StackConfiguration, StackProposal};
use crate::wire::tlv::{self, Flags};

impl Message {
    /// Reads one message: `bytes` begins at the common header and ends with the message.
    ///
    /// Checks, in this order: version, type, C-, R- and E-flag, length, the objects' A- and B-flags and order, that none is
    /// twice there or missing, their values. What needs to know how the message came is not checked here: hop count,
    /// encapsulation, whether the signalling application is hosted.
    ///
    /// # Errors
    ///
    /// Returns what to answer with, if the message is one that may be answered: not an Error.
    pub fn decode(bytes: &[u8]) -> Result<Message, Box<Rejection>> {
        let Some(header) = CommonHeader::peek(bytes) else {
            let fault = Fault::bare(GistError::IncorrectMessageLength);
            return Err(Box::new(fault.into_rejection(None, &[])));
        };
        let body = &bytes[HEADER_BYTES..];
        let decoded = header_type(&header).and_then(|kind| {
            check_length(&header, body)?;
            let slots = Slots::collect(kind, body)?;
            slots.check_missing(kind)?;
            if kind == MessageType::Response && slots.has(kind::RESPONDER_COOKIE) && !header.reply_requested {
                return Err(Fault::bare(GistError::InvalidRFlag));
            }
            slots.into_message(kind, &header)
        });
        decoded.map_err(|fault| Box::new(fault.into_rejection(Some(header), body)))
    }
}

/// Number of the object types that RFC 5971 defines.
const KINDS: usize = 11;

/// An error and the additional information that must go with it (RFC 5971, appendix A.4.4).
struct Fault {
    error: GistError,
    info: Vec<ErrorInfo>,
}

impl Fault {
    fn bare(error: GistError) -> Fault {
        Fault { error, info: Vec::new() }
    }

    fn object_type(error: GistError, kind: u16) -> Fault {
        Fault { error, info: vec![ErrorInfo::ObjectType(kind)] }
    }

    fn object_value(kind: u16, value: &[u8], fault: ValueFault) -> Fault {
        Fault { error: fault.error, info: vec![ErrorInfo::object(kind, value, fault.offset)] }
    }

    /// Adds whatever can be read of the message.
    fn into_rejection(self, header: Option<CommonHeader>, body: &[u8]) -> Rejection {
        let mut rejection = Rejection {
            error: self.error,
            info: self.info,
            header,
            sid: None,
            mri: None,
            nli: None,
            nat_traversal: None,
        };
        // What another version has behind the header is not known.
        if self.error == GistError::UnknownVersion {
            return rejection;
        }
        for object in tlv::Reader::new(body).map_while(Result::ok) {
            let value = object.value;
            match object.kind {
                kind::SID if rejection.sid.is_none() => rejection.sid = value.try_into().ok().map(Sid),
                kind::MRI if rejection.mri.is_none() => {
                    rejection.mri = Mri::decode_value(value).is_ok().then(|| value.to_vec());
                }
                kind::NLI if rejection.nli.is_none() => rejection.nli = Nli::decode_value(value).ok(),
                kind::NAT_TRAVERSAL if rejection.nat_traversal.is_none() => {
                    rejection.nat_traversal = NatTraversal::decode_value(value).ok();
                }
                _ => {}
            }
        }
        rejection
    }
}

/// Checks what the header says by itself (RFC 5971, appendix A.1). The S-flag is left alone: other implementations clear
/// it in an Error.
fn header_type(header: &CommonHeader) -> Result<MessageType, Fault> {
    if header.version != VERSION {
        return Err(Fault::bare(GistError::UnknownVersion));
    }
    let kind = header.message_type().ok_or_else(|| Fault::bare(GistError::UnknownType))?;
    let c_fits = match kind {
        MessageType::Query => header.context_free,
        // Set in Q-mode only; whether this came so is for the receiver to see.
        MessageType::Data => true,
        MessageType::Response | MessageType::Confirm | MessageType::Error | MessageType::Hello => !header.context_free,
    };
    if !c_fits {
        return Err(Fault::bare(GistError::InvalidCFlag));
    }
    let r_fits = match kind {
        MessageType::Query => header.reply_requested,
        MessageType::Confirm | MessageType::Data | MessageType::Error => !header.reply_requested,
        // A Response with a Responder-Cookie must have it, which is seen later.
        MessageType::Response | MessageType::Hello => true,
    };
    if !r_fits {
        return Err(Fault::bare(GistError::InvalidRFlag));
    }
    if header.explicit_routing && kind != MessageType::Data {
        return Err(Fault::bare(GistError::InvalidEFlag));
    }
    Ok(kind)
}

/// The length in the header, the bytes that came and the sum of the objects must be the same.
fn check_length(header: &CommonHeader, body: &[u8]) -> Result<(), Fault> {
    let mut objects_bytes = 0;
    let mut is_whole = true;
    for object in tlv::Reader::new(body) {
        objects_bytes += match object {
            Ok(object) => tlv::HEADER_BYTES + object.value.len(),
            Err(error) => {
                is_whole = false;
                match error {
                    tlv::Error::ShortHeader { .. } => 0,
                    tlv::Error::ShortValue { claimed_bytes, .. } => tlv::HEADER_BYTES + claimed_bytes,
                }
            }
        };
    }
    if is_whole && body.len() == usize::from(header.length_words) * 4 {
        return Ok(());
    }
    let calculated_words = u16::try_from(objects_bytes / 4).unwrap_or(u16::MAX);
    let info = vec![ErrorInfo::MessageLength(calculated_words)];
    Err(Fault { error: GistError::IncorrectMessageLength, info })
}

/// The objects that each type of message may have, in their order, and those that it must have (RFC 5971, section 5.2.2).
const fn grammar(message: MessageType) -> (&'static [u16], &'static [u16]) {
    use kind::*;
    match message {
        MessageType::Query => (
            &[NAT_TRAVERSAL, MRI, SID, NLI, QUERY_COOKIE, STACK_PROPOSAL, STACK_CONFIGURATION, NSLP_DATA],
            &[MRI, SID, NLI, QUERY_COOKIE],
        ),
        MessageType::Response => (
            &[
                NAT_TRAVERSAL,
                MRI,
                SID,
                NLI,
                QUERY_COOKIE,
                RESPONDER_COOKIE,
                STACK_PROPOSAL,
                STACK_CONFIGURATION,
                NSLP_DATA,
            ],
            &[MRI, SID, NLI, QUERY_COOKIE],
        ),
        MessageType::Confirm => {
            (&[MRI, SID, NLI, RESPONDER_COOKIE, STACK_PROPOSAL, STACK_CONFIGURATION, NSLP_DATA], &[MRI, SID, NLI])
        }
        MessageType::Data => (&[NAT_TRAVERSAL, MRI, SID, NLI, NSLP_DATA], &[MRI, SID, NSLP_DATA]),
        MessageType::Error => (&[NAT_TRAVERSAL, NLI, ERROR], &[ERROR]),
        MessageType::Hello => (&[HELLO_ID], &[HELLO_ID]),
    }
}

/// The values of the known objects by type, none decoded yet; and what is to be forwarded.
struct Slots<'a> {
    values: [Option<&'a [u8]>; KINDS],
    forward: Vec<RawObject>,
}

impl<'a> Slots<'a> {
    /// Sorts the objects; refuses those that the grammar does not have, or not at this place, or not twice.
    fn collect(message: MessageType, body: &'a [u8]) -> Result<Slots<'a>, Fault> {
        let (allowed, _) = grammar(message);
        let mut slots = Slots { values: [None; KINDS], forward: Vec::new() };
        let mut next_place = 0;
        for object in tlv::Reader::new(body).map_while(Result::ok) {
            if object.flags == Flags::Reserved {
                return Err(Fault::object_type(GistError::InvalidExtensibilityFlags, object.kind));
            }
            let Some(slot) = slots.values.get_mut(usize::from(object.kind)) else {
                slots.take_unknown(&object)?;
                continue;
            };
            let place = allowed.iter().position(|kind| *kind == object.kind);
            let Some(place) = place else {
                return Err(Fault::object_type(GistError::InvalidObjectType, object.kind));
            };
            if slot.replace(object.value).is_some() {
                return Err(Fault::object_type(GistError::DuplicateObject, object.kind));
            }
            // RFC 5971 names no error for a wrong order; this is what others answer.
            if place < next_place {
                return Err(Fault::object_type(GistError::InvalidObjectType, object.kind));
            }
            next_place = place + 1;
        }
        Ok(slots)
    }

    /// Does what the flags say (RFC 5971, section 5.2.3).
    fn take_unknown(&mut self, object: &tlv::Object<'_>) -> Result<(), Fault> {
        match object.flags {
            Flags::Ignore => Ok(()),
            Flags::Forward if self.forward.len() < GIST_FORWARD_OBJECTS_MAX => {
                self.forward.push(RawObject { head: object.head, value: object.value.to_vec() });
                Ok(())
            }
            Flags::Forward | Flags::Mandatory | Flags::Reserved => {
                Err(Fault::object_type(GistError::UnrecognisedObject, object.kind))
            }
        }
    }

    fn has(&self, kind: u16) -> bool {
        self.values[usize::from(kind)].is_some()
    }

    fn check_missing(&self, message: MessageType) -> Result<(), Fault> {
        let missing = |kind| Err(Fault::object_type(GistError::MissingObject, kind));
        let (_, mandatory) = grammar(message);
        if let Some(kind) = mandatory.iter().find(|kind| !self.has(**kind)) {
            return missing(*kind);
        }
        let has_proposal = self.has(kind::STACK_PROPOSAL);
        let has_configuration = self.has(kind::STACK_CONFIGURATION);
        // Proposal and configuration come together, but a Confirm may have the proposal alone.
        if has_configuration && !has_proposal {
            return missing(kind::STACK_PROPOSAL);
        }
        if has_proposal && !has_configuration && message != MessageType::Confirm {
            return missing(kind::STACK_CONFIGURATION);
        }
        // Whoever is offered a messaging association by a Response must prove that it got it.
        if has_proposal && message != MessageType::Query && !self.has(kind::RESPONDER_COOKIE) {
            return missing(kind::RESPONDER_COOKIE);
        }
        Ok(())
    }

    /// Decodes the value of one object, if it is there.
    fn value<T>(&self, kind: u16, decode: impl FnOnce(&[u8]) -> Result<T, ValueFault>) -> Result<Option<T>, Fault> {
        let Some(value) = self.values[usize::from(kind)] else { return Ok(None) };
        decode(value).map(Some).map_err(|fault| Fault::object_value(kind, value, fault))
    }

    /// Decodes the values, in the order of the objects.
    fn into_message(self, kind: MessageType, header: &CommonHeader) -> Result<Message, Fault> {
        let cookie = |value: &[u8]| Ok(Cookie(value.to_vec()));
        let message = Message {
            hops: header.hops,
            nslp: header.nslp,
            kind,
            context_free: header.context_free,
            source_addressing: header.source_addressing,
            reply_requested: header.reply_requested,
            explicit_routing: header.explicit_routing,
            nat_traversal: self.value(kind::NAT_TRAVERSAL, NatTraversal::decode_value)?,
            mri: self.value(kind::MRI, Mri::decode_value)?,
            sid: self.value(kind::SID, decode_sid)?,
            nli: self.value(kind::NLI, Nli::decode_value)?,
            query_cookie: self.value(kind::QUERY_COOKIE, cookie)?,
            responder_cookie: self.value(kind::RESPONDER_COOKIE, cookie)?,
            stack_proposal: self.value(kind::STACK_PROPOSAL, StackProposal::decode_value)?,
            stack_configuration: self.value(kind::STACK_CONFIGURATION, StackConfiguration::decode_value)?,
            nslp_data: self.value(kind::NSLP_DATA, |value| Ok(value.to_vec()))?,
            error: self.value(kind::ERROR, ErrorObject::decode_value)?,
            hello_id: self.value(kind::HELLO_ID, |value| decode_hello(value, header.reply_requested))?,
            forward: self.forward,
        };
        if let (Some(proposal), Some(configuration)) = (&message.stack_proposal, &message.stack_configuration)
            && let Some(offset) = configuration.mismatch_at(proposal)
        {
            // Both objects are shown, in this order (RFC 5971, appendix A.4.4.10).
            let info = vec![
                ErrorInfo::object(kind::STACK_PROPOSAL, &proposal.encode_value(), 0),
                ErrorInfo::object(kind::STACK_CONFIGURATION, &configuration.encode_value(), offset),
            ];
            return Err(Fault { error: GistError::StackMismatch, info });
        }
        Ok(message)
    }
}

fn decode_sid(value: &[u8]) -> Result<Sid, ValueFault> {
    value.try_into().map(Sid).map_err(|_| ValueFault::length(value.len().min(16)))
}

/// A Hello that asks for a reply must have a number (RFC 5971, section 5.2.2).
fn decode_hello(value: &[u8], asks: bool) -> Result<u32, ValueFault> {
    let id = value.try_into().map(u32::from_be_bytes).map_err(|_| ValueFault::length(value.len().min(4)))?;
    if asks && id == 0 { Err(ValueFault::not_supported(0)) } else { Ok(id) }
}

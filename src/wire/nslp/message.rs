//! Whole messages.

use crate::base::limits::{
    NAME_BYTES_MAX, NSLP_COVERED_MAX, NSLP_FORWARD_OBJECTS_MAX, NSLP_HOPS_MAX, NSLP_MESSAGE_BYTES_MAX,
    NSLP_OBJECTS_MAX, NSLP_PARTS_MAX, NSLP_REPORT_ITEMS_MAX, NSLP_REPORT_TEXT_BYTES_MAX,
};
use crate::wire::gist::object::RawObject;
use crate::wire::nslp::answer::{Answer, AnswerCode};
use crate::wire::nslp::request::{Authorisation, NodeId, Nonce, Request};
use crate::wire::nslp::{NslpError, NslpFault, VERSION, report, text};
use crate::wire::tlv;

/// Length of the header, in bytes.
pub const HEADER_BYTES: usize = 4;

/// Message types 1 to 4 are operations.
const RESPONSE: u8 = 5;
const NOTIFY: u8 = 6;
const ACK: u8 = 7;

/// Object types of messages.
mod kind {
    /// The request in canonical form.
    pub(super) const REQUEST: u16 = 1;
    /// Key and signature.
    pub(super) const AUTHORISATION: u16 = 2;
    /// How many nodes it has passed (a byte, and three reserved).
    pub(super) const HOP: u16 = 3;
    /// How long the session stays without another request, in seconds.
    pub(super) const KEEP: u16 = 4;
    /// Values served so far, each with its length before it.
    pub(super) const COVERED: u16 = 5;
    /// Nonce, node; hop, class, code, flags; part, parts, two reserved; round-trip time.
    pub(super) const ANSWER: u16 = 16;
    /// A sentence for people.
    pub(super) const SENTENCE: u16 = 17;
    /// The sender's number for the message.
    pub(super) const SEQUENCE: u16 = 18;
    /// The number of the message that arrived.
    pub(super) const ACK: u16 = 19;
}

/// In an ANSWER: no node comes behind this one.
const FLAG_LAST: u8 = 1;
/// In an ANSWER: it only tells where the node is; its answer comes apart.
const FLAG_PLACE: u8 = 2;

/// Any message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// SETUP, REFRESH, REMOVE, PROBE.
    Request(Box<RequestMessage>),
    /// RESPONSE: an answer, or a part of one.
    Response(AnswerPart),
    /// RESPONSE that only tells of a node's place.
    Place(Place),
    /// NOTIFY.
    Notify(AnswerPart),
    /// ACK: the message with this number arrived. Goes one hop only.
    Ack(u32),
}

/// A request on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMessage {
    /// The request in canonical form.
    pub canonical: Vec<u8>,
    /// The same, decoded.
    pub request: Request,
    /// Who signed it.
    pub authorisation: Option<Authorisation>,
    /// How many nodes of the application it has passed.
    pub hop: u8,
    /// How long nodes keep the session without another request, in seconds; 0 = only until the answers are in.
    pub keep_s: u32,
    /// Values of the target's property that were served so far.
    pub covered: Vec<String>,
    /// Unknown objects to be passed on.
    pub forward: Vec<RawObject>,
}

/// A part of an answer; what stands beside the report is the same in all parts, except that only the first has the
/// sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerPart {
    /// The answer with this part of its report.
    pub answer: Answer,
    /// Which part, from 0.
    pub part: u8,
    /// How many there are.
    pub parts: u8,
    /// The number by which the sender of this hop wants it acknowledged; 0 if it does not.
    pub sequence: u32,
    /// Unknown objects to be passed on.
    pub forward: Vec<RawObject>,
}

/// Tells that a node is there before its answer is ready, or after it was sent that no other comes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which request.
    pub nonce: Nonce,
    /// Who.
    pub node: NodeId,
    /// Where on the path.
    pub hop: u8,
    /// No node comes behind this one.
    pub is_last: bool,
    /// Round-trip time, as [`Answer::hop_rtt_us`].
    pub hop_rtt_us: Option<u32>,
    /// As [`AnswerPart::sequence`].
    pub sequence: u32,
}

impl Message {
    /// Sets the number by which the message is to be acknowledged. Requests have none: their answers do it.
    pub fn set_sequence(&mut self, number: u32) {
        match self {
            Message::Response(part) | Message::Notify(part) => part.sequence = number,
            Message::Place(place) => place.sequence = number,
            Message::Request(_) | Message::Ack(_) => {}
        }
    }

    /// The message; at most [`NSLP_MESSAGE_BYTES_MAX`] bytes if the answer is one part from [`Answer::split`] or the
    /// request one that [`Request::decode`] took.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (number, objects) = match self {
            Message::Request(message) => (message.request.operation.number(), message.objects()),
            Message::Response(part) => (RESPONSE, part.objects()),
            Message::Notify(part) => (NOTIFY, part.objects()),
            Message::Place(place) => (RESPONSE, place.objects()),
            Message::Ack(number) => {
                let mut objects = Vec::new();
                put(&mut objects, kind::ACK, tlv::Flags::Mandatory, &number.to_be_bytes());
                (ACK, objects)
            }
        };
        // Too long a message gets a length that the receiver refuses.
        let length = u16::try_from(HEADER_BYTES + objects.len()).unwrap_or(0).to_be_bytes();
        let mut out = vec![number, VERSION, length[0], length[1]];
        out.extend_from_slice(&objects);
        out
    }

    /// Reads a message; what is behind its end is padding.
    ///
    /// # Errors
    ///
    /// Returns what is wrong, with the request's nonce if it could be read.
    pub fn decode(bytes: &[u8]) -> Result<Message, NslpError> {
        let mut header = tlv::Fields::new(bytes);
        let (Some(number), Some(version), Some(length)) = (header.byte(), header.byte(), header.u16()) else {
            return Err(NslpFault::Short.into());
        };
        if version != VERSION {
            return Err(NslpFault::Version(version).into());
        }
        let length = usize::from(length);
        let Some(objects) = bytes.get(HEADER_BYTES..length).filter(|_| length <= NSLP_MESSAGE_BYTES_MAX) else {
            return Err(NslpFault::Short.into());
        };
        match number {
            1..=4 => decode_request(number, objects),
            RESPONSE => decode_answer(objects, true),
            NOTIFY => decode_answer(objects, false),
            ACK => Ok(decode_ack(objects)?),
            _ => Err(NslpFault::Type(number).into()),
        }
    }
}

impl RequestMessage {
    fn objects(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.canonical.len() + 160);
        put(&mut out, kind::REQUEST, tlv::Flags::Mandatory, &self.canonical);
        if let Some(authorisation) = &self.authorisation {
            let value = [authorisation.key.as_slice(), authorisation.signature.as_slice()].concat();
            put(&mut out, kind::AUTHORISATION, tlv::Flags::Mandatory, &value);
        }
        put(&mut out, kind::HOP, tlv::Flags::Mandatory, &[self.hop, 0, 0, 0]);
        if self.keep_s > 0 {
            put(&mut out, kind::KEEP, tlv::Flags::Ignore, &self.keep_s.to_be_bytes());
        }
        if !self.covered.is_empty() {
            let mut value = Vec::new();
            for covered in self.covered.iter().take(NSLP_COVERED_MAX) {
                let covered = text::fit(covered, NAME_BYTES_MAX);
                value.push(covered.len() as u8);
                value.extend_from_slice(covered.as_bytes());
            }
            put(&mut out, kind::COVERED, tlv::Flags::Mandatory, &value);
        }
        put_forward(&mut out, &self.forward);
        out
    }
}

impl AnswerPart {
    fn objects(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let answer = &self.answer;
        put(&mut out, kind::ANSWER, tlv::Flags::Mandatory, &Head::of(self).bytes());
        put_sequence(&mut out, self.sequence);
        if !answer.sentence.is_empty() {
            let sentence = text::fit(&answer.sentence, NSLP_REPORT_TEXT_BYTES_MAX);
            put(&mut out, kind::SENTENCE, tlv::Flags::Forward, sentence.as_bytes());
        }
        for item in &answer.report {
            let (kind, value) = report::encode(item);
            put(&mut out, kind, tlv::Flags::Forward, &value);
        }
        put_forward(&mut out, &self.forward);
        out
    }
}

impl Place {
    fn objects(&self) -> Vec<u8> {
        let head = Head {
            nonce: self.nonce,
            node: self.node,
            hop: self.hop,
            // What a place says in place of a code.
            class: 0,
            code: 0,
            flags: FLAG_PLACE | if self.is_last { FLAG_LAST } else { 0 },
            part: 0,
            parts: 1,
            hop_rtt_us: self.hop_rtt_us,
        };
        let mut out = Vec::with_capacity(52);
        put(&mut out, kind::ANSWER, tlv::Flags::Mandatory, &head.bytes());
        put_sequence(&mut out, self.sequence);
        out
    }
}

/// The value of an ANSWER object.
struct Head {
    nonce: Nonce,
    node: NodeId,
    hop: u8,
    class: u8,
    code: u8,
    flags: u8,
    part: u8,
    parts: u8,
    hop_rtt_us: Option<u32>,
}

impl Head {
    fn of(part: &AnswerPart) -> Head {
        let answer = &part.answer;
        Head {
            nonce: answer.nonce,
            node: answer.node,
            hop: answer.hop,
            class: answer.code.class(),
            code: answer.code.number(),
            flags: if answer.is_last { FLAG_LAST } else { 0 },
            part: part.part,
            parts: part.parts,
            hop_rtt_us: answer.hop_rtt_us,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = [self.nonce.0, self.node.0].concat();
        out.extend_from_slice(&[self.hop, self.class, self.code, self.flags, self.part, self.parts, 0, 0]);
        // 0 stands for a time that is not known.
        out.extend_from_slice(&self.hop_rtt_us.map_or(0, |us| us.max(1)).to_be_bytes());
        out
    }

    fn read(value: &[u8]) -> Option<Head> {
        let mut fields = tlv::Fields::new(value);
        let nonce = Nonce(fields.array()?);
        let node = NodeId(fields.array()?);
        let [hop, class, code, flags, part, parts, _, _] = fields.array()?;
        let hop_rtt_us = fields.u32().map(|us| (us > 0).then_some(us))?;
        let is_possible = hop <= NSLP_HOPS_MAX && part < parts && parts <= NSLP_PARTS_MAX;
        (is_possible && fields.is_empty()).then_some(Head {
            nonce,
            node,
            hop,
            class,
            code,
            flags,
            part,
            parts,
            hop_rtt_us,
        })
    }
}

fn put(out: &mut Vec<u8>, kind: u16, flags: tlv::Flags, value: &[u8]) {
    tlv::write(out, flags.head(kind), value.get(..tlv::VALUE_BYTES_MAX).unwrap_or(value));
}

fn put_sequence(out: &mut Vec<u8>, number: u32) {
    if number != 0 {
        put(out, kind::SEQUENCE, tlv::Flags::Ignore, &number.to_be_bytes());
    }
}

fn put_forward(out: &mut Vec<u8>, forward: &[RawObject]) {
    forward.iter().for_each(|object| tlv::write(out, object.head, &object.value));
}

/// The objects of a message, with those left out that its flags say may be.
fn objects(bytes: &[u8]) -> impl Iterator<Item = Result<tlv::Object<'_>, NslpFault>> {
    tlv::Reader::new(bytes).enumerate().map(|(idx, object)| {
        let object = object.map_err(|_| NslpFault::ShortObject)?;
        if object.flags == tlv::Flags::Reserved {
            return Err(NslpFault::Flags(object.kind));
        }
        if idx >= NSLP_OBJECTS_MAX { Err(NslpFault::TooMany(object.kind)) } else { Ok(object) }
    })
}

/// What to do with an object whose type is not known (RFC 5971, appendix A.2).
fn unknown(object: &tlv::Object<'_>, forward: &mut Vec<RawObject>) -> Result<(), NslpFault> {
    match object.flags {
        tlv::Flags::Ignore => Ok(()),
        tlv::Flags::Forward if forward.len() < NSLP_FORWARD_OBJECTS_MAX => {
            forward.push(RawObject { head: object.head, value: object.value.to_vec() });
            Ok(())
        }
        tlv::Flags::Forward => Err(NslpFault::TooMany(object.kind)),
        tlv::Flags::Mandatory | tlv::Flags::Reserved => Err(NslpFault::UnknownObject(object.kind)),
    }
}

fn once<T>(field: &mut Option<T>, kind: u16, value: Option<T>) -> Result<(), NslpFault> {
    if field.is_some() {
        return Err(NslpFault::Misplaced(kind));
    }
    *field = Some(value.ok_or(NslpFault::Value(kind))?);
    Ok(())
}

fn decode_request(number: u8, bytes: &[u8]) -> Result<Message, NslpError> {
    let mut nonce = None;
    let mut read = || {
        let mut canonical: Option<(Vec<u8>, Request)> = None;
        let (mut authorisation, mut hop, mut keep_s, mut covered) = (None, None, None, None);
        let mut forward = Vec::new();
        for object in objects(bytes) {
            let object = object?;
            let value = object.value;
            match object.kind {
                kind::REQUEST => {
                    let request = Request::decode(value).inspect_err(|error| nonce = error.nonce);
                    let request = request.map_err(|error| error.fault)?;
                    nonce = Some(request.nonce);
                    once(&mut canonical, object.kind, Some((value.to_vec(), request)))?;
                }
                kind::AUTHORISATION => once(&mut authorisation, object.kind, read_authorisation(value))?,
                kind::HOP => once(&mut hop, object.kind, value.first().copied().filter(|_| value.len() == 4))?,
                kind::KEEP => once(&mut keep_s, object.kind, read_number(value))?,
                kind::COVERED => once(&mut covered, object.kind, read_covered(value))?,
                _ => unknown(&object, &mut forward)?,
            }
        }
        let (canonical, request) = canonical.ok_or(NslpFault::Missing(kind::REQUEST))?;
        if request.operation.number() != number {
            return Err(NslpFault::Type(number));
        }
        Ok(RequestMessage {
            canonical,
            request,
            authorisation,
            hop: hop.ok_or(NslpFault::Missing(kind::HOP))?,
            keep_s: keep_s.unwrap_or(0),
            covered: covered.unwrap_or_default(),
            forward,
        })
    };
    let message = read();
    message.map(|message| Message::Request(Box::new(message))).map_err(|fault| NslpError { fault, nonce })
}

fn decode_ack(bytes: &[u8]) -> Result<Message, NslpFault> {
    let mut number = None;
    for object in objects(bytes) {
        let object = object?;
        match object.kind {
            kind::ACK => once(&mut number, object.kind, read_number(object.value))?,
            // It goes no further, nor does anything in it.
            _ => unknown(&object, &mut Vec::new())?,
        }
    }
    number.map(Message::Ack).ok_or(NslpFault::Missing(kind::ACK))
}

fn read_number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

fn read_authorisation(value: &[u8]) -> Option<Authorisation> {
    let mut fields = tlv::Fields::new(value);
    let authorisation = Authorisation { key: fields.array()?, signature: fields.array()? };
    fields.is_empty().then_some(authorisation)
}

fn read_covered(value: &[u8]) -> Option<Vec<String>> {
    let mut fields = tlv::Fields::new(value);
    let mut covered = Vec::new();
    while fields.rest().iter().any(|byte| *byte != 0) {
        let len = fields.byte()?;
        let text = fields.take(usize::from(len))?;
        if covered.len() >= NSLP_COVERED_MAX {
            return None;
        }
        covered.push(text::read_exact(text, NAME_BYTES_MAX, kind::COVERED).ok()?);
    }
    Some(covered)
}

fn decode_answer(bytes: &[u8], is_response: bool) -> Result<Message, NslpError> {
    let mut nonce = None;
    let mut read = || {
        let (mut head, mut sentence, mut sequence) = (None, None, None);
        let (mut report, mut forward) = (Vec::new(), Vec::new());
        for object in objects(bytes) {
            let object = object?;
            match object.kind {
                kind::ANSWER => {
                    once(&mut head, object.kind, Head::read(object.value))?;
                    nonce = head.as_ref().map(|head: &Head| head.nonce);
                }
                kind::SENTENCE => {
                    let text = text::read(object.value, NSLP_REPORT_TEXT_BYTES_MAX, object.kind)?;
                    once(&mut sentence, object.kind, Some(text))?;
                }
                kind::SEQUENCE => once(&mut sequence, object.kind, read_number(object.value))?,
                _ => match report::decode(object.kind, object.value) {
                    Some(_) if report.len() >= NSLP_REPORT_ITEMS_MAX => return Err(NslpFault::TooMany(object.kind)),
                    Some(item) => report.push(item?),
                    None => unknown(&object, &mut forward)?,
                },
            }
        }
        let head = head.ok_or(NslpFault::Missing(kind::ANSWER))?;
        let is_last = head.flags & FLAG_LAST != 0;
        let sequence = sequence.unwrap_or(0);
        if is_response && head.flags & FLAG_PLACE != 0 {
            let Head { nonce, node, hop, hop_rtt_us, .. } = head;
            return Ok(Message::Place(Place { nonce, node, hop, is_last, hop_rtt_us, sequence }));
        }
        let answer = Answer {
            nonce: head.nonce,
            node: head.node,
            hop: head.hop,
            code: AnswerCode::from_number(head.class, head.code).ok_or(NslpFault::Value(kind::ANSWER))?,
            sentence: sentence.unwrap_or_default(),
            is_last,
            hop_rtt_us: head.hop_rtt_us,
            report,
        };
        let part = AnswerPart { answer, part: head.part, parts: head.parts, sequence, forward };
        Ok(if is_response { Message::Response(part) } else { Message::Notify(part) })
    };
    let message = read();
    message.map_err(|fault| NslpError { fault, nonce })
}

/// How many nodes a request has passed, read from a message that cannot be used otherwise.
#[must_use]
pub fn peek_hop(bytes: &[u8]) -> Option<u8> {
    let objects = tlv::Reader::new(bytes.get(HEADER_BYTES..)?).take(NSLP_OBJECTS_MAX);
    let mut readable = objects.map_while(Result::ok);
    readable.find(|object| object.kind == kind::HOP).and_then(|object| object.value.first().copied())
}

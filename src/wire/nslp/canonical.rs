//! The canonical form of a request: nested objects in one fixed order, nothing twice, nothing unknown. Each request has
//! one form only, so what was signed is what is read.

use crate::base::limits::{NAME_BYTES_MAX, NSLP_LIST_MAX, NSLP_REQUEST_BYTES_MAX, NSLP_TEXT_BYTES_MAX};
use crate::wire::nslp::request::{ModuleRequest, Nonce, Operation, Request, Target};
use crate::wire::nslp::target::{is_node_prefix, is_property_name};
use crate::wire::nslp::{NslpError, NslpFault, text};
use crate::wire::tlv;

/// Objects in a request, in the order in which they stand.
mod kind {
    /// Operation, what is asked, target (a byte each, and one reserved), search time, nonce, issued, expires.
    pub(super) const FIXED: u16 = 1;
    /// A node's id, or the name of the property.
    pub(super) const TARGET: u16 = 2;
    /// A node's id.
    pub(super) const SCOPE: u16 = 3;
    /// A condition.
    pub(super) const CONDITION: u16 = 4;
    /// The instance's name.
    pub(super) const INSTANCE: u16 = 5;
    /// Digest and lifetime.
    pub(super) const MODULE: u16 = 6;
    /// The module's name.
    pub(super) const NAME: u16 = 7;
    /// Its version range.
    pub(super) const VERSION: u16 = 8;
    /// Where the package is.
    pub(super) const URL: u16 = 9;
    /// Length of the name (a byte), name, value.
    pub(super) const PROPERTY: u16 = 10;
    /// Whom to tell.
    pub(super) const NOTIFY: u16 = 11;
}

/// Signatures are over this and the canonical request, so that no signature for another purpose can be used here.
const DOMAIN: &[u8] = b"netserv-request-1\0";

/// What is signed: a domain separator, and the request in canonical form.
#[must_use]
pub fn signing_bytes(canonical: &[u8]) -> Vec<u8> {
    [DOMAIN, canonical].concat()
}

const TARGET_ALL: u8 = 0;
const TARGET_FIRST: u8 = 1;
const TARGET_LAST: u8 = 2;
const TARGET_NODES: u8 = 3;
const TARGET_ONE_PER: u8 = 4;

impl Operation {
    /// Its number: the type of the message that carries it.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Operation::Setup => 1,
            Operation::Refresh => 2,
            Operation::Remove => 3,
            Operation::Probe => 4,
        }
    }

    /// The operation with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Operation> {
        match number {
            1 => Some(Operation::Setup),
            2 => Some(Operation::Refresh),
            3 => Some(Operation::Remove),
            4 => Some(Operation::Probe),
            _ => None,
        }
    }
}

impl Request {
    /// The canonical form. What [`Request::decode`] would refuse (a text that is too long, for example) is encoded all
    /// the same, and then refused there.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let mut fixed = vec![self.operation.number(), self.asks, target_number(&self.target), 0];
        fixed.extend_from_slice(&self.search_ms.to_be_bytes());
        fixed.extend_from_slice(&self.nonce.0);
        fixed.extend_from_slice(&self.issued_ms.to_be_bytes());
        fixed.extend_from_slice(&self.expires_ms.to_be_bytes());
        put(&mut out, kind::FIXED, &fixed);
        match &self.target {
            Target::All | Target::First | Target::Last => {}
            Target::Nodes(ids) => ids.iter().for_each(|id| put(&mut out, kind::TARGET, id.as_bytes())),
            Target::OnePer(property) => put(&mut out, kind::TARGET, property.as_bytes()),
        }
        self.scope.iter().for_each(|id| put(&mut out, kind::SCOPE, id.as_bytes()));
        self.conditions.iter().for_each(|condition| put(&mut out, kind::CONDITION, condition.as_bytes()));
        put_text(&mut out, kind::INSTANCE, &self.instance);
        if let Some(module) = &self.module {
            put_module(&mut out, module);
        }
        out
    }

    /// Reads the canonical form, and refuses every other form of the same.
    ///
    /// # Errors
    ///
    /// Returns what is wrong, with the nonce if it could be read.
    pub fn decode(bytes: &[u8]) -> Result<Request, NslpError> {
        let mut nonce = None;
        let decoded = decode(bytes, &mut nonce);
        decoded.map_err(|fault| NslpError { fault, nonce })
    }
}

fn target_number(target: &Target) -> u8 {
    match target {
        Target::All => TARGET_ALL,
        Target::First => TARGET_FIRST,
        Target::Last => TARGET_LAST,
        Target::Nodes(_) => TARGET_NODES,
        Target::OnePer(_) => TARGET_ONE_PER,
    }
}

fn put_module(out: &mut Vec<u8>, module: &ModuleRequest) {
    let lifetime = module.lifetime_ms.to_be_bytes();
    put(out, kind::MODULE, &[module.digest.as_slice(), lifetime.as_slice()].concat());
    put_text(out, kind::NAME, &module.name);
    put_text(out, kind::VERSION, &module.version);
    put_text(out, kind::URL, &module.url);
    for (name, value) in &module.properties {
        // A longer name makes another pair of it: the form is then not canonical any more, and refused.
        let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
        put(out, kind::PROPERTY, &[&[length], name.as_bytes(), value.as_bytes()].concat());
    }
    put_text(out, kind::NOTIFY, &module.notify);
}

/// An empty text has no object.
fn put_text(out: &mut Vec<u8>, kind: u16, text: &str) {
    if !text.is_empty() {
        put(out, kind, text.as_bytes());
    }
}

fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Far more than is accepted, and less than breaks the form.
    let value = value.get(..NSLP_REQUEST_BYTES_MAX).unwrap_or(value);
    tlv::write(out, tlv::Flags::Mandatory.head(kind), value);
}

fn decode(bytes: &[u8], nonce: &mut Option<Nonce>) -> Result<Request, NslpFault> {
    if bytes.len() > NSLP_REQUEST_BYTES_MAX {
        return Err(NslpFault::TooMany(kind::FIXED));
    }
    let mut objects = tlv::Reader::new(bytes);
    let first = objects.next().ok_or(NslpFault::Missing(kind::FIXED))?.map_err(|_| NslpFault::ShortObject)?;
    if first.kind != kind::FIXED {
        return Err(NslpFault::Missing(kind::FIXED));
    }
    let (mut request, target) = fixed(first.value).ok_or(NslpFault::Value(kind::FIXED))?;
    *nonce = Some(request.nonce);
    let mut targets = Vec::new();
    for object in objects {
        let object = object.map_err(|_| NslpFault::ShortObject)?;
        take(&mut request, &mut targets, object.kind, object.value)?;
    }
    request.target = target_of(target, targets)?;
    let wants_module = matches!(request.operation, Operation::Setup | Operation::Refresh);
    if wants_module != request.module.is_some() {
        return Err(if wants_module { NslpFault::Missing(kind::MODULE) } else { NslpFault::Misplaced(kind::MODULE) });
    }
    // Order, flags, reserved bits, padding, objects that are there twice: all of it shows here.
    if request.encode() != bytes {
        return Err(NslpFault::NotCanonical);
    }
    Ok(request)
}

/// The request as far as its first object tells, and the number of its target.
fn fixed(value: &[u8]) -> Option<(Request, u8)> {
    let mut fields = tlv::Fields::new(value);
    let (operation, asks, target) = (fields.byte()?, fields.byte()?, fields.byte()?);
    fields.byte()?;
    let request = Request {
        operation: Operation::from_number(operation)?,
        search_ms: fields.u32()?,
        nonce: Nonce(fields.array()?),
        issued_ms: fields.u64()?,
        expires_ms: fields.u64()?,
        asks,
        scope: Vec::new(),
        target: Target::All,
        conditions: Vec::new(),
        instance: String::new(),
        module: None,
    };
    fields.is_empty().then_some((request, target))
}

fn take(request: &mut Request, targets: &mut Vec<String>, kind: u16, value: &[u8]) -> Result<(), NslpFault> {
    let long = || text::read(value, NSLP_TEXT_BYTES_MAX, kind);
    match kind {
        kind::TARGET => push(targets, long()?, kind),
        kind::SCOPE => push(&mut request.scope, node_prefix(long()?, kind)?, kind),
        kind::CONDITION => push(&mut request.conditions, long()?, kind),
        kind::INSTANCE => set(&mut request.instance, text::read(value, NAME_BYTES_MAX, kind)?),
        kind::MODULE => {
            let mut fields = tlv::Fields::new(value);
            let (Some(digest), Some(lifetime_ms), true) = (fields.array(), fields.u64(), fields.is_empty()) else {
                return Err(NslpFault::Value(kind));
            };
            request.module = Some(ModuleRequest { digest, lifetime_ms, ..ModuleRequest::default() });
            Ok(())
        }
        kind::NAME | kind::VERSION | kind::URL | kind::PROPERTY | kind::NOTIFY => {
            let module = request.module.as_mut().ok_or(NslpFault::Misplaced(kind))?;
            match kind {
                kind::NAME => set(&mut module.name, text::read(value, NAME_BYTES_MAX, kind)?),
                kind::VERSION => set(&mut module.version, text::read(value, NAME_BYTES_MAX, kind)?),
                kind::URL => set(&mut module.url, long()?),
                kind::NOTIFY => set(&mut module.notify, long()?),
                _ => push(&mut module.properties, property(value)?, kind),
            }
        }
        _ => Err(NslpFault::UnknownObject(kind)),
    }
}

fn set(field: &mut String, text: String) -> Result<(), NslpFault> {
    // A second one replaces the first; the comparison with the canonical form finds it out.
    *field = text;
    Ok(())
}

fn push<T>(list: &mut Vec<T>, item: T, kind: u16) -> Result<(), NslpFault> {
    if list.len() >= NSLP_LIST_MAX {
        return Err(NslpFault::TooMany(kind));
    }
    list.push(item);
    Ok(())
}

fn node_prefix(text: String, kind: u16) -> Result<String, NslpFault> {
    if is_node_prefix(&text) { Ok(text) } else { Err(NslpFault::Text(kind)) }
}

fn property(value: &[u8]) -> Result<(String, String), NslpFault> {
    let wrong = NslpFault::Value(kind::PROPERTY);
    let (length, rest) = value.split_first().ok_or(wrong)?;
    let (name, value) = rest.split_at_checked(usize::from(*length)).ok_or(wrong)?;
    let name = text::read_exact(name, NAME_BYTES_MAX, kind::PROPERTY)?;
    Ok((name, text::read(value, NSLP_TEXT_BYTES_MAX, kind::PROPERTY)?))
}

fn target_of(number: u8, mut texts: Vec<String>) -> Result<Target, NslpFault> {
    match number {
        TARGET_ALL if texts.is_empty() => Ok(Target::All),
        TARGET_FIRST if texts.is_empty() => Ok(Target::First),
        TARGET_LAST if texts.is_empty() => Ok(Target::Last),
        TARGET_NODES if !texts.is_empty() && texts.iter().all(|id| is_node_prefix(id)) => Ok(Target::Nodes(texts)),
        TARGET_ONE_PER if texts.len() == 1 && texts.iter().all(|name| is_property_name(name)) => {
            Ok(Target::OnePer(texts.pop().expect("there is one text")))
        }
        _ => Err(NslpFault::Value(kind::TARGET)),
    }
}

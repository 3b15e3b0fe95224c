//! The items of a report: one object each.
//!
//! Each is shorter than a datagram holds, except an instance with many counters, which travels as several objects with
//! some of its counters each.

use std::net::IpAddr;

use crate::base::limits::{NAME_BYTES_MAX, NSLP_REPORT_TEXT_BYTES_MAX};
use crate::wire::nslp::answer::ReportItem;
use crate::wire::nslp::{NslpFault, text};
use crate::wire::tlv;

/// Object types of report items.
pub(super) mod kind {
    /// Text.
    pub(in crate::wire::nslp) const NAME: u16 = 32;
    /// Text.
    pub(in crate::wire::nslp) const SOFTWARE: u16 = 33;
    /// 4 or 16 bytes.
    pub(in crate::wire::nslp) const ADDRESS: u16 = 34;
    /// Name, value.
    pub(in crate::wire::nslp) const PROPERTY: u16 = 35;
    /// Uptime, load, memory, flows.
    pub(in crate::wire::nslp) const SYSTEM: u16 = 36;
    /// Interface, next hop.
    pub(in crate::wire::nslp) const ROUTE: u16 = 37;
    /// Instance, module, version, state, lifetime, counters.
    pub(in crate::wire::nslp) const MODULE: u16 = 38;
}

/// Longest name of an instance: what its requester called it, and something of the requester's key.
const INSTANCE_BYTES_MAX: usize = 80;
/// Longest state of an instance.
const STATE_BYTES_MAX: usize = 16;

/// A lifetime that does not end.
const FOREVER: u32 = u32::MAX;

/// The object of an item: type and value.
pub(super) fn encode(item: &ReportItem) -> (u16, Vec<u8>) {
    match item {
        ReportItem::Name(name) => (kind::NAME, text::fit(name, NSLP_REPORT_TEXT_BYTES_MAX).into_bytes()),
        ReportItem::Software(name) => (kind::SOFTWARE, text::fit(name, NSLP_REPORT_TEXT_BYTES_MAX).into_bytes()),
        ReportItem::Address(address) => (kind::ADDRESS, address_bytes(*address)),
        ReportItem::Property { name, value } => {
            let mut out = Vec::new();
            put_short(&mut out, name, NAME_BYTES_MAX);
            put_short(&mut out, value, NAME_BYTES_MAX);
            (kind::PROPERTY, out)
        }
        ReportItem::System { uptime_s, load_percent, memory_free_kib, flows } => {
            let words = [uptime_s, load_percent, memory_free_kib, flows];
            (kind::SYSTEM, words.iter().flat_map(|word| word.to_be_bytes()).collect())
        }
        ReportItem::Route { interface, via } => {
            let mut out = Vec::new();
            put_short(&mut out, interface, NAME_BYTES_MAX);
            let via = via.map(address_bytes).unwrap_or_default();
            out.push(via.len() as u8);
            out.extend_from_slice(&via);
            (kind::ROUTE, out)
        }
        ReportItem::Module { instance, module, version, state, lifetime_s, counters } => {
            let mut out = lifetime_s.map_or(FOREVER, |s| s.min(FOREVER - 1)).to_be_bytes().to_vec();
            put_short(&mut out, instance, INSTANCE_BYTES_MAX);
            put_short(&mut out, module, NAME_BYTES_MAX);
            put_short(&mut out, version, NAME_BYTES_MAX);
            put_short(&mut out, state, STATE_BYTES_MAX);
            for (name, value) in counters.iter().filter(|(name, _)| !name.is_empty()) {
                put_short(&mut out, name, NAME_BYTES_MAX);
                out.extend_from_slice(&value.to_be_bytes());
            }
            (kind::MODULE, out)
        }
    }
}

/// The item of an object; `None` if the type is not that of an item.
pub(super) fn decode(kind: u16, value: &[u8]) -> Option<Result<ReportItem, NslpFault>> {
    let wrong = NslpFault::Value(kind);
    let mut fields = tlv::Fields::new(value);
    let item = match kind {
        kind::NAME => text::read(value, NSLP_REPORT_TEXT_BYTES_MAX, kind).map(ReportItem::Name),
        kind::SOFTWARE => text::read(value, NSLP_REPORT_TEXT_BYTES_MAX, kind).map(ReportItem::Software),
        kind::ADDRESS => address(value).map(ReportItem::Address).ok_or(wrong),
        kind::PROPERTY => {
            let pair = short(&mut fields, kind, NAME_BYTES_MAX)
                .and_then(|name| Ok((name, short(&mut fields, kind, NAME_BYTES_MAX)?)));
            pair.map(|(name, value)| ReportItem::Property { name, value })
        }
        kind::SYSTEM => system(&mut fields).ok_or(wrong),
        kind::ROUTE => route(&mut fields),
        kind::MODULE => module(&mut fields),
        _ => return None,
    };
    Some(item)
}

fn system(fields: &mut tlv::Fields<'_>) -> Option<ReportItem> {
    Some(ReportItem::System {
        uptime_s: fields.u32()?,
        load_percent: fields.u32()?,
        memory_free_kib: fields.u32()?,
        flows: fields.u32()?,
    })
}

fn route(fields: &mut tlv::Fields<'_>) -> Result<ReportItem, NslpFault> {
    let wrong = NslpFault::Value(kind::ROUTE);
    let interface = short(fields, kind::ROUTE, NAME_BYTES_MAX)?;
    let via = match fields.byte().ok_or(wrong)? {
        0 => None,
        len => Some(fields.take(usize::from(len)).and_then(address).ok_or(wrong)?),
    };
    Ok(ReportItem::Route { interface, via })
}

fn module(fields: &mut tlv::Fields<'_>) -> Result<ReportItem, NslpFault> {
    let lifetime = fields.u32().ok_or(NslpFault::Value(kind::MODULE))?;
    let mut next = |bytes_max| short(fields, kind::MODULE, bytes_max);
    let (instance, module) = (next(INSTANCE_BYTES_MAX)?, next(NAME_BYTES_MAX)?);
    let (version, state) = (next(NAME_BYTES_MAX)?, next(STATE_BYTES_MAX)?);
    let mut counters = Vec::new();
    // Each takes 10 bytes or more, so their number is bounded by the object's length. Padding looks like an empty name.
    while fields.rest().iter().any(|byte| *byte != 0) {
        let name = short(fields, kind::MODULE, NAME_BYTES_MAX)?;
        let value = fields.u64().filter(|_| !name.is_empty()).ok_or(NslpFault::Value(kind::MODULE))?;
        counters.push((name, value));
    }
    let lifetime_s = (lifetime != FOREVER).then_some(lifetime);
    Ok(ReportItem::Module { instance, module, version, state, lifetime_s, counters })
}

fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A text with its length before it.
fn put_short(out: &mut Vec<u8>, text: &str, bytes_max: usize) {
    let text = text::fit(text, bytes_max);
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn short(fields: &mut tlv::Fields<'_>, kind: u16, bytes_max: usize) -> Result<String, NslpFault> {
    let bytes = fields.byte().and_then(|len| fields.take(usize::from(len)));
    text::read_exact(bytes.ok_or(NslpFault::Value(kind))?, bytes_max, kind)
}

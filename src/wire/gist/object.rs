//! The simple objects, and the header that all objects have (RFC 5971, appendices A.2 and A.3).

use std::net::IpAddr;

use crate::wire::gist::error::ValueFault;
use crate::wire::tlv::{self, Fields};

/// Object types (RFC 5971, appendix A.3), 12 bits.
pub mod kind {
    /// Message-Routing-Information.
    pub const MRI: u16 = 0;
    /// Session-ID.
    pub const SID: u16 = 1;
    /// Network-Layer-Information.
    pub const NLI: u16 = 2;
    /// Stack-Proposal.
    pub const STACK_PROPOSAL: u16 = 3;
    /// Stack-Configuration-Data.
    pub const STACK_CONFIGURATION: u16 = 4;
    /// Query-Cookie.
    pub const QUERY_COOKIE: u16 = 5;
    /// Responder-Cookie.
    pub const RESPONDER_COOKIE: u16 = 6;
    /// NAT-Traversal.
    pub const NAT_TRAVERSAL: u16 = 7;
    /// NSLP-Data.
    pub const NSLP_DATA: u16 = 8;
    /// Error.
    pub const ERROR: u16 = 9;
    /// Hello-ID.
    pub const HELLO_ID: u16 = 10;
}

/// Most bytes of one object's value: 4095 words.
pub const OBJECT_BYTES_MAX: usize = tlv::VALUE_BYTES_MAX;

/// Session identifier: cryptographically random, the one thing that keeps others from a session's state
/// (RFC 5971, section 4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid(pub [u8; 16]);

/// What names a peer, as chosen by the peer; at most 255 bytes. Protected by nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIdentity(pub Vec<u8>);

/// Network-Layer-Information: who the sender is, and how long it may be believed (RFC 5971, appendix A.3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nli {
    /// Names the peer.
    pub peer_identity: PeerIdentity,
    /// IP-TTL field: what the sender put into the IP header (downstream), or the hop distance (upstream); 0 = not known.
    pub ip_ttl: u8,
    /// Routing state validity time in ms; never 0.
    pub validity_ms: u32,
    /// An address at which the peer can be reached.
    pub address: IpAddr,
}

/// A cookie: whole words, of a length that its maker chose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub Vec<u8>);

/// NAT-Traversal (RFC 5971, appendix A.3.9). Kept as it came, so that it can be echoed; `original_mri` without header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatTraversal {
    /// The value of the MRI object as the querier sent it.
    pub original_mri: Vec<u8>,
    /// First halves of the headers of the objects that were translated.
    pub translated: Vec<u16>,
    /// What each NAT on the way left for itself.
    pub opaque: Vec<Vec<u8>>,
}

/// An object that this codec does not know, with its A- and B-flags, to be forwarded unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawObject {
    /// Flags and type: the first half of the object's header.
    pub head: u16,
    /// Its value: whole words.
    pub value: Vec<u8>,
}

impl Nli {
    /// The value of the object. The identity has at most 255 bytes.
    #[must_use]
    pub fn encode_value(&self) -> Vec<u8> {
        let identity = &self.peer_identity.0;
        debug_assert!(identity.len() <= 255, "a peer identity of {} bytes", identity.len());
        let identity = identity.get(..255).unwrap_or(identity);
        let version = if self.address.is_ipv4() { 0x40 } else { 0x60 };
        let mut value = vec![identity.len() as u8, self.ip_ttl, version, 0];
        value.extend(self.validity_ms.to_be_bytes());
        value.extend(identity);
        tlv::pad(&mut value, identity.len());
        push_address(&mut value, self.address);
        value
    }

    /// Reads the value of the object.
    ///
    /// # Errors
    ///
    /// `GistError::IncorrectLength`, or
    /// `GistError::ValueNotSupported` for an unknown IP version and a
    /// validity time of 0.
    pub fn decode_value(value: &[u8]) -> Result<Nli, ValueFault> {
        let mut fields = Fields::new(value);
        let short = ValueFault::length(value.len());
        let [identity_len, ip_ttl, version, _] = fields.array().ok_or(short)?;
        let is_v6 = match version >> 4 {
            4 => false,
            6 => true,
            _ => return Err(ValueFault::not_supported(2)),
        };
        let validity_ms = fields.u32().ok_or(short)?;
        if validity_ms == 0 {
            return Err(ValueFault::not_supported(4));
        }
        let identity = fields.padded(usize::from(identity_len)).ok_or(short)?;
        let address = take_address(&mut fields, is_v6).ok_or(short)?;
        if !fields.is_empty() {
            return Err(ValueFault::length(fields.at()));
        }
        Ok(Nli { peer_identity: PeerIdentity(identity.to_vec()), ip_ttl, validity_ms, address })
    }
}

impl NatTraversal {
    /// The value of the object. Each list has at most 255 entries, `original_mri` at most 255 whole words.
    #[must_use]
    pub fn encode_value(&self) -> Vec<u8> {
        let mri = self.original_mri.get(..255 * 4).unwrap_or(&self.original_mri);
        debug_assert!(mri.len() == self.original_mri.len() && mri.len().is_multiple_of(4), "MRI in a NAT object");
        debug_assert!(self.translated.len() <= 255 && self.opaque.len() <= 255, "lists of a NAT object");
        let translated = self.translated.get(..255).unwrap_or(&self.translated);
        let opaque = self.opaque.get(..255).unwrap_or(&self.opaque);
        let mut value = vec![mri.len().div_ceil(4) as u8, translated.len() as u8, opaque.len() as u8, 0];
        value.extend(mri);
        tlv::pad(&mut value, mri.len());
        for head in translated {
            value.extend(head.to_be_bytes());
        }
        tlv::pad(&mut value, translated.len() * 2);
        for data in opaque {
            let len = u16::try_from(data.len()).unwrap_or(u16::MAX);
            value.extend(len.to_be_bytes());
            value.extend(&data[..usize::from(len)]);
            tlv::pad(&mut value, 2 + usize::from(len));
        }
        value
    }

    /// Reads the value of the object.
    ///
    /// # Errors
    ///
    /// `GistError::IncorrectLength`.
    pub fn decode_value(value: &[u8]) -> Result<NatTraversal, ValueFault> {
        let mut fields = Fields::new(value);
        let short = ValueFault::length(value.len());
        let [mri_words, type_count, nat_count, _] = fields.array().ok_or(short)?;
        let original_mri = fields.take(usize::from(mri_words) * 4).ok_or(short)?.to_vec();
        let heads = fields.padded(usize::from(type_count) * 2).ok_or(short)?;
        let translated = heads.chunks_exact(2).map(|head| u16::from_be_bytes([head[0], head[1]])).collect();
        let mut opaque = Vec::with_capacity(usize::from(nat_count));
        for _ in 0..nat_count {
            let len = usize::from(fields.u16().ok_or(short)?);
            let data = fields.take((2 + len).next_multiple_of(4) - 2).ok_or(short)?;
            opaque.push(data[..len].to_vec());
        }
        if !fields.is_empty() {
            return Err(ValueFault::length(fields.at()));
        }
        Ok(NatTraversal { original_mri, translated, opaque })
    }
}

/// Appends the 4 or 16 bytes of an address.
pub(crate) fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => out.extend(address.octets()),
        IpAddr::V6(address) => out.extend(address.octets()),
    }
}

/// Takes an address.
pub(crate) fn take_address(fields: &mut Fields<'_>, is_v6: bool) -> Option<IpAddr> {
    if is_v6 { fields.array::<16>().map(IpAddr::from) } else { fields.array::<4>().map(IpAddr::from) }
}

#[cfg(test)]
mod tests;

//! How messaging associations are negotiated: Stack-Proposal and Stack-Configuration-Data (RFC 5971, appendices A.3.4
//! and A.3.5).

use crate::wire::gist::error::{GistError, ValueFault};
use crate::wire::tlv::{self, Fields};

/// MA-Protocol-ID of Forwards-TCP.
pub const FORWARDS_TCP: u8 = 1;
/// MA-Protocol-ID of transport layer security, forwards.
pub const TLS: u8 = 2;

/// Profiles, best first; each a list of MA-Protocol-IDs from top to bottom (TLS over TCP is `[2, 1]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackProposal {
    /// Never empty on the wire, nor is any profile.
    pub profiles: Vec<Vec<u8>>,
}

/// What the protocols of a proposal need to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackConfiguration {
    /// How long the sender keeps a silent association, in ms; never 0.
    pub hold_time_ms: u32,
    /// Options; none in the abbreviated form of the first Confirm.
    pub options: Vec<StackOption>,
}

/// One option of a [`StackConfiguration`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackOption {
    /// MA-Protocol-ID.
    pub protocol: u8,
    /// Which profile, from 1; 0 = all.
    pub profile: u8,
    /// D-flag: the protocol must not be used.
    pub forbidden: bool,
    /// For [`FORWARDS_TCP`] in a Response: the port, 2 bytes.
    pub data: Vec<u8>,
}

impl StackProposal {
    /// The value of the object: 1 to 255 profiles of 1 to 255 protocols.
    #[must_use]
    pub fn encode_value(&self) -> Vec<u8> {
        debug_assert!((1..=255).contains(&self.profiles.len()), "{} profiles", self.profiles.len());
        let profiles = self.profiles.get(..255).unwrap_or(&self.profiles);
        let mut value = vec![profiles.len() as u8, 0, 0, 0];
        for profile in profiles {
            debug_assert!((1..=255).contains(&profile.len()), "a profile of {} protocols", profile.len());
            let protocols = profile.get(..255).unwrap_or(profile);
            value.push(protocols.len() as u8);
            value.extend(protocols);
            tlv::pad(&mut value, 1 + protocols.len());
        }
        value
    }

    /// Reads the value of the object.
    ///
    /// # Errors
    ///
    /// `GistError::IncorrectLength`,
    /// `GistError::ValueNotSupported` if there is no profile,
    /// `GistError::EmptyList` if there is nothing in one.
    pub fn decode_value(value: &[u8]) -> Result<StackProposal, ValueFault> {
        let mut fields = Fields::new(value);
        let short = ValueFault::length(value.len());
        let [count, ..] = fields.array::<4>().ok_or(short)?;
        if count == 0 {
            return Err(ValueFault::not_supported(0));
        }
        let mut profiles = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let at = fields.at();
            let len = fields.byte().ok_or(short)?;
            if len == 0 {
                return Err(ValueFault { error: GistError::EmptyList, offset: at });
            }
            let len = usize::from(len);
            let protocols = fields.take((1 + len).next_multiple_of(4) - 1).ok_or(short)?;
            profiles.push(protocols[..len].to_vec());
        }
        if !fields.is_empty() {
            return Err(ValueFault::length(fields.at()));
        }
        Ok(StackProposal { profiles })
    }
}

impl StackConfiguration {
    /// The abbreviated form: the hold time alone.
    #[must_use]
    pub const fn hold_time(hold_time_ms: u32) -> StackConfiguration {
        StackConfiguration { hold_time_ms, options: Vec::new() }
    }

    /// The value of the object: at most 255 options, each with at most 255 bytes of data.
    #[must_use]
    pub fn encode_value(&self) -> Vec<u8> {
        debug_assert!(self.options.len() <= 255, "{} options", self.options.len());
        let options = self.options.get(..255).unwrap_or(&self.options);
        let mut value = vec![options.len() as u8, 0, 0, 0];
        value.extend(self.hold_time_ms.to_be_bytes());
        for option in options {
            debug_assert!(option.data.len() <= 255, "an option of {} bytes", option.data.len());
            let data = option.data.get(..255).unwrap_or(&option.data);
            let forbidden = if option.forbidden { FORBIDDEN } else { 0 };
            value.extend([option.protocol, option.profile, data.len() as u8, forbidden]);
            value.extend(data);
            tlv::pad(&mut value, data.len());
        }
        value
    }

    /// Reads the value of the object.
    ///
    /// # Errors
    ///
    /// `GistError::IncorrectLength`, or
    /// `GistError::ValueNotSupported` for a hold time of 0.
    pub fn decode_value(value: &[u8]) -> Result<StackConfiguration, ValueFault> {
        let mut fields = Fields::new(value);
        let short = ValueFault::length(value.len());
        let [count, ..] = fields.array::<4>().ok_or(short)?;
        let hold_time_ms = fields.u32().ok_or(short)?;
        if hold_time_ms == 0 {
            return Err(ValueFault::not_supported(4));
        }
        let mut options = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let [protocol, profile, len, flags] = fields.array().ok_or(short)?;
            let data = fields.padded(usize::from(len)).ok_or(short)?.to_vec();
            options.push(StackOption { protocol, profile, forbidden: flags & FORBIDDEN != 0, data });
        }
        if !fields.is_empty() {
            return Err(ValueFault::length(fields.at()));
        }
        Ok(StackConfiguration { hold_time_ms, options })
    }

    /// The first option that names a profile which the proposal does not have, or a protocol which the profile does not
    /// have, as a byte of the encoded value.
    pub(crate) fn mismatch_at(&self, proposal: &StackProposal) -> Option<usize> {
        let mut at = 8;
        for option in &self.options {
            let meant = match usize::from(option.profile) {
                0 => proposal.profiles.as_slice(),
                number => match proposal.profiles.get(number - 1) {
                    Some(profile) => std::slice::from_ref(profile),
                    None => return Some(at + 1),
                },
            };
            if !meant.iter().any(|profile| profile.contains(&option.protocol)) {
                return Some(at);
            }
            at += 4 + option.data.len().next_multiple_of(4);
        }
        None
    }
}

impl StackOption {
    /// The option of [`FORWARDS_TCP`] in a Response: listens on `port` for this profile.
    #[must_use]
    pub fn tcp(profile: u8, port: u16) -> StackOption {
        StackOption { protocol: FORWARDS_TCP, profile, forbidden: false, data: port.to_be_bytes().to_vec() }
    }

    /// The port of [`FORWARDS_TCP`], if there is one. The padding behind it may be counted in the length or not.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let port = self.data.first_chunk().copied().map(u16::from_be_bytes)?;
        (self.protocol == FORWARDS_TCP && port != 0).then_some(port)
    }
}

/// D-flag of an option (RFC 5971, appendix A.3.5).
const FORBIDDEN: u8 = 0x80;

#[cfg(test)]
mod tests;

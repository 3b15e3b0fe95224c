//! Message routing information: which flow a message follows, and in which direction (RFC 5971, appendix A.3.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::gist::error::ValueFault;
use crate::wire::gist::object::{push_address, take_address};
use crate::wire::tlv::Fields;

/// With or against the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// With the flow; for the loose-end method towards the edge (D = 0).
    Downstream,
    /// Against the flow (D = 1).
    Upstream,
}

/// How a message finds its way, with what that needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mri {
    /// Method 0 (RFC 5971, section 5.8.1).
    PathCoupled(PathCoupled),
    /// Method 1 (RFC 5971, section 5.8.2).
    LooseEnd(LooseEnd),
}

/// The flow of the path-coupled method. A field that is `None` does not matter for the flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathCoupled {
    /// N-flag: NATs need not translate this.
    pub nat_ignorable: bool,
    /// Flow source. Same IP version as `destination`.
    pub source: IpAddr,
    /// Bits of `source` that matter.
    pub source_prefix: u8,
    /// Flow destination.
    pub destination: IpAddr,
    /// Bits of `destination` that matter.
    pub destination_prefix: u8,
    /// With or against the flow.
    pub direction: Direction,
    /// IP protocol number (P-flag).
    pub protocol: Option<u8>,
    /// Differentiated services code point, 6 bits (T-flag).
    pub dscp: Option<u8>,
    /// IPv6 flow label, 20 bits (F-flag).
    pub flow_label: Option<u32>,
    /// IPsec security parameter index (S-flag).
    pub spi: Option<u32>,
    /// Source port (A-flag); 0 = one specific port that is not known yet.
    pub source_port: Option<u16>,
    /// Destination port (B-flag); as `source_port`.
    pub destination_port: Option<u16>,
}

/// The flow of the loose-end method.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LooseEnd {
    /// N-flag: NATs need not translate this.
    pub nat_ignorable: bool,
    /// Source. Same IP version as `destination`.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
    /// Towards the edge or from it.
    pub direction: Direction,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub const fn inverted(self) -> Direction {
        match self {
            Direction::Downstream => Direction::Upstream,
            Direction::Upstream => Direction::Downstream,
        }
    }
}

impl Mri {
    /// All packets from one host to another, downstream, by the path-coupled method. Both of the same IP version.
    #[must_use]
    pub fn flow(source: IpAddr, destination: IpAddr) -> Mri {
        Mri::PathCoupled(PathCoupled {
            nat_ignorable: false,
            source,
            source_prefix: address_bits(source),
            destination,
            destination_prefix: address_bits(destination),
            direction: Direction::Downstream,
            protocol: None,
            dscp: None,
            flow_label: None,
            spi: None,
            source_port: None,
            destination_port: None,
        })
    }

    /// With or against the flow.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        match self {
            Mri::PathCoupled(flow) => flow.direction,
            Mri::LooseEnd(flow) => flow.direction,
        }
    }

    /// Whether the message goes with the flow.
    #[must_use]
    pub const fn is_downstream(&self) -> bool {
        matches!(self.direction(), Direction::Downstream)
    }

    /// The same flow in the other direction.
    #[must_use]
    pub fn inverted(&self) -> Mri {
        let mut inverted = self.clone();
        match &mut inverted {
            Mri::PathCoupled(flow) => flow.direction = flow.direction.inverted(),
            Mri::LooseEnd(flow) => flow.direction = flow.direction.inverted(),
        }
        inverted
    }

    /// Where the flow comes from, whatever the direction of the message.
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        match self {
            Mri::PathCoupled(flow) => flow.source,
            Mri::LooseEnd(flow) => flow.source,
        }
    }

    /// Where the flow goes to, whatever the direction of the message.
    #[must_use]
    pub const fn destination(&self) -> IpAddr {
        match self {
            Mri::PathCoupled(flow) => flow.destination,
            Mri::LooseEnd(flow) => flow.destination,
        }
    }

    /// 4 or 6.
    #[must_use]
    pub const fn ip_version(&self) -> u8 {
        match self.destination() {
            IpAddr::V4(_) => 4,
            IpAddr::V6(_) => 6,
        }
    }

    /// What to look state up by: equal for two MRIs exactly if they name the same flow in the same direction.
    #[must_use]
    pub fn key(&self) -> MriKey {
        let mut key = self.clone();
        match &mut key {
            Mri::PathCoupled(flow) => {
                flow.nat_ignorable = false;
                flow.source = masked(flow.source, flow.source_prefix);
                flow.destination = masked(flow.destination, flow.destination_prefix);
            }
            Mri::LooseEnd(flow) => flow.nat_ignorable = false,
        }
        MriKey(key)
    }

    /// The value of the object.
    ///
    /// Both addresses are of one IP version, prefixes not longer than these, and of the optional fields none without the
    /// one it needs: ports and SPI need the protocol, the flow label IPv6.
    #[must_use]
    pub fn encode_value(&self) -> Vec<u8> {
        debug_assert_eq!(self.source().is_ipv4(), self.destination().is_ipv4(), "two IP versions in one MRI");
        match self {
            Mri::PathCoupled(flow) => flow.encode(),
            Mri::LooseEnd(flow) => {
                let direction = if self.is_downstream() { 0 } else { LOOSE_END_D };
                let mut value = vec![LOOSE_END, n_flag(flow.nat_ignorable), self.ip_version() << 4 | direction, 0];
                push_address(&mut value, flow.source);
                push_address(&mut value, flow.destination);
                value
            }
        }
    }

    /// Reads the value of the object.
    ///
    /// # Errors
    ///
    /// `GistError::IncorrectLength`, `GistError::ValueNotSupported` or `GistError::InvalidFlagFieldCombination`,
    /// and the byte of the value at which the trouble is.
    pub fn decode_value(value: &[u8]) -> Result<Mri, ValueFault> {
        let mut fields = Fields::new(value);
        let [method, n, version, flags] = fields.array().ok_or(ValueFault::length(value.len()))?;
        let is_v6 = match (method, version >> 4) {
            (PATH_COUPLED | LOOSE_END, 4) => false,
            (PATH_COUPLED | LOOSE_END, 6) => true,
            (PATH_COUPLED | LOOSE_END, _) => return Err(ValueFault::not_supported(2)),
            _ => return Err(ValueFault::not_supported(0)),
        };
        let nat_ignorable = n & N != 0;
        let short = ValueFault::length(value.len());
        let source = take_address(&mut fields, is_v6).ok_or(short)?;
        let destination = take_address(&mut fields, is_v6).ok_or(short)?;
        let mri = if method == LOOSE_END {
            let direction = if version & LOOSE_END_D == 0 { Direction::Downstream } else { Direction::Upstream };
            Mri::LooseEnd(LooseEnd { nat_ignorable, source, destination, direction })
        } else {
            let flow = PathCoupled::decode([version, flags], source, destination, &mut fields, short)?;
            Mri::PathCoupled(PathCoupled { nat_ignorable, ..flow })
        };
        if fields.is_empty() { Ok(mri) } else { Err(ValueFault::length(fields.at())) }
    }
}

impl PathCoupled {
    fn encode(&self) -> Vec<u8> {
        debug_assert!(self.source_prefix <= address_bits(self.source), "source prefix {}", self.source_prefix);
        debug_assert!(
            self.destination_prefix <= address_bits(self.destination),
            "destination prefix {}",
            self.destination_prefix
        );
        debug_assert!(self.flow_label.is_none() || self.destination.is_ipv6(), "a flow label with IPv4");
        let has_ports = self.source_port.is_some() || self.destination_port.is_some();
        debug_assert!(self.protocol.is_some() || !has_ports && self.spi.is_none(), "ports or SPI without protocol");
        let version: u8 = if self.destination.is_ipv4() { 0x40 } else { 0x60 };
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let mut value = vec![
            PATH_COUPLED,
            n_flag(self.nat_ignorable),
            version
                | flag(self.protocol.is_some(), P)
                | flag(self.dscp.is_some(), T)
                | flag(self.flow_label.is_some(), F)
                | flag(self.spi.is_some(), S),
            flag(self.source_port.is_some(), A)
                | flag(self.destination_port.is_some(), B)
                | flag(self.direction == Direction::Upstream, D),
        ];
        push_address(&mut value, self.source);
        push_address(&mut value, self.destination);
        value.extend([
            self.source_prefix,
            self.destination_prefix,
            self.protocol.unwrap_or(0),
            self.dscp.unwrap_or(0) << 2,
        ]);
        if let Some(label) = self.flow_label {
            value.extend((label & FLOW_LABEL_MASK).to_be_bytes());
        }
        if let Some(spi) = self.spi {
            value.extend(spi.to_be_bytes());
        }
        if has_ports {
            value.extend(self.source_port.unwrap_or(0).to_be_bytes());
            value.extend(self.destination_port.unwrap_or(0).to_be_bytes());
        }
        value
    }

    /// Reads what stands behind the addresses. `short` is what to say if there is too little.
    fn decode(
        flags: [u8; 2],
        source: IpAddr,
        destination: IpAddr,
        fields: &mut Fields<'_>,
        short: ValueFault,
    ) -> Result<PathCoupled, ValueFault> {
        let [first, second] = flags;
        // The flow label is a field of IPv6; SPI and ports belong to a protocol (RFC 5971, appendix A.3.1.1).
        if first & F != 0 && destination.is_ipv4() || first & S != 0 && first & P == 0 {
            return Err(ValueFault::combination(2));
        }
        if second & (A | B) != 0 && first & P == 0 {
            return Err(ValueFault::combination(3));
        }
        let prefixes_at = fields.at();
        let [source_prefix, destination_prefix, protocol, ds] = fields.array().ok_or(short)?;
        if source_prefix > address_bits(source) {
            return Err(ValueFault::combination(prefixes_at));
        }
        if destination_prefix > address_bits(destination) {
            return Err(ValueFault::combination(prefixes_at + 1));
        }
        let flow_label = if first & F == 0 { None } else { Some(fields.u32().ok_or(short)? & FLOW_LABEL_MASK) };
        let spi = if first & S == 0 { None } else { Some(fields.u32().ok_or(short)?) };
        let ports =
            if second & (A | B) == 0 { [0; 2] } else { [fields.u16().ok_or(short)?, fields.u16().ok_or(short)?] };
        Ok(PathCoupled {
            nat_ignorable: false,
            source,
            source_prefix,
            destination,
            destination_prefix,
            direction: if second & D == 0 { Direction::Downstream } else { Direction::Upstream },
            protocol: (first & P != 0).then_some(protocol),
            dscp: (first & T != 0).then_some(ds >> 2),
            flow_label,
            spi,
            source_port: (second & A != 0).then_some(ports[0]),
            destination_port: (second & B != 0).then_some(ports[1]),
        })
    }
}

/// An [`Mri`] without what does not matter for the flow: bits behind the prefixes, the N-flag, padding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MriKey(Mri);

impl MriKey {
    /// The flow, in the normal form.
    #[must_use]
    pub const fn mri(&self) -> &Mri {
        &self.0
    }
}

const PATH_COUPLED: u8 = 0;
const LOOSE_END: u8 = 1;
const N: u8 = 0x80;
// Flags of the path-coupled method, first and second byte (RFC 5971, appendix A.3.1.1).
const P: u8 = 0x08;
const T: u8 = 0x04;
const F: u8 = 0x02;
const S: u8 = 0x01;
const A: u8 = 0x80;
const B: u8 = 0x40;
const D: u8 = 0x20;
/// The loose-end method has its D-flag in the byte of the IP version (RFC 5971, appendix A.3.1.2).
const LOOSE_END_D: u8 = 0x08;
const FLOW_LABEL_MASK: u32 = 0x000f_ffff;

const fn n_flag(nat_ignorable: bool) -> u8 {
    if nat_ignorable { N } else { 0 }
}

const fn address_bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let shift = u32::from(address_bits(address).saturating_sub(prefix));
    match address {
        IpAddr::V4(address) => {
            IpAddr::V4(Ipv4Addr::from_bits(u32::MAX.checked_shl(shift).map_or(0, |mask| address.to_bits() & mask)))
        }
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(u128::MAX.checked_shl(shift).map_or(0, |mask| address.to_bits() & mask)))
        }
    }
}

#[cfg(test)]
mod tests;

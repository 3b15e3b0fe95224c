//! Message routing information: which flow a message follows, and in which direction (RFC 5971, appendix A.3.1).

use std::net::IpAddr;

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

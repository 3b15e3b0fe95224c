//! How messaging associations are negotiated: Stack-Proposal and Stack-Configuration-Data (RFC 5971, appendices A.3.4
//! and A.3.5).

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

//! Steering: makes the kernel hand the chosen traffic, and no other, to the node's TUN device.

use std::net::IpAddr;

/// What a packet must be to be steered into the TUN. A field that is `None` matches anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Match {
    /// 4 or 6; `None` with an address means the address's family.
    pub ip_version: Option<u8>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Source prefix.
    pub from: Option<(IpAddr, u8)>,
    /// Destination prefix.
    pub to: Option<(IpAddr, u8)>,
    /// Source ports, first and last.
    pub from_port: Option<(u16, u16)>,
    /// Destination ports, first and last.
    pub to_port: Option<(u16, u16)>,
}

/// Whether the machine translates the addresses of those behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Masquerade {
    /// Look for NAT chains in the kernel.
    #[default]
    Auto,
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// What is to be steered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// One entry per direction; a filter for both directions has become two.
    pub matches: Vec<Match>,
    /// Traffic that this machine forwards.
    pub forwarded: bool,
    /// Traffic that this machine sends.
    pub own: bool,
    /// Traffic to this machine itself.
    pub to_self: bool,
    /// See [`Masquerade`].
    pub masquerade: Masquerade,
}

/// What was put into the kernel, in a person's words, for `netserv status` and logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Policy rules.
    pub rule_count: usize,
    /// Things the user should know: a coarser capture than asked for, a sysctl that was changed, ...
    pub notes: Vec<String>,
}

/// Why traffic cannot be steered.
#[derive(Debug, thiserror::Error)]
pub enum SteeringError {
    /// This system has no steering yet.
    #[error("{system} has no steering yet; use --link pcap:IF1,IF2 or tap:IF")]
    Unsupported {
        /// The system's name.
        system: &'static str,
    },
}

/// One system's way to steer. Everything is taken out again by `withdraw`, and when it is dropped.
pub trait Steering {
    /// Makes the kernel steer exactly what `plan` says; may be called again with another plan. Traffic that both plans
    /// name is steered without a gap.
    ///
    /// # Errors
    ///
    /// What the kernel refused; then nothing is steered.
    fn apply(&mut self, plan: &Plan) -> Result<Applied, SteeringError>;

    /// Takes everything out of the kernel.
    ///
    /// # Errors
    ///
    /// What could not be taken out.
    fn withdraw(&mut self) -> Result<(), SteeringError>;
}

//! What a simulated network is made of: machines, links, and how these treat packets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::crypto::{SigningKey, sha256};
use crate::base::limits::{SIM_NAT_MAPPINGS_DEFAULT, SIM_NAT_UDP_TIMEOUT, SIM_QUEUE_BYTES_DEFAULT};
use crate::base::machine::Location;
use crate::controller::trust::Trust;
use crate::signaling::gist::GistConfig;

/// A machine of the simulated network, in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(pub usize);

/// A link of the simulated network, in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub usize);

/// What a machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineKind {
    /// Forwards, and has a node, which is shown what its filters name.
    Node,
    /// Forwards, and knows nothing of NetServ.
    Router,
    /// Does not forward. It has a node, for its applications, as soon as somebody asks something of it.
    Host,
    /// Forwards, and translates addresses (IPv4; IPv6 goes through it as it is).
    Nat(NatConfig),
}

/// A machine.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// Its name; no two machines have the same. It resolves to the machine's addresses.
    pub name: String,
    /// What it is.
    pub kind: MachineKind,
    /// Its addresses, at least one; the first of each IP version is the one that it sends from. Of a NAT box the first
    /// IPv4 address is the outside one.
    pub addresses: Vec<IpAddr>,
    /// Where it stands.
    pub location: Option<Location>,
    /// Its autonomous system: the property `as` of its node.
    pub as_number: Option<u32>,
    /// Further properties of its node.
    pub properties: BTreeMap<String, String>,
    /// How its node signals; `None` for not at all.
    pub signal: Option<SignalOptions>,
    /// Flows that its node remembers.
    pub flows_max: u32,
    /// Time that its node takes for each packet that it is shown; 0 for an ideal machine.
    pub cost: Duration,
}

/// How the node of a machine signals.
#[derive(Clone, Debug, Default)]
pub struct SignalOptions {
    /// Who may have what run on it.
    pub trust: Trust,
    /// The seed of its key; one made of the network's seed and the machine's name if not given.
    pub key: Option<[u8; 32]>,
    /// GIST; identity, secret and ports are filled in.
    pub gist: GistConfig,
}

impl MachineConfig {
    /// A machine of a kind, with nothing set. A node signals and trusts nobody.
    #[must_use]
    pub fn new(name: &str, kind: MachineKind, addresses: &[IpAddr]) -> MachineConfig {
        let signal = (kind == MachineKind::Node).then(SignalOptions::default);
        MachineConfig {
            name: name.to_owned(),
            kind,
            addresses: addresses.to_vec(),
            location: None,
            as_number: None,
            properties: BTreeMap::new(),
            signal,
            flows_max: 4_096,
            cost: Duration::ZERO,
        }
    }

    /// The properties of the machine's node.
    pub(super) fn all_properties(&self) -> BTreeMap<String, String> {
        let mut properties = self.properties.clone();
        if let Some(number) = self.as_number {
            properties.insert("as".to_owned(), number.to_string());
        }
        properties
    }

    /// The key of the machine's node.
    pub(super) fn key(&self, seed: u64) -> SigningKey {
        let given = self.signal.as_ref().and_then(|signal| signal.key);
        SigningKey::from_seed(&given.unwrap_or_else(|| sha256(format!("{seed}/{}", self.name).as_bytes())))
    }
}

/// A link between two machines.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The machines at its ends.
    pub ends: [MachineId; 2],
    /// How it treats what leaves the first end, and what leaves the second one.
    pub quality: [LinkQuality; 2],
}

impl LinkConfig {
    /// A link that is the same in both directions.
    #[must_use]
    pub const fn new(one: MachineId, other: MachineId, quality: LinkQuality) -> LinkConfig {
        LinkConfig { ends: [one, other], quality: [quality, quality] }
    }
}

/// How a link treats packets in one direction. Shares are between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkQuality {
    /// Time from end to end.
    pub delay: Duration,
    /// Bits per second; `None` = as many as one likes, and no queue.
    pub rate_bps: Option<u64>,
    /// Bytes that wait before the link, with the one under way; what finds no room is dropped.
    pub queue_bytes: u64,
    /// Up to this much more delay, another for each packet. Their order stays.
    pub jitter: Duration,
    /// Share of packets that are lost.
    pub loss: f64,
    /// Share of packets that arrive twice.
    pub duplication: f64,
    /// Share of packets that are held back by up to another delay and jitter, while later ones go past them.
    pub reordering: f64,
    /// Share of packets in which one bit is changed.
    pub corruption: f64,
}

impl Default for LinkQuality {
    fn default() -> Self {
        LinkQuality {
            delay: Duration::ZERO,
            rate_bps: None,
            queue_bytes: SIM_QUEUE_BYTES_DEFAULT,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            corruption: 0.0,
        }
    }
}

impl LinkQuality {
    /// Nothing but delay.
    #[must_use]
    pub fn delay(delay: Duration) -> LinkQuality {
        LinkQuality { delay, ..LinkQuality::default() }
    }
}

/// What a NAT box looks at besides the inner address and port, when it maps (RFC 4787, section 4.1) or filters
/// (RFC 4787, section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum NatDependence {
    /// Nothing else.
    #[default]
    EndpointIndependent,
    /// The address of the other side.
    AddressDependent,
    /// The address and port of the other side.
    AddressAndPortDependent,
}

/// How a NAT box behaves. Its first link leads outside, the others inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatConfig {
    /// What decides whether two packets from one inner endpoint get the same mapping.
    pub mapping: NatDependence,
    /// Who outside may send to a mapping.
    pub filtering: NatDependence,
    /// How long a UDP mapping lives without traffic (RFC 4787, section 4.3).
    pub udp_timeout: Duration,
    /// Whether packets from outside keep a mapping too, not only those from inside (RFC 4787, section 4.3).
    pub refreshed_from_outside: bool,
    /// Whether the inner port is kept when it is free (RFC 4787, section 4.2.1).
    pub keeps_ports: bool,
    /// Whether those inside reach each other by their outer addresses (RFC 4787, section 6).
    pub hairpins: bool,
    /// Mappings at most; the one that was not used for longest makes room.
    pub mappings_max: usize,
}

impl Default for NatConfig {
    fn default() -> Self {
        NatConfig {
            mapping: NatDependence::EndpointIndependent,
            filtering: NatDependence::AddressAndPortDependent,
            udp_timeout: SIM_NAT_UDP_TIMEOUT,
            refreshed_from_outside: true,
            keeps_ports: true,
            hairpins: true,
            mappings_max: SIM_NAT_MAPPINGS_DEFAULT,
        }
    }
}

/// Why something cannot be part of the network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// The name is taken.
    #[error("there are two machines called \"{name}\"; each needs a name of its own")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A machine without an address.
    #[error("{name} has no address; give it one")]
    NoAddress {
        /// The machine.
        name: String,
    },
    /// A NAT box without an outside address.
    #[error("{name} translates IPv4 addresses and has none; give it its outside address first")]
    NoOutsideAddress {
        /// The machine.
        name: String,
    },
    /// Too many machines or links.
    #[error("there are {max} {what} already, and there can be no more")]
    TooMany {
        /// Machines or links.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// No such machine.
    #[error("there is no machine number {number}")]
    NoMachine {
        /// What was given.
        number: usize,
    },
    /// A link from a machine to itself.
    #[error("a link joins {name} with itself; it needs two machines")]
    Loop {
        /// The machine.
        name: String,
    },
}

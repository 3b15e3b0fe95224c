//! What makes a flow, and its hash.

use std::hash::{Hash, Hasher};

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

use crate::base::filter::FilterSubject;
use crate::base::id::LinkId;
use crate::wire::header::{Fragment, Header};

/// One direction of a conversation on one link. Later fragments, which have no ports, are a flow of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowKey {
    source: u128,
    destination: u128,
    ports: u32,
    protocol: u8,
    ip_version: u8,
    link: u8,
    /// Bit 0: has ports; bit 1: later fragments.
    shape: u8,
}

impl FlowKey {
    const HAS_PORTS: u8 = 1;
    const FRAGMENTS: u8 = 2;

    /// The flow that a packet belongs to.
    pub(crate) fn new(link: LinkId, header: &Header) -> FlowKey {
        let (source_port, destination_port) = header.ports.unwrap_or((0, 0));
        let fragments = matches!(header.fragment, Fragment::Later(_));
        FlowKey {
            source: header.source,
            destination: header.destination,
            ports: u32::from(source_port) << 16 | u32::from(destination_port),
            protocol: header.protocol,
            ip_version: header.ip_version,
            link: link.0,
            shape: u8::from(header.ports.is_some()) * Self::HAS_PORTS + u8::from(fragments) * Self::FRAGMENTS,
        }
    }

    /// What filters look at.
    pub(crate) fn subject(&self) -> FilterSubject {
        FilterSubject {
            ip_version: self.ip_version,
            protocol: self.protocol,
            source: self.source,
            destination: self.destination,
            ports: (self.shape & Self::HAS_PORTS != 0).then_some(((self.ports >> 16) as u16, self.ports as u16)),
        }
    }

    /// Whether these are later fragments.
    pub(crate) const fn is_fragments(&self) -> bool {
        self.shape & Self::FRAGMENTS != 0
    }
}

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.source);
        state.write_u128(self.destination);
        let rest = u32::from_ne_bytes([self.protocol, self.ip_version, self.link, self.shape]);
        state.write_u64(u64::from(self.ports) << 32 | u64::from(rest));
    }
}

/// A seeded hash: whoever sends packets cannot choose keys that collide.
pub(crate) struct KeyedHash {
    seed: u64,
    shared: SharedSeed,
}

impl KeyedHash {
    pub(crate) fn seeded(seed: u64) -> Self {
        KeyedHash { seed, shared: SharedSeed::from_u64(seed.rotate_left(32)) }
    }

    pub(crate) fn of(&self, key: &impl Hash) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        key.hash(&mut hasher);
        hasher.finish()
    }
}

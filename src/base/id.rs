//! Numbers that must not be mixed up.

use std::fmt;

/// A link of the node, in the order in which links were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u8);

/// A module instance. Never used again within one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u32);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A flow in the flow cache: slot in the low 20 bits, generation above them.
///
/// Below 2^53, so that Luau's numbers hold it exactly. A stale id finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(u64);

impl FlowId {
    const SLOT_BITS: u32 = 20;
    const GENERATION_BITS: u32 = 32;

    /// The id of `slot` (below 2^20) in its `generation`.
    #[must_use]
    pub const fn new(slot: u32, generation: u32) -> Self {
        FlowId((generation as u64) << Self::SLOT_BITS | (slot as u64 & ((1 << Self::SLOT_BITS) - 1)))
    }

    /// The id that a module hands back; `None` if no flow can have it.
    #[must_use]
    pub fn from_number(number: f64) -> Option<Self> {
        let max = (1u64 << (Self::SLOT_BITS + Self::GENERATION_BITS)) as f64;
        (number >= 0.0 && number < max && number.fract() == 0.0).then_some(FlowId(number as u64))
    }

    /// As a number for a module.
    #[must_use]
    pub const fn as_number(self) -> f64 {
        self.0 as f64
    }

    /// Place in the flow table.
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 & ((1 << Self::SLOT_BITS) - 1)) as u32
    }

    /// How often the place had been taken before.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> Self::SLOT_BITS) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_ids_survive_the_trip_through_a_luau_number() {
        let id = FlowId::new(0xf_ffff, u32::MAX);
        assert_eq!(FlowId::from_number(id.as_number()), Some(id));
        assert_eq!((id.slot(), id.generation()), (0xf_ffff, u32::MAX));
        for odd in [-1.0, 0.5, f64::NAN, f64::INFINITY, 9.1e15] {
            assert_eq!(FlowId::from_number(odd), None);
        }
    }
}

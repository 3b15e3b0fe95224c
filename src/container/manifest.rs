//! `module.toml`: what a module is, asks for and may use. Read and checked before any of its code runs.

use std::collections::BTreeMap;

use crate::base::filter::Filter;
use crate::container::properties::{Properties, PropertyKey};

/// How much of a packet a handler gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sees {
    /// IP and transport headers: the first 128 bytes.
    #[default]
    Headers,
    /// All of it.
    Payload,
}

/// What a handler may change in a packet. Each level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changes {
    /// Nothing: it looks, and may drop.
    #[default]
    Nothing,
    /// Header fields.
    Headers,
    /// Payload, of the same length.
    Payload,
    /// The length of the payload too (not of TCP). Super-packets are split for it.
    Length,
}

/// A checked manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Lower case letters, digits and `-`.
    pub name: String,
    /// The module's version.
    pub version: semver::Version,
    /// One sentence.
    pub summary: String,
    /// The file that is run; `init.luau` by default.
    pub entry: String,
    /// How much of a packet the handler gets.
    pub sees: Sees,
    /// What the handler may change.
    pub changes: Changes,
    /// Whether the handler may say "drop", or reply in place of the packet. Refused on a tap, which cannot hold packets.
    pub drops: bool,
    /// Whether a packet passes or is dropped when the handler fails on it: true = passes.
    pub passes_on_fault: bool,
    /// Whether it may send packets of its own.
    pub injects: bool,
    /// Its limits.
    pub limits: Limits,
    /// What can be set, by name.
    pub properties: BTreeMap<String, PropertyKey>,
    /// Its counters, by name, with their meaning.
    pub counters: BTreeMap<String, String>,
}

/// What an instance may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the VM, in bytes.
    pub memory_bytes: u64,
    /// CPU time of one call, in ms.
    pub cpu_ms_per_call: u64,
    /// Timers at once.
    pub timers: u32,
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {}

impl Manifest {
    /// Reads and checks `module.toml`.
    ///
    /// # Errors
    ///
    /// What is wrong, with the key, the value and the remedy.
    pub fn parse(_text: &str) -> Result<Manifest, ManifestError> {
        todo!()
    }

    /// Whether the module can hold back or change packets: then it cannot run on a tap.
    #[must_use]
    pub fn needs_to_hold_packets(&self) -> bool {
        self.drops || self.changes > Changes::Nothing
    }

    /// The filters, with `$name` replaced by the property of that name.
    ///
    /// # Errors
    ///
    /// When a property is no address, port or protocol.
    pub fn filters(&self, _properties: &Properties) -> Result<Vec<Filter>, ManifestError> {
        todo!()
    }
}

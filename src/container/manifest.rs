//! `module.toml`: what a module is, asks for and may use. Read and checked before any of its code runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::filter::Filter;
use crate::base::limits::{
    MODULE_CALL_DEFAULT, MODULE_CPU_SHARE_DEFAULT, MODULE_FLOWS_MAX, MODULE_MEMORY_DEFAULT, MODULE_SOCKETS_DEFAULT,
    MODULE_TASKS_DEFAULT, MODULE_TIMERS_DEFAULT,
};
use crate::container::permissions::{Allowed, Permissions};
use crate::container::properties::{Properties, PropertyKey};

pub(crate) mod asks;
mod read;
mod rules;

pub use rules::FilterRule;

/// How much of a packet a handler gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sees {
    /// IP and transport headers: the first 128 bytes.
    #[default]
    Headers,
    /// All of it.
    Payload,
}

/// What a handler may change in a packet. Each level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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

/// The interface between modules and this program; `api` in a manifest.
pub const API_VERSION: i64 = 1;

/// A checked manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Lower case letters, digits and `-`.
    pub name: String,
    /// The module's version.
    pub version: semver::Version,
    /// One sentence.
    pub summary: String,
    /// Who wrote it.
    pub authors: Vec<String>,
    /// SPDX name of its licence; may be empty.
    pub licence: String,
    /// The file that is run; `init.luau` by default.
    pub entry: String,
    /// Whether it is code for other modules, and nothing that runs by itself.
    pub library: bool,
    /// How much of a packet the handler gets.
    pub sees: Sees,
    /// What the handler may change.
    pub changes: Changes,
    /// Whether the handler may say "drop", or reply in place of the packet. Refused on a tap, which cannot hold packets.
    pub drops: bool,
    /// Whether a packet passes or is dropped when the handler fails on it: true = passes.
    pub passes_on_fault: bool,
    /// What it must be allowed to do beyond looking at packets.
    pub permissions: Permissions,
    /// What it can do without.
    pub optional_permissions: Permissions,
    /// The library modules that its code requires, by name, with the versions that will do.
    pub requires: BTreeMap<String, semver::VersionReq>,
    /// The services that it offers to other modules, by name, with the version of their interface.
    pub provides: BTreeMap<String, semver::Version>,
    /// The services of other modules that it uses.
    pub uses: BTreeMap<String, ServiceUse>,
    /// Its limits.
    pub limits: Limits,
    /// What can be set, by name.
    pub properties: BTreeMap<String, PropertyKey>,
    /// Its counters, by name, with their meaning.
    pub counters: BTreeMap<String, String>,
    /// Its filters, with the names of properties still in them.
    pub filter_rules: Vec<FilterRule>,
}

/// A service that a module uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUse {
    /// The versions of its interface that will do.
    pub version: semver::VersionReq,
    /// Whether the module also runs without it.
    pub optional: bool,
}

/// What an instance may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory of the VM, in bytes.
    pub memory_bytes: u64,
    /// CPU time of one call, in ms.
    pub cpu_ms_per_call: u64,
    /// Share of one core over time, in percent.
    pub cpu_share_percent: u32,
    /// Bytes kept over restarts.
    pub storage_bytes: u64,
    /// Bits per second that come in by its sockets; 0 = no limit.
    pub bandwidth_in: u64,
    /// Bits per second that go out by its sockets and as packets of its own; 0 = no limit.
    pub bandwidth_out: u64,
    /// Timers at once.
    pub timers: u32,
    /// Sockets at once, listening ones included.
    pub sockets: u32,
    /// Tasks at once.
    pub tasks: u32,
    /// Flows that it looks at, at once.
    pub flows: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes: MODULE_MEMORY_DEFAULT,
            cpu_ms_per_call: MODULE_CALL_DEFAULT.as_millis() as u64,
            cpu_share_percent: MODULE_CPU_SHARE_DEFAULT,
            storage_bytes: 0,
            bandwidth_in: 0,
            bandwidth_out: 0,
            timers: MODULE_TIMERS_DEFAULT,
            sockets: MODULE_SOCKETS_DEFAULT,
            tasks: MODULE_TASKS_DEFAULT,
            flows: MODULE_FLOWS_MAX,
        }
    }
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is longer than [`crate::base::limits::MANIFEST_BYTES_MAX`].
    #[error("it has {got_bytes} bytes; at most {want_bytes} are read")]
    TooLong {
        /// Its length.
        got_bytes: usize,
        /// The limit.
        want_bytes: usize,
    },
    /// It is no TOML, a key is missing or not known, or a value is of the wrong type.
    #[error("line {line}: {message}\n  {text}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
        /// The line itself.
        text: String,
    },
    /// A value is not allowed.
    #[error("line {line}: {key} = {got} cannot be; {remedy}")]
    Value {
        /// Line, from 1.
        line: usize,
        /// The key, with the tables around it.
        key: String,
        /// Its value.
        got: String,
        /// What to write instead.
        remedy: String,
    },
    /// The properties of an instance make no usable filters.
    #[error("filters: {message}")]
    Filters {
        /// What is wrong with them, and what to do.
        message: String,
    },
}

impl Manifest {
    /// Reads and checks `module.toml`.
    ///
    /// # Errors
    ///
    /// What is wrong, with the key, the value and the remedy.
    pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
        read::manifest(text)
    }

    /// Whether a module can be called so.
    #[must_use]
    pub fn is_name(text: &str) -> bool {
        read::is_name(text, '-')
    }

    /// Whether the module can hold back or change packets: then it cannot run on a tap.
    #[must_use]
    pub fn needs_to_hold_packets(&self) -> bool {
        self.drops || self.changes > Changes::Nothing
    }

    /// What an instance with these properties may do, when its owner grants all of it.
    ///
    /// # Errors
    ///
    /// The sentence about a permission that is none with these properties.
    pub fn allowed(&self, properties: &Properties) -> Result<Allowed, String> {
        Ok(self.permissions.resolve(properties)?.with(self.optional_permissions.resolve(properties)?))
    }

    /// The filters, with `$name` replaced by the property of that name.
    ///
    /// A property that is "any" restricts nothing. Each item of a list makes a filter of its own; an empty list makes
    /// none. Combinations of an IPv4 and an IPv6 address are left out.
    ///
    /// # Errors
    ///
    /// When the properties make too many filters, or only some that no packet can match.
    pub fn filters(&self, properties: &Properties) -> Result<Vec<Filter>, ManifestError> {
        rules::filters(&self.filter_rules, properties)
    }
}

#[cfg(test)]
mod tests;

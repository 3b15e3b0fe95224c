//! What can be set on a module: the keys that its manifest declares, and the values that an instance was given.

use std::collections::BTreeMap;

/// One key of `[config]` in a manifest.
#[derive(Clone, Debug)]
pub struct PropertyKey {
    /// One sentence.
    pub meaning: String,
}

/// Values that fit the manifest, defaults filled in.
#[derive(Clone, Debug, Default)]
pub struct Properties(pub BTreeMap<String, toml::Value>);

impl Properties {
    /// Stand-in.
    pub fn check(_keys: &BTreeMap<String, PropertyKey>, _given: &toml::Table) -> Result<Properties, String> {
        todo!()
    }
}

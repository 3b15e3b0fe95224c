//! The files of a module, as whoever read them hands them over.

use std::collections::BTreeMap;

/// All files of a module by their path, `/` between folders: `module.toml`, `init.luau`, `tests/first.luau`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleSource {
    /// Content by path.
    pub files: BTreeMap<String, Vec<u8>>,
}

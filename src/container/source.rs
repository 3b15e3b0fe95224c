//! The files of a module, as whoever read them hands them over.

use std::collections::BTreeMap;

/// Where a module's manifest is.
pub const MANIFEST_PATH: &str = "module.toml";

/// All files of a module by their path, `/` between folders: `module.toml`, `init.luau`, `tests/first.luau`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleSource {
    /// Content by path.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl ModuleSource {
    /// The paths of the module's test scripts, in their order. What is in folders below `tests/` is for them to use.
    pub fn test_paths(&self) -> impl Iterator<Item = &str> {
        let paths = self.files.keys().map(String::as_str);
        paths.filter(|path| {
            path.strip_prefix("tests/").is_some_and(|name| name.ends_with(".luau") && !name.contains('/'))
        })
    }
}

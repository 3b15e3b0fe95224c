//! Makes the folder of a new module, and describes one that is there.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::container::manifest::Manifest;
use crate::container::plain::Wish;
use crate::container::properties::Properties;
use crate::container::reference;
use crate::drivers::module_dir::{self, ModuleDirError};

/// The name that stands in the template for that of the new module.
const TEMPLATE_NAME: &str = "template";

/// The files of the template: a module that works, and its tests.
const TEMPLATE: &[(&str, &str)] = &[
    ("module.toml", include_str!("../../modules/_template/module.toml")),
    ("init.luau", include_str!("../../modules/_template/init.luau")),
    ("tests/limit.luau", include_str!("../../modules/_template/tests/limit.luau")),
    ("README.md", include_str!("../../modules/_template/README.md")),
    // The alias is for editors: the node knows its own `@netserv`.
    (".luaurc", "{\n  \"languageMode\": \"strict\",\n  \"aliases\": { \"netserv\": \"./.netserv\" }\n}\n"),
];

/// The folder that the alias names. Its name begins with a dot, so that it is no part of the module.
const STUBS: &str = ".netserv";

/// Makes a new module called `name` from the template, in the folder `name` in `parent`. Returns the folder.
///
/// # Errors
///
/// When the name is none that a module can have, the folder is there already, or it cannot be written.
pub fn new(name: &str, parent: &Path) -> Result<PathBuf, ModuleNewError> {
    let manifest = TEMPLATE[0].1.replacen(&format!("\"{TEMPLATE_NAME}\""), &format!("\"{name}\""), 1);
    if name.contains(['"', '\\']) || Manifest::parse(&manifest).is_err() {
        return Err(ModuleNewError::Name { name: name.to_owned() });
    }
    let dir = parent.join(name);
    if dir.exists() {
        return Err(ModuleNewError::Exists { dir });
    }
    for (path, content) in TEMPLATE {
        let content = match *path {
            "module.toml" => manifest.clone(),
            "README.md" => content.replace(TEMPLATE_NAME, name),
            _ => (*content).to_owned(),
        };
        write(&dir.join(path), &content)?;
    }
    write(&dir.join("netserv.d.luau"), &reference::types())?;
    for (path, stub) in reference::stubs() {
        write(&dir.join(STUBS).join(path), &stub)?;
    }
    Ok(dir)
}

/// Writes a file, and makes the folders above it.
fn write(file: &Path, content: &str) -> Result<(), ModuleNewError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| ModuleNewError::Write { path, error: error.to_string() }
    };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(failed(folder))?;
    }
    fs::write(file, content).map_err(failed(file))
}

/// Checks the module in the folder `dir` without running any of its code, and says what it is and asks for.
///
/// # Errors
///
/// What is wrong with it.
pub fn check(dir: &Path) -> Result<CheckReport, ModuleDirError> {
    let module = module_dir::load(dir)?;
    let tests = module.source.test_paths().count();
    Ok(CheckReport { manifest: (*module.manifest).clone(), files: module.source.files.len(), tests })
}

/// What a module is and asks for; prints as a few lines.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// Its manifest.
    pub manifest: Manifest,
    /// How many files it has.
    pub files: usize,
    /// How many of them are test scripts.
    pub tests: usize,
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = &self.manifest;
        writeln!(f, "{} {}: {}", m.name, m.version, m.summary)?;
        let defaults = Properties::check(&m.properties, &toml::Table::new()).ok();
        if !m.library {
            f.write_str(&Wish::of(m, defaults.as_ref()).text())?;
        }
        for (name, key) in &m.properties {
            let default = match &key.default {
                Some(value) => format!("default {value}"),
                None => "must be given".to_owned(),
            };
            writeln!(f, "property {name}: {} ({}; {default})", key.meaning, key.allowed())?;
        }
        for (name, meaning) in &m.counters {
            writeln!(f, "counter {name}: {meaning}")?;
        }
        write!(f, "{} files, {} of them test scripts: all right", self.files, self.tests)
    }
}

/// Why a module's folder is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleNewError {
    /// No module can be called so.
    #[error("a module cannot be called \"{name}\"; use 1 to 64 lower case letters, digits and \"-\", a letter first")]
    Name {
        /// What was asked for.
        name: String,
    },
    /// There is something already.
    #[error("{} is there already; take another name or folder", dir.display())]
    Exists {
        /// What is there.
        dir: PathBuf,
    },
    /// The system refuses.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_module_is_right_and_says_what_it_asks_for() {
        let parent = std::env::temp_dir().join(format!("netserv-module-new-{}", std::process::id()));
        let dir = new("my-module", &parent).unwrap();
        let report = check(&dir).unwrap();
        let stub = fs::read_to_string(dir.join(".netserv/task.luau")).unwrap();
        assert!(stub.ends_with("return (nil :: any) :: NetservTask\n") && dir.join(".netserv/init.luau").exists());
        let again = new("my-module", &parent);
        fs::remove_dir_all(&parent).unwrap();
        assert_eq!((report.manifest.name.as_str(), report.tests), ("my-module", 1));
        let text = report.to_string();
        assert!(text.contains("  - see the headers of these packets: udp\n  - drop them"), "{text}");
        assert!(text.contains("  - 20 ms of CPU time per call"), "{text}");
        assert!(text.contains("property payload_bytes_max: "), "{text}");
        assert_eq!(again.unwrap_err(), ModuleNewError::Exists { dir });
    }

    #[test]
    fn refuses_names_that_are_none_or_lead_elsewhere() {
        for name in ["", "..", "../x", "a/b", "My", "1a", "a\"b", "a\\b", "a\nb"] {
            assert_eq!(new(name, Path::new("")).unwrap_err(), ModuleNewError::Name { name: name.to_owned() });
        }
    }
}

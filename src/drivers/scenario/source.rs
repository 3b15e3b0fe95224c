//! The files of a scenario: from a folder, or from those that are part of the program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use crate::container::module::{Module, ModuleError};
use crate::container::resolver;
use crate::container::source::ModuleSource;
use crate::drivers::module_dir::{self, ModuleDirError};

/// The demos and modules of the repository.
static DEMOS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/demos");
static MODULES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/modules");

/// The file that says what a scenario consists of.
pub const SCENARIO_PATH: &str = "demo.toml";

/// Why the files of a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The folder cannot be read.
    #[error(transparent)]
    Folder(#[from] ModuleDirError),
    /// There is no `demo.toml`.
    #[error("{}: a scenario has a file {SCENARIO_PATH}, and this folder has none", dir.display())]
    NoScenario {
        /// The folder.
        dir: PathBuf,
    },
    /// No demo of this name is part of the program.
    #[error("there is no demo \"{name}\"; there are: {}", names().join(", "))]
    NoDemo {
        /// What was asked for.
        name: String,
    },
    /// A module that the scenario names is neither in its folder nor part of the program.
    #[error("there is no module \"{name}\": neither a folder of the scenario nor a module of the program is called so")]
    NoModule {
        /// What was asked for.
        name: String,
    },
    /// A module is wrong.
    #[error("module {name}: {error}")]
    Module {
        /// Its folder.
        name: String,
        /// Why.
        error: ModuleError,
    },
}

/// All files of a scenario.
#[derive(Clone, Debug)]
pub struct ScenarioSource {
    /// The name of its folder.
    pub name: String,
    files: BTreeMap<String, Vec<u8>>,
}

/// The demos that are part of the program, in order.
#[must_use]
pub fn names() -> Vec<String> {
    let dirs = DEMOS.dirs().filter(|dir| dir.get_file(dir.path().join(SCENARIO_PATH)).is_some());
    let mut names: Vec<String> = dirs.map(|dir| dir.path().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

impl ScenarioSource {
    /// A demo that is part of the program.
    ///
    /// # Errors
    ///
    /// When there is none of this name.
    pub fn embedded(name: &str) -> Result<ScenarioSource, SourceError> {
        let no_demo = || SourceError::NoDemo { name: name.to_owned() };
        if !names().iter().any(|known| known == name) {
            return Err(no_demo());
        }
        let dir = DEMOS.get_dir(name).ok_or_else(no_demo)?;
        Ok(ScenarioSource { name: name.to_owned(), files: files_of(dir) })
    }

    /// A scenario in a folder; `path` is the folder or the `demo.toml` in it.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<ScenarioSource, SourceError> {
        let dir = if path.is_file() { path.parent().unwrap_or(Path::new(".")) } else { path };
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let files = module_dir::read(dir)?.files;
        if !files.contains_key(SCENARIO_PATH) {
            return Err(SourceError::NoScenario { dir: dir.to_owned() });
        }
        let name = dir.file_name().map_or_else(|| "scenario".to_owned(), |name| name.to_string_lossy().into_owned());
        Ok(ScenarioSource { name, files })
    }

    /// The text of `demo.toml`.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.files.get(SCENARIO_PATH).map_or(&[][..], Vec::as_slice)).into_owned()
    }

    /// The files of a module, in the scenario's folder or among those of the program.
    ///
    /// # Errors
    ///
    /// When there is none of this name.
    pub fn module_source(&self, name: &str) -> Result<ModuleSource, SourceError> {
        let prefix = format!("{name}/");
        let own = self
            .files
            .iter()
            .filter_map(|(path, bytes)| path.strip_prefix(&prefix).map(|path| (path.to_owned(), bytes.clone())));
        let own: BTreeMap<String, Vec<u8>> = own.collect();
        if !own.is_empty() {
            return Ok(ModuleSource { files: own });
        }
        let dir = MODULES.get_dir(name).ok_or_else(|| SourceError::NoModule { name: name.to_owned() })?;
        Ok(ModuleSource { files: files_of(dir) })
    }

    /// A module that can be run, with the libraries that it requires.
    ///
    /// # Errors
    ///
    /// When it or one of them is missing or wrong.
    pub fn module(&self, name: &str) -> Result<Module, SourceError> {
        let wrong = |name: &str| {
            let name = name.to_owned();
            move |error| SourceError::Module { name, error }
        };
        let module = Module::check(self.module_source(name)?).map_err(wrong(name))?;
        let mut libraries: Vec<Module> = Vec::new();
        let mut wanted: Vec<String> = module.manifest.requires.keys().cloned().collect();
        while let Some(next) = wanted.pop() {
            if libraries.iter().any(|library| library.manifest.name == next) {
                continue;
            }
            let library = Module::check(self.module_source(&next)?).map_err(wrong(&next))?;
            wanted.extend(library.manifest.requires.keys().cloned());
            libraries.push(library);
        }
        resolver::bind(module, &libraries).map_err(wrong(name))
    }
}

/// The files below a folder that is part of the program, by their paths in it.
fn files_of(dir: &Dir<'_>) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut rest = vec![dir];
    while let Some(next) = rest.pop() {
        for file in next.files() {
            let Ok(path) = file.path().strip_prefix(dir.path()) else { continue };
            let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            if parts.iter().all(|part| !part.starts_with('.') && !part.ends_with('~')) {
                files.insert(parts.join("/"), file.contents().to_vec());
            }
        }
        rest.extend(next.dirs());
    }
    files
}

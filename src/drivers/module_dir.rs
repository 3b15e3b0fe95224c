//! Reads a module from its folder.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::base::limits::{LIBRARIES_MAX, MODULE_BYTES_MAX, MODULE_FILES_MAX};
use crate::container::module::{Module, ModuleError};
use crate::container::resolver;
use crate::container::source::{MANIFEST_PATH, ModuleSource};

/// Folders within folders of a module.
const DEPTH_MAX: usize = 8;
/// Entries of one folder, those that are passed over included: what is above it is no module.
const ENTRIES_MAX: usize = 4 * MODULE_FILES_MAX;

/// Reads the folder `dir` and checks the module in it.
///
/// # Errors
///
/// What is wrong with the folder or the module.
pub fn load(dir: &Path) -> Result<Module, ModuleDirError> {
    Module::check(read(dir)?).map_err(|error| ModuleDirError::Module { dir: dir.to_owned(), error })
}

/// Reads the folder `dir` and checks the module in it, with the libraries that it requires: those in folders of their
/// name beside it, or in one of `places`.
///
/// # Errors
///
/// What is wrong with the folder or the module, or which libraries are missing.
pub fn load_to_run(dir: &Path, places: &[PathBuf]) -> Result<Module, ModuleDirError> {
    let module = load(dir)?;
    let beside = fs::canonicalize(dir).ok().and_then(|dir| dir.parent().map(Path::to_owned));
    let places: Vec<&PathBuf> = places.iter().chain(&beside).collect();
    let mut libraries: Vec<Module> = Vec::new();
    let mut names: Vec<String> = module.manifest.requires.keys().cloned().collect();
    while let Some(name) = names.pop() {
        if libraries.len() > LIBRARIES_MAX || libraries.iter().any(|library| library.manifest.name == name) {
            continue;
        }
        // What is not there is told by whoever looks for what fits.
        let Some(folder) = places.iter().map(|place| place.join(&name)).find(|dir| dir.join(MANIFEST_PATH).is_file())
        else {
            continue;
        };
        let library = load(&folder)?;
        names.extend(library.manifest.requires.keys().cloned());
        libraries.push(library);
    }
    resolver::bind(module, &libraries).map_err(|error| ModuleDirError::Module { dir: dir.to_owned(), error })
}

/// Reads all files of the folder `dir`. Names that begin with "." or end in "~" are passed over.
///
/// # Errors
///
/// When it cannot be read, holds too much, or a link leads out of it.
pub fn read(dir: &Path) -> Result<ModuleSource, ModuleDirError> {
    let failed = |error: io::Error| ModuleDirError::Read { path: dir.to_owned(), error: error.to_string() };
    if !fs::metadata(dir).map_err(failed)?.is_dir() {
        return Err(ModuleDirError::NoFolder { path: dir.to_owned() });
    }
    let mut reader = Reader { root: fs::canonicalize(dir).map_err(failed)?, source: ModuleSource::default(), bytes: 0 };
    reader.folder(dir, "", 0)?;
    Ok(reader.source)
}

struct Reader {
    root: PathBuf,
    source: ModuleSource,
    bytes: usize,
}

impl Reader {
    /// Reads one folder; `prefix` is its path within the module, with "/" at its end.
    fn folder(&mut self, dir: &Path, prefix: &str, depth: usize) -> Result<(), ModuleDirError> {
        let failed = |error: io::Error| ModuleDirError::Read { path: dir.to_owned(), error: error.to_string() };
        if depth > DEPTH_MAX {
            return Err(ModuleDirError::TooDeep { path: dir.to_owned() });
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let name = name.into_string().map_err(|name| ModuleDirError::Name { path: dir.join(name) })?;
            if !name.starts_with('.') && !name.ends_with('~') {
                names.push(name);
            }
            if names.len() > ENTRIES_MAX {
                return Err(ModuleDirError::TooManyFiles { dir: self.root.clone() });
            }
        }
        names.sort_unstable();
        for name in names {
            self.entry(&dir.join(&name), &format!("{prefix}{name}"), depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, file: &Path, path: &str, depth: usize) -> Result<(), ModuleDirError> {
        let failed = |error: io::Error| ModuleDirError::Read { path: file.to_owned(), error: error.to_string() };
        let kind = fs::symlink_metadata(file).map_err(failed)?.file_type();
        if kind.is_dir() {
            return self.folder(file, &format!("{path}/"), depth + 1);
        }
        if kind.is_symlink() {
            let target = fs::canonicalize(file).map_err(failed)?;
            if !target.starts_with(&self.root) {
                return Err(ModuleDirError::LeadsOut { path: file.to_owned(), target });
            }
        }
        // A pipe or a device must not be opened: that alone could wait for ever.
        if !fs::metadata(file).map_err(failed)?.is_file() {
            return Err(ModuleDirError::NoFile { path: file.to_owned() });
        }
        let room = MODULE_BYTES_MAX.saturating_sub(self.bytes);
        let mut content = Vec::new();
        File::open(file).and_then(|f| f.take(room as u64 + 1).read_to_end(&mut content)).map_err(failed)?;
        if content.len() > room {
            return Err(ModuleDirError::TooManyBytes { dir: self.root.clone() });
        }
        if self.source.files.len() == MODULE_FILES_MAX {
            return Err(ModuleDirError::TooManyFiles { dir: self.root.clone() });
        }
        self.bytes += content.len();
        self.source.files.insert(path.to_owned(), content);
        Ok(())
    }
}

/// Why a module cannot be read from a folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleDirError {
    /// The system refuses.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: String,
    },
    /// A file where a folder is wanted.
    #[error("{} is not a folder; name the folder that holds module.toml", path.display())]
    NoFolder {
        /// What was named.
        path: PathBuf,
    },
    /// A file name that is not UTF-8.
    #[error("the name of {} is not UTF-8; rename the file", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Neither file nor folder: a pipe, a socket, a device, or a link to a folder.
    #[error("{} is neither a file nor a folder; take it out of the module", path.display())]
    NoFile {
        /// What it is.
        path: PathBuf,
    },
    /// A symbolic link out of the folder.
    #[error("{} leads out of the module, to {}; put a copy in its place", path.display(), target.display())]
    LeadsOut {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Folders in folders without end.
    #[error("{} is more than {DEPTH_MAX} folders deep", path.display())]
    TooDeep {
        /// The folder.
        path: PathBuf,
    },
    /// More files than a module may have.
    #[error("{} holds more than {MODULE_FILES_MAX} files; is it the folder of a module?", dir.display())]
    TooManyFiles {
        /// The folder.
        dir: PathBuf,
    },
    /// More bytes than a module may have.
    #[error("{} holds more than {MODULE_BYTES_MAX} bytes; is it the folder of a module?", dir.display())]
    TooManyBytes {
        /// The folder.
        dir: PathBuf,
    },
    /// The module is not right.
    #[error("{}: {error}", dir.display())]
    Module {
        /// The folder.
        dir: PathBuf,
        /// What is wrong.
        error: ModuleError,
    },
}

#[cfg(test)]
mod tests;

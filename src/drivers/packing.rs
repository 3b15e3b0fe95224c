//! Makes a package from the folder of a module, and reads package files: both checked, with name and digest.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::crypto::{sha256, to_hex};
use crate::base::limits::PACKAGE_BYTES_MAX;
use crate::container::manifest::Manifest;
use crate::container::module::{Module, ModuleError};
use crate::container::package::{self, EXTENSION, PackageError};
use crate::drivers::module_dir::{self, ModuleDirError};
use crate::drivers::safe_file;

/// A package whose module is right.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Its manifest.
    pub manifest: Manifest,
    /// The module, not bound to libraries.
    pub module: Module,
    /// The package: what is served and stored.
    pub bytes: Arc<[u8]>,
    /// SHA-256 of the package: what a request names.
    pub digest: [u8; 32],
}

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
pub enum PackingError {
    /// The folder, or the module in it.
    #[error(transparent)]
    Folder(#[from] ModuleDirError),
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The folder cannot be packed, or the file is no package.
    #[error("{}: {error}", path.display())]
    Package {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        error: PackageError,
    },
    /// The module in a package is not right.
    #[error("{}: {error}", path.display())]
    Module {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: ModuleError,
    },
}

impl Packed {
    /// The name of its file: `NAME-VERSION.nsm`.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}-{}.{EXTENSION}", self.manifest.name, self.manifest.version)
    }

    /// Its digest as 64 hexadecimal digits.
    #[must_use]
    pub fn digest_hex(&self) -> String {
        to_hex(&self.digest)
    }

    fn of(module: Module, bytes: Vec<u8>) -> Packed {
        Packed { manifest: (*module.manifest).clone(), module, digest: sha256(&bytes), bytes: bytes.into() }
    }
}

/// Makes a package from the module in the folder `dir`, after all checks. The same files make the same bytes.
///
/// # Errors
///
/// What is wrong with the folder or the module.
pub fn pack(dir: &Path) -> Result<Packed, PackingError> {
    let module = module_dir::load(dir)?;
    let packed = package::pack(&module.source);
    let bytes = packed.map_err(|error| PackingError::Package { path: dir.to_owned(), error })?;
    Ok(Packed::of(module, bytes))
}

/// Reads a package file, and checks the module in it.
///
/// # Errors
///
/// What is wrong with the file or the module.
pub fn read(path: &Path) -> Result<Packed, PackingError> {
    let path_of = || path.to_owned();
    let read = safe_file::read(path, PACKAGE_BYTES_MAX);
    let (bytes, _) = read.map_err(|error| PackingError::Read { path: path_of(), error })?;
    check(bytes, path)
}

/// Reads the module at `path`: a folder or a package.
///
/// # Errors
///
/// What is wrong with it.
pub fn load(path: &Path) -> Result<Module, PackingError> {
    if path.is_dir() {
        return Ok(module_dir::load(path)?);
    }
    let read = safe_file::read(path, PACKAGE_BYTES_MAX);
    let (bytes, _) = read.map_err(|error| PackingError::Read { path: path.to_owned(), error })?;
    let source = package::unpack(&bytes).map_err(|error| PackingError::Package { path: path.to_owned(), error })?;
    Module::check(source).map_err(|error| PackingError::Module { path: path.to_owned(), error })
}

/// Checks a package and the module in it; `from` is where it came from, for errors.
///
/// # Errors
///
/// When it is no package, or the module in it is not right.
pub fn check(bytes: Vec<u8>, from: &Path) -> Result<Packed, PackingError> {
    let path_of = || from.to_owned();
    let source = package::unpack(&bytes).map_err(|error| PackingError::Package { path: path_of(), error })?;
    let module = Module::check(source).map_err(|error| PackingError::Module { path: path_of(), error })?;
    Ok(Packed::of(module, bytes))
}

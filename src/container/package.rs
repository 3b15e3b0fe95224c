//! Packages: the folder of a module as one file, `NAME-VERSION.nsm`, a zip archive.
//!
//! A package comes from the network, so it is taken apart in memory and nothing of it is believed: names, counts and
//! lengths are checked against what is really there. What is asked for is named by its SHA-256; whose it is says a
//! signature beside it ([`crate::container::signature`]).

use std::io::{Cursor, Read, Write};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::base::limits::{MODULE_BYTES_MAX, MODULE_FILES_MAX, PACKAGE_BYTES_MAX, PACKAGE_ENTRIES_MAX};
use crate::container::module::{ModuleError, check_path};
use crate::container::properties::shortened;
use crate::container::source::ModuleSource;

/// The extension of package files.
pub const EXTENSION: &str = "nsm";

/// Why bytes are no package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// Longer than any package may be.
    #[error("the package has {got_bytes} bytes; at most {PACKAGE_BYTES_MAX} are read")]
    TooLong {
        /// Its length.
        got_bytes: usize,
    },
    /// No zip archive, or a broken one.
    #[error("the package is no zip archive that can be read: {reason}; make it again with `netserv module pack`")]
    NoArchive {
        /// What the library says.
        reason: String,
    },
    /// More entries than a package may have.
    #[error("the package has {got} entries; at most {max} are allowed")]
    TooManyFiles {
        /// How many.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// Unpacked, its files are larger than a module may be.
    #[error("unpacked, the package has more than {MODULE_BYTES_MAX} bytes; a module has at most so many")]
    TooManyBytes,
    /// A file's name is not allowed.
    #[error("{0}")]
    Name(ModuleError),
    /// An entry that a package may not have.
    #[error("entry {name:?} of the package: {problem}; make it again with `netserv module pack`")]
    Entry {
        /// Its name, cut where it is too long.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

/// Takes a package apart. The files are not checked to be a module.
///
/// # Errors
///
/// What is wrong with it. Never more than [`MODULE_BYTES_MAX`] bytes are unpacked, whatever the archive says.
pub fn unpack(bytes: &[u8]) -> Result<ModuleSource, PackageError> {
    if bytes.len() > PACKAGE_BYTES_MAX {
        return Err(PackageError::TooLong { got_bytes: bytes.len() });
    }
    check_entry_count(bytes)?;
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| no_archive(&error))?;
    if archive.len() > PACKAGE_ENTRIES_MAX {
        return Err(PackageError::TooManyFiles { got: archive.len(), max: PACKAGE_ENTRIES_MAX });
    }
    // The library keeps one of several entries of the same name: which, other readers may see otherwise.
    if archive.has_duplicate_names() {
        let problem = "two entries have the same name".to_owned();
        return Err(PackageError::Entry { name: "?".to_owned(), problem });
    }
    let mut source = ModuleSource::default();
    let mut left_bytes = MODULE_BYTES_MAX;
    for at in 0..archive.len() {
        let Some((path, content)) = read_entry(&mut archive, at, left_bytes)? else { continue };
        left_bytes -= content.len();
        if source.files.len() == MODULE_FILES_MAX {
            return Err(PackageError::TooManyFiles { got: archive.len(), max: MODULE_FILES_MAX });
        }
        if source.files.insert(path.clone(), content).is_some() {
            return Err(entry_error(&path, "another entry has the same name"));
        }
    }
    // On systems that do not tell case apart, these would be one file.
    let mut folded: Vec<String> = source.files.keys().map(|path| path.to_ascii_lowercase()).collect();
    folded.sort();
    if let Some(pair) = folded.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(entry_error(&pair[0], "another entry differs from it only in case"));
    }
    Ok(source)
}

/// Reads one entry: its path and content; `None` for a folder.
fn read_entry(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    at: usize,
    left_bytes: usize,
) -> Result<Option<(String, Vec<u8>)>, PackageError> {
    // Opened raw first, so that what is wrong with it is told before it is decoded.
    let (path, is_folder) = {
        let entry = archive.by_index_raw(at).map_err(|error| no_archive(&error))?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let wrong = |problem: &str| Err(entry_error(&name, problem));
        if entry.encrypted() {
            return wrong("it is encrypted");
        }
        // Symbolic links, devices and the like: only what says that it is a file or a folder, or says nothing.
        let kind = entry.unix_mode().map_or(0, |mode| mode & 0o170_000);
        let is_folder = name.ends_with('/');
        if entry.is_symlink()
            || !matches!(kind, 0 | 0o040_000 | 0o100_000)
            || (kind == 0o040_000) != is_folder && kind != 0
        {
            return wrong("it is neither a plain file nor a folder");
        }
        if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            return wrong("only \"stored\" and \"deflate\" are read");
        }
        check_path(name.strip_suffix('/').unwrap_or(&name)).map_err(PackageError::Name)?;
        (name, is_folder)
    };
    if is_folder {
        return Ok(None);
    }
    let entry = archive.by_index(at).map_err(|error| entry_error(&path, &error.to_string()))?;
    let mut content = Vec::new();
    // The length that the archive states is not believed: reading ends one byte behind what is left.
    let read = entry.take(left_bytes as u64 + 1).read_to_end(&mut content);
    if content.len() > left_bytes {
        return Err(PackageError::TooManyBytes);
    }
    read.map_err(|error| entry_error(&path, &error.to_string()))?;
    Ok(Some((path, content)))
}

/// Refuses an archive with many headers before the library reads them all.
fn check_entry_count(bytes: &[u8]) -> Result<(), PackageError> {
    /// What each header of the central directory begins with.
    const HEADER: [u8; 4] = *b"PK\x01\x02";
    // Compressed content may have these bytes by chance: once in 4 GiB.
    let got = bytes.windows(4).filter(|window| *window == HEADER).count();
    if got > PACKAGE_ENTRIES_MAX {
        return Err(PackageError::TooManyFiles { got, max: PACKAGE_ENTRIES_MAX });
    }
    Ok(())
}

fn no_archive(error: &ZipError) -> PackageError {
    PackageError::NoArchive { reason: shortened(&error.to_string()) }
}

fn entry_error(name: &str, problem: &str) -> PackageError {
    PackageError::Entry { name: shortened(name), problem: shortened(problem) }
}

/// Makes a package. The same files make the same bytes: sorted, without times, owners and modes of the files.
///
/// # Errors
///
/// When the files are too many or too large for [`unpack`], or a name is one that it refuses.
pub fn pack(source: &ModuleSource) -> Result<Vec<u8>, PackageError> {
    if source.files.len() > MODULE_FILES_MAX {
        return Err(PackageError::TooManyFiles { got: source.files.len(), max: MODULE_FILES_MAX });
    }
    if source.files.values().map(Vec::len).sum::<usize>() > MODULE_BYTES_MAX {
        return Err(PackageError::TooManyBytes);
    }
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(6))
        .last_modified_time(DateTime::default())
        .system(zip::System::Unix)
        .unix_permissions(0o644);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content) in &source.files {
        check_path(path).map_err(PackageError::Name)?;
        writer.start_file(path.as_str(), options).map_err(|error| no_archive(&error))?;
        writer.write_all(content).map_err(|error| entry_error(path, &error.to_string()))?;
    }
    let bytes = writer.finish().map_err(|error| no_archive(&error))?.into_inner();
    if bytes.len() > PACKAGE_BYTES_MAX {
        return Err(PackageError::TooLong { got_bytes: bytes.len() });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;

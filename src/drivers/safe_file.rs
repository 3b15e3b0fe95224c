//! Writes files so that a reader, or a crash, finds the old content or the new one, and never a part of it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Part of the names of files that are not finished; those that a crash left may be removed.
pub const UNFINISHED: &str = ".tmp";

/// Two threads of one process write under different names.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Puts `bytes` at `path` with `mode`, in place of what is there. Follows no link: it is replaced, too.
///
/// # Errors
///
/// What the system says; the old file is as it was.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let unfinished = write_beside(path, bytes, mode)?;
    let moved = fs::rename(&unfinished, path);
    if moved.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    moved?;
    sync_folder(path)
}

/// Makes the file `path` with `bytes` and `mode`.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`] if there is something; else what the system says.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let unfinished = write_beside(path, bytes, mode)?;
    // A second name, unlike a rename, replaces nothing that was made meanwhile.
    let mut made = fs::hard_link(&unfinished, path);
    if made.as_ref().is_err_and(|e| e.kind() != io::ErrorKind::AlreadyExists) {
        // Some file systems have no second names.
        made = fs::rename(&unfinished, path);
    }
    let _ = fs::remove_file(&unfinished);
    made?;
    sync_folder(path)
}

/// Reads a regular file of at most `bytes_max` bytes. Pipes and devices are not even opened: that alone could wait for ever.
///
/// # Errors
///
/// What the system says, or that it is no file or too long.
pub fn read(path: &Path, bytes_max: usize) -> io::Result<(Vec<u8>, fs::Metadata)> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let no_file = || wrong("it is not a regular file".to_owned());
    if !fs::metadata(path)?.is_file() {
        return Err(no_file());
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(no_file());
    }
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(wrong(format!("it has more than {bytes_max} bytes")));
    }
    Ok((bytes, metadata))
}

/// The permission bits of a file; what a file of one user has where there are none.
#[must_use]
pub fn mode_of(metadata: &fs::Metadata) -> u32 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::mode(metadata) & 0o7777;
    #[cfg(not(unix))]
    return if metadata.permissions().readonly() { 0o400 } else { 0o600 };
}

/// Makes a folder and those around it, for this user only.
///
/// # Errors
///
/// What the system says.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The folder that `path` is in.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file with another name into the folder of `path`, down to the disk.
fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = OsString::from(".");
    beside.push(name);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    beside.push(format!("-{}-{number}{UNFINISHED}", std::process::id()));
    let beside = folder_of(path).join(beside);
    // From a process that had the same number and was killed.
    let _ = fs::remove_file(&beside);
    let written = write_new(&beside, bytes, mode);
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.map(|()| beside)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode & 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    // The mask of this process may have taken bits away.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    #[cfg(not(unix))]
    let _ = mode;
    file.sync_all()
}

/// Brings the names in the folder of `path` down to the disk, where the system can do that.
///
/// # Errors
///
/// What the system says.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder_of(path))?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("netserv-safe-file-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        create_folder(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_is_made_once_and_then_only_replaced() {
        let folder = folder("once");
        let path = folder.join("a");
        create(&path, b"one", 0o600).unwrap();
        assert_eq!(create(&path, b"two", 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path, 3).unwrap().0, b"one");
        replace(&path, b"three", 0o640).unwrap();
        let (bytes, metadata) = read(&path, 5).unwrap();
        assert_eq!(bytes, b"three");
        if cfg!(unix) {
            assert_eq!(mode_of(&metadata), 0o640);
        }
        assert!(read(&path, 4).unwrap_err().to_string().contains("more than 4 bytes"));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing unfinished is left");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        assert!(read(Path::new("/dev/null"), 10).is_err());
        assert!(read(&std::env::temp_dir(), 10).is_err());
    }
}

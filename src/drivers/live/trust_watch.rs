//! Watches the trust file, so that a change of it counts without a restart. Looks at the file's times, not into it.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::limits::TRUST_BYTES_MAX;
use crate::drivers::safe_file;

/// Where the trust file is, if nothing else is said.
pub const TRUST_PATH: &str = "/etc/netserv/trust.toml";

/// What tells two states of a file apart; `None` = there is no file, or it cannot be looked at.
type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

/// Looks at one file again and again.
///
/// A file that an editor is writing, or has taken away to put another in its place, is not read: a change counts when
/// the file is the same in two looks.
#[derive(Debug)]
pub struct TrustWatch {
    path: PathBuf,
    /// The state that was told last; nothing was told yet if not given.
    told: Option<Stamp>,
    /// The state at the last look.
    seen: Stamp,
}

impl TrustWatch {
    /// Begins to watch the file at `path`, which may be missing.
    #[must_use]
    pub fn open(path: &Path) -> TrustWatch {
        TrustWatch { path: path.to_owned(), told: None, seen: None }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says, if that is new: always at the first call, later when the file was changed. One system call
    /// when nothing changed. To be called about once per second. A file that is not there says nothing: an empty text.
    ///
    /// The error is a sentence with the remedy; then what was known before should go on to count.
    pub fn changed(&mut self) -> Option<Result<String, String>> {
        let stamp = fs::metadata(&self.path).ok().as_ref().map(stamp_of);
        let is_steady = std::mem::replace(&mut self.seen, stamp) == stamp || self.told.is_none();
        if self.told == Some(stamp) || !is_steady {
            return None;
        }
        self.told = Some(stamp);
        Some(read(&self.path))
    }
}

/// Reads a trust file. A missing one is an empty text.
///
/// # Errors
///
/// A sentence: it cannot be read, or somebody else than its owner can write it.
pub fn read(path: &Path) -> Result<String, String> {
    let (bytes, metadata) = match safe_file::read(path, TRUST_BYTES_MAX) {
        Ok(read) => read,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(String::new()),
        Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
    };
    check(path, &metadata)?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        format!("{}: byte {at} is not UTF-8; write it again with `netserv trust add`", path.display())
    })
}

/// Whoever can write the file can have code run here: only its owner may, and that is this user or root.
fn check(path: &Path, metadata: &Metadata) -> Result<(), String> {
    let (mode, owner) = (safe_file::mode_of(metadata), metadata.uid());
    if mode & 0o022 != 0 {
        return Err(format!(
            "{0} has mode {mode:04o}, so others can say who is trusted; `chmod go-w {0}` when you have read it",
            path.display()
        ));
    }
    if owner != 0 && owner != platform::user::current() {
        return Err(format!(
            "{0} belongs to the user with number {owner}, who would say whom you trust; `chown root {0}` when you have read it",
            path.display()
        ));
    }
    Ok(())
}

fn stamp_of(metadata: &Metadata) -> (u64, u64, u64, i64, i64, i64, i64) {
    let m = metadata;
    (m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_change_is_told_once_and_only_when_it_is_whole() {
        let path = std::env::temp_dir().join(format!("netserv-trust-watch-{}.toml", std::process::id()));
        let _ = fs::remove_file(&path);
        let mut watch = TrustWatch::open(&path);
        assert_eq!(watch.changed(), Some(Ok(String::new())), "a missing file trusts nobody");
        assert_eq!(watch.changed(), None);
        safe_file::replace(&path, b"one", 0o644).unwrap();
        assert_eq!(watch.changed(), None, "it may still be written");
        assert_eq!(watch.changed(), Some(Ok("one".to_owned())));
        assert_eq!(watch.changed(), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(watch.changed(), None, "an editor may put another in its place");
        safe_file::replace(&path, b"two", 0o644).unwrap();
        assert_eq!((watch.changed(), watch.changed()), (None, Some(Ok("two".to_owned()))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(watch.changed(), None);
        let error = watch.changed().unwrap().unwrap_err();
        assert!(error.contains("0666") && error.contains("chmod go-w"), "{error}");
        fs::remove_file(&path).unwrap();
        assert_eq!((watch.changed(), watch.changed()), (None, Some(Ok(String::new()))));
    }
}

//! What a node keeps on disk: one file per key, below one folder that only its user can enter.
//!
//! A value that was put is the file itself, so a person can read it. A value that was added to is a log, with `.log`
//! behind its name: after `MAGIC`, each record is its length (4 bytes, big-endian), the first 8 bytes of the SHA-256
//! of its content, and the content. Writing stops anywhere when a machine loses power; a log ends at its last whole
//! record, and a file is there whole or not at all.
//!
//! Each change waits for the disk. The node makes one per decision, not per packet; refusing a replayed request after a
//! crash is worth the milliseconds.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::crypto::sha256;
use crate::base::limits::{
    STORE_BYTES_MAX, STORE_FILE_BYTES_MAX, STORE_FILES_MAX, STORE_KEY_BYTES_MAX, STORE_KEY_PARTS_MAX,
};
use crate::controller::api::StoreOp;
use crate::drivers::live::installed;
use crate::drivers::safe_file;

/// Where a node of root keeps what it keeps, if nothing else is said.
const STORE_PATH: &str = "/var/lib/netserv";

/// Where a node keeps what it keeps, if nothing else is said: for other users than root in their own data folder, unless
/// the system's is theirs.
#[must_use]
pub fn default_path() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let own = || absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    match platform::user::current() != 0 && !is_own(Path::new(STORE_PATH)) {
        true => own().map_or(PathBuf::from(STORE_PATH), |folder| folder.join("netserv")),
        false => PathBuf::from(STORE_PATH),
    }
}

/// Whether a folder is there and belongs to this user.
pub(super) fn is_own(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|metadata| metadata.uid() == platform::user::current())
}

/// What a log begins with.
const MAGIC: &[u8] = b"netserv-log-1\n";
const LOG: &str = ".log";
/// Length and digest before the content of a record.
const RECORD_HEAD_BYTES: usize = 12;
/// Entries of one folder that are looked at, foreign ones included.
const ENTRIES_MAX: usize = 4 * STORE_FILES_MAX;

/// Why something is not kept, or not found again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Others could change what the node believes.
    #[error("{} has mode {mode:04o}, so others can change what the node keeps there; `chmod 700 {}`", path.display(), path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is somebody else's.
    #[error("{} belongs to the user with number {owner}; use another folder, or `chown` this one", path.display())]
    OfOthers {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// A key that would be no plain file name.
    #[error("{key:?} cannot be a key; use lower-case letters, digits, \".\", \"-\" and \"/\"")]
    Key {
        /// The key.
        key: String,
    },
    /// More than any value has.
    #[error("the value of {key:?} would have more than {STORE_FILE_BYTES_MAX} bytes")]
    TooLong {
        /// The key.
        key: String,
    },
    /// The system refuses.
    #[error("cannot {action} {}: {error}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// What was found when a node starts.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The values by key, in the order of the keys.
    pub values: Vec<(String, Vec<u8>)>,
    /// What was passed over or repaired, as sentences for the log.
    pub notes: Vec<String>,
}

/// The folder.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// What is known of logs, so that they are not read again each time something is added.
    logs: BTreeMap<String, LogLen>,
}

/// How long a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LogLen {
    /// Bytes of the file up to the end of its last whole record.
    whole: u64,
    /// Bytes of the content of these records.
    content: usize,
}

impl Store {
    /// Opens the store in `folder`, which is made with mode 0700 if it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or others can write there.
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        let path = || folder.to_owned();
        safe_file::create_folder(folder).map_err(system("make", folder))?;
        let metadata = fs::metadata(folder).map_err(system("look at", folder))?;
        let mode = safe_file::mode_of(&metadata);
        if mode & 0o022 != 0 {
            return Err(StoreError::Open { path: path(), mode });
        }
        let owner = metadata.uid();
        if owner != 0 && owner != platform::user::current() {
            return Err(StoreError::OfOthers { path: path(), owner });
        }
        Ok(Store { folder: path(), logs: BTreeMap::new() })
    }

    /// Makes one change. When it returns, the change is on the disk.
    ///
    /// # Errors
    ///
    /// Why nothing is changed.
    pub fn apply(&mut self, op: &StoreOp) -> Result<(), StoreError> {
        match op {
            StoreOp::Put { key, bytes } => self.put(key, bytes),
            StoreOp::Append { key, bytes } => self.append(key, bytes),
            StoreOp::Remove { key } => self.remove(key),
        }
    }

    /// Everything that is kept. Foreign files are passed over; the torn end of a log is cut off.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read. Single files that cannot be read are noted.
    pub fn load_all(&self) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded::default();
        let mut keys = Vec::new();
        self.keys_below("", 1, &mut keys, &mut loaded.notes)?;
        keys.sort_unstable();
        // A log counts before a plain file of the same key: see `append`.
        keys.dedup();
        let mut left_bytes = STORE_BYTES_MAX;
        for key in keys {
            if loaded.values.len() == STORE_FILES_MAX {
                loaded.notes.push(format!("{}: only {STORE_FILES_MAX} files are read", self.folder.display()));
                break;
            }
            match self.load(&key, &mut loaded.notes) {
                Ok(Some(bytes)) if bytes.len() <= left_bytes => {
                    left_bytes -= bytes.len();
                    loaded.values.push((key, bytes));
                }
                Ok(Some(_)) => {
                    loaded.notes.push(format!("{key}: passed over; {STORE_BYTES_MAX} bytes are read already"))
                }
                Ok(None) => {}
                Err(error) => loaded.notes.push(format!("{key}: passed over; {error}")),
            }
        }
        Ok(loaded)
    }

    fn put(&mut self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path_of(key)?;
        if bytes.len() > STORE_FILE_BYTES_MAX {
            return Err(StoreError::TooLong { key: key.to_owned() });
        }
        let log = log_of(&path);
        self.logs.remove(key);
        if log.exists() {
            // The new log takes the old one's place in one step.
            return write(&log, &[MAGIC, &record(bytes)].concat());
        }
        self.make_folder(&path)?;
        write(&path, bytes)
    }

    fn append(&mut self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path_of(key)?;
        let log = log_of(&path);
        let Some(len) = self.log_len(key, &log)? else {
            // The plain value becomes the first record. If the plain file outlives a crash here, the log counts.
            self.make_folder(&path)?;
            let before = read_plain(&path)?.map(|value| record(&value)).unwrap_or_default();
            write(&log, &[MAGIC, &before, &record(bytes)].concat())?;
            return remove(&path);
        };
        let content = len.content + bytes.len();
        if content > STORE_FILE_BYTES_MAX {
            return Err(StoreError::TooLong { key: key.to_owned() });
        }
        let record = record(bytes);
        let mut file = OpenOptions::new().write(true).open(&log).map_err(system("open", &log))?;
        let written = (|| {
            // What a crash left behind the last whole record would hide the new one.
            file.set_len(len.whole)?;
            file.seek(SeekFrom::Start(len.whole))?;
            file.write_all(&record)?;
            file.sync_all()
        })();
        if let Err(error) = written {
            let _ = file.set_len(len.whole);
            return Err(system("add to", &log)(error));
        }
        self.logs.insert(key.to_owned(), LogLen { whole: len.whole + record.len() as u64, content });
        Ok(())
    }

    /// How long a log is; `None` if there is none.
    fn log_len(&mut self, key: &str, log: &Path) -> Result<Option<LogLen>, StoreError> {
        let on_disk = fs::symlink_metadata(log).map(|metadata| metadata.len()).ok();
        if let Some(known) = self.logs.get(key).filter(|known| Some(known.whole) == on_disk) {
            return Ok(Some(*known));
        }
        self.logs.remove(key);
        Ok(read_log(log)?.map(|(content, whole)| LogLen { whole, content: content.len() }))
    }

    fn remove(&mut self, key: &str) -> Result<(), StoreError> {
        let path = self.path_of(key)?;
        self.logs.remove(key);
        // The plain file first: without its log, an old one would come back.
        remove(&path)?;
        remove(&log_of(&path))
    }

    /// One value; `None` if there is none.
    fn load(&self, key: &str, notes: &mut Vec<String>) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path_of(key)?;
        let log = log_of(&path);
        let Some((content, whole_len)) = read_log(&log)? else { return read_plain(&path) };
        let file_len = fs::metadata(&log).map_err(system("look at", &log))?.len();
        if file_len > whole_len {
            notes.push(format!(
                "{key}: its last {} bytes were not written to the end, and are cut off",
                file_len - whole_len
            ));
            let file = OpenOptions::new().write(true).open(&log).map_err(system("open", &log))?;
            file.set_len(whole_len).and_then(|()| file.sync_all()).map_err(system("cut", &log))?;
        }
        Ok(Some(content))
    }

    /// Collects the keys below a folder; `prefix` ends with "/" or is empty.
    fn keys_below(
        &self,
        prefix: &str,
        depth: usize,
        keys: &mut Vec<String>,
        notes: &mut Vec<String>,
    ) -> Result<(), StoreError> {
        let folder = self.folder.join(prefix);
        let mut entries = fs::read_dir(&folder).map_err(system("read", &folder))?;
        for entry in entries.by_ref().take(ENTRIES_MAX) {
            let entry = entry.map_err(system("read", &folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(system("look at", &entry.path()))?;
            let key = format!("{prefix}{}", name.strip_suffix(LOG).unwrap_or(&name));
            if kind.is_dir() && key == installed::FOLDER {
                continue;
            }
            if kind.is_file() && name.starts_with('.') && name.ends_with(safe_file::UNFINISHED) {
                let _ = fs::remove_file(entry.path());
            } else if kind.is_file() && is_key(&key) {
                keys.push(key);
            } else if kind.is_dir() && depth < STORE_KEY_PARTS_MAX && is_key(&key) {
                self.keys_below(&format!("{key}/"), depth + 1, keys, notes)?;
            } else if notes.len() < 16 {
                notes.push(format!("{} is not from this program, and is left alone", entry.path().display()));
            }
        }
        Ok(())
    }

    fn path_of(&self, key: &str) -> Result<PathBuf, StoreError> {
        match is_key(key) {
            true => Ok(self.folder.join(key)),
            false => Err(StoreError::Key { key: key.chars().take(STORE_KEY_BYTES_MAX).collect() }),
        }
    }

    fn make_folder(&self, path: &Path) -> Result<(), StoreError> {
        let folder = safe_file::folder_of(path);
        if folder.is_dir() {
            return Ok(());
        }
        safe_file::create_folder(folder).map_err(system("make", folder))?;
        safe_file::sync_folder(folder).map_err(system("write", folder))
    }
}

/// Whether a key is a relative path of plain names, none of which means something else to the store or the system.
fn is_key(key: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_plain);
    key.len() <= STORE_KEY_BYTES_MAX
        && key.split('/').count() <= STORE_KEY_PARTS_MAX
        && key.split('/').all(is_part)
        && !key.ends_with(LOG)
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(LOG);
    PathBuf::from(name)
}

fn record(content: &[u8]) -> Vec<u8> {
    // Longer content is refused before, or ends the record early; either way what is read back is whole.
    let len = u32::try_from(content.len()).unwrap_or(0);
    [&len.to_be_bytes(), &sha256(content)[..8], &content[..len as usize]].concat()
}

/// The content of a log's whole records, and how many bytes of the file they are; `None` if there is no log.
fn read_log(path: &Path) -> Result<Option<(Vec<u8>, u64)>, StoreError> {
    // Records have heads: a log may be longer than what is in it.
    let Some(bytes) = read_file(path, 4 * STORE_FILE_BYTES_MAX)? else { return Ok(None) };
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        let error = io::Error::new(ErrorKind::InvalidData, "it is no log of this program");
        return Err(StoreError::System { action: "use", path: path.to_owned(), error });
    };
    let mut content = Vec::new();
    while let Some((head, after)) = rest.split_at_checked(RECORD_HEAD_BYTES) {
        let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some((body, after)) = after.split_at_checked(len) else { break };
        if sha256(body)[..8] != head[4..] {
            break;
        }
        content.extend_from_slice(body);
        rest = after;
    }
    Ok(Some((content, (bytes.len() - rest.len()) as u64)))
}

fn read_plain(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    read_file(path, STORE_FILE_BYTES_MAX)
}

fn read_file(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, StoreError> {
    match safe_file::read(path, bytes_max) {
        Ok((bytes, _)) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::System { action: "read", path: path.to_owned(), error }),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    safe_file::replace(path, bytes, 0o600).map_err(system("write", path))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Ok(()) => safe_file::sync_folder(path).map_err(system("write", safe_file::folder_of(path))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::System { action: "remove", path: path.to_owned(), error }),
    }
}

fn system(action: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |error| StoreError::System { action, path: path.clone(), error }
}

#[cfg(test)]
mod tests;

//! A cache of files in an instance's store. When it is full, files that were not used for longest make room.
//!
//! A file is a row of parts, and an entry that names it. It is seen once its entry is written, which is the last step;
//! what was begun and not ended is removed when the cache is opened the next time.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::base::limits::{
    FILE_PART_BYTES, FILE_READ_BYTES_MAX, FILES_EVICTED_MAX, FILES_MAX, FILES_WRITING_MAX, STORAGE_ENTRY_BYTES,
    STORAGE_KEY_BYTES_MAX,
};
use crate::base::storage::{Change, Storage, StorageError};

/// Why something cannot be done with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The store refuses.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// No file can be called so.
    #[error("a file's name has 1 to {max} bytes, not {got}", max = STORAGE_KEY_BYTES_MAX)]
    Name {
        /// Bytes of the name.
        got: usize,
    },
    /// Too many are being written.
    #[error("{FILES_WRITING_MAX} files are being written already; end or cancel some")]
    Writing,
    /// There are too many, and all are to be kept.
    #[error("there are {FILES_MAX} files already; remove some")]
    Count,
    /// It was ended or cancelled.
    #[error("this file is not being written any more")]
    Ended,
}

/// A file in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// The number of its parts' keys.
    id: u64,
    bytes: u64,
    /// Whether it stays when room is needed.
    keep: bool,
    /// When it was used last, as a count of uses.
    used: u64,
}

/// A file that is being written.
struct Writing {
    name: String,
    keep: bool,
    /// Bytes in whole parts that are stored.
    stored: u64,
    /// The rest, less than a part.
    rest: Vec<u8>,
}

/// The files of one instance.
pub struct Files {
    store: Rc<dyn Storage>,
    max_bytes: u64,
    entries: BTreeMap<String, Entry>,
    /// By last use, without those that are kept.
    by_use: BTreeMap<u64, String>,
    writing: BTreeMap<u64, Writing>,
    uses: u64,
    next_id: u64,
}

// First bytes of keys in the store: entries, parts, and files that are being written. Other keys are not of files.
const ENTRY: u8 = b'e';
const PART: u8 = b'p';
const BEGUN: u8 = b'w';

fn key(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&[b'f', kind], rest].concat()
}

fn part_key(id: u64, part: u64) -> Vec<u8> {
    key(PART, &[id.to_be_bytes(), part.to_be_bytes()].concat())
}

impl Entry {
    fn encoded(&self) -> Vec<u8> {
        [&self.id.to_be_bytes()[..], &self.bytes.to_be_bytes(), &[u8::from(self.keep)]].concat()
    }

    fn decoded(value: &[u8]) -> Option<Entry> {
        let (id, rest) = value.split_first_chunk::<8>()?;
        let (bytes, rest) = rest.split_first_chunk::<8>()?;
        let [keep] = rest else { return None };
        Some(Entry { id: u64::from_be_bytes(*id), bytes: u64::from_be_bytes(*bytes), keep: *keep != 0, used: 0 })
    }

    #[cfg(test)]
    fn parts(&self) -> u64 {
        self.bytes.div_ceil(FILE_PART_BYTES as u64)
    }
}

impl Files {
    /// The files in a store, of which at most `max_bytes` may be used, together with all else that is in it.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn open(store: Rc<dyn Storage>, max_bytes: u64) -> Result<Files, FileError> {
        let mut files = Files {
            store,
            max_bytes,
            entries: BTreeMap::new(),
            by_use: BTreeMap::new(),
            writing: BTreeMap::new(),
            uses: 0,
            next_id: 1,
        };
        for (key, _) in files.store.list(&key(BEGUN, b""), b"", usize::MAX)? {
            if let Some(id) = key.get(2..).and_then(|id| <[u8; 8]>::try_from(id).ok()).map(u64::from_be_bytes) {
                files.next_id = files.next_id.max(id + 1);
                files.remove_parts(id)?;
            }
        }
        for (key, _) in files.store.list(&key(ENTRY, b""), b"", FILES_MAX)? {
            let value = files.store.get(&key)?.unwrap_or_default();
            let name = std::str::from_utf8(&key[2..]).ok().map(str::to_owned);
            let (Some(entry), Some(name)) = (Entry::decoded(&value), name) else {
                files.apply(vec![Change { key, value: None }])?;
                continue;
            };
            files.next_id = files.next_id.max(entry.id + 1);
            files.insert(name, entry);
        }
        Ok(files)
    }

    /// Bytes of a file; `None` if there is none.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<u64> {
        self.entries.get(name).map(|entry| entry.bytes)
    }

    /// Names that begin with `prefix` and come after `after`, in order, each with its bytes.
    pub fn list<'a>(&'a self, prefix: &'a str, after: &str) -> impl Iterator<Item = (&'a str, u64)> {
        use std::ops::Bound;
        let from =
            if after.is_empty() { Bound::Included(prefix.to_owned()) } else { Bound::Excluded(after.to_owned()) };
        let all = self.entries.range((from, Bound::Unbounded));
        let all = all.skip_while(move |(name, _)| name.as_str() < prefix);
        all.take_while(move |(name, _)| name.starts_with(prefix)).map(|(name, entry)| (name.as_str(), entry.bytes))
    }

    /// At most `count` bytes of a file from `from` on, counted from 0; `None` if there is none. It counts as a use.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn read(&mut self, name: &str, from: u64, count: u64) -> Result<Option<Vec<u8>>, FileError> {
        let Some(entry) = self.entries.get(name).cloned() else { return Ok(None) };
        self.touch(name);
        let from = from.min(entry.bytes);
        let end = from.saturating_add(count.min(FILE_READ_BYTES_MAX as u64)).min(entry.bytes);
        let mut out = Vec::with_capacity((end - from) as usize);
        let mut at = from;
        while at < end {
            let part = at / FILE_PART_BYTES as u64;
            let first = (at % FILE_PART_BYTES as u64) as usize;
            let stored = self.store.get(&part_key(entry.id, part))?.unwrap_or_default();
            let last = stored.len().min(first + (end - at) as usize);
            let Some(bytes) = stored.get(first..last).filter(|bytes| !bytes.is_empty()) else {
                return Err(StorageError::Broken(format!("part {part} of the file {name:?} is missing")).into());
            };
            out.extend_from_slice(bytes);
            at += bytes.len() as u64;
        }
        Ok(Some(out))
    }

    /// Begins a file; it takes the place of one of that name when it is ended. Returns its number.
    ///
    /// # Errors
    ///
    /// When the name is none, or there are too many.
    pub fn begin(&mut self, name: &str, keep: bool) -> Result<u64, FileError> {
        if name.is_empty() || name.len() > STORAGE_KEY_BYTES_MAX {
            return Err(FileError::Name { got: name.len() });
        } else if self.writing.len() >= FILES_WRITING_MAX {
            return Err(FileError::Writing);
        }
        let id = self.next_id;
        self.apply_with_room(vec![Change { key: key(BEGUN, &id.to_be_bytes()), value: Some(Vec::new()) }], None)?;
        self.next_id += 1;
        self.writing.insert(id, Writing { name: name.to_owned(), keep, stored: 0, rest: Vec::new() });
        Ok(id)
    }

    /// Adds bytes to a file that is being written. When they do not fit, the file is cancelled.
    ///
    /// # Errors
    ///
    /// When it was ended, or the store refuses.
    pub fn put(&mut self, id: u64, bytes: &[u8]) -> Result<(), FileError> {
        let writing = self.writing.get_mut(&id).ok_or(FileError::Ended)?;
        writing.rest.extend_from_slice(bytes);
        let mut rest = std::mem::take(&mut writing.rest);
        let first = writing.stored / FILE_PART_BYTES as u64;
        let whole = rest.len() / FILE_PART_BYTES * FILE_PART_BYTES;
        writing.stored += whole as u64;
        let tail = rest.split_off(whole);
        writing.rest = tail;
        let parts = rest.chunks(FILE_PART_BYTES).zip(first..);
        let changes = parts.map(|(part, at)| Change { key: part_key(id, at), value: Some(part.to_vec()) }).collect();
        let result = self.apply_with_room(changes, None);
        if result.is_err() {
            self.cancel(id)?;
        }
        result
    }

    /// Ends a file: from now on it is there. Returns its bytes.
    ///
    /// # Errors
    ///
    /// As [`Files::put`].
    pub fn end(&mut self, id: u64) -> Result<u64, FileError> {
        let Writing { name, keep, stored, rest } = self.writing.remove(&id).ok_or(FileError::Ended)?;
        let entry = Entry { id, bytes: stored + rest.len() as u64, keep, used: 0 };
        let bytes = entry.bytes;
        let mut changes = vec![
            Change { key: key(BEGUN, &id.to_be_bytes()), value: None },
            Change { key: key(ENTRY, name.as_bytes()), value: Some(entry.encoded()) },
        ];
        if !rest.is_empty() {
            changes.push(Change { key: part_key(id, stored / FILE_PART_BYTES as u64), value: Some(rest) });
        }
        let old = self.entries.get(&name).map(|old| old.id);
        if let Some(old) = old {
            // So that its parts are removed even if the node ends before they are.
            changes.push(Change { key: key(BEGUN, &old.to_be_bytes()), value: Some(Vec::new()) });
        }
        let result = match old {
            None if self.entries.len() >= FILES_MAX && !self.evict(None)? => Err(FileError::Count),
            _ => self.apply_with_room(changes, Some(&name)),
        };
        if let Err(error) = result {
            self.remove_parts(id)?;
            return Err(error);
        }
        if let Some(old) = self.forget(&name) {
            self.remove_parts(old.id)?;
        }
        self.insert(name, entry);
        Ok(bytes)
    }

    /// Forgets a file that is being written. Nothing happens if it was ended.
    ///
    /// # Errors
    ///
    /// When the store refuses.
    pub fn cancel(&mut self, id: u64) -> Result<(), FileError> {
        if self.writing.remove(&id).is_some() {
            self.remove_parts(id)?;
        }
        Ok(())
    }

    /// Removes a file; whether there was one.
    ///
    /// # Errors
    ///
    /// When the store refuses.
    pub fn remove(&mut self, name: &str) -> Result<bool, FileError> {
        let Some(entry) = self.forget(name) else { return Ok(false) };
        self.apply(vec![
            Change { key: key(ENTRY, name.as_bytes()), value: None },
            Change { key: key(BEGUN, &entry.id.to_be_bytes()), value: Some(Vec::new()) },
        ])?;
        self.remove_parts(entry.id)?;
        Ok(true)
    }

    fn insert(&mut self, name: String, mut entry: Entry) {
        self.uses += 1;
        entry.used = self.uses;
        // What never makes room is not looked through for what does.
        if !entry.keep {
            self.by_use.insert(entry.used, name.clone());
        }
        self.entries.insert(name, entry);
    }

    fn forget(&mut self, name: &str) -> Option<Entry> {
        let entry = self.entries.remove(name)?;
        self.by_use.remove(&entry.used);
        Some(entry)
    }

    fn touch(&mut self, name: &str) {
        if let Some(entry) = self.forget(name) {
            self.insert(name.to_owned(), entry);
        }
    }

    /// Removes the file that was not used for longest, other than `spared`. Whether there was one.
    fn evict(&mut self, spared: Option<&str>) -> Result<bool, FileError> {
        match self.by_use.values().find(|name| Some(name.as_str()) != spared).cloned() {
            Some(name) => self.remove(&name),
            None => Ok(false),
        }
    }

    /// Makes changes, and room for them where there is too little.
    fn apply_with_room(&mut self, changes: Vec<Change>, spared: Option<&str>) -> Result<(), FileError> {
        match self.store.apply(changes.clone(), self.max_bytes) {
            Err(StorageError::Full { .. }) => {}
            result => return Ok(result?),
        }
        let entry = |change: &Change| {
            let value = change.value.as_ref()?;
            Some((change.key.len() + value.len()) as u64 + STORAGE_ENTRY_BYTES)
        };
        let added: u64 = changes.iter().filter_map(entry).sum();
        // However small the files are that make room, one call is to end soon.
        for _ in 0..FILES_EVICTED_MAX {
            if self.store.used_bytes() + added <= self.max_bytes || !self.evict(spared)? {
                break;
            }
        }
        Ok(self.store.apply(changes, self.max_bytes)?)
    }

    /// Makes changes that leave less than there was.
    fn apply(&self, changes: Vec<Change>) -> Result<(), FileError> {
        Ok(self.store.apply(changes, u64::MAX)?)
    }

    /// Removes the parts of a file, and the note that it was begun.
    fn remove_parts(&self, id: u64) -> Result<(), FileError> {
        let parts = self.store.list(&key(PART, &id.to_be_bytes()), b"", usize::MAX)?;
        let mut changes: Vec<Change> = parts.into_iter().map(|(key, _)| Change { key, value: None }).collect();
        changes.push(Change { key: key(BEGUN, &id.to_be_bytes()), value: None });
        self.apply(changes)
    }

    /// Parts of all files, for the tests.
    #[cfg(test)]
    fn parts(&self) -> u64 {
        self.entries.values().map(Entry::parts).sum()
    }
}

#[cfg(test)]
mod tests;

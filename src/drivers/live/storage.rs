//! What module instances keep over restarts, in one database file below the node's data folder.
//!
//! The loop never waits for the disk to write: a change is in memory at once, and a thread writes all that waits in one
//! transaction, which is on disk when it ends. Reads look into what waits first, then into the database, which they see as
//! it was at its last transaction. The file is opened when the first instance uses its store.

#![expect(clippy::result_large_err, reason = "the errors are those of the library, and rare")]

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;

use redb::{Database, ReadableTable, TableDefinition};

use crate::base::limits::{STORAGE_FLUSH_PERIOD, STORAGE_WAITING_BYTES_MAX};
use crate::base::storage::{Change, Storage, StorageError, Stores, used_after};
use crate::drivers::safe_file;

/// The file in the node's data folder.
const FILE: &str = "storage.redb";
/// Bytes of the database that are kept in memory.
const CACHE_BYTES: usize = 16 << 20;
/// By instance and key.
const DATA: TableDefinition<'_, (&str, &[u8]), &[u8]> = TableDefinition::new("data");
/// Bytes of each instance.
const USED: TableDefinition<'_, &str, u64> = TableDefinition::new("used");

/// The stores of a node.
pub struct DiskStores {
    folder: PathBuf,
    opened: Rc<OnceLock<Result<Open, StorageError>>>,
}

/// The open file and its thread.
struct Open {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    database: Database,
    waiting: Mutex<Waiting>,
    /// Something waits, or it is to end.
    wakes: Condvar,
}

/// An instance, and one of its keys.
type InstanceKey = (String, Vec<u8>);

/// What the disk does not have yet.
#[derive(Default)]
struct Waiting {
    batches: VecDeque<Batch>,
    bytes: usize,
    /// The number of the last batch.
    last: u64,
    /// The newest value of what waits, with the number of its batch.
    values: BTreeMap<InstanceKey, (u64, Option<Vec<u8>>)>,
    /// Instances of which the database still holds what is forgotten.
    forgotten: BTreeMap<String, u64>,
    used: BTreeMap<String, u64>,
    ends: bool,
    broken: Option<String>,
}

/// Changes that are written together.
struct Batch {
    number: u64,
    instance: String,
    /// `None`: all is forgotten.
    changes: Option<Vec<Change>>,
    used_bytes: u64,
    bytes: usize,
}

impl DiskStores {
    /// The stores in this folder. Nothing is opened yet.
    #[must_use]
    pub fn new(folder: &Path) -> DiskStores {
        DiskStores { folder: folder.to_owned(), opened: Rc::default() }
    }
}

/// The open file; it is opened by the first who asks.
fn opened<'a>(cell: &'a OnceLock<Result<Open, StorageError>>, folder: &Path) -> Result<&'a Shared, StorageError> {
    let open = || Open::new(folder).map_err(StorageError::Broken);
    cell.get_or_init(open).as_ref().map(|open| &*open.shared).map_err(Clone::clone)
}

impl Open {
    fn new(folder: &Path) -> Result<Open, String> {
        let path = folder.join(FILE);
        let failed = |error: &dyn std::fmt::Display| {
            format!("{}: {error}; is it another node's? (`data` in netserv.toml names the folder)", path.display())
        };
        safe_file::create_folder(folder).map_err(|error| failed(&error))?;
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(&path).map_err(|error| failed(&error))?;
        let used = begin(&database).map_err(|error| failed(&error))?;
        let waiting = Mutex::new(Waiting { used, ..Waiting::default() });
        let shared = Arc::new(Shared { database, waiting, wakes: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        let named = std::thread::Builder::new().name("storage".to_owned());
        let thread = named.spawn(move || for_thread.write_all()).map_err(|error| failed(&error))?;
        Ok(Open { shared, thread: Some(thread) })
    }
}

/// Makes the tables, and reads how much each instance keeps.
fn begin(database: &Database) -> Result<BTreeMap<String, u64>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut used = BTreeMap::new();
    {
        transaction.open_table(DATA)?;
        let table = transaction.open_table(USED)?;
        for entry in table.iter()? {
            let (name, bytes) = entry?;
            used.insert(name.value().to_owned(), bytes.value());
        }
    }
    transaction.commit()?;
    Ok(used)
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.waiting().ends = true;
        self.shared.wakes.notify_all();
        if let Some(thread) = self.thread.take() {
            // Its panic was told where it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // What a thread that panicked left is still whole: nothing panics half way through a change.
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The thread: writes what waits until the node ends.
    fn write_all(&self) {
        loop {
            let mut waiting = self.waiting();
            while waiting.batches.is_empty() && !waiting.ends {
                waiting = self.wakes.wait(waiting).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
            if waiting.batches.is_empty() {
                return;
            } else if !waiting.ends {
                // Others come along meanwhile.
                let timed = self.wakes.wait_timeout(waiting, STORAGE_FLUSH_PERIOD);
                waiting = timed.unwrap_or_else(std::sync::PoisonError::into_inner).0;
            }
            let batches = std::mem::take(&mut waiting.batches);
            drop(waiting);
            let result = self.write(&batches);
            self.written(&batches, result.err().map(|error| error.to_string()));
        }
    }

    fn write(&self, batches: &VecDeque<Batch>) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut data = transaction.open_table(DATA)?;
            let mut used = transaction.open_table(USED)?;
            for batch in batches {
                let instance = batch.instance.as_str();
                if let Some(changes) = &batch.changes {
                    for change in changes {
                        let key = (instance, change.key.as_slice());
                        match &change.value {
                            Some(value) => drop(data.insert(key, value.as_slice())?),
                            None => drop(data.remove(key)?),
                        }
                    }
                } else {
                    let next = format!("{instance}\0");
                    data.retain_in((instance, &[][..])..(next.as_str(), &[][..]), |_, _| false)?;
                }
                match batch.used_bytes {
                    0 => drop(used.remove(instance)?),
                    bytes => drop(used.insert(instance, bytes)?),
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Forgets what is on disk now; or, when it cannot be written, that anything can be.
    fn written(&self, batches: &VecDeque<Batch>, error: Option<String>) {
        let mut waiting = self.waiting();
        if let Some(error) = error {
            tracing::error!("what modules keep cannot be written: {error}");
            waiting.broken = Some(error);
            return;
        }
        for batch in batches {
            waiting.bytes -= batch.bytes;
            if waiting.forgotten.get(&batch.instance) == Some(&batch.number) {
                waiting.forgotten.remove(&batch.instance);
            }
            for change in batch.changes.iter().flatten() {
                let key = (batch.instance.clone(), change.key.clone());
                if waiting.values.get(&key).is_some_and(|(number, _)| *number == batch.number) {
                    waiting.values.remove(&key);
                }
            }
        }
    }

    fn put(&self, waiting: &mut Waiting, instance: &str, changes: Option<Vec<Change>>, used_bytes: u64) {
        waiting.last += 1;
        let number = waiting.last;
        let size = |change: &Change| change.key.len() + change.value.as_ref().map_or(0, Vec::len) + 64;
        let bytes = changes.iter().flatten().map(size).sum();
        for change in changes.iter().flatten() {
            waiting.values.insert((instance.to_owned(), change.key.clone()), (number, change.value.clone()));
        }
        if changes.is_none() {
            waiting.values.retain(|(name, _), _| name != instance);
            waiting.forgotten.insert(instance.to_owned(), number);
        }
        waiting.bytes += bytes;
        match used_bytes {
            0 => drop(waiting.used.remove(instance)),
            used_bytes => drop(waiting.used.insert(instance.to_owned(), used_bytes)),
        }
        waiting.batches.push_back(Batch { number, instance: instance.to_owned(), changes, used_bytes, bytes });
        self.wakes.notify_one();
    }

    /// What a reader of the value on disk makes of it.
    fn on_disk<T>(&self, instance: &str, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, redb::Error> {
        let table = self.database.begin_read()?.open_table(DATA)?;
        Ok(table.get((instance, key))?.map(|value| read(value.value())))
    }
}

fn broken(error: impl std::fmt::Display) -> StorageError {
    StorageError::Broken(error.to_string())
}

impl DiskStores {
    /// Whether there is a database: asking must not make one.
    fn holds_anything(&self) -> bool {
        self.opened.get().is_some() || self.folder.join(FILE).exists()
    }
}

impl Stores for DiskStores {
    fn open(&self, instance: &str) -> Rc<dyn Storage> {
        Rc::new(DiskStore {
            folder: self.folder.clone(),
            opened: Rc::clone(&self.opened),
            instance: instance.to_owned(),
        })
    }

    fn remove(&self, instance: &str) -> Result<(), StorageError> {
        if !self.holds_anything() {
            return Ok(());
        }
        let shared = opened(&self.opened, &self.folder)?;
        let mut waiting = shared.waiting();
        shared.put(&mut waiting, instance, None, 0);
        Ok(())
    }

    fn used(&self) -> Vec<(String, u64)> {
        if !self.holds_anything() {
            return Vec::new();
        }
        let Ok(shared) = opened(&self.opened, &self.folder) else { return Vec::new() };
        shared.waiting().used.clone().into_iter().collect()
    }
}

/// The store of one instance.
struct DiskStore {
    folder: PathBuf,
    opened: Rc<OnceLock<Result<Open, StorageError>>>,
    instance: String,
}

impl DiskStore {
    fn shared(&self) -> Result<&Shared, StorageError> {
        opened(&self.opened, &self.folder)
    }
}

impl Storage for DiskStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let shared = self.shared()?;
        let waiting = shared.waiting();
        if let Some((_, value)) = waiting.values.get(&(self.instance.clone(), key.to_vec())) {
            return Ok(value.clone());
        } else if waiting.forgotten.contains_key(&self.instance) {
            return Ok(None);
        }
        drop(waiting);
        shared.on_disk(&self.instance, key, <[u8]>::to_vec).map_err(broken)
    }

    fn apply(&self, changes: Vec<Change>, max_bytes: u64) -> Result<(), StorageError> {
        let shared = self.shared()?;
        let mut waiting = shared.waiting();
        if let Some(error) = &waiting.broken {
            return Err(StorageError::Broken(error.clone()));
        } else if waiting.bytes > STORAGE_WAITING_BYTES_MAX {
            return Err(StorageError::Busy { waiting_bytes: waiting.bytes });
        }
        let is_forgotten = waiting.forgotten.contains_key(&self.instance);
        let used = waiting.used.get(&self.instance).copied().unwrap_or(0);
        let used = used_after(used, &changes, max_bytes, |key| {
            match waiting.values.get(&(self.instance.clone(), key.to_vec())) {
                Some((_, value)) => Ok(value.as_ref().map(Vec::len)),
                None if is_forgotten => Ok(None),
                None => shared.on_disk(&self.instance, key, <[u8]>::len).map_err(broken),
            }
        })?;
        shared.put(&mut waiting, &self.instance, Some(changes), used);
        Ok(())
    }

    fn list(&self, prefix: &[u8], after: &[u8], count_max: usize) -> Result<Vec<(Vec<u8>, usize)>, StorageError> {
        let shared = self.shared()?;
        // What waits comes first: what is written meanwhile is then in the database as well.
        let is_within = |key: &[u8]| key.starts_with(prefix) && (after.is_empty() || key > after);
        let first = std::cmp::max(prefix, after);
        let waiting = shared.waiting();
        let from = waiting.values.range((Bound::Included((self.instance.clone(), first.to_vec())), Bound::Unbounded));
        let own = from.take_while(|((name, key), _)| {
            *name == self.instance && (key.starts_with(prefix) || key < &prefix.to_vec())
        });
        let mut newer: BTreeMap<Vec<u8>, Option<usize>> = own
            .filter(|((_, key), _)| is_within(key))
            .map(|((_, key), (_, value))| (key.clone(), value.as_ref().map(Vec::len)))
            .collect();
        let is_forgotten = waiting.forgotten.contains_key(&self.instance);
        drop(waiting);
        let mut found = Vec::new();
        if !is_forgotten {
            let table = shared.database.begin_read().map_err(broken)?.open_table(DATA).map_err(broken)?;
            for entry in table.range((self.instance.as_str(), first)..).map_err(broken)? {
                let (place, value) = entry.map_err(broken)?;
                let (name, key) = place.value();
                if name != self.instance || !key.starts_with(prefix) || found.len() >= count_max {
                    break;
                } else if !is_within(key) {
                    continue;
                }
                // Those that only wait and come before it.
                while let Some((earlier, len)) = newer.first_key_value().filter(|(earlier, _)| earlier.as_slice() < key)
                {
                    found.extend(len.map(|len| (earlier.clone(), len)));
                    newer.pop_first();
                }
                match newer.remove(key) {
                    Some(len) => found.extend(len.map(|len| (key.to_vec(), len))),
                    None => found.push((key.to_vec(), value.value().len())),
                }
            }
        }
        found.extend(newer.into_iter().filter_map(|(key, len)| Some((key, len?))));
        found.truncate(count_max);
        Ok(found)
    }

    fn used_bytes(&self) -> u64 {
        self.shared().map_or(0, |shared| shared.waiting().used.get(&self.instance).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests;

//! What module instances keep over restarts: keys and values, one store for each instance. The driver has them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::base::limits::STORAGE_ENTRY_BYTES;

/// One change of an update: what a key is to have from then on; `None` = nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Vec<u8>,
    /// Its new value.
    pub value: Option<Vec<u8>>,
}

/// Why something is not stored, or not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// It does not fit.
    #[error(
        "limit storage_bytes ({max_bytes}) exceeded: {want_bytes} bytes would be kept; raise it in module.toml, or remove something"
    )]
    Full {
        /// What would be kept then.
        want_bytes: u64,
        /// What may be kept.
        max_bytes: u64,
    },
    /// Too much waits to be written.
    #[error("the disk does not keep up: {waiting_bytes} bytes wait to be written; try again later")]
    Busy {
        /// What waits.
        waiting_bytes: usize,
    },
    /// The disk, or what is on it, is broken.
    #[error("what is stored cannot be used: {0}")]
    Broken(String),
}

/// The store of one instance. Shared by all who opened it.
pub trait Storage {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;
    /// Makes all changes, or none of them, also when the machine loses power meanwhile. They are seen at once, and on disk
    /// some time later, in order. A key may stand in it once.
    ///
    /// # Errors
    ///
    /// When more than `max_bytes` would be kept and more than now, or when it cannot be written; nothing has changed then.
    fn apply(&self, changes: Vec<Change>, max_bytes: u64) -> Result<(), StorageError>;
    /// Keys that begin with `prefix` and come after `after`, in order, at most `count_max`, each with the length of its value.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    fn list(&self, prefix: &[u8], after: &[u8], count_max: usize) -> Result<Vec<(Vec<u8>, usize)>, StorageError>;
    /// What is kept: all keys and values, and [`STORAGE_ENTRY_BYTES`] for each.
    fn used_bytes(&self) -> u64;
}

/// The stores of all instances of a node, by the instances' names.
pub trait Stores {
    /// The store of an instance; an empty one if there is none.
    fn open(&self, instance: &str) -> Rc<dyn Storage>;
    /// Forgets all that an instance kept: it is uninstalled.
    ///
    /// # Errors
    ///
    /// When it cannot be removed.
    fn remove(&self, instance: &str) -> Result<(), StorageError>;
    /// The instances that keep something, in order, each with its bytes.
    fn used(&self) -> Vec<(String, u64)>;
}

/// What is kept once `changes` are made to what is now `used_bytes`. `len_of` knows the values' lengths.
///
/// # Errors
///
/// As [`Storage::apply`].
pub fn used_after(
    used_bytes: u64,
    changes: &[Change],
    max_bytes: u64,
    mut len_of: impl FnMut(&[u8]) -> Result<Option<usize>, StorageError>,
) -> Result<u64, StorageError> {
    let (mut more, mut less) = (0u64, 0u64);
    for change in changes {
        let entry = |value_len: usize| (change.key.len() + value_len) as u64 + STORAGE_ENTRY_BYTES;
        less += len_of(&change.key)?.map_or(0, entry);
        more += change.value.as_ref().map_or(0, |value| entry(value.len()));
    }
    let want_bytes = used_bytes.saturating_add(more).saturating_sub(less);
    if want_bytes > max_bytes && want_bytes > used_bytes {
        return Err(StorageError::Full { want_bytes, max_bytes });
    }
    Ok(want_bytes)
}

/// Stores that live as long as the node: where time is virtual, and where there is no disk.
#[derive(Default)]
pub struct MemoryStores(RefCell<BTreeMap<String, Rc<MemoryStore>>>);

#[derive(Default)]
struct MemoryStore {
    values: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    used_bytes: std::cell::Cell<u64>,
}

impl Stores for MemoryStores {
    fn open(&self, instance: &str) -> Rc<dyn Storage> {
        Rc::clone(self.0.borrow_mut().entry(instance.to_owned()).or_default()) as Rc<dyn Storage>
    }

    fn remove(&self, instance: &str) -> Result<(), StorageError> {
        if let Some(store) = self.0.borrow_mut().remove(instance) {
            store.values.borrow_mut().clear();
            store.used_bytes.set(0);
        }
        Ok(())
    }

    fn used(&self) -> Vec<(String, u64)> {
        let stores = self.0.borrow();
        let used = stores.iter().map(|(name, store)| (name.clone(), store.used_bytes.get()));
        used.filter(|(_, bytes)| *bytes > 0).collect()
    }
}

impl Storage for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.values.borrow().get(key).cloned())
    }

    fn apply(&self, changes: Vec<Change>, max_bytes: u64) -> Result<(), StorageError> {
        let mut values = self.values.borrow_mut();
        let used = used_after(self.used_bytes.get(), &changes, max_bytes, |key| Ok(values.get(key).map(Vec::len)))?;
        for change in changes {
            match change.value {
                Some(value) => drop(values.insert(change.key, value)),
                None => drop(values.remove(&change.key)),
            }
        }
        self.used_bytes.set(used);
        Ok(())
    }

    fn list(&self, prefix: &[u8], after: &[u8], count_max: usize) -> Result<Vec<(Vec<u8>, usize)>, StorageError> {
        let values = self.values.borrow();
        let first = std::cmp::max(prefix, after).to_vec();
        let from = values.range(first..).filter(|(key, _)| after.is_empty() || key.as_slice() > after);
        let within = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(within.take(count_max).map(|(key, value)| (key.clone(), value.len())).collect())
    }

    fn used_bytes(&self) -> u64 {
        self.used_bytes.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &[u8], value: Option<&[u8]>) -> Change {
        Change { key: key.to_vec(), value: value.map(<[u8]>::to_vec) }
    }

    #[test]
    fn an_update_is_made_whole_or_not_at_all_and_is_counted() {
        let stores = MemoryStores::default();
        let store = stores.open("a");
        store.apply(vec![set(b"x", Some(b"1234")), set(b"y", Some(b""))], 1_000).unwrap();
        let used = store.used_bytes();
        assert_eq!(used, 2 * STORAGE_ENTRY_BYTES + 6);
        let full = store.apply(vec![set(b"x", None), set(b"z", Some(&[0; 1_000]))], 1_000).unwrap_err();
        assert!(matches!(full, StorageError::Full { max_bytes: 1_000, .. }), "{full}");
        assert_eq!((store.get(b"x").unwrap().as_deref(), store.used_bytes()), (Some(b"1234".as_slice()), used));
        // What makes it less is allowed, though the limit was lowered.
        store.apply(vec![set(b"x", Some(b"1"))], 10).unwrap();
        store.apply(vec![set(b"x", None), set(b"y", None), set(b"no", None)], 0).unwrap();
        assert_eq!((store.used_bytes(), stores.used()), (0, vec![]));
    }

    #[test]
    fn keys_are_listed_in_order_by_prefix_and_from_where_one_was() {
        let store = MemoryStores::default().open("a");
        for key in ["a", "b/1", "b/2", "b/3", "c"] {
            store.apply(vec![set(key.as_bytes(), Some(b"v"))], 10_000).unwrap();
        }
        let keys = |prefix: &str, after: &str, count| {
            let keys = store.list(prefix.as_bytes(), after.as_bytes(), count).unwrap();
            keys.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(keys("", "", 9), "a b/1 b/2 b/3 c");
        assert_eq!(keys("b/", "", 2), "b/1 b/2");
        assert_eq!(keys("b/", "b/2", 9), "b/3");
        assert_eq!(keys("b/", "c", 9), "");
        assert_eq!(keys("b/", "a", 9), "b/1 b/2 b/3");
    }
}

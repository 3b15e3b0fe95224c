//! The requests that were seen: each may be acted on once, also after a restart.
//!
//! A request is remembered until it expires. On disk is a log, one record per request, which is written anew when most
//! of it has expired.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::limits::{NONCES_MAX, NONCES_PER_KEY_MAX};
use crate::controller::api::StoreOp;
use crate::wire::nslp::request::Nonce;

/// Where the log is kept.
pub(super) const STORE_KEY: &str = "nonces";

/// Record: when it expires (8 bytes, ms since 1970-01-01 UTC, big endian), the start of the key (8), the nonce (16).
const RECORD_BYTES: usize = 32;
/// Records beyond twice those that count, before the log is written anew.
const SPARE_RECORDS: usize = 1_024;

/// The first bytes of a key: two trusted keys differ in them.
type KeyStart = [u8; 8];

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It was seen before.
    Seen,
    /// It is from a time of which nothing is remembered any more: only so when the clock was set back.
    Forgotten,
    /// Too many requests of this key are remembered.
    KeyFull,
    /// Too many requests are remembered.
    Full,
}

/// The requests that were seen and have not expired.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    seen: BTreeSet<(KeyStart, Nonce)>,
    by_time: BTreeSet<(u64, KeyStart, Nonce)>,
    count_by_key: BTreeMap<KeyStart, usize>,
    /// Requests that expire up to then may have been forgotten.
    forgotten_ms: u64,
    records_on_disk: usize,
}

impl Nonces {
    /// Remembers a request; what is returned must be stored before the request is acted on.
    pub(super) fn take(&mut self, key: &[u8; 32], nonce: Nonce, expires_ms: u64) -> Result<StoreOp, Refused> {
        let key = start_of(key);
        if self.seen.contains(&(key, nonce)) {
            return Err(Refused::Seen);
        }
        if expires_ms <= self.forgotten_ms {
            return Err(Refused::Forgotten);
        }
        if self.count_by_key.get(&key).is_some_and(|count| *count >= NONCES_PER_KEY_MAX) {
            return Err(Refused::KeyFull);
        }
        if self.seen.len() >= NONCES_MAX {
            return Err(Refused::Full);
        }
        self.insert(key, nonce, expires_ms);
        if self.records_on_disk > 2 * self.seen.len() + SPARE_RECORDS {
            return Ok(self.compact());
        }
        self.records_on_disk += 1;
        Ok(StoreOp::Append { key: STORE_KEY.to_owned(), bytes: record(expires_ms, key, nonce).to_vec() })
    }

    /// Forgets what expired before `wall_ms`, at most `max` of it.
    pub(super) fn forget(&mut self, wall_ms: u64, max: usize) {
        for _ in 0..max {
            let Some((expires_ms, key, nonce)) = self.by_time.first().copied() else { return };
            if expires_ms >= wall_ms {
                return;
            }
            self.by_time.pop_first();
            self.seen.remove(&(key, nonce));
            self.forgotten_ms = self.forgotten_ms.max(expires_ms);
            if let Some(count) = self.count_by_key.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.count_by_key.remove(&key);
                }
            }
        }
    }

    /// Reads a log back. A last record that is not whole is left out; so must be what would be too much.
    pub(super) fn restore(&mut self, log: &[u8]) {
        for record in log.chunks_exact(RECORD_BYTES) {
            let (mut expires, mut key, mut nonce) = ([0; 8], [0; 8], [0; 16]);
            expires.copy_from_slice(&record[..8]);
            key.copy_from_slice(&record[8..16]);
            nonce.copy_from_slice(&record[16..]);
            let expires_ms = u64::from_be_bytes(expires);
            if key == KeyStart::default() && nonce == [0; 16] {
                self.forgotten_ms = self.forgotten_ms.max(expires_ms);
            } else if self.seen.len() < NONCES_MAX && !self.seen.contains(&(key, Nonce(nonce))) {
                self.insert(key, Nonce(nonce), expires_ms);
            }
        }
    }

    /// The whole log anew.
    pub(super) fn compact(&mut self) -> StoreOp {
        let mut bytes = record(self.forgotten_ms, KeyStart::default(), Nonce::default()).to_vec();
        bytes.extend(self.by_time.iter().flat_map(|(expires_ms, key, nonce)| record(*expires_ms, *key, *nonce)));
        self.records_on_disk = self.by_time.len() + 1;
        StoreOp::Put { key: STORE_KEY.to_owned(), bytes }
    }

    fn insert(&mut self, key: KeyStart, nonce: Nonce, expires_ms: u64) {
        self.seen.insert((key, nonce));
        self.by_time.insert((expires_ms, key, nonce));
        *self.count_by_key.entry(key).or_default() += 1;
    }
}

fn start_of(key: &[u8; 32]) -> KeyStart {
    let mut start = KeyStart::default();
    start.copy_from_slice(&key[..8]);
    start
}

fn record(expires_ms: u64, key: KeyStart, nonce: Nonce) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    bytes[..8].copy_from_slice(&expires_ms.to_be_bytes());
    bytes[8..16].copy_from_slice(&key);
    bytes[16..].copy_from_slice(&nonce.0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(number: u64) -> Nonce {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Nonce(bytes)
    }

    fn stored(log: &mut Vec<u8>, op: StoreOp) {
        match op {
            StoreOp::Put { bytes, .. } => *log = bytes,
            StoreOp::Append { bytes, .. } => log.extend(bytes),
            StoreOp::Remove { .. } => log.clear(),
        }
    }

    #[test]
    fn what_was_seen_is_known_after_a_restart_even_if_the_last_record_is_torn() {
        let (mut nonces, mut log) = (Nonces::default(), Vec::new());
        for number in 1..=3 {
            stored(&mut log, nonces.take(&[1; 32], nonce(number), 1_000).unwrap());
        }
        log.truncate(log.len() - 1);
        let mut again = Nonces::default();
        again.restore(&log);
        assert_eq!(again.take(&[1; 32], nonce(2), 1_000), Err(Refused::Seen));
        assert!(again.take(&[2; 32], nonce(2), 1_000).is_ok(), "the nonce of another key");
        assert!(again.take(&[1; 32], nonce(3), 1_000).is_ok(), "it was torn");
    }

    #[test]
    fn what_expired_is_forgotten_and_stays_refused_when_the_clock_goes_back() {
        let mut nonces = Nonces::default();
        nonces.take(&[1; 32], nonce(1), 1_000).unwrap();
        nonces.take(&[1; 32], nonce(2), 2_000).unwrap();
        nonces.forget(1_001, 10);
        assert_eq!(nonces.take(&[1; 32], nonce(1), 1_000), Err(Refused::Forgotten));
        assert_eq!(nonces.take(&[1; 32], nonce(2), 2_000), Err(Refused::Seen));
        let mut log = Vec::new();
        stored(&mut log, nonces.compact());
        let mut again = Nonces::default();
        again.restore(&log);
        assert_eq!(again.take(&[1; 32], nonce(1), 1_000), Err(Refused::Forgotten));
    }

    #[test]
    fn one_key_cannot_fill_the_memory_and_the_log_does_not_grow_for_ever() {
        let (mut nonces, mut log) = (Nonces::default(), Vec::new());
        for number in 0..NONCES_PER_KEY_MAX as u64 {
            stored(&mut log, nonces.take(&[1; 32], nonce(number), 1_000).unwrap());
        }
        assert_eq!(nonces.take(&[1; 32], nonce(u64::MAX), 1_000), Err(Refused::KeyFull));
        assert!(nonces.take(&[2; 32], nonce(u64::MAX), 1_000).is_ok());
        for number in 0..20_000 {
            nonces.forget(2_000 + number, 10_000);
            stored(&mut log, nonces.take(&[1; 32], nonce(number), 2_000 + number).unwrap());
        }
        assert!(log.len() < (2 * nonces.seen.len() + SPARE_RECORDS + 2) * RECORD_BYTES, "{}", log.len());
        assert!(nonces.seen.len() < 10);
    }

    #[test]
    fn any_bytes_are_a_log() {
        let mut nonces = Nonces::default();
        nonces.restore(&[0xff; 1_000]);
        nonces.forget(u64::MAX, 100);
        assert_eq!(nonces.seen.len(), 1, "it never expires");
    }
}

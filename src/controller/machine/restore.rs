//! After a restart: what ran and has lifetime left runs again, one instance at a time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::base::crypto::from_hex;
use crate::base::limits::SIGNALLED_MAX;
use crate::base::time::Instant;
use crate::controller::admission::{Refusal, refusal};
use crate::controller::api::{Facts, StoreOp};
use crate::controller::machine::install::open_package;
use crate::controller::machine::{Controller, Package};
use crate::controller::nonces::STORE_KEY as NONCES;
use crate::controller::stored::{self, INSTANCES, PACKAGES, Wanted};
use crate::wire::nslp::answer::AnswerCode;

/// What is still to be restored.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    /// Instances with the time, in ms since 1970-01-01 UTC, until which they live.
    instances: VecDeque<(Wanted, u64)>,
    packages: BTreeMap<[u8; 32], Vec<u8>>,
}

impl Restoring {
    pub(super) fn is_done(&self) -> bool {
        self.instances.is_empty() && self.packages.is_empty()
    }

    pub(super) fn has_package(&self, digest: &[u8; 32]) -> bool {
        self.packages.contains_key(digest)
    }
}

impl Controller {
    /// Takes what an earlier run stored, before any other input. The instances are loaded by [`Controller::expire`],
    /// one at each call.
    pub fn restore(&mut self, now: Instant, facts: &Facts, stored: Vec<(String, Vec<u8>)>) {
        self.wall = (now, facts.wall_ms);
        for (key, bytes) in stored {
            if key == NONCES {
                self.nonces.restore(&bytes);
                let op = self.nonces.compact();
                self.store(op);
            } else if let Some(digest) = key.strip_prefix(PACKAGES).and_then(from_hex) {
                self.restoring.packages.insert(digest, bytes);
            } else if key.starts_with(INSTANCES) {
                self.take_stored(key, &bytes);
            }
        }
    }

    fn take_stored(&mut self, key: String, bytes: &[u8]) {
        let read = stored::decode(bytes).and_then(|read| {
            let has_room = self.restoring.instances.len() < SIGNALLED_MAX;
            if has_room { Ok(read) } else { Err(format!("there are more than {SIGNALLED_MAX}")) }
        });
        match read {
            // Elsewhere than it belongs, it could not be removed again.
            Ok((wanted, expires_ms)) if wanted.store_key() == key => {
                self.restoring.instances.push_back((wanted, expires_ms));
            }
            other => {
                let problem = other.err().unwrap_or_else(|| "its name is not its own".to_owned());
                self.note(&format!("stored {key} is not used, and removed: {problem}"));
                self.store(StoreOp::Remove { key });
            }
        }
    }

    /// Restores one instance; when there are no more, drops packages that none needed.
    pub(super) fn restore_next(&mut self, now: Instant, facts: &Facts) {
        if self.restoring.is_done() {
            return;
        }
        let Some((wanted, expires_ms)) = self.restoring.instances.pop_front() else {
            for digest in std::mem::take(&mut self.restoring.packages).into_keys() {
                if !self.packages.contains_key(&digest) {
                    self.store(StoreOp::Remove { key: stored::package_key(&digest) });
                }
            }
            return;
        };
        // Set up anew meanwhile: that counts.
        if self.has(&wanted.name) {
            return;
        }
        let (name, key) = (wanted.name.clone(), wanted.store_key());
        if let Err(Refusal { sentence, .. }) = self.restore_one(now, facts, wanted, expires_ms) {
            self.note(&format!("{name} is not restored: {sentence}"));
            self.store(StoreOp::Remove { key });
        }
    }

    fn restore_one(&mut self, now: Instant, facts: &Facts, wanted: Wanted, expires_ms: u64) -> Result<(), Refusal> {
        // The clock may have been wrong then, or be wrong now: nothing lives longer than it was granted.
        let left_ms = expires_ms.saturating_sub(facts.wall_ms).min(wanted.module.lifetime_ms);
        if left_ms == 0 {
            return Err(refusal(AnswerCode::Expired, "its lifetime is over"));
        }
        // The trust file may have been changed while the node was not there; without a requester, `install` says so.
        if let Some(requester) = self.config.trust.by_key(&wanted.key) {
            self.has_room(requester, &wanted.name, &wanted.module)?;
        }
        let digest = wanted.module.digest;
        if !self.packages.contains_key(&digest) {
            let Some(bytes) = self.restoring.packages.get(&digest) else {
                return Err(refusal(AnswerCode::BadPackage, "its package is not there any more"));
            };
            let module = open_package(bytes, &digest, &wanted.module.url)?;
            let package = Package { module, bytes_len: bytes.len() as u64, unstored: None };
            self.packages.insert(digest, package);
        }
        let Some(package) = self.packages.get(&digest) else { return Ok(()) };
        let (module, bytes_len, name) = (package.module.clone(), package.bytes_len, wanted.name.clone());
        if let Err((refusal, _)) = self.install(now, wanted, Vec::new(), module, bytes_len) {
            self.release(&digest);
            return Err(refusal);
        }
        if let Some(kept) = self.instances.get_mut(&name) {
            self.expiries.remove(&(kept.expires_at, name.clone()));
            kept.expires_at = now + Duration::from_millis(left_ms);
            self.expiries.insert((kept.expires_at, name));
        }
        Ok(())
    }
}

//! Where the ledger of a node without signalling is kept: a file in its folder for what it must put right after a crash.

use std::path::Path;

use crate::base::limits::LEDGER_FILE_BYTES_MAX;
use crate::controller::api::StoreOp;
use crate::drivers::safe_file;

/// Only the node's user reads what was used by whom.
const MODE: u32 = 0o600;

/// What an earlier run left, if anything.
pub(super) fn load(path: &Path) -> Option<Vec<u8>> {
    match safe_file::read(path, LEDGER_FILE_BYTES_MAX) {
        Ok((bytes, _)) => Some(bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => {
            tracing::warn!("{}: {e}; the ledger begins anew", path.display());
            None
        }
    }
}

/// Keeps the ledger.
pub(super) fn store(path: &Path, op: &StoreOp) {
    let StoreOp::Put { bytes, .. } = op else { return };
    let folder = safe_file::folder_of(path);
    let kept = safe_file::create_folder(folder).and_then(|()| safe_file::replace(path, bytes, MODE));
    if let Err(e) = kept {
        tracing::error!("{}: {e}; what was used may be forgotten at the next start", path.display());
    }
}

//! Systems without a TUN link yet: opening one says so.

use super::{TunError, TunOptions};

/// An open TUN device; there is none on this system.
#[derive(Debug)]
pub enum Tun {}

impl Tun {
    /// Refuses.
    ///
    /// # Errors
    ///
    /// Always: [`TunError::Unsupported`].
    pub fn open(_options: &TunOptions) -> Result<Tun, TunError> {
        Err(TunError::Unsupported { system: std::env::consts::OS })
    }
}

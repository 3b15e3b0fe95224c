//! All that differs between systems: TUN devices, capture interfaces, steering, and what a machine can do.
//!
//! Nearly all unsafe code of the program is here; each block says why it is sound.

pub mod capture;
pub mod guard;
#[cfg(unix)]
pub mod inventory;
pub mod machine;
#[cfg(unix)]
pub mod module_socket;
#[cfg(unix)]
pub mod paths;
#[cfg(unix)]
pub mod signal_socket;
pub mod steering;
#[cfg(unix)]
pub mod terminal;
pub mod thread;
pub mod tun;
#[cfg(unix)]
pub mod user;

/// Whether this machine has a packet capture library.
///
/// # Errors
///
/// What to install.
pub fn capture_library() -> Result<(), String> {
    libpcap::available()
}

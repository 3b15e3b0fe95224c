//! A TUN device: the kernel routes packets into it, the node reads them and writes them back.

use std::io;

/// MTU of the device, in bytes: the real limit of the path is then found behind it, where it applies.
pub const TUN_MTU: u16 = 65_535;
/// Packets that may wait for the node. The kernel drops what does not fit; 500, its default, is less than one burst
/// of a single TCP connection.
pub const TUN_QUEUE_PACKETS: u32 = 5_000;

/// How a device is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunOptions {
    /// Its name, or a pattern such as `ns%d`; the system chooses one if not given.
    pub name: Option<String>,
    /// Never use the offload header, even where the kernel has it.
    pub plain: bool,
}

/// Why there is no TUN device.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The kernel offers none to this process.
    #[error("cannot open the TUN driver: {source}; {remedy}")]
    Driver {
        /// What the kernel said.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// Somebody else has the device.
    #[error("the TUN device \"{name}\" is in use; is another node running? Choose another name with --link tun:NAME")]
    InUse {
        /// Its name.
        name: String,
    },
    /// The name cannot be one.
    #[error("\"{name}\" cannot be the name of a TUN device: at most 15 letters, digits, `-`, `_`, `.`")]
    Name {
        /// What was asked for.
        name: String,
    },
    /// This system has none yet.
    #[error("the TUN link does not exist on {system} yet; use `netserv replay` or `netserv demo`")]
    Unsupported {
        /// The system's name.
        system: &'static str,
    },
}

/// Longest name of an interface, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 15;

/// Refuses what can be no name of an interface.
pub(crate) fn is_interface_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '%');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name != "." && name != ".." && name.chars().all(allowed)
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
mod device;
#[cfg(any(target_os = "linux", target_os = "macos"))]
pub use device::Tun;

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod missing;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub use missing::Tun;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_strange_letters_are_refused() {
        for good in ["ns0", "ns%d", "a-b_c.d", "fifteen-letters"] {
            assert!(is_interface_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "sixteen-letters!", "sixteen-letters-", "a b", "ü"] {
            assert!(!is_interface_name(bad), "{bad}");
        }
    }
}

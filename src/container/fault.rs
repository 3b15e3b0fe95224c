//! What a module did wrong while it ran.

/// Why a call into a module failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The module raised an error, or its code has one.
    #[error("{message}")]
    Raised {
        /// What Luau says, with file and line; at most 1 KiB.
        message: String,
    },
    /// The call took longer than `limits.cpu_ms_per_call` and was killed.
    #[error("limit cpu_ms_per_call ({limit_ms} ms) exceeded")]
    OutOfCpu {
        /// The limit, in ms.
        limit_ms: u64,
    },
    /// The VM wanted more than `limits.memory_bytes`.
    #[error("limit memory_bytes ({limit_bytes} bytes) exceeded")]
    OutOfMemory {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
}

impl Fault {
    /// The manifest's name of the limit that was broken; `None` for an error of the module.
    #[must_use]
    pub const fn limit(&self) -> Option<&'static str> {
        match self {
            Fault::Raised { .. } => None,
            Fault::OutOfCpu { .. } => Some("cpu_ms_per_call"),
            Fault::OutOfMemory { .. } => Some("memory_bytes"),
        }
    }

    /// Whether the VM's state can still be trusted: only after an error that Luau unwound itself.
    #[must_use]
    pub const fn leaves_vm_usable(&self) -> bool {
        matches!(self, Fault::Raised { .. })
    }
}

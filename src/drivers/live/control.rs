//! The control socket: one JSON object per line and request, one per answer. Only the node's owner can use it.

pub mod client;
pub mod server;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a running node can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// How it is: [`crate::dashboard::status::Status`].
    Status,
    /// Load a module.
    Load {
        /// Its folder, as an absolute path.
        folder: PathBuf,
        /// What the instance is called; the module's name if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Its properties.
        #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
        properties: toml::Table,
    },
    /// Put a new version of a module in the place of a running one.
    Update {
        /// What the instance is called.
        name: String,
        /// Its folder or package, as an absolute path.
        path: PathBuf,
        /// Its properties; those of the old version if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        properties: Option<toml::Table>,
        /// How long the old version may go on with its connections, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drain_s: Option<u64>,
    },
    /// Unload an instance.
    Unload {
        /// What it is called.
        name: String,
    },
    /// Where it keeps installed modules, and which repositories it knows: [`crate::drivers::live::modules::Places`].
    Places,
    /// Start an installed module, in the place of an earlier version of it.
    Install {
        /// The module's name.
        name: String,
    },
    /// Stop an installed module.
    Uninstall {
        /// The module's name.
        name: String,
    },
    /// What an instance reports.
    Report {
        /// What it is called.
        instance: String,
    },
    /// What monitoring asks for: the text format of Prometheus.
    Metrics,
    /// Who has used how much: rows of [`crate::controller::ledger::Ledger`].
    Usage {
        /// From this day on, in days since 1970-01-01 (UTC).
        #[serde(default)]
        since_day: u64,
    },
    /// Stop the node.
    Stop,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Response {
    /// It was carried out.
    Ok(serde_json::Value),
    /// It was not; why, as a sentence.
    Error(String),
}

/// Why the control socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another node answers there.
    #[error("a node is already running: it answers on {}; stop it, or give this one another --control PATH", path.display())]
    AlreadyRunning {
        /// The socket.
        path: PathBuf,
    },
    /// No node answers there.
    #[error("no node answers on {}; is one running, and under this user? (`netserv run`, --control PATH)", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// Others could put their own socket there.
    #[error("{} is not only yours: others may write there; use a folder with mode 0700 for --control", folder.display())]
    FolderOfOthers {
        /// The folder.
        folder: PathBuf,
    },
    /// Something else is in the way.
    #[error("{} is not a socket of a node; remove it or give another --control PATH", path.display())]
    InTheWay {
        /// The path.
        path: PathBuf,
    },
    /// The answer does not come, or not as it should.
    #[error("the node on {} does not answer: {problem}", path.display())]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// What happened.
        problem: String,
    },
    /// The system refused.
    #[error("control socket {}: {source}", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The node refused.
    #[error("{0}")]
    Refused(String),
}

/// Where the socket is if nothing else is said: in the user's own runtime folder, for root in /run.
#[must_use]
pub fn default_path() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    match (platform::user::current(), runtime) {
        (0, _) => PathBuf::from(if cfg!(target_os = "linux") { "/run" } else { "/var/run" }).join("netserv.sock"),
        (_, Some(runtime)) => runtime.join("netserv.sock"),
        (user, None) => std::env::temp_dir().join(format!("netserv-{user}")).join("netserv.sock"),
    }
}

/// Refuses a folder in which others could put a socket of their own.
fn check_folder(folder: &Path) -> Result<(), ControlError> {
    let system = |source| ControlError::System { path: folder.to_owned(), source };
    let metadata = std::fs::metadata(folder).map_err(system)?;
    let owner_fits = metadata.uid() == platform::user::current() || metadata.uid() == 0;
    if !owner_fits || metadata.mode() & 0o022 != 0 {
        return Err(ControlError::FolderOfOthers { folder: folder.to_owned() });
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;

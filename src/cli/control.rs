//! Asks a running node.

use std::path::PathBuf;

use crate::cli::CliError;
use crate::drivers::live::control::{self, Request, client};

/// Asks the node at `path`, or where a node of this user is if nothing else is said.
pub(super) fn ask(path: Option<PathBuf>, request: &Request) -> Result<serde_json::Value, CliError> {
    client::ask(&path.unwrap_or_else(control::default_path), request).map_err(CliError::failure)
}

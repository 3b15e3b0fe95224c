//! `netserv cleanup`.

use std::io::Write;
use std::path::PathBuf;

use argh::FromArgs;

use crate::cli::CliError;
use crate::drivers::live::{self, config::LiveConfig};

#[derive(FromArgs)]
/// take out of the kernel what a killed node left behind
#[argh(
    subcommand,
    name = "cleanup",
    note = "The next start does the same. Touches nothing that a node did not put there, and nothing of a running one."
)]
pub(super) struct Cleanup {
    /// the folder in which the node wrote down what it changed (default: /run/netserv)
    #[argh(option, arg_name = "dir")]
    state: Option<PathBuf>,
}

impl Cleanup {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let state = self.state.unwrap_or(LiveConfig::default().state);
        let lines = live::clean_up(&state).map_err(CliError::failure)?;
        if lines.is_empty() {
            return Ok(writeln!(out, "nothing was left behind")?);
        }
        for line in lines {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

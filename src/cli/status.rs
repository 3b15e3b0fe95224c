//! `netserv status`.

use std::io::Write;
use std::path::PathBuf;

use argh::FromArgs;

use crate::cli::{CliError, control};
use crate::dashboard::status::Status as NodeStatus;
use crate::dashboard::table;
use crate::drivers::live::control::Request;

#[derive(FromArgs)]
/// show how the running node is
#[argh(subcommand, name = "status", example = "{command_name} --json")]
pub(super) struct Status {
    /// print JSON
    #[argh(switch)]
    json: bool,

    /// the node's control socket
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

impl Status {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let answer = control::ask(self.control, &Request::Status)?;
        if self.json {
            serde_json::to_writer_pretty(&mut *out, &answer).map_err(|e| CliError::Output(e.into()))?;
            return Ok(writeln!(out)?);
        }
        Ok(write!(out, "{}", table::of(&read(answer)?, None))?)
    }
}

/// The status as a node answered it.
pub(super) fn read(answer: serde_json::Value) -> Result<NodeStatus, CliError> {
    serde_json::from_value(answer)
        .map_err(|e| CliError::Failure(format!("the node speaks another language ({e}); are both of one version?")))
}

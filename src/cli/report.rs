//! `netserv report`.

use std::io::Write;
use std::path::PathBuf;

use argh::FromArgs;

use crate::cli::{CliError, control};
use crate::drivers::live::control::Request;

#[derive(FromArgs)]
/// show what a module instance of the running node reports, as JSON
#[argh(subcommand, name = "report", example = "{command_name} monitor")]
pub(super) struct Report {
    /// the instance's name; `netserv status` lists them
    #[argh(positional)]
    instance: String,

    /// the node's control socket
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

impl Report {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let report = control::ask(self.control, &Request::Report { instance: self.instance })?;
        serde_json::to_writer_pretty(&mut *out, &report).map_err(|e| CliError::Output(e.into()))?;
        Ok(writeln!(out)?)
    }
}

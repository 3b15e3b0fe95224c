//! `netserv metrics`.

use std::io::Write;
use std::path::PathBuf;

use argh::FromArgs;

use crate::cli::{CliError, control};
use crate::drivers::live::control::Request;

#[derive(FromArgs)]
/// show the running node's numbers, and those of its modules, in the text format of Prometheus
#[argh(subcommand, name = "metrics")]
pub(super) struct Metrics {
    /// the node's control socket
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

impl Metrics {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let text = control::ask(self.control, &Request::Metrics)?;
        Ok(out.write_all(text.as_str().unwrap_or_default().as_bytes())?)
    }
}

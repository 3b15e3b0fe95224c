//! `netserv demo`.

use std::io::Write;

use argh::FromArgs;

use crate::cli::CliError;
use crate::drivers::demo;

#[derive(FromArgs)]
/// show a small conversation going through two modules, in memory; needs no root and no files
#[argh(subcommand, name = "demo")]
pub(super) struct Demo {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

impl Demo {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        demo::run(out, self.json).map_err(|e| match e {
            demo::DemoError::Write(e) => CliError::Output(e),
            error @ (demo::DemoError::Module { .. } | demo::DemoError::Replay(_) | demo::DemoError::Capture(_)) => {
                CliError::failure(error)
            }
        })
    }
}

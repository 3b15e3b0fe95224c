//! `netserv usage`.

use std::io::Write;
use std::path::PathBuf;

use argh::FromArgs;

use crate::base::date;
use crate::cli::{CliError, control};
use crate::dashboard::usage;
use crate::drivers::live::control::Request;
use crate::node::UsageRow;

#[derive(FromArgs)]
/// show who has used how much of the running node: CPU, memory, storage, network
#[argh(
    subcommand,
    name = "usage",
    note = "Days are those of UTC. The table adds up all days; --csv and --json have a row for each.",
    example = "{command_name} --since 2026-11-01 --csv"
)]
pub(super) struct Usage {
    /// print comma-separated values
    #[argh(switch)]
    csv: bool,

    /// print JSON
    #[argh(switch)]
    json: bool,

    /// only from this day on, as YYYY-MM-DD
    #[argh(option, arg_name = "day")]
    since: Option<String>,

    /// the node's control socket
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

impl Usage {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        if self.csv && self.json {
            return Err(CliError::Usage("--csv and --json: give one of them".to_owned()));
        }
        let since_day = match &self.since {
            None => 0,
            Some(day) => date::parse(day)
                .ok_or_else(|| CliError::Usage(format!("--since {day}: that is no day; write it as 2026-11-25")))?,
        };
        let answer = control::ask(self.control, &Request::Usage { since_day })?;
        let rows: Vec<UsageRow> = serde_json::from_value(answer).map_err(|e| {
            CliError::Failure(format!("the node speaks another language ({e}); are both of one version?"))
        })?;
        if self.json {
            serde_json::to_writer_pretty(&mut *out, &usage::json(&rows)).map_err(|e| CliError::Output(e.into()))?;
            return Ok(writeln!(out)?);
        }
        Ok(write!(out, "{}", if self.csv { usage::csv(&rows) } else { usage::table(&rows) })?)
    }
}

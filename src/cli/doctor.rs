//! `netserv doctor`.

use std::io::Write;

use argh::FromArgs;
use platform::machine::{self, Finding, State};

use crate::cli::CliError;

#[derive(FromArgs)]
/// look at what this machine can do for a node, what is missing, and how to get it
#[argh(
    subcommand,
    name = "doctor",
    note = "Changes nothing: a TUN device is made and vanishes again. Exit code 1 when something is missing."
)]
pub(super) struct Doctor {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let findings = machine::examine();
        if self.json {
            let shown: Vec<_> = findings.iter().map(as_json).collect();
            serde_json::to_writer_pretty(&mut *out, &shown).map_err(|e| CliError::Output(e.into()))?;
            writeln!(out)?;
        } else {
            write_table(out, &findings)?;
        }
        let missing = findings.iter().filter(|finding| finding.state == State::Missing).count();
        match missing {
            0 => Ok(()),
            count => Err(CliError::Failure(format!("{count} of {} things are missing", findings.len()))),
        }
    }
}

fn as_json(finding: &Finding) -> serde_json::Value {
    serde_json::json!({
        "name": finding.name,
        "state": finding.state.name(),
        "found": finding.found,
        "meaning": finding.meaning,
        "remedy": finding.remedy,
    })
}

fn write_table(out: &mut dyn Write, findings: &[Finding]) -> std::io::Result<()> {
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    for finding in findings {
        writeln!(out, "{:<7}  {:<width$}  {}", finding.state, finding.name, finding.found)?;
        writeln!(out, "{:<7}  {:<width$}  for: {}", "", "", finding.meaning)?;
        if !finding.remedy.is_empty() {
            writeln!(out, "{:<7}  {:<width$}  do:  {}", "", "", finding.remedy)?;
        }
    }
    Ok(())
}

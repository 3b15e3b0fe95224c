//! `netserv top`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use argh::FromArgs;
use platform::terminal::{self, Keys};

use crate::cli::{CliError, control, status};
use crate::dashboard::status::Status;
use crate::dashboard::table;
use crate::drivers::live::control::Request;

/// A screen of its own, so that what was on the terminal comes back; no cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Back.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// The upper left corner; what follows overwrites.
const HOME: &str = "\x1b[H";
/// Clears to the end of the line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears to the end of the screen.
const CLEAR_REST: &str = "\x1b[J";

#[derive(FromArgs)]
/// show the running node, again and again; q or Ctrl-C ends it
#[argh(
    subcommand,
    name = "top",
    note = "When the output is no terminal, one table is printed, with rates over the interval."
)]
pub(super) struct Top {
    /// seconds between two looks, 1 to 25 (default: 1)
    #[argh(option, default = "1")]
    interval: u64,

    /// the node's control socket
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

impl Top {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let interval = Duration::from_secs(self.interval.clamp(1, 25));
        let keys = terminal::size().and_then(|_| Keys::take_over(interval));
        let first = self.ask()?;
        let Some(keys) = keys else {
            thread::sleep(interval);
            return Ok(write!(out, "{}", table::of(&self.ask()?, Some(&first)))?);
        };
        write!(out, "{ENTER}")?;
        let result = self.refresh(out, &keys, first);
        write!(out, "{LEAVE}")?;
        out.flush()?;
        result
    }

    fn ask(&self) -> Result<Status, CliError> {
        status::read(control::ask(self.control.clone(), &Request::Status)?)
    }

    fn refresh(&self, out: &mut dyn Write, keys: &Keys, mut last: Status) -> Result<(), CliError> {
        let mut text = table::of(&last, None);
        loop {
            show(out, &text)?;
            // The wait for a key is the interval.
            if keys.wants_to_quit() {
                return Ok(());
            }
            let next = self.ask()?;
            text = table::of(&next, Some(&last));
            last = next;
        }
    }
}

/// Writes what fits on the terminal.
fn show(out: &mut dyn Write, text: &str) -> io::Result<()> {
    let (columns, rows) = terminal::size().unwrap_or((80, 24));
    write!(out, "{HOME}")?;
    for line in text.lines().take(rows.saturating_sub(1)) {
        let shown: String = line.chars().take(columns).collect();
        write!(out, "{shown}{CLEAR_LINE}\r\n")?;
    }
    write!(out, "{CLEAR_REST}")?;
    out.flush()
}

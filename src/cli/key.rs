//! `netserv key`: the keys that requests are signed with.

use std::io::Write;
use std::path::{Path, PathBuf};

use argh::FromArgs;

use crate::cli::CliError;
use crate::drivers::key_file::{self, KeyFile};

#[derive(FromArgs)]
/// make and show the key that your requests to nodes are signed with
#[argh(
    subcommand,
    name = "key",
    note = "A key is a file that only you can read; nodes know its public half, which is no secret.\nIt is at $XDG_CONFIG_HOME/netserv/key.pem, or ~/.config/netserv/key.pem, if no other file is named."
)]
pub(super) struct Key {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    New(New),
    Show(Show),
}

#[derive(FromArgs)]
/// make a new key, and say how a node comes to trust it
#[argh(subcommand, name = "new", example = "{command_name}", example = "{command_name} --out robot.pem")]
struct New {
    /// where it is written (default: the file that other commands look for)
    #[argh(option, arg_name = "file")]
    out: Option<PathBuf>,

    /// replace a key that is there; nodes that trust the old one refuse the new one
    #[argh(switch)]
    force: bool,

    /// print JSON
    #[argh(switch)]
    json: bool,
}

#[derive(FromArgs)]
/// print the public key
#[argh(subcommand, name = "show", example = "{command_name}", example = "{command_name} robot.pem --json")]
struct Show {
    /// the key file (default: the one that other commands look for)
    #[argh(positional)]
    file: Option<PathBuf>,

    /// print JSON
    #[argh(switch)]
    json: bool,
}

impl Key {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        match self.command {
            Command::New(command) => command.run(out),
            Command::Show(command) => command.run(out),
        }
    }
}

impl New {
    fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let path = path_or_default(self.out)?;
        let key = key_file::create(&path, self.force).map_err(CliError::failure)?;
        if self.json {
            return print_json(&path, &key, out);
        }
        let public = key.public_hex();
        writeln!(out, "key:        {}", path.display())?;
        writeln!(out, "public key: {public}")?;
        writeln!(
            out,
            "\nKeep the file to yourself. A node obeys this key when its owner says there, as root, for example:\n"
        )?;
        writeln!(
            out,
            "  netserv trust add --name {} --key {public} --packages monitor --permissions payload --memory 128M --cpu-ms-per-call 1000",
            user()
        )?;
        Ok(())
    }
}

impl Show {
    fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let path = path_or_default(self.file)?;
        let key = key_file::load(&path).map_err(CliError::failure)?;
        match self.json {
            true => print_json(&path, &key, out),
            false => Ok(writeln!(out, "{}", key.public_hex())?),
        }
    }
}

fn path_or_default(path: Option<PathBuf>) -> Result<PathBuf, CliError> {
    path.map_or_else(|| key_file::default_path().map_err(CliError::failure), Ok)
}

fn print_json(path: &Path, key: &KeyFile, out: &mut dyn Write) -> Result<(), CliError> {
    Ok(writeln!(out, "{:#}", serde_json::json!({ "path": path, "public_key": key.public_hex() }))?)
}

/// A name for the example: that of the user, if it is one that a shell and the trust file take as it is.
fn user() -> String {
    let name = std::env::var("USER").unwrap_or_default();
    let is_plain = !name.is_empty() && name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_plain { name } else { "alice".to_owned() }
}

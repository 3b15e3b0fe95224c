//! `netserv key`: the keys that requests and packages are signed with.

use std::io::Write;
use std::path::{Path, PathBuf};

use argh::FromArgs;

use crate::cli::CliError;
use crate::drivers::key_file::{self, KeyFile};
use crate::drivers::publisher;

#[derive(FromArgs)]
/// make and show the keys that your requests to nodes, and the modules that you publish, are signed with
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
#[argh(
    subcommand,
    name = "new",
    example = "{command_name}",
    example = "{command_name} --out robot.pem",
    example = "{command_name} --publisher"
)]
struct New {
    /// where it is written (default: the file that other commands look for)
    #[argh(option, arg_name = "file")]
    out: Option<PathBuf>,

    /// make a publisher's key, for `netserv module sign` and `minisign`
    #[argh(switch)]
    publisher: bool,

    /// protect the publisher's key with a password, which is asked for
    #[argh(switch)]
    encrypt: bool,

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

    /// show a publisher's key
    #[argh(switch)]
    publisher: bool,

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
        if self.publisher {
            return self.run_publisher(out);
        }
        if self.encrypt {
            let text = "only a publisher's key can be encrypted: a node must read its key without a person";
            return Err(CliError::Usage(format!("--encrypt: {text}; add --publisher")));
        }
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

impl New {
    fn run_publisher(self, out: &mut dyn Write) -> Result<(), CliError> {
        let path = self.out.map_or_else(publisher::default_path, Ok).map_err(CliError::failure)?;
        let password = self.encrypt.then(new_password).transpose()?;
        let key = publisher::create(&path, self.force, password).map_err(CliError::failure)?;
        let public = publisher::public_path(&path);
        if self.json {
            let told = serde_json::json!({ "path": path, "public_path": public, "public_key": key });
            return Ok(writeln!(out, "{told:#}")?);
        }
        writeln!(out, "secret key: {}", path.display())?;
        writeln!(out, "public key: {}", public.display())?;
        writeln!(out, "            {key}")?;
        writeln!(
            out,
            "\nKeep the secret key to yourself, and a copy of it in a safe place: nodes that know this key take no"
        )?;
        writeln!(out, "updates that were signed with another. Tell the public key wherever people look for you.")?;
        Ok(())
    }
}

/// Asks twice.
fn new_password() -> Result<String, CliError> {
    let ask =
        |prompt| rpassword::prompt_password(prompt).map_err(|error| CliError::Failure(format!("no password: {error}")));
    let (first, second) = (ask("New password: ")?, ask("Once more: ")?);
    if first == second { Ok(first) } else { Err(CliError::Failure("the two passwords differ; try again".to_owned())) }
}

impl Show {
    fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        if self.publisher {
            let path = self.file.map_or_else(publisher::default_path, Ok).map_err(CliError::failure)?;
            let public = publisher::public_path(&path);
            let key = publisher::public(&public.to_string_lossy()).map_err(CliError::failure)?;
            return match self.json {
                true => Ok(writeln!(out, "{:#}", serde_json::json!({ "path": public, "public_key": key }))?),
                false => Ok(writeln!(out, "{key}")?),
            };
        }
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

//! `netserv module load`, `update` and `unload`: a module's folder in a running node, for its author.

use std::io::Write;
use std::path::PathBuf;

use argh::FromArgs;

use crate::cli::{CliError, control};
use crate::container::properties::table_of_words;
use crate::drivers::live::control::Request;

#[derive(FromArgs)]
/// load a module into the running node
#[argh(subcommand, name = "load", example = "{command_name} modules/uppercase --name shout --property word=hello")]
pub(in crate::cli) struct Load {
    /// its folder
    #[argh(positional, arg_name = "dir")]
    folder: PathBuf,

    /// what the instance is called (default: the module's name)
    #[argh(option)]
    name: Option<String>,

    /// a property, as key=value; may be given several times
    #[argh(option, arg_name = "key=value")]
    property: Vec<String>,

    /// the node's control socket
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

#[derive(FromArgs)]
/// put a new version of a module in the place of a running instance
#[argh(
    subcommand,
    name = "update",
    note = "The new version gets the state that the old one exports, its packets, and its listening sockets; no packet is\nlost. The old one goes on with its connections for a while. If the new one does not start, the old one runs on.",
    example = "{command_name} shout modules/uppercase"
)]
pub(in crate::cli) struct Update {
    /// what the instance is called; `netserv status` lists them
    #[argh(positional)]
    name: String,

    /// the folder or the package (.nsm) of the new version
    #[argh(positional, arg_name = "module")]
    path: PathBuf,

    /// a property, as key=value; may be given several times (default: those of the old version)
    #[argh(option, arg_name = "key=value")]
    property: Vec<String>,

    /// how many seconds the old version may go on with its connections (default: 60)
    #[argh(option, arg_name = "seconds")]
    drain: Option<u64>,

    /// the node's control socket
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

#[derive(FromArgs)]
/// unload a module instance from the running node
#[argh(subcommand, name = "unload", example = "{command_name} shout")]
pub(in crate::cli) struct Unload {
    /// what it is called; `netserv status` lists them
    #[argh(positional)]
    name: String,

    /// the node's control socket
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

impl Load {
    pub(in crate::cli) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let properties = self.property.iter().map(String::as_str);
        let properties = table_of_words(properties).map_err(|error| CliError::Usage(error.to_string()))?;
        let failed = |e| CliError::Failure(format!("{}: {e}", self.folder.display()));
        // The node may have another working folder.
        let folder = std::fs::canonicalize(&self.folder).map_err(failed)?;
        let request = Request::Load { folder, name: self.name, properties };
        let answer = control::ask(self.control, &request)?;
        Ok(writeln!(out, "loaded as instance {}", answer["instance"])?)
    }
}

impl Update {
    pub(in crate::cli) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let words = self.property.iter().map(String::as_str);
        let properties = table_of_words(words).map_err(|error| CliError::Usage(error.to_string()))?;
        let failed = |e| CliError::Failure(format!("{}: {e}", self.path.display()));
        let request = Request::Update {
            name: self.name.clone(),
            path: std::fs::canonicalize(&self.path).map_err(failed)?,
            properties: (!self.property.is_empty()).then_some(properties),
            drain_s: self.drain,
        };
        let answer = control::ask(self.control, &request)?;
        let version = answer["version"].as_str().unwrap_or_default();
        Ok(writeln!(out, "{} is now version {version}, as instance {}", self.name, answer["instance"])?)
    }
}

impl Unload {
    pub(in crate::cli) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        control::ask(self.control, &Request::Unload { name: self.name.clone() })?;
        Ok(writeln!(out, "unloaded {}", self.name)?)
    }
}

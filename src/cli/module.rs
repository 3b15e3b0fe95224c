//! `netserv module`: making, checking, testing and packing modules, and loading them into a running node.

use std::io::Write;
use std::path::PathBuf;

use argh::FromArgs;

use crate::cli::CliError;
use crate::drivers::{modtest, module_new, packing, safe_file};

#[derive(FromArgs)]
/// make, check, test and pack modules; load them into a running node and unload them
#[argh(subcommand, name = "module")]
pub(super) struct Module {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    New(New),
    Check(Check),
    Test(Test),
    Pack(Pack),
    #[cfg(all(unix, feature = "live"))]
    Load(live::Load),
    #[cfg(all(unix, feature = "live"))]
    Unload(live::Unload),
}

#[derive(FromArgs)]
/// make the folder of a new module that works, with tests and types for editors
#[argh(subcommand, name = "new", example = "{command_name} my-module")]
struct New {
    /// its name: lower case letters, digits and `-`
    #[argh(positional)]
    name: String,

    /// where the folder is made (default: the current folder)
    #[argh(option, default = "PathBuf::from(\".\")", arg_name = "dir", long = "in")]
    parent: PathBuf,
}

#[derive(FromArgs)]
/// check a module without running any of its code, and say what it asks for
#[argh(subcommand, name = "check", example = "{command_name} modules/monitor")]
struct Check {
    /// its folder
    #[argh(positional, arg_name = "dir")]
    folder: PathBuf,
}

#[derive(FromArgs)]
/// run a module's tests, tests/*.luau, on virtual time
#[argh(subcommand, name = "test", example = "{command_name} modules/monitor")]
struct Test {
    /// its folder
    #[argh(positional, arg_name = "dir")]
    folder: PathBuf,
}

#[derive(FromArgs)]
/// check a module, and make one file of it, which nodes can fetch: NAME-VERSION.nsm
#[argh(
    subcommand,
    name = "pack",
    note = "The same files make the same package, byte for byte. A request names a package by the SHA-256 that is printed.",
    example = "{command_name} modules/monitor --out monitor.nsm"
)]
struct Pack {
    /// its folder
    #[argh(positional, arg_name = "dir")]
    folder: PathBuf,

    /// the file that is written (default: NAME-VERSION.nsm in the current folder)
    #[argh(option, arg_name = "file")]
    out: Option<PathBuf>,

    /// print JSON
    #[argh(switch)]
    json: bool,
}

impl Pack {
    fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let packed = packing::pack(&self.folder).map_err(CliError::failure)?;
        let path = self.out.unwrap_or_else(|| PathBuf::from(packed.file_name()));
        let failed = |error| CliError::Failure(format!("cannot write {}: {error}", path.display()));
        safe_file::replace(&path, &packed.bytes, 0o644).map_err(failed)?;
        let (bytes, digest) = (packed.bytes.len(), packed.digest_hex());
        if self.json {
            return Ok(writeln!(out, "{:#}", serde_json::json!({ "path": path, "bytes": bytes, "sha256": digest }))?);
        }
        Ok(writeln!(out, "{}: {bytes} bytes, SHA-256 {digest}", path.display())?)
    }
}

impl Module {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        match self.command {
            Command::New(command) => {
                let folder = module_new::new(&command.name, &command.parent).map_err(CliError::failure)?;
                Ok(writeln!(out, "{}", folder.display())?)
            }
            Command::Check(command) => {
                let report = module_new::check(&command.folder).map_err(CliError::failure)?;
                Ok(writeln!(out, "{}", report.to_string().trim_end())?)
            }
            Command::Test(command) => {
                let report = modtest::test(&command.folder).map_err(CliError::failure)?;
                writeln!(out, "{report}")?;
                match report.passed() {
                    true => Ok(()),
                    false => Err(CliError::Failure(format!("the tests of {} do not pass", report.module))),
                }
            }
            Command::Pack(command) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Command::Load(command) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Command::Unload(command) => command.run(out),
        }
    }
}

/// What needs a running node.
#[cfg(all(unix, feature = "live"))]
mod live {
    use std::io::Write;
    use std::path::PathBuf;

    use argh::FromArgs;

    use crate::cli::{CliError, control};
    use crate::container::properties::table_of_words;
    use crate::drivers::live::control::Request;

    #[derive(FromArgs)]
    /// load a module into the running node
    #[argh(subcommand, name = "load", example = "{command_name} modules/uppercase --name shout --property word=hello")]
    pub(super) struct Load {
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
    /// unload a module instance from the running node
    #[argh(subcommand, name = "unload", example = "{command_name} shout")]
    pub(super) struct Unload {
        /// what it is called; `netserv status` lists them
        #[argh(positional)]
        name: String,

        /// the node's control socket
        #[argh(option, arg_name = "path")]
        control: Option<PathBuf>,
    }

    impl Load {
        pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
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

    impl Unload {
        pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
            control::ask(self.control, &Request::Unload { name: self.name.clone() })?;
            Ok(writeln!(out, "unloaded {}", self.name)?)
        }
    }
}

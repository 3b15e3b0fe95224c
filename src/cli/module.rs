//! `netserv module`: making, checking, testing and publishing modules; finding, installing and removing them.

use std::io::Write;
use std::path::PathBuf;

use argh::FromArgs;

use crate::cli::CliError;
use crate::drivers::{modtest, module_new};

#[cfg(all(unix, feature = "live"))]
mod install;
#[cfg(all(unix, feature = "live"))]
mod live;
mod publish;
#[cfg(all(unix, feature = "live"))]
mod show;

#[derive(FromArgs)]
/// make, check, test, pack and sign modules; search, install and remove them
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
    Pack(publish::Pack),
    Sign(publish::Sign),
    Verify(publish::Verify),
    #[cfg(all(unix, feature = "live"))]
    Index(publish::Index),
    #[cfg(all(unix, feature = "live"))]
    Search(show::Search),
    #[cfg(all(unix, feature = "live"))]
    Inspect(show::Inspect),
    #[cfg(all(unix, feature = "live"))]
    Install(install::Install),
    #[cfg(all(unix, feature = "live"))]
    Uninstall(install::Uninstall),
    #[cfg(all(unix, feature = "live"))]
    List(show::List),
    #[cfg(all(unix, feature = "live"))]
    Info(show::Info),
    #[cfg(all(unix, feature = "live"))]
    Load(live::Load),
    #[cfg(all(unix, feature = "live"))]
    Update(live::Update),
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

    /// a folder with the folders of libraries that it requires (default: beside its own); may be given several times
    #[argh(option, arg_name = "dir")]
    from: Vec<PathBuf>,
}

impl Module {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        match self.command {
            Command::New(command) => {
                let folder = module_new::new(&command.name, &command.parent).map_err(CliError::failure)?;
                let dir = folder.strip_prefix(".").unwrap_or(&folder).display();
                writeln!(out, "{dir}: a module that works; change {dir}/module.toml and {dir}/init.luau")?;
                Ok(writeln!(out, "next: netserv module test {dir}")?)
            }
            Command::Check(command) => {
                let report = module_new::check(&command.folder).map_err(CliError::failure)?;
                Ok(writeln!(out, "{}", report.to_string().trim_end())?)
            }
            Command::Test(command) => {
                let report = modtest::test(&command.folder, &command.from).map_err(CliError::failure)?;
                writeln!(out, "{report}")?;
                match report.passed() {
                    true => Ok(()),
                    false if report.cases.is_empty() => {
                        Err(CliError::Failure(format!("nothing of {} was tested", report.module)))
                    }
                    false => Err(CliError::Failure(format!("the tests of {} do not pass", report.module))),
                }
            }
            Command::Pack(command) => command.run(out),
            Command::Sign(command) => command.run(out),
            Command::Verify(command) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Command::Index(command) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Command::Search(command) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Command::Inspect(command) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Command::Install(command) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Command::Uninstall(command) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Command::List(command) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Command::Info(command) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Command::Load(command) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Command::Update(command) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Command::Unload(command) => command.run(out),
        }
    }
}

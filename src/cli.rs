//! The command line: one file per subcommand. Exit codes: 0 all is well, 1 it failed, 2 it was called
//! wrongly, 3 a part of it was done.

use std::io::{self, Write};
use std::process::ExitCode;

use argh::FromArgs;

mod demo;
mod key;
#[cfg(all(unix, feature = "live"))]
mod logs;
mod module;
mod module_choice;
mod replay;
mod show;
mod sim;

#[cfg(all(unix, feature = "live"))]
mod cleanup;
#[cfg(all(unix, feature = "live"))]
mod config;
#[cfg(all(unix, feature = "live"))]
mod control;
#[cfg(feature = "live")]
mod doctor;
#[cfg(all(unix, feature = "live"))]
mod metrics;
#[cfg(all(unix, feature = "live"))]
mod path;
#[cfg(all(unix, feature = "live"))]
mod probe;
#[cfg(all(unix, feature = "live"))]
mod remove;
#[cfg(all(unix, feature = "live"))]
mod report;
#[cfg(all(unix, feature = "live"))]
mod run;
#[cfg(all(unix, feature = "live"))]
mod serve;
#[cfg(all(unix, feature = "live"))]
mod setup;
#[cfg(all(unix, feature = "live"))]
mod status;
#[cfg(all(unix, feature = "live"))]
mod top;
#[cfg(all(unix, feature = "live"))]
mod trust;
#[cfg(all(unix, feature = "live"))]
mod usage;

#[derive(FromArgs)]
/// A node of a programmable network: takes the packets that someone asked for out of this machine's traffic, shows them
/// to small sandboxed Luau modules, and lets everything else alone.
#[argh(
    note = "Logs go to standard error; NETSERV_LOG sets what is shown (error, warn, info, debug, trace).",
    example = "See what a module does to a capture file, without root:\n  {command_name} replay in.pcap --module modules/monitor",
    example = "Run it on this machine's traffic, as root:\n  {command_name} run --link tun --module modules/monitor",
    error_code(1, "It failed; standard error says why."),
    error_code(2, "It was called wrongly."),
    error_code(3, "A part of it was done: some nodes on a path did it, others did not.")
)]
struct Netserv {
    /// print the version
    #[argh(switch)]
    version: bool,

    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    #[cfg(all(unix, feature = "live"))]
    Run(run::Run),
    #[cfg(all(unix, feature = "live"))]
    Setup(setup::Setup),
    #[cfg(all(unix, feature = "live"))]
    Probe(probe::Probe),
    #[cfg(all(unix, feature = "live"))]
    Remove(remove::Remove),
    Replay(replay::Replay),
    Demo(demo::Demo),
    Sim(sim::Sim),
    Module(module::Module),
    #[cfg(all(unix, feature = "live"))]
    Status(status::Status),
    #[cfg(all(unix, feature = "live"))]
    Top(top::Top),
    #[cfg(all(unix, feature = "live"))]
    Metrics(metrics::Metrics),
    #[cfg(all(unix, feature = "live"))]
    Report(report::Report),
    #[cfg(all(unix, feature = "live"))]
    Usage(usage::Usage),
    #[cfg(all(unix, feature = "live"))]
    Serve(serve::Serve),
    Key(key::Key),
    #[cfg(all(unix, feature = "live"))]
    Trust(trust::TrustCommand),
    #[cfg(feature = "live")]
    Doctor(doctor::Doctor),
    #[cfg(all(unix, feature = "live"))]
    Cleanup(cleanup::Cleanup),
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
enum CliError {
    /// It was called wrongly.
    Usage(String),
    /// It failed.
    Failure(String),
    /// A part of it was done.
    #[cfg_attr(not(all(unix, feature = "live")), expect(dead_code, reason = "only signalling does things in parts"))]
    Partial(String),
    /// What it says cannot be written.
    Output(io::Error),
}

impl CliError {
    /// Any error as a failure, with those of its causes that it does not tell itself.
    fn failure(error: impl std::error::Error) -> CliError {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let told = cause.to_string();
            if !text.contains(&told) {
                text = format!("{text}: {told}");
            }
            source = cause.source();
        }
        CliError::Failure(text)
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> CliError {
        CliError::Output(error)
    }
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<String> = match std::env::args_os().map(std::ffi::OsString::into_string).collect() {
        Ok(arguments) => arguments,
        Err(argument) => return exit(Err(CliError::Usage(format!("{argument:?} is not valid UTF-8")))),
    };
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let mut out = io::stdout().lock();
    let result = match Netserv::from_args(&["netserv"], &words) {
        // The guard is started by the node, not by people: it stands in no help text.
        #[cfg(all(unix, feature = "live"))]
        _ if words.len() == 2 && words[0] == crate::drivers::live::GUARD_SUBCOMMAND => guard(&arguments[2]),
        Ok(netserv) => netserv.run(&mut out),
        Err(early) if early.status.is_ok() => writeln!(out, "{}", early.output).map_err(CliError::Output),
        Err(early) => Err(CliError::Usage(early.output.trim_end().to_owned())),
    };
    exit(result.and_then(|()| Ok(out.flush()?)))
}

impl Netserv {
    fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        if self.version {
            return Ok(writeln!(out, "netserv {}", env!("CARGO_PKG_VERSION"))?);
        }
        match self.command {
            None => Err(CliError::Usage("no command is given; `netserv --help` lists them".to_owned())),
            #[cfg(all(unix, feature = "live"))]
            Some(Command::Run(command)) => command.run(),
            #[cfg(all(unix, feature = "live"))]
            Some(Command::Setup(command)) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Some(Command::Probe(command)) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Some(Command::Remove(command)) => command.run(out),
            Some(Command::Replay(command)) => command.run(out),
            Some(Command::Demo(command)) => command.run(out),
            Some(Command::Sim(command)) => command.run(out),
            Some(Command::Module(command)) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Some(Command::Status(command)) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Some(Command::Top(command)) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Some(Command::Metrics(command)) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Some(Command::Report(command)) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Some(Command::Usage(command)) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Some(Command::Serve(command)) => command.run(out),
            Some(Command::Key(command)) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Some(Command::Trust(command)) => command.run(out),
            #[cfg(feature = "live")]
            Some(Command::Doctor(command)) => command.run(out),
            #[cfg(all(unix, feature = "live"))]
            Some(Command::Cleanup(command)) => command.run(out),
        }
    }
}

/// See [`live::guard`](crate::drivers::live::guard).
#[cfg(all(unix, feature = "live"))]
fn guard(journal: &str) -> Result<(), CliError> {
    crate::drivers::live::guard(std::path::Path::new(journal)).map_err(CliError::failure)
}

fn exit(result: Result<(), CliError>) -> ExitCode {
    let (code, text) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        // Whoever reads has enough, like `head`.
        Err(CliError::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(CliError::Output(e)) => (1, format!("cannot write: {e}")),
        Err(CliError::Failure(text)) => (1, text),
        Err(CliError::Usage(text)) => (2, text),
        Err(CliError::Partial(text)) => (3, text),
    };
    // Nothing is left to be done if even this cannot be written.
    let _ = writeln!(io::stderr(), "netserv: {text}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Told {
        text: &'static str,
        source: io::Error,
    }

    #[test]
    fn a_cause_is_told_once() {
        let cause = || io::Error::other("no luck");
        for (text, want) in [("a: no luck", "a: no luck"), ("a", "a: no luck")] {
            let CliError::Failure(told) = CliError::failure(Told { text, source: cause() }) else {
                panic!("a failure")
            };
            assert_eq!(told, want);
        }
    }
}

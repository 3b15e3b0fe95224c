//! The program `netserv`; see `netserv --help` and docs/.

use std::process::ExitCode;

fn main() -> ExitCode {
    netserv::cli::main()
}

//! Where log lines go, and which are shown.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::cli::CliError;

/// What sets the level if the command line does not.
const VARIABLE: &str = "NETSERV_LOG";

/// Shows log lines on standard error: those that the command line asks for, or the environment, or the configuration,
/// or from INFO on.
pub(super) fn show(option: Option<&str>, config: Option<&str>) -> Result<(), CliError> {
    let variable = std::env::var(VARIABLE).ok();
    let (text, origin) = match (option, &variable, config) {
        (Some(text), _, _) => (text, "--log"),
        (None, Some(text), _) => (text.as_str(), VARIABLE),
        (None, None, Some(text)) => (text, "log in the configuration"),
        (None, None, None) => ("info", "the default"),
    };
    let wrong = |problem: &dyn std::fmt::Display| {
        CliError::Usage(format!("{origin}: \"{text}\": {problem}; write error, warn, info, debug, trace or off"))
    };
    if text.trim().is_empty() {
        return Err(wrong(&"no level"));
    }
    let filter = EnvFilter::try_new(text).map_err(|e| wrong(&e))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let subscriber = subscriber.with_ansi(io::stderr().is_terminal()).finish();
    // A second call in one process keeps the first: only tests do so.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

//! The side of the commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::base::limits::CONTROL_ANSWER_BYTES_MAX;
use crate::drivers::live::control::{ControlError, Request, Response, check_folder, folder_of};

/// How long a node may take to answer: longer than the longest call of a module.
const ANSWER_WAIT: Duration = Duration::from_secs(20);

/// Asks the node whose socket is at `path`, and waits for the answer.
///
/// # Errors
///
/// When no node answers, or it refuses.
pub fn ask(path: &Path, request: &Request) -> Result<serde_json::Value, ControlError> {
    let no_answer = |problem: String| ControlError::NoAnswer { path: path.to_owned(), problem };
    let mut stream = UnixStream::connect(path).map_err(|_| ControlError::NotRunning { path: path.to_owned() })?;
    // A socket in a folder of others may be anybody's.
    check_folder(folder_of(path))?;
    let failed = |e: std::io::Error| no_answer(e.to_string());
    stream.set_read_timeout(Some(ANSWER_WAIT)).map_err(failed)?;
    let mut line = serde_json::to_string(request).map_err(|e| no_answer(e.to_string()))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    let limit = CONTROL_ANSWER_BYTES_MAX as u64 + 1;
    BufReader::new(stream).take(limit).read_line(&mut answer).map_err(failed)?;
    match serde_json::from_str(&answer) {
        Ok(Response::Ok(value)) => Ok(value),
        Ok(Response::Error(text)) => Err(ControlError::Refused(text)),
        Err(_) if answer.is_empty() => Err(no_answer("it closed the connection".to_owned())),
        Err(e) => Err(no_answer(e.to_string())),
    }
}

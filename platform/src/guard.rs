//! A small second process that takes the rules out of the kernel when the node hangs or dies.
//!
//! The node sends it a byte with each turn of its loop. When none comes for [`PATIENCE`], the node hangs (it was
//! stopped, or computes without end), and the guard takes out what the journal tells of: traffic flows past the node.
//! When bytes come again, the node is told, and steers anew. When the pipe ends without a farewell, the node is dead.
//!
//! It is a process and not a thread because SIGSTOP and `kill -9` end or stop all threads at once.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::steering;

/// How long the node may be silent.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How often the node should give a sign of life: several times within [`PATIENCE`].
pub const BEAT_PERIOD: Duration = Duration::from_millis(250);
/// The name of the hidden subcommand of `netserv` that calls [`main`].
pub const SUBCOMMAND: &str = "guard";

const BEAT: u8 = b'b';
const FAREWELL: u8 = b'q';
const WITHDRAWN: u8 = b'w';

/// What the guard says to a sign of life.
#[derive(Debug)]
pub enum Beat {
    /// Nothing happened.
    Fine,
    /// The node was silent for too long, and the rules were taken out: steer anew.
    WasWithdrawn,
    /// The guard is gone; start another.
    Lost(io::Error),
}

/// The node's side of the guard.
pub struct Guard {
    child: Child,
    signs: Option<ChildStdin>,
    answers: ChildStdout,
}

impl Guard {
    /// Starts the guard of what `journal` tells of: this program again, with [`SUBCOMMAND`].
    ///
    /// # Errors
    ///
    /// Why there is no second process.
    pub fn start(journal: &Path) -> io::Result<Guard> {
        // The file itself, even if it was replaced or removed since the start.
        let program = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
        let mut command = Command::new(program);
        command.arg(SUBCOMMAND).arg(journal);
        Guard::start_as(command)
    }

    fn start_as(mut command: Command) -> io::Result<Guard> {
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            // In a process group of its own: Ctrl-C and Ctrl-Z are meant for the node.
            command.process_group(0);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (signs, answers) = (child.stdin.take(), child.stdout.take());
        let answers = answers.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        #[cfg(unix)]
        {
            // The node waits for nobody.
            rustix::io::ioctl_fionbio(&answers, true)?;
            if let Some(signs) = &signs {
                rustix::io::ioctl_fionbio(signs, true)?;
            }
        }
        Ok(Guard { child, signs, answers })
    }

    /// Gives a sign of life; to be called every [`BEAT_PERIOD`].
    pub fn beat(&mut self) -> Beat {
        let Some(signs) = &mut self.signs else { return Beat::Lost(io::ErrorKind::BrokenPipe.into()) };
        match signs.write(&[BEAT]) {
            Ok(_) => {}
            // The guard has not read for a long time: it is stopped itself.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Beat::Lost(e),
        }
        let mut answer = [0; 16];
        match self.answers.read(&mut answer) {
            Ok(0) => Beat::Lost(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Beat::WasWithdrawn,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Beat::Fine,
            Err(e) => Beat::Lost(e),
        }
    }

    /// The guard's process number.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut signs) = self.signs.take() {
            // If it cannot be said, the guard looks for what is left, and finds nothing.
            let _ = signs.write(&[FAREWELL]);
        }
        let _ = self.child.wait();
    }
}

/// The guard's side: returns when the node has ended.
///
/// # Errors
///
/// What could not be taken out of the kernel.
pub fn main(journal: &Path) -> io::Result<()> {
    ignore_signals();
    let (sender, signs) = mpsc::channel();
    thread::spawn(move || {
        let mut byte = [0];
        while let Ok(1) = io::stdin().read(&mut byte) {
            if sender.send(byte[0]).is_err() {
                break;
            }
        }
    });
    watch(&signs, PATIENCE, || take_out(journal))
}

/// Waits for signs of life; calls `take_out` when they stay away, and when they end.
fn watch(
    signs: &mpsc::Receiver<u8>,
    patience: Duration,
    mut take_out: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    loop {
        match signs.recv_timeout(patience) {
            Ok(FAREWELL) => return Ok(()),
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => return take_out(),
            Err(RecvTimeoutError::Timeout) => {
                take_out()?;
                let mut out = io::stdout();
                out.write_all(&[WITHDRAWN]).and_then(|()| out.flush())?;
                match signs.recv() {
                    Ok(FAREWELL) => return Ok(()),
                    Ok(_) => {}
                    Err(_) => return take_out(),
                }
            }
        }
    }
}

fn take_out(journal: &Path) -> io::Result<()> {
    let report = steering::take_out_of(journal).map_err(io::Error::other)?;
    if !report.is_empty() {
        writeln!(io::stderr(), "netserv guard: the node does not answer; traffic flows past it ({report})")?;
    }
    Ok(())
}

/// The guard ends with the node, not before it.
#[cfg(unix)]
#[expect(unsafe_code, reason = "the standard library cannot ignore signals")]
fn ignore_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
        // SAFETY: no handler is installed, so no code runs in a signal's context.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

#[cfg(not(unix))]
fn ignore_signals() {}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn takes_out_once_when_signs_stay_away_and_again_when_they_end() {
        let (sender, signs) = mpsc::channel();
        sender.send(BEAT).unwrap();
        let mut sender = Some(sender);
        let mut count = 0;
        watch(&signs, SHORT, || {
            count += 1;
            if count == 1 {
                // The node wakes up, and dies.
                sender.take().unwrap().send(BEAT).unwrap();
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 2);
    }

    #[test]
    fn a_farewell_leaves_everything_as_it_is() {
        let (sender, signs) = mpsc::channel();
        sender.send(FAREWELL).unwrap();
        watch(&signs, SHORT, || panic!("nothing is to be taken out")).unwrap();
    }
}

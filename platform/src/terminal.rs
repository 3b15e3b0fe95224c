//! A terminal that is asked for single keys.

use std::io::{self, IsTerminal, Read};
use std::time::Duration;

use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};

/// What Ctrl-C is read as, while it makes no signal.
const INTERRUPT: u8 = 3;

/// Standard input, key by key and without echo; as it was when this is dropped.
#[derive(Debug)]
pub struct Keys {
    before: Termios,
}

impl Keys {
    /// Takes standard input over; `None` if it is no terminal. A read then waits at most `wait` (up to 25 s, in steps
    /// of 100 ms).
    #[must_use]
    pub fn take_over(wait: Duration) -> Option<Keys> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        modes.special_codes[SpecialCodeIndex::VMIN] = 0;
        modes.special_codes[SpecialCodeIndex::VTIME] = (wait.as_millis() / 100).clamp(1, 250) as u8;
        termios::tcsetattr(&stdin, OptionalActions::Now, &modes).ok()?;
        Some(Keys { before })
    }

    /// Waits for a key; answers whether it is `q` or Ctrl-C.
    #[must_use]
    pub fn wants_to_quit(&self) -> bool {
        let mut key = [0];
        matches!(io::stdin().read(&mut key), Ok(1) if matches!(key[0], b'q' | b'Q' | INTERRUPT))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Columns and rows of the terminal at standard output; `None` if it is none.
#[must_use]
pub fn size() -> Option<(usize, usize)> {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| termios::tcgetwinsize(&stdout).ok())??;
    (size.ws_col > 0 && size.ws_row > 0).then_some((usize::from(size.ws_col), usize::from(size.ws_row)))
}

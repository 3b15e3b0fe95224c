//! Ctrl-C, SIGTERM and SIGHUP: the first ends the loop in order, the second ends the process at once.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Interest, Registry, Token};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level;

/// Exit code of a process that a second signal ended: 128 and the number of SIGINT.
const KILLED: i32 = 130;

/// Signals that came since the loop started. No thread waits for them: the handler writes into a pipe of the loop.
#[derive(Debug)]
pub(super) struct Signals {
    came: Arc<AtomicBool>,
    pipe: mio::net::UnixStream,
    handlers: Vec<SigId>,
}

impl Signals {
    pub(super) fn install(registry: &Registry, token: Token) -> io::Result<Signals> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let mut pipe = mio::net::UnixStream::from_std(reader);
        registry.register(&mut pipe, token, Interest::READABLE)?;
        let mut signals = Signals { came: Arc::default(), pipe, handlers: Vec::new() };
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal finds the flag unset, sets it and wakes the loop; the second finds it set.
            let came = Arc::clone(&signals.came);
            signals.handlers.push(signal_hook::flag::register_conditional_shutdown(signal, KILLED, came)?);
            signals.handlers.push(signal_hook::flag::register(signal, Arc::clone(&signals.came))?);
            signals.handlers.push(low_level::pipe::register(signal, writer.try_clone()?)?);
        }
        Ok(signals)
    }

    /// Whether a signal came. To be asked when the token was told, too, which then is told again for the next one.
    pub(super) fn came(&mut self) -> bool {
        let mut sink = [0; 16];
        while self.pipe.read(&mut sink).is_ok_and(|count| count > 0) {}
        self.came.load(Ordering::SeqCst)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            low_level::unregister(handler);
        }
    }
}

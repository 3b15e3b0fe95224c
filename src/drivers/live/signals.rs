//! Ctrl-C and SIGTERM: the first ends the loop in order, the second ends the process at once.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use mio::Waker;

/// Exit code of a process that a second signal ended: 128 and the number of SIGINT.
const KILLED: i32 = 130;

/// Signals that came since the loop started.
#[derive(Debug)]
pub(super) struct Signals {
    count: Arc<AtomicU32>,
}

/// A process has one handler; each loop puts its own waker there.
static LOOP: OnceLock<Mutex<(Arc<AtomicU32>, Arc<Waker>)>> = OnceLock::new();

impl Signals {
    pub(super) fn install(waker: Waker) -> io::Result<Signals> {
        let count = Arc::new(AtomicU32::new(0));
        let ours = (Arc::clone(&count), Arc::new(waker));
        let mut is_first = false;
        let place = LOOP.get_or_init(|| {
            is_first = true;
            Mutex::new(ours.clone())
        });
        if is_first {
            ctrlc::set_handler(on_signal).map_err(io::Error::other)?;
        } else {
            *place.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = ours;
        }
        Ok(Signals { count })
    }

    pub(super) fn came(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }
}

/// Runs in a thread of the signal library, not in a signal handler proper.
fn on_signal() {
    let Some(place) = LOOP.get() else { return };
    let (count, waker) = place.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    if count.fetch_add(1, Ordering::SeqCst) > 0 {
        std::process::exit(KILLED);
    }
    let _ = waker.wake();
}

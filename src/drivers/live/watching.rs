//! The one thread beside the loop: it ticks while the loop works, and sleeps while the loop waits.
//!
//! It exists only while there are modules to watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::container::watch::Watch;

const TICK: Duration = Duration::from_millis(1);
/// Ticks without a turn of the loop after which the thread goes to sleep. A turn that takes longer keeps it awake.
const IDLE_TICKS: u32 = 20;

/// What loop and thread share.
#[derive(Debug, Default)]
struct Shared {
    /// Turns begun and ended: odd while the loop works.
    turns: AtomicU64,
    asleep: AtomicBool,
    ended: AtomicBool,
}

/// The thread, while there is one; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watching {
    watch: Watch,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watching {
    /// No thread yet.
    pub(super) fn new(watch: Watch) -> Self {
        Watching { watch, shared: Arc::default(), thread: None }
    }

    /// Starts the thread if there is none: module code is about to run.
    pub(super) fn start(&mut self) -> std::io::Result<()> {
        if self.thread.is_none() {
            self.shared = Arc::default();
            let (shared, watch) = (Arc::clone(&self.shared), self.watch.clone());
            let body = move || {
                platform::thread::leave_descriptors();
                run(&shared, &watch);
            };
            self.thread = Some(thread::Builder::new().name("watch".into()).spawn(body)?);
        }
        Ok(())
    }

    /// Ends the thread: there are no modules.
    pub(super) fn stop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }

    /// Whether module code may run.
    pub(super) const fn is_on(&self) -> bool {
        self.thread.is_some()
    }

    /// The loop begins to work, and module code may run.
    pub(super) fn turn_begins(&self) {
        self.shared.turns.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
    }

    /// The loop is about to wait.
    pub(super) fn turn_ends(&self) {
        self.shared.turns.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(shared: &Shared, watch: &Watch) {
    let (mut last, mut idle) = (0, 0);
    while !shared.ended.load(Ordering::SeqCst) {
        let turns = shared.turns.load(Ordering::SeqCst);
        idle = if turns == last && turns.is_multiple_of(2) { idle + 1 } else { 0 };
        last = turns;
        if idle < IDLE_TICKS {
            thread::sleep(TICK);
            watch.tick();
            continue;
        }
        shared.asleep.store(true, Ordering::SeqCst);
        // A turn that began meanwhile may have seen the thread awake.
        if shared.turns.load(Ordering::SeqCst) == turns && !shared.ended.load(Ordering::SeqCst) {
            thread::park();
        }
        shared.asleep.store(false, Ordering::SeqCst);
        idle = 0;
    }
}

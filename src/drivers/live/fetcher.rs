//! Fetches packages, and tells somebody of something, without the loop having to wait for it.
//!
//! Looking up a name and speaking TLS block, so this has threads: at most [`FETCH_THREADS_MAX`], each of which ends
//! when there is nothing to do (docs/decisions/0008-threads-that-fetch.md). Whoever asks gets no more than the
//! content: nothing that this machine knows (credentials, cookies, proxies of its environment) is sent, and URLs with a
//! user in them are refused.
#![expect(clippy::disallowed_methods, reason = "a driver reads the clock")]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::limits::{
    CA_FILE_BYTES_MAX, FETCH_THREADS_MAX, FETCHES_WAITING_MAX, POST_BYTES_MAX, POSTS_WAITING_MAX,
};
use crate::controller::api::{FetchId, FetchProblem};
use crate::drivers::safe_file;

mod transfer;

/// How the fetcher reaches what is far away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetcherConfig {
    /// A PEM file of certificate authorities that are believed besides those of the web.
    pub ca_file: Option<PathBuf>,
    /// Whether `file:` URLs are read.
    pub files_allowed: bool,
}

/// Why nothing can be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetcherError {
    /// The file of certificate authorities cannot be read.
    #[error("cannot read the certificate authorities in {}: {error}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file of certificate authorities holds none.
    #[error("{} holds no certificate that can be used; it must be PEM, with BEGIN CERTIFICATE", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
}

/// Wakes the loop when something is finished.
type Wake = Arc<dyn Fn() + Send + Sync>;

/// Fetches and posts on threads of its own.
pub struct Fetcher {
    shared: Arc<Shared>,
}

/// What a thread works on.
enum Job {
    Fetch { id: FetchId, url: String, bytes_max: u64, timeout: Duration, cancelled: Arc<AtomicBool> },
    Post { url: String, body: String },
}

struct Shared {
    queues: Mutex<Queues>,
    /// Told when a thread ends.
    ended: Condvar,
    agents: transfer::Agents,
    files_allowed: bool,
    wake: Wake,
}

#[derive(Default)]
struct Queues {
    fetches: VecDeque<Job>,
    posts: VecDeque<Job>,
    /// Fetches that wait or run, and nobody has given up.
    wanted: Vec<(FetchId, Arc<AtomicBool>)>,
    finished: VecDeque<(FetchId, Result<Vec<u8>, FetchProblem>)>,
    threads: usize,
}

impl Fetcher {
    /// A fetcher; `wake` is called, on another thread, when [`Fetcher::finished`] has something new.
    ///
    /// # Errors
    ///
    /// When the file of certificate authorities is not right.
    pub fn new(config: &FetcherConfig, wake: impl Fn() + Send + Sync + 'static) -> Result<Fetcher, FetcherError> {
        let authorities = match &config.ca_file {
            Some(path) => authorities(path)?,
            None => Vec::new(),
        };
        let shared = Shared {
            queues: Mutex::default(),
            ended: Condvar::new(),
            agents: transfer::Agents::new(&authorities),
            files_allowed: config.files_allowed,
            wake: Arc::new(wake),
        };
        Ok(Fetcher { shared: Arc::new(shared) })
    }

    /// Begins to fetch. The result comes by [`Fetcher::finished`], also when it was refused at once.
    pub fn start(&self, id: FetchId, url: &str, bytes_max: u64, timeout: Duration) {
        let cancelled = Arc::new(AtomicBool::new(false));
        let mut queues = self.shared.lock();
        if queues.fetches.len() >= FETCHES_WAITING_MAX {
            let busy = format!("{url} is not fetched: {FETCHES_WAITING_MAX} others wait already");
            queues.finished.push_back((id, Err(FetchProblem::Failed(busy))));
            drop(queues);
            (self.shared.wake)();
            return;
        }
        queues.wanted.push((id, Arc::clone(&cancelled)));
        queues.fetches.push_back(Job::Fetch { id, url: url.to_owned(), bytes_max, timeout, cancelled });
        self.shared.have_a_thread(queues);
    }

    /// Gives a fetch up; it does not come by [`Fetcher::finished`] any more.
    pub fn cancel(&self, id: FetchId) {
        let mut queues = self.shared.lock();
        for (_, cancelled) in queues.wanted.iter().filter(|(wanted, _)| *wanted == id) {
            cancelled.store(true, Ordering::Relaxed);
        }
        queues.wanted.retain(|(wanted, _)| *wanted != id);
        queues.fetches.retain(|job| !matches!(job, Job::Fetch { id: waiting, .. } if *waiting == id));
        queues.finished.retain(|(finished, _)| *finished != id);
    }

    /// The next fetch that came to an end.
    #[must_use]
    pub fn finished(&self) -> Option<(FetchId, Result<Vec<u8>, FetchProblem>)> {
        self.shared.lock().finished.pop_front()
    }

    /// Sends `body`, JSON, to an http or https URL by POST. Tried again once when nothing answers; whether it arrives is
    /// not told. Dropped when too many wait.
    pub fn post(&self, url: &str, body: &str) {
        let mut queues = self.shared.lock();
        if queues.posts.len() >= POSTS_WAITING_MAX || body.len() > POST_BYTES_MAX {
            drop(queues);
            tracing::debug!("a notification to {url} is dropped: it is too long, or too many wait");
            return;
        }
        queues.posts.push_back(Job::Post { url: url.to_owned(), body: body.to_owned() });
        self.shared.have_a_thread(queues);
    }

    /// Fetches that wait or run.
    #[must_use]
    pub fn fetch_count(&self) -> usize {
        self.shared.lock().wanted.len()
    }

    /// Waits until all threads have ended, at most `wait`; so that the last notifications are on their way when a
    /// program ends. Whether they have.
    pub fn drain(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let mut queues = self.shared.lock();
        while queues.threads > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.ended.wait_timeout(queues, left);
            queues = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Gives up what still runs; its threads end by themselves.
impl Drop for Fetcher {
    fn drop(&mut self) {
        let mut queues = self.shared.lock();
        queues.wanted.iter().for_each(|(_, cancelled)| cancelled.store(true, Ordering::Relaxed));
        queues.fetches.clear();
        queues.posts.clear();
    }
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("fetches", &self.fetch_count()).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        // No thread leaves the queues half changed.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread if there may be one more.
    fn have_a_thread(self: &Arc<Self>, mut queues: MutexGuard<'_, Queues>) {
        if queues.threads >= FETCH_THREADS_MAX {
            return;
        }
        queues.threads += 1;
        drop(queues);
        let shared = Arc::clone(self);
        let started = std::thread::Builder::new().name("fetch".to_owned()).spawn(move || shared.work());
        if let Err(error) = started {
            let mut queues = self.lock();
            queues.threads -= 1;
            if queues.threads == 0 {
                // Nobody is left who would do it.
                while let Some(Job::Fetch { id, url, .. }) = queues.fetches.pop_front() {
                    let sentence = format!("{url} is not fetched: the system gives no thread ({error})");
                    queues.wanted.retain(|(wanted, _)| *wanted != id);
                    queues.finished.push_back((id, Err(FetchProblem::Failed(sentence))));
                }
                queues.posts.clear();
            }
            drop(queues);
            (self.wake)();
        }
    }

    /// Does jobs until there are none. Packages go before notifications: somebody waits for them.
    fn work(&self) {
        loop {
            let mut queues = self.lock();
            let Some(job) = queues.fetches.pop_front().or_else(|| queues.posts.pop_front()) else {
                queues.threads -= 1;
                self.ended.notify_all();
                return;
            };
            drop(queues);
            match job {
                Job::Fetch { id, url, bytes_max, timeout, cancelled } => {
                    let until = Instant::now() + timeout;
                    let order = transfer::Order { url: &url, bytes_max, until, timeout, cancelled: &cancelled };
                    let result = outlive(|| self.agents.fetch(&order, self.files_allowed));
                    let died = || Err(FetchProblem::Failed(format!("{url} is not fetched: a mistake of this program")));
                    self.finish(id, &cancelled, result.unwrap_or_else(died));
                }
                Job::Post { url, body } => {
                    if let Some(Err(sentence)) = outlive(|| self.agents.post(&url, &body)) {
                        tracing::debug!("{sentence}");
                    }
                }
            }
        }
    }

    fn finish(&self, id: FetchId, cancelled: &AtomicBool, result: Result<Vec<u8>, FetchProblem>) {
        let mut queues = self.lock();
        if cancelled.load(Ordering::Relaxed) {
            return;
        }
        queues.wanted.retain(|(wanted, _)| *wanted != id);
        queues.finished.push_back((id, result));
        drop(queues);
        (self.wake)();
    }
}

/// What `transfer` returns; `None` if it panics. What comes from afar must not take a thread away, on whose end somebody
/// waits.
fn outlive<T>(transfer: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(transfer)).ok()
}

/// The certificates in a PEM file.
fn authorities(path: &Path) -> Result<Vec<ureq::tls::Certificate<'static>>, FetcherError> {
    let failed = |error| FetcherError::CaFile { path: path.to_owned(), error };
    let (bytes, _) = safe_file::read(path, CA_FILE_BYTES_MAX).map_err(failed)?;
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(&bytes) {
        match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(FetcherError::NoCertificate { path: path.to_owned() }),
        }
    }
    if found.is_empty() {
        return Err(FetcherError::NoCertificate { path: path.to_owned() });
    }
    Ok(found)
}

//! Serves the live page: its parts, what happens as server-sent events, and what the viewer presses.
//!
//! One thread accepts, and each connection has one; all are bounded, and none of them is ever waited for: what a viewer
//! has not taken is dropped, and he gets the whole picture anew when he is ready again. Whoever plays the scene calls
//! [`PageServer::publish`] for what happened and [`PageServer::next_control`] at least some times per second, which also
//! serves those who come late.
#![expect(clippy::disallowed_methods, reason = "a driver reads the clock")]
#![expect(clippy::disallowed_types, reason = "a driver opens sockets")]

mod access;
mod connection;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::base::limits::{
    PAGE_CATCH_UP_PERIOD, PAGE_CONNECTIONS_MAX, PAGE_CONTROLS_MAX, PAGE_QUEUE_MAX, PAGE_TOKEN_BYTES_MAX,
    PAGE_TOKEN_BYTES_MIN, PAGE_VIEWERS_MAX,
};
use crate::dashboard::fold::Fold;
use crate::dashboard::scene::{Moment, Playback, Scene};
use crate::drivers::listening::ListenError;
use crate::drivers::page_server::access::Gate;

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Viewers can control what they see.
    pub controls: bool,
    /// Only those who have this token can; from another machine, only they see anything.
    pub token: Option<String>,
}

/// What a viewer asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "control", rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// Stop the scene's time.
    Pause,
    /// Let it go on.
    Resume,
    /// Let it go on at this speed; 0 = as fast as it can.
    Speed {
        /// Seconds of the scene per second.
        speed: f64,
    },
    /// Go to the beginning of this step.
    Step {
        /// Its place in the scene's list.
        step: usize,
    },
    /// Go to the beginning of the next step.
    Next,
    /// Begin again.
    Restart,
    /// Unload an instance of a running node.
    Unload {
        /// What it is called.
        instance: String,
    },
}

impl Control {
    /// Whether it can be meant: a speed is a number that time can have.
    fn is_possible(&self) -> bool {
        match self {
            Control::Speed { speed } => speed.is_finite() && *speed >= 0.0,
            Control::Pause
            | Control::Resume
            | Control::Step { .. }
            | Control::Next
            | Control::Restart
            | Control::Unload { .. } => true,
        }
    }
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The system refused.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Others than this machine could look.
    #[error(
        "{address} can be reached from other machines: give a token (--dashboard-token FILE), or listen on 127.0.0.1"
    )]
    NeedsToken {
        /// Where it was to be.
        address: SocketAddr,
    },
    /// The token could be guessed, or cannot be sent.
    #[error(
        "the token has {bytes} bytes; it needs {PAGE_TOKEN_BYTES_MIN} to {PAGE_TOKEN_BYTES_MAX} letters, digits or \
         signs without spaces, for example from `openssl rand -hex 32`"
    )]
    Token {
        /// How long it is.
        bytes: usize,
    },
}

/// Called when somebody came or pressed something, from any thread.
type Wake = Box<dyn Fn() + Send>;

/// How it stands with a viewer.
mod standing {
    /// He has to be given the whole picture.
    pub(super) const FRESH: u8 = 0;
    /// He has been told everything.
    pub(super) const CURRENT: u8 = 1;
    /// He missed something, and still has to take what waits for him.
    pub(super) const BEHIND: u8 = 2;
}

/// The publisher's end of a viewer.
struct Viewer {
    queue: SyncSender<Arc<str>>,
    standing: Arc<AtomicU8>,
}

/// What the threads share.
struct Shared {
    gate: Gate,
    viewers: Mutex<Vec<Viewer>>,
    /// So many may look; counted apart from the list, which the publisher cleans up when it sends.
    viewer_count: AtomicUsize,
    connection_count: AtomicUsize,
    controls: SyncSender<Control>,
    wake: Mutex<Option<Wake>>,
    is_closing: AtomicBool,
    began: Instant,
}

impl Shared {
    fn viewers(&self) -> MutexGuard<'_, Vec<Viewer>> {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if let Some(wake) = &*self.wake.lock().unwrap_or_else(PoisonError::into_inner) {
            wake();
        }
    }
}

/// One of a bounded number; gives its place back when it goes.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(count: &'a AtomicUsize, max: usize) -> Option<Place<'a>> {
        let taken = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < max).then_some(n + 1));
        taken.ok().map(|_| Place(count))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The server. It ends when it is dropped.
pub struct PageServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    controls: Receiver<Control>,
    accepting: Option<JoinHandle<()>>,
    fold: Fold,
    scene: Scene,
    playback: Playback,
    /// The number of the last event.
    number: u64,
    /// When the whole picture was made last.
    pictured: Option<Instant>,
}

impl PageServer {
    /// Listens on `listen`.
    ///
    /// # Errors
    ///
    /// When the system refuses, or others could look without a token.
    pub fn open(listen: SocketAddr, access: Access) -> Result<PageServer, PageError> {
        if let Some(token) = &access.token {
            let fits = (PAGE_TOKEN_BYTES_MIN..=PAGE_TOKEN_BYTES_MAX).contains(&token.len());
            if !fits || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(PageError::Token { bytes: token.len() });
            }
        } else if !listen.ip().is_loopback() {
            return Err(PageError::NeedsToken { address: listen });
        }
        let failed = |error| ListenError { address: listen, error };
        let listener = TcpListener::bind(listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (sender, controls) = sync_channel(PAGE_CONTROLS_MAX);
        let shared = Arc::new(Shared {
            gate: Gate::new(address, access),
            viewers: Mutex::new(Vec::new()),
            viewer_count: AtomicUsize::new(0),
            connection_count: AtomicUsize::new(0),
            controls: sender,
            wake: Mutex::new(None),
            is_closing: AtomicBool::new(false),
            began: Instant::now(),
        });
        let inner = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("page".into());
        let accepting = thread.spawn(move || accept(&listener, &inner)).map_err(failed)?;
        Ok(PageServer {
            address,
            shared,
            controls,
            accepting: Some(accepting),
            fold: Fold::default(),
            scene: Scene::default(),
            playback: Playback::default(),
            number: 0,
            pictured: None,
        })
    }

    /// Where it listens, with the port that port 0 became.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has `wake` called when a viewer comes or asks for something, from another thread: for loops that sleep.
    pub fn on_wake(&self, wake: impl Fn() + Send + 'static) {
        *self.shared.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(wake));
    }

    /// How many look.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.shared.viewer_count.load(Ordering::SeqCst)
    }

    /// Begins a scene, or begins one again: what happened before is forgotten.
    pub fn set_scene(&mut self, scene: Scene) {
        self.scene = scene;
        self.fold = Fold::default();
        // All need the whole picture; those who wait for the one of the old scene get the new one.
        for viewer in self.shared.viewers().iter() {
            let _ = viewer.standing.compare_exchange(
                standing::CURRENT,
                standing::FRESH,
                Ordering::SeqCst,
                Ordering::SeqCst,
            );
        }
        self.pictured = None;
        self.serve_fresh();
    }

    /// Tells what happened. Never waits for anybody.
    pub fn publish(&mut self, moment: &Moment) {
        self.fold.add(moment);
        if self.viewers() > 0 {
            self.tell("moment", moment);
            self.serve_fresh();
        }
    }

    /// Tells how the scene is played.
    pub fn set_playback(&mut self, playback: Playback) {
        if playback == self.playback {
            return;
        }
        self.playback = playback;
        if self.viewers() > 0 {
            let playback = self.playback.clone();
            self.tell("playback", &playback);
            self.serve_fresh();
        }
    }

    /// The next thing that a viewer asks for.
    pub fn next_control(&mut self) -> Option<Control> {
        self.serve_fresh();
        self.controls.try_recv().ok()
    }

    /// Sends an event to all who have been told everything before it.
    fn tell<T: Serialize>(&mut self, name: &str, data: &T) {
        let event: Arc<str> = self.event(name, data).into();
        self.shared.viewers().retain(|viewer| {
            if viewer.standing.load(Ordering::SeqCst) != standing::CURRENT {
                return true;
            }
            match viewer.queue.try_send(Arc::clone(&event)) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    viewer.standing.store(standing::BEHIND, Ordering::SeqCst);
                    true
                }
                Err(TrySendError::Disconnected(_)) => false,
            }
        });
    }

    fn event<T: Serialize>(&mut self, name: &str, data: &T) -> String {
        self.number += 1;
        // Names of fields are texts, and no number is worse than null.
        let json = serde_json::to_string(data).expect("the data is plain");
        format!("id: {}\nevent: {name}\ndata: {json}\n\n", self.number)
    }

    /// Gives the whole picture to those who have none. It is made once for all of them, and not too often.
    fn serve_fresh(&mut self) {
        let is_fresh = |viewer: &Viewer| viewer.standing.load(Ordering::SeqCst) == standing::FRESH;
        if self.viewers() == 0 || !self.shared.viewers().iter().any(is_fresh) {
            return;
        }
        let now = Instant::now();
        if self.pictured.is_some_and(|at| now.duration_since(at) < PAGE_CATCH_UP_PERIOD) {
            return;
        }
        self.pictured = Some(now);
        let (scene, moment, playback) = (self.scene.clone(), self.fold.moment(), self.playback.clone());
        let picture = self.event("scene", &scene) + &self.event("catch_up", &moment);
        let picture: Arc<str> = (picture + &self.event("playback", &playback)).into();
        self.shared.viewers().retain(|viewer| {
            if !is_fresh(viewer) {
                return true;
            }
            // Before it is sent, so that the viewer's thread, which is then awake, finds nothing to ask for.
            viewer.standing.store(standing::CURRENT, Ordering::SeqCst);
            match viewer.queue.try_send(Arc::clone(&picture)) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    viewer.standing.store(standing::BEHIND, Ordering::SeqCst);
                    true
                }
                Err(TrySendError::Disconnected(_)) => false,
            }
        });
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::SeqCst);
        self.shared.viewers().clear();
        // Wakes the thread that accepts.
        let ip = match self.address.ip() {
            IpAddr::V4(ip) => IpAddr::from(if ip.is_unspecified() { Ipv4Addr::LOCALHOST } else { ip }),
            IpAddr::V6(ip) => IpAddr::from(if ip.is_unspecified() { Ipv6Addr::LOCALHOST } else { ip }),
        };
        let woken = TcpStream::connect_timeout(&SocketAddr::new(ip, self.address.port()), Duration::from_secs(1));
        if let (Ok(_), Some(accepting)) = (woken, self.accepting.take()) {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.is_closing.load(Ordering::SeqCst) {
            return;
        }
        let Ok((stream, _)) = accepted else {
            // No descriptor is free, or the peer is gone already: the next try is not urgent.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let inner = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("page viewer".into());
        // Without a thread the connection closes, and the browser tries again.
        let _ = thread.spawn(move || {
            if let Some(_place) = Place::take(&inner.connection_count, PAGE_CONNECTIONS_MAX) {
                connection::serve(stream, &inner);
            }
        });
    }
}

/// A place for one more viewer, and what his thread takes his events from.
fn welcome(shared: &Shared) -> Option<(Place<'_>, Receiver<Arc<str>>, Arc<AtomicU8>)> {
    let place = Place::take(&shared.viewer_count, PAGE_VIEWERS_MAX)?;
    let (queue, events) = sync_channel(PAGE_QUEUE_MAX);
    let standing = Arc::new(AtomicU8::new(standing::FRESH));
    let mut viewers = shared.viewers();
    // The other end of those who have left is gone.
    viewers.retain(|viewer| Arc::strong_count(&viewer.standing) > 1);
    viewers.push(Viewer { queue, standing: Arc::clone(&standing) });
    drop(viewers);
    shared.wake();
    Some((place, events, standing))
}

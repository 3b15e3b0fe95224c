//! Looks names up by the machine's own resolver, which blocks; so on threads of its own, at most
//! [`NET_LOOKUP_THREADS_MAX`], each of which ends when there is nothing to do
//! (docs/decisions/0008-threads-that-fetch.md). No instance has more than [`NET_LOOKUPS_PER_INSTANCE_MAX`] of them.

use std::collections::VecDeque;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::id::InstanceId;
use crate::base::limits::{
    NAME_ADDRESSES_MAX, NET_LOOKUP_THREADS_MAX, NET_LOOKUPS_PER_INSTANCE_MAX, NET_LOOKUPS_WAITING_MAX,
};
use crate::base::net::{Family, SocketId};

/// What a look-up brought.
pub(super) type Found = Result<Vec<IpAddr>, String>;

pub(super) struct Lookups {
    shared: Arc<Shared>,
    next: u64,
}

struct Shared {
    queues: Mutex<Queues>,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Queues {
    waiting: VecDeque<Job>,
    running: Vec<(u64, SocketId)>,
    finished: VecDeque<(SocketId, Found)>,
    threads: usize,
}

struct Job {
    /// Tells it from another one with the same number: an instance that starts again counts from one.
    serial: u64,
    query: SocketId,
    name: String,
    family: Family,
}

impl Lookups {
    /// `wake` is called, on another thread, when [`Lookups::finished`] has something new.
    pub(super) fn new(wake: impl Fn() + Send + Sync + 'static) -> Lookups {
        Lookups { shared: Arc::new(Shared { queues: Mutex::default(), wake: Box::new(wake) }), next: 0 }
    }

    pub(super) fn start(&mut self, query: SocketId, name: String, family: Family) -> Result<(), String> {
        let mut queues = self.shared.lock();
        if queues.waiting.len() >= NET_LOOKUPS_WAITING_MAX {
            return Err(format!("{NET_LOOKUPS_WAITING_MAX} names wait to be looked up already"));
        }
        self.next += 1;
        queues.waiting.push_back(Job { serial: self.next, query, name, family });
        self.shared.have_a_thread(queues)
    }

    /// Forgets a look-up.
    pub(super) fn cancel(&self, query: SocketId) {
        self.forget(|one| one == query);
    }

    /// Forgets the look-ups of an instance.
    pub(super) fn cancel_all(&self, instance: InstanceId) {
        self.forget(|one| one.instance == instance);
    }

    fn forget(&self, is_one: impl Fn(SocketId) -> bool) {
        let mut queues = self.shared.lock();
        queues.waiting.retain(|job| !is_one(job.query));
        queues.finished.retain(|(query, _)| !is_one(*query));
        // The thread finds out when it is done.
        for (serial, _) in queues.running.iter_mut().filter(|(_, query)| is_one(*query)) {
            *serial = 0;
        }
    }

    pub(super) fn finished(&self) -> Option<(SocketId, Found)> {
        self.shared.lock().finished.pop_front()
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        self.shared.lock().waiting.clear();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        // No thread leaves the queues half changed.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn have_a_thread(self: &Arc<Self>, mut queues: MutexGuard<'_, Queues>) -> Result<(), String> {
        if queues.threads >= NET_LOOKUP_THREADS_MAX {
            return Ok(());
        }
        queues.threads += 1;
        drop(queues);
        let shared = Arc::clone(self);
        match std::thread::Builder::new().name("lookup".to_owned()).spawn(move || shared.work()) {
            Ok(_) => Ok(()),
            Err(error) => {
                let mut queues = self.lock();
                queues.threads -= 1;
                if queues.threads > 0 {
                    return Ok(());
                }
                queues.waiting.clear();
                Err(format!("the system gives no thread to look names up ({error})"))
            }
        }
    }

    fn work(&self) {
        loop {
            let mut queues = self.lock();
            let Some(job) = queues.next() else {
                queues.threads -= 1;
                return;
            };
            queues.running.push((job.serial, job.query));
            drop(queues);
            // The resolver is the system's, but its answers come from afar.
            let found = std::panic::catch_unwind(|| look_up(&job.name, job.family));
            let found = found.unwrap_or_else(|_| Err("a mistake of this program".to_owned()));
            let mut queues = self.lock();
            let place = queues.running.iter().position(|(_, query)| *query == job.query);
            let is_wanted = place.is_some_and(|at| queues.running.swap_remove(at).0 == job.serial);
            if is_wanted {
                queues.finished.push_back((job.query, found));
            }
            drop(queues);
            (self.wake)();
        }
    }
}

impl Queues {
    /// The next job whose instance may have one more.
    fn next(&mut self) -> Option<Job> {
        let running = |instance| self.running.iter().filter(|(_, query)| query.instance == instance).count();
        let may = |job: &Job| running(job.query.instance) < NET_LOOKUPS_PER_INSTANCE_MAX;
        let at = self.waiting.iter().position(may)?;
        self.waiting.remove(at)
    }
}

fn look_up(name: &str, family: Family) -> Found {
    let found = (name, 0).to_socket_addrs().map_err(|e| format!("{name} cannot be looked up: {e}"))?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.map(|address| address.ip().to_canonical()) {
        let is_wanted = match family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        if is_wanted && !addresses.contains(&address) && addresses.len() < NAME_ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(format!("there is no address for {name}")) } else { Ok(addresses) }
}

//! GIST, the General Internet Signalling Transport (RFC 5971): finds the next node along the path of a flow, and
//! carries messages of signalling applications to it. Knows nothing of what they mean.
//!
//! [`Gist`] is one machine without sockets or clock. Give it one input ([`Gist::datagram`], [`Gist::intercept`],
//! [`Gist::unreachable`], [`Gist::stream`], [`Gist::request`], [`Gist::route_changed`], or [`Gist::expire`] when
//! [`Gist::deadline`] has come), then call [`Gist::poll`] until it gives nothing more. It calls the applications of
//! [`Env`] while it handles an input; what they ask for in return is carried out before the input's call returns.

use std::collections::VecDeque;
use std::net::IpAddr;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::base::limits::{GIST_OUTPUTS_MAX, GIST_REQUESTS_PER_INPUT_MAX, GIST_REQUESTS_WAITING_MAX};
use crate::base::stats::DropReason;
use crate::base::time::Instant;
use crate::signaling::gist::api::{MessageHandle, MessageStatus, NetworkNotification, Nslp, Request};
use crate::signaling::gist::association::Associations;
use crate::signaling::gist::cookie::CookieMaker;
use crate::signaling::gist::limiter::TokenBucket;
use crate::signaling::gist::routing::{Entry, EntryId, Key, Role, Table};
use crate::signaling::gist::stats::{Count, Counters};
use crate::signaling::gist::timers::{Timer, Timers};
use crate::signaling::io::{DatagramOut, Paths, SocketOutput};
use crate::wire::gist::header::{MAGIC, NslpId};
use crate::wire::gist::message::Message;
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::{Nli, Sid};

pub mod api;
mod association;
mod config;
mod confirm;
mod cookie;
mod data;
mod errors;
mod limiter;
mod negotiate;
mod querier;
mod receive;
mod requests;
mod responder;
mod routing;
mod search;
pub mod stats;
mod stream;
#[cfg(test)]
mod tests;
mod timers;

pub use config::{GistConfig, PeerRule, QuerySource};
pub use stats::GistStats;

/// What an input's call may use: the machine's place in the network, and the applications above.
pub struct Env<'a> {
    /// Addresses and routes.
    pub paths: &'a dyn Paths,
    /// The applications that this node hosts.
    pub nslps: &'a mut [&'a mut dyn Nslp],
}

impl Env<'_> {
    /// The application with this number.
    fn nslp(&mut self, id: NslpId) -> Option<&mut (dyn Nslp + '_)> {
        self.nslps.iter_mut().find(|n| n.id() == id).map(|n| &mut **n as _)
    }

    fn hosts(&self, id: NslpId) -> bool {
        self.nslps.iter().any(|n| n.id() == id)
    }
}

/// What is to become of a packet that was taken out of the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interception {
    /// Not ours: forward it unchanged.
    Forward,
    /// Forward it with this GIST hop count: the payload's byte 5 (behind the magic number and the version).
    Relay {
        /// The hop count to write.
        hops: u8,
    },
    /// Forward it with this UDP payload.
    Replace(Vec<u8>),
    /// It was for this node.
    Consumed,
    /// It must not go on.
    Drop(DropReason),
}

/// The machine. See the module's documentation for how to drive it.
pub struct Gist {
    config: GistConfig,
    rng: ChaCha20Rng,
    cookies: CookieMaker,
    table: Table,
    associations: Associations,
    timers: Timers,
    outputs: VecDeque<SocketOutput>,
    requests: VecDeque<(NslpId, Request)>,
    /// Limits what this node itself sends in D-mode (RFC 5971, section 5.3.3).
    sending: TokenBucket,
    /// Limits the candidates taken out of the data plane.
    intake: TokenBucket,
    /// Limits the Queries of peers that are not known yet.
    queries: TokenBucket,
    /// Limits Error messages, which anybody can provoke.
    errors: TokenBucket,
    counters: Counters,
}

impl Gist {
    /// A machine without any state.
    #[must_use]
    pub fn new(config: GistConfig) -> Gist {
        let mut rng = ChaCha20Rng::from_seed(config.secret);
        Gist {
            cookies: CookieMaker::new(&mut rng),
            rng,
            table: Table::default(),
            associations: Associations::default(),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            requests: VecDeque::new(),
            sending: TokenBucket::new(config.d_mode_bytes_per_second, config.d_mode_burst_bytes),
            intake: TokenBucket::new(config.intercepts_per_second, config.intercepts_per_second),
            queries: TokenBucket::new(config.queries_per_second, config.queries_per_second),
            errors: TokenBucket::new(config.errors_per_second, config.errors_per_second),
            counters: Counters::default(),
            config,
        }
    }

    /// A request of an application, made outside of a call to it.
    pub fn request(&mut self, now: Instant, env: &mut Env<'_>, nslp: NslpId, request: Request) {
        self.queue_request(nslp, request);
        self.carry_out_requests(now, env);
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Instant, env: &mut Env<'_>) {
        // Each timer that fires is set anew for later or not at all, so this ends.
        for _ in 0..self.timers.len() + 1 {
            match self.timers.expire(now) {
                Some(Timer::Entry(id)) => self.entry_due(now, env, id),
                Some(Timer::Association(stream)) => self.association_due(now, env, stream),
                None => break,
            }
        }
        self.carry_out_requests(now, env);
    }

    /// When [`Gist::expire`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.requests.is_empty() { self.timers.next() } else { Some(Instant::START) }
    }

    /// The next thing to do with a socket.
    pub fn poll(&mut self) -> Option<SocketOutput> {
        self.outputs.pop_front()
    }

    /// Sessions, associations and counters.
    #[must_use]
    pub fn stats(&self) -> GistStats {
        GistStats {
            sessions: self.table.len(),
            unconfirmed: self.table.unconfirmed(),
            associations: self.associations.len(),
            timers: self.timers.len(),
            waiting_bytes: self.table.waiting_bytes(),
            counters: self.counters.list(),
        }
    }

    fn queue_request(&mut self, nslp: NslpId, request: Request) {
        if self.requests.len() < GIST_REQUESTS_WAITING_MAX {
            self.requests.push_back((nslp, request));
        } else {
            self.counters.add(Count::RequestsDropped);
        }
    }

    /// Carries out what applications asked for. They may ask again meanwhile: what is over the bound waits for the next
    /// input.
    fn carry_out_requests(&mut self, now: Instant, env: &mut Env<'_>) {
        for _ in 0..GIST_REQUESTS_PER_INPUT_MAX {
            let Some((nslp, request)) = self.requests.pop_front() else { break };
            self.carry_out(now, env, nslp, request);
        }
    }

    /// Calls an application, and keeps what it asks for.
    fn call(&mut self, env: &mut Env<'_>, nslp: NslpId, call: impl FnOnce(&mut dyn Nslp, &mut Vec<Request>)) {
        let mut requests = Vec::new();
        if let Some(nslp) = env.nslp(nslp) {
            call(nslp, &mut requests);
        }
        for request in requests {
            self.queue_request(nslp, request);
        }
    }

    fn notify(&mut self, now: Instant, env: &mut Env<'_>, of: &(NslpId, Sid, Mri), what: &NetworkNotification) {
        let (nslp, sid, mri) = of;
        self.call(env, *nslp, |n, requests| n.notify(now, *sid, mri, what, requests));
    }

    fn tell_status(
        &mut self,
        now: Instant,
        env: &mut Env<'_>,
        nslp: NslpId,
        handle: Option<MessageHandle>,
        status: MessageStatus,
    ) {
        if let Some(handle) = handle {
            self.call(env, nslp, |n, requests| n.message_status(now, handle, status, requests));
        }
    }

    /// What this node says of itself.
    fn own_nli(&self, address: IpAddr, ip_ttl: u8) -> Nli {
        Nli { peer_identity: self.config.identity.clone(), ip_ttl, validity_ms: self.validity_ms(), address }
    }

    /// The validity time that this node asks for. Grows when so many sessions would be refreshed that the rate limit
    /// could not hold: at least `2 * entries / rate` (RFC 5971, section 5.3.3).
    fn validity_ms(&self) -> u32 {
        let entries = self.table.len() as u64;
        let least = 2_000 * entries * REFRESH_BYTES / self.config.d_mode_bytes_per_second.max(1);
        let wanted = u64::try_from(self.config.validity.as_millis()).unwrap_or(u64::MAX);
        u32::try_from(wanted.max(least).max(1)).unwrap_or(u32::MAX)
    }

    /// Sends in D-mode; false if the rate limit does not allow it.
    fn send_datagram(&mut self, now: Instant, message: &Message, mut datagram: DatagramOut) -> bool {
        let body = message.encode();
        datagram.payload = Vec::with_capacity(MAGIC.len() + body.len());
        datagram.payload.extend_from_slice(&MAGIC);
        datagram.payload.extend_from_slice(&body);
        if self.outputs.len() >= GIST_OUTPUTS_MAX || !self.sending.take(now, datagram.payload.len() as u64) {
            self.counters.add(Count::DroppedRateLimit);
            return false;
        }
        self.counters.sent(message.kind);
        self.outputs.push_back(SocketOutput::Datagram(datagram));
        true
    }

    /// Sets an entry's timer to the earliest of its deadlines.
    fn rearm(&mut self, id: EntryId) {
        if let Some(entry) = self.table.entry_mut(id) {
            let deadline = entry.deadline();
            self.timers.set(&mut entry.armed, deadline, Timer::Entry(id));
        }
    }

    /// Whether there is state for the same flow and session in the other direction.
    fn has_other_way(&self, id: EntryId) -> bool {
        let other = |e: &Entry| Key::new(&e.mri.inverted(), e.key.nslp, e.key.sid);
        self.table.entry(id).is_some_and(|e| self.table.find(&other(e)).is_some())
    }

    fn entry_due(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId) {
        let Some(entry) = self.table.entry_mut(id) else { return };
        entry.armed = None;
        let Some(entry) = self.table.entry(id) else { return };
        match &entry.role {
            Role::Querier(q) if q.search.is_some() => self.query_due(now, env, id),
            // Nobody wants the session any more: it is not refreshed, and there is no message to say so.
            Role::Querier(q) if q.wanted_until <= now => self.remove_entry(now, id),
            // Nor is one whose state towards the flow's other end has expired (RFC 5971, section 4.4.4).
            Role::Querier(q) if q.is_relayed && !self.has_other_way(id) => self.remove_entry(now, id),
            Role::Querier(_) => self.start_search(now, env, id),
            Role::Responder(_) => self.responder_due(now, env, id),
        }
    }

    /// Removes an entry; its messages have been dealt with.
    fn remove_entry(&mut self, now: Instant, id: EntryId) {
        if let Some(mut entry) = self.table.remove(id) {
            self.timers.set(&mut entry.armed, None, Timer::Entry(id));
            if let Some(stream) = entry.association {
                self.leave_association(now, stream, id);
            }
        }
    }
}

/// Bytes of a refresh (Query and Response together, roughly), for [`Gist::validity_ms`].
const REFRESH_BYTES: u64 = 300;

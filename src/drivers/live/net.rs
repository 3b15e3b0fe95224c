//! The sockets of modules: TCP, TLS and UDP, as [`NetOutput`] asks for them.
//!
//! The owner is the loop around a [`mio::Poll`]. It
//!
//! 1. calls [`NetSockets::ready`] for each token from the first on that the poll tells;
//! 2. gives [`NetSockets::next_event`] to the node until there is none, or its turn is over, and what that then asks for
//!    to [`NetSockets::perform`];
//! 3. calls [`NetSockets::expire`] and waits, at most [`NetSockets::longest_wait`], and not at all if
//!    [`NetSockets::has_more`].
//!
//! Nothing here waits, and everything is bounded: the number of sockets, what waits in each (the writer knows, and so does
//! the reader), and the time that a handshake or an end may take.

#![expect(clippy::disallowed_types, reason = "a driver opens the sockets of the node")]

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token, Waker};
use rustls::ServerConfig;

use self::costs::Costs;
use self::lookup::Lookups;
use self::stream::{Step, Stream};
use self::tls::Clients;
use self::udp::{Batch, Udp, canonical};
use crate::base::id::InstanceId;
use crate::base::limits::{NET_READ_BYTES, NET_SOCKETS_MAX, NET_STEPS_MAX, NET_SWEEP_PERIOD};
use crate::base::net::{NetEvent, NetOutput, Security, SocketId};
use crate::base::time::Instant;
use crate::drivers::live::pump::broken;
use crate::drivers::live::signal::OWN_MARK;

mod accept;
mod costs;
mod lookup;
mod stream;
mod tls;
mod udp;

/// The sockets of all instances.
pub(super) struct NetSockets {
    registry: Registry,
    waker: Arc<Waker>,
    first_token: usize,
    sockets: Vec<Option<Socket>>,
    free: Vec<usize>,
    places: BTreeMap<SocketId, usize>,
    /// Sockets that may have more, each once, in the order in which they get their turn.
    ready: VecDeque<usize>,
    is_ready: Vec<bool>,
    /// What is to be told and no socket brings.
    events: VecDeque<(SocketId, Told)>,
    next_accepted: u32,
    clients: Clients,
    lookups: Lookups,
    buffer: Box<[u8]>,
    batch: Option<Box<Batch>>,
    /// Datagrams that go out by one call, if the next one fits behind them.
    sending: Sending,
    sweep_at: Instant,
    costs: Costs,
}

enum Socket {
    Listener(Listener),
    Stream(Box<Stream>),
    Udp(Box<Udp>),
}

struct Listener {
    id: SocketId,
    socket: mio::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
    is_paused: bool,
    /// The system had no room for more; until when nothing is accepted.
    rests_until: Option<Instant>,
    /// Streams whose handshake goes on.
    handshakes: usize,
}

/// An event without borrowed bytes.
enum Told {
    Opened { local: SocketAddr, peer: Option<SocketAddr>, protocol: Option<String> },
    Accepted { stream: SocketId, local: SocketAddr, peer: SocketAddr, protocol: Option<String> },
    Drained,
    Finished,
    Closed(String),
}

/// What one socket brought.
enum Found {
    Told(SocketId, Told),
    Received(SocketId, usize),
    Datagrams(SocketId),
}

/// Datagrams of one size to one peer.
#[derive(Default)]
struct Sending {
    place: usize,
    from: Option<std::net::IpAddr>,
    to: Option<SocketAddr>,
    segment: usize,
    count: usize,
    bytes: Vec<u8>,
    /// The last one was shorter: nothing fits behind it.
    is_full: bool,
}

impl NetSockets {
    /// No sockets yet. They will have tokens from `first_token` on; `waker` is woken when a name was looked up.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn new(registry: &Registry, first_token: usize, waker: Token) -> io::Result<NetSockets> {
        let waker = Arc::new(Waker::new(registry, waker)?);
        let wake = Arc::clone(&waker);
        Ok(NetSockets {
            registry: registry.try_clone()?,
            waker,
            first_token,
            sockets: Vec::new(),
            free: Vec::new(),
            places: BTreeMap::new(),
            ready: VecDeque::new(),
            is_ready: Vec::new(),
            events: VecDeque::new(),
            next_accepted: SocketId::ACCEPTED,
            clients: Clients::new(),
            // If the loop cannot be woken, it looks at its next deadline.
            lookups: Lookups::new(move || drop(wake.wake())),
            buffer: vec![0; NET_READ_BYTES].into_boxed_slice(),
            batch: None,
            sending: Sending::default(),
            sweep_at: Instant::START,
            costs: Costs::default(),
        })
    }

    /// What wakes the loop from another thread. A poll can have one only.
    pub(super) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Does what a module asks for.
    pub(super) fn perform(&mut self, output: NetOutput, now: Instant) {
        let began = Costs::begin(costs::owner_of(&output));
        self.carry_out(output, now);
        self.costs.end(began);
    }

    /// CPU time that was used here for instances since this was last asked, in ns.
    pub(super) fn take_costs(&mut self) -> BTreeMap<InstanceId, u64> {
        self.costs.take()
    }

    fn carry_out(&mut self, output: NetOutput, now: Instant) {
        match output {
            NetOutput::Send { socket, from, to, bytes } => return self.send(socket, from, to, &bytes),
            NetOutput::Listen { socket, at, security } => {
                let result = self.listen(socket, at, &security);
                self.tell_failure(socket, result);
            }
            NetOutput::Connect { socket, to, security } => {
                let result = self.connect(socket, to, &security, now);
                self.tell_failure(socket, result);
            }
            NetOutput::Bind { socket, at } => {
                let result = self.bind(socket, at);
                self.tell_failure(socket, result);
            }
            NetOutput::Write { socket, bytes } => self.write(socket, &bytes),
            NetOutput::Pause(socket) => self.pause(socket, true),
            NetOutput::Resume(socket) => self.pause(socket, false),
            NetOutput::Finish(socket) => {
                if let Some((place, Socket::Stream(stream))) = self.find(socket) {
                    stream.finish();
                    self.queue(place);
                }
            }
            NetOutput::Close { socket, abort } => self.close(socket, abort, now),
            NetOutput::Resolve { query, name, family } => {
                let result = self.lookups.start(query, name, family);
                self.tell_failure(query, result);
            }
            NetOutput::CloseAll(instance) => self.close_all(instance, now),
            NetOutput::HandOver { from, to } => self.hand_over(from, to),
        }
        self.flush_sending();
    }

    fn tell_failure(&mut self, socket: SocketId, result: Result<(), String>) {
        if let Err(reason) = result {
            self.events.push_back((socket, Told::Closed(reason)));
        }
    }

    fn find(&mut self, socket: SocketId) -> Option<(usize, &mut Socket)> {
        let place = *self.places.get(&socket)?;
        Some((place, self.sockets.get_mut(place)?.as_mut()?))
    }

    /// A place for one more socket.
    fn free_place(&mut self) -> Result<usize, String> {
        if let Some(place) = self.free.pop() {
            return Ok(place);
        }
        if self.sockets.len() >= NET_SOCKETS_MAX {
            return Err(format!("this node has {NET_SOCKETS_MAX} sockets already"));
        }
        self.sockets.push(None);
        self.is_ready.push(false);
        Ok(self.sockets.len() - 1)
    }

    /// Puts a socket into the table, under its owner's number.
    fn insert(&mut self, id: SocketId, mut socket: Socket) -> Result<usize, String> {
        let place = self.free_place()?;
        let token = Token(self.first_token + place);
        let registered = match &mut socket {
            Socket::Listener(listener) => self.registry.register(&mut listener.socket, token, Interest::READABLE),
            Socket::Stream(stream) => {
                let both = Interest::READABLE | Interest::WRITABLE;
                self.registry.register(&mut stream.pump.socket, token, both)
            }
            Socket::Udp(udp) => udp.register(&self.registry, token),
        };
        if let Err(e) = registered {
            self.free.push(place);
            return Err(broken(&e));
        }
        self.sockets[place] = Some(socket);
        self.places.insert(id, place);
        self.queue(place);
        Ok(place)
    }

    fn remove(&mut self, place: usize) -> Option<Socket> {
        let mut socket = self.sockets.get_mut(place)?.take()?;
        match &mut socket {
            Socket::Listener(listener) => drop(self.registry.deregister(&mut listener.socket)),
            Socket::Stream(stream) => drop(self.registry.deregister(&mut stream.pump.socket)),
            Socket::Udp(udp) => udp.deregister(&self.registry),
        }
        self.free.push(place);
        Some(socket)
    }

    fn listen(&mut self, id: SocketId, at: SocketAddr, security: &Security) -> Result<(), String> {
        let tls = match security {
            Security::TlsServer { certificate, key, protocols } => {
                Some(self.clients.server(certificate, key, protocols)?)
            }
            Security::Plain | Security::TlsClient { .. } => None,
        };
        let (socket, local) = platform::module_socket::listen(at, Some(OWN_MARK)).map_err(|e| not_open(at, &e))?;
        let socket = mio::net::TcpListener::from_std(std::net::TcpListener::from(socket));
        let listener = Listener { id, socket, tls, is_paused: false, rests_until: None, handshakes: 0 };
        self.insert(id, Socket::Listener(listener))?;
        self.events.push_back((id, Told::Opened { local: canonical(local), peer: None, protocol: None }));
        Ok(())
    }

    fn bind(&mut self, id: SocketId, at: SocketAddr) -> Result<(), String> {
        let udp = Udp::open(id, at, Some(OWN_MARK)).map_err(|e| not_open(at, &e))?;
        let local = udp.local();
        self.insert(id, Socket::Udp(Box::new(udp)))?;
        self.events.push_back((id, Told::Opened { local, peer: None, protocol: None }));
        Ok(())
    }

    fn connect(&mut self, id: SocketId, to: SocketAddr, security: &Security, now: Instant) -> Result<(), String> {
        let tls = match security {
            Security::TlsClient { server_name, authorities, protocols } => {
                Some(self.clients.connect(server_name, authorities.as_deref(), protocols)?)
            }
            Security::Plain | Security::TlsServer { .. } => None,
        };
        let socket = platform::signal_socket::tcp::connect(None, to, Some(OWN_MARK)).map_err(|e| broken(&e))?;
        let socket = TcpStream::from_std(std::net::TcpStream::from(socket));
        self.insert(id, Socket::Stream(Box::new(Stream::connecting(id, socket, tls, now)))).map(drop)
    }

    fn write(&mut self, id: SocketId, bytes: &[u8]) {
        let Some((place, Socket::Stream(stream))) = self.find(id) else { return };
        match stream.write(bytes) {
            Ok(true) => self.queue(place),
            Ok(false) => {}
            Err(reason) => self.finish(place, reason),
        }
    }

    /// Sends a datagram, or keeps it until it is seen whether more of its kind follow.
    fn send(&mut self, id: SocketId, from: Option<std::net::IpAddr>, to: SocketAddr, bytes: &[u8]) {
        let Some((place, Socket::Udp(udp))) = self.find(id) else { return };
        let segments_max = udp.segments_max();
        let sending = &self.sending;
        let is_same = sending.to == Some(to) && sending.place == place && sending.from == from;
        let fits = is_same
            && !sending.is_full
            && !bytes.is_empty()
            && bytes.len() <= sending.segment
            && sending.count < segments_max
            && sending.bytes.len() + bytes.len() <= Sending::BYTES_MAX;
        if !fits {
            self.flush_sending();
            let sending = &mut self.sending;
            (sending.place, sending.from, sending.to) = (place, from, Some(to));
            (sending.segment, sending.is_full) = (bytes.len(), bytes.is_empty());
        }
        let sending = &mut self.sending;
        sending.bytes.extend_from_slice(bytes);
        sending.count += 1;
        sending.is_full |= bytes.len() < sending.segment;
    }

    /// Sends the datagrams that were kept.
    fn flush_sending(&mut self) {
        let Some(to) = self.sending.to.take() else { return };
        if let Some(Some(Socket::Udp(udp))) = self.sockets.get(self.sending.place) {
            let sending = &self.sending;
            let segment = (sending.count > 1).then_some(sending.segment);
            let result = udp.send(sending.from, to, &sending.bytes, segment);
            if let (Err(_), Some(segment)) = (&result, segment) {
                // The way may be one that takes no more than one at a time.
                sending.bytes.chunks(segment).for_each(|bytes| drop(udp.send(sending.from, to, bytes, None)));
            } else if let Err(e) = result {
                tracing::debug!("a datagram to {to} is not sent: {e}");
            }
        }
        self.sending.bytes.clear();
        self.sending.count = 0;
    }

    fn pause(&mut self, id: SocketId, pauses: bool) {
        let Some((place, socket)) = self.find(id) else { return };
        match socket {
            Socket::Listener(listener) => listener.is_paused = pauses,
            Socket::Stream(stream) => stream.is_paused = pauses,
            Socket::Udp(udp) => udp.is_paused = pauses,
        }
        if !pauses {
            self.queue(place);
        }
    }

    fn close(&mut self, id: SocketId, abort: bool, now: Instant) {
        self.events.retain(|(of, _)| *of != id);
        self.lookups.cancel(id);
        let Some((place, socket)) = self.find(id) else { return };
        let keeps = match socket {
            Socket::Stream(stream) if abort => {
                let _ = platform::module_socket::reset_on_close(&stream.pump.socket);
                false
            }
            Socket::Stream(stream) => stream.close(now),
            Socket::Listener(_) | Socket::Udp(_) => false,
        };
        self.flush_sending();
        self.places.remove(&id);
        if keeps { self.queue(place) } else { drop(self.remove(place)) }
    }

    fn close_all(&mut self, instance: InstanceId, now: Instant) {
        let first = SocketId { instance, number: 0 };
        let last = SocketId { instance, number: u32::MAX };
        let ids: Vec<SocketId> = self.places.range(first..=last).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.close(id, true, now));
        self.events.retain(|(of, _)| of.instance != instance);
        self.lookups.cancel_all(instance);
    }

    fn hand_over(&mut self, from: SocketId, to: SocketId) {
        let Some((place, socket)) = self.find(from) else { return };
        match socket {
            Socket::Listener(listener) => listener.id = to,
            Socket::Stream(stream) => stream.id = to,
            Socket::Udp(udp) => udp.id = to,
        }
        self.places.remove(&from);
        self.places.insert(to, place);
        for (of, _) in self.events.iter_mut().filter(|(of, _)| *of == from) {
            *of = to;
        }
        // Streams whose handshake goes on come to the new owner.
        for socket in self.sockets.iter_mut().flatten() {
            if let Socket::Stream(stream) = socket
                && stream.is_handshaking()
                && let Some((listener, _, _)) = &mut stream.accepted
                && *listener == from
            {
                *listener = to;
                self.places.remove(&stream.id);
                stream.id.instance = to.instance;
            }
        }
    }

    /// Takes a stream out that is over, and tells its owner, if it has one that knows of it.
    fn finish(&mut self, place: usize, reason: String) {
        let Some(Socket::Stream(stream)) = self.remove(place) else { return };
        if stream.is_closing() {
            return;
        }
        self.places.remove(&stream.id);
        match stream.accepted {
            Some((listener, _, peer)) if stream.is_handshaking() => {
                tracing::debug!("a stream from {peer} failed: {reason}");
                self.handshake_over(listener);
            }
            _ => self.events.push_back((stream.id, Told::Closed(reason))),
        }
    }

    /// The poll says that a socket is ready.
    pub(super) fn ready(&mut self, token: usize) {
        let place = token - self.first_token;
        if place < self.sockets.len() {
            self.queue(place);
        }
    }

    fn queue(&mut self, place: usize) {
        if !std::mem::replace(&mut self.is_ready[place], true) {
            self.ready.push_back(place);
        }
    }

    /// Whether [`NetSockets::next_event`] may find something without being told.
    pub(super) fn has_more(&self) -> bool {
        !self.ready.is_empty() || !self.events.is_empty()
    }

    /// Gives the next event to `give`. False if there is none, or it took long enough to look: [`NetSockets::has_more`]
    /// tells.
    pub(super) fn next_event(&mut self, now: Instant, give: impl FnOnce(SocketId, NetEvent<'_>)) -> bool {
        self.flush_sending();
        if let Some((query, found)) = self.lookups.finished() {
            give(query, NetEvent::Resolved(found));
            return true;
        }
        let found = match self.events.pop_front() {
            Some((socket, told)) => Some(Found::Told(socket, told)),
            None => self.look(now),
        };
        match found {
            None => return false,
            Some(Found::Told(socket, told)) => give(socket, told.event()),
            Some(Found::Received(socket, len)) => give(socket, NetEvent::Received(&self.buffer[..len])),
            Some(Found::Datagrams(socket)) => {
                let datagrams = self.batch.as_ref().map(|batch| batch.datagrams()).unwrap_or_default();
                give(socket, NetEvent::Datagrams(&datagrams));
            }
        }
        true
    }

    fn look(&mut self, now: Instant) -> Option<Found> {
        for _ in 0..NET_STEPS_MAX {
            let place = self.ready.pop_front()?;
            self.is_ready[place] = false;
            let (found, has_more) = match self.sockets.get(place)? {
                Some(Socket::Listener(_)) => self.accept_turn(place, now),
                Some(Socket::Stream(_)) => self.stream_turn(place, now),
                Some(Socket::Udp(_)) => self.udp_turn(place),
                None => (None, false),
            };
            if has_more {
                // Behind the others, so that none keeps them waiting.
                self.queue(place);
            }
            if found.is_some() {
                return found;
            }
            if let Some((socket, told)) = self.events.pop_front() {
                return Some(Found::Told(socket, told));
            }
        }
        None
    }

    fn udp_turn(&mut self, place: usize) -> (Option<Found>, bool) {
        let Some(Some(Socket::Udp(udp))) = self.sockets.get(place) else { return (None, false) };
        if udp.is_paused {
            return (None, false);
        }
        let batch = self.batch.get_or_insert_with(|| Box::new(Batch::new()));
        match udp.receive(batch) {
            Ok(true) => (Some(Found::Datagrams(udp.id)), true),
            Ok(false) => (None, false),
            Err(e) => {
                let id = udp.id;
                self.places.remove(&id);
                self.remove(place);
                (Some(Found::Told(id, Told::Closed(broken(&e)))), false)
            }
        }
    }

    fn stream_turn(&mut self, place: usize, now: Instant) -> (Option<Found>, bool) {
        let Some(Some(Socket::Stream(stream))) = self.sockets.get_mut(place) else { return (None, false) };
        let id = stream.id;
        let began = Costs::begin(stream.pump.tls().map(|_| id.instance));
        let told = |told| (Some(Found::Told(id, told)), true);
        let step = stream.advance(&mut self.buffer, now);
        self.costs.end(began);
        match step {
            Step::Waits => (None, false),
            Step::Moved => (None, true),
            Step::Received(len) => (Some(Found::Received(id, len)), true),
            Step::Drained => told(Told::Drained),
            Step::Finished => told(Told::Finished),
            Step::Opened(protocol) => match stream.accepted {
                Some((listener, local, peer)) => {
                    self.places.insert(id, place);
                    self.handshake_over(listener);
                    let accepted = Told::Accepted { stream: id, local, peer, protocol };
                    (Some(Found::Told(listener, accepted)), true)
                }
                None => {
                    let local = stream.pump.socket.local_addr().map(canonical);
                    let peer = stream.pump.socket.peer_addr().map(canonical).ok();
                    match local {
                        Ok(local) => told(Told::Opened { local, peer, protocol }),
                        Err(e) => told(Told::Closed(broken(&e))),
                    }
                }
            },
            Step::Over(reason) => {
                self.finish(place, reason);
                (None, false)
            }
        }
    }

    /// Ends what has waited for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        if now < self.sweep_at || self.sockets.is_empty() {
            return;
        }
        self.sweep_at = now + NET_SWEEP_PERIOD;
        for place in 0..self.sockets.len() {
            match &mut self.sockets[place] {
                Some(Socket::Stream(stream)) if stream.deadline().is_some_and(|at| at <= now) => {
                    let reason = stream.late();
                    self.finish(place, reason);
                }
                Some(Socket::Listener(listener)) if listener.rests_until.is_some_and(|until| until <= now) => {
                    listener.rests_until = None;
                    self.queue(place);
                }
                Some(_) | None => {}
            }
        }
    }

    /// When [`NetSockets::expire`] is to be called again at the latest.
    pub(super) fn longest_wait(&self, now: Instant) -> Option<Duration> {
        (self.free.len() < self.sockets.len()).then(|| self.sweep_at.since(now))
    }
}

impl Sending {
    /// What one call of the system takes.
    const BYTES_MAX: usize = 65_000;
}

impl Told {
    fn event(self) -> NetEvent<'static> {
        match self {
            Told::Opened { local, peer, protocol } => NetEvent::Opened { local, peer, protocol },
            Told::Accepted { stream, local, peer, protocol } => NetEvent::Accepted { stream, local, peer, protocol },
            Told::Drained => NetEvent::Drained,
            Told::Finished => NetEvent::Finished,
            Told::Closed(reason) => NetEvent::Closed { reason },
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "few of the system's errors have a remedy")]
fn not_open(at: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("port {} is taken by another program", at.port()),
        io::ErrorKind::AddrNotAvailable => format!("{} is no address of this machine", at.ip()),
        io::ErrorKind::PermissionDenied if at.port() < 1024 => {
            format!("port {}: ports below 1024 need root (CAP_NET_BIND_SERVICE)", at.port())
        }
        _ => broken(error),
    }
}

#[cfg(test)]
mod tests;

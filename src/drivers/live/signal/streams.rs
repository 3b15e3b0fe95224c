//! The table of streams, and the listening sockets from which some of them come.

#![expect(clippy::disallowed_types, reason = "a driver opens the sockets of the node")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use platform::signal_socket::{Family, tcp};

use super::counters::SignalCounters;
use super::stream::{Step, Stream};
use super::tls::{self, Tls};
use super::{SignalError, open_both};
use crate::base::limits::{
    SIGNAL_ACCEPT_PAUSE, SIGNAL_HANDSHAKES_MAX, SIGNAL_STREAMS_ACCEPTED_MAX, SIGNAL_STREAMS_MAX,
    SIGNAL_STREAMS_PER_SOURCE_MAX,
};
use crate::base::time::Instant;
use crate::drivers::live::pump::broken;
use crate::signaling::io::{StreamEvent, StreamId, StreamSecurity};

/// Listening sockets at most: for TCP and for TLS, each by IPv4 and IPv6.
pub(super) const LISTENERS_MAX: usize = 4;

/// All streams.
pub(super) struct Streams {
    registry: Registry,
    /// The token of the first listener; streams have those behind the listeners.
    first_token: usize,
    mark: Option<u32>,
    tls: Tls,
    listeners: Vec<Listener>,
    /// By place: the token behind [`LISTENERS_MAX`] others.
    streams: BTreeMap<usize, Stream>,
    places: BTreeMap<StreamId, usize>,
    free: Vec<usize>,
    /// The number of the next accepted stream.
    next_accepted: u64,
    /// What the node is still to be told, and was not caused by a socket.
    events: VecDeque<(StreamId, StreamEvent<'static>)>,
    /// When something may be due at the earliest.
    check_at: Option<Instant>,
}

struct Listener {
    socket: TcpListener,
    security: StreamSecurity,
    family: Family,
    port: u16,
    /// Until when nothing is accepted.
    paused_until: Option<Instant>,
}

/// What a socket that was ready brought.
pub(super) enum Turn {
    /// Nothing more until it is ready again.
    Waits,
    /// Something that is not for the node; there may be more.
    Moved,
    /// An event; there may be more.
    Event(StreamId, StreamEvent<'static>),
    /// So many bytes, in the buffer; there may be more.
    Received(StreamId, usize),
}

impl Streams {
    pub(super) fn new(registry: Registry, first_token: usize, mark: Option<u32>, tls: Tls) -> Streams {
        Streams {
            registry,
            first_token,
            mark,
            tls,
            listeners: Vec::new(),
            streams: BTreeMap::new(),
            places: BTreeMap::new(),
            free: (0..SIGNAL_STREAMS_MAX).rev().collect(),
            next_accepted: 1,
            events: VecDeque::new(),
            check_at: None,
        }
    }

    pub(super) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Listens at a port, by both IP versions or the one that there is.
    pub(super) fn listen(&mut self, port: u16, security: StreamSecurity) -> Result<(), SignalError> {
        let mark = self.mark;
        let sockets = open_both(
            "TCP",
            port,
            |family, port| {
                let socket = std::net::TcpListener::from(tcp::listen(family, port, mark)?);
                let port = socket.local_addr()?.port();
                Ok((TcpListener::from_std(socket), family, port))
            },
            |(_, _, port)| *port,
        )?;
        for (mut socket, family, port) in sockets {
            let token = Token(self.first_token + self.listeners.len());
            let registered = self.registry.register(&mut socket, token, Interest::READABLE);
            registered.map_err(|source| SignalError::Open { what: "TCP", port, source })?;
            self.listeners.push(Listener { socket, security, family, port, paused_until: None });
        }
        Ok(())
    }

    pub(super) fn port(&self, security: StreamSecurity, family: Family) -> Option<u16> {
        let listener = self.listeners.iter().find(|l| l.security == security && l.family == family)?;
        Some(listener.port)
    }

    /// Begins to open a stream.
    pub(super) fn connect(
        &mut self,
        id: StreamId,
        from: Option<IpAddr>,
        to: SocketAddr,
        security: StreamSecurity,
        now: Instant,
    ) -> Option<usize> {
        if self.places.contains_key(&id) {
            tracing::warn!("stream {} was opened twice; the second is ignored", id.0);
            return None;
        }
        match self.try_connect(id, from, to, security, now) {
            Ok(place) => Some(self.token(place)),
            Err(reason) => {
                self.events.push_back((id, StreamEvent::Closed { reason }));
                None
            }
        }
    }

    fn try_connect(
        &mut self,
        id: StreamId,
        from: Option<IpAddr>,
        to: SocketAddr,
        security: StreamSecurity,
        now: Instant,
    ) -> Result<usize, String> {
        let Some(place) = self.free.last().copied() else {
            return Err(format!("this side has {SIGNAL_STREAMS_MAX} connections already"));
        };
        let tls = match security {
            StreamSecurity::Plain => None,
            StreamSecurity::Tls => Some(self.tls.connect(to.ip()).map_err(|e| tls::words(&e))?),
        };
        let socket = tcp::connect(from, to, self.mark).map_err(|e| broken(&e))?;
        let socket = TcpStream::from_std(std::net::TcpStream::from(socket));
        self.insert(place, Stream::connecting(id, socket, tls, now)).map_err(|e| broken(&e))?;
        Ok(place)
    }

    /// Puts a stream at the place that is next.
    fn insert(&mut self, place: usize, mut stream: Stream) -> io::Result<()> {
        let token = Token(self.token(place));
        self.registry.register(&mut stream.pump.socket, token, Interest::READABLE | Interest::WRITABLE)?;
        self.free.pop();
        self.note_deadline(&stream);
        self.places.insert(stream.id, place);
        self.streams.insert(place, stream);
        Ok(())
    }

    fn token(&self, place: usize) -> usize {
        self.first_token + LISTENERS_MAX + place
    }

    fn note_deadline(&mut self, stream: &Stream) {
        if let Some(at) = stream.deadline() {
            self.check_at = Some(self.check_at.map_or(at, |check| check.min(at)));
        }
    }

    /// Writes to a stream.
    pub(super) fn write(&mut self, id: StreamId, bytes: &[u8], now: Instant, counters: &mut SignalCounters) {
        // The stream may have ended while the node wrote.
        let Some(place) = self.places.get(&id).copied() else { return };
        let Some(stream) = self.streams.get_mut(&place) else { return };
        match stream.write(bytes, now) {
            Ok(()) => {
                if let Some(at) = stream.deadline() {
                    self.check_at = Some(self.check_at.map_or(at, |check| check.min(at)));
                }
            }
            Err(reason) => {
                let event = self.finish(place, reason, counters);
                self.events.extend(event);
            }
        }
    }

    /// Closes a stream; returns its token if that goes on.
    pub(super) fn close(&mut self, id: StreamId, now: Instant) -> Option<usize> {
        self.events.retain(|(of, _)| *of != id);
        let place = self.places.remove(&id)?;
        let stream = self.streams.get_mut(&place)?;
        if !stream.close(now) {
            self.remove(place);
            return None;
        }
        let at = stream.deadline();
        self.check_at = [self.check_at, at].into_iter().flatten().min();
        Some(self.token(place))
    }

    fn remove(&mut self, place: usize) -> Option<Stream> {
        let mut stream = self.streams.remove(&place)?;
        let _ = self.registry.deregister(&mut stream.pump.socket);
        self.free.push(place);
        Some(stream)
    }

    /// Takes a stream out that is over; answers what the node is to be told.
    fn finish(
        &mut self,
        place: usize,
        reason: String,
        counters: &mut SignalCounters,
    ) -> Option<(StreamId, StreamEvent<'static>)> {
        let stream = self.remove(place)?;
        self.forget(&stream, reason, counters)
    }

    /// Answers what the node is to be told of a stream that is over, and forgets its number.
    fn forget(
        &mut self,
        stream: &Stream,
        reason: String,
        counters: &mut SignalCounters,
    ) -> Option<(StreamId, StreamEvent<'static>)> {
        if stream.is_closed() {
            return None;
        }
        self.places.remove(&stream.id);
        match stream.accepted {
            // The node never heard of it.
            Some((from, _)) if stream.is_handshaking() => {
                counters.handshakes_failed += 1;
                tracing::debug!("a connection from {from} failed: {reason}");
                None
            }
            _ => Some((stream.id, StreamEvent::Closed { reason })),
        }
    }

    /// The next event that no socket caused.
    pub(super) fn next_event(&mut self) -> Option<(StreamId, StreamEvent<'static>)> {
        self.events.pop_front()
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Looks at a socket that is ready. `token` counts from the first of this table. A stream that a listener accepted
    /// is put into `ready`.
    pub(super) fn turn(
        &mut self,
        token: usize,
        buffer: &mut [u8],
        now: Instant,
        ready: &mut Vec<usize>,
        counters: &mut SignalCounters,
    ) -> Turn {
        let Some(place) = token.checked_sub(LISTENERS_MAX) else { return self.accept(token, now, ready, counters) };
        let Some(stream) = self.streams.get_mut(&place) else { return Turn::Waits };
        match stream.advance(buffer, now) {
            Step::Waits => {
                self.check_again(place);
                Turn::Waits
            }
            Step::Moved => {
                self.check_again(place);
                Turn::Moved
            }
            Step::Opened(event) => Turn::Event(stream.id, event),
            Step::Received(len) => Turn::Received(stream.id, len),
            Step::Over { reason, lingers } => {
                let over = if lingers && !stream.is_closed() {
                    self.linger(place, reason, now, counters)
                } else {
                    self.finish(place, reason, counters)
                };
                over.map_or(Turn::Moved, |(id, event)| Turn::Event(id, event))
            }
        }
    }

    fn check_again(&mut self, place: usize) {
        let at = self.streams.get(&place).and_then(Stream::deadline);
        self.check_at = [self.check_at, at].into_iter().flatten().min();
    }

    /// As [`Streams::finish`], but the peer is told why first.
    fn linger(
        &mut self,
        place: usize,
        reason: String,
        now: Instant,
        counters: &mut SignalCounters,
    ) -> Option<(StreamId, StreamEvent<'static>)> {
        let mut stream = self.streams.remove(&place)?;
        let event = self.forget(&stream, reason, counters);
        stream.linger(now);
        self.note_deadline(&stream);
        self.streams.insert(place, stream);
        event
    }

    fn accept(&mut self, index: usize, now: Instant, ready: &mut Vec<usize>, counters: &mut SignalCounters) -> Turn {
        let Some(listener) = self.listeners.get_mut(index) else { return Turn::Waits };
        if listener.paused_until.is_some() {
            return Turn::Waits;
        }
        let (socket, from) = match listener.socket.accept() {
            Ok(accepted) => accepted,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Turn::Waits,
            // It was over before it was accepted.
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => return Turn::Moved,
            Err(e) => {
                tracing::debug!("no connection is accepted: {e}");
                counters.accepts_failed += 1;
                let until = now + SIGNAL_ACCEPT_PAUSE;
                listener.paused_until = Some(until);
                self.check_at = Some(self.check_at.map_or(until, |check| check.min(until)));
                return Turn::Waits;
            }
        };
        let security = listener.security;
        if let Err(reason) = self.take_in(socket, from, security, now, ready, counters) {
            counters.streams_refused += 1;
            tracing::debug!("a connection from {from} is refused: {reason}");
        }
        Turn::Moved
    }

    fn take_in(
        &mut self,
        socket: TcpStream,
        from: SocketAddr,
        security: StreamSecurity,
        now: Instant,
        ready: &mut Vec<usize>,
        counters: &mut SignalCounters,
    ) -> Result<(), String> {
        self.make_room(from.ip(), security, counters)?;
        let place = self.free.last().copied().ok_or("all places for connections are taken")?;
        let tls = match security {
            StreamSecurity::Plain => None,
            StreamSecurity::Tls => Some(self.tls.accept().map_err(|e| tls::words(&e))?),
        };
        let to = socket.local_addr().map_err(|e| broken(&e))?;
        let _ = socket.set_nodelay(true);
        let id = StreamId(self.next_accepted);
        self.insert(place, Stream::accepted(id, socket, tls, (from, to), now)).map_err(|e| broken(&e))?;
        self.next_accepted += 2;
        counters.streams_accepted += 1;
        ready.push(LISTENERS_MAX + place);
        Ok(())
    }

    /// Makes room for a connection from `source`, or says why there is none. Those that have shown nothing yet give
    /// way to it, the oldest first.
    fn make_room(
        &mut self,
        source: IpAddr,
        security: StreamSecurity,
        counters: &mut SignalCounters,
    ) -> Result<(), String> {
        let accepted = || self.streams.iter().filter_map(|(place, s)| s.accepted.map(|(from, _)| (*place, s, from)));
        let network = network(source);
        if accepted().filter(|(_, _, from)| self::network(from.ip()) == network).count()
            >= SIGNAL_STREAMS_PER_SOURCE_MAX
        {
            return Err(format!("it has {SIGNAL_STREAMS_PER_SOURCE_MAX} already"));
        }
        let oldest = |of: fn(&Stream) -> bool| {
            let candidates = accepted().filter(|(_, s, _)| of(s));
            candidates.min_by_key(|(_, s, _)| (s.since(), s.id)).map(|(place, _, _)| place)
        };
        let handshakes = accepted().filter(|(_, s, _)| s.is_handshaking()).count();
        let evicted = if accepted().count() >= SIGNAL_STREAMS_ACCEPTED_MAX {
            Some(oldest(|s| !s.has_heard).ok_or("all places for accepted connections are taken")?)
        } else if security == StreamSecurity::Tls && handshakes >= SIGNAL_HANDSHAKES_MAX {
            oldest(Stream::is_handshaking)
        } else {
            None
        };
        if let Some(place) = evicted {
            counters.streams_evicted += 1;
            let event = self.finish(place, "it said nothing, and its place was needed".to_owned(), counters);
            self.events.extend(event);
        }
        Ok(())
    }

    /// Ends what has waited for too long. Listeners that may accept again are put into `ready`.
    pub(super) fn expire(&mut self, now: Instant, ready: &mut Vec<usize>, counters: &mut SignalCounters) {
        if self.check_at.is_none_or(|at| now < at) {
            return;
        }
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if listener.paused_until.is_some_and(|until| until <= now) {
                listener.paused_until = None;
                ready.push(index);
            }
        }
        let is_late = |stream: &Stream| stream.deadline().is_some_and(|at| at <= now);
        let late: Vec<usize> = self.streams.iter().filter(|(_, s)| is_late(s)).map(|(place, _)| *place).collect();
        for place in late {
            let reason = self.streams.get(&place).map(Stream::late).unwrap_or_default();
            let event = self.finish(place, reason, counters);
            self.events.extend(event);
        }
        let paused = self.listeners.iter().filter_map(|listener| listener.paused_until);
        self.check_at = self.streams.values().filter_map(Stream::deadline).chain(paused).min();
    }

    /// The time to the next [`Streams::expire`].
    pub(super) fn longest_wait(&self, now: Instant) -> Option<Duration> {
        self.check_at.map(|at| at.since(now))
    }

    pub(super) fn count(&self) -> usize {
        self.streams.len()
    }
}

/// What counts as one source: an IPv6 user has a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
    }
}

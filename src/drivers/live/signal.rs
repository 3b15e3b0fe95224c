//! The sockets of signalling: UDP, TCP and TLS, as the machines in [`crate::signaling`] ask for them.
//!
//! The owner is a loop around a [`mio::Poll`], of a node or of a command. It
//!
//! 1. calls [`SignalSockets::ready`] for each token of [`SignalSockets::tokens`] that the poll tells;
//! 2. takes inputs by [`SignalSockets::next_input`] until there is none, or its turn is over; each is given to the
//!    machine, and what that then asks for goes to [`SignalSockets::perform`];
//! 3. calls [`SignalSockets::expire`] and waits, at most [`SignalSockets::longest_wait`], and not at all if
//!    [`SignalSockets::has_more`].
//!
//! Nothing here waits, and everything is bounded: the number of streams, what waits on each, and the time it may wait.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;
use std::{fmt, io};

use mio::Registry;
use platform::signal_socket::{Family, Received, UdpOptions};

use self::counters::SignalCounters;
use self::datagrams::{Datagrams, UDP_MAX};
use self::streams::{LISTENERS_MAX, Streams};
use self::tls::Tls;
use crate::base::limits::{SIGNAL_READ_BYTES, SIGNAL_STEPS_MAX, SIGNAL_STREAMS_MAX};
use crate::base::time::Instant;
use crate::signaling::io::{
    DatagramIn, PeerKey, SignalInput, SocketOutput, StreamEvent, StreamId, StreamSecurity, Unreachable,
};

mod certificate;
pub mod counters;
mod datagrams;
pub mod paths;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
mod tls;

/// `SO_MARK` of the program's own sockets, whose traffic is never steered.
pub const OWN_MARK: u32 = 0x4e53;

/// Tokens that the sockets need.
const TOKENS: usize = UDP_MAX + LISTENERS_MAX + SIGNAL_STREAMS_MAX;
/// How often a port is looked for that is free for both IP versions.
const SAME_PORT_TRIES: usize = 8;

/// Which sockets there are to be.
#[derive(Clone)]
pub struct SignalConfig {
    /// The UDP port; 0 lets the system choose, the same for both IP versions if it can.
    pub udp_port: u16,
    /// At which port TCP connections are accepted (0: the system chooses); `None` for not at all.
    pub tcp_port: Option<u16>,
    /// At which port TLS connections are accepted (0: the system chooses); `None` for not at all.
    pub tls_port: Option<u16>,
    /// This side's Ed25519 key, as PKCS #8: what its peers know it by.
    pub identity: Vec<u8>,
    /// `SO_MARK` of all sockets, where the program may set it; see [`OWN_MARK`].
    pub mark: Option<u32>,
    /// Whether datagrams are sent whose source address is that of another machine (a Query with the S-flag clear),
    /// where the program may.
    pub foreign_sources: bool,
}

impl fmt::Debug for SignalConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key, which is secret.
        f.debug_struct("SignalConfig")
            .field("udp_port", &self.udp_port)
            .field("tcp_port", &self.tcp_port)
            .field("tls_port", &self.tls_port)
            .field("mark", &self.mark)
            .field("foreign_sources", &self.foreign_sources)
            .finish_non_exhaustive()
    }
}

/// Why there are no signalling sockets.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// A socket.
    #[error("cannot open {what} port {port} for signalling: {source}{}", remedy(*.port, .source))]
    Open {
        /// UDP or TCP.
        what: &'static str,
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The key.
    #[error("this side's key cannot be used for TLS: {0}")]
    Identity(String),
}

#[expect(clippy::wildcard_enum_match_arm, reason = "few of the system's errors have a remedy")]
fn remedy(port: u16, error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has it",
        io::ErrorKind::PermissionDenied if port < 1024 => "; ports below 1024 need root (CAP_NET_BIND_SERVICE)",
        _ => "",
    }
}

/// The sockets.
pub struct SignalSockets {
    first_token: usize,
    datagrams: Datagrams,
    streams: Streams,
    /// Tokens, from the first, that may have more; in the order in which they get their turn.
    ready: VecDeque<usize>,
    /// The same, to find them.
    is_ready: BTreeSet<usize>,
    buffer: Box<[u8]>,
    /// Payload of what could not be sent, while it is reported.
    unsent: Vec<u8>,
    counters: SignalCounters,
}

/// What one step brought for the machine; its bytes are in the buffer.
enum Found {
    Datagram(Received),
    Event(StreamId, StreamEvent<'static>),
    Received(StreamId, usize),
    Unreachable { destination: SocketAddr, reporter: Option<IpAddr>, port_closed: bool, len: usize },
    Unsent(SocketAddr),
}

impl SignalSockets {
    /// Opens the sockets, which have the tokens of [`SignalSockets::tokens`] from `first_token` on.
    ///
    /// # Errors
    ///
    /// When a port cannot be used by any IP version, or the key is none.
    pub fn open(config: &SignalConfig, registry: &Registry, first_token: usize) -> Result<SignalSockets, SignalError> {
        let tls = Tls::new(&config.identity).map_err(SignalError::Identity)?;
        let options = UdpOptions { port: config.udp_port, mark: config.mark, foreign_sources: config.foreign_sources };
        let datagrams = Datagrams::open(options, registry, first_token)?;
        let own_registry =
            registry.try_clone().map_err(|source| SignalError::Open { what: "UDP", port: config.udp_port, source })?;
        let mut streams = Streams::new(own_registry, first_token + UDP_MAX, config.mark, tls);
        for (port, security) in [(config.tcp_port, StreamSecurity::Plain), (config.tls_port, StreamSecurity::Tls)] {
            if let Some(port) = port {
                streams.listen(port, security)?;
            }
        }
        Ok(SignalSockets {
            first_token,
            datagrams,
            streams,
            ready: VecDeque::new(),
            is_ready: BTreeSet::new(),
            buffer: vec![0; SIGNAL_READ_BYTES].into_boxed_slice(),
            unsent: Vec::new(),
            counters: SignalCounters::default(),
        })
    }

    /// The tokens of these sockets.
    #[must_use]
    pub fn tokens(&self) -> Range<usize> {
        self.first_token..self.first_token + TOKENS
    }

    /// The UDP port for one IP version; `None` if there is no socket.
    #[must_use]
    pub fn udp_port(&self, is_v6: bool) -> Option<u16> {
        self.datagrams.port(family(is_v6))
    }

    /// The port at which streams are accepted, for one IP version; `None` if there is none.
    #[must_use]
    pub fn stream_port(&self, security: StreamSecurity, is_v6: bool) -> Option<u16> {
        self.streams.port(security, family(is_v6))
    }

    /// The public key that TLS peers see.
    #[must_use]
    pub fn own_key(&self) -> PeerKey {
        self.streams.tls().key()
    }

    /// Whether datagrams can have the source address of another machine.
    #[must_use]
    pub fn can_send_foreign(&self) -> bool {
        self.datagrams.can_send_foreign()
    }

    /// What happened until now.
    #[must_use]
    pub fn counters(&self) -> &SignalCounters {
        &self.counters
    }

    /// Streams at this moment, with those that are being opened or closed.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.streams.count()
    }

    /// Does what the machine asks for.
    pub fn perform(&mut self, output: SocketOutput, now: Instant) {
        match output {
            SocketOutput::Datagram(datagram) => self.datagrams.send(&datagram, &mut self.counters),
            SocketOutput::Connect { stream, from, to, security } => {
                let token = self.streams.connect(stream, from, to, security, now);
                self.mark_ready(token);
            }
            SocketOutput::Write { stream, bytes } => self.streams.write(stream, &bytes, now, &mut self.counters),
            SocketOutput::Close { stream } => {
                let token = self.streams.close(stream, now);
                self.mark_ready(token);
            }
        }
    }

    /// The poll says that a socket is ready.
    pub fn ready(&mut self, token: usize) {
        if self.tokens().contains(&token) {
            self.mark_ready(Some(token));
        }
    }

    fn mark_ready(&mut self, token: Option<usize>) {
        if let Some(token) = token {
            self.queue(token - self.first_token);
        }
    }

    fn queue(&mut self, offset: usize) {
        if self.is_ready.insert(offset) {
            self.ready.push_back(offset);
        }
    }

    /// Whether [`SignalSockets::next_input`] may find something without being told.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.ready.is_empty() || self.streams.has_events() || self.datagrams.has_unsent()
    }

    /// Takes the next input for the machine. `None` means that there is none, or that it took long enough to look:
    /// [`SignalSockets::has_more`] tells.
    pub fn next_input(&mut self, now: Instant) -> Option<SignalInput<'_>> {
        let found = self.find(now)?;
        Some(match found {
            Found::Datagram(received) => SignalInput::Datagram(DatagramIn {
                source: received.source,
                destination: received.destination,
                ttl: received.ttl,
                router_alert: received.router_alert,
                interface: received.interface,
                payload: &self.buffer[..received.len],
            }),
            Found::Event(id, event) => SignalInput::Stream(id, event),
            Found::Received(id, len) => SignalInput::Stream(id, StreamEvent::Received(&self.buffer[..len])),
            Found::Unreachable { destination, reporter, port_closed, len } => {
                let payload = &self.buffer[..len];
                SignalInput::Unreachable(Unreachable { destination, reporter, port_closed, payload })
            }
            Found::Unsent(destination) => SignalInput::Unreachable(Unreachable {
                destination,
                reporter: None,
                port_closed: false,
                payload: &self.unsent,
            }),
        })
    }

    fn find(&mut self, now: Instant) -> Option<Found> {
        if let Some((id, event)) = self.streams.next_event() {
            return Some(Found::Event(id, event));
        }
        if let Some((destination, payload)) = self.datagrams.next_unsent() {
            self.unsent = payload;
            return Some(Found::Unsent(destination));
        }
        for _ in 0..SIGNAL_STEPS_MAX {
            let offset = self.ready.pop_front()?;
            self.is_ready.remove(&offset);
            // What may have more comes behind the others, so that none keeps them waiting.
            let (found, has_more) = match offset.checked_sub(UDP_MAX) {
                None => self.datagram_turn(offset),
                Some(offset) => self.stream_turn(offset, now),
            };
            if has_more {
                self.queue(offset);
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn datagram_turn(&mut self, index: usize) -> (Option<Found>, bool) {
        match self.datagrams.turn(index, &mut self.buffer, &mut self.counters) {
            datagrams::Turn::Waits => (None, false),
            datagrams::Turn::Moved => (None, true),
            datagrams::Turn::Datagram(received) => (Some(Found::Datagram(received)), true),
            datagrams::Turn::Unreachable { destination, reporter, port_closed, len } => {
                (Some(Found::Unreachable { destination, reporter, port_closed, len }), true)
            }
        }
    }

    fn stream_turn(&mut self, offset: usize, now: Instant) -> (Option<Found>, bool) {
        let mut ready = Vec::new();
        let turn = self.streams.turn(offset, &mut self.buffer, now, &mut ready, &mut self.counters);
        for offset in ready {
            self.queue(UDP_MAX + offset);
        }
        match turn {
            streams::Turn::Waits => (None, false),
            streams::Turn::Moved => (None, true),
            streams::Turn::Event(id, event) => (Some(Found::Event(id, event)), true),
            streams::Turn::Received(id, len) => (Some(Found::Received(id, len)), true),
        }
    }

    /// Ends what has waited for too long.
    pub fn expire(&mut self, now: Instant) {
        let mut ready = Vec::new();
        self.streams.expire(now, &mut ready, &mut self.counters);
        for offset in ready {
            self.queue(UDP_MAX + offset);
        }
    }

    /// When [`SignalSockets::expire`] is to be called again at the latest.
    #[must_use]
    pub fn longest_wait(&self, now: Instant) -> Option<Duration> {
        self.streams.longest_wait(now)
    }
}

fn family(is_v6: bool) -> Family {
    if is_v6 { Family::V6 } else { Family::V4 }
}

/// Opens one socket per IP version, at the same port if possible. A machine may have only one IP version, and one is
/// enough; but a port that another program has is an error, and not half a node.
fn open_both<S>(
    what: &'static str,
    port: u16,
    open: impl Fn(Family, u16) -> io::Result<S>,
    port_of: impl Fn(&S) -> u16,
) -> Result<Vec<S>, SignalError> {
    let failed = |source| SignalError::Open { what, port, source };
    let is_taken = |e: &io::Error| e.kind() == io::ErrorKind::AddrInUse;
    for try_index in 0..SAME_PORT_TRIES {
        let first = match open(Family::V4, port) {
            Ok(first) => first,
            Err(e) if is_taken(&e) || e.kind() == io::ErrorKind::PermissionDenied => return Err(failed(e)),
            Err(_) => return open(Family::V6, port).map(|socket| vec![socket]).map_err(failed),
        };
        match open(Family::V6, port_of(&first)) {
            Ok(second) => return Ok(vec![first, second]),
            Err(e) if !is_taken(&e) => return Ok(vec![first]),
            Err(e) if port != 0 => return Err(failed(e)),
            Err(_) if try_index + 1 < SAME_PORT_TRIES => {}
            Err(_) => return Ok([Some(first), open(Family::V6, 0).ok()].into_iter().flatten().collect()),
        }
    }
    unreachable!("the last try returns")
}

//! One stream: a connection, perhaps TLS over it, and what is still to be written.

#![expect(clippy::wildcard_enum_match_arm, reason = "the system knows many errors, and few matter here")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use rustls::Connection;

use super::tls;
use crate::base::limits::{
    SIGNAL_CLOSE_WAIT_MAX, SIGNAL_CONNECT_WAIT_MAX, SIGNAL_DISCARDED_BYTES_MAX, SIGNAL_HANDSHAKE_WAIT_MAX,
    SIGNAL_STREAM_QUEUE_BYTES_MAX, SIGNAL_WRITE_WAIT_MAX,
};
use crate::base::time::Instant;
use crate::signaling::io::{StreamEvent, StreamId, StreamSecurity};

/// A stream.
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) socket: TcpStream,
    tls: Option<Box<Connection>>,
    state: State,
    /// For an accepted one: from where, and to which address.
    pub(super) accepted: Option<(SocketAddr, SocketAddr)>,
    /// What is still to be written, from `written` on.
    output: Vec<u8>,
    written: usize,
    /// When it came into its state, or when its peer last took something of what waits.
    since: Instant,
    /// The peer has said something.
    pub(super) has_heard: bool,
    discarded_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Handshaking,
    Open,
    /// Closed here; the last bytes are sent, and the peer's end is waited for.
    Closing,
    /// As before, with everything sent.
    Ended,
}

/// What became of a stream when it was looked at.
pub(super) enum Step {
    /// Nothing more until it is ready again.
    Waits,
    /// Something that is nobody's concern; there may be more.
    Moved,
    /// It is open: a [`StreamEvent::Connected`] or [`StreamEvent::Accepted`].
    Opened(StreamEvent<'static>),
    /// So many bytes came, and are in the buffer.
    Received(usize),
    /// It is over. `lingers`: the peer is still to be told why.
    Over { reason: String, lingers: bool },
}

impl Stream {
    /// A stream that is being opened.
    pub(super) fn connecting(id: StreamId, socket: TcpStream, tls: Option<Connection>, now: Instant) -> Stream {
        Stream::new(id, socket, tls, State::Connecting, now)
    }

    /// A stream that a peer opened.
    pub(super) fn accepted(
        id: StreamId,
        socket: TcpStream,
        tls: Option<Connection>,
        addresses: (SocketAddr, SocketAddr),
        now: Instant,
    ) -> Stream {
        let mut stream = Stream::new(id, socket, tls, State::Handshaking, now);
        stream.accepted = Some(addresses);
        stream
    }

    fn new(id: StreamId, socket: TcpStream, tls: Option<Connection>, state: State, since: Instant) -> Stream {
        Stream {
            id,
            socket,
            tls: tls.map(Box::new),
            state,
            accepted: None,
            output: Vec::new(),
            written: 0,
            since,
            has_heard: false,
            discarded_bytes: 0,
        }
    }

    /// Whether a handshake goes on.
    pub(super) fn is_handshaking(&self) -> bool {
        self.state == State::Handshaking
    }

    /// Whether it was closed here.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closing | State::Ended)
    }

    /// Since when it is in its state.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Until when something must happen.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let wait = match self.state {
            State::Connecting => SIGNAL_CONNECT_WAIT_MAX,
            State::Handshaking => SIGNAL_HANDSHAKE_WAIT_MAX,
            State::Open if self.has_output() => SIGNAL_WRITE_WAIT_MAX,
            State::Open => return None,
            State::Closing | State::Ended => SIGNAL_CLOSE_WAIT_MAX,
        };
        Some(self.since + wait)
    }

    /// Why it is over when its deadline has passed.
    pub(super) fn late(&self) -> String {
        let (what, wait) = match self.state {
            State::Connecting => ("the peer did not answer", SIGNAL_CONNECT_WAIT_MAX),
            State::Handshaking => ("the TLS handshake was not done", SIGNAL_HANDSHAKE_WAIT_MAX),
            State::Open => ("the peer read nothing of what waits", SIGNAL_WRITE_WAIT_MAX),
            State::Closing | State::Ended => ("the peer did not end it", SIGNAL_CLOSE_WAIT_MAX),
        };
        format!("{what} within {} s", wait.as_secs())
    }

    fn has_output(&self) -> bool {
        self.written < self.output.len() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }

    /// Takes one step: goes on with what it is about, or reads.
    pub(super) fn advance(&mut self, buffer: &mut [u8], now: Instant) -> Step {
        let result = match self.state {
            State::Connecting => self.connect(now),
            State::Handshaking => self.shake_hands(now),
            State::Open => self.write_and_read(buffer, now),
            State::Closing | State::Ended => self.end(buffer, now),
        };
        result.unwrap_or_else(|e| self.broken(&e))
    }

    fn broken(&mut self, error: &io::Error) -> Step {
        match error.kind() {
            ErrorKind::WouldBlock => Step::Waits,
            ErrorKind::Interrupted => Step::Moved,
            _ => Step::Over { reason: broken(error), lingers: false },
        }
    }

    fn connect(&mut self, now: Instant) -> io::Result<Step> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => {
                self.enter(State::Handshaking, now);
                Ok(Step::Moved)
            }
            Err(e) if e.kind() == ErrorKind::NotConnected => Ok(Step::Waits),
            Err(e) => Err(e),
        }
    }

    fn shake_hands(&mut self, now: Instant) -> io::Result<Step> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                if tls.write_tls(&mut self.socket)? == 0 {
                    return Err(io::Error::from(ErrorKind::WriteZero));
                }
            }
            if tls.is_handshaking() {
                return Ok(self.read_tls());
            }
        }
        let peer_key = match &self.tls {
            Some(tls) => match tls::peer_key(tls) {
                Some(key) => Some(key),
                None => return Ok(over("the peer presented no certificate with an Ed25519 key")),
            },
            None => None,
        };
        self.enter(State::Open, now);
        Ok(Step::Opened(match self.accepted {
            Some((from, to)) => StreamEvent::Accepted { from, to, security: self.security(), peer_key },
            None => StreamEvent::Connected { from: self.socket.local_addr()?, peer_key },
        }))
    }

    fn security(&self) -> StreamSecurity {
        if self.tls.is_some() { StreamSecurity::Tls } else { StreamSecurity::Plain }
    }

    /// Reads some of what the peer sent by TLS.
    fn read_tls(&mut self) -> Step {
        let Some(tls) = &mut self.tls else { return Step::Waits };
        match tls.read_tls(&mut self.socket) {
            Ok(0) if tls.is_handshaking() => return over("the peer ended it during the TLS handshake"),
            Ok(0) => return over("the peer ended it"),
            Ok(_) => {}
            Err(e) => return self.broken(&e),
        }
        let Err(error) = tls.process_new_packets() else { return Step::Moved };
        // An alert for the peer, if there is one.
        Step::Over { reason: tls::words(&error), lingers: true }
    }

    fn write_and_read(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<Step> {
        self.flush(now)?;
        let read = match &mut self.tls {
            None => self.socket.read(buffer),
            Some(tls) => match tls.reader().read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(self.read_tls()),
                read => read,
            },
        };
        match read? {
            0 => Ok(over("the peer ended it")),
            len => {
                self.has_heard = true;
                Ok(Step::Received(len))
            }
        }
    }

    /// Puts bytes behind those that wait, and writes what goes at once.
    ///
    /// # Errors
    ///
    /// Why the stream is over.
    pub(super) fn write(&mut self, bytes: &[u8], now: Instant) -> Result<(), String> {
        if !self.has_output() {
            self.since = if self.state == State::Open { now } else { self.since };
        }
        // Moved to the front only when that pays.
        if self.written > self.output.len() / 2 {
            self.output.drain(..self.written);
            self.written = 0;
        }
        self.output.extend_from_slice(bytes);
        if self.state == State::Open {
            self.flush(now).map_err(|e| broken(&e))?;
        }
        if self.output.len() - self.written > SIGNAL_STREAM_QUEUE_BYTES_MAX {
            return Err(format!("the peer does not read: more than {SIGNAL_STREAM_QUEUE_BYTES_MAX} bytes wait"));
        }
        Ok(())
    }

    /// Writes what waits as far as that goes now.
    fn flush(&mut self, now: Instant) -> io::Result<()> {
        match self.flush_some(now) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            result => result,
        }
    }

    fn flush_some(&mut self, now: Instant) -> io::Result<()> {
        loop {
            if let Some(tls) = &mut self.tls {
                while tls.wants_write() {
                    if tls.write_tls(&mut self.socket)? == 0 {
                        return Err(io::Error::from(ErrorKind::WriteZero));
                    }
                    self.since = now;
                }
            }
            let rest = &self.output[self.written..];
            if rest.is_empty() {
                self.output = Vec::new();
                self.written = 0;
                return Ok(());
            }
            let len = match &mut self.tls {
                Some(tls) => tls.writer().write(rest)?,
                None => self.socket.write(rest)?,
            };
            if len == 0 {
                return Err(io::Error::from(ErrorKind::WriteZero));
            }
            self.written += len;
            if self.tls.is_none() {
                self.since = now;
            }
        }
    }

    /// Closes it. Returns whether it must be kept until that is done.
    pub(super) fn close(&mut self, now: Instant) -> bool {
        let was_open = self.state == State::Open;
        self.enter(State::Closing, now);
        was_open
    }

    /// Lets the peer know why the stream is over, after a failure.
    pub(super) fn linger(&mut self, now: Instant) {
        self.output = Vec::new();
        self.written = 0;
        self.enter(State::Closing, now);
    }

    fn end(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<Step> {
        if self.state == State::Closing {
            let since = self.since;
            self.flush(now)?;
            self.since = since;
            if !self.has_output() {
                if let Some(tls) = &mut self.tls {
                    tls.send_close_notify();
                    while tls.wants_write() && tls.write_tls(&mut self.socket)? > 0 {}
                }
                self.socket.shutdown(Shutdown::Write)?;
                self.state = State::Ended;
            }
        }
        // What the peer still sends is read: otherwise the system would break the connection, and what was sent last
        // might be lost.
        match self.socket.read(buffer)? {
            0 => Ok(over("closed")),
            len => {
                self.discarded_bytes += len;
                let is_enough = self.discarded_bytes > SIGNAL_DISCARDED_BYTES_MAX;
                Ok(if is_enough { over("closed") } else { Step::Moved })
            }
        }
    }
}

fn over(reason: &str) -> Step {
    Step::Over { reason: reason.to_owned(), lingers: false }
}

/// What the system says of a connection, in words.
pub(super) fn broken(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "the peer refuses connections to this port".to_owned(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "the peer broke it off".to_owned(),
        ErrorKind::TimedOut => "the peer did not answer".to_owned(),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "the peer cannot be reached".to_owned(),
        // rustls says so of an end without a farewell.
        ErrorKind::UnexpectedEof => "the peer ended it without a farewell".to_owned(),
        _ => error.to_string(),
    }
}

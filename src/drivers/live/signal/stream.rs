//! One stream: a connection, perhaps TLS over it, and what is still to be written.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use mio::net::TcpStream;
use rustls::Connection;

use super::tls;
use crate::base::limits::{
    SIGNAL_CLOSE_WAIT_MAX, SIGNAL_CONNECT_WAIT_MAX, SIGNAL_DISCARDED_BYTES_MAX, SIGNAL_HANDSHAKE_WAIT_MAX,
    SIGNAL_STREAM_QUEUE_BYTES_MAX, SIGNAL_WRITE_WAIT_MAX,
};
use crate::base::time::Instant;
use crate::drivers::live::pump::{Pump, Stop, Took, broken};
use crate::signaling::io::{StreamEvent, StreamId, StreamSecurity};

/// A stream.
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) pump: Pump,
    state: State,
    /// For an accepted one: from where, and to which address.
    pub(super) accepted: Option<(SocketAddr, SocketAddr)>,
    /// When it came into its state, or when its peer last took something of what waits.
    since: Instant,
    /// The peer has said something.
    pub(super) has_heard: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Handshaking,
    Open,
    /// Closed here; the last bytes are sent, and the peer's end is waited for.
    Closing,
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
        Stream { id, pump: Pump::new(socket, tls), state, accepted: None, since, has_heard: false }
    }

    /// Whether a handshake goes on.
    pub(super) fn is_handshaking(&self) -> bool {
        self.state == State::Handshaking
    }

    /// Whether it was closed here.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closing
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
            State::Open if self.pump.has_output() => SIGNAL_WRITE_WAIT_MAX,
            State::Open => return None,
            State::Closing => SIGNAL_CLOSE_WAIT_MAX,
        };
        Some(self.since + wait)
    }

    /// Why it is over when its deadline has passed.
    pub(super) fn late(&self) -> String {
        let (what, wait) = match self.state {
            State::Connecting => ("the peer did not answer", SIGNAL_CONNECT_WAIT_MAX),
            State::Handshaking => ("the TLS handshake was not done", SIGNAL_HANDSHAKE_WAIT_MAX),
            State::Open => ("the peer read nothing of what waits", SIGNAL_WRITE_WAIT_MAX),
            State::Closing => ("the peer did not end it", SIGNAL_CLOSE_WAIT_MAX),
        };
        format!("{what} within {} s", wait.as_secs())
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
            State::Closing => self.pump.close(buffer, SIGNAL_DISCARDED_BYTES_MAX).map_err(Stop::Io).map(closed),
        };
        result.unwrap_or_else(|stop| self.stopped(&stop))
    }

    fn stopped(&mut self, stop: &Stop) -> Step {
        match stop {
            Stop::Io(e) if e.kind() == ErrorKind::WouldBlock => Step::Waits,
            Stop::Io(e) if e.kind() == ErrorKind::Interrupted => Step::Moved,
            Stop::Io(e) => over(&broken(e)),
            Stop::Cut if self.state == State::Handshaking => over("the peer ended it during the TLS handshake"),
            Stop::Cut => over("the peer ended it"),
            // An alert for the peer, if there is one.
            Stop::Tls(error) => Step::Over { reason: tls::words(error), lingers: true },
        }
    }

    fn connect(&mut self, now: Instant) -> Result<Step, Stop> {
        if !self.pump.is_connected()? {
            return Ok(Step::Waits);
        }
        self.enter(State::Handshaking, now);
        Ok(Step::Moved)
    }

    fn shake_hands(&mut self, now: Instant) -> Result<Step, Stop> {
        if !self.pump.shake_hands()? {
            return Ok(Step::Moved);
        }
        let peer_key = match self.pump.tls() {
            Some(tls) => match tls::peer_key(tls) {
                Some(key) => Some(key),
                None => return Ok(over("the peer presented no certificate with an Ed25519 key")),
            },
            None => None,
        };
        self.enter(State::Open, now);
        Ok(Step::Opened(match self.accepted {
            Some((from, to)) => StreamEvent::Accepted { from, to, security: self.security(), peer_key },
            None => StreamEvent::Connected { from: self.pump.socket.local_addr()?, peer_key },
        }))
    }

    fn security(&self) -> StreamSecurity {
        if self.pump.tls().is_some() { StreamSecurity::Tls } else { StreamSecurity::Plain }
    }

    fn write_and_read(&mut self, buffer: &mut [u8], now: Instant) -> Result<Step, Stop> {
        self.flush(now)?;
        Ok(match self.pump.read(buffer)? {
            Took::Nothing => Step::Moved,
            Took::End => over("the peer ended it"),
            Took::Bytes(len) => {
                self.has_heard = true;
                Step::Received(len)
            }
        })
    }

    /// Puts bytes behind those that wait, and writes what goes at once.
    ///
    /// # Errors
    ///
    /// Why the stream is over.
    pub(super) fn write(&mut self, bytes: &[u8], now: Instant) -> Result<(), String> {
        if !self.pump.has_output() && self.state == State::Open {
            self.since = now;
        }
        self.pump.queue(bytes);
        if self.state == State::Open {
            self.flush(now).map_err(|e| broken(&e))?;
        }
        if self.pump.output_bytes() > SIGNAL_STREAM_QUEUE_BYTES_MAX {
            return Err(format!("the peer does not read: more than {SIGNAL_STREAM_QUEUE_BYTES_MAX} bytes wait"));
        }
        Ok(())
    }

    fn flush(&mut self, now: Instant) -> io::Result<()> {
        if self.pump.flush()? {
            self.since = now;
        }
        Ok(())
    }

    /// Closes it. Returns whether it must be kept until that is done.
    pub(super) fn close(&mut self, now: Instant) -> bool {
        let was_open = self.state == State::Open;
        self.enter(State::Closing, now);
        was_open
    }

    /// Lets the peer know why the stream is over, after a failure.
    pub(super) fn linger(&mut self, now: Instant) {
        self.pump.drop_output();
        self.enter(State::Closing, now);
    }
}

fn closed(is_over: bool) -> Step {
    if is_over { over("closed") } else { Step::Moved }
}

fn over(reason: &str) -> Step {
    Step::Over { reason: reason.to_owned(), lingers: false }
}

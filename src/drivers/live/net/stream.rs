//! One stream of a module.

use std::io::ErrorKind;
use std::net::SocketAddr;

use mio::net::TcpStream;
use rustls::Connection;

use super::tls;
use crate::base::limits::{
    NET_CLOSE_WAIT_MAX, NET_CONNECT_WAIT_MAX, NET_DISCARDED_BYTES_MAX, NET_HANDSHAKE_WAIT_MAX, SOCKET_HIGH_WATER_BYTES,
    SOCKET_LOW_WATER_BYTES,
};
use crate::base::net::SocketId;
use crate::base::time::Instant;
use crate::drivers::live::pump::{CUT, Pump, Stop, Took, broken};

pub(super) struct Stream {
    pub(super) id: SocketId,
    pub(super) pump: Pump,
    state: State,
    /// For one that was accepted: the listener, this side, and the peer.
    pub(super) accepted: Option<(SocketId, SocketAddr, SocketAddr)>,
    since: Instant,
    pub(super) is_paused: bool,
    /// The peer writes nothing more.
    peer_finished: bool,
    /// The owner writes nothing more; the second: and that was sent.
    finishes: bool,
    has_finished: bool,
    /// Bytes written since the owner was last told that little is left.
    written: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Handshaking,
    Open,
    /// Nobody's any more: what is left is sent, and the peer's end is waited for.
    Closing,
}

/// What became of a stream when it was looked at.
pub(super) enum Step {
    /// Nothing more until it is ready again.
    Waits,
    /// Something that is nobody's concern; there may be more.
    Moved,
    /// It is open; with the protocol that TLS agreed on.
    Opened(Option<String>),
    /// So many bytes came, and are in the buffer.
    Received(usize),
    Drained,
    Finished,
    /// It is over.
    Over(String),
}

impl Stream {
    pub(super) fn connecting(id: SocketId, socket: TcpStream, tls: Option<Connection>, now: Instant) -> Stream {
        Stream::new(id, Pump::new(socket, tls), State::Connecting, now)
    }

    pub(super) fn accepted(
        id: SocketId,
        socket: TcpStream,
        tls: Option<Connection>,
        from: (SocketId, SocketAddr, SocketAddr),
        now: Instant,
    ) -> Stream {
        let mut stream = Stream::new(id, Pump::new(socket, tls), State::Handshaking, now);
        stream.accepted = Some(from);
        stream
    }

    fn new(id: SocketId, pump: Pump, state: State, since: Instant) -> Stream {
        Stream {
            id,
            pump,
            state,
            accepted: None,
            since,
            is_paused: false,
            peer_finished: false,
            finishes: false,
            has_finished: false,
            written: 0,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.state == State::Handshaking
    }

    /// Whether the owner has nothing to do with it any more.
    pub(super) fn is_closing(&self) -> bool {
        self.state == State::Closing
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Until when something must happen.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let wait = match self.state {
            State::Connecting => NET_CONNECT_WAIT_MAX,
            State::Handshaking => NET_HANDSHAKE_WAIT_MAX,
            State::Open => return None,
            State::Closing => NET_CLOSE_WAIT_MAX,
        };
        Some(self.since + wait)
    }

    /// Why it is over when its deadline has passed.
    pub(super) fn late(&self) -> String {
        let what = match self.state {
            State::Handshaking => "the TLS handshake was not done",
            State::Connecting | State::Open | State::Closing => "the peer did not answer",
        };
        what.to_owned()
    }

    /// Takes one step: goes on with what it is about, writes, or reads.
    pub(super) fn advance(&mut self, buffer: &mut [u8], now: Instant) -> Step {
        let result = match self.state {
            State::Connecting => self.connect(now),
            State::Handshaking => self.shake_hands(now),
            State::Open => self.write_and_read(buffer),
            State::Closing => match self.pump.close(buffer, NET_DISCARDED_BYTES_MAX) {
                Ok(true) => Ok(Step::Over(String::new())),
                Ok(false) => Ok(Step::Moved),
                Err(e) => Err(Stop::Io(e)),
            },
        };
        result.unwrap_or_else(|stop| match stop {
            Stop::Io(e) if e.kind() == ErrorKind::WouldBlock => Step::Waits,
            Stop::Io(e) if e.kind() == ErrorKind::Interrupted => Step::Moved,
            Stop::Io(e) => Step::Over(broken(&e)),
            Stop::Cut => Step::Over(CUT.to_owned()),
            Stop::Tls(error) => {
                // An alert for the peer, if there is one.
                let _ = self.pump.flush();
                Step::Over(tls::words(&error))
            }
        })
    }

    fn connect(&mut self, now: Instant) -> Result<Step, Stop> {
        if !self.pump.is_connected()? {
            return Ok(Step::Waits);
        }
        (self.state, self.since) = (State::Handshaking, now);
        Ok(Step::Moved)
    }

    fn shake_hands(&mut self, now: Instant) -> Result<Step, Stop> {
        if !self.pump.shake_hands()? {
            return Ok(Step::Moved);
        }
        (self.state, self.since) = (State::Open, now);
        Ok(Step::Opened(self.pump.tls().and_then(tls::protocol)))
    }

    fn write_and_read(&mut self, buffer: &mut [u8]) -> Result<Step, Stop> {
        self.pump.flush()?;
        if self.finishes && !self.has_finished {
            self.has_finished = self.pump.end_writing()?;
        }
        if self.written >= SOCKET_HIGH_WATER_BYTES && self.pump.output_bytes() <= SOCKET_LOW_WATER_BYTES {
            self.written = 0;
            return Ok(Step::Drained);
        }
        if self.peer_finished {
            let is_over = self.has_finished && !self.pump.has_output();
            return Ok(if is_over { Step::Over("both sides have finished".to_owned()) } else { Step::Waits });
        }
        if self.is_paused {
            return Ok(Step::Waits);
        }
        Ok(match self.pump.read(buffer)? {
            Took::Nothing => Step::Moved,
            Took::Bytes(len) => Step::Received(len),
            Took::End => {
                self.peer_finished = true;
                Step::Finished
            }
        })
    }

    /// Puts bytes behind those that wait, and writes what goes at once. Whether there is something to tell the owner.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<bool, String> {
        if self.finishes || self.is_closing() {
            return Ok(false);
        }
        self.written += bytes.len();
        self.pump.queue(bytes);
        if self.state == State::Open {
            self.pump.flush().map_err(|e| broken(&e))?;
        }
        Ok(self.written >= SOCKET_HIGH_WATER_BYTES)
    }

    /// The owner writes nothing more.
    pub(super) fn finish(&mut self) {
        self.finishes = true;
    }

    /// Closes it in order. Whether it must be kept until that is done.
    pub(super) fn close(&mut self, now: Instant) -> bool {
        let was_open = self.state == State::Open;
        (self.state, self.since) = (State::Closing, now);
        // Its end was seen, and all is sent: nothing is left to wait for.
        was_open && !(self.peer_finished && !self.pump.has_output() && self.pump.end_writing().is_ok())
    }
}

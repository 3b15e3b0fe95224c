//! One stream over a TCP connection: its handshake, what waits to be written, and when its owner is told what.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::base::limits::{
    NET_CLOSE_WAIT_MAX, NET_CONNECT_WAIT_MAX, NET_HANDSHAKE_WAIT_MAX, SOCKET_HIGH_WATER_BYTES, SOCKET_LOW_WATER_BYTES,
    SOCKET_READ_BYTES_MAX,
};
use crate::base::time::Instant;
use crate::drivers::sim::tcp::Tcp;
use crate::drivers::sim::tls::{Handshake, Outcome, Side};

/// Steps of one stream in one turn: enough for a window full of bytes.
const STEPS_MAX: usize = 64;

#[derive(Debug)]
enum State {
    Connecting(Option<Side>),
    Handshaking(Handshake),
    Open,
    /// Nobody's any more: what is left is sent, and the peer's end is waited for.
    Closing,
    Over,
}

/// What happened to a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is open. With TLS: the peer's key, and the protocol that was agreed on.
    Opened { key: Option<[u8; 32]>, protocol: Option<String> },
    /// Bytes came.
    Received(Vec<u8>),
    /// Little is left of what was written.
    Drained,
    /// The peer writes nothing more.
    Finished,
    /// It is over.
    Over(String),
}

/// A stream.
pub(super) struct Stream {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    tcp: Tcp,
    state: State,
    /// When it came into its state.
    since: Instant,
    /// What did not fit into the connection's buffer.
    waiting: VecDeque<u8>,
    /// Bytes that came with the end of the handshake.
    early: Vec<u8>,
    pub(super) is_paused: bool,
    peer_finished: bool,
    finishes: bool,
    has_finished: bool,
    /// Bytes written since the owner was last told that little is left.
    written: usize,
}

impl Stream {
    /// `side` says who this side is, for a stream with TLS.
    pub(super) fn new(tcp: Tcp, ends: (SocketAddr, SocketAddr), side: Option<Side>, now: Instant) -> Stream {
        Stream {
            local: ends.0,
            remote: ends.1,
            tcp,
            state: State::Connecting(side),
            since: now,
            waiting: VecDeque::new(),
            early: Vec::new(),
            is_paused: false,
            peer_finished: false,
            finishes: false,
            has_finished: false,
            written: 0,
        }
    }

    /// A packet came for it.
    pub(super) fn receive(&mut self, packet: Vec<u8>) {
        self.tcp.receive(packet);
    }

    /// Puts bytes behind those that wait.
    ///
    /// # Errors
    ///
    /// When so much waits that the peer cannot be reading.
    pub(super) fn write(&mut self, bytes: &[u8], waiting_max: usize) -> Result<(), String> {
        if self.finishes || matches!(self.state, State::Closing | State::Over) {
            return Ok(());
        }
        self.written += bytes.len();
        self.waiting.extend(bytes);
        if self.waiting.len() > waiting_max {
            return Err(format!("the peer does not read: more than {waiting_max} bytes wait"));
        }
        Ok(())
    }

    /// The owner writes nothing more.
    pub(super) fn finish(&mut self) {
        self.finishes = true;
    }

    /// Closes it in order, or at once. From then on it is nobody's.
    pub(super) fn close(&mut self, abort: bool, now: Instant) {
        let was_open = matches!(self.state, State::Open);
        (self.state, self.since) = (State::Closing, now);
        self.finishes = true;
        self.early.clear();
        if abort || !was_open {
            self.waiting.clear();
            self.tcp.abort();
        }
    }

    /// Closes it in order after the peer has ended it.
    pub(super) fn end(&mut self) {
        self.state = State::Closing;
        self.finishes = true;
    }

    /// It is over for a reason that the connection does not know of.
    pub(super) fn fail(&mut self) {
        self.state = State::Over;
        self.tcp.abort();
    }

    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting(_))
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    fn unwritten_bytes(&self) -> usize {
        self.waiting.len() + self.tcp.unsent_bytes()
    }

    /// When it must be looked at again at the latest.
    pub(super) fn wake_at(&mut self, now: Instant) -> Option<Instant> {
        let wait = match self.state {
            State::Connecting(_) => Some(NET_CONNECT_WAIT_MAX),
            State::Handshaking(_) => Some(NET_HANDSHAKE_WAIT_MAX),
            State::Closing => Some(NET_CLOSE_WAIT_MAX),
            State::Open | State::Over => None,
        };
        let late = wait.map(|wait| (self.since + wait).max(now + std::time::Duration::from_micros(1)));
        [self.tcp.poll_at(now), late].into_iter().flatten().min()
    }

    /// Lets it go on. What happened is put behind `steps`; answers the packets that are to be sent.
    pub(super) fn advance(&mut self, now: Instant, steps: &mut Vec<Step>) -> Vec<Vec<u8>> {
        let mut packets = self.tcp.poll(now);
        for _ in 0..STEPS_MAX {
            let Some(step) = self.step(now) else { break };
            // What follows the opening is for whoever has the stream then.
            let is_last = matches!(step, Step::Over(_) | Step::Opened { .. });
            steps.push(step);
            // What was read opens the window, what was written is sent.
            packets.extend(self.tcp.poll(now));
            if is_last {
                break;
            }
        }
        packets.extend(self.tcp.poll(now));
        packets
    }

    fn over(&mut self, why: &str) -> Option<Step> {
        self.state = State::Over;
        Some(Step::Over(why.to_owned()))
    }

    fn step(&mut self, now: Instant) -> Option<Step> {
        match &mut self.state {
            State::Over => None,
            State::Connecting(_) => self.connect(now),
            State::Handshaking(_) => self.shake_hands(now),
            State::Open => self.write_and_read(),
            State::Closing => self.linger(now),
        }
    }

    fn connect(&mut self, now: Instant) -> Option<Step> {
        if self.tcp.is_over() {
            let why =
                if self.tcp.was_open() { "the peer broke it off" } else { "the peer refuses connections to this port" };
            return self.over(why);
        }
        if !self.tcp.was_open() {
            if now.since(self.since) < NET_CONNECT_WAIT_MAX {
                return None;
            }
            self.tcp.abort();
            return self.over("the peer did not answer");
        }
        let State::Connecting(side) = &mut self.state else { return None };
        let side = side.take();
        self.since = now;
        match side {
            None => {
                self.state = State::Open;
                Some(Step::Opened { key: None, protocol: None })
            }
            Some(side) => {
                let handshake = Handshake::new(side);
                self.waiting.extend(handshake.begin());
                self.state = State::Handshaking(handshake);
                self.shake_hands(now)
            }
        }
    }

    fn shake_hands(&mut self, now: Instant) -> Option<Step> {
        self.flush();
        let came = self.tcp.read(SOCKET_READ_BYTES_MAX);
        let State::Handshaking(handshake) = &mut self.state else { return None };
        let mut out = Vec::new();
        let outcome = came.map_or(Outcome::Waits, |came| handshake.receive(&came, &mut out));
        self.waiting.extend(out);
        self.flush();
        match outcome {
            Outcome::Waits if self.tcp.is_over() || self.tcp.peer_has_finished() => {
                self.tcp.abort();
                self.over("the peer ended it during the TLS handshake")
            }
            Outcome::Waits if now.since(self.since) >= NET_HANDSHAKE_WAIT_MAX => {
                self.tcp.abort();
                self.over("the TLS handshake was not done")
            }
            Outcome::Waits => None,
            Outcome::Failed(why) => {
                // The alert goes first.
                self.tcp.finish();
                self.over(&why)
            }
            Outcome::Done { key, protocol, rest } => {
                (self.state, self.since, self.early) = (State::Open, now, rest);
                Some(Step::Opened { key, protocol })
            }
        }
    }

    /// Gives the connection what it has room for.
    fn flush(&mut self) {
        while !self.waiting.is_empty() {
            let (front, _) = self.waiting.as_slices();
            let count = self.tcp.write(front);
            if count == 0 {
                return;
            }
            self.waiting.drain(..count);
        }
        if self.finishes && !self.has_finished {
            self.has_finished = true;
            self.tcp.finish();
        }
    }

    fn write_and_read(&mut self) -> Option<Step> {
        self.flush();
        if self.written >= SOCKET_HIGH_WATER_BYTES && self.unwritten_bytes() <= SOCKET_LOW_WATER_BYTES {
            self.written = 0;
            return Some(Step::Drained);
        }
        if !self.is_paused && !self.peer_finished {
            if !self.early.is_empty() {
                return Some(Step::Received(std::mem::take(&mut self.early)));
            }
            if let Some(bytes) = self.tcp.read(SOCKET_READ_BYTES_MAX) {
                return Some(Step::Received(bytes));
            }
            if self.tcp.peer_has_finished() {
                self.peer_finished = true;
                return Some(Step::Finished);
            }
        }
        let ended = self.tcp.is_over() || self.tcp.has_ended();
        match (self.peer_finished && self.has_finished, ended) {
            (true, true) => self.over("both sides have finished"),
            (false, true) if self.tcp.is_over() => self.over("the peer broke it off"),
            (true | false, _) => None,
        }
    }

    fn linger(&mut self, now: Instant) -> Option<Step> {
        self.flush();
        // What still comes is nobody's.
        while self.tcp.read(SOCKET_READ_BYTES_MAX).is_some() {}
        if self.tcp.is_over() || self.tcp.has_ended() {
            return self.over("closed");
        }
        if now.since(self.since) >= NET_CLOSE_WAIT_MAX {
            self.tcp.abort();
            return self.over("the peer did not end it");
        }
        None
    }
}

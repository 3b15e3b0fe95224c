//! One client of the web server: reads a request, writes its answer, and so on.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;

use crate::base::limits::{
    WEB_ANSWER_MAX, WEB_HEAD_BYTES_MAX, WEB_HEAD_WAIT_MAX, WEB_IDLE_MAX, WEB_LINGER_MAX, WEB_STALL_MAX,
    WEB_WRITE_PER_TURN_MAX,
};
use crate::base::time::Instant;
use crate::drivers::live::web::answer::{self, Answer};
use crate::drivers::live::web::{Resource, Served};

/// Requests that one connection has answered before the others get their turn.
const REQUESTS_PER_TURN_MAX: usize = 16;
/// Bytes of what nobody wants to know that are read before the others get their turn.
const LINGER_BYTES_PER_TURN_MAX: usize = 64 * 1024;

/// How a turn of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The other side has to do something.
    Waits,
    /// It can go on at once, when the others had their turn.
    HasMore,
    /// The connection is over.
    Over,
}

#[derive(Debug)]
enum State {
    /// Waits for a request, or for the rest of one.
    Head,
    /// Writes an answer, of which `written` bytes are on their way.
    Answer { answer: Answer, written: usize, began: Instant },
    /// All is written and the other side knows that nothing follows; what it still sends is read, since otherwise the
    /// system would tell it that the connection broke, and it might not see the answer (RFC 9112, section 9.6).
    Linger,
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    state: State,
    /// What came and is not yet answered: at most one head.
    input: Vec<u8>,
    /// When the state began, the first byte of a head came, or something was written.
    since: Instant,
    has_more: bool,
    served: Vec<Served>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, peer: SocketAddr, now: Instant) -> Connection {
        let _ = stream.set_nodelay(true);
        Connection {
            stream,
            peer,
            state: State::Head,
            input: Vec::new(),
            since: now,
            has_more: false,
            served: Vec::new(),
        }
    }

    pub(super) const fn has_more(&self) -> bool {
        self.has_more
    }

    pub(super) const fn is_answering(&self) -> bool {
        matches!(self.state, State::Answer { .. })
    }

    /// When the connection is to be closed, if nothing happens.
    pub(super) fn deadline(&self) -> Instant {
        match &self.state {
            State::Head if self.input.is_empty() => self.since + WEB_IDLE_MAX,
            State::Head => self.since + WEB_HEAD_WAIT_MAX,
            State::Answer { began, .. } => (self.since + WEB_STALL_MAX).min(*began + WEB_ANSWER_MAX),
            State::Linger => self.since + WEB_LINGER_MAX,
        }
    }

    /// A request that was answered in the last turn.
    pub(super) fn next_served(&mut self) -> Option<Served> {
        if self.served.is_empty() { None } else { Some(self.served.remove(0)) }
    }

    /// The request whose answer is not written to its end, as the connection is given up.
    pub(super) fn cut_short(self) -> Option<Served> {
        match &self.state {
            State::Answer { answer, written, .. } => Some(self.served_of(answer, *written, false)),
            State::Head | State::Linger => None,
        }
    }

    /// Reads and writes what can be read and written at once, within bounds. `find` gives the resource of a path.
    pub(super) fn turn(&mut self, now: Instant, find: &dyn Fn(&str) -> Option<Resource>) -> Turn {
        let (mut left_bytes, mut left_requests) = (WEB_WRITE_PER_TURN_MAX, REQUESTS_PER_TURN_MAX);
        let turn = loop {
            let step = match self.state {
                State::Head if left_requests == 0 => Some(Turn::HasMore),
                State::Head => {
                    left_requests -= 1;
                    self.read_head(now, find)
                }
                State::Answer { .. } => self.write_answer(now, &mut left_bytes),
                State::Linger => self.linger(),
            };
            if let Some(turn) = step {
                break turn;
            }
        };
        self.has_more = turn == Turn::HasMore;
        turn
    }

    /// Reads until a request is whole. `None` = the state has changed.
    fn read_head(&mut self, now: Instant, find: &dyn Fn(&str) -> Option<Resource>) -> Option<Turn> {
        loop {
            if let Some((answer, len)) = answer::to(&self.input, find) {
                self.input.drain(..len);
                self.state = State::Answer { answer, written: 0, began: now };
                self.since = now;
                return None;
            }
            // Room is left: a full buffer that holds no request is answered with a refusal.
            let mut chunk = [0; WEB_HEAD_BYTES_MAX];
            let room = WEB_HEAD_BYTES_MAX - self.input.len();
            match self.stream.read(&mut chunk[..room]) {
                Ok(0) => return Some(Turn::Over),
                Ok(len) => {
                    if self.input.is_empty() {
                        self.since = now;
                    }
                    self.input.extend_from_slice(&chunk[..len]);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Some(Turn::Waits),
                Err(_) => return Some(Turn::Over),
            }
        }
    }

    /// Writes the answer as far as that goes. `None` = it is written, and the state has changed.
    fn write_answer(&mut self, now: Instant, left_bytes: &mut usize) -> Option<Turn> {
        let State::Answer { answer, written, .. } = &mut self.state else { return None };
        loop {
            let rest = match answer.head.get(*written..) {
                Some(head) if !head.is_empty() => head,
                _ => answer.body.get(*written - answer.head.len()..).unwrap_or_default(),
            };
            if rest.is_empty() {
                break;
            }
            if *left_bytes == 0 {
                return Some(Turn::HasMore);
            }
            match self.stream.write(&rest[..rest.len().min(*left_bytes)]) {
                Ok(0) => return Some(Turn::Over),
                Ok(len) => {
                    *written += len;
                    *left_bytes -= len;
                    self.since = now;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Some(Turn::Waits),
                Err(_) => return Some(Turn::Over),
            }
        }
        let State::Answer { answer, written, .. } = std::mem::replace(&mut self.state, State::Head) else {
            return None;
        };
        self.served.push(self.served_of(&answer, written, true));
        self.since = now;
        if answer.closes {
            let _ = self.stream.shutdown(Shutdown::Write);
            self.state = State::Linger;
        }
        None
    }

    fn linger(&mut self) -> Option<Turn> {
        let mut sink = [0; 4096];
        for _ in 0..LINGER_BYTES_PER_TURN_MAX / sink.len() {
            match self.stream.read(&mut sink) {
                Ok(0) => return Some(Turn::Over),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Some(Turn::Waits),
                Err(_) => return Some(Turn::Over),
            }
        }
        Some(Turn::HasMore)
    }

    fn served_of(&self, answer: &Answer, written_bytes: usize, is_whole: bool) -> Served {
        let (peer, request, status) = (self.peer, answer.request.clone(), answer.status);
        Served { peer, request, status, written_bytes, is_whole }
    }
}

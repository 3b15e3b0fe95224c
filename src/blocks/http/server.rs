//! One connection of a server.
//!
//! Give it what came ([`ServerConnection::receive`], [`ServerConnection::end_input`]) while it [wants
//! input](ServerConnection::wants_input), and take [`ServerConnection::next_request`] after each. A request is answered by
//! [`ServerConnection::start`], [`ServerConnection::write`] and [`ServerConnection::finish`]; the next one is read when it
//! is. After each call send [`ServerConnection::take_output`] and look at [`ServerConnection::end`]; call
//! [`ServerConnection::expire`] at [`ServerConnection::deadline`].

use std::time::Duration;

use super::Version;
use super::body::{BodyPart, BodyReader};
use super::error::HttpError;
use super::head::{HeadEnd, HeadLimits, RequestHead};
use super::input::Input;
use super::response::{Added, Outgoing, write_head};
use crate::base::limits::{HTTP_BODY_GRACE, HTTP_DISCARD_BYTES_MAX, HTTP_LINGER, HTTP_READ_BYTES_MAX};
use crate::base::time::{Instant, WallTime};

/// See [`ServerConnection::input_bytes_max`].
const HEAD_READ_BYTES_MAX: usize = 8 * 1024;

/// Bounds for the connections of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// For heads.
    pub head: HeadLimits,
    /// Bytes of a request's body.
    pub body_bytes_max: u64,
    /// How long a head may take.
    pub head_wait: Duration,
    /// How long a connection may be silent between two requests.
    pub idle_wait: Duration,
    /// Bytes per second that a body has to come with.
    pub body_rate: u64,
    /// Requests of one connection.
    pub requests_max: u32,
}

/// Why a response cannot be sent as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The connection ended, or the request was answered for the module.
    #[error("the client is gone")]
    Gone,
    /// The response has begun.
    #[error("the request has been answered")]
    AlreadyStarted,
    /// The response has not begun.
    #[error("the response has not begun; start it first")]
    NotStarted,
    /// No final status.
    #[error("{0} is no status of a response; it goes from 200 to 599")]
    Status(u16),
    /// A status without a body got one.
    #[error("a response with status {0} has no body")]
    HasNoBody(u16),
    /// More was written than Content-Length says.
    #[error("the response is {0} bytes longer than its content-length; the connection is closed")]
    TooMuch(u64),
    /// Less was written than Content-Length says.
    #[error("the response is {0} bytes shorter than its content-length; the connection is closed")]
    TooLittle(u64),
}

/// Whether and how a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It goes on.
    Not,
    /// Nothing more is written, but the peer may still read: close the sending side.
    Finish,
    /// It is over: close it after what was written.
    Close,
    /// It is over: reset it, so that the peer does not take what it has for all.
    Abort,
}

/// See the [module](self).
#[derive(Debug)]
pub struct ServerConnection {
    limits: ServerLimits,
    input: Input,
    input_ended: bool,
    output: Vec<u8>,
    phase: Phase,
    /// Requests so far.
    requests: u32,
    /// When the phase began, or the first byte of a head came.
    since: Instant,
    /// No request follows the one at hand.
    drains: bool,
    /// Why the last request failed.
    failure: Option<HttpError>,
}

#[derive(Debug)]
enum Phase {
    /// Between two requests, or within a head.
    Head(HeadEnd),
    Exchange(Box<Exchange>),
    /// Reads away what is left of a body; so many bytes at most.
    Discard(BodyReader, u64),
    /// The last response is written; reads away what comes (RFC 9112, section 9.6).
    Linger,
    Over {
        aborts: bool,
    },
}

/// One request and its response.
#[derive(Debug)]
struct Exchange {
    version: Version,
    is_head: bool,
    keeps_alive: bool,
    /// The client waits for 100 (Continue).
    expects: bool,
    body: BodyReader,
    /// Bytes of the body, with what is around them, that came while the body was read.
    came: u64,
    /// How long they were waited for, and since when they are now.
    waited: Duration,
    waits_since: Option<Instant>,
    response: Response,
    closes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Response {
    NotStarted,
    /// Nothing of the body is sent: HEAD, 204, 304. `left` as below.
    Silent {
        left: Option<u64>,
    },
    Length {
        left: u64,
    },
    Chunked,
    UntilClose,
}

impl ServerConnection {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(limits: ServerLimits, now: Instant) -> ServerConnection {
        ServerConnection {
            limits,
            input: Input::default(),
            input_ended: false,
            output: Vec::new(),
            phase: Phase::Head(HeadEnd::default()),
            requests: 0,
            since: now,
            drains: false,
            failure: None,
        }
    }

    /// Whether it has use for more input now. What comes at other times is better left to wait with the peer.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        match &self.phase {
            // Requests that wait for their turn are left with the peer: one that does not read its answers would otherwise
            // have no end of them kept here.
            Phase::Head(_) => !self.input_ended && self.input.bytes().len() < self.limits.head.bytes_max,
            Phase::Discard(..) | Phase::Linger => !self.input_ended,
            Phase::Exchange(exchange) => exchange.waits_since.is_some() && !self.input_ended,
            Phase::Over { .. } => false,
        }
    }

    /// Bytes of input that it should be given at once: little while all that is wanted is a head.
    #[must_use]
    pub fn input_bytes_max(&self) -> usize {
        if matches!(self.phase, Phase::Head(_)) { HEAD_READ_BYTES_MAX } else { HTTP_READ_BYTES_MAX }
    }

    /// Bytes that it holds of what came and of what is to be sent.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.input.capacity() + self.output.capacity()
    }

    /// Whether it waits for a head, or for the rest of one.
    #[must_use]
    pub fn reads_head(&self) -> bool {
        matches!(self.phase, Phase::Head(_))
    }

    /// Since when it has had nothing to do; `None` while a request comes or is answered.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        (matches!(self.phase, Phase::Head(_)) && self.input.is_empty()).then_some(self.since)
    }

    /// The number of the request at hand, from 1 on; `None` between requests.
    #[must_use]
    pub fn request_number(&self) -> Option<u32> {
        matches!(self.phase, Phase::Exchange(_)).then_some(self.requests)
    }

    /// Bytes came.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) {
        match &mut self.phase {
            Phase::Linger | Phase::Over { .. } => return,
            Phase::Exchange(exchange) => {
                exchange.came += bytes.len() as u64;
                exchange.stop_waiting(now);
            }
            Phase::Head(_) if self.input.is_empty() => self.since = now,
            Phase::Head(_) | Phase::Discard(..) => {}
        }
        self.input.push(bytes);
        self.discard(now);
    }

    /// The peer sends nothing more.
    pub fn end_input(&mut self, now: Instant) {
        self.input_ended = true;
        match &mut self.phase {
            Phase::Linger => self.phase = Phase::Over { aborts: false },
            // What is there may still hold whole requests.
            Phase::Head(_) if self.input.is_empty() => self.phase = Phase::Over { aborts: false },
            Phase::Exchange(exchange) => exchange.stop_waiting(now),
            Phase::Discard(..) => self.discard(now),
            Phase::Head(_) | Phase::Over { .. } => {}
        }
    }

    /// The next request, if its head is there and the one before is answered. What is no request is answered here.
    pub fn next_request(&mut self, now: Instant, wall: WallTime) -> Option<RequestHead> {
        let Phase::Head(head_end) = &mut self.phase else { return None };
        if self.drains && self.requests > 0 {
            self.phase = Phase::Over { aborts: false };
            return None;
        }
        let found = match head_end.find(self.input.bytes(), self.limits.head.bytes_max) {
            Ok(Some(place)) => {
                let head = RequestHead::parse(&self.input.bytes()[place.clone()], &self.limits.head);
                self.input.use_up(place.end);
                head
            }
            Ok(None) if self.input_ended => {
                self.phase = Phase::Over { aborts: false };
                return None;
            }
            Ok(None) => return None,
            Err(error) => Err(error),
        };
        let begun = found.and_then(|head| {
            head.check_expectation()?;
            let body = BodyReader::new(head.framing()?, self.limits.body_bytes_max)?;
            Ok((head, body))
        });
        self.requests += 1;
        match begun {
            Ok((head, body)) => {
                self.failure = None;
                self.phase = Phase::Exchange(Box::new(Exchange {
                    version: head.version,
                    is_head: head.method() == "HEAD",
                    keeps_alive: head.keeps_alive(),
                    expects: head.expects_continue() && !body.is_at_end(),
                    body,
                    came: self.input.bytes().len() as u64,
                    waited: Duration::ZERO,
                    waits_since: None,
                    response: Response::NotStarted,
                    closes: false,
                }));
                Some(head)
            }
            Err(error) => {
                self.refuse(now, wall, error);
                None
            }
        }
    }

    /// Answers in place of the module, and ends the connection.
    fn refuse(&mut self, now: Instant, wall: WallTime, error: HttpError) {
        let started = matches!(&self.phase, Phase::Exchange(e) if e.response != Response::NotStarted);
        if started {
            self.phase = Phase::Over { aborts: true };
        } else {
            let text = format!("{error}\n");
            let mut fields = Outgoing::default();
            fields.set("content-type", "text/plain; charset=utf-8".to_owned());
            let length = Some(text.len() as u64);
            let added = Added { length, is_chunked: false, closes: true, version: Version::Http11, wall };
            write_head(&mut self.output, error.status(), &fields, &added);
            let is_head = matches!(&self.phase, Phase::Exchange(exchange) if exchange.is_head);
            if !is_head {
                self.output.extend_from_slice(text.as_bytes());
            }
            self.begin_linger(now);
        }
        self.failure = Some(error);
    }

    fn begin_linger(&mut self, now: Instant) {
        self.input.clear();
        self.since = now;
        self.phase = if self.input_ended { Phase::Over { aborts: false } } else { Phase::Linger };
    }

    /// Reads the body of the request at hand, at most `count_max` bytes. The first read of a body that the client
    /// holds back asks for it. What is wrong with the body is told to the client here, unless the response has begun.
    ///
    /// # Errors
    ///
    /// Why the body ends where it should not.
    pub fn read_body(&mut self, now: Instant, wall: WallTime, count_max: usize) -> Result<BodyPart, HttpError> {
        let Phase::Exchange(exchange) = &mut self.phase else {
            return Err(self.failure.clone().unwrap_or(HttpError::CutShort));
        };
        let count_max = count_max.clamp(1, HTTP_READ_BYTES_MAX);
        let part = exchange.body.read(&mut self.input, count_max, self.input_ended);
        match &part {
            Ok(BodyPart::Waits) => {
                if std::mem::take(&mut exchange.expects) && exchange.response == Response::NotStarted {
                    self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                exchange.waits_since.get_or_insert(now);
            }
            Ok(BodyPart::Bytes(_) | BodyPart::End) => exchange.expects = false,
            Err(error) => self.refuse(now, wall, error.clone()),
        }
        part
    }

    /// Begins the response. `length` is that of the body, if it is known.
    ///
    /// # Errors
    ///
    /// Why it cannot be sent.
    pub fn start(
        &mut self,
        wall: WallTime,
        status: u16,
        fields: &Outgoing,
        length: Option<u64>,
    ) -> Result<(), ResponseError> {
        let (drains, is_last) = (self.drains, self.requests >= self.limits.requests_max);
        let input_ended = self.input_ended;
        let Phase::Exchange(exchange) = &mut self.phase else { return Err(ResponseError::Gone) };
        if exchange.response != Response::NotStarted {
            return Err(ResponseError::AlreadyStarted);
        }
        if !(200..=599).contains(&status) {
            return Err(ResponseError::Status(status));
        }
        let bodiless = matches!(status, 204 | 304);
        if bodiless && length.is_some_and(|length| length > 0) && !exchange.is_head {
            return Err(ResponseError::HasNoBody(status));
        }
        let unread_max = if exchange.expects { 0 } else { HTTP_DISCARD_BYTES_MAX };
        let unread = exchange.body.known_left().unwrap_or(1);
        exchange.response = match length {
            left if exchange.is_head || bodiless => Response::Silent { left },
            Some(left) => Response::Length { left },
            None if exchange.version == Version::Http11 => Response::Chunked,
            None => Response::UntilClose,
        };
        exchange.closes = drains
            || is_last
            || input_ended
            || !exchange.keeps_alive
            || unread > unread_max
            || fields.first("connection").is_some()
            || exchange.response == Response::UntilClose;
        let added = Added {
            length: if bodiless { None } else { length },
            is_chunked: exchange.response == Response::Chunked,
            closes: exchange.closes,
            version: exchange.version,
            wall,
        };
        write_head(&mut self.output, status, fields, &added);
        Ok(())
    }

    /// Writes a part of the body.
    ///
    /// # Errors
    ///
    /// When there is no response to write to, or it would be longer than it says: then the connection is aborted.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ResponseError> {
        let Phase::Exchange(exchange) = &mut self.phase else { return Err(ResponseError::Gone) };
        let count = bytes.len() as u64;
        match &mut exchange.response {
            Response::NotStarted => return Err(ResponseError::NotStarted),
            Response::Length { left } | Response::Silent { left: Some(left) } if *left < count => {
                let excess = count - *left;
                self.phase = Phase::Over { aborts: true };
                return Err(ResponseError::TooMuch(excess));
            }
            Response::Length { left } => {
                *left -= count;
                self.output.extend_from_slice(bytes);
            }
            Response::Silent { left } => *left = left.map(|left| left - count),
            Response::Chunked if bytes.is_empty() => {}
            Response::Chunked => {
                self.output.extend_from_slice(format!("{count:x}\r\n").as_bytes());
                self.output.extend_from_slice(bytes);
                self.output.extend_from_slice(b"\r\n");
            }
            Response::UntilClose => self.output.extend_from_slice(bytes),
        }
        Ok(())
    }

    /// Ends the response.
    ///
    /// # Errors
    ///
    /// When there is none, or it is shorter than it says: then the connection is aborted.
    pub fn finish(&mut self, now: Instant) -> Result<(), ResponseError> {
        let Phase::Exchange(exchange) = &mut self.phase else { return Err(ResponseError::Gone) };
        match exchange.response {
            Response::NotStarted => return Err(ResponseError::NotStarted),
            Response::Length { left } if left > 0 => {
                self.phase = Phase::Over { aborts: true };
                return Err(ResponseError::TooLittle(left));
            }
            Response::Chunked => self.output.extend_from_slice(b"0\r\n\r\n"),
            Response::Length { .. } | Response::Silent { .. } | Response::UntilClose => {}
        }
        if exchange.closes || self.drains {
            self.begin_linger(now);
            return Ok(());
        }
        let Phase::Exchange(exchange) = std::mem::replace(&mut self.phase, Phase::Head(HeadEnd::default())) else {
            return Ok(());
        };
        self.since = now;
        if !exchange.body.is_at_end() {
            self.phase = Phase::Discard(exchange.body, HTTP_DISCARD_BYTES_MAX);
            self.discard(now);
        } else if self.input_ended && self.input.is_empty() {
            self.phase = Phase::Over { aborts: false };
        }
        Ok(())
    }

    /// Gives the request at hand up: resets the connection.
    pub fn abandon(&mut self) {
        self.phase = Phase::Over { aborts: true };
    }

    /// Whether the response to the request at hand has begun.
    #[must_use]
    pub fn has_started(&self) -> bool {
        matches!(&self.phase, Phase::Exchange(exchange) if exchange.response != Response::NotStarted)
    }

    fn discard(&mut self, now: Instant) {
        while let Phase::Discard(body, left) = &mut self.phase {
            match body.read(&mut self.input, HTTP_READ_BYTES_MAX, self.input_ended) {
                Ok(BodyPart::Waits) => return,
                Ok(BodyPart::Bytes(bytes)) if bytes.len() as u64 <= *left => *left -= bytes.len() as u64,
                Ok(BodyPart::End) => {
                    self.since = now;
                    self.phase = Phase::Head(HeadEnd::default());
                }
                Ok(BodyPart::Bytes(_)) | Err(_) => self.begin_linger(now),
            }
        }
    }

    /// The connection takes no further request: it ends with the response at hand, or at once if nothing is.
    pub fn drain(&mut self) {
        self.drains = true;
        if matches!(self.phase, Phase::Head(_)) && self.input.is_empty() {
            self.phase = Phase::Over { aborts: false };
        }
    }

    /// What is to be sent.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Whether it ends, and how.
    #[must_use]
    pub fn end(&self) -> End {
        match self.phase {
            Phase::Head(_) | Phase::Exchange(_) | Phase::Discard(..) => End::Not,
            Phase::Linger => End::Finish,
            Phase::Over { aborts: false } => End::Close,
            Phase::Over { aborts: true } => End::Abort,
        }
    }

    /// When the peer will have taken too long.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Head(_) if self.input.is_empty() && self.requests > 0 => Some(self.since + self.limits.idle_wait),
            Phase::Head(_) => Some(self.since + self.limits.head_wait),
            Phase::Exchange(exchange) => {
                let allowed = HTTP_BODY_GRACE + Duration::from_secs(exchange.came / self.limits.body_rate.max(1));
                exchange.waits_since.map(|since| since + allowed.saturating_sub(exchange.waited))
            }
            Phase::Discard(..) => Some(self.since + HTTP_BODY_GRACE),
            Phase::Linger => Some(self.since + HTTP_LINGER),
            Phase::Over { .. } => None,
        }
    }

    /// Ends what has taken too long.
    pub fn expire(&mut self, now: Instant, wall: WallTime) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match &self.phase {
            Phase::Head(_) if !self.input.is_empty() => self.refuse(now, wall, HttpError::TooSlow),
            Phase::Exchange(_) => self.refuse(now, wall, HttpError::TooSlow),
            Phase::Head(_) | Phase::Discard(..) | Phase::Linger | Phase::Over { .. } => {
                self.phase = Phase::Over { aborts: false };
            }
        }
    }
}

impl Exchange {
    fn stop_waiting(&mut self, now: Instant) {
        if let Some(since) = self.waits_since.take() {
            self.waited += now.since(since);
        }
    }
}

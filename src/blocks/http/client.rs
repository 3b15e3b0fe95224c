//! One connection of a client: one request at a time.

use super::body::{BodyPart, BodyReader, Framing};
use super::error::HttpError;
use super::head::{HeadEnd, HeadLimits, ResponseHead};
use super::input::Input;
use super::response::Outgoing;
use crate::base::limits::{HTTP_INTERIM_MAX, HTTP_READ_BYTES_MAX};

/// A request to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// A token.
    pub method: &'a str,
    /// What the Host field says.
    pub authority: &'a str,
    /// From "/" on.
    pub path_and_query: &'a str,
    /// Other header fields.
    pub fields: &'a Outgoing,
    /// The body. Without one nothing is said of its length, unless the method is one that usually has a body.
    pub body: Option<&'a [u8]>,
}

/// One connection of a client.
#[derive(Debug)]
pub struct ClientConnection {
    head_limits: HeadLimits,
    body_bytes_max: u64,
    input: Input,
    input_ended: bool,
    phase: Phase,
    method: String,
    interim: u32,
    keeps_alive: bool,
    failure: Option<HttpError>,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Head(HeadEnd),
    Body(BodyReader),
    Over,
}

impl ClientConnection {
    /// A connection that was just opened. `body_bytes_max` bounds the bodies of responses.
    #[must_use]
    pub fn new(head_limits: HeadLimits, body_bytes_max: u64) -> ClientConnection {
        ClientConnection {
            head_limits,
            body_bytes_max,
            input: Input::default(),
            input_ended: false,
            phase: Phase::Idle,
            method: String::new(),
            interim: 0,
            keeps_alive: true,
            failure: None,
        }
    }

    /// The bytes of a request. The connection must be [idle](ClientConnection::is_idle), and the parts of the request
    /// be what they say they are.
    #[must_use]
    pub fn request(&mut self, request: &Request<'_>, body_bytes_max: u64) -> Vec<u8> {
        let Request { method, authority, path_and_query, fields, body } = request;
        let mut out = format!("{method} {path_and_query} HTTP/1.1\r\nhost: {authority}\r\n").into_bytes();
        let mut fields = (*fields).clone();
        fields.remove("host");
        fields.remove("content-length");
        match body {
            Some(body) => fields.set("content-length", body.len().to_string()),
            None if matches!(*method, "POST" | "PUT" | "PATCH") => fields.set("content-length", "0".to_owned()),
            None => {}
        }
        self.keeps_alive = fields.first("connection").is_none();
        fields.write(&mut out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body.unwrap_or_default());
        (*method).clone_into(&mut self.method);
        self.body_bytes_max = body_bytes_max;
        self.interim = 0;
        self.phase = Phase::Head(HeadEnd::default());
        out
    }

    /// Bytes came.
    pub fn receive(&mut self, bytes: &[u8]) {
        match self.phase {
            // A response that nobody asked for: no one knows what it would answer.
            Phase::Idle => self.phase = Phase::Over,
            Phase::Over => {}
            Phase::Head(_) | Phase::Body(_) => self.input.push(bytes),
        }
    }

    /// The server sends nothing more.
    pub fn end_input(&mut self) {
        self.input_ended = true;
        if matches!(self.phase, Phase::Idle) {
            self.phase = Phase::Over;
        }
    }

    /// The head of the response, once it is there. Interim responses are passed over.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn response(&mut self) -> Result<Option<ResponseHead>, HttpError> {
        let result = self.try_response();
        if let Err(error) = &result {
            self.phase = Phase::Over;
            self.failure = Some(error.clone());
        }
        result
    }

    fn try_response(&mut self) -> Result<Option<ResponseHead>, HttpError> {
        loop {
            let Phase::Head(head_end) = &mut self.phase else {
                return Err(self.failure.clone().unwrap_or(HttpError::CutShort));
            };
            let Some(place) = head_end.find(self.input.bytes(), self.head_limits.bytes_max)? else {
                return if self.input_ended { Err(HttpError::CutShort) } else { Ok(None) };
            };
            let head = ResponseHead::parse(&self.input.bytes()[place.clone()], &self.head_limits)?;
            self.input.use_up(place.end);
            if head.status == 101 {
                return Err(HttpError::Switched);
            }
            if head.status < 200 {
                self.interim += 1;
                if self.interim > HTTP_INTERIM_MAX {
                    return Err(HttpError::InterimResponses);
                }
                self.phase = Phase::Head(HeadEnd::default());
                continue;
            }
            let framing = head.framing(&self.method)?;
            self.keeps_alive &= head.keeps_alive() && framing != Framing::UntilClose;
            self.phase = Phase::Body(BodyReader::new(framing, self.body_bytes_max)?);
            self.settle();
            return Ok(Some(head));
        }
    }

    /// Reads the body of the response, at most `count_max` bytes.
    ///
    /// # Errors
    ///
    /// Why the body ends where it should not.
    pub fn read_body(&mut self, count_max: usize) -> Result<BodyPart, HttpError> {
        let Phase::Body(body) = &mut self.phase else {
            return self.failure.clone().map_or(Ok(BodyPart::End), Err);
        };
        let count_max = count_max.clamp(1, HTTP_READ_BYTES_MAX);
        let part = body.read(&mut self.input, count_max, self.input_ended);
        if let Err(error) = &part {
            self.phase = Phase::Over;
            self.failure = Some(error.clone());
        } else {
            self.settle();
        }
        part
    }

    /// Becomes idle, or over, when the body has been read.
    fn settle(&mut self) {
        if matches!(&self.phase, Phase::Body(body) if body.is_at_end()) {
            let goes_on = self.keeps_alive && !self.input_ended && self.input.is_empty();
            self.phase = if goes_on { Phase::Idle } else { Phase::Over };
        }
    }

    /// Whether it can take a request.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// Whether it is of no further use.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }
}

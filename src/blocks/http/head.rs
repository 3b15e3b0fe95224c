//! Heads of requests and responses: httparse reads them, and stricter rules than its own come before and after.

use std::ops::Range;

use super::Version;
use super::body::Framing;
use super::error::HttpError;
use super::fields::{Fields, Place, elements, is_token};
use super::url::Authority;

/// Bounds for a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the head, its last empty line included.
    pub bytes_max: usize,
    /// Header fields.
    pub fields_max: usize,
    /// Bytes of a request's target.
    pub target_bytes_max: usize,
}

/// Empty lines before a request that are passed over: some old clients send one behind a body (RFC 9112, section 2.2).
const EMPTY_LINES_MAX: usize = 2;
/// Fields that are read without asking for memory.
const FIELDS_INLINE: usize = 32;
/// Digits of a Content-Length; more bytes nobody has.
const LENGTH_DIGITS_MAX: usize = 15;

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Its version.
    pub version: Version,
    method: Range<u32>,
    target: Range<u32>,
    /// Its header fields.
    pub fields: Fields,
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Its version.
    pub version: Version,
    /// Its status, 100 to 599.
    pub status: u16,
    /// Its header fields.
    pub fields: Fields,
}

/// Looks for the end of a head in bytes that come bit by bit.
#[derive(Debug, Default)]
pub(super) struct HeadEnd {
    /// Bytes that were looked at before.
    seen: usize,
    /// Where the head begins: behind empty lines.
    begin: usize,
    /// Where the line at hand begins.
    line: usize,
}

impl HeadEnd {
    /// Where in `bytes`, which begin as they did before, the head stands. `None` = it goes on.
    ///
    /// # Errors
    ///
    /// When a line does not end with CR and LF, or the head is too long.
    pub(super) fn find(&mut self, bytes: &[u8], bytes_max: usize) -> Result<Option<Range<usize>>, HttpError> {
        let limit = bytes.len().min(bytes_max);
        loop {
            let rest = bytes.get(self.seen..limit).unwrap_or_default();
            let Some(next) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0)) else {
                self.seen = self.seen.max(limit);
                break;
            };
            let found = self.seen + next;
            match (bytes[found], bytes.get(found + 1)) {
                (0, _) => return Err(HttpError::Malformed { what: "it holds a NUL" }),
                (b'\r', Some(b'\n')) => self.seen = found + 2,
                (b'\r', None) => {
                    self.seen = found;
                    break;
                }
                _ => return Err(HttpError::BareLineEnd),
            }
            if found > self.line {
                self.line = self.seen;
            } else if self.line == self.begin && self.begin < 2 * EMPTY_LINES_MAX {
                (self.begin, self.line) = (self.seen, self.seen);
            } else {
                return Ok(Some(self.begin..self.seen));
            }
        }
        if bytes.len() >= bytes_max { Err(HttpError::HeadTooLong { max_bytes: bytes_max }) } else { Ok(None) }
    }
}

impl RequestHead {
    /// Reads a whole head.
    ///
    /// # Errors
    ///
    /// Why it is refused.
    pub fn parse(bytes: &[u8], limits: &HeadLimits) -> Result<RequestHead, HttpError> {
        refuse_folding(bytes)?;
        let mut inline = [httparse::EMPTY_HEADER; FIELDS_INLINE];
        let mut many = Vec::new();
        let mut request = httparse::Request::new(room(bytes, limits, &mut inline, &mut many)?);
        let status = request.parse(bytes).map_err(|error| of_httparse(error, limits))?;
        let whole = matches!(status, httparse::Status::Complete(len) if len == bytes.len());
        let (Some(method), Some(target), Some(minor), true) = (request.method, request.path, request.version, whole)
        else {
            return Err(HttpError::Malformed { what: "it ends where it should not" });
        };
        if target.len() > limits.target_bytes_max {
            return Err(HttpError::TargetTooLong { bytes: target.len(), max_bytes: limits.target_bytes_max });
        }
        let places = places(bytes, request.headers, limits)?;
        let (method, target) = (place(bytes, method.as_bytes()), place(bytes, target.as_bytes()));
        let fields = Fields::new(bytes.to_vec(), places);
        let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
        let head = RequestHead { version, method, target, fields };
        head.check_target()?;
        Ok(head)
    }

    /// The method, as it came: methods are case-sensitive (RFC 9110, section 9.1).
    #[must_use]
    pub fn method(&self) -> &str {
        std::str::from_utf8(self.fields.part(&self.method)).expect("httparse takes only tokens as methods")
    }

    /// The request target, as it came.
    #[must_use]
    pub fn target(&self) -> &str {
        std::str::from_utf8(self.fields.part(&self.target)).expect("only ASCII is accepted as a target")
    }

    /// The target without scheme and authority: it begins with "/", or is "*".
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        let target = self.target();
        match absolute(target) {
            Some(rest) => match rest.find(['/', '?']) {
                Some(at) if rest.as_bytes()[at] == b'/' => &rest[at..],
                _ => "/",
            },
            None => target,
        }
    }

    /// The path, not decoded.
    #[must_use]
    pub fn path(&self) -> &str {
        let whole = self.path_and_query();
        whole.split_once('?').map_or(whole, |(path, _)| path)
    }

    /// What follows the first "?".
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        // Of an absolute target without a path too.
        self.target().split_once('?').map(|(_, query)| query)
    }

    /// Whether the client wants the connection to stay open (RFC 9112, section 9.3).
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(self.version, &self.fields)
    }

    /// Whether it waits for 100 (Continue) before it sends the body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.version == Version::Http11 && self.fields.first("expect").is_some()
    }

    /// How the body is delimited (RFC 9112, section 6.3).
    ///
    /// # Errors
    ///
    /// When readers could disagree about it.
    pub fn framing(&self) -> Result<Framing, HttpError> {
        let framing = stated_framing(self.version, &self.fields)?;
        Ok(framing.unwrap_or(Framing::None))
    }

    fn check_target(&self) -> Result<(), HttpError> {
        let target = self.fields.part(&self.target);
        if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
            return Err(HttpError::Malformed { what: "the target holds what must be percent-encoded" });
        }
        let hosts = self.fields.all("host").count();
        if hosts > 1 || (hosts == 0 && self.version == Version::Http11) {
            return Err(HttpError::HostCount { count: hosts });
        }
        let host = self.fields.first("host").unwrap_or_default();
        let wrong_host = HttpError::Malformed { what: "the Host field" };
        let named = match host {
            [] => None,
            host => Some(Authority::parse(host).ok_or(wrong_host)?),
        };
        let (target, method) = (self.target(), self.method());
        if method == "CONNECT" {
            return Err(HttpError::Connect);
        }
        if let Some(rest) = absolute(target) {
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            let authority = Authority::parse(authority.as_bytes());
            let authority = authority.ok_or(HttpError::Malformed { what: "the authority of the target" })?;
            return if hosts == 0 || Some(authority) == named { Ok(()) } else { Err(HttpError::HostMismatch) };
        }
        if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
            return Ok(());
        }
        Err(HttpError::Malformed { what: "the target is neither a path nor a URL of this server" })
    }

    /// Refuses what cannot be expected.
    pub(super) fn check_expectation(&self) -> Result<(), HttpError> {
        let met = self.fields.all("expect").all(|value| value.eq_ignore_ascii_case(b"100-continue"));
        if met || self.version == Version::Http10 { Ok(()) } else { Err(HttpError::Expectation) }
    }
}

impl ResponseHead {
    /// Reads a whole head.
    ///
    /// # Errors
    ///
    /// Why it is refused.
    pub fn parse(bytes: &[u8], limits: &HeadLimits) -> Result<ResponseHead, HttpError> {
        refuse_folding(bytes)?;
        let mut inline = [httparse::EMPTY_HEADER; FIELDS_INLINE];
        let mut many = Vec::new();
        let mut response = httparse::Response::new(room(bytes, limits, &mut inline, &mut many)?);
        let status = response.parse(bytes).map_err(|error| of_httparse(error, limits))?;
        let whole = matches!(status, httparse::Status::Complete(len) if len == bytes.len());
        let (Some(code), Some(minor), true) = (response.code, response.version, whole) else {
            return Err(HttpError::Malformed { what: "it ends where it should not" });
        };
        if !(100..=599).contains(&code) {
            return Err(HttpError::Malformed { what: "the status" });
        }
        let places = places(bytes, response.headers, limits)?;
        let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
        Ok(ResponseHead { version, status: code, fields: Fields::new(bytes.to_vec(), places) })
    }

    /// How the body of the answer to `method` is delimited (RFC 9112, section 6.3).
    ///
    /// # Errors
    ///
    /// When readers could disagree about it.
    pub fn framing(&self, method: &str) -> Result<Framing, HttpError> {
        let stated = stated_framing(self.version, &self.fields)?;
        if method == "HEAD" || matches!(self.status, 100..200 | 204 | 304) {
            return Ok(Framing::None);
        }
        Ok(stated.unwrap_or(Framing::UntilClose))
    }

    /// Whether the server keeps the connection open.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(self.version, &self.fields)
    }
}

fn keeps_alive(version: Version, fields: &Fields) -> bool {
    !fields.lists("connection", "close") && (version == Version::Http11 || fields.lists("connection", "keep-alive"))
}

/// What the fields say about the length of the body; `None` if they say nothing.
fn stated_framing(version: Version, fields: &Fields) -> Result<Option<Framing>, HttpError> {
    let ambiguous = |what| Err(HttpError::AmbiguousLength { what });
    let mut lengths = fields.all("content-length");
    let length = lengths.next();
    if lengths.next().is_some() {
        return ambiguous("there are two Content-Length fields");
    }
    let mut codings = fields.all("transfer-encoding").flat_map(elements);
    if fields.first("transfer-encoding").is_some() {
        return match (codings.next(), codings.next()) {
            _ if length.is_some() => ambiguous("there are Content-Length and Transfer-Encoding"),
            _ if version == Version::Http10 => ambiguous("HTTP/1.0 has no Transfer-Encoding"),
            (Some(one), None) if one.eq_ignore_ascii_case(b"chunked") => Ok(Some(Framing::Chunked)),
            (Some(one), Some(_)) if one.eq_ignore_ascii_case(b"chunked") => ambiguous("chunked is not the last coding"),
            (None, _) => ambiguous("Transfer-Encoding is empty"),
            _ => Err(HttpError::TransferCoding),
        };
    }
    let Some(length) = length else { return Ok(None) };
    let digits = (1..=LENGTH_DIGITS_MAX).contains(&length.len()) && length.iter().all(u8::is_ascii_digit);
    if !digits {
        return ambiguous("Content-Length is no plain number");
    }
    let number = length.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Ok(Some(Framing::Length(number)))
}

fn absolute(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let is_ours = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    is_ours.then_some(rest)
}

fn refuse_folding(bytes: &[u8]) -> Result<(), HttpError> {
    let folded = bytes.windows(2).any(|pair| pair[0] == b'\n' && matches!(pair[1], b' ' | b'\t'));
    if folded { Err(HttpError::FoldedField) } else { Ok(()) }
}

/// Room for the fields of this head: on the stack for most, and never more than there are lines.
fn room<'a, 'b>(
    bytes: &[u8],
    limits: &HeadLimits,
    inline: &'a mut [httparse::Header<'b>],
    many: &'a mut Vec<httparse::Header<'b>>,
) -> Result<&'a mut [httparse::Header<'b>], HttpError> {
    if limits.fields_max <= inline.len() {
        return Ok(&mut inline[..limits.fields_max]);
    }
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count().saturating_sub(2);
    if lines > limits.fields_max {
        return Err(HttpError::TooManyFields { max: limits.fields_max });
    }
    if lines <= inline.len() {
        return Ok(inline);
    }
    many.resize(lines, httparse::EMPTY_HEADER);
    Ok(many)
}

fn places(bytes: &[u8], headers: &[httparse::Header<'_>], limits: &HeadLimits) -> Result<Vec<Place>, HttpError> {
    if headers.len() > limits.fields_max {
        return Err(HttpError::TooManyFields { max: limits.fields_max });
    }
    let places = headers.iter().map(|header| {
        if !is_token(header.name.as_bytes()) {
            return Err(HttpError::Malformed { what: "the name of a header field" });
        }
        Ok((place(bytes, header.name.as_bytes()), place(bytes, header.value.trim_ascii())))
    });
    places.collect()
}

/// Where `part`, a slice of `whole`, stands in it.
fn place(whole: &[u8], part: &[u8]) -> Range<u32> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    assert!(start + part.len() <= whole.len(), "httparse gives slices of what it read");
    start as u32..(start + part.len()) as u32
}

fn of_httparse(error: httparse::Error, limits: &HeadLimits) -> HttpError {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => HttpError::TooManyFields { max: limits.fields_max },
        Error::Version => HttpError::Version,
        Error::HeaderName => HttpError::Malformed { what: "the name of a header field" },
        Error::HeaderValue => HttpError::Malformed { what: "the value of a header field" },
        Error::NewLine => HttpError::BareLineEnd,
        Error::Status => HttpError::Malformed { what: "the status" },
        Error::Token => HttpError::Malformed { what: "the first line" },
    }
}

//! From the bytes of a request to its answer. Touches no socket.

use std::sync::Arc;

use crate::base::limits::{WEB_HEAD_BYTES_MAX, WEB_HEADERS_MAX};
use crate::drivers::live::web::Resource;

/// Bytes of a request that are logged.
const LOGGED_BYTES_MAX: usize = 120;

/// What is to be written.
#[derive(Debug)]
pub(super) struct Answer {
    /// Method and path, for the log.
    pub(super) request: String,
    pub(super) status: u16,
    pub(super) head: Vec<u8>,
    pub(super) body: Arc<[u8]>,
    /// The connection ends with it.
    pub(super) closes: bool,
}

/// Reads a request off the front of `input`. Returns its answer and its length; `None` while it is not whole.
///
/// A request that is wrong takes everything with it: where the next one would begin is not known.
pub(super) fn to(input: &[u8], find: &dyn Fn(&str) -> Option<Resource>) -> Option<(Answer, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; WEB_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let refused = |status, text| Some((Answer::text(String::new(), status, text, true), input.len()));
    match request.parse(&input[..input.len().min(WEB_HEAD_BYTES_MAX)]) {
        Ok(httparse::Status::Complete(len)) => Some((answer(&request, find), len)),
        Ok(httparse::Status::Partial) if input.len() < WEB_HEAD_BYTES_MAX => None,
        Ok(httparse::Status::Partial) => refused(431, "the head of this request is too long"),
        Err(httparse::Error::TooManyHeaders) => refused(431, "this request has too many header fields"),
        Err(httparse::Error::Version) => refused(505, "only HTTP/1.0 and HTTP/1.1 are spoken here"),
        Err(_) => refused(400, "this is no HTTP request"),
    }
}

fn answer(request: &httparse::Request<'_, '_>, find: &dyn Fn(&str) -> Option<Resource>) -> Answer {
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let logged = logged(method, target);
    let fields = |name: &'static str| request.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name));
    // A body is of no use here, and where it ends is a matter of dispute: it is not read, so the connection ends.
    let has_body = fields("transfer-encoding").next().is_some() || fields("content-length").any(|h| h.value != b"0");
    // Exactly one Host field (RFC 9112, section 3.2).
    if request.version == Some(1) && fields("host").count() != 1 {
        return Answer::text(logged, 400, "a request of HTTP/1.1 has one Host field", true);
    }
    if method != "GET" && method != "HEAD" {
        return Answer::text(logged, 405, "only GET and HEAD are answered here", has_body);
    }
    if has_body {
        return Answer::text(logged, 400, "a request for a package has no body", true);
    }
    let says_close =
        |value: &[u8]| value.split(|b| *b == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"));
    let closes = request.version == Some(0) || fields("connection").any(|h| says_close(h.value));
    let mut answer = match find(path_of(target)) {
        Some(resource) => Answer::of(logged, 200, resource, closes),
        None => Answer::text(logged, 404, "there is no such package here", closes),
    };
    if method == "HEAD" {
        answer.body = Arc::default();
    }
    answer
}

/// The path in a target, which may be a whole URL (RFC 9112, section 3.2.2).
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    path.split('?').next().unwrap_or_default()
}

/// A request as a log may have it: short, and on one line whatever it says.
fn logged(method: &str, target: &str) -> String {
    let text: String = format!("{method} {target}").escape_debug().take(LOGGED_BYTES_MAX).collect();
    text.replace("\\\"", "\"")
}

impl Answer {
    fn text(request: String, status: u16, text: &str, closes: bool) -> Answer {
        let bytes = format!("{text}\n").into_bytes().into();
        Answer::of(request, status, Resource { content_type: "text/plain; charset=utf-8", bytes }, closes)
    }

    /// No Date field: the server has no clock, and such a server sends none (RFC 9110, section 6.6.1).
    fn of(request: String, status: u16, resource: Resource, closes: bool) -> Answer {
        let reason = match status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            _ => "HTTP Version Not Supported",
        };
        let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let connection = if closes { "Connection: close\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             X-Content-Type-Options: nosniff\r\n{allow}{connection}\r\n",
            resource.content_type,
            resource.bytes.len(),
        );
        Answer { request, status, head: head.into_bytes(), body: resource.bytes, closes }
    }
}

//! One transfer, on a thread that may wait.
#![expect(clippy::disallowed_methods, reason = "a driver reads the clock")]

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ureq::http::header::LOCATION;
use ureq::http::{Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Error};

use crate::base::amount::span_text;
use crate::base::limits::{FETCH_REDIRECTS_MAX, POST_TIMEOUT};
use crate::controller::api::FetchProblem;
use crate::controller::url::{Scheme, Url};
use crate::drivers::safe_file;

/// Bytes of the head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Characters of a cause that are told.
const CAUSE_CHARS_MAX: usize = 200;

/// What is to be fetched.
pub(super) struct Order<'a> {
    pub(super) url: &'a str,
    pub(super) bytes_max: u64,
    /// The clock when it must be there.
    pub(super) until: Instant,
    /// For the message.
    pub(super) timeout: Duration,
    pub(super) cancelled: &'a AtomicBool,
}

/// Clients for HTTP. A server's certificate is checked against the authorities of the web first, then against those of
/// the configuration.
pub(super) struct Agents(Vec<Agent>);

impl Agents {
    pub(super) fn new(authorities: &[Certificate<'static>]) -> Agents {
        let own = (!authorities.is_empty()).then(|| RootCerts::new_with_certs(authorities));
        Agents([Some(RootCerts::WebPki), own].into_iter().flatten().map(agent).collect())
    }

    /// Fetches what a URL names.
    pub(super) fn fetch(&self, order: &Order<'_>, files_allowed: bool) -> Result<Vec<u8>, FetchProblem> {
        let mut url = Url::parse(order.url).map_err(|why| format!("{} is not fetched: {why}", order.url))?;
        if url.scheme == Scheme::File {
            return if files_allowed { read_file(&url, order) } else { Err(no_files(&url)) };
        }
        for _ in 0..=FETCH_REDIRECTS_MAX {
            let response = self.call(|agent| {
                let left = order.until.saturating_duration_since(Instant::now());
                agent.get(url.to_string()).config().timeout_global(Some(left)).build().call()
            });
            let response = response.map_err(|error| failed(&url, order, &error))?;
            if !is_redirect(response.status()) {
                return read_body(&url, order, response);
            }
            url = redirected(&url, &response)?;
        }
        Err(format!("{} leads from one place to the next, more than {FETCH_REDIRECTS_MAX} times", order.url).into())
    }

    /// Sends a body, once more if nothing answers the first time. The error is for the log.
    pub(super) fn post(&self, url: &str, body: &str) -> Result<(), String> {
        let target = Url::parse(url).map_err(|why| format!("{url} is not told: {why}"))?;
        if target.scheme == Scheme::File {
            return Err(format!("{url} is not told: it is a file"));
        }
        let once = || {
            self.call(|agent| {
                let request = agent.post(target.to_string()).header("content-type", "application/json");
                request.config().timeout_global(Some(POST_TIMEOUT)).build().send(body)
            })
        };
        let response = once().or_else(|_| once()).map_err(|error| format!("{url} is not told: {}", cause(&error)))?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(format!("{url} was told, and answered {}", response.status())),
        }
    }

    /// Asks with one client after the other, as long as a certificate is not accepted.
    fn call(&self, ask: impl Fn(&Agent) -> Result<Response<Body>, Error>) -> Result<Response<Body>, Error> {
        let (last, others) = self.0.split_last().expect("there is always the client with the authorities of the web");
        for agent in others {
            match ask(agent) {
                Err(error) if is_unknown_issuer(&error) => {}
                result => return result,
            }
        }
        ask(last)
    }
}

fn agent(roots: RootCerts) -> Agent {
    Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        // Neither a proxy of the environment nor what it may be told of us.
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .max_response_header_size(HEAD_BYTES_MAX)
        .max_idle_connections(0)
        .user_agent(concat!("netserv/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

const fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where an answer leads.
fn redirected(from: &Url, response: &Response<Body>) -> Result<Url, FetchProblem> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| format!("{from} answered {} without a place", response.status()))?;
    let to = match location {
        whole if whole.contains("://") => whole.to_owned(),
        same_scheme if same_scheme.starts_with("//") => {
            format!("{}:{same_scheme}", if from.scheme == Scheme::Https { "https" } else { "http" })
        }
        path => {
            let folder = if path.starts_with('/') { "" } else { from.path.rsplit_once('/').map_or("", |(f, _)| f) };
            let slash = if path.starts_with('/') { "" } else { "/" };
            Url { path: format!("{folder}{slash}{path}"), query: None, ..from.clone() }.to_string()
        }
    };
    let to = Url::parse(to.split('#').next().unwrap_or_default())
        .map_err(|why| format!("{from} leads to {}, which is not fetched: {why}", short(&to)))?;
    match (from.scheme, to.scheme) {
        (Scheme::Https, Scheme::Http) => {
            Err(format!("{from} leads to {to}, from TLS to none; that is not followed").into())
        }
        (_, Scheme::File) => Err(format!("{from} leads to a file of this machine; that is not followed").into()),
        _ => Ok(to),
    }
}

/// Reads the body of an answer, and no more of it than allowed.
fn read_body(url: &Url, order: &Order<'_>, response: Response<Body>) -> Result<Vec<u8>, FetchProblem> {
    if response.status() != StatusCode::OK {
        return Err(format!("{url} answered {}", response.status()).into());
    }
    let (_, body) = response.into_parts();
    if body.content_length().is_some_and(|len| len > order.bytes_max) {
        return Err(FetchProblem::TooLarge);
    }
    let told = |error: io::Error| failed(url, order, &Error::from(error));
    read(body.into_reader(), order, told)
}

/// Reads to the end, looking at the limit and the clock after each piece.
fn read(
    mut reader: impl Read,
    order: &Order<'_>,
    told: impl Fn(io::Error) -> FetchProblem,
) -> Result<Vec<u8>, FetchProblem> {
    let mut bytes = Vec::new();
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        if order.cancelled.load(Ordering::Relaxed) {
            return Err("nobody waits for it any more".to_owned().into());
        }
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(len) => bytes.extend_from_slice(&chunk[..len]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(told(error)),
        }
        if bytes.len() as u64 > order.bytes_max {
            return Err(FetchProblem::TooLarge);
        }
        if Instant::now() > order.until {
            return Err(told(io::ErrorKind::TimedOut.into()));
        }
    }
}

fn no_files(url: &Url) -> FetchProblem {
    format!("{url} is not read: the owner of this node does not allow packages from its own files").into()
}

/// Reads a file of this machine; devices and pipes are not opened.
fn read_file(url: &Url, order: &Order<'_>) -> Result<Vec<u8>, FetchProblem> {
    let told = |error: io::Error| FetchProblem::Failed(format!("{url} cannot be read: {error}"));
    let path = decoded(&url.path).ok_or_else(|| format!("{url} is not read: its %-signs are no bytes of a path"))?;
    let path = PathBuf::from(path);
    let len = std::fs::metadata(&path).map_err(told)?.len();
    if len > order.bytes_max {
        return Err(FetchProblem::TooLarge);
    }
    let bytes_max = usize::try_from(order.bytes_max).unwrap_or(usize::MAX - 1);
    safe_file::read(&path, bytes_max.min(usize::MAX - 1)).map(|(bytes, _)| bytes).map_err(told)
}

/// A path without its percent-encoding (RFC 3986, section 2.1).
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut parts = path.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|byte| is_hex && *byte != 0)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// A sentence about a transfer that failed.
fn failed(url: &Url, order: &Order<'_>, error: &Error) -> FetchProblem {
    let timed_out =
        matches!(error, Error::Timeout(_)) || matches!(error, Error::Io(e) if e.kind() == io::ErrorKind::TimedOut);
    FetchProblem::Failed(if timed_out {
        format!("{url} did not come within {}", span_text(order.timeout))
    } else {
        format!("{url} cannot be fetched: {}", cause(error))
    })
}

/// What went wrong, in words.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library adds variants as it likes")]
fn cause(error: &Error) -> String {
    let text = match error {
        Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => return "it ended in the middle".to_owned(),
        // Without the word in front that the library puts there.
        Error::Io(e) => short(&e.to_string()),
        _ => short(&error.to_string()),
    };
    if matches!(tls_error(error), Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType))) {
        return "no TLS is spoken at that port; if it offers plain HTTP, write http:// in front".to_owned();
    }
    if is_unknown_issuer(error) {
        return format!(
            "no known authority vouches for its certificate; `signaling.ca` in the configuration names more ({text})"
        );
    }
    text
}

fn short(text: &str) -> String {
    text.escape_debug().take(CAUSE_CHARS_MAX).collect()
}

/// Whether a certificate was refused because nobody known vouches for it.
fn is_unknown_issuer(error: &Error) -> bool {
    // An authority of the same name with another key gives a bad signature.
    use rustls::CertificateError::{BadSignature, UnknownIssuer};
    matches!(tls_error(error), Some(rustls::Error::InvalidCertificate(UnknownIssuer | BadSignature)))
}

/// What went wrong with TLS, if that did.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library adds variants as it likes")]
fn tls_error(error: &Error) -> Option<&rustls::Error> {
    match error {
        Error::Rustls(tls) => Some(tls),
        Error::Io(e) => e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        _ => None,
    }
}

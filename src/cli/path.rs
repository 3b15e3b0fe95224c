//! What the commands that signal along a path have in common: whom to ask, how, and how the answers are shown.

use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::base::amount::span_of;
use crate::base::limits::NSLP_SEARCH_DEFAULT;
use crate::cli::CliError;
use crate::dashboard::path::{Outcome, PathView};
use crate::drivers::key_file::{self, KeyFile};
use crate::drivers::live::initiator::{Initiator, InitiatorConfig, Step};
use crate::signaling::gist::api::TransferAttributes;
use crate::signaling::nslp::api::{NslpEvent, Order, OrderId};
use crate::wire::gist::mri::Mri;
use crate::wire::nslp::request::{Authorisation, Nonce, Operation, Request};
use crate::wire::nslp::signing_bytes;

/// How messages travel from node to node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Transport {
    /// Datagrams only.
    Udp,
    /// Over TCP.
    Tcp,
    /// Over TLS with certificates on both sides.
    #[default]
    Tls,
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "udp" => Ok(Transport::Udp),
            "tcp" => Ok(Transport::Tcp),
            "tls" => Ok(Transport::Tls),
            _ => Err(format!("\"{text}\" is not a transport; write udp, tcp or tls")),
        }
    }
}

/// A time as people write it: `90s`, `10m`, `1h`, `2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = span_of(text).filter(|span| !span.is_zero() && *span <= SPAN_MAX);
        span.map(Span).ok_or_else(|| format!("\"{text}\" is not a time; write 90s, 10m, 1h or 2d"))
    }
}

/// Longer times are mistakes.
const SPAN_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Where to, and how.
pub(super) struct Towards {
    pub(super) to: String,
    pub(super) ipv4: bool,
    pub(super) ipv6: bool,
    pub(super) transport: Transport,
    pub(super) key: Option<PathBuf>,
    /// Go on without a key.
    pub(super) anonymous: bool,
    pub(super) search: Option<Span>,
}

/// An initiator on its way to a host.
pub(super) struct Course {
    pub(super) initiator: Initiator,
    pub(super) key: Option<KeyFile>,
    pub(super) mri: Mri,
    pub(super) to: IpAddr,
    transport: Transport,
    search: Duration,
}

/// How long a request may be acted on at least: clocks differ, and slow paths take their time.
const VALID_MIN: Duration = Duration::from_secs(120);

impl Course {
    /// Finds the host, the key and this machine's address towards the host, and opens sockets.
    pub(super) fn open(towards: &Towards) -> Result<Course, CliError> {
        let to = resolve(&towards.to, towards.ipv4, towards.ipv6)?;
        let key = match (&towards.key, towards.anonymous) {
            (None, true) => None,
            (path, _) => {
                let path = path.clone().map_or_else(key_file::default_path, Ok).map_err(CliError::failure)?;
                Some(key_file::load(&path).map_err(CliError::failure)?)
            }
        };
        let initiator = Initiator::open(&InitiatorConfig { key: key.as_ref() }).map_err(CliError::failure)?;
        let from = initiator
            .source_for(to)
            .ok_or_else(|| CliError::Failure(format!("this machine has no route to {to}; is the network up?")))?;
        let search = towards.search.map_or(NSLP_SEARCH_DEFAULT, |span| span.0);
        Ok(Course { initiator, key, mri: Mri::flow(from, to), to, transport: towards.transport, search })
    }

    /// This machine's address towards the host.
    pub(super) fn source(&self) -> IpAddr {
        self.mri.source()
    }

    /// A request with a new nonce, valid for as long as it is meant to have an effect.
    pub(super) fn request(&self, operation: Operation, instance: &str, lifetime: Duration) -> Request {
        let now_ms = Initiator::wall_ms();
        let valid = lifetime.clamp(VALID_MIN, Duration::from_secs(86_400));
        Request {
            operation,
            nonce: Nonce(Initiator::random()),
            issued_ms: now_ms,
            expires_ms: now_ms + valid.as_millis() as u64,
            scope: Vec::new(),
            target: crate::wire::nslp::request::Target::All,
            conditions: Vec::new(),
            search_ms: u32::try_from(self.search.as_millis()).unwrap_or(u32::MAX),
            instance: instance.to_owned(),
            module: None,
            asks: 0,
        }
    }

    /// The request, signed, as an order.
    pub(super) fn order(&self, request: &Request, keep: bool) -> Order {
        let canonical = request.encode();
        let authorisation = self.key.as_ref().map(|key| Authorisation {
            key: key.signing.public(),
            signature: key.signing.sign(&signing_bytes(&canonical)),
        });
        let attributes = match self.transport {
            Transport::Udp => TransferAttributes { reliable: false, secure: false },
            Transport::Tcp => TransferAttributes { reliable: true, secure: false },
            Transport::Tls => TransferAttributes { reliable: true, secure: true },
        };
        Order { mri: self.mri.clone(), request: canonical, authorisation, attributes, keep }
    }

    /// Sends an order and collects what the nodes answer, until all did or no more can be hoped for. Shows on standard
    /// error how far it is. Ctrl-C ends the wait.
    pub(super) fn follow(&mut self, order: Order) -> Result<(OrderId, PathView), CliError> {
        let id = self.initiator.order(order).map_err(CliError::Failure)?;
        let view = self.collect(id)?;
        Ok((id, view))
    }

    /// See [`Course::follow`].
    pub(super) fn collect(&mut self, id: OrderId) -> Result<PathView, CliError> {
        let mut view = PathView::default();
        let mut progress = Progress::new();
        loop {
            let event = match self.initiator.step(None).map_err(CliError::failure)? {
                Step::Interrupted => {
                    view.problem = Some("interrupted".to_owned());
                    progress.clear();
                    return Ok(view);
                }
                Step::Deadline => continue,
                Step::Event(event) => *event,
            };
            match event {
                NslpEvent::Answered { order, answer } if order == id => {
                    view.add(&answer);
                    progress.show(&format!("{} nodes answered", view.nodes.len()));
                }
                NslpEvent::Progress { order, text } if order == id => progress.show(&text),
                NslpEvent::Finished { order, result } if order == id => {
                    view.complete = result.is_ok();
                    view.problem = result.err();
                    progress.clear();
                    return Ok(view);
                }
                NslpEvent::Answered { .. }
                | NslpEvent::Progress { .. }
                | NslpEvent::Finished { .. }
                | NslpEvent::Notified { .. }
                | NslpEvent::Asked { .. } => {}
            }
        }
    }
}

/// One line on standard error that is written over; nothing where nobody looks.
struct Progress {
    is_on: bool,
    shown: usize,
}

impl Progress {
    fn new() -> Progress {
        Progress { is_on: io::stderr().is_terminal(), shown: 0 }
    }

    fn show(&mut self, text: &str) {
        if !self.is_on {
            return;
        }
        let text: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
        let width = self.shown.max(text.chars().count());
        self.shown = text.chars().count();
        // Nothing is lost when it cannot be shown.
        let _ = write!(io::stderr(), "\r{text:width$}");
        let _ = io::stderr().flush();
    }

    fn clear(&mut self) {
        if self.shown > 0 {
            self.show("");
            let _ = write!(io::stderr(), "\r");
            self.shown = 0;
        }
    }
}

/// The exit that goes with how a request went.
pub(super) fn exit(view: &PathView, what: &str) -> Result<(), CliError> {
    match view.outcome() {
        Outcome::Success => Ok(()),
        Outcome::Partial => Err(CliError::Partial(format!("{what} at some nodes only"))),
        Outcome::Failure if view.nodes.is_empty() => Err(CliError::Failure(format!(
            "no node on the path answered{}",
            view.problem.as_ref().map(|p| format!(": {p}")).unwrap_or_default()
        ))),
        Outcome::Failure => Err(CliError::Failure(format!("{what} nowhere"))),
    }
}

fn resolve(host: &str, ipv4: bool, ipv6: bool) -> Result<IpAddr, CliError> {
    let fits = |address: &IpAddr| (address.is_ipv4() || !ipv4) && (address.is_ipv6() || !ipv6);
    if ipv4 && ipv6 {
        return Err(CliError::Usage("--ipv4 and --ipv6 exclude each other".to_owned()));
    }
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return match fits(&address) {
            true => Ok(address),
            false => Err(CliError::Usage(format!("{host} is an address of the other IP version"))),
        };
    }
    let addresses = (host, 0u16).to_socket_addrs().map_err(|e| CliError::Failure(format!("--to {host}: {e}")))?;
    let version = if ipv4 {
        "IPv4 "
    } else if ipv6 {
        "IPv6 "
    } else {
        ""
    };
    addresses
        .map(|address| address.ip())
        .find(fits)
        .ok_or_else(|| CliError::Failure(format!("--to {host}: it has no {version}address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_transports_are_read_as_people_write_them() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h", 3_600), ("2d", 172_800)] {
            assert_eq!(text.parse::<Span>().unwrap().0.as_secs(), seconds);
        }
        for text in ["", "h", "90", "0s", "-1s", "1w", "99999999999999999999d", "1.5h"] {
            assert!(text.parse::<Span>().unwrap_err().contains("10m"), "{text}");
        }
        assert_eq!("tcp".parse::<Transport>().unwrap(), Transport::Tcp);
        assert!("sctp".parse::<Transport>().unwrap_err().contains("udp, tcp or tls"));
    }

    #[test]
    fn a_host_is_taken_in_the_version_that_is_asked_for() {
        assert!(matches!(resolve("10.0.0.1", false, true), Err(CliError::Usage(_))));
        assert!(matches!(resolve("10.0.0.1", true, true), Err(CliError::Usage(_))));
        assert_eq!(resolve("[fd00::1]", false, false).unwrap(), "fd00::1".parse::<IpAddr>().unwrap());
    }
}

//! A small web server for packages: GET and HEAD of a few resources that are in memory, over HTTP/1.1 (RFC 9112).
//!
//! It never blocks, has no thread and reads no clock. A loop gives it its tokens with [`WebServer::ready`], and calls
//! [`WebServer::expire`] after at most [`WebServer::longest_wait`]. Connections, heads, silence and slowness are
//! bounded, and a client that takes much gives the others their turn.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use crate::base::limits::{WEB_CONNECTIONS_MAX, WEB_LOG_LINES_MAX};
use crate::base::time::Instant;
use crate::drivers::listening::ListenError;
use crate::drivers::live::web::connection::{Connection, Turn};

mod answer;
mod connection;

/// Tokens that a server needs, its first one included.
pub const WEB_TOKENS: usize = WEB_CONNECTIONS_MAX + 1;
/// How soon accepting is tried again when the system had no descriptor left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// What is offered under one path.
#[derive(Clone, Debug)]
struct Resource {
    content_type: &'static str,
    bytes: Arc<[u8]>,
}

/// A request that was answered, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Who asked.
    pub peer: SocketAddr,
    /// Method and path, cut and with nothing in it that a terminal would obey; empty if no request could be read.
    pub request: String,
    /// Status code of the answer.
    pub status: u16,
    /// Bytes of the answer that were written, its head included.
    pub written_bytes: usize,
    /// Whether that was all of it.
    pub is_whole: bool,
}

/// The server.
#[derive(Debug)]
pub struct WebServer {
    listener: TcpListener,
    address: SocketAddr,
    /// The listener's token; connections have those above it.
    first_token: usize,
    connections: BTreeMap<usize, Connection>,
    resources: BTreeMap<String, Resource>,
    served: VecDeque<Served>,
    /// Somebody waits whom the system could not give a descriptor.
    accepts_again: bool,
}

impl WebServer {
    /// Listens on `address`. Uses the tokens from `first_token` on, [`WEB_TOKENS`] of them.
    ///
    /// # Errors
    ///
    /// When the system refuses, with the remedy.
    pub fn open(address: SocketAddr, registry: &Registry, first_token: usize) -> Result<WebServer, ListenError> {
        let failed = |error| ListenError { address, error };
        let mut listener = TcpListener::bind(address).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        registry.register(&mut listener, Token(first_token), Interest::READABLE).map_err(failed)?;
        Ok(WebServer {
            listener,
            address: bound,
            first_token,
            connections: BTreeMap::new(),
            resources: BTreeMap::new(),
            served: VecDeque::new(),
            accepts_again: false,
        })
    }

    /// Where it listens, with the port that port 0 became.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Offers `bytes` under `path`, which begins with "/", in place of what was there. Answers that are on their way
    /// go on with the old content.
    pub fn offer(&mut self, path: &str, bytes: impl Into<Arc<[u8]>>) {
        let content_type = match path {
            path if path.ends_with(".json") => "application/json",
            path if path.ends_with('/') => "text/plain; charset=utf-8",
            _ => "application/octet-stream",
        };
        self.resources.insert(path.to_owned(), Resource { content_type, bytes: bytes.into() });
    }

    /// Offers nothing any more.
    pub fn withdraw_all(&mut self) {
        self.resources.clear();
    }

    /// Whether `token` is one of this server's.
    #[must_use]
    pub fn owns(&self, token: usize) -> bool {
        (self.first_token..self.first_token + WEB_TOKENS).contains(&token)
    }

    /// A socket is ready: accepts, reads or writes.
    pub fn ready(&mut self, token: usize, registry: &Registry, now: Instant) {
        if token == self.first_token {
            self.accept(registry, now);
        } else {
            self.turn(token, now);
        }
    }

    /// Goes on with what waits for its turn, and closes what is too slow.
    pub fn expire(&mut self, registry: &Registry, now: Instant) {
        if self.accepts_again {
            self.accept(registry, now);
        }
        let due = |(_, c): &(&usize, &Connection)| c.has_more() || c.deadline() <= now;
        let tokens: Vec<usize> = self.connections.iter().filter(due).map(|(token, _)| *token).collect();
        for token in tokens {
            let Some(connection) = self.connections.get_mut(&token) else { continue };
            if connection.has_more() && connection.deadline() > now {
                self.turn(token, now);
            } else {
                self.retire(token);
            }
        }
    }

    /// How long the loop may wait until it calls [`WebServer::expire`]; `None` = for ever.
    #[must_use]
    pub fn longest_wait(&self, now: Instant) -> Option<Duration> {
        let again = self.accepts_again.then_some(ACCEPT_AGAIN);
        let wait = |c: &Connection| if c.has_more() { Duration::ZERO } else { c.deadline().since(now) };
        self.connections.values().map(wait).chain(again).min()
    }

    /// The oldest request that was served and not yet taken.
    pub fn next_served(&mut self) -> Option<Served> {
        self.served.pop_front()
    }

    /// Whether no answer is on its way.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.connections.values().all(|connection| !connection.is_answering())
    }

    fn accept(&mut self, registry: &Registry, now: Instant) {
        self.accepts_again = false;
        // Those who come while others are accepted are told by the next event or the next turn.
        for _ in 0..2 * WEB_CONNECTIONS_MAX {
            match self.listener.accept() {
                Ok((stream, peer)) => self.welcome(stream, peer, registry, now),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(_) => break,
            }
        }
        self.accepts_again = true;
    }

    fn welcome(&mut self, mut stream: TcpStream, peer: SocketAddr, registry: &Registry, now: Instant) {
        let Some(token) = self.free_token() else {
            let _ = stream.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return;
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if registry.register(&mut stream, Token(token), interest).is_ok() {
            self.connections.insert(token, Connection::new(stream, peer, now));
            self.turn(token, now);
        }
    }

    /// A token for a connection. When all are taken, the one that has waited for a request for longest makes room.
    fn free_token(&mut self) -> Option<usize> {
        let mut tokens = (1..WEB_TOKENS).map(|n| self.first_token + n);
        if let Some(free) = tokens.find(|token| !self.connections.contains_key(token)) {
            return Some(free);
        }
        let waiting = self.connections.iter().filter(|(_, connection)| !connection.is_answering());
        let (token, _) = waiting.min_by_key(|(_, connection)| connection.deadline())?;
        let token = *token;
        self.retire(token);
        Some(token)
    }

    fn turn(&mut self, token: usize, now: Instant) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let resources = &self.resources;
        let turn = connection.turn(now, &|path| resources.get(path).cloned());
        while let Some(served) = self.connections.get_mut(&token).and_then(Connection::next_served) {
            self.note(served);
        }
        if turn == Turn::Over {
            self.retire(token);
        }
    }

    fn retire(&mut self, token: usize) {
        if let Some(cut) = self.connections.remove(&token).and_then(Connection::cut_short) {
            self.note(cut);
        }
    }

    fn note(&mut self, served: Served) {
        if self.served.len() == WEB_LOG_LINES_MAX {
            self.served.pop_front();
        }
        self.served.push_back(served);
    }
}

#[cfg(test)]
mod tests;

//! The side of the node: never waits for anybody, and bounded in every way.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use crate::base::limits::{
    CONTROL_ANSWER_BYTES_MAX, CONTROL_CONNECTIONS_MAX, CONTROL_LINE_BYTES_MAX, CONTROL_WAIT_MAX,
};
use crate::base::time::Instant;
use crate::drivers::live::control::{ControlError, Request, Response, check_folder, folder_of};

/// The listening socket and its connections.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
    listener: UnixListener,
    /// The listener's token; connections have those above it.
    first_token: usize,
    connections: BTreeMap<usize, Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    /// What came and is not yet a whole request.
    input: Vec<u8>,
    /// What is still to be written, from `written` on.
    output: Vec<u8>,
    written: usize,
    /// When it was made or last answered; since then the output waits, if there is any.
    waits_since: Instant,
    /// The other side has said all it wants to say.
    has_ended: bool,
    is_broken: bool,
}

impl ControlServer {
    /// Listens at `path`, which gets mode 0600. A socket whose node is dead is replaced.
    ///
    /// # Errors
    ///
    /// When a node answers there, something else is in the way, or others could write there.
    pub fn open(path: &Path, registry: &Registry, first_token: usize) -> Result<ControlServer, ControlError> {
        let system = |source| ControlError::System { path: path.to_owned(), source };
        let folder = folder_of(path);
        if !folder.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(system)?;
        }
        check_folder(folder)?;
        make_way(path)?;
        let mut listener = UnixListener::bind(path).map_err(system)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(system)?;
        registry.register(&mut listener, Token(first_token), Interest::READABLE).map_err(system)?;
        Ok(ControlServer { path: path.to_owned(), listener, first_token, connections: BTreeMap::new() })
    }

    /// A socket is ready: accepts, reads or writes.
    pub fn ready(&mut self, token: usize, registry: &Registry, now: Instant) {
        if token == self.first_token {
            self.accept(registry, now);
        } else if let Some(connection) = self.connections.get_mut(&token) {
            connection.write(now);
            connection.read();
        }
        self.connections.retain(|_, connection| !connection.is_over());
    }

    fn accept(&mut self, registry: &Registry, now: Instant) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let user = platform::user::of_peer(&stream);
            if !user.is_ok_and(|user| user == platform::user::current() || user == 0) {
                tracing::warn!("control socket: refused a connection of another user");
                continue;
            }
            let Some(token) = self.free_token() else {
                let _ = stream.write(b"{\"error\":\"too many connections to the control socket\"}\n");
                continue;
            };
            let interest = Interest::READABLE | Interest::WRITABLE;
            if registry.register(&mut stream, Token(token), interest).is_ok() {
                let mut connection = Connection::new(stream, now);
                connection.read();
                self.connections.insert(token, connection);
            }
        }
    }

    /// A token for a connection. When all are taken, the one that has been silent for longest makes room.
    fn free_token(&mut self) -> Option<usize> {
        let mut tokens = (1..=CONTROL_CONNECTIONS_MAX).map(|n| self.first_token + n);
        if let Some(free) = tokens.find(|token| !self.connections.contains_key(token)) {
            return Some(free);
        }
        let silent = self.connections.iter().filter(|(_, c)| c.output.is_empty() && c.input.is_empty());
        let (token, _) = silent.min_by_key(|(_, connection)| connection.waits_since)?;
        let token = *token;
        self.connections.remove(&token);
        Some(token)
    }

    /// The next whole request, with its connection. One at a time per connection: its answer must be on its way first.
    pub fn next_request(&mut self) -> Option<(usize, Request)> {
        for (token, connection) in &mut self.connections {
            let Some(line) = connection.next_line() else { continue };
            match serde_json::from_slice(&line) {
                Ok(request) => return Some((*token, request)),
                Err(e) => connection.put(&Response::Error(format!("this is no request: {e}"))),
            }
        }
        None
    }

    /// Answers a request.
    pub fn answer(&mut self, connection: usize, answer: &Result<serde_json::Value, String>, now: Instant) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.put(&match answer {
                Ok(value) => Response::Ok(value.clone()),
                Err(text) => Response::Error(text.clone()),
            });
            connection.waits_since = now;
            connection.write(now);
            connection.read();
        }
    }

    /// Whether a request waits that [`ControlServer::next_request`] would answer.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.connections.values().any(|connection| connection.output.is_empty() && connection.input.contains(&b'\n'))
    }

    /// Closes connections that are over, and those whose reader does not read.
    pub fn close_stuck(&mut self, now: Instant) {
        self.connections.retain(|_, connection| {
            connection.write(now);
            let is_stuck = !connection.output.is_empty() && now.since(connection.waits_since) >= CONTROL_WAIT_MAX;
            !connection.is_over() && !is_stuck
        });
    }

    /// When [`ControlServer::close_stuck`] is to be called again at the latest.
    #[must_use]
    pub fn longest_wait(&self) -> Option<Duration> {
        let waits = self.connections.values().any(|connection| !connection.output.is_empty());
        waits.then_some(CONTROL_WAIT_MAX)
    }
}

/// Writes what is left as far as that goes at once, and removes the socket.
impl Drop for ControlServer {
    fn drop(&mut self) {
        for connection in self.connections.values_mut() {
            connection.write(connection.waits_since);
        }
        let _ = fs::remove_file(&self.path);
    }
}

impl Connection {
    fn new(stream: UnixStream, now: Instant) -> Self {
        Connection {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            waits_since: now,
            has_ended: false,
            is_broken: false,
        }
    }

    fn is_over(&self) -> bool {
        let is_answered = self.output.is_empty() && !self.input.contains(&b'\n');
        self.is_broken || (self.has_ended && is_answered)
    }

    /// Reads what is there, up to one request more than can be answered now.
    fn read(&mut self) {
        let mut chunk = [0; 4096];
        while self.input.len() <= CONTROL_LINE_BYTES_MAX && !self.has_ended && !self.is_broken {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.has_ended = true,
                Ok(len) => self.input.extend_from_slice(&chunk[..len]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.is_broken = true,
            }
        }
    }

    /// The next request's text, unless the answer to the last one still waits.
    fn next_line(&mut self) -> Option<Vec<u8>> {
        if !self.output.is_empty() {
            return None;
        }
        let end = self.input.iter().take(CONTROL_LINE_BYTES_MAX).position(|byte| *byte == b'\n');
        let Some(end) = end else {
            if self.input.len() > CONTROL_LINE_BYTES_MAX {
                self.input.clear();
                self.put(&Response::Error(format!("a request has at most {CONTROL_LINE_BYTES_MAX} bytes")));
                self.has_ended = true;
            }
            return None;
        };
        let line = self.input.drain(..=end).collect();
        self.read();
        Some(line)
    }

    fn put(&mut self, response: &Response) {
        let before = self.output.len();
        let written = serde_json::to_writer(&mut self.output, response);
        if written.is_err() || self.output.len() > CONTROL_ANSWER_BYTES_MAX {
            self.output.truncate(before);
            self.output.extend_from_slice(b"{\"error\":\"the answer is too long\"}");
        }
        self.output.push(b'\n');
    }

    fn write(&mut self, now: Instant) {
        while self.written < self.output.len() && !self.is_broken {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => self.is_broken = true,
                Ok(len) => {
                    self.written += len;
                    self.waits_since = now;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.is_broken = true,
            }
        }
        self.output.clear();
        self.written = 0;
    }
}

/// Removes the socket of a dead node.
fn make_way(path: &Path) -> Result<(), ControlError> {
    let system = |source| ControlError::System { path: path.to_owned(), source };
    let file_type = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(system(e)),
    };
    if !file_type.is_socket() {
        return Err(ControlError::InTheWay { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(system),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) | Err(_) => Err(ControlError::AlreadyRunning { path: path.to_owned() }),
    }
}

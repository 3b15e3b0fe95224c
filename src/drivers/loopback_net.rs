//! The sockets of a node's modules, in memory: for tests of modules, and where there is no network at all.
//!
//! Sockets of the same node reach each other, at whatever address they are called; names resolve by a table. The rest of
//! the world is played by whoever drives the node: sockets of the instance [`OUTSIDE`] are its own. What is written
//! arrives, whole, in order and at once. TLS is not spoken: the streams are plain, with the same events.
//!
//! The owner gives outputs to [`LoopbackNet::perform`] and takes what follows by [`LoopbackNet::next_event`], until there
//! is nothing more.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::id::InstanceId;
use crate::base::limits::{
    SOCKET_BACKLOG_MAX, SOCKET_DATAGRAMS_MAX, SOCKET_HIGH_WATER_BYTES, SOCKET_LOW_WATER_BYTES, SOCKET_READ_BYTES_MAX,
};
use crate::base::net::{Datagram, Family, NetEvent, NetOutput, Security, SocketId};

/// Whose sockets those of the world outside are. No module has this number.
pub const OUTSIDE: InstanceId = InstanceId(u32::MAX);

/// First port that is given to who asks for any.
const FIRST_FREE_PORT: u16 = 49_152;

/// Sockets in memory.
#[derive(Debug)]
pub struct LoopbackNet {
    names: BTreeMap<String, Vec<IpAddr>>,
    sockets: BTreeMap<SocketId, Socket>,
    next_port: u16,
    next_accepted: u32,
    events: VecDeque<(SocketId, What)>,
    /// Datagrams that found no room where they should have arrived.
    lost: u64,
    /// Bytes of the event at hand.
    current: Vec<u8>,
}

#[derive(Debug)]
enum Socket {
    Listener { at: SocketAddr, security: Security, is_paused: bool, waiting: VecDeque<Waiting> },
    Stream(Stream),
    Udp { at: SocketAddr, waiting: usize },
}

/// A stream whose listener is paused and was not told of it yet.
#[derive(Debug)]
struct Waiting {
    stream: SocketId,
    peer: SocketAddr,
    protocol: Option<String>,
}

#[derive(Debug)]
struct Stream {
    local: SocketAddr,
    /// The other end, until that is closed.
    peer: Option<SocketId>,
    /// What the peer wrote and this end has not heard.
    inbox: Vec<u8>,
    is_paused: bool,
    /// Its owner knows of it: nothing is told before.
    is_told: bool,
    /// The peer writes nothing more.
    peer_finished: bool,
    /// This end was told so.
    told_finished: bool,
    has_finished: bool,
    /// Bytes that this end wrote since it was last told that little is left.
    written: usize,
}

/// What is to be told.
#[derive(Debug)]
enum What {
    Opened {
        local: SocketAddr,
        peer: Option<SocketAddr>,
        protocol: Option<String>,
    },
    Accepted {
        stream: SocketId,
        local: SocketAddr,
        peer: SocketAddr,
        protocol: Option<String>,
    },
    /// Whatever there is in a stream.
    Data,
    Datagram {
        from: SocketAddr,
        to: IpAddr,
        bytes: Vec<u8>,
    },
    Drained,
    Closed(String),
    Resolved(Result<Vec<IpAddr>, String>),
}

impl Default for LoopbackNet {
    fn default() -> Self {
        let local = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        LoopbackNet {
            names: BTreeMap::from([("localhost".to_owned(), local)]),
            sockets: BTreeMap::new(),
            next_port: FIRST_FREE_PORT,
            next_accepted: SocketId::ACCEPTED,
            events: VecDeque::new(),
            lost: 0,
            current: Vec::new(),
        }
    }
}

impl LoopbackNet {
    /// Says which addresses a name has; none if the list is empty.
    pub fn set_name(&mut self, name: &str, addresses: Vec<IpAddr>) {
        self.names.insert(name.trim_end_matches('.').to_ascii_lowercase(), addresses);
    }

    /// How many datagrams found no room where they should have arrived, since this was last asked.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Does what is asked for.
    pub fn perform(&mut self, output: NetOutput) {
        match output {
            NetOutput::Listen { socket, at, security } => self.open(socket, at, Some(security)),
            NetOutput::Bind { socket, at } => self.open(socket, at, None),
            NetOutput::Connect { socket, to, security } => self.connect(socket, None, to, &security),
            NetOutput::Write { socket, bytes } => self.write(socket, &bytes),
            NetOutput::Send { socket, from, to, bytes } => self.send(socket, from, to, bytes),
            NetOutput::Pause(socket) => self.pause(socket, true),
            NetOutput::Resume(socket) => self.pause(socket, false),
            NetOutput::Finish(socket) => self.finish(socket),
            NetOutput::Close { socket, abort } => self.close(socket, abort),
            NetOutput::Resolve { query, name, family } => self.resolve(query, &name, family),
            NetOutput::CloseAll(instance) => {
                let of = |socket: &&SocketId| socket.instance == instance;
                let ids: Vec<SocketId> = self.sockets.keys().filter(of).copied().collect();
                ids.into_iter().for_each(|socket| self.close(socket, true));
                self.events.retain(|(socket, _)| socket.instance != instance);
            }
            NetOutput::HandOver { from, to } => {
                if let Some(socket) = self.sockets.remove(&from) {
                    self.sockets.insert(to, socket);
                    self.events.retain(|(socket, _)| *socket != from);
                }
            }
        }
    }

    /// Opens a stream from a given address, as the world outside may have any.
    pub fn connect(&mut self, socket: SocketId, from: Option<SocketAddr>, to: SocketAddr, security: &Security) {
        match self.try_connect(socket, from, to, security) {
            Ok(()) => {}
            Err(reason) => self.events.push_back((socket, What::Closed(reason))),
        }
    }

    fn try_connect(
        &mut self,
        socket: SocketId,
        from: Option<SocketAddr>,
        to: SocketAddr,
        security: &Security,
    ) -> Result<(), String> {
        let hears = |at: &SocketAddr| at.port() == to.port() && (at.ip() == to.ip() || at.ip().is_unspecified());
        let found = self.sockets.iter().find_map(|(id, socket)| match socket {
            Socket::Listener { at, security, waiting, .. } if hears(at) => Some((*id, security, waiting.len())),
            Socket::Listener { .. } | Socket::Stream(_) | Socket::Udp { .. } => None,
        });
        let (listener, theirs, waiting) = found.ok_or("the peer refuses connections to this port")?;
        if waiting >= SOCKET_BACKLOG_MAX {
            return Err("the peer did not answer".to_owned());
        }
        let protocol = agree(security, theirs)?;
        let local = match from {
            Some(from) if from.port() != 0 => from,
            from => SocketAddr::new(from.map_or(to.ip(), |from| from.ip()), self.free_port()),
        };
        let other = SocketId { instance: listener.instance, number: self.next_accepted };
        self.next_accepted = self.next_accepted.wrapping_add(1) | SocketId::ACCEPTED;
        self.sockets.insert(socket, Socket::Stream(Stream::new(local, other)));
        self.sockets.insert(other, Socket::Stream(Stream::new(to, socket)));
        self.events.push_back((socket, What::Opened { local, peer: Some(to), protocol: protocol.clone() }));
        match self.sockets.get_mut(&listener) {
            Some(Socket::Listener { is_paused: true, waiting, .. }) => {
                waiting.push_back(Waiting { stream: other, peer: local, protocol });
                if let Some(other) = self.stream(other) {
                    other.is_told = false;
                }
            }
            _ => self.events.push_back((listener, What::Accepted { stream: other, local: to, peer: local, protocol })),
        }
        Ok(())
    }

    fn open(&mut self, socket: SocketId, at: SocketAddr, security: Option<Security>) {
        let at = if at.port() == 0 { SocketAddr::new(at.ip(), self.free_port()) } else { at };
        let is_stream = security.is_some();
        let takes = |other: &Socket| match other {
            Socket::Listener { at: other, .. } => is_stream && overlap(*other, at),
            Socket::Udp { at: other, .. } => !is_stream && overlap(*other, at),
            Socket::Stream(_) => false,
        };
        if self.sockets.values().any(takes) {
            let reason = format!("port {} is taken by another program", at.port());
            return self.events.push_back((socket, What::Closed(reason)));
        }
        let opened = match security {
            Some(security) => Socket::Listener { at, security, is_paused: false, waiting: VecDeque::new() },
            None => Socket::Udp { at, waiting: 0 },
        };
        self.sockets.insert(socket, opened);
        self.events.push_back((socket, What::Opened { local: at, peer: None, protocol: None }));
    }

    fn free_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_FREE_PORT);
        port
    }

    fn stream(&mut self, socket: SocketId) -> Option<&mut Stream> {
        match self.sockets.get_mut(&socket)? {
            Socket::Stream(stream) => Some(stream),
            Socket::Listener { .. } | Socket::Udp { .. } => None,
        }
    }

    fn write(&mut self, socket: SocketId, bytes: &[u8]) {
        let Some(stream) = self.stream(socket).filter(|stream| !stream.has_finished) else { return };
        let Some(peer) = stream.peer else { return self.end(socket, "the peer broke it off") };
        stream.written += bytes.len();
        if let Some(other) = self.stream(peer) {
            other.inbox.extend_from_slice(bytes);
            self.events.push_back((peer, What::Data));
        }
    }

    fn send(&mut self, socket: SocketId, from: Option<IpAddr>, to: SocketAddr, bytes: Vec<u8>) {
        let Some(Socket::Udp { at, .. }) = self.sockets.get(&socket) else { return };
        let source = from.unwrap_or(if at.ip().is_unspecified() { to.ip() } else { at.ip() });
        let source = SocketAddr::new(source, at.port());
        let hears = |at: &SocketAddr| at.port() == to.port() && (at.ip() == to.ip() || at.ip().is_unspecified());
        let found = self.sockets.iter_mut().find_map(|(id, socket)| match socket {
            Socket::Udp { at, waiting } if hears(at) => Some((*id, waiting)),
            Socket::Udp { .. } | Socket::Listener { .. } | Socket::Stream(_) => None,
        });
        match found {
            Some((receiver, waiting)) if *waiting < SOCKET_DATAGRAMS_MAX => {
                *waiting += 1;
                self.events.push_back((receiver, What::Datagram { from: source, to: to.ip(), bytes }));
            }
            Some(_) => self.lost += 1,
            None => {}
        }
    }

    fn pause(&mut self, socket: SocketId, pauses: bool) {
        match self.sockets.get_mut(&socket) {
            Some(Socket::Stream(stream)) => {
                stream.is_paused = pauses;
                self.events.push_back((socket, What::Data));
            }
            Some(Socket::Listener { is_paused, waiting, .. }) => {
                *is_paused = pauses;
                let accepted = if pauses { VecDeque::new() } else { std::mem::take(waiting) };
                for Waiting { stream, peer, protocol } in accepted {
                    // One that was broken off meanwhile was never there.
                    let Some(it) = self.stream(stream) else { continue };
                    it.is_told = true;
                    let local = it.local;
                    self.events.push_back((socket, What::Accepted { stream, local, peer, protocol }));
                    self.events.push_back((stream, What::Data));
                }
            }
            Some(Socket::Udp { .. }) | None => {}
        }
    }

    fn finish(&mut self, socket: SocketId) {
        let Some(stream) = self.stream(socket) else { return };
        stream.has_finished = true;
        let is_over = stream.told_finished;
        if let Some(peer) = stream.peer
            && let Some(other) = self.stream(peer)
        {
            other.peer_finished = true;
            self.events.push_back((peer, What::Data));
        }
        if is_over {
            self.end(socket, ENDED);
        }
    }

    /// A stream is over, and its owner is to know.
    fn end(&mut self, socket: SocketId, reason: &str) {
        self.close(socket, false);
        self.events.push_back((socket, What::Closed(reason.to_owned())));
    }

    fn close(&mut self, socket: SocketId, abort: bool) {
        let Some(closed) = self.sockets.remove(&socket) else { return };
        match closed {
            Socket::Stream(stream) => {
                let Some(peer) = stream.peer else { return };
                let unread = !stream.inbox.is_empty();
                if let Some(other) = self.stream(peer) {
                    other.peer = None;
                    other.peer_finished = true;
                    if abort || unread {
                        self.sockets.remove(&peer);
                        self.events.push_back((peer, What::Closed("the peer broke it off".to_owned())));
                    } else {
                        self.events.push_back((peer, What::Data));
                    }
                }
            }
            Socket::Listener { waiting, .. } => {
                waiting.into_iter().for_each(|waiting| self.close(waiting.stream, true))
            }
            Socket::Udp { .. } => {}
        }
    }

    fn resolve(&mut self, query: SocketId, name: &str, family: Family) {
        let known = self.names.get(&name.trim_end_matches('.').to_ascii_lowercase());
        let wanted = |address: &&IpAddr| match family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        let addresses: Vec<IpAddr> = known.into_iter().flatten().filter(wanted).copied().collect();
        let result = if addresses.is_empty() { Err(format!("there is no address for {name}")) } else { Ok(addresses) };
        self.events.push_back((query, What::Resolved(result)));
    }

    /// Gives the next event to `give`. Whether there was one.
    pub fn next_event(&mut self, give: impl FnOnce(SocketId, NetEvent<'_>)) -> bool {
        while let Some((socket, what)) = self.events.pop_front() {
            match what {
                What::Opened { local, peer, protocol } => give(socket, NetEvent::Opened { local, peer, protocol }),
                What::Accepted { stream, local, peer, protocol } => {
                    give(socket, NetEvent::Accepted { stream, local, peer, protocol });
                }
                What::Data => match self.data(socket) {
                    None => continue,
                    Some(true) => give(socket, NetEvent::Received(&self.current)),
                    Some(false) => give(socket, NetEvent::Finished),
                },
                What::Datagram { from, to, bytes } => {
                    if let Some(Socket::Udp { waiting, .. }) = self.sockets.get_mut(&socket) {
                        *waiting -= 1;
                    }
                    give(socket, NetEvent::Datagrams(&[Datagram { from, to: Some(to), bytes: &bytes }]));
                }
                What::Drained => give(socket, NetEvent::Drained),
                What::Closed(reason) => give(socket, NetEvent::Closed { reason }),
                What::Resolved(result) => give(socket, NetEvent::Resolved(result)),
            }
            return true;
        }
        false
    }

    /// What there is for an end of a stream: bytes (true), which are then in `current`, or the peer's end (false).
    fn data(&mut self, socket: SocketId) -> Option<bool> {
        let stream = self.stream(socket).filter(|stream| stream.is_told && !stream.is_paused)?;
        if stream.inbox.is_empty() {
            if !stream.peer_finished || std::mem::replace(&mut stream.told_finished, true) {
                return None;
            }
            if stream.has_finished {
                self.end(socket, ENDED);
            }
            return Some(false);
        }
        let len = stream.inbox.len().min(SOCKET_READ_BYTES_MAX);
        let bytes: Vec<u8> = stream.inbox.drain(..len).collect();
        let (left, peer) = (stream.inbox.len(), stream.peer);
        self.current = bytes;
        self.events.push_back((socket, What::Data));
        if let Some(peer) = peer
            && left <= SOCKET_LOW_WATER_BYTES
            && let Some(writer) = self.stream(peer).filter(|writer| writer.written >= SOCKET_HIGH_WATER_BYTES)
        {
            writer.written = 0;
            self.events.push_back((peer, What::Drained));
        }
        Some(true)
    }
}

impl Stream {
    fn new(local: SocketAddr, peer: SocketId) -> Stream {
        Stream {
            local,
            peer: Some(peer),
            inbox: Vec::new(),
            is_paused: false,
            is_told: true,
            peer_finished: false,
            told_finished: false,
            has_finished: false,
            written: 0,
        }
    }
}

/// Why a stream is over that both sides finished.
const ENDED: &str = "both sides have finished";

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// The application protocol that both sides agree on, if their security fits together.
fn agree(client: &Security, server: &Security) -> Result<Option<String>, String> {
    match (client, server) {
        (Security::Plain, Security::Plain) => Ok(None),
        (Security::TlsClient { protocols: wanted, .. }, Security::TlsServer { protocols: offered, .. }) => {
            let common = offered.iter().find(|protocol| wanted.contains(protocol)).cloned();
            if common.is_none() && !wanted.is_empty() && !offered.is_empty() {
                return Err("the peer speaks TLS, but another protocol inside of it".to_owned());
            }
            Ok(common)
        }
        _ => Err("one side speaks TLS and the other does not".to_owned()),
    }
}

/// What a driver without a network answers: no socket opens, no name has an address.
#[must_use]
pub fn refusal(output: &NetOutput, why: &str) -> Option<(SocketId, NetEvent<'static>)> {
    match output {
        NetOutput::Listen { socket, .. } | NetOutput::Bind { socket, .. } | NetOutput::Connect { socket, .. } => {
            Some((*socket, NetEvent::Closed { reason: why.to_owned() }))
        }
        NetOutput::Resolve { query, .. } => Some((*query, NetEvent::Resolved(Err(why.to_owned())))),
        NetOutput::Write { .. }
        | NetOutput::Send { .. }
        | NetOutput::Pause(_)
        | NetOutput::Resume(_)
        | NetOutput::Finish(_)
        | NetOutput::Close { .. }
        | NetOutput::CloseAll(_)
        | NetOutput::HandOver { .. } => None,
    }
}

#[cfg(test)]
mod tests;

//! The sockets of modules, as [`NetOutput`] asks for them.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::{ConnId, Listener, ListenerId, Out, Owner, Stack, Udp, hears};
use crate::base::id::InstanceId;
use crate::base::net::{Datagram, NetEvent, NetOutput, Security, SocketId};
use crate::base::time::Instant;
use crate::drivers::sim::stream::Step;
use crate::drivers::sim::tls::{Hello, Side};
use crate::wire::datagram::{self, IpFields};

/// A [`NetEvent`] that owns its bytes.
#[derive(Clone, Debug)]
pub(in crate::drivers::sim) enum Told {
    Opened { local: SocketAddr, peer: Option<SocketAddr>, protocol: Option<String> },
    Accepted { stream: SocketId, local: SocketAddr, peer: SocketAddr, protocol: Option<String> },
    Received(Vec<u8>),
    Datagram { from: SocketAddr, to: IpAddr, bytes: Vec<u8> },
    Drained,
    Finished,
    Closed(String),
    Resolved(Result<Vec<IpAddr>, String>),
}

impl Told {
    /// Gives it as the node wants it.
    pub(in crate::drivers::sim) fn give(self, give: impl FnOnce(NetEvent<'_>)) {
        match self {
            Told::Opened { local, peer, protocol } => give(NetEvent::Opened { local, peer, protocol }),
            Told::Accepted { stream, local, peer, protocol } => {
                give(NetEvent::Accepted { stream, local, peer, protocol });
            }
            Told::Received(bytes) => give(NetEvent::Received(&bytes)),
            Told::Datagram { from, to, bytes } => {
                give(NetEvent::Datagrams(&[Datagram { from, to: Some(to), bytes: &bytes }]));
            }
            Told::Drained => give(NetEvent::Drained),
            Told::Finished => give(NetEvent::Finished),
            Told::Closed(reason) => give(NetEvent::Closed { reason }),
            Told::Resolved(result) => give(NetEvent::Resolved(result)),
        }
    }
}

/// TTL or hop limit of what is sent.
const TTL: u8 = 64;

impl Stack {
    /// Does what a module asks for; look-ups are not for sockets.
    pub(in crate::drivers::sim) fn perform(&mut self, output: NetOutput, now: Instant) {
        match output {
            NetOutput::Listen { socket, at, security } => {
                let result = self.listen(socket, at, security);
                self.tell_failure(socket, result);
            }
            NetOutput::Bind { socket, at } => {
                let result = self.bind(socket, at);
                self.tell_failure(socket, result);
            }
            NetOutput::Connect { socket, to, security } => {
                let side = match security {
                    Security::TlsClient { protocols, .. } => {
                        Some(Side { is_client: true, hello: Hello { protocols, ..Hello::default() } })
                    }
                    Security::Plain | Security::TlsServer { .. } => None,
                };
                let result = self.connect(None, to, side, Owner::Module(socket), now).map(|conn| {
                    self.by_socket.insert(socket, conn);
                });
                self.tell_failure(socket, result);
            }
            NetOutput::Write { socket, bytes } => {
                if let Some((conn, found)) = self.conn_of(socket) {
                    // The container lets no module write without end.
                    let _ = found.stream.write(&bytes, usize::MAX);
                    self.mark(conn);
                }
            }
            NetOutput::Send { socket, from, to, bytes } => self.send(socket, from, to, &bytes),
            NetOutput::Pause(socket) => self.pause(socket, true),
            NetOutput::Resume(socket) => self.pause(socket, false),
            NetOutput::Finish(socket) => {
                if let Some((conn, found)) = self.conn_of(socket) {
                    found.stream.finish();
                    self.mark(conn);
                }
            }
            NetOutput::Close { socket, abort } => self.close(socket, abort, now),
            NetOutput::CloseAll(instance) => self.close_all(instance, now),
            NetOutput::HandOver { from, to } => self.hand_over(from, to),
            NetOutput::Resolve { .. } => {}
        }
    }

    fn tell_failure(&mut self, socket: SocketId, result: Result<(), String>) {
        if let Err(reason) = result {
            self.out.push_back(Out::Net(socket, Told::Closed(reason)));
        }
    }

    fn conn_of(&mut self, socket: SocketId) -> Option<(ConnId, &mut super::Conn)> {
        let conn = *self.by_socket.get(&socket)?;
        Some((conn, self.conns.get_mut(&conn)?))
    }

    /// Where a socket is to be, with a port of its own.
    fn place(&mut self, at: SocketAddr) -> Result<SocketAddr, String> {
        let is_own = at.ip().is_unspecified() || self.topology.borrow().is_local(self.machine, at.ip());
        if !is_own {
            return Err(format!("{} is no address of this machine", at.ip()));
        }
        match at.port() {
            0 => Ok(SocketAddr::new(at.ip(), self.free_port().ok_or("all ports are taken")?)),
            _ => Ok(at),
        }
    }

    fn listen(&mut self, id: SocketId, at: SocketAddr, security: Security) -> Result<(), String> {
        let at = self.place(at)?;
        if self.listeners.values().any(|listener| hears(listener.at, at) || hears(at, listener.at)) {
            return Err(format!("port {} is taken by another program", at.port()));
        }
        let listener = Listener { at, security, is_paused: false, waiting: VecDeque::new(), incoming: 0 };
        self.listeners.insert(ListenerId::Module(id), listener);
        self.out.push_back(Out::Net(id, Told::Opened { local: at, peer: None, protocol: None }));
        Ok(())
    }

    fn bind(&mut self, id: SocketId, at: SocketAddr) -> Result<(), String> {
        let at = self.place(at)?;
        let others = self.udp_ports.get(&at.port()).into_iter().flatten();
        let is_taken = others.filter_map(|id| self.udp.get(id)).any(|udp| hears(udp.at, at) || hears(at, udp.at));
        if is_taken || self.signal_port == Some(at.port()) {
            return Err(format!("port {} is taken by another program", at.port()));
        }
        self.udp.insert(id, Udp { at, is_paused: false, waiting: VecDeque::new() });
        self.udp_ports.entry(at.port()).or_default().push(id);
        self.out.push_back(Out::Net(id, Told::Opened { local: at, peer: None, protocol: None }));
        Ok(())
    }

    fn send(&mut self, id: SocketId, from: Option<IpAddr>, to: SocketAddr, bytes: &[u8]) {
        let Some(udp) = self.udp.get(&id) else { return };
        let port = udp.at.port();
        let bound = Some(udp.at.ip()).filter(|ip| !ip.is_unspecified());
        let Some(source) = from.or(bound).or_else(|| self.source_for(to.ip())) else { return };
        let fields = IpFields { ttl: TTL, ..IpFields::default() };
        let packet = datagram::udp(SocketAddr::new(source, port), to, fields, bytes);
        self.out.extend(packet.map(Out::Packet));
    }

    fn pause(&mut self, id: SocketId, pauses: bool) {
        if let Some((conn, found)) = self.conn_of(id) {
            found.stream.is_paused = pauses;
            return self.mark(conn);
        }
        if let Some(udp) = self.udp.get_mut(&id) {
            udp.is_paused = pauses;
            let waiting = if pauses { VecDeque::new() } else { std::mem::take(&mut udp.waiting) };
            let told = |(from, to, bytes)| Out::Net(id, Told::Datagram { from, to, bytes });
            self.out.extend(waiting.into_iter().map(told));
        }
        if let Some(listener) = self.listeners.get_mut(&ListenerId::Module(id)) {
            listener.is_paused = pauses;
            let waiting = if pauses { VecDeque::new() } else { std::mem::take(&mut listener.waiting) };
            for (conn, protocol) in waiting {
                self.accept_module(conn, id, protocol);
            }
        }
    }

    fn close(&mut self, id: SocketId, abort: bool, now: Instant) {
        self.out.retain(|out| !matches!(out, Out::Net(of, _) if *of == id));
        if let Some(conn) = self.by_socket.get(&id).copied() {
            self.abandon(conn, abort, now);
        }
        if let Some(udp) = self.udp.remove(&id) {
            let port = udp.at.port();
            let others = self.udp_ports.entry(port).or_default();
            others.retain(|other| *other != id);
            if others.is_empty() {
                self.udp_ports.remove(&port);
            }
        }
        if let Some(listener) = self.listeners.remove(&ListenerId::Module(id)) {
            for (conn, _) in listener.waiting {
                self.abandon(conn, true, now);
            }
        }
    }

    fn close_all(&mut self, instance: InstanceId, now: Instant) {
        let of = |id: &&SocketId| id.instance == instance;
        let listeners = self.listeners.keys().filter_map(|id| match id {
            ListenerId::Module(id) => Some(id),
            ListenerId::Signal(_) => None,
        });
        let all = self.by_socket.keys().chain(self.udp.keys()).chain(listeners).filter(of);
        let all: Vec<SocketId> = all.copied().collect();
        all.into_iter().for_each(|id| self.close(id, true, now));
        self.out.retain(|out| !matches!(out, Out::Net(of, _) if of.instance == instance));
    }

    fn hand_over(&mut self, from: SocketId, to: SocketId) {
        if let Some(udp) = self.udp.remove(&from) {
            for id in self.udp_ports.entry(udp.at.port()).or_default().iter_mut().filter(|id| **id == from) {
                *id = to;
            }
            self.udp.insert(to, udp);
        }
        if let Some(listener) = self.listeners.remove(&ListenerId::Module(from)) {
            self.listeners.insert(ListenerId::Module(to), listener);
            for conn in self.conns.values_mut() {
                if conn.owner == Owner::Incoming(ListenerId::Module(from)) {
                    conn.owner = Owner::Incoming(ListenerId::Module(to));
                }
            }
        }
        for out in &mut self.out {
            if let Out::Net(of, _) = out
                && *of == from
            {
                *of = to;
            }
        }
    }

    /// A stream that came to a listener is open.
    pub(super) fn accept_module(&mut self, conn: ConnId, listener: SocketId, protocol: Option<String>) {
        let Some(found) = self.conns.get_mut(&conn) else { return };
        let Some(owner) = self.listeners.get_mut(&ListenerId::Module(listener)) else {
            // Its listener was closed meanwhile.
            found.stream.fail();
            return;
        };
        if owner.is_paused {
            found.stream.is_paused = true;
            owner.waiting.push_back((conn, protocol));
            return;
        }
        owner.incoming = owner.incoming.saturating_sub(1);
        let id = SocketId { instance: listener.instance, number: self.next_accepted };
        self.next_accepted = self.next_accepted.wrapping_add(1) | SocketId::ACCEPTED;
        found.owner = Owner::Module(id);
        found.stream.is_paused = false;
        let (local, peer) = (found.stream.local, found.stream.remote);
        self.by_socket.insert(id, conn);
        self.out.push_back(Out::Net(listener, Told::Accepted { stream: id, local, peer, protocol }));
        self.mark(conn);
    }

    pub(super) fn tell_module(&mut self, conn: ConnId, socket: SocketId, step: Step) {
        let told = match step {
            Step::Opened { protocol, .. } => {
                let Some(found) = self.conns.get(&conn) else { return };
                Told::Opened { local: found.stream.local, peer: Some(found.stream.remote), protocol }
            }
            Step::Received(bytes) => Told::Received(bytes),
            Step::Drained => Told::Drained,
            Step::Finished => Told::Finished,
            Step::Over(reason) => Told::Closed(reason),
        };
        self.out.push_back(Out::Net(socket, told));
    }
}

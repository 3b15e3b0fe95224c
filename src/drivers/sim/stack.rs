//! The sockets of one machine: those of its modules, those of signalling, and those that fetch.
//!
//! Without I/O like all else: packets and orders go in, and what is to be sent or told comes out of [`Stack::next`].
//! TCP is smoltcp's ([`super::tcp`]). A UDP datagram is only its packet, made and read here.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use hashbrown::HashMap;

use crate::base::limits::{SIM_CONNECTIONS_MAX, SIM_DATAGRAMS_WAITING_MAX, SOCKET_BACKLOG_MAX};
use crate::base::net::{Security, SocketId};
use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::controller::api::FetchId;
use crate::drivers::sim::stream::{Step, Stream};
use crate::drivers::sim::tcp::{self, Tcp};
use crate::drivers::sim::tls::{Hello, Side};
use crate::drivers::sim::topology::Topology;
use crate::signaling::io::{StreamId, StreamSecurity};
use crate::wire::header::{TCP_RST, TCP_SYN};

mod module;
mod signal;

pub(super) use module::Told;
pub(super) use signal::SignalTold;

/// Ports from which free ones are taken (RFC 6335, section 6).
const FREE_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;
/// TCP flag ACK (RFC 9293, section 3.1).
const TCP_ACK: u8 = 0x10;

/// A TCP connection of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ConnId(u32);

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Module(SocketId),
    Signal(StreamId),
    Fetch(FetchId),
    /// Came to a listener, and is not accepted yet.
    Incoming(ListenerId),
    Nobody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ListenerId {
    Module(SocketId),
    Signal(StreamSecurity),
}

struct Conn {
    stream: Stream,
    owner: Owner,
    wake_at: Option<Instant>,
    is_dirty: bool,
}

struct Listener {
    at: SocketAddr,
    security: Security,
    is_paused: bool,
    /// Open and not accepted yet, with the protocol of each.
    waiting: VecDeque<(ConnId, Option<String>)>,
    /// All that came and are not accepted.
    incoming: usize,
}

struct Udp {
    at: SocketAddr,
    is_paused: bool,
    waiting: VecDeque<(SocketAddr, IpAddr, Vec<u8>)>,
}

/// What comes out of a stack.
pub(super) enum Out {
    /// A packet, to be sent on its way.
    Packet(Vec<u8>),
    /// For a module.
    Net(SocketId, Told),
    /// For signalling.
    Signal(StreamId, SignalTold),
    /// For what fetches.
    Fetch(FetchId, Step),
}

/// The sockets of one machine.
pub(super) struct Stack {
    topology: Rc<RefCell<Topology>>,
    machine: usize,
    rng: Rng,
    /// The key that this side has in TLS streams of signalling.
    key: [u8; 32],
    /// The UDP port of signalling.
    pub(super) signal_port: Option<u16>,
    udp: BTreeMap<SocketId, Udp>,
    udp_ports: BTreeMap<u16, Vec<SocketId>>,
    listeners: BTreeMap<ListenerId, Listener>,
    conns: BTreeMap<ConnId, Conn>,
    by_ends: HashMap<(SocketAddr, SocketAddr), ConnId, foldhash::fast::FixedState>,
    by_socket: BTreeMap<SocketId, ConnId>,
    by_stream: BTreeMap<StreamId, ConnId>,
    by_fetch: BTreeMap<FetchId, ConnId>,
    /// Connections by their local port.
    tcp_ports: BTreeMap<u16, u32>,
    timers: BTreeSet<(Instant, ConnId)>,
    dirty: VecDeque<ConnId>,
    out: VecDeque<Out>,
    next_conn: u32,
    next_accepted: u32,
    next_stream: u64,
    next_port: u16,
    /// Datagrams that nobody read, connections for which there was no room.
    pub(super) refused: u64,
}

impl Stack {
    pub(super) fn new(topology: Rc<RefCell<Topology>>, machine: usize, seed: u64, key: [u8; 32]) -> Stack {
        let mut rng = Rng::seeded(seed);
        let span = u64::from(FREE_PORTS.end() - FREE_PORTS.start()) + 1;
        let next_port = FREE_PORTS.start() + rng.below(span) as u16;
        Stack {
            topology,
            machine,
            rng,
            key,
            signal_port: None,
            udp: BTreeMap::new(),
            udp_ports: BTreeMap::new(),
            listeners: BTreeMap::new(),
            conns: BTreeMap::new(),
            by_ends: HashMap::default(),
            by_socket: BTreeMap::new(),
            by_stream: BTreeMap::new(),
            by_fetch: BTreeMap::new(),
            tcp_ports: BTreeMap::new(),
            timers: BTreeSet::new(),
            dirty: VecDeque::new(),
            out: VecDeque::new(),
            next_conn: 0,
            next_accepted: SocketId::ACCEPTED,
            next_stream: 1,
            next_port,
            refused: 0,
        }
    }

    /// What is to be done next; `None` when all is done.
    pub(super) fn next(&mut self, now: Instant) -> Option<Out> {
        loop {
            if let Some(out) = self.out.pop_front() {
                return Some(out);
            }
            let conn = self.dirty.pop_front()?;
            self.service(conn, now);
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Something may be due.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((at, conn)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, conn));
            if let Some(found) = self.conns.get_mut(&conn) {
                found.wake_at = None;
            }
            self.mark(conn);
        }
    }

    /// Ends all that is open, as the system does when a program dies.
    pub(super) fn reset(&mut self, now: Instant) {
        self.listeners.clear();
        self.udp.clear();
        self.udp_ports.clear();
        self.signal_port = None;
        self.out.clear();
        let all: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in all {
            self.abandon(conn, true, now);
        }
    }

    fn is_free(&self, port: u16) -> bool {
        self.signal_port != Some(port)
            && !self.udp_ports.contains_key(&port)
            && !self.tcp_ports.contains_key(&port)
            && !self.listeners.values().any(|listener| listener.at.port() == port)
    }

    /// A port that nobody uses.
    pub(super) fn free_port(&mut self) -> Option<u16> {
        for _ in FREE_PORTS {
            let port = self.next_port;
            self.next_port = if port == *FREE_PORTS.end() { *FREE_PORTS.start() } else { port + 1 };
            if self.is_free(port) {
                return Some(port);
            }
        }
        None
    }

    /// The address from which this machine sends to another one.
    pub(super) fn source_for(&self, to: IpAddr) -> Option<IpAddr> {
        self.topology.borrow().source_for(self.machine, to)
    }

    fn mark(&mut self, conn: ConnId) {
        if let Some(found) = self.conns.get_mut(&conn)
            && !std::mem::replace(&mut found.is_dirty, true)
        {
            self.dirty.push_back(conn);
        }
    }

    fn insert(&mut self, stream: Stream, owner: Owner) -> ConnId {
        let id = ConnId(self.next_conn);
        self.next_conn = self.next_conn.wrapping_add(1);
        self.by_ends.insert((stream.local, stream.remote), id);
        *self.tcp_ports.entry(stream.local.port()).or_default() += 1;
        self.conns.insert(id, Conn { stream, owner, wake_at: None, is_dirty: false });
        self.mark(id);
        id
    }

    /// Opens a connection.
    fn connect(
        &mut self,
        from: Option<IpAddr>,
        to: SocketAddr,
        side: Option<Side>,
        owner: Owner,
        now: Instant,
    ) -> Result<ConnId, String> {
        if self.conns.len() >= SIM_CONNECTIONS_MAX {
            return Err(format!("this machine has {SIM_CONNECTIONS_MAX} connections already"));
        }
        if !self.topology.borrow().is_local(self.machine, to.ip())
            && self.topology.borrow().next(self.machine, to.ip()).is_none()
        {
            return Err("there is no way to the peer".to_owned());
        }
        let from = from.or_else(|| self.source_for(to.ip())).ok_or("this machine has no address of that IP version")?;
        let local = SocketAddr::new(from, self.free_port().ok_or("all ports are taken")?);
        let tcp = Tcp::connect(local, to, self.rng.next_u64(), now)?;
        Ok(self.insert(Stream::new(tcp, (local, to), side, now), owner))
    }

    /// Opens a connection that fetches.
    pub(super) fn fetch(&mut self, id: FetchId, to: SocketAddr, is_secure: bool, now: Instant) -> Result<(), String> {
        let side = is_secure.then(|| Side { is_client: true, hello: Hello::default() });
        let conn = self.connect(None, to, side, Owner::Fetch(id), now)?;
        self.by_fetch.insert(id, conn);
        Ok(())
    }

    /// Writes to a connection that fetches.
    pub(super) fn write_fetch(&mut self, id: FetchId, bytes: &[u8]) {
        let Some(conn) = self.by_fetch.get(&id).copied() else { return };
        if let Some(found) = self.conns.get_mut(&conn) {
            // What a request says is less than may wait.
            let _ = found.stream.write(bytes, usize::MAX);
        }
        self.mark(conn);
    }

    /// Ends a connection that fetches.
    pub(super) fn end_fetch(&mut self, id: FetchId, now: Instant) {
        if let Some(conn) = self.by_fetch.get(&id).copied() {
            self.abandon(conn, true, now);
        }
    }

    /// A TCP packet for this machine.
    pub(super) fn tcp_packet(&mut self, ends: (SocketAddr, SocketAddr), flags: u8, packet: Vec<u8>, now: Instant) {
        if let Some(id) = self.by_ends.get(&ends).copied()
            && let Some(conn) = self.conns.get_mut(&id)
        {
            conn.stream.receive(packet);
            return self.mark(id);
        }
        let is_first = flags & TCP_SYN != 0 && flags & (TCP_ACK | TCP_RST) == 0;
        match self.listener_at(ends.0).filter(|_| is_first) {
            Some(listener) => self.take_in(listener, ends, packet, now),
            None => self.out.extend(tcp::refusal(packet, ends.0, now).into_iter().map(Out::Packet)),
        }
    }

    fn listener_at(&self, local: SocketAddr) -> Option<ListenerId> {
        let hears = |listener: &Listener| hears(listener.at, local);
        self.listeners.iter().find(|(_, listener)| hears(listener)).map(|(id, _)| *id)
    }

    fn take_in(&mut self, id: ListenerId, ends: (SocketAddr, SocketAddr), packet: Vec<u8>, now: Instant) {
        let side = self.server_side(id);
        let seed = self.rng.next_u64();
        let has_room = self.conns.len() < SIM_CONNECTIONS_MAX;
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        let tcp = Tcp::listen(ends.0, seed, now).ok().filter(|_| has_room && listener.incoming < SOCKET_BACKLOG_MAX);
        // As a system does whose backlog is full: the peer tries again.
        let Some(tcp) = tcp else {
            self.refused += 1;
            return;
        };
        listener.incoming += 1;
        let mut stream = Stream::new(tcp, ends, side, now);
        stream.receive(packet);
        self.insert(stream, Owner::Incoming(id));
    }

    /// Who this side is in streams that come to a listener; `None` without TLS.
    fn server_side(&self, id: ListenerId) -> Option<Side> {
        match id {
            ListenerId::Signal(StreamSecurity::Plain) => None,
            ListenerId::Signal(StreamSecurity::Tls) => {
                Some(Side { is_client: false, hello: Hello { key: Some(self.key), ..Hello::default() } })
            }
            ListenerId::Module(_) => match &self.listeners.get(&id)?.security {
                Security::TlsServer { protocols, .. } => {
                    Some(Side { is_client: false, hello: Hello { protocols: protocols.clone(), ..Hello::default() } })
                }
                Security::Plain | Security::TlsClient { .. } => None,
            },
        }
    }

    /// A connection that was being opened cannot be: ICMP says so.
    pub(super) fn tcp_unreachable(&mut self, ends: (SocketAddr, SocketAddr), why: &str) {
        let Some(id) = self.by_ends.get(&ends).copied() else { return };
        if let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.stream.is_connecting()) {
            conn.stream.fail();
            self.tell(id, Step::Over(why.to_owned()));
            self.remove(id);
        }
    }

    /// A connection is nobody's from now on.
    fn abandon(&mut self, id: ConnId, abort: bool, now: Instant) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let owner = std::mem::replace(&mut conn.owner, Owner::Nobody);
        conn.stream.close(abort, now);
        self.forget(owner);
        self.mark(id);
    }

    fn forget(&mut self, owner: Owner) {
        match owner {
            Owner::Module(socket) => drop(self.by_socket.remove(&socket)),
            Owner::Signal(stream) => drop(self.by_stream.remove(&stream)),
            Owner::Fetch(fetch) => drop(self.by_fetch.remove(&fetch)),
            Owner::Incoming(listener) => {
                if let Some(listener) = self.listeners.get_mut(&listener) {
                    listener.incoming = listener.incoming.saturating_sub(1);
                }
            }
            Owner::Nobody => {}
        }
    }

    fn remove(&mut self, id: ConnId) {
        let Some(conn) = self.conns.remove(&id) else { return };
        self.forget(conn.owner);
        if let Some(at) = conn.wake_at {
            self.timers.remove(&(at, id));
        }
        self.by_ends.remove(&(conn.stream.local, conn.stream.remote));
        let port = conn.stream.local.port();
        if let Some(count) = self.tcp_ports.get_mut(&port) {
            *count -= 1;
            if *count == 0 {
                self.tcp_ports.remove(&port);
            }
        }
    }

    /// Lets a connection go on.
    fn service(&mut self, id: ConnId, now: Instant) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.is_dirty = false;
        let mut steps = Vec::new();
        let packets = conn.stream.advance(now, &mut steps);
        self.out.extend(packets.into_iter().map(Out::Packet));
        // What follows the opening waits until somebody has the stream.
        if steps.last().is_some_and(|step| matches!(step, Step::Opened { .. })) {
            self.mark(id);
        }
        for step in steps {
            self.tell(id, step);
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.stream.is_over() {
            return self.remove(id);
        }
        let wake_at = conn.stream.wake_at(now);
        if wake_at != conn.wake_at {
            if let Some(at) = std::mem::replace(&mut conn.wake_at, wake_at) {
                self.timers.remove(&(at, id));
            }
            self.timers.extend(wake_at.map(|at| (at, id)));
        }
    }

    fn tell(&mut self, id: ConnId, step: Step) {
        let Some(conn) = self.conns.get(&id) else { return };
        match conn.owner {
            Owner::Module(socket) => self.tell_module(id, socket, step),
            Owner::Signal(stream) => self.tell_signal(id, stream, step),
            Owner::Fetch(fetch) => self.out.push_back(Out::Fetch(fetch, step)),
            Owner::Incoming(listener) => {
                if let Step::Opened { key, protocol } = step {
                    match listener {
                        ListenerId::Module(socket) => self.accept_module(id, socket, protocol),
                        ListenerId::Signal(security) => self.accept_signal(id, security, key),
                    }
                }
            }
            Owner::Nobody => {}
        }
    }

    /// A datagram for a port of this machine; whether anybody has it.
    pub(super) fn datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> bool {
        let Some(ids) = self.udp_ports.get(&to.port()) else { return false };
        let found = ids.iter().find(|id| self.udp.get(id).is_some_and(|udp| hears(udp.at, to))).copied();
        let Some(id) = found else { return false };
        let Some(udp) = self.udp.get_mut(&id) else { return false };
        if !udp.is_paused {
            self.out.push_back(Out::Net(id, Told::Datagram { from, to: to.ip(), bytes: bytes.to_vec() }));
        } else if udp.waiting.len() < SIM_DATAGRAMS_WAITING_MAX {
            udp.waiting.push_back((from, to.ip(), bytes.to_vec()));
        } else {
            self.refused += 1;
        }
        true
    }
}

/// Whether a socket at one address hears what is for another one.
fn hears(at: SocketAddr, to: SocketAddr) -> bool {
    let any = match at.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() && to.is_ipv4(),
        // Those of IPv4 too.
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    at.port() == to.port() && (any || at.ip() == to.ip())
}

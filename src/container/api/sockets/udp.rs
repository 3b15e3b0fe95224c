//! One UDP socket: datagrams that came, and who may be answered.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use hashbrown::HashMap;

use crate::base::limits::{SOCKET_DATAGRAMS_MAX, SOCKET_HIGH_WATER_BYTES, SOCKET_PEERS_MAX};
use crate::base::net::Datagram;

/// A datagram that waits to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) from: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// A UDP socket.
pub(super) struct Udp {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Whether it has the permission to listen: anybody may write to it. If not, only those to whom it wrote.
    listens: bool,
    /// Those who may be answered (or may answer), and at which address of this machine they know it.
    peers: HashMap<SocketAddr, Option<IpAddr>>,
    /// The same, the oldest first.
    order: VecDeque<SocketAddr>,
}

impl Udp {
    pub(super) fn new(listens: bool) -> Udp {
        Udp { waiting: VecDeque::new(), waiting_bytes: 0, listens, peers: HashMap::new(), order: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a datagram in, if it may come. False if there is no room for it; what may not come needs none.
    pub(super) fn receive(&mut self, datagram: &Datagram<'_>) -> bool {
        if !(self.listens || self.peers.contains_key(&datagram.from)) {
            return true;
        }
        if self.waiting.len() >= SOCKET_DATAGRAMS_MAX || self.waiting_bytes >= SOCKET_HIGH_WATER_BYTES {
            return false;
        }
        self.note(datagram.from, datagram.to);
        self.waiting_bytes += datagram.bytes.len();
        self.waiting.push_back(Waiting { from: datagram.from, bytes: datagram.bytes.to_vec() });
        true
    }

    pub(super) fn take(&mut self) -> Option<Waiting> {
        let datagram = self.waiting.pop_front()?;
        self.waiting_bytes -= datagram.bytes.len();
        Some(datagram)
    }

    /// Notes that there is something between this socket and a peer. The oldest peer gives way.
    pub(super) fn note(&mut self, peer: SocketAddr, at: Option<IpAddr>) {
        if let Some(known) = self.peers.get_mut(&peer) {
            *known = at.or(*known);
            return;
        }
        if self.order.len() >= SOCKET_PEERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.peers.remove(&oldest);
        }
        self.order.push_back(peer);
        self.peers.insert(peer, at);
    }

    /// Who wrote to this socket: it may be answered, from the address that it wrote to.
    pub(super) fn peer(&self, peer: SocketAddr) -> Option<Option<IpAddr>> {
        self.peers.get(&peer).copied()
    }

    /// Whether a peer wrote to this address.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        self.peers.values().any(|at| *at == Some(address))
    }
}

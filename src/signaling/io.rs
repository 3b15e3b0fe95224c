//! What signalling asks of the world, and what the world tells it. Sockets are outputs: nothing here owns one.

use std::net::{IpAddr, SocketAddr};

/// A byte stream (TCP, or TLS over TCP) by a number of its own. The node numbers those that it opens with even numbers,
/// the driver those that it accepts with odd ones; no number is used twice in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// How a stream is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamSecurity {
    /// TCP.
    Plain,
    /// TLS 1.2 or later over TCP, both sides with a certificate.
    Tls,
}

/// Who is at the other end of a TLS stream: the Ed25519 public key of its certificate, of which the handshake proved
/// possession.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub [u8; 32]);

/// A UDP datagram that came in for signalling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatagramIn<'a> {
    /// From where.
    pub source: SocketAddr,
    /// To where; the address is one of this machine unless the datagram was intercepted.
    pub destination: SocketAddr,
    /// TTL or hop limit, if known.
    pub ttl: Option<u8>,
    /// The router alert option's value, if it had one.
    pub router_alert: Option<u16>,
    /// The link (intercepted) or the interface by which it came: only compared.
    pub interface: u32,
    /// From the magic number on.
    pub payload: &'a [u8],
}

/// A UDP datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatagramOut {
    /// Source address: an address of this machine, or for a Query with the S-flag clear that of the flow; `None` leaves
    /// the choice to the system.
    pub source: Option<IpAddr>,
    /// Source port; 0 means the port on which this node's signalling socket listens.
    pub source_port: u16,
    /// To where.
    pub destination: SocketAddr,
    /// TTL or hop limit; the system's default if not given.
    pub ttl: Option<u8>,
    /// With this router alert value.
    pub router_alert: Option<u16>,
    /// Differentiated services code point, 6 bits.
    pub dscp: Option<u8>,
    /// IPv6 flow label, 20 bits.
    pub flow_label: Option<u32>,
    /// From the magic number on.
    pub payload: Vec<u8>,
}

/// What signalling asks of its sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketOutput {
    /// Send a datagram.
    Datagram(DatagramOut),
    /// Open a stream; answered by [`StreamEvent::Connected`] or [`StreamEvent::Closed`].
    Connect {
        /// Its number.
        stream: StreamId,
        /// From which address; `None` leaves the choice to the system.
        from: Option<IpAddr>,
        /// To where.
        to: SocketAddr,
        /// How.
        security: StreamSecurity,
    },
    /// Write to a stream that is connected. The driver keeps what cannot be written at once, and closes a stream whose
    /// peer does not read.
    Write {
        /// Which.
        stream: StreamId,
        /// What.
        bytes: Vec<u8>,
    },
    /// Close a stream after what was written to it is sent. It gives no more events.
    Close {
        /// Which.
        stream: StreamId,
    },
}

/// What happened to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent<'a> {
    /// A peer opened it, to a port on which this node listens; for TLS after the handshake.
    Accepted {
        /// The peer's address.
        from: SocketAddr,
        /// This node's address.
        to: SocketAddr,
        /// How it is protected.
        security: StreamSecurity,
        /// The peer's key, for TLS.
        peer_key: Option<PeerKey>,
    },
    /// A stream that this node opened is ready; for TLS after the handshake.
    Connected {
        /// This node's address.
        from: SocketAddr,
        /// The peer's key, for TLS.
        peer_key: Option<PeerKey>,
    },
    /// Bytes came.
    Received(&'a [u8]),
    /// It is over: closed by the peer, refused, broken. The reason is for people.
    Closed {
        /// Why.
        reason: String,
    },
}

/// What the world tells signalling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalInput<'a> {
    /// A datagram came to this node's signalling socket.
    Datagram(DatagramIn<'a>),
    /// Something happened to a stream.
    Stream(StreamId, StreamEvent<'a>),
    /// A datagram of this node cannot be delivered.
    Unreachable(Unreachable<'a>),
    /// Routes or addresses of this machine have changed.
    RoutesChanged,
}

/// ICMP says that a datagram of ours cannot be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable<'a> {
    /// To where the datagram was sent.
    pub destination: SocketAddr,
    /// Who says so.
    pub reporter: Option<IpAddr>,
    /// Whether the port (or protocol) is closed at the destination itself; otherwise the destination, or a net on the
    /// way, cannot be reached.
    pub port_closed: bool,
    /// What the message shows of the datagram's UDP payload; may be cut short, even empty.
    pub payload: &'a [u8],
}

/// What signalling must know of this machine's place in the network. Asked now and then, never per packet.
pub trait Paths {
    /// The address from which this machine would send to `destination`; `None` if it has no route.
    fn source_for(&self, destination: IpAddr) -> Option<IpAddr>;

    /// Whether `address` is one of this machine.
    fn is_local(&self, address: IpAddr) -> bool;

    /// How this machine reaches `destination`; `None` if it has no route, or cannot tell.
    fn route_to(&self, destination: IpAddr) -> Option<Route>;
}

/// The way to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The interface's name.
    pub interface: String,
    /// The next hop, if it is not the destination itself.
    pub via: Option<IpAddr>,
}

//! Sockets of module instances, as the node asks for them and as the world answers. Nothing here owns one.
//!
//! A stream is read only as fast as the instance takes its bytes: after [`NetOutput::Pause`] the driver gives at most
//! what it had read already. What is written waits at the driver, which tells by [`NetEvent::Drained`] when less than
//! [`crate::base::limits::SOCKET_LOW_WATER_BYTES`] is left.

use std::net::{IpAddr, SocketAddr};

use crate::base::id::InstanceId;

/// A socket of an instance. The instance numbers those that it opens, the driver those that it accepts: these have the
/// highest bit set. No number is used twice by one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId {
    /// Whose it is.
    pub instance: InstanceId,
    /// Which of its sockets.
    pub number: u32,
}

impl SocketId {
    /// Set in the numbers of accepted sockets.
    pub const ACCEPTED: u32 = 1 << 31;
}

/// How a stream is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// TCP.
    Plain,
    /// TLS, as its client.
    TlsClient {
        /// The name that the server's certificate must have: a DNS name or an address.
        server_name: String,
        /// Certificates of authorities in PEM, in place of the system's well-known ones.
        authorities: Option<String>,
        /// Protocols of the application (RFC 7301), the preferred one first.
        protocols: Vec<String>,
    },
    /// TLS, as the server: for listeners.
    TlsServer {
        /// The chain of certificates, in PEM, its own first.
        certificate: String,
        /// The private key, in PEM.
        key: String,
        /// As for the client.
        protocols: Vec<String>,
    },
}

/// What kinds of addresses a name is looked up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What an instance asks of its sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetOutput {
    /// Listen for streams; answered by [`NetEvent::Opened`] or [`NetEvent::Closed`].
    Listen {
        /// Its number.
        socket: SocketId,
        /// At this address of the machine; `::` for all, those of IPv4 too; port 0 for any free one.
        at: SocketAddr,
        /// For all streams that it accepts.
        security: Security,
    },
    /// Open a stream; answered by [`NetEvent::Opened`], for TLS after the handshake, or [`NetEvent::Closed`].
    Connect {
        /// Its number.
        socket: SocketId,
        /// To where.
        to: SocketAddr,
        /// How.
        security: Security,
    },
    /// Open a UDP socket; answered like [`NetOutput::Listen`].
    Bind {
        /// Its number.
        socket: SocketId,
        /// As there.
        at: SocketAddr,
    },
    /// Write to a stream that is open.
    Write {
        /// Which.
        socket: SocketId,
        /// What.
        bytes: Vec<u8>,
    },
    /// Send a datagram. What the system does not take at once is lost, and counted.
    Send {
        /// From which socket.
        socket: SocketId,
        /// From this address of the machine; `None` leaves the choice to the system.
        from: Option<IpAddr>,
        /// To where.
        to: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// No more reading, or accepting, until [`NetOutput::Resume`].
    Pause(SocketId),
    /// Reading goes on.
    Resume(SocketId),
    /// Nothing more is written to this stream: the peer sees its end after what was written. It may go on to send.
    Finish(SocketId),
    /// Close after what was written is sent; at once if `abort`. No more events come of it, and the number is free of
    /// meaning. Closing a listener leaves the streams that it accepted.
    Close {
        /// Which.
        socket: SocketId,
        /// Drop what was not sent yet, and reset a stream.
        abort: bool,
    },
    /// Look up the addresses of a name; answered by [`NetEvent::Resolved`] under the same number.
    Resolve {
        /// A number like that of a socket.
        query: SocketId,
        /// The name.
        name: String,
        /// Which addresses.
        family: Family,
    },
    /// The instance is gone: close all that it has, at once.
    CloseAll(InstanceId),
    /// From now on the listener or UDP socket belongs to another instance, under another number.
    HandOver {
        /// Whose it was.
        from: SocketId,
        /// Whose it is.
        to: SocketId,
    },
}

/// A datagram that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// From where.
    pub from: SocketAddr,
    /// To which address of this machine, if the system tells.
    pub to: Option<IpAddr>,
    /// Its payload.
    pub bytes: &'a [u8],
}

/// What happened to a socket of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetEvent<'a> {
    /// It is ready.
    Opened {
        /// This machine's address and port.
        local: SocketAddr,
        /// The other end, for a stream.
        peer: Option<SocketAddr>,
        /// The application protocol that both sides chose, for TLS.
        protocol: Option<String>,
    },
    /// A listener took in a stream, for TLS after the handshake. It is read at once.
    Accepted {
        /// The stream's own number.
        stream: SocketId,
        /// This machine's address.
        local: SocketAddr,
        /// The other end.
        peer: SocketAddr,
        /// As for [`NetEvent::Opened`].
        protocol: Option<String>,
    },
    /// Bytes of a stream came.
    Received(&'a [u8]),
    /// Datagrams came, one or many.
    Datagrams(&'a [Datagram<'a>]),
    /// Little is left of what was written: told once for each [`crate::base::limits::SOCKET_HIGH_WATER_BYTES`] written.
    Drained,
    /// The peer writes nothing more.
    Finished,
    /// It is over: refused, reset, broken; or it could not be opened. The reason is for people. Nothing more comes of it.
    Closed {
        /// Why.
        reason: String,
    },
    /// A name was looked up.
    Resolved(Result<Vec<IpAddr>, String>),
}

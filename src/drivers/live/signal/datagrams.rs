//! The UDP sockets: one per IP version.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use platform::signal_socket::{Family, IcmpKind, Outgoing, Received, UdpOptions, UdpSocket};

use super::counters::SignalCounters;
use super::{SignalError, open_both};
use crate::base::limits::SIGNAL_UNSENT_MAX;
use crate::signaling::io::DatagramOut;

/// UDP sockets at most.
pub(super) const UDP_MAX: usize = 2;

/// The sockets.
pub(super) struct Datagrams {
    sockets: Vec<UdpSocket>,
    options: UdpOptions,
    /// Datagrams that could not be sent because there is no way.
    unsent: VecDeque<(SocketAddr, Vec<u8>)>,
}

/// What a socket that was ready brought.
pub(super) enum Turn {
    /// Nothing more until it is ready again.
    Waits,
    /// Something that is not for the node; there may be more.
    Moved,
    /// A datagram, its payload in the buffer.
    Datagram(Received),
    /// A datagram of ours cannot be delivered; what is known of its payload is in the buffer.
    Unreachable {
        /// To where it was sent.
        destination: SocketAddr,
        /// Who says so.
        reporter: Option<IpAddr>,
        /// The destination itself says that the port is closed.
        port_closed: bool,
        /// Bytes in the buffer.
        len: usize,
    },
}

impl Datagrams {
    /// Opens the sockets, at the same port if that can be.
    pub(super) fn open(options: UdpOptions, registry: &Registry, first_token: usize) -> Result<Datagrams, SignalError> {
        let open = |family, port| UdpSocket::open(family, UdpOptions { port, ..options });
        let sockets = open_both("UDP", options.port, open, UdpSocket::port)?;
        for (index, socket) in sockets.iter().enumerate() {
            let registered =
                registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(first_token + index), Interest::READABLE);
            registered.map_err(|source| SignalError::Open { what: "UDP", port: options.port, source })?;
        }
        Ok(Datagrams { sockets, options, unsent: VecDeque::new() })
    }

    pub(super) fn port(&self, family: Family) -> Option<u16> {
        self.socket(family).map(UdpSocket::port)
    }

    pub(super) fn can_send_foreign(&self) -> bool {
        self.sockets.iter().all(UdpSocket::can_send_foreign)
    }

    fn socket(&self, family: Family) -> Option<&UdpSocket> {
        self.sockets.iter().find(|socket| socket.family() == family)
    }

    /// Sends a datagram.
    pub(super) fn send(&mut self, datagram: &DatagramOut, counters: &mut SignalCounters) {
        match self.try_send(datagram) {
            Ok(sent) => {
                counters.datagrams_sent += 1;
                counters.sent_without_router_alert += u64::from(sent.without_router_alert);
                counters.sent_without_flow_label += u64::from(sent.without_flow_label);
            }
            Err(e) => {
                counters.datagrams_failed += 1;
                tracing::debug!("a datagram to {} from {:?} is not sent: {e}", datagram.destination, datagram.source);
                let no_way = matches!(e.kind(), ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable);
                if no_way && self.unsent.len() < SIGNAL_UNSENT_MAX {
                    self.unsent.push_back((datagram.destination, datagram.payload.clone()));
                }
            }
        }
    }

    fn try_send(&self, datagram: &DatagramOut) -> io::Result<platform::signal_socket::Sent> {
        if datagram.ttl == Some(0) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "its TTL is 0"));
        }
        // An IPv4 address in IPv6 form goes by IPv4.
        let mut destination = datagram.destination;
        if destination.ip().to_canonical().is_ipv4() {
            destination.set_ip(destination.ip().to_canonical());
        }
        let source = datagram.source.map(|source| source.to_canonical());
        let outgoing = Outgoing {
            source,
            destination,
            ttl: datagram.ttl,
            router_alert: datagram.router_alert,
            dscp: datagram.dscp,
            flow_label: datagram.flow_label,
            payload: &datagram.payload,
        };
        let family = Family::of(destination.ip());
        let Some(socket) = self.socket(family) else { return Err(ErrorKind::NetworkUnreachable.into()) };
        if datagram.source_port == 0 || datagram.source_port == socket.port() {
            return socket.send(&outgoing);
        }
        // From a port that is not ours: for once.
        let source = SocketAddr::new(source.unwrap_or(family.unspecified()), datagram.source_port);
        UdpSocket::open_from(source, self.options)?.send(&outgoing)
    }

    /// The next datagram that could not be sent.
    pub(super) fn next_unsent(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.unsent.pop_front()
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Looks at a socket that is ready; `index` counts from the first.
    pub(super) fn turn(&self, index: usize, buffer: &mut [u8], counters: &mut SignalCounters) -> Turn {
        let Some(socket) = self.sockets.get(index) else { return Turn::Waits };
        match socket.receive(buffer) {
            Ok(received) if received.is_cut => {
                counters.datagrams_cut += 1;
                return Turn::Moved;
            }
            Ok(received) => {
                counters.datagrams_received += 1;
                return Turn::Datagram(received);
            }
            Err(_) => {}
        }
        let Ok(error) = socket.receive_error(buffer) else { return Turn::Waits };
        let port_closed = match error.kind {
            // A filter on the way may say so too; then others behind it may still answer.
            IcmpKind::PortClosed => error.reporter == Some(error.destination.ip()),
            IcmpKind::Unreachable => false,
            IcmpKind::Other => {
                counters.icmp_ignored += 1;
                return Turn::Moved;
            }
        };
        counters.unreachable += 1;
        Turn::Unreachable { destination: error.destination, reporter: error.reporter, port_closed, len: error.len }
    }
}

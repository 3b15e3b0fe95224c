//! UDP sockets of modules: many datagrams by one call of the system, where it can.

#![expect(clippy::disallowed_types, reason = "a driver opens the sockets of the node")]

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};

use crate::base::limits::{NET_DATAGRAM_BYTES, SOCKET_DATAGRAMS_MAX};
use crate::base::net::{Datagram, SocketId};

/// Buffers of one read, and what came in each.
pub(super) struct Batch {
    bytes: Box<[u8]>,
    metas: [RecvMeta; BATCH_SIZE],
    count: usize,
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            bytes: vec![0; NET_DATAGRAM_BYTES * BATCH_SIZE].into_boxed_slice(),
            metas: [RecvMeta::default(); BATCH_SIZE],
            count: 0,
        }
    }

    /// The datagrams of the last read.
    pub(super) fn datagrams(&self) -> Vec<Datagram<'_>> {
        let mut all = Vec::new();
        for (meta, bytes) in self.metas[..self.count].iter().zip(self.bytes.chunks(NET_DATAGRAM_BYTES)) {
            let to = meta.dst_ip.map(|to| to.to_canonical());
            let from = canonical(meta.addr);
            let bytes = &bytes[..meta.len.min(bytes.len())];
            if bytes.is_empty() {
                all.push(Datagram { from, to, bytes });
            }
            all.extend(bytes.chunks(meta.stride.max(1)).map(|bytes| Datagram { from, to, bytes }));
        }
        all.truncate(SOCKET_DATAGRAMS_MAX);
        all
    }
}

/// An IPv4 address as such, whatever socket it came by.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

pub(super) struct Udp {
    pub(super) id: SocketId,
    socket: std::net::UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    pub(super) is_paused: bool,
}

impl Udp {
    pub(super) fn open(id: SocketId, at: SocketAddr, mark: Option<u32>) -> io::Result<Udp> {
        let (socket, local) = platform::module_socket::bind(at, mark)?;
        let socket = std::net::UdpSocket::from(socket);
        let state = UdpSocketState::new((&socket).into())?;
        let _ = platform::module_socket::allow_fragments(&socket, local.is_ipv6());
        Ok(Udp { id, socket, state, local, is_paused: false })
    }

    pub(super) fn local(&self) -> SocketAddr {
        canonical(self.local)
    }

    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.socket.as_raw_fd()), token, Interest::READABLE)
    }

    pub(super) fn deregister(&self, registry: &Registry) {
        let _ = registry.deregister(&mut SourceFd(&self.socket.as_raw_fd()));
    }

    /// Reads what fits into the batch. Whether anything came.
    pub(super) fn receive(&self, batch: &mut Batch) -> io::Result<bool> {
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = {
            let mut chunks = batch.bytes.chunks_mut(NET_DATAGRAM_BYTES);
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()))
        };
        batch.count = 0;
        match self.state.recv((&self.socket).into(), &mut slices, &mut batch.metas) {
            Ok(count) => {
                batch.count = count;
                Ok(count > 0)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            // What ICMP said of a datagram that was sent before.
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset) => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// Bytes of all datagrams of one call, at most.
    pub(super) fn segments_max(&self) -> usize {
        self.state.max_gso_segments().max(1)
    }

    /// Sends datagrams of `segment` bytes each (the last may be shorter) to one peer.
    pub(super) fn send(
        &self,
        from: Option<IpAddr>,
        to: SocketAddr,
        bytes: &[u8],
        segment: Option<usize>,
    ) -> io::Result<()> {
        // A socket for both IP versions knows IPv4 addresses by their IPv6 form.
        let destination = match (self.local, to.ip()) {
            (SocketAddr::V6(_), IpAddr::V4(v4)) => SocketAddr::new(v4.to_ipv6_mapped().into(), to.port()),
            _ => to,
        };
        let transmit = Transmit { destination, ecn: None, contents: bytes, segment_size: segment, src_ip: from };
        self.state.try_send((&self.socket).into(), &transmit)
    }
}

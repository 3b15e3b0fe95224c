//! One TCP connection by smoltcp: packets and bytes in, packets and bytes out.
//!
//! Each connection has an interface of its own with the one socket in it. An interface of smoltcp looks through all its
//! sockets for each packet and has room for few addresses; a machine here has thousands of connections, which are found
//! by their addresses (docs/decisions/0021-simulated-sockets-by-smoltcp.md).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::base::limits::{SIM_MTU_BYTES, SIM_TCP_BUFFER_BYTES, SIM_TCP_SILENCE_MAX};
use crate::base::time::Instant;

/// The packets of one interface.
#[derive(Default)]
struct Packets {
    came: VecDeque<Vec<u8>>,
    go: Vec<Vec<u8>>,
}

struct Came(Vec<u8>);

impl RxToken for Came {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Goes<'a>(&'a mut Vec<Vec<u8>>);

impl TxToken for Goes<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let result = f(&mut bytes);
        self.0.push(bytes);
        result
    }
}

impl Device for Packets {
    type RxToken<'a> = Came;
    type TxToken<'a> = Goes<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Came, Goes<'_>)> {
        let came = self.came.pop_front()?;
        Some((Came(came), Goes(&mut self.go)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Goes<'_>> {
        Some(Goes(&mut self.go))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = SIM_MTU_BYTES;
        capabilities
    }
}

/// A connection.
pub(super) struct Tcp {
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    packets: Packets,
    /// It was established once.
    was_open: bool,
}

/// smoltcp counts in µs.
fn time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_nanos() / 1_000).unwrap_or(i64::MAX))
}

fn interface(packets: &mut Packets, local: IpAddress, seed: u64, now: Instant) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut interface = Interface::new(config, packets, time(now));
    // Everybody counts as a neighbour: the network outside of it knows the ways.
    interface.update_ip_addrs(|addresses| {
        let _ = addresses.push(IpCidr::new(local, 0));
    });
    interface
}

impl Tcp {
    fn new(local: SocketAddr, seed: u64, now: Instant) -> Tcp {
        let mut packets = Packets::default();
        let interface = interface(&mut packets, local.ip().into(), seed, now);
        let buffer = || SocketBuffer::new(vec![0; SIM_TCP_BUFFER_BYTES]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(CongestionControl::Cubic);
        let silence = smoltcp::time::Duration::from_micros(SIM_TCP_SILENCE_MAX.as_micros() as u64);
        socket.set_timeout(Some(silence));
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let socket = sockets.add(socket);
        Tcp { interface, sockets, socket, packets, was_open: false }
    }

    /// A connection that is being opened. `seed` chooses its first sequence number.
    pub(super) fn connect(local: SocketAddr, remote: SocketAddr, seed: u64, now: Instant) -> Result<Tcp, String> {
        let mut tcp = Tcp::new(local, seed, now);
        let context = tcp.interface.context();
        let socket = tcp.sockets.get_mut::<Socket<'_>>(tcp.socket);
        socket.connect(context, remote, local).map_err(|e| format!("{local} cannot be joined with {remote}: {e}"))?;
        Ok(tcp)
    }

    /// A connection that waits for its first packet.
    pub(super) fn listen(local: SocketAddr, seed: u64, now: Instant) -> Result<Tcp, String> {
        let mut tcp = Tcp::new(local, seed, now);
        let socket = tcp.sockets.get_mut::<Socket<'_>>(tcp.socket);
        socket.listen(local).map_err(|e| format!("nobody can listen at {local}: {e}"))?;
        Ok(tcp)
    }

    /// A packet came.
    pub(super) fn receive(&mut self, packet: Vec<u8>) {
        self.packets.came.push_back(packet);
    }

    /// Lets it work: what came is taken, what is to go comes out.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.interface.poll(time(now), &mut self.packets, &mut self.sockets);
        self.was_open |= self.socket().may_send();
        std::mem::take(&mut self.packets.go)
    }

    /// When it must be polled again at the latest.
    pub(super) fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(time(now), &self.sockets)?;
        let at = Instant::from_nanos(u64::try_from(at.total_micros()).unwrap_or(0) * 1_000);
        // What it would do at once it has done.
        Some(at.max(now + Duration::from_micros(1)))
    }

    fn socket(&self) -> &Socket<'static> {
        self.sockets.get(self.socket)
    }

    fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    /// Takes as many bytes as there is room for; answers how many.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        self.socket_mut().send_slice(bytes).unwrap_or(0)
    }

    /// Bytes that came, at most `count_max`; `None` if there are none now.
    pub(super) fn read(&mut self, count_max: usize) -> Option<Vec<u8>> {
        let socket = self.socket_mut();
        let count = socket.recv_queue().min(count_max);
        if count == 0 {
            return None;
        }
        let mut bytes = vec![0; count];
        let count = socket.recv_slice(&mut bytes).unwrap_or(0);
        bytes.truncate(count);
        Some(bytes)
    }

    /// Nothing more is written.
    pub(super) fn finish(&mut self) {
        self.socket_mut().close();
    }

    /// Ends it by a reset.
    pub(super) fn abort(&mut self) {
        self.socket_mut().abort();
    }

    /// Bytes that the peer has not acknowledged.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.socket().send_queue()
    }

    pub(super) fn was_open(&self) -> bool {
        self.was_open
    }

    /// The peer writes nothing more, and all that it wrote was read.
    pub(super) fn peer_has_finished(&self) -> bool {
        self.was_open
            && !self.socket().may_recv()
            && matches!(self.socket().state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait)
    }

    /// It is over, for whatever reason.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.socket().state(), State::Closed | State::Listen)
    }

    /// Both sides have finished in order.
    pub(super) fn has_ended(&self) -> bool {
        self.socket().state() == State::TimeWait
    }
}

/// The reset that answers a packet for which there is no connection.
pub(super) fn refusal(packet: Vec<u8>, local: SocketAddr, now: Instant) -> Vec<Vec<u8>> {
    let mut packets = Packets::default();
    let mut interface = interface(&mut packets, local.ip().into(), 0, now);
    packets.came.push_back(packet);
    interface.poll(time(now), &mut packets, &mut SocketSet::new(Vec::new()));
    packets.go
}

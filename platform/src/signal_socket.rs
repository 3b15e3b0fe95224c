//! Sockets for signalling: UDP with what each datagram carries beside its payload, and TCP sockets prepared for it.
//!
//! There is one UDP socket per IP version: Linux refuses a source address in ancillary data when an IPv6 socket sends to
//! an IPv4 address. Each datagram has its own source address, TTL, code point and router alert, so they go with the
//! datagram as ancillary data and not as options of the socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

#[cfg(target_os = "linux")]
mod ancillary;
#[cfg(target_os = "linux")]
#[path = "signal_socket/linux.rs"]
mod system;
#[cfg(not(target_os = "linux"))]
#[path = "signal_socket/reduced.rs"]
mod system;
pub mod tcp;

/// Times a send is repeated because it only told what had happened to a datagram before.
const SEND_REPEATS_MAX: usize = 4;

/// IP version of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6, and only that.
    V6,
}

/// A datagram that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// From where.
    pub source: SocketAddr,
    /// To where.
    pub destination: SocketAddr,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// The value of the router alert option.
    pub router_alert: Option<u16>,
    /// Index of the interface by which it came; 0 if not known.
    pub interface: u32,
    /// Bytes of the payload, at the start of the buffer that was given.
    pub len: usize,
    /// The payload did not fit into the buffer.
    pub is_cut: bool,
}

/// A datagram to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// Source address; chosen by the system if not given.
    pub source: Option<IpAddr>,
    /// To where; of the socket's IP version.
    pub destination: SocketAddr,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// Value of a router alert option.
    pub router_alert: Option<u16>,
    /// Differentiated services code point, 6 bits.
    pub dscp: Option<u8>,
    /// IPv6 flow label, 20 bits.
    pub flow_label: Option<u32>,
    /// What is sent.
    pub payload: &'a [u8],
}

/// How a datagram was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Without the router alert that was asked for: this process may not send it (IPv6 without `CAP_NET_RAW`).
    pub without_router_alert: bool,
    /// Without the flow label that was asked for.
    pub without_flow_label: bool,
}

/// What ICMP says of a datagram that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// To where the datagram was sent.
    pub destination: SocketAddr,
    /// Who says so.
    pub reporter: Option<IpAddr>,
    /// What it says.
    pub kind: IcmpKind,
    /// Bytes of the datagram's payload that the message shows, at the start of the buffer that was given.
    pub len: usize,
}

/// What an ICMP message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpKind {
    /// The port or the protocol is closed.
    PortClosed,
    /// The destination cannot be reached, or a filter refuses.
    Unreachable,
    /// Anything else: too big, time exceeded, a parameter problem, an error of this machine.
    Other,
}

/// How a UDP socket is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpOptions {
    /// The port; 0 lets the system choose.
    pub port: u16,
    /// `SO_MARK`, if this process may set it.
    pub mark: Option<u32>,
    /// Whether datagrams with the source address of another machine are to be sent, if this process may.
    pub foreign_sources: bool,
}

/// A UDP socket for one IP version.
#[derive(Debug)]
pub struct UdpSocket {
    socket: OwnedFd,
    family: Family,
    port: u16,
    can_send_foreign: bool,
}

impl UdpSocket {
    /// Opens a socket that never blocks, bound to all addresses of this machine.
    ///
    /// # Errors
    ///
    /// What the system says: the port is taken, may not be used, or there is no such IP version.
    pub fn open(family: Family, options: UdpOptions) -> io::Result<UdpSocket> {
        let socket = new_socket(family, rustix::net::SocketType::DGRAM)?;
        if let Some(mark) = options.mark {
            // Without the right to, there is no steering either that would have to be told.
            let _ = set_mark(socket.as_fd(), mark);
        }
        let can_send_foreign = options.foreign_sources && system::allow_foreign_sources(socket.as_fd(), family).is_ok();
        system::prepare(socket.as_fd(), family)?;
        rustix::net::bind(&socket, &unspecified(family, options.port))?;
        let port = local_address(socket.as_fd())?.port();
        Ok(UdpSocket { socket, family, port, can_send_foreign })
    }

    /// Opens a socket that only sends, from `source`, with the same options otherwise.
    ///
    /// # Errors
    ///
    /// What the system says: the port is taken, or the address is of another machine and may not be used.
    pub fn open_from(source: SocketAddr, options: UdpOptions) -> io::Result<UdpSocket> {
        let family = Family::of(source.ip());
        let socket = new_socket(family, rustix::net::SocketType::DGRAM)?;
        if let Some(mark) = options.mark {
            let _ = set_mark(socket.as_fd(), mark);
        }
        let can_send_foreign = options.foreign_sources && system::allow_foreign_sources(socket.as_fd(), family).is_ok();
        system::prepare(socket.as_fd(), family)?;
        rustix::net::bind(&socket, &source)?;
        Ok(UdpSocket { socket, family, port: source.port(), can_send_foreign })
    }

    /// Its IP version.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// The port to which it is bound.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it can send with the source address of another machine.
    #[must_use]
    pub fn can_send_foreign(&self) -> bool {
        self.can_send_foreign
    }

    /// Takes the next datagram; its payload goes to the start of `buffer`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut repeats_left = SEND_REPEATS_MAX;
        loop {
            match system::receive(self.socket.as_fd(), self.family, self.port, buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(e),
                // What ICMP said of a datagram that was sent before; it stays in the error queue.
                Err(_) if repeats_left > 0 => repeats_left -= 1,
                result => return result,
            }
        }
    }

    /// Takes the next ICMP error; what it shows of the payload goes to the start of `buffer`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none.
    pub fn receive_error(&self, buffer: &mut [u8]) -> io::Result<IcmpError> {
        system::receive_error(self.socket.as_fd(), self.family, buffer)
    }

    /// Sends a datagram; if some of what it should carry is not allowed, without that.
    ///
    /// # Errors
    ///
    /// What the system says: no route, no such source address, longer than the path's MTU, or `WouldBlock` when too much
    /// waits to be sent.
    pub fn send(&self, datagram: &Outgoing<'_>) -> io::Result<Sent> {
        if Family::of(datagram.destination.ip()) != self.family
            || datagram.source.is_some_and(|source| Family::of(source) != self.family)
        {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an address of the other IP version"));
        }
        system::send(self.socket.as_fd(), self.family, datagram)
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Family {
    /// The IP version of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// Its unspecified address.
    #[must_use]
    pub fn unspecified(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    fn address_family(self) -> rustix::net::AddressFamily {
        match self {
            Family::V4 => rustix::net::AddressFamily::INET,
            Family::V6 => rustix::net::AddressFamily::INET6,
        }
    }
}

fn unspecified(family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(family.unspecified(), port)
}

/// A socket that never blocks, is not inherited by other programs, and knows one IP version only.
pub(crate) fn new_socket(family: Family, kind: rustix::net::SocketType) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(family.address_family(), kind, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    if family == Family::V6 {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

pub(crate) fn local_address(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let address = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(address).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

#[cfg(target_os = "linux")]
pub(crate) fn set_mark(socket: BorrowedFd<'_>, mark: u32) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_MARK, mark as libc::c_int)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn set_mark(_: BorrowedFd<'_>, _: u32) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Sets an option whose value is one number.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "most of these options have no safe wrapper")]
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the value is read during the call only, and its size is the one that is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The address that a socket with `mark` gets when it is connected to `destination`.
pub(crate) fn source_for(destination: SocketAddr, mark: Option<u32>) -> io::Result<IpAddr> {
    let socket = new_socket(Family::of(destination.ip()), rustix::net::SocketType::DGRAM)?;
    if let Some(mark) = mark {
        let _ = set_mark(socket.as_fd(), mark);
    }
    rustix::net::connect(&socket, &destination)?;
    Ok(local_address(socket.as_fd())?.ip())
}

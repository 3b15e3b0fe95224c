//! Sockets of modules: at any address, for both IP versions at once where the system can.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::signal_socket::{Family, local_address, new_socket, set_mark};

/// Connections that may wait with the system until a module accepts them.
const BACKLOG: i32 = 1_024;

/// Listens at an address; `::` stands for all addresses of both IP versions, port 0 for any free one.
///
/// # Errors
///
/// What the system says: the port is taken or may not be used, or it is no address of this machine.
pub fn listen(at: SocketAddr, mark: Option<u32>) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = bound(at, SocketType::STREAM, mark)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let local = local_address(socket.as_fd())?;
    Ok((socket, local))
}

/// Opens a UDP socket at an address, as [`listen`].
///
/// # Errors
///
/// As [`listen`].
pub fn bind(at: SocketAddr, mark: Option<u32>) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = bound(at, SocketType::DGRAM, mark)?;
    let local = local_address(socket.as_fd())?;
    Ok((socket, local))
}

fn bound(at: SocketAddr, kind: SocketType, mark: Option<u32>) -> io::Result<OwnedFd> {
    let is_for_all = at.ip() == IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED);
    match try_bound(at, kind, mark, is_for_all) {
        // A machine without IPv6.
        Err(e) if is_for_all && matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable) => {
            try_bound(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), at.port()), kind, mark, false)
        }
        Err(e) if is_for_all && e.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => {
            try_bound(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), at.port()), kind, mark, false)
        }
        result => result,
    }
}

fn try_bound(at: SocketAddr, kind: SocketType, mark: Option<u32>, both: bool) -> io::Result<OwnedFd> {
    let socket = new_socket(Family::of(at.ip()), kind)?;
    if both {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    if let Some(mark) = mark {
        // Without the right to, there is no steering either that would have to be told.
        let _ = set_mark(socket.as_fd(), mark);
    }
    if kind == SocketType::STREAM {
        // A node that starts again must not wait until the connections of the last run are forgotten.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &at)?;
    Ok(socket)
}

/// Lets datagrams be longer than a packet of the link: they are sent in fragments.
///
/// # Errors
///
/// What the system says.
#[cfg(target_os = "linux")]
pub fn allow_fragments(socket: impl AsFd, is_v6: bool) -> io::Result<()> {
    use crate::signal_socket::set_option;
    set_option(socket.as_fd(), libc::SOL_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_WANT)?;
    if is_v6 {
        set_option(socket.as_fd(), libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT)?;
    }
    Ok(())
}

/// As on Linux, where it is not the system's way already.
///
/// # Errors
///
/// None.
#[cfg(not(target_os = "linux"))]
pub fn allow_fragments(_: impl AsFd, _is_v6: bool) -> io::Result<()> {
    Ok(())
}

/// Makes a stream be reset when it is closed, instead of ended in order.
///
/// # Errors
///
/// What the system says.
pub fn reset_on_close(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(socket, Some(Duration::ZERO))?)
}

/// Lets this process have as many descriptors as it may without asking anybody, at most `wanted`. Returns how many it
/// may have now.
#[must_use]
pub fn raise_descriptor_limit(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let (current, most) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    let target = wanted.min(most);
    if target <= current {
        return current;
    }
    let raised = Rlimit { current: Some(target), maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_ok() { target } else { current }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_those_of_both_ip_versions() {
        let (socket, local) = listen("[::]:0".parse().unwrap(), None).unwrap();
        assert_ne!(local.port(), 0);
        let client = new_socket(Family::V4, SocketType::STREAM).unwrap();
        let connected = rustix::net::connect(&client, &SocketAddr::new(Ipv4Addr::LOCALHOST.into(), local.port()));
        assert!(matches!(connected, Ok(()) | Err(rustix::io::Errno::INPROGRESS)), "{connected:?}");
        drop(socket);
        assert!(bind("192.0.2.1:0".parse().unwrap(), None).is_err());
    }

    #[test]
    fn the_limit_of_descriptors_is_never_lowered() {
        let before = raise_descriptor_limit(0);
        assert!(raise_descriptor_limit(before) >= before);
    }
}

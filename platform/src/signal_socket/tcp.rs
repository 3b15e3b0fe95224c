//! TCP sockets that never block, prepared before they are bound or connected.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{SocketType, sockopt};

use super::{Family, new_socket, set_mark, unspecified};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Begins to connect. The socket becomes writable when that is done, or has failed.
///
/// # Errors
///
/// What the system says at once: no route, or `from` is no address of this machine.
pub fn connect(from: Option<IpAddr>, to: SocketAddr, mark: Option<u32>) -> io::Result<OwnedFd> {
    let socket = new_socket(Family::of(to.ip()), SocketType::STREAM)?;
    if let Some(mark) = mark {
        // Without the right to, there is no steering either that would have to be told.
        let _ = set_mark(socket.as_fd(), mark);
    }
    let _ = sockopt::set_tcp_nodelay(&socket, true);
    if let Some(from) = from {
        // The port is chosen when the destination is known: one port can serve for many destinations.
        #[cfg(target_os = "linux")]
        let _ = super::set_option(socket.as_fd(), libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1);
        rustix::net::bind(&socket, &source_of(from, to))?;
    }
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS | rustix::io::Errno::INTR) => Ok(socket),
        Err(e) => Err(e.into()),
    }
}

/// A link-local address counts only together with its interface, which the destination names.
fn source_of(from: IpAddr, to: SocketAddr) -> SocketAddr {
    let mut source = SocketAddr::new(from, 0);
    if let (SocketAddr::V6(source), SocketAddr::V6(to)) = (&mut source, to) {
        source.set_scope_id(to.scope_id());
    }
    source
}

/// Listens on all addresses of this machine; port 0 lets the system choose.
///
/// # Errors
///
/// What the system says: the port is taken, may not be used, or there is no such IP version.
pub fn listen(family: Family, port: u16, mark: Option<u32>) -> io::Result<OwnedFd> {
    let socket = new_socket(family, SocketType::STREAM)?;
    if let Some(mark) = mark {
        let _ = set_mark(socket.as_fd(), mark);
    }
    // A node that starts again must not wait until the connections of the last run are forgotten.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    let _ = sockopt::set_tcp_nodelay(&socket, true);
    rustix::net::bind(&socket, &unspecified(family, port))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

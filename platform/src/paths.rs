//! This machine's place in the network: its addresses, and how it reaches others.

use std::io;
use std::net::{IpAddr, SocketAddr};

mod addresses;
#[cfg(target_os = "linux")]
#[path = "paths/linux.rs"]
mod system;

pub use addresses::local_addresses;

use crate::signal_socket;

/// The way to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The interface's name.
    pub interface: String,
    /// The next hop, if it is not the destination itself.
    pub via: Option<IpAddr>,
    /// From which address, if the system says so.
    pub source: Option<IpAddr>,
}

/// The address from which this machine sends to `destination`, for a socket with `mark` if this process may set that.
///
/// # Errors
///
/// What the system says; mostly that there is no route.
pub fn source_for(destination: IpAddr, mark: Option<u32>) -> io::Result<IpAddr> {
    // Connecting a UDP socket sends nothing.
    signal_socket::source_for(SocketAddr::new(destination, 9), mark)
}

/// How this machine reaches `destination`.
///
/// # Errors
///
/// What the system says; that there is no route, or that it cannot be asked.
pub fn route_to(destination: IpAddr, mark: Option<u32>) -> io::Result<Route> {
    #[cfg(target_os = "linux")]
    return system::route_to(destination, mark);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (destination, mark);
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

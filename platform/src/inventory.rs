//! What this machine has: interfaces, neighbours, routes; and when that changes.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

#[cfg(target_os = "linux")]
#[path = "inventory/linux.rs"]
mod system;
#[cfg(not(target_os = "linux"))]
#[path = "inventory/missing.rs"]
mod system;

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Switched on by the owner.
    pub is_up: bool,
    /// Can carry packets.
    pub has_carrier: bool,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Bits per second, if known.
    pub speed: Option<u64>,
    /// Hardware address, if it has one.
    pub hardware: Option<Vec<u8>>,
    /// Addresses with the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Bytes and packets in, bytes and packets out.
    pub counters: [u64; 4],
}

/// Another machine on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// By which interface.
    pub interface: String,
    /// Its hardware address, if known.
    pub hardware: Option<Vec<u8>>,
    /// Whether it answered lately.
    pub is_reachable: bool,
}

/// A line of the routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// Where to: a prefix.
    pub to: (IpAddr, u8),
    /// The next hop, if it is not on the link.
    pub via: Option<IpAddr>,
    /// By which interface; `None` where the destination is unreachable.
    pub interface: Option<String>,
    /// The lower, the better.
    pub metric: u32,
}

/// What has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Routes.
    pub routes: bool,
    /// Interfaces.
    pub interfaces: bool,
    /// Addresses.
    pub addresses: bool,
}

/// All interfaces, in the order of their names.
///
/// # Errors
///
/// What the system says; that this cannot be asked here.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut interfaces = system::interfaces()?;
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    for interface in &mut interfaces {
        interface.addresses.sort_unstable();
    }
    Ok(interfaces)
}

/// Others on this machine's links, at most `count_max`, by address.
///
/// # Errors
///
/// As [`interfaces`].
pub fn neighbours(count_max: usize) -> io::Result<Vec<Neighbour>> {
    let mut neighbours = system::neighbours(count_max)?;
    neighbours.sort_by_key(|neighbour| neighbour.address);
    Ok(neighbours)
}

/// At most `count_max` lines of the routing table, without what this program added itself, by prefix.
///
/// # Errors
///
/// As [`interfaces`].
pub fn routes(count_max: usize) -> io::Result<Vec<RouteEntry>> {
    let mut routes = system::routes(count_max)?;
    routes.sort_by_key(|route| (route.to, route.metric));
    Ok(routes)
}

/// Tells when interfaces, addresses or routes change.
pub struct Changes(system::Changes);

impl Changes {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// What the system says; that it does not tell.
    pub fn open() -> io::Result<Changes> {
        system::Changes::open().map(Changes)
    }

    /// What was told since the last call. Never waits.
    pub fn take(&mut self) -> Changed {
        self.0.take()
    }
}

/// Readable when there is something to take.
impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

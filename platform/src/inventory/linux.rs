//! Asks the routing part of the kernel.

#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel says more than is of use here")]

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, protocols};

use super::{Changed, Interface, Neighbour, RouteEntry};
use crate::steering::linux::is_own_table;
use crate::steering::linux::netlink::{READ_BYTES, Rtnetlink, messages};

const TABLE_LOCAL: u32 = 255;

/// Multicast groups of links, addresses and routes (linux/rtnetlink.h).
const GROUPS: [u32; 5] = [1, 5, 7, 9, 11];
/// Types of messages (linux/rtnetlink.h): a new link, one that is gone, and so on.
const LINKS: [u16; 2] = [16, 17];
const ADDRESSES: [u16; 2] = [20, 21];
const ROUTES: [u16; 2] = [24, 25];
/// Reads of one call; what is left makes the socket readable again.
const READS_MAX: usize = 256;

fn links() -> io::Result<BTreeMap<u32, Interface>> {
    let mut links = BTreeMap::new();
    for answer in Rtnetlink::open()?.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
        let RouteNetlinkMessage::NewLink(message) = answer else { continue };
        let mut link = Interface { is_up: message.header.flags.contains(LinkFlags::Up), ..Interface::default() };
        link.has_carrier = message.header.flags.contains(LinkFlags::Running);
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Address(address) if address.iter().any(|byte| *byte != 0) => {
                    link.hardware = Some(address);
                }
                LinkAttribute::Stats64(stats) => {
                    link.counters = [stats.rx_bytes, stats.rx_packets, stats.tx_bytes, stats.tx_packets];
                }
                _ => {}
            }
        }
        links.insert(message.header.index, link);
    }
    Ok(links)
}

pub(super) fn interfaces() -> io::Result<Vec<Interface>> {
    let mut links = links()?;
    for answer in Rtnetlink::open()?.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
        let RouteNetlinkMessage::NewAddress(message) = answer else { continue };
        let Some(link) = links.get_mut(&message.header.index) else { continue };
        let (mut local, mut address) = (None, None);
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Local(own) => local = Some(own),
                AddressAttribute::Address(own) => address = Some(own),
                _ => {}
            }
        }
        // Of a point-to-point link the address is that of the other end.
        link.addresses.extend(local.or(address).map(|address| (address, message.header.prefix_len)));
    }
    Ok(links.into_values().map(|link| Interface { speed: speed(&link.name), ..link }).collect())
}

/// In bits per second. Links without a speed of their own say -1, or nothing.
fn speed(name: &str) -> Option<u64> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return None;
    }
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/speed")).ok()?;
    text.trim().parse::<i64>().ok().filter(|mbits| *mbits > 0).map(|mbits| mbits.unsigned_abs() * 1_000_000)
}

pub(super) fn neighbours(count_max: usize) -> io::Result<Vec<Neighbour>> {
    let links = links()?;
    let answers = Rtnetlink::open()?.dump(RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()))?;
    let neighbour = |answer| {
        let RouteNetlinkMessage::NewNeighbour(message) = answer else { return None };
        let (mut address, mut hardware) = (None, None);
        for attribute in message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(v4)),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(v6)),
                NeighbourAttribute::LinkLayerAddress(bytes) => hardware = Some(bytes),
                _ => {}
            }
        }
        let state = message.header.state;
        // Groups, and the machine itself, are no neighbours.
        if state == NeighbourState::Noarp || state == NeighbourState::None {
            return None;
        }
        let is_reachable = !matches!(state, NeighbourState::Failed | NeighbourState::Incomplete);
        let interface = links.get(&message.header.ifindex)?.name.clone();
        Some(Neighbour { address: address?, interface, hardware, is_reachable })
    };
    Ok(answers.into_iter().filter_map(neighbour).take(count_max).collect())
}

pub(super) fn routes(count_max: usize) -> io::Result<Vec<RouteEntry>> {
    let links = links()?;
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        let left = count_max.saturating_sub(routes.len());
        // A router with the whole Internet's routes has a million of them: what is not asked for is not read.
        let keep = |answer| match answer {
            RouteNetlinkMessage::NewRoute(message) => entry(&links, message),
            _ => None,
        };
        routes.extend(Rtnetlink::open()?.dump_some(RouteNetlinkMessage::GetRoute(question), left, keep)?);
    }
    Ok(routes)
}

fn entry(links: &BTreeMap<u32, Interface>, message: RouteMessage) -> Option<RouteEntry> {
    let any = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let mut table = u32::from(message.header.table);
    let (mut to, mut via, mut index, mut metric) = (any, None, None, 0);
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = number,
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => to = v4.into(),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => to = v6.into(),
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) => via = Some(v4.into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => via = Some(v6.into()),
            RouteAttribute::Via(RouteVia::Inet(v4)) => via = Some(v4.into()),
            RouteAttribute::Via(RouteVia::Inet6(v6)) => via = Some(v6.into()),
            RouteAttribute::Oif(oif) => index = Some(oif),
            RouteAttribute::Priority(number) => metric = number,
            // Of several ways at once the first one stands for all.
            RouteAttribute::MultiPath(hops) if index.is_none() => {
                index = hops.first().map(|hop| hop.interface_index);
            }
            _ => {}
        }
    }
    let is_route = !matches!(message.header.kind, RouteType::Local | RouteType::Broadcast | RouteType::Multicast);
    if table == TABLE_LOCAL || is_own_table(table) || !is_route {
        return None;
    }
    let interface = index.and_then(|index| links.get(&index)).map(|link| link.name.clone());
    Some(RouteEntry { to: (to, message.header.destination_prefix_length), via, interface, metric })
}

/// A socket to which the kernel tells what changes.
pub(super) struct Changes(Socket);

impl Changes {
    pub(super) fn open() -> io::Result<Changes> {
        let mut socket = Socket::new(protocols::NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        Ok(Changes(socket))
    }

    pub(super) fn take(&mut self) -> Changed {
        let mut changed = Changed::default();
        for _ in 0..READS_MAX {
            let mut buffer = Vec::with_capacity(READ_BYTES);
            match self.0.recv(&mut buffer, 0) {
                Ok(_) => {}
                // Messages were lost: anything may have changed.
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    changed = Changed { routes: true, interfaces: true, addresses: true };
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            }
            for message in messages(&buffer) {
                let kind = u16::from_ne_bytes([message[4], message[5]]);
                changed.interfaces |= LINKS.contains(&kind);
                changed.addresses |= ADDRESSES.contains(&kind);
                // A route goes without a word when its interface goes down, or its address goes.
                changed.routes |= LINKS.contains(&kind) || ADDRESSES.contains(&kind) || ROUTES.contains(&kind);
            }
        }
        changed
    }
}

impl AsFd for Changes {
    #[expect(unsafe_code, reason = "the library hands out the number only")]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open for as long as it is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    #[test]
    fn the_loopback_interface_is_there_with_its_address() {
        let lo = interfaces().unwrap().into_iter().find(|interface| interface.name == "lo").unwrap();
        assert!(lo.is_up && lo.hardware.is_none(), "{lo:?}");
        assert!(lo.addresses.contains(&("127.0.0.1".parse().unwrap(), 8)), "{lo:?}");
    }

    #[test]
    fn routes_and_neighbours_are_bounded_and_in_order() {
        let all = routes(usize::MAX).unwrap();
        assert!(all.windows(2).all(|pair| (pair[0].to, pair[0].metric) <= (pair[1].to, pair[1].metric)), "{all:?}");
        assert!(routes(1).unwrap().len() <= 1);
        assert!(neighbours(1).unwrap().len() <= 1);
    }
}

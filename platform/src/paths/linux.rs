//! Asks the kernel for a route.

#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel says more than is of use here")]

use std::io;
use std::net::IpAddr;

use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteVia};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Route;
use crate::steering::linux::netlink::Rtnetlink;

pub(super) fn route_to(destination: IpAddr, mark: Option<u32>) -> io::Result<Route> {
    let mut question = RouteMessage::default();
    (question.header.address_family, question.header.destination_prefix_length) = match destination {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    question.attributes.push(RouteAttribute::Destination(destination.into()));
    question.attributes.extend(mark.map(RouteAttribute::Mark));
    let answer = Rtnetlink::open()?.ask(RouteNetlinkMessage::GetRoute(question))?;
    let Some(RouteNetlinkMessage::NewRoute(route)) = answer else {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    };
    let (mut index, mut via, mut source) = (None, None, None);
    for attribute in route.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(oif),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => via = Some(gateway.into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) => via = Some(gateway.into()),
            // An IPv4 route by way of an IPv6 neighbour.
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => via = Some(gateway.into()),
            RouteAttribute::Via(RouteVia::Inet(gateway)) => via = Some(gateway.into()),
            RouteAttribute::PrefSource(RouteAddress::Inet(own)) => source = Some(own.into()),
            RouteAttribute::PrefSource(RouteAddress::Inet6(own)) => source = Some(own.into()),
            _ => {}
        }
    }
    let index = index.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Route { interface: name_of(index)?, via, source })
}

#[expect(unsafe_code, reason = "if_indextoname has no safe wrapper")]
fn name_of(index: u32) -> io::Result<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the call writes at most `IF_NAMESIZE` bytes, to where there is room for as many.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return Err(io::Error::last_os_error());
    }
    let name: Vec<u8> = name.into_iter().take_while(|byte| *byte != 0).collect();
    Ok(String::from_utf8_lossy(&name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_reached_by_the_loopback_interface() {
        let route = route_to("127.0.0.1".parse().unwrap(), None).unwrap();
        assert_eq!((route.interface.as_str(), route.via), ("lo", None));
    }
}

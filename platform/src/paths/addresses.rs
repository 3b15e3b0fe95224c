//! The addresses of this machine's interfaces.

#![expect(unsafe_code, reason = "getifaddrs has no safe wrapper")]

use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that are read at most; the list is the system's, and it ends.
const ADDRESSES_MAX: usize = 65_536;

/// All addresses of this machine's interfaces, sorted, without repetition.
///
/// # Errors
///
/// What the system says.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the call writes one pointer to where there is room for one.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = first;
    for _ in 0..ADDRESSES_MAX {
        // SAFETY: the pointer is null, or one of the list that the system made and that is freed only below.
        let Some(entry) = (unsafe { next.as_ref() }) else { break };
        // SAFETY: the entry's address is null, or points to an address of the length of its family.
        addresses.extend(unsafe { address(entry.ifa_addr) });
        next = entry.ifa_next;
    }
    // SAFETY: the list came from `getifaddrs`, is freed once, and nothing points into it any more.
    unsafe { libc::freeifaddrs(first) };
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// The IP address in a `sockaddr`, if it is one.
///
/// # Safety
///
/// `name` must be null or point to an address as long as its family says.
unsafe fn address(name: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: the caller says that it is null or an address, which begins with its family.
    let family = unsafe { name.as_ref() }?.sa_family;
    match c_int::from(family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is one of IPv4; it may not be aligned for it.
            let v4 = unsafe { name.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for IPv6.
            let v6 = unsafe { name.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_this_machine_are_listed_once() {
        let addresses = local_addresses().unwrap();
        assert!(addresses.windows(2).all(|pair| pair[0] < pair[1]), "{addresses:?}");
    }
}

//! The UDP side on Linux: everything per datagram.

#![expect(unsafe_code, reason = "ancillary data, and the error queue, have no safe wrapper")]

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::ancillary::{Ancillary, alert_v4, alert_v6, find_alert_v4, find_alert_v6, number, values};
use super::{Family, IcmpError, IcmpKind, Outgoing, Received, SEND_REPEATS_MAX, Sent, set_option};

/// Words of ancillary data that one datagram may bring: all that is asked for, with the longest options (a hop-by-hop
/// header has up to 2048 bytes).
const ANCILLARY_WORDS: usize = 4096 / size_of::<usize>();
/// Bytes that may wait to be read, if the system agrees: a burst of Queries from many sources at once.
const RECEIVE_BYTES: libc::c_int = 1 << 20;
/// Bytes of a `sock_extended_err`; the reporter's address comes behind it.
const EXTENDED_ERROR_BYTES: usize = 16;
/// Origins of an error in a `sock_extended_err` (linux/errqueue.h).
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// Lets the socket send from addresses of other machines; needs `CAP_NET_ADMIN`.
pub(super) fn allow_foreign_sources(socket: BorrowedFd<'_>, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => set_option(socket, libc::SOL_IP, libc::IP_TRANSPARENT, 1),
        Family::V6 => set_option(socket, libc::SOL_IPV6, libc::IPV6_TRANSPARENT, 1),
    }
}

/// Asks for everything that is to be known of a datagram, and for errors.
pub(super) fn prepare(socket: BorrowedFd<'_>, family: Family) -> io::Result<()> {
    let (level, wanted, nice): (_, &[_], &[_]) = match family {
        Family::V4 => (
            libc::SOL_IP,
            &[(libc::IP_PKTINFO, 1), (libc::IP_RECVTTL, 1), (libc::IP_RECVERR, 1)],
            // A datagram that would have to be cut up goes over a stream instead.
            &[(libc::IP_RECVOPTS, 1), (libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)],
        ),
        Family::V6 => (
            libc::SOL_IPV6,
            &[(libc::IPV6_RECVPKTINFO, 1), (libc::IPV6_RECVHOPLIMIT, 1), (libc::IPV6_RECVERR, 1)],
            &[(libc::IPV6_RECVHOPOPTS, 1), (libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO), (libc::IPV6_DONTFRAG, 1)],
        ),
    };
    for (name, value) in wanted {
        set_option(socket, level, *name, *value)?;
    }
    for (name, value) in nice {
        let _ = set_option(socket, level, *name, *value);
    }
    if set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BYTES).is_err() {
        let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BYTES);
    }
    Ok(())
}

/// What one `recvmsg` brought.
struct Message {
    len: usize,
    flags: libc::c_int,
    address: Option<SocketAddr>,
    ancillary: [usize; ANCILLARY_WORDS],
    ancillary_len: usize,
}

impl Message {
    fn values(&self) -> impl Iterator<Item = (libc::c_int, libc::c_int, &[u8])> {
        // SAFETY: the words are initialized, bytes have no alignment, and the length is cut to that of the array.
        let bytes = unsafe {
            std::slice::from_raw_parts(
                self.ancillary.as_ptr().cast::<u8>(),
                self.ancillary_len.min(size_of_val(&self.ancillary)),
            )
        };
        values(bytes)
    }
}

fn receive_message(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Message> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = Message { len: 0, flags: 0, address: None, ancillary: [0; ANCILLARY_WORDS], ancillary_len: 0 };
    // SAFETY: all bytes zero is a valid `msghdr`.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = message.ancillary.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&message.ancillary) as _;
    loop {
        // SAFETY: name, buffer and ancillary data are writable for the lengths that are given, and outlive the call.
        let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags | libc::MSG_DONTWAIT) };
        if let Ok(len) = usize::try_from(len) {
            message.len = len.min(buffer.len());
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    message.flags = header.msg_flags;
    message.ancillary_len = header.msg_controllen as usize;
    // SAFETY: zeroed, and then perhaps written by the kernel: all bytes are initialized, and any are valid.
    let name = unsafe { name.assume_init() };
    message.address = socket_address(&name);
    Ok(message)
}

/// Takes the next datagram.
pub(super) fn receive(socket: BorrowedFd<'_>, family: Family, port: u16, buffer: &mut [u8]) -> io::Result<Received> {
    let message = receive_message(socket, buffer, 0)?;
    let source = message.address.ok_or(io::ErrorKind::InvalidData)?;
    let mut received = Received {
        source,
        destination: SocketAddr::new(family.unspecified(), port),
        ttl: None,
        router_alert: None,
        interface: 0,
        len: message.len,
        is_cut: message.flags & libc::MSG_TRUNC != 0,
    };
    for (level, kind, value) in message.values() {
        match (level, kind) {
            // An index, the address that answers, the address in the header.
            (libc::SOL_IP, libc::IP_PKTINFO) => {
                if let Some(info) = value.first_chunk::<12>() {
                    received.interface = number(info).unwrap_or(0);
                    received.destination.set_ip(Ipv4Addr::new(info[8], info[9], info[10], info[11]).into());
                }
            }
            (libc::SOL_IP, libc::IP_TTL) | (libc::SOL_IPV6, libc::IPV6_HOPLIMIT) => {
                received.ttl = number(value).and_then(|ttl| u8::try_from(ttl).ok());
            }
            (libc::SOL_IP, libc::IP_RECVOPTS) => received.router_alert = find_alert_v4(value),
            (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                if let Some(address) = value.first_chunk::<16>() {
                    received.destination.set_ip(Ipv6Addr::from(*address).into());
                    received.interface = number(&value[16..]).unwrap_or(0);
                }
            }
            (libc::SOL_IPV6, libc::IPV6_HOPOPTS) => received.router_alert = find_alert_v6(value),
            _ => {}
        }
    }
    Ok(received)
}

/// Takes the next error from the error queue.
pub(super) fn receive_error(socket: BorrowedFd<'_>, family: Family, buffer: &mut [u8]) -> io::Result<IcmpError> {
    let message = receive_message(socket, buffer, libc::MSG_ERRQUEUE)?;
    let destination = message.address.unwrap_or(SocketAddr::new(family.unspecified(), 0));
    let mut error = IcmpError { destination, reporter: None, kind: IcmpKind::Other, len: message.len };
    for (level, kind, value) in message.values() {
        let is_error = matches!((level, kind), (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR));
        // The error's number, its origin, type and code.
        if let (true, [_, _, _, _, origin, kind, code, ..]) = (is_error, value) {
            error.kind = icmp_kind(*origin, *kind, *code);
            error.reporter = value.get(EXTENDED_ERROR_BYTES..).and_then(reporter);
        }
    }
    Ok(error)
}

/// RFC 792 and RFC 4443, section 3.1: which messages say that nobody will get the datagram.
fn icmp_kind(origin: u8, kind: u8, code: u8) -> IcmpKind {
    match (origin, kind, code) {
        // Protocol or port unreachable; for IPv6 an unknown next header is a parameter problem.
        (ORIGIN_ICMP, 3, 2 | 3) | (ORIGIN_ICMP6, 1, 4) | (ORIGIN_ICMP6, 4, 1) => IcmpKind::PortClosed,
        // Too big for a link on the way: a smaller one would get through.
        (ORIGIN_ICMP, 3, 4) => IcmpKind::Other,
        (ORIGIN_ICMP, 3, _) | (ORIGIN_ICMP6, 1, _) => IcmpKind::Unreachable,
        _ => IcmpKind::Other,
    }
}

/// The address in a `sockaddr` that follows an error.
fn reporter(bytes: &[u8]) -> Option<IpAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    if family == libc::AF_INET as u16 {
        return Some(Ipv4Addr::from(*bytes.get(4..)?.first_chunk::<4>()?).into());
    }
    let is_v6 = family == libc::AF_INET6 as u16;
    is_v6.then(|| bytes.get(8..)?.first_chunk::<16>().map(|address| Ipv6Addr::from(*address).into()))?
}

/// Sends a datagram; without its router alert or its flow label if those are refused.
pub(super) fn send(socket: BorrowedFd<'_>, family: Family, datagram: &Outgoing<'_>) -> io::Result<Sent> {
    let (mut datagram, mut sent, mut repeats_left) = (*datagram, Sent::default(), SEND_REPEATS_MAX);
    loop {
        let Err(error) = send_once(socket, family, &datagram) else { return Ok(sent) };
        match error.raw_os_error() {
            Some(libc::EPERM) if family == Family::V6 && datagram.router_alert.take().is_some() => {
                sent.without_router_alert = true;
            }
            Some(libc::EINVAL) if datagram.flow_label.take().is_some() => sent.without_flow_label = true,
            Some(libc::EINTR) => {}
            Some(libc::EAGAIN | libc::EMSGSIZE) => return Err(error),
            // With errors asked for, sending tells once what ICMP said of another datagram.
            _ if repeats_left > 0 => repeats_left -= 1,
            _ => return Err(error),
        }
    }
}

fn send_once(socket: BorrowedFd<'_>, family: Family, datagram: &Outgoing<'_>) -> io::Result<()> {
    let mut ancillary = match family {
        Family::V4 => ancillary_v4(datagram),
        Family::V6 => ancillary_v6(datagram),
    };
    let (name, name_len) = kernel_address(datagram.destination);
    let mut part =
        libc::iovec { iov_base: datagram.payload.as_ptr().cast_mut().cast(), iov_len: datagram.payload.len() };
    // SAFETY: all bytes zero is a valid `msghdr`.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw const name).cast_mut().cast();
    header.msg_namelen = name_len;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    let words = ancillary.words();
    if !words.is_empty() {
        header.msg_control = words.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(words) as _;
    }
    // SAFETY: the kernel only reads name, payload and ancillary data, for the lengths that are given; all outlive the
    // call.
    let result = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn ancillary_v4(datagram: &Outgoing<'_>) -> Ancillary {
    let mut ancillary = Ancillary::default();
    let number = |value: u8| libc::c_int::from(value).to_ne_bytes();
    if let Some(IpAddr::V4(source)) = datagram.source {
        // An index (none), the address to send from, an address that is not used.
        let mut info = [0; 12];
        info[4..8].copy_from_slice(&source.octets());
        ancillary.push(libc::SOL_IP, libc::IP_PKTINFO, &info);
    }
    if let Some(ttl) = datagram.ttl.filter(|ttl| *ttl > 0) {
        ancillary.push(libc::SOL_IP, libc::IP_TTL, &number(ttl));
    }
    if let Some(dscp) = datagram.dscp {
        ancillary.push(libc::SOL_IP, libc::IP_TOS, &number(dscp << 2));
    }
    if let Some(value) = datagram.router_alert {
        ancillary.push(libc::SOL_IP, libc::IP_RETOPTS, &alert_v4(value));
    }
    ancillary
}

fn ancillary_v6(datagram: &Outgoing<'_>) -> Ancillary {
    let mut ancillary = Ancillary::default();
    let number = |value: u8| libc::c_int::from(value).to_ne_bytes();
    if let Some(IpAddr::V6(source)) = datagram.source {
        // The address to send from, and the index of the interface if the destination names one.
        let mut info = [0; 20];
        info[..16].copy_from_slice(&source.octets());
        if let SocketAddr::V6(to) = datagram.destination {
            info[16..].copy_from_slice(&to.scope_id().to_ne_bytes());
        }
        ancillary.push(libc::SOL_IPV6, libc::IPV6_PKTINFO, &info);
    }
    if let Some(ttl) = datagram.ttl.filter(|ttl| *ttl > 0) {
        ancillary.push(libc::SOL_IPV6, libc::IPV6_HOPLIMIT, &number(ttl));
    }
    if let Some(label) = datagram.flow_label {
        ancillary.push(libc::SOL_IPV6, libc::IPV6_FLOWINFO, &(label & 0xf_ffff).to_be_bytes());
    }
    if let Some(dscp) = datagram.dscp {
        ancillary.push(libc::SOL_IPV6, libc::IPV6_TCLASS, &number(dscp << 2));
    }
    if let Some(value) = datagram.router_alert {
        ancillary.push(libc::SOL_IPV6, libc::IPV6_HOPOPTS, &alert_v6(value));
    }
    ancillary
}

/// An address in the kernel's form, with its length.
fn kernel_address(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all bytes zero is a valid `sockaddr_storage`.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    match address {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: a `sockaddr_storage` is larger than any other address and aligned for all.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(name) };
            (storage, size_of::<libc::sockaddr_in>() as libc::socklen_t)
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(name) };
            (storage, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
        }
    }
}

fn socket_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what it is, and a `sockaddr_storage` is larger and aligned for all addresses.
            let name = unsafe { (&raw const *storage).cast::<libc::sockaddr_in>().read() };
            let address = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(address, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { (&raw const *storage).cast::<libc::sockaddr_in6>().read() };
            let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(address, u16::from_be(name.sin6_port), 0, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

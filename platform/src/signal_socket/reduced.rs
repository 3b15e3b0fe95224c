//! The UDP side on systems other than Linux: datagrams and nothing else. There is no TTL, router alert or interface of
//! what comes in, no error, and no choice of the source address; an IPv4 router alert is sent as an option of the socket.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Family, IcmpError, Outgoing, Received, Sent};

/// Never possible here.
pub(super) fn allow_foreign_sources(_: BorrowedFd<'_>, _: Family) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// There is nothing to ask for.
pub(super) fn prepare(_: BorrowedFd<'_>, _: Family) -> io::Result<()> {
    Ok(())
}

/// Takes the next datagram.
pub(super) fn receive(socket: BorrowedFd<'_>, family: Family, port: u16, buffer: &mut [u8]) -> io::Result<Received> {
    let room = buffer.len();
    let (len, _, source) = rustix::net::recvfrom(socket, buffer, rustix::net::RecvFlags::empty())?;
    let source = source.and_then(|source| SocketAddr::try_from(source).ok()).ok_or(io::ErrorKind::InvalidData)?;
    let destination = SocketAddr::new(family.unspecified(), port);
    Ok(Received { source, destination, ttl: None, router_alert: None, interface: 0, len, is_cut: len == room })
}

/// There are none.
pub(super) fn receive_error(_: BorrowedFd<'_>, _: Family, _: &mut [u8]) -> io::Result<IcmpError> {
    Err(io::Error::from(io::ErrorKind::WouldBlock))
}

/// Sends a datagram.
pub(super) fn send(socket: BorrowedFd<'_>, family: Family, datagram: &Outgoing<'_>) -> io::Result<Sent> {
    let mut sent = Sent { without_router_alert: false, without_flow_label: datagram.flow_label.is_some() };
    let options: Vec<u8> = match (family, datagram.router_alert) {
        (Family::V4, Some(value)) => [&[148, 4][..], &value.to_be_bytes()].concat(),
        (Family::V6, Some(_)) => {
            sent.without_router_alert = true;
            Vec::new()
        }
        (_, None) => Vec::new(),
    };
    if family == Family::V4 && set_options(socket, &options).is_err() {
        sent.without_router_alert = !options.is_empty();
    }
    rustix::net::sendto(socket, datagram.payload, rustix::net::SendFlags::empty(), &datagram.destination)?;
    Ok(sent)
}

/// Sets the IP options of all that is sent from now on.
#[expect(unsafe_code, reason = "IP_OPTIONS has no safe wrapper")]
fn set_options(socket: BorrowedFd<'_>, options: &[u8]) -> io::Result<()> {
    // SAFETY: the options are read during the call only, and their length is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_OPTIONS,
            options.as_ptr().cast(),
            options.len() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

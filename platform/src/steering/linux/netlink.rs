//! Requests to the kernel's routing and netfilter parts, each answered before the next is sent.

#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel says more than is of use here")]

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols};

/// Bytes of one read: more than the kernel puts into one answer.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// A socket to the routing part of the kernel.
pub(crate) struct Rtnetlink {
    socket: Socket,
    sequence: u32,
}

impl Rtnetlink {
    pub(crate) fn open() -> io::Result<Rtnetlink> {
        Ok(Rtnetlink { socket: connected(protocols::NETLINK_ROUTE)?, sequence: 0 })
    }

    /// Sends one change and waits until the kernel has made it.
    pub(super) fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.request(message, NLM_F_ACK | flags).map(drop)
    }

    /// Sends one question that has one answer.
    pub(crate) fn ask(&mut self, message: RouteNetlinkMessage) -> io::Result<Option<RouteNetlinkMessage>> {
        Ok(self.request(message, 0)?.pop())
    }

    /// Reads a whole table.
    pub(crate) fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.request(message, NLM_F_DUMP)
    }

    /// Reads of a table what `keep` makes something of, until there are `count_max`. The socket is of no use afterwards.
    pub(crate) fn dump_some<T>(
        &mut self,
        message: RouteNetlinkMessage,
        count_max: usize,
        keep: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        send_all(&self.socket, &serialized(header, message))?;
        let mut kept = Vec::new();
        while kept.len() < count_max {
            let datagram = receive(&self.socket)?;
            for bytes in messages(&datagram) {
                let Ok(answer) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) else { continue };
                match answer.payload {
                    NetlinkPayload::InnerMessage(inner) if kept.len() < count_max => kept.extend(keep(inner)),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(io::Error::from_raw_os_error(-error.raw_code()));
                    }
                    NetlinkPayload::Done(_) => return Ok(kept),
                    _ => {}
                }
            }
        }
        Ok(kept)
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        send_all(&self.socket, &serialized(header, message))?;
        let mut answers = Vec::new();
        // An answer to a plain question is one message, without an acknowledgement behind it.
        let one = flags & (NLM_F_ACK | NLM_F_DUMP) == 0;
        loop {
            let datagram = receive(&self.socket)?;
            for bytes in messages(&datagram) {
                // A message that this library cannot read is about something that is not ours.
                let Ok(answer) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) else { continue };
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(io::Error::from_raw_os_error(-error.raw_code()));
                    }
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                    _ => {}
                }
            }
            if one && !answers.is_empty() {
                return Ok(answers);
            }
        }
    }
}

/// Tells when something changed that steering depends on.
pub(super) struct Changes {
    routes: Socket,
    filters: Option<Socket>,
}

/// Multicast groups of links, addresses, routes and rules (linux/rtnetlink.h).
const ROUTE_GROUPS: [u32; 7] = [1, 5, 7, 8, 9, 11, 19];
/// The multicast group of nf_tables (linux/netfilter/nfnetlink.h).
const NFTABLES_GROUP: u32 = 7;

impl Changes {
    pub(super) fn open() -> io::Result<Changes> {
        let mut routes = Socket::new(protocols::NETLINK_ROUTE)?;
        routes.bind_auto()?;
        routes.set_non_blocking(true)?;
        for group in ROUTE_GROUPS {
            routes.add_membership(group)?;
        }
        Ok(Changes { routes, filters: Changes::of_filters().ok() })
    }

    fn of_filters() -> io::Result<Socket> {
        let mut filters = Socket::new(protocols::NETLINK_NETFILTER)?;
        filters.bind_auto()?;
        filters.set_non_blocking(true)?;
        filters.add_membership(NFTABLES_GROUP)?;
        Ok(filters)
    }

    /// Forgets what was said until now; returns whether there was anything.
    pub(super) fn drain(&mut self) -> bool {
        let mut any = false;
        for socket in [Some(&self.routes), self.filters.as_ref()].into_iter().flatten() {
            loop {
                let mut buffer = bytes_mut(READ_BYTES);
                match socket.recv(&mut buffer, 0) {
                    Ok(_) => any = true,
                    // Messages were lost: so there were some.
                    Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => any = true,
                    Err(_) => break,
                }
            }
        }
        any
    }
}

/// A socket to `protocol` of this namespace's kernel.
pub(super) fn connected(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

pub(super) fn send_all(socket: &Socket, bytes: &[u8]) -> io::Result<()> {
    match socket.send(bytes, 0)? {
        sent if sent == bytes.len() => Ok(()),
        _ => Err(io::Error::from(io::ErrorKind::WriteZero)),
    }
}

pub(super) fn receive(socket: &Socket) -> io::Result<Vec<u8>> {
    loop {
        let mut buffer = bytes_mut(READ_BYTES);
        match socket.recv(&mut buffer, 0) {
            Ok(_) => return Ok(buffer),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn bytes_mut(capacity: usize) -> Vec<u8> {
    Vec::with_capacity(capacity)
}

/// The messages of one datagram.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let message = rest.get(..len).filter(|message| message.len() >= 16)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn serialized<T: NetlinkSerializable>(header: NetlinkHeader, message: T) -> Vec<u8> {
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

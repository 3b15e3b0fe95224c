//! Opening sockets and sending datagrams, with the permissions that it needs.

use std::net::{IpAddr, SocketAddr};

use super::stream::Stream;
use super::udp::{Udp, Waiting};
use super::{Kind, Listener, Socket, Sockets};
use crate::base::limits::{PACKET_BYTES_MAX, SOCKET_NAME_BYTES_MAX, SOCKET_OUTPUTS_MAX};
use crate::base::net::{Family, NetOutput, Security};
use crate::container::api::names::may_stand_for;
use crate::container::permissions::{Allowed, Transport, Use};
use crate::container::vm::host::Host;

/// Begins to listen for streams. Returns the listener's number: wait for its [`super::read_key`] until it is open.
///
/// # Errors
///
/// The refusal, or the limit that is exceeded.
pub(crate) fn listen(host: &Host, at: SocketAddr, security: Security) -> Result<u32, String> {
    check(&host.allowed, &Use::Listen(Transport::Tcp, at.port()))?;
    let kind = Kind::Listener(Listener::default());
    host.sockets.borrow_mut().open(kind, |socket| NetOutput::Listen { socket, at, security })
}

/// Begins to open a stream. `name` is what the module asked for: the address itself, or a name that [`resolve`] had
/// looked up. Returns the stream's number: wait for its [`super::read_key`] until it is open.
///
/// # Errors
///
/// The refusal, or the limit that is exceeded.
pub(crate) fn connect(host: &Host, name: &str, to: SocketAddr, security: Security) -> Result<u32, String> {
    let mut sockets = host.sockets.borrow_mut();
    may_reach(&host.allowed, &|address| host.is_own(address), &sockets, Transport::Tcp, Some(name), to)?;
    sockets.open(Kind::Stream(Stream::default()), |socket| NetOutput::Connect { socket, to, security })
}

/// Begins to open a UDP socket. Without the permission to listen at the port, it can be any free port (0), and only
/// those answer to whom the module writes.
///
/// # Errors
///
/// The refusal, or the limit that is exceeded.
pub(crate) fn bind(host: &Host, at: SocketAddr) -> Result<u32, String> {
    let may_listen = check(&host.allowed, &Use::Listen(Transport::Udp, at.port()));
    let listens = match may_listen {
        Ok(()) => true,
        Err(_) if at.port() == 0 && host.allowed.may_send_datagrams() => false,
        Err(refusal) => return Err(refusal),
    };
    host.sockets.borrow_mut().open(Kind::Udp(Udp::new(listens)), |socket| NetOutput::Bind { socket, at })
}

/// Begins to look a name up. Returns the number of the look-up: it is open when [`Sockets::names`] knows the addresses.
///
/// # Errors
///
/// The refusal, or the limit that is exceeded.
pub(crate) fn resolve(host: &Host, name: &str, family: Family) -> Result<u32, String> {
    if name.is_empty() || name.len() > SOCKET_NAME_BYTES_MAX || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("a name has 1 to {SOCKET_NAME_BYTES_MAX} letters, digits, dots and dashes"));
    }
    check(&host.allowed, &Use::LookUp(name))?;
    let query_name = name.to_owned();
    let kind = Kind::Query(name.to_owned());
    host.sockets.borrow_mut().open(kind, |query| NetOutput::Resolve { query, name: query_name, family })
}

fn check(allowed: &Allowed, usage: &Use<'_>) -> Result<(), String> {
    allowed.check(usage).map_err(|refusal| refusal.to_string())
}

/// Whether an address may be reached: by a rule for itself, or by one for a name that it has.
fn may_reach(
    allowed: &Allowed,
    is_own: &dyn Fn(IpAddr) -> bool,
    sockets: &Sockets,
    transport: Transport,
    name: Option<&str>,
    to: SocketAddr,
) -> Result<(), String> {
    let address = to.ip().to_canonical();
    let text = address.to_string();
    let Err(refusal) = check(allowed, &Use::Connect(transport, &text, to.port())) else { return Ok(()) };
    let by_name = |name: &str| check(allowed, &Use::Connect(transport, name, to.port())).is_ok();
    let names = &sockets.names;
    let stands_for = |name: &str| may_stand_for(name, address) && !is_own(address);
    match name.filter(|name| name.parse::<IpAddr>().is_err()) {
        // A rule for the name itself, which the module need not know by address.
        Some(name) => {
            check(allowed, &Use::Connect(transport, name, to.port()))?;
            let is_its = names.addresses(name).contains(&address);
            if is_its && stands_for(name) { Ok(()) } else { Err(format!("{name} has the address {text}: {refusal}")) }
        }
        None if names.of(address).any(|name| by_name(name) && stands_for(name)) => Ok(()),
        None => Err(refusal),
    }
}

impl Sockets {
    /// Sends a datagram when the call at hand is over. Whether there was room for it; it may be lost later all the same.
    /// Whoever wrote to the socket may be answered, from the address that it wrote to. `is_own` knows the machine's
    /// addresses.
    ///
    /// # Errors
    ///
    /// The refusal, or why that is no datagram.
    pub(crate) fn send(
        &mut self,
        allowed: &Allowed,
        is_own: &dyn Fn(IpAddr) -> bool,
        number: u32,
        bytes: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> Result<bool, String> {
        if bytes.len() > PACKET_BYTES_MAX - 28 {
            return Err(format!("a datagram has at most {} bytes, not {}", PACKET_BYTES_MAX - 28, bytes.len()));
        }
        let Some(Socket { kind: Kind::Udp(udp), .. }) = self.sockets.get(&number) else { return Ok(false) };
        let known = udp.peer(to);
        if known.is_none() {
            may_reach(allowed, is_own, self, Transport::Udp, None, to)?;
        }
        if let Some(from) = from
            && !udp.is_own(from)
        {
            check(allowed, &Use::AnswerFor(from.to_canonical()))?;
        }
        if self.outputs.len() >= SOCKET_OUTPUTS_MAX {
            self.dropped.datagrams += 1;
            return Ok(false);
        }
        let id = self.id(number);
        if known.is_none()
            && let Some(Socket { kind: Kind::Udp(udp), .. }) = self.sockets.get_mut(&number)
        {
            udp.note(to, None);
        }
        let from = from.or(known.flatten());
        self.outputs.push_back(NetOutput::Send { socket: id, from, to, bytes: bytes.to_vec() });
        Ok(true)
    }

    /// Takes the next datagram that came.
    pub(crate) fn take_datagram(&mut self, number: u32) -> Option<Waiting> {
        match &mut self.sockets.get_mut(&number)?.kind {
            Kind::Udp(udp) => udp.take(),
            Kind::Listener(_) | Kind::Stream(_) | Kind::Query(_) => None,
        }
    }
}

//! The sockets of signalling, as [`SocketOutput`] asks for them.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{ConnId, Listener, ListenerId, Out, Owner, Stack};
use crate::base::limits::SIGNAL_STREAM_QUEUE_BYTES_MAX;
use crate::base::net::Security;
use crate::base::time::Instant;
use crate::drivers::sim::stream::Step;
use crate::drivers::sim::tls::{Hello, Side};
use crate::signaling::io::{DatagramOut, PeerKey, SocketOutput, StreamEvent, StreamId, StreamSecurity};
use crate::wire::datagram::{self, IpFields};

/// A [`StreamEvent`] that owns its bytes.
#[derive(Clone, Debug)]
pub(in crate::drivers::sim) enum SignalTold {
    Accepted { from: SocketAddr, to: SocketAddr, security: StreamSecurity, peer_key: Option<PeerKey> },
    Connected { from: SocketAddr, peer_key: Option<PeerKey> },
    Received(Vec<u8>),
    Closed(String),
}

impl SignalTold {
    /// Gives it as the node wants it.
    pub(in crate::drivers::sim) fn give(self, give: impl FnOnce(StreamEvent<'_>)) {
        match self {
            SignalTold::Accepted { from, to, security, peer_key } => {
                give(StreamEvent::Accepted { from, to, security, peer_key });
            }
            SignalTold::Connected { from, peer_key } => give(StreamEvent::Connected { from, peer_key }),
            SignalTold::Received(bytes) => give(StreamEvent::Received(&bytes)),
            SignalTold::Closed(reason) => give(StreamEvent::Closed { reason }),
        }
    }
}

impl Stack {
    /// Opens the ports of signalling.
    pub(in crate::drivers::sim) fn open_signal(&mut self, udp: u16, tcp: Option<u16>, tls: Option<u16>) {
        self.signal_port = Some(udp);
        for (port, security) in [(tcp, StreamSecurity::Plain), (tls, StreamSecurity::Tls)] {
            let Some(port) = port else { continue };
            let at = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
            let listener =
                Listener { at, security: Security::Plain, is_paused: false, waiting: VecDeque::new(), incoming: 0 };
            self.listeners.insert(ListenerId::Signal(security), listener);
        }
    }

    /// Does what signalling asks for.
    pub(in crate::drivers::sim) fn perform_signal(&mut self, output: SocketOutput, now: Instant) {
        match output {
            SocketOutput::Datagram(out) => {
                let packet = self.packet_of(&out);
                self.out.extend(packet.map(Out::Packet));
            }
            SocketOutput::Connect { stream, from, to, security } => {
                let side = (security == StreamSecurity::Tls)
                    .then(|| Side { is_client: true, hello: Hello { key: Some(self.key), ..Hello::default() } });
                match self.connect(from, to, side, Owner::Signal(stream), now) {
                    Ok(conn) => drop(self.by_stream.insert(stream, conn)),
                    Err(reason) => self.out.push_back(Out::Signal(stream, SignalTold::Closed(reason))),
                }
            }
            SocketOutput::Write { stream, bytes } => {
                let Some(conn) = self.by_stream.get(&stream).copied() else { return };
                let Some(found) = self.conns.get_mut(&conn) else { return };
                match found.stream.write(&bytes, SIGNAL_STREAM_QUEUE_BYTES_MAX) {
                    Ok(()) => self.mark(conn),
                    Err(reason) => {
                        self.abandon(conn, true, now);
                        self.out.push_back(Out::Signal(stream, SignalTold::Closed(reason)));
                    }
                }
            }
            SocketOutput::Close { stream } => {
                self.out.retain(|out| !matches!(out, Out::Signal(of, _) if *of == stream));
                if let Some(conn) = self.by_stream.get(&stream).copied() {
                    self.abandon(conn, false, now);
                }
            }
        }
    }

    /// The other end of a stream of signalling.
    pub(in crate::drivers::sim) fn signal_peer(&self, stream: StreamId) -> Option<SocketAddr> {
        self.conns.get(self.by_stream.get(&stream)?).map(|conn| conn.stream.remote)
    }

    /// The packet of a datagram: with any source address, TTL and router alert.
    fn packet_of(&self, out: &DatagramOut) -> Option<Vec<u8>> {
        let source = out.source.or_else(|| self.source_for(out.destination.ip()))?;
        let port = if out.source_port == 0 { self.signal_port? } else { out.source_port };
        let fields = IpFields {
            ttl: out.ttl.unwrap_or(64),
            dscp: out.dscp.unwrap_or(0),
            flow_label: out.flow_label.unwrap_or(0),
            router_alert: out.router_alert,
        };
        datagram::udp(SocketAddr::new(source, port), out.destination, fields, &out.payload)
    }

    /// A stream that a peer opened is ready.
    pub(super) fn accept_signal(&mut self, conn: ConnId, security: StreamSecurity, key: Option<[u8; 32]>) {
        let Some(found) = self.conns.get_mut(&conn) else { return };
        let (from, to) = (found.stream.remote, found.stream.local);
        let id = StreamId(self.next_stream);
        self.next_stream += 2;
        found.owner = Owner::Signal(id);
        self.by_stream.insert(id, conn);
        self.forget(Owner::Incoming(ListenerId::Signal(security)));
        let peer_key = key.map(PeerKey);
        self.out.push_back(Out::Signal(id, SignalTold::Accepted { from, to, security, peer_key }));
        self.mark(conn);
    }

    pub(super) fn tell_signal(&mut self, conn: ConnId, stream: StreamId, step: Step) {
        let told = match step {
            Step::Opened { key, .. } => {
                let Some(found) = self.conns.get(&conn) else { return };
                SignalTold::Connected { from: found.stream.local, peer_key: key.map(PeerKey) }
            }
            Step::Received(bytes) => SignalTold::Received(bytes),
            Step::Drained => return,
            Step::Finished => {
                // Nobody half closes a stream of signalling.
                if let Some(found) = self.conns.get_mut(&conn) {
                    found.owner = Owner::Nobody;
                    found.stream.end();
                }
                self.forget(Owner::Signal(stream));
                self.mark(conn);
                SignalTold::Closed("the peer ended it".to_owned())
            }
            Step::Over(reason) => SignalTold::Closed(reason),
        };
        self.out.push_back(Out::Signal(stream, told));
    }
}

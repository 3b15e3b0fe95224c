//! Taking in the streams that peers open.

use std::io::ErrorKind;
use std::net::SocketAddr;

use mio::net::TcpStream;

use super::stream::Stream;
use super::udp::canonical;
use super::{Found, NetSockets, Socket, tls};
use crate::base::limits::{NET_ACCEPT_PAUSE, NET_HANDSHAKES_MAX};
use crate::base::net::SocketId;
use crate::base::time::Instant;
use crate::drivers::live::pump::broken;

impl NetSockets {
    /// Accepts one stream, if the listener may.
    pub(super) fn accept_turn(&mut self, place: usize, now: Instant) -> (Option<Found>, bool) {
        let Some(Some(Socket::Listener(listener))) = self.sockets.get_mut(place) else { return (None, false) };
        if listener.is_paused || listener.rests_until.is_some() {
            return (None, false);
        }
        match listener.socket.accept() {
            Ok((socket, peer)) => {
                if let Err(reason) = self.take_in(place, socket, canonical(peer), now) {
                    tracing::debug!("a stream from {peer} is refused: {reason}");
                }
                (None, true)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => (None, false),
            // It was over before it was accepted.
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => (None, true),
            Err(e) => {
                tracing::warn!("no stream is accepted for {} ms: {e}", NET_ACCEPT_PAUSE.as_millis());
                listener.rests_until = Some(now + NET_ACCEPT_PAUSE);
                self.sweep_at = self.sweep_at.min(now + NET_ACCEPT_PAUSE);
                (None, false)
            }
        }
    }

    fn take_in(
        &mut self,
        listener_place: usize,
        socket: TcpStream,
        peer: SocketAddr,
        now: Instant,
    ) -> Result<(), String> {
        let Some(Some(Socket::Listener(listener))) = self.sockets.get_mut(listener_place) else { return Ok(()) };
        let owner = listener.id;
        let connection = match &listener.tls {
            Some(config) => Some(tls::accept(config).map_err(|e| tls::words(&e))?),
            None => None,
        };
        listener.handshakes += 1;
        let is_crowded = listener.handshakes > NET_HANDSHAKES_MAX;
        let local = canonical(socket.local_addr().map_err(|e| broken(&e))?);
        let _ = socket.set_nodelay(true);
        let id = SocketId { instance: owner.instance, number: self.next_accepted };
        self.next_accepted = self.next_accepted.wrapping_add(1) | SocketId::ACCEPTED;
        let stream = Stream::accepted(id, socket, connection, (owner, local, peer), now);
        if let Err(reason) = self.insert(id, Socket::Stream(Box::new(stream))) {
            self.handshake_over(owner);
            return Err(reason);
        }
        // Those who do not finish their handshake give way, the oldest first.
        if is_crowded && let Some(oldest) = self.oldest_handshake(owner) {
            self.finish(oldest, "its place was needed".to_owned());
        }
        Ok(())
    }

    fn oldest_handshake(&self, owner: SocketId) -> Option<usize> {
        let of_owner = |stream: &Stream| stream.accepted.is_some_and(|(listener, _, _)| listener == owner);
        let streams = self.sockets.iter().enumerate().filter_map(|(place, socket)| match socket {
            Some(Socket::Stream(stream)) if stream.is_handshaking() && of_owner(stream) => Some((place, stream)),
            Some(_) | None => None,
        });
        streams.min_by_key(|(_, stream)| (stream.since(), stream.id)).map(|(place, _)| place)
    }

    /// A handshake of one of the listener's streams has come to its end.
    pub(super) fn handshake_over(&mut self, listener: SocketId) {
        if let Some((_, Socket::Listener(listener))) = self.find(listener) {
            listener.handshakes = listener.handshakes.saturating_sub(1);
        }
    }
}

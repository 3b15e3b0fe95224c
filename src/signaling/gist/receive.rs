//! What comes in: checks, in the order of RFC 5971, section 4.3.1, and who gets it.

use std::net::SocketAddr;

use crate::base::stats::DropReason;
use crate::base::time::Instant;
use crate::signaling::gist::stats::Count;
use crate::signaling::gist::{Env, Gist, Interception};
use crate::signaling::io::{DatagramIn, StreamId, Unreachable};
use crate::wire::gist::error::GistError;
use crate::wire::gist::header::{CommonHeader, MAGIC, MessageType, NslpId, PORT, VERSION};
use crate::wire::gist::message::{Message, Rejection};

/// How a message came.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// In D-mode.
    Datagram {
        /// From where.
        source: SocketAddr,
        /// To where; of a Query often not this node.
        destination: SocketAddr,
        /// TTL left.
        ttl: Option<u8>,
        /// Where it came in.
        interface: u32,
        /// In Q-mode encapsulation.
        is_q_mode: bool,
    },
    /// Over a messaging association.
    Stream(StreamId),
}

impl Origin {
    pub(super) fn of(datagram: &DatagramIn<'_>, is_q_mode: bool) -> Origin {
        let DatagramIn { source, destination, ttl, interface, .. } = *datagram;
        Origin::Datagram { source, destination, ttl, interface, is_q_mode }
    }

    pub(super) fn stream(self) -> Option<StreamId> {
        match self {
            Origin::Stream(stream) => Some(stream),
            Origin::Datagram { .. } => None,
        }
    }
}

/// A message in Q-mode encapsulation, and its way through this node.
pub(super) struct Arrival<'a> {
    pub(super) datagram: &'a DatagramIn<'a>,
    /// The hop count after this node took one.
    pub(super) hops: u8,
    /// The packet is addressed to this node: it cannot go on.
    pub(super) is_local: bool,
}

impl Gist {
    /// A datagram came in at one of this node's own addresses, by its signalling socket.
    pub fn datagram(&mut self, now: Instant, env: &mut Env<'_>, datagram: &DatagramIn<'_>) {
        // Without the magic number it is none of ours (RFC 5971, section 5.3.1: silently dropped).
        let Some((body, header)) = gist_message(datagram.payload) else {
            return self.counters.add(Count::DroppedNoMagic);
        };
        if header.context_free && header.version == VERSION {
            if self.intake.take(now, 1) {
                self.q_mode(now, env, datagram, header, body, true);
            } else {
                self.counters.add(Count::DroppedIntake);
            }
        } else {
            self.d_mode(now, env, datagram, header, body);
        }
        self.carry_out_requests(now, env);
    }

    /// A packet was taken out of the data plane, on its way elsewhere or to this node.
    ///
    /// Rules of RFC 5971, section 4.3.1, RFC 5971, section 4.3.4 and RFC 5971, section 5.3.2.3.
    pub fn intercept(&mut self, now: Instant, env: &mut Env<'_>, datagram: &DatagramIn<'_>) -> Interception {
        // Not Q-mode: the packet goes on as if nobody had looked. The port and the magic number decide, and the C-flag,
        // since the normal D-mode of other nodes passes here too.
        if datagram.destination.port() != PORT {
            return Interception::Forward;
        }
        let Some((body, header)) = gist_message(datagram.payload) else { return Interception::Forward };
        let is_local = env.paths.is_local(datagram.destination.ip());
        if !header.context_free || header.version != VERSION {
            if !is_local {
                return Interception::Forward;
            }
            self.d_mode(now, env, datagram, header, body);
            self.carry_out_requests(now, env);
            return Interception::Consumed;
        }
        // Candidates over the limit are discarded (RFC 5971, section 4.3.1).
        if !self.intake.take(now, 1) {
            self.counters.add(Count::DroppedIntake);
            return Interception::Drop(DropReason::SignalingLimited);
        }
        let verdict = self.q_mode(now, env, datagram, header, body, is_local);
        self.carry_out_requests(now, env);
        verdict
    }

    fn q_mode(
        &mut self,
        now: Instant,
        env: &mut Env<'_>,
        datagram: &DatagramIn<'_>,
        header: CommonHeader,
        body: &[u8],
        is_local: bool,
    ) -> Interception {
        let origin = Origin::of(datagram, true);
        // The hop count comes first, for all that is processed here or relayed.
        let Some(hops) = header.hops.checked_sub(1) else {
            self.counters.add(Count::DroppedHops);
            self.refuse_bytes(now, env, body, GistError::HopLimitExceeded, origin);
            return Interception::Drop(DropReason::SignalingRefused);
        };
        let arrival = Arrival { datagram, hops, is_local };
        if !env.hosts(header.nslp) {
            // At the end of its way the sender must learn that nobody is here (RFC 5971, section 4.3.4, case 5).
            if is_local {
                self.counters.add(Count::DroppedUnknownNslp);
                self.refuse_bytes(now, env, body, GistError::EndpointFound, origin);
                return Interception::Consumed;
            }
            return self.relay(now, env, &arrival, body);
        }
        let message = match Message::decode(body) {
            Ok(message) => message,
            Err(rejection) => {
                self.counters.add(Count::DroppedMalformed);
                self.reject(now, env, &rejection, origin);
                return Interception::Drop(DropReason::SignalingMalformed);
            }
        };
        self.counters.received(message.kind);
        match message.kind {
            MessageType::Query => self.query(now, env, &message, &arrival),
            MessageType::Data => {
                // Without state nobody can say whether it belongs here: the application is told so.
                self.deliver(now, env, &message, origin, true);
                Interception::Consumed
            }
            MessageType::Response | MessageType::Confirm | MessageType::Error | MessageType::Hello => {
                self.refuse(now, env, &message, GistError::IncorrectEncapsulation, origin);
                Interception::Drop(DropReason::SignalingRefused)
            }
        }
    }

    /// Lets a Query go on that this node does not answer.
    pub(super) fn relay(
        &mut self,
        now: Instant,
        env: &mut Env<'_>,
        arrival: &Arrival<'_>,
        body: &[u8],
    ) -> Interception {
        if arrival.hops == 0 {
            self.counters.add(Count::DroppedHops);
            self.refuse_bytes(now, env, body, GistError::HopLimitExceeded, Origin::of(arrival.datagram, true));
            return Interception::Drop(DropReason::SignalingRefused);
        }
        self.counters.add(Count::Relayed);
        Interception::Relay { hops: arrival.hops }
    }

    /// Normal D-mode, addressed to this node.
    fn d_mode(
        &mut self,
        now: Instant,
        env: &mut Env<'_>,
        datagram: &DatagramIn<'_>,
        header: CommonHeader,
        body: &[u8],
    ) {
        let origin = Origin::of(datagram, false);
        if header.version == VERSION {
            if header.hops == 0 {
                self.counters.add(Count::DroppedHops);
                return self.refuse_bytes(now, env, body, GistError::HopLimitExceeded, origin);
            }
            let is_own = header.nslp == NslpId::GIST
                && matches!(header.message_type(), Some(MessageType::Error | MessageType::Hello));
            if !is_own && !env.hosts(header.nslp) {
                self.counters.add(Count::DroppedUnknownNslp);
                return self.refuse_bytes(now, env, body, GistError::UnknownNslpId, origin);
            }
        }
        let message = match Message::decode(body) {
            Ok(message) => message,
            Err(rejection) => {
                self.counters.add(Count::DroppedMalformed);
                return self.reject(now, env, &rejection, origin);
            }
        };
        self.counters.received(message.kind);
        // A source that is not what the sender says: a NAT, or somebody else (RFC 5971, section 5.3.1). Responses and Data
        // with routing state are compared with more than that.
        let is_odd = message.source_addressing
            && message.nli.as_ref().is_some_and(|nli| nli.address != datagram.source.ip())
            && (message.kind == MessageType::Confirm || message.explicit_routing);
        if is_odd {
            return self.counters.add(Count::DroppedSource);
        }
        match message.kind {
            MessageType::Response => self.response(now, env, &message, origin),
            // One that belongs to an association must come over it (RFC 5971, section 5.5).
            MessageType::Confirm if message.stack_proposal.is_some() => {
                self.refuse(now, env, &message, GistError::IncorrectEncapsulation, origin);
            }
            MessageType::Confirm => {
                self.confirmed(now, env, &message, origin);
            }
            MessageType::Data => self.data(now, env, &message, origin),
            MessageType::Error => self.error(now, env, &message, origin),
            MessageType::Query | MessageType::Hello => {
                self.refuse(now, env, &message, GistError::IncorrectEncapsulation, origin);
            }
        }
    }

    /// ICMP says that a datagram of this node does not arrive. It counts only if it shows the session, which nobody off
    /// the path knows.
    pub fn unreachable(&mut self, now: Instant, env: &mut Env<'_>, report: &Unreachable<'_>) {
        if let Some((body, header)) = gist_message(report.payload) {
            // The datagram may be cut short: what can be read of it is in the rejection.
            let (sid, mri) = match Message::decode(body) {
                Ok(message) => (message.sid, message.mri.map(|m| m.encode_value())),
                Err(rejection) => (rejection.sid, rejection.mri),
            };
            if let (Some(sid), Some(mri)) = (sid, mri) {
                self.undeliverable(now, env, header, sid, &mri);
            }
        }
        self.carry_out_requests(now, env);
    }

    /// Refuses a message that was decoded.
    pub(super) fn refuse(&mut self, now: Instant, env: &Env<'_>, message: &Message, error: GistError, origin: Origin) {
        let is_stateless = matches!(error, GistError::NoRoutingState | GistError::IncorrectlyDelivered);
        self.counters.add(if error == GistError::IncorrectEncapsulation {
            Count::DroppedEncapsulation
        } else if is_stateless {
            Count::DroppedNoState
        } else if error == GistError::HopLimitExceeded {
            Count::DroppedHops
        } else {
            Count::DroppedRefused
        });
        self.reject(now, env, &Rejection::of(message, error), origin);
    }

    /// Refuses a message of which only the header was looked at.
    pub(super) fn refuse_bytes(&mut self, now: Instant, env: &Env<'_>, body: &[u8], error: GistError, origin: Origin) {
        let rejection = match Message::decode(body) {
            Ok(message) => Rejection::of(&message, error),
            Err(rejection) => Rejection { error, info: Vec::new(), ..*rejection },
        };
        self.reject(now, env, &rejection, origin);
    }
}

/// The message behind the magic number, and its header.
fn gist_message(payload: &[u8]) -> Option<(&[u8], CommonHeader)> {
    let body = payload.strip_prefix(&MAGIC)?;
    Some((body, CommonHeader::peek(body)?))
}

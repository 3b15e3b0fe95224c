//! Messages of applications: received, and sent once there is a peer (RFC 5971, section 4.3.2 and RFC 5971, section
//! 4.3.3).

use std::net::SocketAddr;

use crate::base::limits::GIST_DATAGRAM_BYTES_MAX;
use crate::base::time::Instant;
use crate::signaling::gist::api::{MessageStatus, ReceivedMessage, SendError, SiiHandle, TransferAttributes};
use crate::signaling::gist::receive::Origin;
use crate::signaling::gist::responder::is_from_endpoint;
use crate::signaling::gist::routing::{EntryId, Key, Level, Peer, Role, Status, Waiting};
use crate::signaling::gist::{Env, Gist};
use crate::signaling::io::DatagramOut;
use crate::wire::gist::error::GistError;
use crate::wire::gist::header::{MessageType, NslpId};
use crate::wire::gist::message::Message;

impl Gist {
    /// A Data message came: checks in the order of RFC 5971, section 4.3.2.
    pub(super) fn data(&mut self, now: Instant, env: &mut Env<'_>, message: &Message, origin: Origin) {
        let (Some(mri), Some(sid)) = (&message.mri, message.sid) else { return };
        // In D-mode the sender must say who it is, over an association it must not (RFC 5971, section 5.2.1).
        let wrong = match origin {
            Origin::Datagram { .. } if message.nli.is_none() => Some(GistError::MissingObject),
            Origin::Stream(_) if message.nli.is_some() => Some(GistError::InvalidObjectType),
            Origin::Datagram { .. } | Origin::Stream(_) => None,
        };
        if let Some(error) = wrong {
            return self.refuse(now, env, message, error, origin);
        }
        // 1. Sent past the routing table: the application is told that nothing was checked.
        if message.explicit_routing {
            return self.deliver(now, env, message, origin, true);
        }
        let found = self.table.find(&Key::new(&mri.inverted(), message.nslp, sid));
        let Some((id, entry)) = found.and_then(|id| Some((id, self.table.entry(id)?))) else {
            // 3. No state: the sender begins its handshake again.
            return self.refuse(now, env, message, GistError::NoRoutingState, origin);
        };
        let Some(peer) = &entry.peer else {
            // Before the Confirm there is no state yet (RFC 5972, section 6).
            return self.refuse(now, env, message, GistError::NoRoutingState, origin);
        };
        match origin {
            // 2. The association must be that of this flow and session.
            Origin::Stream(stream) if entry.association != Some(stream) => {
                return self.refuse(now, env, message, GistError::IncorrectlyDelivered, origin);
            }
            // Somebody else has no state for this.
            Origin::Datagram { source, .. } if source.ip() != peer.address => {
                return self.refuse(now, env, message, GistError::NoRoutingState, origin);
            }
            Origin::Stream(_) | Origin::Datagram { .. } => {}
        }
        // 4. It belongs here.
        self.touch(now, id);
        self.deliver(now, env, message, origin, false);
    }

    /// Hands a message's payload to its application.
    pub(super) fn deliver(
        &mut self,
        now: Instant,
        env: &mut Env<'_>,
        message: &Message,
        origin: Origin,
        is_unvalidated: bool,
    ) {
        let (Some(mri), Some(sid), Some(data)) = (&message.mri, message.sid, &message.nslp_data) else { return };
        let found = self.table.find(&Key::new(&mri.inverted(), message.nslp, sid));
        let entry_peer = found.and_then(|id| self.table.entry(id)?.peer.clone()).filter(|_| !is_unvalidated);
        let named = message.nli.as_ref().map(|n| SiiHandle { identity: n.peer_identity.clone(), address: n.address });
        let association = origin.stream().and_then(|s| self.associations.get(s));
        let sii = entry_peer.as_ref().map(Peer::sii).or(named).or_else(|| association.and_then(|a| a.sii()));
        let is_secure = association.is_some_and(|a| a.is_secure());
        let (ip_ttl, interface) = match origin {
            Origin::Datagram { ttl, interface, .. } => (ttl, interface),
            Origin::Stream(_) => (None, entry_peer.as_ref().map_or(0, |p| p.interface)),
        };
        let received = ReceivedMessage {
            data,
            sid,
            mri,
            attributes: TransferAttributes { reliable: association.is_some(), secure: is_secure },
            peer_key: association.and_then(|a| a.peer_key()),
            is_unvalidated,
            is_address_validated: entry_peer.is_some(),
            is_from_endpoint: entry_peer.as_ref().is_some_and(|p| is_from_endpoint(mri, p)),
            ip_ttl,
            ip_distance: entry_peer.as_ref().map_or(0, |p| p.distance),
            hops: message.hops.saturating_sub(1),
            interface,
            sii,
        };
        let mut requests = Vec::new();
        if let Some(nslp) = env.nslp(message.nslp) {
            nslp.receive(now, &received, &mut requests);
        }
        for request in requests {
            self.queue_request(message.nslp, request);
        }
    }

    /// A message of a session keeps its state wanted.
    pub(super) fn touch(&mut self, now: Instant, id: EntryId) {
        let until = now + self.config.inactivity;
        if let Some(querier) = self.table.entry_mut(id).and_then(|e| e.querier_mut())
            && querier.wanted_until < until
        {
            querier.wanted_until = until;
            self.rearm(id);
        }
    }

    /// Sends what waits and can go; looks for a peer, or for an association, for the rest.
    pub(super) fn pump(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId) {
        let Some(entry) = self.table.entry(id) else { return };
        let (nslp, is_querier) = (entry.key.nslp, matches!(entry.role, Role::Querier(_)));
        let Some(peer) = entry.peer.clone().filter(|_| entry.status != Status::Bad) else {
            if is_querier {
                self.start_search(now, env, id);
            }
            return;
        };
        let stream = entry.association;
        let open = stream.filter(|s| self.is_usable(*s));
        let level = open.map_or(Level::Datagram, |s| self.level_of(s));
        // A Confirm goes before all else, so datagrams wait for it too (RFC 5971, section 4.4.1).
        let is_opening = stream.is_some() && open.is_none();
        while !is_opening && let Some(m) = self.table.unqueue(id, |w| Level::of(w.attributes) <= level) {
            let handle = m.handle;
            let status = match self.send_data(now, id, nslp, m, &peer, open) {
                Ok(attributes) => MessageStatus::Sent(attributes),
                Err(why) => MessageStatus::Failed(why),
            };
            self.tell_status(now, env, nslp, handle, status);
        }
        let Some(entry) = self.table.entry(id) else { return };
        if entry.waiting.is_empty() || is_opening {
            return;
        }
        // What is left needs an association that is not there. Only a querier can make one.
        if is_querier {
            self.start_search(now, env, id);
        } else {
            self.fail_waiting(now, env, id, SendError::NoTransport);
        }
    }

    fn send_data(
        &mut self,
        now: Instant,
        id: EntryId,
        nslp: NslpId,
        waiting: Waiting,
        peer: &Peer,
        open: Option<crate::signaling::io::StreamId>,
    ) -> Result<TransferAttributes, SendError> {
        let Some(entry) = self.table.entry(id) else { return Err(SendError::NoRoutingState) };
        let mut message = Message::new(MessageType::Data, nslp);
        message.hops = waiting.hops.unwrap_or(1);
        message.mri = Some(entry.mri.clone());
        message.sid = Some(entry.key.sid);
        message.nslp_data = Some(waiting.data);
        if let Some(stream) = open {
            let secure = self.level_of(stream) == Level::Secure;
            let was_sent = self.send_over(now, stream, &message);
            return was_sent
                .then_some(TransferAttributes { reliable: true, secure })
                .ok_or(SendError::AssociationFailed);
        }
        self.send_data_datagram(now, message, peer, waiting.ip_ttl)
    }

    /// Sends Data in D-mode, if it fits.
    pub(super) fn send_data_datagram(
        &mut self,
        now: Instant,
        mut message: Message,
        peer: &Peer,
        ip_ttl: Option<u8>,
    ) -> Result<TransferAttributes, SendError> {
        // The TTL in the header downstream; upstream the hops to the peer (RFC 5971, appendix A.3.3).
        let is_downstream = message.mri.as_ref().is_some_and(|m| m.is_downstream());
        let nli_ttl = if is_downstream { ip_ttl.unwrap_or(0) } else { peer.distance };
        message.nli = Some(self.own_nli(peer.local, nli_ttl));
        // Without knowledge of the path's MTU no message may be larger (RFC 5971, section 4.3.3).
        let got_bytes = message.nslp_data.as_ref().map_or(0, Vec::len);
        let excess = message.encode().len().saturating_sub(GIST_DATAGRAM_BYTES_MAX);
        if excess > 0 {
            let max_bytes = got_bytes.next_multiple_of(4).saturating_sub(excess);
            return Err(SendError::TooLarge { got_bytes, max_bytes });
        }
        let datagram = DatagramOut { ttl: ip_ttl, ..self.datagram_to(peer) };
        let was_sent = self.send_datagram(now, &message, datagram);
        was_sent.then_some(TransferAttributes::default()).ok_or(SendError::QueueFull)
    }

    /// Normal D-mode to a peer (RFC 5971, section 5.3.1).
    pub(super) fn datagram_to(&self, peer: &Peer) -> DatagramOut {
        DatagramOut {
            source: Some(peer.local),
            source_port: 0,
            destination: SocketAddr::new(peer.address, peer.port),
            ttl: None,
            router_alert: None,
            dscp: None,
            flow_label: None,
            payload: Vec::new(),
        }
    }
}

//! What happens on streams (RFC 5971, section 5.4 and RFC 5971, section 5.7).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::base::limits::{GIST_HOLD_TIME_MIN, GIST_STREAM_MESSAGE_BYTES_MAX, GIST_UNIDENTIFIED_MAX};
use crate::base::time::Instant;
use crate::signaling::gist::api::NetworkNotification;
use crate::signaling::gist::association::{Association, Stage};
use crate::signaling::gist::config::PeerRule;
use crate::signaling::gist::receive::Origin;
use crate::signaling::gist::routing::EntryId;
use crate::signaling::gist::stats::Count;
use crate::signaling::gist::{Env, Gist};
use crate::signaling::io::{PeerKey, SocketOutput, StreamEvent, StreamId, StreamSecurity};
use crate::wire::gist::error::GistError;
use crate::wire::gist::header::{CommonHeader, MessageType, NslpId};
use crate::wire::gist::message::{Message, frame};
use crate::wire::gist::stack::StackConfiguration;

impl Gist {
    /// Something happened to a stream.
    pub fn stream(&mut self, now: Instant, env: &mut Env<'_>, stream: StreamId, event: StreamEvent<'_>) {
        match event {
            StreamEvent::Accepted { from, security, peer_key, .. } => {
                self.accepted(now, stream, from, security, peer_key);
            }
            StreamEvent::Connected { peer_key, .. } => self.connected(now, env, stream, peer_key),
            StreamEvent::Received(bytes) => self.received(now, env, stream, bytes),
            StreamEvent::Closed { .. } => self.association_failed_or_over(now, env, stream),
        }
        self.carry_out_requests(now, env);
    }

    fn accepted(
        &mut self,
        now: Instant,
        stream: StreamId,
        from: SocketAddr,
        security: StreamSecurity,
        peer_key: Option<PeerKey>,
    ) {
        let is_allowed = security == StreamSecurity::Plain || self.config.allows(peer_key);
        let has_room =
            self.associations.has_room(from.ip()) && self.associations.unidentified() < GIST_UNIDENTIFIED_MAX;
        if !is_allowed || !has_room || self.associations.get(stream).is_some() {
            self.counters.add(Count::DroppedRefused);
            self.outputs.push_back(SocketOutput::Close { stream });
            return;
        }
        let association = Association {
            stage: Stage::Unidentified,
            security,
            peer_key,
            remote: from.ip(),
            peer: None,
            users: BTreeSet::new(),
            buffer: Vec::new(),
            peer_hold: self.config.hold_time.max(GIST_HOLD_TIME_MIN),
            received_at: now,
            hello_at: None,
            asked_at: None,
            armed: None,
        };
        self.associations.add(stream, association);
        self.rearm_association(stream);
    }

    /// A stream that this node opened is ready: the Confirms that wait for it go first (RFC 5971, section 4.4.1).
    fn connected(&mut self, now: Instant, env: &mut Env<'_>, stream: StreamId, peer_key: Option<PeerKey>) {
        let Some(association) = self.associations.get_mut(stream).filter(|a| a.stage == Stage::Opening) else { return };
        association.peer_key = peer_key;
        if association.is_secure() && !self.config.allows(peer_key) {
            self.counters.add(Count::AssociationsFailed);
            self.outputs.push_back(SocketOutput::Close { stream });
            return self.drop_association(now, env, stream, Some(NetworkNotification::AuthorisationChanged));
        }
        association.stage = Stage::Open;
        association.received_at = now;
        let users: Vec<EntryId> = association.users.iter().copied().collect();
        self.counters.add(Count::AssociationsOpened);
        let mut is_first = true;
        for id in &users {
            let Some(confirm) = self.table.entry_mut(*id).and_then(|e| e.querier_mut()?.confirm.take()) else {
                continue;
            };
            let mut confirm = *confirm;
            // The first Confirm repeats the hold time; the others need not (RFC 5971, section 4.4.1).
            if is_first {
                let hold_time_ms = self.hold_time_ms();
                confirm.stack_configuration = Some(StackConfiguration { hold_time_ms, options: Vec::new() });
                is_first = false;
            }
            self.send_over(now, stream, &confirm);
        }
        for id in users {
            self.pump(now, env, id);
            self.rearm(id);
        }
        self.rearm_association(stream);
    }

    /// The authorised peer database changed: associations that it no longer allows end (RFC 5971, section 4.4.2).
    pub fn set_peers(&mut self, now: Instant, env: &mut Env<'_>, peers: Vec<PeerRule>) {
        self.config.peers = peers;
        for (stream, key) in self.associations.secure() {
            if !self.config.allows(key) {
                self.outputs.push_back(SocketOutput::Close { stream });
                self.drop_association(now, env, stream, Some(NetworkNotification::AuthorisationChanged));
            }
        }
        self.carry_out_requests(now, env);
    }

    fn association_failed_or_over(&mut self, now: Instant, env: &mut Env<'_>, stream: StreamId) {
        // One that nobody used may end without anybody being told.
        if self.associations.get(stream).is_some_and(|a| a.users.is_empty()) {
            self.drop_association(now, env, stream, None);
        } else if self.associations.get(stream).is_some() {
            self.association_failed(now, env, stream);
        }
    }

    fn received(&mut self, now: Instant, env: &mut Env<'_>, stream: StreamId, bytes: &[u8]) {
        let Some(association) = self.associations.get_mut(stream).filter(|a| a.stage != Stage::Opening) else { return };
        // Whoever does not say who it is has no more time for sending it bit by bit.
        if association.stage != Stage::Unidentified {
            association.received_at = now;
            association.asked_at = None;
        }
        association.buffer.extend_from_slice(bytes);
        let mut buffer = std::mem::take(&mut association.buffer);
        let mut taken = 0;
        // Each turn takes at least a header's bytes out of the buffer.
        loop {
            let rest = &buffer[taken..];
            let is_too_long =
                CommonHeader::peek(rest).is_some_and(|h| h.message_bytes() > GIST_STREAM_MESSAGE_BYTES_MAX);
            let whole = match frame(rest) {
                // Nobody knows where the next message begins: the stream is of no use any more.
                Err(_) => return self.broken_stream(now, env, stream, rest),
                Ok(_) if is_too_long => return self.broken_stream(now, env, stream, rest),
                Ok(None) => break,
                Ok(Some(len)) => len,
            };
            let message = &buffer[taken..taken + whole];
            taken += whole;
            self.stream_message(now, env, stream, message);
            if self.associations.get(stream).is_none() {
                return;
            }
        }
        buffer.drain(..taken);
        if let Some(association) = self.associations.get_mut(stream) {
            association.buffer = buffer;
        }
        self.rearm_association(stream);
    }

    /// Nobody knows any more where messages begin.
    fn broken_stream(&mut self, now: Instant, env: &mut Env<'_>, stream: StreamId, rest: &[u8]) {
        self.counters.add(Count::DroppedMalformed);
        // The decoder says what is wrong with the header, which is all that an answer needs.
        if let Err(rejection) = Message::decode(&rest[..rest.len().min(GIST_STREAM_MESSAGE_BYTES_MAX)]) {
            self.reject(now, env, &rejection, Origin::Stream(stream));
        }
        self.outputs.push_back(SocketOutput::Close { stream });
        self.association_failed(now, env, stream);
    }

    fn stream_message(&mut self, now: Instant, env: &mut Env<'_>, stream: StreamId, bytes: &[u8]) {
        let origin = Origin::Stream(stream);
        let Some(header) = CommonHeader::peek(bytes) else { return };
        if header.hops == 0 {
            return self.refuse_bytes(now, env, bytes, GistError::HopLimitExceeded, origin);
        }
        let is_own = header.nslp == NslpId::GIST
            && matches!(header.message_type(), Some(MessageType::Error | MessageType::Hello));
        if !is_own && !env.hosts(header.nslp) {
            self.counters.add(Count::DroppedUnknownNslp);
            return self.refuse_bytes(now, env, bytes, GistError::UnknownNslpId, origin);
        }
        let message = match Message::decode(bytes) {
            Ok(message) => message,
            Err(rejection) => {
                self.counters.add(Count::DroppedMalformed);
                return self.reject(now, env, &rejection, origin);
            }
        };
        self.counters.received(message.kind);
        if self.is_unidentified(stream) {
            return self.first_message(now, env, stream, &message);
        }
        match message.kind {
            MessageType::Response => self.response(now, env, &message, origin),
            MessageType::Confirm => {
                self.stream_confirm(now, env, &message, stream);
            }
            MessageType::Data => self.data(now, env, &message, origin),
            MessageType::Error => self.error(now, env, &message, origin),
            MessageType::Hello => self.hello(now, stream, &message),
            MessageType::Query => self.refuse(now, env, &message, GistError::IncorrectEncapsulation, origin),
        }
    }

    /// The first message over a new association must be a Confirm with all that it needs; else the association ends
    /// (RFC 5971, section 4.4.1).
    fn first_message(&mut self, now: Instant, env: &mut Env<'_>, stream: StreamId, message: &Message) {
        let origin = Origin::Stream(stream);
        let is_good = match message.kind {
            MessageType::Confirm if message.stack_configuration.is_none() => {
                self.refuse(now, env, message, GistError::MissingObject, origin);
                false
            }
            MessageType::Confirm => self.stream_confirm(now, env, message, stream),
            MessageType::Query
            | MessageType::Response
            | MessageType::Data
            | MessageType::Error
            | MessageType::Hello => {
                self.refuse(now, env, message, GistError::IncorrectlyDelivered, origin);
                false
            }
        };
        if is_good {
            self.counters.add(Count::AssociationsOpened);
        } else {
            self.outputs.push_back(SocketOutput::Close { stream });
            self.association_failed(now, env, stream);
        }
    }

    fn stream_confirm(&mut self, now: Instant, env: &mut Env<'_>, message: &Message, stream: StreamId) -> bool {
        let Some(nli) = &message.nli else { return false };
        let peer = (nli.peer_identity.clone(), nli.address);
        // An association has one peer.
        if self.associations.get(stream).and_then(|a| a.peer.as_ref()).is_some_and(|known| *known != peer) {
            self.refuse(now, env, message, GistError::IncorrectlyDelivered, Origin::Stream(stream));
            return false;
        }
        self.confirmed(now, env, message, Origin::Stream(stream))
    }

    /// A Confirm with a good cookie came over an association: now it is known who is at the other end. The hold time in
    /// it counts, not that of the Query.
    pub(super) fn identified(&mut self, now: Instant, stream: StreamId, confirm: &Message) {
        let Some(nli) = &confirm.nli else { return };
        self.associations.identify(stream, (nli.peer_identity.clone(), nli.address));
        let Some(association) = self.associations.get_mut(stream) else { return };
        association.received_at = now;
        if let Some(configuration) = &confirm.stack_configuration {
            let hold = Duration::from_millis(u64::from(configuration.hold_time_ms));
            association.peer_hold = hold.max(GIST_HOLD_TIME_MIN);
            self.schedule_hello(now, stream);
        }
    }

    /// MA-Hello: one that asks is answered with the same number (RFC 5971, section 4.4.5).
    fn hello(&mut self, now: Instant, stream: StreamId, message: &Message) {
        if message.reply_requested {
            let mut reply = Message::new(MessageType::Hello, NslpId::GIST);
            reply.hello_id = message.hello_id;
            self.send_over(now, stream, &reply);
        }
    }
}

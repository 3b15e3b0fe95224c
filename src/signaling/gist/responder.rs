//! The responder: answers Queries, with or without keeping state (RFC 5971, section 4.4.1 and RFC 5971, section 6.3).

use std::time::Duration;

use crate::base::limits::{GIST_COOKIE_BYTES_MAX, GIST_RESPONSE_RETRIES_MAX};
use crate::base::stats::DropReason;
use crate::base::time::Instant;
use crate::signaling::gist::api::{NetworkNotification, Peering, ReceivedMessage, SendError, TransferAttributes};
use crate::signaling::gist::cookie::QueryFacts;
use crate::signaling::gist::querier::UPSTREAM_TTL;
use crate::signaling::gist::receive::{Arrival, Origin};
use crate::signaling::gist::routing::{EntryId, Key, Peer, Pending, Role, Status};
use crate::signaling::gist::stats::Count;
use crate::signaling::gist::{Env, Gist, Interception};
use crate::signaling::io::StreamId;
use crate::wire::gist::error::GistError;
use crate::wire::gist::header::{HEADER_BYTES, MAGIC, MessageType};
use crate::wire::gist::message::Message;
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::kind;
use crate::wire::tlv;

/// A Query whose objects are all there.
struct Asked<'a> {
    message: &'a Message,
    /// As this node sends it.
    mri: Mri,
    key: Key,
    peer: Peer,
    found: Option<EntryId>,
}

impl Gist {
    /// A Query for an application of this node came.
    pub(super) fn query(
        &mut self,
        now: Instant,
        env: &mut Env<'_>,
        message: &Message,
        arrival: &Arrival<'_>,
    ) -> Interception {
        let (Some(mri), Some(sid), Some(nli)) = (&message.mri, message.sid, &message.nli) else {
            return Interception::Drop(DropReason::SignalingMalformed);
        };
        // This node's own Query, come back: no reason to talk to itself.
        if nli.peer_identity == self.config.identity {
            self.counters.add(Count::DroppedRefused);
            let own = DropReason::SignalingRefused;
            return if arrival.is_local { Interception::Drop(own) } else { Interception::Forward };
        }
        if let Some(error) = self.query_fault(env, message, arrival) {
            return self.refuse_query(now, env, message, error, arrival);
        }
        // IP hops to a peer upstream: what it put into the header, less what is left (RFC 5971, appendix A.3.3).
        let sent_ttl = if mri.is_downstream() { nli.ip_ttl } else { UPSTREAM_TTL };
        let distance = match arrival.datagram.ttl {
            Some(ttl) if sent_ttl > 0 => sent_ttl.saturating_sub(ttl),
            Some(_) | None => 0,
        };
        let Some(local) = env.paths.source_for(nli.address) else {
            self.counters.add(Count::DroppedRefused);
            return Interception::Drop(DropReason::SignalingRefused);
        };
        let peer = Peer {
            identity: nli.peer_identity.clone(),
            address: nli.address,
            port: arrival.datagram.source.port(),
            local,
            interface: arrival.datagram.interface,
            distance,
        };
        let mri = mri.inverted();
        let key = Key::new(&mri, message.nslp, sid);
        let found = self.table.find(&key);
        let is_known = found
            .and_then(|id| self.table.entry(id)?.peer.as_ref())
            .is_some_and(|p| p.is(&peer) && p.port == peer.port);
        // Those that are known already must not suffer when others ask too much.
        if !is_known && !self.queries.take(now, 1) {
            self.counters.add(Count::DroppedIntake);
            // At the end of its way it cannot go on, and to say that nobody is here would be wrong: it will be repeated.
            if arrival.is_local {
                return Interception::Drop(DropReason::SignalingLimited);
            }
            return self.pass_on(now, env, message, arrival, None);
        }
        let asked = Asked { message, mri, key, peer, found };
        match self.check_peering(now, env, &asked, arrival) {
            Peering::Accept(payload) => {
                if is_known {
                    self.answer_known(now, env, &asked, payload);
                } else {
                    self.answer_new(now, &asked, payload);
                }
                Interception::Consumed
            }
            Peering::Decline(payload) => self.pass_on(now, env, message, arrival, payload),
        }
    }

    fn check_peering(&self, now: Instant, env: &mut Env<'_>, asked: &Asked<'_>, arrival: &Arrival<'_>) -> Peering {
        let Asked { message, peer, .. } = asked;
        let Some(mri) = &message.mri else { return Peering::Decline(None) };
        let received = ReceivedMessage {
            data: message.nslp_data.as_deref().unwrap_or_default(),
            sid: asked.key.sid,
            mri,
            sii: Some(peer.sii()),
            attributes: TransferAttributes::default(),
            peer_key: None,
            is_unvalidated: true,
            is_address_validated: false,
            is_from_endpoint: is_from_endpoint(mri, peer),
            ip_ttl: arrival.datagram.ttl,
            ip_distance: peer.distance,
            hops: arrival.hops,
            interface: peer.interface,
        };
        env.nslp(message.nslp).map_or(Peering::Decline(None), |n| n.check_peering(now, &received))
    }

    fn response_to(&mut self, asked: &Asked<'_>, payload: Option<Vec<u8>>) -> Message {
        let mut response = Message::new(MessageType::Response, asked.key.nslp);
        response.hops = 1;
        // What NATs left behind goes back first (RFC 5971, section 7.2.2).
        response.nat_traversal = asked.message.nat_traversal.clone();
        response.mri = Some(asked.mri.clone());
        response.sid = Some(asked.key.sid);
        let distance = if asked.mri.is_downstream() { 0 } else { asked.peer.distance };
        response.nli = Some(self.own_nli(asked.peer.local, distance));
        response.query_cookie = asked.message.query_cookie.clone();
        response.nslp_data = payload;
        response
    }

    /// Adds what asks for a Confirm.
    fn ask_confirm(&mut self, now: Instant, asked: &Asked<'_>, response: &mut Message) {
        let facts =
            QueryFacts { port: asked.peer.port, interface: asked.peer.interface, distance: asked.peer.distance };
        let of = (&asked.peer.identity, asked.peer.address, &asked.key);
        response.responder_cookie = Some(self.cookies.make(now, &mut self.rng, facts, of));
        response.reply_requested = true;
    }

    /// A refresh by the confirmed peer: its state lives on at once. A Confirm is asked for only if an association is to
    /// be made.
    fn answer_known(&mut self, now: Instant, env: &mut Env<'_>, asked: &Asked<'_>, payload: Option<Vec<u8>>) {
        let Some(id) = asked.found else { return };
        let Some(entry) = self.table.entry(id) else { return };
        let wants_stream = asked.message.stack_proposal.is_some();
        let stream = entry.association.filter(|s| self.is_usable(*s));
        let reuse = stream.or_else(|| self.reusable(asked.message, &asked.peer));
        let expires_at = now + self.expiry();
        self.table.change(id, |entry| {
            entry.peer = Some(asked.peer.clone());
            entry.status = Status::Good;
            if let Some(responder) = entry.responder_mut() {
                responder.expires_at = Some(expires_at);
            }
        });
        let mut response = self.response_to(asked, payload);
        response.reply_requested = false;
        match reuse.filter(|_| wants_stream) {
            Some(reuse) if stream == Some(reuse) => {
                self.send_over(now, reuse, &response);
            }
            Some(reuse) => return self.answer_pending(now, asked, response, Some(reuse), id),
            None if wants_stream && self.offers() => return self.answer_pending(now, asked, response, None, id),
            None => {
                self.send_datagram(now, &response, self.datagram_to(&asked.peer));
            }
        }
        self.pump(now, env, id);
        self.rearm(id);
    }

    /// A Query of a peer that is not confirmed.
    fn answer_new(&mut self, now: Instant, asked: &Asked<'_>, payload: Option<Vec<u8>>) {
        let response = self.response_to(asked, payload);
        let stream = self.reusable(asked.message, &asked.peer);
        let is_large = asked.message.nat_traversal.is_some() && asked.message.encode().len() > QUERY_KEPT_BYTES_MAX;
        let is_stateless = self.config.delayed_installation || self.table.is_under_load() || is_large;
        let found = asked.found.or_else(|| {
            let role = Role::Responder(Box::default());
            if is_stateless { None } else { self.table.add(asked.key.clone(), asked.mri.clone(), role) }
        });
        match found {
            Some(id) => self.answer_pending(now, asked, response, stream, id),
            None => {
                self.counters.add(Count::AnsweredStateless);
                let mut response = response;
                self.complete_response(now, asked, &mut response, stream);
                self.send_response(now, &asked.peer, stream, &response);
            }
        }
    }

    fn complete_response(&mut self, now: Instant, asked: &Asked<'_>, response: &mut Message, stream: Option<StreamId>) {
        self.ask_confirm(now, asked, response);
        // Over an association that is there already nothing is proposed (RFC 5971, section 4.4.3).
        if stream.is_none() && asked.message.stack_proposal.is_some() {
            (response.stack_proposal, response.stack_configuration) = self.response_offer();
        }
    }

    fn send_response(&mut self, now: Instant, peer: &Peer, stream: Option<StreamId>, response: &Message) {
        match stream {
            Some(stream) => self.send_over(now, stream, response),
            None => self.send_datagram(now, response, self.datagram_to(peer)),
        };
    }

    /// Answers, and remembers the answer until the Confirm comes. What was confirmed before stays until then.
    fn answer_pending(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        mut response: Message,
        stream: Option<StreamId>,
        id: EntryId,
    ) {
        self.complete_response(now, asked, &mut response, stream);
        self.send_response(now, &asked.peer, stream, &response);
        let t1 = self.config.t1;
        let pending = Pending {
            peer: asked.peer.clone(),
            response,
            stream,
            wait: t1,
            retry_at: now + t1,
            retries_left: GIST_RESPONSE_RETRIES_MAX,
        };
        // A querier for the same direction goes on: whichever handshake ends first counts.
        if let Some(responder) = self.table.entry_mut(id).and_then(|e| e.responder_mut()) {
            // A repeated Query does not start the repetition of the Response anew.
            let was = responder.pending.take().filter(|p| p.peer.is(&pending.peer));
            let kept = was.map(|p| (p.wait, p.retry_at, p.retries_left));
            let (wait, retry_at, retries_left) = kept.unwrap_or((pending.wait, pending.retry_at, pending.retries_left));
            responder.pending = Some(Box::new(Pending { wait, retry_at, retries_left, ..pending }));
        }
        self.rearm(id);
    }

    /// Something of a responder is due: its Response must be repeated, or its state forgotten.
    pub(super) fn responder_due(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId) {
        let (t2, mut again) = (self.config.t2, None);
        let mut is_over = false;
        self.table.change(id, |entry| {
            let has_peer = entry.peer.is_some();
            let Role::Responder(responder) = &mut entry.role else { return };
            is_over = responder.expires_at.is_some_and(|at| at <= now);
            let Some(pending) = responder.pending.as_mut().filter(|p| p.retry_at <= now) else { return };
            if pending.retries_left > 0 && pending.wait * 2 <= t2 {
                pending.retries_left -= 1;
                pending.wait *= 2;
                pending.retry_at = now + pending.wait;
                again = Some((pending.peer.clone(), pending.stream, pending.response.clone()));
            } else {
                responder.pending = None;
                is_over |= !has_peer;
            }
        });
        if is_over {
            let names = self.table.entry(id).filter(|e| e.peer.is_some()).map(|e| e.names());
            self.fail_waiting(now, env, id, SendError::NoRoutingState);
            self.remove_entry(now, id);
            if let Some(names) = names {
                self.notify(now, env, &names, &NetworkNotification::RoutingBad);
            }
            return;
        }
        if let Some((peer, stream, response)) = again {
            self.send_response(now, &peer, stream, &response);
        }
        self.rearm(id);
    }

    /// The application does not want to be the peer: the Query goes on, if it can.
    fn pass_on(
        &mut self,
        now: Instant,
        env: &Env<'_>,
        message: &Message,
        arrival: &Arrival<'_>,
        payload: Option<Vec<u8>>,
    ) -> Interception {
        let origin = Origin::of(arrival.datagram, true);
        if arrival.is_local {
            self.refuse(now, env, message, GistError::EndpointFound, origin);
            return Interception::Consumed;
        }
        if arrival.hops == 0 {
            self.refuse(now, env, message, GistError::HopLimitExceeded, origin);
            return Interception::Drop(DropReason::SignalingRefused);
        }
        self.counters.add(Count::Relayed);
        let Some(payload) = payload else { return Interception::Relay { hops: arrival.hops } };
        Interception::Replace(with_payload(arrival.datagram.payload, arrival.hops, &payload))
    }

    fn refuse_query(
        &mut self,
        now: Instant,
        env: &Env<'_>,
        message: &Message,
        error: GistError,
        arrival: &Arrival<'_>,
    ) -> Interception {
        self.refuse(now, env, message, error, Origin::of(arrival.datagram, true));
        Interception::Drop(DropReason::SignalingRefused)
    }

    /// How long a responder keeps state without a Query.
    pub(super) fn expiry(&self) -> Duration {
        Duration::from_millis(u64::from(self.validity_ms()))
    }

    /// What speaks against a Query (RFC 5971, section 5.3.1, RFC 5971, section 5.8.1 and RFC 5971, section 7.2.1).
    fn query_fault(&self, env: &Env<'_>, message: &Message, arrival: &Arrival<'_>) -> Option<GistError> {
        let (mri, nli) = (message.mri.as_ref()?, message.nli.as_ref()?);
        let source = arrival.datagram.source.ip();
        // The packet and the flow must be of one IP version.
        if mri.source().is_ipv4() != source.is_ipv4() || nli.address.is_ipv4() != source.is_ipv4() {
            return Some(GistError::IpVersionMismatch);
        }
        // A NAT that knows nothing of GIST changed the source address.
        if message.source_addressing && nli.address != source {
            return Some(GistError::UntranslatedObject);
        }
        // One that knows GIST must have translated all that has addresses in it (RFC 5971, section 7.2.3).
        let is_translated = |kind| {
            message
                .nat_traversal
                .as_ref()
                .is_none_or(|nat| nat.translated.iter().any(|head| head & tlv::KIND_MASK == kind))
        };
        if !is_translated(kind::MRI) || !is_translated(kind::NLI) {
            return Some(GistError::UntranslatedObject);
        }
        // The ends of a flow are single machines (RFC 5971, section 5.8.1.1).
        if [mri.source(), mri.destination()].iter().any(|end| end.is_unspecified() || end.is_multicast()) {
            return Some(GistError::ValueNotSupported);
        }
        match mri {
            // A flow whose end is not known cannot be followed.
            Mri::PathCoupled(f) if f.destination_prefix == 0 || f.source_prefix == 0 => Some(GistError::MriTooWild),
            // Sent with 255, and at most one hop away.
            Mri::PathCoupled(_) if !mri.is_downstream() && arrival.datagram.ttl.is_some_and(|ttl| ttl < 254) => {
                Some(GistError::InvalidIpTtl)
            }
            // A flow of this node does not come in from outside.
            Mri::PathCoupled(_)
                if mri.is_downstream() && env.paths.is_local(mri.source()) && !env.paths.is_local(source) =>
            {
                Some(GistError::IngressFilterFailure)
            }
            Mri::PathCoupled(_) => None,
            // Only towards the edge is there a Q-mode encapsulation (RFC 5971, section 5.8.2.2).
            Mri::LooseEnd(_) if !mri.is_downstream() => Some(GistError::IncorrectEncapsulation),
            Mri::LooseEnd(_) => None,
        }
        .or_else(|| {
            let longest = message.query_cookie.as_ref().map_or(0, |c| c.0.len());
            (longest > GIST_COOKIE_BYTES_MAX).then_some(GistError::ValueNotSupported)
        })
    }
}

/// The same Query with another payload: only this, the length and the hop count may change (RFC 5971, section 4.3.2),
/// so the other objects stay as they came.
fn with_payload(datagram: &[u8], hops: u8, payload: &[u8]) -> Vec<u8> {
    let front = MAGIC.len() + HEADER_BYTES;
    let (head, mut rest) = datagram.split_at(front.min(datagram.len()));
    let mut out = head.to_vec();
    let mut object = Vec::new();
    tlv::write(&mut object, kind::NSLP_DATA, payload);
    while let Some([high, low, words_high, words_low]) = rest.first_chunk::<4>().copied() {
        let len = 4 + 4 * usize::from(u16::from_be_bytes([words_high, words_low]) & 0x0fff);
        let (this, behind) = rest.split_at(len.min(rest.len()));
        rest = behind;
        if u16::from_be_bytes([high, low]) & 0x0fff == kind::NSLP_DATA {
            out.append(&mut object);
        } else {
            out.extend_from_slice(this);
        }
    }
    out.append(&mut object);
    let words = u16::try_from((out.len() - head.len()) / 4).unwrap_or(u16::MAX);
    if let Some(header) = out.get_mut(MAGIC.len()..front) {
        header[1] = hops;
        header[2..4].copy_from_slice(&words.to_be_bytes());
    }
    out
}

/// Bytes of a Query with a NAT-Traversal object up to which its answer is remembered, to be repeated: what fits in a
/// packet.
const QUERY_KEPT_BYTES_MAX: usize = 1_500;

/// Whether the peer is where the flow begins, or for messages against it where it ends.
pub(super) fn is_from_endpoint(mri: &Mri, peer: &Peer) -> bool {
    peer.address == if mri.is_downstream() { mri.source() } else { mri.destination() }
}

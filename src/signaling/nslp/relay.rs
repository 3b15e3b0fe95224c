//! The way back: answers and notifications, of this node and of those behind it, towards the initiator.

use std::time::Duration;

use crate::base::limits::{
    NSLP_RESEND_FIRST, NSLP_RESEND_MAX, NSLP_RESENDS_MAX, NSLP_SEEN_MAX, NSLP_UNACKED_BYTES_MAX, NSLP_UNACKED_MAX,
};
use crate::base::time::Instant;
use crate::signaling::gist::api::ReceivedMessage;
use crate::signaling::nslp::machine::{NetservNslp, bytes_max};
use crate::signaling::nslp::session::{Forward, SessionId, SessionKey, Unacked};
use crate::wire::gist::mri::Mri;
use crate::wire::nslp::answer::Answer;
use crate::wire::nslp::message::{AnswerPart, Message, Place};
use crate::wire::nslp::request::Nonce;

/// How long to wait for an acknowledgement of a datagram that was sent again so often.
pub(super) fn resend_wait(resends: u32) -> Duration {
    (NSLP_RESEND_FIRST * 2u32.saturating_pow(resends.min(NSLP_RESENDS_MAX))).min(NSLP_RESEND_MAX)
}

impl NetservNslp {
    /// An answer on its way to the initiator: of this node's own order, or to be passed on.
    pub(super) fn receive_answer(
        &mut self,
        now: Instant,
        from: &ReceivedMessage<'_>,
        mut part: AnswerPart,
        is_response: bool,
    ) {
        // GIST tells the direction in which the message goes; the session's is that of the requests.
        let mri = from.mri.inverted();
        let key = SessionKey::new(from.sid, &mri);
        self.acknowledge(&key, &mri, part.sequence);
        if let Some(order) = self.order_by_key.get(&key).copied() {
            self.take_answer(now, order, part, is_response);
            return;
        }
        let (nonce, hop) = (part.answer.nonce, part.answer.hop);
        let Some((id, rtt_us)) = self.relay(&key, nonce, hop, part.sequence) else { return };
        part.answer.hop_rtt_us = part.answer.hop_rtt_us.or(rtt_us);
        let message = if is_response { Message::Response(part) } else { Message::Notify(part) };
        self.send_up(now, id, message, None);
        self.touch(now, id);
    }

    pub(super) fn receive_place(&mut self, now: Instant, from: &ReceivedMessage<'_>, mut place: Place) {
        let mri = from.mri.inverted();
        let key = SessionKey::new(from.sid, &mri);
        self.acknowledge(&key, &mri, place.sequence);
        if let Some(order) = self.order_by_key.get(&key).copied() {
            self.take_place(now, order, place);
            return;
        }
        let Some((id, rtt_us)) = self.relay(&key, place.nonce, place.hop, place.sequence) else { return };
        place.hop_rtt_us = place.hop_rtt_us.or(rtt_us);
        self.send_up(now, id, Message::Place(place), None);
        self.touch(now, id);
    }

    /// The session by which an answer goes on, and the round-trip time to fill in if it comes from the next node.
    ///
    /// A node behind this one cannot claim this node's place, nor one before it: so what a node may lie about ends at the
    /// places behind its own.
    fn relay(&mut self, key: &SessionKey, nonce: Nonce, hop: u8, sequence: u32) -> Option<(SessionId, Option<u32>)> {
        let id = self.by_key.get(key).copied();
        let Some((id, session)) = id.and_then(|id| Some((id, self.sessions.get_mut(&id)?))) else {
            self.stats.strays += 1;
            return None;
        };
        let rtt_us = session.next.as_ref().and_then(|next| next.rtt_us());
        let Some(served) = session.served(nonce).filter(|served| hop > served.message.hop) else {
            self.stats.strays += 1;
            return None;
        };
        (served.is_heard, served.again) = (true, None);
        let is_next = hop == served.message.hop + 1;
        // Our acknowledgement was lost: it came again, and went on before.
        if sequence != 0 && session.seen.contains(&sequence) {
            self.stats.duplicates += 1;
            return None;
        }
        if sequence != 0 {
            if session.seen.len() >= NSLP_SEEN_MAX {
                session.seen.pop_front();
            }
            session.seen.push_back(sequence);
        }
        self.stats.relayed += 1;
        Some((id, rtt_us.filter(|_| is_next)))
    }

    /// Tells the next node that its datagram arrived, if it wants to know.
    fn acknowledge(&mut self, key: &SessionKey, mri: &Mri, sequence: u32) {
        let order = self.order_by_key.get(key).and_then(|id| self.orders.get(id)).map(|order| order.attributes);
        let session = self.by_key.get(key).and_then(|id| self.sessions.get(id)).map(|session| session.attributes);
        if let Some(attributes) = order.or(session).filter(|_| sequence != 0) {
            self.send(key.sid, mri, attributes, Message::Ack(sequence).encode(), None);
        }
    }

    /// The node before this one has a datagram.
    pub(super) fn receive_ack(&mut self, from: &ReceivedMessage<'_>, sequence: u32) {
        let key = SessionKey::new(from.sid, from.mri);
        let Some(id) = self.by_key.get(&key).copied() else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(idx) = session.unacked.iter().position(|unacked| unacked.sequence == sequence) {
            self.unacked_bytes -= session.unacked.swap_remove(idx).data.len();
            self.schedule_session(id);
        }
    }

    /// Sends what was not acknowledged again, or gives it up.
    pub(super) fn resend(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (sid, mri, attributes) = (session.key.sid, session.mri.inverted(), session.attributes);
        let (mut due, mut freed) = (Vec::new(), 0);
        session.unacked.retain_mut(|unacked| {
            if unacked.at > now {
                return true;
            }
            if unacked.resends >= NSLP_RESENDS_MAX {
                freed += unacked.data.len();
                return false;
            }
            unacked.resends += 1;
            unacked.at = now + resend_wait(unacked.resends);
            due.push(unacked.data.clone());
            true
        });
        self.unacked_bytes -= freed;
        self.stats.resent += due.len() as u64;
        due.into_iter().for_each(|data| self.send(sid, &mri, attributes, data, None));
    }

    /// Sends an answer because the request came again, unless it is being sent again anyway.
    pub(super) fn send_answer_again(&mut self, now: Instant, id: SessionId, answer: &Answer) {
        let Some(session) = self.sessions.get(&id) else { return };
        if !session.unacked.iter().any(|unacked| unacked.own == Some(answer.nonce)) {
            self.send_answer(now, id, answer);
        }
    }

    /// Sends this node's answer.
    pub(super) fn send_answer(&mut self, now: Instant, id: SessionId, answer: &Answer) {
        let Some(session) = self.sessions.get(&id) else { return };
        self.stats.answers += 1;
        for part in answer.parts(bytes_max(&session.mri, session.attributes)) {
            self.send_up(now, id, Message::Response(part), Some(answer.nonce));
        }
    }

    /// Sends this node's notification.
    pub(super) fn send_notification(&mut self, now: Instant, id: SessionId, answer: &Answer) {
        let Some(session) = self.sessions.get(&id) else { return };
        self.stats.answers += 1;
        for part in answer.parts(bytes_max(&session.mri, session.attributes)) {
            self.send_up(now, id, Message::Notify(part), None);
        }
    }

    /// Says where this node is, and whether it is the last one.
    pub(super) fn send_place(&mut self, now: Instant, id: SessionId, nonce: Nonce) {
        let node = self.config.node;
        let Some(served) = self.sessions.get_mut(&id).and_then(|session| session.served(nonce)) else { return };
        served.place_at = None;
        let (hop, is_last) = (served.message.hop, served.forward == Forward::Ended);
        let place = Place { nonce, node, hop, is_last, hop_rtt_us: None, sequence: 0 };
        self.send_up(now, id, Message::Place(place), None);
    }

    /// Sends towards the initiator; as a datagram again and again until the node before this one acknowledges it.
    fn send_up(&mut self, now: Instant, id: SessionId, mut message: Message, own: Option<Nonce>) {
        let sequence = self.next_sequence();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (sid, mri, attributes) = (session.key.sid, session.mri.inverted(), session.attributes);
        let has_room = session.unacked.len() < NSLP_UNACKED_MAX && self.unacked_bytes < NSLP_UNACKED_BYTES_MAX;
        let is_tracked = session.is_lossy() && has_room;
        message.set_sequence(if is_tracked { sequence } else { 0 });
        let data = message.encode();
        if is_tracked {
            self.unacked_bytes += data.len();
            let at = now + resend_wait(0);
            session.unacked.push(Unacked { sequence, data: data.clone(), own, at, resends: 0 });
        }
        self.send(sid, &mri, attributes, data, None);
    }
}

//! The third message of the handshake, from both sides (RFC 5971, section 4.4.1).

use crate::base::limits::GIST_DATAGRAM_BYTES_MAX;
use crate::base::time::Instant;
use crate::signaling::gist::api::{MessageStatus, TransferAttributes};
use crate::signaling::gist::cookie::QueryFacts;
use crate::signaling::gist::negotiate::Way;
use crate::signaling::gist::receive::Origin;
use crate::signaling::gist::routing::{EntryId, Key, Level, Peer, Responder, Role};
use crate::signaling::gist::stats::Count;
use crate::signaling::gist::{Env, Gist};
use crate::wire::gist::error::GistError;
use crate::wire::gist::header::MessageType;
use crate::wire::gist::message::Message;

impl Gist {
    /// Answers a Response that asks for it, before any other message to this peer.
    pub(super) fn confirm(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId, response: &Message, way: Way) {
        if !response.reply_requested {
            return;
        }
        let Some(entry) = self.table.entry(id) else { return };
        let Some(peer) = entry.peer.clone() else { return };
        let mut confirm = Message::new(MessageType::Confirm, entry.key.nslp);
        confirm.hops = 1;
        // Inverted against the Response, so as in the Query.
        confirm.mri = Some(entry.mri.clone());
        confirm.sid = Some(entry.key.sid);
        confirm.nli = Some(self.own_nli(peer.local, if entry.mri.is_downstream() { 0 } else { peer.distance }));
        confirm.responder_cookie = response.responder_cookie.clone();
        match way {
            Way::Datagram | Way::None => self.confirm_datagram(now, env, id, &peer, confirm),
            Way::Over(stream) => {
                // The responder's own proposal goes back to it, against changes on the way (RFC 5971, section 8.6).
                confirm.stack_proposal = response.stack_proposal.clone();
                self.send_over(now, stream, &confirm);
            }
            Way::Opening(_) => {
                confirm.stack_proposal = response.stack_proposal.clone();
                if let Some(querier) = self.table.entry_mut(id).and_then(|e| e.querier_mut()) {
                    querier.confirm = Some(Box::new(confirm));
                }
            }
        }
    }

    /// Sends a Confirm as a datagram. The first waiting message travels in it if it fits: one packet less to be lost.
    fn confirm_datagram(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId, peer: &Peer, mut confirm: Message) {
        let bare_bytes = confirm.encode().len() + 4;
        let fits = |data: &[u8]| bare_bytes + data.len().next_multiple_of(4) <= GIST_DATAGRAM_BYTES_MAX;
        let first = self.table.unqueue(id, |w| {
            Level::of(w.attributes) == Level::Datagram && w.hops.is_none() && w.ip_ttl.is_none() && fits(&w.data)
        });
        confirm.nslp_data = first.as_ref().map(|w| w.data.clone());
        let was_sent = self.send_datagram(now, &confirm, self.datagram_to(peer));
        let Some(first) = first else { return };
        let nslp = confirm.nslp;
        let status = if was_sent {
            MessageStatus::Sent(TransferAttributes::default())
        } else {
            MessageStatus::Failed(crate::signaling::gist::api::SendError::QueueFull)
        };
        self.tell_status(now, env, nslp, first.handle, status);
    }

    /// A Confirm came. All that it needs is in it, so it can make state by itself (delayed installation, RFC 5971,
    /// section 4.4.1). True if it was good.
    pub(super) fn confirmed(&mut self, now: Instant, env: &mut Env<'_>, message: &Message, origin: Origin) -> bool {
        let (Some(mri), Some(sid), Some(nli)) = (&message.mri, message.sid, &message.nli) else { return false };
        let mri = mri.inverted();
        let key = Key::new(&mri, message.nslp, sid);
        let found = self.table.find(&key);
        let Some(cookie) = &message.responder_cookie else {
            self.refuse(now, env, message, GistError::MissingObject, origin);
            return false;
        };
        let facts = self.cookies.verify(now, &mut self.rng, cookie, (&nli.peer_identity, nli.address, &key));
        let Some(facts) = facts.filter(|_| self.is_own_proposal(message, origin)) else {
            self.bad_cookie(now, env, message, origin, found);
            return false;
        };
        if let Some(stream) = origin.stream() {
            self.identified(now, stream, message);
        }
        let peer = self.confirmed_peer(env, message, origin, facts);
        // A good cookie is no reason to take the whole table (RFC 5971, section 8.4).
        if found.is_none() && self.table.has_too_many(peer.address) {
            self.counters.add(Count::DroppedTableFull);
            return false;
        }
        let way = origin.stream().map_or(Way::Datagram, Way::Over);
        let Some(id) = found.or_else(|| self.table.add(key, mri, Role::Responder(Box::default()))) else {
            self.counters.add(Count::DroppedTableFull);
            return false;
        };
        let Some(entry) = self.table.entry(id) else { return false };
        // A duplicate is silently ignored (RFC 5972, section 6).
        let is_duplicate = entry.peer.as_ref().is_some_and(|p| p.is(&peer))
            && entry.association == origin.stream()
            && matches!(&entry.role, Role::Responder(r) if r.pending.is_none());
        if is_duplicate {
            return true;
        }
        let expires_at = now + self.expiry();
        self.table.change(id, |entry| {
            // If both sides looked for each other at the same time, the handshake that ends first counts.
            entry.role = Role::Responder(Box::new(Responder { pending: None, expires_at: Some(expires_at) }));
        });
        self.install_peer(now, env, id, peer, way, None);
        if message.nslp_data.is_some() {
            self.deliver(now, env, message, origin, false);
        }
        self.pump(now, env, id);
        self.rearm(id);
        true
    }

    fn confirmed_peer(&self, env: &Env<'_>, message: &Message, origin: Origin, facts: QueryFacts) -> Peer {
        let nli = message.nli.clone().expect("the caller looked at it");
        let local = match origin {
            Origin::Datagram { destination, .. } => destination.ip(),
            Origin::Stream(_) => env.paths.source_for(nli.address).unwrap_or(nli.address),
        };
        Peer {
            identity: nli.peer_identity,
            address: nli.address,
            port: facts.port,
            local,
            interface: facts.interface,
            distance: facts.distance,
        }
    }

    /// A cookie that is not ours, or a changed proposal: no routing state, and none that waits for it either. An error
    /// only when an operator wants to see it, as anybody could provoke it (RFC 5971, section 4.4.1).
    fn bad_cookie(&mut self, now: Instant, env: &Env<'_>, message: &Message, origin: Origin, found: Option<EntryId>) {
        self.counters.add(Count::DroppedCookie);
        if let Some(id) = found
            && self.table.entry(id).is_some_and(|e| e.is_unconfirmed() && e.waiting.is_empty())
        {
            self.remove_entry(now, id);
        }
        if self.config.report_invalid_cookies {
            self.refuse(now, env, message, GistError::InvalidCookie, origin);
        }
    }
}

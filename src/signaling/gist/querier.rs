//! The querier: sends Queries, repeats and refreshes them, and takes Responses (RFC 5971, section 4.4.1 and RFC 5971,
//! section 6.2).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::limits::{GIST_COOKIES_MAX, GIST_DATAGRAM_BYTES_MAX, GIST_VALIDITY_MIN};
use crate::base::time::Instant;
use crate::signaling::gist::api::{MessageStatus, NetworkNotification, SendError};
use crate::signaling::gist::config::QuerySource;
use crate::signaling::gist::cookie::query_cookie;
use crate::signaling::gist::negotiate::Way;
use crate::signaling::gist::receive::Origin;
use crate::signaling::gist::routing::{EntryId, Key, Level, Peer, Role, Status};
use crate::signaling::gist::search::{Search, SentCookie};
use crate::signaling::gist::stats::Count;
use crate::signaling::gist::{Env, Gist};
use crate::signaling::io::DatagramOut;
use crate::wire::gist::error::GistError;
use crate::wire::gist::header::{MessageType, NslpId, PORT};
use crate::wire::gist::message::Message;
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::{Cookie, Nli};

/// To which address Queries with this MRI go: the flow's destination, or against the flow its source (RFC 5971, section
/// 5.8.1.2, RFC 5971, section 5.8.1.3 and RFC 5971, section 5.8.2.2).
pub(super) fn query_target(mri: &Mri) -> IpAddr {
    if mri.is_downstream() { mri.destination() } else { mri.source() }
}

/// The TTL of Queries against a path-coupled flow (RFC 5971, section 5.8.1.3).
pub(super) const UPSTREAM_TTL: u8 = 255;

impl Gist {
    /// Starts to look for the peer of an entry, unless that is going on. The first Query goes out at once.
    pub(super) fn start_search(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId) {
        let (t1, t2) = (self.config.t1, self.config.t2);
        let Some(querier) = self.table.entry_mut(id).and_then(|e| e.querier_mut()) else { return };
        if querier.search.is_some() {
            return;
        }
        querier.search = Some(Search::new(now, t1, t2, querier.timeout));
        querier.refresh_at = None;
        self.query_due(now, env, id);
    }

    /// Sends the next Query of a search, or ends it.
    pub(super) fn query_due(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId) {
        let Some(querier) = self.table.entry_mut(id).and_then(|e| e.querier_mut()) else { return };
        let Some(search) = &mut querier.search else { return };
        if search.is_over(now) {
            self.counters.add(Count::SearchesFailed);
            return self.end_search(now, env, id, SendError::NoNextNode);
        }
        search.sent(now);
        if !self.send_query(now, env, id) {
            return self.end_search(now, env, id, SendError::NoNextNode);
        }
        self.rearm(id);
    }

    /// Sends a Query with a new cookie; false if there is nobody beyond this node (RFC 5971, section 7.1.4: no state
    /// beyond the flow's end).
    fn send_query(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId) -> bool {
        let Some(entry) = self.table.entry(id) else { return false };
        let Role::Querier(querier) = &entry.role else { return false };
        let target = query_target(&entry.mri);
        if env.paths.is_local(target) {
            return false;
        }
        let Some(own) = env.paths.source_for(target) else { return false };
        let sent_count = querier.search.as_ref().map_or(1, |s| s.sent_count);
        // Sent first from the flow's source, so that it is routed as the flow is; from the own address at every second
        // try, because such a Query may be filtered out (RFC 5971, section 5.8.1.2).
        let from_flow = self.config.query_source == QuerySource::Flow
            && entry.mri.is_downstream()
            && sent_count % 2 == 1
            && entry.mri.source() != own;
        let (ttl, dscp, flow_label) = match &entry.mri {
            Mri::PathCoupled(f) if entry.mri.is_downstream() => (self.config.query_ttl, f.dscp, f.flow_label),
            Mri::PathCoupled(_) => (UPSTREAM_TTL, None, None),
            Mri::LooseEnd(_) => (self.config.query_ttl, None, None),
        };
        let cookie = query_cookie(&mut self.rng);
        let mut query = Message::new(MessageType::Query, entry.key.nslp);
        query.hops = querier.hops.unwrap_or(self.config.query_hops);
        query.source_addressing = !from_flow;
        query.mri = Some(entry.mri.clone());
        query.sid = Some(entry.key.sid);
        // Against the flow the field says how far the peer is, as far as that is known (RFC 5971, appendix A.3.3).
        let known = entry.peer.as_ref().map_or(0, |peer| peer.distance);
        query.nli = Some(self.own_nli(own, if entry.mri.is_downstream() { ttl } else { known }));
        query.query_cookie = Some(cookie.clone());
        (query.stack_proposal, query.stack_configuration) = self.query_offer(querier.level);
        query.nslp_data = querier.query_data.clone();
        if query.nslp_data.is_some() && query.encode().len() > GIST_DATAGRAM_BYTES_MAX {
            query.nslp_data = None;
        }
        let datagram = DatagramOut {
            source: Some(if from_flow { entry.mri.source() } else { own }),
            source_port: 0,
            destination: SocketAddr::new(target, PORT),
            ttl: Some(ttl),
            router_alert: Some(self.router_alert(env, query.nslp, target)),
            dscp,
            flow_label,
            payload: Vec::new(),
        };
        // One that the rate limit holds back is as good as lost: the next one comes by the same timer.
        self.send_datagram(now, &query, datagram);
        if let Some(querier) = self.table.entry_mut(id).and_then(|e| e.querier_mut()) {
            if querier.cookies.len() >= GIST_COOKIES_MAX {
                querier.cookies.pop_front();
            }
            querier.cookies.push_back(SentCookie { cookie, sent_at: now });
        }
        true
    }

    fn router_alert(&self, env: &mut Env<'_>, nslp: NslpId, target: IpAddr) -> u16 {
        let own = self.config.router_alert;
        let (v4, v6) = own.or_else(|| env.nslp(nslp).map(|n| n.router_alert())).unwrap_or((0, 0));
        if target.is_ipv4() { v4 } else { v6 }
    }

    /// A search found nobody: what waits has failed, and the application learns that the path ends here (RFC 5971,
    /// section 4.3.4), or that the next node refuses.
    pub(super) fn end_search(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId, why: SendError) {
        let Some(entry) = self.table.entry(id) else { return };
        let (names, old) = (entry.names(), entry.peer.as_ref().map(Peer::sii));
        self.fail_waiting(now, env, id, why);
        self.remove_entry(now, id);
        if let Some(sii) = old {
            self.notify(now, env, &names, &NetworkNotification::RouteDeleted { sii });
        }
        let what = match why {
            SendError::NoNextNode => NetworkNotification::LastNode,
            SendError::NoTransport
            | SendError::AssociationFailed
            | SendError::TooLarge { .. }
            | SendError::QueueFull
            | SendError::NoRoutingState
            | SendError::Refused(_) => NetworkNotification::RoutingBad,
        };
        self.notify(now, env, &names, &what);
    }

    /// Tells the application that none of the waiting messages was sent.
    pub(super) fn fail_waiting(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId, why: SendError) {
        let Some(nslp) = self.table.entry(id).map(|e| e.key.nslp) else { return };
        while let Some(message) = self.table.unqueue(id, |_| true) {
            self.tell_status(now, env, nslp, message.handle, MessageStatus::Failed(why));
        }
    }

    /// A Response came (RFC 5971, section 6.1.1: without state it is discarded silently, and never answered).
    pub(super) fn response(&mut self, now: Instant, env: &mut Env<'_>, message: &Message, origin: Origin) {
        let (Some(mri), Some(sid), Some(nli), Some(cookie)) =
            (&message.mri, message.sid, &message.nli, &message.query_cookie)
        else {
            return self.counters.add(Count::DroppedMalformed);
        };
        // A NAT on the way echoes the MRI that this node knows (RFC 5971, section 7.2.2).
        let own_mri = message
            .nat_traversal
            .as_ref()
            .and_then(|n| Mri::decode_value(&n.original_mri).ok())
            .unwrap_or_else(|| mri.inverted());
        let Some(id) = self.table.find(&Key::new(&own_mri, message.nslp, sid)) else {
            return self.counters.add(Count::DroppedNoState);
        };
        let Some(sent_at) = self.cookie_sent_at(id, cookie) else {
            return self.counters.add(Count::DroppedCookie);
        };
        let Some(peer) = self.response_peer(env, nli, mri.is_downstream(), origin) else {
            self.counters.add(Count::DroppedSource);
            if self.is_searching(id) {
                self.end_search(now, env, id, SendError::Refused(GistError::UntranslatedObject));
            }
            return;
        };
        let Some(entry) = self.table.entry(id) else { return };
        let Role::Querier(querier) = &entry.role else { return };
        let (level, was_searching) = (querier.level, querier.search.is_some());
        let is_same = entry.peer.as_ref().is_some_and(|old| old.is(&peer));
        if !was_searching && is_same && querier.confirm.is_some() {
            // The association that its Confirm waits for is being opened already.
            return;
        }
        let way = match self.way_to(now, level, message, &peer, origin) {
            Way::None => return self.no_way(now, env, id),
            way @ (Way::Datagram | Way::Over(_) | Way::Opening(_)) => way,
        };
        let rtt = now.since(sent_at);
        let validity = Duration::from_millis(u64::from(nli.validity_ms)).max(GIST_VALIDITY_MIN);
        let refresh_at = now + self.within(validity);
        self.install_peer(now, env, id, peer, way, Some(rtt));
        if let Some(querier) = self.table.entry_mut(id).and_then(|e| e.querier_mut()) {
            // The process ends when any reply comes (RFC 5971, section 5.3.3).
            querier.search = None;
            querier.query_data = None;
            querier.refresh_at = Some(refresh_at);
        }
        self.confirm(now, env, id, message, way);
        if message.nslp_data.is_some() {
            self.deliver(now, env, message, origin, false);
        }
        self.pump(now, env, id);
        self.rearm(id);
    }

    /// The peer that a Response names. If it came as a datagram, the source must be what it says: otherwise a NAT that
    /// knows nothing of GIST is between (RFC 5971, section 7.2.1).
    fn response_peer(&self, env: &Env<'_>, nli: &Nli, is_downstream: bool, origin: Origin) -> Option<Peer> {
        let (local, interface) = match origin {
            Origin::Datagram { source, .. } if source.ip() != nli.address => return None,
            Origin::Datagram { destination, interface, .. } => (destination.ip(), interface),
            Origin::Stream(_) => (env.paths.source_for(nli.address)?, 0),
        };
        Some(Peer {
            identity: nli.peer_identity.clone(),
            address: nli.address,
            port: PORT,
            local,
            interface,
            // Downstream the field is a TTL, and how much of it is left is not looked at here.
            distance: if is_downstream { 0 } else { nli.ip_ttl },
        })
    }

    /// When the Query with this cookie was sent; `None` if none was.
    fn cookie_sent_at(&self, id: EntryId, cookie: &Cookie) -> Option<Instant> {
        match &self.table.entry(id)?.role {
            Role::Querier(q) => q.cookies.iter().find(|c| c.cookie == *cookie).map(|c| c.sent_at),
            Role::Responder(_) => None,
        }
    }

    /// No association is possible that would carry what waits: that has failed. What may go as a datagram is tried
    /// again without a proposal.
    fn no_way(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId) {
        let Some(nslp) = self.table.entry(id).map(|e| e.key.nslp) else { return };
        while let Some(m) = self.table.unqueue(id, |w| Level::of(w.attributes) > Level::Datagram) {
            self.tell_status(now, env, nslp, m.handle, MessageStatus::Failed(SendError::NoTransport));
        }
        let Some(entry) = self.table.entry_mut(id) else { return };
        let is_empty = entry.waiting.is_empty() && entry.peer.is_none();
        if let Some(querier) = entry.querier_mut() {
            querier.level = Level::Datagram;
            querier.search = None;
        }
        if is_empty {
            self.remove_entry(now, id);
        } else {
            self.start_search(now, env, id);
        }
    }

    /// A moment between half and three quarters of `time` (RFC 5971, section 4.4.4 and RFC 5971, section 4.4.5).
    pub(super) fn within(&mut self, time: Duration) -> Duration {
        use rand_core::Rng as _;
        let quarter_nanos = u64::try_from(time.as_nanos() / 4).unwrap_or(u64::MAX / 4);
        let share = (u128::from(self.rng.next_u64()) * u128::from(quarter_nanos)) >> 64;
        Duration::from_nanos(2 * quarter_nanos + share as u64)
    }

    /// Writes down the peer of an entry, and tells the application if it is another one than before (RFC 5971, section
    /// 7.1.2).
    pub(super) fn install_peer(
        &mut self,
        now: Instant,
        env: &mut Env<'_>,
        id: EntryId,
        peer: Peer,
        way: Way,
        rtt: Option<Duration>,
    ) {
        let Some(entry) = self.table.entry(id) else { return };
        let names = entry.names();
        let old = entry.peer.clone();
        let is_same = old.as_ref().is_some_and(|old| old.is(&peer));
        let was_good = entry.status == Status::Good;
        let old_stream = entry.association;
        let stream = match way {
            Way::Over(stream) | Way::Opening(stream) => Some(stream),
            // A datagram says nothing about the association with the same peer.
            Way::Datagram | Way::None => old_stream.filter(|_| is_same),
        };
        let sii = peer.sii();
        self.table.change(id, |entry| {
            entry.peer = Some(peer);
            entry.status = Status::Good;
            entry.association = stream;
        });
        if old_stream != stream {
            if let Some(old) = old_stream {
                self.leave_association(now, old, id);
            }
            if let Some(new) = stream {
                self.join_association(now, new, id);
            }
        }
        if !is_same || !was_good {
            self.notify(now, env, &names, &NetworkNotification::RoutingGood { sii, rtt });
        }
        if let Some(old) = old.filter(|_| !is_same) {
            self.counters.add(Count::PeerChanges);
            self.notify(now, env, &names, &NetworkNotification::RouteDeleted { sii: old.sii() });
        }
    }
}

//! What applications ask for (RFC 5971, appendix B).

use std::time::Duration;

use crate::base::limits::GIST_DATA_BYTES_MAX;
use crate::base::time::Instant;
use crate::signaling::gist::api::{MessageStatus, NetworkNotification, Request, SendError, SendMessage, SiiHandle};
use crate::signaling::gist::querier::query_target;
use crate::signaling::gist::routing::{EntryId, Key, Level, Peer, Querier, Role, Status, Waiting};
use crate::signaling::gist::{Env, Gist};
use crate::wire::gist::error::GistError;
use crate::wire::gist::header::{MessageType, NslpId, PORT};
use crate::wire::gist::message::Message;
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::Sid;

impl Gist {
    pub(super) fn carry_out(&mut self, now: Instant, env: &mut Env<'_>, nslp: NslpId, request: Request) {
        match request {
            Request::Send(message) => {
                let handle = message.handle;
                if let Err(why) = self.send(now, env, nslp, message) {
                    self.tell_status(now, env, nslp, handle, MessageStatus::Failed(why));
                }
            }
            Request::SetStateLifetime { mri, sid, lifetime } => {
                self.set_state_lifetime(now, &Key::new(&mri, nslp, sid), lifetime);
            }
            Request::InvalidateRoutingState { mri, sid, is_bad, urgent, data } => {
                let of_session = |sid| self.table.find(&Key::new(&mri, nslp, sid)).into_iter().collect();
                for id in sid.map_or_else(|| self.table.of_flow(&mri, nslp), of_session) {
                    self.invalidate(now, env, id, is_bad, urgent, data.clone());
                }
            }
        }
    }

    /// SendMessage. An error means that it was not even queued.
    fn send(&mut self, now: Instant, env: &mut Env<'_>, nslp: NslpId, message: SendMessage) -> Result<(), SendError> {
        let SendMessage { data, handle, sid, mri, sii, attributes, timeout, ip_ttl, hops } = message;
        if data.len() > GIST_DATA_BYTES_MAX {
            return Err(SendError::TooLarge { got_bytes: data.len(), max_bytes: GIST_DATA_BYTES_MAX });
        }
        // A message that must not be received by anybody cannot be sent.
        if hops == Some(0) {
            return Err(SendError::Refused(GistError::HopLimitExceeded));
        }
        // What may take no time to find a peer may use only routing state that is there (RFC 5971, appendix B.1, local
        // processing): an answer must not begin to look for another way back to its initiator.
        let may_search = timeout != Some(Duration::ZERO);
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        let waiting = Waiting { data, handle, attributes, ip_ttl, hops };
        if let Some(sii) = sii {
            return self.send_explicit(now, env, nslp, (sid, mri), waiting, &sii);
        }
        let key = Key::new(&mri, nslp, sid);
        let other_way = Key::new(&mri.inverted(), nslp, sid);
        let id = match self.table.find(&key) {
            Some(id) => id,
            None if !may_search => return Err(SendError::NoRoutingState),
            None => self.add_querier(now, env, key, mri)?,
        };
        self.touch(now, id);
        let is_relayed = self.table.find(&other_way).is_some();
        if let Some(querier) = self.table.entry_mut(id).and_then(|e| e.querier_mut()) {
            querier.level = querier.level.max(Level::of(attributes));
            querier.is_relayed |= is_relayed;
            querier.hops = hops.or(querier.hops);
            querier.timeout = timeout.or(querier.timeout);
            if let (Some(search), Some(timeout)) = (&mut querier.search, timeout) {
                search.shorten(now + timeout);
            }
        }
        let queued = self.table.queue(id, waiting);
        self.pump(now, env, id);
        self.rearm(id);
        queued.map_err(|_| SendError::QueueFull)
    }

    /// An entry for a direction in which nothing was sent so far.
    fn add_querier(&mut self, now: Instant, env: &Env<'_>, key: Key, mri: Mri) -> Result<EntryId, SendError> {
        let may_search = match &mri {
            Mri::PathCoupled(_) => mri.is_downstream() || self.config.query_upstream,
            Mri::LooseEnd(_) => mri.is_downstream(),
        };
        if !may_search {
            return Err(SendError::NoRoutingState);
        }
        let wanted_until = now + self.config.inactivity;
        let route = route_of(env, &mri);
        let querier = Querier { wanted_until, route, ..Querier::default() };
        self.table.add(key, mri, Role::Querier(Box::new(querier))).ok_or(SendError::QueueFull)
    }

    /// Sends to a peer by its handle, past the routing table (E-flag).
    fn send_explicit(
        &mut self,
        now: Instant,
        env: &mut Env<'_>,
        nslp: NslpId,
        (sid, mri): (Sid, Mri),
        waiting: Waiting,
        sii: &SiiHandle,
    ) -> Result<(), SendError> {
        // A message to this node itself must not be sent (RFC 5971, section 4.3.3).
        if sii.identity == self.config.identity {
            return Err(SendError::NoNextNode);
        }
        let known = self.table.find(&Key::new(&mri, nslp, sid)).and_then(|id| self.table.entry(id)?.peer.clone());
        let mut message = Message::new(MessageType::Data, nslp);
        message.hops = waiting.hops.unwrap_or(1);
        message.explicit_routing = true;
        message.mri = Some(mri);
        message.sid = Some(sid);
        message.nslp_data = Some(waiting.data);
        let level = Level::of(waiting.attributes);
        let sent = match self.association_with(&sii.identity, sii.address, level) {
            Some(stream) if self.send_over(now, stream, &message) => Ok(self.attributes_of(stream)),
            Some(_) => Err(SendError::AssociationFailed),
            None if level > Level::Datagram => Err(SendError::NoTransport),
            None => {
                let peer = match known.filter(|p| p.sii() == *sii) {
                    Some(peer) => peer,
                    None => Peer {
                        identity: sii.identity.clone(),
                        address: sii.address,
                        port: PORT,
                        local: env.paths.source_for(sii.address).ok_or(SendError::NoNextNode)?,
                        interface: 0,
                        distance: 0,
                    },
                };
                self.send_data_datagram(now, message, &peer, waiting.ip_ttl)
            }
        };
        let attributes = sent?;
        self.tell_status(now, env, nslp, waiting.handle, MessageStatus::Sent(attributes));
        Ok(())
    }

    /// SetStateLifetime. A responder cannot shorten or prolong what its querier keeps (RFC 5971, appendix B.5).
    fn set_state_lifetime(&mut self, now: Instant, key: &Key, lifetime: Duration) {
        let Some(id) = self.table.find(key) else { return };
        let Some(querier) = self.table.entry_mut(id).and_then(|e| e.querier_mut()) else { return };
        querier.wanted_until = now + lifetime;
        if lifetime.is_zero() && querier.search.is_none() {
            self.remove_entry(now, id);
        } else {
            self.rearm(id);
        }
    }

    /// InvalidateRoutingState (RFC 5971, appendix B.6 and section 7.1.3).
    fn invalidate(
        &mut self,
        now: Instant,
        env: &mut Env<'_>,
        id: EntryId,
        is_bad: bool,
        urgent: bool,
        data: Option<Vec<u8>>,
    ) {
        let status = if is_bad { Status::Bad } else { Status::Tentative };
        self.doubt(now, env, id, status);
        let Some(querier) = self.table.entry_mut(id).and_then(|e| e.querier_mut()) else { return };
        querier.query_data = data.or(querier.query_data.take());
        if urgent {
            self.start_search(now, env, id);
        }
    }

    /// Something speaks against the peer of an entry.
    fn doubt(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId, status: Status) {
        let Some(entry) = self.table.entry_mut(id) else { return };
        if entry.status == status || entry.peer.is_none() {
            return;
        }
        entry.status = status;
        let names = entry.names();
        let what = match status {
            Status::Bad => NetworkNotification::RoutingBad,
            Status::Tentative | Status::Good => NetworkNotification::RoutingTentative,
        };
        self.notify(now, env, &names, &what);
    }

    /// This machine's routes changed: the peers of flows that now leave by another way are looked for again (RFC 5971,
    /// section 7.1.2).
    pub fn route_changed(&mut self, now: Instant, env: &mut Env<'_>) {
        let mut after = None;
        loop {
            let ids = self.table.ids_after(after, ROUTES_AT_ONCE);
            let Some(last) = ids.last() else { break };
            after = Some(*last);
            for id in ids {
                self.check_route(now, env, id);
            }
        }
        self.carry_out_requests(now, env);
    }

    fn check_route(&mut self, now: Instant, env: &mut Env<'_>, id: EntryId) {
        let Some(entry) = self.table.entry(id) else { return };
        let Role::Querier(querier) = &entry.role else { return };
        let route = route_of(env, &entry.mri);
        if route == querier.route {
            return;
        }
        if let Some(querier) = self.table.entry_mut(id).and_then(|e| e.querier_mut()) {
            querier.route = route;
        }
        self.doubt(now, env, id, Status::Tentative);
        self.start_search(now, env, id);
    }
}

/// Entries that are looked at between two looks at the table.
const ROUTES_AT_ONCE: usize = 256;

/// The way to where Queries with this MRI go, as a number that is only compared.
fn route_of(env: &Env<'_>, mri: &Mri) -> Option<u64> {
    let target = query_target(mri);
    let route = env.paths.route_to(target);
    let text = format!("{:?} {:?}", route, env.paths.source_for(target));
    // FNV-1a: two ways that look alike by chance cost no more than a refresh period.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    route.map(|_| hash)
}

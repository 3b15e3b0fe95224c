//! The machine: its state, its inputs and outputs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::base::limits::{
    NSLP_DATAGRAM4_BYTES_MAX, NSLP_DATAGRAM6_BYTES_MAX, NSLP_EVENTS_MAX, NSLP_EXPIRE_MAX, NSLP_MESSAGE_BYTES_MAX,
    NSLP_PATIENCE_DEFAULT, NSLP_SEARCH_DEFAULT, NSLP_SEARCH_MAX,
};
use crate::base::time::Instant;
use crate::signaling::gist::api::{
    MessageHandle, MessageStatus, NetworkNotification, Nslp, Peering, ReceivedMessage, Request, SendMessage,
    TransferAttributes,
};
use crate::signaling::nslp::api::{NslpEvent, OrderId, Token};
use crate::signaling::nslp::order::OrderState;
use crate::signaling::nslp::session::{Session, SessionId, SessionKey};
use crate::signaling::nslp::stats::NslpStats;
use crate::wire::gist::header::NslpId;
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::Sid;
use crate::wire::nslp::message::Message;
use crate::wire::nslp::request::{NodeId, Nonce};
use crate::wire::nslp::{NSLP_ID, ROUTER_ALERT};

/// How the application behaves on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NslpConfig {
    /// This node.
    pub node: NodeId,
    /// Its properties, such as `as`.
    pub properties: BTreeMap<String, String>,
    /// Whether modules may run here. An initiator on a user's PC hosts none, and lets the Queries of others pass.
    pub hosts: bool,
    /// Longest wait for a next node, if the request says nothing.
    pub search: Duration,
    /// How long an order goes on when nothing new is heard; longer if the search takes longer.
    pub patience: Duration,
}

impl NslpConfig {
    /// A node that hosts modules.
    #[must_use]
    pub fn new(node: NodeId) -> NslpConfig {
        NslpConfig {
            node,
            properties: BTreeMap::new(),
            hosts: true,
            search: NSLP_SEARCH_DEFAULT,
            patience: NSLP_PATIENCE_DEFAULT,
        }
    }
}

/// The NetServ application on one node: takes requests from the path, gives orders to it, or both.
///
/// It owns no socket and reads no clock. GIST calls it through [`Nslp`]. The driver calls [`NetservNslp::order`],
/// [`NetservNslp::answer`] and the like, and [`NetservNslp::expire`] at [`NetservNslp::deadline`]; after each of these it
/// carries [`NetservNslp::take_requests`] to GIST, and drains [`NetservNslp::poll_event`].
#[derive(Debug)]
pub struct NetservNslp {
    pub(super) config: NslpConfig,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) by_key: BTreeMap<SessionKey, SessionId>,
    /// Which session a request belongs to; the first one, if somebody repeats it in another.
    pub(super) by_nonce: BTreeMap<Nonce, SessionId>,
    pub(super) tokens: BTreeMap<Token, (SessionId, Nonce)>,
    pub(super) orders: BTreeMap<OrderId, OrderState>,
    pub(super) order_by_key: BTreeMap<SessionKey, OrderId>,
    pub(super) handles: BTreeMap<MessageHandle, Sender>,
    pub(super) stats: NslpStats,
    /// Bytes of all datagrams that wait to be acknowledged.
    pub(super) unacked_bytes: usize,
    /// Bytes of all requests that are remembered, with their answers.
    pub(super) served_bytes: usize,
    /// The session that was looked at last when one had to give way.
    pub(super) looked_at: SessionId,
    deadlines: BTreeSet<(Instant, Due)>,
    events: VecDeque<NslpEvent>,
    requests: Vec<Request>,
    rng: ChaCha20Rng,
    last_number: u64,
    last_sequence: u32,
}

/// Whose message GIST has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Session(SessionId, Nonce),
    Order(OrderId),
}

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Session(SessionId),
    Order(OrderId),
}

impl NetservNslp {
    /// The application on a node; `seed` must be secret and new in each run, since session ids come from it.
    #[must_use]
    pub fn new(config: NslpConfig, seed: [u8; 32]) -> NetservNslp {
        let mut rng = ChaCha20Rng::from_seed(seed);
        // So that the numbers of two nodes, or of two runs of one, do not meet.
        let last_sequence = rng.next_u32();
        NetservNslp {
            config,
            sessions: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_nonce: BTreeMap::new(),
            tokens: BTreeMap::new(),
            orders: BTreeMap::new(),
            order_by_key: BTreeMap::new(),
            handles: BTreeMap::new(),
            stats: NslpStats::default(),
            unacked_bytes: 0,
            served_bytes: 0,
            looked_at: SessionId(0),
            deadlines: BTreeSet::new(),
            events: VecDeque::new(),
            requests: Vec::new(),
            rng,
            last_number: 0,
            last_sequence,
        }
    }

    /// The next moment at which [`NetservNslp::expire`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Does what is due, or a bounded part of it; [`NetservNslp::deadline`] then says that there is more.
    pub fn expire(&mut self, now: Instant) {
        for _ in 0..NSLP_EXPIRE_MAX {
            let Some((at, due)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) else { return };
            self.deadlines.remove(&(at, due));
            match due {
                Due::Session(id) => self.expire_session(now, id),
                Due::Order(id) => self.expire_order(now, id),
            }
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<NslpEvent> {
        self.events.pop_front()
    }

    /// What GIST is asked for, outside of its own calls.
    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> NslpStats {
        self.stats
    }

    /// Sessions that pass this node.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Orders that are not over.
    #[must_use]
    pub fn order_count(&self) -> usize {
        self.orders.len()
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.config.node
    }

    /// Whether an event can be taken; those that must not be lost ask first.
    pub(super) fn has_room_for_events(&self) -> bool {
        self.events.len() < NSLP_EVENTS_MAX
    }

    pub(super) fn emit(&mut self, event: NslpEvent) {
        if self.has_room_for_events() {
            self.events.push_back(event);
        }
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// A number for a datagram; never 0.
    pub(super) fn next_sequence(&mut self) -> u32 {
        self.last_sequence = self.last_sequence.wrapping_add(1).max(1);
        self.last_sequence
    }

    pub(super) fn random_sid(&mut self) -> Sid {
        let mut sid = [0; 16];
        self.rng.fill_bytes(&mut sid);
        Sid(sid)
    }

    /// Sends with or against the requests, as `mri` says. Without `search`, only to a peer that GIST knows already.
    pub(super) fn send(
        &mut self,
        sid: Sid,
        mri: &Mri,
        attributes: TransferAttributes,
        data: Vec<u8>,
        search: Option<(MessageHandle, Duration)>,
    ) {
        self.requests.push(Request::Send(SendMessage {
            data,
            handle: search.map(|(handle, _)| handle),
            sid,
            mri: mri.clone(),
            sii: None,
            attributes,
            timeout: Some(search.map_or(Duration::ZERO, |(_, timeout)| timeout)),
            ip_ttl: None,
            hops: None,
        }));
    }

    pub(super) fn set_lifetime(&mut self, sid: Sid, mri: &Mri, lifetime: Duration) {
        self.requests.push(Request::SetStateLifetime { mri: mri.clone(), sid, lifetime });
    }

    /// Has GIST ask for the next node at once, in case that the path has moved: a refresh is a good moment to find out,
    /// and GIST's own refreshes may be further apart than those of a short lifetime. Only for this session: otherwise one
    /// message would have as many Queries sent as the flow has sessions.
    pub(super) fn look_again(&mut self, sid: Sid, mri: Mri) {
        let sid = Some(sid);
        self.requests.push(Request::InvalidateRoutingState { mri, sid, is_bad: false, urgent: true, data: None });
    }

    /// How long to look for a next node.
    pub(super) fn search(&self, search_ms: u32) -> Duration {
        match search_ms {
            0 => self.config.search.min(NSLP_SEARCH_MAX),
            ms => Duration::from_millis(u64::from(ms)).min(NSLP_SEARCH_MAX),
        }
    }

    pub(super) fn schedule_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let at = session.next_due();
        if let Some(old) = session.due.replace(at) {
            self.deadlines.remove(&(old, Due::Session(id)));
        }
        self.deadlines.insert((at, Due::Session(id)));
    }

    pub(super) fn schedule_order(&mut self, id: OrderId) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        let at = order.next_due();
        if let Some(old) = order.due.replace(at) {
            self.deadlines.remove(&(old, Due::Order(id)));
        }
        self.deadlines.insert((at, Due::Order(id)));
    }

    pub(super) fn unschedule_session(&mut self, id: SessionId, due: Option<Instant>) {
        due.map(|at| self.deadlines.remove(&(at, Due::Session(id))));
    }

    pub(super) fn unschedule_order(&mut self, id: OrderId, due: Option<Instant>) {
        due.map(|at| self.deadlines.remove(&(at, Due::Order(id))));
    }
}

/// Most bytes of one message of this flow.
pub(super) fn bytes_max(mri: &Mri, attributes: TransferAttributes) -> usize {
    if attributes.reliable || attributes.secure {
        NSLP_MESSAGE_BYTES_MAX
    } else if mri.destination().is_ipv4() {
        NSLP_DATAGRAM4_BYTES_MAX
    } else {
        NSLP_DATAGRAM6_BYTES_MAX
    }
}

impl Nslp for NetservNslp {
    fn id(&self) -> NslpId {
        NSLP_ID
    }

    fn router_alert(&self) -> (u16, u16) {
        (ROUTER_ALERT, ROUTER_ALERT)
    }

    fn check_peering(&mut self, _now: Instant, _query: &ReceivedMessage<'_>) -> Peering {
        if self.config.hosts { Peering::Accept(None) } else { Peering::Decline(None) }
    }

    fn receive(&mut self, now: Instant, message: &ReceivedMessage<'_>, requests: &mut Vec<Request>) {
        // A Query carries no message of this application.
        if message.data.is_empty() {
            return;
        }
        // All messages here follow the path, so what GIST could not check against its state is not from a peer.
        if message.is_unvalidated {
            self.stats.unvalidated += 1;
            return;
        }
        match Message::decode(message.data) {
            Ok(Message::Request(request)) => self.receive_request(now, message, *request),
            Ok(Message::Response(part)) => self.receive_answer(now, message, part, true),
            Ok(Message::Notify(part)) => self.receive_answer(now, message, part, false),
            Ok(Message::Place(place)) => self.receive_place(now, message, place),
            Ok(Message::Ack(sequence)) => self.receive_ack(message, sequence),
            Err(error) => self.receive_malformed(message, error),
        }
        requests.append(&mut self.requests);
    }

    fn message_status(
        &mut self,
        now: Instant,
        handle: MessageHandle,
        status: MessageStatus,
        requests: &mut Vec<Request>,
    ) {
        match self.handles.remove(&handle) {
            Some(Sender::Session(id, nonce)) => self.forward_status(now, id, nonce, handle, status),
            Some(Sender::Order(id)) => self.order_status(now, id, handle, status),
            None => {}
        }
        requests.append(&mut self.requests);
    }

    fn notify(
        &mut self,
        now: Instant,
        sid: Sid,
        mri: &Mri,
        notification: &NetworkNotification,
        requests: &mut Vec<Request>,
    ) {
        self.route_notification(now, &SessionKey::new(sid, mri), notification);
        requests.append(&mut self.requests);
    }
}

//! What GIST tells of the route: a request in a session that is kept follows the path when it moves.

use std::time::Duration;

use crate::base::time::Instant;
use crate::signaling::gist::api::NetworkNotification;
use crate::signaling::nslp::api::{NslpEvent, OrderId};
use crate::signaling::nslp::machine::NetservNslp;
use crate::signaling::nslp::node::notification;
use crate::signaling::nslp::session::{Forward, Next, SessionId, SessionKey, peer_name};
use crate::wire::nslp::answer::{Answer, AnswerCode};
use crate::wire::nslp::request::NodeId;

impl NetservNslp {
    pub(super) fn route_notification(&mut self, now: Instant, key: &SessionKey, notification: &NetworkNotification) {
        let order = self.order_by_key.get(key).copied();
        let session = self.by_key.get(key).copied();
        match notification {
            NetworkNotification::RoutingGood { sii, rtt } => {
                let next = Next { sii: sii.clone(), rtt: *rtt };
                if let Some(id) = order {
                    self.order_next(id, next);
                } else if let Some(id) = session {
                    self.session_next(now, id, next);
                }
            }
            NetworkNotification::LastNode => {
                if let Some(id) = order {
                    self.order_without_next(now, id);
                } else if let Some(id) = session {
                    self.session_without_next(now, id);
                }
            }
            // GIST looks for the peer again by itself, or when the next request is sent.
            NetworkNotification::RoutingTentative
            | NetworkNotification::RoutingBad
            | NetworkNotification::RouteDeleted { .. }
            | NetworkNotification::AuthorisationChanged
            | NetworkNotification::CommunicationFailure => {}
        }
    }

    fn session_next(&mut self, now: Instant, id: SessionId, next: Next) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let old = session.next.replace(next.clone());
        let is_kept = session.keep > Duration::ZERO;
        let Some(old) = old.filter(|old| old.sii != next.sii) else { return };
        let Some(served) = session.latest() else { return };
        let nonce = served.nonce();
        let sentence = moved(self.config.node, &old, Some(&next));
        let answer = notification(self.config.node, served, AnswerCode::Moved, sentence);
        // What the old node got, the new one has not seen.
        if matches!(served.forward, Forward::Passed | Forward::Blocked | Forward::Ended) {
            (served.is_heard, served.again) = (false, None);
            self.forward(now, id, nonce);
        }
        if is_kept && old.sii.identity != next.sii.identity {
            self.stats.moved += 1;
            self.send_notification(now, id, &answer);
        }
        self.schedule_session(id);
    }

    fn session_without_next(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let old = session.next.take();
        let is_kept = session.keep > Duration::ZERO;
        let ended = |forward: Forward| matches!(forward, Forward::Searching(_) | Forward::Passed | Forward::Blocked);
        let nonces: Vec<_> = session.served.iter().filter(|s| ended(s.forward)).map(|s| s.nonce()).collect();
        nonces.into_iter().for_each(|nonce| self.found_last(now, id, nonce));
        if let Some(old) = old.filter(|_| is_kept) {
            let sentence = moved(self.config.node, &old, None);
            let node = self.config.node;
            let latest = self.sessions.get_mut(&id).and_then(|session| session.latest());
            if let Some(answer) = latest.map(|served| notification(node, served, AnswerCode::Moved, sentence)) {
                self.stats.moved += 1;
                self.send_notification(now, id, &answer);
            }
        }
        self.touch(now, id);
    }

    fn order_next(&mut self, id: OrderId, next: Next) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        let old = order.next.replace(next.clone());
        let Some(old) = old.filter(|old| old.sii != next.sii) else { return };
        let is_kept = order.keep > Duration::ZERO;
        let sentence = moved(self.config.node, &old, Some(&next));
        self.send_order(id);
        if is_kept && old.sii.identity != next.sii.identity {
            self.order_moved(id, sentence);
        }
        self.schedule_order(id);
    }

    fn order_without_next(&mut self, now: Instant, id: OrderId) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        let old = order.next.take();
        if !order.is_finished {
            self.no_first_node(now, id);
        } else if let Some(old) = old {
            let sentence = moved(self.config.node, &old, None);
            self.order_moved(id, sentence);
        }
    }

    /// The initiator notices by itself that the path moved.
    fn order_moved(&mut self, id: OrderId, sentence: String) {
        let Some(order) = self.orders.get(&id) else { return };
        self.stats.moved += 1;
        let answer = Answer {
            nonce: order.message.request.nonce,
            node: self.config.node,
            hop: 0,
            code: AnswerCode::Moved,
            sentence,
            is_last: false,
            hop_rtt_us: None,
            report: Vec::new(),
        };
        self.emit(NslpEvent::Notified { order: id, answer });
    }
}

fn moved(node: NodeId, old: &Next, new: Option<&Next>) -> String {
    let old = peer_name(&old.sii);
    match new {
        Some(new) => format!("behind node {node} the path moved from {old} to {}", peer_name(&new.sii)),
        None => format!("behind node {node} no node comes any more; it was {old}"),
    }
}

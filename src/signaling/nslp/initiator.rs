//! The initiator: sends a request along a path until all nodes up to the last have answered.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::base::limits::{
    NSLP_HOP_CHANGES_MAX, NSLP_KEEP_MAX, NSLP_KEEP_MIN, NSLP_ORDER_TIME_MAX, NSLP_ORDERS_MAX, NSLP_PROGRESS_PERIOD,
    NSLP_REPEAT_FIRST, NSLP_REPEAT_MAX, NSLP_REPEAT_MIN,
};
use crate::base::time::Instant;
use crate::signaling::gist::api::{MessageHandle, MessageStatus, SendError};
use crate::signaling::nslp::api::{NslpEvent, Order, OrderId};
use crate::signaling::nslp::machine::{NetservNslp, Sender, bytes_max};
use crate::signaling::nslp::order::{Blocked, HopRecord, OrderState, Verdict};
use crate::signaling::nslp::session::SessionKey;
use crate::wire::nslp::answer::{Answer, AnswerCode};
use crate::wire::nslp::message::{AnswerPart, Message, Place, RequestMessage};
use crate::wire::nslp::request::{Authorisation, Nonce, Request};

/// More than the search itself, so that the last node's word can still arrive.
const SEARCH_MARGIN: Duration = Duration::from_secs(10);

impl NetservNslp {
    /// Sends a request along a path. Its events bear the number that is returned, and end with
    /// [`NslpEvent::Finished`]. A node that answers anew (because it learned that it is the last one, for example) gives
    /// another [`NslpEvent::Answered`], which replaces the one before it.
    ///
    /// With [`Order::keep`] the order stays after that, until [`NetservNslp::cancel`], or until it was not renewed for
    /// the lifetime of its module (a minute at least).
    ///
    /// # Errors
    ///
    /// Returns a sentence for people if the request cannot be sent as it is.
    pub fn order(&mut self, now: Instant, order: Order) -> Result<OrderId, String> {
        if self.orders.len() >= NSLP_ORDERS_MAX {
            return Err(format!("{NSLP_ORDERS_MAX} orders are under way; wait for one of them"));
        }
        let message = request_message(order.request, order.authorisation, order.keep)?;
        check_size(&message, bytes_max(&order.mri, order.attributes))?;
        let key = SessionKey::new(self.random_sid(), &order.mri);
        let id = OrderId(self.next_number());
        let state = OrderState {
            key: key.clone(),
            mri: order.mri,
            attributes: order.attributes,
            keep: Duration::from_secs(u64::from(message.keep_s)),
            message,
            started: now,
            news: now,
            repeat_at: now + NSLP_REPEAT_FIRST,
            repeat_wait: NSLP_REPEAT_FIRST,
            progress_at: now + NSLP_PROGRESS_PERIOD,
            sending: None,
            send_failure: None,
            next: None,
            hops: BTreeMap::new(),
            blocked: None,
            notices: VecDeque::new(),
            is_finished: false,
            due: None,
        };
        self.orders.insert(id, state);
        self.order_by_key.insert(key, id);
        self.send_order(id);
        self.schedule_order(id);
        Ok(id)
    }

    /// Sends another request in the session of an order that is kept, or is not over: a refresh, or a removal. Its answers
    /// bear the same number, and [`NslpEvent::Finished`] follows once more.
    ///
    /// # Errors
    ///
    /// Returns a sentence for people if the order is over, or the request cannot be sent as it is.
    pub fn renew(
        &mut self,
        now: Instant,
        id: OrderId,
        request: Vec<u8>,
        authorisation: Option<Authorisation>,
    ) -> Result<(), String> {
        let Some(order) = self.orders.get_mut(&id) else { return Err("the order is over".to_owned()) };
        let message = request_message(request, authorisation, order.keep > Duration::ZERO)?;
        check_size(&message, bytes_max(&order.mri, order.attributes))?;
        order.keep = Duration::from_secs(u64::from(message.keep_s));
        order.message = message;
        (order.started, order.news, order.progress_at) = (now, now, now + NSLP_PROGRESS_PERIOD);
        (order.repeat_at, order.repeat_wait) = (now + NSLP_REPEAT_FIRST, NSLP_REPEAT_FIRST);
        order.hops.clear();
        (order.blocked, order.send_failure, order.is_finished) = (None, None, false);
        let sending = order.sending.take();
        sending.map(|handle| self.handles.remove(&handle));
        let (sid, mri) = (order.key.sid, order.mri.clone());
        self.send_order(id);
        self.look_again(sid, mri);
        self.schedule_order(id);
        Ok(())
    }

    /// Ends an order without any more events. What was installed stays for its lifetime.
    pub fn cancel(&mut self, id: OrderId) {
        let Some(order) = self.orders.remove(&id) else { return };
        order.sending.map(|handle| self.handles.remove(&handle));
        self.order_by_key.remove(&order.key);
        self.unschedule_order(id, order.due);
        self.set_lifetime(order.key.sid, &order.mri, Duration::ZERO);
    }

    /// Sends the request, if GIST does not have it already.
    pub(super) fn send_order(&mut self, id: OrderId) {
        let handle = MessageHandle(self.next_number());
        let Some(order) = self.orders.get_mut(&id).filter(|order| order.sending.is_none()) else { return };
        order.sending = Some(handle);
        let (sid, mri, attributes) = (order.key.sid, order.mri.clone(), order.attributes);
        let (search_ms, keep) = (order.message.request.search_ms, order.keep);
        let data = Message::Request(Box::new(order.message.clone())).encode();
        self.handles.insert(handle, Sender::Order(id));
        self.send(sid, &mri, attributes, data, Some((handle, self.search(search_ms))));
        if keep > Duration::ZERO {
            self.set_lifetime(sid, &mri, keep);
        }
    }

    pub(super) fn order_status(&mut self, now: Instant, id: OrderId, handle: MessageHandle, status: MessageStatus) {
        let Some(order) = self.orders.get_mut(&id).filter(|order| order.sending == Some(handle)) else { return };
        order.sending = None;
        match status {
            MessageStatus::Sent(_) => order.send_failure = None,
            MessageStatus::Failed(SendError::NoNextNode) => self.no_first_node(now, id),
            MessageStatus::Failed(error @ (SendError::NoTransport | SendError::TooLarge { .. })) => {
                self.finish(id, Err(format!("the request could not be sent: {error}")));
            }
            MessageStatus::Failed(
                error @ (SendError::AssociationFailed
                | SendError::QueueFull
                | SendError::NoRoutingState
                | SendError::Refused(_)),
            ) => order.send_failure = Some(format!("the request could not be sent: {error}")),
        }
    }

    pub(super) fn no_first_node(&mut self, now: Instant, id: OrderId) {
        let Some(order) = self.orders.get(&id) else { return };
        let (from, to) = (order.mri.source(), order.mri.destination());
        let seconds = now.since(order.started).as_secs();
        self.finish(id, Err(format!("no node was found on the path from {from} to {to} (looked for {seconds} s)")));
    }

    /// An answer or a notification for this node's own order.
    pub(super) fn take_answer(&mut self, now: Instant, id: OrderId, part: AnswerPart, is_response: bool) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        let hop = part.answer.hop;
        if part.answer.nonce != order.message.request.nonce || hop == 0 {
            self.stats.strays += 1;
            return;
        }
        if !is_response {
            self.take_notification(now, id, part.answer);
            return;
        }
        let rtt_us = order.next.as_ref().filter(|_| hop == 1).and_then(|next| next.rtt_us());
        let node = part.answer.node;
        let record = order.hops.entry(hop).or_insert_with(|| HopRecord::new(now, node));
        if !record.belongs_to(now, node) {
            self.stats.strays += 1;
            return;
        }
        if let Some(answer) = record.take(part, rtt_us) {
            order.news = now;
            self.emit(NslpEvent::Answered { order: id, answer });
        }
        self.judge(id);
    }

    pub(super) fn take_place(&mut self, now: Instant, id: OrderId, place: Place) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        if place.nonce != order.message.request.nonce || place.hop == 0 {
            self.stats.strays += 1;
            return;
        }
        let rtt_us = order.next.as_ref().filter(|_| place.hop == 1).and_then(|next| next.rtt_us());
        let record = order.hops.entry(place.hop).or_insert_with(|| HopRecord::new(now, place.node));
        if !record.belongs_to(now, place.node) {
            self.stats.strays += 1;
            return;
        }
        // A node that is still at work is worth waiting for.
        order.news = now;
        record.rtt_us = record.rtt_us.or(place.hop_rtt_us).or(rtt_us);
        if place.is_last && !record.is_last {
            record.is_last = true;
            if let Some(answer) = &mut record.answer {
                answer.is_last = true;
                let answer = answer.clone();
                self.emit(NslpEvent::Answered { order: id, answer });
            }
        }
        self.judge(id);
    }

    fn take_notification(&mut self, now: Instant, id: OrderId, answer: Answer) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        if answer.code == AnswerCode::NotForwarded {
            let before = order.blocked.as_ref().filter(|blocked| blocked.hop == answer.hop);
            // The network may have made two of one.
            let is_duplicate = before.is_some_and(|blocked| now.since(blocked.at) < NSLP_REPEAT_MIN);
            let count = before.map_or(0, |blocked| blocked.count) + u32::from(!is_duplicate);
            let at = before.filter(|_| is_duplicate).map_or(now, |blocked| blocked.at);
            order.blocked = Some(Blocked { hop: answer.hop, at, count, sentence: answer.sentence.clone() });
        }
        if !order.knows(now, &answer) {
            order.news = now;
            self.emit(NslpEvent::Notified { order: id, answer });
        }
        self.judge(id);
    }

    /// Finishes the order if nothing is missing any more.
    fn judge(&mut self, id: OrderId) {
        let Some(order) = self.orders.get(&id).filter(|order| !order.is_finished) else { return };
        match order.verdict() {
            Verdict::Open => {}
            Verdict::Complete => self.finish(id, Ok(())),
            Verdict::Broken(reason) => self.finish(id, Err(reason)),
        }
    }

    fn finish(&mut self, id: OrderId, result: Result<(), String>) {
        let Some(order) = self.orders.get_mut(&id).filter(|order| !order.is_finished) else { return };
        order.is_finished = true;
        let is_kept = order.keep > Duration::ZERO;
        self.emit(NslpEvent::Finished { order: id, result });
        if is_kept {
            self.schedule_order(id);
        } else {
            self.cancel(id);
        }
    }

    pub(super) fn expire_order(&mut self, now: Instant, id: OrderId) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        order.due = None;
        if order.is_finished {
            // Nobody renewed it.
            self.cancel(id);
            return;
        }
        let search_ms = order.message.request.search_ms;
        let search = self.search(search_ms);
        let patience = self.config.patience.max(search + SEARCH_MARGIN);
        let Some(order) = self.orders.get_mut(&id) else { return };
        if now.since(order.news) >= patience || now.since(order.started) >= NSLP_ORDER_TIME_MAX {
            let missing = order.missing(now);
            self.finish(id, Err(missing));
            return;
        }
        let is_repeat = order.repeat_at <= now;
        if is_repeat {
            order.repeat_wait = (order.repeat_wait * 2).min(NSLP_REPEAT_MAX);
            order.repeat_at = now + order.repeat_wait;
        }
        let text = (order.progress_at <= now).then(|| order.progress(now, search));
        if text.is_some() {
            order.progress_at = now + NSLP_PROGRESS_PERIOD;
        }
        if let Some(text) = text {
            self.emit(NslpEvent::Progress { order: id, text });
        }
        if is_repeat {
            self.send_order(id);
        }
        self.schedule_order(id);
    }
}

impl OrderState {
    /// The next moment at which something is to be done. Giving up is noticed with the next progress.
    pub(super) fn next_due(&self) -> Instant {
        if self.is_finished { self.started + self.keep } else { self.repeat_at.min(self.progress_at) }
    }
}

impl HopRecord {
    /// Takes a part of the node's answer; returns the answer if it is whole, and new.
    fn take(&mut self, part: AnswerPart, rtt_us: Option<u32>) -> Option<Answer> {
        self.is_last |= part.answer.is_last;
        self.rtt_us = self.rtt_us.or(part.answer.hop_rtt_us).or(rtt_us);
        let mut answer = self.merger.push(part)?;
        answer.is_last = self.is_last;
        answer.hop_rtt_us = self.rtt_us;
        if let Some(old) = &self.answer {
            // A request that was done once and comes again may be refused as a replay: it was done all the same.
            let is_worse = old.code.is_success() && !answer.code.is_success();
            if *old == answer || is_worse || self.changes >= NSLP_HOP_CHANGES_MAX {
                return None;
            }
            self.changes += 1;
        }
        self.answer = Some(answer.clone());
        Some(answer)
    }
}

/// The request as it leaves its initiator.
fn request_message(
    canonical: Vec<u8>,
    authorisation: Option<Authorisation>,
    keep: bool,
) -> Result<RequestMessage, String> {
    let request = Request::decode(&canonical).map_err(|error| format!("the request cannot be sent: {error}"))?;
    if request.nonce == Nonce::default() {
        return Err("the request has no nonce".to_owned());
    }
    let lifetime = request.module.as_ref().map_or(0, |module| module.lifetime_ms);
    let lifetime = Duration::from_millis(lifetime).clamp(NSLP_KEEP_MIN, NSLP_KEEP_MAX);
    let keep_s = if keep { u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX) } else { 0 };
    Ok(RequestMessage { canonical, request, authorisation, hop: 0, keep_s, covered: Vec::new(), forward: Vec::new() })
}

fn check_size(message: &RequestMessage, bytes_max: usize) -> Result<(), String> {
    let bytes = Message::Request(Box::new(message.clone())).encode().len();
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(format!(
        "the request has {bytes} bytes, as a datagram it may have {bytes_max}: use a reliable transport, or shorter texts"
    ))
}

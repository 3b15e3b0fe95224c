//! A node on the path: takes requests, asks the controller, answers, and passes on what is for others.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::limits::{
    NSLP_COVERED_MAX, NSLP_HOPS_MAX, NSLP_KEEP_MAX, NSLP_KEEP_MIN, NSLP_ORDER_TIME_MAX, NSLP_PLACE_AFTER,
    NSLP_REPEAT_MIN, NSLP_RESENDS_MAX, NSLP_SERVED_MAX,
};
use crate::base::time::Instant;
use crate::signaling::gist::api::{MessageHandle, MessageStatus, ReceivedMessage, SendError};
use crate::signaling::nslp::api::{Decision, Happening, NslpEvent, Token};
use crate::signaling::nslp::machine::{NetservNslp, Sender, bytes_max};
use crate::signaling::nslp::relay::resend_wait;
use crate::signaling::nslp::room::{answer_bytes, bytes_of};
use crate::signaling::nslp::session::{Forward, Served, Session, SessionId, SessionKey, Stage};
use crate::wire::nslp::NslpError;
use crate::wire::nslp::answer::{Answer, AnswerCode};
use crate::wire::nslp::message::{Message, RequestMessage, peek_hop};
use crate::wire::nslp::request::{NodeId, Nonce, Operation, Target};

/// Whether a request is for this node.
enum Meant {
    Yes,
    /// Why not, as a sentence.
    No(String),
    /// Only if no other node comes behind it.
    IfLast,
}

impl NetservNslp {
    /// The controller's answer to a request. A token that is not known, or was answered, is ignored.
    pub fn answer(&mut self, now: Instant, token: Token, decision: Decision) {
        let Some((id, nonce)) = self.tokens.remove(&token) else { return };
        let Some(served) = self.sessions.get_mut(&id).and_then(|session| session.served(nonce)) else { return };
        let is_success = decision.code.is_success();
        let is_held = served.forward == Forward::Held;
        if is_held && is_success {
            match &served.message.request.target {
                Target::First => served.forward = Forward::Stopped,
                Target::OnePer(property) => {
                    let value = self.config.properties.get(property);
                    if let Some(value) = value.filter(|_| served.message.covered.len() < NSLP_COVERED_MAX) {
                        served.message.covered.push(value.clone());
                    }
                }
                Target::All | Target::Last | Target::Nodes(_) => {}
            }
        }
        let goes_on = served.forward == Forward::Held;
        self.conclude(now, id, nonce, decision);
        if goes_on {
            self.forward(now, id, nonce);
        }
        self.schedule_session(id);
    }

    /// Tells an initiator what happened to an instance, if its session is still there.
    pub fn happened(&mut self, now: Instant, happening: Happening) {
        let Some(id) = self.by_nonce.get(&happening.nonce).copied() else { return };
        let Some(served) = self.sessions.get_mut(&id).and_then(|session| session.served(happening.nonce)) else {
            return;
        };
        let answer = notification(self.config.node, served, happening.code, happening.sentence);
        self.send_notification(now, id, &answer);
        self.touch(now, id);
    }

    pub(super) fn receive_request(&mut self, now: Instant, from: &ReceivedMessage<'_>, mut message: RequestMessage) {
        if message.hop >= NSLP_HOPS_MAX {
            self.stats.too_many_hops += 1;
            return;
        }
        message.hop += 1;
        let Some(id) = self.session_for(now, from, &message) else {
            self.refuse(from, &message, "the node has no room for another session");
            return;
        };
        let nonce = message.request.nonce;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.attributes = from.attributes;
        session.from = from.sii.as_ref().map(|sii| sii.address);
        session.peer_key = from.peer_key;
        if let Some(served) = session.served(nonce) {
            // A nonce names one request for ever: another one that bears it is not from its maker.
            if served.message.canonical != message.canonical {
                self.stats.strays += 1;
                return;
            }
            self.repeat(now, id, message);
        } else if !self.make_room_for_request(id, &message) {
            self.refuse(from, &message, "the node has no room for another request");
        } else if self.make_room(id) {
            self.serve(now, id, message);
        } else {
            self.refuse(from, &message, "too many requests of this session wait for an answer");
        }
        self.touch(now, id);
    }

    /// The session of a request, made if there is none and room for it.
    fn session_for(&mut self, now: Instant, from: &ReceivedMessage<'_>, message: &RequestMessage) -> Option<SessionId> {
        let key = SessionKey::new(from.sid, from.mri);
        let keep = match message.keep_s {
            0 => Duration::ZERO,
            s => Duration::from_secs(u64::from(s)).clamp(NSLP_KEEP_MIN, NSLP_KEEP_MAX),
        };
        if let Some(id) = self.by_key.get(&key).copied() {
            let session = self.sessions.get_mut(&id)?;
            (session.requested, session.keep) = (now, keep);
        } else {
            if !self.make_room_for_session() {
                return None;
            }
            let id = SessionId(self.next_number());
            let session = Session {
                key: key.clone(),
                mri: from.mri.clone(),
                attributes: from.attributes,
                from: None,
                peer_key: None,
                keep,
                requested: now,
                touched: now,
                next: None,
                served: Vec::new(),
                unacked: Vec::new(),
                seen: VecDeque::new(),
                due: None,
            };
            self.sessions.insert(id, session);
            self.by_key.insert(key.clone(), id);
        }
        self.by_key.get(&key).copied()
    }

    /// A request that was not seen before.
    fn serve(&mut self, now: Instant, id: SessionId, message: RequestMessage) {
        self.stats.requests += 1;
        let nonce = message.request.nonce;
        let meant = self.is_meant(&message);
        let waits = matches!(message.request.target, Target::First | Target::OnePer(_));
        // Who takes it decides for whom it still is; so it waits here until that is known.
        let is_held = waits && matches!(meant, Meant::Yes);
        let bytes = bytes_of(&message);
        let served = Served {
            message,
            bytes,
            stage: Stage::Open,
            forward: Forward::Held,
            came: now,
            place_at: None,
            is_heard: false,
            again: None,
        };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.served.push(served);
        self.served_bytes += bytes;
        self.by_nonce.entry(nonce).or_insert(id);
        match meant {
            Meant::Yes => self.ask(now, id, nonce),
            Meant::No(sentence) => self.conclude(now, id, nonce, not_target(sentence)),
            Meant::IfLast => self.plan_place(now, id, nonce),
        }
        if !is_held {
            self.forward(now, id, nonce);
        }
    }

    fn is_meant(&self, message: &RequestMessage) -> Meant {
        if !self.config.hosts {
            return Meant::No("no modules run on this node".to_owned());
        }
        match &message.request.target {
            Target::All | Target::First => Meant::Yes,
            Target::Last => Meant::IfLast,
            Target::Nodes(ids) if ids.iter().any(|id| self.config.node.matches(id)) => Meant::Yes,
            Target::Nodes(_) => Meant::No("another node was named".to_owned()),
            Target::OnePer(property) => match self.config.properties.get(property) {
                None => Meant::No(format!("the node has no property `{property}`")),
                Some(value) if message.covered.contains(value) => {
                    Meant::No(format!("another node with {property}={value} took it"))
                }
                Some(_) => Meant::Yes,
            },
        }
    }

    /// A request that came before: it is answered again, and goes on again. The controller is not asked again.
    fn repeat(&mut self, now: Instant, id: SessionId, message: RequestMessage) {
        let nonce = message.request.nonce;
        let Some(served) = self.sessions.get_mut(&id).and_then(|session| session.served(nonce)) else { return };
        if now.since(served.came) < NSLP_REPEAT_MIN {
            return;
        }
        self.stats.repeats += 1;
        served.came = now;
        // Somebody misses something: this time, too, it must get through to the next node.
        (served.is_heard, served.again) = (false, None);
        served.message.hop = message.hop;
        served.message.keep_s = message.keep_s;
        if let Stage::Answered(answer) = &mut served.stage {
            answer.hop = message.hop;
            let answer = answer.clone();
            self.send_answer_again(now, id, &answer);
        } else {
            self.send_place(now, id, nonce);
        }
        self.forward_again(now, id, nonce);
    }

    fn ask(&mut self, now: Instant, id: SessionId, nonce: Nonce) {
        if !self.has_room_for_events() {
            self.stats.busy += 1;
            self.conclude(now, id, nonce, busy("the node has too much to do"));
            return;
        }
        let token = Token(self.next_number());
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (mri, from, peer_key) = (session.mri.clone(), session.from, session.peer_key);
        let Some(served) = session.served(nonce) else { return };
        served.stage = Stage::Asked(token, now);
        let event = NslpEvent::Asked {
            token,
            request: served.message.request.clone(),
            signed: served.message.canonical.clone(),
            authorisation: served.message.authorisation,
            mri,
            from,
            peer_key,
        };
        self.tokens.insert(token, (id, nonce));
        self.stats.asked += 1;
        self.emit(event);
        self.plan_place(now, id, nonce);
    }

    fn plan_place(&mut self, now: Instant, id: SessionId, nonce: Nonce) {
        if let Some(served) = self.sessions.get_mut(&id).and_then(|session| session.served(nonce)) {
            served.place_at = Some(now + NSLP_PLACE_AFTER);
        }
    }

    /// This node's answer is known: it is remembered, and sent.
    fn conclude(&mut self, now: Instant, id: SessionId, nonce: Nonce, decision: Decision) {
        let node = self.config.node;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.touched = now;
        let Some(served) = session.served(nonce) else { return };
        let answer = Answer {
            nonce,
            node,
            hop: served.message.hop,
            code: decision.code,
            sentence: decision.sentence,
            is_last: served.forward == Forward::Ended,
            hop_rtt_us: None,
            report: decision.report,
        };
        served.place_at = None;
        let bytes = bytes_of(&served.message) + answer_bytes(&answer);
        self.served_bytes = self.served_bytes - served.bytes + bytes;
        served.bytes = bytes;
        served.stage = Stage::Answered(Box::new(answer.clone()));
        self.send_answer(now, id, &answer);
    }

    pub(super) fn forward_again(&mut self, now: Instant, id: SessionId, nonce: Nonce) {
        let served = self.sessions.get_mut(&id).and_then(|session| session.served(nonce));
        match served.map(|served| served.forward) {
            Some(Forward::Passed | Forward::Blocked) => self.forward(now, id, nonce),
            Some(Forward::Held | Forward::Searching(_) | Forward::Ended | Forward::Stopped) | None => {}
        }
    }

    /// Sends the request on to the next node.
    pub(super) fn forward(&mut self, now: Instant, id: SessionId, nonce: Nonce) {
        let handle = MessageHandle(self.next_number());
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.touched = now;
        let (sid, mri, attributes, keep) = (session.key.sid, session.mri.clone(), session.attributes, session.keep);
        let Some(served) = session.served(nonce) else { return };
        served.forward = Forward::Searching(handle);
        let search_ms = served.message.request.search_ms;
        let is_refresh = served.message.request.operation == Operation::Refresh;
        let data = Message::Request(Box::new(served.message.clone())).encode();
        self.handles.insert(handle, Sender::Session(id, nonce));
        self.send(sid, &mri, attributes, data, Some((handle, self.search(search_ms))));
        if keep > Duration::ZERO {
            self.set_lifetime(sid, &mri, keep);
        }
        if is_refresh {
            self.look_again(sid, mri);
        }
    }

    /// GIST says what became of a request that was to go on.
    pub(super) fn forward_status(
        &mut self,
        now: Instant,
        id: SessionId,
        nonce: Nonce,
        handle: MessageHandle,
        status: MessageStatus,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let is_lossy = session.is_lossy();
        let served = session.served(nonce).filter(|served| served.forward == Forward::Searching(handle));
        let Some(served) = served else { return };
        match status {
            MessageStatus::Sent(_) => {
                served.forward = Forward::Passed;
                let resends = served.again.map_or(0, |(_, resends)| resends);
                served.again = (is_lossy && !served.is_heard && resends < NSLP_RESENDS_MAX)
                    .then_some((now + resend_wait(resends), resends + 1));
                if served.stage == Stage::Open {
                    self.conclude(now, id, nonce, not_target("another node comes behind it".to_owned()));
                }
            }
            MessageStatus::Failed(SendError::NoNextNode) => self.found_last(now, id, nonce),
            MessageStatus::Failed(error) => {
                (served.forward, served.again) = (Forward::Blocked, None);
                let sentence = format!("node {} could not pass the request on: {error}", self.config.node);
                let answer = notification(self.config.node, served, AnswerCode::NotForwarded, sentence);
                self.send_notification(now, id, &answer);
            }
        }
        self.touch(now, id);
    }

    /// No node comes behind this one.
    pub(super) fn found_last(&mut self, now: Instant, id: SessionId, nonce: Nonce) {
        let Some(served) = self.sessions.get_mut(&id).and_then(|session| session.served(nonce)) else { return };
        if let Forward::Searching(handle) = served.forward {
            self.handles.remove(&handle);
        }
        (served.forward, served.again) = (Forward::Ended, None);
        match &mut served.stage {
            Stage::Open => self.ask(now, id, nonce),
            Stage::Asked(..) => self.send_place(now, id, nonce),
            Stage::Answered(answer) => {
                answer.is_last = true;
                self.send_place(now, id, nonce);
            }
        }
    }

    /// A request that cannot be read is answered if it can be named; it goes no further.
    pub(super) fn receive_malformed(&mut self, from: &ReceivedMessage<'_>, error: NslpError) {
        self.stats.malformed += 1;
        let is_request = matches!(from.data.first(), Some(1..=4));
        let (Some(nonce), Some(hop), true) = (error.nonce, peek_hop(from.data), is_request) else { return };
        if hop < NSLP_HOPS_MAX {
            self.refuse_as(from, nonce, hop + 1, AnswerCode::Malformed, &error.to_string());
        }
    }

    fn refuse(&mut self, from: &ReceivedMessage<'_>, message: &RequestMessage, sentence: &str) {
        self.stats.busy += 1;
        self.refuse_as(from, message.request.nonce, message.hop, AnswerCode::Busy, sentence);
    }

    /// Answers without remembering anything.
    fn refuse_as(&mut self, from: &ReceivedMessage<'_>, nonce: Nonce, hop: u8, code: AnswerCode, sentence: &str) {
        let answer = Answer {
            nonce,
            node: self.config.node,
            hop,
            code,
            sentence: sentence.to_owned(),
            is_last: false,
            hop_rtt_us: None,
            report: Vec::new(),
        };
        self.stats.answers += 1;
        for bytes in answer.split(bytes_max(from.mri, from.attributes)) {
            self.send(from.sid, &from.mri.inverted(), from.attributes, bytes, None);
        }
    }

    /// Something came by: the session lives on.
    pub(super) fn touch(&mut self, now: Instant, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.touched = now;
            self.schedule_session(id);
        }
    }

    pub(super) fn expire_session(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.due = None;
        let (mut places, mut undecided, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for served in &mut session.served {
            if let Some((at, resends)) = served.again.filter(|(at, _)| *at <= now) {
                // Stays for its count; the time is set when it was sent.
                served.again = Some((at + NSLP_ORDER_TIME_MAX, resends));
                again.push(served.nonce());
            }
            if served.place_at.is_some_and(|at| at <= now) {
                places.push(served.nonce());
            }
            if let Stage::Asked(token, since) = served.stage
                && since + NSLP_ORDER_TIME_MAX <= now
            {
                undecided.push(token);
            }
        }
        let is_over = session.ends() <= now;
        places.into_iter().for_each(|nonce| self.send_place(now, id, nonce));
        again.into_iter().for_each(|nonce| self.forward_again(now, id, nonce));
        self.resend(now, id);
        for token in undecided {
            self.answer(now, token, busy("the node came to no decision"));
        }
        if is_over {
            self.end_session(id);
        } else {
            self.schedule_session(id);
        }
    }

    /// Forgets a session, and tells GIST that its routing state is of no more interest.
    pub(super) fn end_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (sid, mri) = (session.key.sid, session.mri.clone());
        for idx in (0..session.served.len()).rev() {
            self.forget(id, idx);
        }
        if let Some(session) = self.sessions.remove(&id) {
            self.unacked_bytes -= session.unacked.iter().map(|unacked| unacked.data.len()).sum::<usize>();
            self.by_key.remove(&session.key);
            self.unschedule_session(id, session.due);
        }
        self.set_lifetime(sid, &mri, Duration::ZERO);
    }

    /// Makes room for one more request of a session, which may replace one that is answered; false if there is none.
    fn make_room(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(&id) else { return false };
        if session.served.len() < NSLP_SERVED_MAX {
            return true;
        }
        let answered = session.served.iter().position(|served| matches!(served.stage, Stage::Answered(_)));
        answered.map(|idx| self.forget(id, idx)).is_some()
    }

    /// Forgets one request of a session.
    fn forget(&mut self, id: SessionId, idx: usize) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| idx < session.served.len()) else { return };
        let served = session.served.remove(idx);
        self.served_bytes -= served.bytes;
        if self.by_nonce.get(&served.nonce()) == Some(&id) {
            self.by_nonce.remove(&served.nonce());
        }
        if let Stage::Asked(token, _) = served.stage {
            self.tokens.remove(&token);
        }
        if let Forward::Searching(handle) = served.forward {
            self.handles.remove(&handle);
        }
    }
}

fn not_target(sentence: String) -> Decision {
    Decision { code: AnswerCode::NotTarget, sentence, report: Vec::new() }
}

fn busy(sentence: &str) -> Decision {
    Decision { code: AnswerCode::Busy, sentence: sentence.to_owned(), report: Vec::new() }
}

/// What a NOTIFY of this node about a request says.
pub(super) fn notification(node: NodeId, served: &Served, code: AnswerCode, sentence: String) -> Answer {
    Answer {
        nonce: served.nonce(),
        node,
        hop: served.message.hop,
        code,
        sentence,
        is_last: served.forward == Forward::Ended,
        hop_rtt_us: None,
        report: Vec::new(),
    }
}

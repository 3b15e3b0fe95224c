//! What an initiator remembers of an order.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::base::limits::{NSLP_HOP_CHANGES_MAX, NSLP_NOTICE_NEW_AFTER, NSLP_NOTICES_SEEN_MAX};
use crate::base::time::Instant;
use crate::signaling::gist::api::{MessageHandle, TransferAttributes};
use crate::signaling::nslp::session::{Next, SessionKey};
use crate::wire::gist::mri::Mri;
use crate::wire::nslp::answer::{Answer, AnswerCode};
use crate::wire::nslp::message::RequestMessage;
use crate::wire::nslp::parts::Merger;
use crate::wire::nslp::request::{NodeId, Target};

/// What is known of the node at one place of the path.
#[derive(Clone, Debug)]
pub(super) struct HopRecord {
    pub(super) node: NodeId,
    pub(super) is_last: bool,
    pub(super) rtt_us: Option<u32>,
    pub(super) merger: Merger,
    pub(super) answer: Option<Answer>,
    /// Since when the node is known.
    pub(super) since: Instant,
    /// How often its node or its answer changed.
    pub(super) changes: u8,
}

impl HopRecord {
    pub(super) fn new(now: Instant, node: NodeId) -> HopRecord {
        let merger = Merger::default();
        HopRecord { node, is_last: false, rtt_us: None, merger, answer: None, since: now, changes: 0 }
    }

    /// Becomes the record of `node`; false if there were too many changes.
    pub(super) fn belongs_to(&mut self, now: Instant, node: NodeId) -> bool {
        if self.node == node {
            return true;
        }
        if self.changes >= NSLP_HOP_CHANGES_MAX {
            return false;
        }
        *self = HopRecord { changes: self.changes + 1, ..HopRecord::new(now, node) };
        true
    }
}

/// A node said that it could not pass the request on.
#[derive(Clone, Debug)]
pub(super) struct Blocked {
    pub(super) hop: u8,
    pub(super) at: Instant,
    pub(super) count: u32,
    pub(super) sentence: String,
}

/// How an order stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Something is missing.
    Open,
    /// All nodes up to the last one answered.
    Complete,
    /// Nothing more will come.
    Broken(String),
}

/// One order.
#[derive(Clone, Debug)]
pub(super) struct OrderState {
    pub(super) key: SessionKey,
    pub(super) mri: Mri,
    pub(super) attributes: TransferAttributes,
    /// Zero if it is not to be kept.
    pub(super) keep: Duration,
    pub(super) message: RequestMessage,
    /// When this request was sent first.
    pub(super) started: Instant,
    /// When something new was heard.
    pub(super) news: Instant,
    pub(super) repeat_at: Instant,
    pub(super) repeat_wait: Duration,
    pub(super) progress_at: Instant,
    /// The message that GIST has not said anything about.
    pub(super) sending: Option<MessageHandle>,
    /// Why the request could not be sent.
    pub(super) send_failure: Option<String>,
    pub(super) next: Option<Next>,
    pub(super) hops: BTreeMap<u8, HopRecord>,
    pub(super) blocked: Option<Blocked>,
    /// Notifications that came, with when.
    pub(super) notices: VecDeque<(Instant, Answer)>,
    pub(super) is_finished: bool,
    /// Where it stands in the queue of deadlines.
    pub(super) due: Option<Instant>,
}

impl OrderState {
    /// The place at which the request ended, if that is known.
    fn end(&self) -> Option<(u8, &HopRecord)> {
        let ends = |record: &HopRecord| {
            let code = record.answer.as_ref().map(|answer| answer.code);
            let was_taken = self.message.request.target == Target::First && code.is_some_and(AnswerCode::is_success);
            record.is_last || was_taken || code == Some(AnswerCode::Malformed)
        };
        self.hops.iter().map(|(hop, record)| (*hop, record)).find(|(_, record)| ends(record))
    }

    fn has_answered(&self, hop: u8) -> bool {
        self.hops.get(&hop).is_some_and(|record| record.answer.is_some())
    }

    /// Whether all is known.
    pub(super) fn verdict(&self) -> Verdict {
        if let Some((end, record)) = self.end()
            && (1..=end).all(|hop| self.has_answered(hop))
        {
            let is_malformed = record.answer.as_ref().is_some_and(|answer| answer.code == AnswerCode::Malformed);
            if is_malformed && !record.is_last {
                let node = record.node;
                return Verdict::Broken(format!("node {node} could not read the request; no node behind it was asked"));
            }
            return Verdict::Complete;
        }
        // Once may be chance, such as a connection that broke; the request is then repeated.
        if let Some(blocked) = &self.blocked
            && blocked.count > 1
            && (1..blocked.hop).all(|hop| self.has_answered(hop))
        {
            return Verdict::Broken(blocked.sentence.clone());
        }
        Verdict::Open
    }

    /// Whether a notification is one that was told already: they are sent several times.
    pub(super) fn knows(&mut self, now: Instant, answer: &Answer) -> bool {
        self.notices.retain(|(at, _)| now.since(*at) < NSLP_NOTICE_NEW_AFTER);
        let same = |old: &Answer| (old.node, old.code, &old.sentence) == (answer.node, answer.code, &answer.sentence);
        if self.notices.iter().any(|(_, old)| same(old)) {
            return true;
        }
        if self.notices.len() >= NSLP_NOTICES_SEEN_MAX {
            self.notices.pop_front();
        }
        self.notices.push_back((now, answer.clone()));
        false
    }

    /// What is missing, as a sentence.
    pub(super) fn missing(&self, now: Instant) -> String {
        if let Some(failure) = &self.send_failure {
            return failure.clone();
        }
        let seconds = now.since(self.started).as_secs();
        let Some((last, record)) = self.hops.iter().next_back() else {
            return format!("no node on the path answered within {seconds} s");
        };
        let silent: Vec<String> = (1..=*last).filter(|hop| !self.has_answered(*hop)).map(|h| self.name(h)).collect();
        if !silent.is_empty() {
            return format!("no answer within {seconds} s from {}", silent.join(", "));
        }
        if let Some(blocked) = &self.blocked {
            return blocked.sentence.clone();
        }
        let node = record.node;
        format!("all known nodes answered, the last of them node {node}; whether one comes behind it is not known")
    }

    /// A place of the path for people.
    fn name(&self, hop: u8) -> String {
        match self.hops.get(&hop) {
            Some(record) => format!("node {} (node {hop} of the path)", record.node),
            None => format!("node {hop} of the path"),
        }
    }

    /// How far the order is, as a sentence.
    pub(super) fn progress(&self, now: Instant, search: Duration) -> String {
        let waited = |since: Instant| now.since(since).as_secs();
        let of = |since: Instant| match waited(since) {
            s if s <= search.as_secs() => format!("{s} s of {} s", search.as_secs()),
            s => format!("{s} s"),
        };
        if let Some(hop) = self.hops.keys().next_back().and_then(|last| (1..=*last).find(|h| !self.has_answered(*h))) {
            let since = self.hops.get(&hop).map_or(self.started, |record| record.since);
            return format!("waiting for the answer of {}, {} s", self.name(hop), waited(since));
        }
        match self.hops.values().next_back() {
            Some(record) if !record.is_last => {
                format!("looking for the next node after node {}, {}", record.node, of(record.since))
            }
            Some(record) => format!("waiting for node {}, {} s", record.node, waited(record.since)),
            None => format!("looking for the first node, {}", of(self.started)),
        }
    }
}

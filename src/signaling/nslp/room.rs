//! Room for sessions and requests. Whoever reaches this node may begin sessions, and ask for them to be kept, before
//! anybody knows whether he may have anything here. So where room is short, sessions for which nothing runs here give way
//! to new ones, those first by which nothing came for longest.

use std::ops::Bound::{Excluded, Unbounded};

use crate::base::limits::{NSLP_ROOM_LOOKS_MAX, NSLP_SERVED_BYTES_MAX, NSLP_SESSIONS_MAX};
use crate::signaling::nslp::machine::NetservNslp;
use crate::signaling::nslp::session::{Session, SessionId, Stage};
use crate::wire::nslp::answer::{Answer, AnswerCode, ReportItem};
use crate::wire::nslp::message::RequestMessage;

impl NetservNslp {
    /// Makes room for one more session; false if there is none.
    pub(super) fn make_room_for_session(&mut self) -> bool {
        self.sessions.len() < NSLP_SESSIONS_MAX || self.one_gives_way(None)
    }

    /// Makes room for a request of a session, which itself stays; false if there is none.
    pub(super) fn make_room_for_request(&mut self, id: SessionId, message: &RequestMessage) -> bool {
        let bytes = bytes_of(message);
        for _ in 0..NSLP_ROOM_LOOKS_MAX {
            if self.served_bytes + bytes <= NSLP_SERVED_BYTES_MAX {
                return true;
            }
            if !self.one_gives_way(Some(id)) {
                return false;
            }
        }
        self.served_bytes + bytes <= NSLP_SERVED_BYTES_MAX
    }

    /// Ends one of the next few sessions, if one of them may end.
    fn one_gives_way(&mut self, but: Option<SessionId>) -> bool {
        let behind = self.sessions.range((Excluded(self.looked_at), Unbounded));
        let looks = behind.chain(self.sessions.range(..=self.looked_at)).take(NSLP_ROOM_LOOKS_MAX);
        let mut longest = None;
        let mut looked_at = self.looked_at;
        for (id, session) in looks {
            looked_at = *id;
            if Some(*id) != but && !session.is_wanted() {
                longest = longest.into_iter().chain([(session.touched, *id)]).min();
            }
        }
        self.looked_at = looked_at;
        let Some((_, id)) = longest else { return false };
        self.stats.gave_way += 1;
        self.end_session(id);
        true
    }
}

impl Session {
    /// Whether something runs here by it, or the controller is about to decide on that.
    fn is_wanted(&self) -> bool {
        self.served.iter().any(|served| match &served.stage {
            Stage::Open => false,
            Stage::Asked(..) => true,
            Stage::Answered(answer) => matches!(answer.code, AnswerCode::Installed | AnswerCode::Refreshed),
        })
    }
}

/// What a request that is remembered takes: its bytes, and once more what was read from them.
pub(super) fn bytes_of(message: &RequestMessage) -> usize {
    let forward: usize = message.forward.iter().map(|object| object.value.len()).sum();
    let covered: usize = message.covered.iter().map(String::len).sum();
    2 * message.canonical.len() + forward + covered
}

/// What an answer that is remembered takes: mostly the counters of the instances in its report.
pub(super) fn answer_bytes(answer: &Answer) -> usize {
    let of_item = |item: &ReportItem| {
        let ReportItem::Module { counters, .. } = item else { return ITEM_BYTES };
        counters.iter().map(|(name, _)| ITEM_BYTES + name.len()).sum::<usize>() + ITEM_BYTES
    };
    answer.sentence.len() + answer.report.iter().map(of_item).sum::<usize>()
}

/// Bytes of an item of a report, or of a counter in it, beside its name: its place in a list, and what it is allocated by.
const ITEM_BYTES: usize = 64;

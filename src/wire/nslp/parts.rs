//! Answers that are longer than one message: cut into parts, and put together again.

use crate::base::limits::{
    NAME_BYTES_MAX, NSLP_ANSWER_BYTES_MAX, NSLP_PARTS_MAX, NSLP_REPORT_ITEMS_MAX, NSLP_REPORT_TEXT_BYTES_MAX,
};
use crate::wire::nslp::answer::{Answer, ReportItem};
use crate::wire::nslp::message::{AnswerPart, HEADER_BYTES, Message};
use crate::wire::nslp::{report, text};
use crate::wire::tlv;

/// Bytes that a part has beside its report: the message's header, the ANSWER object, and room for a SEQUENCE.
const PART_BYTES: usize = HEADER_BYTES + tlv::HEADER_BYTES + 44 + tlv::HEADER_BYTES + 4;
/// What the sentence of an answer ends with when not all of the report could be sent.
const CUT: &str = " (the report is cut short)";

impl Answer {
    /// The RESPONSE messages that carry the answer, none of them longer than `bytes_max` (which must be 384 or more).
    ///
    /// At most [`NSLP_PARTS_MAX`]; if the report needs more, its end is left out, and the sentence says so.
    #[must_use]
    pub fn split(&self, bytes_max: usize) -> Vec<Vec<u8>> {
        self.parts(bytes_max).into_iter().map(|part| Message::Response(part).encode()).collect()
    }

    /// The parts of [`Answer::split`], before they become messages.
    #[must_use]
    pub fn parts(&self, bytes_max: usize) -> Vec<AnswerPart> {
        let (reports, is_cut) = self.reports(bytes_max);
        let mut sentence = text::fit(&self.sentence, NSLP_REPORT_TEXT_BYTES_MAX);
        if is_cut {
            sentence = text::fit(&self.sentence, NSLP_REPORT_TEXT_BYTES_MAX - CUT.len()) + CUT;
        }
        let parts = reports.len() as u8;
        let part_of = |(part, report): (usize, Vec<ReportItem>)| {
            let sentence = if part == 0 { std::mem::take(&mut sentence) } else { String::new() };
            let answer = Answer { sentence, report, ..self.without_report() };
            AnswerPart { answer, part: part as u8, parts, sequence: 0, forward: Vec::new() }
        };
        reports.into_iter().enumerate().map(part_of).collect()
    }

    /// The report, cut so that each piece fits, and whether something had to be left out.
    fn reports(&self, bytes_max: usize) -> (Vec<Vec<ReportItem>>, bool) {
        let sentence_max = tlv::HEADER_BYTES + NSLP_REPORT_TEXT_BYTES_MAX.next_multiple_of(4);
        let sentence_bytes = if self.sentence.is_empty() { 0 } else { sentence_max };
        let room = bytes_max.saturating_sub(PART_BYTES);
        let mut left = room.saturating_sub(sentence_bytes);
        let (mut reports, mut report) = (Vec::new(), Vec::new());
        let (mut items, mut bytes) = (0, 0);
        for item in self.report.iter().flat_map(|item| pieces(item, room)) {
            let size = tlv::HEADER_BYTES + report::encode(&item).1.len().next_multiple_of(4);
            if size > left {
                reports.push(std::mem::take(&mut report));
                left = room;
            }
            items += 1;
            bytes += size;
            let is_too_much = items > NSLP_REPORT_ITEMS_MAX || bytes > NSLP_ANSWER_BYTES_MAX;
            if size > left || reports.len() >= usize::from(NSLP_PARTS_MAX) || is_too_much {
                if reports.is_empty() || !report.is_empty() {
                    reports.push(report);
                }
                return (reports, true);
            }
            left -= size;
            report.push(item);
        }
        if reports.is_empty() || !report.is_empty() {
            reports.push(report);
        }
        (reports, false)
    }

    fn without_report(&self) -> Answer {
        let Answer { nonce, node, hop, code, is_last, hop_rtt_us, .. } = *self;
        Answer { nonce, node, hop, code, is_last, hop_rtt_us, sentence: String::new(), report: Vec::new() }
    }
}

/// The item; if it is an instance with more counters than fit, the same several times with some of them each.
fn pieces(item: &ReportItem, room: usize) -> Vec<ReportItem> {
    let ReportItem::Module { instance, module, version, state, lifetime_s, counters } = item else {
        return vec![item.clone()];
    };
    let with = |counters: Vec<(String, u64)>| ReportItem::Module {
        instance: instance.clone(),
        module: module.clone(),
        version: version.clone(),
        state: state.clone(),
        lifetime_s: *lifetime_s,
        counters,
    };
    let own = tlv::HEADER_BYTES + report::encode(&with(Vec::new())).1.len();
    let (mut pieces, mut piece, mut size) = (Vec::new(), Vec::new(), own);
    for (name, value) in counters {
        // Its length, the name, the value.
        let more = 1 + name.len().min(NAME_BYTES_MAX) + 8;
        if size + more + 3 > room && !piece.is_empty() {
            pieces.push(with(std::mem::take(&mut piece)));
            size = own;
        }
        size += more;
        piece.push((name.clone(), *value));
    }
    pieces.push(with(piece));
    pieces
}

/// Puts the parts of one answer together. Parts of another answer of the same node make it begin anew.
#[derive(Clone, Debug, Default)]
pub struct Merger {
    /// What the parts have in common, from the last one that came.
    head: Option<Answer>,
    parts: Vec<Option<Vec<ReportItem>>>,
    items: usize,
    bytes: usize,
}

impl Merger {
    /// Takes a part; returns the whole answer if it was the last one that was missing.
    ///
    /// The caller sees to it that all parts are of one request, node and hop. `is_last` stays once it was said.
    pub fn push(&mut self, part: AnswerPart) -> Option<Answer> {
        let AnswerPart { mut answer, part, parts, .. } = part;
        let report = std::mem::take(&mut answer.report);
        let fits = self.head.as_ref().is_some_and(|head| head.code == answer.code);
        if !fits || self.parts.len() != usize::from(parts) {
            self.parts = vec![None; usize::from(parts)];
            self.head = None;
            (self.items, self.bytes) = (0, 0);
        }
        if let Some(head) = &self.head {
            answer.is_last |= head.is_last;
            answer.hop_rtt_us = answer.hop_rtt_us.or(head.hop_rtt_us);
            if part != 0 {
                answer.sentence.clone_from(&head.sentence);
            }
        }
        self.head = Some(answer);
        let slot = self.parts.get_mut(usize::from(part))?;
        if slot.is_none() {
            let items = self.items + report.len();
            let bytes = self.bytes + report.iter().map(|item| report::encode(item).1.len()).sum::<usize>();
            // Nobody who keeps to the rules sends more; the answer then stays incomplete.
            if items <= NSLP_REPORT_ITEMS_MAX && bytes <= NSLP_ANSWER_BYTES_MAX {
                (self.items, self.bytes) = (items, bytes);
                *slot = Some(report);
            }
        }
        self.whole()
    }

    /// Whether all parts are there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(Option::is_some)
    }

    fn whole(&self) -> Option<Answer> {
        if !self.is_whole() {
            return None;
        }
        let mut answer = self.head.clone()?;
        for item in self.parts.iter().flatten().flatten() {
            join(&mut answer.report, item);
        }
        Some(answer)
    }
}

/// Appends an item; an instance that stands there already only gets more counters.
fn join(report: &mut Vec<ReportItem>, item: &ReportItem) {
    if let (
        Some(ReportItem::Module { instance, module, counters, .. }),
        ReportItem::Module { instance: same, module: same_module, counters: more, .. },
    ) = (report.last_mut(), item)
        && (&*instance, &*module) == (same, same_module)
    {
        counters.extend(more.iter().cloned());
        return;
    }
    report.push(item.clone());
}

//! The ends of instances: removed, expired, failed, no longer trusted.

use std::collections::BTreeMap;

use crate::base::limits::{
    CONTROLLER_STEPS_MAX, NONCES_FORGOTTEN_PER_STEP, NSLP_REPORT_TEXT_BYTES_MAX, SENTENCE_BYTES_MAX,
};
use crate::base::time::Instant;
use crate::controller::admission::{self, refusal};
use crate::controller::api::{ControllerOutput, Facts};
use crate::controller::fetches::Fetches;
use crate::controller::machine::{Controller, Kept, State, cleaned};
use crate::controller::stored::Wanted;
use crate::controller::trust::Trust;
use crate::controller::url::Url;
use crate::signaling::nslp::api::{Happening, Token};
use crate::wire::nslp::answer::AnswerCode;

/// How an instance came to its end at the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It failed too often. The controller asks for its unloading, so that its name is free.
    Failed(String),
    /// The node's owner unloaded it.
    Unloaded,
}

impl Controller {
    /// An instance that signalling may have set up came to its end, and not by [`ControllerOutput::Unload`].
    pub fn instance_ended(&mut self, now: Instant, name: &str, ended: &Ended) {
        if !self.instances.contains_key(name) {
            return;
        }
        match ended {
            Ended::Failed(why) => {
                self.unload(name, "it failed");
                self.end(now, name, AnswerCode::Failed, &format!("it failed too often, and was removed: {why}"));
            }
            Ended::Unloaded => self.end(now, name, AnswerCode::Removed, "the node's owner removed it"),
        }
    }

    /// Does what is due: at most [`CONTROLLER_STEPS_MAX`] steps; what is left is due at once.
    pub fn expire(&mut self, now: Instant, facts: &Facts) {
        self.wall = (now, facts.wall_ms);
        self.nonces.forget(facts.wall_ms, NONCES_FORGOTTEN_PER_STEP);
        for _ in 0..CONTROLLER_STEPS_MAX {
            let Some((_, name)) = self.expiries.first().filter(|(at, _)| *at <= now).cloned() else { break };
            self.unload(&name, "its lifetime is over");
            self.end(now, &name, AnswerCode::Expired, "its lifetime is over, and nobody refreshed it");
        }
        for _ in 0..CONTROLLER_STEPS_MAX {
            let Some(id) = self.fetches.overdue(now) else { break };
            self.outputs.push_back(ControllerOutput::CancelFetch(id));
            let lost = Err(Fetches::lost(self.config.fetch_timeout));
            if let Some(done) = self.fetches.finished(now, id, lost, &self.config) {
                self.install_all(now, done);
            }
        }
        self.restore_next(now, facts);
        self.start_fetches(now);
    }

    /// Takes a new trust file. What it no longer allows is removed.
    pub fn set_trust(&mut self, now: Instant, trust: Trust) {
        self.config.trust = trust;
        let mut counts: BTreeMap<[u8; 32], u32> = BTreeMap::new();
        let mut refused = Vec::new();
        for (name, kept) in &self.instances {
            let Some(package) = self.packages.get(&kept.wanted.module.digest) else { continue };
            let allowed = self.may_run(&kept.wanted, &package.module, package.bytes_len);
            let allowed = allowed.and_then(|requester| {
                let grant = admission::grant(requester, &kept.wanted.module, &package.module.manifest)?;
                let lost = grant.lacks(&kept.grant).join(", ");
                let sentence = format!("it may no longer {lost}");
                if lost.is_empty() { Ok(()) } else { Err(refusal(AnswerCode::NotAllowed, sentence)) }
            });
            let allowed = allowed.and_then(|()| {
                let count = counts.entry(kept.wanted.key).or_default();
                *count += 1;
                let max = self.config.trust.by_key(&kept.wanted.key).map_or(0, |requester| requester.instances);
                let sentence = format!("only {max} instances of its requester are allowed");
                if *count <= max { Ok(()) } else { Err(refusal(AnswerCode::NotAllowed, sentence)) }
            });
            if let Err(refusal) = allowed {
                refused.push((name.clone(), refusal.sentence));
            }
        }
        for (name, why) in refused {
            self.unload(&name, "the trust file does not allow it any more");
            let sentence = format!("the node's trust file does not allow it any more: {why}");
            self.end(now, &name, AnswerCode::Removed, &sentence);
        }
        let pending = self.pending.values();
        let is_gone = |key| self.config.trust.by_key(key).is_none();
        let gone = pending.filter(|pending| is_gone(&pending.wanted.key)).map(|pending| pending.wanted.name.clone());
        for name in gone.collect::<Vec<_>>() {
            let sentence = "its requester is no longer in the node's trust file";
            self.give_up(&name, AnswerCode::NotAllowed, sentence);
        }
        self.start_fetches(now);
    }

    /// Removes an instance for its requester.
    pub(super) fn remove_asked(&mut self, now: Instant, token: Token, name: &str) {
        let was_pending = self.give_up(name, AnswerCode::Removed, "it was removed before it ran");
        if !self.instances.contains_key(name) {
            let (code, sentence) = if was_pending {
                (AnswerCode::Removed, "it was about to be installed, and is not any more")
            } else {
                (AnswerCode::NotInstalled, "there is no instance of this name and key here")
            };
            self.decide(token, code, sentence);
            return;
        }
        self.unload(name, "its requester removed it");
        let Some(Kept { wanted, version, state, .. }) = self.forget(name) else { return };
        if let State::Starting(tokens) = state {
            self.decide_all(tokens, AnswerCode::Removed, "it was removed before it ran");
        }
        let sentence = format!("{} {version} was removed", wanted.module.name);
        self.note(&format!("{name}: {sentence} by {}", self.requester_name(&wanted.key)));
        self.post(now, &wanted, &version, "removed", &sentence);
        self.decide(token, AnswerCode::Removed, &sentence);
    }

    /// Ends an instance that waits for its package; false if there is none of this name.
    fn give_up(&mut self, name: &str, code: AnswerCode, sentence: &str) -> bool {
        let Some(pending) = self.pending.remove(name) else { return false };
        if let Some(id) = self.fetches.leave(name) {
            self.outputs.push_back(ControllerOutput::CancelFetch(id));
        }
        self.decide_all(pending.tokens, code, sentence);
        true
    }

    fn unload(&mut self, name: &str, reason: &str) {
        self.outputs.push_back(ControllerOutput::Unload { name: name.to_owned(), reason: reason.to_owned() });
    }

    /// Forgets an instance and tells all who want to know.
    fn end(&mut self, now: Instant, name: &str, code: AnswerCode, sentence: &str) {
        let Some(Kept { wanted, version, state, .. }) = self.forget(name) else { return };
        self.note(&format!("{name}: {} {version}: {sentence}", wanted.module.name));
        let words = [(AnswerCode::Expired, "expired"), (AnswerCode::Removed, "removed")];
        let event = words.iter().find(|(known, _)| *known == code).map_or("failed", |(_, word)| word);
        if let State::Starting(tokens) = state {
            self.decide_all(tokens, code, sentence);
        }
        let happening =
            Happening { nonce: wanted.nonce, code, sentence: cleaned(sentence, NSLP_REPORT_TEXT_BYTES_MAX) };
        self.outputs.push_back(ControllerOutput::Tell(happening));
        self.post(now, &wanted, &version, event, sentence);
    }

    /// Tells the URL that the requester named, if any.
    pub(super) fn post(&mut self, now: Instant, wanted: &Wanted, version: &str, event: &str, sentence: &str) {
        if wanted.module.notify.is_empty() {
            return;
        }
        let body = serde_json::json!({
            "event": event,
            "node": self.config.node.to_string(),
            "instance": wanted.label,
            "module": wanted.module.name,
            "version": version,
            "sentence": cleaned(sentence, SENTENCE_BYTES_MAX),
            "time_ms": self.wall_ms(now),
        });
        // Written anew, so that whoever connects reads the same host as was allowed.
        let url =
            Url::parse(&wanted.module.notify).map_or_else(|_| wanted.module.notify.clone(), |url| url.to_string());
        self.outputs.push_back(ControllerOutput::Post { url, body: body.to_string() });
    }
}

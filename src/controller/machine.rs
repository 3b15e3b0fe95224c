//! The controller: decides on requests, and keeps what it set up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::base::crypto::{sha256, to_hex};
use crate::base::limits::{
    NONCES_FORGOTTEN_PER_STEP, NSLP_REPORT_TEXT_BYTES_MAX, PENDING_MAX, PENDING_TOKENS_MAX, SENTENCE_BYTES_MAX,
    SIGNALLED_MAX,
};
use crate::base::time::Instant;
use crate::container::grant::Grant;
use crate::container::module::Module;
use crate::controller::admission::{self, Refusal, Who, refusal};
use crate::controller::api::{
    Asked, ControllerConfig, ControllerOutput, Facts, FetchId, FetchProblem, SignalledView, StoreOp,
};
use crate::controller::fetches::{Fetches, Source};
use crate::controller::nonces::{Nonces, Refused};
use crate::controller::stored::Wanted;
use crate::controller::trust::{Requester, Trust, short_key};
use crate::controller::url::Url;
use crate::signaling::nslp::api::{Decision, Token};
use crate::wire::nslp::answer::AnswerCode;
use crate::wire::nslp::request::{ModuleRequest, Operation};

mod install;
mod lives;
mod restore;

pub use lives::Ended;

/// An instance whose package is on its way.
#[derive(Debug)]
struct Pending {
    wanted: Wanted,
    /// Requests that wait for it.
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The node loads it; these requests wait for it.
    Starting(Vec<Token>),
    /// It runs.
    Running,
}

/// An instance that was given to the node.
#[derive(Debug)]
struct Kept {
    wanted: Wanted,
    state: State,
    version: String,
    /// What it got.
    grant: Box<Grant>,
    expires_at: Instant,
}

/// A package that instances use.
#[derive(Debug)]
struct Package {
    module: Module,
    bytes_len: u64,
    /// Its bytes, until they are stored.
    unstored: Option<Vec<u8>>,
}

/// Decides on signed requests, has packages fetched, checks them, has them loaded, keeps their lifetimes.
///
/// Give one input ([`ask`](Self::ask), [`fetched`](Self::fetched), [`loaded`](Self::loaded),
/// [`instance_ended`](Self::instance_ended), [`set_trust`](Self::set_trust), [`restore`](Self::restore),
/// [`expire`](Self::expire)), then call [`poll`](Self::poll) until it returns `None`, doing each output in this order,
/// and call [`expire`](Self::expire) when [`deadline`](Self::deadline) has come.
#[derive(Debug)]
pub struct Controller {
    config: ControllerConfig,
    nonces: Nonces,
    pending: BTreeMap<String, Pending>,
    instances: BTreeMap<String, Kept>,
    expiries: BTreeSet<(Instant, String)>,
    packages: BTreeMap<[u8; 32], Package>,
    /// Libraries that the owner installed.
    libraries: Vec<Module>,
    fetches: Fetches,
    restoring: restore::Restoring,
    outputs: VecDeque<ControllerOutput>,
    /// When the clock was read last, and what it showed.
    wall: (Instant, u64),
}

impl Controller {
    /// A controller that keeps nothing yet.
    #[must_use]
    pub fn new(config: ControllerConfig) -> Controller {
        Controller {
            config,
            nonces: Nonces::default(),
            pending: BTreeMap::new(),
            instances: BTreeMap::new(),
            expiries: BTreeSet::new(),
            packages: BTreeMap::new(),
            libraries: Vec::new(),
            fetches: Fetches::default(),
            restoring: restore::Restoring::default(),
            outputs: VecDeque::new(),
            wall: (Instant::START, 0),
        }
    }

    /// The owner's trust, as it is now.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.config.trust
    }

    /// The libraries that are there now for modules that require them. What runs already keeps its own.
    pub fn set_libraries(&mut self, libraries: Vec<Module>) {
        self.libraries = libraries;
    }

    /// The next output; `None` when there are no more.
    pub fn poll(&mut self) -> Option<ControllerOutput> {
        self.outputs.pop_front()
    }

    /// When [`Controller::expire`] is to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let expiry = self.expiries.first().map(|(at, _)| *at);
        let at_once = (!self.restoring.is_done()).then_some(self.wall.0);
        [expiry, self.fetches.deadline(), at_once].into_iter().flatten().min()
    }

    /// Decides on a request; or begins what it takes to decide.
    pub fn ask(&mut self, now: Instant, facts: &Facts, asked: Asked) {
        self.wall = (now, facts.wall_ms);
        self.nonces.forget(facts.wall_ms, NONCES_FORGOTTEN_PER_STEP);
        let (token, key) = (asked.token, asked.authorisation.map(|authorisation| authorisation.key));
        if let Err(Refusal { code, sentence }) = self.try_ask(now, facts, asked) {
            // Strangers must not fill the log: not with requests of their own, nor with those of others that they
            // overheard. What is out of time or scope can be sent again and again, as it uses up no nonce.
            use AnswerCode::{BadSignature, NotSigned, OutOfScope, OutOfTime, Replayed, UnknownKey};
            let anybodys = [BadSignature, NotSigned, OutOfScope, OutOfTime, Replayed, UnknownKey];
            if let Some(key) = key.filter(|_| !anybodys.contains(&code)) {
                self.note(&format!("{} is refused: {sentence}", self.requester_name(&key)));
            }
            self.decide(token, code, &sentence);
        }
        self.start_fetches(now);
    }

    /// A package came, or did not.
    pub fn fetched(&mut self, now: Instant, facts: &Facts, id: FetchId, result: Result<Vec<u8>, FetchProblem>) {
        self.wall = (now, facts.wall_ms);
        if let Some(done) = self.fetches.finished(now, id, result, &self.config) {
            self.install_all(now, done);
        }
        self.start_fetches(now);
    }

    /// Instances that signalling set up, or is about to.
    #[must_use]
    pub fn signalled(&self, now: Instant) -> Vec<SignalledView> {
        let view = |wanted: &Wanted, version: &str, expires_in, state| SignalledView {
            name: wanted.name.clone(),
            requester: self.requester_name(&wanted.key),
            module: wanted.module.name.clone(),
            version: version.to_owned(),
            digest: to_hex(&wanted.module.digest),
            package_bytes: self.packages.get(&wanted.module.digest).map_or(0, |package| package.bytes_len),
            expires_in,
            state,
        };
        let kept = self.instances.values().map(|kept| {
            let state = if kept.state == State::Running { "running" } else { "starting" };
            view(&kept.wanted, &kept.version, kept.expires_at.since(now), state)
        });
        let pending = self.pending.values().map(|pending| {
            let lifetime = Duration::from_millis(pending.wanted.module.lifetime_ms);
            view(&pending.wanted, "", lifetime, self.fetches.state_of(&pending.wanted.name))
        });
        kept.chain(pending).collect()
    }

    /// Time that the instance of this name has left to live; `None` if signalling did not set it up.
    #[must_use]
    pub fn expires_in(&self, now: Instant, name: &str) -> Option<Duration> {
        self.instances.get(name).map(|kept| kept.expires_at.since(now))
    }

    fn try_ask(&mut self, now: Instant, facts: &Facts, asked: Asked) -> Result<(), Refusal> {
        let requester = match admission::who(&self.config.trust, &asked)? {
            Who::Known(requester) => requester.clone(),
            Who::Stranger(sentence) => {
                self.decide(asked.token, AnswerCode::Probed, &sentence);
                return Ok(());
            }
        };
        let request = &asked.request;
        admission::in_time(request, facts.wall_ms)?;
        admission::in_scope(request, self.config.node)?;
        match self.nonces.take(&requester.key, request.nonce, request.expires_ms) {
            Ok(op) => self.outputs.push_back(ControllerOutput::Store(op)),
            Err(Refused::Seen) if self.is_kept_by(&requester, &asked) => return Ok(()),
            Err(refused) => return Err(admission::not_new(refused, &requester)),
        }
        let name = match request.operation {
            Operation::Probe => None,
            Operation::Setup | Operation::Refresh | Operation::Remove => {
                Some(admission::instance_name(&request.instance, &requester.key)?)
            }
        };
        let runs = name.as_ref().is_some_and(|name| self.has(name));
        admission::conditions(&request.conditions, &self.config.properties, facts, runs)?;
        match (request.operation, name) {
            (Operation::Setup | Operation::Refresh, Some(name)) => self.set_up(now, &requester, asked, name),
            (Operation::Remove, Some(name)) => {
                self.remove_asked(now, asked.token, &name);
                Ok(())
            }
            (Operation::Setup | Operation::Refresh | Operation::Remove | Operation::Probe, _) => {
                self.probe(&requester, &asked);
                Ok(())
            }
        }
    }

    /// Whether a request that was seen before is the one that keeps an instance. Then its repetition, by a detour or
    /// after a lost answer, is no replay: it is answered again, and does nothing.
    fn is_kept_by(&mut self, requester: &Requester, asked: &Asked) -> bool {
        let operation = asked.request.operation;
        let Ok(name) = admission::instance_name(&asked.request.instance, &requester.key) else { return false };
        if !matches!(operation, Operation::Setup | Operation::Refresh) {
            return false;
        }
        let digest = sha256(&asked.signed);
        let is_it = |wanted: &Wanted| wanted.request_digest == digest && wanted.nonce == asked.request.nonce;
        if let Some(pending) = self.pending.get_mut(&name).filter(|pending| is_it(&pending.wanted)) {
            return wait(&mut pending.tokens, asked.token);
        }
        match self.instances.get_mut(&name).filter(|kept| is_it(&kept.wanted)) {
            Some(Kept { state: State::Starting(tokens), .. }) => wait(tokens, asked.token),
            Some(Kept { state: State::Running, .. }) => {
                let sentence = "this request is what it lives by; its lifetime stays as it was";
                self.decide(asked.token, AnswerCode::Refreshed, sentence);
                true
            }
            None => false,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.instances.contains_key(name) || self.pending.contains_key(name)
    }

    fn probe(&mut self, requester: &Requester, asked: &Asked) {
        if requester.probe {
            self.outputs.push_back(ControllerOutput::Report { token: asked.token, asks: asked.request.asks });
            return;
        }
        let sentence = format!("only that a node is here: {} may not see more", requester.name);
        self.decide(asked.token, AnswerCode::Probed, &sentence);
    }

    /// Sets an instance up, or goes on with it.
    fn set_up(&mut self, now: Instant, requester: &Requester, asked: Asked, name: String) -> Result<(), Refusal> {
        let Some(module) = asked.request.module else {
            return Err(refusal(AnswerCode::Invalid, "the request names no module; name one, with its URL and digest"));
        };
        admission::may_have(requester, &module, &self.config)?;
        admission::properties(&module)?;
        self.has_room(requester, &name, &module)?;
        let wanted = Wanted {
            name,
            label: asked.request.instance,
            key: requester.key,
            nonce: asked.request.nonce,
            request_digest: sha256(&asked.signed),
            module,
        };
        if let Some(pending) = self.pending.get_mut(&wanted.name) {
            if !pending.wanted.is_same_as(&wanted) {
                let sentence = format!("{} is just being set up with something else; ask again later", wanted.label);
                return Err(refusal(AnswerCode::Busy, sentence));
            }
            if !wait(&mut pending.tokens, asked.token) {
                return Err(too_many_wait(&wanted));
            }
            let has_moved = pending.wanted.module.url != wanted.module.url;
            pending.wanted = wanted.clone();
            if has_moved {
                self.fetch_from_elsewhere(requester, &wanted);
            }
            return Ok(());
        }
        match self.instances.get_mut(&wanted.name) {
            Some(Kept { state: State::Starting(tokens), wanted: own, .. }) => {
                if !own.is_same_as(&wanted) || !wait(tokens, asked.token) {
                    return Err(too_many_wait(&wanted));
                }
                *own = wanted;
                return Ok(());
            }
            Some(kept) if kept.wanted.is_same_as(&wanted) => {
                self.refresh(now, asked.token, wanted);
                return Ok(());
            }
            Some(_) | None => {}
        }
        if let Some(package) = self.packages.get(&wanted.module.digest) {
            let (module, bytes_len) = (package.module.clone(), package.bytes_len);
            return self.install(now, wanted, vec![asked.token], module, bytes_len).map_err(|(refusal, _)| refusal);
        }
        if self.pending.len() >= PENDING_MAX {
            let sentence = format!("{PENDING_MAX} packages are on their way to this node; ask again later");
            return Err(refusal(AnswerCode::Busy, sentence));
        }
        self.fetches.join(source_of(requester, &wanted.module), &wanted.name);
        self.pending.insert(wanted.name.clone(), Pending { wanted, tokens: vec![asked.token] });
        Ok(())
    }

    /// The package of a pending instance is to come from another URL: the last one that was asked for counts, as the one
    /// before may never answer.
    fn fetch_from_elsewhere(&mut self, requester: &Requester, wanted: &Wanted) {
        if let Some(id) = self.fetches.leave(&wanted.name) {
            self.outputs.push_back(ControllerOutput::CancelFetch(id));
        }
        self.fetches.join(source_of(requester, &wanted.module), &wanted.name);
    }

    fn has_room(&self, requester: &Requester, name: &str, module: &ModuleRequest) -> Result<(), Refusal> {
        if self.has(name) {
            return Ok(());
        }
        if self.instances.len() + self.pending.len() >= SIGNALLED_MAX {
            let sentence = format!("{SIGNALLED_MAX} instances run at this node; ask again later");
            return Err(refusal(AnswerCode::Busy, sentence));
        }
        let kept = self.instances.values().map(|kept| &kept.wanted);
        let all = kept.chain(self.pending.values().map(|pending| &pending.wanted));
        let own = all.filter(|wanted| wanted.key == requester.key).count();
        if own >= requester.instances as usize {
            let (who, max, module) = (&requester.name, requester.instances, &module.name);
            let sentence = format!("{who} may have {max} instances here, and has {own}; remove one before {module}");
            return Err(refusal(AnswerCode::NotAllowed, sentence));
        }
        Ok(())
    }

    fn start_fetches(&mut self, now: Instant) {
        self.outputs.extend(self.fetches.start(now, &self.config));
    }

    /// Who asked for an instance: the name in the trust file, otherwise the start of the key.
    #[must_use]
    pub fn requester_of(&self, instance: &str) -> Option<String> {
        self.instances.get(instance).map(|kept| self.requester_name(&kept.wanted.key))
    }

    /// The name in the trust file; otherwise the start of the key.
    fn requester_name(&self, key: &[u8; 32]) -> String {
        let requester = self.config.trust.by_key(key);
        requester.map_or_else(|| short_key(key), |requester| requester.name.clone())
    }

    fn decide(&mut self, token: Token, code: AnswerCode, sentence: &str) {
        let decision = Decision { code, sentence: cleaned(sentence, NSLP_REPORT_TEXT_BYTES_MAX), report: Vec::new() };
        self.outputs.push_back(ControllerOutput::Decide { token, decision });
    }

    fn decide_all(&mut self, tokens: Vec<Token>, code: AnswerCode, sentence: &str) {
        for token in tokens {
            self.decide(token, code, sentence);
        }
    }

    fn store(&mut self, op: StoreOp) {
        self.outputs.push_back(ControllerOutput::Store(op));
    }

    fn note(&mut self, sentence: &str) {
        self.outputs.push_back(ControllerOutput::Note(cleaned(sentence, SENTENCE_BYTES_MAX)));
    }

    /// What the clock shows at `now`, in ms since 1970-01-01 UTC.
    fn wall_ms(&self, now: Instant) -> u64 {
        let since = u64::try_from(now.since(self.wall.0).as_millis()).unwrap_or(u64::MAX);
        self.wall.1.saturating_add(since)
    }
}

/// From where a package is fetched. The URL is written anew, so that whoever connects reads the same host as was allowed.
fn source_of(requester: &Requester, module: &ModuleRequest) -> Source {
    let url = Url::parse(&module.url).map_or_else(|_| module.url.clone(), |url| url.to_string());
    Source { url, digest: module.digest, bytes_max: requester.package_bytes }
}

/// Has one more request wait; false if too many do already.
fn wait(tokens: &mut Vec<Token>, token: Token) -> bool {
    let has_room = tokens.len() < PENDING_TOKENS_MAX;
    if has_room {
        tokens.push(token);
    }
    has_room
}

fn too_many_wait(wanted: &Wanted) -> Refusal {
    refusal(AnswerCode::Busy, format!("{} is just being set up; ask again later", wanted.label))
}

/// A sentence fit for an answer and for a log: on one line, and not too long.
fn cleaned(sentence: &str, bytes_max: usize) -> String {
    let mut text: String = sentence.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.len() > bytes_max {
        let end = (0..=bytes_max.saturating_sub(3)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests;

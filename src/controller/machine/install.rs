//! From a package to a running instance.

use std::time::Duration;

use crate::base::amount::span_text;
use crate::base::crypto::{sha256, to_hex};
use crate::base::time::Instant;
use crate::container::grant::Grant;
use crate::container::module::Module;
use crate::container::package::unpack;
use crate::container::properties::shortened;
use crate::container::resolver;
use crate::controller::admission::{self, Refusal, refusal};
use crate::controller::api::{ControllerOutput, FetchProblem, StoreOp};
use crate::controller::fetches::{Done, Source};
use crate::controller::machine::{Controller, Kept, Package, State};
use crate::controller::stored::{self, Wanted};
use crate::controller::trust::Requester;
use crate::signaling::nslp::api::Token;
use crate::wire::nslp::answer::AnswerCode;

/// Checks that bytes are the package of this digest, and that it holds a module. Runs no code of it.
pub(super) fn open_package(bytes: &[u8], digest: &[u8; 32], url: &str) -> Result<Module, Refusal> {
    let url = shortened(url);
    let got = sha256(bytes);
    if got != *digest {
        let (got, want) = (to_hex(&got[..8]), to_hex(&digest[..8]));
        let sentence =
            format!("package {url}: its SHA-256 begins with {got}, not {want}; sign for the one that is there");
        return Err(refusal(AnswerCode::WrongDigest, sentence));
    }
    let broken = |problem: String| refusal(AnswerCode::BadPackage, format!("package {url}: {problem}"));
    let source = unpack(bytes).map_err(|error| broken(error.to_string()))?;
    Module::check(source).map_err(|error| broken(error.to_string()))
}

impl Controller {
    /// Installs what waited for a fetch, or tells why not.
    pub(super) fn install_all(&mut self, now: Instant, done: Done) {
        let Done { source, waiters, result } = done;
        let opened = match result {
            Ok(bytes) if bytes.len() as u64 > source.bytes_max => Err(FetchProblem::TooLarge),
            other => other,
        };
        let opened = opened.map(|bytes| (open_package(&bytes, &source.digest, &source.url), bytes));
        for name in waiters {
            let Some(pending) = self.pending.remove(&name) else { continue };
            let (wanted, tokens) = (pending.wanted, pending.tokens);
            let result = match &opened {
                Ok((Ok(module), bytes)) => {
                    let package = Package {
                        module: module.clone(),
                        bytes_len: bytes.len() as u64,
                        unstored: Some(bytes.clone()),
                    };
                    let digest = wanted.module.digest;
                    self.packages.entry(digest).or_insert(package);
                    let installed = self.install(now, wanted, tokens, module.clone(), bytes.len() as u64);
                    if installed.is_err() {
                        self.release(&digest);
                    }
                    installed
                }
                Ok((Err(refusal), _)) => Err((refusal.clone(), tokens)),
                Err(problem) => Err((self.fetch_refusal(&wanted, &source, problem), tokens)),
            };
            if let Err((Refusal { code, sentence }, tokens)) = result {
                self.note(&format!("{name} is not installed: {sentence}"));
                self.decide_all(tokens, code, &sentence);
            }
        }
    }

    fn fetch_refusal(&self, wanted: &Wanted, source: &Source, problem: &FetchProblem) -> Refusal {
        match (problem, self.config.trust.by_key(&wanted.key)) {
            (FetchProblem::TooLarge, Some(requester)) => admission::too_large(requester, &source.url),
            (FetchProblem::TooLarge, None) => refusal(AnswerCode::TooLarge, "the package is too large"),
            (FetchProblem::Failed(problem), _) => {
                refusal(AnswerCode::FetchFailed, format!("the package cannot be fetched: {problem}"))
            }
        }
    }

    /// Has a checked module loaded, in the place of what ran under its name. Its package must be in the table.
    ///
    /// The trust is asked again: it may have changed while the package was on its way.
    pub(super) fn install(
        &mut self,
        now: Instant,
        wanted: Wanted,
        tokens: Vec<Token>,
        module: Module,
        package_bytes: u64,
    ) -> Result<(), (Refusal, Vec<Token>)> {
        let (module, properties, grant) = match self.may_install(&wanted, module, package_bytes) {
            Ok(may) => may,
            Err(refusal) => return Err((refusal, tokens)),
        };
        if let Some(old) = self.take_out(&wanted.name) {
            let name = wanted.name.clone();
            self.outputs.push_back(ControllerOutput::Unload { name, reason: "it is replaced".to_owned() });
            if let State::Starting(tokens) = old.state {
                self.decide_all(tokens, AnswerCode::Removed, "it was replaced before it ran");
            }
            if old.wanted.module.digest != wanted.module.digest {
                self.release(&old.wanted.module.digest);
            }
        }
        let expires_at = now + Duration::from_millis(wanted.module.lifetime_ms);
        let name = wanted.name.clone();
        self.expiries.insert((expires_at, name.clone()));
        let version = module.manifest.version.to_string();
        let kept = Kept { wanted, state: State::Starting(tokens), version, grant: grant.clone(), expires_at };
        self.instances.insert(name.clone(), kept);
        self.outputs.push_back(ControllerOutput::Load { name, module, properties, grant });
        Ok(())
    }

    /// The module with its libraries, its properties, and what it gets.
    fn may_install(
        &self,
        wanted: &Wanted,
        module: Module,
        package_bytes: u64,
    ) -> Result<(Module, toml::Table, Box<Grant>), Refusal> {
        let requester = self.may_run(wanted, &module, package_bytes)?;
        let grant = admission::grant(requester, &wanted.module, &module.manifest)?;
        let bound = resolver::bind(module, &self.libraries).map_err(|problem| {
            let remedy = "the node's owner can install libraries with `netserv module install`";
            refusal(AnswerCode::BadPackage, format!("{problem}; {remedy}"))
        })?;
        Ok((bound, admission::properties(&wanted.module)?, Box::new(grant)))
    }

    /// Whether the trust, as it is now, allows an instance.
    pub(super) fn may_run(&self, wanted: &Wanted, module: &Module, package_bytes: u64) -> Result<&Requester, Refusal> {
        let Some(requester) = self.config.trust.by_key(&wanted.key) else {
            let sentence = "its requester is no longer in the node's trust file";
            return Err(refusal(AnswerCode::NotAllowed, sentence));
        };
        admission::may_have(requester, &wanted.module, &self.config)?;
        admission::fits(requester, &wanted.module, &module.manifest, package_bytes)?;
        Ok(requester)
    }

    /// The node loaded an instance, or could not. To be told directly after [`ControllerOutput::Load`] was done.
    pub fn loaded(&mut self, now: Instant, name: &str, result: Result<(), String>) {
        let Some(kept) = self.instances.get_mut(name) else { return };
        let State::Starting(tokens) = std::mem::replace(&mut kept.state, State::Running) else { return };
        let (wanted, version) = (kept.wanted.clone(), kept.version.clone());
        let module = &wanted.module.name;
        if let Err(problem) = result {
            self.forget(name);
            let sentence = format!("{module} {version} did not start: {problem}");
            self.note(&format!("{name}: {sentence}"));
            self.post(now, &wanted, &version, "failed", &sentence);
            self.decide_all(tokens, AnswerCode::StartFailed, &sentence);
            return;
        }
        // Stored only now: what makes the node fail when it is loaded is not loaded again by the next start.
        self.persist(now, name);
        let left = self.expires_in(now, name).unwrap_or_default();
        let left = span_text(Duration::from_secs(left.as_secs()));
        let who = self.requester_name(&wanted.key);
        self.note(&format!("{name}: {module} {version} runs for {who}, for {left}"));
        // An instance that was restored is no news to anybody.
        if !tokens.is_empty() {
            let sentence = format!("{module} {version} runs, for {left}");
            self.post(now, &wanted, &version, "installed", &sentence);
            self.decide_all(tokens, AnswerCode::Installed, &sentence);
        }
    }

    /// Sets the lifetime of a running instance anew.
    pub(super) fn refresh(&mut self, now: Instant, token: Token, wanted: Wanted) {
        let name = wanted.name.clone();
        let lifetime = Duration::from_millis(wanted.module.lifetime_ms);
        let Some(kept) = self.instances.get_mut(&name) else { return };
        self.expiries.remove(&(kept.expires_at, name.clone()));
        kept.expires_at = now + lifetime;
        self.expiries.insert((kept.expires_at, name.clone()));
        kept.wanted = wanted;
        let sentence = format!("{} {} runs, for {}", kept.wanted.module.name, kept.version, span_text(lifetime));
        self.persist(now, &name);
        self.decide(token, AnswerCode::Refreshed, &sentence);
    }

    /// Stores an instance, and its package before it if that is not yet done.
    fn persist(&mut self, now: Instant, name: &str) {
        let wall_ms = self.wall_ms(now);
        let Some(kept) = self.instances.get(name) else { return };
        let left_ms = u64::try_from(kept.expires_at.since(now).as_millis()).unwrap_or(u64::MAX);
        let bytes = stored::encode(&kept.wanted, wall_ms.saturating_add(left_ms));
        let (key, digest) = (kept.wanted.store_key(), kept.wanted.module.digest);
        if let Some(package) = self.packages.get_mut(&digest).and_then(|package| package.unstored.take()) {
            self.store(StoreOp::Put { key: stored::package_key(&digest), bytes: package });
        }
        self.store(StoreOp::Put { key, bytes });
    }

    /// Takes an instance out of the tables, but for its package; the node is not told.
    pub(super) fn take_out(&mut self, name: &str) -> Option<Kept> {
        let kept = self.instances.remove(name)?;
        self.expiries.remove(&(kept.expires_at, name.to_owned()));
        Some(kept)
    }

    /// Takes an instance out of the tables and the store.
    pub(super) fn forget(&mut self, name: &str) -> Option<Kept> {
        let kept = self.take_out(name)?;
        self.store(StoreOp::Remove { key: kept.wanted.store_key() });
        self.release(&kept.wanted.module.digest);
        Some(kept)
    }

    /// Forgets a package that no instance uses any more.
    pub(super) fn release(&mut self, digest: &[u8; 32]) {
        if self.instances.values().any(|kept| kept.wanted.module.digest == *digest) {
            return;
        }
        // While instances are restored, one that still waits may need the stored package; what none needed goes then.
        let is_stored = self.packages.remove(digest).is_some_and(|package| package.unstored.is_none());
        if is_stored && !self.restoring.has_package(digest) {
            self.store(StoreOp::Remove { key: stored::package_key(digest) });
        }
    }
}

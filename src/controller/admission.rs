//! Whether a request is obeyed: every check on it, each with its answer code and a sentence that names the value and
//! the remedy. The checks stand here in the order in which they are made.

use std::collections::BTreeMap;

use crate::base::amount::{bytes_of, bytes_text, span_text};
use crate::base::crypto::ed25519_verify;
use crate::base::limits::{CLOCK_SKEW_MAX, CONDITIONS_MAX, NAME_BYTES_MAX, REQUEST_VALID_MAX};
use crate::container::grant::Grant;
use crate::container::manifest::Manifest;
use crate::container::manifest::asks::LIMIT_KEYS;
use crate::container::properties::{Properties, shortened, table_of_words};
use crate::controller::api::{Asked, ControllerConfig, Facts};
use crate::controller::nonces::Refused;
use crate::controller::trust::{Permission, Requester, Trust, limit_word, short_key};
use crate::controller::url::{Scheme, Url};
use crate::wire::nslp::answer::AnswerCode;
use crate::wire::nslp::request::{ModuleRequest, NodeId, Operation, Request};
use crate::wire::nslp::signing_bytes;

/// A request that is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: AnswerCode,
    pub(super) sentence: String,
}

pub(super) fn refusal(code: AnswerCode, sentence: impl Into<String>) -> Refusal {
    Refusal { code, sentence: sentence.into() }
}

fn refuse<T>(code: AnswerCode, sentence: impl Into<String>) -> Result<T, Refusal> {
    Err(refusal(code, sentence))
}

/// Who asks.
pub(super) enum Who<'a> {
    /// Someone in the trust file, who signed the request.
    Known(&'a Requester),
    /// Someone else, who only wants to know whether a node is there; with the sentence for them.
    Stranger(String),
}

/// Who made a request, and whether they did.
pub(super) fn who<'a>(trust: &'a Trust, asked: &Asked) -> Result<Who<'a>, Refusal> {
    let is_probe = asked.request.operation == Operation::Probe && asked.request.conditions.is_empty();
    let Some(authorisation) = &asked.authorisation else {
        if is_probe {
            let sentence = "only that a node is here: the probe is not signed";
            return Ok(Who::Stranger(sentence.to_owned()));
        }
        return refuse(AnswerCode::NotSigned, "the request is not signed; sign it with a key that this node trusts");
    };
    let Some(requester) = trust.by_key(&authorisation.key) else {
        let key = short_key(&authorisation.key);
        if is_probe {
            return Ok(Who::Stranger(format!("only that a node is here: the node's trust file has no key {key}")));
        }
        let sentence =
            format!("the node's trust file has no key {key}; ask its owner for `netserv trust add` with your key");
        return refuse(AnswerCode::UnknownKey, sentence);
    };
    if !ed25519_verify(&authorisation.key, &signing_bytes(&asked.signed), &authorisation.signature) {
        let key = short_key(&authorisation.key);
        let sentence = format!("the signature was not made with the key {key} over this request; sign it anew");
        return refuse(AnswerCode::BadSignature, sentence);
    }
    Ok(Who::Known(requester))
}

/// Whether it is the time of a request.
pub(super) fn in_time(request: &Request, wall_ms: u64) -> Result<(), Refusal> {
    let (issued_ms, expires_ms) = (request.issued_ms, request.expires_ms);
    let skew_ms = CLOCK_SKEW_MAX.as_millis() as u64;
    let seconds = |ms: u64| ms.div_ceil(1_000);
    if issued_ms > wall_ms.saturating_add(skew_ms) {
        let ahead = seconds(issued_ms - wall_ms);
        let sentence = format!("the request was made {ahead} s in the future by this node's clock; set both clocks");
        return refuse(AnswerCode::OutOfTime, sentence);
    }
    if expires_ms < wall_ms {
        let past = seconds(wall_ms - expires_ms);
        let sentence =
            format!("the request expired {past} s ago by this node's clock; make it anew, or set the clocks");
        return refuse(AnswerCode::OutOfTime, sentence);
    }
    if expires_ms < issued_ms || expires_ms - issued_ms > REQUEST_VALID_MAX.as_millis() as u64 {
        let valid = seconds(expires_ms.saturating_sub(issued_ms));
        let max = span_text(REQUEST_VALID_MAX);
        let sentence = format!("the request is valid for {valid} s; sign it for at most {max}");
        return refuse(AnswerCode::OutOfTime, sentence);
    }
    Ok(())
}

/// Whether this node may act on a request.
pub(super) fn in_scope(request: &Request, node: NodeId) -> Result<(), Refusal> {
    if request.scope.is_empty() || request.scope.iter().any(|start| node.matches(start)) {
        return Ok(());
    }
    let scope = shortened(&request.scope.join(", "));
    refuse(AnswerCode::OutOfScope, format!("the request is signed for the nodes {scope}; this node is {node}"))
}

/// The answer to a request that was not taken as a new one.
pub(super) fn not_new(refused: Refused, requester: &Requester) -> Refusal {
    let name = &requester.name;
    match refused {
        Refused::Seen => refusal(AnswerCode::Replayed, "this request was here before; sign a new one"),
        Refused::Forgotten => refusal(
            AnswerCode::OutOfTime,
            "this node's clock went back, and it has forgotten the requests of that time; sign a new one",
        ),
        Refused::KeyFull => {
            let sentence = format!("too many requests of {name} are valid; sign them for a shorter time, or wait");
            refusal(AnswerCode::Busy, sentence)
        }
        Refused::Full => refusal(AnswerCode::Busy, "too many requests are valid at this node; come again later"),
    }
}

/// Whether the conditions hold. Where `runs` says that the instance is there already, only those about the node's
/// properties count: an instance must not be in its own way when it is refreshed.
pub(super) fn conditions(
    conditions: &[String],
    properties: &BTreeMap<String, String>,
    facts: &Facts,
    runs: bool,
) -> Result<(), Refusal> {
    if conditions.len() > CONDITIONS_MAX {
        let sentence = format!("the request has {} conditions; at most {CONDITIONS_MAX} are read", conditions.len());
        return refuse(AnswerCode::Invalid, sentence);
    }
    for text in conditions {
        let shown = shortened(text);
        let wrong = |code, problem: String| refuse(code, format!("condition {shown:?}: {problem}"));
        let unknown = "write NAME=VALUE, memory>=SIZE, absent:MODULE or present:MODULE";
        let here = |name: &str| facts.modules.iter().any(|module| module == name);
        if let Some((key, amount)) = text.split_once(">=") {
            let Some(least) = bytes_of(amount).filter(|_| key.trim() == "memory") else {
                return wrong(AnswerCode::Invalid, unknown.to_owned());
            };
            if !runs && facts.memory_free_bytes < least {
                let free = bytes_text(facts.memory_free_bytes >> 20 << 20);
                return wrong(AnswerCode::ConditionFalse, format!("{free} are free"));
            }
        } else if let Some(name) = text.strip_prefix("absent:") {
            if !runs && here(name) {
                return wrong(AnswerCode::ConditionFalse, "it runs here".to_owned());
            }
        } else if let Some(name) = text.strip_prefix("present:") {
            if !runs && !here(name) {
                return wrong(AnswerCode::ConditionFalse, "it does not run here".to_owned());
            }
        } else {
            match text.split_once('=') {
                Some((key, want)) if !key.is_empty() => match properties.get(key) {
                    Some(value) if value == want => {}
                    Some(value) => {
                        let value = shortened(value);
                        return wrong(AnswerCode::ConditionFalse, format!("{key} is {value:?} here"));
                    }
                    None => return wrong(AnswerCode::ConditionFalse, format!("the node has no {key}")),
                },
                _ => return wrong(AnswerCode::Invalid, unknown.to_owned()),
            }
        }
    }
    Ok(())
}

/// What an instance is called at the node, so that requesters do not get into each other's way.
pub(super) fn instance_name(label: &str, key: &[u8; 32]) -> Result<String, Refusal> {
    let name = format!("{label}.{}", short_key(key));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if label.is_empty() || name.len() > NAME_BYTES_MAX || !label.chars().all(is_plain) {
        let max = NAME_BYTES_MAX - 9;
        let label = shortened(label);
        let sentence =
            format!("an instance cannot be called {label:?}; use 1 to {max} letters, digits, \".\", \"_\" and \"-\"");
        return refuse(AnswerCode::Invalid, sentence);
    }
    Ok(name)
}

/// Whether someone may have this module run here, as far as can be said without its package.
pub(super) fn may_have(
    requester: &Requester,
    module: &ModuleRequest,
    config: &ControllerConfig,
) -> Result<(), Refusal> {
    let who = &requester.name;
    let not_allowed = |sentence: String| refuse(AnswerCode::NotAllowed, sentence);
    if !requester.allows_package(&module.name) {
        let (name, allowed) = (shortened(&module.name), shortened(&requester.packages.join(", ")));
        let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed };
        let sentence =
            format!("{who} may not have {name:?} installed here, only: {allowed}; ask the node's owner for more");
        return not_allowed(sentence);
    }
    version_range(module)?;
    let shown = shortened(&module.url);
    let url = Url::parse(&module.url)
        .map_err(|problem| refusal(AnswerCode::Invalid, format!("package URL {shown:?}: {problem}")))?;
    if url.scheme == Scheme::File && !config.file_urls_allowed {
        return not_allowed(format!("package URL {shown:?}: this node takes no files; use http or https"));
    }
    if !requester.allows_url(&url) {
        let allowed: Vec<String> = requester.urls.iter().map(ToString::to_string).collect();
        let allowed = shortened(&allowed.join(", "));
        return not_allowed(format!("package URL {shown:?}: {who}'s packages may come only from {allowed}"));
    }
    if !module.notify.is_empty() {
        let shown = shortened(&module.notify);
        let url = Url::parse(&module.notify)
            .map_err(|problem| refusal(AnswerCode::Invalid, format!("notify URL {shown:?}: {problem}")))?;
        if url.scheme == Scheme::File || !requester.allows_notify(&url) {
            let sentence = format!(
                "notify URL {shown:?}: not among those that {who} may have told; ask the owner to add it to notify"
            );
            return not_allowed(sentence);
        }
    }
    let max_ms = u64::try_from(requester.lifetime.as_millis()).unwrap_or(u64::MAX);
    if module.lifetime_ms > max_ms {
        let asked = span_text(std::time::Duration::from_millis(module.lifetime_ms));
        let sentence = format!("lifetime {asked}: {who} may ask for at most {}", span_text(requester.lifetime));
        return not_allowed(sentence);
    }
    if module.lifetime_ms < 1_000 {
        let sentence = format!("lifetime {} ms: ask for at least 1s", module.lifetime_ms);
        return refuse(AnswerCode::Invalid, sentence);
    }
    Ok(())
}

/// The versions that will do; any if none is named.
fn version_range(module: &ModuleRequest) -> Result<semver::VersionReq, Refusal> {
    if module.version.is_empty() {
        return Ok(semver::VersionReq::STAR);
    }
    semver::VersionReq::parse(&module.version).map_err(|error| {
        let shown = shortened(&module.version);
        refusal(AnswerCode::Invalid, format!("version {shown:?}: {error}; write a range such as \"^1.2\""))
    })
}

/// The properties as a table; whether they fit is for [`fits`].
pub(super) fn properties(module: &ModuleRequest) -> Result<toml::Table, Refusal> {
    if let Some((key, _)) = module.properties.iter().find(|(key, _)| key.is_empty() || key.contains('=')) {
        let key = shortened(key);
        return refuse(AnswerCode::Invalid, format!("{key:?} is no name of a property"));
    }
    let words: Vec<String> = module.properties.iter().map(|(key, value)| format!("{key}={value}")).collect();
    table_of_words(words.iter().map(String::as_str)).map_err(|e| refusal(AnswerCode::Invalid, e.to_string()))
}

/// Whether a package is the one that was asked for, and what its module asks for is what its requester may have.
pub(super) fn fits(
    requester: &Requester,
    module: &ModuleRequest,
    manifest: &Manifest,
    package_bytes: u64,
) -> Result<(), Refusal> {
    let who = &requester.name;
    let (name, version) = (&manifest.name, &manifest.version);
    if package_bytes > requester.package_bytes {
        return Err(too_large(requester, &module.url));
    }
    if *name != module.name {
        let want = shortened(&module.name);
        return refuse(AnswerCode::BadPackage, format!("the package holds the module {name:?}, not {want:?}"));
    }
    if !version_range(module)?.matches(version) {
        let want = shortened(&module.version);
        return refuse(AnswerCode::BadPackage, format!("the package holds {name} {version}, not {want:?}"));
    }
    let lacking = Permission::needed_by(manifest).into_iter().find(|needed| !requester.allows(*needed));
    if let Some(lacking) = lacking {
        let sentence = format!(
            "{name} needs the permission \"{lacking}\", which {who} does not have; ask the node's owner for it"
        );
        return refuse(AnswerCode::NotAllowed, sentence);
    }
    for limit in LIMIT_KEYS.iter().filter(|limit| !Requester::NARROWED.contains(&limit.key)) {
        let (asked, granted) = ((limit.of)(&manifest.limits), (limit.of)(&requester.limits));
        if asked > granted {
            let text = |amount| if limit.key.ends_with("_bytes") { bytes_text(amount) } else { amount.to_string() };
            let (key, asked, granted) = (limit_word(limit.key), text(asked), text(granted));
            let sentence = format!(
                "{name} asks for {key} = {asked}: {who}'s modules may have {granted}; ask the node's owner for more"
            );
            return refuse(AnswerCode::NotAllowed, sentence);
        }
    }
    grant(requester, module, manifest).map(|_| ())
}

/// What an instance gets.
pub(super) fn grant(requester: &Requester, module: &ModuleRequest, manifest: &Manifest) -> Result<Grant, Refusal> {
    let wrong = |problem: String| refusal(AnswerCode::Invalid, format!("{}: {problem}", manifest.name));
    let table = properties(module)?;
    let checked = Properties::check(&manifest.properties, &table).map_err(|e| wrong(e.to_string()))?;
    requester.grant(manifest, &checked).map_err(wrong)
}

/// The answer when a package is larger than its requester may have.
pub(super) fn too_large(requester: &Requester, url: &str) -> Refusal {
    let (url, max, who) = (shortened(url), bytes_text(requester.package_bytes), &requester.name);
    refusal(AnswerCode::TooLarge, format!("package {url}: larger than the {max} that {who}'s packages may have"))
}

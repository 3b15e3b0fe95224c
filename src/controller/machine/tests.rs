use std::collections::BTreeMap;

use super::*;
use crate::base::crypto::SigningKey;
use crate::container::package::pack;
use crate::container::source::ModuleSource;
use crate::controller::api::StoreOp;
use crate::signaling::nslp::api::Happening;
use crate::wire::nslp::request::{Authorisation, NodeId, Nonce, Request, Target};
use crate::wire::nslp::signing_bytes;

mod asks;
mod lives;
mod random;
mod refusals;

const URL: &str = "https://example.org/m-1.0.0.nsm";
const START_MS: u64 = 1_800_000_000_000;
const HOUR_MS: u64 = 3_600_000;
const MODULE: &str = "[config.limit]\ntype = \"integer\"\ndefault = 1\nmeaning = \"A number.\"\n";

/// A node around the controller: a disk, instances, a web of packages that answers when it is told to.
struct World {
    controller: Controller,
    now: Instant,
    facts: Facts,
    alice: SigningKey,
    disk: BTreeMap<String, Vec<u8>>,
    running: BTreeMap<String, (Module, toml::Table)>,
    /// What the next modules that are loaded say.
    start_problem: Option<String>,
    fetches: Vec<(FetchId, String, u64)>,
    cancelled: Vec<FetchId>,
    decisions: Vec<(u64, AnswerCode, String)>,
    reports: Vec<(u64, u8)>,
    unloads: Vec<(String, String)>,
    told: Vec<Happening>,
    posts: Vec<(String, String)>,
    notes: Vec<String>,
    next: u64,
}

fn alice() -> Requester {
    Requester { packages: vec!["m".to_owned()], instances: 2, ..Requester::new("alice", key(1).public()) }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn config(requesters: Vec<Requester>) -> ControllerConfig {
    let mut config = ControllerConfig::new(NodeId([0xab; 16]));
    config.properties = BTreeMap::from([("as".to_owned(), "64500".to_owned())]);
    requesters.into_iter().for_each(|requester| config.trust.add(requester).unwrap());
    config
}

/// The bytes of a package of the module `m` in this version, with this at the end of its manifest.
fn package(version: &str, rest: &str) -> Vec<u8> {
    let manifest = format!("name = \"m\"\nversion = \"{version}\"\napi = 1\nsummary = \"Test.\"\n{rest}");
    let files = [("module.toml", manifest.as_str()), ("init.luau", "return {}\n")];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    pack(&ModuleSource { files: files.into() }).unwrap()
}

fn wanted_module(digest: [u8; 32]) -> ModuleRequest {
    ModuleRequest {
        name: "m".to_owned(),
        version: "^1".to_owned(),
        url: URL.to_owned(),
        digest,
        lifetime_ms: HOUR_MS,
        properties: Vec::new(),
        notify: String::new(),
    }
}

impl World {
    fn new(requesters: Vec<Requester>) -> World {
        World::with(config(requesters))
    }

    fn with(config: ControllerConfig) -> World {
        let modules = vec!["monitor".to_owned()];
        World {
            controller: Controller::new(config),
            now: Instant::START,
            facts: Facts { wall_ms: START_MS, memory_free_bytes: 100 << 20, modules },
            alice: key(1),
            disk: BTreeMap::new(),
            running: BTreeMap::new(),
            start_problem: None,
            fetches: Vec::new(),
            cancelled: Vec::new(),
            decisions: Vec::new(),
            reports: Vec::new(),
            unloads: Vec::new(),
            told: Vec::new(),
            posts: Vec::new(),
            notes: Vec::new(),
            next: 1,
        }
    }

    fn request(&mut self, operation: Operation) -> Request {
        self.next += 1;
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.next.to_be_bytes());
        Request {
            operation,
            nonce: Nonce(nonce),
            issued_ms: self.facts.wall_ms,
            expires_ms: self.facts.wall_ms + 60_000,
            scope: Vec::new(),
            target: Target::All,
            conditions: Vec::new(),
            search_ms: 0,
            instance: "mine".to_owned(),
            module: None,
            asks: 0,
        }
    }

    fn setup(&mut self, package: &[u8]) -> Request {
        Request { module: Some(wanted_module(sha256(package))), ..self.request(Operation::Setup) }
    }

    /// A request as it arrives, signed by alice.
    fn signed(&mut self, request: &Request) -> Asked {
        self.next += 1;
        let signed = request.encode();
        let signature = self.alice.sign(&signing_bytes(&signed));
        let authorisation = Some(Authorisation { key: self.alice.public(), signature });
        Asked { token: Token(self.next), request: request.clone(), signed, authorisation }
    }

    /// Asks, signed by alice; the answer if it comes at once.
    fn ask(&mut self, request: &Request) -> Option<(AnswerCode, String)> {
        let asked = self.signed(request);
        self.arrives(asked)
    }

    fn arrives(&mut self, asked: Asked) -> Option<(AnswerCode, String)> {
        let token = asked.token;
        let facts = self.facts.clone();
        self.controller.ask(self.now, &facts, asked);
        self.drain();
        self.answer(token)
    }

    fn answer(&self, token: Token) -> Option<(AnswerCode, String)> {
        let found = self.decisions.iter().find(|(number, ..)| *number == token.0);
        found.map(|(_, code, sentence)| (*code, sentence.clone()))
    }

    /// The oldest fetch ends.
    fn fetched(&mut self, result: Result<Vec<u8>, FetchProblem>) {
        let (id, ..) = self.fetches.remove(0);
        let facts = self.facts.clone();
        self.controller.fetched(self.now, &facts, id, result);
        self.drain();
    }

    /// Sets an instance up, to the end.
    fn installs(&mut self, request: &Request, package: &[u8]) -> (AnswerCode, String) {
        let asked = self.signed(request);
        let token = asked.token;
        if let Some(answer) = self.arrives(asked) {
            return answer;
        }
        self.fetched(Ok(package.to_vec()));
        self.answer(token).expect("it was answered")
    }

    fn passes(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.facts.wall_ms += ms;
        for _ in 0..100 {
            if self.controller.deadline().is_none_or(|at| at > self.now) {
                return;
            }
            let facts = self.facts.clone();
            self.controller.expire(self.now, &facts);
            self.drain();
        }
        panic!("it never comes to rest");
    }

    /// The node is started again, with its disk.
    fn restarts(&mut self, config: ControllerConfig, after_ms: u64) {
        self.controller = Controller::new(config);
        self.running.clear();
        self.fetches.clear();
        self.now = Instant::START;
        self.facts.wall_ms += after_ms;
        let (facts, stored) = (self.facts.clone(), self.disk.clone().into_iter().collect());
        self.controller.restore(self.now, &facts, stored);
        self.drain();
        self.passes(0);
    }

    fn drain(&mut self) {
        while let Some(output) = self.controller.poll() {
            match output {
                ControllerOutput::Decide { token, decision } => {
                    assert!(decision.sentence.len() <= NSLP_REPORT_TEXT_BYTES_MAX, "{}", decision.sentence);
                    assert!(self.answer(token).is_none(), "{token:?} is answered twice");
                    self.decisions.push((token.0, decision.code, decision.sentence));
                }
                ControllerOutput::Report { token, asks } => self.reports.push((token.0, asks)),
                ControllerOutput::Fetch { id, url, bytes_max, .. } => self.fetches.push((id, url, bytes_max)),
                ControllerOutput::CancelFetch(id) => {
                    self.fetches.retain(|(fetch, ..)| *fetch != id);
                    self.cancelled.push(id);
                }
                ControllerOutput::Load { name, module, properties, .. } => {
                    let result = self.start_problem.clone().map_or(Ok(()), Err);
                    if result.is_ok() {
                        let old = self.running.insert(name.clone(), (module, properties));
                        assert!(old.is_none(), "{name} ran already");
                    }
                    self.controller.loaded(self.now, &name, result);
                }
                ControllerOutput::Unload { name, reason } => {
                    self.running.remove(&name);
                    self.unloads.push((name, reason));
                }
                ControllerOutput::Store(StoreOp::Put { key, bytes }) => drop(self.disk.insert(key, bytes)),
                ControllerOutput::Store(StoreOp::Append { key, bytes }) => {
                    self.disk.entry(key).or_default().extend(bytes);
                }
                ControllerOutput::Store(StoreOp::Remove { key }) => drop(self.disk.remove(&key)),
                ControllerOutput::Tell(happening) => self.told.push(happening),
                ControllerOutput::Post { url, body } => self.posts.push((url, body)),
                ControllerOutput::Note(sentence) => self.notes.push(sentence),
            }
        }
    }

    /// What is on the disk, besides the log of requests.
    fn files(&self) -> Vec<&str> {
        self.disk.keys().map(String::as_str).filter(|key| *key != "nonces").collect()
    }

    /// Nothing is installed, on its way or on the disk.
    fn is_clean(&self) -> bool {
        self.running.is_empty()
            && self.files().is_empty()
            && self.controller.signalled(self.now).is_empty()
            && self.controller.packages.is_empty()
            && self.controller.deadline().is_none()
    }
}

fn name() -> String {
    format!("mine.{}", short_key(&key(1).public()))
}

#[test]
fn a_signed_setup_of_a_trusted_requester_is_fetched_checked_stored_and_run() {
    let mut w = World::new(vec![alice()]);
    let bytes = package("1.2.0", MODULE);
    let mut request = w.setup(&bytes);
    request.module.as_mut().unwrap().properties = vec![("limit".to_owned(), "7".to_owned())];
    assert_eq!(w.ask(&request), None);
    assert_eq!((w.fetches[0].1.as_str(), w.fetches[0].2), (URL, 1 << 20));
    assert_eq!(w.controller.signalled(w.now)[0].state, "fetching");
    w.fetched(Ok(bytes.clone()));
    assert_eq!(w.decisions[0].1, AnswerCode::Installed);
    assert_eq!(w.decisions[0].2, "m 1.2.0 runs, for 1h");
    assert_eq!(w.running[&name()].1["limit"].as_str(), Some("7"));
    assert_eq!(w.files().len(), 2);
    assert!(w.disk.values().any(|stored| *stored == bytes));
    let view = &w.controller.signalled(w.now)[0];
    assert_eq!((view.name.as_str(), view.requester.as_str(), view.state), (name().as_str(), "alice", "running"));
    assert_eq!((view.version.as_str(), view.package_bytes), ("1.2.0", bytes.len() as u64));
    assert_eq!(w.controller.deadline(), Some(w.now + Duration::from_millis(HOUR_MS)));
}

#[test]
fn a_refresh_sets_the_lifetime_anew_without_another_fetch() {
    let mut w = World::new(vec![alice()]);
    let bytes = package("1.0.0", "");
    let request = w.setup(&bytes);
    w.installs(&request, &bytes);
    w.passes(HOUR_MS / 2);
    let mut refresh = w.setup(&bytes);
    refresh.operation = Operation::Refresh;
    assert_eq!(w.ask(&refresh).unwrap(), (AnswerCode::Refreshed, "m 1.0.0 runs, for 1h".to_owned()));
    assert!(w.fetches.is_empty() && w.unloads.is_empty());
    w.passes(HOUR_MS - 1);
    assert!(w.running.contains_key(&name()));
    w.passes(1);
    assert!(w.is_clean());
}

#[test]
fn a_refresh_of_what_is_not_there_installs_it() {
    let mut w = World::new(vec![alice()]);
    let bytes = package("1.0.0", "");
    let request = Request { operation: Operation::Refresh, ..w.setup(&bytes) };
    assert_eq!(w.installs(&request, &bytes).0, AnswerCode::Installed);
}

#[test]
fn another_package_or_other_properties_replace_the_module() {
    let mut w = World::new(vec![alice()]);
    let (first, second) = (package("1.0.0", MODULE), package("1.1.0", MODULE));
    let request = w.setup(&first);
    w.installs(&request, &first);
    let request = w.setup(&second);
    assert_eq!(w.ask(&request), None);
    assert_eq!(w.running[&name()].0.manifest.version.to_string(), "1.0.0", "until the new one is there");
    w.fetched(Ok(second.clone()));
    assert_eq!(w.running[&name()].0.manifest.version.to_string(), "1.1.0");
    assert_eq!(w.unloads, [(name(), "it is replaced".to_owned())]);
    assert_eq!(w.files().len(), 2, "the first package is gone");
    let mut request = w.setup(&second);
    request.module.as_mut().unwrap().properties = vec![("limit".to_owned(), "9".to_owned())];
    assert_eq!(w.ask(&request).unwrap().0, AnswerCode::Installed, "without a fetch");
    assert_eq!(w.running[&name()].1["limit"].as_str(), Some("9"));
    assert_eq!(w.files().len(), 2);
}

#[test]
fn what_cannot_take_the_place_of_the_old_module_leaves_it_running() {
    let mut w = World::new(vec![alice()]);
    let (first, second) = (package("1.0.0", ""), package("1.1.0", "[permissions]\ninject = true\n"));
    let request = w.setup(&first);
    w.installs(&request, &first);
    let request = w.setup(&second);
    assert_eq!(w.installs(&request, &second).0, AnswerCode::NotAllowed);
    assert_eq!(w.running[&name()].0.manifest.version.to_string(), "1.0.0");
    assert_eq!((w.files().len(), w.controller.packages.len()), (2, 1));
}

#[test]
fn a_module_that_does_not_start_is_told_and_leaves_nothing() {
    let mut w = World::new(vec![alice()]);
    let bytes = package("1.0.0", "");
    w.start_problem = Some("init.luau:1: oops".to_owned());
    let request = w.setup(&bytes);
    let (code, sentence) = w.installs(&request, &bytes);
    assert_eq!((code, sentence.as_str()), (AnswerCode::StartFailed, "m 1.0.0 did not start: init.luau:1: oops"));
    assert!(w.is_clean());
}

#[test]
fn many_requests_wait_for_one_fetch() {
    let bob = Requester { name: "bob".to_owned(), key: key(2).public(), ..alice() };
    let mut w = World::new(vec![alice(), bob]);
    let bytes = package("1.0.0", "");
    let request = w.setup(&bytes);
    assert_eq!(w.ask(&request), None);
    assert_eq!(w.ask(&request), None, "the same again, by a detour");
    let later = w.setup(&bytes);
    assert_eq!(w.ask(&later), None, "a refresh before it ran");
    w.alice = key(2);
    let request = w.setup(&bytes);
    assert_eq!(w.ask(&request), None, "another requester");
    assert_eq!(w.fetches.len(), 1);
    w.fetched(Ok(bytes));
    assert_eq!(w.decisions.len(), 4);
    assert!(w.decisions.iter().all(|(_, code, _)| *code == AnswerCode::Installed));
    assert_eq!(w.running.len(), 2, "each has an instance of its own");
    assert_eq!(w.files().len(), 3, "and one package serves both");
}

#[test]
fn a_fetch_that_fails_is_tried_again_with_longer_waits() {
    let mut w = World::new(vec![alice()]);
    let bytes = package("1.0.0", "");
    let request = w.setup(&bytes);
    w.ask(&request);
    let failed = || Err(FetchProblem::Failed(format!("{URL} answered 503")));
    w.fetched(failed());
    assert!(w.fetches.is_empty());
    w.passes(999);
    assert!(w.fetches.is_empty());
    w.passes(1);
    w.fetched(failed());
    w.passes(1_999);
    assert!(w.fetches.is_empty());
    w.passes(1);
    w.fetched(Ok(bytes.clone()));
    assert_eq!(w.decisions[0].1, AnswerCode::Installed);
}

#[test]
fn a_fetch_that_fails_three_times_or_is_never_heard_of_is_told() {
    let mut w = World::new(vec![alice()]);
    let request = w.setup(b"x");
    w.ask(&request);
    for _ in 0..3 {
        w.fetched(Err(format!("{URL} answered 404 Not Found").into()));
        w.passes(4_000);
    }
    let (_, code, sentence) = &w.decisions[0];
    assert_eq!(*code, AnswerCode::FetchFailed);
    assert_eq!(*sentence, format!("the package cannot be fetched: {URL} answered 404 Not Found (tried 3 times)"));
    assert!(w.is_clean());
    let request = w.setup(b"x");
    w.ask(&request);
    for _ in 0..3 {
        w.passes(30_000);
        w.passes(30_000);
    }
    assert_eq!(w.decisions[1].1, AnswerCode::FetchFailed);
    assert_eq!(w.cancelled.len(), 3);
    w.fetches.clear();
    assert!(w.is_clean());
}

#[test]
fn only_so_many_packages_are_fetched_at_once() {
    let requester = Requester { instances: 100, ..alice() };
    let mut w = World::new(vec![requester]);
    for number in 0..=PENDING_MAX as u8 {
        let request = Request { instance: format!("i{number}"), ..w.setup(&[number]) };
        let answer = w.ask(&request);
        assert_eq!(answer.is_some(), usize::from(number) == PENDING_MAX, "{answer:?}");
    }
    assert_eq!(w.fetches.len(), 4);
    assert_eq!(w.controller.signalled(w.now).iter().filter(|view| view.state == "queued").count(), 60);
    w.fetched(Err(FetchProblem::TooLarge));
    assert_eq!(w.fetches.len(), 4, "the next one begins");
    w.passes(0);
}

#[test]
fn a_probe_is_told_as_much_as_the_trust_file_says() {
    let blind = Requester { probe: false, ..Requester::new("blind", key(2).public()) };
    let mut w = World::new(vec![alice(), blind]);
    let probe = Request { asks: 7, ..w.request(Operation::Probe) };
    assert_eq!(w.ask(&probe), None);
    assert_eq!(w.reports.len(), 1);
    assert_eq!(w.reports[0].1, 7);
    assert_eq!(w.ask(&probe).unwrap().0, AnswerCode::Replayed);
    w.alice = key(2);
    let probe = w.request(Operation::Probe);
    assert!(matches!(w.ask(&probe), Some((AnswerCode::Probed, sentence)) if sentence.contains("blind may not see")));
    w.alice = key(3);
    let probe = w.request(Operation::Probe);
    assert!(matches!(w.ask(&probe), Some((AnswerCode::Probed, sentence)) if sentence.contains("no key")));
    let unsigned = Asked { authorisation: None, ..w.signed(&probe) };
    assert!(matches!(w.arrives(unsigned), Some((AnswerCode::Probed, sentence)) if sentence.contains("not signed")));
    assert_eq!(w.reports.len(), 1);
}

#[test]
fn a_request_that_names_another_url_does_not_wait_for_the_first_one() {
    let mut w = World::new(vec![alice()]);
    let bytes = package("1.0.0", "");
    let first = w.setup(&bytes);
    assert_eq!(w.ask(&first), None);
    let mut second = w.setup(&bytes);
    second.module.as_mut().unwrap().url = "https://example.org/elsewhere.nsm".to_owned();
    assert_eq!(w.ask(&second), None);
    assert_eq!((w.cancelled.len(), w.fetches.len()), (1, 1), "nobody waits for the first any more");
    assert_eq!(w.fetches[0].1, "https://example.org/elsewhere.nsm");
    w.fetched(Ok(bytes));
    assert!(w.decisions.iter().all(|(_, code, _)| *code == AnswerCode::Installed));
    assert_eq!((w.decisions.len(), w.running.len()), (2, 1), "both requests are answered");
}

//! A list of operations on a controller. Each request is answered at most once; what is loaded, unloaded and stored
//! fits together; and when all lifetimes are over, nothing is left.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use netserv::base::crypto::{SigningKey, sha256};
use netserv::base::time::Instant;
use netserv::container::package::pack;
use netserv::container::source::ModuleSource;
use netserv::controller::api::{Asked, ControllerConfig, ControllerOutput, Facts, FetchId, FetchProblem, StoreOp};
use netserv::controller::trust::Requester;
use netserv::controller::{Controller, Ended};
use netserv::signaling::nslp::api::Token;
use netserv::wire::nslp::request::{Authorisation, ModuleRequest, NodeId, Nonce, Operation, Request, Target};
use netserv::wire::nslp::signing_bytes;

struct World {
    controller: Controller,
    now: Instant,
    facts: Facts,
    keys: Vec<SigningKey>,
    packages: Vec<Vec<u8>>,
    disk: BTreeMap<String, Vec<u8>>,
    running: BTreeSet<String>,
    starts: bool,
    fetches: Vec<FetchId>,
    answered: BTreeSet<Token>,
    tokens: u64,
}

fn config(keys: &[SigningKey], trusted: u8) -> ControllerConfig {
    let mut config = ControllerConfig::new(NodeId([1; 16]));
    for (number, key) in keys.iter().enumerate().filter(|(number, _)| trusted >> number & 1 == 1) {
        let mut requester = Requester::new(&format!("r{number}"), key.public());
        requester.packages = vec!["m".to_owned()];
        config.trust.add(requester).expect("it fits");
    }
    config
}

fn package(version: &str) -> Vec<u8> {
    let manifest = format!("name = \"m\"\nversion = \"{version}\"\napi = 1\nsummary = \"Test.\"\n");
    let files = [("module.toml", manifest.as_str()), ("init.luau", "return {}\n")];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    pack(&ModuleSource { files: files.into() }).expect("it is a package")
}

impl World {
    fn drain(&mut self) {
        while let Some(output) = self.controller.poll() {
            match output {
                ControllerOutput::Decide { token, .. } | ControllerOutput::Report { token, .. } => {
                    assert!(self.answered.insert(token), "answered twice");
                }
                ControllerOutput::Fetch { id, .. } => self.fetches.push(id),
                ControllerOutput::CancelFetch(id) => self.fetches.retain(|fetch| *fetch != id),
                ControllerOutput::Load { name, .. } => {
                    let result = if self.starts { Ok(()) } else { Err("no".to_owned()) };
                    assert!(!self.starts || self.running.insert(name.clone()), "it ran already");
                    self.controller.loaded(self.now, &name, result);
                }
                ControllerOutput::Unload { name, .. } => drop(self.running.remove(&name)),
                ControllerOutput::Store(StoreOp::Put { key, bytes }) => drop(self.disk.insert(key, bytes)),
                ControllerOutput::Store(StoreOp::Append { key, bytes }) => {
                    self.disk.entry(key).or_default().extend(bytes);
                }
                ControllerOutput::Store(StoreOp::Remove { key }) => drop(self.disk.remove(&key)),
                ControllerOutput::Tell(_) | ControllerOutput::Post { .. } | ControllerOutput::Note(_) => {}
            }
        }
    }

    fn passes(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.facts.wall_ms += ms;
        for round in 0.. {
            assert!(round < 1_000, "it never comes to rest");
            if self.controller.deadline().is_none_or(|at| at > self.now) {
                return;
            }
            self.controller.expire(self.now, &self.facts);
            self.drain();
        }
    }

    fn asks(&mut self, key: u8, what: u8, nonce: u8) {
        let digest = sha256(&self.packages[usize::from(what >> 2) % self.packages.len()]);
        let operations = [Operation::Setup, Operation::Refresh, Operation::Remove, Operation::Probe];
        let module = ModuleRequest {
            name: "m".to_owned(),
            url: "http://h/m".to_owned(),
            digest,
            lifetime_ms: u64::from(what) * 20_000,
            ..ModuleRequest::default()
        };
        let request = Request {
            operation: operations[usize::from(what & 3)],
            nonce: Nonce([nonce; 16]),
            issued_ms: self.facts.wall_ms,
            expires_ms: self.facts.wall_ms + 30_000,
            scope: Vec::new(),
            target: Target::All,
            conditions: Vec::new(),
            search_ms: 0,
            instance: format!("i{}", what >> 6),
            module: Some(module),
            asks: 1,
        };
        let signed = request.encode();
        let key = &self.keys[usize::from(key) % self.keys.len()];
        let signature = key.sign(&signing_bytes(&signed));
        let authorisation = Some(Authorisation { key: key.public(), signature });
        self.tokens += 1;
        self.controller.ask(self.now, &self.facts, Asked { token: Token(self.tokens), request, signed, authorisation });
    }

    fn step(&mut self, op: [u8; 4]) {
        let [kind, a, b, c] = op;
        match kind % 8 {
            0..=2 => self.asks(a, b, c),
            3 if !self.fetches.is_empty() => {
                let id = self.fetches.remove(usize::from(a) % self.fetches.len());
                let result = match b % 4 {
                    0 => Err(FetchProblem::TooLarge),
                    1 => Err(FetchProblem::Failed("no".to_owned())),
                    _ => Ok(self.packages[usize::from(c) % self.packages.len()].clone()),
                };
                self.controller.fetched(self.now, &self.facts, id, result);
            }
            4 => self.passes(u64::from(a) * u64::from(b) * 10),
            5 => self.starts = a & 3 != 0,
            6 if a & 1 == 0 => self.controller.set_trust(self.now, config(&self.keys, b).trust),
            6 => {
                self.controller = Controller::new(config(&self.keys, b));
                self.running.clear();
                self.fetches.clear();
                if let Some(bytes) = self.disk.values_mut().nth(usize::from(c)) {
                    bytes.truncate(bytes.len() / 2);
                }
                let stored = self.disk.clone().into_iter().collect();
                self.controller.restore(self.now, &self.facts, stored);
            }
            _ => {
                if let Some(name) = self.running.pop_first() {
                    let ended = if a & 1 == 0 { Ended::Unloaded } else { Ended::Failed("no".to_owned()) };
                    self.controller.instance_ended(self.now, &name, &ended);
                }
            }
        }
        self.drain();
        let views = self.controller.signalled(self.now);
        assert_eq!(views.iter().filter(|view| view.state == "running").count(), self.running.len());
    }
}

fuzz_target!(|bytes: &[u8]| {
    let keys: Vec<SigningKey> = (1..=3).map(|seed| SigningKey::from_seed(&[seed; 32])).collect();
    let mut world = World {
        controller: Controller::new(config(&keys, 0b111)),
        now: Instant::START,
        facts: Facts { wall_ms: 1_800_000_000_000, ..Facts::default() },
        keys,
        packages: vec![package("1.0.0"), package("1.1.0"), b"broken".to_vec()],
        disk: BTreeMap::new(),
        running: BTreeSet::new(),
        starts: true,
        fetches: Vec::new(),
        answered: BTreeSet::new(),
        tokens: 0,
    };
    for op in bytes.chunks_exact(4).take(200) {
        world.step(op.try_into().expect("it has four bytes"));
    }
    for _ in 0..10 {
        world.passes(2 * 3_600_000);
    }
    assert!(world.running.is_empty() && world.controller.signalled(world.now).is_empty());
    assert!(world.disk.keys().all(|key| key == "nonces"), "{:?}", world.disk.keys());
});

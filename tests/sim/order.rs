//! What a user on `a` asks for, and what is heard of it.

use std::time::Duration;

use netserv::base::crypto::{SigningKey, sha256};
use netserv::container::package;
use netserv::container::source::ModuleSource;
use netserv::signaling::gist::api::TransferAttributes;
use netserv::signaling::nslp::api::{NslpEvent, Order, OrderId};
use netserv::wire::gist::mri::Mri;
use netserv::wire::nslp::answer::{Answer, AnswerCode};
use netserv::wire::nslp::request::{Authorisation, ModuleRequest, Nonce, Operation, Request, Target, ask};
use netserv::wire::nslp::signing_bytes;

use crate::world::{WALL_MS, World};

pub(crate) const UDP: TransferAttributes = TransferAttributes { reliable: false, secure: false };
pub(crate) const TCP: TransferAttributes = TransferAttributes { reliable: true, secure: false };
pub(crate) const TLS: TransferAttributes = TransferAttributes { reliable: true, secure: true };

pub(crate) const URL: &str = "http://a/m.nsm";

/// The user's key.
pub(crate) fn user() -> SigningKey {
    SigningKey::from_seed(&[200; 32])
}

/// A trust file that allows the user everything that the test module needs.
pub(crate) fn trust() -> String {
    let key = netserv::base::crypto::to_hex(&user().public());
    format!(
        "[[requester]]\nname = \"user\"\nkey = \"{key}\"\npackages = [\"*\"]\npermissions = [\"drop\"]\nlifetime = \"1h\"\ninstances = 8\n"
    )
}

/// The smallest module, as a package.
pub(crate) fn small_package() -> Vec<u8> {
    let manifest = "name = \"small\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"Counts packets.\"\nauthors = []\n\
        licence = \"Apache-2.0\"\n[[filters]]\nprotocol = \"udp\"\nto_port = 7000\n";
    let code =
        "--!strict\nlocal M = {}\nfunction M.on_packet(packet: Packet): Verdict\n  return \"pass\"\nend\nreturn M\n";
    let files = [("module.toml", manifest), ("init.luau", code)];
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    package::pack(&ModuleSource { files }).unwrap()
}

/// Makes requests; each has another nonce.
pub(crate) struct User {
    key: SigningKey,
    count: u8,
    pub(crate) source: &'static str,
    pub(crate) destination: &'static str,
}

impl User {
    pub(crate) fn new(source: &'static str, destination: &'static str) -> User {
        User { key: user(), count: 0, source, destination }
    }

    pub(crate) fn mri(&self) -> Mri {
        Mri::flow(self.source.parse().unwrap(), self.destination.parse().unwrap())
    }

    pub(crate) fn request(&mut self, world: &World, operation: Operation) -> Request {
        self.count += 1;
        let wall_ms = WALL_MS + world.now().as_nanos() / 1_000_000;
        let needs_module = matches!(operation, Operation::Setup | Operation::Refresh);
        Request {
            operation,
            nonce: Nonce([self.count; 16]),
            issued_ms: wall_ms,
            expires_ms: wall_ms + 3_600_000,
            scope: Vec::new(),
            target: Target::All,
            conditions: Vec::new(),
            search_ms: 8_000,
            instance: if operation == Operation::Probe { String::new() } else { "small".to_owned() },
            module: needs_module.then(|| ModuleRequest {
                name: "small".to_owned(),
                version: "=1.0.0".to_owned(),
                url: URL.to_owned(),
                digest: sha256(&small_package()),
                lifetime_ms: 60_000,
                properties: Vec::new(),
                notify: String::new(),
            }),
            asks: if operation == Operation::Probe { ask::MODULES | ask::SYSTEM | ask::ROUTE } else { 0 },
        }
    }

    pub(crate) fn order(&self, request: &Request, attributes: TransferAttributes, keep: bool) -> Order {
        let canonical = request.encode();
        let signature = self.key.sign(&signing_bytes(&canonical));
        let authorisation = Some(Authorisation { key: self.key.public(), signature });
        Order { mri: self.mri(), request: canonical, authorisation, attributes, keep }
    }
}

/// What was heard of one order.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// By hop, the last answer of each node.
    pub(crate) answers: Vec<Answer>,
    pub(crate) notes: Vec<Answer>,
    pub(crate) finished: Option<Result<(), String>>,
    /// When it was finished.
    pub(crate) took: Duration,
}

impl Heard {
    pub(crate) fn codes(&self) -> Vec<AnswerCode> {
        self.answers.iter().map(|answer| answer.code).collect()
    }

    pub(crate) fn hops(&self) -> Vec<u8> {
        self.answers.iter().map(|answer| answer.hop).collect()
    }

    fn take(&mut self, event: NslpEvent) {
        match event {
            NslpEvent::Answered { answer, .. } => {
                self.answers.retain(|other| (other.hop, other.node) != (answer.hop, answer.node));
                self.answers.push(answer);
                self.answers.sort_by_key(|answer| answer.hop);
            }
            NslpEvent::Notified { answer, .. } => self.notes.push(answer),
            NslpEvent::Finished { result, .. } => self.finished = Some(result),
            NslpEvent::Progress { .. } | NslpEvent::Asked { .. } => {}
        }
    }
}

/// Sends an order from `a` and lets time pass until it is finished.
pub(crate) fn follow(world: &mut World, order: Order) -> (OrderId, Heard) {
    let id = world.with("a", |node, now| node.order(now, order)).unwrap();
    (id, hear(world, id))
}

/// Lets time pass until the order is finished.
pub(crate) fn hear(world: &mut World, id: OrderId) -> Heard {
    let (mut heard, began) = (Heard::default(), world.now());
    world.until(Duration::from_secs(180), |world| {
        for event in world.heard("a", id) {
            heard.take(event);
        }
        heard.finished.is_some()
    });
    heard.took = world.now().since(began);
    heard
}

/// Takes what is there now.
pub(crate) fn hear_now(world: &mut World, id: OrderId) -> Heard {
    let mut heard = Heard::default();
    for event in world.heard("a", id) {
        heard.take(event);
    }
    heard
}

pub(crate) fn order_of(event: &NslpEvent) -> Option<OrderId> {
    match event {
        NslpEvent::Answered { order, .. }
        | NslpEvent::Notified { order, .. }
        | NslpEvent::Progress { order, .. }
        | NslpEvent::Finished { order, .. } => Some(*order),
        NslpEvent::Asked { .. } => None,
    }
}

//! The machine of the NetServ application: bytes become a list of operations, among them messages that are nearly right.
//! Whatever comes, its tables stay bounded, and it comes to rest.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use netserv::base::time::Instant;
use netserv::signaling::gist::api::{
    MessageHandle, MessageStatus, NetworkNotification, Nslp, ReceivedMessage, Request as GistRequest, SendError,
    SiiHandle, TransferAttributes,
};
use netserv::signaling::nslp::api::{Decision, Happening, NslpEvent, Order, OrderId, Token};
use netserv::signaling::nslp::{NetservNslp, NslpConfig};
use netserv::wire::gist::mri::Mri;
use netserv::wire::gist::object::{PeerIdentity, Sid};
use netserv::wire::nslp::answer::{Answer, AnswerCode};
use netserv::wire::nslp::message::{Message, Place, RequestMessage};
use netserv::wire::nslp::request::{NodeId, Nonce, Operation, Request, Target};

struct World {
    nslp: NetservNslp,
    now: Instant,
    mri: Mri,
    /// Sessions of its own orders, and two of others.
    sids: Vec<Sid>,
    handles: Vec<MessageHandle>,
    tokens: Vec<Token>,
    orders: Vec<OrderId>,
}

fn request(n: u8) -> Request {
    let target = match n % 4 {
        0 => Target::All,
        1 => Target::First,
        2 => Target::Last,
        _ => Target::OnePer("as".to_owned()),
    };
    Request {
        operation: if n & 16 == 0 { Operation::Probe } else { Operation::Remove },
        nonce: Nonce([n % 8 + 1; 16]),
        issued_ms: u64::from(n),
        expires_ms: 1_000,
        scope: Vec::new(),
        target,
        conditions: Vec::new(),
        search_ms: 0,
        instance: "m".to_owned(),
        module: None,
        asks: 1,
    }
}

impl World {
    fn message(&self, kind: u8, n: u8, m: u8) -> Message {
        let code = AnswerCode::all().nth(usize::from(m) % 25).unwrap();
        let answer = Answer {
            nonce: Nonce([n % 8 + 1; 16]),
            node: NodeId([m; 16]),
            hop: m % 66,
            code,
            sentence: String::new(),
            is_last: n & 32 != 0,
            hop_rtt_us: None,
            report: Vec::new(),
        };
        let mut part = answer.parts(384).remove(0);
        (part.sequence, part.parts, part.part) = (u32::from(m), 1 + n % 3, m % (1 + n % 3));
        match kind % 5 {
            0 => {
                let request = request(n);
                Message::Request(Box::new(RequestMessage {
                    canonical: request.encode(),
                    request,
                    authorisation: None,
                    hop: m % 66,
                    keep_s: u32::from(m & 1) * 100,
                    covered: Vec::new(),
                    forward: Vec::new(),
                }))
            }
            1 => Message::Response(part),
            2 => Message::Notify(part),
            3 => Message::Place(Place {
                nonce: Nonce([n % 8 + 1; 16]),
                node: NodeId([m; 16]),
                hop: m % 66,
                is_last: n & 32 != 0,
                hop_rtt_us: None,
                sequence: u32::from(m),
            }),
            _ => Message::Ack(u32::from(m)),
        }
    }

    fn receive(&mut self, kind: u8, n: u8, m: u8, raw: Option<&[u8]>) {
        let mut data = self.message(kind, n, m).encode();
        if kind & 64 != 0 {
            let at = usize::from(m) % data.len();
            data[at] ^= n | 1;
        }
        let mri = if kind & 128 == 0 { self.mri.clone() } else { self.mri.inverted() };
        let attributes = TransferAttributes { reliable: n & 64 != 0, secure: false };
        let received = ReceivedMessage {
            data: raw.unwrap_or(&data),
            sid: self.sids[usize::from(n) % self.sids.len()],
            mri: &mri,
            sii: None,
            attributes,
            peer_key: None,
            is_unvalidated: false,
            is_address_validated: true,
            is_from_endpoint: false,
            ip_ttl: None,
            ip_distance: 0,
            hops: 1,
            interface: 0,
        };
        let mut requests = Vec::new();
        self.nslp.receive(self.now, &received, &mut requests);
        self.carry(requests);
    }

    fn carry(&mut self, requests: Vec<GistRequest>) {
        assert!(requests.len() < 100_000);
        for request in requests {
            if let GistRequest::Send(message) = request {
                assert!(Message::decode(&message.data).is_ok());
                self.handles.extend(message.handle);
                if !self.sids.contains(&message.sid) && self.sids.len() < 16 {
                    self.sids.push(message.sid);
                }
            }
        }
        while let Some(event) = self.nslp.poll_event() {
            if let NslpEvent::Asked { token, .. } = event {
                self.tokens.push(token);
            }
        }
    }

    fn operate(&mut self, op: u8, n: u8, m: u8, rest: &[u8]) {
        let mut requests = Vec::new();
        match op % 10 {
            0..=2 => self.receive(op / 10 | m & 192, n, m, None),
            3 => self.receive(m, n, m, Some(rest)),
            4 => {
                let order = Order {
                    mri: self.mri.clone(),
                    request: request(n).encode(),
                    authorisation: None,
                    attributes: TransferAttributes::default(),
                    keep: m & 1 != 0,
                };
                self.orders.extend(self.nslp.order(self.now, order));
            }
            5 => {
                let failures = [SendError::NoNextNode, SendError::NoTransport, SendError::AssociationFailed];
                let status = match failures.get(usize::from(m % 5)) {
                    Some(error) => MessageStatus::Failed(*error),
                    None => MessageStatus::Sent(TransferAttributes::default()),
                };
                if let Some(handle) = self.handles.pop() {
                    self.nslp.message_status(self.now, handle, status, &mut requests);
                }
            }
            6 => {
                let peer_identity = PeerIdentity(vec![m % 4; 16]);
                let sii = SiiHandle { identity: peer_identity, address: [10, 0, 0, m % 4].into() };
                let what = if m & 128 != 0 {
                    NetworkNotification::LastNode
                } else {
                    NetworkNotification::RoutingGood { sii, rtt: Some(Duration::from_millis(m.into())) }
                };
                let sid = self.sids[usize::from(n) % self.sids.len()];
                let mri = self.mri.clone();
                self.nslp.notify(self.now, sid, &mri, &what, &mut requests);
            }
            7 => {
                let code = AnswerCode::all().nth(usize::from(m) % 25).unwrap();
                let decision = Decision { code, sentence: "s".repeat(n.into()), report: Vec::new() };
                if let Some(token) = self.tokens.pop() {
                    self.nslp.answer(self.now, token, decision);
                }
                let nonce = Nonce([n % 8 + 1; 16]);
                self.nslp.happened(self.now, Happening { nonce, code, sentence: String::new() });
            }
            8 => match self.orders.get(usize::from(n) % self.orders.len().max(1)).copied() {
                Some(order) if m & 3 == 0 => self.nslp.cancel(order),
                Some(order) => drop(self.nslp.renew(self.now, order, request(m).encode(), None)),
                None => {}
            },
            _ => {
                self.now = self.now + Duration::from_millis(u64::from(n) * u64::from(m));
                self.nslp.expire(self.now);
            }
        }
        requests.extend(self.nslp.take_requests());
        self.carry(requests);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut config = NslpConfig::new(NodeId([1; 16]));
    config.properties.insert("as".to_owned(), "64500".to_owned());
    let mut world = World {
        nslp: NetservNslp::new(config, [7; 32]),
        now: Instant::START,
        mri: Mri::flow([10, 0, 0, 1].into(), [10, 0, 0, 2].into()),
        sids: vec![Sid([1; 16]), Sid([2; 16])],
        handles: Vec::new(),
        tokens: Vec::new(),
        orders: Vec::new(),
    };
    for (at, operation) in bytes.chunks_exact(3).enumerate().take(2_000) {
        let rest = bytes.get(at * 3 + 3..).unwrap_or_default();
        world.operate(operation[0], operation[1], operation[2], &rest[..rest.len().min(200)]);
        // One for each direction.
        assert!(world.nslp.session_count() <= 2 * world.sids.len());
    }
    // Without more input everything ends: kept sessions within a day, the others much sooner.
    for _ in 0..20_000 {
        let Some(deadline) = world.nslp.deadline() else { break };
        world.now = world.now.max(deadline);
        world.nslp.expire(world.now);
        let requests = world.nslp.take_requests();
        world.carry(requests);
    }
    assert_eq!(world.nslp.deadline(), None);
    assert_eq!((world.nslp.session_count(), world.nslp.order_count()), (0, 0));
});

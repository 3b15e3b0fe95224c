//! Peers that lie, and floods.

use std::time::Duration;

use super::world::{World, decision, ms, node, numbered, request};
use crate::base::limits::{NSLP_HOP_CHANGES_MAX, NSLP_SERVED_BYTES_MAX, NSLP_SESSIONS_MAX};
use crate::base::time::Instant;
use crate::signaling::gist::api::{Nslp as _, ReceivedMessage, Request, TransferAttributes};
use crate::signaling::nslp::api::{Decision, NslpEvent, Order, Token};
use crate::signaling::nslp::{NetservNslp, NslpConfig};
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::Sid;
use crate::wire::nslp::answer::{Answer, AnswerCode, ReportItem};
use crate::wire::nslp::message::{Message, Place, RequestMessage};
use crate::wire::nslp::request::{Nonce, Operation, Target};

const MINUTE: Duration = Duration::from_secs(60);

fn mri() -> Mri {
    Mri::flow([10, 0, 0, 0].into(), [10, 9, 9, 9].into())
}

fn received<'a>(data: &'a [u8], sid: Sid, mri: &'a Mri) -> ReceivedMessage<'a> {
    ReceivedMessage {
        data,
        sid,
        mri,
        sii: None,
        attributes: TransferAttributes::default(),
        peer_key: None,
        is_unvalidated: false,
        is_address_validated: true,
        is_from_endpoint: false,
        ip_ttl: None,
        ip_distance: 0,
        hops: 1,
        interface: 0,
    }
}

fn message(number: u8, hop: u8) -> RequestMessage {
    let request = numbered(Operation::Setup, Target::All, number);
    RequestMessage {
        canonical: request.encode(),
        request,
        authorisation: None,
        hop,
        keep_s: 0,
        covered: Vec::new(),
        forward: Vec::new(),
    }
}

fn answer(number: u8, hop: u8, from: usize) -> Answer {
    Answer {
        nonce: Nonce([number; 16]),
        node: node(from),
        hop,
        code: AnswerCode::Installed,
        sentence: String::new(),
        is_last: false,
        hop_rtt_us: None,
        report: Vec::new(),
    }
}

/// A node that took one request, which is on its way to the next node.
struct Middle {
    nslp: NetservNslp,
    now: Instant,
}

impl Middle {
    fn new() -> Middle {
        let mut middle = Middle { nslp: NetservNslp::new(NslpConfig::new(node(1)), [1; 32]), now: Instant::START };
        middle.give(Sid([9; 16]), &mri(), &Message::Request(Box::new(message(1, 0))).encode());
        assert_eq!(middle.nslp.session_count(), 1);
        middle
    }

    /// Gives it a message; returns the messages that it sends.
    fn give(&mut self, sid: Sid, mri: &Mri, data: &[u8]) -> Vec<(Mri, Message)> {
        let mut requests = Vec::new();
        self.nslp.receive(self.now, &received(data, sid, mri), &mut requests);
        let sent = requests.into_iter().filter_map(|request| match request {
            Request::Send(message) => Some((message.mri, Message::decode(&message.data).expect("it is ours"))),
            Request::SetStateLifetime { .. } | Request::InvalidateRoutingState { .. } => None,
        });
        sent.collect()
    }

    /// Gives it an answer from behind; returns how many messages it passes on.
    fn answered(&mut self, sid: Sid, mri: &Mri, answer: &Answer) -> usize {
        answer.split(420).iter().map(|data| self.give(sid, mri, data).len()).sum()
    }
}

#[test]
fn an_answer_goes_on_only_from_behind_for_a_known_request_and_a_possible_place() {
    let (sid, up) = (Sid([9; 16]), mri().inverted());
    let mut middle = Middle::new();
    assert_eq!(middle.answered(sid, &up, &answer(1, 2, 2)), 1);
    assert_eq!(middle.answered(sid, &up, &answer(1, 64, 2)), 1);
    assert_eq!(middle.answered(sid, &up, &answer(1, 1, 2)), 0, "the place of this node");
    assert_eq!(middle.answered(sid, &up, &answer(1, 0, 2)), 0, "the place of the initiator");
    assert_eq!(middle.answered(sid, &up, &answer(2, 2, 2)), 0, "another request");
    assert_eq!(middle.answered(Sid([8; 16]), &up, &answer(1, 2, 2)), 0, "another session");
    assert_eq!(middle.answered(sid, &mri(), &answer(1, 2, 2)), 0, "from before");
    assert_eq!(middle.nslp.stats().strays, 5);
}

#[test]
fn what_gist_could_not_check_is_not_used() {
    let mut nslp = NetservNslp::new(NslpConfig::new(node(1)), [1; 32]);
    let (data, mri) = (Message::Request(Box::new(message(1, 0))).encode(), mri());
    let unvalidated = ReceivedMessage { is_unvalidated: true, ..received(&data, Sid([9; 16]), &mri) };
    nslp.receive(Instant::START, &unvalidated, &mut Vec::new());
    assert_eq!((nslp.session_count(), nslp.stats().unvalidated), (0, 1));
}

#[test]
fn another_request_with_a_known_nonce_is_not_used() {
    let mut middle = Middle::new();
    let mut other = message(1, 0);
    other.request.instance = "other".to_owned();
    other.canonical = other.request.encode();
    middle.now += ms(500);
    assert!(middle.give(Sid([9; 16]), &mri(), &Message::Request(Box::new(other)).encode()).is_empty());
    assert_eq!(middle.nslp.stats().strays, 1);
}

#[test]
fn a_request_that_goes_around_in_a_circle_ends() {
    let mut middle = Middle::new();
    let sid = Sid([7; 16]);
    assert!(middle.give(sid, &mri(), &Message::Request(Box::new(message(5, 64))).encode()).is_empty());
    assert_eq!(middle.nslp.stats().too_many_hops, 1);
    assert_eq!(middle.nslp.session_count(), 1);
}

#[test]
fn a_message_of_another_kind_is_refused_and_named_if_possible() {
    let mut middle = Middle::new();
    // An object that nobody knows, and that may not be passed over.
    let mut data = Message::Request(Box::new(message(3, 4))).encode();
    data.extend_from_slice(&[0x0f, 0xff, 0, 0]);
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    data[2..4].copy_from_slice(&length);
    let sent = middle.give(Sid([6; 16]), &mri(), &data);
    let [(up, Message::Response(part))] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(up, &mri().inverted());
    let answer = &part.answer;
    assert_eq!((answer.code, answer.hop, answer.nonce), (AnswerCode::Malformed, 5, Nonce([3; 16])));
    assert_eq!(answer.sentence, "object 4095 is not known");
    for noise in [&[0; 8][..], &[1, 1, 0, 4], &[5, 1, 0, 4], &[6, 1, 0, 0], &[1, 2, 0, 4], &[9; 40]] {
        assert!(middle.give(Sid([6; 16]), &mri(), noise).is_empty());
    }
    assert_eq!(middle.nslp.session_count(), 1, "nothing is remembered of it");
}

#[test]
fn an_order_that_meets_a_node_which_cannot_read_it_says_so() {
    let mut world = World::line(1, 2);
    world.order(&request(Operation::Setup, Target::All), false);
    world.loss = 100;
    world.run(ms(900));
    let (sid, up) = (sid_of(&world), world.mri.inverted());
    let malformed = Answer { code: AnswerCode::Malformed, ..answer(1, 1, 1) };
    world.receive(1, 0, sid, &up, &malformed.split(420)[0]);
    let text = format!("node {} could not read the request; no node behind it was asked", node(1));
    assert_eq!(world.finished()[0].1, Err(text));
}

fn sid_of(world: &World) -> Sid {
    world.hosts[0].nslp.orders.values().next().expect("there is an order").key.sid
}

#[test]
fn a_flood_of_answers_gives_a_bounded_number_of_events() {
    let mut world = World::line(1, 1);
    world.order(&request(Operation::Setup, Target::All), false);
    world.loss = 100;
    let (sid, up) = (sid_of(&world), world.mri.inverted());
    for n in 0..20_000u32 {
        let hop = (n % 70) as u8;
        let mut lie = answer(1, hop.clamp(2, 64), (n % 250) as usize);
        lie.sentence = n.to_string();
        lie.hop_rtt_us = Some(n + 1);
        world.receive(1, 0, sid, &up, &lie.split(420)[0]);
        let place = Place {
            nonce: Nonce([1; 16]),
            node: node(3),
            hop: hop.min(64),
            is_last: n == 7,
            hop_rtt_us: None,
            sequence: n,
        };
        world.receive(1, 0, sid, &up, &Message::Place(place).encode());
    }
    let answered = world.events.iter().filter(|(_, event)| matches!(event, NslpEvent::Answered { .. })).count();
    assert!(answered <= 64 * 3 * usize::from(NSLP_HOP_CHANGES_MAX), "{answered}");
    assert!(world.finished().is_empty(), "the node at place 1 has not answered");
    assert!(world.hosts[0].nslp.orders.values().all(|order| order.hops.len() <= 64));
    world.run(Duration::from_secs(700));
    assert_eq!(world.finished().len(), 1);
}

#[test]
fn answers_to_nobodys_order_are_dropped() {
    let mut world = World::line(1, 1);
    world.receive(1, 0, Sid([5; 16]), &mri().inverted(), &answer(1, 1, 1).split(420)[0]);
    world.order(&request(Operation::Setup, Target::All), false);
    let sid = sid_of(&world);
    // The right session, another request.
    world.receive(1, 0, sid, &mri().inverted(), &answer(2, 1, 1).split(420)[0]);
    assert!(world.events.is_empty());
    assert_eq!(world.hosts[0].nslp.stats().strays, 2);
}

#[test]
fn a_flood_of_sessions_is_refused_as_busy_and_forgotten_later() {
    let mut nslp = NetservNslp::new(NslpConfig::new(node(1)), [1; 32]);
    let mri = mri();
    let data = Message::Request(Box::new(message(1, 0))).encode();
    let mut now = Instant::START;
    let mut sent = Vec::new();
    for n in 0..NSLP_SESSIONS_MAX as u64 + 10 {
        let mut sid = [0; 16];
        sid[..8].copy_from_slice(&n.to_be_bytes());
        sent.clear();
        nslp.receive(now, &received(&data, Sid(sid), &mri), &mut sent);
        // The controller has its hands full, and answers none.
        while nslp.poll_event().is_some() {}
    }
    assert_eq!((nslp.session_count(), nslp.stats().busy), (NSLP_SESSIONS_MAX, 10));
    let [Request::Send(busy)] = sent.as_slice() else { panic!("{sent:?}") };
    let Ok(Message::Response(part)) = Message::decode(&busy.data) else { panic!("an answer") };
    assert_eq!(part.answer.code, AnswerCode::Busy);
    // All of it goes in the end, in bounded steps.
    for _ in 0..1_000 {
        let Some(deadline) = nslp.deadline() else { break };
        now = now.max(deadline) + MINUTE;
        nslp.expire(now);
        nslp.take_requests();
    }
    assert_eq!((nslp.session_count(), nslp.deadline()), (0, None));
    assert!(nslp.tokens.is_empty() && nslp.by_key.is_empty() && nslp.by_nonce.is_empty() && nslp.handles.is_empty());
}

fn number_sid(number: u64) -> Sid {
    let mut sid = [0; 16];
    sid[..8].copy_from_slice(&number.to_be_bytes());
    Sid(sid)
}

/// Gives a node the first request of a session; its controller answers at once.
fn begin(nslp: &mut NetservNslp, now: Instant, sid: Sid, message: RequestMessage, said: Decision) {
    let data = Message::Request(Box::new(message)).encode();
    let reliable = TransferAttributes { reliable: true, secure: false };
    let mri = mri();
    nslp.receive(now, &ReceivedMessage { attributes: reliable, ..received(&data, sid, &mri) }, &mut Vec::new());
    while let Some(event) = nslp.poll_event() {
        let NslpEvent::Asked { token, .. } = event else { panic!("{event:?}") };
        nslp.answer(now, token, said.clone());
    }
    nslp.take_requests();
}

#[test]
fn sessions_of_strangers_that_want_to_be_kept_give_way_and_what_runs_here_stays() {
    let mut nslp = NetservNslp::new(NslpConfig::new(node(1)), [1; 32]);
    let mut now = Instant::START;
    let kept = |number| RequestMessage { keep_s: 86_400, ..message(number, 0) };
    begin(&mut nslp, now, number_sid(u64::MAX), kept(1), decision(AnswerCode::Installed));
    for n in 0..2 * NSLP_SESSIONS_MAX as u64 {
        now += ms(1);
        begin(&mut nslp, now, number_sid(n), kept(2), decision(AnswerCode::UnknownKey));
    }
    let sids: Vec<Sid> = nslp.sessions.values().map(|session| session.key.sid).collect();
    assert!(sids.contains(&number_sid(u64::MAX)), "something runs by it");
    assert!(sids.contains(&number_sid(2 * NSLP_SESSIONS_MAX as u64 - 1)), "the last one found room");
    assert_eq!((sids.len(), nslp.stats().busy), (NSLP_SESSIONS_MAX, 0));
    assert_eq!(nslp.stats().gave_way, NSLP_SESSIONS_MAX as u64 + 1);
}

#[test]
fn long_requests_of_strangers_take_bounded_room() {
    let mut nslp = NetservNslp::new(NslpConfig::new(node(1)), [1; 32]);
    let mut long = message(1, 0);
    let module = long.request.module.as_mut().unwrap();
    module.properties = (0..10).map(|n| (format!("p{n}"), "x".repeat(1_000))).collect();
    long.canonical = long.request.encode();
    long.keep_s = 86_400;
    let mut now = Instant::START;
    for n in 0..5_000 {
        begin(&mut nslp, now, number_sid(n), long.clone(), decision(AnswerCode::UnknownKey));
    }
    assert!(nslp.served_bytes <= NSLP_SERVED_BYTES_MAX && nslp.stats().busy == 0);
    assert!((3_000..3_500).contains(&nslp.session_count()), "{}", nslp.session_count());
    for _ in 0..100 {
        let Some(deadline) = nslp.deadline() else { break };
        now = now.max(deadline) + MINUTE;
        nslp.expire(now);
        nslp.take_requests();
    }
    assert_eq!((nslp.session_count(), nslp.served_bytes), (0, 0));
}

#[test]
fn answers_with_long_reports_take_bounded_room() {
    let mut nslp = NetservNslp::new(NslpConfig::new(node(1)), [1; 32]);
    let counters: Vec<(String, u64)> = (0..256).map(|n| (format!("{n:032}"), n)).collect();
    let module = |n: u8| ReportItem::Module {
        instance: format!("i{n}"),
        module: "m".to_owned(),
        version: "1.0.0".to_owned(),
        state: "running".to_owned(),
        lifetime_s: None,
        counters: counters.clone(),
    };
    let report: Vec<ReportItem> = (0..64).map(module).collect();
    let probed = Decision { report, ..decision(AnswerCode::Probed) };
    for n in 0..60 {
        begin(&mut nslp, Instant::START, number_sid(n), message(1, 0), probed.clone());
    }
    // The answer to the last one comes on top.
    assert!(nslp.served_bytes <= NSLP_SERVED_BYTES_MAX + (2 << 20), "{}", nslp.served_bytes);
    assert!((20..50).contains(&nslp.session_count()), "{}", nslp.session_count());
}

#[test]
fn a_refresh_has_the_next_node_looked_for_in_its_own_session_only() {
    let mut middle = Middle::new();
    let refresh = numbered(Operation::Refresh, Target::All, 2);
    let data =
        Message::Request(Box::new(RequestMessage { canonical: refresh.encode(), request: refresh, ..message(2, 0) }));
    let mut requests = Vec::new();
    middle.nslp.receive(middle.now, &received(&data.encode(), Sid([9; 16]), &mri()), &mut requests);
    let sids = requests.iter().filter_map(|request| match request {
        Request::InvalidateRoutingState { sid, .. } => Some(*sid),
        Request::Send(_) | Request::SetStateLifetime { .. } => None,
    });
    assert_eq!(sids.collect::<Vec<_>>(), [Some(Sid([9; 16]))]);
}

#[test]
fn many_requests_in_one_session_take_bounded_room() {
    let mut middle = Middle::new();
    let mut busy = 0;
    for number in 2..200 {
        let data = Message::Request(Box::new(message(number, 0))).encode();
        let sent = middle.give(Sid([9; 16]), &mri(), &data);
        busy +=
            sent.iter().filter(|(_, m)| matches!(m, Message::Response(p) if p.answer.code == AnswerCode::Busy)).count();
    }
    assert!(busy > 190, "three wait for the controller, the others are refused: {busy}");
    assert!(middle.nslp.tokens.len() <= 3 && middle.nslp.by_nonce.len() <= 3 && middle.nslp.handles.len() <= 3);
    // Those that were answered make room.
    for token in 0..2_000 {
        middle.nslp.answer(middle.now, Token(token), decision(AnswerCode::Installed));
    }
    let data = Message::Request(Box::new(message(250, 0))).encode();
    middle.give(Sid([9; 16]), &mri(), &data);
    assert_eq!(middle.nslp.tokens.len(), 1);
}

#[test]
fn an_order_that_cannot_be_sent_is_refused_at_once() {
    let mut nslp = NetservNslp::new(NslpConfig::new(node(0)), [1; 32]);
    let mut order = Order {
        mri: mri(),
        request: vec![1, 2, 3],
        authorisation: None,
        attributes: TransferAttributes::default(),
        keep: false,
    };
    let error = nslp.order(Instant::START, order.clone()).expect_err("no request");
    assert_eq!(error, "the request cannot be sent: an object is cut short");
    let mut long = request(Operation::Setup, Target::All);
    long.module.as_mut().unwrap().url = format!("https://example.org/{}", "a".repeat(600));
    order.request = long.encode();
    let error = nslp.order(Instant::START, order.clone()).expect_err("too long for a datagram");
    assert!(error.starts_with("the request has ") && error.contains("as a datagram it may have 420"), "{error}");
    order.attributes.reliable = true;
    assert!(nslp.order(Instant::START, order).is_ok());
}

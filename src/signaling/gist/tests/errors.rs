//! Every error of RFC 5971, appendix A.4.4: sent where it should be, and what it does where it arrives.

use std::time::Duration;

use super::world::{NSLP, SID, World, address, message};
use crate::signaling::gist::Interception;
use crate::signaling::gist::api::{MessageStatus, NetworkNotification, SendError, SendMessage};
use crate::signaling::io::DatagramIn;
use crate::wire::gist::error::GistError;
use crate::wire::gist::header::MessageType::{Confirm, Data, Error, Hello, Query, Response};
use crate::wire::gist::header::{MAGIC, NslpId};
use crate::wire::gist::message::{Message, Rejection};
use crate::wire::gist::mri::{Direction, LooseEnd, Mri};
use crate::wire::gist::object::{NatTraversal, Nli, PeerIdentity};

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

/// A Query of node 0, to be spoilt.
fn query(w: &mut World) -> Message {
    let mut other = World::line(w.path.len());
    other.start(b"data");
    other.sent_by(0, Query)[0].message.clone()
}

/// What node 1 answers to a packet on its way to the flow's end.
fn answer(w: &mut World, message: &Message) -> Vec<(u16, u8)> {
    w.inject(1, (address(0), 270).into(), message);
    w.errors(1)
}

/// The same for bytes, changed after encoding; directly to node 1.
fn answer_bytes(w: &mut World, message: &Message, change: impl Fn(&mut Vec<u8>)) -> Vec<(u16, u8)> {
    let mut bytes = message.encode();
    change(&mut bytes);
    let payload = [&MAGIC[..], &bytes].concat();
    let datagram = DatagramIn {
        source: (address(0), 270).into(),
        destination: (address(1), 270).into(),
        ttl: Some(60),
        router_alert: None,
        interface: 1,
        payload: &payload,
    };
    w.call(1, |g, now, env| g.datagram(now, env, &datagram));
    w.errors(1)
}

#[test]
fn errors_of_the_header_are_answered() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, Change, (u16, u8)); 6] = [
        ("version", |b| b[0] = 2, (1, 0)),
        ("type", |b| b[6] = 0x80 | 40, (1, 1)),
        ("R-flag", |b| b[7] &= !0x40, (1, 2)),
        ("length", |b| b[3] += 1, (1, 3)),
        ("E-flag", |b| b[7] |= 0x20, (1, 4)),
        ("hops", |b| b[1] = 0, (2, 0)),
    ];
    for (name, change, want) in cases {
        let mut w = World::line(2);
        let query = query(&mut w);
        assert_eq!(answer_bytes(&mut w, &query, change), [want], "{name}");
    }
    // A Query without the C-flag does not look like one, but is one.
    let mut w = World::line(2);
    let query = query(&mut w);
    assert_eq!(answer_bytes(&mut w, &query, |b| b[6] = 0), [(1, 5)]);
    let sent = w.sent_by(1, Error)[0];
    assert_eq!(sent.message.nslp, NslpId::GIST);
    assert!(sent.message.nli.is_some(), "in D-mode the sender says who it is");
    let object = sent.message.error.as_ref().unwrap();
    assert!(object.d_mode && object.sid.is_none(), "errors of the header name no session");
}

#[test]
fn errors_of_objects_are_answered() {
    let mut w = World::line(2);
    let mut q = query(&mut w);
    let no_cookie = Message { query_cookie: None, ..q.clone() };
    assert_eq!(answer(&mut w, &no_cookie), [(9, 2)]);
    q.nslp = NSLP;
    let duplicate = |b: &mut Vec<u8>| {
        let sid = b[28..48].to_vec();
        b.splice(48..48, sid);
        b[3] += 5;
    };
    let mut w = World::line(2);
    assert_eq!(answer_bytes(&mut w, &q, duplicate), [(9, 0)]);
    let mut w = World::line(2);
    let unknown = |b: &mut Vec<u8>| {
        b.extend_from_slice(&[0x07, 0xd0, 0, 0]);
        b[3] += 1;
    };
    assert_eq!(answer_bytes(&mut w, &q, unknown), [(9, 1)]);
}

#[test]
fn an_endpoint_without_the_application_is_found() {
    let mut w = World::line(2);
    w.hosts[1].hosts = false;
    let q = query(&mut w);
    assert_eq!(answer(&mut w, &q), [(7, 0)]);
    let error = w.sent_by(1, Error)[0].message.error.clone().unwrap();
    assert_eq!((error.sid, error.mri.is_some(), error.q_mode), (Some(SID), true, true));
}

#[test]
fn a_direct_message_for_an_unknown_application_is_refused() {
    let mut w = World::line(2);
    w.start(b"one!");
    w.run(S(1));
    w.start(b"two!");
    w.run(S(1));
    let data = w.sent_by(0, Data)[0].message.clone();
    w.hosts[1].hosts = false;
    w.give(1, (address(0), 270).into(), &data);
    assert_eq!(w.errors(1), [(6, 0)]);
}

#[test]
fn a_query_without_hops_left_is_not_relayed() {
    let mut w = World::line(3);
    w.hosts[1].hosts = false;
    let m = SendMessage { hops: Some(1), ..message(&w.flow(), SID, b"data") };
    w.send(0, m);
    w.run(S(1));
    assert_eq!(w.errors(1), [(2, 0)]);
    assert!(w.hosts[2].app.asked.is_empty());
    assert_eq!(w.notes(0), [NetworkNotification::RoutingBad]);
}

#[test]
fn messages_in_the_wrong_encapsulation_are_refused() {
    // MA-Hello belongs on an association.
    let mut w = World::line(2);
    let mut hello = Message::new(Hello, NslpId(32_704));
    hello.hello_id = Some(0);
    hello.nslp = NSLP;
    w.give(1, (address(0), 270).into(), &hello);
    // It cannot say where an answer should go but by its source.
    assert_eq!(w.errors(1).len(), 1);
}

#[test]
fn a_query_of_the_wrong_ip_version_is_refused() {
    let mut w = World::line(2);
    let mut q = query(&mut w);
    q.mri = Some(Mri::flow("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()));
    assert_eq!(answer(&mut w, &q), [(12, 1)]);
}

#[test]
fn a_flow_of_this_node_that_comes_in_from_outside_is_refused() {
    let mut w = World::line(3);
    let mut q = query(&mut w);
    q.mri = Some(Mri::flow(address(1), address(2)));
    assert_eq!(answer(&mut w, &q), [(12, 2)]);
}

#[test]
fn a_flow_that_is_too_wild_is_refused() {
    let mut w = World::line(3);
    let mut q = query(&mut w);
    if let Some(Mri::PathCoupled(flow)) = &mut q.mri {
        flow.destination_prefix = 0;
    }
    assert_eq!(answer(&mut w, &q), [(12, 0)]);
}

#[test]
fn an_upstream_query_from_more_than_a_hop_away_is_refused() {
    let mut w = World::line(3);
    let mut q = query(&mut w);
    q.mri = q.mri.map(|m| m.inverted());
    assert_eq!(answer(&mut w, &q), [(11, 0)], "it comes with a TTL of 60");
}

#[test]
fn a_nat_that_knows_nothing_of_gist_is_detected_by_the_responder() {
    let mut w = World::line(3);
    let q = query(&mut w);
    let outside: std::net::IpAddr = "198.51.100.1".parse().unwrap();
    w.inject(1, (outside, 6_000).into(), &q);
    assert_eq!(w.errors(1), [(9, 4)]);
    let sent = w.sent_by(1, Error)[0].datagram.clone().unwrap();
    assert_eq!(sent.destination, (outside, 6_000).into(), "back the way it came");
    assert_eq!(sent.source, Some(address(2)), "from where the Query was going to");
    // With the S-flag clear the source is the flow's, and says nothing.
    let spoofed = Message { source_addressing: false, ..q };
    assert_eq!(w.inject(1, (outside, 6_000).into(), &spoofed), Some(Interception::Consumed));
    assert_eq!(w.errors(1).len(), 1);
}

#[test]
fn a_querier_that_hears_of_a_nat_ends_its_search() {
    let mut w = World::line(2);
    w.hosts[1].gist = None;
    w.start(b"data");
    let q = w.sent_by(0, Query)[0].message.clone();
    give_error(&mut w, &q, GistError::UntranslatedObject);
    assert_eq!(w.statuses(0), [MessageStatus::Failed(SendError::Refused(GistError::UntranslatedObject))]);
}

/// Gives node 0 an Error about a message of its own.
fn give_error(w: &mut World, about: &Message, error: GistError) {
    use crate::wire::gist::error::ErrorObject;
    let rejection = Rejection::of(about, error);
    let mut m = Message::new(Error, NslpId::GIST);
    m.nli = Some(Nli { peer_identity: PeerIdentity(vec![9; 4]), ip_ttl: 0, validity_ms: 1_000, address: address(1) });
    m.error = Some(ErrorObject::new(&rejection, true, true));
    w.give(0, (address(1), 270).into(), &m);
}

#[test]
fn an_error_about_a_query_ends_the_search_and_says_why() {
    for error in [
        GistError::HopLimitExceeded,
        GistError::MessageTooLarge,
        GistError::MriTooWild,
        GistError::IpVersionMismatch,
        GistError::ValueNotSupported,
        GistError::InvalidIpTtl,
        GistError::IngressFilterFailure,
    ] {
        let mut w = World::line(2);
        w.hosts[1].gist = None;
        w.start(b"data");
        let q = w.sent_by(0, Query)[0].message.clone();
        give_error(&mut w, &q, error);
        assert_eq!(w.statuses(0), [MessageStatus::Failed(SendError::Refused(error))]);
        assert_eq!(w.notes(0), [NetworkNotification::RoutingBad]);
    }
}

#[test]
fn an_error_that_fits_no_state_changes_nothing() {
    let mut w = World::line(2);
    w.hosts[1].gist = None;
    w.start(b"data");
    let mut q = w.sent_by(0, Query)[0].message.clone();
    q.sid = Some(crate::wire::gist::object::Sid([8; 16]));
    give_error(&mut w, &q, GistError::EndpointFound);
    assert_eq!(w.statuses(0), []);
    assert_eq!(w.gist(0).stats().of("dropped_error"), 1);
}

#[test]
fn a_broken_error_object_is_dropped_and_never_answered() {
    let mut w = World::line(2);
    let mut m = Message::new(Error, NslpId::GIST);
    m.nli = Some(Nli { peer_identity: PeerIdentity(vec![9; 4]), ip_ttl: 0, validity_ms: 1_000, address: address(0) });
    let mut bytes = m.encode();
    bytes.extend_from_slice(&[0, 9, 0, 1, 2, 0, 5, 0]);
    bytes[3] += 2;
    let payload = [&MAGIC[..], &bytes].concat();
    let datagram = DatagramIn {
        source: (address(0), 270).into(),
        destination: (address(1), 270).into(),
        ttl: None,
        router_alert: None,
        interface: 1,
        payload: &payload,
    };
    w.call(1, |g, now, env| g.datagram(now, env, &datagram));
    assert!(w.sent.is_empty());
    assert_eq!(w.gist(1).stats().of("dropped_malformed"), 1);
}

#[test]
fn a_wrong_responder_cookie_makes_no_state_and_is_reported_only_if_asked_for() {
    for report in [false, true] {
        let mut w = World::with(2, |_, c| c.report_invalid_cookies = report);
        w.drop_next(0, Confirm, 9);
        w.start(b"data");
        w.run(MS(20));
        assert_eq!(w.gist(1).stats().unconfirmed, 1);
        let mut confirm = w.sent_by(0, Confirm)[0].message.clone();
        confirm.responder_cookie.as_mut().unwrap().0[20] ^= 1;
        w.give(1, (address(0), 270).into(), &confirm);
        assert_eq!(w.gist(1).stats().sessions, 0);
        assert_eq!(w.errors(1), if report { vec![(10, 4)] } else { vec![] });
        assert!(w.got(1).is_empty());
    }
}

#[test]
fn errors_are_rate_limited() {
    let mut w = World::with(2, |_, c| c.errors_per_second = 5);
    w.hosts[1].hosts = false;
    let q = query(&mut w);
    for _ in 0..100 {
        answer(&mut w, &q);
    }
    assert_eq!(w.errors(1).len(), 5);
}

#[test]
fn what_nats_left_behind_is_echoed_in_responses_and_errors() {
    let mut w = World::line(3);
    let mut q = query(&mut w);
    let nat = NatTraversal {
        original_mri: q.mri.as_ref().unwrap().encode_value(),
        translated: vec![0, 2],
        opaque: vec![vec![1, 2, 3]],
    };
    q.nat_traversal = Some(nat.clone());
    w.inject(1, (address(0), 270).into(), &q);
    assert_eq!(w.sent_by(1, Response)[0].message.nat_traversal, Some(nat.clone()));
    q.mri = Some(Mri::flow(address(1), address(2)));
    w.inject(1, (address(0), 270).into(), &q);
    assert_eq!(w.sent_by(1, Error)[0].message.nat_traversal, Some(nat));
}

#[test]
fn a_response_through_a_nat_is_found_by_the_flow_that_the_querier_knows() {
    let mut w = World::line(2);
    w.drop_next(1, Response, 9);
    w.start(b"data");
    w.run(MS(20));
    let mut response = w.sent_by(1, Response)[0].message.clone();
    let own = w.flow();
    response.nat_traversal =
        Some(NatTraversal { original_mri: own.encode_value(), translated: vec![0], opaque: vec![] });
    response.mri = Some(Mri::flow("198.51.100.1".parse().unwrap(), address(1)).inverted());
    w.give(0, (address(1), 270).into(), &response);
    assert_eq!(w.sent_by(0, Confirm).len(), 1);
}

#[test]
fn loose_end_queries_go_towards_the_edge_only() {
    let flow = |direction| {
        Mri::LooseEnd(LooseEnd { nat_ignorable: false, source: address(0), destination: address(2), direction })
    };
    let mut w = World::line(3);
    w.send(0, message(&flow(Direction::Downstream), SID, b"edge"));
    w.run(S(1));
    assert_eq!(w.got(1), [b"edge"]);
    w.hosts[1].app.reply = Some(b"back".to_vec());
    w.send(0, message(&flow(Direction::Downstream), SID, b"more"));
    w.run(S(1));
    assert_eq!(w.got(0), [b"back"], "with state messages go both ways");
    let m = SendMessage {
        handle: Some(crate::signaling::gist::api::MessageHandle(5)),
        ..message(&flow(Direction::Upstream), SID, b"no")
    };
    w.send(2, m);
    assert_eq!(w.statuses(2), [MessageStatus::Failed(SendError::NoRoutingState)]);
    let mut q = query(&mut w);
    q.mri = Some(flow(Direction::Upstream));
    assert_eq!(answer(&mut w, &q), [(3, 0)]);
}

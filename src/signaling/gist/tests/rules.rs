//! Single rules of RFC 5971 that no other test holds; tests/tidy/rfc5971.toml says which.

use std::net::SocketAddr;
use std::time::Duration;

use super::world::{NSLP, RELIABLE, SECURE, SID, World, address, message};
use crate::base::limits::GIST_DATAGRAM_BYTES_MAX;
use crate::signaling::gist::Interception;
use crate::signaling::gist::api::{MessageHandle, MessageStatus, NetworkNotification, Request, SendError, SendMessage};
use crate::signaling::io::{DatagramIn, SocketOutput, StreamEvent, StreamId, StreamSecurity};
use crate::wire::gist::error::{ErrorInfo, ErrorObject, GistError};
use crate::wire::gist::header::MessageType::{Confirm, Data, Error, Hello, Query, Response};
use crate::wire::gist::header::{MAGIC, NslpId};
use crate::wire::gist::message::{Message, Rejection};
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::{NatTraversal, Nli, PeerIdentity, Sid};

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

fn query(count: usize) -> Message {
    let mut w = World::line(count);
    w.start(b"data");
    w.sent_by(0, Query)[0].message.clone()
}

/// The first Response that node 1 would send to node 0, held back.
fn held_response(w: &mut World, m: SendMessage) -> Message {
    w.drop_next(1, Response, 99);
    w.send(0, m);
    w.run(MS(20));
    w.sent_by(1, Response)[0].message.clone()
}

/// Gives a node bytes as a datagram, and takes what it does about it.
fn outputs(w: &mut World, node: usize, source: SocketAddr, payload: &[u8]) -> Vec<SocketOutput> {
    let destination = SocketAddr::new(address(node), 270);
    let datagram = DatagramIn { source, destination, ttl: Some(60), router_alert: None, interface: 1, payload };
    w.call(node, |g, now, env| {
        g.datagram(now, env, &datagram);
        std::iter::from_fn(|| g.poll()).collect()
    })
    .expect("a node with GIST")
}

fn packed(m: &Message) -> Vec<u8> {
    [&MAGIC[..], &m.encode()].concat()
}

fn reliable(w: &World, sid: u8, data: &[u8]) -> SendMessage {
    SendMessage { attributes: RELIABLE, ..message(&w.flow(), Sid([sid; 16]), data) }
}

#[test]
fn reliable_messages_arrive_once_and_in_order_over_one_association() {
    let mut w = World::line(2);
    let all: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 4]).collect();
    // Some wait for the association, the others find it open.
    for data in &all[..10] {
        w.send(0, reliable(&w, 7, data));
    }
    w.run(S(1));
    for data in &all[10..] {
        let count = w.sent_by(0, Data).len();
        w.send(0, reliable(&w, 7, data));
        assert_eq!(w.sent_by(0, Data).len(), count + 1, "nothing waits to be bundled");
    }
    w.run(S(1));
    assert_eq!(w.got(1), all);
    assert_eq!(w.gist(0).stats().of("associations_opened"), 1);
    let streams: Vec<_> = w.sent_by(0, Data).iter().map(|s| s.stream).collect();
    assert!(streams[0].is_some() && streams.iter().all(|s| *s == streams[0]));
    assert!(w.sent_by(0, Query).iter().all(|q| q.message.nslp_data.is_none()), "what is to be reliable waits");
}

#[test]
fn an_application_cannot_send_without_hops() {
    let mut w = World::line(2);
    let m = SendMessage { hops: Some(0), handle: Some(MessageHandle(1)), ..message(&w.flow(), SID, b"data") };
    w.send(0, m);
    assert_eq!(w.statuses(0), [MessageStatus::Failed(SendError::Refused(GistError::HopLimitExceeded))]);
    assert!(w.sent.is_empty());
}

#[test]
fn a_message_without_hops_is_refused_however_it_comes() {
    let mut w = World::line(2);
    w.send(0, reliable(&w, 7, b"data"));
    w.run(S(1));
    let mut data = w.sent_by(0, Data)[0].message.clone();
    data.hops = 0;
    let bytes = data.encode();
    w.call(1, |g, now, env| g.stream(now, env, StreamId(3), StreamEvent::Received(&bytes)));
    assert_eq!(w.errors(1), [(2, 0)]);
    assert_eq!(w.sent_by(1, Error)[0].stream, Some(StreamId(3)), "over the association by which it came");
    data.nli = query(2).nli;
    w.give(1, (address(0), 270).into(), &data);
    assert_eq!(w.errors(1), [(2, 0), (2, 0)]);
    assert!(w.sent_by(1, Error)[1].stream.is_none());
    w.inject(1, (address(0), 270).into(), &Message { hops: 0, ..query(2) });
    assert_eq!(w.errors(1), [(2, 0), (2, 0), (2, 0)]);
    assert_eq!(w.got(1).len(), 1);
}

#[test]
fn a_datagram_without_the_magic_number_is_dropped_without_a_word() {
    let mut w = World::line(2);
    let from = (address(0), 270).into();
    for payload in [query(2).encode(), vec![], vec![0x4e, 4, 0xbd], [&[0; 4][..], &query(2).encode()].concat()] {
        assert_eq!(outputs(&mut w, 1, from, &payload), []);
    }
    assert_eq!(w.gist(1).stats().of("dropped_no_magic"), 4);
}

#[test]
fn an_answer_goes_to_the_port_of_the_query_and_to_the_address_that_the_query_names() {
    let mut w = World::line(3);
    // The packet has the source of the flow, which is another machine.
    let q = Message { source_addressing: false, ..query(3) };
    w.inject(1, "10.77.0.1:6000".parse().unwrap(), &q);
    let response = w.sent_by(1, Response)[0].clone();
    let datagram = response.datagram.unwrap();
    assert_eq!(datagram.destination, (address(0), 6_000).into());
    assert_eq!((datagram.source, datagram.source_port), (Some(address(1)), 0));
    assert!(response.message.source_addressing && datagram.router_alert.is_none());
    assert_eq!((response.message.sid, response.message.query_cookie), (q.sid, q.query_cookie));
    // What the application sends back later takes the same way.
    let mut confirm = Message::new(Confirm, NSLP);
    (confirm.mri, confirm.sid, confirm.nli) = (q.mri, q.sid, q.nli);
    confirm.responder_cookie = response.message.responder_cookie;
    w.give(1, (address(0), 6_000).into(), &confirm);
    w.send(1, message(&w.flow().inverted(), SID, b"back"));
    assert_eq!(w.sent_by(1, Data)[0].datagram.as_ref().unwrap().destination, (address(0), 6_000).into());
}

#[test]
fn what_is_sent_as_a_datagram_says_truly_from_where_it_comes() {
    let mut w = World::line(2);
    w.hosts[1].app.reply = Some(b"done".to_vec());
    w.start(b"one!");
    w.run(S(1));
    w.start(b"two!");
    w.run(S(1));
    w.hosts[1].hosts = false;
    w.start(b"err!");
    w.run(S(1));
    for kind in [Query, Response, Confirm, Data, Error] {
        assert!(w.sent.iter().any(|s| s.message.kind == kind), "{kind:?}");
    }
    for sent in &w.sent {
        let (datagram, nli) = (sent.datagram.as_ref().unwrap(), sent.message.nli.as_ref().unwrap());
        assert!(sent.message.source_addressing);
        assert_eq!((datagram.source, nli.address), (Some(address(sent.from)), address(sent.from)));
        assert_eq!(sent.message.context_free, sent.message.kind == Query);
        assert_eq!(datagram.payload[..4], MAGIC);
    }
    let ttl = w.sent_by(0, Query)[0].datagram.as_ref().unwrap().ttl;
    assert_eq!(ttl, w.sent_by(0, Query)[0].message.nli.as_ref().map(|nli| nli.ip_ttl));
}

#[test]
fn a_response_that_comes_again_is_answered_again() {
    let mut w = World::line(2);
    w.start(b"data");
    w.run(S(1));
    let response = w.sent_by(1, Response)[0].message.clone();
    w.give(0, (address(1), 270).into(), &response);
    assert_eq!(w.sent_by(0, Confirm).len(), 2);
    w.run(S(1));
    assert_eq!((w.got(1).len(), w.notes(1).len(), w.errors(1).len()), (1, 1, 0), "the Confirm is ignored");
    assert_eq!(w.gist(1).stats().sessions, 1);
}

#[test]
fn a_response_to_no_query_of_ours_is_not_answered() {
    let mut w = World::line(2);
    w.start(b"data");
    w.run(S(1));
    let response = Message { sid: Some(Sid([9; 16])), ..w.sent_by(1, Response)[0].message.clone() };
    assert_eq!(outputs(&mut w, 0, (address(1), 270).into(), &packed(&response)), []);
    assert_eq!(w.gist(0).stats().of("dropped_no_state"), 1);
}

#[test]
fn a_response_whose_source_is_not_what_it_says_ends_the_search() {
    let mut w = World::line(2);
    let m = SendMessage { handle: Some(MessageHandle(1)), ..message(&w.flow(), SID, b"data") };
    let response = held_response(&mut w, m);
    w.give(0, "198.51.100.1:270".parse().unwrap(), &response);
    assert_eq!(w.statuses(0), [MessageStatus::Failed(SendError::Refused(GistError::UntranslatedObject))]);
    w.run(S(60));
    assert_eq!((w.times(0, Query), w.sent_by(0, Confirm).len()), (vec![0], 0));
}

/// An Error of node `from` about a message.
fn error(from: usize, about: &Message, error: GistError) -> Message {
    let mut m = Message::new(Error, NslpId::GIST);
    let peer_identity = PeerIdentity(vec![from as u8 + 1; 16]);
    m.nli = Some(Nli { peer_identity, ip_ttl: 0, validity_ms: 1_000, address: address(from) });
    m.error = Some(ErrorObject::new(&Rejection::of(about, error), true, false));
    m
}

#[test]
fn a_responder_that_hears_of_no_routing_state_forgets_its_own() {
    let mut w = World::line(2);
    w.hosts[1].app.reply = Some(b"done".to_vec());
    w.start(b"data");
    w.run(S(1));
    let data = w.sent_by(1, Data)[0].message.clone();
    w.give(1, (address(0), 270).into(), &error(0, &data, GistError::NoRoutingState));
    assert_eq!(w.gist(1).stats().sessions, 0);
    assert_eq!(w.notes(1).last(), Some(&NetworkNotification::RoutingBad));
    // Now there is no state that it could be about: nothing is done, and nothing said.
    let again = error(0, &data, GistError::NoRoutingState);
    assert_eq!(outputs(&mut w, 1, (address(0), 270).into(), &packed(&again)), []);
}

#[test]
fn an_error_makes_no_state_and_goes_once_to_where_the_message_says_it_is_from() {
    let mut w = World::line(3);
    let outside: SocketAddr = "10.77.0.1:6000".parse().unwrap();
    let wild = |source_addressing, nli| {
        let mri = Some(Mri::flow(address(1), address(2)));
        Message { source_addressing, mri, nli, ..query(3) }
    };
    w.inject(1, outside, &wild(false, query(3).nli));
    assert_eq!(w.sent_by(1, Error)[0].datagram.as_ref().unwrap().destination, (address(0), 6_000).into());
    // Without an NLI only the IP source is left, if it is the sender's own.
    w.inject(1, outside, &wild(false, None));
    assert_eq!(w.errors(1), [(12, 2)]);
    w.inject(1, outside, &wild(true, None));
    assert_eq!(w.errors(1), [(12, 2), (9, 2)]);
    assert_eq!(w.sent_by(1, Error)[1].datagram.as_ref().unwrap().destination, outside);
    w.run(S(100));
    assert_eq!((w.gist(1).stats().sessions, w.sent.len()), (0, 2));
}

#[test]
fn a_query_over_an_association_is_refused_there() {
    let mut w = World::line(2);
    w.send(0, reliable(&w, 7, b"data"));
    w.run(S(1));
    let bytes = query(2).encode();
    w.call(1, |g, now, env| g.stream(now, env, StreamId(3), StreamEvent::Received(&bytes)));
    assert_eq!((w.errors(1), w.sent_by(1, Error)[0].stream), (vec![(3, 0)], Some(StreamId(3))));
}

#[test]
fn a_query_by_an_unknown_routing_method_is_relayed_where_the_application_is_not() {
    let mut w = World::line(3);
    w.hosts[1].hosts = false;
    let q = query(3);
    let destination = SocketAddr::new(address(2), 270);
    let mut payload = packed(&q);
    payload[16] = 0x7d;
    let datagram = |payload| DatagramIn {
        source: (address(0), 270).into(),
        destination,
        ttl: Some(60),
        router_alert: None,
        interface: 1,
        payload,
    };
    let verdict = w.call(1, |g, now, env| g.intercept(now, env, &datagram(&payload)));
    assert_eq!(verdict, Some(Interception::Relay { hops: 31 }));
    w.hosts[1].hosts = true;
    w.call(1, |g, now, env| g.intercept(now, env, &datagram(&payload)));
    assert_eq!(w.errors(1), [(10, 1)], "where it is, the MRI must be understood");
}

#[test]
fn an_association_is_opened_at_once_to_where_the_response_says() {
    let mut w = World::line(2);
    let m = reliable(&w, 7, b"data");
    let mut response = held_response(&mut w, m);
    let options = &mut response.stack_configuration.as_mut().unwrap().options;
    assert_eq!(options.iter().map(|o| (o.profile, o.port())).collect::<Vec<_>>(), [(1, Some(4_001)), (2, Some(4_000))]);
    options[1].data = 4_444u16.to_be_bytes().to_vec();
    // What a NAT could not translate is not used, though it is the better one.
    options[0].forbidden = true;
    let outputs = outputs(&mut w, 0, (address(1), 270).into(), &packed(&response));
    let [SocketOutput::Connect { to, security: StreamSecurity::Plain, .. }] = outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!(to, (address(1), 4_444).into());
}

#[test]
fn where_every_offer_is_forbidden_there_is_no_association() {
    let mut w = World::line(2);
    let m = SendMessage { handle: Some(MessageHandle(1)), ..reliable(&w, 7, b"data") };
    let mut response = held_response(&mut w, m);
    for option in &mut response.stack_configuration.as_mut().unwrap().options {
        option.forbidden = true;
    }
    w.give(0, (address(1), 270).into(), &response);
    assert_eq!(w.statuses(0), [MessageStatus::Failed(SendError::NoTransport)]);
    assert_eq!(w.gist(0).stats().associations, 0);
}

#[test]
fn a_response_does_not_go_over_an_association_that_is_weaker_than_its_offer() {
    // Node 1 would offer TLS, but node 0 wanted only TCP.
    let mut w = World::with(2, |i, c| c.propose_tls = i != 0);
    for sid in [7, 8] {
        w.send(0, reliable(&w, sid, b"data"));
        w.run(S(1));
    }
    let second = w.sent_by(1, Response)[1];
    assert!(second.stream.is_none() && second.message.stack_proposal.is_some());
    assert_eq!((w.got(1).len(), w.gist(1).stats().associations), (2, 1));
    // One that is none of the Query's offers is not used either.
    let mut w = World::with(2, |i, c| c.tls_port = (i == 0).then_some(4_001));
    w.send(0, reliable(&w, 7, b"data"));
    w.run(S(1));
    w.send(0, SendMessage { attributes: SECURE, ..reliable(&w, 8, b"data") });
    w.run(S(1));
    assert!(w.sent_by(1, Response).iter().all(|r| r.stream.is_none()));
    assert_eq!(w.got(1).len(), 1);
}

#[test]
fn a_first_confirm_without_hold_time_is_answered_and_the_association_ends() {
    let mut w = World::line(2);
    w.send(0, reliable(&w, 7, b"data"));
    w.run(S(1));
    let confirm = Message { stack_configuration: None, ..w.sent_by(0, Confirm)[0].message.clone() };
    let (stream, from, to) = (StreamId(99), (address(0), 50_000).into(), (address(1), 4_000).into());
    let accepted = StreamEvent::Accepted { from, to, security: StreamSecurity::Plain, peer_key: None };
    w.call(1, |g, now, env| {
        g.stream(now, env, stream, accepted);
        g.stream(now, env, stream, StreamEvent::Received(&confirm.encode()));
    });
    assert_eq!((w.errors(1), w.sent_by(1, Error)[0].stream), (vec![(9, 2)], Some(stream)));
    assert_eq!(w.gist(1).stats().associations, 1, "only the good one is left");
}

#[test]
fn hellos_go_over_associations_only() {
    let mut w = World::with(2, |_, c| c.validity = S(2_000));
    w.send(0, reliable(&w, 7, b"data"));
    w.request(0, Request::SetStateLifetime { mri: w.flow(), sid: SID, lifetime: S(1_000) });
    w.run(S(100));
    w.cut_streams();
    w.run(S(100));
    let hellos = [w.sent_by(0, Hello), w.sent_by(1, Hello)].concat();
    assert!(hellos.iter().any(|h| h.message.reply_requested));
    for hello in hellos {
        assert!(hello.stream.is_some());
        assert_eq!(hello.message.reply_requested, hello.message.hello_id != Some(0));
        assert_eq!(hello.message.nslp, NslpId::GIST);
    }
}

#[test]
fn sessions_of_one_flow_are_separate_whoever_began_them() {
    let mut w = World::line(2);
    w.start(b"down");
    w.run(S(1));
    w.send(1, message(&w.flow().inverted(), Sid([8; 16]), b"up!!"));
    w.run(S(1));
    assert_eq!((w.gist(0).stats().sessions, w.gist(1).stats().sessions), (2, 2));
    assert_eq!((w.sent_by(0, Query).len(), w.sent_by(1, Query).len()), (1, 1));
}

#[test]
fn a_downstream_handshake_wins_over_an_upstream_one_of_the_same_session() {
    let mut w = World::with(2, |i, c| c.delayed_installation = i == 0);
    w.drop_next(0, Response, 1);
    w.send(1, message(&w.flow().inverted(), SID, b"up!!"));
    w.run(MS(20));
    let late = w.sent_by(0, Response)[0].message.clone();
    w.start(b"down");
    w.run(MS(100));
    assert_eq!(w.got(1), [b"down"]);
    // The message that waited for the upstream search goes to the peer that the downstream Query brought.
    assert_eq!(w.got(0), [b"up!!"]);
    assert_eq!(outputs(&mut w, 1, (address(0), 270).into(), &packed(&late)), [], "too late");
    w.run(S(10));
    assert_eq!(w.sent_by(1, Query).len(), 1, "no more upstream Queries");
}

#[test]
fn each_query_is_answered_while_the_confirm_is_awaited() {
    let mut w = World::line(3);
    for n in 1..=3 {
        w.inject(1, (address(0), 270).into(), &query(3));
        assert_eq!(w.sent_by(1, Response).len(), n);
    }
    assert_eq!(w.gist(1).stats().unconfirmed, 1);
}

#[test]
fn a_query_with_its_payload_is_never_longer_than_a_datagram_may_be() {
    let mut w = World::line(2);
    w.start(b"data");
    w.run(S(1));
    for bytes in [100, 600] {
        let data = Some(vec![1; bytes]);
        w.request(0, Request::InvalidateRoutingState { mri: w.flow(), sid: None, is_bad: false, urgent: true, data });
        w.run(S(1));
    }
    let queries = w.sent_by(0, Query);
    let sizes: Vec<_> = queries.iter().map(|q| q.message.nslp_data.as_ref().map_or(0, Vec::len)).collect();
    assert_eq!(sizes, [0, 100, 0]);
    assert!(queries.iter().all(|q| q.message.encode().len() <= GIST_DATAGRAM_BYTES_MAX));
}

#[test]
fn a_hello_in_d_mode_is_refused() {
    let mut w = World::line(2);
    let mut hello = Message::new(Hello, NslpId::GIST);
    hello.hello_id = Some(0);
    w.give(1, (address(0), 270).into(), &hello);
    assert_eq!(w.errors(1), [(3, 0)]);
}

#[test]
fn against_the_flow_the_ttl_field_says_how_far_the_peer_is_if_known() {
    let mut w = World::line(4);
    w.hosts[1].gist = None;
    let up = w.flow().inverted();
    w.send(2, message(&up, SID, b"up!!"));
    w.request(2, Request::SetStateLifetime { mri: up, sid: SID, lifetime: S(1_000) });
    w.run(S(40));
    // A Response that goes with the flow tells nothing, so the querier never learns it.
    let queries = w.sent_by(2, Query);
    assert!(queries.len() > 1 && queries.iter().all(|q| q.message.nli.as_ref().unwrap().ip_ttl == 0));
    // Downstream, the responder counts the hops to the querier, and says so in what it sends back.
    w.send(0, message(&w.flow(), Sid([8; 16]), b"down"));
    w.run(S(1));
    assert_eq!(w.sent_by(2, Response)[0].message.nli.as_ref().unwrap().ip_ttl, 1);
}

#[test]
fn at_the_end_of_its_way_a_query_over_the_limit_is_lost_and_not_answered_with_an_error() {
    let mut w = World::with(2, |_, c| c.queries_per_second = 2);
    let q = query(2);
    for n in 0..4 {
        w.inject(1, (address(0), 270).into(), &Message { sid: Some(Sid([n; 16])), ..q.clone() });
    }
    assert_eq!((w.sent_by(1, Response).len(), w.errors(1).len()), (2, 0));
}

#[test]
fn a_query_through_a_nat_that_left_addresses_untranslated_is_refused() {
    let q = query(3);
    for (translated, is_good) in
        [(vec![0, 2], true), (vec![0x8000, 0x4002, 4], true), (vec![0], false), (vec![2], false)]
    {
        let mut w = World::line(3);
        let nat = NatTraversal { original_mri: q.mri.as_ref().unwrap().encode_value(), translated, opaque: vec![] };
        w.inject(1, (address(0), 270).into(), &Message { nat_traversal: Some(nat.clone()), ..q.clone() });
        assert_eq!(w.sent_by(1, Response).len(), usize::from(is_good));
        if !is_good {
            let error = &w.sent_by(1, Error)[0].message;
            assert_eq!((w.errors(1), &error.nat_traversal), (vec![(9, 4)], &Some(nat)));
            assert_eq!(error.error.as_ref().unwrap().info, [ErrorInfo::ObjectType(0)], "the MRI");
        }
    }
}

#[test]
fn a_flow_whose_end_is_no_machine_is_refused() {
    for end in ["224.0.0.251", "0.0.0.0"] {
        let mut w = World::line(3);
        let mri = Some(Mri::flow(address(0), end.parse().unwrap()));
        w.inject(1, (address(0), 270).into(), &Message { mri, ..query(3) });
        assert_eq!(w.errors(1), [(10, 1)]);
    }
}

#[test]
fn a_confirm_from_elsewhere_than_it_says_is_dropped() {
    let mut w = World::line(2);
    w.drop_next(0, Confirm, 1);
    w.start(b"data");
    w.run(MS(20));
    let confirm = w.sent_by(0, Confirm)[0].message.clone();
    w.give(1, "198.51.100.1:270".parse().unwrap(), &confirm);
    assert_eq!((w.gist(1).stats().of("dropped_source"), w.gist(1).stats().unconfirmed), (1, 1));
    w.give(1, (address(0), 270).into(), &confirm);
    assert_eq!(w.got(1), [b"data"]);
}

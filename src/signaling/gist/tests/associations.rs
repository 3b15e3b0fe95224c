//! Messaging associations (RFC 5971, section 4.4.3, RFC 5971, section 4.4.5 and RFC 5971, section 5.7; RFC 5972,
//! section 7).

use std::time::Duration;

use super::world::{RELIABLE, SECURE, SID, World, address, message};
use crate::signaling::gist::api::{
    MessageHandle, MessageStatus, NetworkNotification, Request, SendError, SendMessage, TransferAttributes,
};
use crate::signaling::gist::{GistConfig, PeerRule};
use crate::signaling::io::{PeerKey, SocketOutput, StreamEvent, StreamId, StreamSecurity};
use crate::wire::gist::header::MessageType::{Confirm, Data, Hello, Query, Response};
use crate::wire::gist::object::Sid;

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

fn start(w: &mut World, sid: u8, attributes: TransferAttributes, data: &[u8]) {
    let m = SendMessage {
        attributes,
        handle: Some(MessageHandle(u64::from(sid))),
        ..message(&w.flow(), Sid([sid; 16]), data)
    };
    w.send(0, m);
}

fn plain_only(_: usize, c: &mut GistConfig) {
    c.tls_port = None;
}

#[test]
fn a_reliable_message_opens_an_association_whose_first_message_is_the_confirm() {
    let mut w = World::with(2, plain_only);
    start(&mut w, 7, RELIABLE, b"data");
    w.run(MS(200));
    assert_eq!(w.got(1), [b"data"]);
    assert_eq!(w.hosts[1].app.received[0].attributes, RELIABLE);
    assert_eq!(w.statuses(0), [MessageStatus::Sent(RELIABLE)]);
    let query = &w.sent_by(0, Query)[0].message;
    assert_eq!(query.stack_proposal.as_ref().unwrap().profiles, [vec![2, 1], vec![1]]);
    let response = &w.sent_by(1, Response)[0].message;
    assert_eq!(response.stack_proposal.as_ref().unwrap().profiles, [vec![1]]);
    assert!(response.reply_requested && response.responder_cookie.is_some());
    let confirm = &w.sent_by(0, Confirm)[0];
    assert!(confirm.stream.is_some(), "not as a datagram");
    assert_eq!(confirm.message.stack_proposal, response.stack_proposal, "the responder's proposal goes back");
    let configuration = confirm.message.stack_configuration.as_ref().unwrap();
    assert!(configuration.options.is_empty() && configuration.hold_time_ms == 30_000, "abbreviated");
    assert!(w.sent_by(0, Data)[0].message.nli.is_none(), "the association says who it is");
    assert_eq!((w.gist(0).stats().associations, w.gist(1).stats().associations), (1, 1));
}

#[test]
fn a_secure_message_proposes_tls_only_and_never_goes_otherwise() {
    let mut w = World::line(2);
    start(&mut w, 7, SECURE, b"data");
    w.run(MS(200));
    assert_eq!(w.sent_by(0, Query)[0].message.stack_proposal.as_ref().unwrap().profiles, [vec![2, 1]]);
    assert_eq!(w.hosts[1].app.received[0].attributes, SECURE);
    assert_eq!(w.hosts[1].app.received[0].peer_key, Some(PeerKey([1; 32])));
    // A peer that has no TLS.
    let mut w = World::with(2, plain_only);
    start(&mut w, 7, SECURE, b"data");
    w.run(S(5));
    assert!(w.got(1).is_empty());
    assert_eq!(w.statuses(0), [MessageStatus::Failed(SendError::NoTransport)]);
    assert_eq!(w.gist(0).stats().sessions, 0);
}

#[test]
fn a_response_proposes_the_same_whatever_the_query_says() {
    let mut w = World::line(2);
    start(&mut w, 7, SECURE, b"data");
    start(&mut w, 8, RELIABLE, b"data");
    w.run(MS(200));
    let responses = w.sent_by(1, Response);
    assert_eq!(responses.len(), 2);
    assert_eq!(responses[0].message.stack_proposal, responses[1].message.stack_proposal);
}

#[test]
fn many_sessions_share_one_association_also_while_it_is_being_opened() {
    let mut w = World::line(2);
    for sid in 1..=20 {
        start(&mut w, sid, RELIABLE, b"data");
    }
    w.run(MS(300));
    assert_eq!(w.got(1).len(), 20);
    assert_eq!((w.gist(0).stats().associations, w.gist(1).stats().associations), (1, 1));
    // One more, now that it is open: the Response comes over it, without a proposal.
    start(&mut w, 21, SECURE, b"more");
    w.run(MS(300));
    assert_eq!(w.got(1).len(), 21);
    let response = w.sent_by(1, Response).last().unwrap().message.clone();
    assert!(w.sent_by(1, Response).last().unwrap().stream.is_some());
    assert!(response.stack_proposal.is_none() && response.stack_configuration.is_none());
    assert_eq!(w.gist(0).stats().associations, 1);
    let with_hold_time = w.sent_by(0, Confirm).iter().filter(|c| c.message.stack_configuration.is_some()).count();
    assert_eq!(with_hold_time, 1, "only the first Confirm has the hold time");
}

#[test]
fn a_weaker_association_is_not_used_for_secure_messages() {
    let mut w = World::with(2, |i, c| c.propose_tls = i != 9);
    w.gist(0);
    let mut plain = World::with(2, plain_only);
    start(&mut plain, 1, RELIABLE, b"data");
    plain.run(MS(200));
    assert_eq!(plain.gist(0).stats().associations, 1);
    start(&mut plain, 2, SECURE, b"data");
    plain.run(S(2));
    assert_eq!(plain.got(1).len(), 1);
    assert_eq!(plain.statuses(0).last(), Some(&MessageStatus::Failed(SendError::NoTransport)));
}

#[test]
fn a_session_that_began_with_datagrams_gets_an_association_when_it_needs_one() {
    let mut w = World::line(2);
    start(&mut w, 7, TransferAttributes::default(), b"one!");
    w.run(MS(200));
    assert_eq!(w.gist(0).stats().associations, 0);
    start(&mut w, 7, RELIABLE, &[5; 3_000]);
    w.run(MS(300));
    assert_eq!(w.got(1).len(), 2);
    assert_eq!(w.hosts[1].app.received[1].attributes, SECURE, "the best that both sides have");
    assert_eq!(w.gist(1).stats().sessions, 1);
}

#[test]
fn refreshes_keep_the_association_and_go_over_it() {
    let mut w = World::line(2);
    start(&mut w, 7, RELIABLE, b"data");
    w.request(0, Request::SetStateLifetime { mri: w.flow(), sid: Sid([7; 16]), lifetime: S(1_000) });
    w.run(S(200));
    assert!(w.sent_by(0, Query).len() > 8);
    assert!(w.sent_by(0, Query).iter().all(|q| q.message.stack_proposal.is_some()), "refreshes propose too");
    assert!(w.sent_by(1, Response)[1..].iter().all(|r| r.stream.is_some() && r.message.stack_proposal.is_none()));
    assert_eq!((w.gist(0).stats().associations, w.gist(1).stats().associations), (1, 1));
    assert_eq!(w.gist(0).stats().of("associations_opened"), 1);
    assert_eq!(w.notes(0).len(), 1, "{:?}", w.notes(0));
}

#[test]
fn a_silent_association_is_kept_by_hellos_within_three_quarters_of_the_hold_time() {
    let mut w = World::with(2, |_, c| c.validity = S(2_000));
    start(&mut w, 7, RELIABLE, b"data");
    w.request(0, Request::SetStateLifetime { mri: w.flow(), sid: Sid([7; 16]), lifetime: S(1_000) });
    w.run(S(300));
    for node in 0..2 {
        let times = w.times(node, Hello);
        assert!(times.len() > 10, "{times:?}");
        for pair in times.windows(2) {
            assert!((14_999..=22_501).contains(&(pair[1] - pair[0])), "{pair:?}");
        }
        assert!(w.sent_by(node, Hello).iter().all(|h| !h.message.reply_requested && h.message.hello_id == Some(0)));
    }
    assert_eq!((w.gist(0).stats().associations, w.gist(1).stats().associations), (1, 1));
}

#[test]
fn an_association_without_sessions_ends_after_the_hold_time() {
    let mut w = World::line(2);
    start(&mut w, 7, RELIABLE, b"data");
    w.run(S(1));
    w.request(0, Request::SetStateLifetime { mri: w.flow(), sid: Sid([7; 16]), lifetime: Duration::ZERO });
    w.run(S(25));
    assert_eq!(w.gist(0).stats().associations, 1, "not before the hold time");
    w.run(S(120));
    assert_eq!((w.gist(0).stats().associations, w.gist(1).stats().associations), (0, 0));
    assert_eq!(w.gist(0).deadline(), None);
    assert_eq!(w.gist(1).deadline(), None);
    assert!(!w.notes(0).contains(&NetworkNotification::CommunicationFailure));
}

#[test]
fn a_hello_that_asks_is_answered_with_its_number() {
    let mut w = World::line(2);
    start(&mut w, 7, RELIABLE, b"data");
    w.run(S(1));
    let stream = StreamId(3);
    let bytes = [1, 1, 0, 2, 0, 0, 5, 0xc0, 0, 10, 0, 1, 0xca, 0xfe, 0, 1];
    w.call(1, |g, now, env| g.stream(now, env, stream, StreamEvent::Received(&bytes)));
    let hello = w.sent_by(1, Hello);
    assert_eq!(hello.len(), 1);
    assert_eq!((hello[0].message.hello_id, hello[0].message.reply_requested), (Some(0xcafe_0001), false));
}

#[test]
fn a_peer_that_fell_silent_is_asked_and_then_given_up() {
    let mut w = World::with(2, |_, c| c.validity = S(2_000));
    start(&mut w, 7, RELIABLE, b"data");
    w.request(0, Request::SetStateLifetime { mri: w.flow(), sid: Sid([7; 16]), lifetime: S(1_000) });
    w.run(S(1));
    w.cut_streams();
    w.run(S(35));
    assert!(w.sent_by(0, Hello).iter().any(|h| h.message.reply_requested));
    w.run(S(40));
    assert_eq!(w.gist(0).stats().associations, 0);
    assert!(w.notes(0).contains(&NetworkNotification::CommunicationFailure));
    assert!(w.notes(1).contains(&NetworkNotification::CommunicationFailure));
}

#[test]
fn a_machine_that_slept_asks_its_peers_before_it_gives_them_up() {
    let mut w = World::with(2, |_, c| c.validity = S(2_000));
    start(&mut w, 7, RELIABLE, b"data");
    w.request(0, Request::SetStateLifetime { mri: w.flow(), sid: Sid([7; 16]), lifetime: S(1_000) });
    w.run(S(1));
    w.now += S(300);
    w.run(S(100));
    assert_eq!((w.gist(0).stats().associations, w.gist(1).stats().associations), (1, 1));
    assert!(!w.notes(0).contains(&NetworkNotification::CommunicationFailure));
}

#[test]
fn a_broken_association_is_told_to_all_its_sessions_and_made_again_when_needed() {
    let mut w = World::line(2);
    for sid in 1..=3 {
        start(&mut w, sid, RELIABLE, b"data");
    }
    w.run(S(1));
    w.break_streams(0);
    w.run(S(1));
    for node in 0..2 {
        let failures = w.notes(node).iter().filter(|n| **n == NetworkNotification::CommunicationFailure).count();
        assert_eq!(failures, 3);
        assert_eq!(w.gist(node).stats().associations, 0);
    }
    start(&mut w, 1, RELIABLE, b"again");
    w.run(S(1));
    assert_eq!(w.got(1).len(), 4);
}

#[test]
fn answers_go_back_over_the_association() {
    let mut w = World::line(2);
    w.hosts[1].app.reply = Some(b"done".to_vec());
    start(&mut w, 7, SECURE, b"data");
    w.run(S(1));
    assert_eq!(w.got(0), [b"done"]);
    assert_eq!(w.hosts[0].app.received[0].attributes, SECURE);
    assert_eq!(w.hosts[0].app.received[0].peer_key, Some(PeerKey([2; 32])));
}

#[test]
fn a_port_that_nobody_serves_fails_the_message() {
    let mut w = World::line(2);
    start(&mut w, 7, SECURE, b"data");
    w.run(MS(12));
    w.hosts[1].config.tls_port = None;
    // The Connect is on its way to a port that is gone by now.
    let mut w = World::line(2);
    w.hosts[1].config.tls_port = None;
    start(&mut w, 7, SECURE, b"data");
    w.run(S(2));
    assert_eq!(w.statuses(0), [MessageStatus::Failed(SendError::AssociationFailed)]);
    assert_eq!(w.gist(0).stats().sessions, 0);
}

#[test]
fn a_tls_peer_that_the_database_does_not_allow_is_refused_on_either_side() {
    let deny = |key: u8| PeerRule { key: Some(PeerKey([key; 32])), allow: false };
    let any = PeerRule { key: None, allow: true };
    for (who, key) in [(0, 2), (1, 1)] {
        let mut w = World::with(2, |i, c| {
            if i == who {
                c.peers = vec![deny(key), any];
            }
        });
        start(&mut w, 7, SECURE, b"data");
        w.run(S(2));
        assert!(w.got(1).is_empty());
        assert_eq!(w.statuses(0), [MessageStatus::Failed(SendError::AssociationFailed)]);
    }
}

#[test]
fn a_change_of_the_database_ends_associations_that_it_no_longer_allows() {
    let mut w = World::line(2);
    start(&mut w, 7, SECURE, b"data");
    w.run(S(1));
    w.call(1, |g, now, env| g.set_peers(now, env, Vec::new()));
    w.run(S(1));
    assert_eq!((w.gist(0).stats().associations, w.gist(1).stats().associations), (0, 0));
    assert!(w.notes(1).contains(&NetworkNotification::AuthorisationChanged));
    assert_eq!(w.gist(1).stats().sessions, 0, "state with that peer goes too");
}

/// A stream that a stranger opens to node 1, and what the stranger writes first.
fn stranger(w: &mut World, bytes: &[u8]) -> Vec<SocketOutput> {
    let stream = StreamId(99);
    let (from, to) = ((address(0), 50_000).into(), (address(1), 4_000).into());
    let accepted = StreamEvent::Accepted { from, to, security: StreamSecurity::Plain, peer_key: None };
    w.call(1, |g, now, env| {
        g.stream(now, env, stream, accepted);
        g.stream(now, env, stream, StreamEvent::Received(bytes));
        std::iter::from_fn(|| g.poll()).collect()
    })
    .unwrap()
}

#[test]
fn a_stream_that_does_not_begin_with_a_good_confirm_is_closed() {
    let mut w = World::with(2, plain_only);
    start(&mut w, 7, RELIABLE, b"data");
    w.run(S(1));
    let hello = [1, 1, 0, 2, 0, 0, 5, 0x80, 0, 10, 0, 1, 0, 0, 0, 0].to_vec();
    let mut forged = w.sent_by(0, Confirm)[0].message.clone();
    forged.responder_cookie.as_mut().unwrap().0[20] ^= 1;
    let mut no_hold_time = w.sent_by(0, Confirm)[0].message.clone();
    no_hold_time.stack_configuration = None;
    let mut downgraded = w.sent_by(0, Confirm)[0].message.clone();
    downgraded.stack_proposal.as_mut().unwrap().profiles = vec![vec![2, 1]];
    let cases = [
        hello,
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        forged.encode(),
        no_hold_time.encode(),
        downgraded.encode(),
        vec![1, 1, 0xff, 0xff, 0, 0, 5, 0],
    ];
    for bytes in cases {
        let outputs = stranger(&mut w, &bytes);
        assert!(outputs.contains(&SocketOutput::Close { stream: StreamId(99) }), "{bytes:?}");
        assert_eq!(w.gist(1).stats().associations, 1);
    }
    assert_eq!(w.gist(1).stats().sessions, 1, "the session that is there is not harmed");
}

#[test]
fn a_stream_on_which_nothing_comes_is_closed_after_the_hold_time() {
    let mut w = World::line(2);
    stranger(&mut w, &[]);
    assert_eq!(w.gist(1).stats().associations, 1);
    w.run(S(31));
    assert_eq!(w.gist(1).stats().associations, 0);
}

#[test]
fn data_over_the_wrong_association_is_refused() {
    let mut w = World::with(3, plain_only);
    start(&mut w, 7, RELIABLE, b"data");
    // Node 2 has its own association with node 1, against the flow.
    let up = w.flow().inverted();
    w.send(2, SendMessage { attributes: RELIABLE, ..message(&up, SID, b"up!!") });
    w.run(S(1));
    assert_eq!(w.gist(1).stats().associations, 2);
    let mut stolen = w.sent_by(0, Data)[0].message.clone();
    stolen.nslp_data = Some(b"evil".to_vec());
    let bytes = stolen.encode();
    let others = StreamId(w.sent_by(1, Response).len() as u64 * 2 + 1);
    w.call(1, |g, now, env| g.stream(now, env, others, StreamEvent::Received(&bytes)));
    w.run(S(1));
    assert!(!w.got(1).contains(&b"evil".to_vec()));
    assert_eq!(w.errors(1), [(4, 0)]);
}

#[test]
fn a_confirm_that_belongs_to_an_association_must_not_come_as_a_datagram() {
    let mut w = World::with(2, plain_only);
    start(&mut w, 7, RELIABLE, b"data");
    w.run(S(1));
    let confirm = w.sent_by(0, Confirm)[0].message.clone();
    w.give(1, (address(0), 270).into(), &confirm);
    assert_eq!(w.errors(1), [(3, 0)]);
}

//! Discovery, the three-way handshake, soft state (RFC 5971, section 4.4.1 and RFC 5971, section 4.4.4; RFC 5972).

use std::collections::BTreeSet;
use std::time::Duration;

use super::world::{SID, World, address, message};
use crate::signaling::gist::api::{
    MessageHandle, MessageStatus, NetworkNotification, Peering, Request, SendError, SendMessage, TransferAttributes,
};
use crate::wire::gist::header::MessageType::{Confirm, Data, Error, Query, Response};

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

#[test]
fn a_message_finds_the_next_node_and_is_delivered_there() {
    let mut w = World::line(3);
    w.start(b"setup123");
    w.run(MS(100));
    assert_eq!(w.got(1), [b"setup123"]);
    let got = &w.hosts[1].app.received[0];
    assert!(got.is_address_validated && !got.is_unvalidated);
    assert_eq!((got.sid, got.mri.clone()), (SID, w.flow()));
    assert_eq!(got.sii.as_ref().map(|s| s.address), Some(address(0)));
    assert_eq!(w.got(2), Vec::<Vec<u8>>::new(), "the last node is not the first one's peer");
    assert_eq!(w.statuses(0), [MessageStatus::Sent(TransferAttributes::default())]);
    assert!(matches!(&w.notes(0)[..], [NetworkNotification::RoutingGood { sii, rtt: Some(rtt) }]
        if sii.address == address(1) && *rtt == MS(10)));
    let kinds: Vec<_> = w.sent.iter().map(|s| (s.from, s.message.kind)).collect();
    assert_eq!(kinds, [(0, Query), (1, Response), (0, Confirm)], "the first message travels in the Confirm");
}

#[test]
fn messages_go_in_both_directions_once_the_handshake_is_over() {
    let mut w = World::line(2);
    w.hosts[1].app.reply = Some(b"done".to_vec());
    w.start(b"setup123");
    w.start(b"again123");
    w.run(MS(100));
    assert_eq!(w.got(1), [b"setup123", b"again123"]);
    assert_eq!(w.got(0), [b"done", b"done"]);
    assert_eq!(w.hosts[0].app.received[0].mri, w.flow().inverted());
    assert_eq!(w.errors(0).len() + w.errors(1).len(), 0);
}

#[test]
fn a_confirm_has_the_direction_of_the_query_and_a_response_the_other() {
    let mut w = World::line(2);
    w.start(b"data");
    w.run(MS(100));
    let down = w.flow();
    assert_eq!(w.sent_by(0, Query)[0].message.mri.as_ref(), Some(&down));
    assert_eq!(w.sent_by(1, Response)[0].message.mri.as_ref(), Some(&down.inverted()));
    assert_eq!(w.sent_by(0, Confirm)[0].message.mri.as_ref(), Some(&down));
    assert_eq!(w.sent_by(0, Confirm)[0].message.responder_cookie, w.sent_by(1, Response)[0].message.responder_cookie);
}

#[test]
fn a_query_has_the_router_alert_of_the_application_and_goes_to_port_270_of_the_flows_end() {
    let mut w = World::line(3);
    w.start(b"data");
    let query = w.sent_by(0, Query)[0].datagram.clone().unwrap();
    assert_eq!(query.router_alert, Some(65_503));
    assert_eq!((query.destination.ip(), query.destination.port()), (address(2), 270));
    assert_eq!(query.source, Some(address(0)));
    let message = &w.sent_by(0, Query)[0].message;
    assert!(message.context_free && message.reply_requested && message.source_addressing);
    assert!(message.stack_proposal.is_none(), "datagrams need no association");
}

#[test]
fn repeats_an_unanswered_query_after_t1_doubling_up_to_t2_each_with_a_new_cookie() {
    let mut w = World::line(2);
    w.hosts[1].gist = None;
    w.start(b"data");
    w.run(S(100));
    assert_eq!(w.times(0, Query), [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    let cookies: BTreeSet<_> = w.sent_by(0, Query).iter().map(|s| s.message.query_cookie.clone()).collect();
    assert_eq!(cookies.len(), 7);
    assert_eq!(w.statuses(0), [MessageStatus::Failed(SendError::NoNextNode)]);
    assert_eq!(w.notes(0), [NetworkNotification::LastNode]);
    assert_eq!(w.gist(0).stats().sessions, 0);
}

#[test]
fn a_search_ends_within_the_timeout_of_the_application() {
    let mut w = World::line(2);
    w.hosts[1].gist = None;
    let m = SendMessage { timeout: Some(S(2)), handle: Some(MessageHandle(9)), ..message(&w.flow(), SID, b"data") };
    w.send(0, m);
    w.run(MS(1_999));
    assert_eq!(w.statuses(0), []);
    w.run(MS(1));
    assert_eq!(w.statuses(0), [MessageStatus::Failed(SendError::NoNextNode)]);
    assert_eq!(w.notes(0), [NetworkNotification::LastNode]);
}

#[test]
fn an_icmp_unreachable_of_the_destination_ends_the_search_at_once() {
    let mut w = World::line(2);
    w.hosts[1].gist = None;
    w.hosts[1].icmp = true;
    w.start(b"data");
    w.run(MS(20));
    assert_eq!(w.statuses(0), [MessageStatus::Failed(SendError::NoNextNode)]);
    assert_eq!(w.notes(0), [NetworkNotification::LastNode]);
    assert_eq!(w.times(0, Query), [0]);
}

#[test]
fn an_icmp_message_that_shows_no_more_than_the_session_is_enough_and_one_that_shows_less_is_not() {
    use crate::signaling::io::Unreachable;
    let mut w = World::line(2);
    w.hosts[1].gist = None;
    w.start(b"data");
    let payload = w.sent_by(0, Query)[0].datagram.clone().unwrap().payload;
    for (shown, is_over) in [(0, false), (8, false), (40, false), (56, true)] {
        let destination = (address(1), 270).into();
        let report = Unreachable {
            destination,
            reporter: None,
            port_closed: true,
            payload: &payload[..shown.min(payload.len())],
        };
        w.call(0, |g, now, env| g.unreachable(now, env, &report));
        assert_eq!(w.notes(0).contains(&NetworkNotification::LastNode), is_over, "{shown}");
    }
}

#[test]
fn a_session_whose_other_direction_has_expired_is_not_refreshed() {
    let mut w = World::line(3);
    w.start(b"data");
    w.run(S(1));
    let flow = w.flow();
    w.send(1, message(&flow, SID, b"next"));
    w.request(1, Request::SetStateLifetime { mri: flow, sid: SID, lifetime: S(1_000) });
    w.run(S(1));
    assert_eq!(w.got(2), [b"next"]);
    // The initiator dies without a word.
    w.hosts[0].gist = None;
    w.run(S(100));
    for node in 1..3 {
        assert_eq!(w.gist(node).stats().sessions, 0, "node {node}");
    }
}

#[test]
fn a_node_without_the_application_at_the_flows_end_says_so_and_the_search_ends() {
    let mut w = World::line(2);
    w.hosts[1].hosts = false;
    w.start(b"data");
    w.run(MS(20));
    assert_eq!(w.errors(1), [(7, 0)]);
    assert_eq!(w.notes(0), [NetworkNotification::LastNode]);
}

#[test]
fn the_flows_end_itself_finds_nobody_beyond_it() {
    let mut w = World::line(2);
    let m = SendMessage { handle: Some(MessageHandle(1)), ..message(&w.flow(), SID, b"data") };
    w.send(1, m);
    assert_eq!(w.statuses(1), [MessageStatus::Failed(SendError::NoNextNode)]);
    assert_eq!(w.notes(1), [NetworkNotification::LastNode]);
    assert!(w.sent.is_empty());
}

#[test]
fn a_response_to_any_of_the_queries_sent_is_good() {
    let mut w = World::line(2);
    // All Responses to the first two Queries are held up: played back after the third Query.
    w.drop_next(1, Response, 2);
    w.start(b"data");
    w.run(MS(1_499));
    let late = w.sent_by(1, Response)[0].message.clone();
    let cookie = w.sent_by(0, Query)[0].message.query_cookie.clone();
    assert_eq!(late.query_cookie, cookie);
    w.give(0, (address(1), 270).into(), &late);
    w.run(MS(10));
    assert_eq!(w.got(1), [b"data"]);
}

#[test]
fn a_response_with_a_cookie_that_was_not_sent_is_dropped_silently() {
    let mut w = World::line(2);
    w.drop_next(1, Response, 10);
    w.start(b"data");
    w.run(MS(20));
    let mut forged = w.sent_by(1, Response)[0].message.clone();
    forged.query_cookie = Some(crate::wire::gist::object::Cookie(vec![0; 8]));
    w.give(0, (address(1), 270).into(), &forged);
    assert_eq!(w.gist(0).stats().of("dropped_cookie"), 1);
    assert!(w.sent_by(0, Confirm).is_empty() && w.sent_by(0, Error).is_empty());
}

#[test]
fn the_state_is_refreshed_between_half_and_three_quarters_of_the_validity_time() {
    let mut w = World::line(2);
    w.start(b"data");
    w.request(0, Request::SetStateLifetime { mri: w.flow(), sid: SID, lifetime: S(1_000) });
    w.run(S(600));
    let times = w.times(0, Query);
    assert!(times.len() > 20, "{times:?}");
    let mut gaps = BTreeSet::new();
    for pair in times.windows(2) {
        let gap = pair[1] - pair[0];
        assert!((15_000..22_600).contains(&gap), "{gap}");
        gaps.insert(gap);
    }
    assert!(gaps.len() > 10, "random: {gaps:?}");
    assert_eq!(w.gist(1).stats().sessions, 1);
    assert_eq!(w.notes(0).len(), 1, "nothing changed");
    // A refresh by a known peer needs no Confirm.
    assert_eq!(w.sent_by(0, Confirm).len(), 1);
}

#[test]
fn a_session_that_is_of_no_more_interest_is_not_refreshed_and_expires_at_the_responder() {
    let mut w = World::line(2);
    w.start(b"data");
    w.run(S(1));
    w.request(0, Request::SetStateLifetime { mri: w.flow(), sid: SID, lifetime: Duration::ZERO });
    assert_eq!(w.gist(0).stats().sessions, 0);
    w.run(S(28));
    assert_eq!(w.gist(1).stats().sessions, 1);
    w.run(S(3));
    assert_eq!(w.gist(1).stats().sessions, 0);
    assert_eq!(w.notes(1).last(), Some(&NetworkNotification::RoutingBad));
    assert_eq!(w.gist(1).deadline(), None);
    assert_eq!(w.times(0, Query).len(), 1);
}

#[test]
fn an_idle_session_is_refreshed_for_the_inactivity_time_only() {
    let mut w = World::line(2);
    w.start(b"data");
    w.run(S(200));
    assert_eq!(w.gist(0).stats().sessions, 0);
    assert!(w.times(0, Query).last().unwrap() < &120_000);
}

#[test]
fn a_lost_confirm_is_made_up_for_by_the_response_being_repeated() {
    let mut w = World::line(2);
    w.drop_next(0, Confirm, 1);
    w.start(b"data");
    w.run(S(2));
    assert_eq!(w.times(1, Response), [5, 505]);
    assert_eq!(w.sent_by(0, Confirm).len(), 2);
    assert_eq!(w.gist(1).stats().unconfirmed, 0);
    w.start(b"more");
    w.run(S(1));
    assert_eq!(w.got(1), [b"more"]);
}

#[test]
fn data_before_the_confirm_is_refused_and_the_querier_starts_again() {
    let mut w = World::with(2, |_, c| c.delayed_installation = true);
    w.drop_next(0, Confirm, 1);
    w.start(b"lost");
    w.run(MS(100));
    assert_eq!(w.gist(1).stats().sessions, 0, "no state for the Query");
    w.start(b"two!");
    w.run(MS(100));
    // The Data is refused with 5/0; a new handshake makes state; what is sent then arrives.
    assert_eq!(w.errors(1), [(5, 0)]);
    assert_eq!(w.gist(0).stats().of("restarts"), 1);
    w.start(b"more");
    w.run(MS(100));
    assert_eq!(w.got(1), [b"more"]);
}

#[test]
fn a_responder_that_lost_its_state_gets_it_back_when_the_next_message_comes() {
    let mut w = World::line(2);
    w.start(b"one!");
    w.run(S(1));
    w.reboot(1);
    w.start(b"two!");
    w.run(S(1));
    assert_eq!(w.errors(1), [(5, 0)]);
    w.start(b"more");
    w.run(S(1));
    assert_eq!(w.got(1), [b"one!", b"more"]);
}

#[test]
fn messages_that_come_before_there_is_a_peer_wait_within_bounds() {
    let mut w = World::line(2);
    w.drop_next(0, Query, 1);
    for _ in 0..20 {
        w.start(b"data");
    }
    w.run(S(1));
    assert_eq!(w.got(1).len(), 16);
    let failed = w.statuses(0).iter().filter(|s| **s == MessageStatus::Failed(SendError::QueueFull)).count();
    assert_eq!(failed, 4);
}

#[test]
fn a_message_that_does_not_fit_in_a_datagram_is_refused_with_what_would_fit() {
    let mut w = World::line(2);
    w.start(b"data");
    w.run(S(1));
    w.start(&[1; 600]);
    let Some(MessageStatus::Failed(SendError::TooLarge { got_bytes: 600, max_bytes })) = w.statuses(0).last().copied()
    else {
        panic!("{:?}", w.statuses(0));
    };
    w.start(&vec![1; max_bytes]);
    assert!(matches!(w.statuses(0).last(), Some(MessageStatus::Sent(_))));
    w.start(&vec![1; max_bytes + 1]);
    assert!(matches!(w.statuses(0).last(), Some(MessageStatus::Failed(_))));
}

#[test]
fn payloads_of_queries_and_responses_reach_the_applications() {
    let mut w = World::line(2);
    w.hosts[1].app.peering = Peering::Accept(Some(b"welcome!".to_vec()));
    w.start(b"data");
    w.run(S(1));
    assert_eq!(w.got(0), [b"welcome!"]);
    let data = Some(b"hint".to_vec());
    w.request(0, Request::InvalidateRoutingState { mri: w.flow(), sid: None, is_bad: false, urgent: true, data });
    w.run(S(1));
    assert_eq!(w.hosts[1].app.asked, [b"".to_vec(), b"hint".to_vec()]);
}

#[test]
fn upstream_messages_find_the_node_before_this_one_with_a_ttl_of_255() {
    let mut w = World::line(3);
    let up = w.flow().inverted();
    w.send(2, message(&up, SID, b"up!!"));
    w.run(S(1));
    assert_eq!(w.sent_by(2, Query)[0].datagram.as_ref().unwrap().ttl, Some(255));
    assert_eq!(w.got(1), [b"up!!"]);
    assert_eq!(w.hosts[1].app.received[0].mri, up);
}

#[test]
fn the_hop_distance_comes_from_the_ttl() {
    let mut w = World::line(4);
    w.hosts[1].gist = None;
    w.start(b"data");
    w.run(S(1));
    assert_eq!(w.got(2), [b"data"]);
    assert_eq!(w.hosts[2].app.received[0].ip_distance, 1);
}

#[test]
fn a_third_of_the_packets_may_be_lost() {
    for seed in 0..30 {
        let mut w = World::line(3);
        w.seed(seed);
        w.loss_percent = 30;
        for _ in 0..30 {
            w.start(b"data");
            w.run(S(1));
        }
        assert!(!w.got(1).is_empty(), "seed {seed}");
    }
}

#[test]
fn data_messages_carry_the_senders_identity_in_d_mode() {
    let mut w = World::line(2);
    w.start(b"one!");
    w.run(S(1));
    w.start(b"two!");
    w.run(S(1));
    let data = w.sent_by(0, Data);
    assert_eq!(data.len(), 1);
    assert!(data[0].message.nli.is_some() && !data[0].message.context_free && !data[0].message.reply_requested);
}

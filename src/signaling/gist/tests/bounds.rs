//! Floods, bounds and rates (RFC 5971, section 5.3.3, RFC 5971, section 8.4 and RFC 5971, section 8.5).

use std::time::Duration;

use super::world::{NSLP, SID, World, address, message};
use crate::base::limits::GIST_UNCONFIRMED_MAX;
use crate::signaling::gist::api::{MessageHandle, MessageStatus, Request, SendError, SendMessage};
use crate::signaling::io::{StreamEvent, StreamId, StreamSecurity};
use crate::wire::gist::header::MessageType::{Confirm, Query, Response};
use crate::wire::gist::message::Message;
use crate::wire::gist::mri::Mri;
use crate::wire::gist::object::Sid;

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

fn sid(n: u32) -> Sid {
    let mut sid = [3; 16];
    sid[..4].copy_from_slice(&n.to_be_bytes());
    Sid(sid)
}

fn query() -> Message {
    let mut w = World::line(2);
    w.start(b"data");
    w.sent_by(0, Query)[0].message.clone()
}

#[test]
fn with_delayed_installation_a_query_leaves_nothing_behind_and_the_confirm_is_enough() {
    let mut w = World::with(2, |_, c| c.delayed_installation = true);
    w.start(b"data");
    w.run(MS(7));
    assert_eq!(w.sent_by(1, Response).len(), 1);
    assert_eq!(w.gist(1).stats().sessions, 0);
    w.run(MS(50));
    assert_eq!(w.got(1), [b"data"]);
    assert_eq!(w.gist(1).stats().sessions, 1);
    assert_eq!(w.gist(1).stats().of("answered_stateless"), 1);
}

#[test]
fn a_confirm_is_good_for_its_flow_session_and_querier_only_and_not_for_ever() {
    let mut w = World::with(2, |_, c| c.delayed_installation = true);
    w.drop_next(0, Confirm, 9);
    w.start(b"data");
    w.run(MS(50));
    let good = w.sent_by(0, Confirm)[0].message.clone();
    let from = (address(0), 270).into();
    let other_sid = Message { sid: Some(sid(1)), ..good.clone() };
    let other_flow = Message { mri: Some(Mri::flow(address(5), address(1))), ..good.clone() };
    let mut other_peer = good.clone();
    other_peer.nli.as_mut().unwrap().peer_identity.0[0] ^= 1;
    let mut other_address = good.clone();
    other_address.nli.as_mut().unwrap().address = address(6);
    for bad in [other_sid, other_flow, other_peer, other_address] {
        w.give(1, from, &bad);
        assert_eq!(w.gist(1).stats().sessions, 0);
    }
    let mut late = World::with(2, |_, c| c.delayed_installation = true);
    late.drop_next(0, Confirm, 9);
    late.start(b"data");
    late.run(S(200));
    late.give(1, from, &late.sent_by(0, Confirm)[0].message.clone());
    assert_eq!(late.gist(1).stats().sessions, 0, "the secret has rolled twice");
    w.give(1, from, &good);
    assert_eq!(w.gist(1).stats().sessions, 1);
}

#[test]
fn a_flood_of_forged_queries_leaves_memory_flat_and_sessions_working() {
    let mut w = World::with(2, |_, c| c.intercepts_per_second = 1_000_000);
    w.start(b"one!");
    w.request(0, Request::SetStateLifetime { mri: w.flow(), sid: SID, lifetime: S(1_000) });
    w.run(S(1));
    let q = query();
    let mut most = 0;
    for n in 0..100_000 {
        let forged = Message { sid: Some(sid(n)), source_addressing: false, ..q.clone() };
        w.inject(1, (address(0), 270).into(), &forged);
        w.sent.clear();
        if n % 100 == 0 {
            w.run(MS(1));
        }
        let stats = w.gist(1).stats();
        most = most.max(stats.sessions);
        assert!(stats.timers <= stats.sessions && stats.waiting_bytes == 0);
    }
    assert!(most <= GIST_UNCONFIRMED_MAX + 1, "{most}");
    assert!(w.gist(1).stats().of("answered_stateless") > 0);
    assert!(w.gist(1).stats().of("dropped_intake") > 0);
    // The session is refreshed and used as if nothing had happened.
    w.start(b"two!");
    w.run(S(60));
    assert_eq!(w.got(1), [b"one!", b"two!"]);
    assert_eq!(w.gist(1).stats().sessions, 1, "the forged ones are forgotten");
    assert!(w.times(0, Query).len() >= 2);
    assert_eq!(w.notes(0).len(), 1, "{:?}", w.notes(0));
}

#[test]
fn own_output_is_limited_and_the_application_learns_of_it() {
    let mut w = World::with(2, |_, c| {
        c.d_mode_bytes_per_second = 1_000;
        c.d_mode_burst_bytes = 2_000;
    });
    w.start(b"data");
    w.run(MS(100));
    for n in 0..100 {
        let m = SendMessage { handle: Some(MessageHandle(n)), ..message(&w.flow(), SID, &[1; 100]) };
        w.send(0, m);
    }
    let refused = w.statuses(0).iter().filter(|s| **s == MessageStatus::Failed(SendError::QueueFull)).count();
    assert!((80..100).contains(&refused), "{refused}");
    w.run(S(2));
    w.start(b"more");
    assert!(matches!(w.statuses(0).last(), Some(MessageStatus::Sent(_))));
}

#[test]
fn with_many_sessions_the_validity_time_grows_so_that_refreshes_fit_the_rate() {
    let mut w = World::with(2, |_, c| {
        c.d_mode_bytes_per_second = 2_000;
        c.d_mode_burst_bytes = 10_000_000;
    });
    for n in 0..500 {
        w.send(0, message(&w.flow(), sid(n), b"data"));
    }
    w.run(S(1));
    let asked = w.sent_by(1, Response).last().unwrap().message.nli.as_ref().unwrap().validity_ms;
    assert!(asked > 100_000, "{asked}");
}

#[test]
fn ten_thousand_sessions_are_held_and_refreshed() {
    let mut w = World::with(2, |_, c| {
        c.queries_per_second = 100_000;
        c.intercepts_per_second = 100_000;
        c.d_mode_burst_bytes = 100_000_000;
    });
    let count = 10_000;
    for n in 0..count {
        w.send(0, message(&w.flow(), sid(n), b"data"));
        w.request(0, Request::SetStateLifetime { mri: w.flow(), sid: sid(n), lifetime: S(1_000) });
        if n % 100 == 0 {
            w.run(MS(1));
        }
    }
    w.run(S(1));
    assert_eq!(w.got(1).len(), count as usize);
    let stats = w.gist(1).stats();
    assert_eq!((stats.sessions, stats.timers, stats.unconfirmed), (count as usize, count as usize, 0));
    w.sent.clear();
    w.run(S(100));
    assert_eq!(w.gist(1).stats().sessions, count as usize);
    let refreshes = w.sent_by(0, Query).len();
    assert!((45_000..60_000).contains(&refreshes), "{refreshes}");
}

#[test]
fn an_application_that_always_asks_again_does_not_stop_the_machine() {
    let mut w = World::line(2);
    // Each answer provokes an answer: an endless conversation, one message per input.
    w.hosts[0].app.reply = Some(b"ping".to_vec());
    w.hosts[1].app.reply = Some(b"pong".to_vec());
    w.start(b"data");
    w.run(S(1));
    assert!(w.got(0).len() > 50);
}

#[test]
fn who_sends_the_first_message_bit_by_bit_loses_the_association() {
    let mut w = World::line(2);
    w.start(b"data");
    w.run(S(1));
    let bytes = w.sent_by(0, Confirm)[0].message.encode();
    let (stream, security) = (StreamId(1), StreamSecurity::Plain);
    let (from, to) = ((address(0), 4_000).into(), (address(1), 270).into());
    let accepted = StreamEvent::Accepted { from, to, security, peer_key: None };
    w.call(1, |g, now, env| g.stream(now, env, stream, accepted));
    assert_eq!(w.gist(1).stats().associations, 1);
    for byte in bytes.iter().take(5) {
        w.run(S(10));
        w.call(1, |g, now, env| g.stream(now, env, stream, StreamEvent::Received(&[*byte])));
    }
    assert_eq!(w.gist(1).stats().associations, 0);
}

#[test]
fn random_bytes_harm_nobody() {
    use crate::base::rng::Rng;
    use crate::signaling::io::DatagramIn;
    let mut w = World::line(2);
    w.start(b"data");
    w.run(S(1));
    let mut rng = Rng::seeded(3);
    let kinds = [Query, Response, Confirm];
    let originals: Vec<Message> = kinds
        .iter()
        .flat_map(|k| (0..2).flat_map(|n| w.sent_by(n, *k)).map(|s| s.message.clone()).collect::<Vec<_>>())
        .collect();
    for _ in 0..20_000 {
        let m = &originals[rng.below(originals.len() as u64) as usize];
        let mut payload = [&crate::wire::gist::header::MAGIC[..], &m.encode()].concat();
        for _ in 0..rng.below(4) {
            let at = rng.below(payload.len() as u64) as usize;
            payload[at] = rng.next_u64() as u8;
        }
        payload.truncate(payload.len() - rng.below(3) as usize * 4);
        let node = rng.below(2) as usize;
        let datagram = DatagramIn {
            source: (address(1 - node), 270).into(),
            destination: (address(node), 270).into(),
            ttl: Some(60),
            router_alert: None,
            interface: 1,
            payload: &payload,
        };
        w.call(node, |g, now, env| g.datagram(now, env, &datagram));
        w.call(node, |g, now, env| g.intercept(now, env, &datagram));
    }
    assert!(w.gist(1).stats().sessions < 2_000);
    assert_eq!(NSLP.0, 32_704);
    w.run(S(200));
    assert_eq!(w.gist(1).stats().unconfirmed, 0);
}

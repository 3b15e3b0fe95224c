//! Changes of the path (RFC 5971, section 7.1).

use std::time::Duration;

use super::world::{RELIABLE, SID, World, address, message};
use crate::signaling::gist::api::{NetworkNotification, Request, SendMessage, SiiHandle};
use crate::wire::gist::header::MessageType::{Data, Query};
use crate::wire::gist::object::{PeerIdentity, Sid};

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;

fn sii(node: usize) -> SiiHandle {
    SiiHandle { identity: PeerIdentity(vec![node as u8 + 1; 16]), address: address(node) }
}

/// Flow from 0 by 1 to 3; node 2 is another way.
fn diamond() -> World {
    let mut w = World::line(4);
    w.path = vec![0, 1, 3];
    w.start(b"one!");
    w.request(0, Request::SetStateLifetime { mri: w.flow(), sid: SID, lifetime: S(1_000) });
    w.run(S(1));
    assert_eq!(w.got(1), [b"one!"]);
    w
}

fn assert_moved(w: &mut World) {
    let notes = w.notes(0);
    let Some(at) = notes.iter().position(|n| *n == NetworkNotification::RouteDeleted { sii: sii(1) }) else {
        panic!("{notes:?}");
    };
    assert!(matches!(&notes[at - 1], NetworkNotification::RoutingGood { sii: new, .. } if *new == sii(2)), "{notes:?}");
    w.start(b"two!");
    w.run(S(1));
    assert_eq!(w.got(2).last(), Some(&b"two!".to_vec()));
}

#[test]
fn a_new_downstream_peer_is_found_by_the_next_refresh() {
    let mut w = diamond();
    w.path = vec![0, 2, 3];
    w.run(S(23));
    assert_moved(&mut w);
    w.run(S(60));
    assert_eq!(w.gist(1).stats().sessions, 0, "the old node forgets");
    assert_eq!(w.gist(2).stats().sessions, 1);
}

#[test]
fn a_change_of_the_local_route_starts_the_handshake_at_once() {
    let mut w = diamond();
    w.call(0, |g, now, env| g.route_changed(now, env));
    assert_eq!(w.sent_by(0, Query).len(), 1, "nothing changed for this flow");
    w.path = vec![0, 2, 3];
    w.hosts[0].place.route = "eth1";
    w.call(0, |g, now, env| g.route_changed(now, env));
    w.run(MS(100));
    assert_eq!(w.notes(0)[1], NetworkNotification::RoutingTentative);
    assert_moved(&mut w);
}

#[test]
fn an_application_may_say_that_the_route_is_bad() {
    let mut w = diamond();
    w.path = vec![0, 2, 3];
    let bad = Request::InvalidateRoutingState { mri: w.flow(), sid: None, is_bad: true, urgent: true, data: None };
    w.request(0, bad);
    // What is sent meanwhile waits for the new peer.
    w.start(b"wait");
    w.run(MS(100));
    assert_eq!(w.notes(0)[1], NetworkNotification::RoutingBad);
    assert_eq!((w.got(1).len(), w.got(2)), (1, vec![b"wait".to_vec()]));
    assert_moved(&mut w);
}

#[test]
fn doubt_about_one_session_leaves_the_others_of_its_flow_alone() {
    let mut w = diamond();
    w.send(0, message(&w.flow(), Sid([8; 16]), b"two!"));
    w.run(S(1));
    let of = |w: &World, sid| w.sent_by(0, Query).iter().filter(|sent| sent.message.sid == Some(sid)).count();
    let before = (of(&w, SID), of(&w, Sid([8; 16])));
    let mri = w.flow();
    let doubt = Request::InvalidateRoutingState { mri, sid: Some(SID), is_bad: false, urgent: true, data: None };
    w.request(0, doubt);
    w.run(MS(100));
    assert_eq!((of(&w, SID), of(&w, Sid([8; 16]))), (before.0 + 1, before.1));
}

#[test]
fn a_state_that_is_only_in_doubt_is_used_until_the_check_is_over() {
    let mut w = diamond();
    let doubt = Request::InvalidateRoutingState { mri: w.flow(), sid: None, is_bad: false, urgent: false, data: None };
    w.request(0, doubt);
    assert_eq!(w.notes(0).last(), Some(&NetworkNotification::RoutingTentative));
    w.start(b"two!");
    w.run(MS(50));
    assert_eq!(w.got(1).len(), 2);
    w.run(S(30));
    assert!(matches!(w.notes(0).last(), Some(NetworkNotification::RoutingGood { .. })), "good again");
}

#[test]
fn a_new_upstream_peer_replaces_the_old_one_only_after_its_confirm() {
    let mut w = World::line(4);
    w.path = vec![0, 1, 3];
    w.hosts[0].hosts = true;
    let flow = w.flow();
    w.send(1, message(&flow, SID, b"one!"));
    w.run(S(1));
    assert_eq!(w.got(3), [b"one!"]);
    // The flow moves: node 2 is now before node 3, with the same session.
    w.path = vec![0, 2, 3];
    w.drop_next(2, crate::wire::gist::header::MessageType::Confirm, 1);
    w.send(2, message(&flow, SID, b"two!"));
    w.run(MS(100));
    let up = flow.inverted();
    w.send(3, message(&up, SID, b"to1!"));
    w.run(MS(100));
    assert_eq!(w.got(1), [b"to1!"], "the old one until the handshake is over");
    w.run(S(2));
    assert!(w.notes(3).contains(&NetworkNotification::RouteDeleted { sii: sii(1) }));
    w.send(3, message(&up, SID, b"to2!"));
    w.run(MS(100));
    assert_eq!(w.got(2), [b"to2!"]);
}

#[test]
fn a_message_by_handle_reaches_the_old_peer_past_the_routing_table() {
    let mut w = diamond();
    w.path = vec![0, 2, 3];
    w.run(S(40));
    let bye = SendMessage { sii: Some(sii(1)), ..message(&w.flow(), SID, b"bye!") };
    w.send(0, bye);
    w.run(MS(50));
    let sent = w.sent_by(0, Data).last().unwrap().message.clone();
    assert!(sent.explicit_routing);
    assert_eq!(w.got(1).last(), Some(&b"bye!".to_vec()));
    assert!(w.hosts[1].app.received.last().unwrap().is_unvalidated);
}

#[test]
fn a_reliable_session_moves_with_a_new_association() {
    let mut w = World::line(4);
    w.path = vec![0, 1, 3];
    let m = SendMessage { attributes: RELIABLE, ..message(&w.flow(), SID, b"one!") };
    w.send(0, m.clone());
    w.request(0, Request::SetStateLifetime { mri: w.flow(), sid: SID, lifetime: S(1_000) });
    w.run(S(1));
    w.path = vec![0, 2, 3];
    w.run(S(25));
    w.send(0, m);
    w.run(S(1));
    assert_eq!(w.got(2), [b"one!"]);
    w.run(S(120));
    assert_eq!((w.gist(0).stats().associations, w.gist(1).stats().associations), (1, 0));
}

#[test]
fn when_the_next_node_dies_the_application_learns_that_the_path_ends_here() {
    let mut w = World::line(3);
    w.hosts[2].gist = None;
    w.hosts[2].icmp = true;
    w.start(b"data");
    w.request(0, Request::SetStateLifetime { mri: w.flow(), sid: SID, lifetime: S(1_000) });
    w.run(S(1));
    w.hosts[1].gist = None;
    w.run(S(25));
    let notes = w.notes(0);
    assert_eq!(
        notes[notes.len() - 2..],
        [NetworkNotification::RouteDeleted { sii: sii(1) }, NetworkNotification::LastNode]
    );
}

//! Packets taken out of the data plane (RFC 5971, section 4.3.1, RFC 5971, section 4.3.4 and RFC 5971, section
//! 5.3.2.3).

use std::time::Duration;

use super::world::{SID, World, address, message};
use crate::base::stats::DropReason;
use crate::signaling::gist::api::{Peering, SendMessage};
use crate::signaling::gist::{Interception, QuerySource};
use crate::signaling::io::DatagramIn;
use crate::wire::gist::header::MAGIC;
use crate::wire::gist::header::MessageType::{Confirm, Data, Query, Response};
use crate::wire::gist::message::Message;

const S: fn(u64) -> Duration = Duration::from_secs;

fn intercept(w: &mut World, node: usize, port: u16, payload: &[u8]) -> Interception {
    let datagram = DatagramIn {
        source: (address(0), 270).into(),
        destination: (address(2), port).into(),
        ttl: Some(60),
        router_alert: None,
        interface: 1,
        payload,
    };
    w.call(node, |g, now, env| g.intercept(now, env, &datagram)).unwrap()
}

fn query() -> Message {
    let mut w = World::line(3);
    w.start(b"data");
    w.sent_by(0, Query)[0].message.clone()
}

#[test]
fn what_is_not_q_mode_passes_unchanged() {
    let mut w = World::line(3);
    let payload = [&MAGIC[..], &query().encode()].concat();
    assert_eq!(intercept(&mut w, 1, 271, &payload), Interception::Forward, "another port");
    assert_eq!(intercept(&mut w, 1, 270, b"DNS or whatever"), Interception::Forward, "no magic number");
    assert_eq!(intercept(&mut w, 1, 270, &[]), Interception::Forward);
    assert_eq!(intercept(&mut w, 1, 270, &payload[..9]), Interception::Forward, "no whole header");
    let mut direct = payload.clone();
    direct[10] = 3;
    assert_eq!(intercept(&mut w, 1, 270, &direct), Interception::Forward, "D-mode of others");
    let mut future = payload;
    future[4] = 2;
    assert_eq!(intercept(&mut w, 1, 270, &future), Interception::Forward, "another version, not for this node");
    assert!(w.sent.is_empty());
}

#[test]
fn queries_for_other_applications_are_relayed_with_one_hop_less_and_nothing_else_changed() {
    let mut w = World::line(3);
    w.hosts[1].hosts = false;
    w.start(b"data");
    w.run(S(1));
    assert_eq!(w.got(2), [b"data"]);
    assert_eq!(w.gist(1).stats().of("relayed"), 1);
    assert_eq!(w.gist(1).stats().sessions, 0);
    // Objects that this node does not know are none of its business either.
    let mut payload = [&MAGIC[..], &query().encode()].concat();
    payload.extend_from_slice(&[0x07, 0xd0, 0, 0]);
    payload[7] += 1;
    assert_eq!(intercept(&mut w, 1, 270, &payload), Interception::Relay { hops: 31 });
}

#[test]
fn an_application_may_let_a_query_go_on_with_another_payload() {
    let mut w = World::line(3);
    w.hosts[1].app.peering = Peering::Decline(None);
    let q = Message { nslp_data: Some(b"old payload!".to_vec()), ..query() };
    let payload = [&MAGIC[..], &q.encode()].concat();
    assert_eq!(intercept(&mut w, 1, 270, &payload), Interception::Relay { hops: 31 });
    w.hosts[1].app.peering = Peering::Decline(Some(b"new!".to_vec()));
    let Interception::Replace(new) = intercept(&mut w, 1, 270, &payload) else { panic!("replaced") };
    let new = Message::decode(new.strip_prefix(&MAGIC).unwrap()).unwrap();
    assert_eq!(new, Message { hops: 31, nslp_data: Some(b"new!".to_vec()), ..q.clone() });
    // Objects that nobody here knows stay where they are, and a payload may be added.
    let q = Message { nslp_data: None, ..q };
    let mut payload = [&MAGIC[..], &q.encode()].concat();
    payload.extend_from_slice(&[0x47, 0xd0, 0, 1, 1, 2, 3, 4]);
    payload[7] += 2;
    let Interception::Replace(new) = intercept(&mut w, 1, 270, &payload) else { panic!("replaced") };
    payload[5] -= 1;
    payload[7] += 2;
    payload.extend_from_slice(b"\0\x08\0\x01new!");
    assert_eq!(new, payload);
}

#[test]
fn at_the_flows_end_a_query_that_the_application_declines_ends_the_search() {
    let mut w = World::line(2);
    w.hosts[1].app.peering = Peering::Decline(None);
    w.start(b"data");
    w.run(S(1));
    assert_eq!(w.errors(1), [(7, 0)]);
}

#[test]
fn plain_routers_in_between_are_not_noticed() {
    let mut w = World::line(4);
    w.hosts[1].gist = None;
    w.hosts[2].gist = None;
    w.start(b"data");
    w.run(S(1));
    assert_eq!(w.got(3), [b"data"]);
}

#[test]
fn candidates_over_the_limit_are_discarded() {
    let mut w = World::with(3, |_, c| c.intercepts_per_second = 10);
    w.hosts[1].hosts = false;
    let payload = [&MAGIC[..], &query().encode()].concat();
    let verdicts: Vec<_> = (0..12).map(|_| intercept(&mut w, 1, 270, &payload)).collect();
    assert_eq!(verdicts[9], Interception::Relay { hops: 31 });
    assert_eq!(verdicts[10], Interception::Drop(DropReason::SignalingLimited));
    assert_eq!(intercept(&mut w, 1, 270, b"not GIST"), Interception::Forward, "others do not suffer");
}

#[test]
fn queries_over_their_limit_pass_as_through_a_node_without_the_application() {
    let mut w = World::with(3, |_, c| c.queries_per_second = 2);
    let q = query();
    for n in 0..3 {
        let q = Message { sid: Some(crate::wire::gist::object::Sid([n; 16])), ..q.clone() };
        let verdict = intercept(&mut w, 1, 270, &[&MAGIC[..], &q.encode()].concat());
        assert_eq!(verdict, if n < 2 { Interception::Consumed } else { Interception::Relay { hops: 31 } });
    }
}

#[test]
fn q_mode_data_reaches_the_application_as_not_validated() {
    let mut w = World::line(3);
    let q = query();
    let data = Message {
        context_free: true,
        reply_requested: false,
        nslp_data: Some(b"data".to_vec()),
        mri: q.mri,
        sid: q.sid,
        nli: q.nli,
        ..Message::new(Data, q.nslp)
    };
    let verdict = intercept(&mut w, 1, 270, &[&MAGIC[..], &data.encode()].concat());
    assert_eq!(verdict, Interception::Consumed);
    let got = &w.hosts[1].app.received[0];
    assert!(got.is_unvalidated && !got.is_address_validated);
    assert_eq!(got.hops, 0);
}

#[test]
fn queries_may_come_from_the_flows_source_at_every_second_try() {
    let mut w = World::with(3, |_, c| c.query_source = QuerySource::Flow);
    // Node 1 is on the path of a flow that begins at node 0.
    w.hosts[2].gist = None;
    let m = SendMessage { timeout: Some(S(3)), ..message(&w.flow(), SID, b"data") };
    w.send(1, m);
    w.run(S(5));
    let sent: Vec<_> = w.sent_by(1, Query).iter().map(|s| s.datagram.clone().unwrap().source.unwrap()).collect();
    assert_eq!(sent, [address(0), address(1), address(0)]);
    let flags: Vec<_> = w.sent_by(1, Query).iter().map(|s| s.message.source_addressing).collect();
    assert_eq!(flags, [false, true, false]);
}

#[test]
fn a_direct_message_that_is_taken_out_of_the_data_plane_gets_where_it_belongs() {
    let mut w = World::line(2);
    w.drop_next(0, Confirm, 9);
    w.start(b"data");
    w.run(Duration::from_millis(20));
    let confirm = w.sent_by(0, Confirm)[0].message.clone();
    let verdict = w.inject(1, (address(0), 270).into(), &confirm);
    assert_eq!(verdict, Some(Interception::Consumed));
    assert_eq!(w.got(1), [b"data"]);
}

#[test]
fn a_node_does_not_talk_to_itself() {
    let mut w = World::line(3);
    w.start(b"data");
    let own = w.sent_by(0, Query)[0].message.clone();
    assert_eq!(w.inject(0, (address(0), 270).into(), &own), Some(Interception::Forward));
    assert!(w.sent_by(0, Response).is_empty());
}

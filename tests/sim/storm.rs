//! Who sends much, or forges.

use std::net::SocketAddr;
use std::time::Duration;

use netserv::base::rng::Rng;
use netserv::node::Input;
use netserv::signaling::io::{DatagramIn, SignalInput};
use netserv::wire::gist::header::{MAGIC, MessageType};
use netserv::wire::gist::message::Message;
use netserv::wire::gist::mri::Mri;
use netserv::wire::gist::object::{Cookie, Nli, PeerIdentity, Sid};
use netserv::wire::nslp::NSLP_ID;
use netserv::wire::nslp::answer::AnswerCode;
use netserv::wire::nslp::request::Operation;

use crate::order::{TLS, URL, User, follow, hear, small_package, trust};
use crate::world::World;

/// A Query as anybody can make it up.
fn forged(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = |len: usize| (0..len).map(|_| rng.next_u64() as u8).collect::<Vec<u8>>();
    let source: [u8; 4] = bytes(4).try_into().unwrap();
    let mut message = Message::new(MessageType::Query, NSLP_ID);
    message.hops = 30;
    message.mri = Some(Mri::flow(source.into(), "10.0.9.9".parse().unwrap()));
    message.sid = Some(Sid(bytes(16).try_into().unwrap()));
    message.nli =
        Some(Nli { peer_identity: PeerIdentity(bytes(16)), ip_ttl: 64, validity_ms: 30_000, address: source.into() });
    message.query_cookie = Some(Cookie(bytes(8)));
    let mut payload = MAGIC.to_vec();
    payload.extend(message.encode());
    payload
}

#[test]
fn a_flood_of_forged_queries_leaves_sessions_alone_and_memory_flat() {
    let mut world = World::seeded(9);
    world.initiator("a", &["10.0.0.1"]);
    world.node("r1", &["10.0.1.1"], &trust());
    world.plain("b", &["10.0.9.9"]);
    world.chain(&["a", "r1", "b"], Duration::from_millis(1));
    world.sim.set_page(URL, small_package());
    let mut user = User::new("10.0.0.1", "10.0.9.9");
    let request = user.request(&world, Operation::Setup);
    let (id, heard) = follow(&mut world, user.order(&request, TLS, true));
    assert_eq!(heard.codes(), [AnswerCode::Installed]);
    let mut rng = Rng::seeded(1);
    let source: SocketAddr = "10.66.0.1:270".parse().unwrap();
    let mut counts = Vec::new();
    // 100,000 in ten seconds.
    for round in 0..100 {
        for _ in 0..1_000 {
            let payload = forged(&mut rng);
            let datagram = DatagramIn {
                source,
                destination: "10.0.9.9:270".parse().unwrap(),
                ttl: Some(60),
                router_alert: Some(0),
                interface: 0,
                payload: &payload,
            };
            world.with("r1", |node, now| node.handle(now, Input::Signal(SignalInput::Datagram(datagram))));
        }
        world.pass(Duration::from_millis(100));
        if round % 10 == 9 {
            let node = world.running("r1").unwrap();
            let of =
                |name: &str| node.signal_counters().iter().find(|(n, _)| *n == name).map_or(0, |(_, count)| *count);
            counts.push((of("sessions"), of("associations")));
        }
    }
    let most = counts.iter().map(|(sessions, _)| *sessions).max().unwrap();
    assert!(most > 0 && most <= 5_000, "{counts:?}");
    let request = user.request(&world, Operation::Refresh);
    let order = user.order(&request, TLS, true);
    world.with("a", |node, now| node.order_again(now, id, order)).unwrap();
    let heard = hear(&mut world, id);
    assert_eq!(heard.codes(), [AnswerCode::Refreshed], "{heard:#?}");
    // What the flood left behind goes.
    world.pass(Duration::from_secs(200));
    let node = world.running("r1").unwrap();
    let left = node.signal_counters().iter().find(|(n, _)| *n == "sessions").map_or(0, |(_, count)| *count);
    assert!(left < 10, "{left} sessions are left");
}

//! Sessions that are kept: refresh, moved paths, notifications.

use std::time::Duration;

use super::world::{World, decision, ms, node, numbered, request};
use crate::signaling::nslp::api::Happening;
use crate::wire::nslp::answer::AnswerCode;
use crate::wire::nslp::request::{Nonce, Operation, Target};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A path 0 - 1 - 2 - 3 on which everything is set up and kept; node 4 is aside.
fn kept() -> World {
    let mut world = World::line(1, 4);
    world.path = vec![0, 1, 2, 3];
    world.order(&request(Operation::Setup, Target::All), true);
    world.run(ms(500));
    assert_eq!(world.said(), ["1 installed", "2 installed", "3 installed last"]);
    world.assert_complete();
    world
}

#[test]
fn a_kept_session_stays_for_the_lifetime_of_its_module_and_then_goes() {
    let mut world = kept();
    for host in &world.hosts[..4] {
        assert_eq!(host.lifetimes, [HOUR]);
    }
    world.run(HOUR - MINUTE);
    assert_eq!(world.hosts[2].nslp.session_count(), 1);
    assert_eq!(world.hosts[0].nslp.order_count(), 1);
    world.run(2 * MINUTE);
    for host in &world.hosts[..4] {
        assert_eq!((host.nslp.session_count(), host.nslp.order_count()), (0, 0));
        assert_eq!(host.lifetimes.last(), Some(&Duration::ZERO));
    }
}

#[test]
fn a_refresh_goes_by_the_same_session_and_is_answered_under_the_same_number() {
    let mut world = kept();
    world.run(HOUR / 2);
    world.events.clear();
    for host in 1..4 {
        world.controller(host, AnswerCode::Refreshed, Duration::ZERO);
    }
    let order = *world.hosts[0].nslp.orders.keys().next().expect("it is kept");
    let refresh = numbered(Operation::Refresh, Target::All, 2);
    let renewed = world.hosts[0].nslp.renew(world.now, order, refresh.encode(), None);
    assert_eq!(renewed, Ok(()));
    world.drain(0);
    world.run(MINUTE);
    assert_eq!(world.said(), ["1 refreshed", "2 refreshed", "3 refreshed last"]);
    assert_eq!(world.finished().len(), 1);
    world.run(HOUR - 2 * MINUTE);
    assert_eq!(world.hosts[3].nslp.session_count(), 1, "the time begins anew");
    world.hosts[0].nslp.cancel(order);
    assert_eq!(world.hosts[0].nslp.order_count(), 0);
    assert!(world.hosts[0].nslp.renew(world.now, order, refresh.encode(), None).is_err());
}

#[test]
fn a_last_node_looks_again_for_a_next_one_at_each_refresh() {
    let mut world = kept();
    world.path = vec![0, 1, 2, 3, 4];
    world.events.clear();
    let order = *world.hosts[0].nslp.orders.keys().next().expect("it is kept");
    let refresh = numbered(Operation::Refresh, Target::All, 2);
    world.hosts[0].nslp.renew(world.now, order, refresh.encode(), None).expect("it is kept");
    world.drain(0);
    world.run(MINUTE);
    assert_eq!(world.said().len(), 4);
    assert_eq!(world.said()[3], "4 installed last");
}

#[test]
fn when_the_path_moves_the_new_node_gets_the_request_and_the_initiator_is_told() {
    let mut world = kept();
    world.run(MINUTE);
    world.events.clear();
    world.reroute(vec![0, 1, 2, 4]);
    world.run(MINUTE);
    assert_eq!(world.hosts[4].asked, [Nonce([1; 16])]);
    let told = world.notified();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].code, told[0].node, told[0].hop), (AnswerCode::Moved, node(2), 2));
    let text = format!("behind node {} the path moved from node {} to node {}", node(2), node(3), node(4));
    assert_eq!(told[0].sentence, text);
    assert_eq!(world.said(), ["4 installed last"], "the new node's answer comes without being asked for");
    assert_eq!(world.hosts[1].asked.len(), 1, "nobody else is asked again");
    assert!(world.finished().is_empty());
}

#[test]
fn the_initiator_notices_by_itself_that_its_first_node_is_another() {
    let mut world = kept();
    world.events.clear();
    world.reroute(vec![0, 4, 2, 3]);
    world.run(MINUTE);
    let told = world.notified();
    assert_eq!(told.iter().map(|a| (a.code, a.node, a.hop)).collect::<Vec<_>>(), [(AnswerCode::Moved, node(0), 0)]);
    assert_eq!(world.hosts[4].asked.len(), 1);
    assert_eq!(world.answers()[0].node, node(4));
}

#[test]
fn what_happens_to_an_instance_is_told_to_the_initiator_once() {
    for (loss, seed) in [(0, 1), (40, 2), (40, 3), (40, 4)] {
        let mut world = kept();
        world.rng = crate::base::rng::Rng::seeded(seed);
        world.loss = loss;
        world.doubled = loss;
        world.events.clear();
        let happening =
            Happening { nonce: Nonce([1; 16]), code: AnswerCode::Failed, sentence: "it used too much".to_owned() };
        world.hosts[3].nslp.happened(world.now, happening);
        world.drain(3);
        world.run(MINUTE);
        let told: Vec<_> = world.notified().into_iter().map(|a| (a.code, a.node, a.hop, a.sentence)).collect();
        assert_eq!(told, [(AnswerCode::Failed, node(3), 3, "it used too much".to_owned())], "loss {loss}");
    }
}

#[test]
fn what_happens_to_an_instance_whose_session_is_gone_is_told_to_nobody() {
    let mut world = World::line(1, 2);
    world.order(&request(Operation::Setup, Target::All), false);
    world.run(MINUTE);
    let happening = Happening { nonce: Nonce([1; 16]), code: AnswerCode::Expired, sentence: String::new() };
    world.hosts[1].nslp.happened(world.now, happening);
    assert!(world.hosts[1].nslp.take_requests().is_empty());
}

#[test]
fn a_removal_in_a_kept_session_reaches_all_nodes() {
    let mut world = kept();
    world.events.clear();
    for host in 1..4 {
        world.hosts[host].controller.decision = decision(AnswerCode::Removed);
    }
    let order = *world.hosts[0].nslp.orders.keys().next().expect("it is kept");
    let removal = numbered(Operation::Remove, Target::All, 3);
    world.hosts[0].nslp.renew(world.now, order, removal.encode(), None).expect("it is kept");
    world.drain(0);
    world.run(MINUTE);
    assert_eq!(world.said(), ["1 removed", "2 removed", "3 removed last"]);
    world.assert_complete();
}

//! Targets, the end of the path, and failures on it.

use std::time::Duration;

use super::world::{World, decision, ms, node, request};
use crate::signaling::gist::api::SendError;
use crate::wire::nslp::answer::{AnswerCode, ReportItem};
use crate::wire::nslp::request::{Operation, Target};

const MINUTE: Duration = Duration::from_secs(60);

fn asked(world: &World) -> Vec<usize> {
    world.hosts.iter().map(|host| host.asked.len()).collect()
}

#[test]
fn all_nodes_answer_in_the_order_of_the_path() {
    let mut world = World::line(1, 3);
    world.order(&request(Operation::Setup, Target::All), false);
    world.run(MINUTE);
    assert_eq!(world.said(), ["1 installed", "2 installed", "3 installed last"]);
    assert!(world.assert_complete() < ms(100));
    assert_eq!(asked(&world), [0, 1, 1, 1]);
    let rtts: Vec<_> = world.answers().iter().map(|answer| answer.hop_rtt_us).collect();
    assert_eq!(rtts, [Some(2_000); 3], "each node's round-trip time is filled in by the one before it");
}

#[test]
fn without_keep_everything_is_forgotten_and_released() {
    let mut world = World::line(1, 3);
    world.order(&request(Operation::Probe, Target::All), false);
    world.run(MINUTE);
    for host in &world.hosts {
        assert_eq!((host.nslp.session_count(), host.nslp.order_count()), (0, 0));
        assert_eq!(host.lifetimes, [Duration::ZERO]);
        assert_eq!(host.nslp.deadline(), None);
        assert!(host.nslp.by_nonce.is_empty() && host.nslp.tokens.is_empty() && host.nslp.handles.is_empty());
    }
}

#[test]
fn the_first_node_that_takes_it_ends_the_request() {
    let mut world = World::line(1, 3);
    world.controller(1, AnswerCode::NotAllowed, ms(50));
    world.order(&request(Operation::Setup, Target::First), false);
    world.run(MINUTE);
    assert_eq!(world.said(), ["1 not_allowed", "2 installed"]);
    world.assert_complete();
    assert_eq!(asked(&world), [0, 1, 1, 0]);
}

#[test]
fn what_one_node_finds_invalid_the_next_one_may_do() {
    let mut world = World::line(1, 2);
    world.controller(1, AnswerCode::Invalid, Duration::ZERO);
    world.order(&request(Operation::Setup, Target::All), false);
    world.run(MINUTE);
    assert_eq!(world.said(), ["1 invalid", "2 installed last"]);
    world.assert_complete();
}

#[test]
fn only_the_last_node_is_asked_for_the_last() {
    for has_icmp in [true, false] {
        let mut world = World::line(1, 3);
        world.has_icmp = has_icmp;
        world.order(&request(Operation::Setup, Target::Last), false);
        world.run(MINUTE);
        assert_eq!(world.said(), ["1 not_target", "2 not_target", "3 installed last"]);
        assert_eq!(asked(&world), [0, 0, 0, 1]);
        let took = world.assert_complete();
        assert_eq!(took > Duration::from_secs(8), !has_icmp, "{took:?}");
    }
}

#[test]
fn named_nodes_take_it_and_the_others_say_that_they_are_there() {
    let mut world = World::line(1, 4);
    let ids = vec![node(2).to_string()[..8].to_owned(), node(4).to_string()];
    world.order(&request(Operation::Setup, Target::Nodes(ids)), false);
    world.run(MINUTE);
    assert_eq!(world.said(), ["1 not_target", "2 installed", "3 not_target", "4 installed last"]);
    world.assert_complete();
}

#[test]
fn one_node_per_property_value_takes_it_and_a_refusal_leaves_it_to_the_next() {
    let mut world = World::line(1, 6);
    for (host, value) in [(1, "64500"), (2, "64500"), (3, "64501"), (4, "64501"), (5, "64501")] {
        world.property(host, "as", value);
    }
    world.controller(3, AnswerCode::NotAllowed, Duration::ZERO);
    world.order(&request(Operation::Setup, Target::OnePer("as".to_owned())), false);
    world.run(MINUTE);
    let said = world.said();
    assert_eq!(said[..3], ["1 installed", "2 not_target", "3 not_allowed"]);
    assert_eq!(said[3..], ["4 installed", "5 not_target", "6 not_target last"]);
    world.assert_complete();
}

#[test]
fn a_failure_in_the_middle_shows_beside_the_successes() {
    let mut world = World::line(1, 3);
    world.controller(2, AnswerCode::FetchFailed, Duration::from_secs(3));
    world.order(&request(Operation::Setup, Target::All), false);
    world.run(MINUTE);
    assert_eq!(world.said(), ["1 installed", "2 fetch_failed", "3 installed last"]);
    world.assert_complete();
}

#[test]
fn a_node_that_takes_long_is_waited_for_and_asked_once() {
    let mut world = World::line(1, 2);
    world.controller(1, AnswerCode::Installed, Duration::from_secs(90));
    world.order(&request(Operation::Setup, Target::All), false);
    world.run(Duration::from_secs(200));
    assert_eq!(world.said(), ["1 installed", "2 installed last"]);
    let took = world.assert_complete();
    assert!(took > Duration::from_secs(90) && took < Duration::from_secs(91), "{took:?}");
    assert_eq!(asked(&world), [0, 1, 1]);
    let id = node(1);
    assert!(world.progress().contains(&format!("waiting for the answer of node {id} (node 1 of the path), 5 s")));
}

#[test]
fn a_silent_end_of_the_path_is_found_within_the_search_time_and_shown() {
    let mut world = World::line(1, 1);
    world.has_icmp = false;
    let mut request = request(Operation::Probe, Target::All);
    request.search_ms = 4_000;
    world.order(&request, false);
    world.run(MINUTE);
    assert_eq!(world.said(), ["1 probed last"]);
    let took = world.assert_complete();
    assert!(took >= ms(4_000) && took < ms(4_100), "{took:?}");
    let id = node(1);
    let texts: Vec<_> = (0..4).map(|s| format!("looking for the next node after node {id}, {s} s of 4 s")).collect();
    assert_eq!(world.progress(), texts);
}

#[test]
fn a_path_without_nodes_is_an_error_that_says_so() {
    let mut world = World::line(1, 0);
    world.has_icmp = false;
    world.order(&request(Operation::Probe, Target::All), false);
    world.run(MINUTE);
    let text = "no node was found on the path from 10.0.0.0 to 10.9.9.9 (looked for 8 s)";
    assert_eq!(world.finished(), [(Duration::from_secs(8), Err(text.to_owned()))]);
    assert_eq!(world.progress().first().map(String::as_str), Some("looking for the first node, 1 s of 8 s"));
}

#[test]
fn a_node_that_cannot_pass_the_request_on_says_why() {
    let mut world = World::line(1, 3);
    world.send_fails.insert(2, SendError::NoTransport);
    world.order(&request(Operation::Setup, Target::All), false);
    world.run(MINUTE);
    assert_eq!(world.said(), ["1 installed", "2 installed"]);
    let finished = world.finished();
    let id = node(2);
    let text = format!("node {id} could not pass the request on: the next node offers no transport that fits");
    assert_eq!(finished.iter().map(|(_, result)| result.clone()).collect::<Vec<_>>(), [Err(text)]);
    assert!(finished[0].0 < Duration::from_secs(3));
    assert_eq!(world.notified()[0].code, AnswerCode::NotForwarded);
}

#[test]
fn a_connection_that_broke_once_does_not_end_the_order() {
    let mut world = World::line(1, 2);
    world.send_fails.insert(1, SendError::AssociationFailed);
    world.order(&request(Operation::Setup, Target::All), false);
    world.run(ms(500));
    world.send_fails.clear();
    world.run(MINUTE);
    assert_eq!(world.said(), ["1 installed", "2 installed last"]);
    world.assert_complete();
}

#[test]
fn a_node_that_never_answers_is_named() {
    let mut world = World::line(1, 2);
    world.hosts[1].controller.delay = Duration::from_secs(10_000);
    world.order(&request(Operation::Setup, Target::All), false);
    world.run(Duration::from_secs(700));
    let id = node(1);
    // The node gives up on its own controller, and says so; or the initiator does, which names it.
    let result = world.finished()[0].1.clone();
    let named = Err(format!("no answer within 600 s from node {id} (node 1 of the path)"));
    assert!(result == Ok(()) || result == named, "{result:?}");
    assert_eq!(world.hosts[1].nslp.session_count(), 0);
    assert!(world.hosts[1].nslp.tokens.is_empty());
}

#[test]
fn a_long_report_travels_in_parts() {
    let mut world = World::line(1, 2);
    let counters = (0..200).map(|n| (format!("a_counter_with_number_{n}"), n)).collect();
    let module = ReportItem::Module {
        instance: "monitor.0a0b0c0d".to_owned(),
        module: "monitor".to_owned(),
        version: "1.0.0".to_owned(),
        state: "running".to_owned(),
        lifetime_s: Some(3_599),
        counters,
    };
    let mut long = decision(AnswerCode::Probed);
    long.report = vec![ReportItem::Name("r2".to_owned()), module];
    world.hosts[2].controller.decision = long.clone();
    world.order(&request(Operation::Probe, Target::All), false);
    world.run(MINUTE);
    world.assert_complete();
    assert_eq!(world.answers()[1].report, long.report);
    assert!(world.delivered.iter().all(|(_, _, data)| data.len() <= 420));
    assert!(world.delivered.len() > 10);
}

#[test]
fn signalling_against_the_flow_works_alike() {
    let mut world = World::line(1, 3);
    world.mri = world.mri.inverted();
    world.order(&request(Operation::Setup, Target::All), false);
    world.run(MINUTE);
    assert_eq!(world.said(), ["1 installed", "2 installed", "3 installed last"]);
    world.assert_complete();
}

#[test]
fn a_host_without_modules_at_the_end_says_that_it_is_not_meant() {
    let mut world = World::line(1, 2);
    world.hosts[2].nslp.config.hosts = false;
    world.order(&request(Operation::Setup, Target::All), false);
    world.run(MINUTE);
    assert_eq!(world.said(), ["1 installed", "2 not_target last"]);
    assert_eq!(asked(&world), [0, 1, 0]);
}

//! Messages that are lost, come twice, or in another order.

use std::time::Duration;

use super::world::{World, ms, request};
use crate::wire::nslp::answer::{AnswerCode, ReportItem};
use crate::wire::nslp::request::{Operation, Target};

/// Runs an order with these percentages of loss and duplicates, and tells how long it took.
fn run(seed: u64, loss: u64, doubled: u64, target: Target) -> Duration {
    let mut world = World::line(seed, 4);
    (world.loss, world.doubled, world.delay_ms) = (loss, doubled, 300);
    world.has_icmp = seed.is_multiple_of(2);
    world.controller(2, AnswerCode::Installed, ms(1_500));
    let counters = (0..40).map(|n| (format!("counter_{n}"), n)).collect();
    let report = vec![ReportItem::Module {
        instance: "monitor".to_owned(),
        module: "monitor".to_owned(),
        version: "1.0.0".to_owned(),
        state: "running".to_owned(),
        lifetime_s: None,
        counters,
    }];
    world.hosts[3].controller.decision.report = report.clone();
    world.order(&request(Operation::Setup, target.clone()), false);
    world.run(Duration::from_secs(400));
    let took = world.assert_complete();
    let said = world.said();
    if target == Target::All {
        assert_eq!(said, ["1 installed", "2 installed", "3 installed", "4 installed last"], "seed {seed}");
        assert_eq!(world.answers()[2].report, report, "seed {seed}");
    } else {
        assert_eq!(said[3], "4 installed last", "seed {seed}");
    }
    // However often a request came, its controller was asked once.
    assert!(world.hosts.iter().all(|host| host.asked.len() <= 1), "seed {seed}");
    assert!(world.hosts.iter().all(|host| host.nslp.session_count() + host.nslp.order_count() == 0), "seed {seed}");
    took
}

#[test]
fn an_order_succeeds_although_a_third_of_the_messages_is_lost() {
    let mut longest = Duration::ZERO;
    for seed in 0..60 {
        longest = longest.max(run(seed, 30, 0, Target::All));
        longest = longest.max(run(seed, 30, 0, Target::Last));
    }
    assert!(longest < Duration::from_secs(120), "{longest:?}");
}

#[test]
fn duplicates_and_another_order_change_nothing() {
    for seed in 0..60 {
        let took = run(seed, 0, 50, Target::All);
        assert!(took < Duration::from_secs(15), "seed {seed}: {took:?}");
    }
}

#[test]
fn all_of_it_together_changes_nothing() {
    for seed in 100..160 {
        run(seed, 30, 30, Target::All);
    }
}

#[test]
fn one_seed_gives_one_run() {
    let events = |seed| {
        let mut world = World::line(seed, 3);
        (world.loss, world.doubled, world.delay_ms) = (30, 30, 200);
        world.order(&request(Operation::Probe, Target::All), false);
        world.run(Duration::from_secs(200));
        (world.events, world.delivered)
    };
    assert!(events(5) == events(5));
    assert!(events(5) != events(6));
}

#[test]
fn duplicates_do_not_multiply_along_the_path() {
    let mut world = World::line(3, 6);
    (world.doubled, world.delay_ms) = (100, 20);
    world.order(&request(Operation::Probe, Target::All), false);
    world.run(Duration::from_secs(60));
    world.assert_complete();
    let requests = world.delivered.iter().filter(|(_, _, data)| data[0] == 4).count();
    // Each message comes twice, but each node passes the request on once: 2 at each of 6 nodes.
    assert_eq!(requests, 12);
}

#[test]
fn a_repeated_request_is_answered_from_memory() {
    let mut world = World::line(1, 2);
    world.order(&request(Operation::Setup, Target::All), false);
    world.run(ms(2));
    // The first node has the request; what it sends is lost.
    world.loss = 100;
    // Long enough that nobody sends anything again but the initiator.
    world.run(ms(20_000));
    assert!(world.said().is_empty());
    world.loss = 0;
    world.run(Duration::from_secs(60));
    assert_eq!(world.said(), ["1 installed", "2 installed last"]);
    assert!(world.hosts[1].nslp.stats().repeats >= 1);
    assert_eq!(world.hosts[1].asked.len() + world.hosts[2].asked.len(), 2);
}

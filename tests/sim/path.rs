//! Finding the nodes of a path, and setting up, keeping and removing modules on them.

use std::time::Duration;

use netserv::wire::nslp::answer::{AnswerCode, ReportItem};
use netserv::wire::nslp::request::{NodeId, Operation, Target};

use crate::order::{TCP, TLS, UDP, URL, User, follow, hear, hear_now, small_package, trust};
use crate::world::{Faults, World};

const MS: Duration = Duration::from_millis(1);

/// a - r1 - r2 - r3 - b, where r2 is a plain router and b a plain host.
fn line(seed: u64) -> World {
    let mut world = World::seeded(seed);
    world.initiator("a", &["10.0.0.1", "fd00::1"]);
    world.node("r1", &["10.0.1.1", "fd00:1::1"], &trust());
    world.plain("r2", &["10.0.2.1", "fd00:2::1"]);
    world.node("r3", &["10.0.3.1", "fd00:3::1"], &trust());
    world.plain("b", &["10.0.9.9", "fd00:9::9"]);
    world.chain(&["a", "r1", "r2", "r3", "b"], 5 * MS);
    world.sim.set_page(URL, small_package());
    world
}

fn user() -> User {
    User::new("10.0.0.1", "10.0.9.9")
}

fn instances(world: &mut World, name: &str) -> usize {
    world.running(name).map_or(0, |node| node.instances().len())
}

#[test]
fn a_probe_finds_the_nodes_in_path_order_whatever_carries_it() {
    for (source, destination) in [("10.0.0.1", "10.0.9.9"), ("fd00::1", "fd00:9::9")] {
        for attributes in [UDP, TCP, TLS] {
            let mut world = line(1);
            let mut user = User::new(source, destination);
            let request = user.request(&world, Operation::Probe);
            let (_, heard) = follow(&mut world, user.order(&request, attributes, false));
            assert_eq!(heard.finished, Some(Ok(())), "{attributes:?} {heard:#?}");
            assert_eq!(heard.codes(), [AnswerCode::Probed, AnswerCode::Probed]);
            let names: Vec<&str> = heard
                .answers
                .iter()
                .flat_map(|answer| &answer.report)
                .filter_map(|item| if let ReportItem::Name(name) = item { Some(name.as_str()) } else { None })
                .collect();
            assert_eq!(names, ["r1", "r3"]);
            let rtts: Vec<u32> = heard.answers.iter().map(|answer| answer.hop_rtt_us.unwrap()).collect();
            assert_eq!(rtts, [10_000, 20_000], "the links take 5 ms each way");
            assert_eq!(heard.answers.iter().map(|answer| answer.is_last).collect::<Vec<_>>(), [false, true]);
            assert!(heard.took < Duration::from_secs(1), "{:?}", heard.took);
        }
    }
}

#[test]
fn a_destination_that_says_nothing_ends_the_search_after_the_time_asked_for() {
    let mut world = line(2);
    // Everything that comes from b is lost: no ICMP message.
    let (r3, b) = ("r3", "b");
    world.faults(r3, b, Faults { loss: 100, ..Faults::default() });
    let mut user = user();
    let mut request = user.request(&world, Operation::Probe);
    request.search_ms = 3_000;
    let (_, heard) = follow(&mut world, user.order(&request, TCP, false));
    assert_eq!((heard.finished.clone(), heard.hops()), (Some(Ok(())), vec![1, 2]));
    assert!(heard.took >= Duration::from_secs(3) && heard.took < Duration::from_secs(4), "{:?}", heard.took);
}

#[test]
fn modules_are_set_up_refreshed_and_removed_and_expire() {
    let mut world = line(3);
    let mut user = user();
    for (target, want, counts) in [
        (Target::All, [AnswerCode::Installed, AnswerCode::Installed], (1, 1)),
        (Target::Last, [AnswerCode::NotTarget, AnswerCode::Installed], (0, 1)),
    ] {
        let mut request = user.request(&world, Operation::Setup);
        request.target = target;
        let (_, heard) = follow(&mut world, user.order(&request, TLS, false));
        assert_eq!((heard.codes(), heard.finished), (want.to_vec(), Some(Ok(()))));
        assert_eq!((instances(&mut world, "r1"), instances(&mut world, "r3")), counts);
        let request = user.request(&world, Operation::Remove);
        let (_, heard) = follow(&mut world, user.order(&request, UDP, false));
        assert_eq!(heard.codes()[1], AnswerCode::Removed, "{heard:?}");
        assert_eq!((instances(&mut world, "r1"), instances(&mut world, "r3")), (0, 0));
    }
    let mut request = user.request(&world, Operation::Setup);
    let r3 = NodeId::of_key(&world.key("r3")).to_string();
    request.target = Target::Nodes(vec![r3[..8].to_owned()]);
    follow(&mut world, user.order(&request, TLS, false));
    assert_eq!((instances(&mut world, "r1"), instances(&mut world, "r3")), (0, 1));
    world.pass(Duration::from_secs(40));
    let request = user.request(&world, Operation::Refresh);
    let (_, heard) = follow(&mut world, user.order(&request, TLS, false));
    assert_eq!(heard.codes(), [AnswerCode::Installed, AnswerCode::Refreshed]);
    world.pass(Duration::from_secs(50));
    assert_eq!((instances(&mut world, "r1"), instances(&mut world, "r3")), (1, 1));
    world.pass(Duration::from_secs(12));
    assert_eq!((instances(&mut world, "r1"), instances(&mut world, "r3")), (0, 0), "not refreshed");
}

#[test]
fn a_node_that_refuses_is_not_hidden_by_one_that_does_not() {
    let mut world = World::seeded(4);
    world.initiator("a", &["10.0.0.1"]);
    world.node("r1", &["10.0.1.1"], "");
    world.node("r3", &["10.0.3.1"], &trust());
    world.plain("b", &["10.0.9.9"]);
    world.chain(&["a", "r1", "r3", "b"], 5 * MS);
    world.sim.set_page(URL, small_package());
    let mut user = user();
    let request = user.request(&world, Operation::Setup);
    let (_, heard) = follow(&mut world, user.order(&request, TLS, false));
    assert_eq!(heard.codes(), [AnswerCode::UnknownKey, AnswerCode::Installed]);
    assert!(heard.answers[0].sentence.contains("trust"), "{}", heard.answers[0].sentence);
}

#[test]
fn a_restarted_node_comes_back_with_what_still_has_to_live_and_refuses_replays() {
    let mut world = line(5);
    let mut user = user();
    let request = user.request(&world, Operation::Setup);
    let order = user.order(&request, TLS, false);
    follow(&mut world, order.clone());
    let removal = user.request(&world, Operation::Remove);
    world.crash("r3");
    world.pass(Duration::from_secs(2));
    assert_eq!(instances(&mut world, "r3"), 0);
    world.start("r3");
    world.pass(MS);
    assert_eq!(instances(&mut world, "r3"), 1);
    follow(&mut world, user.order(&removal, TLS, false));
    assert_eq!((instances(&mut world, "r1"), instances(&mut world, "r3")), (0, 0));
    world.crash("r3");
    world.start("r3");
    world.pass(MS);
    assert_eq!(instances(&mut world, "r3"), 0);
    // The signed request of before, sent again by somebody who saw it.
    let (_, heard) = follow(&mut world, order);
    assert_eq!(heard.codes(), [AnswerCode::Replayed, AnswerCode::Replayed]);
    assert_eq!((instances(&mut world, "r1"), instances(&mut world, "r3")), (0, 0));
}

/// As `line`, with r4 beside r3.
fn fork(seed: u64) -> World {
    let mut world = line(seed);
    world.node("r4", &["10.0.4.1"], &trust());
    world.link("r2", "r4", 5 * MS);
    world.link("r4", "b", 5 * MS);
    world
}

#[test]
fn a_module_that_is_kept_follows_the_path() {
    for attributes in [UDP, TLS] {
        let mut world = fork(6);
        let mut user = user();
        let request = user.request(&world, Operation::Setup);
        let (id, heard) = follow(&mut world, user.order(&request, attributes, true));
        assert_eq!(heard.codes(), [AnswerCode::Installed, AnswerCode::Installed], "{attributes:?}");
        world.pass(Duration::from_secs(20));
        world.route("r2", "10.0.9.9", "r4");
        let moved_at = world.now();
        // The lifetime is 60 s: two refresh periods are at most 90 s.
        let mut refresh_at = world.now() + Duration::from_secs(20);
        let came = world.until(Duration::from_secs(90), |world| {
            if world.now() >= refresh_at {
                refresh_at = world.now() + Duration::from_secs(40);
                let request = user.request(world, Operation::Refresh);
                let order = user.order(&request, attributes, true);
                world.with("a", |node, now| node.order_again(now, id, order)).unwrap();
            }
            instances(world, "r4") == 1
        });
        assert!(came, "{attributes:?}");
        assert!(world.now().since(moved_at) < Duration::from_secs(90));
        let request = user.request(&world, Operation::Refresh);
        let order = user.order(&request, attributes, true);
        world.with("a", |node, now| node.order_again(now, id, order)).unwrap();
        world.pass(Duration::from_secs(10));
        let heard = hear_now(&mut world, id);
        assert!(heard.notes.iter().any(|note| note.code == AnswerCode::Moved), "{attributes:?} {heard:#?}");
        // r3 hears no more of it, and lets it go at its lifetime.
        let gone = world.until(Duration::from_secs(70), |world| instances(world, "r3") == 0);
        assert!(gone);
        // Nor does what r3 says at the end lead the path back to it.
        world.pass(Duration::from_secs(5));
        let request = user.request(&world, Operation::Refresh);
        let order = user.order(&request, attributes, true);
        world.with("a", |node, now| node.order_again(now, id, order)).unwrap();
        world.pass(Duration::from_secs(30));
        assert_eq!((instances(&mut world, "r3"), instances(&mut world, "r4")), (0, 1), "{attributes:?}");
    }
}

#[test]
fn set_up_succeeds_although_a_third_of_the_packets_is_lost_doubled_and_late() {
    let mut table = String::from("| seed | nodes | finished after |\n|---|---|---|\n");
    let mut late = 0;
    for seed in 0..10 {
        let mut world = line(100 + seed);
        for (one, other) in [("a", "r1"), ("r1", "r2"), ("r2", "r3"), ("r3", "b")] {
            let loss = if one == "r2" || other == "r2" { 16 } else { 30 };
            world.faults(one, other, Faults { loss, duplicates: 10, jitter: 20 * MS });
        }
        let mut user = user();
        let request = user.request(&world, Operation::Setup);
        let (id, mut heard) = follow(&mut world, user.order(&request, UDP, true));
        let mut took = heard.took;
        for _ in 0..4 {
            if heard.hops() == [1, 2] && heard.finished == Some(Ok(())) {
                break;
            }
            // What a keeper does: the next refresh looks for what was missed.
            late += 1;
            let request = user.request(&world, Operation::Refresh);
            let order = user.order(&request, UDP, true);
            world.with("a", |node, now| node.order_again(now, id, order)).unwrap();
            heard = hear(&mut world, id);
            took += heard.took;
        }
        assert_eq!(heard.hops(), [1, 2], "seed {seed}: {heard:#?}");
        assert!(instances(&mut world, "r1") == 1 && instances(&mut world, "r3") == 1, "seed {seed}");
        table.push_str(&format!("| {seed} | 2 | {:.2} s |\n", took.as_secs_f64()));
    }
    assert!(late <= 4, "{table}");
    insta::assert_snapshot!("loss", table);
}

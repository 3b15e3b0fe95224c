//! What happens to traffic when the node is stopped, hangs, or is killed.

use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::world::{NETSERV, Node, World, can_run, must_be_as_before, until};

/// A ping every 10 ms; [`Pings::lost`] ends it.
struct Pings(Child, String);

impl Pings {
    fn start(world: &World, ns: &str, to: &str) -> Pings {
        let file = format!("ping-{}.txt", to.replace(':', "_"));
        let command = format!("exec ping -n -i 0.01 -c 100000 {to} >{file}");
        let child = world.command(ns, &command).stdin(Stdio::null()).spawn().unwrap();
        Pings(child, world.dir.join(file).display().to_string())
    }

    /// How many of how many were lost.
    fn lost(mut self, world: &World) -> (u32, u32) {
        world.sh("a", &format!("kill -INT {}", self.0.id()));
        self.0.wait().unwrap();
        let text = std::fs::read_to_string(&self.1).unwrap();
        let line = text.lines().find(|line| line.contains("packets transmitted")).unwrap();
        let number = |i: usize| line.split(", ").nth(i).unwrap().split(' ').next().unwrap().parse::<u32>().unwrap();
        (number(0) - number(1), number(0))
    }
}

/// Runs `change` in the middle of pings through the node, and says how many were lost.
fn during_pings(world: &World, to: &[&str], change: impl FnOnce()) -> u32 {
    let pings: Vec<Pings> = to.iter().map(|to| Pings::start(world, "a", to)).collect();
    sleep(Duration::from_millis(500));
    change();
    sleep(Duration::from_millis(1_000));
    let mut sum = 0;
    for ping in pings {
        let (lost, sent) = ping.lost(world);
        assert!(sent > 50, "pings were sent: {sent}");
        sum += lost;
    }
    sum
}

const BOTH: &[&str] = &["10.2.0.2", "fd00:2::2"];

#[test]
fn the_end_of_a_node_loses_nothing_and_leaves_nothing() {
    if !can_run() {
        return;
    }
    let world = World::line();
    for (ns, arguments) in [("r", "--forwarded"), ("a", "--own")] {
        let before = world.snapshot(ns);
        for signal in ["INT", "TERM"] {
            let node = world.node(ns, &format!("--link tun {arguments} --capture all"));
            let lost = during_pings(&world, BOTH, || node.stop_by(signal));
            assert!(lost <= 2, "{signal} in {ns}: {lost} lost");
            must_be_as_before(&world, ns, &before);
        }
    }
}

#[test]
fn traffic_flows_on_when_the_node_is_killed_and_the_guard_removes_what_it_left() {
    if !can_run() {
        return;
    }
    let world = World::line();
    for (ns, arguments) in [("r", "--forwarded"), ("a", "--own --to-self")] {
        let before = world.snapshot(ns);
        let node = world.node(ns, &format!("--link tun {arguments} --capture all"));
        let lost = during_pings(&world, BOTH, || node.stop_by("KILL"));
        assert!(lost <= 4, "kill -9 in {ns}: {lost} lost");
        must_be_as_before(&world, ns, &before);
    }
}

#[test]
fn what_a_killed_node_and_its_killed_guard_left_is_removed_by_cleanup_and_by_the_next_start() {
    if !can_run() {
        return;
    }
    let world = World::line();
    let before = world.snapshot("a");
    for by_cleanup in [true, false] {
        let node = world.node("a", "--link tun --own --to-self --capture all");
        let state = node.state.display().to_string();
        kill_with_guard(&world, node);
        assert!(world.snapshot("a").contains("proto 78"), "something was left behind");
        assert_eq!(world.ping("a", "10.2.0.2", 3, ""), 0, "traffic flows all the same");
        assert_eq!(world.ping("b", "fd00:1::2", 3, ""), 0, "traffic flows all the same");
        if by_cleanup {
            let said = world.sh("a", &format!("{NETSERV} cleanup --state {state}"));
            assert!(said.contains("policy rules"), "{said}");
            let said = world.sh("a", &format!("{NETSERV} cleanup --state {state}"));
            assert!(said.contains("nothing was left behind"), "{said}");
        } else {
            world.node("a", "--link tun --own --capture icmp").stop();
        }
        must_be_as_before(&world, "a", &before);
    }
}

/// Kills the guard first, so that it can do nothing.
fn kill_with_guard(world: &World, node: Node<'_>) {
    let process = node.process();
    let guards = world.sh("a", &format!("cat /proc/{process}/task/{process}/children"));
    world.sh("a", &format!("kill -9 {process} {guards}"));
    node.stop_by("KILL");
}

#[test]
fn traffic_flows_past_a_node_that_hangs_and_through_it_again_when_it_wakes_up() {
    if !can_run() {
        return;
    }
    let world = World::line();
    let before = world.snapshot("r");
    let node = world.node("r", "--link tun --forwarded --capture all");
    node.signal("STOP");
    until("traffic flows past the node", || world.ping("a", "10.2.0.2", 3, "") == 0);
    assert_eq!(world.ping("a", "fd00:2::2", 10, ""), 0);
    assert!(!world.snapshot("r").contains("proto 78"), "the rules are out");
    node.signal("CONT");
    until("traffic flows through the node again", || {
        let seen = node.packets_in();
        assert_eq!(world.ping("a", "10.2.0.2", 3, ""), 0);
        node.packets_in() >= seen + 6
    });
    node.stop();
    must_be_as_before(&world, "r", &before);
}

#[test]
fn a_second_node_and_cleanup_leave_a_running_node_alone() {
    if !can_run() {
        return;
    }
    let world = World::line();
    let node = world.node("r", "--link tun --forwarded --capture all");
    let with_node = world.snapshot("r");
    let cleanup = world.try_sh("r", &format!("{NETSERV} cleanup --state {}", node.state.display()));
    assert!(!cleanup.status.success());
    let said = String::from_utf8_lossy(&cleanup.stderr).into_owned();
    assert!(said.contains(&format!("process {}", node.process())), "{said}");
    let config = world.dir.join("r.toml");
    let second = world.try_sh(
        "r",
        &format!(
            "timeout 10 {NETSERV} run --config {} --control none --link tun:second --capture all",
            config.display()
        ),
    );
    assert!(!second.status.success() && second.status.code() != Some(124), "{second:?}");
    must_be_as_before(&world, "r", &with_node);
    node.stop();
}

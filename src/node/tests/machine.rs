//! What modules are told of the machine and of their flows.

use std::rc::Rc;

use crate::base::machine::{FixedMachine, Interface, MachineFacts, MachineLoad, RouteEntry};
use crate::node::tests::modules::{ALL_UDP, World, module};
use crate::node::*;

const ALL: &str =
    "[permissions]\nsystem = [\"load\", \"interfaces\", \"addresses\", \"routes\", \"neighbours\", \"location\"]\n";

fn facts() -> MachineFacts {
    let eth0 = Interface {
        name: "eth0".to_owned(),
        is_up: true,
        has_carrier: true,
        mtu: 1500,
        speed: Some(1_000_000_000),
        addresses: vec![("10.0.0.1".parse().unwrap(), 24)],
        ..Interface::default()
    };
    MachineFacts {
        load: Some(MachineLoad {
            load: [0.5, 0.4, 0.3],
            cpus: 2,
            memory_free_bytes: 1 << 30,
            ..MachineLoad::default()
        }),
        interfaces: Some(vec![eth0]),
        neighbours: Some(vec![]),
        routes: Some(vec![RouteEntry {
            to: ("0.0.0.0".parse().unwrap(), 0),
            via: Some("10.0.0.254".parse().unwrap()),
            interface: Some("eth0".to_owned()),
            metric: 100,
        }]),
        location: None,
    }
}

fn world() -> (World, Rc<FixedMachine>) {
    let mut w = World::new(LinkKind::Tun);
    let machine = Rc::new(FixedMachine::default());
    machine.set(facts());
    w.node.set_machine(machine.clone());
    (w, machine)
}

fn log(w: &mut World) -> Vec<String> {
    let events = std::mem::take(&mut w.events).into_iter();
    let text = events.filter_map(|event| match event {
        Event::Log { text, .. } => Some(text),
        Event::Erred { fault, .. } => Some(fault.to_string()),
        Event::Failed { .. }
        | Event::OverBudget { .. }
        | Event::Started { .. }
        | Event::Unloaded { .. }
        | Event::Signal(_)
        | Event::Note(_) => None,
    });
    text.collect()
}

fn set(w: &mut World, machine: &FixedMachine, change: impl FnOnce(&mut MachineFacts)) {
    let mut new = facts();
    change(&mut new);
    let changed = machine.set(new);
    w.node.handle(w.now, Input::MachineChanged(changed));
    w.drain();
}

#[test]
fn each_part_needs_its_word_in_the_manifest() {
    let code = "function M.start(ctx)
                  local node = require('@netserv/node')
                  for _, name in { 'load', 'interfaces', 'addresses', 'routes', 'neighbours', 'location' } do
                    local ok, why = pcall(node[name])
                    ctx:log('info', `{name} {ok} {if ok then '' else string.match(why, 'system = %[.-%]')}`)
                  end
                  ctx:log('info', tostring(pcall(node.on_route_change, '10.0.0.9', function() end)))
                  ctx:log('info', tostring(pcall(node.on_load_above, 1, function() end)))
                end";
    let (mut w, _) = world();
    w.load(module("none", "", code)).unwrap();
    let parts = ["load", "interfaces", "addresses", "routes", "neighbours", "location"];
    let want: Vec<String> = parts.iter().map(|part| format!("{part} false system = [\"{part}\"]")).collect();
    assert_eq!(log(&mut w), [want, vec!["false".to_owned(), "false".to_owned()]].concat());
    w.load(module("all", ALL, code)).unwrap();
    let want: Vec<String> = parts.iter().map(|part| format!("{part} true ")).collect();
    assert_eq!(log(&mut w), [want, vec!["true".to_owned(), "true".to_owned()]].concat());
}

#[test]
fn a_module_is_told_when_the_route_that_it_asked_about_changes_and_only_then() {
    let code = "function M.start(ctx)
                  local node = require('@netserv/node')
                  local way = node.route_to('192.0.2.1')
                  ctx:log('info', `{way.interface} {way.via}`)
                  node.on_route_change('192.0.2.1', function(now, before)
                    ctx:log('info', `{before and before.via} -> {now and now.via}`)
                  end)
                end";
    let (mut w, machine) = world();
    w.load(module("m", ALL, code)).unwrap();
    assert_eq!(log(&mut w), ["eth0 10.0.0.254"]);
    let other = RouteEntry {
        to: ("198.51.100.0".parse().unwrap(), 24),
        via: Some("10.0.0.7".parse().unwrap()),
        interface: Some("eth0".to_owned()),
        metric: 0,
    };
    set(&mut w, &machine, |facts| facts.routes.as_mut().unwrap().push(other.clone()));
    assert_eq!(log(&mut w), [""; 0]);
    let near = RouteEntry { to: ("192.0.2.0".parse().unwrap(), 24), ..other };
    set(&mut w, &machine, |facts| facts.routes.as_mut().unwrap().push(near));
    assert_eq!(log(&mut w), ["10.0.0.254 -> 10.0.0.7"]);
    set(&mut w, &machine, |facts| facts.routes = Some(vec![]));
    assert_eq!(log(&mut w), ["10.0.0.7 -> nil"]);
}

#[test]
fn interfaces_and_addresses_are_told_as_differences() {
    let code = "function M.start(ctx)
                  local node = require('@netserv/node')
                  node.on_interface_change(function(changes)
                    for _, change in changes do ctx:log('info', `{change.name} {change.what}`) end
                  end)
                  local watch = node.on_address_change(function(added, removed)
                    ctx:log('info', `+{table.concat(added, ' ')} -{table.concat(removed, ' ')}`)
                  end)
                end";
    let (mut w, machine) = world();
    w.load(module("m", ALL, code)).unwrap();
    set(&mut w, &machine, |facts| facts.interfaces.as_mut().unwrap()[0].has_carrier = false);
    assert_eq!(log(&mut w), ["eth0 down"]);
    set(&mut w, &machine, |facts| {
        facts.interfaces.as_mut().unwrap()[0].speed = Some(1);
        let wlan0 = Interface { name: "wlan0".to_owned(), ..Interface::default() };
        facts.interfaces.as_mut().unwrap().push(wlan0);
    });
    assert_eq!(log(&mut w), ["eth0 up", "wlan0 new"]);
    set(&mut w, &machine, |facts| {
        facts.interfaces.as_mut().unwrap()[0].addresses = vec![("10.0.0.2".parse().unwrap(), 24)];
    });
    assert_eq!(log(&mut w), ["eth0 changed", "wlan0 gone", "+10.0.0.2 -10.0.0.1"]);
}

#[test]
fn load_and_memory_are_told_once_for_each_time_that_they_cross_their_limit() {
    let code = "function M.start(ctx)
                  local node = require('@netserv/node')
                  node.on_load_above(2, function(load) ctx:log('info', `load {load}`) end)
                  node.on_memory_below(1000, function(bytes) ctx:log('info', `memory {bytes}`) end)
                end";
    let (mut w, machine) = world();
    w.load(module("m", ALL, code)).unwrap();
    let busy = |facts: &mut MachineFacts| facts.load.as_mut().unwrap().load[0] = 3.0;
    w.advance(5);
    assert_eq!(log(&mut w), [""; 0]);
    set(&mut w, &machine, busy);
    w.advance(5);
    assert_eq!(log(&mut w), ["load 3"]);
    set(&mut w, &machine, |facts| facts.load.as_mut().unwrap().memory_free_bytes = 999);
    w.advance(5);
    set(&mut w, &machine, busy);
    w.advance(5);
    assert_eq!(log(&mut w), ["memory 999", "load 3"]);
}

#[test]
fn flows_are_measured_natively_also_when_the_module_has_given_them_up() {
    let code = "local measure = require('@netserv/measure')
                local seen = false
                function M.start(ctx)
                  measure.host('10.0.0.2', { packets = 4 }, function(n) ctx:log('info', `host {n}`) end)
                  measure.total({ bits_per_second = 1000 }, function(rate) ctx:log('info', `rate {rate}`) end)
                  M.ctx = ctx
                end
                function M.on_packet(p)
                  if not seen then
                    seen = true
                    measure.flow(p.flow, { bytes = 100 }, function(n) M.ctx:log('info', `flow {n}`) end)
                  end
                  return p:pass_flow()
                end";
    let (mut w, _) = world();
    w.load(module("m", ALL_UDP, code)).unwrap();
    let _ = w.udp(b"xxxx");
    w.advance(3);
    assert_eq!(log(&mut w), [""; 0]);
    for _ in 0..4 {
        let _ = w.udp(b"xxxx");
    }
    w.advance(1);
    assert_eq!(log(&mut w), ["host 5", "rate 1024", "flow 160"]);
    assert_eq!(w.view("m").packets_seen, 1);
    w.advance(3);
    for _ in 0..4 {
        let _ = w.udp(b"xxxx");
    }
    w.advance(1);
    assert_eq!(log(&mut w), ["rate 1024"]);
}

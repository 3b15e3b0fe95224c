//! TCP, TLS and UDP of modules across a network.

use super::*;

const SERVER: &str = r#"
local tcp = require("@netserv/tcp")
local M = {}
function M.run(ctx)
  local server = assert(tcp.listen({ port = 7 }))
  server:serve(function(stream)
    local bytes = stream:read()
    while bytes do
      assert(stream:write(bytes))
      bytes = stream:read()
    end
    ctx:log("info", "the end was seen")
    stream:close()
  end)
end
return M
"#;

const CLIENT: &str = r#"
local tcp = require("@netserv/tcp")
local M = {}
function M.run(ctx)
  local stream, reason = tcp.connect("b", 7, 20)
  if stream == nil then
    ctx:log("info", reason)
    return
  end
  ctx:log("info", "open")
  assert(stream:write("hello"))
  ctx:log("info", assert(stream:read_exactly(5)))
  stream:finish()
  local bytes, why = stream:read()
  ctx:log("info", if bytes then "more" else why or "the end")
end
return M
"#;

#[test]
fn a_stream_takes_its_round_trips_and_both_sides_see_the_end() {
    let Line { mut sim, a, b, .. } = line(1, LinkQuality::delay(10 * MS));
    load(&mut sim, b, application(SERVER));
    load(&mut sim, a, application(CLIENT));
    sim.run_until(at(5_000));
    let said_a = said(&mut sim, a);
    assert_eq!(words(&said_a), ["open", "hello", "the end"], "{said_a:?}");
    // 1 ms for the name, then 40 ms for each round trip.
    assert_eq!(said_a.iter().map(|(at, _)| *at).collect::<Vec<_>>()[..2], [41, 81]);
    assert_eq!(words(&said(&mut sim, b)), ["the end was seen"]);
}

#[test]
fn a_port_that_nobody_has_refuses_and_a_host_that_is_gone_does_not_answer() {
    let Line { mut sim, a, b, .. } = line(1, LinkQuality::delay(10 * MS));
    load(&mut sim, a, application(CLIENT));
    sim.run_until(at(1_000));
    assert_eq!(words(&said(&mut sim, a)), ["the peer refuses connections to this port"]);
    sim.set_machine_up(b, false);
    sim.restart(a);
    sim.run_until(at(60_000));
    assert_eq!(words(&said(&mut sim, a)), ["there is no way to the peer"]);
}

#[test]
fn datagrams_go_both_ways_by_ipv4_and_ipv6() {
    let Line { mut sim, a, b, .. } = line(1, LinkQuality::delay(10 * MS));
    let echo = r#"
local udp = require("@netserv/udp")
local M = {}
function M.run(ctx)
  local socket = assert(udp.open({ port = 9 }))
  while true do
    local bytes, address, port = socket:receive()
    socket:send(string.upper(bytes :: any), address :: any, port :: any)
  end
end
return M
"#;
    let client = r#"
local udp = require("@netserv/udp")
local M = {}
function M.run(ctx)
  local socket = assert(udp.open({ port = 0 }))
  for _, address in { "10.0.2.1", "fd00:2::1" } do
    socket:send("hello", address, 9)
    local bytes, from = socket:receive(1)
    ctx:log("info", `{bytes} from {from}`)
  end
end
return M
"#;
    load(&mut sim, b, application(echo));
    load(&mut sim, a, application(client));
    sim.run_until(at(1_000));
    assert_eq!(words(&said(&mut sim, a)), ["HELLO from 10.0.2.1", "HELLO from fd00:2::1"]);
}

/// Sends a megabyte of a word in lower case and counts what comes back in upper case.
const MEGABYTE: &str = r#"
local tcp = require("@netserv/tcp")
local task = require("@netserv/task")
local M = {}
function M.run(ctx)
  local stream = assert(tcp.connect("10.0.2.1", 7, 60))
  task.spawn(function()
    for _ = 1, 1000 do
      assert(stream:write(string.rep("netserv, ", 111) .. "\n"))
    end
    stream:finish()
  end)
  local count, upper, lower = 0, 0, 0
  local bytes = stream:read()
  while bytes do
    count += #bytes
    -- A word on the border of two reads is not counted: there are few of them.
    upper += #string.split(bytes, "NETSERV") - 1
    lower += #string.split(bytes, "netserv") - 1
    bytes = stream:read()
  end
  ctx:log("info", `{count} bytes`)
  ctx:log("info", if upper > 100000 and lower < 5000 then "changed" else `{upper} {lower}`)
end
return M
"#;

#[test]
fn a_megabyte_crosses_a_lossy_link_and_a_node_that_changes_it() {
    let quality = LinkQuality {
        delay: 5 * MS,
        rate_bps: Some(50_000_000),
        loss: 0.01,
        duplication: 0.01,
        reordering: 0.01,
        corruption: 0.005,
        jitter: MS,
        ..LinkQuality::default()
    };
    let Line { mut sim, a, r, b, links } = line(3, quality);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/modules/uppercase");
    let source = crate::drivers::module_dir::load(std::path::Path::new(folder)).unwrap();
    load(&mut sim, r, source);
    load(&mut sim, b, application(SERVER));
    load(&mut sim, a, application(MEGABYTE));
    sim.run_until(at(300_000));
    let said = said(&mut sim, a);
    assert_eq!(words(&said), ["1000000 bytes", "changed"], "{said:?}");
    assert!(sim.link_counters(links[0])[0].lost > 5);
}

#[test]
fn a_host_behind_a_nat_box_reaches_others_and_is_not_reached() {
    let mut sim = Sim::new(1);
    let q = LinkQuality::delay(MS);
    let inside = add(&mut sim, "inside", MachineKind::Host, "192.168.1.2");
    let nat = add(&mut sim, "nat", MachineKind::Nat(NatConfig::default()), "192.0.2.1 192.168.1.1");
    let b = add(&mut sim, "b", MachineKind::Host, "10.0.2.1");
    join(&mut sim, nat, b, q);
    join(&mut sim, inside, nat, q);
    assert!(!sim.path(inside, "192.168.1.1".parse().unwrap()).is_empty());
    assert!(sim.path(b, "192.168.1.2".parse().unwrap()).is_empty(), "inner addresses mean nothing outside");
    let server = r#"
local tcp = require("@netserv/tcp")
local M = {}
function M.run(ctx)
  local server = assert(tcp.listen({ port = 7 }))
  for stream in server:streams() do
    local address = stream:peer()
    ctx:log("info", address :: any)
    stream:write("hello")
    stream:close()
  end
end
return M
"#;
    let client = r#"
local tcp = require("@netserv/tcp")
local M = {}
function M.run(ctx)
  local stream = assert(tcp.connect("10.0.2.1", 7, 5))
  ctx:log("info", assert(stream:read_exactly(5)))
end
return M
"#;
    load(&mut sim, b, application(server));
    load(&mut sim, inside, application(client));
    assert!(sim.ping(inside, "10.0.2.1".parse().unwrap(), 1));
    sim.run_until(at(1_000));
    assert_eq!(words(&said(&mut sim, inside)), ["hello"]);
    assert_eq!(words(&said(&mut sim, b)), ["192.0.2.1"]);
    assert_eq!(sim.nat_mappings(nat), Some(2), "one for TCP, one for the echo");
}

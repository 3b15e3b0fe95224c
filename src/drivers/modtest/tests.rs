use super::*;
use crate::container::source::ModuleSource;

mod permissions;

const MANIFEST: &str = r#"
name = "m"
version = "1.0.0"
api = 1
summary = "For a test."
[packets]
sees = "payload"
changes = "length"
drops = true
[[filters]]
[permissions]
inject = true
answer_for = ["any"]
[config.reply]
type = "string"
default = "pong"
meaning = "What is answered."
[counters]
seen = "Packets seen."
"#;

/// Answers "ping", drops "drop", fails on "fail", grows "grow", and sends what the timer says.
const INIT: &str = r#"
local M = {}
local context
function M.start(ctx)
  context = ctx
  ctx:log("info", "started")
end
function M.on_packet(packet)
  context:counter("seen"):add()
  local payload = packet:payload()
  if payload == "ping" then
    return packet:reply(context.config.reply)
  elseif payload == "drop" then
    return "drop"
  elseif payload == "fail" then
    error("as asked")
  elseif payload == "grow" then
    packet:set_payload("grown by some bytes")
  elseif payload == "later" then
    local copy = string.rep("\0", 0)
    for at = 0, packet.length - 1 do
      copy ..= string.char(packet:u8(at))
    end
    context:after(5, function() context:inject(copy, "back") end)
  end
  return "pass"
end
function M.report() return { list = { 1, 2 }, none = {} } end
return M
"#;

fn module(test: &str) -> Module {
    let test = format!(
        "local test = require('@netserv/test')\n\
         local function udp(payload)\n\
         return test.udp({{ from = '10.0.0.1:1', to = '10.0.0.2:2', payload = payload }})\n\
         end\n{test}"
    );
    let files = [("module.toml", MANIFEST), ("init.luau", INIT), ("tests/a.luau", &test)];
    let files = files.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).collect();
    Module::check(ModuleSource { files }).unwrap()
}

/// Runs one case with this body. Returns its failure, if it failed.
fn failure(body: &str) -> Option<String> {
    let report = test_module(&module(&format!("test.case('c', function()\n{body}\nend)")));
    assert_eq!(report.cases.len(), 1, "{report}");
    assert_eq!(report.passed(), report.cases[0].failure.is_none());
    report.cases[0].failure.clone()
}

#[test]
fn verdicts_and_packets_are_those_of_a_real_node() {
    let body = r#"
        local node = test.node()
        local out = node:send(udp("ping"))
        test.equal({ out.verdict, out.changed, #out.packets }, { "reply", true, 1 })
        local packet = out.packets[1]
        test.equal({ packet.from, packet.to, packet.payload }, { "10.0.0.2:2", "10.0.0.1:1", "pong" })
        test.equal({ packet.checksum_ok, packet.way }, { true, "back" })
        out = node:send(udp("drop"))
        test.equal({ out.verdict, out.reason, #out.packets }, { "drop", "module_verdict", 0 })
        out = node:send(udp("grow"), "back")
        test.equal({ out.verdict, out.packets[1].payload, out.packets[1].way }, { "pass", "grown by some bytes", "onward" })
        test.equal(out.packets[1].checksum_ok, true)
        test.equal(node:counters(), { seen = 3 })
        test.equal(node:packets_seen(), 3)
        test.equal(node:report(), { list = { 1, 2 }, none = {} })
        test.equal(node:log(), { { level = "info", text = "started" } })
        test.equal(node:log(), {})
        test.equal(test.node{ config = { reply = "hi" } }:send(udp("ping")).packets[1].payload, "hi")
    "#;
    assert_eq!(failure(body), None);
}

#[test]
fn time_passes_only_when_the_test_says_so() {
    let body = r#"
        local node = test.node()
        node:send(udp("later"))
        test.equal(#node:advance(4.9), 0)
        local sent = node:advance(0.2)
        test.equal(#sent, 1)
        test.equal({ sent[1].payload, sent[1].way }, { "later", "back" })
        test.error_contains(function() node:advance(-1) end, "0 to 86400 seconds")
    "#;
    assert_eq!(failure(body), None);
}

#[test]
fn a_fault_of_the_module_fails_the_case_unless_it_is_asked_for() {
    let got = failure("test.node():send(udp('fail'))").unwrap();
    assert!(
        got.contains("the module failed, and the case did not ask for node:faults(): init.luau:16: as asked"),
        "{got}"
    );
    // Of a case that fails for another reason it is told as well: it may be why.
    let got = failure("test.node():send(udp('fail')); test.equal(1, 2)").unwrap();
    assert!(got.contains("not equal") && got.contains("the module failed before: init.luau:16: as asked"), "{got}");
    let body = r#"
        local node = test.node()
        test.equal(node:send(udp("fail")).verdict, "pass")
        test.is_true(string.find(node:faults()[1], "as asked", 1, true) ~= nil)
    "#;
    assert_eq!(failure(body), None);
}

#[test]
fn an_unloaded_module_sees_nothing_more() {
    let body = r#"
        local node = test.node()
        node:unload()
        test.equal(node:send(udp("drop")).verdict, "pass")
        test.error_contains(function() node:unload() end, "no instance is called")
        test.error_contains(function() node:report() end, "no instance is called")
    "#;
    assert_eq!(failure(body), None);
}

#[test]
fn properties_that_do_not_fit_are_explained() {
    let got = failure("test.node{ config = { replies = 'x' } }").unwrap();
    assert!(got.contains("tests/a.luau:6: m: the module has no property \"replies\"; its properties: reply"), "{got}");
}

#[test]
fn a_node_of_an_earlier_case_cannot_be_used() {
    let script = "local node\n\
        test.case('a', function() node = test.node() end)\n\
        test.case('b', function() test.error_contains(function() node:send(udp('x')) end, 'belongs to another case') end)";
    let report = test_module(&module(script));
    assert!(report.passed(), "{report}");
}

#[test]
fn the_report_names_file_case_got_and_want() {
    let script = "test.case('good', function() end)\ntest.case('bad', function() test.equal(1, 2) end)";
    let text = test_module(&module(script)).to_string();
    let want = "ok     tests/a.luau: good\n\
        FAILED tests/a.luau: bad\n       tests/a.luau:6: not equal\n          got 1\n         want 2\n\
        m: 1 of 2 cases passed";
    assert_eq!(text, want);
    let mut without = (*module("").source).clone();
    without.files.remove("tests/a.luau");
    let report = test_module(&Module::check(without).unwrap());
    assert!(!report.passed());
    assert_eq!(report.to_string(), "m: no tests; write some into tests/NAME.luau");
}

#[test]
fn packets_are_built_and_taken_apart_as_described() {
    let body = r#"
        local function parts(packet)
          local p = test.decode(packet)
          return { p.ip_version, p.protocol, p.from, p.to, p.payload, p.checksum_ok, p.ttl, p.flags or "", p.seq or 0 }
        end
        local v6 = { from = "[2001:db8::1]:1", to = "[2001:db8::2]:2", payload = "x", ttl = 9 }
        test.equal(parts(test.udp(v6)), { 6, "udp", "[2001:db8::1]:1", "[2001:db8::2]:2", "x", true, 9, "", 0 })
        v6.flags, v6.seq = "SEC", 4294967295
        test.equal(parts(test.tcp(v6)), { 6, "tcp", "[2001:db8::1]:1", "[2001:db8::2]:2", "x", true, 9, "SEC", 4294967295 })
        local v4 = { from = "10.0.0.1", to = "10.0.0.2", payload = "ping", id = 7, seq = 8 }
        test.equal(parts(test.icmp_echo(v4)), { 4, "icmp", "10.0.0.1", "10.0.0.2", "ping", true, 64, "", 0 })
        test.equal(test.hex(string.sub(test.icmp_echo_reply(v4), 21, 22)), "0000")
        local v6echo = { from = "::1", to = "::2" }
        test.equal(parts(test.icmp_echo(v6echo)), { 6, "icmpv6", "::1", "::2", "", true, 64, "", 0 })
        local broken = test.hex(test.udp{ from = "10.0.0.1:1", to = "10.0.0.2:2", payload = "abc" })
        test.equal(test.decode(test.packet(broken)).checksum_ok, true)
        broken = string.gsub(broken, "616263$", "616264")
        test.equal(test.decode(test.packet(broken)).checksum_ok, false)
        test.error_contains(function() test.decode("x") end, "neither IPv4 nor IPv6")
        test.error_contains(function() test.tcp{ from = "1.1.1.1:1", to = "[::1]:1" } end, "not of one IP version")
        test.error_contains(function() test.tcp{ from = "1.1.1.1:1", to = "1.1.1.1:1", flags = "X" } end, "is no flag")
    "#;
    assert_eq!(failure(body), None);
}

const NET_MANIFEST: &str = r#"
name = "m"
version = "1.0.0"
api = 1
summary = "For a test."
[permissions]
listen = ["tcp:80", "udp:53"]
connect = ["tcp:example.org:81"]
"#;

/// Tells who calls what time it is, answers datagrams, and calls example.org for each of them.
const NET_INIT: &str = r#"
local task = require("@netserv/task")
local tcp = require("@netserv/tcp")
local udp = require("@netserv/udp")
local M = {}
function M.run(ctx)
  local listener = assert(tcp.listen({ port = 80 }))
  task.spawn(function()
    listener:serve(function(stream)
      local line = assert(stream:read_line())
      task.sleep(1)
      stream:write(`{line} at {ctx:now()}`)
    end)
  end)
  for bytes, address, port in assert(udp.open({ port = 53 })):datagrams() do
    local stream, reason = tcp.connect("example.org", 81)
    if stream then
      stream:write(bytes)
      stream:close()
    end
    ctx:log("info", `{address} {port}: {reason or "told"}`)
  end
end
return M
"#;

#[test]
fn datagrams_that_the_tests_network_lost_are_in_the_log() {
    let manifest = "name = \"m\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"For a test.\"\n\
                    [permissions]\nlisten = [\"udp:7000\"]\nconnect = [\"udp:192.0.2.1:7000\"]\n";
    let init = "local udp = require('@netserv/udp')
        return { run = function(ctx)
            local server, client = udp.open({ port = 7000 }), udp.open()
            for i = 1, 300 do client:send('x', '192.0.2.1', 7000) end
        end }";
    let files = [("module.toml", manifest), ("init.luau", init)];
    let files = files.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).collect();
    let report = run_alone(&Module::check(ModuleSource { files }).unwrap(), Duration::from_secs(1)).unwrap();
    let lost = "the test's network lost 44 datagrams: too many waited in a socket";
    assert_eq!((report.log, report.faults), (vec![("warn".to_owned(), lost.to_owned())], vec![]));
}

#[test]
fn a_test_plays_the_network_around_the_node() {
    let body = r#"
        local test = require("@netserv/test")
        test.case("c", function()
          local node = test.node()
          local stream = node:connect(80, "192.0.2.7")
          stream:write("he")
          stream:write("llo\n")
          test.equal({ stream:read(), stream:ended() }, { "" })
          node:advance(1)
          test.equal(stream:read(), "hello at 1")
          test.equal(stream:ended(), "finished")
          local none, reason = node:connect(81)
          test.equal({ none == nil, reason }, { true, "the peer refuses connections to this port" })

          local socket = node:udp(4000)
          socket:send("one", 53)
          test.equal(node:log()[1].text, "192.0.2.1 4000: there is no address for example.org")
          node:set_name("example.org", "192.0.2.9")
          local listener = node:listen(81, "192.0.2.9")
          socket:send("two", 53)
          test.equal(node:log()[1].text, "192.0.2.1 4000: told")
          local called = listener:accept()
          test.equal({ called:read(), called:ended() }, { "two", "finished" })
          test.equal({ listener:accept(), socket:receive() }, {})
        end)
    "#;
    let files = [("module.toml", NET_MANIFEST), ("init.luau", NET_INIT), ("tests/a.luau", body)];
    let files = files.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).collect();
    let report = test_module(&Module::check(ModuleSource { files }).unwrap());
    assert!(report.passed(), "{report}");
}

//! `start(ctx)` and what comes with it.

use serde_json::json;

use super::*;

/// A module whose `start` has this body, and which reports the global `out`.
fn context(body: &str) -> Result<Instance, Fault> {
    start_with(
        manifest(),
        &format!("local M = {{}}\nfunction M.start(ctx)\n{body}\nend\nfunction M.report() return out end\nreturn M"),
    )
}

fn out(body: &str) -> serde_json::Value {
    context(body).unwrap().report(Instant::START).unwrap().unwrap()
}

#[test]
fn log_lines_are_effects() {
    let mut instance = context("ctx:log('info', 'a\\nb\\0') ctx:log('warn', 5)").unwrap();
    let log = |level, text: &str| Effect::Log { level, text: text.to_owned() };
    assert_eq!(effects(&mut instance), [log(LogLevel::Info, "a b "), log(LogLevel::Warn, "5")]);
    assert!(message(context("ctx:log('loud', 'x')").map(|_| ())).contains("init.luau:3: \"loud\" is no log level"));
}

#[test]
fn too_many_log_lines_are_counted() {
    let mut instance = start(
        "local M, ctx = {}, nil
         function M.start(c) ctx = c end
         function M.stop(reason) for i = 1, 150 do ctx:log('info', reason) end end
         return M",
    );
    instance.stop(Instant::START, "first").unwrap();
    assert_eq!(effects(&mut instance).len(), 100);
    instance.stop(Instant::from_nanos(1_000_000_000), "second").unwrap();
    let second = effects(&mut instance);
    let Effect::Log { text, .. } = &second[0] else { panic!("{second:?}") };
    assert_eq!((second.len(), text.as_str()), (101, "limit log_lines_per_second (100): 50 lines were lost"));
}

#[test]
fn timers_fire_until_they_are_cancelled() {
    let mut instance = start(
        "local M = {}
         local fired = {}
         function M.start(ctx)
           local every
           every = ctx:every(0.01, function()
             table.insert(fired, 'every')
             if #fired > 3 then every:cancel() every:cancel() end
           end)
           ctx:after(0.015, function() table.insert(fired, 'after') end)
           ctx:after(0.001, function() error('never') end):cancel()
         end
         function M.report() return fired end
         return M",
    );
    let mut now = Instant::START;
    for _ in 0..20 {
        let mut wakeups = effects(&mut instance);
        // A wake-up for a timer that was cancelled does nothing.
        wakeups.sort_by_key(|effect| format!("{effect:?}").len());
        for effect in wakeups {
            let Effect::SetTimer { number, delay } = effect else { panic!("{effect:?}") };
            if delay > Duration::ZERO {
                now += delay;
            }
            instance.on_timer(now, number).unwrap();
        }
    }
    assert_eq!(instance.report(now).unwrap().unwrap(), json!(["every", "after", "every", "every"]));
}

#[test]
fn odd_timers_are_refused() {
    for (body, want) in [
        ("for i = 1, 5 do ctx:after(1, function() end) end", "limit timers (4) exceeded"),
        ("ctx:after(0/0, function() end)", "a timer cannot run for NaN seconds"),
        ("ctx:every(-1, function() end)", "a timer cannot run for -1 seconds"),
        ("ctx:every(1)", "a timer needs a function"),
        ("ctx:every('1', function() end)", "init.luau:3: seconds must be a number, not a string"),
    ] {
        let got = message(context(body).map(|_| ()));
        assert!(got.contains(want), "{body}: {got}");
    }
}

#[test]
fn counters_go_up() {
    let mut instance = context("local c = ctx:counter('seen') c:add() c:add(2) out = c:value()").unwrap();
    assert_eq!(instance.counters(), [("other", 0), ("seen", 3)]);
    assert_eq!(instance.report(Instant::START), Ok(Some(json!(3))));
    for body in ["c:add(-1)", "c:add(0/0)", "c:add('x')", "c:add(math.huge)"] {
        let got = message(context(&format!("local c = ctx:counter('seen') {body}")).map(|_| ()));
        assert!(got.contains("a counter can only go up"), "{body}: {got}");
    }
    let got = message(context("ctx:counter('nothing')").map(|_| ()));
    assert!(got.contains("there is no counter \"nothing\""), "{got}");
}

#[test]
fn injected_packets_are_checked_and_get_their_checksums() {
    let netserv = "local netserv = require('@netserv')";
    let mut instance = context(&format!("{netserv} ctx:inject(netserv.from_hex('{UDP4}'), 'back')")).unwrap();
    let sent = effects(&mut instance);
    let [Effect::Send { bytes, to: SendTo::Back }] = sent.as_slice() else { panic!("{sent:?}") };
    let header = Header::parse(bytes, false).unwrap();
    use crate::wire::checksum::{add, fold, pseudo_header};
    assert_eq!(fold(add(0, &bytes[..20])), 0xffff);
    assert_eq!(fold(add(pseudo_header(bytes, &header, 12), &bytes[20..])), 0xffff);
    for (body, want) in [
        ("ctx:inject('junk')", "the packet is malformed (ip_header)"),
        ("ctx:inject('')", "the packet is malformed"),
        ("ctx:inject('x', 'up')", "\"onward\" or \"back\""),
        ("ctx:inject(5)", "packet must be a string"),
        ("for i = 1, 1000 do ctx:inject(p) end", "limit effects_per_call (256) exceeded"),
    ] {
        let got = message(context(&format!("{netserv} local p = netserv.from_hex('{UDP4}') {body}")).map(|_| ()));
        assert!(got.contains(want), "{body}: {got}");
    }
    let with = |inject, code: &str| {
        let permissions = Permissions { inject, ..Permissions::default() };
        message(start_with(Manifest { permissions, ..manifest() }, code).map(|_| ()))
    };
    let told = with(false, "return { start = function(ctx) ctx:inject('x') end }");
    assert!(told.contains("may not send packets of its own"), "{told}");
    // The source is not the machine's own.
    let code = format!("{netserv} return {{ start = function(ctx) ctx:inject(netserv.from_hex('{UDP4}')) end }}");
    let told = with(true, &code);
    assert!(told.contains("may not send in the name of 10.0.0.1"), "{told}");
}

#[test]
fn flows_are_tables() {
    let flow = json!({
        "id": 7_340_037, "ip_version": 4, "protocol": 17, "source": "10.0.0.1", "destination": "10.0.0.2",
        "source_port": 4096, "destination_port": 53, "fragments": false, "packets": 3, "bytes": 96,
        "first_seen": 1.5, "last_seen": 2,
    });
    assert_eq!(out("out = ctx:flows()"), json!([flow]));
    assert_eq!(out("out = ctx:flows(0)"), json!([]));
    assert_eq!(out("out = ctx:flow(7340037)"), flow);
    assert_eq!(
        out("out = { ctx:flow(1) == nil, ctx:flow(0/0) == nil, ctx:flow(-1) == nil }"),
        json!([true, true, true])
    );
    let mut instance = start(
        "local M, ended = {}, nil
         function M.on_flow_end(flow) ended = flow end
         function M.report() return ended end
         return M",
    );
    assert!(instance.wants_flow_ends());
    instance.on_flow_end(Instant::START, &flow_record()).unwrap();
    assert_eq!(instance.report(Instant::START), Ok(Some(flow)));
}

#[test]
fn reports_become_json_in_the_order_of_their_keys() {
    for (value, want) in [
        ("{ b = 1, a = { 1, 2.5, 'x' }, c = {} }", "{\"a\":[1,2.5,\"x\"],\"b\":1,\"c\":[]}"),
        ("{ [1] = 1, [3] = 3 }", "{\"1\":1,\"3\":3}"),
        ("{ 1, 2, x = 3 }", "{\"1\":1,\"2\":2,\"x\":3}"),
        ("{ [0.5] = true, [-1] = false }", "{\"-1\":false,\"0.5\":true}"),
        ("{ 0/0, math.huge, 2^53, -2^60 }", "[null,null,9007199254740992,-1.152921504606847e+18]"),
        ("'\\255'", "\"\u{fffd}\""),
        ("nil", "null"),
        ("setmetatable({}, { __index = error, __iter = error, __len = error })", "[]"),
    ] {
        assert_eq!(out(&format!("out = {value}")).to_string(), want, "{value}");
    }
    for (value, want) in [
        ("{ print = function() end }", "report: a function has no place in it"),
        ("{ [{}] = 1 }", "a key is neither a string nor a number"),
        ("(function() local t = {} t.t = t return t end)()", "nested more than 32 deep"),
        ("table.create(600000, 0)", "takes more than 4194304 bytes"),
        ("string.rep('x', 5000000)", "takes more than"),
    ] {
        let got = message(context(&format!("out = {value}")).unwrap().report(Instant::START));
        assert!(got.contains(want), "{value}: {got}");
    }
}

#[test]
fn properties_times_and_random_numbers() {
    let properties = toml::toml! {
        text = "x"
        list = [1, 2]
        deep = { yes = true, rate = 0.5 }
    };
    let code = "return { start = function(ctx)
        local c = ctx.config
        assert(c.text == 'x' and c.list[2] == 2 and c.deep.yes == true and c.deep.rate == 0.5 and ctx.name == 'test')
        assert(not pcall(function() c.text = 'y' end) and not pcall(function() ctx.name = 'y' end))
        assert(ctx:now() == 2.5 and ctx:wall_time() == 1e9 + 2.5)
        for i = 1, 100 do
          local r, n = ctx:random(), ctx:random(6)
          assert(r >= 0 and r < 1 and n >= 1 and n <= 6 and n % 1 == 0)
        end
        assert(not pcall(ctx.random, ctx, 0))
      end }";
    let properties = Properties(properties.into_iter().collect());
    let module = module(manifest(), &[("init.luau", code)]);
    let now = Instant::from_nanos(2_500_000_000);
    Instance::start(InstanceId(1), &module, &properties, &surroundings(), now).unwrap();
}

#[test]
fn the_library_converts() {
    let netserv = "local netserv = require('@netserv')";
    for (value, want) in [
        ("netserv.address_text(netserv.address_bytes('fd00::1'))", json!("fd00::1")),
        ("netserv.address_text('\\192\\0\\2\\1')", json!("192.0.2.1")),
        ("netserv.address_bytes('nonsense') == nil", json!(true)),
        ("netserv.hex('\\1\\254')", json!("01fe")),
        ("netserv.from_hex('01 fe') == '\\1\\254'", json!(true)),
        ("netserv.from_hex('123') == nil", json!(true)),
        ("netserv.json({ b = { 1 }, a = 'x' })", json!("{\"a\":\"x\",\"b\":[1]}")),
        (
            "(function() local t = {} for k, v in netserv.sorted_pairs({ b = 1, a = 2, [7] = 3 }) do
            table.insert(t, tostring(k) .. v) end return t end)()",
            json!(["73", "a2", "b1"]),
        ),
        (
            "tostring({}) .. tostring(print) .. string.format('%s %*', {}, function() end)",
            json!("tableniltable function"),
        ),
    ] {
        assert_eq!(out(&format!("{netserv} out = {value}")), want, "{value}");
    }
}

#[test]
fn files_of_the_module_can_be_required() {
    let module = module(
        manifest(),
        &[
            ("init.luau", "local a = require('./lib/a') return { report = function() return a.text end }"),
            ("lib/a.luau", "return { text = require('./b') .. require('../c') .. require('lib/b') }"),
            ("lib/b.luau", "n = (n or 0) + 1 return 'b' .. n"),
            ("c/init.luau", "return 'c'"),
        ],
    );
    let mut instance =
        Instance::start(InstanceId(1), &module, &Properties::default(), &surroundings(), Instant::START).unwrap();
    assert_eq!(instance.report(Instant::START), Ok(Some(json!("b1cb1"))));
}

#[test]
fn what_cannot_be_required_says_why() {
    for (files, want) in [
        (vec![("init.luau", "return require('./init')")], "init.luau requires itself: init.luau -> init.luau"),
        (
            vec![
                ("init.luau", "return require('./a')"),
                ("a.luau", "return require('./b')"),
                ("b.luau", "return require('./a')"),
            ],
            "b.luau:1: a.luau requires itself: init.luau -> a.luau -> b.luau -> a.luau",
        ),
        (vec![("init.luau", "require('../../etc/passwd')")], "outside of the module's folder"),
        (vec![("init.luau", "require('/etc/passwd')")], "outside of the module's folder"),
        (vec![("init.luau", "require('./gone')")], "there is no file \"gone.luau\""),
        (vec![("init.luau", "require('@std/json')")], "there is no library \"@std/json\""),
        (vec![("init.luau", "require(5)")], "path must be a string"),
        (vec![("init.luau", "require('./a')"), ("a.luau", "")], "a.luau returns nothing"),
        (vec![("init.luau", "require('./a')"), ("a.luau", "x = = 1")], "a.luau:1:"),
        (vec![("init.luau", "return 5")], "init.luau must return a table of functions, not a number"),
        (vec![("init.luau", "return { on_packet = 5 }")], "on_packet must be a function, not a number"),
        (vec![("init.luau", "local f = function() end return { on_packet = f, on_packet_raw = f }")], "has both"),
        (vec![("other.luau", "")], "there is no file \"init.luau\""),
        (vec![("init.luau", "\u{1b}Lua")], "init.luau:1:"),
        (vec![("init.luau", "error('boom')")], "init.luau:1: boom"),
        (vec![("init.luau", "error({})")], "an error that is no text but a table"),
        (vec![("init.luau", "coroutine.yield()")], "outside of the module's own coroutines"),
    ] {
        let module = module(manifest(), &files);
        let result = Instance::start(InstanceId(1), &module, &Properties::default(), &surroundings(), Instant::START);
        let got = message(result.map(|_| ()));
        assert!(got.contains(want), "{files:?}: {got}");
    }
}

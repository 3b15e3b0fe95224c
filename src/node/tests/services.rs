//! Services between modules: calls, changes, and what happens when one side ends.

use crate::container::instance::LogLevel;
use crate::controller::instances::InstanceState;
use crate::node::tests::modules::{World, module};
use crate::node::*;

const PROVIDES: &str = "[provides]\n\"test.echo\" = \"1.2.0\"\n[limits]\ntasks = 8\n";
const USES: &str = "[uses]\n\"test.echo\" = \"^1\"\n";

/// The body of `M.run` of a module that uses the service `echo`, with `log`, `task` and `refused`.
fn user(body: &str) -> String {
    format!(
        "local task = require('@netserv/task')
         function M.run(ctx)
           local function log(text) ctx:log('info', `{{ctx:now()}} {{text}}`) end
           local function refused(run, ...)
             local ok, why = pcall(run, ...)
             assert(not ok, 'it must be refused')
             return string.match(why, ':%d+: (.*)$') or why
           end
           local echo = ctx:use('test.echo', '^1.1')
           {body}
         end"
    )
}

fn provider(functions: &str) -> Module {
    let code = format!(
        "local task = require('@netserv/task') function M.start(ctx) ctx:provide('test.echo', {{ {functions} }}) end"
    );
    module("provider", PROVIDES, &code)
}

fn world() -> World {
    World::new(LinkKind::Tun)
}

impl World {
    fn log(&mut self) -> Vec<String> {
        let events = std::mem::take(&mut self.events).into_iter();
        let text = events.filter_map(|event| match event {
            Event::Log { level: LogLevel::Info, text, .. } => Some(text),
            Event::Erred { instance, fault } => Some(format!("{instance} erred: {fault}")),
            Event::Failed { instance, fault, .. } => Some(format!("{instance} failed: {fault}")),
            Event::Log { .. }
            | Event::OverBudget { .. }
            | Event::Started { .. }
            | Event::Unloaded { .. }
            | Event::Signal(_)
            | Event::Note(_) => None,
        });
        text.collect()
    }

    /// Loads the modules and returns what they log in a minute.
    fn run(&mut self, modules: impl IntoIterator<Item = Module>) -> Vec<String> {
        for module in modules {
            self.load(module).unwrap();
        }
        self.advance(60);
        self.log()
    }
}

#[test]
fn values_are_copied_both_ways() {
    let functions = "all = function(...) return select('#', ...), ... end,
                     change = function(t) t.x = 2 t.list[1] = 'b' return t end";
    let body = "local bytes = string.char(0, 255, 128)
                local n, a, b, c, d = echo.all(nil, bytes, { [1] = 1.5, k = { true } }, buffer.fromstring(bytes))
                assert(n == 4 and a == nil and b == bytes and c[1] == 1.5 and c.k[1] == true)
                assert(buffer.tostring(d) == bytes)
                local mine = { x = 1, list = { 'a' } }
                local theirs = echo:change(mine)
                assert(mine.x == 1 and mine.list[1] == 'a' and theirs.x == 2 and theirs.list[1] == 'b')
                assert(select('#', echo.all()) == 1)
                log(refused(echo.all, print or function() end))
                local t = {} t.t = t
                log(refused(echo.all, t))
                log(refused(echo.all, string.rep('x', 300000)))
                log('done')";
    let got = world().run([provider(functions), module("user", USES, &user(body))]);
    assert_eq!(got.len(), 4, "{got:#?}");
    assert!(got[0].contains("test.echo.all: a function cannot be copied to another module"), "{got:#?}");
    assert!(got[1].contains("nested more than 16 deep"), "{got:#?}");
    assert!(got[2].contains("takes more than 262144 bytes"), "{got:#?}");
    assert_eq!(got[3], "0 done");
}

#[test]
fn only_what_the_manifest_declares_is_offered_and_used() {
    let code = "function M.start(ctx)
                  for _, try in { function() ctx:provide('other', { f = print or function() end }) end,
                                  function() ctx:use('other') end,
                                  function() ctx:use('test.echo', 'new') end,
                                  function() ctx:provide('test.echo', { f = 1 }) end,
                                  function() ctx:provide('test.echo', {}) end,
                                  function() ctx:provide('test.echo', { version = function() end }) end } do
                    local _, why = pcall(try) ctx:log('info', why)
                  end
                end";
    let got = world().run([module("m", &format!("{USES}{PROVIDES}"), code)]);
    let parts = [
        "write \"other\" = \"1.0.0\" under [provides]",
        "write \"other\" = \"^1\" under [uses]",
        "\"new\" is no range of versions",
        "functions by their names",
        "1 to 64 functions, not 0",
        "cannot be called \"version\"",
    ];
    for (line, part) in got.iter().zip(parts) {
        assert!(line.contains(part), "{line} does not contain {part}");
    }
    assert_eq!(got.len(), parts.len());
}

#[test]
fn a_service_may_come_late_go_and_change_and_the_user_lives_on() {
    let body = "log(refused(echo.version_of_it))
                echo:on_change(function(available, version) log(`{available} {version}`) end)
                while not echo:available() do task.sleep(1) end
                log(echo.who())
                while echo:version() ~= '1.3.0' do task.sleep(1) end
                log(echo.who())
                while echo:available() do task.sleep(1) end
                log(refused(echo.who))";
    let mut w = world();
    let provider = |version: &str| {
        let code = format!(
            "function M.start(ctx) ctx:provide('test.echo', {{ who = function() return '{version}' end }}) end"
        );
        module(
            &format!("p{}", version.replace('.', "")),
            &format!("[provides]\n\"test.echo\" = \"{version}\"\n"),
            &code,
        )
    };
    let unload = |w: &mut World, name: &str| {
        w.node.handle(w.now, Input::Command(1, Command::Unload { name: name.to_owned() }));
        w.drain().unwrap().unwrap();
    };
    assert_eq!(w.run([module("user", USES, &user(body))]), ["0 no module on this node provides test.echo ^1 and ^1.1"]);
    // Too old for the user.
    assert_eq!(w.run([provider("1.0.5")]), [""; 0]);
    assert_eq!(w.run([provider("1.1.0")]), ["120 true 1.1.0", "121 1.1.0"]);
    assert_eq!(w.run([provider("1.3.0")]), ["180 true 1.3.0", "181 1.3.0"]);
    unload(&mut w, "p130");
    w.advance(1);
    assert_eq!(w.log(), ["240 true 1.1.0"]);
    unload(&mut w, "p110");
    w.advance(2);
    assert_eq!(w.log(), ["241 false nil", "242 no module on this node provides test.echo ^1 and ^1.1"]);
    assert_eq!(w.view("user").state, InstanceState::Running);
}

#[test]
fn a_function_may_wait_and_its_errors_reach_the_caller_alone() {
    let functions = "slow = function(n) task.sleep(n) return n end,
                     bad = function() error('oh no') end, odd = function() return function() end end";
    let body = "task.spawn(function() log(echo.slow(3)) end)
                task.spawn(function() log(echo.slow(1)) end)
                log(refused(echo.bad)) log(refused(echo.odd)) log(refused(echo.none))
                log(refused(echo.slow, 100))";
    let got = world().run([provider(functions), module("user", USES, &user(body))]);
    assert_eq!(
        got,
        [
            "0 test.echo.bad: init.luau:3: oh no",
            "0 test.echo.odd: what it returns: a function cannot be copied to another module; tables, strings, buffers, \
             numbers and booleans can",
            "0 test.echo 1.2.0 has no function \"none\"; it has bad, odd, slow",
            "1 1",
            "3 3",
            "10 test.echo.slow: no answer in 10 seconds",
        ]
    );
}

#[test]
fn a_provider_that_is_killed_fails_its_caller_and_is_started_again() {
    let functions = "loop = function() while true do end end, fine = function() return 'fine' end";
    let body = "task.spawn(function() log(refused(echo.loop)) end)
                task.sleep(0.5) log(refused(echo.fine))
                task.sleep(5) log(echo.fine())";
    let mut w = world();
    let got = w.run([provider(functions), module("user", USES, &user(body))]);
    assert_eq!(got[0], "provider failed: limit cpu_ms_per_call (20 ms) exceeded");
    assert!(got[1].contains("test.echo.loop: the module that provides it was stopped"), "{got:#?}");
    assert_eq!(got[2..], ["0.5 no module on this node provides test.echo ^1 and ^1.1", "5.5 fine"]);
    assert_eq!((w.view("provider").restarts, w.view("user").faults.len()), (1, 0));
}

#[test]
fn modules_may_call_each_other_but_not_for_ever() {
    let code = "local echo
                function M.start(ctx)
                  echo = ctx:use('test.echo')
                  ctx:provide('test.echo', { down = function(n) return if n == 0 then 'ground' else echo.down(n - 1) end })
                end
                function M.run(ctx)
                  ctx:log('info', echo.down(7))
                  local _, why = pcall(echo.down, 8)
                  ctx:log('info', why)
                end";
    let manifest = format!("{USES}{}", PROVIDES.replace("tasks = 8", "tasks = 32"));
    let got = world().run([module("m", &manifest, code)]);
    assert_eq!(got.len(), 2, "{got:#?}");
    assert_eq!(got[0], "ground");
    assert!(got[1].contains("limit service_depth (8) exceeded"), "{got:#?}");
}

#[test]
fn calls_without_end_stop_nobody_else() {
    let body = "local n = 0
                task.spawn(function() while ctx:now() < 2 do echo.one() n += 1 end log(`{n > 1000}`) end)
                task.sleep(1) log('still here')";
    let mut w = world();
    let got = w.run([provider("one = function() return 1 end"), module("user", USES, &user(body))]);
    assert_eq!(got, ["1 still here", "2 true"]);
}

#[test]
fn the_limit_of_tasks_of_the_provider_is_told_and_calls_need_a_task() {
    let body = "for i = 1, 9 do task.spawn(function()
                  local ok, why = pcall(echo.slow)
                  if not ok then log(why) end
                end) end";
    let got = world().run([provider("slow = function() task.sleep(1) end"), module("user", USES, &user(body))]);
    assert_eq!(got.len(), 1, "{got:#?}");
    assert!(got[0].contains("test.echo.slow: ") && got[0].contains("limit tasks (8) exceeded"), "{got:#?}");
    let code = "function M.start(ctx) ctx:use('test.echo').slow() end";
    let error = world().load(module("user", USES, code)).unwrap_err().to_string();
    assert!(error.contains("so only a task may call"), "{error}");
}

#[test]
fn a_caller_cannot_end_its_provider_by_what_it_hands_over() {
    let provider = module(
        "provider",
        "[provides]\n\"test.echo\" = \"1.2.0\"\n[limits]\ntasks = 200\nmemory_bytes = 4194304\n",
        "local task = require('@netserv/task')
         function M.start(ctx) ctx:provide('test.echo', { hold = function(x) task.sleep(5) return #x end }) end",
    );
    let body = "local text, held, refusals = string.rep('x', 200000), 0, {}
                for i = 1, 100 do
                  task.spawn(function()
                    local ok, why = pcall(echo.hold, text .. i)
                    if ok then held += 1 else refusals[string.match(why, ': (%a[^%d]*)') or why] = true end
                  end)
                end
                task.sleep(20)
                local all = {} for why in refusals do table.insert(all, why) end table.sort(all)
                log(held > 5) for _, why in all do log(why) end";
    let lines = world().run([
        provider,
        module(
            "user",
            &format!("{USES}[limits]\ntasks = 200\nmemory_bytes = 67108864\ncpu_ms_per_call = 500\n"),
            &user(body),
        ),
    ]);
    assert_eq!(lines[0], "20 true", "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("no memory for the arguments")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("limit service_bytes")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("erred") || line.contains("failed")), "{lines:?}");
}

#[test]
fn a_module_that_is_ended_while_a_task_waits_to_go_on_is_at_fault_once() {
    let code = "local task = require('@netserv/task')
                function M.start(ctx)
                  task.spawn(function() end)
                  ctx:after(1, function() task.spawn(function() end) while true do end end)
                end";
    let mut w = world();
    w.load(module("loops", "", code)).unwrap();
    w.advance(1);
    let view = w.node.instances().into_iter().next().unwrap();
    assert_eq!(view.faults, [("cpu_ms_per_call".to_owned(), 1)]);
}

//! Tasks: what waits, and what goes on when.

use super::*;
use crate::container::api::block::BLOCKS;

/// Runs an instance in virtual time until nothing more happens, at most for an hour. Returns its log, and what failed.
fn live(code: &str) -> (Vec<String>, Vec<String>) {
    let mut instance =
        start_with(Manifest { limits: Limits { timers: 64, tasks: 100, ..Limits::default() }, ..manifest() }, code)
            .unwrap();
    let (mut log, mut failed) = (Vec::new(), Vec::new());
    let mut timers: BTreeMap<(Instant, u32), ()> = BTreeMap::new();
    let mut now = Instant::START;
    loop {
        while let Some(effect) = instance.next_effect() {
            match effect {
                Effect::Log { text, .. } => log.push(text),
                Effect::SetTimer { number, delay } => drop(timers.insert((now + delay, number), ())),
                Effect::GoOn => instance.go_on(now).unwrap(),
                Effect::TaskFailed { message } => failed.push(message),
                Effect::Send { .. }
                | Effect::Net(_)
                | Effect::Watch
                | Effect::Signal(_)
                | Effect::Provide { .. }
                | Effect::Withdraw { .. }
                | Effect::Call(_)
                | Effect::Return { .. } => {}
            }
        }
        let Some(((at, number), ())) = timers.pop_first() else { break };
        assert!(at < Instant::START + std::time::Duration::from_secs(3600), "it comes to an end");
        now = now.max(at);
        instance.on_timer(now, number).unwrap();
    }
    (log, failed)
}

/// The body of `M.run`, with `task` and `log`.
fn run(body: &str) -> (Vec<String>, Vec<String>) {
    live(&format!(
        "local task = require('@netserv/task')
         local M = {{}}
         function M.run(ctx)
           local function log(text) ctx:log('info', `{{ctx:now()}} {{text}}`) end
           {body}
         end
         return M"
    ))
}

#[test]
fn tasks_wait_side_by_side() {
    let body = "task.spawn(function() task.sleep(2) log('b') end)
                task.spawn(function(word) task.sleep(1) log(word) end, 'a')
                log('first') task.sleep(3) log('last')";
    assert_eq!(run(body), (vec!["0 first".into(), "1 a".into(), "2 b".into(), "3 last".into()], vec![]));
}

#[test]
fn a_task_that_fails_ends_alone() {
    let (log, failed) = run("task.spawn(function() error('oh no') end) task.sleep(1) log('still here')");
    assert_eq!(log, ["1 still here"]);
    assert_eq!(failed.len(), 1);
    assert!(failed[0].contains("init.luau:5: oh no"), "{failed:?}");
}

#[test]
fn a_cancelled_task_never_goes_on_and_frees_what_it_waited_with() {
    let body = "for i = 1, 200 do
                  local t = task.spawn(function() task.sleep(1) log('never') end)
                  task.sleep(0)
                  t:cancel() assert(t:done())
                end
                log('done')";
    let (log, failed) = run(body);
    assert_eq!((log.len(), failed.len()), (1, 0), "{log:?} {failed:?}");
}

#[test]
fn channels_keep_order_capacity_and_their_end() {
    let body = "local c = task.channel(1)
                task.spawn(function()
                  for i = 1, 3 do assert(c:send(i)) log(`sent {i}`) end
                  c:close() assert(c:send(9) == false)
                end)
                task.sleep(1)
                for i = 1, 3 do assert(c:receive() == i) end
                assert(c:receive() == nil)
                local empty = task.channel()
                assert(empty:receive(2) == nil) log('waited')";
    let (log, failed) = run(body);
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(log, ["0 sent 1", "1 sent 2", "1 sent 3", "3 waited"]);
}

#[test]
fn a_value_goes_to_one_who_still_waits() {
    let body = "local c = task.channel()
                local gone = task.spawn(function() c:receive() log('never') end)
                task.spawn(function() log(c:receive()) end)
                task.sleep(1) gone:cancel()
                assert(c:send('x'))
                task.spawn(function() c:send('lost') end) task.sleep(1)
                assert(c:receive() == 'lost') log('end')";
    assert_eq!(run(body), (vec!["1 x".into(), "2 end".into()], vec![]));
}

#[test]
fn a_long_chain_of_tasks_is_no_recursion() {
    let body = "local first = task.channel()
                local c = first
                for i = 1, 90 do
                  local from, to = c, task.channel()
                  task.spawn(function() to:send(from:receive() + 1) end)
                  c = to
                end
                task.spawn(function() first:send(0) end)
                log(c:receive())";
    assert_eq!(run(body), (vec!["0 90".into()], vec![]));
}

#[test]
fn timeouts_cancel_and_pass_on() {
    let body = "local ok, value = task.timeout(5, function() task.sleep(1) return 'fast' end)
                assert(ok and value == 'fast')
                assert(task.timeout(1, function() task.sleep(5) log('never') end) == false)
                local caught, why = pcall(task.timeout, 1, function() error('inside') end)
                assert(not caught and string.find(why, 'inside'))
                log('done')";
    assert_eq!(run(body), (vec!["2 done".into()], vec![]));
}

#[test]
fn only_tasks_may_wait() {
    let (_, failed) = run("coroutine.wrap(function() task.sleep(1) end)()");
    assert!(failed[0].contains("only a task may wait"), "{failed:?}");
    let code = "local task = require('@netserv/task') return { start = function() task.sleep(1) end }";
    assert!(message(start_with(manifest(), code).map(|_| ())).contains("only a task may wait"));
}

#[test]
fn there_is_a_limit_of_tasks() {
    let (log, failed) = run("for i = 1, 200 do task.spawn(function() task.sleep(1) end) end");
    assert!(log.is_empty());
    assert!(failed.iter().any(|text| text.contains("limit tasks (100) exceeded")), "{failed:?}");
}

#[test]
fn a_task_cannot_catch_the_end_of_its_time() {
    let code = "return { run = function() while true do pcall(function() while true do end end) end end }";
    let mut instance = start(code);
    assert_eq!(effects(&mut instance), [Effect::GoOn]);
    assert_eq!(instance.go_on(Instant::START), Err(Fault::OutOfCpu { limit_ms: 20 }));
}

#[test]
fn unknown_blocks_are_named() {
    let text = message(start_with(manifest(), "require('@netserv/nonsense') return {}").map(|_| ()));
    assert!(
        text.contains("there is no building block \"@netserv/nonsense\"") && text.contains("\"@netserv/task\""),
        "{text}"
    );
}

/// Blocks that need a network or a disk have their examples run in `tests/blocks.rs`.
#[test]
fn the_example_of_tasks_runs() {
    let block = BLOCKS.iter().find(|block| block.name == "task").unwrap();
    assert_eq!(live(block.example), (vec!["done".into()], vec![]));
}

//! Behind `@netserv/task`: tasks that wait. All of the scheduling is on the Luau side; a task is a coroutine.

use crate::base::limits::LOG_LINE_BYTES_MAX;
use crate::container::api::Answer;
use crate::container::api::block::{Block, Item};
use crate::container::api::effects::one_line;
use crate::container::instance::Effect;
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

pub(crate) const BLOCK: Block = Block {
    name: "task",
    summary: "Code that waits: tasks, sleeping, timeouts, and channels between tasks.",
    about: "A task runs until it waits; then others run, and packets pass. What runs between two waits for time or network, \
            the tasks that it wakes included, has the time of one call (`limits.cpu_ms_per_call`). Only tasks may wait: `M.run`, and what `spawn` started. An error in a task \
            ends that task and counts as an error of the module.",
    types: "export type Task = { cancel: (self: Task) -> (), done: (self: Task) -> boolean }\n\
            export type Channel<T> = {\n  \
              send: (self: Channel<T>, value: T) -> boolean,\n  \
              receive: (self: Channel<T>, seconds: number?) -> T?,\n  \
              close: (self: Channel<T>) -> (),\n\
            }",
    items: &[
        Item {
            name: "spawn",
            luau: "<A...>(run: (A...) -> (), A...) -> Task",
            about: "Starts a task. It begins when the code at hand waits or ends. At most `limits.tasks` at a time.",
        },
        Item {
            name: "sleep",
            luau: "(seconds: number) -> ()",
            about: "Waits. 0 lets everything else run first. Takes one of `limits.timers` meanwhile.",
        },
        Item {
            name: "timeout",
            luau: "<R...>(seconds: number, run: () -> R...) -> (boolean, R...)",
            about: "Runs a function that may wait. True and what it returns; or false when it takes longer, and then it \
                    is cancelled. Errors of the function are raised here.",
        },
        Item {
            name: "channel",
            luau: "<T>(capacity: number?) -> Channel<T>",
            about: "A queue between tasks. `send` waits while `capacity` values (0 if not given: until one receives) are \
                    in it, and answers false once it is closed; `receive` waits for a value, and answers nil when the \
                    time is over, or when it is closed and empty. A value cannot be nil.",
        },
        Item {
            name: "Task.cancel",
            luau: "(self: Task) -> ()",
            about: "Ends a task where it waits. It cannot catch that.",
        },
        Item { name: "Task.done", luau: "(self: Task) -> boolean", about: "Whether it has ended." },
    ],
    example: "local task = require(\"@netserv/task\")\n\
              local M = {}\n\
              function M.run(ctx: Context)\n  \
                local words = task.channel()\n  \
                task.spawn(function()\n    \
                  for _, word in { \"one\", \"two\" } do\n      \
                    task.sleep(1)\n      \
                    words:send(word)\n    \
                  end\n    \
                  words:close()\n  \
                end)\n  \
                assert(words:receive() == \"one\" and ctx:now() >= 1)\n  \
                assert(words:receive() == \"two\" and words:receive() == nil)\n  \
                assert(task.timeout(1, function() task.sleep(60) end) == false)\n  \
                ctx:log(\"info\", \"done\")\n\
              end\n\
              return M\n",
    natives: &[],
    code: "local _, shared = ...\nreturn shared.task",
};

/// A task ended with an error.
pub(crate) fn failed(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let message = one_line(arguments.bytes(1, "message")?, LOG_LINE_BYTES_MAX);
    host.effects.borrow_mut().add_always(Effect::TaskFailed { message });
    Ok(Answer::Nil)
}

/// There are tasks that can go on.
pub(crate) fn ready(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    host.effects.borrow_mut().add_always(Effect::GoOn);
    Ok(Answer::Nil)
}

//! Behind `@netserv/lru`: all of it is on the Luau side.

use crate::container::api::block::{Block, item};
use crate::container::api::context;

pub(crate) const BLOCK: Block = Block {
    name: "lru",
    summary: "A bounded map: what was not used for longest makes room.",
    about: "A stranger who sends packets decides how many keys there are: bound every table. Here a bound is by count, by bytes \
            that you say for each value, and by age. Every call but `keys` takes the same time, however much is in it.",
    types: "export type LruBounds = { count: number?, bytes: number?, seconds: number? }\n\
            export type Lru<K, V> = {\n  \
              get: (self: Lru<K, V>, key: K) -> V?,\n  \
              peek: (self: Lru<K, V>, key: K) -> V?,\n  \
              set: (self: Lru<K, V>, key: K, value: V, bytes: number?) -> boolean,\n  \
              remove: (self: Lru<K, V>, key: K) -> V?,\n  \
              clear: (self: Lru<K, V>) -> (),\n  \
              count: (self: Lru<K, V>) -> number,\n  \
              bytes: (self: Lru<K, V>) -> number,\n  \
              oldest: (self: Lru<K, V>) -> (K?, V?),\n  \
              keys: (self: Lru<K, V>, max: number?) -> { K },\n\
            }",
    items: &[
        item(
            "new",
            "<K, V>(bounds: LruBounds, on_evict: ((key: K, value: V) -> ())?) -> Lru<K, V>",
            "A map with at least one of the bounds. `seconds` is the age, since it was set, at which a value is gone. `on_evict` \
             is told of what made room or grew too old, not of what was removed or replaced.",
        ),
        item("Lru.get", "(self: Lru<K, V>, key: K) -> V?", "The value; it is now the one used last."),
        item("Lru.peek", "(self: Lru<K, V>, key: K) -> V?", "The value; its place stays."),
        item(
            "Lru.set",
            "(self: Lru<K, V>, key: K, value: V, bytes: number?) -> boolean",
            "Puts a value, which counts as 0 bytes if not said. False when it alone is over the bound: then the key has none.",
        ),
        item("Lru.remove", "(self: Lru<K, V>, key: K) -> V?", "Takes a value out."),
        item("Lru.clear", "(self: Lru<K, V>) -> ()", "Takes all out."),
        item("Lru.count", "(self: Lru<K, V>) -> number", "How many values there are; `bytes`: how many bytes."),
        item("Lru.oldest", "(self: Lru<K, V>) -> (K?, V?)", "What would make room next."),
        item(
            "Lru.keys",
            "(self: Lru<K, V>, max: number?) -> { K }",
            "The keys, the one used last first, at most `max` (1,024 if not given). Their places stay: `peek` gives the values.",
        ),
    ],
    example: "local lru = require(\"@netserv/lru\")\n\
              local M = {}\n\
              function M.run(ctx: Context)\n  \
                local names = lru.new({ count = 2 })\n  \
                names:set(\"a\", 1)\n  \
                names:set(\"b\", 2)\n  \
                assert(names:get(\"a\") == 1)\n  \
                names:set(\"c\", 3)\n  \
                assert(names:get(\"b\") == nil and names:count() == 2)\n  \
                assert(table.concat(names:keys(), \" \") == \"c a\")\n  \
                ctx:log(\"info\", \"done\")\n\
              end\n\
              return M\n",
    natives: &[("fail", context::fail), ("now", context::now)],
    code: include_str!("lru.luau"),
};

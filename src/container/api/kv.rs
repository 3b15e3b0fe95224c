//! Behind `@netserv/kv`.

use serde_json::json;

use crate::base::limits::{
    STORAGE_KEY_BYTES_MAX, STORAGE_KEYS_PER_CALL_MAX, STORAGE_UPDATE_BYTES_MAX, STORAGE_VALUE_BYTES_MAX,
};
use crate::base::storage::Change;
use crate::container::api::block::{Block, item};
use crate::container::api::{Answer, context};
use crate::container::permissions::Use;
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

pub(crate) const BLOCK: Block = Block {
    name: "kv",
    summary: "Keys and values that stay over restarts.",
    about: "Needs the permission `store` and `limits.storage_bytes`. Keys are texts (UTF-8) of at most 512 bytes, values bytes of \
            at most 1 MiB; each entry counts 64 bytes more. What is kept belongs to the instance by its name: it stays when the \
            instance is started again or its module updated, and goes when it is uninstalled. A change is seen at once, and is \
            on disk within a second; when the machine loses power before, it is lost whole, with all that came after it. Where \
            time is virtual all is in memory.",
    types: "",
    items: &[
        item("get", "(key: string) -> string?", "The value of a key."),
        item("set", "(key: string, value: string) -> ()", "Gives a key a value."),
        item("remove", "(key: string) -> ()", "Takes a key out. Nothing happens if it is not there."),
        item(
            "update",
            "(changes: { [string]: string | false }) -> ()",
            "Makes all changes or none; `false` takes a key out. At most 1,024 keys, and 4 MiB.",
        ),
        item(
            "keys",
            "(prefix: string?, after: string?, max: number?) -> { string }",
            "Keys that begin with a text and come after another, in order, at most `max` (1,024 if not given).",
        ),
        item("used", "() -> (number, number)", "Bytes that the instance keeps, files included, and how many it may."),
    ],
    example: "local kv = require(\"@netserv/kv\")\n\
              local M = {}\n\
              function M.run(ctx: Context)\n  \
                kv.set(\"user/alice\", \"sip:alice@192.0.2.7\")\n  \
                kv.update({ [\"user/bob\"] = \"sip:bob@192.0.2.8\", [\"count\"] = \"2\" })\n  \
                assert(kv.get(\"user/alice\") == \"sip:alice@192.0.2.7\")\n  \
                assert(table.concat(kv.keys(\"user/\"), \" \") == \"user/alice user/bob\")\n  \
                kv.update({ [\"user/alice\"] = false })\n  \
                assert(kv.get(\"user/alice\") == nil)\n  \
                ctx:log(\"info\", \"done\")\n\
              end\n\
              return M\n",
    natives: &[("apply", apply), ("fail", context::fail), ("get", get), ("keys", keys), ("used", used)],
    code: include_str!("kv.luau"),
};

/// First byte of the keys of this block in the instance's store.
const KEY: u8 = b'k';
/// Safepoints that one look into the store stands for where time is virtual.
const LOOK_SAFEPOINTS: u64 = 500;

/// The key in the store.
fn stored_key(key: &[u8]) -> Result<Vec<u8>, String> {
    if key.len() > STORAGE_KEY_BYTES_MAX || std::str::from_utf8(key).is_err() {
        return Err(format!(
            "a key is a text of at most {STORAGE_KEY_BYTES_MAX} bytes of UTF-8; this one has {}",
            key.len()
        ));
    }
    Ok([&[KEY], key].concat())
}

fn may_store(host: &Host) -> Result<(), String> {
    host.guard().charge(LOOK_SAFEPOINTS);
    host.allowed.check(&Use::Store).map_err(|refusal| refusal.to_string())
}

fn get(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    may_store(host)?;
    let value = host.storage.get(&stored_key(arguments.bytes(1, "key")?)?).map_err(|error| error.to_string())?;
    Ok(value.map_or(Answer::Nil, Answer::Bytes))
}

/// Takes changes in one text: for each, the length of the key, the key, 1 or 0 for whether it has a value, and if so the
/// length of the value and the value. Lengths have four bytes, the lowest first, as `string.pack("s4")` writes them.
fn apply(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    may_store(host)?;
    let mut rest = arguments.bytes(1, "changes")?;
    if rest.len() > STORAGE_UPDATE_BYTES_MAX {
        return Err(format!("an update has at most {STORAGE_UPDATE_BYTES_MAX} bytes; this one has {}", rest.len()));
    }
    let mut changes = Vec::new();
    while !rest.is_empty() {
        if changes.len() >= STORAGE_KEYS_PER_CALL_MAX {
            return Err(format!("an update has at most {STORAGE_KEYS_PER_CALL_MAX} keys"));
        }
        let key = stored_key(taken(&mut rest)?)?;
        let (has_value, after) = rest.split_first().ok_or("an update ends too early")?;
        rest = after;
        let value = if *has_value == 0 { None } else { Some(taken(&mut rest)?.to_vec()) };
        if let Some(long) = value.as_ref().filter(|value| value.len() > STORAGE_VALUE_BYTES_MAX) {
            let file = "larger things are for @netserv/files";
            return Err(format!("a value has at most {STORAGE_VALUE_BYTES_MAX} bytes, not {}; {file}", long.len()));
        }
        changes.push(Change { key, value });
    }
    host.guard().charge(LOOK_SAFEPOINTS * changes.len() as u64);
    host.storage.apply(changes, host.manifest.limits.storage_bytes).map_err(|error| error.to_string())?;
    Ok(Answer::Nil)
}

/// Takes a text with its length off the front.
fn taken<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let (len, after) = rest.split_first_chunk::<4>().ok_or("an update ends too early")?;
    let (text, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or("an update ends too early")?;
    *rest = after;
    Ok(text)
}

fn keys(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    may_store(host)?;
    let text = |at, name| if arguments.is_nil(at) { Ok(&b""[..]) } else { arguments.bytes(at, name) };
    let prefix = stored_key(text(1, "prefix")?)?;
    let after = text(2, "after")?;
    let after = if after.is_empty() { Vec::new() } else { stored_key(after)? };
    let max = if arguments.is_nil(3) { STORAGE_KEYS_PER_CALL_MAX as f64 } else { arguments.number(3, "max")? };
    let max = (max as usize).min(STORAGE_KEYS_PER_CALL_MAX);
    let found = host.storage.list(&prefix, &after, max).map_err(|error| error.to_string())?;
    host.guard().charge(10 * found.len() as u64);
    let names = found.iter().map(|(key, _)| String::from_utf8_lossy(&key[1..]).into_owned());
    Ok(Answer::Value(names.collect::<Vec<String>>().into()))
}

fn used(host: &Host, _: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Value(json!([host.storage.used_bytes(), host.manifest.limits.storage_bytes])))
}

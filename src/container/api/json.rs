//! Behind `@netserv/json`.

use serde_json::Value;

use crate::base::limits::{JSON_BYTES_MAX, JSON_DEPTH_MAX};
use crate::container::api::block::{Block, item};
use crate::container::api::{Answer, library};
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

pub(crate) const BLOCK: Block = Block {
    name: "json",
    summary: "JSON text to values, and back.",
    about: "Text has at most 1 MiB and is nested at most 32 deep. `null` is `json.null`, so that nothing is lost; compare \
            with it. A table with the keys 1 to n, and an empty one, is written as a list; `json.object` makes an empty one \
            an object, and an empty object that was read is one. Numbers beyond 2^53 lose digits; text that is no UTF-8, and \
            numbers that JSON has no word for, cannot be read back as they were.",
    types: "",
    items: &[
        item("null", "any", "Stands for `null`."),
        item("encode", "(value: any) -> string", "JSON text, keys in order, without blanks."),
        item(
            "decode",
            "(text: string) -> (any, string?)",
            "The value; or nil and what is wrong, with line and column, for what is no JSON.",
        ),
        item("object", "<T>(fields: T?) -> T", "Marks a table so that it is written as an object when it is empty."),
    ],
    example: "local json = require(\"@netserv/json\")\n\
              local M = {}\n\
              function M.run(ctx: Context)\n  \
                local value = json.decode('{\"name\": \"x\", \"tags\": [], \"more\": {}, \"gone\": null}')\n  \
                assert(value.name == \"x\" and #value.tags == 0 and value.gone == json.null)\n  \
                value.tags[1] = \"new\"\n  \
                assert(json.encode(value) == '{\"gone\":null,\"more\":{},\"name\":\"x\",\"tags\":[\"new\"]}')\n  \
                local nothing, problem = json.decode(\"{\")\n  \
                assert(nothing == nil and problem ~= nil)\n  \
                assert(json.encode({ list = { 1, 2 }, empty = json.object() }) == '{\"empty\":{},\"list\":[1,2]}')\n  \
                ctx:log(\"info\", \"done\")\n\
              end\n\
              return M\n",
    natives: &[("decode", decode), ("encode", library::json), ("problem", problem)],
    code: include_str!("json.luau"),
};

/// Text to a value, or what is wrong with it.
fn parsed(text: &[u8]) -> Result<Value, String> {
    if text.len() > JSON_BYTES_MAX {
        return Err(format!("the text has {} bytes; {JSON_BYTES_MAX} may be read at once", text.len()));
    }
    let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if depth(&value) > JSON_DEPTH_MAX {
        return Err(format!("it is nested more than {JSON_DEPTH_MAX} deep"));
    }
    Ok(value)
}

/// How deep a value is nested. The library reads none that is deeper than 128.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The value of a text; nil if it has none. The second argument is the metatable of empty objects.
fn decode(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let text = arguments.bytes(1, "text")?;
    host.guard().charge(text.len() as u64);
    Ok(parsed(text).map_or(Answer::Nil, Answer::Json))
}

/// Why a text has no value.
fn problem(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(parsed(arguments.bytes(1, "text")?).err().map_or(Answer::Nil, |error| Answer::Bytes(error.into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_bounded_in_length_and_depth() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parsed(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert!(parsed(nested(JSON_DEPTH_MAX + 1).as_bytes()).unwrap_err().contains("32 deep"));
        assert!(parsed(nested(100_000).as_bytes()).unwrap_err().contains("recursion"));
        assert!(parsed(&vec![b' '; JSON_BYTES_MAX + 1]).unwrap_err().contains("1048577 bytes"));
        assert!(
            parsed(b"\"\xff\"").is_err() && parsed(b"[1,]").is_err() && parsed(b"").is_err() && parsed(b"1 2").is_err()
        );
    }
}

//! Behind `@netserv/files`.

use std::rc::Rc;

use serde_json::json;

use crate::base::limits::STORAGE_KEYS_PER_CALL_MAX;
use crate::blocks::files::Files;
use crate::container::api::block::{Block, item};
use crate::container::api::{Answer, context};
use crate::container::permissions::Use;
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

pub(crate) const BLOCK: Block = Block {
    name: "files",
    summary: "A cache of named files, which stays over restarts.",
    about: "Needs the permission `store` and `limits.storage_bytes`, which holds for files and `@netserv/kv` together. When a new \
            file does not fit, files that were not used for longest make room, other than those that were written to be kept. \
            Files are written piece by piece, and are there once they are ended; a file that is not ended when the instance \
            stops is removed. Names are texts of at most 512 bytes; `/` has no meaning in them.",
    types: "export type FileWriter = {\n  \
              put: (self: FileWriter, bytes: string) -> (),\n  \
              finish: (self: FileWriter) -> number,\n  \
              cancel: (self: FileWriter) -> (),\n\
            }",
    items: &[
        item(
            "create",
            "(name: string, keep: boolean?) -> FileWriter",
            "Begins a file. It takes the place of one of that name when it is ended. With `keep` it never makes room.",
        ),
        item("write", "(name: string, bytes: string, keep: boolean?) -> ()", "Writes a whole file at once."),
        item(
            "read",
            "(name: string, from: number?, count: number?) -> string?",
            "Bytes of a file from `from` on, counted from 0, at most 4 MiB; nil if there is no such file. It counts as a use.",
        ),
        item("size", "(name: string) -> number?", "Bytes of a file; nil if there is none."),
        item("remove", "(name: string) -> boolean", "Removes a file; whether there was one."),
        item(
            "list",
            "(prefix: string?, after: string?, max: number?) -> { string }",
            "Names that begin with a text and come after another, in order, at most `max` (1,024 if not given).",
        ),
        item(
            "FileWriter.put",
            "(self: FileWriter, bytes: string) -> ()",
            "Adds bytes. When they do not fit, it is cancelled.",
        ),
        item("FileWriter.finish", "(self: FileWriter) -> number", "Ends the file; how many bytes it has."),
        item(
            "FileWriter.cancel",
            "(self: FileWriter) -> ()",
            "Forgets what was written. Nothing happens after its end.",
        ),
    ],
    example: "local files = require(\"@netserv/files\")\n\
              local M = {}\n\
              function M.run(ctx: Context)\n  \
                local file = files.create(\"video/1\")\n  \
                file:put(\"first \")\n  \
                file:put(\"second\")\n  \
                assert(files.size(\"video/1\") == nil)\n  \
                assert(file:finish() == 12)\n  \
                assert(files.read(\"video/1\", 6, 3) == \"sec\")\n  \
                files.write(\"settings\", \"x\", true)\n  \
                assert(table.concat(files.list(), \" \") == \"settings video/1\")\n  \
                assert(files.remove(\"video/1\") and not files.remove(\"video/1\"))\n  \
                ctx:log(\"info\", \"done\")\n\
              end\n\
              return M\n",
    natives: &[
        ("begin", begin),
        ("cancel", cancel),
        ("fail", context::fail),
        ("finish", finish),
        ("list", list),
        ("put", put),
        ("read", read),
        ("remove", remove),
        ("size", size),
    ],
    code: include_str!("files.luau"),
};

/// Safepoints that one look into the store stands for where time is virtual.
const LOOK_SAFEPOINTS: u64 = 1_000;

/// Does something with the files of the instance, which are opened when they are used first.
fn with<T, E: std::fmt::Display>(host: &Host, run: impl FnOnce(&mut Files) -> Result<T, E>) -> Result<T, String> {
    host.guard().charge(LOOK_SAFEPOINTS);
    host.allowed.check(&Use::Store).map_err(|refusal| refusal.to_string())?;
    let mut files = host.files.borrow_mut();
    if files.is_none() {
        let opened = Files::open(Rc::clone(&host.storage), host.manifest.limits.storage_bytes);
        *files = Some(opened.map_err(|error| error.to_string())?);
    }
    run(files.as_mut().expect("they were just opened")).map_err(|error| error.to_string())
}

fn name<'a>(arguments: &Arguments<'a>) -> Result<&'a str, String> {
    std::str::from_utf8(arguments.bytes(1, "name")?).map_err(|_| "the name of a file must be UTF-8".to_owned())
}

fn id(arguments: &Arguments<'_>) -> Result<u64, String> {
    Ok(arguments.number(1, "file")? as u64)
}

fn begin(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (name, keep) = (name(arguments)?, arguments.truth(2));
    with(host, |files| files.begin(name, keep)).map(|id| Answer::Number(id as f64))
}

fn put(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (id, bytes) = (id(arguments)?, arguments.bytes(2, "bytes")?);
    with(host, |files| files.put(id, bytes)).map(|()| Answer::Nil)
}

fn finish(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let id = id(arguments)?;
    with(host, |files| files.end(id)).map(|bytes| Answer::Number(bytes as f64))
}

fn cancel(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let id = id(arguments)?;
    with(host, |files| files.cancel(id)).map(|()| Answer::Nil)
}

fn read(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let name = name(arguments)?;
    let place = |at, what, default: f64| {
        let number = if arguments.is_nil(at) { default } else { arguments.number(at, what)? };
        if number >= 0.0 { Ok(number as u64) } else { Err(format!("{what} must be a number from 0 on, not {number}")) }
    };
    let (from, count) = (place(2, "from", 0.0)?, place(3, "count", f64::MAX)?);
    let bytes = with(host, |files| files.read(name, from, count))?;
    host.guard().charge(bytes.as_ref().map_or(0, Vec::len) as u64 / 16);
    Ok(bytes.map_or(Answer::Nil, Answer::Bytes))
}

fn size(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let name = name(arguments)?;
    with(host, |files| Ok::<_, String>(files.bytes(name)))
        .map(|bytes| bytes.map_or(Answer::Nil, |bytes| Answer::Number(bytes as f64)))
}

fn remove(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let name = name(arguments)?;
    with(host, |files| files.remove(name)).map(|was_there| Answer::Value(was_there.into()))
}

fn list(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let text = |at, what| {
        let bytes = if arguments.is_nil(at) { b"" } else { arguments.bytes(at, what)? };
        std::str::from_utf8(bytes).map_err(|_| format!("{what} must be UTF-8"))
    };
    let (prefix, after) = (text(1, "prefix")?, text(2, "after")?);
    let max = if arguments.is_nil(3) { STORAGE_KEYS_PER_CALL_MAX as f64 } else { arguments.number(3, "max")? };
    let max = (max as usize).min(STORAGE_KEYS_PER_CALL_MAX);
    let names = with(host, |files| {
        Ok::<_, String>(files.list(prefix, after).take(max).map(|(name, _)| name.to_owned()).collect::<Vec<_>>())
    })?;
    host.guard().charge(10 * names.len() as u64);
    Ok(Answer::Value(json!(names)))
}

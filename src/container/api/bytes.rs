//! Behind `@netserv/bytes`.

use crate::container::api::block::{Block, item};
use crate::container::api::{Answer, context};
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

pub(crate) const BLOCK: Block = Block {
    name: "bytes",
    summary: "Takes messages of bytes apart, and builds them.",
    about: "Numbers are in network order, unless `_le` says little-endian. A reader answers nil once the bytes do not reach, and \
            from then on to everything: one look at `failed` at the end is enough. Numbers of 8 bytes come as two of 4, because \
            a number of Luau is exact up to 2^53 only. Luau's own `string.pack` and `string.unpack` do fixed layouts at once.",
    types: "export type Reader = {\n  \
              failed: boolean,\n  \
              u8: (self: Reader) -> number?,\n  \
              u16: (self: Reader) -> number?,\n  \
              u24: (self: Reader) -> number?,\n  \
              u32: (self: Reader) -> number?,\n  \
              u16_le: (self: Reader) -> number?,\n  \
              u32_le: (self: Reader) -> number?,\n  \
              u64: (self: Reader) -> (number?, number?),\n  \
              varint: (self: Reader) -> number?,\n  \
              take: (self: Reader, count: number) -> string?,\n  \
              line: (self: Reader) -> string?,\n  \
              rest: (self: Reader) -> string,\n  \
              skip: (self: Reader, count: number) -> boolean,\n  \
              left: (self: Reader) -> number,\n  \
              at: (self: Reader) -> number,\n\
            }\n\
            export type Writer = {\n  \
              u8: (self: Writer, value: number) -> Writer,\n  \
              u16: (self: Writer, value: number) -> Writer,\n  \
              u24: (self: Writer, value: number) -> Writer,\n  \
              u32: (self: Writer, value: number) -> Writer,\n  \
              u16_le: (self: Writer, value: number) -> Writer,\n  \
              u32_le: (self: Writer, value: number) -> Writer,\n  \
              u64: (self: Writer, high: number, low: number) -> Writer,\n  \
              varint: (self: Writer, value: number) -> Writer,\n  \
              put: (self: Writer, bytes: string) -> Writer,\n  \
              len: (self: Writer) -> number,\n  \
              bytes: (self: Writer) -> string,\n\
            }",
    items: &[
        item("reader", "(bytes: string, at: number?) -> Reader", "Reads from the byte `at` on, counted from 1."),
        item("writer", "() -> Writer", "Builds a text of bytes."),
        item(
            "crc32",
            "(bytes: string, before: number?) -> number",
            "CRC-32 as of Ethernet, zip and STUN; `before` is that of what comes before.",
        ),
        item(
            "xor",
            "(a: string, b: string) -> string",
            "Each byte of `a` with that of `b`, which must not be shorter.",
        ),
        item("u64_text", "(high: number, low: number) -> string", "A number of 8 bytes in decimal digits."),
        item("u64_parse", "(digits: string) -> (number?, number?)", "The other way round; nil for what is none."),
        item("Reader.failed", "boolean", "Whether more was asked for than there was."),
        item("Reader.u8", "(self: Reader) -> number?", "The next byte; `u16`, `u24`, `u32`: the next 2, 3, 4."),
        item(
            "Reader.u64",
            "(self: Reader) -> (number?, number?)",
            "The next 8 bytes as two numbers of 4, the higher first.",
        ),
        item(
            "Reader.varint",
            "(self: Reader) -> number?",
            "7 bits of each byte, the lowest first, while its highest bit is set (LEB128); less than 2^53.",
        ),
        item("Reader.take", "(self: Reader, count: number) -> string?", "So many bytes."),
        item(
            "Reader.line",
            "(self: Reader) -> string?",
            "Up to the next line feed, without it and a carriage return before it.",
        ),
        item("Reader.rest", "(self: Reader) -> string", "All that is left."),
        item("Reader.skip", "(self: Reader, count: number) -> boolean", "Passes over so many bytes."),
        item("Reader.left", "(self: Reader) -> number", "How many bytes are left; `at`: where it is, counted from 1."),
        item("Writer.u8", "(self: Writer, value: number) -> Writer", "Adds a byte; `u16`, `u24`, `u32`: 2, 3, 4."),
        item("Writer.put", "(self: Writer, bytes: string) -> Writer", "Adds bytes."),
        item("Writer.bytes", "(self: Writer) -> string", "What it has come to; `len`: how long that is."),
    ],
    example: "local bytes = require(\"@netserv/bytes\")\n\
              local M = {}\n\
              function M.run(ctx: Context)\n  \
                local message = bytes.writer():u8(1):u16(5):put(\"hello\"):u64(1, 2):varint(300):bytes()\n  \
                local reader = bytes.reader(message)\n  \
                assert(reader:u8() == 1 and reader:take(reader:u16() or 0) == \"hello\")\n  \
                local high, low = reader:u64()\n  \
                assert(bytes.u64_text(high or 0, low or 0) == \"4294967298\" and reader:varint() == 300)\n  \
                assert(reader:left() == 0 and not reader.failed)\n  \
                assert(reader:u32() == nil and reader.failed)\n  \
                assert(bytes.crc32(\"123456789\") == 0xcbf43926)\n  \
                ctx:log(\"info\", \"done\")\n\
              end\n\
              return M\n",
    natives: &[
        ("crc32", crc32),
        ("fail", context::fail),
        ("u64_parse", u64_parse),
        ("u64_text", u64_text),
        ("xor", xor),
    ],
    code: include_str!("bytes.luau"),
};

/// A whole number of at most 32 bits.
fn u32_of(arguments: &Arguments<'_>, at: std::ffi::c_int, name: &str) -> Result<u32, String> {
    let value = arguments.number(at, name)?;
    if value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value) {
        return Ok(value as u32);
    }
    Err(format!("{name} must be a whole number from 0 to {}, not {value}", u32::MAX))
}

fn crc32(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let before = if arguments.is_nil(2) { 0 } else { u32_of(arguments, 2, "before")? };
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(arguments.bytes(1, "bytes")?);
    Ok(Answer::Number(f64::from(hasher.finalize())))
}

fn xor(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (a, b) = (arguments.bytes(1, "a")?, arguments.bytes(2, "b")?);
    if b.len() < a.len() {
        return Err(format!("b has {} bytes, and must have at least the {} of a", b.len(), a.len()));
    }
    Ok(Answer::Bytes(a.iter().zip(b).map(|(x, y)| x ^ y).collect()))
}

fn u64_text(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (high, low) = (u32_of(arguments, 1, "high")?, u32_of(arguments, 2, "low")?);
    Ok(Answer::Bytes((u64::from(high) << 32 | u64::from(low)).to_string().into_bytes()))
}

fn u64_parse(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let digits = std::str::from_utf8(arguments.bytes(1, "digits")?).unwrap_or_default();
    let number = if digits.starts_with('+') { None } else { digits.parse::<u64>().ok() };
    Ok(number.map_or(Answer::Nil, |number| Answer::Value(serde_json::json!([number >> 32, number & 0xffff_ffff]))))
}

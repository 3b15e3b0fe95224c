//! Behind `@netserv/address`.

use std::net::IpAddr;

use serde_json::json;

use crate::base::filter::Prefix;
use crate::blocks::address::{Kind, moved, split_host};
use crate::container::api::block::{Block, item};
use crate::container::api::{Answer, library};
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

pub(crate) const BLOCK: Block = Block {
    name: "address",
    summary: "Addresses, prefixes, and hosts with ports, as text.",
    about: "What is no address gives nil, so that text of strangers can be given to all of these.",
    types: "",
    items: &[
        item(
            "parse",
            "(text: string) -> string?",
            "The address in its usual form: `\"2001:DB8::0:1\"` is `2001:db8::1`.",
        ),
        item("version", "(address: string) -> number?", "4 or 6."),
        item(
            "kind",
            "(address: string) -> string?",
            "What it is for: `\"global\"`, `\"private\"`, `\"shared\"` (RFC 6598), `\"loopback\"`, `\"link-local\"`, \
             `\"multicast\"`, `\"broadcast\"`, `\"unspecified\"`, `\"documentation\"`, `\"reserved\"`. An IPv4 address within \
             IPv6 is what the IPv4 address is.",
        ),
        item("is_global", "(address: string) -> boolean", "Whether its kind is `\"global\"`."),
        item("is_private", "(address: string) -> boolean", "Whether its kind is `\"private\"` or `\"shared\"`."),
        item("is_loopback", "(address: string) -> boolean", "Whether its kind is `\"loopback\"`."),
        item("is_multicast", "(address: string) -> boolean", "Whether its kind is `\"multicast\"` or `\"broadcast\"`."),
        item(
            "prefix",
            "(text: string) -> string?",
            "The prefix in its usual form: `\"192.0.2.7/24\"` is `192.0.2.0/24`.",
        ),
        item("contains", "(prefix: string, address: string) -> boolean", "Whether the prefix holds the address."),
        item("range", "(prefix: string) -> (string?, string?)", "Its first and last address."),
        item("offset", "(address: string, by: number) -> string?", "The address so many after it, or before it."),
        item("bytes", "(address: string) -> string?", "Its 4 or 16 bytes."),
        item("from_bytes", "(bytes: string) -> string?", "The address of 4 or 16 bytes."),
        item(
            "split",
            "(text: string, port: number?) -> (string?, number?)",
            "Host and port of `\"example.org:80\"`, `\"192.0.2.1:80\"`, `\"[2001:db8::1]:80\"`, each without port too; then \
             the port is the one given. The host comes in lower case, without brackets.",
        ),
        item("join", "(host: string, port: number) -> string", "The other way round."),
    ],
    example: "local address = require(\"@netserv/address\")\n\
              local M = {}\n\
              function M.run(ctx: Context)\n  \
                local host, port = address.split(\"[2001:DB8::1]:5060\")\n  \
                assert(host == \"2001:db8::1\" and port == 5060)\n  \
                assert(address.contains(\"2001:db8::/32\", host))\n  \
                assert(address.is_private(\"192.168.1.1\") and not address.is_private(\"8.8.8.8\"))\n  \
                assert(address.parse(\"not an address\") == nil)\n  \
                assert(address.join(host, 5061) == \"[2001:db8::1]:5061\")\n  \
                ctx:log(\"info\", \"done\")\n\
              end\n\
              return M\n",
    natives: &[
        ("bytes", library::address_bytes),
        ("contains", contains),
        ("from_bytes", from_bytes),
        ("kind", kind),
        ("offset", offset),
        ("parse", parse),
        ("prefix", prefix),
        ("range", range),
        ("split", split),
        ("version", version),
    ],
    code: include_str!("address.luau"),
};

fn text<'a>(arguments: &Arguments<'a>, name: &str) -> Result<&'a str, String> {
    Ok(std::str::from_utf8(arguments.bytes(1, name)?).unwrap_or_default())
}

fn address(arguments: &Arguments<'_>) -> Result<Option<IpAddr>, String> {
    Ok(text(arguments, "address")?.parse().ok())
}

fn shown(address: Option<IpAddr>) -> Answer {
    address.map_or(Answer::Nil, |address| Answer::Bytes(address.to_string().into_bytes()))
}

fn parse(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(shown(address(arguments)?))
}

fn version(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(address(arguments)?.map_or(Answer::Nil, |address| Answer::Number(if address.is_ipv4() { 4.0 } else { 6.0 })))
}

fn kind(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(address(arguments)?.map_or(Answer::Nil, |address| Answer::Bytes(Kind::of(address).word().as_bytes().to_vec())))
}

fn prefix(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let prefix = text(arguments, "prefix")?.parse::<Prefix>();
    Ok(prefix.map_or(Answer::Nil, |prefix| Answer::Bytes(prefix.to_string().into_bytes())))
}

fn contains(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let prefix = text(arguments, "prefix")?.parse::<Prefix>();
    let address = std::str::from_utf8(arguments.bytes(2, "address")?).unwrap_or_default().parse::<IpAddr>();
    Ok(Answer::Value(matches!((prefix, address), (Ok(prefix), Ok(address)) if prefix.contains(address)).into()))
}

fn range(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let Ok(prefix) = text(arguments, "prefix")?.parse::<Prefix>() else { return Ok(Answer::Nil) };
    let first = prefix.address();
    let last = match first {
        IpAddr::V4(v4) => {
            IpAddr::from((v4.to_bits() | u32::MAX.checked_shr(prefix.prefix_len().into()).unwrap_or(0)).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            IpAddr::from((v6.to_bits() | u128::MAX.checked_shr(prefix.prefix_len().into()).unwrap_or(0)).to_be_bytes())
        }
    };
    Ok(Answer::Value(json!([first.to_string(), last.to_string()])))
}

fn offset(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let by = arguments.number(2, "by")?;
    if !(by.abs() <= 9_007_199_254_740_992.0 && by.fract() == 0.0) {
        return Err(format!("by must be a whole number up to 2^53, not {by}"));
    }
    Ok(shown(address(arguments)?.and_then(|address| moved(address, by as i64))))
}

fn from_bytes(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let bytes = arguments.bytes(1, "bytes")?;
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    Ok(shown(v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())))
}

fn split(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(split_host(text(arguments, "text")?).map_or(Answer::Nil, |(host, port)| Answer::Value(json!([host, port]))))
}

//! Behind `@netserv/dns`.

use std::ffi::c_int;
use std::net::IpAddr;

use crate::base::net::Family;
use crate::container::api::block::{Block, Item};
use crate::container::api::{Answer, context, sockets, tcp};
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

pub(crate) const BLOCK: Block = Block {
    name: "dns",
    summary: "Addresses of names.",
    about: "Needs `permissions.connect` with a rule for the name (`\"tcp:example.org:443\"`, `\"udp:*.example.org:*\"`): who \
            looks a name up tells its servers something. Asks what the machine asks, its `hosts` file included. One \
            look-up takes one of `limits.sockets` meanwhile.",
    types: "export type LookupOptions = { family: (\"ipv4\" | \"ipv6\")?, seconds: number? }",
    items: &[Item {
        name: "lookup",
        luau: "(name: string, options: LookupOptions?) -> ({ string }?, string?)",
        about: "Waits for the addresses of a name, the preferred one first; an address is its own. Nil and a reason if there \
                are none, or the time is over.",
    }],
    example: include_str!("examples/dns.luau"),
    natives: &[
        ("addresses_of", addresses_of),
        ("close", tcp::close),
        ("fail", context::fail),
        ("is_address", is_address),
        ("start", start),
        ("state", tcp::state),
    ],
    code: include_str!("dns.luau"),
};

fn family(arguments: &Arguments<'_>, at: c_int) -> Result<Family, String> {
    if arguments.is_nil(at) {
        return Ok(Family::Any);
    }
    match arguments.bytes(at, "family")? {
        b"ipv4" => Ok(Family::V4),
        b"ipv6" => Ok(Family::V6),
        _ => Err("the family is \"ipv4\" or \"ipv6\"; nil for both".to_owned()),
    }
}

/// `is_address(name)`.
fn is_address(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Truth(tcp::text(arguments, 1, "name")?.parse::<IpAddr>().is_ok()))
}

/// `start(name, family?)`: the look-up's number.
fn start(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (name, family) = (tcp::text(arguments, 1, "name")?, family(arguments, 2)?);
    sockets::resolve(host, name, family).map(|number| Answer::Number(f64::from(number)))
}

/// `addresses_of(name, family?)`: what was found last, as a list.
fn addresses_of(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (name, family) = (tcp::text(arguments, 1, "name")?, family(arguments, 2)?);
    let sockets = host.sockets.borrow();
    let wanted = |address: &&IpAddr| match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    };
    let addresses = sockets.names.addresses(name).iter().filter(wanted);
    Ok(Answer::List(addresses.map(|address| tcp::address_answer(*address)).collect()))
}

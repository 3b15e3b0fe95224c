//! The network around a node, as test scripts play it.

use std::net::{IpAddr, SocketAddr};

use mlua::{IntoLua, Lua, LuaString, MultiValue, Value};

use super::values::{with_host, wrong};
use super::{SharedHost, TestHost};

/// What a script does with the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetOp {
    /// A name has these addresses.
    SetName(String, Vec<IpAddr>),
    /// Open a stream to a port of the node.
    Connect {
        /// From where; port 0 for any.
        from: SocketAddr,
        /// To where.
        to: SocketAddr,
    },
    /// Listen where modules may connect to.
    Listen(SocketAddr),
    /// Take a stream that a module opened.
    Accept(u32),
    /// Write to a stream.
    Write(u32, Vec<u8>),
    /// What came by a stream, and whether there is more to come.
    Read(u32),
    /// Write nothing more.
    Finish(u32),
    /// Close; reset if the flag is set.
    Close(u32, bool),
    /// Open a UDP socket.
    Bind(SocketAddr),
    /// Send a datagram.
    Send(u32, SocketAddr, Vec<u8>),
    /// Take the next datagram.
    Receive(u32),
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetAnswer {
    /// Nothing.
    Nothing,
    /// A socket.
    Socket(u32),
    /// It could not be opened; why.
    Failed(String),
    /// What came by a stream, and why nothing more comes if that is so.
    Bytes(Vec<u8>, Option<String>),
    /// A datagram.
    Datagram(SocketAddr, Vec<u8>),
}

/// Adds the functions for the network to the table that the library of test scripts builds on.
pub(super) fn add(lua: &Lua, host: &SharedHost, table: &mlua::Table) -> mlua::Result<()> {
    let set = |name: &str, function: mlua::Function| table.set(name, function);
    set(
        "set_name",
        with_host(lua, host, |lua, host, (node, name, addresses): (usize, String, Vec<String>)| {
            let addresses = addresses.iter().map(|text| address(text)).collect::<mlua::Result<_>>()?;
            ask(lua, host, node, NetOp::SetName(name, addresses))
        })?,
    )?;
    set(
        "connect",
        with_host(lua, host, |lua, host, (node, from, to, port): (usize, String, String, u16)| {
            let from = match from.parse() {
                Ok(from) => from,
                Err(_) => SocketAddr::new(address(&from)?, 0),
            };
            ask(lua, host, node, NetOp::Connect { from, to: SocketAddr::new(address(&to)?, port) })
        })?,
    )?;
    set("listen", at_address(lua, host, NetOp::Listen)?)?;
    set("bind", at_address(lua, host, NetOp::Bind)?)?;
    set("accept", on_socket(lua, host, NetOp::Accept)?)?;
    set("read", on_socket(lua, host, NetOp::Read)?)?;
    set("finish", on_socket(lua, host, NetOp::Finish)?)?;
    set("receive", on_socket(lua, host, NetOp::Receive)?)?;
    set(
        "close",
        with_host(lua, host, |lua, host, (node, socket, abort): (usize, u32, bool)| {
            ask(lua, host, node, NetOp::Close(socket, abort))
        })?,
    )?;
    set(
        "write",
        with_host(lua, host, |lua, host, (node, socket, bytes): (usize, u32, LuaString)| {
            ask(lua, host, node, NetOp::Write(socket, bytes.as_bytes().to_vec()))
        })?,
    )?;
    set(
        "send_to",
        with_host(lua, host, |lua, host, (node, socket, bytes, to, port): (usize, u32, LuaString, String, u16)| {
            let to = SocketAddr::new(address(&to)?, port);
            ask(lua, host, node, NetOp::Send(socket, to, bytes.as_bytes().to_vec()))
        })?,
    )
}

fn at_address(lua: &Lua, host: &SharedHost, op: fn(SocketAddr) -> NetOp) -> mlua::Result<mlua::Function> {
    with_host(lua, host, move |lua, host, (node, at, port): (usize, String, u16)| {
        ask(lua, host, node, op(SocketAddr::new(address(&at)?, port)))
    })
}

fn on_socket(lua: &Lua, host: &SharedHost, op: fn(u32) -> NetOp) -> mlua::Result<mlua::Function> {
    with_host(lua, host, move |lua, host, (node, socket): (usize, u32)| ask(lua, host, node, op(socket)))
}

fn address(text: &str) -> mlua::Result<IpAddr> {
    text.parse().map_err(|_| wrong(format!("\"{text}\" is no address; write \"192.0.2.1\" or \"2001:db8::1\"")))
}

fn ask(lua: &Lua, host: &mut dyn TestHost, node: usize, op: NetOp) -> mlua::Result<MultiValue> {
    let text = |bytes: &[u8]| lua.create_string(bytes).map(Value::String);
    let values = match host.net(node, op).map_err(wrong)? {
        NetAnswer::Nothing => vec![],
        NetAnswer::Socket(number) => vec![number.into_lua(lua)?],
        NetAnswer::Failed(reason) => vec![Value::Nil, text(reason.as_bytes())?],
        NetAnswer::Bytes(bytes, ended) => vec![text(&bytes)?, ended.into_lua(lua)?],
        NetAnswer::Datagram(from, bytes) => {
            vec![text(&bytes)?, from.ip().to_string().into_lua(lua)?, from.port().into_lua(lua)?]
        }
    };
    Ok(MultiValue::from_vec(values))
}

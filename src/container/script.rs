//! Runs the test scripts of a module. They get a sandboxed VM of their own, not that of the module: what they send
//! goes through a whole node, which a [`TestHost`] drives.

mod machine;
mod net;
mod values;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value, VmState};

use crate::base::limits::{SCRIPT_CASES_MAX, SCRIPT_MEMORY_BYTES_MAX, SCRIPT_SAFEPOINTS_MAX};
use crate::base::machine::MachineFacts;
use crate::container::api::effects::one_line;
use crate::container::source::ModuleSource;

pub use self::net::{NetAnswer, NetOp};

/// Bytes of the name of a case; longer ones are cut.
const CASE_NAME_BYTES_MAX: usize = 200;

/// What a test script does with nodes. Each node runs the module under test, on virtual time, between two links.
pub trait TestHost {
    /// Makes a node and loads the module with these properties; with another of its files as its entry, if one is given.
    /// Returns the node's number.
    ///
    /// # Errors
    ///
    /// Why the module was not loaded.
    fn new_node(&mut self, entry: Option<String>, properties: toml::Table) -> Result<usize, String>;
    /// Makes a packet.
    ///
    /// # Errors
    ///
    /// What is wrong with its description.
    fn build(&mut self, spec: &PacketSpec) -> Result<Vec<u8>, String>;
    /// Takes a packet apart.
    ///
    /// # Errors
    ///
    /// Why it is no packet.
    fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, String>;
    /// Feeds a packet; `from_back` says that it comes in by the second link.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    fn send(&mut self, node: usize, bytes: Vec<u8>, from_back: bool) -> Result<Sent, String>;
    /// Lets time pass. Returns the packets that the module sent meanwhile.
    ///
    /// # Errors
    ///
    /// When there is no such node, or it never comes to rest.
    fn advance(&mut self, node: usize, by: Duration) -> Result<Vec<Leaving>, String>;
    /// The module's counters.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    fn counters(&mut self, node: usize) -> Result<Vec<(String, u64)>, String>;
    /// How many packets the module's handler saw, and for how many a native rule answered.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    fn packets_seen(&mut self, node: usize) -> Result<(u64, u64), String>;
    /// The module's report.
    ///
    /// # Errors
    ///
    /// When there is no such node, or the module fails.
    fn report(&mut self, node: usize) -> Result<serde_json::Value, String>;
    /// What the module logged since the last call: level and text.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    fn log(&mut self, node: usize) -> Result<Vec<(String, String)>, String>;
    /// What the module did wrong since the last call.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    fn faults(&mut self, node: usize) -> Result<Vec<String>, String>;
    /// The machine that the node runs on is so from now on; the module is told what is not as it was.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    fn set_machine(&mut self, node: usize, facts: MachineFacts) -> Result<(), String>;
    /// Does something in the network around the node, and lets the node come to rest.
    ///
    /// # Errors
    ///
    /// When there is no such node, something has no room, or the node never comes to rest.
    fn net(&mut self, node: usize, op: NetOp) -> Result<NetAnswer, String>;
    /// Unloads the module.
    ///
    /// # Errors
    ///
    /// When there is no such node, or the module is not loaded.
    fn unload(&mut self, node: usize) -> Result<(), String>;
    /// Forgets all nodes. Returns the faults that nobody asked for.
    fn end_case(&mut self) -> Vec<String>;
}

/// What kind of packet to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// A UDP datagram.
    Udp,
    /// A TCP segment.
    Tcp,
    /// An ICMP or ICMPv6 echo request.
    IcmpEcho,
    /// An ICMP or ICMPv6 echo reply.
    IcmpEchoReply,
}

/// A packet as test scripts describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketSpec {
    /// What it is.
    pub kind: PacketKind,
    /// Source address, with its port for UDP and TCP.
    pub from: (IpAddr, u16),
    /// Destination address, with its port for UDP and TCP.
    pub to: (IpAddr, u16),
    /// What it carries.
    pub payload: Vec<u8>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TCP flags as letters of "FSRPAUEC".
    pub flags: String,
    /// TCP sequence number; of an echo its sequence number.
    pub seq: u32,
    /// TCP acknowledgement number.
    pub ack: u32,
    /// Identifier of an echo.
    pub id: u16,
}

/// A packet that left a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// From the IP header on.
    pub bytes: Vec<u8>,
    /// Whether it left by the link by which the last packet came.
    pub back: bool,
}

/// What became of a packet that a test sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// "pass", "drop" or "reply".
    pub verdict: &'static str,
    /// The drop reason's name.
    pub reason: Option<&'static str>,
    /// Whether it left with other bytes than it came with.
    pub changed: bool,
    /// What left the node: the packet itself, if it goes on or back, and then what the module sent.
    pub packets: Vec<Leaving>,
}

/// A packet taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// 4 or 6.
    pub ip_version: u8,
    /// The transport's name.
    pub protocol: String,
    /// Source address, with its port if it has one.
    pub from: String,
    /// Destination address, with its port if it has one.
    pub to: String,
    /// The transport's payload.
    pub payload: Vec<u8>,
    /// Whether the checksums of IP header and transport are right.
    pub checksum_ok: bool,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TCP flags as letters of "FSRPAUEC"; only of TCP.
    pub flags: Option<String>,
    /// TCP sequence and acknowledgement number.
    pub numbers: Option<(u32, u32)>,
}

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    /// The script's path.
    pub file: String,
    /// The case's name; empty for what went wrong outside of all cases.
    pub name: String,
    /// Why it failed; `None` if it did not.
    pub failure: Option<String>,
}

/// Runs the script at `path`, and all cases in it.
///
/// One case that fails does not keep the others from running. Scripts are stopped when they run for too long.
pub fn run(source: &ModuleSource, path: &str, host: Box<dyn TestHost>) -> Vec<CaseResult> {
    let failed =
        |name: &str, text: String| CaseResult { file: path.to_owned(), name: name.to_owned(), failure: Some(text) };
    let host = Rc::new(RefCell::new(host));
    let script = match Script::new(source, Rc::clone(&host)) {
        Ok(script) => script,
        Err(error) => return vec![failed("", text_of(&error))],
    };
    if let Err(error) = script.loader.load(&script.lua, path) {
        return vec![failed("", text_of(&error))];
    }
    let cases = match script.cases() {
        Ok(cases) if cases.is_empty() => {
            return vec![failed("", "there is no test.case(name, function) in it".to_owned())];
        }
        Ok(cases) => cases,
        Err(error) => return vec![failed("", text_of(&error))],
    };
    let mut results = Vec::with_capacity(cases.len());
    for (name, case) in cases {
        script.safepoints.set(0);
        let result = case.call::<()>(());
        let faults = host.borrow_mut().end_case();
        let failure = match result {
            Err(error) if faults.is_empty() => Some(text_of(&error)),
            // More often than not they are why.
            Err(error) => Some(format!("{}\nthe module failed before: {}", text_of(&error), faults.join("; "))),
            Ok(()) if !faults.is_empty() => {
                Some(format!("the module failed, and the case did not ask for node:faults(): {}", faults.join("; ")))
            }
            Ok(()) => None,
        };
        results.push(CaseResult { file: path.to_owned(), name, failure });
        let _ = script.lua.gc_collect();
    }
    results
}

/// One script's VM.
struct Script {
    lua: Lua,
    loader: Loader,
    cases: Table,
    safepoints: Rc<Cell<u64>>,
}

type SharedHost = Rc<RefCell<Box<dyn TestHost>>>;

impl Script {
    fn new(source: &ModuleSource, host: SharedHost) -> mlua::Result<Script> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::BIT | StdLib::UTF8 | StdLib::BUFFER;
        let lua = Lua::new_with(libraries | StdLib::COROUTINE, LuaOptions::default())?;
        for name in ["require", "loadstring", "getfenv", "setfenv", "newproxy", "collectgarbage", "gcinfo", "print"] {
            lua.globals().set(name, Value::Nil)?;
        }
        let host = values::host_table(&lua, host)?;
        let library =
            lua.load(include_str!("script/library.luau")).set_name("=@netserv/test").set_mode(ChunkMode::Text);
        let (library, cases) = library.call::<(Table, Table)>((host, SCRIPT_CASES_MAX))?;
        lua.sandbox(true)?;
        lua.set_memory_limit(SCRIPT_MEMORY_BYTES_MAX)?;
        let safepoints = Rc::new(Cell::new(0));
        let count = Rc::clone(&safepoints);
        lua.set_interrupt(move |_| {
            count.set(count.get() + 1);
            if count.get() > SCRIPT_SAFEPOINTS_MAX {
                return Err(mlua::Error::runtime("the script runs for too long: an endless loop?"));
            }
            Ok(VmState::Continue)
        });
        Ok(Script { loader: Loader::new(source, library), lua, cases, safepoints })
    }

    fn cases(&self) -> mlua::Result<Vec<(String, Function)>> {
        let read = |case: Table| {
            let name = case.get::<mlua::LuaString>("name")?;
            Ok((one_line(&name.as_bytes(), CASE_NAME_BYTES_MAX), case.get::<Function>("run")?))
        };
        self.cases.sequence_values::<Table>().map(|case| read(case?)).collect()
    }
}

/// `require` of test scripts: the test library, and other files of the module.
#[derive(Clone)]
struct Loader {
    files: Rc<BTreeMap<String, Vec<u8>>>,
    library: Table,
    loaded: Rc<RefCell<BTreeMap<String, Option<Value>>>>,
}

impl Loader {
    fn new(source: &ModuleSource, library: Table) -> Loader {
        Loader { files: Rc::new(source.files.clone()), library, loaded: Rc::default() }
    }

    /// Runs the file at `path` once, and returns what it returned.
    fn load(&self, lua: &Lua, path: &str) -> mlua::Result<Value> {
        match self.loaded.borrow().get(path) {
            Some(Some(value)) => return Ok(value.clone()),
            Some(None) => return Err(mlua::Error::runtime(format!("{path} requires itself"))),
            None => {}
        }
        let bytes = self.files.get(path).ok_or_else(|| mlua::Error::runtime(format!("there is no file {path}")))?;
        self.loaded.borrow_mut().insert(path.to_owned(), None);
        let environment = lua.create_table()?;
        let (loader, from) = (self.clone(), path.to_owned());
        let require = lua.create_function(move |lua, name: String| loader.require(lua, &from, &name))?;
        environment.raw_set("require", require)?;
        let meta = lua.create_table()?;
        meta.raw_set("__index", lua.globals())?;
        environment.set_metatable(Some(meta))?;
        let chunk = lua.load(bytes.as_slice()).set_name(format!("={path}")).set_mode(ChunkMode::Text);
        let value: Value = chunk.set_environment(environment).call(())?;
        self.loaded.borrow_mut().insert(path.to_owned(), Some(value.clone()));
        Ok(value)
    }

    fn require(&self, lua: &Lua, from: &str, name: &str) -> mlua::Result<Value> {
        if name == "@netserv/test" {
            return Ok(Value::Table(self.library.clone()));
        }
        if !(name.starts_with("./") || name.starts_with("../")) {
            return Err(mlua::Error::runtime(format!(
                "require(\"{name}\"): a test may require \"@netserv/test\", and files of the module such as \"./part\" \
                 or \"../part\"; \"@netserv\" is there only inside of the module"
            )));
        }
        let mut parts: Vec<&str> = from.split('/').collect();
        parts.pop();
        for part in name.split('/') {
            match part {
                "." => {}
                ".." if parts.pop().is_none() => {
                    return Err(mlua::Error::runtime(format!("require(\"{name}\") leads out of the module")));
                }
                ".." => {}
                part => parts.push(part),
            }
        }
        self.load(lua, &format!("{}.luau", parts.join("/")))
    }
}

/// What an error says, without the way it took through Rust and Luau.
fn text_of(error: &mlua::Error) -> String {
    let mut error = error.clone();
    while let mlua::Error::CallbackError { cause, .. } = error {
        error = (*cause).clone();
    }
    let text = if let mlua::Error::RuntimeError(text) = &error { text.clone() } else { error.to_string() };
    let text = text.split("\nstack traceback:").next().unwrap_or_default();
    let text = text.strip_prefix("runtime error: ").unwrap_or(text);
    // It goes to a terminal, which must not take it for commands.
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;

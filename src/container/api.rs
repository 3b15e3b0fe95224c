//! What modules may call: the functions behind `ctx`, `packet` and `require("@netserv")`.
//!
//! The tables that modules see are written in Luau (`*.luau` beside the Rust files); what Luau cannot do itself they
//! call here. All of it is safe code: the VM converts arguments and answers.

use crate::base::stats::DropReason;
use crate::container::services::Copied;
use crate::container::surroundings::FlowRecord;
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

pub(crate) mod address;
pub(crate) mod block;
pub(crate) mod bytes;
pub(crate) mod context;
pub(crate) mod crypto;
pub(crate) mod dns;
pub(crate) mod effects;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod json;
pub(crate) mod kv;
pub(crate) mod library;
pub(crate) mod lru;
pub(crate) mod measure;
pub(crate) mod metrics;
pub(crate) mod names;
pub(crate) mod node;
pub(crate) mod packets;
pub(crate) mod service;
pub(crate) mod signal;
pub(crate) mod sockets;
pub(crate) mod task;
pub(crate) mod tcp;
pub(crate) mod timers;
pub(crate) mod tls;
pub(crate) mod udp;
pub(crate) mod watches;

/// What a native function gives back to Luau.
pub(crate) enum Answer {
    Nil,
    Number(f64),
    Truth(bool),
    Bytes(Vec<u8>),
    /// A table of values.
    List(Vec<Answer>),
    /// A table of values by name.
    Record(Vec<(&'static str, Answer)>),
    /// Several values, at most [`SEVERAL_MAX`]; not within others.
    Several(Vec<Answer>),
    /// A table, or any value that JSON knows; tables are frozen.
    Value(serde_json::Value),
    /// What another VM, or an earlier version of the module, gave away; tables can be changed.
    Copied(Copied),
    /// What JSON text says: tables that can be changed, null as a value of its own. The native's second argument is the
    /// metatable of empty objects.
    Json(serde_json::Value),
    Flow(FlowRecord),
    Flows(Vec<FlowRecord>),
}

/// Values that a native returns at once, at most.
pub(crate) const SEVERAL_MAX: usize = 8;

/// A function that the Luau side calls. Its error is raised in the name of the module's line that led here.
pub(crate) type Native = fn(&Host, &Arguments<'_>) -> Result<Answer, String>;

/// All native functions by the names that the Luau side uses.
pub(crate) const NATIVES: &[(&str, Native)] = &[
    ("address_bytes", library::address_bytes),
    ("address_text", library::address_text),
    ("cancel", context::cancel),
    ("charge", context::charge),
    ("config", context::config),
    ("exported", context::exported),
    ("fail", context::fail),
    ("find_bytes", packets::find_bytes),
    ("flow", context::flow),
    ("flow_end", context::flow_end),
    ("flows", context::flows),
    ("from_hex", library::from_hex),
    ("hex", library::hex),
    ("imported", context::imported),
    ("inject", context::inject),
    ("json", library::json),
    ("log", context::log),
    ("now", context::now),
    ("random", context::random),
    ("report", context::report),
    ("resolve", library::resolve),
    ("settings", context::settings),
    ("stop_reason", context::stop_reason),
    ("timer", context::timer),
    ("task_failed", task::failed),
    ("task_ready", task::ready),
    ("wall_time", context::wall_time),
];

/// The files of the Luau side that put guards around library functions, before the library tables are frozen. The second
/// one counts the work of such functions, where time is virtual. As all files of the Luau side they get the natives and a
/// table that all share.
pub(crate) const GUARDS: &[&str] = &[include_str!("api/guards.luau"), include_str!("api/counting.luau")];

/// The files of the Luau side that every VM has, in the order in which they run.
pub(crate) const PRELUDE: &[&str] =
    &[include_str!("api/library.luau"), include_str!("api/context.luau"), include_str!("api/lifecycle.luau")];

/// The files of the Luau side that are loaded when they are used, so that a VM without them stays small.
pub(crate) const PARTS: &[(&str, &str)] =
    &[("packet", include_str!("api/packet.luau")), ("task", include_str!("api/task.luau"))];

/// The sentence for a malformed packet.
pub(crate) fn malformed(reason: DropReason) -> String {
    format!("the packet is malformed ({}): {}", reason.name(), reason.meaning().trim())
}

//! A node of a programmable network.
//!
//! ```text
//!  TUN / pcap / pcap file / simulated link
//!       v
//!  packet (in the driver's buffer, with its link and the time) --parse once--> header    wire
//!       |
//!  flow cache --hit--> chain of hooks      (miss: match the filters once, remember)      node
//!       |                   |
//!       |                   +-- native rule of a module (pass, drop, count): no Luau
//!       |                   +-- a module's packet handler (Luau): pass / drop / changed / reply   container
//!       v
//! ```
//!
//! The folders are layers; each may use only those named for it in `tests/tidy.rs`, none below it.
//!
//! # The loop contract
//!
//! A [`node::Node`] owns no descriptor and reads no clock. A driver
//!
//! 1. gives it one input with the time: [`node::Node::packet`] for a packet where the driver read it, or
//!    [`node::Node::handle`] for anything else;
//! 2. calls [`node::Node::poll`] until it answers [`node::Output::Idle`];
//! 3. waits for the next input, at most until the deadline that came with it, and then gives
//!    [`node::Input::Wakeup`].
//!
//! The same node, byte for byte, runs over real links, over simulated ones, and on a pcap file.

pub mod base;
pub mod blocks;
pub mod cli;
pub mod container;
pub mod controller;
pub mod dashboard;
pub mod drivers;
pub mod node;
pub mod signaling;
pub mod wire;

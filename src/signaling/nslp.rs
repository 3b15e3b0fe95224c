//! The NetServ application of GIST: sets up, refreshes, probes and removes modules on the nodes of a path.
//!
//! A request travels from its initiator along the path, from node to node of the application. Each node says at once
//! where it is, and answers by itself, against the path; the nodes between pass answers on. A node whose search for a
//! next one finds nobody is the last. The initiator repeats its request until it knows the last node and has all answers
//! up to there. Messages may be lost, come twice, or in another order: what goes back as a datagram is acknowledged hop by
//! hop, what goes forth is acknowledged by what comes back.

pub mod api;
mod initiator;
mod machine;
mod node;
mod order;
mod relay;
mod room;
mod route;
mod session;
pub mod stats;

pub use machine::{NetservNslp, NslpConfig};

#[cfg(test)]
mod tests;

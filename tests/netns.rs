//! End to end: the real program, in network namespaces of our own, with real traffic.
//!
//! Needs root, a TUN device and a few programs; what is missing skips a test and says so, or fails it where
//! `NETSERV_REQUIRE_ALL=1` is set. Nothing outside of the namespaces is touched; they and all processes in them are
//! removed at the end, also after a panic.

#![cfg(all(target_os = "linux", feature = "live"))]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test in real time: what fails must stop it, and say why"
)]

#[path = "netns/death.rs"]
mod death;
#[path = "netns/forwarded.rs"]
mod forwarded;
#[path = "netns/inline.rs"]
mod inline;

#[path = "netns/machine.rs"]
mod machine;
#[path = "netns/masquerade.rs"]
mod masquerade;
#[path = "netns/own.rs"]
mod own;
#[path = "netns/paths.rs"]
mod paths;
#[path = "netns/signaling.rs"]
mod signaling;
#[path = "netns/traffic.rs"]
mod traffic;
#[path = "netns/world.rs"]
mod world;

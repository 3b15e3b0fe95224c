//! Signalling between real nodes on virtual time: discovery, set-up, loss, reroutes, restarts, floods.

#![expect(clippy::unwrap_used, reason = "a test: what fails must stop it, and say why")]

mod order;
mod path;
mod storm;
mod world;

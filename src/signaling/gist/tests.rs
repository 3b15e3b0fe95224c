//! The machine's behaviour, as transcripts of what several of them tell each other.

mod associations;
mod bounds;
mod errors;
mod handshake;
mod interception;
mod rerouting;
mod rules;
mod world;

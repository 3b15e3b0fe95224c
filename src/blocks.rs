//! Building blocks: pure state machines and codecs behind `require("@netserv/...")`. No Luau type, no socket, no clock.

pub mod address;
pub mod files;
pub mod hash;
pub mod http;
pub mod image;
pub mod metrics;

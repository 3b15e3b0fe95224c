//! The only loops: each gives a node its inputs, drains its outputs, and knows what time it is.

pub mod key_file;
pub mod listening;
#[cfg(all(unix, feature = "live"))]
pub mod live;
pub mod loopback_net;
pub mod modtest;
pub mod module_dir;
pub mod module_new;
pub mod packing;
pub mod page_server;
pub mod publisher;
pub mod replay;
pub mod safe_file;
pub mod scenario;
pub mod sim;

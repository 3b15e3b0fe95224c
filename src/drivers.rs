//! The only loops: each gives a node its inputs, drains its outputs, and knows what time it is.

#[cfg(all(unix, feature = "live"))]
pub mod live;
pub mod module_dir;
pub mod replay;

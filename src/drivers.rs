//! The only loops: each gives a node its inputs, drains its outputs, and knows what time it is.

pub mod demo;
pub mod modtest;
pub mod module_dir;
pub mod module_new;
pub mod replay;

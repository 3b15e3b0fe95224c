//! The loops around a node, and what they read and write: links, files, folders.

pub mod modtest;
pub mod module_dir;
pub mod module_new;

//! Views of a node as data.

pub mod status;

//! Views of a node as data, and as text.

pub mod metrics;
pub mod path;
pub mod scene;
pub mod status;
pub mod table;
pub mod usage;

//! Views of a node as data, as text, and as a page.

pub mod fold;
pub mod metrics;
pub mod node_view;
pub mod page;
pub mod path;
pub mod scene;
pub mod status;
pub mod table;
pub mod usage;

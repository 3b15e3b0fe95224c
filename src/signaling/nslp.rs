//! The NetServ application of GIST: sets up, refreshes, probes and removes modules on the nodes of a path.

pub mod api;

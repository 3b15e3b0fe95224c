//! Which modules run, and keeping them so: loading, faults, restarts.

pub mod instances;

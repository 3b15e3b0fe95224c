//! Which modules run, and keeping them so.
//!
//! [`instances`] holds what runs: loading, faults, restarts. The controller decides on signed requests
//! by the owner's trust ([`trust`]), has packages fetched, and keeps what it had loaded for as long as
//! it was asked for.

mod admission;
pub mod api;
pub mod budget;
mod fetches;
pub mod instances;
pub mod ledger;
pub mod machine;
pub mod meter;
mod nonces;
mod stored;
pub mod trust;
pub mod url;

pub use machine::{Controller, Ended};

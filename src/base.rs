//! Words everyone shares: time, ids, packets, limits and counters. Depends on nothing else in the tree.

pub mod amount;
pub mod crypto;
pub mod date;
pub mod filter;
pub mod id;
pub mod limits;
pub mod machine;
pub mod net;
pub mod packet;
pub mod rng;
pub mod stats;
pub mod storage;
pub mod text;
pub mod time;
pub mod timer;

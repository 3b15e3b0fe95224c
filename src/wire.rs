//! Codecs without state, one file per format.

pub mod checksum;
pub mod frame;
pub mod header;

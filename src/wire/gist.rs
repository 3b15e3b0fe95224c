//! Messages of GIST, the General Internet Signalling Transport (RFC 5971, appendix A): a codec without state.

mod decode;
pub mod error;
pub mod header;
pub mod message;
pub mod mri;
pub mod object;
pub mod stack;
#[cfg(test)]
mod testing;

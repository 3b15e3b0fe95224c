//! NSIS signalling: GIST, and the NetServ application on top of it.

pub mod gist;
pub mod io;
pub mod nslp;

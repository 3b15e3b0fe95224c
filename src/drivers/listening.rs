//! Why a server does not listen, the same sentence for each kind of server.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// A server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}{}", remedy(error))]
pub struct ListenError {
    /// Where it was to be.
    pub address: SocketAddr,
    /// What the system says.
    pub error: io::Error,
}

fn remedy(error: &io::Error) -> &'static str {
    const REMEDIES: &[(ErrorKind, &str)] = &[
        (ErrorKind::AddrInUse, "; take another port, or 0 for any that is free"),
        (ErrorKind::PermissionDenied, "; take a port from 1024 on"),
        (ErrorKind::AddrNotAvailable, "; this machine has no such address"),
    ];
    REMEDIES.iter().find(|(kind, _)| *kind == error.kind()).map_or("", |(_, remedy)| remedy)
}

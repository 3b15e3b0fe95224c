//! Systems that are not asked yet.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use super::{Changed, Interface, Neighbour, RouteEntry};

pub(super) fn interfaces() -> io::Result<Vec<Interface>> {
    Err(ErrorKind::Unsupported.into())
}

pub(super) fn neighbours(_: usize) -> io::Result<Vec<Neighbour>> {
    Err(ErrorKind::Unsupported.into())
}

pub(super) fn routes(_: usize) -> io::Result<Vec<RouteEntry>> {
    Err(ErrorKind::Unsupported.into())
}

/// There is none.
pub(super) enum Changes {}

impl Changes {
    pub(super) fn open() -> io::Result<Changes> {
        Err(ErrorKind::Unsupported.into())
    }

    pub(super) fn take(&mut self) -> Changed {
        match *self {}
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}

//! Who runs this program, and who is at the other end of a local socket.

use std::io;
use std::os::fd::AsFd;

/// The user whose rights this process has.
#[must_use]
pub fn current() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The user at the other end of a connected local socket.
///
/// # Errors
///
/// When the kernel does not tell.
#[cfg(target_os = "linux")]
pub fn of_peer(socket: impl AsFd) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(socket)?.uid.as_raw())
}

/// The user at the other end of a connected local socket.
///
/// # Errors
///
/// When the kernel does not tell.
#[cfg(not(target_os = "linux"))]
#[expect(unsafe_code, reason = "getpeereid has no safe wrapper")]
pub fn of_peer(socket: impl AsFd) -> io::Result<u32> {
    use std::os::fd::AsRawFd;
    let (mut user, mut group) = (0, 0);
    // SAFETY: the descriptor is open while it is borrowed, and both pointers are to variables that outlive the call.
    match unsafe { libc::getpeereid(socket.as_fd().as_raw_fd(), &raw mut user, &raw mut group) } {
        0 => Ok(user),
        _ => Err(io::Error::last_os_error()),
    }
}

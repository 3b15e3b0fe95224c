//! What a thread beside the loop must not cost the loop.

/// Gives the calling thread a table of file descriptors of its own, which holds only standard input, output and error.
///
/// While two threads share a table, the kernel takes a reference with each read and write of either: 4 % of a packet,
/// measured on a bare loop in C. Where the system cannot do it (Linux before 5.9, other systems) nothing happens.
#[cfg_attr(target_os = "linux", expect(unsafe_code, reason = "the C library has no safe form of close_range"))]
pub fn leave_descriptors() {
    #[cfg(target_os = "linux")]
    {
        const FIRST: libc::c_uint = 3;
        // SAFETY: with this flag the call first copies the table, so only this thread's copies are closed; what the
        // thread runs uses no descriptor above standard error.
        let _ = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) };
    }
}

/// CPU time of the calling thread, in ns; where the system does not count it, the time that has passed.
#[must_use]
pub fn cpu_ns() -> u64 {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
    }
    #[cfg(not(unix))]
    {
        static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        let began = BEGAN.get_or_init(std::time::Instant::now);
        u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_thread_that_works_uses_cpu_time() {
        let began = super::cpu_ns();
        while super::cpu_ns() - began < 2_000_000 {}
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_that_left_the_descriptors_holds_none_of_them_open() {
        use std::io::{Read, Write};
        use std::os::unix::net::UnixStream;

        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            super::leave_descriptors();
            tell.send(()).unwrap();
            let _ = ended.recv();
        });
        told.recv().unwrap();
        (&theirs).write_all(b"x").unwrap();
        drop(theirs);
        let mut all = Vec::new();
        ours.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        ours.read_to_end(&mut all).expect("the far end is closed, as the other thread has no copy of it");
        assert_eq!(all, b"x");
        drop(end);
        thread.join().unwrap();
    }
}

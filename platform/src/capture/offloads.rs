//! Segmentation and checksum offloads of an interface: off while the node uses it inline, and then as they were.
//!
//! With them on, the capture library sees packets that no network card would send: of 64 KiB, or with checksums that are
//! still to be completed. A frame of more than the MTU cannot be sent on, and TCP stalls.
#![expect(unsafe_code, reason = "the ioctl of ethtool has no safe wrapper")]

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketType};

/// An offload: its name in `ethtool -K`, and the commands that read and write it (linux/ethtool.h).
struct Offload {
    name: &'static str,
    read: u32,
    write: u32,
}

/// Those that matter, in the order in which they are switched off; on again in the other order, since segmentation
/// needs the checksum.
const OFFLOADS: &[Offload] = &[
    Offload { name: "tso", read: 0x1e, write: 0x1f },
    Offload { name: "gso", read: 0x23, write: 0x24 },
    Offload { name: "gro", read: 0x2b, write: 0x2c },
    Offload { name: "tx", read: 0x16, write: 0x17 },
];

/// `ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Offloads that were switched off; on again when this is dropped.
#[derive(Debug)]
pub struct OffloadsOff {
    interface: String,
    names: Vec<String>,
    journal: PathBuf,
}

impl OffloadsOff {
    /// Switches off what is on. What it does is first written into a file of `folder`, so that [`restore_left_behind`]
    /// finds it after a crash.
    ///
    /// # Errors
    ///
    /// When the file cannot be written. Offloads that cannot be switched are left as they are; see
    /// [`OffloadsOff::still_on`].
    pub fn apply(interface: &str, folder: &Path) -> io::Result<OffloadsOff> {
        let names: Vec<String> = on(interface).into_iter().map(str::to_owned).collect();
        let journal = folder.join(format!("{}{interface}", prefix()));
        if !names.is_empty() {
            fs::create_dir_all(folder)?;
            let line = format!("{} {interface} {}\n", std::process::id(), names.join(" "));
            fs::write(&journal, line)?;
        }
        for offload in OFFLOADS.iter().filter(|o| names.iter().any(|name| name == o.name)) {
            // A card that cannot do without one stays as it is; the caller asks what is still on.
            let _ = ethtool(interface, offload.write, 0);
        }
        Ok(OffloadsOff { interface: interface.to_owned(), names, journal })
    }

    /// What was switched off, by its name in `ethtool -K`.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What could not be switched off.
    #[must_use]
    pub fn still_on(&self) -> Vec<&'static str> {
        on(&self.interface)
    }
}

impl Drop for OffloadsOff {
    fn drop(&mut self) {
        restore(&self.interface, &self.names);
        let _ = fs::remove_file(&self.journal);
        // Only if it is empty.
        let _ = self.journal.parent().map(fs::remove_dir);
    }
}

/// The offloads of `interface` that are on.
#[must_use]
pub fn on(interface: &str) -> Vec<&'static str> {
    let on = |o: &&Offload| ethtool(interface, o.read, 0).is_ok_and(|value| value != 0);
    OFFLOADS.iter().filter(on).map(|o| o.name).collect()
}

/// Switches on again what a killed node left off; says what, in a person's words.
pub fn restore_left_behind(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    let ours = prefix();
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&ours)));
    paths.sort();
    let mut done = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut words = text.split_whitespace();
        let (Some(process), Some(interface)) = (words.next(), words.next()) else { continue };
        if lives(process) {
            continue;
        }
        let names: Vec<String> = words.map(str::to_owned).collect();
        restore(interface, &names);
        let _ = fs::remove_file(&path);
        done.push(format!("offloads of {interface} on again: {}", names.join(" ")));
    }
    done
}

/// How the files of this network namespace begin: another one may have an interface of the same name.
fn prefix() -> String {
    let namespace = fs::read_link("/proc/self/ns/net").unwrap_or_default();
    let number: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    format!("offloads-{number}-")
}

/// Whether the process is there and is one of ours; its number may have been given to another program.
fn lives(process: &str) -> bool {
    let name = |process: &str| fs::read_to_string(format!("/proc/{process}/comm")).ok();
    process.parse::<u32>().is_ok() && name(process).is_some_and(|comm| Some(comm) == name("self"))
}

fn restore(interface: &str, names: &[String]) {
    for offload in OFFLOADS.iter().rev().filter(|o| names.iter().any(|name| name == o.name)) {
        let _ = ethtool(interface, offload.write, 1);
    }
}

/// Runs one command of ethtool, and answers the value.
fn ethtool(interface: &str, command: u32, data: u32) -> io::Result<u32> {
    let socket: OwnedFd = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut value = Value { command, data };
    // SAFETY: all bytes zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request holds a name that ends with a zero, and points to a value that outlives the call and is
    // large enough for the commands of `OFFLOADS`.
    match unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) } {
        0 => Ok(value.data),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_does_not_exist_has_nothing_on() {
        assert!(on("nslive-no").is_empty());
        assert!(on("a-name-that-is-far-too-long").is_empty());
    }

    #[test]
    fn a_living_process_keeps_its_journal() {
        let folder = std::env::temp_dir().join(format!("netserv-offloads-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = |name: &str| folder.join(format!("{}{name}", prefix()));
        fs::write(file("a"), format!("{} nslive-no tso\n", std::process::id())).unwrap();
        fs::write(file("b"), "4194305 nslive-no tso gro\n").unwrap();
        fs::write(folder.join("offloads-1-b"), "4194305 nslive-no tso gro\n").unwrap();
        assert_eq!(restore_left_behind(&folder), ["offloads of nslive-no on again: tso gro"]);
        assert!(file("a").exists() && !file("b").exists() && folder.join("offloads-1-b").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}

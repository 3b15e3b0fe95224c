//! What was changed on the machine, written down before it is changed, so that another process can take it back.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io, process};

const FIRST_LINE: &str = "netserv steering journal 1";
const SYSCTL_ROOT: &str = "/proc/sys";

/// One switch of the kernel that was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// Below `/proc/sys`, with slashes.
    pub(super) key: String,
    /// What it was.
    pub(super) before: String,
    /// What it was set to.
    pub(super) now: String,
}

/// The file, and what stands in it.
///
/// Rules, routes and filters need no entries: they carry numbers and names of ours. That the file exists says that
/// there may be some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Journal {
    path: PathBuf,
    /// The process that steers.
    pub(super) process: Process,
    /// In the order in which they were set; taken back in the other.
    pub(super) settings: Vec<Setting>,
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) id: u32,
    /// Start time in clock ticks since the machine started.
    started: u64,
}

impl Process {
    pub(super) fn this() -> io::Result<Process> {
        let id = process::id();
        let started = start_of(id).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Process { id, started })
    }

    pub(super) fn lives(self) -> bool {
        start_of(self.id) == Some(self.started)
    }
}

/// The 22nd field of `/proc/ID/stat`; `None` for a process that is gone or only waits to be collected.
fn start_of(id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is the name in parentheses, and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The journal's file of this network namespace.
pub(super) fn path_in(dir: &Path) -> io::Result<PathBuf> {
    Ok(dir.join(format!("steering-{}.journal", fs::metadata("/proc/self/ns/net")?.ino())))
}

impl Journal {
    pub(super) fn new(path: PathBuf) -> io::Result<Journal> {
        Ok(Journal { path, process: Process::this()?, settings: Vec::new() })
    }

    /// Reads the file; `None` if there is none.
    pub(super) fn read(path: &Path) -> io::Result<Option<Journal>> {
        match fs::read_to_string(path) {
            Ok(text) => parse(path, &text).map(Some).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "it is no journal of this version; look at it and remove it")
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Puts the file in place of the one before it, at once.
    pub(super) fn write(&self) -> io::Result<()> {
        let mut text = format!("{FIRST_LINE}\nprocess {} {}\n", self.process.id, self.process.started);
        for Setting { key, before, now } in &self.settings {
            // Keys and values of the switches that are set here hold no blanks.
            writeln!(text, "sysctl {key} {before} {now}").expect("a string takes everything");
        }
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let next = self.path.with_extension("next");
        fs::write(&next, text)?;
        fs::rename(&next, &self.path)
    }

    /// Removes the file.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Sets a switch, after it was written down what it was. Does nothing if it is so already.
    pub(super) fn set(&mut self, key: &str, now: &str) -> io::Result<bool> {
        let before = read_sysctl(key)?;
        if before == now {
            return Ok(false);
        }
        if !self.settings.iter().any(|s| s.key == key) {
            self.settings.push(Setting { key: key.to_owned(), before, now: now.to_owned() });
            self.write()?;
        }
        write_sysctl(key, now)?;
        Ok(true)
    }

    /// Puts every switch back that `keep` does not name, unless somebody else has set it meanwhile. Returns the keys.
    pub(super) fn restore(&mut self, keep: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let (mut restored, mut failed) = (Vec::new(), Ok(()));
        for idx in (0..self.settings.len()).rev() {
            let Setting { key, before, now } = &self.settings[idx];
            if keep(key) {
                continue;
            }
            match put_back(key, before, now) {
                Ok(did) => {
                    restored.extend(did.then(|| key.clone()));
                    self.settings.remove(idx);
                }
                Err(e) => failed = Err(e),
            }
        }
        failed.map(|()| restored)
    }
}

fn put_back(key: &str, before: &str, now: &str) -> io::Result<bool> {
    match read_sysctl(key) {
        Ok(value) if value == now => write_sysctl(key, before).map(|()| true),
        Ok(_) => Ok(false),
        // The interface is gone, and its switches with it.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn parse(path: &Path, text: &str) -> Option<Journal> {
    let mut lines = text.lines();
    lines.next().filter(|line| *line == FIRST_LINE)?;
    let mut words = lines.next()?.strip_prefix("process ")?.split(' ');
    let process = Process { id: words.next()?.parse().ok()?, started: words.next()?.parse().ok()? };
    let mut settings = Vec::new();
    for line in lines {
        let mut words = line.strip_prefix("sysctl ")?.split(' ').map(str::to_owned);
        let setting = Setting { key: words.next()?, before: words.next()?, now: words.next()? };
        // The file belongs to root; all the same it names nothing outside of the switches of the network.
        if !setting.key.starts_with("net/") || setting.key.split('/').any(|part| part == "..") {
            return None;
        }
        settings.push(setting);
    }
    Some(Journal { path: path.to_owned(), process, settings })
}

/// The value of a switch, for example of `net/ipv4/ip_forward`.
pub(super) fn read_sysctl(key: &str) -> io::Result<String> {
    Ok(fs::read_to_string(Path::new(SYSCTL_ROOT).join(key))?.trim().to_owned())
}

pub(super) fn write_sysctl(key: &str, value: &str) -> io::Result<()> {
    fs::write(Path::new(SYSCTL_ROOT).join(key), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_read_as_it_was_written() {
        let dir = std::env::temp_dir().join(format!("netserv-journal-{}", process::id()));
        let mut journal = Journal::new(dir.join("steering-1.journal")).unwrap();
        journal.settings.push(Setting {
            key: "net/ipv4/tcp_early_demux".to_owned(),
            before: "1".to_owned(),
            now: "0".to_owned(),
        });
        journal.write().unwrap();
        assert_eq!(Journal::read(journal.path()).unwrap().as_ref(), Some(&journal));
        assert!(journal.process.lives());
        journal.remove().unwrap();
        assert_eq!(Journal::read(journal.path()).unwrap(), None);
        fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn a_journal_names_no_file_outside_of_the_networks_switches() {
        let path = Path::new("j");
        let text = |line: &str| format!("{FIRST_LINE}\nprocess 1 2\n{line}\n");
        assert!(parse(path, &text("sysctl net/ipv4/ip_forward 0 1")).is_some());
        for line in ["sysctl net/../kernel/panic 0 1", "sysctl kernel/panic 0 1", "rm -rf", "sysctl net/a 0"] {
            assert!(parse(path, &text(line)).is_none(), "{line}");
        }
        assert!(parse(path, "").is_none());
    }

    #[test]
    fn a_process_that_is_gone_does_not_live() {
        let this = Process::this().unwrap();
        assert!(!Process { started: this.started + 1, ..this }.lives(), "a later one with the same number");
    }
}

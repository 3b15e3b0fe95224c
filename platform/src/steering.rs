//! Steering: makes the kernel hand the chosen traffic, and no other, to the node's TUN device.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// An address with the number of its leading bits that count.
pub type Net = (IpAddr, u8);

/// What a packet must be to be steered into the TUN. A field that is `None` matches anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Match {
    /// 4 or 6; `None` with an address means the address's family.
    pub ip_version: Option<u8>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Source prefix.
    pub from: Option<Net>,
    /// Destination prefix.
    pub to: Option<Net>,
    /// Source ports, first and last.
    pub from_port: Option<(u16, u16)>,
    /// Destination ports, first and last.
    pub to_port: Option<(u16, u16)>,
}

/// Whether the machine translates the addresses of those behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Masquerade {
    /// Look for NAT chains in the kernel.
    #[default]
    Auto,
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// What is to be steered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// One entry per direction; a filter for both directions has become two.
    pub matches: Vec<Match>,
    /// Traffic that this machine forwards.
    pub forwarded: bool,
    /// Traffic that this machine sends.
    pub own: bool,
    /// Traffic to this machine itself.
    pub to_self: bool,
    /// See [`Masquerade`].
    pub masquerade: Masquerade,
}

/// What was put into the kernel, in a person's words, for `netserv status` and logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Policy rules.
    pub rule_count: usize,
    /// Things the user should know: a coarser capture than asked for, a sysctl that was changed, ...
    pub notes: Vec<String>,
}

/// With what steering is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The TUN device's name. It exists, and is up.
    pub tun: String,
    /// Sockets with this mark (`SO_MARK`) are the node's own: their traffic is not steered.
    pub own_mark: u32,
    /// Where it is written down what was changed on the machine, usually [`JOURNAL_DIR`].
    pub journal_dir: PathBuf,
}

/// Where the journal usually is: gone after a restart of the machine, as is what it tells of.
pub const JOURNAL_DIR: &str = "/run/netserv";

/// Why traffic cannot be steered.
#[derive(Debug, thiserror::Error)]
pub enum SteeringError {
    /// This system has no steering yet.
    #[error("{system} has no steering yet; use --link pcap:IF1,IF2 or tap:IF")]
    Unsupported {
        /// The system's name.
        system: &'static str,
    },
    /// The kernel refused something.
    #[error("the kernel does not let us {action}: {source}; {remedy}")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// What it said.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The TUN device is not there.
    #[error("there is no TUN device \"{name}\" any more; start the node again")]
    NoTun {
        /// Its name.
        name: String,
    },
    /// Another node steers in this network namespace.
    #[error("process {process} steers already, says {}; stop it first: two nodes cannot share a machine's traffic", path.display())]
    Busy {
        /// Its number.
        process: u32,
        /// The journal.
        path: PathBuf,
    },
    /// The journal cannot be read or written; nothing is changed without it.
    #[error("the journal {} cannot be used: {source}", path.display())]
    Journal {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

impl SteeringError {
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "there is no other kernel yet"))]
    fn kernel(action: &'static str, source: io::Error) -> SteeringError {
        let remedy = if source.kind() == io::ErrorKind::PermissionDenied {
            "run as root or with the capability CAP_NET_ADMIN"
        } else if source.kind() == io::ErrorKind::Unsupported {
            "`netserv doctor` says whether the kernel has policy routing (CONFIG_IP_MULTIPLE_TABLES)"
        } else {
            "`netserv doctor` looks at what steering needs"
        };
        SteeringError::Kernel { action, source, remedy }
    }
}

/// What was taken out of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanupReport {
    /// Policy rules.
    pub rule_count: usize,
    /// Routes in our own tables.
    pub route_count: usize,
    /// Switches (sysctl) that were put back.
    pub switches: Vec<String>,
}

impl CleanupReport {
    /// Whether there was nothing to take out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == CleanupReport::default()
    }
}

impl fmt::Display for CleanupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} policy rules and {} routes removed", self.rule_count, self.route_count)?;
        match self.switches.is_empty() {
            true => Ok(()),
            false => write!(f, ", {} put back", self.switches.join(", ")),
        }
    }
}

/// One system's way to steer. Everything is taken out again by `withdraw`, and when it is dropped.
pub trait Steering {
    /// Makes the kernel steer exactly what `plan` says; may be called again with another plan. Traffic that both plans
    /// name is steered without a gap.
    ///
    /// # Errors
    ///
    /// What the kernel refused; then nothing is steered.
    fn apply(&mut self, plan: &Plan) -> Result<Applied, SteeringError>;

    /// Follows changes of the machine's interfaces, addresses, routes, rules and filters since the last call. Cheap when
    /// there were none: to be called about once a second. Returns what now holds, if it is not what held before.
    ///
    /// # Errors
    ///
    /// As for [`Steering::apply`].
    fn refresh(&mut self) -> Result<Option<Applied>, SteeringError> {
        Ok(None)
    }

    /// Takes everything out of the kernel.
    ///
    /// # Errors
    ///
    /// What could not be taken out.
    fn withdraw(&mut self) -> Result<(), SteeringError>;
}

/// Opens this system's steering. First takes out what a node that died left behind.
///
/// # Errors
///
/// Why this machine's traffic cannot be steered.
pub fn open(options: Options) -> Result<Box<dyn Steering>, SteeringError> {
    #[cfg(target_os = "linux")]
    return linux::open(options).map(|steering| Box::new(steering) as Box<dyn Steering>);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = options;
        Err(unsupported())
    }
}

/// Keeps a TUN device that is not yet up from sending packets of its own: what comes out of it is then steered traffic
/// and nothing else.
#[cfg(target_os = "linux")]
pub(crate) fn quiet(tun: &str) -> io::Result<()> {
    linux::quiet(tun)
}

/// Takes out what a node that died left behind in this network namespace.
///
/// # Errors
///
/// [`SteeringError::Busy`] while the node lives, or what could not be taken out.
pub fn cleanup(journal_dir: &Path) -> Result<CleanupReport, SteeringError> {
    #[cfg(target_os = "linux")]
    return linux::cleanup(journal_dir);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = journal_dir;
        Ok(CleanupReport::default())
    }
}

/// Takes out what `journal` tells of, although the node lives: it hangs, or has just ended. For the guard.
///
/// # Errors
///
/// What could not be taken out.
pub fn take_out_of(journal: &Path) -> Result<CleanupReport, SteeringError> {
    #[cfg(target_os = "linux")]
    return linux::take_out_of(journal);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = journal;
        Ok(CleanupReport::default())
    }
}

/// The journal's file for this network namespace in `journal_dir`.
///
/// # Errors
///
/// When the system does not say which namespace this is.
pub fn journal_path(journal_dir: &Path) -> io::Result<PathBuf> {
    #[cfg(target_os = "linux")]
    return linux::journal_path(journal_dir);
    #[cfg(not(target_os = "linux"))]
    Ok(journal_dir.join("steering.journal"))
}

#[cfg(not(target_os = "linux"))]
fn unsupported() -> SteeringError {
    SteeringError::Unsupported {
        system: match std::env::consts::OS {
            "macos" => "macOS",
            "windows" => "Windows",
            other => other,
        },
    }
}

#[cfg(target_os = "linux")]
pub(crate) mod linux;

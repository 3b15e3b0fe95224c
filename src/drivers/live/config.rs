//! What a live node is started with.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::base::filter::Filter;
use crate::base::limits;
use crate::base::machine::Location;
use crate::drivers::live::{control, store};

/// A link as a user names it: `tun`, `tun:NAME`, `pcap:IF1,IF2`, `tap:IF`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChoice {
    /// A TUN device into which the kernel steers what modules ask for.
    Tun {
        /// Its name; the system chooses one if not given.
        name: Option<String>,
    },
    /// Two interfaces that the node joins like a bridge.
    Inline {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// An interface that is only looked at.
    Tap {
        /// Its name.
        interface: String,
    },
    /// No link: a node of modules that need no packets, such as servers. Needs no root.
    None,
}

/// A text is no [`LinkChoice`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{got}\" is not a link; write tun, tun:NAME, pcap:IF1,IF2 (two different interfaces), tap:IF or none")]
pub struct LinkChoiceError {
    /// What stood there.
    pub got: String,
}

impl FromStr for LinkChoice {
    type Err = LinkChoiceError;

    fn from_str(text: &str) -> Result<Self, LinkChoiceError> {
        let wrong = || LinkChoiceError { got: text.to_owned() };
        let (kind, rest) = text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        match (kind, rest) {
            ("none", None) => Ok(LinkChoice::None),
            ("tun", None) => Ok(LinkChoice::Tun { name: None }),
            ("tun", Some(name)) if !name.is_empty() => Ok(LinkChoice::Tun { name: Some(name.to_owned()) }),
            ("pcap", Some(rest)) => {
                let (first, second) = rest.split_once(',').ok_or_else(wrong)?;
                if first.is_empty() || second.is_empty() || first == second || second.contains(',') {
                    return Err(wrong());
                }
                Ok(LinkChoice::Inline { first: first.to_owned(), second: second.to_owned() })
            }
            ("tap", Some(interface)) if !interface.is_empty() => {
                Ok(LinkChoice::Tap { interface: interface.to_owned() })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for LinkChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkChoice::Tun { name: None } => f.write_str("tun"),
            LinkChoice::Tun { name: Some(name) } => write!(f, "tun:{name}"),
            LinkChoice::Inline { first, second } => write!(f, "pcap:{first},{second}"),
            LinkChoice::Tap { interface } => write!(f, "tap:{interface}"),
            LinkChoice::None => f.write_str("none"),
        }
    }
}

/// A module to load before the first packet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModuleChoice {
    /// Its folder.
    pub folder: PathBuf,
    /// What the instance is called; the module's name if not given.
    pub name: Option<String>,
    /// Its properties.
    pub properties: toml::Table,
}

/// Whose traffic is steered into a TUN link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteeringChoice {
    /// Traffic that this machine forwards for others.
    pub forwarded: bool,
    /// Traffic that this machine sends, and its answers.
    pub own: bool,
    /// Traffic to this machine itself.
    pub to_self: bool,
    /// Whether this machine translates the addresses of others; found out if not given.
    pub masquerade: Option<bool>,
}

impl Default for SteeringChoice {
    fn default() -> Self {
        SteeringChoice { forwarded: true, own: true, to_self: false, masquerade: None }
    }
}

/// How a node takes part in signalling.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalChoice {
    /// Who may ask for what.
    pub trust: PathBuf,
    /// What must outlive a restart: the node's key, packages, running instances.
    pub data: PathBuf,
    /// The node's name for people; the machine's if not given.
    pub name: Option<String>,
    /// Properties that targets and conditions may name, such as `as`.
    pub properties: BTreeMap<String, String>,
    /// TCP port for messaging associations; none if 0.
    pub tcp_port: u16,
    /// TCP port for messaging associations over TLS; none if 0.
    pub tls_port: u16,
    /// Peers are only those with these keys; anybody if empty.
    pub peers: Vec<[u8; 32]>,
    /// Queries carry the flow's source address at first, as RFC 5971, section 5.8.1.2 has it, instead of the node's own.
    pub query_as_flow: bool,
    /// Longest time to wait for a next node that does not answer.
    pub search: Duration,
    /// Packages may be files of this machine.
    pub file_urls: bool,
    /// Certificates (PEM) of further authorities for https.
    pub ca: Option<PathBuf>,
}

impl Default for SignalChoice {
    fn default() -> Self {
        SignalChoice {
            trust: PathBuf::from("/etc/netserv/trust.toml"),
            data: store::default_path(),
            name: None,
            properties: BTreeMap::new(),
            tcp_port: 270,
            tls_port: 271,
            peers: Vec::new(),
            query_as_flow: false,
            search: limits::NSLP_SEARCH_DEFAULT,
            file_urls: false,
            ca: None,
        }
    }
}

/// The live page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageChoice {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The file with the token that controls the node, and that those on other machines need to see anything.
    pub token: Option<PathBuf>,
}

/// Where a node of root writes down what it changed on the machine.
const STATE_PATH: &str = "/run/netserv";

/// Where that is if nothing else is said: for other users than root below their control socket, unless root's is theirs.
fn default_state() -> PathBuf {
    match platform::user::current() != 0 && !store::is_own(Path::new(STATE_PATH)) {
        true => control::default_path().with_file_name("netserv"),
        false => PathBuf::from(STATE_PATH),
    }
}

/// What a live node is started with.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveConfig {
    /// Its links.
    pub links: Vec<LinkChoice>,
    /// Nobody chose [`LiveConfig::links`]: if no module looks at packets, there need not be any.
    pub links_are_default: bool,
    /// Its modules, in the order in which they look at packets.
    pub modules: Vec<ModuleChoice>,
    /// Captured although no module asks for it.
    pub capture: Vec<Filter>,
    /// Whose traffic is steered.
    pub steering: SteeringChoice,
    /// Never use the offload header of TUN devices.
    pub plain: bool,
    /// Where the control socket is; none if not given.
    pub control: Option<PathBuf>,
    /// Where it is written down what was changed on this machine, so that it can be undone after a crash.
    pub state: PathBuf,
    /// What must outlive a restart: installed modules; of signalling, if that has no other folder.
    pub data: PathBuf,
    /// Where modules are looked for: folders, URLs, hosts.
    pub repositories: Vec<String>,
    /// Flows remembered at once.
    pub flows_max: u32,
    /// Where it is, for modules that may know.
    pub location: Option<Location>,
    /// How it takes part in signalling; not at all if not given.
    pub signal: Option<SignalChoice>,
    /// The live page; none if not given.
    pub dashboard: Option<PageChoice>,
}

impl Default for LiveConfig {
    fn default() -> Self {
        LiveConfig {
            links: vec![LinkChoice::Tun { name: None }],
            links_are_default: true,
            modules: Vec::new(),
            capture: Vec::new(),
            steering: SteeringChoice::default(),
            plain: false,
            control: None,
            state: default_state(),
            data: store::default_path(),
            repositories: Vec::new(),
            flows_max: limits::FLOWS_DEFAULT,
            location: None,
            signal: None,
            dashboard: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_read_as_they_are_written() {
        for text in ["tun", "tun:ns0", "pcap:eth0,eth1", "tap:eth0", "none"] {
            assert_eq!(text.parse::<LinkChoice>().unwrap().to_string(), text);
        }
        for text in ["", "tun:", "pcap:a", "pcap:a,", "pcap:a,a", "pcap:a,b,c", "tap", "tap:", "wire:x", "tun,tap"] {
            let error = text.parse::<LinkChoice>().unwrap_err();
            assert!(error.to_string().contains("pcap:IF1,IF2"), "{text}");
        }
    }
}

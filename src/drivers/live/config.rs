//! What a live node is started with.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::base::filter::Filter;
use crate::base::limits;

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
}

/// A text is no [`LinkChoice`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{got}\" is not a link; write tun, tun:NAME, pcap:IF1,IF2 (two different interfaces) or tap:IF")]
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

/// What a live node is started with.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveConfig {
    /// Its links.
    pub links: Vec<LinkChoice>,
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
    /// Flows remembered at once.
    pub flows_max: u32,
}

impl Default for LiveConfig {
    fn default() -> Self {
        LiveConfig {
            links: vec![LinkChoice::Tun { name: None }],
            modules: Vec::new(),
            capture: Vec::new(),
            steering: SteeringChoice::default(),
            plain: false,
            control: None,
            state: PathBuf::from("/run/netserv"),
            flows_max: limits::FLOWS_DEFAULT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_read_as_they_are_written() {
        for text in ["tun", "tun:ns0", "pcap:eth0,eth1", "tap:eth0"] {
            assert_eq!(text.parse::<LinkChoice>().unwrap().to_string(), text);
        }
        for text in ["", "tun:", "pcap:a", "pcap:a,", "pcap:a,a", "pcap:a,b,c", "tap", "tap:", "wire:x", "tun,tap"] {
            let error = text.parse::<LinkChoice>().unwrap_err();
            assert!(error.to_string().contains("pcap:IF1,IF2"), "{text}");
        }
    }
}

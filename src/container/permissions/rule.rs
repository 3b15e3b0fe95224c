//! Rules for hosts and ports: `tcp:8080`, `udp:192.0.2.0/24:3478`, `tcp:*.example.org:443`.

use toml::Value;

use super::{ANY, FromStr, IpAddr, PortRange, Prefix, Properties, fmt};
use crate::base::limits::PERMISSION_RULES_MAX as RULES_MAX;
use crate::container::properties::shortened;

/// A transport protocol with ports. TLS runs over TCP and needs no permission of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Transport::Tcp { "tcp" } else { "udp" })
    }
}

/// The hosts of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Any name and address.
    Any,
    /// Addresses.
    Prefix(Prefix),
    /// One name, in lower case.
    Name(String),
    /// All names that end in this, in lower case and with its dot first.
    Within(String),
}

/// Hosts and ports that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The transport.
    pub transport: Transport,
    /// The hosts; [`Host::Any`] where it is about listening.
    pub host: Host,
    /// The ports; `None` stands for any.
    pub ports: Option<PortRange>,
}

impl Rule {
    /// Whether it allows a host (a name or an address; `None` where it is about listening) and a port.
    #[must_use]
    pub fn covers(&self, transport: Transport, host: Option<&str>, port: u16) -> bool {
        self.transport == transport
            && self.ports.is_none_or(|ports| ports.contains(port))
            && host.is_none_or(|host| self.host.covers(host))
    }
}

impl Rule {
    /// One of its ports.
    pub(super) fn some_port(&self) -> u16 {
        self.ports.map_or(0, |ports| ports.first)
    }
}

impl Host {
    fn covers(&self, host: &str) -> bool {
        match self {
            Host::Any => true,
            Host::Prefix(prefix) => host.parse().is_ok_and(|address: IpAddr| prefix.contains(address)),
            Host::Name(name) => host.trim_end_matches('.').eq_ignore_ascii_case(name),
            Host::Within(suffix) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                host.len() > suffix.len() && host.ends_with(suffix.as_str())
            }
        }
    }

    /// The hosts of both.
    fn common(&self, other: &Host) -> Option<Host> {
        match (self, other) {
            (Host::Any, host) | (host, Host::Any) => Some(host.clone()),
            (Host::Prefix(a), Host::Prefix(b)) => smaller(*a, *b).map(Host::Prefix),
            (Host::Name(name), host) | (host, Host::Name(name)) => host.covers(name).then(|| Host::Name(name.clone())),
            (Host::Within(a), Host::Within(b)) => {
                let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
                long.ends_with(short.as_str()).then(|| Host::Within(long.clone()))
            }
            (Host::Prefix(_), Host::Within(_)) | (Host::Within(_), Host::Prefix(_)) => None,
        }
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Rule, String> {
        let wrong = || {
            format!(
                "\"{}\" is no rule; write \"tcp:8080\", \"udp:5060-5061\", \"tcp:example.org:443\", \
                 \"tcp:*.example.org:443\", \"udp:192.0.2.0/24:3478\", \"tcp:[2001:db8::1]:80\" or \"tcp:*:*\"",
                shortened(text)
            )
        };
        let (transport, rest) = text.split_once(':').ok_or_else(wrong)?;
        let transport = match transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return Err(wrong()),
        };
        let (host, ports) = rest.rsplit_once(':').unwrap_or(("*", rest));
        let ports = if ports == "*" || ports == ANY { None } else { Some(ports.parse().map_err(|_| wrong())?) };
        Ok(Rule { transport, host: host.parse().map_err(|()| wrong())?, ports })
    }
}

impl FromStr for Host {
    type Err = ();

    fn from_str(text: &str) -> Result<Host, ()> {
        let is_name = |name: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            !name.is_empty() && name.len() <= 253 && name.chars().all(plain) && !name.contains("..")
        };
        if text == "*" || text == ANY {
            return Ok(Host::Any);
        }
        if let Ok(prefix) = unbracketed(text).as_deref().unwrap_or(text).parse() {
            return Ok(Host::Prefix(prefix));
        }
        if let Some(suffix) = text.strip_prefix('*').filter(|suffix| suffix.starts_with('.')) {
            return if is_name(suffix) { Ok(Host::Within(suffix.to_ascii_lowercase())) } else { Err(()) };
        }
        let name = text.trim_end_matches('.');
        if is_name(name) && !name.starts_with('.') { Ok(Host::Name(name.to_ascii_lowercase())) } else { Err(()) }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.transport)?;
        match &self.host {
            Host::Any => f.write_str("*")?,
            Host::Prefix(prefix) => f.write_str(&bracketed(&prefix.to_string()))?,
            Host::Name(name) => f.write_str(name)?,
            Host::Within(suffix) => write!(f, "*{suffix}")?,
        }
        match self.ports {
            Some(ports) => write!(f, ":{ports}"),
            None => f.write_str(":*"),
        }
    }
}

/// An IPv6 address, or prefix, in brackets; all else as it is.
pub(super) fn bracketed(host: &str) -> String {
    match host.split_once('/') {
        _ if !host.contains(':') || host.starts_with('[') => host.to_owned(),
        Some((address, len)) => format!("[{address}]/{len}"),
        None => format!("[{host}]"),
    }
}

/// What [`bracketed`] was given.
fn unbracketed(text: &str) -> Option<String> {
    let (address, len) = text.strip_prefix('[')?.split_once(']')?;
    Some(format!("{address}{len}"))
}

/// A prefix; `None` for any.
pub(crate) fn prefix(text: &str) -> Result<Option<Prefix>, String> {
    if text == "*" || text == ANY {
        return Ok(None);
    }
    let bare = unbracketed(text);
    bare.as_deref().unwrap_or(text).parse().map(Some).map_err(|e| format!("{e}"))
}

fn smaller(a: Prefix, b: Prefix) -> Option<Prefix> {
    let (long, short) = if a.prefix_len() >= b.prefix_len() { (a, b) } else { (b, a) };
    short.contains(long.address()).then_some(long)
}

/// What the rules of both sides allow.
pub(super) fn common(wanted: &[Rule], granted: &[Rule]) -> Vec<Rule> {
    let pairs = wanted.iter().flat_map(|a| granted.iter().map(move |b| (a, b)));
    let common = pairs.filter_map(|(a, b)| {
        let ports = match (a.ports, b.ports) {
            (None, ports) | (ports, None) => ports,
            (Some(a), Some(b)) => Some(a.common(b)?),
        };
        let host = a.host.common(&b.host)?;
        (a.transport == b.transport).then_some(Rule { transport: a.transport, host, ports })
    });
    common.collect()
}

/// The addresses of both sides.
pub(super) fn common_prefixes(wanted: &[Option<Prefix>], granted: &[Option<Prefix>]) -> Vec<Option<Prefix>> {
    let pairs = wanted.iter().flat_map(|a| granted.iter().map(move |b| (*a, *b)));
    let common = pairs.filter_map(|pair| match pair {
        (None, prefix) | (prefix, None) => Some(prefix),
        (Some(a), Some(b)) => smaller(a, b).map(Some),
    });
    common.collect()
}

/// Adds `text` once for each value of the first property in it, and so on for those behind. Values are not looked into.
pub(super) fn replace(text: &str, properties: &Properties, all: &mut Vec<String>) -> Result<(), String> {
    let mut done = vec![String::new()];
    let mut parts = text.split('$');
    done[0].push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, behind) = part.split_at(name_end(part));
        let value = properties.0.get(name).ok_or_else(|| format!("\"{text}\": there is no property \"{name}\""))?;
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        if items.len() * done.len() > RULES_MAX {
            return Err(format!("\"{text}\" makes more than {RULES_MAX} rules"));
        }
        done = done
            .iter()
            .flat_map(|before| items.iter().map(move |item| format!("{before}{}{behind}", spelled(item))))
            .collect();
    }
    all.append(&mut done);
    if all.len() > RULES_MAX {
        return Err(format!("\"{text}\" makes more than {RULES_MAX} rules"));
    }
    Ok(())
}

fn spelled(value: &Value) -> String {
    match value.as_str() {
        Some(text) if text.contains(':') && text.parse::<Prefix>().is_ok() => bracketed(text),
        Some(text) => text.to_owned(),
        None => value.to_string(),
    }
}

/// The names of the properties in a text.
pub(crate) fn property_names(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).map(|part| part.split_at(name_end(part)).0)
}

fn name_end(text: &str) -> usize {
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len())
}

//! What a module may do beyond looking at packets: deny by default.
//!
//! A manifest asks ([`Permissions`], some of it in the table of what it can do without), properties fill in what it left
//! open ([`Permissions::resolve`]), the owner may narrow it ([`Allowed::narrowed`]), and each use is checked
//! ([`Allowed::check`]). A refusal names the permission and the line of `module.toml` that would ask for it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::base::filter::{PortRange, Prefix};
use crate::container::properties::{ANY, Properties};

pub(crate) mod rule;
pub(crate) mod table;

pub use rule::{Host, Rule, Transport};

/// What of the system a module may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SystemPart {
    /// Uptime, load, free memory.
    Load,
    /// Interfaces, their speeds and state.
    Interfaces,
    /// The machine's addresses.
    Addresses,
    /// Routes, and when the route to somewhere changes.
    Routes,
    /// Neighbours on the links.
    Neighbours,
    /// Where the node is, as its owner says.
    Location,
}

/// All parts with the words of manifests.
pub const SYSTEM_PARTS: &[(&str, SystemPart)] = &[
    ("load", SystemPart::Load),
    ("interfaces", SystemPart::Interfaces),
    ("addresses", SystemPart::Addresses),
    ("routes", SystemPart::Routes),
    ("neighbours", SystemPart::Neighbours),
    ("location", SystemPart::Location),
];

/// Native blocks that move data without the VM, and need a permission for it.
pub const NATIVE_BLOCKS: &[&str] = &["reply", "relay", "cache"];

impl SystemPart {
    /// The word in manifests.
    #[must_use]
    pub fn word(self) -> &'static str {
        SYSTEM_PARTS.iter().find(|(_, part)| *part == self).map_or("", |(word, _)| *word)
    }
}

impl FromStr for SystemPart {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        SYSTEM_PARTS.iter().find(|(word, _)| *word == text).map(|(_, part)| *part).ok_or(())
    }
}

/// A value in a permission: as written, or the name of the property that holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Text {
    /// As written; it has no `$` in it.
    Written(String),
    /// With `$name` in it, for properties.
    WithProperties(String),
}

impl Text {
    /// The text as it stands in the manifest.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Text::Written(text) | Text::WithProperties(text) => text,
        }
    }
}

/// What a manifest asks for under `[permissions]`, or under `[permissions.optional]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// To send packets of its own.
    pub inject: bool,
    /// To keep bytes over restarts, as many as `limits.storage_bytes` says.
    pub store: bool,
    /// To send signals: probe, set up and remove modules elsewhere.
    pub signal: bool,
    /// To send packets, and datagrams, that say to come from these addresses: prefixes.
    pub answer_for: Vec<Text>,
    /// To listen: `"tcp:8080"`, `"udp:5060-5061"`.
    pub listen: Vec<Text>,
    /// To connect, and to send datagrams: `"tcp:example.org:443"`, `"udp:192.0.2.0/24:3478"`, `"tcp:*:80"`.
    pub connect: Vec<Text>,
    /// What of the system it may be told.
    pub system: BTreeSet<SystemPart>,
    /// Which of [`NATIVE_BLOCKS`] it may use.
    pub native: BTreeSet<String>,
}

impl Permissions {
    /// With the properties' values in the places of their names. A property that is a list makes one rule for each item;
    /// one that is "any" allows any.
    ///
    /// # Errors
    ///
    /// The sentence about a rule that is none once the property stands in it.
    pub fn resolve(&self, properties: &Properties) -> Result<Allowed, String> {
        let mut allowed = Allowed {
            inject: self.inject,
            store: self.store,
            signal: self.signal,
            system: self.system.clone(),
            native: self.native.clone(),
            ..Allowed::default()
        };
        for text in spelled_out(&self.answer_for, properties)? {
            allowed.answer_for.push(rule::prefix(&text).map_err(|e| format!("permissions.answer_for: {e}"))?);
        }
        for text in spelled_out(&self.listen, properties)? {
            allowed.listen.push(text.parse().map_err(|e| format!("permissions.listen: {e}"))?);
        }
        for text in spelled_out(&self.connect, properties)? {
            allowed.connect.push(text.parse().map_err(|e| format!("permissions.connect: {e}"))?);
        }
        Ok(allowed)
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Permissions::default()
    }
}

/// Replaces `$name` in texts by what the property holds.
fn spelled_out(texts: &[Text], properties: &Properties) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for text in texts {
        match text {
            Text::Written(text) => all.push(text.clone()),
            Text::WithProperties(text) => rule::replace(text, properties, &mut all)?,
        }
    }
    Ok(all)
}

/// What an instance may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Send packets of its own.
    pub inject: bool,
    /// Keep bytes over restarts.
    pub store: bool,
    /// Send signals.
    pub signal: bool,
    /// Send in the name of these addresses; `None` stands for any.
    pub answer_for: Vec<Option<Prefix>>,
    /// Listen.
    pub listen: Vec<Rule>,
    /// Connect, and send datagrams.
    pub connect: Vec<Rule>,
    /// Be told of the system.
    pub system: BTreeSet<SystemPart>,
    /// Use native blocks.
    pub native: BTreeSet<String>,
}

/// One use that needs a permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use<'a> {
    /// Send a packet of its own.
    Inject,
    /// Keep bytes.
    Store,
    /// Send a signal.
    Signal,
    /// Send in the name of an address that is not the machine's own.
    AnswerFor(IpAddr),
    /// Listen at a port; 0 asks for any free one.
    Listen(Transport, u16),
    /// Connect or send to a host by this name or address.
    Connect(Transport, &'a str, u16),
    /// Look a name up.
    LookUp(&'a str),
    /// Be told something.
    System(SystemPart),
    /// Use a native block.
    Native(&'a str),
}

/// A use that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// What was tried, as a verb phrase.
    pub what: String,
    /// The line of the manifest that would ask for it.
    pub line: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this module may not {}: module.toml does not say {} under [permissions], or the owner did not grant it",
            self.what, self.line
        )
    }
}

impl Allowed {
    /// Checks one use.
    ///
    /// # Errors
    ///
    /// The refusal, with the line that would ask for it.
    pub fn check(&self, usage: &Use<'_>) -> Result<(), Refusal> {
        let allowed = match usage {
            Use::Inject => self.inject,
            Use::Store => self.store,
            Use::Signal => self.signal,
            Use::AnswerFor(address) => {
                self.answer_for.iter().any(|rule| rule.is_none_or(|prefix| prefix.contains(*address)))
            }
            Use::Listen(transport, port) => self.listen.iter().any(|rule| rule.covers(*transport, None, *port)),
            Use::Connect(transport, host, port) => {
                self.connect.iter().any(|rule| rule.covers(*transport, Some(host), *port))
            }
            Use::LookUp(host) => {
                self.connect.iter().any(|rule| rule.covers(rule.transport, Some(host), rule.some_port()))
            }
            Use::System(part) => self.system.contains(part),
            Use::Native(name) => self.native.contains(*name),
        };
        if allowed { Ok(()) } else { Err(usage.refusal()) }
    }

    /// Whether there is anybody to whom datagrams may be sent.
    #[must_use]
    pub fn may_send_datagrams(&self) -> bool {
        self.connect.iter().any(|rule| rule.transport == Transport::Udp)
    }

    /// What both allow: a manifest's wish within an owner's grant.
    #[must_use]
    pub fn narrowed(&self, grant: &Allowed) -> Allowed {
        Allowed {
            inject: self.inject && grant.inject,
            store: self.store && grant.store,
            signal: self.signal && grant.signal,
            answer_for: rule::common_prefixes(&self.answer_for, &grant.answer_for),
            listen: rule::common(&self.listen, &grant.listen),
            connect: rule::common(&self.connect, &grant.connect),
            system: self.system.intersection(&grant.system).copied().collect(),
            native: self.native.intersection(&grant.native).cloned().collect(),
        }
    }

    /// What either allows.
    #[must_use]
    pub fn with(mut self, more: Allowed) -> Allowed {
        self.inject |= more.inject;
        self.store |= more.store;
        self.signal |= more.signal;
        self.answer_for.extend(more.answer_for);
        self.listen.extend(more.listen);
        self.connect.extend(more.connect);
        self.system.extend(more.system);
        self.native.extend(more.native);
        self
    }
}

impl Use<'_> {
    fn refusal(&self) -> Refusal {
        let (what, line) = match self {
            Use::Inject => ("send packets of its own".to_owned(), "inject = true".to_owned()),
            Use::Store => ("keep bytes".to_owned(), "store = true".to_owned()),
            Use::Signal => ("send signals".to_owned(), "signal = true".to_owned()),
            Use::AnswerFor(address) => {
                (format!("send in the name of {address}"), format!("answer_for = [\"{address}\"]"))
            }
            Use::Listen(transport, port) => {
                (format!("listen on {transport} port {port}"), format!("listen = [\"{transport}:{port}\"]"))
            }
            Use::Connect(transport, host, port) => {
                let host = rule::bracketed(host);
                (format!("send to {transport} {host}:{port}"), format!("connect = [\"{transport}:{host}:{port}\"]"))
            }
            Use::LookUp(host) => {
                (format!("look {host} up"), format!("connect = [\"tcp:{}:443\"]", rule::bracketed(host)))
            }
            Use::System(part) => {
                (format!("be told the system's {}", part.word()), format!("system = [\"{}\"]", part.word()))
            }
            Use::Native(name) => (format!("use the native block {name}"), format!("native = [\"{name}\"]")),
        };
        Refusal { what, line }
    }
}

#[cfg(test)]
mod tests;

//! The owner's trust file: who may have what run here. What it does not allow is denied.
//!
//! ```toml
//! [[requester]]
//! name = "alice"                     # for people and logs
//! key = "64 hexadecimal digits"      # Ed25519 public key
//! packages = ["monitor", "nat-*"]    # modules; "*" at the end stands for anything; default: none
//! urls = ["https://example.org/"]    # packages only from there; default: from anywhere
//! notify = ["https://example.org/"]  # instances may have these told what happens; default: none
//! permissions = ["payload"]          # payload, drop, change-headers, change-payload, change-length, inject, store,
//!                                    # signal, answer-for, listen, connect, system, native
//! memory = "16M"                     # most that a manifest may ask for
//! storage = "16M"                    # the same, as all down to tasks
//! cpu_ms_per_call = 20
//! timers = 64
//! sockets = 64
//! tasks = 256
//! cpu_share_percent = 25             # a module gets no more than that, whatever its manifest asks for, down to flows
//! bandwidth_in = 0                   # bits per second; 0 = no limit
//! bandwidth_out = 0
//! flows = 1048576
//! lifetime = "1h"                    # longest time to run without a refresh
//! instances = 4                      # at once
//! package_bytes = "1M"               # largest package
//! probe = true                       # may see what runs here
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::base::crypto::to_hex;
use crate::base::limits::{TRUST_BYTES_MAX, TRUST_STORAGE_DEFAULT};
use crate::container::grant::Grant;
use crate::container::manifest::{Changes, Limits, Manifest, Sees};
use crate::container::properties::Properties;
use crate::controller::url::Url;

mod read;

/// What a module does that its requester must be allowed to have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// See whole packets, not only headers: `sees = "payload"` in the manifest.
    Payload,
    /// Drop packets, or reply in their place: `drops = true`.
    Drop,
    /// Change header fields: `changes = "headers"`.
    ChangeHeaders,
    /// Change the payload: `changes = "payload"`. Includes [`Permission::ChangeHeaders`].
    ChangePayload,
    /// Change the payload's length: `changes = "length"`. Includes [`Permission::ChangePayload`].
    ChangeLength,
    /// Send packets of its own: `[permissions] inject = true`.
    Inject,
    /// Keep data: `store = true`.
    Store,
    /// Send signals: `signal = true`.
    Signal,
    /// Send in the name of other addresses: `answer_for`.
    AnswerFor,
    /// Be reached from outside: `listen`.
    Listen,
    /// Connect and send to others: `connect`.
    Connect,
    /// Read about the machine: `system`.
    System,
    /// Use native blocks that need a permission: `native`.
    Native,
}

/// All permissions with the words of the trust file.
const PERMISSIONS: &[(&str, Permission)] = &[
    ("payload", Permission::Payload),
    ("drop", Permission::Drop),
    ("change-headers", Permission::ChangeHeaders),
    ("change-payload", Permission::ChangePayload),
    ("change-length", Permission::ChangeLength),
    ("inject", Permission::Inject),
    ("store", Permission::Store),
    ("signal", Permission::Signal),
    ("answer-for", Permission::AnswerFor),
    ("listen", Permission::Listen),
    ("connect", Permission::Connect),
    ("system", Permission::System),
    ("native", Permission::Native),
];

/// Permissions of manifests that the trust file has words for, by the word of the manifest.
const ASKED: &[(&str, Permission)] = &[
    ("inject", Permission::Inject),
    ("store", Permission::Store),
    ("signal", Permission::Signal),
    ("answer_for", Permission::AnswerFor),
    ("listen", Permission::Listen),
    ("connect", Permission::Connect),
    ("system", Permission::System),
    ("native", Permission::Native),
];

impl Permission {
    /// The permission that is written so.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Permission> {
        PERMISSIONS.iter().find(|(name, _)| *name == word).map(|(_, permission)| *permission)
    }

    /// All words, for messages.
    #[must_use]
    pub fn words() -> String {
        PERMISSIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// What a module with this manifest does. What it can do without does not count: see [`Requester::grant`].
    #[must_use]
    pub fn needed_by(manifest: &Manifest) -> BTreeSet<Permission> {
        let change = match manifest.changes {
            Changes::Nothing => None,
            Changes::Headers => Some(Permission::ChangeHeaders),
            Changes::Payload => Some(Permission::ChangePayload),
            Changes::Length => Some(Permission::ChangeLength),
        };
        let payload = (manifest.sees == Sees::Payload).then_some(Permission::Payload);
        let drop = manifest.drops.then_some(Permission::Drop);
        let asks = |word: &str| manifest.permissions.without(word) != manifest.permissions;
        let asked = ASKED.iter().filter(|(word, _)| asks(word)).map(|(_, permission)| *permission);
        [payload, drop, change].into_iter().flatten().chain(asked).collect()
    }

    /// Whether one who has `self` also has `needed`.
    const fn includes(self, needed: Permission) -> bool {
        use Permission::{ChangeHeaders, ChangeLength, ChangePayload};
        match (self, needed) {
            (ChangeLength, ChangeHeaders | ChangePayload) | (ChangePayload, ChangeHeaders) => true,
            _ => self as u8 == needed as u8,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PERMISSIONS.iter().find(|(_, permission)| permission == self).map_or("", |(name, _)| name))
    }
}

/// Someone who may ask for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    /// For people and logs.
    pub name: String,
    /// Ed25519 public key.
    pub key: [u8; 32],
    /// Modules that may be installed; a `*` at the end stands for anything.
    pub packages: Vec<String>,
    /// Where packages may come from; empty = anywhere.
    pub urls: Vec<Url>,
    /// Whom instances may have told what happens to them.
    pub notify: Vec<Url>,
    /// What modules may do.
    pub permissions: BTreeSet<Permission>,
    /// The most that a module gets. A manifest that asks for more is refused, unless less only makes the module slower
    /// ([`Requester::NARROWED`]).
    pub limits: Limits,
    /// Longest time to run without a refresh.
    pub lifetime: Duration,
    /// Instances at once.
    pub instances: u32,
    /// Bytes of the largest package.
    pub package_bytes: u64,
    /// Whether a probe is told more than that the node is there.
    pub probe: bool,
}

impl Requester {
    /// Limits of manifests that are narrowed to what the requester may have: with less of them a module sees fewer
    /// packets or waits longer, and works all the same.
    pub const NARROWED: &[&str] = &["cpu_share_percent", "bandwidth_in", "bandwidth_out", "flows"];

    /// A requester with the defaults of the file: allowed to probe, and to install nothing.
    #[must_use]
    pub fn new(name: &str, key: [u8; 32]) -> Requester {
        Requester {
            name: name.to_owned(),
            key,
            packages: Vec::new(),
            urls: Vec::new(),
            notify: Vec::new(),
            permissions: BTreeSet::new(),
            limits: Limits { storage_bytes: TRUST_STORAGE_DEFAULT, ..Limits::default() },
            lifetime: Duration::from_secs(3_600),
            instances: 4,
            package_bytes: 1 << 20,
            probe: true,
        }
    }

    /// Whether modules of this name may be installed.
    #[must_use]
    pub fn allows_package(&self, module: &str) -> bool {
        self.packages.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => module.starts_with(start),
            None => module == pattern,
        })
    }

    /// Whether packages may come from `url`.
    #[must_use]
    pub fn allows_url(&self, url: &Url) -> bool {
        self.urls.is_empty() || self.urls.iter().any(|prefix| url.is_below(prefix))
    }

    /// Whether `url` may be told what happens.
    #[must_use]
    pub fn allows_notify(&self, url: &Url) -> bool {
        self.notify.iter().any(|prefix| url.is_below(prefix))
    }

    /// Whether modules may do `needed`.
    #[must_use]
    pub fn allows(&self, needed: Permission) -> bool {
        self.permissions.iter().any(|permission| permission.includes(needed))
    }

    /// What a module of its gets: what it needs, and of what it can do without as much as is allowed.
    ///
    /// # Errors
    ///
    /// What does not fit together with these properties.
    pub fn grant(&self, manifest: &Manifest, properties: &Properties) -> Result<Grant, String> {
        let mut grant = Grant::of(manifest, properties, false)?;
        grant.limits = manifest.limits.within(&self.limits);
        let denied = ASKED.iter().filter(|(_, permission)| !self.allows(*permission));
        let optional = manifest.optional_permissions.resolve(properties)?;
        grant.allowed = grant.allowed.with(denied.fold(optional, |optional, (word, _)| optional.without(word)));
        Ok(grant)
    }

    /// The requester as a table of the file, each key with its value.
    #[must_use]
    pub fn to_toml(&self) -> String {
        read::write(self)
    }
}

/// The owner's trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    requesters: Vec<Requester>,
}

/// What is wrong with a trust file, or with a change of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Longer than any such file is.
    #[error("it has {got_bytes} bytes; at most {TRUST_BYTES_MAX} are read")]
    TooLong {
        /// Its length.
        got_bytes: usize,
    },
    /// It is no TOML, a key is missing or not known, or a value is of the wrong type.
    #[error("line {line}: {message}: {text}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
        /// The line.
        text: String,
    },
    /// A value is not allowed.
    #[error("line {line}: {key} = {got}: {remedy}")]
    Value {
        /// Line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// Its value, cut where it is too long.
        got: String,
        /// What to write instead.
        remedy: String,
    },
    /// No such requester.
    #[error("no requester is called {name:?}; there are: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
}

impl Trust {
    /// Reads a trust file. An empty file trusts nobody.
    ///
    /// # Errors
    ///
    /// What is wrong, with line, key, value and remedy. Nothing of a wrong file is used.
    pub fn parse(text: &str) -> Result<Trust, TrustError> {
        read::trust(text).map(|requesters| Trust { requesters })
    }

    /// The file; [`Trust::parse`] reads it back. Comments of an earlier file are lost: see [`Trust::appended`].
    #[must_use]
    pub fn to_toml(&self) -> String {
        self.requesters.iter().map(Requester::to_toml).collect::<Vec<_>>().join("\n")
    }

    /// The text of the file `text` with one more requester at its end; what stands there stays as it is.
    ///
    /// # Errors
    ///
    /// When the file is wrong, or the requester does not fit into it. Lines are those of the new file.
    pub fn appended(text: &str, requester: &Requester) -> Result<String, TrustError> {
        Trust::parse(text)?;
        let gap = match text {
            "" => "",
            text if text.ends_with('\n') => "\n",
            _ => "\n\n",
        };
        let text = format!("{text}{gap}{}", requester.to_toml());
        Trust::parse(&text).map(|_| text)
    }

    /// Adds a requester.
    ///
    /// # Errors
    ///
    /// As [`Trust::appended`].
    pub fn add(&mut self, requester: Requester) -> Result<(), TrustError> {
        let text = Trust::appended(&self.to_toml(), &requester)?;
        *self = Trust::parse(&text)?;
        Ok(())
    }

    /// Takes a requester out, by its name.
    ///
    /// # Errors
    ///
    /// When there is none of this name.
    pub fn remove(&mut self, name: &str) -> Result<Requester, TrustError> {
        let Some(at) = self.requesters.iter().position(|requester| requester.name == name) else {
            let known: Vec<&str> = self.requesters.iter().map(|requester| requester.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(TrustError::Unknown { name: name.to_owned(), known });
        };
        Ok(self.requesters.remove(at))
    }

    /// All requesters, in the order of the file.
    #[must_use]
    pub fn list(&self) -> &[Requester] {
        &self.requesters
    }

    /// The requester with this key.
    #[must_use]
    pub fn by_key(&self, key: &[u8; 32]) -> Option<&Requester> {
        self.requesters.iter().find(|requester| requester.key == *key)
    }
}

/// The word of the trust file for a key of a manifest's `[limits]`.
#[must_use]
pub(crate) fn limit_word(key: &str) -> &str {
    match key {
        "memory_bytes" => "memory",
        "storage_bytes" => "storage",
        other => other,
    }
}

/// The first digits of a key, which name its owner's instances.
#[must_use]
pub fn short_key(key: &[u8; 32]) -> String {
    to_hex(&key[..4])
}

#[cfg(test)]
mod tests;

//! What the owner of a node grants a module: never more than its manifest asked for when it was asked, often less.
//!
//! A grant outlives the version that it was made for. What a later manifest asks for beyond it is not given, until the
//! owner is asked again.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::base::filter::Filter;
use crate::base::limits::FILTERS_MAX;
use crate::container::manifest::{Changes, Limits, Manifest, Sees};
use crate::container::module::Module;
use crate::container::permissions::{Allowed, Permissions, Rule, rule};
use crate::container::plain;
use crate::container::properties::Properties;

pub mod choice;

/// What an instance gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The permissions.
    #[serde(with = "written")]
    pub allowed: Allowed,
    /// The packets that it may be shown.
    pub filters: Vec<Filter>,
    /// How much of them.
    pub sees: Sees,
    /// What it may change in them.
    pub changes: Changes,
    /// Whether it may hold them back.
    pub drops: bool,
    /// The most that it may use.
    pub limits: Limits,
}

impl Grant {
    /// All that a manifest asks for; of what it can do without only if `optional` is set.
    ///
    /// # Errors
    ///
    /// What does not fit together with these properties.
    pub fn of(manifest: &Manifest, properties: &Properties, optional: bool) -> Result<Grant, String> {
        let mut allowed = manifest.permissions.resolve(properties)?;
        if optional {
            allowed = allowed.with(manifest.optional_permissions.resolve(properties)?);
        }
        Ok(Grant {
            allowed,
            filters: manifest.filters(properties).map_err(|error| error.to_string())?,
            sees: manifest.sees,
            changes: manifest.changes,
            drops: manifest.drops,
            limits: manifest.limits,
        })
    }

    /// The module as if its manifest asked for no more than this.
    #[must_use]
    pub fn narrow(&self, module: Module) -> Module {
        let mut manifest = (*module.manifest).clone();
        manifest.sees = manifest.sees.min(self.sees);
        manifest.changes = manifest.changes.min(self.changes);
        if manifest.sees == Sees::Headers {
            manifest.changes = manifest.changes.min(Changes::Headers);
        }
        manifest.drops &= self.drops;
        manifest.limits = manifest.limits.within(&self.limits);
        Module { manifest: Rc::new(manifest), ..module }
    }

    /// Those of the packets asked for that are granted.
    #[must_use]
    pub fn narrow_filters(&self, wanted: Vec<Filter>) -> Vec<Filter> {
        let granted: BTreeSet<Filter> = self.filters.iter().copied().collect();
        let mut narrowed: Vec<Filter> = Vec::new();
        for filter in wanted {
            if granted.contains(&filter) {
                narrowed.push(filter);
                continue;
            }
            narrowed.extend(self.filters.iter().flat_map(|granted| filter.common(granted)));
            // Both sides are long lists only in an attack on this very loop.
            if narrowed.len() > FILTERS_MAX {
                narrowed.truncate(FILTERS_MAX);
                break;
            }
        }
        narrowed.sort_unstable();
        narrowed.dedup();
        narrowed
    }

    /// What a wish goes beyond this grant, in a person's words; nothing if it does not.
    #[must_use]
    pub fn lacks(&self, wish: &Grant) -> Vec<String> {
        let mut lacking = self.allowed.lacks(&wish.allowed);
        let mut lack = |is_lacking: bool, text: &str| {
            if is_lacking {
                lacking.push(text.to_owned());
            }
        };
        lack(wish.filters.iter().any(|filter| !self.covers(filter)), "see other packets");
        lack(wish.sees > self.sees, "see whole packets");
        lack(wish.changes > self.changes, "change more of packets");
        lack(wish.drops && !self.drops, "drop packets");
        lacking.extend(plain::limits_beyond(&wish.limits, &self.limits).iter().map(|line| format!("use {line}")));
        lacking
    }

    fn covers(&self, filter: &Filter) -> bool {
        self.filters.iter().any(|granted| granted.common(filter).contains(filter))
    }
}

impl Limits {
    /// The lower one of each; of bandwidth 0 stands for no limit.
    #[must_use]
    pub fn within(&self, other: &Limits) -> Limits {
        let bandwidth = |a: u64, b: u64| if a == 0 || b == 0 { a.max(b) } else { a.min(b) };
        Limits {
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            cpu_ms_per_call: self.cpu_ms_per_call.min(other.cpu_ms_per_call),
            cpu_share_percent: self.cpu_share_percent.min(other.cpu_share_percent),
            storage_bytes: self.storage_bytes.min(other.storage_bytes),
            bandwidth_in: bandwidth(self.bandwidth_in, other.bandwidth_in),
            bandwidth_out: bandwidth(self.bandwidth_out, other.bandwidth_out),
            timers: self.timers.min(other.timers),
            sockets: self.sockets.min(other.sockets),
            tasks: self.tasks.min(other.tasks),
            flows: self.flows.min(other.flows),
        }
    }
}

/// The words of permissions, as they stand in manifests.
pub const WORDS: &[&str] = &["inject", "store", "signal", "answer_for", "listen", "connect", "system", "native"];

impl Allowed {
    /// Exactly what `NAME`, or `NAME=RULE`, stands for: all of a permission, or one rule of it.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn of_word(text: &str) -> Result<Allowed, String> {
        let mut allowed = Allowed::default();
        let (name, rule) = text.split_once('=').map_or((text, None), |(name, rule)| (name, Some(rule)));
        let any = |transport: &str| format!("{transport}:*:*").parse::<Rule>();
        let rules = |rule: Option<&str>| match rule {
            Some(rule) => rule.parse().map(|rule| vec![rule]),
            None => Ok(vec![any("tcp")?, any("udp")?]),
        };
        match (name, rule) {
            ("inject", None) => allowed.inject = true,
            ("store", None) => allowed.store = true,
            ("signal", None) => allowed.signal = true,
            ("answer_for", rule) => allowed.answer_for = vec![rule::prefix(rule.unwrap_or("*"))?],
            ("listen", rule) => allowed.listen = rules(rule)?,
            ("connect", rule) => allowed.connect = rules(rule)?,
            ("system", None) => {
                allowed.system = crate::container::permissions::SYSTEM_PARTS.iter().map(|(_, part)| *part).collect();
            }
            ("system", Some(word)) => {
                let part = word.parse().map_err(|()| format!("\"{word}\" is no part of the system"))?;
                allowed.system.insert(part);
            }
            ("native", None) => {
                let blocks = crate::container::permissions::NATIVE_BLOCKS;
                allowed.native = blocks.iter().map(|name| (*name).to_owned()).collect();
            }
            ("native", Some(word)) => {
                allowed.native.insert(word.to_owned());
            }
            ("inject" | "store" | "signal", Some(_)) => {
                return Err(format!("\"{name}\" has no rules; write only {name}"));
            }
            _ => return Err(format!("\"{text}\" is no permission; write one of {}", WORDS.join(", "))),
        }
        Ok(allowed)
    }

    /// This without all of the permission of this name, one of [`WORDS`].
    #[must_use]
    pub fn without(mut self, name: &str) -> Allowed {
        match name {
            "inject" => self.inject = false,
            "store" => self.store = false,
            "signal" => self.signal = false,
            "answer_for" => self.answer_for.clear(),
            "listen" => self.listen.clear(),
            "connect" => self.connect.clear(),
            "system" => self.system.clear(),
            "native" => self.native.clear(),
            _ => {}
        }
        self
    }

    /// What a wish goes beyond this, in a person's words.
    #[must_use]
    pub fn lacks(&self, wish: &Allowed) -> Vec<String> {
        let given = wish.narrowed(self);
        let lacking = Allowed {
            inject: wish.inject && !self.inject,
            store: wish.store && !self.store,
            signal: wish.signal && !self.signal,
            answer_for: wish.answer_for.iter().filter(|rule| !given.answer_for.contains(rule)).copied().collect(),
            listen: wish.listen.iter().filter(|rule| !given.listen.contains(rule)).cloned().collect(),
            connect: wish.connect.iter().filter(|rule| !given.connect.contains(rule)).cloned().collect(),
            system: wish.system.difference(&self.system).copied().collect(),
            native: wish.native.difference(&self.native).cloned().collect(),
        };
        lacking.sentences()
    }

    /// What it lets a module do: verb phrases, each for a line.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let texts = Texts::from(self.clone());
        texts.sentences()
    }
}

impl Permissions {
    /// This without all of the permission of this name, one of [`WORDS`].
    #[must_use]
    pub fn without(&self, name: &str) -> Permissions {
        let mut rest = self.clone();
        match name {
            "inject" => rest.inject = false,
            "store" => rest.store = false,
            "signal" => rest.signal = false,
            "answer_for" => rest.answer_for.clear(),
            "listen" => rest.listen.clear(),
            "connect" => rest.connect.clear(),
            "system" => rest.system.clear(),
            "native" => rest.native.clear(),
            _ => {}
        }
        rest
    }

    /// What it asks for, as [`Allowed::sentences`]; names of properties stand as they are written.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let written = |texts: &[crate::container::permissions::Text]| {
            texts.iter().map(|text| text.as_str().to_owned()).collect::<Vec<_>>()
        };
        let texts = Texts {
            inject: self.inject,
            store: self.store,
            signal: self.signal,
            answer_for: written(&self.answer_for),
            listen: written(&self.listen),
            connect: written(&self.connect),
            system: self.system.iter().map(|part| part.word().to_owned()).collect(),
            native: self.native.iter().cloned().collect(),
        };
        texts.sentences()
    }
}

/// [`Allowed`] as it is written: as in a manifest.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Texts {
    inject: bool,
    store: bool,
    signal: bool,
    answer_for: Vec<String>,
    listen: Vec<String>,
    connect: Vec<String>,
    system: Vec<String>,
    native: Vec<String>,
}

impl From<Allowed> for Texts {
    fn from(allowed: Allowed) -> Texts {
        let prefix = |rule: &Option<crate::base::filter::Prefix>| rule.map_or("*".to_owned(), |p| p.to_string());
        Texts {
            inject: allowed.inject,
            store: allowed.store,
            signal: allowed.signal,
            answer_for: allowed.answer_for.iter().map(prefix).collect(),
            listen: allowed.listen.iter().map(ToString::to_string).collect(),
            connect: allowed.connect.iter().map(ToString::to_string).collect(),
            system: allowed.system.iter().map(|part| part.word().to_owned()).collect(),
            native: allowed.native.into_iter().collect(),
        }
    }
}

impl Texts {
    fn allowed(self) -> Result<Allowed, String> {
        let rules = |texts: Vec<String>| texts.iter().map(|text| text.parse()).collect::<Result<Vec<Rule>, _>>();
        let part = |word: &String| word.parse().map_err(|()| format!("\"{word}\" is no part of the system"));
        Ok(Allowed {
            inject: self.inject,
            store: self.store,
            signal: self.signal,
            answer_for: self.answer_for.iter().map(|text| rule::prefix(text)).collect::<Result<_, _>>()?,
            listen: rules(self.listen)?,
            connect: rules(self.connect)?,
            system: self.system.iter().map(part).collect::<Result<_, _>>()?,
            native: self.native.into_iter().collect(),
        })
    }

    fn sentences(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut say = |says: bool, text: &str| {
            if says {
                lines.push(text.to_owned());
            }
        };
        say(self.inject, "send packets of its own into your traffic");
        say(self.store, "keep data on this machine");
        say(self.signal, "send signals in this node's name: set up, probe and remove modules on other nodes");
        for text in &self.answer_for {
            let whose = if text == "*" { "any address" } else { text };
            say(true, &format!("answer in the name of {whose}"));
        }
        for text in &self.listen {
            say(true, &format!("be reached from outside: {}", ends(text, false)));
        }
        for text in &self.connect {
            say(true, &format!("connect and send to {}", ends(text, true)));
        }
        if !self.system.is_empty() {
            say(true, &format!("read about this machine: {}", self.system.join(", ")));
        }
        for text in &self.native {
            say(true, &format!("have \"{text}\" work on packets without its own code"));
        }
        lines
    }
}

/// `tcp:example.org:443` as a person would say it.
fn ends(text: &str, with_host: bool) -> String {
    let Some((transport, rest)) = text.split_once(':') else { return text.to_owned() };
    let transport = transport.to_ascii_uppercase();
    let (host, ports) = rest.rsplit_once(':').unwrap_or(("*", rest));
    let port = match ports {
        "*" | "any" => format!("any {transport} port"),
        ports if ports.contains('-') || ports.contains('$') => format!("{transport} ports {ports}"),
        port => format!("{transport} port {port}"),
    };
    match host {
        _ if !with_host => port,
        "*" | "any" => format!("any host, {port}"),
        host => format!("{host}, {port}"),
    }
}

mod written {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Allowed, Texts};

    pub(super) fn serialize<S: Serializer>(allowed: &Allowed, serializer: S) -> Result<S::Ok, S::Error> {
        Texts::from(allowed.clone()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Allowed, D::Error> {
        Texts::deserialize(deserializer)?.allowed().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;

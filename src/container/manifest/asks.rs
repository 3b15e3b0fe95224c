//! What a manifest asks of the node: permissions, limits, other modules and their services.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

use super::read::{Reader, is_name, quoted};
use super::{Limits, ManifestError, ServiceUse};
use crate::base::limits::{
    MODULE_BANDWIDTH_MAX, MODULE_CALL_DEFAULT, MODULE_CALL_MAX, MODULE_CPU_SHARE_DEFAULT, MODULE_CPU_SHARE_MAX,
    MODULE_FLOWS_MAX, MODULE_MEMORY_DEFAULT, MODULE_MEMORY_MAX, MODULE_MEMORY_MIN, MODULE_REQUIRES_MAX,
    MODULE_SOCKETS_DEFAULT, MODULE_SOCKETS_MAX, MODULE_STORAGE_MAX, MODULE_TASKS_DEFAULT, MODULE_TASKS_MAX,
    MODULE_TIMERS_DEFAULT, MODULE_TIMERS_MAX, NAME_BYTES_MAX, PERMISSION_RULES_MAX,
};
use crate::container::permissions::{NATIVE_BLOCKS, Permissions, Rule, SYSTEM_PARTS, SystemPart, Text, rule};
use crate::container::properties::PropertyKey;

/// A key of `[limits]`.
pub(crate) struct LimitKey {
    pub(crate) key: &'static str,
    /// What it bounds, with its unit.
    pub(crate) bounds: &'static str,
    pub(crate) min: u64,
    pub(crate) max: u64,
    /// What holds when the manifest says nothing.
    pub(crate) default: u64,
    /// Reads it.
    pub(crate) of: fn(&Limits) -> u64,
    /// Writes it; the value is at most `max`.
    pub(crate) set: fn(&mut Limits, u64),
}

/// All keys of `[limits]`: what a manifest may say, and what `docs/api/limits.md` shows.
pub(crate) const LIMIT_KEYS: &[LimitKey] = &[
    LimitKey {
        key: "memory_bytes",
        bounds: "Bytes of memory of the VM.",
        min: MODULE_MEMORY_MIN,
        max: MODULE_MEMORY_MAX,
        default: MODULE_MEMORY_DEFAULT,
        of: |limits| limits.memory_bytes,
        set: |limits, value| limits.memory_bytes = value,
    },
    LimitKey {
        key: "cpu_ms_per_call",
        bounds: "Milliseconds of CPU time of one call into the module.",
        min: 1,
        max: MODULE_CALL_MAX.as_millis() as u64,
        default: MODULE_CALL_DEFAULT.as_millis() as u64,
        of: |limits| limits.cpu_ms_per_call,
        set: |limits, value| limits.cpu_ms_per_call = value,
    },
    LimitKey {
        key: "cpu_share_percent",
        bounds: "Share of one core over time, in percent.",
        min: 1,
        max: MODULE_CPU_SHARE_MAX as u64,
        default: MODULE_CPU_SHARE_DEFAULT as u64,
        of: |limits| limits.cpu_share_percent.into(),
        set: |limits, value| limits.cpu_share_percent = value as u32,
    },
    LimitKey {
        key: "storage_bytes",
        bounds: "Bytes that it keeps over restarts, in `@netserv/kv` and `@netserv/files` together. Needs the permission \
                 `store`.",
        min: 0,
        max: MODULE_STORAGE_MAX,
        default: 0,
        of: |limits| limits.storage_bytes,
        set: |limits, value| limits.storage_bytes = value,
    },
    LimitKey {
        key: "bandwidth_in",
        bounds: "Bits per second that come in by its sockets; 0 = no limit.",
        min: 0,
        max: MODULE_BANDWIDTH_MAX,
        default: 0,
        of: |limits| limits.bandwidth_in,
        set: |limits, value| limits.bandwidth_in = value,
    },
    LimitKey {
        key: "bandwidth_out",
        bounds: "Bits per second that go out by its sockets and as packets of its own; 0 = no limit.",
        min: 0,
        max: MODULE_BANDWIDTH_MAX,
        default: 0,
        of: |limits| limits.bandwidth_out,
        set: |limits, value| limits.bandwidth_out = value,
    },
    LimitKey {
        key: "timers",
        bounds: "Timers at once; a task that sleeps or waits with a time takes one.",
        min: 0,
        max: MODULE_TIMERS_MAX as u64,
        default: MODULE_TIMERS_DEFAULT as u64,
        of: |limits| limits.timers.into(),
        set: |limits, value| limits.timers = value as u32,
    },
    LimitKey {
        key: "sockets",
        bounds: "Sockets at once, listening ones included.",
        min: 0,
        max: MODULE_SOCKETS_MAX as u64,
        default: MODULE_SOCKETS_DEFAULT as u64,
        of: |limits| limits.sockets.into(),
        set: |limits, value| limits.sockets = value as u32,
    },
    LimitKey {
        key: "tasks",
        bounds: "Tasks at once.",
        min: 0,
        max: MODULE_TASKS_MAX as u64,
        default: MODULE_TASKS_DEFAULT as u64,
        of: |limits| limits.tasks.into(),
        set: |limits, value| limits.tasks = value as u32,
    },
    LimitKey {
        key: "flows",
        bounds: "Flows that it looks at, at once.",
        min: 1,
        max: MODULE_FLOWS_MAX as u64,
        default: MODULE_FLOWS_MAX as u64,
        of: |limits| limits.flows.into(),
        set: |limits, value| limits.flows = value as u32,
    },
];

impl LimitKey {
    /// The entry of a key that stands in the table.
    fn of_key(key: &str) -> &'static LimitKey {
        LIMIT_KEYS.iter().find(|limit| limit.key == key).expect("every limit stands in the table")
    }
}

/// `[permissions]`, and `[permissions.optional]`, as serde reads them.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPermissions {
    #[serde(default)]
    inject: bool,
    #[serde(default)]
    store: bool,
    #[serde(default)]
    signal: bool,
    #[serde(default)]
    answer_for: Vec<Spanned<String>>,
    #[serde(default)]
    listen: Vec<Spanned<String>>,
    #[serde(default)]
    connect: Vec<Spanned<String>>,
    #[serde(default)]
    system: Vec<Spanned<String>>,
    #[serde(default)]
    native: Vec<Spanned<String>>,
    pub(super) optional: Option<Box<Spanned<RawPermissions>>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    memory_bytes: Option<Spanned<i64>>,
    cpu_ms_per_call: Option<Spanned<i64>>,
    cpu_share_percent: Option<Spanned<i64>>,
    storage_bytes: Option<Spanned<i64>>,
    bandwidth_in: Option<Spanned<i64>>,
    bandwidth_out: Option<Spanned<i64>>,
    timers: Option<Spanned<i64>>,
    sockets: Option<Spanned<i64>>,
    tasks: Option<Spanned<i64>>,
    flows: Option<Spanned<i64>>,
}

/// A service that is used: its versions, or a table with them.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawUse {
    Version(String),
    Table(UseTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UseTable {
    version: String,
    #[serde(default)]
    optional: bool,
}

impl Reader<'_> {
    pub(super) fn limits(&self, raw: &RawLimits) -> Result<Limits, ManifestError> {
        let given = [
            ("memory_bytes", &raw.memory_bytes),
            ("cpu_ms_per_call", &raw.cpu_ms_per_call),
            ("cpu_share_percent", &raw.cpu_share_percent),
            ("storage_bytes", &raw.storage_bytes),
            ("bandwidth_in", &raw.bandwidth_in),
            ("bandwidth_out", &raw.bandwidth_out),
            ("timers", &raw.timers),
            ("sockets", &raw.sockets),
            ("tasks", &raw.tasks),
            ("flows", &raw.flows),
        ];
        let mut limits = Limits::default();
        for (key, given) in given {
            let Some(given) = given else { continue };
            let limit = LimitKey::of_key(key);
            let value = u64::try_from(*given.get_ref()).ok().filter(|value| (limit.min..=limit.max).contains(value));
            let remedy = || format!("write a number from {} to {}", limit.min, limit.max);
            let value = value.ok_or_else(|| self.wrong(given, &format!("limits.{key}"), given.get_ref(), remedy()))?;
            (limit.set)(&mut limits, value);
        }
        Ok(limits)
    }

    /// `path` is the table's name.
    pub(super) fn permissions(
        &self,
        path: &str,
        raw: &RawPermissions,
        keys: &BTreeMap<String, PropertyKey>,
    ) -> Result<Permissions, ManifestError> {
        if let (Some(nested), true) = (&raw.optional, path != "permissions") {
            return Err(self.wrong(nested, &format!("{path}.optional"), "{...}", "leave it out"));
        }
        let list = |key: &str, texts: &[Spanned<String>], check: fn(&str) -> Result<(), String>| {
            let key = format!("{path}.{key}");
            if let Some(one_more) = texts.get(PERMISSION_RULES_MAX) {
                let remedy = format!("a list has at most {PERMISSION_RULES_MAX} entries");
                return Err(self.wrong(one_more, &key, quoted(one_more.get_ref()), remedy));
            }
            texts.iter().map(|text| self.text(text, &key, keys, check)).collect::<Result<Vec<Text>, _>>()
        };
        let is_rule = |text: &str| text.parse::<Rule>().map(|_| ());
        let known: Vec<&str> = SYSTEM_PARTS.iter().map(|(word, _)| *word).collect();
        let system = self.words(&format!("{path}.system"), &raw.system, &known)?;
        let native = self.words(&format!("{path}.native"), &raw.native, NATIVE_BLOCKS)?;
        Ok(Permissions {
            inject: raw.inject,
            store: raw.store,
            signal: raw.signal,
            answer_for: list("answer_for", &raw.answer_for, |text| rule::prefix(text).map(|_| ()))?,
            listen: list("listen", &raw.listen, |text| {
                let rule: Rule = text.parse()?;
                let hint = "one listens at a port of this machine: write \"tcp:8080\"";
                if rule.host == rule::Host::Any { Ok(()) } else { Err(hint.to_owned()) }
            })?,
            connect: list("connect", &raw.connect, is_rule)?,
            system: system.iter().filter_map(|word| SystemPart::from_str(word).ok()).collect(),
            native: native.into_iter().map(str::to_owned).collect(),
        })
    }

    fn text(
        &self,
        text: &Spanned<String>,
        key: &str,
        keys: &BTreeMap<String, PropertyKey>,
        check: fn(&str) -> Result<(), String>,
    ) -> Result<Text, ManifestError> {
        let written = text.get_ref();
        if !written.contains('$') {
            check(written).map_err(|remedy| self.wrong(text, key, quoted(written), remedy))?;
            return Ok(Text::Written(written.clone()));
        }
        match rule::property_names(written).find(|name| !keys.contains_key(*name)) {
            Some(name) => {
                let remedy = format!("there is no property \"{name}\"; declare it under [config.{name}]");
                Err(self.wrong(text, key, quoted(written), remedy))
            }
            None => Ok(Text::WithProperties(written.clone())),
        }
    }

    fn words<'a>(
        &self,
        key: &str,
        given: &'a [Spanned<String>],
        known: &[&str],
    ) -> Result<BTreeSet<&'a str>, ManifestError> {
        if let Some(odd) = given.iter().find(|word| !known.contains(&word.get_ref().as_str())) {
            let known: Vec<String> = known.iter().map(|word| format!("\"{word}\"")).collect();
            let remedy = format!("write one of {}", known.join(", "));
            return Err(self.wrong(odd, key, quoted(odd.get_ref()), remedy));
        }
        Ok(given.iter().map(|word| word.get_ref().as_str()).collect())
    }

    pub(super) fn requires(
        &self,
        raw: &BTreeMap<String, Spanned<String>>,
    ) -> Result<BTreeMap<String, semver::VersionReq>, ManifestError> {
        let mut requires = BTreeMap::new();
        for (name, version) in raw {
            let key = format!("requires.{name}");
            if !is_name(name, '-') {
                let remedy = "the name of a module is lower case letters, digits and \"-\", a letter first";
                return Err(self.wrong(version, &key, quoted(version.get_ref()), remedy));
            }
            self.count(requires.len(), version, &key)?;
            requires.insert(name.clone(), self.range(version, version.get_ref(), &key)?);
        }
        Ok(requires)
    }

    pub(super) fn provides(
        &self,
        raw: &BTreeMap<String, Spanned<String>>,
    ) -> Result<BTreeMap<String, semver::Version>, ManifestError> {
        let mut provides = BTreeMap::new();
        for (name, version) in raw {
            let key = format!("provides.\"{name}\"");
            self.service_name(version, &key, name)?;
            self.count(provides.len(), version, &key)?;
            let text = version.get_ref();
            let parsed = semver::Version::parse(text).map_err(|error| {
                self.wrong(version, &key, quoted(text), format!("{error}; write three numbers, such as \"1.0.0\""))
            })?;
            provides.insert(name.clone(), parsed);
        }
        Ok(provides)
    }

    pub(super) fn uses(
        &self,
        raw: &BTreeMap<String, Spanned<RawUse>>,
    ) -> Result<BTreeMap<String, ServiceUse>, ManifestError> {
        let mut uses = BTreeMap::new();
        for (name, raw) in raw {
            let key = format!("uses.\"{name}\"");
            self.service_name(raw, &key, name)?;
            self.count(uses.len(), raw, &key)?;
            let (version, optional) = match raw.get_ref() {
                RawUse::Version(version) => (version, false),
                RawUse::Table(table) => (&table.version, table.optional),
            };
            uses.insert(name.clone(), ServiceUse { version: self.range(raw, version, &key)?, optional });
        }
        Ok(uses)
    }

    fn service_name<T>(&self, at: &Spanned<T>, key: &str, name: &str) -> Result<(), ManifestError> {
        if name.len() <= NAME_BYTES_MAX && name.split('.').all(|part| is_name(part, '-')) {
            return Ok(());
        }
        let remedy = "the name of a service is words of lower case letters, digits and \"-\" with dots between them, \
                      such as \"sip.registrar\"";
        Err(self.wrong(at, key, "...", remedy))
    }

    fn count<T>(&self, count: usize, at: &Spanned<T>, key: &str) -> Result<(), ManifestError> {
        if count < MODULE_REQUIRES_MAX {
            return Ok(());
        }
        Err(self.wrong(at, key, "...", format!("there may be at most {MODULE_REQUIRES_MAX} of them")))
    }

    fn range<T>(&self, at: &Spanned<T>, text: &str, key: &str) -> Result<semver::VersionReq, ManifestError> {
        semver::VersionReq::parse(text).map_err(|error| {
            self.wrong(at, key, quoted(text), format!("{error}; write a range of versions, such as \"^1.2\""))
        })
    }
}

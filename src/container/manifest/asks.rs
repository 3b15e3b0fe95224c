//! What a manifest asks of the node: permissions, limits, other modules and their services.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

use super::read::{Reader, is_name, quoted};
use super::{Limits, ManifestError, ServiceUse};
use crate::base::limits::{
    MODULE_BANDWIDTH_MAX, MODULE_CALL_MAX, MODULE_CPU_SHARE_MAX, MODULE_FLOWS_MAX, MODULE_MEMORY_MAX,
    MODULE_MEMORY_MIN, MODULE_REQUIRES_MAX, MODULE_SOCKETS_MAX, MODULE_STORAGE_MAX, MODULE_TASKS_MAX,
    MODULE_TIMERS_MAX, NAME_BYTES_MAX, PERMISSION_RULES_MAX,
};
use crate::container::permissions::{NATIVE_BLOCKS, Permissions, Rule, SYSTEM_PARTS, SystemPart, Text, rule};
use crate::container::properties::PropertyKey;

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
        let default = Limits::default();
        let number = |key: &str, given: &Option<Spanned<i64>>, default: u64, min: u64, max: u64| {
            let Some(given) = given else { return Ok(default) };
            let value = u64::try_from(*given.get_ref()).ok().filter(|value| (min..=max).contains(value));
            let remedy = || format!("write a number from {min} to {max}");
            value.ok_or_else(|| self.wrong(given, &format!("limits.{key}"), given.get_ref(), remedy()))
        };
        let small = |key: &str, given: &Option<Spanned<i64>>, default: u32, min: u32, max: u32| {
            number(key, given, default.into(), min.into(), max.into()).map(|value| value as u32)
        };
        let (memory, cpu) = (default.memory_bytes, default.cpu_ms_per_call);
        let share = default.cpu_share_percent;
        Ok(Limits {
            memory_bytes: number("memory_bytes", &raw.memory_bytes, memory, MODULE_MEMORY_MIN, MODULE_MEMORY_MAX)?,
            cpu_ms_per_call: number(
                "cpu_ms_per_call",
                &raw.cpu_ms_per_call,
                cpu,
                1,
                MODULE_CALL_MAX.as_millis() as u64,
            )?,
            cpu_share_percent: small("cpu_share_percent", &raw.cpu_share_percent, share, 1, MODULE_CPU_SHARE_MAX)?,
            storage_bytes: number("storage_bytes", &raw.storage_bytes, 0, 0, MODULE_STORAGE_MAX)?,
            bandwidth_in: number("bandwidth_in", &raw.bandwidth_in, 0, 0, MODULE_BANDWIDTH_MAX)?,
            bandwidth_out: number("bandwidth_out", &raw.bandwidth_out, 0, 0, MODULE_BANDWIDTH_MAX)?,
            timers: small("timers", &raw.timers, default.timers, 0, MODULE_TIMERS_MAX)?,
            sockets: small("sockets", &raw.sockets, default.sockets, 0, MODULE_SOCKETS_MAX)?,
            tasks: small("tasks", &raw.tasks, default.tasks, 0, MODULE_TASKS_MAX)?,
            flows: small("flows", &raw.flows, default.flows, 1, MODULE_FLOWS_MAX)?,
        })
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

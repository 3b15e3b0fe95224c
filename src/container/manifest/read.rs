//! From the text of `module.toml` to a checked [`Manifest`].

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Spanned, Value};

use crate::base::limits::{
    MANIFEST_BYTES_MAX, MANIFEST_FILTERS_MAX, MODULE_COUNTERS_MAX, NAME_BYTES_MAX, PROPERTIES_MAX,
};
use crate::base::text::is_plain;
use crate::container::manifest::asks::{RawLimits, RawPermissions, RawUse};
use crate::container::manifest::rules::{Place, Term, filters};
use crate::container::manifest::{API_VERSION, Changes, FilterRule, Manifest, ManifestError, Sees};
use crate::container::permissions::Permissions;
use crate::container::properties::{ANY, Properties, PropertyKey, PropertyType, shortened, type_names};

/// The file as serde reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Spanned<String>,
    version: Spanned<String>,
    api: Spanned<i64>,
    summary: Spanned<String>,
    #[serde(default)]
    authors: Vec<String>,
    #[serde(default)]
    licence: String,
    entry: Option<Spanned<String>>,
    #[serde(default)]
    library: bool,
    packets: Option<Spanned<Packets>>,
    #[serde(default)]
    filters: Vec<Spanned<Rule>>,
    permissions: Option<Spanned<RawPermissions>>,
    limits: Option<Spanned<RawLimits>>,
    #[serde(default)]
    requires: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    provides: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    uses: BTreeMap<String, Spanned<RawUse>>,
    #[serde(default)]
    config: BTreeMap<String, Spanned<Key>>,
    #[serde(default)]
    counters: BTreeMap<String, Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Packets {
    sees: Option<Spanned<String>>,
    changes: Option<Spanned<String>>,
    #[serde(default)]
    drops: bool,
    on_fault: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    ip_version: Option<Spanned<Value>>,
    protocol: Option<Spanned<Value>>,
    from: Option<Spanned<Value>>,
    to: Option<Spanned<Value>>,
    from_port: Option<Spanned<Value>>,
    to_port: Option<Spanned<Value>>,
    #[serde(default)]
    both_directions: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    #[serde(rename = "type")]
    kind: Spanned<String>,
    meaning: Spanned<String>,
    unit: Option<String>,
    default: Option<Spanned<Value>>,
    min: Option<Spanned<Value>>,
    max: Option<Spanned<Value>>,
    choices: Option<Spanned<Vec<Value>>>,
}

/// See [`Manifest::parse`].
pub(super) fn manifest(text: &str) -> Result<Manifest, ManifestError> {
    if text.len() > MANIFEST_BYTES_MAX {
        return Err(ManifestError::TooLong { got_bytes: text.len(), want_bytes: MANIFEST_BYTES_MAX });
    }
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        ManifestError::Syntax {
            line: line_of(text, at),
            message: error.message().to_owned(),
            text: shortened(line_at(text, at)),
        }
    })?;
    let reader = Reader { text };
    reader.head(&file)?;
    reader.library(&file)?;
    let properties = reader.properties(&file.config)?;
    let (sees, changes, drops, passes_on_fault) = reader.packets(&file)?;
    let nothing = RawPermissions::default();
    let permissions = file.permissions.as_ref().map_or(&nothing, Spanned::get_ref);
    let manifest = Manifest {
        version: reader.version(&file.version)?,
        entry: reader.entry(file.entry.as_ref())?,
        library: file.library,
        sees,
        changes,
        drops,
        passes_on_fault,
        permissions: reader.permissions("permissions", permissions, &properties)?,
        optional_permissions: match &permissions.optional {
            Some(optional) => reader.permissions("permissions.optional", optional.get_ref(), &properties)?,
            None => Permissions::default(),
        },
        requires: reader.requires(&file.requires)?,
        provides: reader.provides(&file.provides)?,
        uses: reader.uses(&file.uses)?,
        limits: reader.limits(file.limits.as_ref().map_or(&RawLimits::default(), Spanned::get_ref))?,
        filter_rules: reader.filters(&file.filters, &properties)?,
        counters: reader.counters(&file.counters)?,
        properties,
        name: file.name.into_inner(),
        summary: file.summary.into_inner(),
        authors: file.authors,
        licence: file.licence,
    };
    Ok(manifest)
}

pub(super) struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    /// The error for a value: the key with the tables around it, and what to write instead.
    pub(super) fn wrong<T>(
        &self,
        at: &Spanned<T>,
        key: &str,
        got: impl ToString,
        remedy: impl Into<String>,
    ) -> ManifestError {
        self.wrong_at(at.span().start, key, got, remedy)
    }

    fn wrong_at(&self, at: usize, key: &str, got: impl ToString, remedy: impl Into<String>) -> ManifestError {
        ManifestError::Value {
            line: line_of(self.text, at),
            key: key.to_owned(),
            got: shortened(&got.to_string()),
            remedy: remedy.into(),
        }
    }

    fn head(&self, file: &File) -> Result<(), ManifestError> {
        let name = file.name.get_ref();
        if !is_name(name, '-') {
            let remedy = format!(
                "a name is 1 to {NAME_BYTES_MAX} lower case letters, digits and \"-\", and begins with a letter"
            );
            return Err(self.wrong(&file.name, "name", quoted(name), remedy));
        }
        if *file.api.get_ref() != API_VERSION {
            return Err(self.wrong(
                &file.api,
                "api",
                file.api.get_ref(),
                format!("this program has api {API_VERSION}"),
            ));
        }
        self.sentence(&file.summary, "summary")
    }

    /// A library is code for others: it has no packets, permissions, limits and settings of its own.
    fn library(&self, file: &File) -> Result<(), ManifestError> {
        if !file.library {
            return Ok(());
        }
        let tables = [
            ("packets", file.packets.as_ref().map(|table| table.span().start)),
            ("filters", file.filters.first().map(|table| table.span().start)),
            ("permissions", file.permissions.as_ref().map(|table| table.span().start)),
            ("limits", file.limits.as_ref().map(|table| table.span().start)),
            ("provides", file.provides.values().next().map(|value| value.span().start)),
            ("uses", file.uses.values().next().map(|value| value.span().start)),
            ("config", file.config.values().next().map(|table| table.span().start)),
            ("counters", file.counters.values().next().map(|value| value.span().start)),
        ];
        let Some((table, at)) = tables.into_iter().find_map(|(table, at)| Some((table, at?))) else { return Ok(()) };
        let remedy = "a library runs as a part of the modules that require it, with what they ask for: \
                      leave this out, or take library = true away";
        Err(self.wrong_at(at, table, "...", remedy))
    }

    fn sentence(&self, text: &Spanned<String>, key: &str) -> Result<(), ManifestError> {
        let is_line = !text.get_ref().trim().is_empty() && is_plain(text.get_ref());
        let remedy = "write one sentence, on one line";
        if is_line { Ok(()) } else { Err(self.wrong(text, key, quoted(text.get_ref()), remedy)) }
    }

    fn version(&self, version: &Spanned<String>) -> Result<semver::Version, ManifestError> {
        let text = version.get_ref();
        semver::Version::parse(text).map_err(|error| {
            self.wrong(version, "version", quoted(text), format!("{error}; write three numbers, such as \"1.0.0\""))
        })
    }

    fn entry(&self, entry: Option<&Spanned<String>>) -> Result<String, ManifestError> {
        let Some(entry) = entry else { return Ok("init.luau".to_owned()) };
        let name = entry.get_ref();
        if name.ends_with(".luau") && !name.starts_with("tests/") {
            return Ok(name.clone());
        }
        Err(self.wrong(entry, "entry", quoted(name), "write the path of a .luau file outside of tests/"))
    }

    fn packets(&self, file: &File) -> Result<(Sees, Changes, bool, bool), ManifestError> {
        let Some(table) = &file.packets else { return Ok((Sees::Headers, Changes::Nothing, false, true)) };
        if file.filters.is_empty() {
            let remedy = "without [[filters]] the module gets no packets: add a filter, or leave [packets] out";
            return Err(self.wrong(table, "packets", "{...}", remedy));
        }
        let packets = table.get_ref();
        let sees = [("headers", Sees::Headers), ("payload", Sees::Payload)];
        let sees = self.choice("packets.sees", packets.sees.as_ref(), &sees)?;
        let changes = [
            ("nothing", Changes::Nothing),
            ("headers", Changes::Headers),
            ("payload", Changes::Payload),
            ("length", Changes::Length),
        ];
        let level = self.choice("packets.changes", packets.changes.as_ref(), &changes)?;
        if let (Sees::Headers, Some(changes), true) = (sees, &packets.changes, level > Changes::Headers) {
            let remedy = "a handler that changes the payload must see it: add sees = \"payload\"";
            return Err(self.wrong(changes, "packets.changes", quoted(changes.get_ref()), remedy));
        }
        let on_fault =
            self.choice("packets.on_fault", packets.on_fault.as_ref(), &[("pass", true), ("drop", false)])?;
        if let (false, Some(given), false) = (on_fault, &packets.on_fault, packets.drops) {
            let remedy = "a module that drops packets says so: add drops = true";
            return Err(self.wrong(given, "packets.on_fault", quoted(given.get_ref()), remedy));
        }
        Ok((sees, level, packets.drops, on_fault))
    }

    /// One of several words; the first if none is given.
    fn choice<T: Copy>(
        &self,
        key: &str,
        given: Option<&Spanned<String>>,
        choices: &[(&str, T)],
    ) -> Result<T, ManifestError> {
        let Some(given) = given else { return Ok(choices[0].1) };
        let found = choices.iter().find(|(word, _)| word == given.get_ref());
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.wrong(given, key, quoted(given.get_ref()), format!("write one of {}", words.join(", ")))
        })
    }

    fn counters(
        &self,
        counters: &BTreeMap<String, Spanned<String>>,
    ) -> Result<BTreeMap<String, String>, ManifestError> {
        let mut checked = BTreeMap::new();
        for (name, meaning) in counters {
            let key = format!("counters.{name}");
            self.key_name(meaning, &key, name)?;
            self.sentence(meaning, &key)?;
            if checked.len() == MODULE_COUNTERS_MAX {
                let remedy = format!("a module has at most {MODULE_COUNTERS_MAX} counters");
                return Err(self.wrong(meaning, &key, quoted(meaning.get_ref()), remedy));
            }
            checked.insert(name.clone(), meaning.get_ref().clone());
        }
        Ok(checked)
    }

    fn key_name<T>(&self, at: &Spanned<T>, key: &str, name: &str) -> Result<(), ManifestError> {
        if is_name(name, '_') {
            return Ok(());
        }
        let remedy =
            format!("its name must be 1 to {NAME_BYTES_MAX} lower case letters, digits and \"_\", a letter first");
        Err(self.wrong(at, key, "...", remedy))
    }

    fn properties(
        &self,
        config: &BTreeMap<String, Spanned<Key>>,
    ) -> Result<BTreeMap<String, PropertyKey>, ManifestError> {
        let mut keys = BTreeMap::new();
        for (name, raw) in config {
            let key = format!("config.{name}");
            self.key_name(raw, &key, name)?;
            if keys.len() == PROPERTIES_MAX {
                return Err(self.wrong(
                    raw,
                    &key,
                    "{...}",
                    format!("a module has at most {PROPERTIES_MAX} properties"),
                ));
            }
            keys.insert(name.clone(), self.property(&key, raw.get_ref())?);
        }
        Ok(keys)
    }

    fn property(&self, path: &str, raw: &Key) -> Result<PropertyKey, ManifestError> {
        let part = |name: &str| format!("{path}.{name}");
        self.sentence(&raw.meaning, &part("meaning"))?;
        let kind = raw.kind.get_ref().parse().map_err(|()| {
            self.wrong(&raw.kind, &part("type"), quoted(raw.kind.get_ref()), format!("write one of {}", type_names()))
        })?;
        let meaning = raw.meaning.get_ref().clone();
        let mut key = PropertyKey {
            meaning,
            kind,
            unit: raw.unit.clone(),
            default: None,
            min: None,
            max: None,
            choices: Vec::new(),
        };
        key.min = self.bound(&part("min"), &key, raw.min.as_ref())?;
        key.max = self.bound(&part("max"), &key, raw.max.as_ref())?;
        if let (Some(min), Some(max), Some(raw_max)) = (key.min, key.max, &raw.max)
            && min > max
        {
            return Err(self.wrong(raw_max, &part("max"), max, format!("it must not be below min = {min}")));
        }
        if let Some(choices) = &raw.choices {
            // A choice is one item, also of a list.
            let item = PropertyKey { kind: PropertyType { list: false, ..kind }, ..key.clone() };
            let checked: Result<Vec<Value>, String> =
                choices.get_ref().iter().map(|choice| item.check(choice)).collect();
            key.choices = checked.map_err(|allowed| {
                let got = Value::Array(choices.get_ref().clone());
                self.wrong(choices, &part("choices"), got, format!("each must be: {allowed}"))
            })?;
            if key.choices.is_empty() {
                return Err(self.wrong(choices, &part("choices"), "[]", "name at least one, or leave it out"));
            }
        }
        if let Some(default) = &raw.default {
            let value = default.get_ref();
            key.default = Some(match value.as_str() {
                Some(ANY) if kind.may_be_any() => value.clone(),
                _ => key.check(value).map_err(|allowed| {
                    self.wrong(default, &part("default"), value, format!("it must be: {allowed}"))
                })?,
            });
        }
        Ok(key)
    }

    fn bound(&self, path: &str, key: &PropertyKey, raw: Option<&Spanned<Value>>) -> Result<Option<f64>, ManifestError> {
        let Some(raw) = raw else { return Ok(None) };
        let value = raw.get_ref();
        if !key.kind.has_range() {
            let remedy = format!("the type \"{}\" has no range; leave it out", key.kind);
            return Err(self.wrong(raw, path, value, remedy));
        }
        let number = value.as_float().or_else(|| value.as_integer().map(|n| n as f64));
        let number = number.filter(|n| n.is_finite());
        number.map(Some).ok_or_else(|| self.wrong(raw, path, value, "write a number"))
    }

    fn filters(
        &self,
        raw: &[Spanned<Rule>],
        keys: &BTreeMap<String, PropertyKey>,
    ) -> Result<Vec<FilterRule>, ManifestError> {
        if let Some(one_more) = raw.get(MANIFEST_FILTERS_MAX) {
            let remedy = format!("a manifest has at most {MANIFEST_FILTERS_MAX} of them; use lists in properties");
            return Err(self.wrong(one_more, "filters", "{...}", remedy));
        }
        raw.iter().map(|rule| self.filter(rule, keys)).collect()
    }

    fn filter(
        &self,
        spanned: &Spanned<Rule>,
        keys: &BTreeMap<String, PropertyKey>,
    ) -> Result<FilterRule, ManifestError> {
        let raw = spanned.get_ref();
        let term = |name, place, value: &Option<Spanned<Value>>| {
            value.as_ref().map(|value| self.term(name, place, value, keys)).transpose()
        };
        let rule = FilterRule {
            ip_version: term("filters.ip_version", Place::IpVersion, &raw.ip_version)?,
            protocol: term("filters.protocol", Place::Protocol, &raw.protocol)?,
            from: term("filters.from", Place::Address, &raw.from)?,
            to: term("filters.to", Place::Address, &raw.to)?,
            from_port: term("filters.from_port", Place::Port, &raw.from_port)?,
            to_port: term("filters.to_port", Place::Port, &raw.to_port)?,
            both_directions: raw.both_directions,
        };
        // What is written out must make sense whatever the properties are.
        let written = |term: &Option<Term>| term.clone().filter(|term| matches!(term, Term::Written(_)));
        let has_port = rule.from_port.is_some() || rule.to_port.is_some();
        let known = FilterRule {
            ip_version: written(&rule.ip_version),
            protocol: written(&rule.protocol),
            from: written(&rule.from),
            to: written(&rule.to),
            to_port: has_port.then(|| Term::Written(Value::String("0-65535".to_owned()))),
            ..FilterRule::default()
        };
        match filters(&[known], &Properties::default()) {
            Err(ManifestError::Filters { message }) => Err(self.wrong(spanned, "filters", "{...}", message)),
            Err(other) => Err(other),
            Ok(_) => Ok(rule),
        }
    }

    fn term(
        &self,
        path: &str,
        place: Place,
        spanned: &Spanned<Value>,
        keys: &BTreeMap<String, PropertyKey>,
    ) -> Result<Term, ManifestError> {
        let value = spanned.get_ref();
        match value.as_str().and_then(|text| text.strip_prefix('$')) {
            Some(name) => match keys.get(name) {
                Some(key) if place.takes_property(key) => Ok(Term::Property(name.to_owned())),
                Some(_) => Err(self.wrong(spanned, path, value, place.allowed())),
                None => {
                    let remedy = format!("there is no [config.{name}]; add it, or write the value itself");
                    Err(self.wrong(spanned, path, value, remedy))
                }
            },
            None if place.takes(value) => Ok(Term::Written(value.clone())),
            None => Err(self.wrong(spanned, path, value, place.allowed())),
        }
    }
}

/// Names are kept to characters that need no quoting anywhere: `joint` is what parts words.
pub(super) fn is_name(text: &str, joint: char) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joint)
}

pub(super) fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// The number, from 1, of the line that holds the byte at `at`.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The line that holds the byte at `at`.
fn line_at(text: &str, at: usize) -> &str {
    text.lines().nth(line_of(text, at) - 1).unwrap_or("").trim()
}

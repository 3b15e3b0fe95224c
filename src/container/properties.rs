//! What can be set on a module: the keys that its manifest declares, and the values that an instance was given.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use toml::Value;

use crate::base::filter::{PortRange, Prefix, protocol_name, protocol_number};
use crate::base::limits::{PROPERTY_BYTES_MAX, PROPERTY_ITEMS_MAX, PROPERTY_SECONDS_MAX};

/// The value that stands for "no restriction" where a key allows it.
pub const ANY: &str = "any";

/// Largest integer that Luau's numbers hold exactly: 2^53.
const INTEGER_MAX: i64 = 1 << 53;

/// What one value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemType {
    /// Text.
    String,
    /// A whole number of at most 2^53 to both sides.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// An IP address.
    Address,
    /// An address, or an address with a prefix length.
    Prefix,
    /// A port.
    Port,
    /// A port or a range of ports; kept as text.
    Ports,
    /// An IP protocol; kept as its name.
    Protocol,
    /// A time span; kept as a number of seconds.
    Duration,
}

/// All item types with the words that manifests use.
const ITEM_TYPES: &[(&str, ItemType)] = &[
    ("string", ItemType::String),
    ("integer", ItemType::Integer),
    ("number", ItemType::Number),
    ("boolean", ItemType::Boolean),
    ("address", ItemType::Address),
    ("prefix", ItemType::Prefix),
    ("port", ItemType::Port),
    ("ports", ItemType::Ports),
    ("protocol", ItemType::Protocol),
    ("duration", ItemType::Duration),
];

/// What the value of a key is: one item, or a list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PropertyType {
    /// What each item is.
    pub item: ItemType,
    /// Whether it is a list.
    pub list: bool,
}

impl PropertyType {
    /// Whether `min` and `max` mean something: the value for numbers, the length in bytes for text.
    #[must_use]
    pub const fn has_range(self) -> bool {
        use ItemType::{Duration, Integer, Number, Port, String};
        matches!(self.item, String | Integer | Number | Port | Duration)
    }

    /// Whether "any" can be its default: what filters may leave open.
    #[must_use]
    pub const fn may_be_any(self) -> bool {
        use ItemType::{Address, Port, Ports, Prefix, Protocol};
        matches!(self.item, Address | Prefix | Port | Ports | Protocol)
    }
}

impl FromStr for PropertyType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (word, list) = text.strip_prefix("list of ").map_or((text, false), |word| (word, true));
        let item = ITEM_TYPES.iter().find(|(name, _)| *name == word).ok_or(())?.1;
        Ok(PropertyType { item, list })
    }
}

impl fmt::Display for PropertyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ITEM_TYPES.iter().find(|(_, item)| *item == self.item).map_or("", |(name, _)| *name);
        write!(f, "{}{name}", if self.list { "list of " } else { "" })
    }
}

/// The words for a property's type, for messages.
#[must_use]
pub fn type_names() -> String {
    let names: Vec<&str> = ITEM_TYPES.iter().map(|(name, _)| *name).collect();
    format!("{}, or \"list of \" and one of these", names.join(", "))
}

/// One key of `[config]` in a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct PropertyKey {
    /// One sentence.
    pub meaning: String,
    /// What its value is.
    pub kind: PropertyType,
    /// What a number counts, for people.
    pub unit: Option<String>,
    /// The value when none is given; without it a value must be given. Already as [`PropertyKey::check`] returns it.
    pub default: Option<Value>,
    /// Least value; of a text its least length in bytes; of a duration in seconds.
    pub min: Option<f64>,
    /// Largest value; of a text its largest length in bytes; of a duration in seconds.
    pub max: Option<f64>,
    /// The only values allowed; empty = all of the type.
    pub choices: Vec<Value>,
}

impl PropertyKey {
    /// Whether "any" is allowed: where the manifest has it as the default.
    #[must_use]
    pub fn allows_any(&self) -> bool {
        self.default.as_ref().and_then(Value::as_str) == Some(ANY) && self.kind.may_be_any()
    }

    /// What values are allowed, as a phrase.
    #[must_use]
    pub fn allowed(&self) -> String {
        let mut text = self.kind.to_string();
        text.push_str(match self.kind.item {
            ItemType::Address => " such as 192.0.2.1 or 2001:db8::1",
            ItemType::Prefix => " such as 192.0.2.0/24 or 2001:db8::1",
            ItemType::Ports => " such as 5060 or 8000-8099",
            ItemType::Protocol => " such as tcp, udp, icmp, icmpv6, sctp or a number from 0 to 255",
            ItemType::Duration => " such as 500ms, 10s, 5m, 2h, 1d or a number of seconds",
            ItemType::String | ItemType::Integer | ItemType::Number | ItemType::Boolean | ItemType::Port => "",
        });
        let unit = match (self.kind.item, &self.unit) {
            (ItemType::String, _) => " bytes long".to_owned(),
            (ItemType::Duration, _) => " seconds".to_owned(),
            (_, Some(unit)) => format!(" {unit}"),
            (_, None) => String::new(),
        };
        match (self.min, self.max) {
            (Some(min), Some(max)) => text.push_str(&format!(", from {min} to {max}{unit}")),
            (Some(min), None) => text.push_str(&format!(", at least {min}{unit}")),
            (None, Some(max)) => text.push_str(&format!(", at most {max}{unit}")),
            (None, None) => {}
        }
        if !self.choices.is_empty() {
            let choices: Vec<String> = self.choices.iter().map(plain).collect();
            text.push_str(&format!(", one of {}", choices.join(", ")));
        }
        if self.allows_any() {
            text.push_str(", or any");
        }
        text
    }

    /// The value as modules get it: addresses in their usual spelling, protocols by name, ports as text, durations as
    /// a number of seconds. Text is taken for any type, as it comes from a command line; items of a list are then
    /// divided by commas.
    ///
    /// # Errors
    ///
    /// When the value does not fit. The message is [`PropertyKey::allowed`].
    pub fn check(&self, value: &Value) -> Result<Value, String> {
        if self.allows_any() && value.as_str() == Some(ANY) {
            return Ok(value.clone());
        }
        if !self.kind.list {
            return self.check_item(value).ok_or_else(|| self.allowed());
        }
        let items: Vec<Value> = match value {
            Value::Array(items) => items.clone(),
            Value::String(text) if text.trim().is_empty() => Vec::new(),
            Value::String(text) => text.split(',').map(|item| Value::String(item.trim().to_owned())).collect(),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Table(_) => {
                vec![value.clone()]
            }
        };
        if items.len() > PROPERTY_ITEMS_MAX {
            return Err(format!("{}, at most {PROPERTY_ITEMS_MAX} items", self.allowed()));
        }
        let items: Option<Vec<Value>> = items.iter().map(|item| self.check_item(item)).collect();
        items.map(Value::Array).ok_or_else(|| self.allowed())
    }

    fn check_item(&self, value: &Value) -> Option<Value> {
        let value = item_of(self.kind.item, value)?;
        let size = match &value {
            Value::String(text) => text.len() as f64,
            Value::Integer(number) => *number as f64,
            Value::Float(number) => *number,
            Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => 0.0,
        };
        let in_range = !self.kind.has_range()
            || (self.min.is_none_or(|min| size >= min) && self.max.is_none_or(|max| size <= max));
        let is_choice = self.choices.is_empty() || self.choices.contains(&value);
        (in_range && is_choice).then_some(value)
    }
}

/// `value` as an item of the type, in its one spelling.
fn item_of(item: ItemType, value: &Value) -> Option<Value> {
    let text = value.as_str();
    let number = |value: &Value| match value {
        Value::Integer(n) => Some(*n as f64),
        Value::Float(n) => Some(*n),
        Value::String(text) => text.parse().ok(),
        Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    };
    let integer = |value: &Value| value.as_integer().or_else(|| text?.parse().ok());
    let spelled = match value {
        Value::Integer(n) => Some(n.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    };
    Some(match item {
        ItemType::String => Value::String(text.filter(|text| text.len() <= PROPERTY_BYTES_MAX)?.to_owned()),
        ItemType::Integer => Value::Integer(integer(value).filter(|n| (-INTEGER_MAX..=INTEGER_MAX).contains(n))?),
        ItemType::Number => Value::Float(number(value).filter(|n| n.is_finite())?),
        ItemType::Boolean => Value::Boolean(value.as_bool().or_else(|| text?.parse().ok())?),
        ItemType::Address => Value::String(text?.parse::<IpAddr>().ok()?.to_string()),
        ItemType::Prefix => Value::String(text?.parse::<Prefix>().ok()?.to_string()),
        ItemType::Port => Value::Integer(integer(value).filter(|n| (0..=65_535).contains(n))?),
        ItemType::Ports => Value::String(spelled?.parse::<PortRange>().ok()?.to_string()),
        ItemType::Protocol => Value::String(protocol_name(protocol_number(&spelled?).ok()?)),
        ItemType::Duration => {
            let seconds = number(value).or_else(|| seconds_of(text?))?;
            Value::Float(Some(seconds).filter(|s| (0.0..=PROPERTY_SECONDS_MAX).contains(s))?)
        }
    })
}

/// Seconds of a number with its unit.
fn seconds_of(text: &str) -> Option<f64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Some(number.trim().parse::<f64>().ok()? * factor)
}

/// A value as people write it: text without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Values that fit the manifest, defaults filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties(pub BTreeMap<String, Value>);

impl Properties {
    /// Checks what the user gave against the manifest's keys, and fills in the defaults.
    ///
    /// # Errors
    ///
    /// The first value that does not fit, with what is allowed.
    pub fn check(keys: &BTreeMap<String, PropertyKey>, given: &toml::Table) -> Result<Properties, PropertyError> {
        if let Some(key) = given.keys().find(|key| !keys.contains_key(*key)) {
            let known: Vec<&str> = keys.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(PropertyError::Unknown { key: key.clone(), known });
        }
        let mut values = BTreeMap::new();
        for (name, key) in keys {
            let value = match given.get(name) {
                Some(value) => key.check(value).map_err(|allowed| PropertyError::Value {
                    key: name.clone(),
                    got: shortened(&value.to_string()),
                    allowed,
                })?,
                None => key.default.clone().ok_or_else(|| PropertyError::Missing {
                    key: name.clone(),
                    meaning: key.meaning.clone(),
                    allowed: key.allowed(),
                })?,
            };
            values.insert(name.clone(), value);
        }
        Ok(Properties(values))
    }
}

/// Properties written as `key=value`, as on a command line. The values stay text; [`Properties::check`] reads them.
///
/// # Errors
///
/// A word without `=`, or a key that comes twice.
pub fn table_of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<toml::Table, PropertyError> {
    let mut table = toml::Table::new();
    for word in words {
        let wrong = || PropertyError::Word { got: shortened(word) };
        let (key, value) = word.split_once('=').ok_or_else(wrong)?;
        let key = key.trim();
        if key.is_empty() {
            return Err(wrong());
        }
        if table.insert(key.to_owned(), Value::String(value.to_owned())).is_some() {
            return Err(PropertyError::Twice { key: key.to_owned() });
        }
    }
    Ok(table)
}

/// The beginning of a text that may be long, for messages.
pub(crate) fn shortened(text: &str) -> String {
    const CHARACTERS: usize = 80;
    match text.char_indices().nth(CHARACTERS) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// What is wrong with the properties that somebody gave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// No such key.
    #[error("the module has no property \"{key}\"; its properties: {known}")]
    Unknown {
        /// The key.
        key: String,
        /// The keys that there are.
        known: String,
    },
    /// A key without default was not given.
    #[error("property \"{key}\" must be given: {meaning} Allowed: {allowed}")]
    Missing {
        /// The key.
        key: String,
        /// What it means.
        meaning: String,
        /// What it may be.
        allowed: String,
    },
    /// The value does not fit.
    #[error("property \"{key}\" cannot be {got}; allowed: {allowed}")]
    Value {
        /// The key.
        key: String,
        /// What was given.
        got: String,
        /// What it may be.
        allowed: String,
    },
    /// Not `key=value`.
    #[error("\"{got}\" is no property; write key=value")]
    Word {
        /// What stood there.
        got: String,
    },
    /// The same key twice.
    #[error("property \"{key}\" is given twice; for a list write {key}=first,second")]
    Twice {
        /// The key.
        key: String,
    },
}

#[cfg(test)]
mod tests;

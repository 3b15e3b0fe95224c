//! From the text of the trust file to checked requesters, and back.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use toml::{Spanned, Value};

use crate::base::amount::{bytes_of, bytes_text, span_of, span_text};
use crate::base::crypto::{from_hex, to_hex};
use crate::base::limits::{
    LIFETIME_MAX, NAME_BYTES_MAX, PACKAGE_BYTES_MAX, REQUESTER_ITEMS_MAX, REQUESTERS_MAX, SIGNALLED_MAX,
    TRUST_BYTES_MAX,
};
use crate::container::manifest::Limits;
use crate::container::manifest::asks::LIMIT_KEYS;
use crate::container::properties::shortened;
use crate::controller::trust::{Permission, Requester, TrustError, limit_word, short_key};
use crate::controller::url::{Scheme, Url};

/// The file as serde reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    requester: Vec<Spanned<RawRequester>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequester {
    name: Spanned<String>,
    key: Spanned<String>,
    packages: Option<Spanned<Vec<Spanned<String>>>>,
    urls: Option<Spanned<Vec<Spanned<String>>>>,
    notify: Option<Spanned<Vec<Spanned<String>>>>,
    permissions: Option<Spanned<Vec<Spanned<String>>>>,
    memory: Option<Spanned<Value>>,
    storage: Option<Spanned<Value>>,
    cpu_ms_per_call: Option<Spanned<Value>>,
    cpu_share_percent: Option<Spanned<Value>>,
    bandwidth_in: Option<Spanned<Value>>,
    bandwidth_out: Option<Spanned<Value>>,
    timers: Option<Spanned<Value>>,
    sockets: Option<Spanned<Value>>,
    tasks: Option<Spanned<Value>>,
    flows: Option<Spanned<Value>>,
    lifetime: Option<Spanned<Value>>,
    instances: Option<Spanned<Value>>,
    package_bytes: Option<Spanned<Value>>,
    probe: Option<bool>,
}

/// See [`crate::controller::trust::Trust::parse`].
pub(super) fn trust(text: &str) -> Result<Vec<Requester>, TrustError> {
    if text.len() > TRUST_BYTES_MAX {
        return Err(TrustError::TooLong { got_bytes: text.len() });
    }
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = line_of(text, at);
        let shown = shortened(text.lines().nth(line - 1).unwrap_or("").trim());
        TrustError::Syntax { line, message: error.message().to_owned(), text: shown }
    })?;
    let reader = Reader { text };
    let mut requesters: Vec<Requester> = Vec::new();
    let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for raw in &file.requester {
        let requester = reader.requester(raw.get_ref())?;
        let (name, key) = (&raw.get_ref().name, &raw.get_ref().key);
        if requesters.len() == REQUESTERS_MAX {
            return Err(reader.wrong(name, "name", format!("at most {REQUESTERS_MAX} requesters are read")));
        }
        if !names.insert(requester.name.clone()) {
            return Err(reader.wrong(name, "name", "another requester has this name; give this one another"));
        }
        if !keys.insert(short_key(&requester.key)) {
            let remedy = "another requester's key has the same first 8 digits, which name its instances; \
                          keep one of the two, or make another key with `netserv key new`";
            return Err(reader.wrong(key, "key", remedy));
        }
        requesters.push(requester);
    }
    Ok(requesters)
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn wrong(&self, at: &Spanned<String>, key: &str, remedy: impl Into<String>) -> TrustError {
        self.wrong_at(at.span().start, key, &Value::String(at.get_ref().clone()).to_string(), remedy)
    }

    fn wrong_at(&self, at: usize, key: &str, got: &str, remedy: impl Into<String>) -> TrustError {
        let line = line_of(self.text, at);
        TrustError::Value { line, key: key.to_owned(), got: shortened(got), remedy: remedy.into() }
    }

    fn requester(&self, raw: &RawRequester) -> Result<Requester, TrustError> {
        let name = raw.name.get_ref();
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_plain) {
            let remedy = format!("write 1 to {NAME_BYTES_MAX} bytes of letters, digits, \".\", \"_\", \"-\" and \"@\"");
            return Err(self.wrong(&raw.name, "name", remedy));
        }
        let key = from_hex(raw.key.get_ref()).ok_or_else(|| {
            self.wrong(&raw.key, "key", "write the 64 hexadecimal digits that `netserv key show` prints")
        })?;
        let mut requester = Requester::new(name, key);
        if let Some(packages) = self.list("packages", raw.packages.as_ref(), |word| self.package(word))? {
            requester.packages = packages;
        }
        if let Some(urls) = self.list("urls", raw.urls.as_ref(), |word| self.prefix("urls", word))? {
            // Without the key packages may come from anywhere. Whoever writes a list that is empty does not mean that.
            if let (true, Some(raw)) = (urls.is_empty(), &raw.urls) {
                let remedy = "write the beginning of at least one URL, or leave it out to allow any";
                return Err(self.wrong_at(raw.span().start, "urls", "[]", remedy));
            }
            requester.urls = urls;
        }
        if let Some(notify) = self.list("notify", raw.notify.as_ref(), |word| self.notify(word))? {
            requester.notify = notify;
        }
        if let Some(permissions) = self.list("permissions", raw.permissions.as_ref(), |word| self.permission(word))? {
            requester.permissions = permissions.into_iter().collect();
        }
        let (key, max) = ("package_bytes", PACKAGE_BYTES_MAX as u64);
        let range = format!("a size from 1 to {}, such as \"1M\"", bytes_text(max));
        self.amount(key, raw.package_bytes.as_ref(), size, 1..=max, &range, &mut requester.package_bytes)?;
        self.limits(raw, &mut requester.limits)?;
        self.count("instances", raw.instances.as_ref(), SIGNALLED_MAX as u32, &mut requester.instances)?;
        let ms = |value: &Value| {
            let span = value.as_str().and_then(span_of)?;
            u64::try_from(span.as_millis()).ok()
        };
        let (max, mut lifetime_ms) = (LIFETIME_MAX.as_millis() as u64, requester.lifetime.as_millis() as u64);
        let range = format!("a time from \"1s\" to {:?}, such as \"1h\"", span_text(LIFETIME_MAX));
        self.amount("lifetime", raw.lifetime.as_ref(), ms, 1_000..=max, &range, &mut lifetime_ms)?;
        requester.lifetime = Duration::from_millis(lifetime_ms);
        requester.probe = raw.probe.unwrap_or(requester.probe);
        Ok(requester)
    }

    /// Reads what bounds a manifest's `[limits]`, each within the manifest's own range.
    fn limits(&self, raw: &RawRequester, limits: &mut Limits) -> Result<(), TrustError> {
        let given = [
            ("memory", &raw.memory),
            ("storage", &raw.storage),
            ("cpu_ms_per_call", &raw.cpu_ms_per_call),
            ("cpu_share_percent", &raw.cpu_share_percent),
            ("bandwidth_in", &raw.bandwidth_in),
            ("bandwidth_out", &raw.bandwidth_out),
            ("timers", &raw.timers),
            ("sockets", &raw.sockets),
            ("tasks", &raw.tasks),
            ("flows", &raw.flows),
        ];
        for limit in LIMIT_KEYS {
            let word = limit_word(limit.key);
            let raw = given.iter().find(|(known, _)| *known == word).and_then(|(_, raw)| raw.as_ref());
            let (min, max) = (limit.min, limit.max);
            let (read, range): (fn(&Value) -> Option<u64>, String) = if is_size(word) {
                (size, format!("a size from {} to {}, such as \"16M\"", bytes_text(min), bytes_text(max)))
            } else {
                (whole, format!("a number from {min} to {max}"))
            };
            let mut value = (limit.of)(limits);
            self.amount(word, raw, read, min..=max, &range, &mut value)?;
            (limit.set)(limits, value);
        }
        Ok(())
    }

    fn list<T>(
        &self,
        key: &str,
        raw: Option<&Spanned<Vec<Spanned<String>>>>,
        check: impl Fn(&Spanned<String>) -> Result<T, TrustError>,
    ) -> Result<Option<Vec<T>>, TrustError> {
        let Some(raw) = raw else { return Ok(None) };
        if let Some(one_more) = raw.get_ref().get(REQUESTER_ITEMS_MAX) {
            return Err(self.wrong(one_more, key, format!("a list has at most {REQUESTER_ITEMS_MAX} items")));
        }
        raw.get_ref().iter().map(check).collect::<Result<_, _>>().map(Some)
    }

    fn package(&self, word: &Spanned<String>) -> Result<String, TrustError> {
        let name = word.get_ref();
        let start = name.strip_suffix('*').unwrap_or(name);
        let is_plain = start.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !is_plain {
            let remedy = "write the name of a module: lower case letters, digits and \"-\"; \
                          a \"*\" at its end stands for anything";
            return Err(self.wrong(word, "packages", remedy));
        }
        Ok(name.clone())
    }

    fn prefix(&self, key: &str, word: &Spanned<String>) -> Result<Url, TrustError> {
        Url::parse(word.get_ref()).map_err(|problem| self.wrong(word, key, problem))
    }

    fn notify(&self, word: &Spanned<String>) -> Result<Url, TrustError> {
        let url = self.prefix("notify", word)?;
        if url.scheme == Scheme::File {
            return Err(self.wrong(word, "notify", "write an address that begins with http:// or https://"));
        }
        Ok(url)
    }

    fn permission(&self, word: &Spanned<String>) -> Result<Permission, TrustError> {
        let remedy = || format!("write some of {}", Permission::words());
        Permission::of_word(word.get_ref()).ok_or_else(|| self.wrong(word, "permissions", remedy()))
    }

    /// Reads a number into `into`, if one is given.
    fn amount(
        &self,
        key: &str,
        raw: Option<&Spanned<Value>>,
        read: impl Fn(&Value) -> Option<u64>,
        range: std::ops::RangeInclusive<u64>,
        allowed: &str,
        into: &mut u64,
    ) -> Result<(), TrustError> {
        let Some(raw) = raw else { return Ok(()) };
        let value = read(raw.get_ref()).filter(|value| range.contains(value));
        let remedy = || format!("write {allowed}");
        *into = value.ok_or_else(|| self.wrong_at(raw.span().start, key, &raw.get_ref().to_string(), remedy()))?;
        Ok(())
    }

    fn count(&self, key: &str, raw: Option<&Spanned<Value>>, max: u32, into: &mut u32) -> Result<(), TrustError> {
        let mut value = u64::from(*into);
        let allowed = format!("a number from 0 to {max}");
        self.amount(key, raw, whole, 0..=u64::from(max), &allowed, &mut value)?;
        *into = u32::try_from(value).expect("it is at most a u32");
        Ok(())
    }
}

/// Whether the word stands for a number of bytes, which may be written `"16M"`.
fn is_size(word: &str) -> bool {
    matches!(word, "memory" | "storage")
}

fn size(value: &Value) -> Option<u64> {
    value.as_str().map_or_else(|| whole(value), bytes_of)
}

fn whole(value: &Value) -> Option<u64> {
    value.as_integer().and_then(|number| u64::try_from(number).ok())
}

/// The number, from 1, of the line that holds the byte at `at`.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// See [`Requester::to_toml`].
pub(super) fn write(requester: &Requester) -> String {
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    let list = |items: &mut dyn Iterator<Item = String>| {
        format!("[{}]", items.map(|item| quoted(&item)).collect::<Vec<_>>().join(", "))
    };
    let mut text = "[[requester]]\n".to_owned();
    let mut put = |key: &str, value: &str| {
        writeln!(text, "{key} = {value}").expect("a String takes everything");
    };
    put("name", &quoted(&requester.name));
    put("key", &quoted(&to_hex(&requester.key)));
    put("packages", &list(&mut requester.packages.iter().cloned()));
    if !requester.urls.is_empty() {
        put("urls", &list(&mut requester.urls.iter().map(ToString::to_string)));
    }
    put("notify", &list(&mut requester.notify.iter().map(ToString::to_string)));
    put("permissions", &list(&mut requester.permissions.iter().map(ToString::to_string)));
    for limit in LIMIT_KEYS {
        let (word, value) = (limit_word(limit.key), (limit.of)(&requester.limits));
        put(word, &if is_size(word) { quoted(&bytes_text(value)) } else { value.to_string() });
    }
    put("lifetime", &quoted(&span_text(requester.lifetime)));
    put("instances", &requester.instances.to_string());
    put("package_bytes", &quoted(&bytes_text(requester.package_bytes)));
    put("probe", &requester.probe.to_string());
    text
}

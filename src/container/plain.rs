//! What a module asks for, in plain words: for whoever decides whether it may.

use serde::Serialize;

use crate::base::amount::bytes_text;
use crate::base::filter::Filter;
use crate::base::text::plain;
use crate::container::manifest::{Changes, Limits, Manifest, Sees};
use crate::container::properties::Properties;

/// What a module asks for. Each line is a verb phrase, or a noun with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wish {
    /// Which packets it is shown, and what it may do with them.
    pub packets: Vec<String>,
    /// Permissions that it cannot do without.
    pub required: Vec<String>,
    /// Permissions that it can do without.
    pub optional: Vec<String>,
    /// The most that it may use.
    pub limits: Vec<String>,
    /// The libraries that it needs.
    pub libraries: Vec<String>,
    /// The services of other modules that it uses, and those that it offers.
    pub services: Vec<String>,
}

impl Wish {
    /// What `manifest` asks for; with properties where they are known.
    #[must_use]
    pub fn of(manifest: &Manifest, properties: Option<&Properties>) -> Wish {
        let sentences = |wish: &crate::container::permissions::Permissions| {
            let resolved = properties.and_then(|properties| wish.resolve(properties).ok());
            resolved.map_or_else(|| wish.sentences(), |allowed| allowed.sentences())
        };
        let uses = manifest.uses.iter().map(|(name, wanted)| {
            let word = if wanted.optional { "uses, if it is there," } else { "uses" };
            format!("{word} {name} {}", wanted.version)
        });
        let provides = manifest.provides.iter().map(|(name, version)| format!("offers {name} {version}"));
        Wish {
            packets: packets(manifest, properties),
            required: sentences(&manifest.permissions),
            optional: sentences(&manifest.optional_permissions),
            limits: limits(&manifest.limits),
            libraries: manifest.requires.iter().map(|(name, wanted)| format!("{name} {wanted}")).collect(),
            services: uses.chain(provides).collect(),
        }
    }

    /// As text, one line for each, under headings.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let parts: [(&str, &[String]); 6] = [
            ("It wants to", &self.packets),
            ("It needs to", &self.required),
            ("If you like, it will also", &self.optional),
            ("It uses at most", &self.limits),
            ("It needs these libraries", &self.libraries),
            ("Services", &self.services),
        ];
        for (heading, lines) in parts {
            if !lines.is_empty() {
                text.push_str(&format!("{heading}:\n"));
                // A rule whose property is not known yet stands as its author wrote it: a terminal must not obey it.
                lines.iter().for_each(|line| text.push_str(&format!("  - {}\n", plain(line))));
            }
        }
        text
    }
}

fn packets(manifest: &Manifest, properties: Option<&Properties>) -> Vec<String> {
    if manifest.filter_rules.is_empty() {
        return Vec::new();
    }
    let mut lines = Vec::new();
    match properties.map(|properties| manifest.filters(properties)) {
        Some(Ok(filters)) if filters.is_empty() => lines.push("see no packets, with these properties".to_owned()),
        Some(Ok(filters)) => lines.extend(seen(&filters, manifest.sees)),
        Some(Err(error)) => lines.push(error.to_string()),
        None => {
            let what = part(manifest.sees);
            lines.push(format!("see {what} packets; which ones depends on properties that must be given"));
        }
    }
    lines.extend(deeds(manifest.changes, manifest.drops));
    if !manifest.passes_on_fault {
        lines.push("have them dropped when it fails".to_owned());
    }
    lines
}

/// Which packets are seen, and how much of them.
pub fn seen(filters: &[Filter], sees: Sees) -> impl Iterator<Item = String> {
    let what = part(sees);
    filters.iter().map(move |filter| format!("see {what} these packets: {filter}"))
}

fn part(sees: Sees) -> &'static str {
    if sees == Sees::Headers { "the headers of" } else { "all of" }
}

/// What may be done with packets that are seen.
#[must_use]
pub fn deeds(changes: Changes, drops: bool) -> Vec<String> {
    let mut lines = Vec::new();
    match changes {
        Changes::Nothing => {}
        Changes::Headers => lines.push("change their headers".to_owned()),
        Changes::Payload => lines.push("change their headers and content".to_owned()),
        Changes::Length => lines.push("change their headers, content and length".to_owned()),
    }
    if drops {
        lines.push("drop them, or answer in their place".to_owned());
    }
    lines
}

/// Limits in a person's words.
#[must_use]
pub fn limits(limits: &Limits) -> Vec<String> {
    let mut lines = vec![
        format!("{} of memory", size(limits.memory_bytes)),
        format!("{} ms of CPU time per call, {} % of one core", limits.cpu_ms_per_call, limits.cpu_share_percent),
    ];
    if limits.storage_bytes > 0 {
        lines.push(format!("{} on disk", size(limits.storage_bytes)));
    }
    for (bits, way) in [(limits.bandwidth_in, "in"), (limits.bandwidth_out, "out")] {
        if bits > 0 {
            lines.push(format!("{bits} bits per second {way}"));
        }
    }
    lines.push(format!("{} timers, {} sockets, {} tasks", limits.timers, limits.sockets, limits.tasks));
    lines
}

/// What of `wanted` goes beyond `granted`: lines of [`limits`].
#[must_use]
pub fn limits_beyond(wanted: &Limits, granted: &Limits) -> Vec<String> {
    let within = limits(&wanted.within(granted));
    let mut lines = limits(wanted);
    lines.retain(|line| !within.contains(line));
    if wanted.flows > granted.flows {
        lines.push(format!("{} flows at once", wanted.flows));
    }
    lines
}

/// `16M`, `10000 bytes`.
fn size(bytes: u64) -> String {
    let text = bytes_text(bytes);
    if text.ends_with(|c: char| c.is_ascii_digit()) { format!("{text} bytes") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_asked_for_is_said() {
        let manifest = Manifest::parse(
            "name = \"m\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"s\"\n[packets]\nsees = \"payload\"\ndrops = true\n\
             changes = \"payload\"\n[[filters]]\nprotocol = \"udp\"\nto_port = 5060\n[permissions]\nsignal = true\n\
             [permissions.optional]\nlisten = [\"tcp:80\"]\n[limits]\nstorage_bytes = 1048576\n[requires]\nlib-a = \"^1\"\n\
             [uses]\n\"sip.registrar\" = \"^1\"\n",
        )
        .unwrap();
        let text = Wish::of(&manifest, Some(&Properties::default())).text();
        for line in [
            "It wants to:\n  - see all of these packets: udp to port 5060\n  - change their headers and content\n  - drop them",
            "It needs to:\n  - send signals",
            "If you like, it will also:\n  - be reached from outside: TCP port 80\n",
            "  - 1M on disk\n",
            "It needs these libraries:\n  - lib-a ^1\n",
            "Services:\n  - uses sip.registrar ^1\n",
        ] {
            assert!(text.contains(line), "{line}\n---\n{text}");
        }
        assert!(Wish::of(&manifest, None).text().contains("depends on properties"));
    }

    #[test]
    fn a_rule_cannot_hide_itself_from_whoever_is_asked() {
        let manifest = Manifest::parse(
            "name = \"m\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"s\"\n[permissions]\n\
             connect = [\"tcp:$host:443\\u001B[1A\\u001B[2K\\nIt needs nothing\\u202E\"]\n\
             [config.host]\ntype = \"string\"\nmeaning = \"Where to.\"\n",
        )
        .unwrap();
        let text = Wish::of(&manifest, None).text();
        assert!(text.contains("443 [1A [2K It needs nothing "), "{text:?}");
        assert!(text.chars().all(|c| c == '\n' || crate::base::text::is_plain_char(c)), "{text:?}");
    }

    #[test]
    fn only_the_limits_that_are_higher_are_told() {
        let granted = Limits { bandwidth_out: 1000, ..Limits::default() };
        let wanted = Limits { memory_bytes: 1 << 21, storage_bytes: 10_000, bandwidth_out: 0, ..granted };
        assert_eq!(limits_beyond(&wanted, &granted), ["10000 bytes on disk"]);
        let wanted = Limits { bandwidth_out: 2000, flows: granted.flows + 1, ..granted };
        let flows = format!("{} flows at once", wanted.flows);
        assert_eq!(limits_beyond(&wanted, &granted), ["2000 bits per second out", &flows]);
    }
}

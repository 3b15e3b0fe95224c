//! `netserv trust`: who may have what run on this node.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use argh::FromArgs;

use crate::base::amount::{bytes_text, span_text};
use crate::base::crypto::to_hex;
use crate::cli::CliError;
use crate::container::manifest::asks::LIMIT_KEYS;
use crate::controller::trust::{Requester, Trust, TrustError};
use crate::drivers::live::trust_watch::{self, TRUST_PATH};
use crate::drivers::safe_file;

/// Mode of a new trust file: nothing in it is secret, and only its owner says who is trusted.
const MODE: u32 = 0o644;
/// Columns between columns.
const GAP: usize = 2;

#[derive(FromArgs)]
/// say who may have modules run on this node
#[argh(
    subcommand,
    name = "trust",
    note = "What the trust file does not allow is denied. A running node takes changes up within seconds; instances that are no\nlonger allowed are removed."
)]
pub(super) struct TrustCommand {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Add(Box<Add>),
    List(List),
    Remove(Remove),
}

#[derive(FromArgs)]
/// trust one more key
#[argh(
    subcommand,
    name = "add",
    note = "Permissions: payload (see whole packets), drop, change-headers, change-payload, change-length, inject, store, signal,\nanswer-for, listen, connect, system, native.",
    example = "Alice may install monitor for up to an hour; it sees payload, and needs more than the defaults:\n  {command_name} --name alice --key HEX --packages monitor --permissions payload --memory 128M --cpu-ms-per-call 1000",
    example = "Bob may install anything that comes from one server:\n  {command_name} --name bob --key HEX --packages '*' --urls https://example.org/modules/ --permissions payload,drop,change-length,inject --lifetime 1d"
)]
struct Add {
    /// what people and logs call who has the key
    #[argh(option)]
    name: String,

    /// the public key: 64 hexadecimal digits, as `netserv key show` prints them
    #[argh(option, arg_name = "hex")]
    key: String,

    /// modules that may be installed, with commas between; a `*` at the end of one stands for anything (default: none)
    #[argh(option, arg_name = "names")]
    packages: Option<String>,

    /// where packages may come from: beginnings of URLs, with commas between (default: anywhere)
    #[argh(option)]
    urls: Option<String>,

    /// whom instances may have told what happens to them: beginnings of URLs, with commas between (default: nobody)
    #[argh(option, arg_name = "urls")]
    notify: Option<String>,

    /// what modules may do, with commas between (default: look at headers)
    #[argh(option)]
    permissions: Option<String>,

    /// most memory of a module (default: 16M)
    #[argh(option, arg_name = "size")]
    memory: Option<String>,

    /// most that a module keeps on disk (default: 16M)
    #[argh(option, arg_name = "size")]
    storage: Option<String>,

    /// most CPU time of a module for one packet, in ms (default: 20)
    #[argh(option, arg_name = "ms")]
    cpu_ms_per_call: Option<u64>,

    /// most timers of a module (default: 64)
    #[argh(option, arg_name = "count")]
    timers: Option<u64>,

    /// most sockets of a module (default: 64)
    #[argh(option, arg_name = "count")]
    sockets: Option<u64>,

    /// most tasks of a module (default: 256)
    #[argh(option, arg_name = "count")]
    tasks: Option<u64>,

    /// share of one core that a module gets at most, in percent (default: 25)
    #[argh(option, arg_name = "percent")]
    cpu_share_percent: Option<u64>,

    /// bits per second that a module gets at most by its sockets (default: 0, no limit)
    #[argh(option, arg_name = "bits")]
    bandwidth_in: Option<u64>,

    /// bits per second that a module sends at most (default: 0, no limit)
    #[argh(option, arg_name = "bits")]
    bandwidth_out: Option<u64>,

    /// flows that a module looks at, at most (default: as many as the node knows)
    #[argh(option, arg_name = "count")]
    flows: Option<u64>,

    /// longest time that a module runs without a refresh (default: 1h)
    #[argh(option, arg_name = "time")]
    lifetime: Option<String>,

    /// modules that run at once (default: 4)
    #[argh(option, arg_name = "count")]
    instances: Option<u64>,

    /// largest package (default: 1M)
    #[argh(option, arg_name = "size")]
    package_bytes: Option<String>,

    /// a probe with this key is told that the node is there, and not what runs here
    #[argh(switch)]
    no_probe: bool,

    /// the trust file (default: /etc/netserv/trust.toml)
    #[argh(option, arg_name = "path", default = "PathBuf::from(TRUST_PATH)")]
    file: PathBuf,
}

#[derive(FromArgs)]
/// show who is trusted with what
#[argh(subcommand, name = "list", example = "{command_name} --json")]
struct List {
    /// print JSON
    #[argh(switch)]
    json: bool,

    /// the trust file (default: /etc/netserv/trust.toml)
    #[argh(option, arg_name = "path", default = "PathBuf::from(TRUST_PATH)")]
    file: PathBuf,
}

#[derive(FromArgs)]
/// trust a key no longer
#[argh(subcommand, name = "remove", example = "{command_name} alice")]
struct Remove {
    /// the name that `netserv trust list` shows
    #[argh(positional)]
    name: String,

    /// the trust file (default: /etc/netserv/trust.toml)
    #[argh(option, arg_name = "path", default = "PathBuf::from(TRUST_PATH)")]
    file: PathBuf,
}

impl TrustCommand {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        match self.command {
            Command::Add(command) => command.run(out),
            Command::List(command) => command.run(out),
            Command::Remove(command) => command.run(out),
        }
    }
}

impl Add {
    fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let requester = self.requester()?;
        let text = read(&self.file)?;
        let text = Trust::appended(&text, &requester).map_err(|error| wrong_file(&self.file, &error))?;
        write(&self.file, &text)?;
        writeln!(out, "{} is trusted: {}", requester.name, sentence(&requester))?;
        Ok(())
    }

    /// The requester that the options describe, checked by the rules of the file.
    fn requester(&self) -> Result<Requester, CliError> {
        let mut text = "[[requester]]\n".to_owned();
        let mut put = |key: &str, value: toml::Value| {
            writeln!(text, "{key} = {value}").expect("a String takes everything");
        };
        let words = |list: &str| {
            let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
            toml::Value::Array(words.map(toml::Value::from).collect())
        };
        put("name", self.name.as_str().into());
        put("key", self.key.as_str().into());
        for (key, list) in [
            ("packages", &self.packages),
            ("urls", &self.urls),
            ("notify", &self.notify),
            ("permissions", &self.permissions),
        ] {
            list.iter().for_each(|list| put(key, words(list)));
        }
        for (key, amount) in [
            ("memory", &self.memory),
            ("storage", &self.storage),
            ("lifetime", &self.lifetime),
            ("package_bytes", &self.package_bytes),
        ] {
            amount.iter().for_each(|amount| put(key, amount.as_str().into()));
        }
        for (key, number) in [
            ("cpu_ms_per_call", self.cpu_ms_per_call),
            ("cpu_share_percent", self.cpu_share_percent),
            ("bandwidth_in", self.bandwidth_in),
            ("bandwidth_out", self.bandwidth_out),
            ("timers", self.timers),
            ("sockets", self.sockets),
            ("tasks", self.tasks),
            ("flows", self.flows),
            ("instances", self.instances),
        ] {
            number.iter().for_each(|number| put(key, i64::try_from(*number).unwrap_or(i64::MAX).into()));
        }
        put("probe", (!self.no_probe).into());
        let trust = Trust::parse(&text).map_err(|error| wrong_option(&error))?;
        trust.list().first().cloned().ok_or_else(|| CliError::Usage("no requester is described".to_owned()))
    }
}

impl List {
    fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let text = read(&self.file)?;
        let trust = Trust::parse(&text).map_err(|error| wrong_file(&self.file, &error))?;
        if self.json {
            let list: Vec<serde_json::Value> = trust.list().iter().map(json).collect();
            return Ok(writeln!(out, "{:#}", serde_json::Value::from(list))?);
        }
        if trust.list().is_empty() {
            return Ok(writeln!(out, "nobody is trusted; `netserv trust add` changes that")?);
        }
        Ok(write!(out, "{}", table(trust.list()))?)
    }
}

impl Remove {
    fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let text = read(&self.file)?;
        let mut trust = Trust::parse(&text).map_err(|error| wrong_file(&self.file, &error))?;
        let place = trust.list().iter().position(|requester| requester.name == self.name);
        trust.remove(&self.name).map_err(|error| wrong_file(&self.file, &error))?;
        // Comments stay if the table can be cut out of the text; if not, the file is written anew.
        let cut = place.map(|place| without_table(&text, place)).filter(|cut| Trust::parse(cut).as_ref() == Ok(&trust));
        write(&self.file, &cut.unwrap_or_else(|| trust.to_toml()))?;
        writeln!(out, "{} is trusted no longer", self.name)?;
        Ok(())
    }
}

/// The text without its `place`th table. Comments before the next table belong to that one.
fn without_table(text: &str, place: usize) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_head = |line: &&str| line.trim_start().starts_with("[[");
    let heads: Vec<usize> = lines.iter().enumerate().filter(|(_, line)| is_head(line)).map(|(at, _)| at).collect();
    let Some(from) = heads.get(place) else { return text.to_owned() };
    let mut to = heads.get(place + 1).copied().unwrap_or(lines.len());
    while to > from + 1 && heads.get(place + 1).is_some() && lines[to - 1].trim_start().starts_with('#') {
        to -= 1;
    }
    lines[..*from].iter().chain(&lines[to..]).copied().collect()
}

fn read(path: &Path) -> Result<String, CliError> {
    trust_watch::read(path).map_err(CliError::Failure)
}

/// Replaces the trust file in one step, and leaves its mode and owner as they are.
fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error: io::Error| CliError::Failure(format!("cannot write {}: {error}", path.display()));
    // A link stays a link.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let before = std::fs::metadata(path).ok();
    std::fs::create_dir_all(safe_file::folder_of(path)).map_err(failed)?;
    let mode = before.as_ref().map_or(MODE, |metadata| safe_file::mode_of(metadata) & 0o777);
    safe_file::replace(path, text.as_bytes(), mode).map_err(failed)?;
    if let Some(before) = before {
        use std::os::unix::fs::{MetadataExt, chown};
        let after = std::fs::metadata(path).map_err(failed)?;
        if (before.uid(), before.gid()) != (after.uid(), after.gid()) {
            chown(path, Some(before.uid()), Some(before.gid())).map_err(failed)?;
        }
    }
    Ok(())
}

fn wrong_file(path: &Path, error: &TrustError) -> CliError {
    CliError::Failure(format!("{}: {error}", path.display()))
}

/// The error of a value as one of the option that gave it.
fn wrong_option(error: &TrustError) -> CliError {
    CliError::Usage(match error {
        TrustError::Value { key, got, remedy, .. } => format!("--{} {got}: {remedy}", key.replace('_', "-")),
        TrustError::Syntax { message, text, .. } => format!("{message}: {text}"),
        TrustError::TooLong { .. } | TrustError::Unknown { .. } => error.to_string(),
    })
}

/// What a requester may, in one line.
fn sentence(requester: &Requester) -> String {
    let r = requester;
    if r.packages.is_empty() {
        return "may probe this node, and install nothing (--packages)".to_owned();
    }
    let may = if r.permissions.is_empty() { "look at headers".to_owned() } else { joined(&r.permissions) };
    let from = if r.urls.is_empty() { String::new() } else { format!(" from {}", joined(&r.urls)) };
    let (packages, count, time) = (joined(&r.packages), r.instances, span_text(r.lifetime));
    format!("may install {packages}{from}, {count} at once, for {time} without a refresh; modules may {may}")
}

fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn json(requester: &Requester) -> serde_json::Value {
    let r = requester;
    let texts = |items: &[crate::controller::url::Url]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut value = serde_json::json!({
        "name": r.name,
        "key": to_hex(&r.key),
        "packages": r.packages,
        "urls": texts(&r.urls),
        "notify": texts(&r.notify),
        "permissions": r.permissions.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "lifetime_seconds": r.lifetime.as_secs_f64(),
        "instances": r.instances,
        "package_bytes": r.package_bytes,
        "probe": r.probe,
    });
    for limit in LIMIT_KEYS {
        value[limit.key] = (limit.of)(&r.limits).into();
    }
    value
}

fn table(requesters: &[Requester]) -> String {
    let head = ["NAME", "KEY", "PACKAGES", "FROM", "PERMISSIONS", "LIFETIME", "AT ONCE", "MEMORY", "PROBE"];
    let or = |text: String, none: &str| if text.is_empty() { none.to_owned() } else { text };
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(requesters.iter().map(|r| {
        [
            r.name.clone(),
            format!("{}...", &to_hex(&r.key)[..16]),
            or(joined(&r.packages), "none"),
            or(joined(&r.urls), "anywhere"),
            or(joined(&r.permissions), "headers"),
            span_text(r.lifetime),
            r.instances.to_string(),
            bytes_text(r.limits.memory_bytes),
            if r.probe { "yes" } else { "no" }.to_owned(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<0$}", width + GAP)).collect();
        text.push_str(cells.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;

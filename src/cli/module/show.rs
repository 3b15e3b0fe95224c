//! What is offered, what a package asks for, and what is installed.

use std::io::Write;
use std::path::PathBuf;

use argh::FromArgs;

use crate::base::text::plain;
use crate::cli::CliError;
use crate::cli::module::install::{Sources, publisher_line};
use crate::container::plain::{self, Wish};
use crate::container::properties::Properties;
use crate::drivers::live::installed::InstalledModule;
use crate::drivers::live::installer::{Belief, Found, InstallError, Installer};

#[derive(FromArgs)]
/// list the modules that repositories offer
#[argh(subcommand, name = "search", example = "{command_name} sip --from https://example.org/modules/")]
pub(in crate::cli) struct Search {
    /// words that must all be in name or summary (default: all modules)
    #[argh(positional)]
    words: Vec<String>,

    /// a repository: a folder, https://HOST/FOLDER/, or HOST; may be given several times (default: those of the configuration)
    #[argh(option, arg_name = "place")]
    from: Vec<String>,

    /// the node's configuration file
    #[argh(option, arg_name = "file")]
    config: Option<PathBuf>,

    /// print JSON
    #[argh(switch)]
    json: bool,

    /// the node's control socket
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

#[derive(FromArgs)]
/// show what a package is and asks for, before anything of it runs
#[argh(subcommand, name = "inspect", example = "{command_name} monitor-1.0.0.nsm")]
pub(in crate::cli) struct Inspect {
    /// a package file, a module's folder, or NAME or NAME@RANGE of a repository
    #[argh(positional)]
    what: String,

    /// a repository: a folder, https://HOST/FOLDER/, or HOST; may be given several times
    #[argh(option, arg_name = "place")]
    from: Vec<String>,

    /// the publisher's public key, or a file of it
    #[argh(option, arg_name = "key")]
    publisher: Option<String>,

    /// the node's data folder
    #[argh(option, arg_name = "dir")]
    data: Option<PathBuf>,

    /// the node's configuration file
    #[argh(option, arg_name = "file")]
    config: Option<PathBuf>,

    /// print JSON
    #[argh(switch)]
    json: bool,

    /// the node's control socket
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

#[derive(FromArgs)]
/// list the modules that are installed
#[argh(subcommand, name = "list")]
pub(in crate::cli) struct List {
    /// the node's data folder
    #[argh(option, arg_name = "dir")]
    data: Option<PathBuf>,

    /// the node's configuration file
    #[argh(option, arg_name = "file")]
    config: Option<PathBuf>,

    /// print JSON
    #[argh(switch)]
    json: bool,

    /// the node's control socket
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

#[derive(FromArgs)]
/// show one installed module: whose it is, what it was granted, its libraries and properties
#[argh(subcommand, name = "info", example = "{command_name} monitor")]
pub(in crate::cli) struct Info {
    /// the module's name
    #[argh(positional)]
    name: String,

    /// the node's data folder
    #[argh(option, arg_name = "dir")]
    data: Option<PathBuf>,

    /// the node's configuration file
    #[argh(option, arg_name = "file")]
    config: Option<PathBuf>,

    /// print JSON
    #[argh(switch)]
    json: bool,

    /// the node's control socket
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

impl Search {
    pub(in crate::cli) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let sources = Sources::find(self.control, self.config, None)?;
        let places = sources.repositories(self.from);
        if places.is_empty() {
            return Err(CliError::failure(InstallError::NoRepository));
        }
        let installer = Installer::open(&places, sources.places.ca).map_err(CliError::failure)?;
        let mut found: Vec<_> = installer.offered().filter(|(entry, _)| entry.is_about(&self.words)).collect();
        found.sort_by(|(a, _), (b, _)| (&a.name, &b.version).cmp(&(&b.name, &a.version)));
        if self.json {
            let all = found.iter().map(|(entry, place)| {
                serde_json::json!({
                    "name": entry.name, "version": entry.version, "summary": entry.summary, "library": entry.library,
                    "sha256": entry.sha256, "publisher": entry.publisher, "from": place.to_string(),
                })
            });
            return Ok(writeln!(out, "{:#}", serde_json::Value::Array(all.collect()))?);
        }
        for (entry, place) in &found {
            let kind = if entry.library { " (library)" } else { "" };
            writeln!(out, "{} {}{kind}: {}", entry.name, entry.version, entry.summary)?;
            let publisher = entry.publisher.as_ref().map_or("not signed".to_owned(), |key| format!("publisher {key}"));
            writeln!(out, "  {publisher}, at {place}")?;
        }
        if found.is_empty() {
            let text = match self.words.as_slice() {
                [] => format!("{} offers nothing", places.join(", ")),
                words => format!("nothing that {} offers has \"{}\" in it", places.join(", "), words.join("\" and \"")),
            };
            return Err(CliError::Failure(text));
        }
        Ok(())
    }
}

impl Inspect {
    pub(in crate::cli) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let sources = Sources::find(self.control, self.config, self.data)?;
        let installed = sources.installed()?;
        let installer =
            Installer::open(&sources.repositories(self.from), sources.places.ca).map_err(CliError::failure)?;
        let publisher = self.publisher.as_deref().map(crate::drivers::publisher::public).transpose();
        let belief = Belief { publisher: publisher.map_err(CliError::failure)?, unsigned: true };
        let found = installer.find_root(&self.what, &installed, &belief).map_err(CliError::failure)?;
        match self.json {
            true => Ok(writeln!(out, "{:#}", json_of(&found))?),
            false => Ok(write!(out, "{}", text_of(&found, None))?),
        }
    }
}

/// A package in plain words, without properties those of its defaults.
pub(in crate::cli::module) fn text_of(found: &Found, properties: Option<&Properties>) -> String {
    let manifest = &found.packed.manifest;
    let kind = if manifest.library { ", a library" } else { "" };
    let mut text = format!("{} {}{kind}: {}\n", manifest.name, manifest.version, manifest.summary);
    if !manifest.authors.is_empty() {
        text.push_str(&format!("by {}\n", plain(&manifest.authors.join(", "))));
    }
    if !manifest.licence.is_empty() {
        text.push_str(&format!("licence {}\n", plain(&manifest.licence)));
    }
    text.push_str(&format!("{} bytes, SHA-256 {}\n", found.packed.bytes.len(), found.packed.digest_hex()));
    text.push_str(&publisher_line(found));
    text.push('\n');
    if !manifest.library {
        text.push_str(&wish_of(found, properties).text());
    }
    text
}

fn wish_of(found: &Found, properties: Option<&Properties>) -> Wish {
    let manifest = &found.packed.manifest;
    let defaults = Properties::check(&manifest.properties, &toml::Table::new()).ok();
    Wish::of(manifest, properties.or(defaults.as_ref()))
}

fn json_of(found: &Found) -> serde_json::Value {
    let manifest = &found.packed.manifest;
    serde_json::json!({
        "name": manifest.name, "version": manifest.version, "summary": manifest.summary, "library": manifest.library,
        "authors": manifest.authors, "licence": manifest.licence, "bytes": found.packed.bytes.len(),
        "sha256": found.packed.digest_hex(), "publisher": found.publisher, "asks": wish_of(found, None),
    })
}

impl List {
    pub(in crate::cli) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let sources = Sources::find(self.control, self.config, self.data)?;
        let installed = sources.installed()?;
        if self.json {
            return Ok(writeln!(out, "{:#}", serde_json::json!(installed.list))?);
        }
        for (name, module) in &installed.list.modules {
            writeln!(out, "{name} {}", module.version)?;
        }
        for (name, versions) in &installed.list.libraries {
            for version in versions.keys() {
                writeln!(out, "{name} {version} (library)")?;
            }
        }
        if installed.list.modules.is_empty() && installed.list.libraries.is_empty() {
            writeln!(out, "nothing is installed in {}", sources.places.data.display())?;
        }
        Ok(())
    }
}

impl Info {
    pub(in crate::cli) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let sources = Sources::find(self.control, self.config, self.data)?;
        let installed = sources.installed()?;
        let Some(module) = installed.list.modules.get(&self.name) else {
            let text = format!("no module {} is installed; `netserv module list` lists them", self.name);
            return Err(CliError::Failure(text));
        };
        match self.json {
            true => Ok(writeln!(out, "{:#}", serde_json::json!(module))?),
            false => Ok(write!(out, "{}", info_of(&self.name, module))?),
        }
    }
}

fn info_of(name: &str, module: &InstalledModule) -> String {
    let mut text = format!("{name} {}, from {}\n", module.version, module.from);
    match &module.publisher {
        Some(key) => text.push_str(&format!("signed by {key}\n")),
        None => text.push_str("not signed\n"),
    }
    text.push_str(&format!("SHA-256 {}\n", module.sha256));
    let grant = &module.grant;
    let mut lines: Vec<String> = plain::seen(&grant.filters, grant.sees).collect();
    if !lines.is_empty() {
        lines.extend(plain::deeds(grant.changes, grant.drops));
    }
    lines.extend(grant.allowed.sentences());
    let heading = if lines.is_empty() { "It may do nothing but run, and use at most:\n" } else { "It may:\n" };
    text.push_str(heading);
    lines.iter().for_each(|line| text.push_str(&format!("  - {line}\n")));
    if !lines.is_empty() {
        text.push_str("It may use at most:\n");
    }
    plain::limits(&grant.limits).iter().for_each(|line| text.push_str(&format!("  - {line}\n")));
    for (library, version) in &module.libraries {
        text.push_str(&format!("library {library} {version}\n"));
    }
    for (key, value) in &module.properties {
        text.push_str(&format!("property {key} = {value}\n"));
    }
    text
}

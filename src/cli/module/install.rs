//! Installing and removing modules: what is asked for is shown, and asked about, before anything of it runs.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use argh::FromArgs;

use crate::cli::CliError;
use crate::cli::config::FileConfig;
use crate::cli::module::show::text_of;
use crate::container::grant::Grant;
use crate::container::grant::choice::Choice;
use crate::container::properties::{Properties, table_of_words};
use crate::drivers::live::config::LiveConfig;
use crate::drivers::live::control::{self, ControlError, Request, client};
use crate::drivers::live::installed::{FOLDER, Installed, InstalledModule};
use crate::drivers::live::installer::{Belief, Found, Installer, Plan};
use crate::drivers::live::modules::Places;
use crate::drivers::publisher;

/// Where a node's configuration is, if nothing else is said.
const CONFIG_PATH: &str = "/etc/netserv.toml";

#[derive(FromArgs)]
/// install a module, or update it: at once in the running node, otherwise with its next start
#[argh(
    subcommand,
    name = "install",
    note = "What it asks for is shown first. --grant, --deny and --only narrow it; PERMISSION is inject, store, signal,\nanswer_for, listen, connect, system or native. An update gets what was granted before, and no more, until you say so.",
    example = "{command_name} phone@^1.2 --from https://example.org/modules/",
    example = "Narrowed, without a question:\n  {command_name} phone --yes --grant connect=tcp:192.0.2.0/24:443 --deny signal --only 'udp to 192.0.2.1 to port 5060'"
)]
pub(in crate::cli) struct Install {
    /// NAME or NAME@RANGE of a repository, a package file, or a module's folder (./DIR)
    #[argh(positional)]
    what: String,

    /// a repository: a folder, https://HOST/FOLDER/, or HOST; may be given several times (default: those of the configuration)
    #[argh(option, arg_name = "place")]
    from: Vec<String>,

    /// a property, as key=value; may be given several times
    #[argh(option, arg_name = "key=value")]
    property: Vec<String>,

    /// do not ask: grant what it needs, and not what it can do without
    #[argh(switch)]
    yes: bool,

    /// grant what it can do without, too
    #[argh(switch)]
    optional: bool,

    /// grant only this much of a permission, such as connect=tcp:192.0.2.0/24:443; may be given several times
    #[argh(option, arg_name = "permission")]
    grant: Vec<String>,

    /// do not grant a permission; may be given several times
    #[argh(option, arg_name = "permission")]
    deny: Vec<String>,

    /// show it only these packets, such as 'udp to 192.0.2.1 to port 5060'; may be given several times
    #[argh(option, arg_name = "filter")]
    only: Vec<String>,

    /// of an update: decide anew what it gets
    #[argh(switch)]
    ask_again: bool,

    /// the publisher's public key, or a file of it, which counts from now on
    #[argh(option, arg_name = "key")]
    publisher: Option<String>,

    /// take what nobody signed
    #[argh(switch)]
    unsigned: bool,

    /// the node's data folder
    #[argh(option, arg_name = "dir")]
    data: Option<PathBuf>,

    /// the node's configuration file
    #[argh(option, arg_name = "file")]
    config: Option<PathBuf>,

    /// print JSON; needs --yes
    #[argh(switch)]
    json: bool,

    /// the node's control socket
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

#[derive(FromArgs)]
/// remove an installed module: it is told to stop, and what only it needed goes with it
#[argh(subcommand, name = "uninstall", example = "{command_name} phone")]
pub(in crate::cli) struct Uninstall {
    /// the module's name, or that of a library
    #[argh(positional)]
    name: String,

    /// also forget whose modules of this name are: the next one may be of anybody
    #[argh(switch)]
    forget_publisher: bool,

    /// the node's data folder
    #[argh(option, arg_name = "dir")]
    data: Option<PathBuf>,

    /// the node's configuration file
    #[argh(option, arg_name = "file")]
    config: Option<PathBuf>,

    /// the node's control socket
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

/// The node that is meant, and where its things are.
pub(in crate::cli::module) struct Sources {
    pub(in crate::cli::module) places: Places,
    /// The control socket, if the node runs.
    control: Option<PathBuf>,
}

impl Sources {
    /// The running node's places; without one those of the configuration.
    pub(in crate::cli::module) fn find(
        control: Option<PathBuf>,
        config: Option<PathBuf>,
        data: Option<PathBuf>,
    ) -> Result<Sources, CliError> {
        let config = match config {
            Some(path) => Some(FileConfig::read(&path).map_err(CliError::Failure)?.live()?),
            None => None,
        };
        // The configuration that was named says which node is meant; it need not run.
        let of_file = config.as_ref().and_then(|config| config.control.clone());
        let path = control.clone().or(of_file).unwrap_or_else(control::default_path);
        match client::ask(&path, &Request::Places) {
            Ok(value) => {
                let places: Places = serde_json::from_value(value).map_err(CliError::failure)?;
                if data.as_ref().is_none_or(|data| is_same(data, &places.data)) {
                    return Ok(Sources { places, control: Some(path) });
                }
            }
            // Of another user's node, only what is in the configuration is known.
            Err(ControlError::NotRunning { .. } | ControlError::System { .. }) if control.is_none() => {}
            Err(error) => return Err(CliError::failure(error)),
        }
        let config = match config {
            Some(config) => config,
            None if Path::new(CONFIG_PATH).is_file() => {
                FileConfig::read(Path::new(CONFIG_PATH)).map_err(CliError::Failure)?.live()?
            }
            None => LiveConfig::default(),
        };
        let places = Places {
            data: data.unwrap_or(config.data),
            repositories: config.repositories,
            ca: config.signal.and_then(|signal| signal.ca),
        };
        Ok(Sources { places, control: None })
    }

    /// Those of the command line, or of the configuration.
    pub(in crate::cli::module) fn repositories(&self, from: Vec<String>) -> Vec<String> {
        if from.is_empty() { self.places.repositories.clone() } else { from }
    }

    pub(in crate::cli::module) fn installed(&self) -> Result<Installed, CliError> {
        Installed::open(&self.places.data.join(FOLDER)).map_err(CliError::failure)
    }

    /// Tells the running node, if there is one. What it says.
    fn tell(&self, request: &Request) -> Result<Option<serde_json::Value>, CliError> {
        self.control.as_ref().map(|path| client::ask(path, request).map_err(CliError::failure)).transpose()
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    let canonical = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    canonical(a) == canonical(b)
}

/// Who signed a package, and whether that is new.
pub(in crate::cli::module) fn publisher_line(found: &Found) -> String {
    match &found.publisher {
        None => "not signed: nobody answers for it".to_owned(),
        Some(key) if found.is_new_publisher => {
            format!("signed by {key}, who is new here: compare the key with what you know of the publisher")
        }
        Some(key) => format!("signed by {key}, as before"),
    }
}

/// What was decided.
struct Decided {
    grant: Grant,
    properties: toml::Table,
    /// What it asks for and does not get.
    withheld: Vec<String>,
}

impl Install {
    pub(in crate::cli) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        if self.json && !self.yes {
            return Err(CliError::Usage("--json needs --yes: nobody could answer the question".to_owned()));
        }
        let choice = Choice::parse(self.optional, &self.grant, &self.deny, &self.only).map_err(CliError::Usage)?;
        let words = self.property.iter().map(String::as_str);
        let given = table_of_words(words).map_err(|error| CliError::Usage(error.to_string()))?;
        let publisher = self.publisher.as_deref().map(publisher::public).transpose().map_err(CliError::failure)?;
        let sources = Sources::find(self.control.clone(), self.config.clone(), self.data.clone())?;
        let mut installed = sources.installed()?;
        let places = sources.repositories(self.from.clone());
        let installer = Installer::open(&places, sources.places.ca.clone()).map_err(CliError::failure)?;
        let belief = Belief { publisher, unsigned: self.unsigned };
        let plan = installer.find(&self.what, &installed, &belief).map_err(CliError::failure)?;
        self.refuse_older(&plan, &installed)?;
        let decided = match plan.root.module.manifest.library {
            true => None,
            false => Some(self.decide(&plan, &installed, &choice, given, out)?),
        };
        let before = installed.list.clone();
        keep(&plan, decided.as_ref(), &mut installed)?;
        let name = plan.root.module.manifest.name.clone();
        let told = sources.tell(&Request::Install { name });
        let answer = match told {
            Ok(answer) => answer,
            Err(error) => {
                installed.list = before;
                installed.commit().map_err(CliError::failure)?;
                return Err(error);
            }
        };
        self.report(&plan, decided.as_ref(), answer.as_ref(), out)
    }

    /// A repository that lost its newest packages, or hides them, must not take a node back unseen.
    fn refuse_older(&self, plan: &Plan, installed: &Installed) -> Result<(), CliError> {
        let manifest = &plan.root.module.manifest;
        let old = installed.list.modules.get(&manifest.name).map(|old| &old.version);
        // A file, or exactly one version; a range is no word for going back.
        let is_named = self.what.contains("@=") || self.what.contains('/') || self.what.ends_with(".nsm");
        match old.filter(|old| **old > manifest.version && !is_named) {
            Some(old) => Err(CliError::Failure(format!(
                "{0} {1} is offered, and {0} {old} is installed; to go back, write {0}@={1}",
                manifest.name, manifest.version
            ))),
            None => Ok(()),
        }
    }

    /// Shows what is asked for, and finds out what is granted.
    fn decide(
        &self,
        plan: &Plan,
        installed: &Installed,
        choice: &Choice,
        given: toml::Table,
        out: &mut dyn Write,
    ) -> Result<Decided, CliError> {
        let manifest = &plan.root.module.manifest;
        let old = installed.list.modules.get(&manifest.name);
        let has_choice = *choice != Choice::default() || !given.is_empty();
        let mut properties = old.map(|old| old.properties.clone()).unwrap_or_default();
        properties.extend(given);
        let checked = Properties::check(&manifest.properties, &properties);
        let checked = checked.map_err(|error| CliError::Failure(format!("{}: {error}", manifest.name)))?;
        let wrong = |problem: String| CliError::Failure(format!("{}: {problem}", manifest.name));
        let all = Grant::of(manifest, &checked, true).map_err(wrong)?;
        if let Some(old) = old.filter(|_| !self.ask_again && !has_choice) {
            let more = old.grant.lacks(&all);
            let is_granted = !more.is_empty() && !self.yes && self.ask_for_more(&plan.root, old, &more, out)?;
            let grant = if is_granted { all.clone() } else { old.grant.clone() };
            let withheld = grant.lacks(&all);
            return Ok(Decided { grant, properties, withheld });
        }
        let mut choice = choice.clone();
        if !self.yes {
            write!(out, "{}", text_of(&plan.root, Some(&checked)))?;
            for library in &plan.libraries {
                let manifest = &library.packed.manifest;
                writeln!(out, "With it comes {} {}, {}", manifest.name, manifest.version, publisher_line(library))?;
            }
            let granted = choice.apply(manifest, &checked).map_err(wrong)?;
            let withheld = granted.lacks(&all);
            if !withheld.is_empty() {
                writeln!(out, "It will not be able to:")?;
                withheld.iter().try_for_each(|line| writeln!(out, "  - {line}"))?;
            }
            let has_optional = !choice.optional && !manifest.optional_permissions.is_empty();
            let question = if has_optional {
                "Install it? [y]es, with what it needs; [a]ll, with the rest too; [n]o: "
            } else {
                "Install it? [y]es, [n]o: "
            };
            match ask(question, out)?.as_str() {
                "y" | "yes" => {}
                "a" | "all" if has_optional => choice.optional = true,
                _ => return Err(CliError::Failure(format!("{} is not installed", manifest.name))),
            }
        }
        let grant = choice.apply(manifest, &checked).map_err(wrong)?;
        let withheld = grant.lacks(&all);
        Ok(Decided { grant, properties, withheld })
    }

    fn ask_for_more(
        &self,
        found: &Found,
        old: &InstalledModule,
        more: &[String],
        out: &mut dyn Write,
    ) -> Result<bool, CliError> {
        let manifest = &found.packed.manifest;
        writeln!(out, "{} {} asks for more than {} was granted:", manifest.name, manifest.version, old.version)?;
        more.iter().try_for_each(|line| writeln!(out, "  - {line}"))?;
        let answer = ask("Grant this too? [y]es; [n]o, it runs on with what it has: ", out)?;
        Ok(matches!(answer.as_str(), "y" | "yes"))
    }

    fn report(
        &self,
        plan: &Plan,
        decided: Option<&Decided>,
        answer: Option<&serde_json::Value>,
        out: &mut dyn Write,
    ) -> Result<(), CliError> {
        let manifest = &plan.root.module.manifest;
        let withheld = decided.map(|decided| decided.withheld.clone()).unwrap_or_default();
        let is_running = answer.is_some();
        let note = answer.and_then(|answer| answer["note"].as_str());
        if self.json {
            let told = serde_json::json!({
                "name": manifest.name, "version": manifest.version, "sha256": plan.root.packed.digest_hex(),
                "publisher": plan.root.publisher, "libraries": plan.versions, "running": is_running,
                "granted": decided.map(|decided| decided.grant.allowed.sentences()), "not_granted": withheld,
                "note": note,
            });
            return Ok(writeln!(out, "{told:#}")?);
        }
        let when = match (manifest.library, is_running) {
            (true, _) => "for the modules that need it",
            (false, true) => "and runs",
            (false, false) => "and will run when the node does",
        };
        writeln!(out, "{} {} is installed, {when}", manifest.name, manifest.version)?;
        if let Some(note) = note {
            writeln!(out, "{note}")?;
        }
        if !withheld.is_empty() {
            writeln!(out, "It asks for these too, and did not get them (--ask-again decides anew):")?;
            withheld.iter().try_for_each(|line| writeln!(out, "  - {line}"))?;
        }
        Ok(())
    }
}

/// Writes down what is installed.
fn keep(plan: &Plan, decided: Option<&Decided>, installed: &mut Installed) -> Result<(), CliError> {
    let manifest = &plan.root.module.manifest;
    plan.keep(installed, true).map_err(CliError::failure)?;
    if let Some(decided) = decided {
        let module = InstalledModule {
            version: manifest.version.clone(),
            sha256: plan.root.packed.digest_hex(),
            publisher: plan.root.publisher.clone(),
            from: plan.root.from.clone(),
            grant: decided.grant.clone(),
            properties: decided.properties.clone(),
            libraries: plan.versions.clone(),
        };
        installed.list.modules.insert(manifest.name.clone(), module);
    }
    installed.commit().map_err(CliError::failure)
}

/// Asks at the terminal; the answer in lower case.
fn ask(question: &str, out: &mut dyn Write) -> Result<String, CliError> {
    if !std::io::stdin().is_terminal() {
        let text = "nobody can be asked here; --yes grants what it needs, `netserv module inspect` shows what that is";
        return Err(CliError::Usage(text.to_owned()));
    }
    write!(out, "{question}")?;
    out.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_lowercase())
}

impl Uninstall {
    pub(in crate::cli) fn run(self, out: &mut dyn Write) -> Result<(), CliError> {
        let name = &self.name;
        let sources = Sources::find(self.control.clone(), self.config.clone(), self.data.clone())?;
        let mut installed = sources.installed()?;
        let mut users: Vec<String> = Vec::new();
        for (user, module) in &installed.list.modules {
            if module.libraries.contains_key(name) {
                users.push(format!("{user} {}", module.version));
            }
        }
        let was_module = installed.list.modules.remove(name).is_some();
        let was_library = installed.list.libraries.contains_key(name);
        if was_library && !users.is_empty() {
            let text = format!("{name} is needed by {}; uninstall that first", users.join(", "));
            return Err(CliError::Failure(text));
        }
        installed.list.libraries.remove(name);
        let forgot = self.forget_publisher && installed.list.publishers.remove(name).is_some();
        if !was_module && !was_library && !forgot {
            let text = format!("no module {name} is installed; `netserv module list` lists them");
            return Err(CliError::Failure(text));
        }
        installed.commit().map_err(CliError::failure)?;
        sources.tell(&Request::Uninstall { name: name.clone() })?;
        Ok(writeln!(out, "{name} is uninstalled")?)
    }
}

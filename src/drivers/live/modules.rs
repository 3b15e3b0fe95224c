//! The installed modules of a running node: started with it, and each by itself when it is installed, updated or removed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::container::module::Module;
use crate::drivers::live::config::{LiveConfig, ModuleChoice};
use crate::drivers::live::installed::{FOLDER, Installed, InstalledModule};
use crate::drivers::live::{Live, LiveError};
use crate::drivers::{module_dir, packing};
use crate::node::{Answer, Command, InstanceState, InstanceView};

/// An installed module that runs.
#[derive(Clone)]
pub(super) struct Running {
    module: Module,
    /// What the list said of it.
    entry: InstalledModule,
}

impl Running {
    fn command(&self, name: &str) -> Command {
        Command::Load {
            module: self.module.clone(),
            name: Some(name.to_owned()),
            properties: self.entry.properties.clone(),
            grant: Some(Box::new(self.entry.grant.clone())),
        }
    }

    /// In the place of an earlier version.
    fn update(&self, name: &str) -> Command {
        Command::Update {
            name: name.to_owned(),
            module: self.module.clone(),
            properties: Some(self.entry.properties.clone()),
            grant: Some(Box::new(self.entry.grant.clone())),
            drain: None,
        }
    }
}

/// The configuration without links, if nobody chose them and nobody needs them: a node can do with sockets alone.
pub(super) fn with_needed_links(config: &LiveConfig) -> Result<LiveConfig, LiveError> {
    let mut config = config.clone();
    // If it cannot be read, that is told when its modules are started.
    let installed = Installed::open(&config.data.join(FOLDER)).map(|installed| installed.list.modules);
    let installed = installed.unwrap_or_default();
    let has_modules = !config.modules.is_empty() || !installed.is_empty();
    if config.links_are_default && has_modules && config.capture.is_empty() && config.signal.is_none() {
        let mut needed = installed.values().any(|m| !m.grant.filters.is_empty() || m.grant.allowed.inject);
        for choice in &config.modules {
            needed |= needs_link(&module_dir::load(&choice.folder)?);
        }
        if !needed {
            config.links.clear();
        }
    }
    Ok(config)
}

/// Whether a module does something with packets.
fn needs_link(module: &Module) -> bool {
    let manifest = &module.manifest;
    !manifest.filter_rules.is_empty() || manifest.permissions.inject
}

impl Live {
    /// Loads a module from its folder.
    pub(super) fn load(&mut self, choice: &ModuleChoice) -> Result<Answer, LiveError> {
        let module = module_dir::load_to_run(&choice.folder, &[])?;
        if self.ready.is_empty() && needs_link(&module) {
            return Err(LiveError::ModuleNeedsLink { module: module.manifest.name.clone() });
        }
        let failed = |source| LiveError::System { action: "start the thread that watches modules", source };
        self.watching.start().map_err(failed)?;
        let (name, properties) = (choice.name.clone(), choice.properties.clone());
        Ok(self.command(Command::Load { module, name, properties, grant: None }))
    }

    fn installed(&self) -> Result<Installed, String> {
        Installed::open(&self.data.join(FOLDER)).map_err(|error| error.to_string())
    }

    /// Starts all that is installed. One that fails keeps neither the others nor the node from running.
    pub(super) fn start_installed(&mut self) {
        let installed = match self.installed() {
            Ok(installed) => installed,
            Err(error) => return tracing::warn!("no installed module is started: {error}"),
        };
        self.renew_libraries(&installed);
        for name in installed.list.modules.keys() {
            if let Err(problem) = self.start_one(&installed, name) {
                tracing::warn!("installed module {name} is not started: {problem}");
            }
        }
    }

    /// Starts an installed module, in the place of an earlier version of it. If it does not start, the earlier one runs on.
    pub(super) fn install(&mut self, name: &str) -> Result<serde_json::Value, String> {
        let installed = self.installed()?;
        self.renew_libraries(&installed);
        // A library runs nowhere by itself.
        if !installed.list.modules.contains_key(name) && installed.list.libraries.contains_key(name) {
            return Ok(serde_json::Value::Null);
        }
        self.start_one(&installed, name).inspect_err(|problem| tracing::warn!("{problem}"))
    }

    fn start_one(&mut self, installed: &Installed, name: &str) -> Result<serde_json::Value, String> {
        let (module, entry) = installed.module(name)?;
        let failed = |error: std::io::Error| format!("cannot start the thread that watches modules: {error}");
        self.watching.start().map_err(failed)?;
        let note = (self.ready.is_empty() && needs_link(&module)).then(|| {
            format!("{name} deals with packets, and the node has no link; start it with --link tun, or another link")
        });
        if let Some(note) = &note {
            tracing::warn!("{note}");
        }
        let new = Running { module, entry: entry.clone() };
        let is_current = |view: &InstanceView| !matches!(view.state, InstanceState::Draining { .. });
        let instance = self.node.instances().into_iter().find(|view| view.name == name && is_current(view));
        let is_there = instance.is_some();
        if let (Some(view), Some(old)) = (instance, self.running.get(name))
            && view.state == InstanceState::Running
            && old.entry == new.entry
        {
            return Ok(serde_json::json!({ "instance": view.id.0, "note": note }));
        }
        // It may have been unloaded by hand meanwhile.
        let command = if is_there && self.running.contains_key(name) { new.update(name) } else { new.command(name) };
        let id = self.command(command).map_err(|error| error.to_string())?;
        self.running.insert(name.to_owned(), new);
        Ok(serde_json::json!({ "instance": id.0, "note": note }))
    }

    /// Puts a new version from a folder or a package in the place of a running one.
    pub(super) fn update(
        &mut self,
        name: String,
        path: &Path,
        properties: Option<toml::Table>,
        drain_s: Option<u64>,
    ) -> Result<serde_json::Value, String> {
        let module = if path.is_dir() {
            module_dir::load_to_run(path, &[]).map_err(|error| error.to_string())?
        } else {
            packing::load(path).map_err(|error| error.to_string())?
        };
        let version = module.manifest.version.to_string();
        let drain = drain_s.map(Duration::from_secs);
        let command = Command::Update { name, module, properties, grant: None, drain };
        let updated = self.command(command).map_err(|error| error.to_string());
        let id = updated.inspect_err(|problem| tracing::warn!("{problem}"))?;
        Ok(serde_json::json!({ "instance": id.0, "version": version }))
    }

    /// Stops an installed module. That it does not run is no error.
    pub(super) fn uninstall(&mut self, name: &str) -> Result<serde_json::Value, String> {
        if self.running.remove(name).is_some() {
            let _ = self.command(Command::Unload { name: name.to_owned() });
        }
        self.node.stores().remove(name).map_err(|error| format!("what {name} kept is not removed: {error}"))?;
        let installed = self.installed()?;
        self.renew_libraries(&installed);
        Ok(serde_json::Value::Null)
    }

    /// Where it keeps installed modules, and the repositories of its configuration.
    pub(super) fn places(&self) -> serde_json::Value {
        serde_json::json!({ "data": self.data, "repositories": self.repositories, "ca": self.ca })
    }

    fn renew_libraries(&mut self, installed: &Installed) {
        match installed.libraries() {
            Ok(libraries) => self.node.set_libraries(libraries),
            Err(problem) => tracing::warn!("modules that come by signalling get no libraries: {problem}"),
        }
    }
}

/// Where a node keeps what it keeps, and what it finds modules in.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Places {
    /// Its data folder.
    pub data: PathBuf,
    /// Repositories, as people write them.
    pub repositories: Vec<String>,
    /// Certificates of further authorities.
    pub ca: Option<PathBuf>,
}

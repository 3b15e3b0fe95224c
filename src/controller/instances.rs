//! The instances of a node and their lives: started, failing, started again, unloaded.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::filter::Filter;
use crate::base::id::InstanceId;
use crate::base::limits::{self, NAME_BYTES_MAX};
use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::container::fault::Fault;
use crate::container::instance::Instance;
use crate::container::manifest::{Limits, Manifest};
use crate::container::module::Module;
use crate::container::properties::Properties;
use crate::container::surroundings::Surroundings;

/// How an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// It runs.
    Running,
    /// It failed, and is started again at this time.
    Waiting {
        /// When.
        restart_at: Instant,
    },
    /// It failed too often. Its name stays taken until it is unloaded, so that the reason can be read.
    Failed,
}

/// An instance as reports show it.
#[derive(Clone, Debug)]
pub struct InstanceView {
    /// Its id.
    pub id: InstanceId,
    /// What it is called.
    pub name: String,
    /// The module's name.
    pub module: String,
    /// The module's version.
    pub version: String,
    /// How it is.
    pub state: InstanceState,
    /// Since when it is in this state.
    pub since: Instant,
    /// What it did wrong last, as a sentence.
    pub last_fault: Option<String>,
    /// Faults by the name of the limit; errors under `error`.
    pub faults: Vec<(String, u64)>,
    /// How often it was started again.
    pub restarts: u32,
    /// Its filters.
    pub filters: Vec<Filter>,
    /// Packets that its handler saw.
    pub packets_seen: u64,
    /// Packets that native rules of its flows answered for, without the handler.
    pub packets_native: u64,
    /// Its own counters.
    pub counters: Vec<(String, u64)>,
    /// Memory of its VM, in bytes; 0 while it does not run.
    pub memory_bytes: u64,
    /// What it may use.
    pub limits: Limits,
}

/// Why a module is not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No instance can be called so: the name stands in tables, logs and commands.
    #[error("an instance cannot be called {name:?}; use 1 to {NAME_BYTES_MAX} letters, digits, \".\", \"_\" and \"-\"")]
    Name {
        /// The name, cut where it is too long.
        name: String,
    },
    /// The name is taken.
    #[error("an instance is already called \"{name}\"; unload it first, or give this one another name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The properties do not fit the manifest.
    #[error("{module}: {problem}")]
    Properties {
        /// The module's name.
        module: String,
        /// What is wrong, as a sentence.
        problem: String,
    },
    /// There is no room for more.
    #[error("{limit} ({max}) reached; unload something first")]
    Full {
        /// The limit's name.
        limit: &'static str,
        /// Its value.
        max: usize,
    },
    /// The module failed when it was started.
    #[error("{module} failed to start: {fault}")]
    Start {
        /// The module's name.
        module: String,
        /// What it did.
        fault: Fault,
    },
}

/// What follows from a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// It was counted; the instance runs on.
    Tolerated,
    /// The instance was stopped, and is to be started again after this time.
    RestartIn(Duration),
    /// The instance was stopped for good.
    Unloaded,
}

/// One instance.
pub struct Slot {
    /// Its id.
    pub id: InstanceId,
    /// What it is called.
    pub name: String,
    /// Its module.
    pub module: Module,
    /// Its filters; none once it has failed for good.
    pub filters: Vec<Filter>,
    /// The VM, while it runs.
    pub instance: Option<Instance>,
    /// How it is.
    pub state: InstanceState,
    /// Packets that its handler saw.
    pub packets_seen: u64,
    /// Packets that native rules of its flows answered for.
    pub packets_native: u64,
    properties: Properties,
    since: Instant,
    faults: BTreeMap<&'static str, u64>,
    last_fault: Option<String>,
    restarts: u32,
    /// Restarts since it last ran for [`limits::MODULE_HEALTHY_AFTER`].
    restarts_in_a_row: u32,
    errors_in_window: u32,
    window_began: Instant,
}

impl Slot {
    /// The module's manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.module.manifest
    }

    /// Counts a fault, and stops the instance when it was one too many.
    pub fn fault(&mut self, now: Instant, fault: &Fault) -> Consequence {
        *self.faults.entry(fault.limit().unwrap_or("error")).or_default() += 1;
        self.last_fault = Some(fault.to_string());
        if fault.leaves_vm_usable() && self.instance.is_some() {
            if now.since(self.window_began) > limits::MODULE_ERROR_WINDOW {
                (self.window_began, self.errors_in_window) = (now, 0);
            }
            self.errors_in_window += 1;
            if self.errors_in_window <= limits::MODULE_ERRORS_MAX {
                return Consequence::Tolerated;
            }
        }
        self.instance = None;
        if self.state == InstanceState::Running && now.since(self.since) >= limits::MODULE_HEALTHY_AFTER {
            self.restarts_in_a_row = 0;
        }
        self.since = now;
        if self.restarts_in_a_row >= limits::MODULE_RESTARTS_MAX {
            self.state = InstanceState::Failed;
            self.filters.clear();
            return Consequence::Unloaded;
        }
        let delay = limits::MODULE_RESTART_FIRST * (1 << self.restarts_in_a_row);
        self.state = InstanceState::Waiting { restart_at: now + delay };
        Consequence::RestartIn(delay)
    }

    /// Starts the instance again.
    ///
    /// # Errors
    ///
    /// What the module did wrong; to be given to [`Slot::fault`].
    pub fn restart(&mut self, now: Instant, surroundings: &Surroundings) -> Result<(), Fault> {
        self.restarts += 1;
        self.restarts_in_a_row += 1;
        let instance = Instance::start(self.id, &self.module, &self.properties, surroundings, now)?;
        self.instance = Some(instance);
        self.state = InstanceState::Running;
        (self.since, self.window_began, self.errors_in_window) = (now, now, 0);
        Ok(())
    }

    fn view(&self) -> InstanceView {
        let counters = self.instance.as_ref().map(|i| i.counters()).unwrap_or_default();
        InstanceView {
            id: self.id,
            name: self.name.clone(),
            module: self.manifest().name.clone(),
            version: self.manifest().version.to_string(),
            state: self.state,
            since: self.since,
            last_fault: self.last_fault.clone(),
            faults: self.faults.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            restarts: self.restarts,
            filters: self.filters.clone(),
            packets_seen: self.packets_seen,
            packets_native: self.packets_native,
            counters: counters.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            memory_bytes: self.instance.as_ref().map_or(0, Instance::memory_bytes),
            limits: self.manifest().limits,
        }
    }
}

/// All instances of a node, in the order in which they were loaded.
pub struct Instances {
    slots: Vec<Slot>,
    surroundings: Surroundings,
    rng: Rng,
    next_id: u32,
}

impl Instances {
    /// No instances yet.
    #[must_use]
    pub fn new(surroundings: Surroundings) -> Self {
        let rng = Rng::seeded(surroundings.seed);
        Instances { slots: Vec::new(), surroundings, rng, next_id: 1 }
    }

    /// What the next instance is started with; each gets random numbers of its own.
    pub fn surroundings(&mut self) -> Surroundings {
        Surroundings { seed: self.rng.next_u64(), ..self.surroundings.clone() }
    }

    /// Starts a module under a free name.
    ///
    /// # Errors
    ///
    /// Why it was not loaded; nothing has changed then.
    pub fn load(
        &mut self,
        now: Instant,
        module: Module,
        name: Option<String>,
        properties: &toml::Table,
    ) -> Result<&mut Slot, LoadError> {
        let name = name.unwrap_or_else(|| module.manifest.name.clone());
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_plain) {
            return Err(LoadError::Name { name: name.chars().take(NAME_BYTES_MAX).collect() });
        }
        if self.by_name(&name).is_some() {
            return Err(LoadError::NameTaken { name });
        }
        if self.slots.len() >= limits::INSTANCES_MAX {
            return Err(LoadError::Full { limit: "instances per node", max: limits::INSTANCES_MAX });
        }
        let wrong = |problem: String| LoadError::Properties { module: module.manifest.name.clone(), problem };
        let properties =
            Properties::check(&module.manifest.properties, properties).map_err(|e| wrong(e.to_string()))?;
        let filters = module.manifest.filters(&properties).map_err(|e| wrong(e.to_string()))?;
        module.manifest.allowed(&properties).map_err(wrong)?;
        if self.filter_count() + filters.len() > limits::FILTERS_MAX {
            return Err(LoadError::Full { limit: "filters per node", max: limits::FILTERS_MAX });
        }
        let id = InstanceId(self.next_id);
        let surroundings = self.surroundings();
        let instance = Instance::start(id, &module, &properties, &surroundings, now)
            .map_err(|fault| LoadError::Start { module: module.manifest.name.clone(), fault })?;
        self.next_id += 1;
        self.slots.push(Slot {
            id,
            name,
            module,
            filters,
            instance: Some(instance),
            state: InstanceState::Running,
            packets_seen: 0,
            packets_native: 0,
            properties,
            since: now,
            faults: BTreeMap::new(),
            last_fault: None,
            restarts: 0,
            restarts_in_a_row: 0,
            errors_in_window: 0,
            window_began: now,
        });
        Ok(self.slots.last_mut().expect("it was pushed just now"))
    }

    /// Takes an instance out.
    pub fn remove(&mut self, id: InstanceId) -> Option<Slot> {
        let at = self.slots.binary_search_by_key(&id, |slot| slot.id).ok()?;
        Some(self.slots.remove(at))
    }

    /// An instance by its id.
    pub fn get(&mut self, id: InstanceId) -> Option<&mut Slot> {
        let at = self.slots.binary_search_by_key(&id, |slot| slot.id).ok()?;
        Some(&mut self.slots[at])
    }

    /// The id of the instance that is called `name`.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<InstanceId> {
        self.slots.iter().find(|slot| slot.name == name).map(|slot| slot.id)
    }

    /// All instances.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// All instances as reports show them.
    #[must_use]
    pub fn views(&self) -> Vec<InstanceView> {
        self.slots.iter().map(Slot::view).collect()
    }

    fn filter_count(&self) -> usize {
        self.slots.iter().map(|slot| slot.filters.len()).sum()
    }
}

//! The instances of a node and their lives: started, failing, started again, unloaded.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use crate::base::filter::Filter;
use crate::base::id::InstanceId;
use crate::base::limits::{self, NAME_BYTES_MAX};
use crate::base::rng::Rng;
use crate::base::storage::Stores;
use crate::base::time::Instant;
use crate::blocks::hash::Secret;
use crate::blocks::metrics::Metrics;
use crate::container::fault::Fault;
use crate::container::grant::Grant;
use crate::container::instance::Instance;
use crate::container::manifest::{Limits, Manifest};
use crate::container::module::{Module, ModuleError};
use crate::container::permissions::Allowed;
use crate::container::properties::Properties;
use crate::container::surroundings::Surroundings;
pub use crate::controller::budget::Deferred;
use crate::controller::budget::{Budget, Shaping};
use crate::controller::ledger::{OWNER, Usage};
use crate::controller::meter::Meter;

mod update;

pub use update::NewVersion;

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
    /// A new version has taken its place; until this time it goes on with the connections and calls that it has.
    Draining {
        /// When it ends at the latest.
        until: Instant,
    },
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
    /// Packets that it did not see because it had used up its share of the CPU.
    pub packets_unseen: u64,
    /// Its own counters.
    pub counters: Vec<(String, u64)>,
    /// What it has used since it was loaded.
    pub usage: Usage,
    /// For whom it runs: [`crate::controller::ledger::OWNER`], or a requester.
    pub requester: String,
    /// It waits until it may use the CPU again.
    pub is_waiting: bool,
    /// Flows that it looks at.
    pub flows: u32,
    /// How often it reached which of its limits.
    pub limit_hits: Vec<(String, u64)>,
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
    /// It is no module that runs by itself.
    #[error("{module} is a library: modules require it, and it runs as a part of them")]
    Library {
        /// The module's name.
        module: String,
    },
    /// Libraries that it needs are not there.
    #[error(transparent)]
    Libraries(ModuleError),
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
    /// Its place in the order in which packets are shown: the number of the instance that first had its name.
    pub place: InstanceId,
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
    /// Its properties as they were given.
    given: toml::Table,
    /// Packets that it should have seen, while it had to wait.
    pub packets_unseen: u64,
    /// For whom it runs.
    pub requester: String,
    /// Flows that it looks at.
    pub flows: u32,
    /// What it may use now.
    pub budget: Budget,
    /// What it has used.
    pub meter: Meter,
    /// Limits that were reached, which it is time to tell.
    pub untold: Vec<&'static str>,
    /// While it has to wait for its share of the CPU: until when.
    pub waits_until: Option<Instant>,
    /// What waits until then, in order.
    pub deferred: VecDeque<Deferred>,
    /// What waits for bandwidth.
    pub shaping: Shaping,
    properties: Properties,
    grant: Option<Rc<Allowed>>,
    /// The same whole: what a new version is narrowed by too.
    granted: Option<Grant>,
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
    #[expect(clippy::too_many_arguments, reason = "it is made of that much")]
    fn new(
        id: InstanceId,
        place: InstanceId,
        name: String,
        module: Module,
        (given, properties): (toml::Table, Properties),
        (filters, granted): (Vec<Filter>, Option<Grant>),
        instance: Instance,
        now: Instant,
    ) -> Slot {
        Slot {
            packets_unseen: 0,
            requester: OWNER.to_owned(),
            flows: 0,
            budget: Budget::new(now, &module.manifest.limits),
            meter: Meter::new(now),
            untold: Vec::new(),
            waits_until: None,
            deferred: VecDeque::new(),
            shaping: Shaping::default(),
            grant: granted.as_ref().map(|grant| Rc::new(grant.allowed.clone())),
            granted,
            id,
            name,
            module,
            place,
            filters,
            instance: Some(instance),
            state: InstanceState::Running,
            packets_seen: 0,
            packets_native: 0,
            given,
            properties,
            since: now,
            faults: BTreeMap::new(),
            last_fault: None,
            restarts: 0,
            restarts_in_a_row: 0,
            errors_in_window: 0,
            window_began: now,
        }
    }

    /// Whether a new version has taken its place.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        matches!(self.state, InstanceState::Draining { .. })
    }

    /// The module's manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.module.manifest
    }

    /// Counts a fault, and stops the instance when it was one too many.
    pub fn fault(&mut self, now: Instant, fault: &Fault) -> Consequence {
        self.settle(now);
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
        self.end_run();
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
        let surroundings = Surroundings { grant: self.grant.clone(), ..surroundings.clone() };
        let instance = Instance::start(self.id, &self.module, &self.properties, &surroundings, now)?;
        self.instance = Some(instance);
        self.meter.restarted(now);
        self.state = InstanceState::Running;
        (self.since, self.window_began, self.errors_in_window) = (now, now, 0);
        Ok(())
    }

    /// Whether it may use services of others.
    #[must_use]
    pub fn uses_services(&self) -> bool {
        self.instance.is_some() && !self.manifest().uses.is_empty()
    }

    /// Takes in what the instance has used since the last time. Answers how long it has to wait, if it used too much.
    pub fn settle(&mut self, now: Instant) -> Option<Duration> {
        let instance = self.instance.as_ref()?;
        let cpu_ns = self.meter.settle(now, instance);
        for (limit, count) in instance.take_limit_hits() {
            if self.budget.hit(now, limit, count) {
                self.untold.push(limit);
            }
        }
        if cpu_ns == 0 { None } else { self.budget.use_cpu(now, cpu_ns) }
    }

    /// As [`Slot::settle`], but for somebody else, who pays: answers the CPU time, in ns.
    pub fn settle_for_other(&mut self, now: Instant) -> u64 {
        self.instance.as_ref().map_or(0, |instance| self.meter.settle_for_other(now, instance))
    }

    /// Pays for CPU time of another instance. Answers how long it has to wait, if that was too much.
    pub fn pay(&mut self, now: Instant, cpu_ns: u64) -> Option<Duration> {
        self.meter.pay(cpu_ns);
        if cpu_ns == 0 { None } else { self.budget.use_cpu(now, cpu_ns) }
    }

    /// The VM goes.
    fn end_run(&mut self) {
        self.instance = None;
        self.waits_until = None;
        self.deferred.clear();
        self.shaping = Shaping::default();
    }

    /// One more flow is to be looked at: whether its limit allows that.
    pub fn admit_flow(&mut self) -> bool {
        let admits = self.flows < self.manifest().limits.flows;
        self.flows += u32::from(admits);
        admits
    }

    /// What it has used so far.
    fn usage(&self) -> Usage {
        let mut meter = self.meter.clone();
        if let Some(instance) = &self.instance {
            meter.settle_now(instance);
        }
        meter.total()
    }

    fn limit_hits(&self) -> Vec<(String, u64)> {
        let faults = self.faults.iter().filter(|(name, _)| **name != "error").map(|(name, count)| (*name, *count));
        self.budget.hits().chain(faults).map(|(name, count)| (name.to_owned(), count)).collect()
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
            packets_unseen: self.packets_unseen,
            usage: self.usage(),
            requester: self.requester.clone(),
            is_waiting: self.waits_until.is_some(),
            flows: self.flows,
            limit_hits: self.limit_hits(),
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

    /// The machine of which instances learn that are started from now on.
    pub fn set_machine(&mut self, machine: std::rc::Rc<dyn crate::base::machine::MachineView>) {
        self.surroundings.machine = machine;
    }

    /// What the instance `name` is started with: random numbers, secrets and a store of its own.
    pub fn surroundings(&mut self, name: &str) -> Surroundings {
        let seed = self.rng.next_u64();
        let secret = self.surroundings.secret.derived(&seed.to_be_bytes());
        Surroundings { seed, secret, name: name.to_owned(), ..self.surroundings.clone() }
    }

    /// From now on instances get their secrets and their stores from these.
    pub fn set_sources(&mut self, secret: Secret, stores: Rc<dyn Stores>) {
        self.surroundings.secret = secret;
        self.surroundings.stores = stores;
    }

    /// What the running instances show to monitoring, by their names; those that show nothing are left out.
    #[must_use]
    pub fn metrics(&self) -> Vec<(&str, Metrics)> {
        let running =
            self.slots.iter().filter_map(|slot| Some((slot.name.as_str(), slot.instance.as_ref()?.metrics())));
        running.filter(|(_, metrics)| !metrics.is_empty()).collect()
    }

    /// Where instances keep things.
    #[must_use]
    pub fn stores(&self) -> &dyn Stores {
        &*self.surroundings.stores
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
        grant: Option<&Grant>,
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
        if module.manifest.library {
            return Err(LoadError::Library { module: module.manifest.name.clone() });
        }
        module.check_libraries().map_err(LoadError::Libraries)?;
        let wrong = |problem: String| LoadError::Properties { module: module.manifest.name.clone(), problem };
        let given = properties.clone();
        let properties =
            Properties::check(&module.manifest.properties, properties).map_err(|e| wrong(e.to_string()))?;
        let filters = module.manifest.filters(&properties).map_err(|e| wrong(e.to_string()))?;
        module.manifest.allowed(&properties).map_err(wrong)?;
        let filters = grant.map_or_else(|| filters.clone(), |grant| grant.narrow_filters(filters.clone()));
        let allowed = grant.map(|grant| Rc::new(grant.allowed.clone()));
        if self.filter_count() + filters.len() > limits::FILTERS_MAX {
            return Err(LoadError::Full { limit: "filters per node", max: limits::FILTERS_MAX });
        }
        let id = InstanceId(self.next_id);
        let surroundings = Surroundings { grant: allowed, ..self.surroundings(&name) };
        let instance = Instance::start(id, &module, &properties, &surroundings, now)
            .map_err(|fault| LoadError::Start { module: module.manifest.name.clone(), fault })?;
        self.next_id += 1;
        self.slots.push(Slot::new(id, id, name, module, (given, properties), (filters, grant.cloned()), instance, now));
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

    /// The place of an instance in the order in which packets are shown.
    #[must_use]
    pub fn place_of(&self, id: InstanceId) -> InstanceId {
        self.slots.binary_search_by_key(&id, |slot| slot.id).map_or(id, |at| self.slots[at].place)
    }

    /// The id of the instance that is called `name`; not of an old version that still drains.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<InstanceId> {
        self.slots.iter().find(|slot| slot.name == name && !slot.is_draining()).map(|slot| slot.id)
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

//! A new version in the place of a running one.

use std::rc::Rc;

use crate::base::id::InstanceId;
use crate::base::limits;
use crate::base::time::Instant;
use crate::container::grant::Grant;
use crate::container::instance::Instance;
use crate::container::module::Module;
use crate::container::properties::Properties;
use crate::container::services::Copied;
use crate::container::surroundings::Surroundings;
use crate::controller::instances::{InstanceState, Instances, LoadError, Slot};

/// A new version, and what it gets.
pub struct NewVersion {
    /// The module, not narrowed yet.
    pub module: Module,
    /// Its properties; those of the old version if not given.
    pub properties: Option<toml::Table>,
    /// What its owner grants; what he granted the old version if not given.
    pub grant: Option<Box<Grant>>,
    /// What the old version has left.
    pub state: Option<Copied>,
    /// Until when the old version may drain.
    pub until: Instant,
}

impl Instances {
    /// Starts a new version beside the old one, gives it what the old one has left, and lets it take the old one's name,
    /// place, requester and filters. The old one drains from then on, if it runs; otherwise it is gone.
    ///
    /// # Errors
    ///
    /// Why not; nothing has changed then.
    ///
    /// # Panics
    ///
    /// When there is no instance `old`.
    pub fn update(&mut self, now: Instant, old: InstanceId, new: NewVersion) -> Result<InstanceId, LoadError> {
        let (name, place, requester, given, old_filters, old_grant) = {
            let old = self.get(old).expect("the caller found it by its name");
            let given = new.properties.unwrap_or_else(|| old.given.clone());
            (old.name.clone(), old.place, old.requester.clone(), given, old.filters.len(), old.granted.clone())
        };
        let grant = new.grant.map(|grant| *grant).or(old_grant);
        let module = grant.as_ref().map_or_else(|| new.module.clone(), |grant| grant.narrow(new.module.clone()));
        module.check_libraries().map_err(LoadError::Libraries)?;
        let wrong = |problem: String| LoadError::Properties { module: module.manifest.name.clone(), problem };
        let properties = Properties::check(&module.manifest.properties, &given).map_err(|e| wrong(e.to_string()))?;
        let filters = module.manifest.filters(&properties).map_err(|e| wrong(e.to_string()))?;
        module.manifest.allowed(&properties).map_err(wrong)?;
        let filters = grant.as_ref().map_or_else(|| filters.clone(), |grant| grant.narrow_filters(filters.clone()));
        if self.filter_count() - old_filters + filters.len() > limits::FILTERS_MAX {
            return Err(LoadError::Full { limit: "filters per node", max: limits::FILTERS_MAX });
        }
        if self.slots.iter().filter(|slot| slot.is_draining()).count() >= limits::INSTANCES_MAX {
            return Err(LoadError::Full { limit: "draining instances per node", max: limits::INSTANCES_MAX });
        }
        let id = InstanceId(self.next_id);
        let allowed = grant.as_ref().map(|grant| Rc::new(grant.allowed.clone()));
        let surroundings = Surroundings { grant: allowed, ..self.surroundings(&name) };
        let failed = |fault| LoadError::Start { module: module.manifest.name.clone(), fault };
        let mut instance = Instance::start(id, &module, &properties, &surroundings, now).map_err(failed)?;
        if let Some(state) = new.state {
            instance.import_state(now, state).map_err(failed)?;
        }
        self.next_id += 1;
        let mut slot = Slot::new(id, place, name, module, (given, properties), (filters, grant), instance, now);
        slot.requester = requester;
        let before = self.get(old).expect("it was there before");
        before.filters.clear();
        slot.flows = std::mem::take(&mut before.flows);
        (before.state, before.since) = (InstanceState::Draining { until: new.until }, now);
        if before.instance.is_none() {
            self.remove(old);
        }
        self.slots.push(slot);
        Ok(id)
    }
}

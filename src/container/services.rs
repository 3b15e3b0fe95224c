//! The services that modules offer each other: who provides what, in which version.
//!
//! The registry belongs to the node; instances read it while they are called. It changes only between such calls.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};

use crate::base::id::InstanceId;

pub use crate::container::vm::copied::Copied;

/// What one instance provides under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Who provides it.
    pub instance: InstanceId,
    /// The version of the service's interface, from the provider's manifest.
    pub version: Version,
    /// What can be called, in the order of the names.
    pub functions: Vec<String>,
}

/// All services of a node.
#[derive(Debug, Default)]
pub struct Registry {
    offers: BTreeMap<String, Vec<Offer>>,
}

impl Registry {
    /// Adds an offer, in place of an earlier one of the same instance.
    pub fn provide(&mut self, name: &str, offer: Offer) {
        let offers = self.offers.entry(name.to_owned()).or_default();
        offers.retain(|other| other.instance != offer.instance);
        offers.push(offer);
        // The highest version first; of equal ones that of the instance that was loaded first.
        offers.sort_by(|a, b| b.version.cmp(&a.version).then(a.instance.cmp(&b.instance)));
    }

    /// Takes an offer back; true if there was one.
    pub fn withdraw(&mut self, name: &str, instance: InstanceId) -> bool {
        let Some(offers) = self.offers.get_mut(name) else { return false };
        let before = offers.len();
        offers.retain(|offer| offer.instance != instance);
        let changed = offers.len() != before;
        if offers.is_empty() {
            self.offers.remove(name);
        }
        changed
    }

    /// Takes back all that an instance offers; true if that was anything.
    pub fn withdraw_all(&mut self, instance: InstanceId) -> bool {
        let mut changed = false;
        self.offers.retain(|_, offers| {
            let before = offers.len();
            offers.retain(|offer| offer.instance != instance);
            changed |= offers.len() != before;
            !offers.is_empty()
        });
        changed
    }

    /// The offer that a user of these versions gets: the highest one, of equal ones that of the oldest instance.
    #[must_use]
    pub fn best(&self, name: &str, versions: &[VersionReq]) -> Option<&Offer> {
        let fits = |offer: &&Offer| versions.iter().all(|range| range.matches(&offer.version));
        self.offers.get(name)?.iter().find(fits)
    }

    /// All offers by the name of the service, the best first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Offer)> {
        self.offers.iter().flat_map(|(name, offers)| offers.iter().map(move |offer| (name.as_str(), offer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(instance: u32, version: &str) -> Offer {
        Offer { instance: InstanceId(instance), version: version.parse().unwrap(), functions: vec!["f".to_owned()] }
    }

    fn best(registry: &Registry, range: &str) -> Option<u32> {
        registry.best("a.b", &[range.parse().unwrap()]).map(|offer| offer.instance.0)
    }

    #[test]
    fn the_highest_version_that_will_do_is_given_and_the_oldest_of_equal_ones() {
        let mut registry = Registry::default();
        assert_eq!(best(&registry, "*"), None);
        for (instance, version) in [(3, "1.2.0"), (1, "1.0.0"), (2, "1.2.0"), (4, "2.0.0")] {
            registry.provide("a.b", offer(instance, version));
        }
        assert_eq!([best(&registry, "^1"), best(&registry, "^2"), best(&registry, "^3")], [Some(2), Some(4), None]);
        assert!(registry.withdraw("a.b", InstanceId(2)) && !registry.withdraw("a.b", InstanceId(2)));
        assert_eq!(best(&registry, "^1"), Some(3));
        assert!(registry.withdraw_all(InstanceId(3)) && !registry.withdraw_all(InstanceId(3)));
        assert_eq!(best(&registry, "^1"), Some(1));
    }

    #[test]
    fn an_instance_offers_a_service_once() {
        let mut registry = Registry::default();
        registry.provide("a.b", offer(1, "1.0.0"));
        registry.provide("a.b", offer(1, "1.1.0"));
        assert_eq!(registry.iter().count(), 1);
        assert_eq!(best(&registry, "^1.1"), Some(1));
    }
}

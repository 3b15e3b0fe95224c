//! Which versions of libraries fit together: found by PubGrub, and explained as a person would say it.
//!
//! An instance has one version of each library that it needs, be it by itself or through another library. Two instances
//! need not have the same.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use pubgrub::{
    Dependencies, DependencyConstraints, DependencyProvider, DerivationTree, External, PackageResolutionStatistics,
    PubGrubError, Ranges,
};
use semver::{Version, VersionReq};

use crate::base::limits::{LIBRARIES_MAX, RESOLVER_STEPS_MAX};
use crate::container::manifest::Manifest;
use crate::container::module::{Module, ModuleError};

/// One version of a module, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The module's name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Whether others may require it.
    pub library: bool,
    /// What it requires.
    pub requires: BTreeMap<String, VersionReq>,
}

impl Offer {
    /// What a manifest says.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Offer {
        Offer {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            library: manifest.library,
            requires: manifest.requires.clone(),
        }
    }
}

/// Why there are no versions that fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Unresolved {
    /// The whole in a few words.
    pub headline: String,
    /// What speaks against it: clauses, each for a line.
    pub reasons: Vec<String>,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.headline)?;
        for (at, reason) in self.reasons.iter().enumerate() {
            write!(f, "{} {reason}", if at == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

/// The versions of all libraries that `root` needs, by name: of each the newest that does.
///
/// # Errors
///
/// What is missing, which wishes contradict each other, or who requires itself.
pub fn resolve(root: &Offer, offers: &[Offer]) -> Result<BTreeMap<String, Version>, Unresolved> {
    if root.requires.is_empty() {
        return Ok(BTreeMap::new());
    }
    let search = Search::new(root, offers);
    let found = match pubgrub::resolve(&search, root.name.clone(), root.version.clone()) {
        Ok(found) => found,
        Err(PubGrubError::NoSolution(tree)) => return Err(search.explain(&tree)),
        Err(_) => {
            let headline = format!("{} needs too much that contradicts itself", search.root());
            return Err(Unresolved { headline, reasons: vec!["the search for versions was given up".to_owned()] });
        }
    };
    let mut chosen: BTreeMap<String, Version> = found.into_iter().collect();
    chosen.remove(&root.name);
    search.refuse_circles(&chosen)?;
    if chosen.len() > LIBRARIES_MAX {
        let headline = format!("{} needs {} libraries; at most {LIBRARIES_MAX} may be", search.root(), chosen.len());
        return Err(Unresolved { headline, reasons: Vec::new() });
    }
    Ok(chosen)
}

/// A module with the libraries that it needs, out of those that are there. Others are passed over.
///
/// # Errors
///
/// The sentence about what is missing, contradicts itself, or cannot be.
pub fn bind(module: Module, there: &[Module]) -> Result<Module, ModuleError> {
    if module.manifest.requires.is_empty() {
        return Ok(module);
    }
    let offers: Vec<Offer> = there.iter().map(|module| Offer::of(&module.manifest)).collect();
    let chosen = resolve(&Offer::of(&module.manifest), &offers);
    let chosen = chosen.map_err(|problem| ModuleError::Library(problem.to_string()))?;
    let is_chosen = |m: &&Module| m.manifest.library && chosen.get(&m.manifest.name) == Some(&m.manifest.version);
    let libraries = there.iter().filter(is_chosen).map(|m| (m.manifest.name.clone(), m.clone()));
    module.with_libraries(libraries.collect())
}

struct Search<'a> {
    root: &'a Offer,
    /// Libraries by name and version.
    known: BTreeMap<&'a str, BTreeMap<&'a Version, &'a Offer>>,
    /// Names of modules that are there, but are no libraries.
    no_libraries: BTreeSet<&'a str>,
    steps: Cell<u32>,
}

/// The search takes too long.
#[derive(Debug, thiserror::Error)]
#[error("the search takes too long")]
struct TooLong;

impl<'a> Search<'a> {
    fn new(root: &'a Offer, offers: &'a [Offer]) -> Search<'a> {
        let mut known: BTreeMap<&str, BTreeMap<&Version, &Offer>> = BTreeMap::new();
        let mut no_libraries = BTreeSet::new();
        for offer in offers {
            if offer.library {
                known.entry(&offer.name).or_default().entry(&offer.version).or_insert(offer);
            } else {
                no_libraries.insert(offer.name.as_str());
            }
        }
        // Whoever requires the root requires this version of it, and no other.
        known.insert(&root.name, BTreeMap::from([(&root.version, root)]));
        Search { root, known, no_libraries, steps: Cell::new(0) }
    }

    fn root(&self) -> String {
        format!("{} {}", self.root.name, self.root.version)
    }

    fn versions(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a Version> + use<'a, '_> {
        self.known.get(name).into_iter().flat_map(|versions| versions.keys().copied())
    }

    fn offer(&self, name: &str, version: &Version) -> Option<&'a Offer> {
        self.known.get(name)?.get(version).copied()
    }

    /// Exactly the known versions that a requirement allows. Its own rules for pre-releases are no ranges.
    fn allowed(&self, name: &str, wanted: &VersionReq) -> Ranges<Version> {
        let matching = self.versions(name).filter(|version| wanted.matches(version));
        matching.fold(Ranges::empty(), |set, version| set.union(&Ranges::singleton(version.clone())))
    }

    /// Follows who requires whom, and refuses what leads back to where it came from.
    fn refuse_circles(&self, chosen: &BTreeMap<String, Version>) -> Result<(), Unresolved> {
        let (mut done, mut way) = (BTreeSet::new(), Vec::new());
        self.walk(&self.root.name, &self.root.version, chosen, &mut done, &mut way)
    }

    fn walk(
        &self,
        name: &'a str,
        version: &Version,
        chosen: &BTreeMap<String, Version>,
        done: &mut BTreeSet<&'a str>,
        way: &mut Vec<&'a str>,
    ) -> Result<(), Unresolved> {
        if let Some(at) = way.iter().position(|earlier| *earlier == name) {
            let circle = [&way[at..], &[name]].concat().join(" requires ");
            let headline = format!("{} needs libraries that require each other in a circle", self.root());
            let advice = "one of them must do without the other: put what both need into a third one";
            return Err(Unresolved { headline, reasons: vec![circle, advice.to_owned()] });
        }
        let Some(offer) = self.offer(name, version).filter(|_| done.insert(name)) else { return Ok(()) };
        way.push(name);
        for required in offer.requires.keys() {
            let version = chosen.get(required).unwrap_or(&self.root.version);
            self.walk(required, version, chosen, done, way)?;
        }
        way.pop();
        Ok(())
    }

    /// From the search's proof to sentences: who needs what, and what there is of that.
    fn explain(&self, tree: &Proof) -> Unresolved {
        let (mut needs, mut wanted) = (Vec::new(), Vec::new());
        self.collect(tree, &mut needs, &mut wanted);
        let mut reasons: Vec<String> = Vec::new();
        // Those of the module itself first: it is what the reader knows.
        needs.sort_by_key(|(name, _)| *name != self.root.name);
        for (_, need) in &needs {
            if !reasons.contains(need) {
                reasons.push(need.clone());
            }
        }
        for (name, is_hopeless) in wanted {
            let mut wishes: Vec<&String> =
                needs.iter().map(|(_, need)| need).filter(|need| need.contains(&format!(" {name} "))).collect();
            wishes.dedup();
            // Where one wish alone can be met, the reason is elsewhere.
            if wishes.len() > 1 || is_hopeless {
                reasons.push(self.what_there_is(&name, wishes.len() > 1));
            }
        }
        reasons.dedup();
        Unresolved { headline: format!("{} cannot get the libraries that it needs", self.root()), reasons }
    }

    fn collect(&self, tree: &Proof, needs: &mut Vec<(String, String)>, wanted: &mut Vec<(String, bool)>) {
        match tree {
            DerivationTree::Derived(derived) => {
                self.collect(&derived.cause1, needs, wanted);
                self.collect(&derived.cause2, needs, wanted);
            }
            DerivationTree::External(External::FromDependencyOf(name, versions, required, allowed)) => {
                // The proof speaks of sets of versions; a person, of what stands in each manifest.
                let mut by_wish: BTreeMap<String, Vec<String>> = BTreeMap::new();
                for version in self.versions(name).filter(|version| versions.contains(version)) {
                    let wish = self.offer(name, version).and_then(|offer| offer.requires.get(required));
                    if let Some(wish) = wish {
                        by_wish.entry(wish.to_string()).or_default().push(version.to_string());
                    }
                }
                for (wish, versions) in by_wish {
                    let verb = if versions.len() == 1 { "needs" } else { "need" };
                    let need = format!("{name} {} {verb} {required} {wish}", and(&versions));
                    needs.push((name.clone(), need));
                }
                let is_hopeless = !self.versions(required).any(|version| allowed.contains(version));
                match wanted.iter_mut().find(|(name, _)| name == required) {
                    Some((_, known)) => *known |= is_hopeless,
                    None => wanted.push((required.clone(), is_hopeless)),
                }
            }
            DerivationTree::External(External::NotRoot(..) | External::NoVersions(..) | External::Custom(..)) => {}
        }
    }

    fn what_there_is(&self, name: &str, by_several: bool) -> String {
        let versions: Vec<String> = self.versions(name).map(ToString::to_string).collect();
        if name == self.root.name {
            return format!("{name} itself is {}, and nothing it needs may need another one", self.root.version);
        }
        match (versions.is_empty(), by_several) {
            (true, _) if self.no_libraries.contains(name) => {
                format!("{name} is no library: its module.toml does not say library = true")
            }
            (true, _) => format!("there is no {name}"),
            (false, true) => {
                let verb = if versions.len() == 1 { "is" } else { "are" };
                format!("of {name} there {verb} {}, and no version suits all of these", and(&versions))
            }
            (false, false) => format!("of {name} there is only {}", and(&versions)),
        }
    }
}

type Proof = DerivationTree<String, Ranges<Version>, String>;

/// `a`, `a and b`, `a, b and c`.
fn and(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

impl DependencyProvider for Search<'_> {
    type P = String;
    type V = Version;
    type VS = Ranges<Version>;
    /// The one with the fewest versions first; then by name, so that each run decides alike.
    type Priority = (Reverse<usize>, Reverse<String>);
    type M = String;
    type Err = TooLong;

    fn prioritize(&self, name: &String, range: &Self::VS, _: &PackageResolutionStatistics) -> Self::Priority {
        let count = self.versions(name).filter(|version| range.contains(version)).count();
        (Reverse(count), Reverse(name.clone()))
    }

    fn choose_version(&self, name: &String, range: &Self::VS) -> Result<Option<Version>, TooLong> {
        let fitting = || self.versions(name).rev().filter(|version| range.contains(version));
        let stable = fitting().find(|version| version.pre.is_empty());
        Ok(stable.or_else(|| fitting().next()).cloned())
    }

    fn get_dependencies(
        &self,
        name: &String,
        version: &Version,
    ) -> Result<Dependencies<String, Self::VS, String>, TooLong> {
        let requires = self.offer(name, version).map(|offer| &offer.requires);
        let requires = requires.into_iter().flatten().map(|(name, wanted)| (name.clone(), self.allowed(name, wanted)));
        Ok(Dependencies::Available(requires.collect::<DependencyConstraints<_, _>>()))
    }

    fn should_cancel(&self) -> Result<(), TooLong> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > RESOLVER_STEPS_MAX { Err(TooLong) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `"name 1.0.0: other ^1, third ^2"`
    fn offer(text: &str) -> Offer {
        let (head, requires) = text.split_once(':').unwrap_or((text, ""));
        let (name, version) = head.split_once(' ').unwrap();
        let require = |word: &str| {
            let (name, range) = word.trim().split_once(' ').unwrap();
            (name.to_owned(), range.parse().unwrap())
        };
        let requires = requires.split(',').filter(|word| !word.trim().is_empty()).map(require).collect();
        let library = name.starts_with("lib");
        Offer { name: name.to_owned(), version: version.parse().unwrap(), library, requires }
    }

    fn resolved(root: &str, offers: &[&str]) -> Result<Vec<String>, String> {
        let offers: Vec<Offer> = offers.iter().map(|text| offer(text)).collect();
        let chosen = resolve(&offer(root), &offers).map_err(|error| error.to_string())?;
        Ok(chosen.into_iter().map(|(name, version)| format!("{name} {version}")).collect())
    }

    #[test]
    fn a_diamond_gets_one_version_that_suits_both_sides() {
        let offers = [
            "lib-a 1.0.0: lib-base ^1",
            "lib-b 1.0.0: lib-base ^1.1",
            "lib-base 1.0.0",
            "lib-base 1.2.0",
            "lib-base 2.0.0",
        ];
        let got = resolved("m 1.0.0: lib-a ^1, lib-b ^1", &offers);
        assert_eq!(got.unwrap(), ["lib-a 1.0.0", "lib-b 1.0.0", "lib-base 1.2.0"]);
        assert_eq!(resolved("m 1.0.0", &offers).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn an_older_version_is_taken_where_the_newest_fits_nobody() {
        let offers =
            ["lib-a 2.0.0: lib-base ^2", "lib-a 1.0.0: lib-base ^1", "lib-base 1.0.0", "lib-b 1.0.0: lib-base ^1"];
        let got = resolved("m 1.0.0: lib-a *, lib-b ^1", &offers);
        assert_eq!(got.unwrap(), ["lib-a 1.0.0", "lib-b 1.0.0", "lib-base 1.0.0"]);
    }

    #[test]
    fn a_conflict_is_told_with_names_and_ranges() {
        let offers = ["lib-rtp 2.0.0: lib-sip ^2", "lib-sip 1.0.0", "lib-sip 1.2.0", "lib-sip 2.0.0"];
        let got = resolved("phone 1.0.0: lib-rtp ^2, lib-sip ^1", &offers);
        assert_eq!(
            got.unwrap_err(),
            "phone 1.0.0 cannot get the libraries that it needs: phone 1.0.0 needs lib-rtp ^2; \
             phone 1.0.0 needs lib-sip ^1; lib-rtp 2.0.0 needs lib-sip ^2; of lib-sip there are 1.0.0, 1.2.0 and 2.0.0, \
             and no version suits all of these"
        );
    }

    #[test]
    fn what_is_missing_is_named_with_who_needs_it() {
        let got = resolved("phone 1.0.0: lib-rtp ^2", &["lib-rtp 2.0.0: lib-sip ^2", "lib-rtp 2.1.0: lib-sip ^2"]);
        let got = got.unwrap_err();
        assert!(
            got.contains("lib-rtp 2.0.0 and 2.1.0 need lib-sip ^2") && got.contains("there is no lib-sip"),
            "{got}"
        );
        let got = resolved("phone 1.0.0: lib-sip ^3", &["lib-sip 1.0.0"]).unwrap_err();
        assert!(got.contains("phone 1.0.0 needs lib-sip ^3; of lib-sip there is only 1.0.0"), "{got}");
        let got = resolved("phone 1.0.0: player ^3", &["player 3.0.0"]).unwrap_err();
        assert!(got.contains("player is no library"), "{got}");
    }

    #[test]
    fn a_circle_is_refused_and_shown() {
        let offers = ["lib-a 1.0.0: lib-b ^1", "lib-b 1.0.0: lib-a ^1"];
        let got = resolved("m 1.0.0: lib-a ^1", &offers).unwrap_err();
        assert!(got.contains("lib-a requires lib-b requires lib-a"), "{got}");
        let got = resolved("lib-m 1.0.0: lib-a ^1", &["lib-a 1.0.0: lib-m ^1"]).unwrap_err();
        assert!(got.contains("lib-m requires lib-a requires lib-m"), "{got}");
        let got = resolved("lib-m 1.0.0: lib-m ^1", &[]).unwrap_err();
        assert!(got.contains("lib-m requires lib-m"), "{got}");
        let got = resolved("lib-m 1.0.0: lib-a ^1", &["lib-a 1.0.0: lib-m ^2"]).unwrap_err();
        assert!(got.contains("lib-m itself is 1.0.0"), "{got}");
    }

    #[test]
    fn a_version_before_a_release_is_taken_only_when_it_is_asked_for() {
        let offers = ["lib-a 1.0.0", "lib-a 1.1.0-rc.1"];
        assert_eq!(resolved("m 1.0.0: lib-a ^1", &offers).unwrap(), ["lib-a 1.0.0"]);
        assert_eq!(resolved("m 1.0.0: lib-a =1.1.0-rc.1", &offers).unwrap(), ["lib-a 1.1.0-rc.1"]);
    }

    #[test]
    fn a_tangle_is_given_up_rather_than_searched_for_ever() {
        let mut texts = Vec::new();
        for layer in 0..20 {
            for version in 0..20 {
                let (below, wish) = (layer + 1, (version * 7 + layer * 3) % 20);
                texts.push(format!("lib-{layer} 1.{version}.0: lib-{below} =1.{wish}.0, lib-x =1.{version}.0"));
            }
        }
        let offers: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert!(resolved("m 1.0.0: lib-0 ^1", &offers).is_err());
    }
}

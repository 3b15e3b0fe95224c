//! Finds a module and the libraries that it needs, in files and repositories, and checks whose they are. Nothing of them
//! runs here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use semver::{Version, VersionReq};

use crate::base::limits::{REPOSITORIES_MAX, SIGNATURE_BYTES_MAX};
use crate::container::manifest::Manifest;
use crate::container::module::{Module, ModuleError};
use crate::container::repository::Entry;
use crate::container::resolver::{self, Offer, Unresolved};
use crate::container::signature::{self, PublisherKey, SignatureError};
use crate::container::source::MANIFEST_PATH;
use crate::drivers::live::fetcher::FetcherError;
use crate::drivers::live::installed::{Installed, InstalledLibrary};
use crate::drivers::live::repository::{Place, Repository, RepositoryError, Web};
use crate::drivers::packing::{self, Packed, PackingError};
use crate::drivers::{publisher, safe_file};

/// Why a module is not found, or not trusted.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// What fetches.
    #[error(transparent)]
    Fetcher(#[from] FetcherError),
    /// A package.
    #[error(transparent)]
    Packing(#[from] PackingError),
    /// Libraries do not fit together.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    /// Libraries do not fit to the module.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// A text names no module.
    #[error("{what:?} names no module; write NAME, NAME@RANGE such as phone@^1.2, or the path of a .nsm file")]
    Name {
        /// The text.
        what: String,
    },
    /// There is no repository.
    #[error(
        "no repository is known; name one with --from (a folder, https://HOST/FOLDER/, HOST), or in the configuration as repositories = [...]"
    )]
    NoRepository,
    /// Too many of them.
    #[error("{got} repositories are named; at most {REPOSITORIES_MAX} are asked")]
    TooMany {
        /// How many.
        got: usize,
    },
    /// No repository has it.
    #[error("{places} {verb} no {name}{wanted}; {hint}")]
    NotFound {
        /// The repositories.
        places: String,
        /// "offers" or "offer".
        verb: &'static str,
        /// The module.
        name: String,
        /// The versions that would do, with a space before; empty for any.
        wanted: String,
        /// What there is.
        hint: String,
    },
    /// The package is another than its index says.
    #[error("{file} holds {got}, not {want} as the index says")]
    OtherModule {
        /// The file.
        file: String,
        /// What is in it.
        got: String,
        /// What should be.
        want: String,
    },
    /// Nobody answers for it.
    #[error(
        "{what} is not signed, so nobody knows whose it is; ask for a signed one, or take it as it is with --unsigned"
    )]
    Unsigned {
        /// Module and version.
        what: String,
    },
    /// It was signed before, and now is not.
    #[error(
        "{what} is not signed, but {name} was always signed with {key}; it is not taken, with --unsigned neither. If you know why: `netserv module uninstall {name} --forget-publisher` first"
    )]
    UnsignedNow {
        /// Module and version.
        what: String,
        /// The module.
        name: String,
        /// The key that was pinned.
        key: PublisherKey,
    },
    /// Somebody else signed it.
    #[error(
        "{what} is signed with the key {got}, but {name} belongs to {want}: somebody else may be behind it, and it is not taken. If its publisher told you of a new key, give that key with --publisher KEY"
    )]
    OtherPublisher {
        /// Module and version.
        what: String,
        /// The module.
        name: String,
        /// The key that was pinned.
        want: PublisherKey,
        /// The id of the other one.
        got: String,
    },
    /// The key of a signature is not there.
    #[error("{what} is signed with the key {id}, which is not there; give it with --publisher KEY-OR-FILE")]
    NoKey {
        /// Module and version.
        what: String,
        /// The key's id.
        id: String,
    },
    /// The signature does not count.
    #[error("signature of {what}: {error}")]
    Signature {
        /// Module and version.
        what: String,
        /// Why.
        error: SignatureError,
    },
}

/// Whom to believe.
#[derive(Clone, Debug, Default)]
pub struct Belief {
    /// The publisher's key, when the owner was told of it.
    pub publisher: Option<PublisherKey>,
    /// Whether what nobody signed is taken.
    pub unsigned: bool,
}

/// A package that was fetched and checked.
#[derive(Clone, Debug)]
pub struct Found {
    /// The package.
    pub packed: Packed,
    /// The module in it.
    pub module: Module,
    /// Who signed it.
    pub publisher: Option<PublisherKey>,
    /// Whether that publisher is seen for the first time.
    pub is_new_publisher: bool,
    /// Where it came from.
    pub from: String,
}

/// A module with all that it needs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The module; its libraries are bound to it.
    pub root: Found,
    /// Libraries that are not installed yet.
    pub libraries: Vec<Found>,
    /// The versions of all libraries.
    pub versions: BTreeMap<String, Version>,
}

/// Looks into repositories, and into what is installed.
#[derive(Debug)]
pub struct Installer {
    web: Web,
    repositories: Vec<Repository>,
}

impl Installer {
    /// Reads the indexes of repositories.
    ///
    /// # Errors
    ///
    /// When one cannot be read.
    pub fn open(places: &[String], ca_file: Option<PathBuf>) -> Result<Installer, InstallError> {
        if places.len() > REPOSITORIES_MAX {
            return Err(InstallError::TooMany { got: places.len() });
        }
        let web = Web::new(ca_file)?;
        let read = |text: &String| Repository::read(Place::parse(text)?, &web);
        let repositories = places.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Installer { web, repositories })
    }

    /// All packages that are offered, with where.
    pub fn offered(&self) -> impl Iterator<Item = (&Entry, &Place)> {
        self.repositories.iter().flat_map(|repo| repo.index.packages.iter().map(move |entry| (entry, &repo.place)))
    }

    /// Finds what a person names: `NAME`, `NAME@RANGE`, a package file, or the folder of a module.
    ///
    /// # Errors
    ///
    /// Why there is nothing that can be taken.
    pub fn find(&self, what: &str, installed: &Installed, belief: &Belief) -> Result<Plan, InstallError> {
        let root = self.find_root(what, installed, belief)?;
        let mut offers: Vec<Offer> = installed.offers();
        offers.extend(self.offered().map(|(entry, _)| entry.offer()));
        let versions = resolver::resolve(&Offer::of(&root.module.manifest), &offers)?;
        // The owner's word is about the module; libraries may be of others.
        let belief = Belief { publisher: None, unsigned: belief.unsigned };
        let (mut libraries, mut modules) = (Vec::new(), Vec::new());
        for (name, version) in &versions {
            if let Ok(module) = installed.library(name, version) {
                modules.push(module);
                continue;
            }
            let offered = self.entry(name, |offered| offered == version);
            let (entry, repository) = offered.ok_or_else(|| InstallError::Name { what: name.clone() })?;
            let found = self.fetch(entry, repository, installed, &belief)?;
            modules.push(found.module.clone());
            libraries.push(found);
        }
        let module = resolver::bind(root.module.clone(), &modules)?;
        Ok(Plan { root: Found { module, ..root }, libraries, versions })
    }

    /// The module itself, without its libraries.
    ///
    /// # Errors
    ///
    /// As [`Installer::find`].
    pub fn find_root(&self, what: &str, installed: &Installed, belief: &Belief) -> Result<Found, InstallError> {
        let path = Path::new(what);
        if what.contains('/') || path.extension().is_some_and(|extension| extension == "nsm") {
            return of_path(path, installed, belief);
        }
        let (name, range) = what.split_once('@').unwrap_or((what, "*"));
        let wanted: Option<VersionReq> = range.parse().ok().filter(|_| Manifest::is_name(name));
        let wanted = wanted.ok_or_else(|| InstallError::Name { what: what.to_owned() })?;
        let Some((entry, repository)) = self.entry(name, |version| wanted.matches(version)) else {
            return Err(self.not_found(name, &wanted));
        };
        self.fetch(entry, repository, installed, belief)
    }

    /// The newest entry that will do; of the same version that of the first repository.
    fn entry(&self, name: &str, will_do: impl Fn(&Version) -> bool) -> Option<(&Entry, &Repository)> {
        let all = self.repositories.iter().flat_map(|repo| repo.index.packages.iter().map(move |entry| (entry, repo)));
        let mut best: Option<(&Entry, &Repository)> = None;
        for (entry, repo) in all.filter(|(entry, _)| entry.name == name && will_do(&entry.version)) {
            if best.is_none_or(|(known, _)| entry.version > known.version) {
                best = Some((entry, repo));
            }
        }
        best
    }

    fn not_found(&self, name: &str, wanted: &VersionReq) -> InstallError {
        if self.repositories.is_empty() {
            return InstallError::NoRepository;
        }
        let places: Vec<String> = self.repositories.iter().map(|repo| repo.place.to_string()).collect();
        let versions: Vec<String> = self
            .offered()
            .filter(|(entry, _)| entry.name == name)
            .map(|(entry, _)| entry.version.to_string())
            .collect();
        let hint = match versions.is_empty() {
            true => "`netserv module search` lists what is offered".to_owned(),
            false => format!("there is {}", versions.join(", ")),
        };
        let wanted = if *wanted == VersionReq::STAR { String::new() } else { format!(" {wanted}") };
        let verb = if places.len() == 1 { "offers" } else { "offer" };
        InstallError::NotFound { places: places.join(" and "), verb, name: name.to_owned(), wanted, hint }
    }

    fn fetch(
        &self,
        entry: &Entry,
        repository: &Repository,
        installed: &Installed,
        belief: &Belief,
    ) -> Result<Found, InstallError> {
        let bytes = repository.fetch(entry, &self.web)?;
        let packed = packing::check(bytes, Path::new(&entry.file))?;
        let (got, want) = (name_of(&packed.manifest), format!("{} {}", entry.name, entry.version));
        if got != want {
            return Err(InstallError::OtherModule { file: entry.file.clone(), got, want });
        }
        let signature = entry.signature.clone().map(|text| (text, entry.publisher.clone()));
        found(packed, signature, repository.place.to_string(), installed, belief)
    }
}

fn name_of(manifest: &Manifest) -> String {
    format!("{} {}", manifest.name, manifest.version)
}

/// A package file with the signature beside it, or the folder of a module, which nobody signed.
fn of_path(path: &Path, installed: &Installed, belief: &Belief) -> Result<Found, InstallError> {
    let from = path.display().to_string();
    if path.join(MANIFEST_PATH).is_file() {
        return found(packing::pack(path)?, None, from, installed, belief);
    }
    let packed = packing::read(path)?;
    let signature = match safe_file::read(&publisher::signature_path(path), SIGNATURE_BYTES_MAX) {
        Ok((bytes, _)) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let key = key_beside(path, &text);
            Some((text, key))
        }
        Err(_) => None,
    };
    found(packed, signature, from, installed, belief)
}

/// The key of a signature, if a `*.pub` file in the package's folder holds it.
#[must_use]
pub fn key_beside(path: &Path, signature_text: &str) -> Option<PublisherKey> {
    let id = signature::key_id(signature_text).ok()?;
    let beside = safe_file::folder_of(path).join(format!("{id}.pub"));
    let found = publisher::public(&beside.to_string_lossy()).ok();
    found.filter(|key| key.id() == id)
}

/// Checks whose a package is.
fn found(
    packed: Packed,
    signature: Option<(String, Option<PublisherKey>)>,
    from: String,
    installed: &Installed,
    belief: &Belief,
) -> Result<Found, InstallError> {
    let (what, name) = (name_of(&packed.manifest), packed.manifest.name.clone());
    let pinned = belief.publisher.as_ref().or_else(|| installed.list.publishers.get(&name));
    let publisher = match (signature, pinned) {
        (None, Some(key)) => return Err(InstallError::UnsignedNow { what, name, key: key.clone() }),
        (None, None) if belief.unsigned => None,
        (None, None) => return Err(InstallError::Unsigned { what }),
        (Some((text, claimed)), pinned) => {
            let id = signature::key_id(&text);
            let id = id.map_err(|error| InstallError::Signature { what: what.clone(), error })?;
            let key = match (pinned, claimed) {
                (Some(want), claimed) if want.id() != id || claimed.as_ref().is_some_and(|claimed| claimed != want) => {
                    return Err(InstallError::OtherPublisher { what, name, want: want.clone(), got: id });
                }
                (Some(want), _) => want.clone(),
                (None, Some(claimed)) => claimed,
                (None, None) => return Err(InstallError::NoKey { what, id }),
            };
            let checked = key.verify(&text, &packed.bytes, &publisher::comment(&packed));
            checked.map_err(|error| InstallError::Signature { what, error })?;
            Some(key)
        }
    };
    let is_new_publisher = publisher.is_some() && installed.list.publishers.get(&name) != publisher.as_ref();
    let module = packed.module.clone();
    Ok(Found { module, packed, publisher, is_new_publisher, from })
}

impl Plan {
    /// Puts the packages of the plan into the folder, and its libraries and publishers into the list. The caller puts the
    /// module itself there, and commits.
    ///
    /// # Errors
    ///
    /// When a package cannot be written.
    pub fn keep(
        &self,
        installed: &mut Installed,
        wanted: bool,
    ) -> Result<(), crate::drivers::live::installed::InstalledError> {
        let root_library = self.root.module.manifest.library.then_some((&self.root, wanted));
        let libraries = self.libraries.iter().map(|found| (found, false));
        for (found, wanted) in libraries.chain(root_library) {
            let manifest = &found.packed.manifest;
            let library = InstalledLibrary {
                sha256: installed.put_package(&found.packed.bytes)?,
                publisher: found.publisher.clone(),
                from: found.from.clone(),
                requires: manifest.requires.clone(),
                wanted,
            };
            let versions = installed.list.libraries.entry(manifest.name.clone()).or_default();
            versions.insert(manifest.version.clone(), library);
        }
        for found in self.libraries.iter().chain([&self.root]) {
            if let Some(key) = &found.publisher {
                installed.list.publishers.insert(found.packed.manifest.name.clone(), key.clone());
            }
        }
        installed.put_package(&self.root.packed.bytes).map(|_| ())
    }
}

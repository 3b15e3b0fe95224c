//! The modules that are installed at a node: what they are, what they were granted, and whose they are.
//!
//! All is in one folder: `installed.json`, and `packages/SHA-256.nsm`. A package is written before the list names it and
//! removed after the list forgot it, so that a crash leaves at most a package that nobody needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::base::crypto::{sha256, to_hex};
use crate::base::limits::{INSTALLED_BYTES_MAX, INSTALLED_MAX, PACKAGE_BYTES_MAX};
use crate::container::grant::Grant;
use crate::container::module::Module;
use crate::container::package;
use crate::container::resolver::{self, Offer};
use crate::container::signature::PublisherKey;
use crate::drivers::safe_file;

/// The folder within the node's data.
pub const FOLDER: &str = "modules";
const LIST: &str = "installed.json";
const PACKAGES: &str = "packages";

/// Why installed modules cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum InstalledError {
    /// Others could have the node run anything.
    #[error("{} is of the user with number {owner} and has mode {mode:04o}, so others can change what this node runs; `chmod 700` it, or use another folder", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Whose it is.
        owner: u32,
    },
    /// The list is not right.
    #[error("{} is no list of installed modules: {problem}; restore it, or move it away and install anew", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Somebody else changed it.
    #[error("{} was changed by somebody else meanwhile; try again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Too many.
    #[error("{INSTALLED_MAX} modules are installed, and no more can be; uninstall some")]
    Full,
    /// The system refuses.
    #[error("cannot {action} {}: {error}{}", path.display(), remedy(error))]
    System {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// A module that runs whenever the node does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstalledModule {
    /// Its version.
    pub version: Version,
    /// SHA-256 of its package.
    pub sha256: String,
    /// Who signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<PublisherKey>,
    /// Where it came from.
    pub from: String,
    /// What it was granted.
    pub grant: Grant,
    /// Its properties.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub properties: toml::Table,
    /// Its libraries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub libraries: BTreeMap<String, Version>,
}

/// A version of a library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstalledLibrary {
    /// SHA-256 of its package.
    pub sha256: String,
    /// Who signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<PublisherKey>,
    /// Where it came from.
    pub from: String,
    /// What it requires itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requires: BTreeMap<String, semver::VersionReq>,
    /// Whether a person asked for it; otherwise it goes with the last module that needs it.
    #[serde(default)]
    pub wanted: bool,
}

/// The list, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct List {
    /// By name.
    pub modules: BTreeMap<String, InstalledModule>,
    /// By name and version.
    pub libraries: BTreeMap<String, BTreeMap<Version, InstalledLibrary>>,
    /// Whose modules of a name are, since the first one was installed. Kept when it is uninstalled.
    pub publishers: BTreeMap<String, PublisherKey>,
}

/// The folder and its list.
#[derive(Clone, Debug)]
pub struct Installed {
    folder: PathBuf,
    /// To be changed, and then kept by [`Installed::commit`].
    pub list: List,
    /// The file's content when it was read.
    read: Vec<u8>,
}

impl Installed {
    /// Reads what is installed in `folder`; nothing is if there is no such folder.
    ///
    /// # Errors
    ///
    /// When others can write there, or the list is not right.
    pub fn open(folder: &Path) -> Result<Installed, InstalledError> {
        let mut installed = Installed { folder: folder.to_owned(), list: List::default(), read: Vec::new() };
        match fs::metadata(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(installed),
            Err(error) => return Err(system("look at", folder)(error)),
            Ok(metadata) => {
                let (mode, owner) = (safe_file::mode_of(&metadata), metadata.uid());
                if mode & 0o022 != 0 || owner != 0 && owner != platform::user::current() {
                    return Err(InstalledError::Open { path: folder.to_owned(), mode, owner });
                }
            }
        }
        let path = installed.list_path();
        installed.read = read_or_nothing(&path)?;
        if !installed.read.is_empty() {
            let wrong = |problem: String| InstalledError::List { path, problem };
            installed.list = serde_json::from_slice(&installed.read).map_err(|error| wrong(error.to_string()))?;
        }
        Ok(installed)
    }

    fn list_path(&self) -> PathBuf {
        self.folder.join(LIST)
    }

    fn package_path(&self, sha256: &str) -> PathBuf {
        self.folder.join(PACKAGES).join(format!("{sha256}.{}", package::EXTENSION))
    }

    /// Keeps a package, before the list names it. Returns its digest.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn put_package(&self, bytes: &[u8]) -> Result<String, InstalledError> {
        let digest = to_hex(&sha256(bytes));
        let path = self.package_path(&digest);
        safe_file::create_folder(&self.folder.join(PACKAGES)).map_err(system("make", &self.folder))?;
        safe_file::replace(&path, bytes, 0o600).map_err(system("write", &path))?;
        Ok(digest)
    }

    /// Keeps the list as it is now, and removes what nobody needs any more: libraries, then packages.
    ///
    /// # Errors
    ///
    /// When somebody else changed it meanwhile, or it cannot be written.
    pub fn commit(&mut self) -> Result<(), InstalledError> {
        self.drop_libraries();
        let library_count: usize = self.list.libraries.values().map(BTreeMap::len).sum();
        if self.list.modules.len() + library_count > INSTALLED_MAX {
            return Err(InstalledError::Full);
        }
        let path = self.list_path();
        if read_or_nothing(&path)? != self.read {
            return Err(InstalledError::Changed { path });
        }
        let mut bytes = serde_json::to_vec_pretty(&self.list).map_err(|e| system("write", &path)(e.into()))?;
        bytes.push(b'\n');
        safe_file::create_folder(&self.folder).map_err(system("make", &self.folder))?;
        safe_file::replace(&path, &bytes, 0o600).map_err(system("write", &path))?;
        self.read = bytes;
        self.drop_packages();
        Ok(())
    }

    /// Libraries that no module has, and nobody asked for.
    fn drop_libraries(&mut self) {
        let needed: BTreeSet<(&String, &Version)> = self.list.modules.values().flat_map(|m| &m.libraries).collect();
        for (name, versions) in &mut self.list.libraries {
            versions.retain(|version, library| library.wanted || needed.contains(&(name, version)));
        }
        self.list.libraries.retain(|_, versions| !versions.is_empty());
    }

    fn drop_packages(&self) {
        let libraries = self.list.libraries.values().flat_map(BTreeMap::values).map(|library| &library.sha256);
        let needed: BTreeSet<PathBuf> =
            self.list.modules.values().map(|m| &m.sha256).chain(libraries).map(|d| self.package_path(d)).collect();
        let Ok(entries) = fs::read_dir(self.folder.join(PACKAGES)) else { return };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !needed.contains(path)) {
            // What cannot be removed is tried again after the next change.
            let _ = fs::remove_file(path);
        }
    }

    /// A module with its libraries, ready to be loaded.
    ///
    /// # Errors
    ///
    /// A sentence: it is not installed, or its package is not what was installed.
    pub fn module(&self, name: &str) -> Result<(Module, &InstalledModule), String> {
        let entry = self.list.modules.get(name).ok_or_else(|| format!("no module {name} is installed"))?;
        let module = self.read_module(name, &entry.sha256)?;
        let libraries: Vec<Module> =
            entry.libraries.iter().map(|(name, version)| self.library(name, version)).collect::<Result<_, _>>()?;
        let module = resolver::bind(module, &libraries).map_err(|error| error.to_string())?;
        Ok((module, entry))
    }

    /// All libraries.
    ///
    /// # Errors
    ///
    /// As [`Installed::module`].
    pub fn libraries(&self) -> Result<Vec<Module>, String> {
        let all = self.list.libraries.iter().flat_map(|(name, versions)| versions.keys().map(move |v| (name, v)));
        all.map(|(name, version)| self.library(name, version)).collect()
    }

    /// One library.
    ///
    /// # Errors
    ///
    /// As [`Installed::module`].
    pub fn library(&self, name: &str, version: &Version) -> Result<Module, String> {
        let known = self.list.libraries.get(name).and_then(|versions| versions.get(version));
        let known = known.ok_or_else(|| format!("the library {name} {version} is not installed"))?;
        self.read_module(name, &known.sha256)
    }

    /// What the resolver is to know of installed libraries.
    #[must_use]
    pub fn offers(&self) -> Vec<Offer> {
        let all = self.list.libraries.iter().flat_map(|(name, versions)| versions.iter().map(move |v| (name, v)));
        let offer = |(name, (version, library)): (&String, (&Version, &InstalledLibrary))| Offer {
            name: name.clone(),
            version: version.clone(),
            library: true,
            requires: library.requires.clone(),
        };
        all.map(offer).collect()
    }

    fn read_module(&self, name: &str, digest: &str) -> Result<Module, String> {
        let path = self.package_path(digest);
        let failed = |problem: String| format!("{name}: {}: {problem}; install it again", path.display());
        let (bytes, _) = safe_file::read(&path, PACKAGE_BYTES_MAX).map_err(|e| failed(e.to_string()))?;
        if to_hex(&sha256(&bytes)) != digest {
            return Err(failed("it was changed since it was installed".to_owned()));
        }
        let source = package::unpack(&bytes).map_err(|e| failed(e.to_string()))?;
        Module::check(source).map_err(|e| failed(e.to_string()))
    }
}

fn read_or_nothing(path: &Path) -> Result<Vec<u8>, InstalledError> {
    match safe_file::read(path, INSTALLED_BYTES_MAX) {
        Ok((bytes, _)) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(system("read", path)(error)),
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() == io::ErrorKind::PermissionDenied {
        true => "; be the user of the node (root?), or name a data folder of your own with --data DIR",
        false => "",
    }
}

fn system(action: &'static str, path: &Path) -> impl Fn(io::Error) -> InstalledError + use<> {
    let path = path.to_owned();
    move |error| InstalledError::System { action, path: path.clone(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::properties::Properties;
    use crate::container::source::{MANIFEST_PATH, ModuleSource};

    fn packed(name: &str, more: &str) -> (Module, Vec<u8>) {
        let manifest = format!("name = \"{name}\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"s\"\n{more}");
        let files = [(MANIFEST_PATH, manifest.as_str()), ("init.luau", "return {}")];
        let files = files.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).collect();
        let source = ModuleSource { files };
        let bytes = package::pack(&source).unwrap();
        (Module::check(source).unwrap(), bytes)
    }

    fn installed(name: &str) -> (Installed, PathBuf) {
        let folder = std::env::temp_dir().join(format!("netserv-installed-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        (Installed::open(&folder).unwrap(), folder)
    }

    fn entry(module: &Module, sha256: String) -> InstalledModule {
        InstalledModule {
            version: module.manifest.version.clone(),
            sha256,
            publisher: None,
            from: "here".to_owned(),
            grant: Grant::of(&module.manifest, &Properties::default(), false).unwrap(),
            properties: toml::Table::new(),
            libraries: module.manifest.requires.keys().map(|name| (name.clone(), Version::new(1, 0, 0))).collect(),
        }
    }

    #[test]
    fn what_is_installed_is_found_again_with_its_libraries_and_goes_with_them() {
        let (mut installed, folder) = installed("again");
        let (module, bytes) = packed("m", "[requires]\nlib-a = \"^1\"\n");
        let (_, library_bytes) = packed("lib-a", "library = true\n");
        let digest = installed.put_package(&bytes).unwrap();
        let library = InstalledLibrary {
            sha256: installed.put_package(&library_bytes).unwrap(),
            publisher: None,
            from: "here".to_owned(),
            requires: BTreeMap::new(),
            wanted: false,
        };
        installed.list.modules.insert("m".to_owned(), entry(&module, digest));
        installed.list.libraries.entry("lib-a".to_owned()).or_default().insert(Version::new(1, 0, 0), library);
        installed.commit().unwrap();

        let mut again = Installed::open(&folder).unwrap();
        assert_eq!(again.list, installed.list);
        assert_eq!(again.module("m").unwrap().0.libraries.len(), 1);
        assert_eq!((again.libraries().unwrap().len(), again.offers().len()), (1, 1));
        again.list.modules.clear();
        again.commit().unwrap();
        assert!(again.list.libraries.is_empty());
        assert_eq!(fs::read_dir(folder.join(PACKAGES)).unwrap().count(), 0);
        assert!(matches!(installed.commit(), Err(InstalledError::Changed { .. })), "it was changed meanwhile");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_package_that_was_changed_is_not_run() {
        let (mut installed, folder) = installed("changed");
        let (module, mut bytes) = packed("m", "");
        let digest = installed.put_package(&bytes).unwrap();
        installed.list.modules.insert("m".to_owned(), entry(&module, digest.clone()));
        installed.commit().unwrap();
        bytes[30] ^= 1;
        fs::write(installed.package_path(&digest), bytes).unwrap();
        assert!(installed.module("m").unwrap_err().contains("changed since"));
        assert!(installed.module("n").unwrap_err().contains("no module n"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_of_others_or_a_broken_list_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let (_, folder) = installed("broken");
        safe_file::create_folder(&folder).unwrap();
        fs::write(folder.join(LIST), "{\"modules\":{\"m\":{}}}").unwrap();
        assert!(matches!(Installed::open(&folder), Err(InstalledError::List { .. })));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Installed::open(&folder), Err(InstalledError::Open { .. })));
        fs::remove_dir_all(folder).unwrap();
    }
}

//! The packages in a folder: its `.nsm` files, and its module folders, which are packed in memory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::limits::{MODULE_FILES_MAX, SHELF_BYTES_MAX, SHELF_PACKAGES_MAX, SIGNATURE_BYTES_MAX};
use crate::container::package::EXTENSION;
use crate::container::repository::{Entry, INDEX_FILE, Index, WELL_KNOWN};
use crate::container::signature::{self, PublisherKey};
use crate::container::source::MANIFEST_PATH;
use crate::drivers::live::web::WebServer;
use crate::drivers::packing::{self, Packed};
use crate::drivers::{publisher, safe_file};

/// Files that are looked at to see whether something changed.
const STAMPED_FILES_MAX: usize = 64 * MODULE_FILES_MAX;
/// Folders within the folder that are looked at for that: as deep as modules are.
const DEPTH_MAX: usize = 10;

/// Where a package came from.
#[derive(Clone, Debug)]
pub struct Item {
    /// The package.
    pub packed: Packed,
    /// The file or folder.
    pub origin: PathBuf,
    /// Who signed it.
    pub signed: Option<Signed>,
}

/// A signature that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Whose it is.
    pub key: PublisherKey,
    /// As it is written.
    pub text: String,
}

/// What a folder offers.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    /// By name and version, in that order.
    pub items: BTreeMap<(String, semver::Version), Item>,
    /// What is there but not offered, and why: sentences.
    pub problems: Vec<String>,
}

/// What tells two states of a folder apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Vec<(PathBuf, u64, u64, i64, i64)>);

impl Shelf {
    /// Reads the folder `dir`. If it is a module itself, that one is offered.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read. What is wrong in it is a problem, not an error.
    pub fn read(dir: &Path) -> std::io::Result<Shelf> {
        let mut shelf = Shelf::default();
        if dir.join(MANIFEST_PATH).is_file() {
            shelf.add(dir, packing::pack(dir), &[]);
            return Ok(shelf);
        }
        let (mut paths, mut keys): (Vec<PathBuf>, Vec<PublisherKey>) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let is_package = path.extension().is_some_and(|extension| extension == EXTENSION);
            if path.extension().is_some_and(|extension| extension == "pub") {
                keys.extend(publisher::public(&path.to_string_lossy()));
            }
            if !is_hidden && (is_package || path.join(MANIFEST_PATH).is_file()) {
                paths.push(path);
            }
        }
        // Files before folders, so that what was packed once stays what it is.
        paths.sort_by_key(|path| (path.is_dir(), path.clone()));
        for path in paths {
            let packed = if path.is_dir() { packing::pack(&path) } else { packing::read(&path) };
            shelf.add(&path, packed, &keys);
        }
        Ok(shelf)
    }

    fn add(&mut self, origin: &Path, packed: Result<Packed, packing::PackingError>, keys: &[PublisherKey]) {
        let packed = match packed {
            Ok(packed) => packed,
            Err(error) => return self.problems.push(error.to_string()),
        };
        let bytes: usize = self.items.values().map(|item| item.packed.bytes.len()).sum();
        let not_offered = |why: String| format!("{} is not offered: {why}", origin.display());
        if self.items.len() == SHELF_PACKAGES_MAX || bytes + packed.bytes.len() > SHELF_BYTES_MAX {
            let why = format!("{SHELF_PACKAGES_MAX} packages, or {SHELF_BYTES_MAX} bytes of them, are the most");
            return self.problems.push(not_offered(why));
        }
        let key = (packed.manifest.name.clone(), packed.manifest.version.clone());
        match self.items.get(&key) {
            Some(first) if first.packed.digest == packed.digest => {}
            Some(first) => {
                let other = format!("{} is {} {} already, with other content", first.origin.display(), key.0, key.1);
                self.problems.push(not_offered(other));
            }
            None => {
                let signed = signature_of(origin, &packed, keys).unwrap_or_else(|problem| {
                    self.problems.push(problem);
                    None
                });
                self.items.insert(key, Item { packed, origin: origin.to_owned(), signed });
            }
        }
    }

    /// The newest package of each name: the highest version, and one that is no pre-release if there is any.
    #[must_use]
    pub fn newest(&self) -> BTreeMap<&str, &Item> {
        let mut newest: BTreeMap<&str, &Item> = BTreeMap::new();
        for ((name, version), item) in &self.items {
            let rank =
                |item: &Item| (item.packed.manifest.version.pre.is_empty(), item.packed.manifest.version.clone());
            match newest.get(name.as_str()) {
                Some(known) if rank(known) > (version.pre.is_empty(), version.clone()) => {}
                _ => {
                    newest.insert(name, item);
                }
            }
        }
        newest
    }

    /// The list of all packages, for programs.
    #[must_use]
    pub fn index(&self) -> Index {
        let entry = |item: &Item| {
            let (m, signed) = (&item.packed.manifest, item.signed.as_ref());
            Entry {
                name: m.name.clone(),
                version: m.version.clone(),
                summary: m.summary.clone(),
                file: item.packed.file_name(),
                bytes: item.packed.bytes.len() as u64,
                sha256: item.packed.digest_hex(),
                requires: m.requires.clone(),
                library: m.library,
                publisher: signed.map(|signed| signed.key.clone()),
                signature: signed.map(|signed| signed.text.clone()),
            }
        };
        Index { packages: self.items.values().map(entry).collect() }
    }

    /// Offers everything, and nothing else: `/NAME-VERSION.nsm` and its signature, `/NAME.nsm` for the newest, the keys of
    /// publishers, `/index.json`, and the same at [`WELL_KNOWN`].
    pub fn offer(&self, server: &mut WebServer) {
        server.withdraw_all();
        let mut text = String::new();
        for item in self.items.values() {
            let name = item.packed.file_name();
            text.push_str(&format!("{}  {name}\n", item.packed.digest_hex()));
            server.offer(&format!("/{name}"), item.packed.bytes.clone());
            if let Some(Signed { key, text }) = &item.signed {
                server.offer(&format!("/{name}.{}", signature::EXTENSION), text.clone().into_bytes());
                server.offer(&format!("/{}.pub", key.id()), key.to_file().into_bytes());
            }
        }
        for (name, item) in self.newest() {
            server.offer(&format!("/{name}.{EXTENSION}"), item.packed.bytes.clone());
        }
        let index = self.index().to_json();
        server.offer(WELL_KNOWN, index.clone().into_bytes());
        server.offer(&format!("/{INDEX_FILE}"), index.into_bytes());
        // As `sha256sum` writes it.
        server.offer("/", text.into_bytes());
    }
}

/// The signature beside a package, if one of the keys in the folder made it.
fn signature_of(origin: &Path, packed: &Packed, keys: &[PublisherKey]) -> Result<Option<Signed>, String> {
    let path = publisher::signature_path(origin);
    let text = match safe_file::read(&path, SIGNATURE_BYTES_MAX) {
        Ok((bytes, _)) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{} is not offered: {error}", path.display())),
    };
    let wrong = |why: &dyn std::fmt::Display| format!("{} is not offered: {why}", path.display());
    let id = signature::key_id(&text).map_err(|error| wrong(&error))?;
    let mut problem = format!("no *.pub file beside it holds the key {id}");
    for key in keys.iter().filter(|key| key.id() == id) {
        match key.verify(&text, &packed.bytes, &publisher::comment(packed)) {
            Ok(_) => return Ok(Some(Signed { key: key.clone(), text })),
            Err(error) => problem = error.to_string(),
        }
    }
    Err(wrong(&problem))
}

impl Stamp {
    /// How the folder `dir` is now.
    #[must_use]
    pub fn of(dir: &Path) -> Stamp {
        let mut stamp = Stamp::default();
        stamp.folder(dir, 0);
        stamp
    }

    fn folder(&mut self, dir: &Path, depth: usize) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        let mut paths: Vec<PathBuf> = entries.flatten().take(STAMPED_FILES_MAX).map(|entry| entry.path()).collect();
        paths.sort_unstable();
        for path in paths {
            let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if is_hidden || self.0.len() >= STAMPED_FILES_MAX {
                continue;
            }
            let is_link = path.is_symlink();
            self.0.push((path.clone(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()));
            // A link to a folder is followed once, at the top: there a module may be linked to.
            if metadata.is_dir() && depth < DEPTH_MAX && (depth == 0 || !is_link) {
                self.folder(&path, depth + 1);
            }
        }
    }
}

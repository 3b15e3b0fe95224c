//! The reference of what modules may call is that of the code: `modules/netserv.d.luau` and `docs/api/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use netserv::container::reference;

const UPDATE: &str = "run `NETSERV_UPDATE=1 cargo test --test reference` and commit it";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files that are made, by path from the root.
fn made() -> BTreeMap<String, String> {
    let pages = reference::pages().into_iter().map(|(file, text)| (format!("docs/api/{file}"), text));
    pages.chain([("modules/netserv.d.luau".to_owned(), reference::types())]).collect()
}

/// The files that are there in place of those.
fn found() -> BTreeMap<String, String> {
    let mut files: Vec<String> = vec!["modules/netserv.d.luau".to_owned()];
    if let Ok(entries) = fs::read_dir(root().join("docs/api")) {
        let names = entries.map(|entry| entry.expect("the folder can be read").file_name());
        files.extend(names.map(|name| format!("docs/api/{}", name.to_string_lossy())));
    }
    let text = |file: String| Some((file.clone(), fs::read_to_string(root().join(file)).ok()?));
    files.into_iter().filter_map(text).collect()
}

fn write(made: &BTreeMap<String, String>) {
    for old in found().keys().filter(|path| !made.contains_key(*path)) {
        fs::remove_file(root().join(old)).expect("an old page can be removed");
    }
    for (path, text) in made {
        let file = root().join(path);
        fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).expect("a folder can be made");
        fs::write(file, text).expect("a page can be written");
    }
}

#[test]
fn the_reference_is_that_of_the_code() {
    let made = made();
    if std::env::var_os("NETSERV_UPDATE").is_some() {
        write(&made);
    }
    let found = found();
    let differs = |path: &&String| made.get(*path) != found.get(*path);
    let wrong: Vec<&String> = made.keys().chain(found.keys()).filter(differs).collect();
    assert!(wrong.is_empty(), "{wrong:?} is out of date; {UPDATE}");
}

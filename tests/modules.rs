//! Checks every module of this repository, and runs its tests.

use std::path::{Path, PathBuf};

use netserv::container::manifest::Manifest;
use netserv::container::module::Module;
use netserv::container::source::ModuleSource;
use netserv::drivers::{modtest, module_dir};

/// The folders of `modules/`.
fn folders() -> Vec<PathBuf> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("modules");
    let entries = std::fs::read_dir(modules).expect("the repository has modules");
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.expect("it can be read").path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(folders.len() >= 3, "only {folders:?} were found");
    folders
}

#[test]
fn every_module_is_right_and_documented() {
    let mut problems = Vec::new();
    for folder in folders() {
        let module = match module_dir::load(&folder) {
            Ok(module) => module,
            Err(error) => {
                problems.push(error.to_string());
                continue;
            }
        };
        let manifest = &module.manifest;
        let name = folder.file_name().expect("it has a name").to_string_lossy().replace('_', "");
        if manifest.name != name {
            problems.push(format!("{}: the module is called {}", folder.display(), manifest.name));
        }
        let readme = module.source.files.get("README.md").map(|text| String::from_utf8_lossy(text).into_owned());
        let readme = readme.unwrap_or_default();
        for word in manifest.properties.keys().chain(manifest.counters.keys()) {
            if !readme.contains(&format!("`{word}`")) {
                problems.push(format!("{}/README.md says nothing of `{word}`", folder.display()));
            }
        }
        for (path, text) in module.source.files.iter().filter(|(path, _)| path.ends_with(".luau")) {
            let text = String::from_utf8_lossy(text);
            if !text.starts_with("--!strict\n") {
                problems.push(format!("{}/{path} does not begin with --!strict", folder.display()));
            }
            if let Some(line) = text.lines().position(|line| line.chars().count() > 100) {
                problems.push(format!("{}/{path}:{} is longer than 100 columns", folder.display(), line + 1));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_tests_of_every_module_pass() {
    let mut problems = Vec::new();
    for folder in folders() {
        let report = modtest::test(&folder, &[]).expect("the other test says what is wrong");
        println!("{report}");
        if !report.passed() {
            problems.push(report.to_string());
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n\n"));
}

/// The page on how to write modules.
fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/modules.md");
    std::fs::read_to_string(path).expect("there is a page on modules")
}

#[test]
fn the_examples_on_the_page_compile_and_their_manifests_are_right() {
    let page = page();
    let blocks = |kind: &str| {
        let open = format!("```{kind}\n");
        let parts = page.split(open.as_str()).skip(1);
        parts.map(|part| part.split("```").next().unwrap_or_default().to_owned()).collect::<Vec<String>>()
    };
    let (codes, manifests) = (blocks("lua"), blocks("toml"));
    assert!(codes.len() >= 3 && !manifests.is_empty());
    let head = "name = \"m\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"x\"\n";
    for code in codes {
        let files = [("module.toml", head.to_owned()), ("init.luau", code)];
        let files = files.map(|(path, text)| (path.to_owned(), text.into_bytes())).into();
        Module::check(ModuleSource { files }).expect("the code compiles");
    }
    for manifest in manifests {
        Manifest::parse(&format!("{head}{manifest}")).expect("the manifest is right");
    }
}

//! House rules that a machine can check: layers, sizes, where unsafe code and foreign types may be, citations.
//!
//! Each rule is a function from a file to its violations, and is tried on a bad example below: a check that cannot fail
//! checks nothing. Citations of RFCs are in `tidy/coverage.rs`, the rules of RFC 5971 in `tidy/musts.rs`.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/coverage.rs"]
mod coverage;
#[path = "tidy/musts.rs"]
mod musts;
#[path = "tidy/source.rs"]
mod source;

use source::{block_end, code_only, functions, line_of, without_tests, words};

/// Folder of src/, and the folders it may name after `crate::`.
const MAY_USE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("wire", &["base"]),
    ("blocks", &["base", "wire"]),
    ("signaling", &["base", "wire"]),
    ("container", &["base", "wire", "blocks"]),
    ("controller", &["base", "wire", "blocks", "signaling", "container"]),
    ("node", &["base", "wire", "blocks", "signaling", "container", "controller"]),
    ("dashboard", &["base", "wire", "blocks", "node"]),
    // The container only for its ModuleSource and Module: a driver brings module files from wherever they are.
    ("drivers", &["base", "wire", "blocks", "signaling", "container", "controller", "node", "dashboard"]),
    ("cli", &["base", "wire", "blocks", "signaling", "container", "controller", "node", "dashboard", "drivers"]),
];

/// Packages whose types stay in some folders of src/.
const CONFINED: &[(&str, &[&str])] = &[
    ("mlua", &["src/container/"]),
    ("mio", &["src/drivers/live", "src/cli"]),
    ("platform", &["src/drivers/live", "src/cli"]),
];

/// Where unsafe code may be.
const UNSAFE_IN: &[&str] = &["platform/", "src/container/vm/", "src/container/vm.rs"];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Files that may be longer than [`FILE_LINES_MAX`], each with its reason.
const LONG_FILES: &[(&str, &str)] =
    &[("modules/netserv.d.luau", "made from the tables of the code: editors want one file")];

/// Functions (file, name) that may be longer than [`FUNCTION_LINES_MAX`], each with its reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// First folders of absolute paths that belong to one machine or one user.
const PRIVATE_FOLDERS: &[&str] = &["home", "root", "tmp", "work", "Users"];

/// A file of the repository; `path` is relative, with `/`.
struct File {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All text files of the repository, by path. Build output and git's own folder are left out.
fn files() -> Vec<File> {
    let mut found = Vec::new();
    collect(&root(), "", &mut found);
    found.sort_by(|a: &File, b| a.path.cmp(&b.path));
    assert!(found.iter().any(|f| f.path == "src/lib.rs"), "the repository is at {}", root().display());
    found
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<File>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries.map(|e| e.expect("the folder can be read")) {
        let name = entry.file_name().into_string().expect("file names are UTF-8");
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("the folder can be read");
        if matches!(name.as_str(), "target" | ".git" | "corpus" | "artifacts") {
            continue;
        }
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), found);
        } else if kind.is_file() {
            // Captures and pictures are not UTF-8, and not ours to check.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                found.push(File { path, text });
            }
        }
    }
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.split('/').any(|part| part == "tests")
}

/// Runs a rule over all files that `applies` names and fails with everything it found.
fn check(rule: fn(&File) -> Vec<String>, applies: fn(&str) -> bool) {
    let files = files();
    let mut checked = files.iter().filter(|f| applies(&f.path)).peekable();
    assert!(checked.peek().is_some(), "the rule applies to some file");
    let wrong: Vec<String> = checked.flat_map(rule).collect();
    assert!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

fn is_product_rust(path: &str) -> bool {
    is_rust(path) && (path.starts_with("src/") || path.starts_with("platform/"))
}

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

// --- layers ---

/// The folder of src/ that a file belongs to: its layer. `None` for lib.rs and main.rs.
fn layer(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let name = inside.split('/').next()?;
    let name = name.strip_suffix(".rs").unwrap_or(name);
    (name != "lib" && name != "main").then_some(name)
}

/// The names that stand directly after `crate::`, with their byte; `{a, b}` counts as both.
fn named_after_crate(code: &str) -> Vec<(usize, String)> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut named = Vec::new();
    for at in words(code, "crate") {
        let Some(rest) = code[at + 5..].trim_start().strip_prefix("::") else { continue };
        let rest = rest.trim_start();
        if !rest.starts_with('{') {
            named.push((at, word(rest)));
            continue;
        }
        let group = &rest[1..block_end(rest, 0) - 1];
        let mut depth = 0;
        let parts = group.split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        });
        named.extend(parts.map(str::trim).filter(|p| !p.is_empty()).map(|part| (at, word(part))));
    }
    named
}

fn layers(file: &File) -> Vec<String> {
    let code = code_only(&file.text);
    let mut wrong: Vec<String> = code
        .match_indices("super::super")
        .map(|(at, _)| format!("{}:{}: super::super hides a layer; write crate::", file.path, line_of(&code, at)))
        .collect();
    let Some(own) = layer(&file.path) else { return wrong };
    let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == own) else {
        wrong.push(format!("{}: src/{own} is no layer; add it to MAY_USE in tests/tidy.rs", file.path));
        return wrong;
    };
    for (at, name) in named_after_crate(&code) {
        if name != own && !may_use.contains(&name.as_str()) {
            let line = line_of(&code, at);
            wrong.push(format!("{}:{line}: {own} may not use crate::{name}, only {may_use:?}", file.path));
        }
    }
    wrong
}

#[test]
fn each_layer_uses_only_those_it_may() {
    check(layers, |path| is_rust(path) && path.starts_with("src/"));
}

#[test]
fn an_arrow_that_points_up_is_found() {
    assert!(layers(&file("src/wire/header.rs", "use crate::base::id::LinkId;\nuse crate::wire::checksum;")).is_empty());
    for bad in [
        "use crate::node::Node;",
        "use crate::{base::id::LinkId, container::{fault::Fault, module}};",
        "fn f() { let x = crate :: node::f(); }",
        "use super::super::base;",
    ] {
        assert_eq!(layers(&file("src/wire/header.rs", bad)).len(), 1, "{bad}");
    }
    assert_eq!(layers(&file("src/util.rs", "")).len(), 1, "an unknown layer");
    assert!(layers(&file("src/wire.rs", "// crate::node\nconst X: &str = \"crate::node\";")).is_empty());
}

fn confined(file: &File) -> Vec<String> {
    let code = code_only(&file.text);
    let strays = CONFINED.iter().filter(|(_, folders)| !folders.iter().any(|f| file.path.starts_with(f)));
    let uses = strays.flat_map(|(package, folders)| {
        let code = &code;
        words(code, package)
            .filter(|at| code[at + package.len()..].starts_with("::"))
            .map(move |at| format!("{}:{}: {package}:: is only for {folders:?}", file.path, line_of(code, at)))
    });
    uses.collect()
}

#[test]
fn no_foreign_type_leaves_its_folder() {
    check(confined, |path| is_rust(path) && path.starts_with("src/"));
}

#[test]
fn a_lua_type_outside_the_container_is_found() {
    assert_eq!(confined(&file("src/node.rs", "use mlua::Lua;")).len(), 1);
    assert_eq!(confined(&file("src/drivers/replay.rs", "fn f(p: &mio::Poll, t: platform::Tun) {}")).len(), 2);
    assert!(confined(&file("src/container/vm/call.rs", "use mlua::Lua;")).is_empty());
}

// --- sizes ---

fn file_size(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    if lines <= FILE_LINES_MAX || LONG_FILES.iter().any(|(path, _)| *path == file.path) {
        return Vec::new();
    }
    vec![format!("{}: {lines} lines, at most {FILE_LINES_MAX}; split it by state", file.path)]
}

#[test]
fn no_file_is_too_long() {
    check(file_size, |path| {
        let unit_tests = (path.starts_with("src/") || path.starts_with("platform/")) && is_test_file(path);
        (is_rust(path) || path.ends_with(".luau") || path.ends_with(".js")) && !unit_tests
    });
}

#[test]
fn a_long_file_is_found() {
    assert_eq!(file_size(&file("src/node.rs", &"\n".repeat(FILE_LINES_MAX + 1))).len(), 1);
    assert!(file_size(&file("src/node.rs", &"\n".repeat(FILE_LINES_MAX))).is_empty());
}

fn function_sizes(file: &File) -> Vec<String> {
    let excused = |name: &str| LONG_FUNCTIONS.iter().any(|(path, function, _)| *path == file.path && *function == name);
    let long = functions(&code_only(&file.text)).into_iter().filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX);
    long.filter(|(name, _, _)| !excused(name))
        .map(|(name, line, lines)| {
            format!("{}:{line}: fn {name} has {lines} lines, at most {FUNCTION_LINES_MAX}", file.path)
        })
        .collect()
}

#[test]
fn no_function_is_too_long() {
    check(function_sizes, is_rust);
}

#[test]
fn a_long_function_is_found_and_no_brace_in_a_string_hides_it() {
    let body = "    let s = (\"}\", '}', r#\"}\"#, 'a'); // }\n".repeat(FUNCTION_LINES_MAX - 1);
    let text = format!("trait T {{ fn declared(&self) -> [u8; 2]; }}\nfn long<'a>(f: fn(u8) -> u8)\n{{\n{body}}}\n");
    assert_eq!(function_sizes(&file("src/node.rs", &text)).len(), 1);
    let found = functions(&code_only(&text));
    assert_eq!(found, [("long".to_owned(), 2, FUNCTION_LINES_MAX + 2)]);
}

#[test]
fn every_exception_is_still_needed() {
    let files = files();
    for (path, reason) in LONG_FILES {
        let file = files.iter().find(|f| f.path == *path);
        assert!(file.is_some_and(|f| f.text.lines().count() > FILE_LINES_MAX), "{path} is not long ({reason})");
    }
    for (path, name, reason) in LONG_FUNCTIONS {
        let long =
            |f: &File| functions(&code_only(&f.text)).iter().any(|(n, _, l)| n == name && *l > FUNCTION_LINES_MAX);
        assert!(files.iter().any(|f| f.path == *path && long(f)), "{path}: {name} is not long ({reason})");
    }
}

// --- unwrap, unsafe, private paths ---

fn unwraps(file: &File) -> Vec<String> {
    let code = without_tests(&code_only(&file.text));
    let calls = code.match_indices(".unwrap()").map(|(at, _)| line_of(&code, at));
    calls.map(|line| format!("{}:{line}: unwrap(); say with expect why it holds", file.path)).collect()
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    check(unwraps, |path| is_product_rust(path) && !is_test_file(path));
}

#[test]
fn an_unwrap_is_found_but_not_in_tests_and_comments() {
    let text = "/// x.unwrap()\nfn f() { x.unwrap(); }\n#[cfg(test)]\nmod tests { fn g() { x.unwrap(); } }\n";
    assert_eq!(unwraps(&file("src/node.rs", text)), ["src/node.rs:2: unwrap(); say with expect why it holds"]);
}

fn unsafe_code(file: &File) -> Vec<String> {
    if UNSAFE_IN.iter().any(|folder| file.path.starts_with(folder)) {
        return Vec::new();
    }
    let code = code_only(&file.text);
    let lines = words(&code, "unsafe").map(|at| line_of(&code, at));
    lines.map(|line| format!("{}:{line}: unsafe code is only for {UNSAFE_IN:?}", file.path)).collect()
}

#[test]
fn unsafe_code_is_only_where_it_may_be() {
    check(unsafe_code, is_rust);
}

#[test]
fn an_unsafe_block_is_found() {
    assert_eq!(unsafe_code(&file("src/node.rs", "fn f() { unsafe { g() } }")).len(), 1);
    assert!(unsafe_code(&file("src/node.rs", "#![deny(unsafe_code)] // unsafe")).is_empty());
    assert!(unsafe_code(&file("src/container/vm/call.rs", "fn f() { unsafe { g() } }")).is_empty());
}

fn private_paths(file: &File) -> Vec<String> {
    let mut wrong = Vec::new();
    for folder in PRIVATE_FOLDERS.iter().map(|name| format!("/{name}/")) {
        for (at, _) in file.text.match_indices(&folder) {
            // Part of an address or of a longer path.
            if !file.text[..at].ends_with(|c: char| c.is_alphanumeric() || "._-})*~".contains(c)) {
                wrong.push(format!("{}:{}: a path under {folder}", file.path, line_of(&file.text, at)));
            }
        }
    }
    wrong
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    check(private_paths, |_| true);
}

#[test]
fn a_path_of_one_machine_is_found() {
    let bad = format!("cd {0}home{0}someone", '/');
    assert_eq!(private_paths(&file("README.md", &bad)).len(), 1);
    assert!(private_paths(&file("README.md", "https://example.net/home/x and tests/tmp/x")).is_empty());
}

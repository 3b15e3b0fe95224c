//! Libraries: code of other modules that runs as a part of this one.

use super::*;
use crate::container::resolver;

/// A library with these files, which requires what `requires` says: `"lib-b ^1, lib-c ^2"`.
fn library(name: &str, version: &str, requires: &str, files: &[(&str, &str)]) -> Module {
    let manifest = Manifest {
        name: name.to_owned(),
        version: version.parse().unwrap(),
        library: true,
        requires: requirements(requires),
        permissions: Permissions::default(),
        ..manifest()
    };
    module(manifest, files)
}

fn requirements(text: &str) -> BTreeMap<String, semver::VersionReq> {
    let words = text.split(", ").filter(|word| !word.is_empty());
    let pairs = words.map(|word| word.split_once(' ').unwrap());
    pairs.map(|(name, range)| (name.to_owned(), range.parse().unwrap())).collect()
}

fn try_run(requires: &str, files: &[(&str, &str)], libraries: &[Module]) -> Result<Vec<String>, String> {
    let module = module(Manifest { requires: requirements(requires), ..manifest() }, files);
    let module = resolver::bind(module, libraries).map_err(|error| error.to_string())?;
    let started = Instance::start(InstanceId(1), &module, &Properties::default(), &surroundings(), Instant::START);
    let mut instance = started.map_err(|fault| fault.to_string())?;
    let mut log = Vec::new();
    while let Some(effect) = instance.next_effect() {
        if let Effect::Log { text, .. } = effect {
            log.push(text);
        }
    }
    Ok(log)
}

/// Logs what `value` is.
fn logs(value: &str) -> String {
    format!("local M = {{}} function M.start(ctx) ctx:log(\"info\", tostring({value})) end return M")
}

#[test]
fn a_library_and_its_parts_and_its_libraries_are_required() {
    let libraries = [
        library(
            "lib-a",
            "1.0.0",
            "lib-b ^1",
            &[
                ("init.luau", "return { text = require(\"./parts/x\") .. require(\"lib-b\") .. require(\"y\") }"),
                ("parts/x.luau", "return \"x\" .. require(\"../y\")"),
                ("y.luau", "return \"y\""),
            ],
        ),
        library("lib-b", "1.2.0", "", &[("init.luau", "return \"b\" .. require(\"./y\")"), ("y.luau", "return \"z\"")]),
    ];
    let files = [("init.luau", &*logs("require(\"lib-a\").text .. require(\"./y\")")), ("y.luau", "return \"own\"")];
    assert_eq!(try_run("lib-a ^1", &files, &libraries).unwrap(), ["xybzyown"]);
}

#[test]
fn two_versions_live_side_by_side_in_two_instances_and_share_no_state() {
    let code = "local count = 0 return { next = function() count += 1 return VERSION .. count end }";
    let version = |n: &str| library("lib-a", n, "", &[("init.luau", &*code.replace("VERSION", &format!("{n:?}")))]);
    let libraries = [version("1.0.0"), version("2.0.0")];
    let code = logs("require(\"lib-a\").next()");
    for (wish, want) in [("lib-a ^1", "1.0.01"), ("lib-a ^2", "2.0.01"), ("lib-a ^2", "2.0.01")] {
        assert_eq!(try_run(wish, &[("init.luau", &code)], &libraries).unwrap(), [want]);
    }
}

#[test]
fn errors_name_the_file_of_the_library() {
    let libraries = [library("lib-a", "1.0.0", "", &[("init.luau", "\nerror(\"no luck\")")])];
    let told = try_run("lib-a ^1", &[("init.luau", &logs("require(\"lib-a\")"))], &libraries).unwrap_err();
    assert!(told.contains("lib-a/init.luau:2: no luck"), "{told}");
}

#[test]
fn nobody_reaches_files_of_others() {
    let libraries = [
        library("lib-a", "1.0.0", "", &[("init.luau", "return require(\"../y\")"), ("part.luau", "return 1")]),
        library("lib-b", "1.0.0", "", &[("init.luau", "return require(\"lib-a\")")]),
    ];
    for (code, part) in [
        ("require(\"lib-a\")", "outside of the module's folder"),
        ("require(\"lib-a/part\")", "a library is required by its name alone"),
        ("require(\"lib-b\")", "there is no file \"lib-b/lib-a.luau\""),
        ("require(\"lib-c\")", "libraries stand under [requires]"),
    ] {
        let files = [("init.luau", &*logs(code)), ("y.luau", "return 1")];
        let told = try_run("lib-a ^1, lib-b ^1", &files, &libraries).unwrap_err();
        assert!(told.contains(part), "{code}: {told}");
    }
}

#[test]
fn what_does_not_fit_together_is_refused_before_anything_runs() {
    let libraries = [library("lib-a", "1.0.0", "", &[("init.luau", "return 1")])];
    let code = logs("1");
    for (wish, file, part) in [
        ("lib-a ^2", "z.luau", "of lib-a there is only 1.0.0"),
        ("lib-b *", "z.luau", "there is no lib-b"),
        ("lib-a ^1", "lib-a.luau", "rename it"),
        ("lib-a ^1", "lib-a/x.luau", "rename it"),
    ] {
        let told = try_run(wish, &[("init.luau", &code), (file, "return 1")], &libraries).unwrap_err();
        assert!(told.contains(part), "{told}");
    }
}

use std::collections::BTreeSet;

use super::*;
use crate::container::manifest::{Limits, Manifest};
use crate::container::module::Module;
use crate::container::source::ModuleSource;

const HEAD: &str = "name = \"m\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"x\"\n";

/// Compiles Luau; says what is wrong with it.
fn compiles(code: &str) -> Result<(), String> {
    let files = [("module.toml", HEAD), ("init.luau", code)];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into();
    Module::check(ModuleSource { files }).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn all_types_are_right_in_their_form() {
    compiles(&(types() + "\nreturn {}")).unwrap();
    assert!(compiles("export type A = { a: (b -> }\nreturn {}").is_err());
    for (path, text) in stubs() {
        compiles(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    for block in BLOCKS {
        for item in block.items {
            let code = format!("type X = {}\nreturn {{}}", item.luau);
            compiles(&code).unwrap_or_else(|error| panic!("{} {}: {error}", block.name, item.name));
        }
        compiles(block.example).unwrap_or_else(|error| panic!("{}: {error}", block.name));
    }
}

#[test]
fn each_type_is_declared_once() {
    let types = types();
    let mut seen = BTreeSet::new();
    for line in types.lines().filter_map(|line| line.strip_prefix("export type ")) {
        let name: String = line.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        assert!(seen.insert(name.clone()), "{name} is declared twice; building blocks share one space of names");
    }
    assert!(seen.len() > 15);
}

/// The words that a type is made of, without what stands in quotes.
fn words_of(luau: &str) -> Vec<&str> {
    let code = luau.split('"').step_by(2);
    code.flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_')).collect()
}

#[test]
fn each_type_that_is_named_is_declared() {
    let types = types();
    let code: String =
        types.lines().filter(|line| !line.trim_start().starts_with("--")).fold(String::new(), |all, l| all + l + "\n");
    let declared: BTreeSet<&str> =
        code.lines().filter_map(|line| line.strip_prefix("export type ")).map(|l| words_of(l)[0]).collect();
    let is_type = |word: &&str| word.chars().next().is_some_and(char::is_uppercase);
    for word in words_of(&code).into_iter().filter(is_type) {
        // Type parameters are one letter; constants are in capitals.
        let known = declared.contains(word) || word.len() == 1 || !word.chars().any(char::is_lowercase);
        assert!(known, "{word} is named and not declared");
    }
}

#[test]
fn the_defaults_are_those_that_hold() {
    let limits = Manifest::parse(HEAD).unwrap().limits;
    assert_eq!(limits, Limits::default());
    for limit in LIMIT_KEYS {
        let with = |value: u64| Manifest::parse(&format!("{HEAD}[limits]\n{} = {value}\n", limit.key));
        assert!(with(limit.min).is_ok() && with(limit.max).is_ok() && with(limit.default).is_ok(), "{}", limit.key);
        assert!(with(limit.max + 1).is_err(), "{}", limit.key);
        assert!(limit.min == 0 || with(limit.min - 1).is_err(), "{}", limit.key);
    }
}

#[test]
fn pages_do_not_share_a_file() {
    let pages = pages();
    let files: BTreeSet<&String> = pages.iter().map(|(file, _)| file).collect();
    assert_eq!(files.len(), pages.len());
    assert_eq!(grouped(1_099_511_627_776), "1,099,511,627,776");
    assert_eq!(grouped(100), "100");
}

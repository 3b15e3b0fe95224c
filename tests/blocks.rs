//! Runs the example of every building block, in a node whose network is in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use netserv::container::module::Module;
use netserv::container::reference;
use netserv::container::source::ModuleSource;
use netserv::drivers::modtest;

/// Asks for everything: an example is about what can be done.
const MANIFEST: &str = r#"
name = "example"
version = "1.0.0"
api = 1
summary = "The example of a building block."
[permissions]
inject = true
answer_for = ["any"]
store = true
signal = true
listen = ["tcp:*", "udp:*"]
connect = ["tcp:*:*", "udp:*:*"]
system = ["load", "interfaces", "addresses", "routes", "neighbours", "location"]
native = ["reply", "relay", "cache"]
[provides]
"example.names" = "1.0.0"
[uses]
"example.names" = "^1"
[limits]
storage_bytes = 1000000
"#;

#[test]
fn the_example_of_every_block_runs_and_what_it_asserts_holds() {
    let mut problems = Vec::new();
    let mut count = 0;
    for example in reference::examples() {
        count += 1;
        let files = [("module.toml", MANIFEST), ("init.luau", example.code)];
        let files: BTreeMap<_, _> =
            files.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).collect();
        let module = match Module::check(ModuleSource { files }) {
            Ok(module) => module,
            Err(error) => {
                problems.push(format!("{}: {error}", example.block));
                continue;
            }
        };
        match modtest::run_alone(&module, Duration::from_secs(3600)) {
            Ok(report) if !report.faults.is_empty() => {
                problems.push(format!("{}: {}", example.block, report.faults.join("; ")));
            }
            Ok(report) if !report.log.iter().any(|(_, text)| text == "done") => {
                problems.push(format!("{}: it never logged \"done\", but {:?}", example.block, report.log));
            }
            Ok(_) => println!("{}: ok", example.block),
            Err(problem) => problems.push(format!("{}: {problem}", example.block)),
        }
    }
    assert!(count > 1, "only {count} examples were found");
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

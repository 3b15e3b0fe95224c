//! Permissions and libraries of modules that come by signalling.

use super::*;
use crate::container::module::Module;
use crate::controller::trust::Permission;

/// What asks for each permission in a manifest, its word in the trust file, and what it lets a module do.
const ASKS: &[(&str, &str, &str)] = &[
    ("inject = true", "inject", "send packets of its own"),
    ("store = true", "store", "keep data"),
    ("signal = true", "signal", "send signals"),
    ("answer_for = [\"192.0.2.1\"]", "answer-for", "answer in the name of 192.0.2.1"),
    ("listen = [\"tcp:80\"]", "listen", "be reached from outside"),
    ("connect = [\"tcp:*:80\"]", "connect", "connect and send"),
    ("system = [\"load\"]", "system", "read about this machine: load"),
    ("native = [\"relay\"]", "native", "\"relay\""),
];

fn with(words: &[&str]) -> Requester {
    let permissions = words.iter().map(|word| Permission::of_word(word).unwrap());
    Requester { permissions: permissions.collect(), ..alice() }
}

fn granted(w: &World) -> String {
    w.controller.instances[&name()].grant.allowed.sentences().join("; ")
}

#[test]
fn each_permission_needs_its_word_and_is_given_with_it() {
    for (line, word, does) in ASKS {
        let bytes = package("1.0.0", &format!("[permissions]\n{line}\n"));
        let others: Vec<&str> = ASKS.iter().map(|(_, word, _)| *word).filter(|other| other != word).collect();
        let mut w = World::new(vec![with(&others)]);
        let request = w.setup(&bytes);
        let (code, sentence) = w.installs(&request, &bytes);
        assert_eq!(code, AnswerCode::NotAllowed, "{line}");
        assert!(sentence.contains(&format!("permission \"{word}\"")), "{sentence}");
        assert!(w.is_clean());
        let mut w = World::new(vec![with(&[word])]);
        let request = w.setup(&bytes);
        assert_eq!(w.installs(&request, &bytes).0, AnswerCode::Installed, "{line}");
        assert!(granted(&w).contains(does), "{line}: {}", granted(&w));
    }
}

#[test]
fn what_a_module_can_do_without_is_given_only_with_its_word_and_taken_back_with_it() {
    for (line, word, does) in ASKS {
        let bytes = package("1.0.0", &format!("[permissions.optional]\n{line}\n"));
        let mut w = World::new(vec![alice()]);
        let request = w.setup(&bytes);
        assert_eq!(w.installs(&request, &bytes).0, AnswerCode::Installed, "{line}");
        assert_eq!(granted(&w), "", "{line}");
        let mut w = World::new(vec![with(&[word])]);
        let request = w.setup(&bytes);
        w.installs(&request, &bytes);
        assert!(granted(&w).contains(does), "{line}: {}", granted(&w));
        let mut trust = Trust::default();
        trust.add(alice()).unwrap();
        w.controller.set_trust(w.now, trust);
        w.drain();
        assert!(w.running.is_empty(), "{line}");
        assert!(w.notes.iter().any(|note| note.contains("it may no longer")), "{:?}", w.notes);
    }
}

fn library(name: &str, version: &str, rest: &str) -> Module {
    let manifest =
        format!("name = \"{name}\"\nversion = \"{version}\"\napi = 1\nsummary = \"s\"\nlibrary = true\n{rest}");
    let files = [("module.toml", manifest.as_str()), ("init.luau", "return {}\n")];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    Module::check(ModuleSource { files: files.into() }).unwrap()
}

#[test]
fn libraries_are_those_that_the_owner_installed() {
    let bytes = package("1.0.0", "[requires]\nlib-a = \"^1\"\n");
    let mut w = World::new(vec![alice()]);
    let request = w.setup(&bytes);
    let (code, sentence) = w.installs(&request, &bytes);
    assert_eq!(code, AnswerCode::BadPackage);
    for part in ["m 1.0.0 needs lib-a ^1", "there is no lib-a", "`netserv module install`"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    assert!(w.is_clean());
    w.controller.set_libraries(vec![
        library("lib-a", "1.0.0", "[requires]\nlib-b = \"^2\"\n"),
        library("lib-a", "2.0.0", ""),
        library("lib-b", "2.1.0", ""),
    ]);
    let request = w.setup(&bytes);
    assert_eq!(w.installs(&request, &bytes).0, AnswerCode::Installed);
    let libraries = &w.running[&name()].0.libraries;
    let versions: Vec<String> =
        libraries.values().map(|m| format!("{} {}", m.manifest.name, m.manifest.version)).collect();
    assert_eq!(versions, ["lib-a 1.0.0", "lib-b 2.1.0"]);
}

//! Modules that need others.

use super::*;

impl World {
    /// The folder of a library in `modules`; `requires` is the content of that table.
    fn library(&self, name: &str, version: &str, requires: &str, code: &str) {
        self.module(name, version, requires, code);
        self.change(&format!("modules/{name}"), "api = 1", "api = 1\nlibrary = true");
    }

    fn module(&self, name: &str, version: &str, requires: &str, code: &str) {
        let requires = if requires.is_empty() { String::new() } else { format!("[requires]\n{requires}\n") };
        let manifest = format!("name = \"{name}\"\nversion = \"{version}\"\napi = 1\nsummary = \"s\"\n{requires}");
        self.write(&format!("modules/{name}/module.toml"), &manifest);
        self.write(&format!("modules/{name}/init.luau"), code);
    }
}

/// `phone` needs `lib-a` and `lib-b`, and both need `lib-base`.
fn diamond(w: &World) {
    w.library("lib-base", "1.2.0", "", "local count = 0 return function() count += 1 return count end");
    w.library("lib-a", "1.0.0", "lib-base = \"^1\"", "return require(\"lib-base\")");
    w.library("lib-b", "1.0.0", "lib-base = \"^1.1\"", "return require(\"lib-base\")");
    let code = "assert(require(\"lib-a\") == require(\"lib-b\") and require(\"lib-a\")() == 1) return {}";
    w.module("phone", "1.0.0", "lib-a = \"^1\"\nlib-b = \"^1\"", code);
}

const INSTALL: &[&str] = &["--from", "modules", "--unsigned", "--yes", "--data", "data"];

#[test]
fn a_diamond_is_installed_with_its_libraries_and_goes_with_them() {
    let mut w = World::new("diamond");
    diamond(&w);
    w.start_node();
    // The author's way: the folder, with libraries in folders beside it.
    w.good(&["module", "load", "modules/phone", "--name", "try", "--control", "run/c.sock"]);
    let told = w.good(&[&["module", "install", "phone"], INSTALL, CONTROL].concat());
    assert_eq!(told, "phone 1.0.0 is installed, and runs\n");
    assert_eq!(w.instance("phone").unwrap().0, "running");
    let list = w.good(&[&["module", "list"], CONTROL].concat());
    assert_eq!(list, "phone 1.0.0\nlib-a 1.0.0 (library)\nlib-b 1.0.0 (library)\nlib-base 1.2.0 (library)\n");
    let told = w.refused(&[&["module", "uninstall", "lib-base"], CONTROL].concat());
    assert!(told.contains("needed by phone 1.0.0"), "{told}");
    let told = w.refused(&["module", "load", "modules/lib-base", "--control", "run/c.sock"]);
    assert!(told.contains("is a library"), "{told}");
    w.good(&[&["module", "uninstall", "phone"], CONTROL].concat());
    assert!(w.good(&[&["module", "list"], CONTROL].concat()).contains("nothing is installed"));
}

#[test]
fn what_does_not_fit_together_is_explained() {
    let w = World::new("conflict");
    diamond(&w);
    let install = [&["module", "install", "phone"], INSTALL].concat();
    let told_with = |requires: &str| {
        w.library("lib-b", "1.0.0", requires, "return 1");
        w.refused(&install)
    };
    assert_eq!(
        told_with("lib-base = \"^2\""),
        "netserv: phone 1.0.0 cannot get the libraries that it needs: phone 1.0.0 needs lib-b ^1; lib-b 1.0.0 needs \
         lib-base ^2; of lib-base there is only 1.2.0\n"
    );
    let told = told_with("lib-none = \"*\"");
    assert!(told.contains("lib-b 1.0.0 needs lib-none *; there is no lib-none"), "{told}");
    let told = told_with("lib-c = \"*\"");
    assert!(told.contains("there is no lib-c"), "{told}");
    w.library("lib-c", "1.0.0", "lib-b = \"*\"", "return 1");
    let told = told_with("lib-c = \"*\"");
    assert!(told.contains("lib-b requires lib-c requires lib-b"), "{told}");
    let told = w.refused(&["module", "test", "modules/phone"]);
    assert!(told.contains("requires lib-b"), "{told}");
    assert!(!w.folder.join("data").exists(), "nothing was installed");
}

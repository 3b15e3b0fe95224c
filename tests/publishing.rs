//! From a new module to a running node, as a publisher and an owner do it: the real program, a node without links, no root.
//!
//! Signatures are compared with those of the real `minisign`; where it is missing, that test is skipped, and fails if
//! `NETSERV_REQUIRE_ALL` is set.
#![cfg(all(unix, feature = "live"))]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test; helpers are not seen as such")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[path = "publishing/libraries.rs"]
mod libraries;
#[path = "publishing/signatures.rs"]
mod signatures;

/// A folder with a user's configuration, and perhaps a node.
struct World {
    folder: PathBuf,
    node: Option<Child>,
}

impl World {
    fn new(name: &str) -> World {
        let folder = std::env::temp_dir().join(format!("netserv-publishing-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("run")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(folder.join("run"), mode).unwrap();
        World { folder, node: None }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netserv"));
        command.args(words).env_remove("NETSERV_LOG").env("XDG_CONFIG_HOME", self.folder.join("config"));
        command.env("XDG_DATA_HOME", self.folder.join("share")).env("XDG_RUNTIME_DIR", self.folder.join("nothing"));
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// Exit code, standard output, standard error.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let output = self.command(words).output().expect("the program can be started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().expect("no signal"), text(&output.stdout), text(&output.stderr))
    }

    fn good(&self, words: &[&str]) -> String {
        let (code, out, errors) = self.run(words);
        assert_eq!(code, 0, "{words:?}: {errors}");
        out
    }

    fn refused(&self, words: &[&str]) -> String {
        let (code, out, errors) = self.run(words);
        assert!(code == 1 || code == 2, "{words:?}: {code} {out}");
        errors
    }

    /// Starts a node without links, and waits until it answers.
    fn start_node(&mut self) {
        // Nothing of this machine's own node is touched.
        self.write("node.toml", &format!("state = {:?}\n", self.folder.join("state")));
        let places = ["--config", "node.toml", "--data", "data", "--control", "run/c.sock"];
        let mut command = self.command(&[&["run", "--link", "none"], &places[..]].concat());
        self.node = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        for _ in 0..1_000 {
            if self.run(&["status", "--json", "--control", "run/c.sock"]).0 == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the node does not answer");
    }

    fn stop_node(&mut self) {
        if let Some(mut node) = self.node.take() {
            let _ = Command::new("kill").arg(node.id().to_string()).status();
            node.wait().unwrap();
        }
    }

    /// State, version, and how long each instance has been in that state, by name.
    fn instance(&self, name: &str) -> Option<(String, String, f64)> {
        let status = self.good(&["status", "--json", "--control", "run/c.sock"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let all = status["instances"].as_array().unwrap();
        let one = all.iter().find(|instance| instance["name"] == name)?;
        let text = |key: &str| one[key].as_str().unwrap().to_owned();
        Some((text("state"), text("version"), one["state_s"].as_f64().unwrap()))
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Packs and signs a module's folder into the folder `packages`.
    fn publish(&self, module: &str, version: &str) {
        fs::create_dir_all(self.folder.join("packages")).unwrap();
        let file = format!("packages/{module}-{version}.nsm");
        self.good(&["module", "pack", module, "--out", &file]);
        self.good(&["module", "sign", &file]);
    }

    /// Changes a manifest.
    fn change(&self, module: &str, from: &str, to: &str) {
        let path = self.folder.join(module).join("module.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop_node();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A web server of packages; its URL.
struct Server(Child, String);

impl Server {
    fn start(w: &World, dir: &str) -> Server {
        let mut command = w.command(&["serve", dir, "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().rsplit_once('/').unwrap().0.to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{line}");
        Server(child, url)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const CONTROL: &[&str] = &["--control", "run/c.sock"];

fn install<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&["module", "install"], words, &["--yes"], CONTROL].concat()
}

#[test]
fn a_new_module_runs_on_a_node_after_eight_commands() {
    let mut w = World::new("eight");
    w.start_node();
    w.good(&["module", "new", "long-datagrams"]);
    w.good(&["module", "test", "long-datagrams"]);
    w.good(&["key", "new", "--publisher"]);
    w.good(&["module", "pack", "long-datagrams"]);
    w.good(&["module", "sign", "long-datagrams-0.1.0.nsm"]);
    let server = Server::start(&w, ".");
    let found = w.good(&[&["module", "search", "datagrams", "--from", &server.1], CONTROL].concat());
    assert!(found.starts_with("long-datagrams 0.1.0: ") && found.contains("publisher RW"), "{found}");
    let told = w.good(&install(&["long-datagrams@^0.1", "--from", &server.1]));
    let (first, note) = told.split_once('\n').unwrap();
    assert_eq!(first, "long-datagrams 0.1.0 is installed, and runs");
    assert!(note.contains("the node has no link"), "{note}");
    let (state, version, _) = w.instance("long-datagrams").unwrap();
    assert_eq!((state.as_str(), version.as_str()), ("running", "0.1.0"));

    // It runs again when the node does, and the host's own index says the same.
    w.stop_node();
    w.start_node();
    assert_eq!(w.instance("long-datagrams").unwrap().0, "running");
    let well_known = format!("{}/.well-known/netserv", server.1);
    let shown = w.good(&[&["module", "inspect", "long-datagrams", "--from", &well_known], CONTROL].concat());
    assert!(shown.contains("as before") && shown.contains("see the headers of these packets: udp"), "{shown}");
}

#[test]
fn an_update_that_asks_for_more_runs_on_with_the_old_grant_and_restarts_nobody_else() {
    let mut w = World::new("update");
    w.good(&["key", "new", "--publisher"]);
    for name in ["phone", "other"] {
        w.good(&["module", "new", name]);
        w.publish(name, "0.1.0");
    }
    // Without a node it is kept for the next start.
    let offline = ["module", "install", "other", "--from", "packages", "--data", "data", "--yes"];
    assert!(w.good(&offline).contains("will run when the node does"));
    w.start_node();
    w.good(&install(&["phone", "--from", "packages", "--only", "udp to 192.0.2.1 to port 5060"]));
    let info = w.good(&[&["module", "info", "phone"], CONTROL].concat());
    let seen = "see the headers of these packets: udp to 192.0.2.1/32 to port 5060\n  - drop them";
    assert!(info.contains(seen), "{info}");
    // The configuration names the node as well as its socket does, running or not.
    w.write("named.toml", "control = \"run/c.sock\"\n");
    assert_eq!(w.good(&["module", "info", "phone", "--config", "named.toml"]), info);
    w.write("other.toml", "control = \"run/none.sock\"\ndata = \"empty\"\n");
    let told = w.good(&["module", "list", "--config", "other.toml"]);
    assert_eq!(told, "nothing is installed in empty\n");

    w.change("phone", "version = \"0.1.0\"", "version = \"0.2.0\"");
    w.change("phone", "[counters]", "[permissions]\ninject = true\n[permissions.optional]\nstore = true\n[counters]");
    w.publish("phone", "0.2.0");
    let told = w.good(&install(&["phone", "--from", "packages"]));
    for part in ["0.2.0 is installed, and runs", "did not get", "- send packets of its own", "- see other packets"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (state, version, since) = w.instance("phone").unwrap();
    assert_eq!((state.as_str(), version.as_str()), ("running", "0.2.0"));
    assert!(w.instance("other").unwrap().2 > since, "the other one was not started anew");
    let again = w.good(&install(&["phone", "--from", "packages"]));
    assert!(again.contains("is installed, and runs") && w.instance("phone").unwrap().2 > since, "nothing to do");

    // Asked again, it gets what it needs, and of the rest what is named.
    let told = w.good(&install(&["phone", "--from", "packages", "--ask-again", "--json"]));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["granted"], serde_json::json!(["send packets of its own into your traffic"]));
    assert_eq!(told["not_granted"], serde_json::json!(["keep data on this machine"]));
    w.good(&install(&["phone", "--from", "packages", "--grant", "store", "--deny", "inject"]));
    let info = w.good(&[&["module", "info", "phone"], CONTROL].concat());
    assert!(info.contains("keep data") && !info.contains("send packets of its own"), "{info}");

    // What does not start leaves the version before running.
    w.change("phone", "version = \"0.2.0\"", "version = \"0.3.0\"");
    w.write("phone/init.luau", "error(\"no luck\")");
    w.publish("phone", "0.3.0");
    let told = w.refused(&install(&["phone", "--from", "packages"]));
    assert!(told.contains("no luck") && told.contains("goes on as it was, with version 0.2.0"), "{told}");
    assert_eq!(w.instance("phone").unwrap().1, "0.2.0");
    assert!(w.good(&[&["module", "list"], CONTROL].concat()).contains("phone 0.2.0\n"));

    fs::remove_file(w.folder.join("packages/phone-0.3.0.nsm")).unwrap();
    fs::remove_file(w.folder.join("packages/phone-0.2.0.nsm")).unwrap();
    for what in ["phone", "phone@^0.1", "phone@*"] {
        let told = w.refused(&install(&[what, "--from", "packages"]));
        assert!(told.contains("to go back, write phone@=0.1.0"), "{told}");
    }

    w.good(&[&["module", "uninstall", "phone"], CONTROL].concat());
    assert!(w.instance("phone").is_none() && w.instance("other").is_some());
    let packages = fs::read_dir(w.folder.join("data/modules/packages")).unwrap().count();
    assert_eq!(packages, 1, "what nobody needs is not kept");
}

#[test]
fn nothing_is_installed_without_being_asked_for_or_shown() {
    let w = World::new("asked");
    w.good(&["key", "new", "--publisher"]);
    w.good(&["module", "new", "phone"]);
    w.publish("phone", "0.1.0");
    let data = ["--data", "data"];
    let told = w.refused(&[&["module", "install", "phone", "--from", "packages"], &data[..]].concat());
    assert!(told.contains("--yes"), "{told}");
    assert!(!Path::new(&w.folder.join("data")).exists());
    assert!(w.refused(&["module", "search"]).contains("no repository is known"));
    let told = w.refused(&["module", "search", "fax", "--from", "packages"]);
    assert!(told.contains("nothing that packages offers has \"fax\" in it"), "{told}");
    for (words, part) in [
        (&["module", "install", "phone", "--yes"][..], "no repository is known"),
        (&["module", "install", "phone@^9", "--from", "packages", "--yes"], "offers no phone ^9; there is 0.1.0"),
        (&["module", "install", "Phone", "--from", "packages", "--yes"], "names no module"),
        (&["module", "install", "x", "--from", "nowhere", "--yes"], "is no repository"),
        (&["module", "install", "./phone", "--yes"], "is not signed"),
        (&["module", "install", "phone", "--from", "packages", "--yes", "--grant", "fly"], "is no permission"),
        (&["module", "install", "phone", "--from", "packages", "--yes", "--property", "x=1"], "x"),
        (&["module", "install", "phone", "--from", "packages", "--yes", "--grant", "signal"], "does not ask for that"),
        (&["module", "uninstall", "phone"], "no module phone is installed"),
        (&["module", "info", "phone"], "no module phone is installed"),
    ] {
        let told = w.refused(&[words, &data].concat());
        assert!(told.contains(part), "{words:?}: {told}");
    }
}

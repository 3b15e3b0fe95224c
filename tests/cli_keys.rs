//! `netserv key`, `trust` and `module pack`, as a user calls them. Needs no root and no network.
#![cfg(all(unix, feature = "live"))]
#![expect(clippy::unwrap_used, reason = "a test; helpers are not seen as such")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

struct World(PathBuf);

impl World {
    fn new(name: &str) -> World {
        let folder = std::env::temp_dir().join(format!("netserv-cli-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        World(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Exit code, standard output, standard error.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netserv"));
        command.args(words).env_remove("NETSERV_LOG").env("XDG_CONFIG_HOME", &self.0);
        let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("the program can be started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().expect("no signal"), text(&output.stdout), text(&output.stderr))
    }

    fn good(&self, words: &[&str]) -> String {
        let (code, out, errors) = self.run(words);
        assert_eq!((code, errors.as_str()), (0, ""), "{words:?}");
        out
    }

    fn refused(&self, words: &[&str], code: i32) -> String {
        let (got, out, errors) = self.run(words);
        assert_eq!((got, out.as_str()), (code, ""), "{words:?}: {errors}");
        errors
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_is_made_shown_and_kept() {
    let w = World::new("key");
    assert!(w.refused(&["key", "show"], 1).contains("netserv key new"));
    let told = w.good(&["key", "new"]);
    let file = w.path("netserv/key.pem");
    assert_eq!(mode(&file), 0o600);
    let public = w.good(&["key", "show"]).trim().to_owned();
    assert_eq!(public.len(), 64);
    assert!(told.contains("netserv trust add --name") && told.contains(&public), "{told}");
    assert!(w.refused(&["key", "new"], 1).contains("--force"));
    assert_eq!(w.good(&["key", "show"]).trim(), public);
    w.good(&["key", "new", "--force"]);
    assert_ne!(w.good(&["key", "show"]).trim(), public);
    let json: serde_json::Value =
        serde_json::from_str(&w.good(&["key", "new", "--json", "--out", &w.path("a.pem")])).unwrap();
    assert_eq!(w.good(&["key", "show", &w.path("a.pem")]).trim(), json["public_key"].as_str().unwrap());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(w.refused(&["key", "show"], 1).contains("chmod 600"));
}

#[test]
fn a_key_is_one_that_openssl_reads_too() {
    let w = World::new("openssl");
    let public = |file: &str| {
        let mut command = Command::new("openssl");
        let output = command.args(["pkey", "-in", file, "-pubout", "-outform", "DER"]).output().ok()?;
        output.status.success().then(|| {
            let key = &output.stdout[output.stdout.len() - 32..];
            key.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        })
    };
    let theirs = w.path("theirs.pem");
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out", &theirs]).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: there is no openssl that knows Ed25519");
        return;
    }
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(w.good(&["key", "show", &theirs]).trim(), public(&theirs).unwrap());
    let ours = w.path("ours.pem");
    w.good(&["key", "new", "--out", &ours]);
    assert_eq!(w.good(&["key", "show", &ours]).trim(), public(&ours).unwrap());
}

#[test]
fn trust_is_given_listed_and_taken() {
    let w = World::new("trust");
    let file = w.path("etc/trust.toml");
    w.good(&["key", "new"]);
    let key = w.good(&["key", "show"]).trim().to_owned();
    assert!(w.good(&["trust", "list", "--file", &file]).starts_with("nobody is trusted"));
    let add = |name: &str, more: &[&str]| {
        let mut words = vec!["trust", "add", "--file", &file, "--name", name];
        words.extend(more);
        w.run(&words)
    };
    assert_eq!(add("alice", &["--key", &key, "--packages", "monitor,nat-*", "--lifetime", "2h"]).0, 0);
    assert_eq!(mode(&file), 0o644);
    fs::write(&file, format!("# who may what\n{}", fs::read_to_string(&file).unwrap())).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let other = "0123456789abcdef".repeat(4);
    assert_eq!(add("bob", &["--key", &other, "--permissions", "drop", "--no-probe"]).0, 0);
    assert_eq!(mode(&file), 0o600, "the mode stays");
    let before = fs::read_to_string(&file).unwrap();

    for (name, more, part) in [
        ("alice", vec!["--key", "00"], "64 hexadecimal digits"),
        ("carol", vec!["--key", &other], "another requester"),
        ("bob", vec!["--key", &key], "name"),
        ("carol", vec!["--key", &key, "--memory", "9Q"], "--memory \"9Q\""),
    ] {
        let (code, _, errors) = add(name, &more);
        assert!(code != 0 && errors.contains(part), "{name} {more:?}: {code} {errors}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), before, "what is refused changes nothing");

    let table = w.good(&["trust", "list", "--file", &file]);
    assert!(table.contains("alice") && table.contains("monitor, nat-*") && table.contains("2h"), "{table}");
    let list: serde_json::Value = serde_json::from_str(&w.good(&["trust", "list", "--json", "--file", &file])).unwrap();
    assert_eq!((&list[0]["key"], &list[0]["lifetime_seconds"]), (&serde_json::json!(key), &serde_json::json!(7200.0)));
    assert_eq!((&list[1]["permissions"], &list[1]["probe"]), (&serde_json::json!(["drop"]), &serde_json::json!(false)));

    assert!(w.refused(&["trust", "remove", "zed", "--file", &file], 1).contains("alice, bob"));
    w.good(&["trust", "remove", "alice", "--file", &file]);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# who may what\n") && !text.contains("alice") && text.contains("bob"), "{text}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(w.refused(&["trust", "list", "--file", &file], 1).contains("chmod go-w"));
    assert!(w.refused(&["trust", "remove", "bob", "--file", &file], 1).contains("chmod go-w"));
}

#[test]
fn a_link_to_the_trust_file_stays_a_link() {
    let w = World::new("link");
    let (file, link) = (w.path("real.toml"), w.path("trust.toml"));
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    w.good(&["trust", "add", "--file", &link, "--name", "a", "--key", &"ab".repeat(32)]);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&file).unwrap().contains("name = \"a\""));
}

#[test]
fn a_package_is_the_same_each_time_and_names_its_digest() {
    let w = World::new("pack");
    let [first, second] = ["a.nsm", "b.nsm"].map(|name| w.path(name));
    let told = w.good(&["module", "pack", "modules/monitor", "--out", &first]);
    let json = w.good(&["module", "pack", "modules/monitor", "--out", &second, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());
    assert_eq!(json["bytes"], fs::read(&first).unwrap().len());
    assert!(told.contains(json["sha256"].as_str().unwrap()), "{told}");
    let wrong = w.refused(&["module", "pack", "src/wire", "--out", &w.path("c.nsm")], 1);
    assert!(wrong.contains("module.toml"), "{wrong}");
    assert!(!w.0.join("c.nsm").exists());
}

//! `netserv serve`, asked with curl.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

struct Serving {
    child: Child,
    lines: BufReader<ChildStdout>,
    base: String,
}

impl Serving {
    fn start(dir: &Path) -> Serving {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netserv"));
        command.arg("serve").arg(dir).args(["--listen", "127.0.0.1:0", "--log", "warn"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program can be started");
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut serving = Serving { child, lines, base: String::new() };
        let listing = serving.listing();
        serving.base = listing.lines().last().unwrap().split("/index.json").next().unwrap().to_owned();
        serving
    }

    /// What it prints that it offers.
    fn listing(&mut self) -> String {
        let mut text = String::new();
        while !text.contains("/index.json") {
            assert!(self.lines.read_line(&mut text).unwrap() > 0, "it lists what it offers: {text}");
        }
        text
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let url = format!("{}{path}", self.base);
        let output = Command::new("curl").args(["-sf", "--max-time", "20", &url]).output().unwrap();
        assert!(output.status.success(), "{url}: {:?}", output.status);
        output.stdout
    }

    fn index(&self) -> serde_json::Value {
        serde_json::from_slice(&self.get("/index.json")).unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn has_curl() -> bool {
    let has = Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !has {
        println!("skipped: there is no curl");
    }
    has
}

fn pack(module: &Path, out: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netserv"));
    command.args(["module", "pack"]).arg(module).arg("--out").arg(out).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).map(drop).unwrap()
        }
    }
}

#[test]
fn curl_gets_packages_and_the_list_and_sees_changes() {
    if !has_curl() {
        return;
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let dir = std::env::temp_dir().join(format!("netserv-serve-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    copy(&root.join("modules/uppercase"), &dir.join("upper"));
    pack(&root.join("modules/monitor"), &dir.join("mine.nsm"));
    fs::write(dir.join("broken.nsm"), "no zip").unwrap();
    fs::write(dir.join("secret.txt"), "secret").unwrap();
    let mut serving = Serving::start(&dir);
    assert_eq!(serving.get("/monitor.nsm"), fs::read(dir.join("mine.nsm")).unwrap());
    assert_eq!(serving.get("/uppercase.nsm"), serving.get("/uppercase-1.0.0.nsm"));
    let packages = serving.index()["packages"].as_array().unwrap().clone();
    let names: Vec<&str> = packages.iter().filter_map(|package| package["file"].as_str()).collect();
    assert_eq!(names, ["monitor-1.0.0.nsm", "uppercase-1.0.0.nsm"]);
    for path in ["/secret.txt", "/broken.nsm", "/mine.nsm", "/../secret.txt"] {
        let url = format!("{}{path}", serving.base);
        let status = Command::new("curl").args(["-s", "--path-as-is", "-o", "-", "-w", "%{http_code}", &url]).output();
        assert!(status.unwrap().stdout.ends_with(b"404"), "{path}");
    }
    // A newer version appears, and the old one stays.
    let manifest = dir.join("upper/module.toml");
    let newer = fs::read_to_string(&manifest).unwrap().replace("\"1.0.0\"", "\"1.10.0\"");
    copy(&dir.join("upper"), &dir.join("upper2"));
    fs::write(dir.join("upper2/module.toml"), newer).unwrap();
    let listing = serving.listing();
    assert!(listing.contains("has changed") && listing.contains("uppercase-1.10.0.nsm"), "{listing}");
    let until = Instant::now() + Duration::from_secs(10);
    while serving.index()["packages"].as_array().unwrap().len() != 3 {
        assert!(Instant::now() < until);
    }
    assert_eq!(serving.get("/uppercase.nsm"), serving.get("/uppercase-1.10.0.nsm"));
    let status = Command::new("kill").args(["-INT", &serving.child.id().to_string()]).status().unwrap();
    assert!(status.success() && serving.child.wait().unwrap().success(), "Ctrl-C ends it in order");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_folder_without_packages_is_refused_with_what_is_wrong_in_it() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netserv"));
    command.args(["serve", "tests", "--listen", "127.0.0.1:0"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("netserv module pack"));
}

//! The live page of a real node, as `netserv run --dashboard` shows it. Needs no root: the node has no link.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::guards::{OWN, ask, event, look, post};

const MANIFEST: &str = "name = \"quiet\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"Says that it is there.\"\n";
const INIT: &str =
    "--!strict\nlocal M = {}\n\nfunction M.start(ctx: Context)\n  ctx:log(\"info\", \"I am here\")\nend\n\nreturn M\n";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A running node, and its folder.
struct Node {
    program: Child,
    folder: PathBuf,
    page: SocketAddr,
}

impl Node {
    fn start() -> Node {
        let folder = std::env::temp_dir().join(format!("netserv-page-node-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("quiet")).expect("a folder can be made");
        write_private(&folder.join("quiet/module.toml"), MANIFEST);
        write_private(&folder.join("quiet/init.luau"), INIT);
        write_private(&folder.join("token"), &format!("{TOKEN}\n"));
        let mut command = program(&folder);
        command.args(["--module", "quiet", "--dashboard", "127.0.0.1:0", "--dashboard-token", "token"]);
        let mut program = command.stderr(Stdio::piped()).spawn().expect("the program can be started");
        let mut lines = BufReader::new(program.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
        let address =
            lines.find_map(|line| Some(line.split_once("live page is at http://")?.1.trim_end_matches('/').to_owned()));
        // What it logs later is read away, so that it never waits for it.
        std::thread::spawn(move || lines.for_each(drop));
        let page = address.and_then(|address| address.parse().ok()).expect("the log names the page");
        Node { program, folder, page }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file can be written");
    let only_mine = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, only_mine).expect("it is ours");
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netserv"));
    command.args(["run", "--link", "none", "--control", "control", "--data", "data", "--log", "info"]);
    command.current_dir(folder).env_remove("NETSERV_LOG").stdout(Stdio::null());
    command
}

#[test]
fn a_running_node_shows_itself_and_unloads_only_with_the_token() {
    let node = Node::start();
    let mut page = look(node.page);
    assert_eq!(event(&mut page, "hello")["may_control"], false);
    let scene = event(&mut page, "scene");
    assert_eq!((&scene["stage"], &scene["machines"][0]["kind"]), (&"live".into(), &"node".into()));
    let first = event(&mut page, "moment");
    assert_eq!(first["instances"][0]["instance"], "quiet");
    assert_eq!(first["details"][0]["status"]["instances"][0]["state"], "running");
    assert!(
        first["details"][0]["log"][0].as_str().is_some_and(|line| line.ends_with("quiet info: I am here")),
        "{first}"
    );
    assert!(event(&mut page, "moment")["at_s"].as_f64() > first["at_s"].as_f64(), "it goes on");
    let unload = "{\"control\":\"unload\",\"instance\":\"quiet\"}";
    assert!(ask(node.page, &post(unload, OWN)).starts_with("HTTP/1.1 401"));
    let answer = ask(node.page, &post(unload, &format!("{OWN}Authorization: Bearer {TOKEN}\r\n")));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let gone = loop {
        let moment = event(&mut page, "moment");
        if moment["instances"][0]["state"] == "gone" {
            break moment;
        }
    };
    assert_eq!(gone["notes"][0]["text"], "quiet is unloaded");
    // Who comes later is told the same.
    let mut late = look(node.page);
    let picture = event(&mut late, "catch_up");
    assert!(picture["instances"].is_null() && picture["notes"].to_string().contains("is unloaded"), "{picture}");
}

#[test]
fn a_page_that_others_could_use_is_refused_with_the_remedy() {
    let folder = std::env::temp_dir().join(format!("netserv-page-token-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    write_private(&folder.join("short"), "abc\n");
    std::fs::write(folder.join("open"), TOKEN).expect("a file can be written");
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(folder.join("open"), everybody).expect("it is ours");
    for (words, part) in [
        (vec!["--dashboard", "0.0.0.0:0"], "--dashboard-token FILE"),
        (vec!["--dashboard", "127.0.0.1:0", "--dashboard-token", "short"], "openssl rand -hex 32"),
        (vec!["--dashboard", "127.0.0.1:0", "--dashboard-token", "open"], "chmod 600 open"),
        (vec!["--dashboard", "127.0.0.1:0", "--dashboard-token", "none"], "cannot read none"),
        (vec!["--dashboard-token", "short"], "give --dashboard"),
        (vec!["--dashboard", "localhost"], "localhost"),
    ] {
        let output = program(&folder).args(&words).output().expect("the program can be started");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(part), "{words:?}: {text}");
    }
    std::fs::remove_dir_all(&folder).expect("it is ours");
}

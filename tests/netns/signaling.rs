//! Signalling end to end: a user who is not root on `a`, nodes `r1`, `r3` and `r4`, a plain router `r2`, and the host `b`.
//!
//! ```text
//!   a --- r1 --- r2 --- r3 --- b        10.9.0.9, fd00:9::9 on b's loopback
//!                 '---- r4 ---'
//! ```

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::world::{NETSERV, Node, World, can_run, must, until};

const B4: &str = "10.9.0.9";
const B6: &str = "fd00:9::9";
/// All that modules here ask for.
const PERMISSIONS: &str = "permissions = [\"payload\", \"drop\", \"change-headers\", \"change-payload\", \"inject\"]\n\
    memory = \"128M\"\ncpu_ms_per_call = 1000\ntimers = 1024";
/// A user without rights: `nobody`.
const USER: u32 = 65_534;

struct Net {
    world: World,
    key: String,
}

/// The network, with routes by `r3`, and a user with a key on `a`.
fn net() -> Net {
    let world = World::empty(&["a", "r1", "r2", "r3", "r4", "b"]);
    let joins = [("a", "r1", 1), ("r1", "r2", 2), ("r2", "r3", 3), ("r3", "b", 4), ("r2", "r4", 5), ("r4", "b", 6)];
    for (one, other, net) in joins {
        let (near, far) = (format!("{one}{other}"), format!("{other}{one}"));
        world.link(one, &near, other, &far);
        for (ns, interface, host) in [(one, &near, 1), (other, &far, 2)] {
            world.sh(
                ns,
                &format!(
                    "ip addr add 10.{net}.0.{host}/24 dev {interface}; ip addr add fd00:{net}::{host}/64 dev {interface}"
                ),
            );
        }
    }
    for router in ["r1", "r2", "r3", "r4"] {
        world.sh(router, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    }
    world.sh("b", &format!("ip addr add {B4}/32 dev lo; ip addr add {B6}/128 dev lo"));
    for (ns, net, host) in [("a", 1, 2), ("r1", 2, 2), ("r3", 3, 1), ("r4", 5, 1), ("b", 4, 1)] {
        world.sh(
            ns,
            &format!("ip route add default via 10.{net}.0.{host}; ip -6 route add default via fd00:{net}::{host}"),
        );
    }
    let near = "ip route add 10.1.0.0/24 via 10.2.0.1; ip -6 route add fd00:1::/64 via fd00:2::1";
    world.sh("r2", near);
    for (ns, net) in [("r3", 4), ("r4", 6)] {
        let far = format!("ip route add {B4}/32 via 10.{net}.0.2; ip -6 route add {B6}/128 via fd00:{net}::2");
        world.sh(ns, &far);
    }
    world.settle();
    must(Command::new("chmod").arg("755").arg(&world.dir));
    let home = world.dir.join("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(USER), Some(USER)).unwrap();
    let mut net = Net { world, key: String::new() };
    net.via("r3");
    let made = net.user("key new --json");
    assert!(made.status.success(), "{made:?}");
    net.key = serde_json::from_slice::<Value>(&made.stdout).unwrap()["public_key"].as_str().unwrap().to_owned();
    net
}

impl Net {
    /// From now on r2 sends what is for b by this router.
    fn via(&self, router: &str) {
        let net = if router == "r3" { 3 } else { 5 };
        self.world.sh(
            "r2",
            &format!(
                "ip route replace {B4}/32 via 10.{net}.0.2; ip -6 route replace {B6}/128 via fd00:{net}::2
                 ip route replace 10.4.0.0/24 via 10.{net}.0.2; ip route replace 10.6.0.0/24 via 10.{net}.0.2"
            ),
        );
    }

    /// The command line of the user on `a`.
    fn user_command(&self, words: &str) -> Command {
        let home = self.world.dir.join("home");
        let user = format!("setpriv --reuid {USER} --regid {USER} --clear-groups");
        let script = format!("export HOME={}; unset XDG_CONFIG_HOME; exec {user} {NETSERV} {words}", home.display());
        let mut command = self.world.command("a", &script);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command
    }

    fn user(&self, words: &str) -> Output {
        self.user_command(words).output().unwrap()
    }

    /// Runs a command of the user, whose exit code must be `code`; what it says as JSON.
    fn json(&self, words: &str, code: i32) -> Value {
        let output = self.user(&format!("{words} --json"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words}: {said}{}", String::from_utf8_lossy(&output.stdout));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{words}: {e}: {said}"))
    }

    fn trust_path(&self, ns: &str) -> PathBuf {
        self.world.dir.join(format!("trust-{ns}.toml"))
    }

    /// Starts a node that trusts the user.
    fn node(&self, ns: &str) -> Node<'_> {
        self.node_trusting(ns, &format!("packages = [\"*\"]\n{PERMISSIONS}\nlifetime = \"1h\"\ninstances = 8"))
    }

    fn node_trusting(&self, ns: &str, terms: &str) -> Node<'_> {
        let text = format!("[[requester]]\nname = \"user\"\nkey = \"{}\"\n{terms}\n", self.key);
        fs::write(self.trust_path(ns), text).unwrap();
        self.node_with_trust_file(ns)
    }

    fn node_with_trust_file(&self, ns: &str) -> Node<'_> {
        let dir = &self.world.dir;
        let (state, control) = (dir.join(format!("state-{ns}")), dir.join(format!("{ns}.sock")));
        let config = dir.join(format!("{ns}.toml"));
        let data = dir.join(format!("data-{ns}"));
        let text = format!(
            "state = {state:?}\ncontrol = {control:?}\nlog = \"debug\"\n[signaling]\ntrust = {:?}\ndata = {data:?}\nname = \"{ns}\"\n",
            self.trust_path(ns)
        );
        fs::write(&config, text).unwrap();
        self.world.node_with(ns, &config, "")
    }
}

fn names(path: &Value) -> Vec<&str> {
    path["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap_or("?")).collect()
}

fn results(path: &Value) -> Vec<&str> {
    path["nodes"].as_array().unwrap().iter().map(|node| node["result"].as_str().unwrap()).collect()
}

/// The modules that a node runs.
fn modules(node: &Node<'_>) -> Vec<String> {
    let status = node.status();
    let instances = status["instances"].as_array().unwrap();
    instances.iter().map(|instance| instance["module"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_probe_lists_the_nodes_in_order_over_every_transport() {
    if !can_run() {
        return;
    }
    let net = net();
    let (r1, r3) = (net.node("r1"), net.node("r3"));
    for host in [B4, B6] {
        for transport in ["udp", "tcp", "tls"] {
            let probe = net.json(&format!("probe --to {host} --transport {transport}"), 0);
            assert_eq!(names(&probe["path"]), ["r1", "r3"], "{host} {transport}: {probe:#}");
            let nodes = probe["path"]["nodes"].as_array().unwrap();
            assert!(nodes.iter().all(|node| node["hop_rtt_ms"].is_number()), "{probe:#}");
            assert_eq!((nodes[0]["last"].as_bool(), nodes[1]["last"].as_bool()), (Some(false), Some(true)));
            assert!(nodes[1]["route"]["interface"].as_str().unwrap().starts_with("r3b"), "{probe:#}");
        }
    }
    let table = net.user(&format!("probe --to {B4}"));
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(text.contains("netserv ") && text.contains("10."), "{text}");
    // Who is not trusted hears only that there are nodes.
    let anonymous = net.json(&format!("probe --to {B4} --anonymous"), 0);
    assert_eq!(anonymous["path"]["nodes"].as_array().unwrap().len(), 2, "{anonymous:#}");
    assert!(anonymous["path"]["nodes"][0]["says"].as_str().unwrap().contains("not signed"), "{anonymous:#}");
    assert!(anonymous["path"]["nodes"][0]["software"].is_null());
    r1.stop();
    r3.stop();
}

#[test]
fn a_module_is_set_up_works_and_is_removed() {
    if !can_run() {
        return;
    }
    let mut net = net();
    net.world.serve("b");
    let (r1, r3) = (net.node("r1"), net.node("r3"));
    let (before1, before3) = (r1.status()["steering"]["rules"].clone(), r3.status()["steering"]["rules"].clone());
    let setup = net.json(&format!("setup modules/monitor --to {B4} --ttl 10m"), 0);
    assert_eq!(results(&setup["path"]), ["installed", "installed"], "{setup:#}");
    assert_eq!((modules(&r1), modules(&r3)), (vec!["monitor".to_owned()], vec!["monitor".to_owned()]));
    assert_eq!(net.world.ask("a", B4, 7000, &["one", "two"]), ["one", "two"]);
    let seen = |node: &Node<'_>| node.status()["instances"][0]["packets_seen"].as_u64().unwrap();
    until("both nodes saw the traffic", || seen(&r1) >= 4 && seen(&r3) >= 4);
    let probe = net.json(&format!("probe --to {B4}"), 0);
    assert_eq!(probe["path"]["nodes"][1]["modules"][0]["module"], "monitor", "{probe:#}");
    let remove = net.json(&format!("remove monitor --to {B4}"), 0);
    assert_eq!(results(&remove["path"]), ["removed", "removed"]);
    assert!(modules(&r1).is_empty() && modules(&r3).is_empty());
    assert_eq!((&r1.status()["steering"]["rules"], &r3.status()["steering"]["rules"]), (&before1, &before3));

    let last = net.json(&format!("setup modules/monitor --to {B4} --target last --transport udp"), 0);
    assert_eq!(results(&last["path"]), ["not_target", "installed"], "{last:#}");
    assert!(modules(&r1).is_empty() && modules(&r3) == ["monitor"]);
    net.json(&format!("remove monitor --to {B4} --transport tcp"), 0);

    let id = probe["path"]["nodes"][0]["node"].as_str().unwrap()[..12].to_owned();
    let named = net.json(&format!("setup modules/monitor --to {B6} --target node:{id}"), 0);
    assert_eq!(results(&named["path"]), ["installed", "not_target"], "{named:#}");
    assert!(modules(&r1) == ["monitor"] && modules(&r3).is_empty());
    net.json(&format!("remove monitor --to {B6}"), 0);

    let first =
        net.json(&format!("setup modules/uppercase --to {B4} --target first --property word=hello --ttl 3s"), 0);
    assert_eq!(results(&first["path"])[0], "installed", "{first:#}");
    assert_eq!(net.world.ask("a", B4, 7000, &["hello"]), ["HELLO"]);
    // Without a refresh it is gone at its lifetime.
    until("it is gone", || modules(&r1).is_empty());
    assert_eq!(net.world.ask("a", B4, 7000, &["hello"]), ["hello"]);
    r1.stop();
    r3.stop();
}

/// Starts a command of the user that goes on, with its output in a file.
fn start(net: &Net, words: &str, log: &str) -> (Child, PathBuf) {
    let path = net.world.dir.join(log);
    let child = net.user_command(words).stdout(fs::File::create(&path).unwrap()).stdin(Stdio::null()).spawn().unwrap();
    (child, path)
}

#[test]
fn what_is_kept_stays_and_goes_with_its_keeper() {
    if !can_run() {
        return;
    }
    let net = net();
    let (r1, r3) = (net.node("r1"), net.node("r3"));
    let (mut keeper, log) = start(&net, &format!("setup modules/monitor --to {B4} --keep --ttl 3s --json"), "keep.log");
    until("it is installed", || modules(&r1).len() == 1 && modules(&r3).len() == 1);
    sleep(Duration::from_secs(8));
    assert!(modules(&r1).len() == 1 && modules(&r3).len() == 1, "{}", fs::read_to_string(&log).unwrap());
    // Meanwhile the same user can give other commands.
    for transport in ["tls", "tcp", "udp"] {
        let probe = net.json(&format!("probe --to {B4} --transport {transport}"), 0);
        assert_eq!(names(&probe["path"]), ["r1", "r3"], "{transport}: {probe:#}");
    }
    // Killed: nobody removes anything, and it goes at its lifetime.
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    until("it expired", || modules(&r1).is_empty() && modules(&r3).is_empty());
    // Interrupted: it removes.
    let (mut keeper, log) = start(&net, &format!("setup modules/monitor --to {B4} --keep --ttl 10m"), "keep2.log");
    until("it is kept", || fs::read_to_string(&log).unwrap().contains("kept until"));
    must(Command::new("kill").args(["-INT", &keeper.id().to_string()]));
    assert!(keeper.wait().unwrap().success(), "{}", fs::read_to_string(&log).unwrap());
    assert!(modules(&r1).is_empty() && modules(&r3).is_empty(), "{}", fs::read_to_string(&log).unwrap());
    // A node that is started again comes back with what still has to live.
    net.json(&format!("setup modules/monitor --to {B4} --ttl 10m"), 0);
    r3.stop_by("KILL");
    let r3 = net.node("r3");
    until("it is back", || modules(&r3) == ["monitor"]);
    net.json(&format!("remove monitor --to {B4}"), 0);
    r3.stop();
    let r3 = net.node("r3");
    assert!(modules(&r3).is_empty());
    r1.stop();
    r3.stop();
}

#[test]
fn a_module_follows_the_path_when_it_moves() {
    if !can_run() {
        return;
    }
    let net = net();
    let (r1, r3, r4) = (net.node("r1"), net.node("r3"), net.node("r4"));
    let ttl = 12;
    let words = format!("setup modules/monitor --to {B4} --keep --ttl {ttl}s --json");
    let (mut keeper, log) = start(&net, &words, "keep.log");
    let said = || fs::read_to_string(&log).unwrap();
    until("it is installed", || modules(&r1).len() == 1 && modules(&r3).len() == 1);
    net.via("r4");
    let began = std::time::Instant::now();
    // Two refresh periods, each at most three quarters of the lifetime.
    let longest = Duration::from_secs(2 * ttl * 3 / 4);
    while modules(&r4).is_empty() {
        assert!(began.elapsed() < longest, "{}\n{}", said(), r1.log());
        sleep(Duration::from_millis(100));
    }
    until("the initiator is told", || said().contains("\"moved\""));
    let began = std::time::Instant::now();
    while !modules(&r3).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(ttl + 2), "{}", said());
        sleep(Duration::from_millis(100));
    }
    assert_eq!((modules(&r1).len(), modules(&r4).len()), (1, 1));
    must(Command::new("kill").args(["-INT", &keeper.id().to_string()]));
    keeper.wait().unwrap();
    for node in [r1, r3, r4] {
        node.stop();
    }
}

#[test]
fn what_must_not_be_is_refused_with_a_sentence_and_nothing_is_installed() {
    if !can_run() {
        return;
    }
    let net = net();
    let terms = "packages = [\"monitor\", \"uppercase\"]\npermissions = [\"payload\"]\nmemory = \"128M\"\ncpu_ms_per_call = 1000\ntimers = 1024\nlifetime = \"10m\"\npackage_bytes = \"64K\"";
    let r1 = net.node_trusting("r1", terms);
    let refused = |words: &str, code: &str, part: &str| {
        let setup = net.json(&format!("setup {words} --to {B4}"), 1);
        assert_eq!(results(&setup["path"]), [code], "{words}: {setup:#}");
        let says = setup["path"]["nodes"][0]["says"].as_str().unwrap();
        assert!(says.contains(part), "{words}: {says}");
        assert!(modules(&r1).is_empty());
    };
    refused("modules/monitor --ttl 1h", "not_allowed", "lifetime");
    refused("modules/_template --ttl 5m", "not_allowed", "template");
    refused("modules/uppercase --ttl 5m", "not_allowed", "change-payload");
    refused("modules/monitor --ttl 5m --url http://10.1.0.1:1/none.nsm", "fetch_failed", "http://10.1.0.1:1/none.nsm");
    let other = net.world.dir.join("home/other.pem");
    assert!(net.user(&format!("key new --out {}", other.display())).status.success());
    refused(&format!("modules/monitor --ttl 5m --key {}", other.display()), "unknown_key", "trust");
    // Another package than the one that was signed for.
    let served = net.world.dir.join("home/served");
    fs::create_dir_all(&served).unwrap();
    assert!(
        Command::new(NETSERV)
            .args(["module", "pack", "modules/uppercase", "--out"])
            .arg(served.join("x.nsm"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap()
            .success()
    );
    let script = format!("exec python3 -m http.server --bind 10.1.0.1 --directory {} 8000", served.display());
    let mut web = net.world.command("a", &script).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the web server answers", || {
        net.world.try_sh("r1", "curl -sf -o /dev/null http://10.1.0.1:8000/x.nsm").status.success()
    });
    refused("modules/monitor --ttl 5m --url http://10.1.0.1:8000/x.nsm", "wrong_digest", "SHA-256");
    fs::write(served.join("big.nsm"), vec![0; 100_000]).unwrap();
    refused("modules/monitor --ttl 5m --url http://10.1.0.1:8000/big.nsm", "too_large", "64");
    web.kill().unwrap();
    web.wait().unwrap();
    // A TLS peer without a certificate: the handshake fails, and the node goes on.
    let bare = "import socket, ssl\n\
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE\n\
        s = c.wrap_socket(socket.create_connection(('10.1.0.2', 271), 5))\n\
        try:\n    print('got', s.recv(1))\nexcept ssl.SSLError as e:\n    print('refused', e)\n";
    fs::write(net.world.dir.join("bare.py"), bare).unwrap();
    let said = net.world.try_sh("a", "python3 bare.py");
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(text.contains("refused") || text.contains("alert"), "{text}");
    net.json(&format!("setup modules/monitor --to {B4} --ttl 5m"), 0);
    assert_eq!(modules(&r1), ["monitor"]);
    r1.stop();
}

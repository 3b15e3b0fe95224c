//! Namespaces in a line, and the programs that run in them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const NETSERV: &str = env!("CARGO_BIN_EXE_netserv");
const PROGRAMS: &[&str] = &[
    "ip",
    "ping",
    "iperf3",
    "curl",
    "python3",
    "nft",
    "iptables",
    "tshark",
    "tcpdump",
    "ethtool",
    "sha256sum",
    "sysctl",
];
/// Longest time that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether the tests can run here. If not, says why; panics where everything is required.
pub(crate) fn can_run() -> bool {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let Some(reason) = MISSING.get_or_init(missing) else { return true };
    assert!(std::env::var_os("NETSERV_REQUIRE_ALL").is_none_or(|v| v != "1"), "cannot run: {reason}");
    // Past the test harness, which shows nothing of tests that pass.
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
    false
}

fn missing() -> Option<String> {
    let found = |name: &&&str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
        folders.iter().any(|folder| folder.join(name).exists())
    };
    if let Some(name) = PROGRAMS.iter().find(|name| !found(name)) {
        return Some(format!("the program {name} is not installed"));
    }
    if let Err(e) = fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        return Some(format!("/dev/net/tun cannot be opened: {e}"));
    }
    let name = format!("nstry{}", std::process::id());
    let made = Command::new("ip").args(["netns", "add", &name]).output().is_ok_and(|o| o.status.success());
    if made {
        let _ = Command::new("ip").args(["netns", "del", &name]).output();
    }
    (!made).then(|| "no network namespace can be made: not root?".to_owned())
}

/// Namespaces, a folder, and what runs in them. All is gone when it is dropped.
pub(crate) struct World {
    tag: String,
    pub(crate) dir: PathBuf,
    namespaces: Vec<&'static str>,
    children: Vec<Child>,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl World {
    pub(crate) fn empty(namespaces: &[&'static str]) -> World {
        let tag = format!("ns{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("netserv-{tag}"));
        fs::create_dir_all(&dir).unwrap();
        let world = World { tag, dir, namespaces: namespaces.to_vec(), children: Vec::new() };
        for name in namespaces {
            must(Command::new("ip").args(["netns", "add", &world.ns(name)]));
            world.sh(
                name,
                "ip link set lo up; sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0",
            );
        }
        world
    }

    /// Hosts `a` (10.1.0.2, fd00:1::2) and `b` (10.2.0.2, fd00:2::2), and the router `r` between them.
    pub(crate) fn line() -> World {
        let world = World::empty(&["a", "r", "b"]);
        for (host, net) in [("a", 1), ("b", 2)] {
            let (near, far) = (format!("{host}0"), format!("r{host}"));
            world.link(host, &near, "r", &far);
            world.sh(
                host,
                &format!(
                    "ip addr add 10.{net}.0.2/24 dev {near}; ip addr add fd00:{net}::2/64 dev {near}
                 ip route add default via 10.{net}.0.1; ip -6 route add default via fd00:{net}::1"
                ),
            );
            world.sh("r", &format!("ip addr add 10.{net}.0.1/24 dev {far}; ip addr add fd00:{net}::1/64 dev {far}"));
        }
        world.sh("r", "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        world.settle();
        world
    }

    /// Joins two namespaces, both ends up and without checksum offload, so that each packet carries a whole checksum.
    pub(crate) fn link(&self, one: &str, one_if: &str, other: &str, other_if: &str) {
        let (n1, n2) = (self.ns(one), self.ns(other));
        must(
            Command::new("ip")
                .args(["link", "add", one_if, "netns", &n1, "type", "veth", "peer", "name", other_if, "netns", &n2]),
        );
        for (ns, interface) in [(one, one_if), (other, other_if)] {
            // A busy machine takes a moment until the new interface is known by its name.
            until("the interface is there", || {
                self.try_sh(ns, &format!("ip link set dev {interface} up")).status.success()
            });
        }
    }

    /// Waits until the kernel has done by itself what it does after a link comes up.
    pub(crate) fn settle(&self) {
        let snapshots = || self.namespaces.iter().map(|n| self.snapshot(n)).collect::<Vec<_>>();
        let mut before = snapshots();
        until("the namespaces come to rest", || {
            sleep(Duration::from_millis(150));
            let now = snapshots();
            let quiet = now == before;
            before = now;
            quiet
        });
    }

    pub(crate) fn ns(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    /// A shell command in a namespace, to be started.
    pub(crate) fn command(&self, ns: &str, script: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.ns(ns), "sh", "-c", script]).current_dir(&self.dir);
        command
    }

    /// Runs a shell command that must succeed; returns what it says.
    pub(crate) fn sh(&self, ns: &str, script: &str) -> String {
        String::from_utf8_lossy(&must(&mut self.command(ns, &format!("set -e\n{script}"))).stdout).into_owned()
    }

    /// Runs a shell command that may fail.
    pub(crate) fn try_sh(&self, ns: &str, script: &str) -> Output {
        self.command(ns, script).output().unwrap()
    }

    /// Starts something that runs until the end of the world.
    pub(crate) fn start(&mut self, ns: &str, script: &str) {
        let child =
            self.command(ns, &format!("exec {script}")).stdout(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        self.children.push(child);
    }

    /// What `ip`, `nft` and `sysctl` show, without what changes by itself.
    pub(crate) fn snapshot(&self, ns: &str) -> String {
        let text = self.sh(
            ns,
            "ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; ip link | grep -o '^[0-9]*: [^@:]*'
             nft list ruleset; sysctl -a 2>/dev/null | grep '^net' | grep -v -E 'nf_conntrack_count|netdev_rss_key|pid_max'
             cat /etc/resolv.conf 2>/dev/null || true",
        );
        // Interface numbers tell how many there have been.
        text.lines().map(|line| line.trim_start_matches(|c: char| c.is_ascii_digit())).collect::<Vec<_>>().join("\n")
    }

    /// Starts `netserv run` with these arguments, and waits until it answers.
    pub(crate) fn node(&self, ns: &str, arguments: &str) -> Node<'_> {
        let state = self.dir.join(format!("state-{ns}"));
        let control = self.dir.join(format!("{ns}.sock"));
        let config = self.dir.join(format!("{ns}.toml"));
        fs::write(&config, format!("state = {state:?}\ncontrol = {control:?}\n")).unwrap();
        self.node_with(ns, &config, arguments)
    }

    /// As [`World::node`], with a configuration that names its state folder and control socket as this does.
    pub(crate) fn node_with(&self, ns: &str, config: &Path, arguments: &str) -> Node<'_> {
        let state = self.dir.join(format!("state-{ns}"));
        let control = self.dir.join(format!("{ns}.sock"));
        let log = self.dir.join(format!("{ns}.log"));
        let script = format!("exec {NETSERV} run --config {} {arguments}", config.display());
        let child = self
            .command(ns, &script)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut node = Node { world: self, ns: ns.to_owned(), child, control, state, log };
        until("the node answers", || {
            assert!(node.child.try_wait().unwrap().is_none(), "the node ended: {}", node.log());
            node.try_status().is_some()
        });
        let status = node.status();
        assert!(status["steering"]["error"].is_null(), "{status:#}");
        node
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for name in &self.namespaces {
            let ns = self.ns(name);
            let processes = Command::new("ip").args(["netns", "pids", &ns]).output();
            for process in
                processes.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).iter().flat_map(|t| t.lines())
            {
                let _ = Command::new("kill").args(["-9", process]).output();
            }
            let _ = Command::new("ip").args(["netns", "del", &ns]).output();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A running `netserv run`.
pub(crate) struct Node<'a> {
    world: &'a World,
    ns: String,
    child: Child,
    control: PathBuf,
    pub(crate) state: PathBuf,
    log: PathBuf,
}

impl Node<'_> {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn ask(&self, words: &str) -> Output {
        let script = format!("{NETSERV} {words} --control {}", self.control.display());
        self.world.command(&self.ns, &script).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
    }

    fn try_status(&self) -> Option<Value> {
        let output = self.ask("status --json");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    pub(crate) fn status(&self) -> Value {
        self.try_status().unwrap_or_else(|| panic!("no status: {}", self.log()))
    }

    /// Packets that came in by all links.
    pub(crate) fn packets_in(&self) -> u64 {
        self.sum("packets_in")
    }

    /// Bytes that came in by all links.
    pub(crate) fn bytes_in(&self) -> u64 {
        self.sum("bytes_in")
    }

    fn sum(&self, key: &str) -> u64 {
        self.status()["links"].as_array().unwrap().iter().map(|link| link[key].as_u64().unwrap()).sum()
    }

    pub(crate) fn load(&self, module: &str) -> Output {
        self.ask(&format!("module load {module}"))
    }

    /// What a module reports.
    pub(crate) fn report(&self, name: &str) -> Value {
        let output = self.ask(&format!("report {name}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn unload(&self, name: &str) {
        let output = self.ask(&format!("module unload {name}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn signal(&self, name: &str) {
        must(Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]));
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends the node as Ctrl-C does, and waits for its end.
    pub(crate) fn stop(self) {
        self.stop_by("INT");
    }

    pub(crate) fn stop_by(mut self, signal: &str) {
        self.signal(signal);
        let child = &mut self.child;
        let mut status = None;
        until("the node ends", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        if signal != "KILL" {
            assert!(status.unwrap().success(), "{:?}: {}", status, self.log());
        }
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "log of the node in {}:\n{}", self.ns, self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn must(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Looks again and again until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(20));
    }
}

/// The lines in which two snapshots differ.
pub(crate) fn difference(before: &str, after: &str) -> Vec<String> {
    let (b, a): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let gone = b.iter().filter(|line| !a.contains(line)).map(|line| format!("- {line}"));
    let new = a.iter().filter(|line| !b.contains(line)).map(|line| format!("+ {line}"));
    let mut lines: Vec<String> = gone.chain(new).collect();
    if lines.is_empty() && b != a {
        lines.push("the same lines in another order or number".to_owned());
    }
    lines
}

/// Fails unless everything is as it was.
pub(crate) fn must_be_as_before(world: &World, ns: &str, before: &str) {
    let mut rest = Vec::new();
    // The kernel takes a moment to remove a device.
    for _ in 0..20 {
        rest = difference(before, &world.snapshot(ns));
        if rest.is_empty() {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("something was left behind in {ns}: {rest:#?}");
}

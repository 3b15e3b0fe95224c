//! A node with the module that the tests talk to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const MANIFEST: &str = r#"
name = "sockets"
version = "1.0.0"
api = 1
summary = "Servers and clients for a test."
[permissions]
listen = ["tcp:*", "udp:0"]
connect = ["tcp:127.0.0.1:*", "tcp:localhost:*", "tcp:no-such-name.invalid:80"]
[limits]
sockets = 2000
tasks = 4000
"#;

const INIT: &str = r#"--!strict
local dns = require("@netserv/dns")
local keys = require("./keys")
local task = require("@netserv/task")
local tcp = require("@netserv/tcp")
local tls = require("@netserv/tls")
local udp = require("@netserv/udp")
local M = {}

local function echo(stream)
  local bytes = stream:read()
  while bytes do
    if not stream:write(bytes) or string.find(bytes, "quit", 1, true) then
      return
    end
    bytes = stream:read()
  end
end

local function clients(ctx, say, port)
  local stream, reason = tcp.connect("127.0.0.1", 1)
  say("refused", reason)
  stream, reason = tcp.listen({ port = port })
  say("taken", reason)
  local _, refusal = pcall(tcp.connect, "192.0.2.1", 80)
  say("not allowed", refusal)
  _, refusal = pcall(udp.open, { port = 53 })
  say("not allowed to listen", refusal)
  _, refusal = pcall(dns.lookup, "example.org")
  say("not allowed name", refusal)
  local addresses = assert(dns.lookup("localhost"))
  say("localhost", table.concat(addresses, " "))
  addresses, reason = dns.lookup("no-such-name.invalid")
  say("no such name", if reason then "an error" else table.concat(assert(addresses), " "))
  local many = {}
  while true do
    local ok, socket = pcall(udp.open, { address = "127.0.0.1" })
    if not ok then
      say("limit", (string.match(socket, "limit sockets")))
      break
    end
    table.insert(many, socket)
  end
  for _, socket in many do
    socket:close()
  end
end

local function tls_clients(ctx, say, port)
  local function try(name, authorities)
    local options = { name = name, authorities = authorities, protocols = { "echo" }, seconds = 20 }
    local stream, reason = tls.connect("127.0.0.1", port, options)
    if stream == nil then
      return reason
    end
    stream:write("hello")
    local back = stream:read_exactly(5, 20)
    local protocol = stream:protocol()
    stream:close()
    return `{back} by {protocol}`
  end
  say("tls client", try("localhost", keys.certificate))
  say("tls stranger", try("localhost", nil))
  say("tls name", try("example.org", keys.certificate))
end

function M.run(ctx)
  local function say(what, text)
    ctx:log("info", `said {what} = {text}`)
  end
  local server = assert(tcp.listen({ port = 0 }))
  task.spawn(function() server:serve(echo) end)
  local lines = assert(tcp.listen({ port = 0, address = "127.0.0.1" }))
  task.spawn(function()
    lines:serve(function(stream)
      local line = stream:read_line()
      while line do
        stream:write(string.upper(line) .. "\n")
        line = stream:read_line()
      end
    end)
  end)
  local options = { port = 0, certificate = keys.certificate, key = keys.key, protocols = { "echo" } }
  local secure = assert(tls.listen(options))
  task.spawn(function() secure:serve(echo) end)
  local datagrams = assert(udp.open({ port = 0 }))
  task.spawn(function()
    while true do
      for _, datagram in assert(datagrams:receive_many()) do
        datagrams:send(datagram.bytes, datagram.address, datagram.port)
      end
    end
  end)
  for name, socket in { tcp = server, lines = lines, tls = secure, udp = datagrams } do
    local _, port = socket:here()
    say(`port of {name}`, port)
  end
  local _, port = server:here()
  clients(ctx, say, port)
  _, port = secure:here()
  tls_clients(ctx, say, port)
  say("all", "done")
end

return M
"#;

/// A running node.
pub(crate) struct Node {
    child: Child,
    folder: PathBuf,
    said: BTreeMap<String, String>,
}

impl Node {
    /// Starts one and waits until its module has said everything.
    pub(crate) fn start() -> Node {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("netserv-sockets-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let certificate = pem("CERTIFICATE", made.cert.der());
        let key = pem("PRIVATE KEY", &made.signing_key.serialize_der());
        std::fs::write(folder.join("module.toml"), MANIFEST).unwrap();
        std::fs::write(folder.join("init.luau"), INIT).unwrap();
        std::fs::write(folder.join("certificate.pem"), &certificate).unwrap();
        let keys = format!("--!strict\nreturn {{ certificate = [[\n{certificate}]], key = [[\n{key}]] }}\n");
        std::fs::write(folder.join("keys.luau"), keys).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_netserv"));
        command.args(["run", "--control", "none", "--log", "info", "--module"]).arg(&folder);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(&mut child);
        let mut node = Node { child, folder, said: BTreeMap::new() };
        let mut all = Vec::new();
        while !node.said.contains_key("all") {
            let line = lines.recv_timeout(Duration::from_secs(60));
            let line = line.unwrap_or_else(|_| panic!("the module never finished:\n{}", all.join("\n")));
            // The log names the instance behind the text.
            let line = line.split(" instance=").next().unwrap_or_default().to_owned();
            if let Some((what, text)) = line.split_once(" said ").and_then(|(_, said)| said.split_once(" = ")) {
                node.said.insert(what.to_owned(), text.to_owned());
            }
            all.push(line);
        }
        node
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the module said of something.
    pub(crate) fn said(&self, what: &str) -> &str {
        self.said.get(what).map(String::as_str).unwrap_or_else(|| panic!("it said nothing of {what}: {:?}", self.said))
    }

    /// The port of one of the module's servers.
    pub(crate) fn port(&self, server: &str) -> u16 {
        self.said(&format!("port of {server}")).parse().unwrap()
    }

    /// The path of the certificate of the TLS server.
    pub(crate) fn certificate(&self) -> String {
        self.folder.join("certificate.pem").display().to_string()
    }

    /// Memory of the node's process; 0 where the system does not tell.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
    }
}

/// Bytes as PEM.
fn pem(label: &str, bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (index, three) in bytes.chunks(3).enumerate() {
        let number = (0..3).fold(0_usize, |number, at| number << 8 | usize::from(*three.get(at).unwrap_or(&0)));
        let digit = |at: usize| if at <= three.len() { DIGITS[number >> (18 - 6 * at) & 63] as char } else { '=' };
        text.extend((0..4).map(digit));
        if index % 16 == 15 {
            text.push('\n');
        }
    }
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", text.trim_end())
}

/// The child's lines, without what colours them.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    let output = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                // Nobody listens any more, but the child must not wait.
            }
        }
    });
    receiver
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

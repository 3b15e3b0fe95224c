//! Traffic to send, and what must come of it.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::world::{World, until};

/// Echoes UDP datagrams, and serves the world's folder by HTTP on port 8000, both for IPv4 and IPv6.
const SERVERS: &str = r#"
import http.server, os, socket, threading
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 64
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *a): pass
def echo(port):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    while True:
        data, who = s.recvfrom(65536)
        s.sendto(data, who)
for port in (7000, 7001):
    threading.Thread(target=echo, args=(port,), daemon=True).start()
Server(("::", 8000), Quiet).serve_forever()
"#;

/// Sends datagrams (host, port, then texts) and prints what comes back.
const ASK: &str = r#"
import socket, sys
host, port, texts = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
for text in texts:
    data = text.encode() if not text.startswith("@") else bytes(range(256)) * (int(text[1:]) // 256)
    s.sendto(data, (host, port))
    back = s.recv(65536)
    print(back.decode() if not text.startswith("@") else back == data)
"#;

impl World {
    /// Starts servers: see [`SERVERS`], and iperf3 on port 5201.
    pub(crate) fn serve(&mut self, ns: &str) {
        fs::write(self.dir.join("servers.py"), SERVERS).unwrap();
        fs::write(self.dir.join("ask.py"), ASK).unwrap();
        self.start(ns, "python3 servers.py");
        self.start(ns, "iperf3 -s");
        until("the servers listen", || {
            let sockets = self.sh(ns, "cat /proc/net/tcp6 /proc/net/udp6");
            [":1F40 ", ":1451 ", ":1B58 ", ":1B59 "].iter().all(|port| sockets.contains(port))
        });
    }

    /// Lost packets of `count` pings. `more` is given to ping.
    pub(crate) fn ping(&self, ns: &str, to: &str, count: u32, more: &str) -> u32 {
        let output = self.try_sh(ns, &format!("ping -n -c {count} -i 0.02 -W 1 {more} {to}"));
        let text = String::from_utf8_lossy(&output.stdout);
        let received = text.split(" packets transmitted, ").nth(1).and_then(|t| t.split(' ').next()).map(str::parse);
        count - received.unwrap_or_else(|| panic!("ping says: {text}")).unwrap_or(0)
    }

    /// What an echo server answers.
    pub(crate) fn ask(&self, ns: &str, to: &str, port: u16, texts: &[&str]) -> Vec<String> {
        let quoted: Vec<String> = texts.iter().map(|text| format!("'{text}'")).collect();
        let answers = self.sh(ns, &format!("python3 ask.py {to} {port} {}", quoted.join(" ")));
        answers.lines().map(str::to_owned).collect()
    }

    /// Bytes that an iperf3 run with these arguments moved, as its receiver counts.
    pub(crate) fn iperf(&self, ns: &str, to: &str, more: &str) -> u64 {
        let text = self.sh(ns, &format!("iperf3 -J -c {to} {more}"));
        let report: Value = serde_json::from_str(&text).unwrap();
        let end = &report["end"];
        let sum = if end["sum_received"].is_null() { &end["sum"] } else { &end["sum_received"] };
        let lost = end["sum"]["lost_packets"].as_u64().unwrap_or(0);
        assert_eq!(lost, 0, "{more}");
        sum["bytes"].as_u64().unwrap_or_else(|| panic!("iperf3 {more}: {text}"))
    }

    /// What curl gets.
    pub(crate) fn fetch(&self, ns: &str, host: &str, file: &str) -> String {
        self.sh(ns, &format!("curl -sS --max-time 20 http://{host}:8000/{file}"))
    }

    /// Downloads a file of so many megabytes that `world.dir` has, and compares the SHA-256.
    pub(crate) fn download(&self, ns: &str, host: &str, megabytes: u32) {
        let file = format!("{megabytes}.bin");
        if !self.dir.join(&file).exists() {
            self.sh(ns, &format!("head -c {megabytes}M /dev/urandom >{file}; sha256sum <{file} >{file}.sum"));
        }
        let sum = self.sh(ns, &format!("curl -sS --max-time 60 http://{host}:8000/{file} | sha256sum"));
        assert_eq!(sum, fs::read_to_string(self.dir.join(format!("{file}.sum"))).unwrap(), "{host}");
    }

    /// All kinds of traffic from `ns` to a host with [`World::serve`], IPv4 and IPv6; returns the payload bytes moved.
    pub(crate) fn everything(&self, ns: &str, v4: &str, v6: &str, megabytes: u32) -> u64 {
        fs::write(self.dir.join("small.txt"), "a small file\n").unwrap();
        let mut bytes = 0;
        for (host, url) in [(v4, v4.to_owned()), (v6, format!("[{v6}]"))] {
            assert_eq!(self.ping(ns, host, 5, ""), 0, "{host}");
            assert_eq!(self.fetch(ns, &url, "small.txt"), "a small file\n");
            assert_eq!(self.ask(ns, host, 7000, &["one", "two"]), ["one", "two"]);
            bytes += self.iperf(ns, host, "-n 20M");
            bytes += self.iperf(ns, host, "-R -n 20M");
            bytes += self.iperf(ns, host, "-u -b 20M -l 1200 -n 2M");
            self.download(ns, &url, megabytes);
            bytes += u64::from(megabytes) << 20;
        }
        bytes
    }

    /// Captures on an interface while `during` runs; returns the file.
    pub(crate) fn capture(&self, ns: &str, interface: &str, name: &str, during: impl FnOnce()) -> String {
        let file = self.dir.join(name).display().to_string();
        let mut tcpdump = self
            .command(ns, &format!("exec tcpdump -i {interface} -U --immediate-mode -w {file} 2>{file}.log"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("tcpdump listens", || {
            fs::read_to_string(format!("{file}.log")).is_ok_and(|log| log.contains("listening on"))
        });
        during();
        std::thread::sleep(std::time::Duration::from_millis(200));
        self.sh(ns, &format!("kill -INT {}", tcpdump.id()));
        tcpdump.wait().unwrap();
        file
    }

    /// Packets of a capture that fit a display filter, with all checksums looked at.
    pub(crate) fn tshark(&self, file: &str, filter: &str) -> Vec<String> {
        let options = "-o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE";
        let text = self.sh("a", &format!("tshark -n -r {file} {options} -Y '{filter}' 2>/dev/null"));
        text.lines().map(str::to_owned).collect()
    }
}

/// A display filter for packets with a wrong checksum.
pub(crate) const WRONG_CHECKSUM: &str = r#"ip.checksum.status == "Bad" || tcp.checksum.status == "Bad" || udp.checksum.status == "Bad" || icmp.checksum.status == "Bad" || icmpv6.checksum.status == "Bad""#;

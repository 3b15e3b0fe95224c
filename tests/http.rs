//! The HTTP server of a module in a running node, against curl and against bytes that no client should send. All on the
//! loop-back interface.
#![cfg(all(unix, feature = "live"))]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "clients with clocks and sockets")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail tests")]

#[path = "http/memory.rs"]
mod memory;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A node that runs the module beside this file.
struct Node {
    process: Child,
    port: u16,
}

impl Node {
    fn start() -> Node {
        // Free now, and nobody else asks for just this one.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let root = env!("CARGO_MANIFEST_DIR");
        let process = Command::new(env!("CARGO_BIN_EXE_netserv"))
            .args(["run", "--control", "none", "--log", "warn", "--module"])
            .arg(format!("{root}/tests/http/module,port={port}"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let node = Node { process, port };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the node does not serve");
            std::thread::sleep(Duration::from_millis(20));
        }
        node
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes and reads to the end.
    fn talk(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Most memory that the node had so far, in KiB.
    fn peak_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether curl is here. If not, says so.
fn has_curl() -> bool {
    let has = Command::new("curl").arg("--version").output().is_ok();
    let required = std::env::var_os("NETSERV_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(has || !required, "the program curl is not installed");
    if !has {
        let _ = writeln!(std::io::stderr(), "skipped: the program curl is not installed");
    }
    has
}

/// What curl writes to standard output, with the head of the response before the body.
fn curl(words: &[&str]) -> String {
    let mut command = Command::new("curl");
    let output = command.args(["-s", "-S", "-i", "--max-time", "60", "--noproxy", "*"]).args(words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "curl {words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text.replace("\r\n", "\n")
}

#[test]
fn curl_gets_bodies_heads_ranges_and_conditions() {
    if !has_curl() {
        return;
    }
    let node = Node::start();
    let url = node.url("/body");
    let whole = curl(&[&url]);
    assert!(whole.starts_with("HTTP/1.1 200 OK\n") && whole.contains("\ncontent-length: 1024\n"), "{whole}");
    assert!(whole.contains("\ndate: ") && whole.ends_with("abcdef") && !whole.contains("connection:"), "{whole}");
    let head = curl(&["--head", &url]);
    assert!(head.contains("\ncontent-length: 1024\n") && head.ends_with("\n\n"), "{head}");
    let part = curl(&["--range", "1020-", &url]);
    assert!(part.starts_with("HTTP/1.1 206 ") && part.contains("content-range: bytes 1020-1023/1024"), "{part}");
    assert!(part.ends_with("\n\ncdef"), "{part}");
    let parts = curl(&["--range", "0-1,-2", &url]);
    assert!(
        parts.contains("multipart/byteranges; boundary=") && parts.matches("content-range: ").count() == 2,
        "{parts}"
    );
    let beyond = curl(&["--range", "5000-", &url]);
    assert!(beyond.starts_with("HTTP/1.1 416 ") && beyond.contains("content-range: bytes */1024"), "{beyond}");
    let known = curl(&["--header", "If-None-Match: \"v1\"", &url]);
    assert!(known.starts_with("HTTP/1.1 304 ") && known.ends_with("\n\n"), "{known}");
    let known = curl(&["--time-cond", "Sun, 06 Nov 1994 08:49:37 GMT", &url]);
    assert!(known.starts_with("HTTP/1.1 304 "), "{known}");
    let other = curl(&["--range", "0-1", "--header", "If-Range: \"v2\"", &url]);
    assert!(other.starts_with("HTTP/1.1 200 "), "{other}");
    let agent = curl(&["--user-agent", "me", &node.url("/headers")]);
    assert!(agent.contains("set-cookie: a=1\nset-cookie: b=2\n") && agent.ends_with("\n\nme"), "{agent}");
}

#[test]
fn curl_keeps_connections_and_takes_chunks_and_old_versions() {
    if !has_curl() {
        return;
    }
    let node = Node::start();
    let url = node.url("/chunks");
    let twice = curl(&["--write-out", "(%{num_connects})", &url, &url]);
    assert!(twice.contains("(1)") && twice.ends_with("(0)"), "one connection for both: {twice}");
    assert_eq!(twice.matches("transfer-encoding: chunked").count(), 2);
    assert_eq!(twice.matches("part 1\npart 2\npart 3\n").count(), 2);
    let old = curl(&["--http1.0", &url]);
    assert!(!old.contains("chunked") && old.contains("connection: close"), "{old}");
    assert!(old.ends_with("part 1\npart 2\npart 3\n"), "{old}");
    let upgrade = curl(&["--http2", &url]);
    assert!(upgrade.starts_with("HTTP/1.1 200 OK\n"), "an Upgrade is passed over: {upgrade}");
    assert!(curl(&[&node.url("/error")]).starts_with("HTTP/1.1 500 "));
    assert!(curl(&[&node.url("/nothing")]).starts_with("HTTP/1.1 404 "));
}

#[test]
fn curl_sends_bodies_and_waits_to_be_asked_for_them() {
    if !has_curl() {
        return;
    }
    let node = Node::start();
    assert!(curl(&["--data", "hello", &node.url("/echo")]).ends_with("\n\nhello"));
    let asked = curl(&["--data", "hello", "--header", "Expect: 100-continue", &node.url("/echo")]);
    assert!(asked.starts_with("HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\n") && asked.ends_with("\n\nhello"), "{asked}");
    let not_asked = curl(&["--data", "hello", "--header", "Expect: 100-continue", &node.url("/nothing")]);
    assert!(not_asked.starts_with("HTTP/1.1 404 "), "{not_asked}");
    let chunked = curl(&["--data", "hello", "--header", "Transfer-Encoding: chunked", &node.url("/echo")]);
    assert!(chunked.ends_with("\n\nhello"), "{chunked}");
}

#[test]
fn a_large_upload_passes_through_little_memory() {
    let node = Node::start();
    let before = node.peak_kib();
    let len = 100 << 20;
    let mut stream = node.connect();
    write!(stream, "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n").unwrap();
    let part = [b'x'; 1 << 16];
    for _ in 0..len / part.len() {
        stream.write_all(&part).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(&format!("\r\n\r\n{len}")), "{answer}");
    if let (Some(before), Some(after)) = (before, node.peak_kib()) {
        assert!(after - before < 16 * 1024, "{} KiB more than before", after - before);
    }
}

#[test]
fn who_does_not_read_takes_little_memory_and_holds_nobody_up() {
    let node = Node::start();
    let before = node.peak_kib();
    let slow: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = node.connect();
            stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        assert!(node.talk(b"GET /body HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ends_with("abcdef"));
    }
    if let (Some(before), Some(after)) = (before, node.peak_kib()) {
        assert!(after - before < 32 * 1024, "{} KiB for 20 of 20 MiB each", after - before);
    }
    // Who reads gets all of it.
    let mut bytes = Vec::new();
    let mut reader = node.connect();
    reader.write_all(b"GET /endless HTTP/1.0\r\n\r\n").unwrap();
    reader.read_to_end(&mut bytes).unwrap();
    assert!(bytes.len() > 20_000 * 1024, "only {} bytes", bytes.len());
    drop(slow);
}

#[test]
fn requests_without_end_of_one_who_does_not_read_take_little_memory() {
    let node = Node::start();
    let before = node.peak_kib();
    let mut stream = node.connect();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let requests = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2_000);
    let mut sent = 0;
    // Until the node takes no more. What comes after the connection's last answer is read away.
    while sent < 200 << 20 {
        match stream.write(&requests) {
            Ok(len) => sent += len,
            Err(_) => break,
        }
    }
    if let (Some(before), Some(after)) = (before, node.peak_kib()) {
        assert!(after - before < 16 * 1024, "{} KiB more than before, for {sent} bytes", after - before);
    }
}

#[test]
fn who_sends_slowly_or_nothing_is_cut_off_in_time() {
    let node = Node::start();
    let began = Instant::now();
    let mut drip = node.connect();
    let mut silent = node.connect();
    let mut idle = node.connect();
    idle.write_all(b"GET /body HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nx: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy" {
        if drip.write_all(&[*byte]).is_err() || began.elapsed() > Duration::from_secs(5) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut answer = String::new();
    let _ = drip.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    answer.clear();
    let _ = silent.read_to_string(&mut answer);
    assert_eq!(answer, "");
    let _ = idle.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("abcdef"), "{answer}");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
}

#[test]
fn what_could_be_taken_for_two_requests_is_refused_and_the_second_never_answered() {
    let node = Node::start();
    let inner = "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n";
    for (head, status) in [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", 400),
        ("Content-Length: 4\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 4, 4\r\n", 400),
        ("Content-Length: +4\r\n", 400),
        ("Transfer-Encoding: xchunked\r\n", 501),
        ("Transfer-Encoding: chunked, identity\r\n", 400),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("X: y\r\n Transfer-Encoding: chunked\r\n", 400),
        ("X: y\nTransfer-Encoding: chunked\r\n", 400),
        ("X: y\rz: 1\r\n", 400),
        ("X: y\0\r\n", 400),
        ("Host: b\r\n", 400),
        ("Expect: tea\r\n", 417),
    ] {
        let answer = node.talk(format!("POST /echo HTTP/1.1\r\nHost: a\r\n{head}\r\n0\r\n\r\n{inner}").as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head:?}: {answer}");
    }
    for chunks in [
        "5\nhello\r\n0\r\n\r\n",
        "5;\n\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "3\r\nhello\r\n0\r\n\r\n",
    ] {
        let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
        let answer = node.talk(format!("{head}\r\n{chunks}{inner}").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{chunks:?}: {answer}");
    }
    let pipelined = node.talk(format!("{inner}{inner}GET /body HTTP/1.0\r\n\r\n").as_bytes());
    assert_eq!(pipelined.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{pipelined}");
}

#[test]
fn heads_and_bodies_that_are_too_large_are_refused() {
    let node = Node::start();
    let long = "x".repeat(100_000);
    let answer = node.talk(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let answer = node.talk(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", &long[..9000]).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 414 "), "{answer}");
    let answer = node.talk(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(200)).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let answer = node.talk(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn a_response_that_is_shorter_than_it_says_is_seen_to_be_cut_off() {
    let node = Node::start();
    let mut stream = node.connect();
    stream.write_all(b"GET /short HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let ended_well = stream.read_to_end(&mut answer).is_ok();
    let text = String::from_utf8_lossy(&answer);
    assert!(!ended_well || !text.ends_with("12345") || text.contains("content-length: 10"), "{text}");
    assert!(node.talk(b"GET /body HTTP/1.0\r\n\r\n").ends_with("abcdef"));
}

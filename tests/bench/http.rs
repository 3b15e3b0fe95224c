//! Requests per second of a module's HTTP server that answers 1 KB, beside a bare responder in Rust (mio and httparse, no
//! checks, no limits) in the same run, by turns. Needs the program wrk: `cargo bench --bench http`.
#![cfg_attr(
    all(unix, feature = "live"),
    expect(clippy::disallowed_types, clippy::unwrap_used, clippy::print_stdout, reason = "a program that measures")
)]

#[cfg(not(all(unix, feature = "live")))]
fn main() {}

#[cfg(all(unix, feature = "live"))]
fn main() {
    bench::run();
}

#[cfg(all(unix, feature = "live"))]
mod bench {
    use std::collections::BTreeMap;
    use std::io::{ErrorKind, Read, Write};
    use std::net::SocketAddr;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use mio::net::{TcpListener, TcpStream};
    use mio::{Events, Interest, Poll, Token};

    const ROUNDS: usize = 3;
    const SECONDS: u32 = 5;

    pub(super) fn run() {
        if Command::new("wrk").arg("--version").output().is_err() {
            println!("skipped: the program wrk is not installed");
            return;
        }
        let bare = bare();
        let node = Node::start();
        println!("requests/s for 1 KB, wrk -t1, by turns");
        for connections in [1, 16, 64] {
            let (mut fast, mut ours) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                fast.push(wrk(bare, connections));
                ours.push(wrk(node.address, connections));
            }
            println!("{connections:3} connections: bare {fast:?}, module {ours:?}");
        }
        drop(node);
    }

    struct Node {
        process: Child,
        address: SocketAddr,
    }

    impl Node {
        fn start() -> Node {
            let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/http/module");
            let process = Command::new(env!("CARGO_BIN_EXE_netserv"))
                .args(["run", "--control", "none", "--log", "warn", "--module"])
                .arg(format!("{folder},port={}", address.port()))
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            let node = Node { process, address };
            for _ in 0..200 {
                if std::net::TcpStream::connect(address).is_ok() {
                    return node;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            panic!("the node does not serve");
        }
    }

    impl Drop for Node {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    /// Requests per second, as wrk counts them.
    fn wrk(address: SocketAddr, connections: u32) -> u32 {
        let duration = format!("-d{SECONDS}s");
        let output = Command::new("wrk")
            .args(["-t1", &format!("-c{connections}"), &duration, &format!("http://{address}/")])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains("Non-2xx"), "{text}");
        let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).unwrap_or_else(|| panic!("{text}"));
        line.trim().parse::<f64>().unwrap() as u32
    }

    /// The least that can answer: one thread, no limits.
    fn bare() -> SocketAddr {
        let mut listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut poll = Poll::new().unwrap();
            poll.registry().register(&mut listener, Token(0), Interest::READABLE).unwrap();
            let (mut events, mut streams, mut next) = (Events::with_capacity(256), BTreeMap::new(), 1);
            loop {
                poll.poll(&mut events, None).unwrap();
                for event in &events {
                    if event.token() == Token(0) {
                        while let Ok((mut stream, _)) = listener.accept() {
                            poll.registry().register(&mut stream, Token(next), Interest::READABLE).unwrap();
                            streams.insert(next, stream);
                            next += 1;
                        }
                    } else if !streams.get_mut(&event.token().0).is_none_or(answer) {
                        streams.remove(&event.token().0);
                    }
                }
            }
        });
        address
    }

    /// Answers what came. Whether the stream goes on.
    fn answer(stream: &mut TcpStream) -> bool {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1024\r\n\r\n";
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(len) => {
                    let mut headers = [httparse::EMPTY_HEADER; 32];
                    let mut request = httparse::Request::new(&mut headers);
                    if !matches!(request.parse(&buffer[..len]), Ok(httparse::Status::Complete(_))) {
                        return false;
                    }
                    let answer = [head.as_bytes(), &[b'x'; 1024]].concat();
                    if stream.write_all(&answer).is_err() {
                        return false;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }
}

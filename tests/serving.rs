//! Packages over HTTP: the web server, `netserv serve`, and the fetcher against good and bad servers. All on the
//! loop-back interface.
#![cfg(all(unix, feature = "live"))]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "clients and servers with clocks and sockets")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail tests, and say what is skipped")]

#[path = "serving/bad.rs"]
mod bad;
#[path = "serving/command.rs"]
mod command;
#[path = "serving/fetching.rs"]
mod fetching;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Events, Poll};
use netserv::base::limits::WEB_CONNECTIONS_MAX;
use netserv::base::time::Instant;
use netserv::drivers::live::web::WebServer;

/// A web server in a loop of its own. Its time passes `speed` times as fast as that of the world.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(resources: Vec<(&'static str, Vec<u8>)>, speed: u32) -> Server {
        let mut poll = Poll::new().unwrap();
        let mut server = WebServer::open(([127, 0, 0, 1], 0).into(), poll.registry(), 7).unwrap();
        for (path, bytes) in resources {
            server.offer(path, bytes);
        }
        let (address, ends) = (server.address(), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let began = std::time::Instant::now();
            let (mut events, mut lines) = (Events::with_capacity(16), Vec::new());
            while !told.load(Ordering::SeqCst) {
                let now = Instant::START + began.elapsed() * speed;
                let wait = server.longest_wait(now).unwrap_or(Duration::MAX) / speed;
                poll.poll(&mut events, Some(wait.min(Duration::from_millis(10)))).unwrap();
                let now = Instant::START + began.elapsed() * speed;
                for event in &events {
                    assert!(server.owns(event.token().0));
                    server.ready(event.token().0, poll.registry(), now);
                }
                server.expire(poll.registry(), now);
                while let Some(served) = server.next_served() {
                    lines.push(format!("{} {} {}", served.request, served.status, served.is_whole));
                }
            }
            lines
        });
        Server { address, ends, thread: Some(thread) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends a text and reads to the end.
    fn talk(&self, text: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        read_to_end(&mut stream)
    }

    /// The log.
    fn end(mut self) -> Vec<String> {
        self.ends.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
    }
}

fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset counts as an end.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn big() -> Vec<u8> {
    (0..3_000_000u32).map(|n| (n % 251) as u8).collect()
}

#[test]
fn several_requests_pass_over_one_connection_also_sent_at_once() {
    let server = Server::start(vec![("/a.nsm", b"AAAA".to_vec()), ("/b.json", b"{}".to_vec())], 1);
    let one = "GET /a.nsm HTTP/1.1\r\nHost: h\r\n\r\n";
    let last = "HEAD /b.json HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answers = server.talk(&format!("{}{last}", one.repeat(40)));
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 41);
    assert_eq!(answers.matches("\r\n\r\nAAAA").count(), 40);
    assert!(answers.ends_with("Content-Type: application/json\r\nContent-Length: 2\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"), "{answers}");
    let log = server.end();
    assert_eq!((log.len(), log[0].as_str(), log[40].as_str()), (41, "GET /a.nsm 200 true", "HEAD /b.json 200 true"));
}

#[test]
fn a_slow_reader_gets_everything_and_does_not_hold_up_others() {
    let server = Server::start(vec![("/big", big()), ("/a", b"A".to_vec())], 1);
    let mut slow = server.connect();
    slow.write_all(b"GET /big HTTP/1.0\r\n\r\n").unwrap();
    assert!(server.talk("GET /a HTTP/1.0\r\n\r\n").ends_with("\r\n\r\nA"));
    let mut bytes = Vec::new();
    slow.read_to_end(&mut bytes).unwrap();
    assert!(bytes.ends_with(&big()) && bytes.len() > big().len());
}

#[test]
fn the_refused_get_to_see_why_although_they_go_on_sending() {
    let server = Server::start(Vec::new(), 1);
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    assert!(server.talk(&long).starts_with("HTTP/1.1 431 "));
    let post = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n{}", "a".repeat(100_000));
    assert!(server.talk(&post).starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
}

#[test]
fn who_sends_nothing_or_one_byte_at_a_time_is_closed() {
    // Ten seconds pass in 0.1 s here.
    let len = 40_000_000;
    let server = Server::start(vec![("/big", vec![0; len])], 100);
    assert_eq!(read_to_end(&mut server.connect()), "", "silent");
    let mut drip = server.connect();
    for byte in b"GET / HTTP/1.1\r\nx: ".iter().chain([b'a'; 200].iter()) {
        std::thread::sleep(Duration::from_millis(5));
        if drip.write_all(&[*byte]).is_err() {
            break;
        }
    }
    assert_eq!(read_to_end(&mut drip), "", "a byte now and then does not keep a connection");
    let mut stalled = server.connect();
    stalled.write_all(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(600));
    assert!(read_to_end(&mut stalled).len() < len, "a reader who does not read");
    assert_eq!(server.end(), ["GET /big 200 false"]);
}

#[test]
fn the_silent_make_room_for_those_who_ask() {
    let server = Server::start(vec![("/a", b"A".to_vec())], 1);
    let silent: Vec<TcpStream> = (0..2 * WEB_CONNECTIONS_MAX).map(|_| server.connect()).collect();
    assert!(server.talk("GET /a HTTP/1.0\r\n\r\n").ends_with("\r\n\r\nA"));
    drop(silent);
}

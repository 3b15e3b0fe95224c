use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mio::{Events, Poll};

use super::server::ControlServer;
use super::*;
use crate::base::limits::{CONTROL_CONNECTIONS_MAX, CONTROL_LINE_BYTES_MAX};
use crate::base::time::Instant;

/// A server in a folder of its own, which is removed at the end.
struct Fixture {
    poll: Poll,
    server: Option<ControlServer>,
    folder: PathBuf,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("netserv-control-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
        let poll = Poll::new().unwrap();
        let server = ControlServer::open(&folder.join("s"), poll.registry(), 100).unwrap();
        Fixture { poll, server: Some(server), folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("s")
    }

    /// Serves until nothing more happens; answers each request with its own text.
    fn serve(&mut self) -> usize {
        let mut events = Events::with_capacity(16);
        let mut count = 0;
        let server = self.server.as_mut().unwrap();
        loop {
            self.poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
            for event in &events {
                server.ready(event.token().0, self.poll.registry(), Instant::START);
            }
            while let Some((connection, request)) = server.next_request() {
                count += 1;
                server.answer(connection, &serde_json::to_value(request).map_err(|e| e.to_string()), Instant::START);
            }
            if events.is_empty() {
                return count;
            }
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn answers_requests_in_order_and_says_what_is_no_request() {
    let mut fixture = Fixture::new("order");
    let mut client = UnixStream::connect(fixture.path()).unwrap();
    client.write_all(b"{\"request\":\"status\"}\nnonsense\n{\"request\":\"unload\",\"name\":\"a\"}\n").unwrap();
    assert_eq!(fixture.serve(), 2);
    let lines: Vec<String> = BufReader::new(&client).lines().take(3).map(Result::unwrap).collect();
    assert_eq!(lines[0], "{\"ok\":{\"request\":\"status\"}}");
    assert!(lines[1].starts_with("{\"error\":\"this is no request"), "{}", lines[1]);
    assert_eq!(lines[2], "{\"ok\":{\"name\":\"a\",\"request\":\"unload\"}}");
}

#[test]
fn a_request_without_end_is_cut_off() {
    let mut fixture = Fixture::new("long");
    let mut client = UnixStream::connect(fixture.path()).unwrap();
    client.set_nonblocking(true).unwrap();
    let chunk = vec![b'x'; 16 * 1024];
    for _ in 0..40 {
        let _ = client.write(&chunk);
        fixture.serve();
    }
    client.set_nonblocking(false).unwrap();
    let mut line = String::new();
    BufReader::new(&client).read_line(&mut line).unwrap();
    assert!(line.contains(&CONTROL_LINE_BYTES_MAX.to_string()), "{line}");
}

#[test]
fn when_all_connections_are_taken_a_silent_one_makes_room() {
    let mut fixture = Fixture::new("many");
    let mut clients: Vec<_> =
        (0..CONTROL_CONNECTIONS_MAX).map(|_| UnixStream::connect(fixture.path()).unwrap()).collect();
    fixture.serve();
    let mut newest = UnixStream::connect(fixture.path()).unwrap();
    newest.write_all(b"{\"request\":\"status\"}\n").unwrap();
    assert_eq!(fixture.serve(), 1);
    let mut line = String::new();
    BufReader::new(&newest).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"ok\""), "{line}");
    line.clear();
    assert_eq!(BufReader::new(&clients.remove(0)).read_line(&mut line).unwrap(), 0, "{line}");
}

#[test]
fn more_connections_than_allowed_are_told_so_when_none_is_silent() {
    let mut fixture = Fixture::new("busy");
    let connect = |_| {
        let mut client = UnixStream::connect(fixture.path()).unwrap();
        client.write_all(b"half a request").unwrap();
        client
    };
    let clients: Vec<_> = (0..=CONTROL_CONNECTIONS_MAX).map(connect).collect();
    fixture.serve();
    let mut line = String::new();
    BufReader::new(clients.last().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("too many"), "{line}");
}

#[test]
fn a_reader_who_does_not_read_is_cut_off() {
    let mut fixture = Fixture::new("slow");
    let mut client = UnixStream::connect(fixture.path()).unwrap();
    client.write_all(b"{\"request\":\"status\"}\n").unwrap();
    let server = fixture.server.as_mut().unwrap();
    server.ready(100, fixture.poll.registry(), Instant::START);
    let (connection, _) = server.next_request().unwrap();
    let long = serde_json::Value::String("x".repeat(4 << 20));
    server.answer(connection, &Ok(long), Instant::START);
    assert!(server.longest_wait().is_some());
    server.close_stuck(Instant::START + Duration::from_secs(1));
    assert!(server.longest_wait().is_some());
    server.close_stuck(Instant::START + Duration::from_secs(60));
    assert!(server.longest_wait().is_none());
}

#[test]
fn a_living_node_keeps_its_socket_and_a_dead_one_loses_it() {
    let mut fixture = Fixture::new("dead");
    let path = fixture.path();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = ControlServer::open(&path, fixture.poll.registry(), 200);
    assert!(matches!(again, Err(ControlError::AlreadyRunning { .. })));
    fixture.server = None;
    assert!(!path.exists());
    // What a killed node leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    assert!(matches!(client::ask(&path, &Request::Status), Err(ControlError::NotRunning { .. })));
    fixture.server = Some(ControlServer::open(&path, fixture.poll.registry(), 200).unwrap());
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn what_is_no_socket_and_folders_of_others_are_refused() {
    let fixture = Fixture::new("way");
    let file = fixture.folder.join("file");
    std::fs::write(&file, "mine").unwrap();
    let open = |path: &Path| ControlServer::open(path, fixture.poll.registry(), 300).map(|_| ());
    assert!(matches!(open(&file), Err(ControlError::InTheWay { .. })));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let shared = fixture.folder.join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(open(&shared.join("s")), Err(ControlError::FolderOfOthers { .. })));
}

//! The server of the page against odd and hostile clients, with bytes on sockets.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use netserv::base::limits::{PAGE_CONTROL_BYTES_MAX, PAGE_NOTES_MAX, PAGE_QUEUE_MAX, PAGE_VIEWERS_MAX};
use netserv::dashboard::scene::{Moment, Note, Scene};
use netserv::drivers::page_server::{Access, Control, PageError, PageServer};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn server(controls: bool, token: Option<&str>) -> PageServer {
    let access = Access { controls, token: token.map(str::to_owned) };
    PageServer::open(([127, 0, 0, 1], 0).into(), access).expect("a port is free")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    stream
}

/// Sends bytes and reads all until the server closes. `{host}` stands for its own.
pub(crate) fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.replace("{host}", &address.to_string()).as_bytes()).expect("it takes it");
    let mut answer = Vec::new();
    // What is refused may be closed with a reset, after the answer.
    if let Err(e) = stream.read_to_end(&mut answer) {
        assert_eq!(e.kind(), ErrorKind::ConnectionReset);
    }
    String::from_utf8(answer).expect("answers are text")
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {{host}}\r\nConnection: close\r\n{more}\r\n")
}

pub(crate) fn post(body: &str, more: &str) -> String {
    let length = body.len();
    format!(
        "POST /control HTTP/1.1\r\nHost: {{host}}\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    )
}

/// The fields that the page itself sends with a control.
pub(crate) const OWN: &str =
    "Content-Type: application/json\r\nX-Netserv: 1\r\nOrigin: http://{host}\r\nSec-Fetch-Site: same-origin\r\n";

/// Looks: gives what comes after the head of the answer, line by line.
pub(crate) fn look(address: SocketAddr) -> BufReader<TcpStream> {
    let mut stream = connect(address);
    stream.write_all(get("/events", "").replace("{host}", &address.to_string()).as_bytes()).expect("it takes it");
    BufReader::new(stream)
}

/// The next event of this name that a viewer is told.
pub(crate) fn event(lines: &mut BufReader<TcpStream>, name: &str) -> serde_json::Value {
    let mut is_it = false;
    loop {
        let mut line = String::new();
        let count = lines.read_line(&mut line).expect("the server goes on");
        assert_ne!(count, 0, "the stream ended before {name}");
        if let Some(other) = line.strip_prefix("event: ") {
            is_it = other.trim_end() == name;
        } else if let Some(data) = line.strip_prefix("data: ")
            && is_it
        {
            return serde_json::from_str(data).expect("events are JSON");
        }
    }
}

fn moment(at_s: f64, text: String) -> Moment {
    Moment { at_s, notes: vec![Note { at_s, machine: None, level: "info", text }], ..Moment::default() }
}

#[test]
fn every_answer_keeps_the_page_to_itself() {
    let server = server(false, None);
    for (request, status) in [(get("/", ""), "200 OK"), (get("/state.js", ""), "200 OK"), (get("/../x", ""), "404")] {
        let answer = ask(server.address(), &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        for field in [
            "content-security-policy: default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "x-frame-options: DENY",
        ] {
            assert!(answer.contains(field), "{field} is missing in {answer}");
        }
        assert!(!answer.to_lowercase().contains("access-control-"), "{answer}");
    }
}

#[test]
fn a_name_that_was_made_to_lead_here_is_refused() {
    let server = server(true, None);
    let port = server.address().port();
    for (host, status) in [
        (format!("127.0.0.1:{port}"), "200"),
        (format!("localhost:{port}"), "200"),
        (format!("[::1]:{port}"), "200"),
        (format!("evil.example:{port}"), "421"),
        (format!("127.0.0.1.evil.example:{port}"), "421"),
        (format!("localhost.:{port}"), "421"),
        (format!("127.0.0.2:{port}"), "421"),
        ("127.0.0.1:1".to_owned(), "421"),
        ("127.0.0.1".to_owned(), "421"),
        (String::new(), "421"),
    ] {
        for path in ["/", "/main.js", "/nothing"] {
            let answer =
                ask(server.address(), &format!("HEAD {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
            let status = if status == "200" && path == "/nothing" { "404" } else { status };
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host} {path}: {answer}");
        }
    }
}

#[test]
fn only_the_own_page_may_control() {
    let mut server = server(true, None);
    let pause = "{\"control\":\"pause\"}";
    for (more, status) in [
        ("X-Netserv: 1\r\nContent-Type: text/plain\r\n", "415"),
        ("X-Netserv: 1\r\n", "415"),
        ("Content-Type: application/json\r\n", "403"),
        ("X-Netserv: 1\r\nContent-Type: application/json\r\nOrigin: http://evil.example\r\n", "403"),
        ("X-Netserv: 1\r\nContent-Type: application/json\r\nOrigin: null\r\n", "403"),
        ("X-Netserv: 1\r\nContent-Type: application/json\r\nOrigin: https://{host}\r\n", "403"),
        ("X-Netserv: 1\r\nContent-Type: application/json\r\nSec-Fetch-Site: cross-site\r\n", "403"),
        ("X-Netserv: 1\r\nContent-Type: application/json\r\nSec-Fetch-Site: same-site\r\n", "403"),
    ] {
        let answer = ask(server.address(), &post(pause, more));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{more}: {answer}");
    }
    let preflight =
        "OPTIONS /control HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nOrigin: http://evil.example\r\n\r\n";
    assert!(ask(server.address(), preflight).starts_with("HTTP/1.1 405"));
    assert!(ask(server.address(), &get("/events", "Sec-Fetch-Site: cross-site\r\n")).starts_with("HTTP/1.1 403"));
    assert!(ask(server.address(), &get("/events", "Origin: http://evil.example\r\n")).starts_with("HTTP/1.1 403"));
    assert_eq!(server.next_control(), None);
    assert!(ask(server.address(), &post(pause, OWN)).starts_with("HTTP/1.1 200"));
    assert_eq!(server.next_control(), Some(Control::Pause));
    // A program that is no browser says nothing of where it comes from.
    let plain = "X-Netserv: 1\r\nContent-Type: application/json; charset=utf-8\r\n";
    assert!(ask(server.address(), &post("{\"control\":\"step\",\"step\":2}", plain)).starts_with("HTTP/1.1 200"));
    assert_eq!(server.next_control(), Some(Control::Step { step: 2 }));
}

#[test]
fn what_is_no_control_is_refused() {
    let mut server = server(true, None);
    for body in [
        "",
        "pause",
        "{}",
        "{\"control\":\"fly\"}",
        "{\"control\":\"speed\",\"speed\":-1}",
        "{\"control\":\"speed\",\"speed\":1e999}",
        "{\"control\":\"step\",\"step\":-1}",
        "{\"control\":\"unload\",\"instance\":7}",
    ] {
        let answer = ask(server.address(), &post(body, OWN));
        assert!(answer.starts_with("HTTP/1.1 400"), "{body}: {answer}");
    }
    let long = " ".repeat(PAGE_CONTROL_BYTES_MAX as usize + 1);
    assert!(ask(server.address(), &post(&long, OWN)).starts_with("HTTP/1.1 413"));
    assert_eq!(server.next_control(), None);
    for bytes in [
        "\r\n\r\n\r\n\r\n",
        "NONSENSE\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ] {
        let answer = ask(server.address(), bytes);
        assert!(answer.starts_with("HTTP/1.1 4"), "{bytes:?}: {answer}");
    }
    let many = format!("GET / HTTP/1.1\r\nHost: {{host}}\r\n{}\r\n", "a: b\r\n".repeat(500));
    assert!(ask(server.address(), &many).starts_with("HTTP/1.1 431"));
}

#[test]
fn without_the_token_one_can_only_look() {
    let mut server = server(true, Some(TOKEN));
    let stop = "{\"control\":\"unload\",\"instance\":\"m\"}";
    assert!(ask(server.address(), &post(stop, OWN)).starts_with("HTTP/1.1 401"));
    for wrong in ["0123456789abcdef0123456789abcdee", "", "0123456789abcdef"] {
        let answer = ask(server.address(), &post(stop, &format!("{OWN}Authorization: Bearer {wrong}\r\n")));
        assert!(answer.starts_with("HTTP/1.1 401"), "{wrong}: {answer}");
    }
    assert_eq!(server.next_control(), None);
    assert_eq!(event(&mut look(server.address()), "hello")["may_control"], false);
    let answer = ask(server.address(), &post(stop, &format!("{OWN}Authorization: Bearer {TOKEN}\r\n")));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.next_control(), Some(Control::Unload { instance: "m".into() }));
    let only_to_look = self::server(false, None);
    assert!(ask(only_to_look.address(), &post(stop, OWN)).starts_with("HTTP/1.1 403"));
}

#[test]
fn others_than_this_machine_see_nothing_without_the_token() {
    let open = |token: Option<&str>| {
        PageServer::open(([0, 0, 0, 0], 0).into(), Access { controls: true, token: token.map(str::to_owned) })
    };
    assert!(matches!(open(None), Err(PageError::NeedsToken { .. })));
    assert!(matches!(open(Some("short")), Err(PageError::Token { bytes: 5 })));
    assert!(matches!(open(Some("with a space in it, and long enough")), Err(PageError::Token { .. })));
    let server = open(Some(TOKEN)).expect("a port is free");
    let address: SocketAddr = ([127, 0, 0, 1], server.address().port()).into();
    assert!(ask(address, &get("/", "")).starts_with("HTTP/1.1 200"), "the page itself is no secret");
    assert!(ask(address, &get("/events", "")).starts_with("HTTP/1.1 401"));
    let mut stream = connect(address);
    let request = get("/events", &format!("Authorization: Bearer {TOKEN}\r\n")).replace("{host}", &address.to_string());
    stream.write_all(request.as_bytes()).expect("it takes it");
    assert_eq!(event(&mut BufReader::new(stream), "hello")["may_control"], true);
}

#[test]
fn who_comes_late_is_told_what_was() {
    let mut server = server(false, None);
    server.set_scene(Scene { title: "first".into(), ..Scene::default() });
    for n in 0..PAGE_NOTES_MAX + 10 {
        server.publish(&moment(n as f64, format!("note {n}")));
    }
    let mut late = look(server.address());
    assert_eq!(event(&mut late, "hello")["may_control"], false);
    serve_until(&mut server, 1);
    assert_eq!(event(&mut late, "scene")["title"], "first");
    let picture = event(&mut late, "catch_up");
    let notes = picture["notes"].as_array().expect("a list");
    assert_eq!((notes.len(), &notes[0]["text"]), (PAGE_NOTES_MAX, &"note 10".into()));
    server.publish(&moment(1000.0, "now".into()));
    assert_eq!(event(&mut late, "moment")["notes"][0]["text"], "now");
    server.set_scene(Scene { title: "second".into(), ..Scene::default() });
    assert_eq!(event(&mut late, "scene")["title"], "second");
    assert!(event(&mut late, "catch_up")["notes"].is_null());
}

/// Lets the server take in those who came, until so many look and have been told.
fn serve_until(server: &mut PageServer, viewers: usize) {
    while server.viewers() < viewers {
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..60 {
        assert_eq!(server.next_control(), None);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn who_takes_nothing_is_skipped_ahead_and_holds_nobody_up() {
    let mut server = server(false, None);
    server.set_scene(Scene::default());
    let mut slow = look(server.address());
    let mut quick = look(server.address());
    serve_until(&mut server, 2);
    event(&mut quick, "catch_up");
    // More than the system and the queue hold for the slow one, who reads nothing meanwhile.
    let text = "x".repeat(64 * 1024);
    let count = 3 * PAGE_QUEUE_MAX + 200;
    for n in 1..=count {
        server.publish(&moment(n as f64, text.clone()));
        assert_eq!(event(&mut quick, "moment")["at_s"], n as f64);
    }
    // It is told what it missed as one picture, and then goes on with the others.
    let reader = std::thread::spawn(move || {
        let mut moments = 0;
        event(&mut slow, "catch_up");
        let mut is_picture = false;
        loop {
            let mut line = String::new();
            assert_ne!(slow.read_line(&mut line).expect("the server goes on"), 0, "it was given up");
            is_picture |= line == "event: catch_up\n";
            moments += usize::from(line == "event: moment\n");
            if is_picture && line.starts_with("data: ") && line.contains("\"last\"") {
                return moments;
            }
        }
    });
    server.publish(&moment(count as f64 + 1.0, "last".into()));
    while !reader.is_finished() {
        server.publish(&moment(count as f64 + 2.0, "last".into()));
        std::thread::sleep(Duration::from_millis(20));
    }
    let moments = reader.join().expect("it was told");
    assert!(moments < count, "{moments} of {count} were told one by one");
}

#[test]
fn there_is_an_end_to_viewers_and_places_are_given_back() {
    let mut server = server(false, None);
    let mut viewers: Vec<_> = (0..PAGE_VIEWERS_MAX).map(|_| look(server.address())).collect();
    viewers.iter_mut().for_each(|viewer| {
        event(viewer, "hello");
    });
    assert_eq!(server.viewers(), PAGE_VIEWERS_MAX);
    let answer = ask(server.address(), &get("/events", ""));
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("too many look"), "{answer}");
    assert!(ask(server.address(), &get("/", "")).starts_with("HTTP/1.1 200"), "the page itself is still there");
    drop(viewers);
    while server.viewers() > 0 {
        server.publish(&Moment::default());
        std::thread::sleep(Duration::from_millis(10));
    }
    event(&mut look(server.address()), "hello");
}

#[test]
fn it_ends_when_it_is_dropped() {
    let server = server(false, None);
    let (address, mut viewer) = (server.address(), look(server.address()));
    event(&mut viewer, "hello");
    drop(server);
    let mut rest = String::new();
    viewer.read_to_string(&mut rest).expect("the stream ends in order");
    assert!(rest.ends_with("0\r\n\r\n"), "{rest:?}");
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

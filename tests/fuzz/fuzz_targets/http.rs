//! HTTP: however a stream is cut, a server sees the same requests and says the same; the client's side and all values of
//! fields take anything.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use netserv::base::time::{Instant, WallTime};
use netserv::blocks::http::body::BodyPart;
use netserv::blocks::http::client::{ClientConnection, Request};
use netserv::blocks::http::conditional::{self, Validators};
use netserv::blocks::http::head::{HeadLimits, RequestHead};
use netserv::blocks::http::range::{Ranges, multipart};
use netserv::blocks::http::response::Outgoing;
use netserv::blocks::http::server::{ServerConnection, ServerLimits};
use netserv::blocks::http::url::Url;
use netserv::blocks::http::date;

const HEAD: HeadLimits = HeadLimits { bytes_max: 1024, fields_max: 16, target_bytes_max: 256 };
const LIMITS: ServerLimits = ServerLimits {
    head: HEAD,
    body_bytes_max: 500,
    head_wait: Duration::from_secs(10),
    idle_wait: Duration::from_secs(60),
    body_rate: 1000,
    requests_max: 20,
};
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What a server saw, and what it said without interim responses, whose place depends on the cuts.
fn serve<'a>(parts: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Vec<u8>) {
    let mut server = ServerConnection::new(LIMITS, Instant::START);
    let (mut seen, mut said) = (Vec::new(), Vec::new());
    let mut say = |server: &mut ServerConnection| {
        let output = server.take_output();
        said.extend_from_slice(output.strip_prefix(CONTINUE).unwrap_or(&output));
    };
    let mut body: Option<Vec<u8>> = None;
    for part in parts {
        server.receive(Instant::START, part);
        loop {
            say(&mut server);
            let Some(so_far) = &mut body else {
                let Some(head) = server.next_request(Instant::START, WallTime::default()) else { break };
                check(&head);
                seen.push(format!("{} {} {:?}", head.method(), head.target(), head.path()));
                body = Some(Vec::new());
                continue;
            };
            match server.read_body(Instant::START, WallTime::default(), 7) {
                Ok(BodyPart::Bytes(bytes)) => so_far.extend(bytes),
                Ok(BodyPart::Waits) => break,
                Ok(BodyPart::End) => {
                    seen.push(format!("{so_far:?}"));
                    body = None;
                    server.start(WallTime::default(), 200, &Outgoing::default(), None).expect("nothing was sent");
                    server.write(b"yes").expect("it has begun");
                    server.finish(Instant::START).expect("it has begun");
                }
                Err(error) => {
                    seen.push(format!("{so_far:?} {error}"));
                    body = None;
                }
            }
        }
        say(&mut server);
    }
    seen.push(format!("{:?} {}", server.end(), server.wants_input()));
    (seen, said)
}

fn check(head: &RequestHead) {
    let known = Validators { etag: Some(b"\"a\""), last_modified: Some(b"Sun, 06 Nov 1994 08:49:37 GMT") };
    let _ = conditional::evaluate(head.method(), &head.fields, &known, 1_700_000_000);
    let _ = conditional::range_counts(&head.fields, &known, 1_700_000_000);
    if let Some(Ranges::Parts(parts)) = head.fields.first("range").map(|field| Ranges::parse(field, 100)) {
        assert!(parts.iter().all(|part| part.start < part.end && part.end <= 100));
        let _ = multipart(&[0; 100], &parts, None, "x");
    }
    assert!(head.path() == "*" || head.path().starts_with('/'));
}

fn ask(bytes: &[u8]) {
    let mut client = ClientConnection::new(HEAD, 500);
    let fields = Outgoing::default();
    let request = Request { method: "GET", authority: "a", path_and_query: "/", fields: &fields, body: None };
    let _ = client.request(&request, 500);
    client.receive(bytes);
    client.end_input();
    if let Ok(Some(_)) = client.response() {
        while let Ok(BodyPart::Bytes(bytes)) = client.read_body(50) {
            assert!(!bytes.is_empty() && bytes.len() <= 50);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let size = usize::from(*cut).max(1);
    assert_eq!(serve(bytes.chunks(size)), serve(std::iter::once(bytes)));
    ask(bytes);
    if let Some(seconds) = date::parse(bytes, 1_700_000_000) {
        assert_eq!(date::parse(date::format(seconds).as_bytes(), 0), Some(seconds));
    }
    if let Some(url) = std::str::from_utf8(bytes).ok().and_then(|text| Url::parse(text).ok()) {
        assert_eq!(Url::parse(&url.to_string()).as_ref(), Ok(&url));
    }
});

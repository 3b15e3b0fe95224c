use super::*;

fn resource(path: &str) -> Option<Resource> {
    let bytes: Arc<[u8]> = b"PACKAGE".as_slice().into();
    (path == "/a.nsm").then_some(Resource { content_type: "application/octet-stream", bytes })
}

/// Status, whether the connection ends, length of the body, and bytes that were read.
fn answer(request: &str) -> Option<(u16, bool, usize, usize)> {
    let (answer, len) = answer::to(request.as_bytes(), &resource)?;
    let head = String::from_utf8(answer.head).unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {} ", answer.status)) && head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(head.contains("Connection: close"), answer.closes);
    Some((answer.status, answer.closes, answer.body.len(), len))
}

#[test]
fn a_request_is_answered_when_it_is_whole() {
    let request = "GET /a.nsm HTTP/1.1\r\nHost: h\r\n\r\n";
    for len in 0..request.len() {
        assert_eq!(answer(&request[..len]), None, "{len}");
    }
    assert_eq!(answer(request), Some((200, false, 7, request.len())));
    assert_eq!(answer(&format!("{request}GET /b")), Some((200, false, 7, request.len())), "the next one stays");
    assert_eq!(answer(&request.replace("GET", "HEAD")), Some((200, false, 0, request.len() + 1)));
}

#[test]
fn a_path_may_come_with_a_query_or_as_a_url() {
    for target in ["/a.nsm?v=1", "http://other:80/a.nsm", "HTTP://h/a.nsm?x"] {
        let found = answer(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).unwrap();
        assert_eq!(found.0, 200, "{target}");
    }
    for target in ["/", "/../a.nsm", "//a.nsm", "/%61.nsm", "*", "http://a.nsm", "a.nsm"] {
        let found = answer(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).unwrap();
        assert_eq!((found.0, found.1), (404, false), "{target}");
    }
}

#[test]
fn the_connection_ends_when_the_client_says_so() {
    for (request, closes) in [
        ("GET /a.nsm HTTP/1.0\r\n\r\n", true),
        ("GET /a.nsm HTTP/1.1\r\nHost: h\r\nConnection: Keep-Alive, Close\r\n\r\n", true),
        ("GET /a.nsm HTTP/1.1\r\nHost: h\r\nConnection: closed\r\n\r\n", false),
    ] {
        let found = answer(request).unwrap();
        assert_eq!((found.0, found.1), (200, closes), "{request}");
    }
}

#[test]
fn what_is_wrong_is_refused_by_its_status() {
    let many = "a: b\r\n".repeat(65);
    let long = "a".repeat(9_000);
    for (request, status, closes) in [
        ("POST /a.nsm HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 405, false),
        ("POST /a.nsm HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 405, true),
        ("GET /a.nsm HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 400, true),
        ("GET /a.nsm HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 400, true),
        ("GET /a.nsm HTTP/1.1\r\n\r\n", 400, true),
        ("GET /a.nsm HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, true),
        ("GET /a.nsm HTTP/2.0\r\n\r\n", 505, true),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}", 400, true),
        ("hello\r\n\r\n", 400, true),
        (&format!("GET / HTTP/1.1\r\n{many}\r\n"), 431, true),
        (&format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"), 431, true),
    ] {
        let found = answer(request).unwrap_or_else(|| panic!("an answer to {request:?}"));
        assert_eq!((found.0, found.1), (status, closes), "{request:?}");
    }
}

#[test]
fn a_log_line_is_one_line_whatever_is_asked_for() {
    let request = format!("GET /{}\u{1b}\"\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(300));
    let (answer, _) = answer::to(request.as_bytes(), &resource).unwrap();
    assert!(answer.request.len() <= 120 && !answer.request.contains(char::is_control), "{}", answer.request);
}

//! One connection of a client.

use super::*;
use crate::blocks::http::client::{ClientConnection, Request};

fn get(connection: &mut ClientConnection) -> String {
    let fields = Outgoing::default();
    let request = Request { method: "GET", authority: "a", path_and_query: "/x", fields: &fields, body: None };
    String::from_utf8(connection.request(&request, 1000)).unwrap()
}

/// A connection that asked for something and got these bytes.
fn answered(bytes: &str) -> ClientConnection {
    let mut connection = ClientConnection::new(HEAD_LIMITS, 1000);
    get(&mut connection);
    connection.receive(bytes.as_bytes());
    connection
}

fn whole(connection: &mut ClientConnection) -> Result<String, HttpError> {
    let mut all = Vec::new();
    loop {
        match connection.read_body(100)? {
            BodyPart::Bytes(bytes) => all.extend(bytes),
            BodyPart::End => return Ok(String::from_utf8(all).unwrap()),
            BodyPart::Waits => return Ok(format!("{}...", String::from_utf8(all).unwrap())),
        }
    }
}

#[test]
fn requests_have_a_host_and_the_length_of_their_body() {
    let mut c = ClientConnection::new(HEAD_LIMITS, 1000);
    assert_eq!(get(&mut c), "GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut c = ClientConnection::new(HEAD_LIMITS, 1000);
    let fields = fields("Host\0evil\0content-length\099\0x\0y\0");
    let request =
        Request { method: "POST", authority: "a:81", path_and_query: "/", fields: &fields, body: Some(b"hello") };
    let want = "POST / HTTP/1.1\r\nhost: a:81\r\nx: y\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(String::from_utf8(c.request(&request, 1000)).unwrap(), want);
}

#[test]
fn a_connection_is_used_again_when_the_response_ends_on_its_own() {
    let mut c = answered("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(c.response().unwrap().unwrap().status, 200);
    assert_eq!(whole(&mut c), Ok("hello".to_owned()));
    assert!(c.is_idle());
    get(&mut c);
    c.receive(b"HTTP/1.1 404 \r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(c.response().unwrap().unwrap().status, 404);
    assert_eq!(whole(&mut c), Ok("abc".to_owned()));
    assert!(c.is_idle());
    c.receive(b"HTTP/1.1 200 OK\r\n");
    assert!(c.is_over(), "nobody asked for that");
    for last in [
        "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx",
    ] {
        let mut c = answered(last);
        c.response().unwrap().unwrap();
        assert_eq!(whole(&mut c), Ok("x".to_owned()));
        assert!(c.is_over());
    }
}

#[test]
fn a_response_without_length_ends_with_the_connection() {
    let mut c = answered("HTTP/1.1 200 OK\r\n\r\nhello");
    c.response().unwrap().unwrap();
    assert_eq!(whole(&mut c), Ok("hello...".to_owned()));
    c.end_input();
    assert_eq!(whole(&mut c), Ok(String::new()));
    assert!(c.is_over());
    let mut c = answered("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello");
    c.response().unwrap().unwrap();
    c.end_input();
    assert_eq!(whole(&mut c), Err(HttpError::CutShort));
}

#[test]
fn statuses_without_a_body_have_none_whatever_they_say() {
    let mut c = answered("HTTP/1.1 304 Not Modified\r\ncontent-length: 500\r\n\r\n");
    c.response().unwrap().unwrap();
    assert_eq!(whole(&mut c), Ok(String::new()));
    assert!(c.is_idle());
}

#[test]
fn odd_responses_are_refused() {
    for (text, reason) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", "ambiguous"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n", "ambiguous"),
        ("HTTP/1.1 200 OK\r\nx: y\r\n z\r\n\r\n", "second line"),
        ("HTTP/1.1 200 OK\n\n", "CR and LF"),
        ("HTTP/1.1 999 OK\r\n\r\n", "status"),
        ("HTTP/2 200 OK\r\n\r\n", "neither"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "switched"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n", "more than 1000 bytes"),
    ] {
        let mut c = answered(text);
        let error = c.response().unwrap_err().to_string();
        assert!(error.contains(reason), "{text:?}: {error}");
        assert!(c.is_over());
    }
    let mut c = answered(&"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(9));
    assert_eq!(c.response(), Err(HttpError::InterimResponses));
}

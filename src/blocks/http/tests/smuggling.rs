//! Requests that two readers could take differently.

use super::*;

/// What the connection answers to bytes that hold no acceptable request; a request in them may be shown first.
fn refusal(text: &str) -> String {
    let mut c = connection(text);
    if next(&mut c).is_some() {
        assert!(body(&mut c).is_err(), "{:?} is accepted", &text[..text.len().min(200)]);
    }
    let answer = output(&mut c);
    assert_eq!(c.end(), End::Finish, "{text:?}: the connection ends");
    assert!(next(&mut c).is_none());
    answer
}

#[test]
fn ambiguous_lengths_are_refused() {
    for fields in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 5\r\n",
        "content-length: +5\r\n",
        "content-length: -5\r\n",
        "content-length: 0x5\r\n",
        "content-length: 5 5\r\n",
        "content-length: \r\n",
        "content-length: 1e1\r\n",
        "content-length: 18446744073709551617\r\n",
        "content-length:\u{a0}5\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding:\r\n",
    ] {
        let answer = refusal(&format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n0\r\n\r\nhello"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{fields:?}: {answer}");
    }
    for coding in ["gzip", "identity", "gzip, chunked", "xchunked", "\"chunked\"", "chunked;q=1", "\u{b}chunked"] {
        let answer = refusal(&format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 501 ") || answer.starts_with("HTTP/1.1 400 "), "{coding:?}: {answer}");
    }
    let answer = refusal("POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn malformed_heads_are_refused() {
    for text in [
        "GET / HTTP/1.1\nhost: a\n\n",
        "GET / HTTP/1.1\r\nhost: a\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\n",
        "GET / HTTP/1.1\rhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n",
        "GET / HTTP/1.1\r\n host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n\tz: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: y\0z\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx\0: y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: y\u{7f}\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n: y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx\u{e9}: y\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /  HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nhost: a\r\n\r\n",
        "GET /\r\nhost: a\r\n\r\n",
        "GET / http/1.1\r\nhost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let answer = refusal(text);
        assert!(answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 505 "), "{text:?}: {answer}");
    }
}

#[test]
fn malformed_chunks_are_refused() {
    for chunks in [
        "\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nx\r\n\r\n",
        "5\r\nhello\r\n0\r\n x: y\r\n\r\n",
        "5\r\nhello\r\n0\r\nx : y\r\n\r\n",
        "5\r\nhello\r\n0\r\nx: y\n\r\n",
        "5\r\nhello\r\n0\r\n\rx",
        "5\r\nhello\r\n0\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
    ] {
        let answer = refusal(&format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer}");
    }
    let long = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(5);
    let answer = refusal(&format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{long}0\r\n\r\n"));
    assert!(answer.contains("chunk extensions"), "{answer}");
    let long = format!("0\r\n{}\r\n", "x: y\r\n".repeat(3000));
    let answer = refusal(&format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{long}"));
    assert!(answer.contains("trailers"), "{answer}");
}

#[test]
fn each_request_names_one_host() {
    for (target, host, is_right) in [
        ("/", "host: a\r\n", true),
        ("/", "host: a:80\r\n", true),
        ("/", "host: [::1]:80\r\n", true),
        ("/", "host:\r\n", true),
        ("/", "", false),
        ("/", "host: a\r\nhost: a\r\n", false),
        ("/", "host: a, b\r\n", false),
        ("/", "host: a b\r\n", false),
        ("/", "host: a/b\r\n", false),
        ("/", "host: u@a\r\n", false),
        ("/", "host: a:x\r\n", false),
        ("/", "host: a:99999\r\n", false),
        ("/", "host: [::1\r\n", false),
        ("http://a/x", "host: a\r\n", true),
        ("HTTP://A/x", "host: a\r\n", true),
        ("http://a", "host: a\r\n", true),
        ("http://b/x", "host: a\r\n", false),
        ("http://a:81/x", "host: a\r\n", false),
        ("http://u@a/x", "host: a\r\n", false),
        ("http://a/x", "", false),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\n{host}\r\n");
        assert_eq!(RequestHead::parse(text.as_bytes(), &HEAD_LIMITS).is_ok(), is_right, "{text:?}");
    }
    let head = |text: &str| RequestHead::parse(text.as_bytes(), &HEAD_LIMITS).unwrap();
    let absolute = head("GET http://a?x=1 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((absolute.path(), absolute.query()), ("/", Some("x=1")));
    let absolute = head("GET http://a/b?x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((absolute.path(), absolute.query()), ("/b", Some("x")));
    assert_eq!(head("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").path(), "*");
    assert!(RequestHead::parse(b"GET / HTTP/1.0\r\n\r\n", &HEAD_LIMITS).is_ok());
    assert!(RequestHead::parse(b"GET / HTTP/1.0\r\nhost: a\r\nhost: a\r\n\r\n", &HEAD_LIMITS).is_err());
}

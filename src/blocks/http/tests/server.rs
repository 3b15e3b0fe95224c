//! One connection of a server, from the first byte to the last.

use super::*;

const GET: &str = "GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nX-Two:  1 \r\nx-two: 2\r\n\r\n";

#[test]
fn a_request_is_shown_and_its_answer_has_date_and_length() {
    let mut c = connection(GET);
    let head = next(&mut c).unwrap();
    assert_eq!((head.method(), head.target(), head.path(), head.query()), ("GET", "/a?b=c", "/a", Some("b=c")));
    assert_eq!(head.fields.joined("x-two"), Some(b"1, 2".to_vec()));
    assert_eq!(head.fields.first("host"), Some(b"example.org".as_slice()));
    let text = answer(&mut c, "hello");
    assert_eq!(text, format!("HTTP/1.1 200 OK\r\n{DATE}content-length: 5\r\n\r\nhello"));
    assert_eq!((c.end(), c.wants_input()), (End::Not, true));
}

#[test]
fn pipelined_requests_are_answered_in_order_one_at_a_time() {
    let mut c = connection(GET.repeat(3));
    for _ in 0..3 {
        assert!(next(&mut c).is_some());
        assert!(next(&mut c).is_none(), "the one before is not answered");
        assert!(!c.wants_input());
        answer(&mut c, "x");
    }
    assert!(next(&mut c).is_none());
}

#[test]
fn requests_that_wait_for_their_turn_are_not_read_without_end() {
    let mut c = connection(GET.repeat(200));
    assert!(GET.len() * 200 > LIMITS.head.bytes_max);
    // Between two requests, too: as long as answers cannot be sent, nobody takes the next one.
    assert!(!c.wants_input());
    for _ in 0..LIMITS.requests_max {
        assert!(next(&mut c).is_some());
        answer(&mut c, "x");
    }
    assert!(next(&mut c).is_none());
}

#[test]
fn a_response_without_length_is_chunked_for_1_1_and_ends_with_the_connection_for_1_0() {
    let mut c = connection(GET);
    next(&mut c).unwrap();
    c.start(WALL, 200, &fields("x-a\0b\0"), None).unwrap();
    for part in ["hello ", "", "world, and more"] {
        c.write(part.as_bytes()).unwrap();
    }
    c.finish(at(0)).unwrap();
    let want = format!(
        "HTTP/1.1 200 OK\r\nx-a: b\r\n{DATE}transfer-encoding: chunked\r\n\r\n6\r\nhello \r\nf\r\nworld, and more\r\n0\r\n\r\n"
    );
    assert_eq!(output(&mut c), want);
    let mut c = connection("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    next(&mut c).unwrap();
    c.start(WALL, 200, &Outgoing::default(), None).unwrap();
    c.write(b"hello").unwrap();
    c.finish(at(0)).unwrap();
    assert_eq!(output(&mut c), format!("HTTP/1.1 200 OK\r\n{DATE}connection: close\r\n\r\nhello"));
    assert_eq!(c.end(), End::Finish);
}

#[test]
fn connections_stay_open_as_version_and_fields_say() {
    let cases = [
        ("HTTP/1.1\r\nhost: a\r\n", true),
        ("HTTP/1.1\r\nhost: a\r\nconnection: close\r\n", false),
        ("HTTP/1.1\r\nhost: a\r\nConnection: x, CLOSE\r\n", false),
        ("HTTP/1.0\r\n", false),
        ("HTTP/1.0\r\nconnection: Keep-Alive\r\n", true),
        ("HTTP/1.0\r\nconnection: keep-alive, close\r\n", false),
    ];
    for (rest, stays) in cases {
        let mut c = connection(format!("GET / {rest}\r\n"));
        next(&mut c).unwrap();
        let text = answer(&mut c, "x");
        assert_eq!(c.end() == End::Not, stays, "{rest}");
        assert_eq!(text.contains("connection: close"), !stays, "{text}");
    }
}

#[test]
fn a_response_to_head_has_the_length_and_no_body() {
    let mut c = connection("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
    next(&mut c).unwrap();
    assert_eq!(answer(&mut c, "hello"), format!("HTTP/1.1 200 OK\r\n{DATE}content-length: 5\r\n\r\n"));
    assert_eq!(c.end(), End::Not);
}

#[test]
fn a_status_without_body_gets_none() {
    for status in [204, 304] {
        let mut c = connection(GET);
        next(&mut c).unwrap();
        let refused = c.start(WALL, status, &Outgoing::default(), Some(5)).unwrap_err();
        assert!(refused.to_string().contains("has no body"));
        c.start(WALL, status, &Outgoing::default(), None).unwrap();
        c.finish(at(0)).unwrap();
        let text = output(&mut c);
        assert!(text.ends_with(&format!("{DATE}\r\n")) && !text.contains("length"), "{text}");
    }
}

#[test]
fn what_does_not_fit_the_stated_length_ends_the_connection() {
    let mut c = connection(GET);
    next(&mut c).unwrap();
    c.start(WALL, 200, &Outgoing::default(), Some(3)).unwrap();
    assert!(c.write(b"hello").unwrap_err().to_string().contains("2 bytes longer"));
    assert_eq!(c.end(), End::Abort);
    let mut c = connection(GET);
    next(&mut c).unwrap();
    c.start(WALL, 200, &Outgoing::default(), Some(9)).unwrap();
    c.write(b"hello").unwrap();
    assert!(c.finish(at(0)).unwrap_err().to_string().contains("4 bytes shorter"));
    assert_eq!(c.end(), End::Abort);
}

#[test]
fn bodies_are_read_by_length_and_by_chunks() {
    let mut c =
        connection("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nhost: a\r\n\r\n");
    next(&mut c).unwrap();
    assert_eq!(body(&mut c), Ok(b"hello".to_vec()));
    answer(&mut c, "x");
    assert_eq!(next(&mut c).unwrap().method(), "GET");
    let chunked = "5;a=\"b\"\r\nhello\r\n06\r\n world\r\n0\r\nx-sum: 1\r\n\r\n";
    let mut c = connection(format!("POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n{chunked}{GET}"));
    next(&mut c).unwrap();
    assert_eq!(body(&mut c), Ok(b"hello world".to_vec()));
    answer(&mut c, "x");
    assert_eq!(next(&mut c).unwrap().path(), "/a");
}

#[test]
fn a_body_that_nobody_read_is_read_away_if_it_is_short() {
    let mut c = connection("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel");
    next(&mut c).unwrap();
    assert!(!answer(&mut c, "x").contains("close"));
    assert!(c.wants_input() && next(&mut c).is_none());
    c.receive(at(1), format!("lo{GET}").as_bytes());
    assert_eq!(next(&mut c).unwrap().path(), "/a");
    let mut limits = LIMITS;
    limits.body_bytes_max = 1 << 40;
    let mut c = ServerConnection::new(limits, at(0));
    c.receive(at(0), b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5000000\r\n\r\nhel");
    next(&mut c).unwrap();
    assert!(answer(&mut c, "x").contains("connection: close"));
    assert_eq!(c.end(), End::Finish);
}

#[test]
fn continue_is_sent_when_the_body_is_read_and_not_otherwise() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\ncontent-length: 5\r\n\r\n";
    let mut c = connection(head);
    next(&mut c).unwrap();
    assert_eq!(output(&mut c), "");
    assert_eq!(c.read_body(at(0), WALL, 100), Ok(BodyPart::Waits));
    assert_eq!(output(&mut c), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(c.read_body(at(0), WALL, 100), Ok(BodyPart::Waits));
    c.receive(at(1), b"hello");
    assert_eq!(body(&mut c), Ok(b"hello".to_vec()));
    assert!(!answer(&mut c, "x").contains("close"));
    // Whether the body follows after a final response nobody knows.
    let mut c = connection(head);
    next(&mut c).unwrap();
    assert!(answer(&mut c, "x").contains("connection: close"));
    let mut c = connection(head.replace("100-Continue", "tea"));
    assert!(next(&mut c).is_none());
    assert!(output(&mut c).starts_with("HTTP/1.1 417 "));
}

#[test]
fn a_body_that_is_too_long_is_refused_before_or_while_it_comes() {
    let mut c = connection("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n");
    assert!(next(&mut c).is_none());
    assert!(output(&mut c).starts_with("HTTP/1.1 413 "));
    assert_eq!(c.end(), End::Finish);
    let chunk = format!("258\r\n{}\r\n", "x".repeat(600));
    let mut c =
        connection(format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{}", chunk.repeat(2)));
    next(&mut c).unwrap();
    assert_eq!(body(&mut c), Err(HttpError::BodyTooLong { max_bytes: 1000 }));
    assert!(output(&mut c).starts_with("HTTP/1.1 413 "));
    assert_eq!(c.start(WALL, 200, &Outgoing::default(), None).unwrap_err().to_string(), "the client is gone");
}

#[test]
fn heads_are_bounded_in_every_way() {
    let filler = |count: usize| "x".repeat(count);
    let cases = [
        (format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", filler(1024)), 414),
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", filler(4096)), 431),
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", filler(4096)), 431),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(40)), 431),
        ("GET / HTTP/1.2\r\nhost: a\r\n\r\n".to_owned(), 505),
        ("GET / HTTP/2.0\r\nhost: a\r\n\r\n".to_owned(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
        ("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n".to_owned(), 501),
        ("\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
    ];
    for (text, status) in cases {
        let mut c = connection(&text);
        assert!(next(&mut c).is_none(), "{text}");
        let answer = output(&mut c);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{text}: {answer}");
        assert!(answer.contains("connection: close"));
        assert_eq!(c.end(), End::Finish);
    }
    let mut c = connection("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(next(&mut c).is_some());
}

#[test]
fn who_sends_slowly_is_cut_off() {
    // Nothing at all.
    let mut c = ServerConnection::new(LIMITS, at(0));
    c.expire(at(9), WALL);
    assert_eq!(c.end(), End::Not);
    c.expire(at(10), WALL);
    assert_eq!((c.end(), output(&mut c).as_str()), (End::Close, ""));
    // A head, one byte per second.
    let mut c = ServerConnection::new(LIMITS, at(0));
    for second in 1..=11 {
        c.expire(at(second), WALL);
        c.receive(at(second), b"G");
        assert!(c.next_request(at(second), WALL).is_none());
    }
    assert_eq!(c.end(), End::Finish, "ten seconds after the first byte");
    assert!(output(&mut c).starts_with("HTTP/1.1 408 "));
    c.expire(at(13), WALL);
    assert_eq!(c.end(), End::Close);
    // Idle between requests.
    let mut c = connection(GET);
    next(&mut c).unwrap();
    answer(&mut c, "x");
    assert_eq!(c.deadline(), Some(at(60)));
    c.expire(at(60), WALL);
    assert_eq!(c.end(), End::Close);
}

#[test]
fn a_slow_body_is_cut_off_but_not_for_the_time_in_which_nobody_reads() {
    let mut limits = LIMITS;
    limits.body_bytes_max = 1 << 40;
    let mut c = ServerConnection::new(limits, at(0));
    c.receive(at(0), b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n");
    next(&mut c).unwrap();
    assert_eq!(c.deadline(), None);
    assert_eq!(c.read_body(at(100), WALL, 100), Ok(BodyPart::Waits));
    assert_eq!(c.deadline(), Some(at(110)));
    c.receive(at(109), &[b'x'; 5000]);
    while c.read_body(at(200), WALL, 1000) != Ok(BodyPart::Waits) {}
    // 9 of the 10 seconds are used up, and 5,000 bytes make 5 more.
    assert_eq!(c.deadline(), Some(at(206)));
    c.expire(at(206), WALL);
    assert!(output(&mut c).starts_with("HTTP/1.1 408 "));
    assert_eq!(c.read_body(at(206), WALL, 100), Err(HttpError::TooSlow));
}

#[test]
fn draining_lets_the_request_at_hand_end_and_takes_no_other() {
    let mut c = connection(GET.repeat(2));
    next(&mut c).unwrap();
    c.drain();
    assert_eq!(c.end(), End::Not);
    assert!(answer(&mut c, "x").contains("connection: close"));
    assert_eq!(c.end(), End::Finish);
    let mut c = ServerConnection::new(LIMITS, at(0));
    c.drain();
    assert_eq!(c.end(), End::Close);
}

#[test]
fn a_connection_has_a_last_request() {
    let mut limits = LIMITS;
    limits.requests_max = 2;
    let mut c = ServerConnection::new(limits, at(0));
    c.receive(at(0), GET.repeat(3).as_bytes());
    next(&mut c).unwrap();
    assert!(!answer(&mut c, "x").contains("connection: close"));
    next(&mut c).unwrap();
    assert!(answer(&mut c, "x").contains("connection: close"));
    assert!(next(&mut c).is_none());
}

#[test]
fn a_peer_that_ended_its_side_is_still_answered() {
    let mut c = connection(GET);
    c.end_input(at(0));
    next(&mut c).unwrap();
    assert!(answer(&mut c, "x").contains("connection: close"));
    assert_eq!(c.end(), End::Close);
    let mut c = connection("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel");
    next(&mut c).unwrap();
    c.end_input(at(0));
    assert!(matches!(c.read_body(at(0), WALL, 100), Ok(BodyPart::Bytes(_))));
    assert_eq!(c.read_body(at(0), WALL, 100), Err(HttpError::CutShort));
}

#[test]
fn what_cannot_be_sent_is_refused_with_the_reason() {
    for (packed, reason) in [
        ("x y\0a\0", "is no name"),
        ("\0a\0", "is no name"),
        ("x\0a\r\nb: c\0", "control character"),
        ("transfer-encoding\0chunked\0", "connection's own"),
        ("Connection\0keep-alive\0", "connection's own"),
        ("upgrade\0x\0", "connection's own"),
    ] {
        let refused = Outgoing::unpack(packed.as_bytes()).unwrap_err();
        assert!(refused.contains(reason), "{packed:?}: {refused}");
    }
    assert!(fields("content-length\0x1\0").length().is_err());
    assert_eq!(fields("Content-Length\0\x312\0").length(), Ok(Some(12)));
    let mut c = connection(GET);
    next(&mut c).unwrap();
    assert_eq!(c.write(b"x").unwrap_err().to_string(), "the response has not begun; start it first");
    assert!(c.start(WALL, 101, &Outgoing::default(), None).is_err());
    c.start(WALL, 200, &Outgoing::default(), None).unwrap();
    assert_eq!(
        c.start(WALL, 200, &Outgoing::default(), None).unwrap_err().to_string(),
        "the request has been answered"
    );
}

//! Dates, ranges, conditions, URLs.

use super::*;
use crate::blocks::http::conditional::{Outcome, Validators, evaluate, range_counts};
use crate::blocks::http::date;
use crate::blocks::http::range::{Ranges, content_range, multipart};
use crate::blocks::http::url::Url;

const NOW: u64 = 1_700_000_000;

#[test]
fn the_three_forms_of_a_date_are_one() {
    // The examples of RFC 9110, section 5.6.7.
    for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
        assert_eq!(date::parse(text.as_bytes(), NOW), Some(784_111_777), "{text}");
    }
    assert_eq!(date::format(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(date::format(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(date::format(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
    assert_eq!(date::format(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    for day in 0..200_000 {
        let seconds = day * 86_400 + day % 86_400;
        assert_eq!(date::parse(date::format(seconds).as_bytes(), NOW), Some(seconds));
    }
    // Two digits: 2073 is 50 years ahead of 2023, 2074 would be 51 and is 1974.
    assert_eq!(date::parse(b"Sunday, 06-Nov-73 08:49:37 GMT", NOW).map(date::format).unwrap()[12..16], *"2073");
    assert_eq!(date::parse(b"Sunday, 06-Nov-74 08:49:37 GMT", NOW).map(date::format).unwrap()[12..16], *"1974");
}

#[test]
fn what_is_no_date_is_none() {
    for text in [
        "",
        "x",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1969 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37:00 GMT",
        "Sun, +6 Nov 1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 ",
        "So\u{e9}, 06 Nov 1994 08:49:37 GMT",
        "So\u{e9} Nov  6 08:49:37 1994",
    ] {
        assert_eq!(date::parse(text.as_bytes(), NOW), None, "{text}");
    }
}

#[test]
fn ranges_are_read_as_the_examples_say() {
    // RFC 9110, section 14.1.2, for 10,000 bytes.
    for (field, want) in [
        ("bytes=0-499", vec![(0, 500)]),
        ("bytes=500-999", vec![(500, 1000)]),
        ("bytes=-500", vec![(9500, 10000)]),
        ("bytes=9500-", vec![(9500, 10000)]),
        ("bytes=0-0,-1", vec![(0, 1), (9999, 10000)]),
        ("bytes= 0-0 , , -1", vec![]),
        ("BYTES=1-99999", vec![(1, 10000)]),
        ("bytes=-99999", vec![(0, 10000)]),
        ("bytes=20000-30000,5-6", vec![(5, 7)]),
        ("bytes=0-99999999999999999999999999", vec![(0, 10000)]),
    ] {
        let got = Ranges::parse(field.as_bytes(), 10_000);
        let want = if want.is_empty() {
            Ranges::Whole
        } else {
            Ranges::Parts(want.into_iter().map(|(start, end)| start..end).collect())
        };
        assert_eq!(got, want, "{field}");
    }
    for malformed in ["", "bytes", "bytes=", "bytes=-", "bytes=5", "bytes=9-5", "bytes=a-b", "bytes=+1-2", "items=0-1"]
    {
        assert_eq!(Ranges::parse(malformed.as_bytes(), 10_000), Ranges::Whole, "{malformed}");
    }
    for nowhere in ["bytes=10000-", "bytes=10000-20000", "bytes=-0"] {
        assert_eq!(Ranges::parse(nowhere.as_bytes(), 10_000), Ranges::Unsatisfiable, "{nowhere}");
    }
    assert_eq!(Ranges::parse(b"bytes=0-", 0), Ranges::Unsatisfiable);
    let many = format!("bytes={}", "0-,".repeat(50));
    assert_eq!(Ranges::parse(many.as_bytes(), 10_000), Ranges::Whole);
    assert_eq!(Ranges::parse(b"bytes=0-,0-", 10_000), Ranges::Whole, "more than there is");
}

#[test]
fn several_ranges_make_a_multipart_body() {
    let body = multipart(b"0123456789", &[0..2, 8..10], Some(b"text/plain"), "sep");
    let want = "--sep\r\ncontent-type: text/plain\r\ncontent-range: bytes 0-1/10\r\n\r\n01\r\n\
                --sep\r\ncontent-type: text/plain\r\ncontent-range: bytes 8-9/10\r\n\r\n89\r\n--sep--\r\n";
    assert_eq!(String::from_utf8(body).unwrap(), want);
    assert_eq!(content_range(&(8..10), 10), "bytes 8-9/10");
}

#[test]
fn conditions_are_evaluated_in_the_order_of_the_standard() {
    let known = Validators { etag: Some(b"\"a,b\""), last_modified: Some(b"Sun, 06 Nov 1994 08:49:37 GMT") };
    let weak = Validators { etag: Some(b"W/\"a,b\""), last_modified: None };
    let nothing = Validators::default();
    let (later, earlier) = ("Sun, 06 Nov 1994 08:49:38 GMT", "Sun, 06 Nov 1994 08:49:36 GMT");
    for (method, text, validators, want) in [
        ("GET", String::new(), known, Outcome::Proceed),
        ("GET", "if-none-match: \"a,b\"\r\n".into(), known, Outcome::NotModified),
        ("GET", "if-none-match: W/\"a,b\"\r\n".into(), known, Outcome::NotModified),
        ("HEAD", "if-none-match: \"x\", \"a,b\"\r\n".into(), known, Outcome::NotModified),
        ("GET", "if-none-match: \"x\"\r\nif-none-match: \"a,b\"\r\n".into(), weak, Outcome::NotModified),
        ("GET", "if-none-match: \"x\"\r\n".into(), known, Outcome::Proceed),
        ("GET", "if-none-match: a,b\r\n".into(), known, Outcome::Proceed),
        ("GET", "if-none-match: *\r\n".into(), nothing, Outcome::NotModified),
        ("PUT", "if-none-match: *\r\n".into(), known, Outcome::PreconditionFailed),
        ("PUT", "if-match: \"a,b\"\r\n".into(), known, Outcome::Proceed),
        ("PUT", "if-match: \"x\"\r\n".into(), known, Outcome::PreconditionFailed),
        ("PUT", "if-match: W/\"a,b\"\r\n".into(), weak, Outcome::PreconditionFailed),
        ("GET", format!("if-modified-since: {earlier}\r\n"), known, Outcome::Proceed),
        ("GET", format!("if-modified-since: {later}\r\n"), known, Outcome::NotModified),
        ("PUT", format!("if-modified-since: {later}\r\n"), known, Outcome::Proceed),
        ("GET", format!("if-modified-since: {later}\r\nif-none-match: \"x\"\r\n"), known, Outcome::Proceed),
        ("PUT", format!("if-unmodified-since: {earlier}\r\n"), known, Outcome::PreconditionFailed),
        ("PUT", format!("if-unmodified-since: {later}\r\n"), known, Outcome::Proceed),
        ("PUT", format!("if-unmodified-since: {earlier}\r\nif-match: \"a,b\"\r\n"), known, Outcome::Proceed),
    ] {
        assert_eq!(evaluate(method, &request_fields(&text), &validators, NOW), want, "{method} {text}");
    }
    for (text, counts) in [
        ("", true),
        ("if-range: \"a,b\"\r\n", true),
        ("if-range: W/\"a,b\"\r\n", false),
        ("if-range: \"x\"\r\n", false),
        ("if-range: Sun, 06 Nov 1994 08:49:37 GMT\r\n", true),
        ("if-range: Sun, 06 Nov 1994 08:49:38 GMT\r\n", false),
        ("if-range: x\r\n", false),
    ] {
        assert_eq!(range_counts(&request_fields(text), &known, NOW), counts, "{text}");
    }
    assert!(!range_counts(&request_fields("if-range: W/\"a,b\"\r\n"), &weak, NOW));
}

#[test]
fn urls_are_read_and_references_resolved() {
    let url = |text: &str| Url::parse(text).map(|url| url.to_string());
    for (text, want) in [
        ("http://Example.org", "http://example.org/"),
        ("HTTP://example.org:80/a?b#c", "http://example.org/a?b"),
        ("https://example.org:443", "https://example.org/"),
        ("https://example.org:80", "https://example.org:80/"),
        ("http://[2001:DB8::1]:8080/x", "http://[2001:db8::1]:8080/x"),
        ("http://a/b/../c/./d/..", "http://a/c/"),
        ("http://a/../../x", "http://a/x"),
        ("http://a?q=/../", "http://a/?q=/../"),
    ] {
        assert_eq!(url(text).unwrap(), want);
    }
    for (text, reason) in [
        ("example.org", "no scheme"),
        ("ftp://a/", "scheme"),
        ("http://u:p@a/", "user"),
        ("http:///x", "host"),
        ("http://a:0x1/", "host"),
        ("http://a/ b", "percent"),
        ("http://a/\r\nx: y", "percent"),
        ("http://\u{e9}/", "percent"),
        ("http://a/\\", "percent"),
    ] {
        assert!(url(text).unwrap_err().contains(reason), "{text}");
    }
    // RFC 3986, section 5.4.
    let base = Url::parse("http://a/b/c/d;p?q").unwrap();
    for (reference, want) in [
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g/"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y#s", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q"),
        (";x", "http://a/b/c/;x"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../../../g", "http://a/g"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
        ("https://x/y", "https://x/y"),
    ] {
        assert_eq!(base.join(reference).unwrap().to_string(), want, "{reference}");
    }
    assert!(base.join("javascript:x").is_err());
}

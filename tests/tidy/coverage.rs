//! Citations of RFCs: their form, and the page that is made from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use crate::{File, check, file, files, is_test_file, musts, root};

const RFC_COVERAGE: &str = "docs/rfc-coverage.md";

/// One citation: the RFC, and its section if one is named.
type Citation = (u32, Option<String>);

/// The text with line breaks inside comments turned into blanks.
fn unwrapped(text: &str) -> String {
    let strip = |line: &str| line.trim_start().trim_start_matches(['/', '!', '-', '*', '#']).trim().to_owned();
    text.lines().map(strip).collect::<Vec<_>>().join(" ")
}

/// What a file cites, and the citations whose form is not that of `RFC 5971, section 4.3.1`.
fn citations(text: &str) -> (BTreeSet<Citation>, Vec<String>) {
    let text = unwrapped(text);
    let (mut cited, mut odd) = (BTreeSet::new(), Vec::new());
    for at in words_beginning(&text, "RFC") {
        let rest = &text[at + 3..];
        let digits = |s: &str| s.chars().take_while(char::is_ascii_digit).collect::<String>();
        let bare = rest.trim_start_matches(['-', '_', ' ']);
        let number = digits(bare);
        let Ok(rfc) = number.parse() else { continue };
        let after = &bare[number.len()..];
        let sections = sections(after);
        let lower = after.trim_start_matches([',', ' ']).to_lowercase();
        let says_section = ["sec", "§", "appendix", "appendices"].iter().any(|word| lower.starts_with(word));
        if !rest.starts_with(&format!(" {number}")) || (says_section && sections.is_empty()) {
            odd.push(text[at..].chars().take(40).collect());
        }
        if sections.is_empty() {
            cited.insert((rfc, None));
        }
        cited.extend(sections.into_iter().map(|section| (rfc, Some(section))));
    }
    (cited, odd)
}

/// The sections named behind an RFC's number: `, section 4.3.1`, or several: `, sections 4.3.1, 4.3.4 and 5.3`.
fn sections(after: &str) -> Vec<String> {
    let after_word = |words: [&str; 2]| words.iter().find_map(|word| after.strip_prefix(word));
    let (mut rest, is_list) =
        match (after_word([", section ", ", appendix "]), after_word([", sections ", ", appendices "])) {
            (Some(rest), _) => (rest, false),
            (None, Some(rest)) => (rest, true),
            (None, None) => return Vec::new(),
        };
    let mut sections = Vec::new();
    loop {
        let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
        let name = rest[..len].trim_end_matches('.');
        if !name.is_empty() {
            sections.push(name.to_owned());
        }
        let next = rest[len..].strip_prefix(", ").or_else(|| rest[len..].strip_prefix(" and "));
        // Behind the last one the sentence may go on in the same way.
        let is_section = |text: &&str| text.starts_with(|c: char| c.is_ascii_digit()) || text[1..].starts_with('.');
        match next.filter(|text| is_list && !text.is_empty() && text.is_char_boundary(1)).filter(is_section) {
            Some(next) => rest = next,
            None => return sections,
        }
    }
}

fn words_beginning<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(|at| !text[..*at].ends_with(|c: char| c.is_alphanumeric()))
}

fn citing(path: &str) -> bool {
    let source = path.ends_with(".rs") || path.ends_with(".luau");
    source && !path.starts_with("tests/") && !is_test_file(path)
}

fn odd_citations(file: &File) -> Vec<String> {
    let (_, odd) = citations(&file.text);
    odd.iter().map(|text| format!("{}: write `RFC 5971, section 4.3.1` instead of `{text}`", file.path)).collect()
}

#[test]
fn rfcs_are_cited_in_one_form() {
    check(odd_citations, citing);
}

#[test]
fn a_citation_in_another_form_is_found() {
    for bad in [
        "// see RFC5971",
        "// RFC 5971 section 4",
        "// RFC 5971, Sec. 4",
        "// (RFC-5971)",
        "// RFC 5971 §4.3",
        "// RFC 5971 sections 3 and 4",
    ] {
        assert_eq!(odd_citations(&file("src/node.rs", bad)).len(), 1, "{bad}");
    }
    let good = "/// Waits (RFC 5971,\n    /// section 4.3.1). See RFC 791 and RFC 5971, appendix A.2; RFC 9293 asks.";
    let (cited, odd) = citations(good);
    assert!(odd.is_empty(), "{odd:?}");
    let text: Vec<String> = cited.iter().map(|(rfc, s)| format!("{rfc} {}", s.as_deref().unwrap_or("-"))).collect();
    assert_eq!(text, ["791 -", "5971 4.3.1", "5971 A.2", "9293 -"]);
    assert_eq!(sections(", sections 4.3.1, 4.3.4 and 5.3. And 7, so to say"), ["4.3.1", "4.3.4", "5.3"]);
    assert_eq!(sections(", appendices A.2 and A.3; and é"), ["A.2", "A.3"]);
    assert_eq!(sections(", section 5 and 12 more"), ["5"]);
}

/// The page: `rules`, then all citations.
fn coverage(rules: &str, files: &[File]) -> String {
    let mut places: BTreeMap<u32, BTreeMap<String, BTreeSet<&str>>> = BTreeMap::new();
    for file in files.iter().filter(|f| citing(&f.path)) {
        for (rfc, section) in citations(&file.text).0 {
            let section = section.unwrap_or_else(|| "(whole)".to_owned());
            places.entry(rfc).or_default().entry(section).or_default().insert(&file.path);
        }
    }
    let mut page = format!(
        "# Where the code follows which RFC\n\n\
         Made by `tests/tidy.rs` from `tests/tidy/rfc5971.toml` and the citations in the sources; do not edit. To make it\n\
         again: `NETSERV_UPDATE=1 cargo test --test tidy`.\n\n{rules}",
    );
    for (rfc, sections) in places {
        let title = RFC_TITLES.iter().find(|(number, _)| *number == rfc).map_or("", |(_, title)| title);
        let colon = if title.is_empty() { "" } else { ": " };
        let _ = write!(page, "\n## RFC {rfc}{colon}{title}\n\n| section | files |\n|---|---|\n");
        for (section, paths) in sections {
            let paths: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
            let _ = writeln!(page, "| {section} | {} |", paths.join(", "));
        }
    }
    page
}

#[test]
fn the_page_of_rfc_citations_is_up_to_date() {
    let want = coverage(&musts::rules(), &files());
    let path = root().join(RFC_COVERAGE);
    if std::env::var_os("NETSERV_UPDATE").is_some() {
        fs::write(&path, &want).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    let got = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(got == want, "{RFC_COVERAGE} is out of date; run `NETSERV_UPDATE=1 cargo test --test tidy` and commit it");
}

#[test]
fn the_page_of_rfc_citations_names_section_and_file() {
    let page = coverage(
        "rules",
        &[file("src/node.rs", "// RFC 8200, section 4.5"), file("tests/x.rs", "// RFC 1, section 2")],
    );
    assert!(page.contains("## RFC 8200: ") && page.contains("| 4.5 | `src/node.rs` |"), "{page}");
    assert!(!page.contains("RFC 1\n"), "{page}");
}

/// Titles of the RFCs that are cited, or soon will be.
const RFC_TITLES: &[(u32, &str)] = &[
    (768, "User Datagram Protocol"),
    (791, "Internet Protocol"),
    (792, "Internet Control Message Protocol"),
    (1035, "Domain Names, Implementation and Specification"),
    (1042, "Transmission of IP Datagrams over IEEE 802 Networks"),
    (1071, "Computing the Internet Checksum"),
    (1112, "Host Extensions for IP Multicasting"),
    (1624, "Computation of the Internet Checksum via Incremental Update"),
    (1661, "The Point-to-Point Protocol (PPP)"),
    (1662, "PPP in HDLC-like Framing"),
    (1812, "Requirements for IP Version 4 Routers"),
    (2113, "IP Router Alert Option"),
    (2516, "A Method for Transmitting PPP Over Ethernet (PPPoE)"),
    (2675, "IPv6 Jumbograms"),
    (2711, "IPv6 Router Alert Option"),
    (3168, "The Addition of Explicit Congestion Notification (ECN) to IP"),
    (4443, "ICMPv6 for the IPv6 Specification"),
    (5280, "Internet X.509 Public Key Infrastructure Certificate and CRL Profile"),
    (5350, "IANA Considerations for the IPv4 and IPv6 Router Alert Options"),
    (5382, "NAT Behavioral Requirements for TCP"),
    (5971, "GIST: General Internet Signalling Transport"),
    (5972, "General Internet Signaling Transport (GIST) State Machine"),
    (5974, "NSIS Signaling Layer Protocol (NSLP) for Quality-of-Service Signaling"),
    (6066, "TLS Extensions: Extension Definitions"),
    (6398, "IP Router Alert Considerations and Usage"),
    (7600, "IPv4 Residual Deployment via IPv6: A Stateless Solution (4rd)"),
    (8032, "Edwards-Curve Digital Signature Algorithm (EdDSA)"),
    (8200, "Internet Protocol, Version 6 (IPv6) Specification"),
    (8410, "Algorithm Identifiers for Ed25519, Ed448, X25519, and X448"),
    (8446, "The Transport Layer Security (TLS) Protocol Version 1.3"),
    (8490, "DNS Stateful Operations"),
    (9110, "HTTP Semantics"),
    (9112, "HTTP/1.1"),
    (9293, "Transmission Control Protocol (TCP)"),
];

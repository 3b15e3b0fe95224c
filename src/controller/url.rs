//! URLs of packages and of those who want to be told: read strictly, so that two programs cannot read one differently.

use std::fmt;
use std::net::Ipv6Addr;

use crate::base::limits::URL_BYTES_MAX;

/// How a URL's resource is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Unprotected; the digest still holds.
    Http,
    /// Over TLS.
    Https,
    /// A file of the node itself.
    File,
}

impl Scheme {
    const fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::File => "file",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
            Scheme::File => 0,
        }
    }
}

/// A URL in parts (RFC 3986, section 3), without user and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// How.
    pub scheme: Scheme,
    /// Host in lower case; an IPv6 address in brackets; empty for a file.
    pub host: String,
    /// Port; 0 for a file.
    pub port: u16,
    /// Path, from its `/` on.
    pub path: String,
    /// What stands behind `?`.
    pub query: Option<String>,
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// Why it is refused, as the second half of a sentence: `it ...`. Refused is also what is allowed elsewhere but
    /// read differently by different programs: users, fragments, backslashes, `.` and `..` in the path, and encoded
    /// forms of these.
    pub fn parse(text: &str) -> Result<Url, String> {
        if text.len() > URL_BYTES_MAX {
            return Err(format!("it is longer than {URL_BYTES_MAX} bytes"));
        }
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '\\' | '#' | '"' | '<' | '>')) {
            return Err(format!("it has {odd:?} in it; write it percent-encoded, or leave it out"));
        }
        let (scheme, rest) = text.split_once("://").ok_or("it has no scheme; write http://, https:// or file://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "file" => Scheme::File,
            other => return Err(format!("its scheme is {other:?}; only http, https and file are fetched")),
        };
        let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(authority_len);
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query.to_owned())));
        check_path(path)?;
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        if authority.contains('@') {
            return Err("it has a user in it; leave out what stands before the @".to_owned());
        }
        let (host, port) = if scheme == Scheme::File {
            if !authority.is_empty() || query.is_some() {
                return Err("it must be written file:///PATH, without host and query".to_owned());
            }
            (String::new(), 0)
        } else {
            host_and_port(scheme, authority)?
        };
        Ok(Url { scheme, host, port, path, query })
    }

    /// Whether this URL lies at or below `prefix`: the same scheme, host and port, and a path that begins with all
    /// parts of the prefix's path.
    #[must_use]
    pub fn is_below(&self, prefix: &Url) -> bool {
        let place = |url: &Url| (url.scheme, url.host.clone(), url.port);
        if place(self) != place(prefix) || prefix.query.is_some() && self.query != prefix.query {
            return false;
        }
        let folder = prefix.path.strip_suffix('/').unwrap_or(&prefix.path);
        let rest = self.path.strip_prefix(folder);
        rest.is_some_and(|rest| rest.starts_with('/') || rest.is_empty() && folder == prefix.path)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.host)?;
        if self.port != self.scheme.port() {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)?;
        self.query.as_ref().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

fn check_path(path: &str) -> Result<(), String> {
    let folded = path.to_ascii_lowercase();
    if let Some(encoded) = ["%2e", "%2f", "%5c", "%00"].into_iter().find(|encoded| folded.contains(encoded)) {
        return Err(format!("its path has {encoded} in it; that hides a \".\", a slash or the end"));
    }
    if path.split('/').any(|part| matches!(part, "." | "..")) {
        return Err("its path has \".\" or \"..\" in it; write the path that is meant".to_owned());
    }
    Ok(())
}

fn host_and_port(scheme: Scheme, authority: &str) -> Result<(String, u16), String> {
    let host_len = match authority.find(']') {
        Some(end) if authority.starts_with('[') => end + 1,
        _ => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_len);
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => scheme.port(),
        digits => {
            let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            let port = digits.and_then(|digits| digits.parse().ok()).filter(|port| *port != 0);
            port.ok_or("what stands behind its host is no port from 1 to 65535")?
        }
    };
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| format!("{host:?} is no IPv6 address"))?;
        return Ok((format!("[{address}]"), port));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(is_plain) {
        return Err(format!("its host {host:?} is no host name and no address"));
    }
    Ok((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(url: &str, prefix: &str) -> bool {
        Url::parse(url).unwrap().is_below(&Url::parse(prefix).unwrap())
    }

    #[test]
    fn urls_are_written_in_one_form() {
        for (text, want) in [
            ("HTTPS://Example.ORG:443", "https://example.org/"),
            ("http://192.0.2.1:8080/a.nsm?x=1", "http://192.0.2.1:8080/a.nsm?x=1"),
            ("http://[2001:DB8:0::1]/", "http://[2001:db8::1]/"),
            ("file:///srv/a%20b.nsm", "file:///srv/a%20b.nsm"),
            ("http://h?x", "http://h/?x"),
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), want);
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (text, part) in [
            ("ftp://h/", "only http, https and file"),
            ("h/a.nsm", "no scheme"),
            ("https://example.org@evil/", "user"),
            ("https://example.org\\@evil/", "'\\\\'"),
            ("https://h/a/../b", "\"..\""),
            ("https://h/a/%2E%2e/b", "%2e"),
            ("https://h/a%2Fb", "%2f"),
            ("https://h/a#b", "'#'"),
            ("https://h/a b", "' '"),
            ("https://h/\u{e9}", "'\u{e9}'"),
            ("https:///a", "no host"),
            ("https://h:0/", "no port"),
            ("https://h:+80/", "no port"),
            ("https://h:70000/", "no port"),
            ("https://[::1/", "no port"),
            ("https://[x]/", "no IPv6"),
            ("file://host/a", "file:///PATH"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(Url::parse(&format!("http://h/{}", "a".repeat(URL_BYTES_MAX))).is_err());
    }

    #[test]
    fn a_prefix_ends_where_a_part_ends() {
        assert!(below("https://example.org/a.nsm", "https://example.org/"));
        assert!(below("https://EXAMPLE.org:443/pkg/a.nsm?v=1", "https://example.org/pkg"));
        assert!(below("https://example.org/pkg", "https://example.org/pkg"));
        for (url, prefix) in [
            ("https://example.org.evil/a", "https://example.org"),
            ("https://example.org:444/a", "https://example.org/"),
            ("http://example.org/a", "https://example.org/"),
            ("https://example.org/pkgs/a", "https://example.org/pkg"),
            ("https://example.org/pkg", "https://example.org/pkg/"),
            ("https://example.org/", "https://example.org/pkg"),
        ] {
            assert!(!below(url, prefix), "{url} {prefix}");
        }
    }
}

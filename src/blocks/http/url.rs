//! URLs of http and https (RFC 3986; RFC 9110, section 4.2), as a client and a server need them.

use crate::base::limits::URL_BYTES_MAX;

/// A host and a port, as they stand in a URL or a Host field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// In lower case; an IPv6 address in brackets.
    pub host: String,
    /// As given.
    pub port: Option<u16>,
}

impl Authority {
    /// Reads `host[:port]`. `None` if it is none; users are refused too.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Authority> {
        let text = std::str::from_utf8(text).ok()?;
        let host_len = match text.strip_prefix('[') {
            Some(rest) => rest.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at(host_len);
        let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(is_host_byte),
        };
        let port = match port.strip_prefix(':') {
            None | Some("") => None,
            Some(digits) if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
        };
        is_host.then(|| Authority { host: host.to_ascii_lowercase(), port })
    }
}

/// Bytes of a registered name: unreserved, percent-encoded, sub-delimiters without the comma, which lists use.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&byte)
}

/// A URL in parts, without user and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// https.
    pub is_secure: bool,
    /// In lower case, an IPv6 address without its brackets.
    pub host: String,
    /// The port that is meant.
    pub port: u16,
    /// From the path's "/" on.
    pub path_and_query: String,
}

impl Url {
    /// Reads an absolute URL. A fragment is dropped.
    ///
    /// # Errors
    ///
    /// Why it is none, as the second half of a sentence: `it ...`.
    pub fn parse(text: &str) -> Result<Url, String> {
        let text = checked(text)?;
        let (scheme, rest) = text.split_once("://").ok_or("it has no scheme; write http:// or https:// before it")?;
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            other => return Err(format!("it has the scheme {other:?}; only http and https are known here")),
        };
        Self::from_authority(is_secure, rest)
    }

    /// The URL that a reference stands for in this one (RFC 3986, section 5.2).
    ///
    /// # Errors
    ///
    /// As [`Url::parse`].
    pub fn join(&self, reference: &str) -> Result<Url, String> {
        let reference = checked(reference)?;
        let scheme_len = reference.find([':', '/', '?']).filter(|at| reference.as_bytes()[*at] == b':');
        if scheme_len.is_some() {
            return Self::parse(reference);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return Self::from_authority(self.is_secure, rest);
        }
        let path = self.path_and_query.split('?').next().unwrap_or("/");
        let joined = if reference.is_empty() {
            self.path_and_query.clone()
        } else if reference.starts_with('/') {
            reference.to_owned()
        } else if reference.starts_with('?') {
            format!("{path}{reference}")
        } else {
            let folder = &path[..=path.rfind('/').unwrap_or(0)];
            format!("{folder}{reference}")
        };
        Ok(Url { path_and_query: without_dots(&joined), ..self.clone() })
    }

    fn from_authority(is_secure: bool, rest: &str) -> Result<Url, String> {
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("it has a user in it; leave out what stands before the @".to_owned());
        }
        let parsed = Authority::parse(authority.as_bytes());
        let parsed = parsed.ok_or_else(|| format!("it has the host {authority:?}, which is none"))?;
        let host = parsed.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = parsed.port.unwrap_or(if is_secure { 443 } else { 80 });
        let whole = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        Ok(Url { is_secure, host, port, path_and_query: without_dots(&whole) })
    }

    /// What the Host field says: without the port that goes without saying.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.is_secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path_and_query)
    }
}

fn checked(text: &str) -> Result<&str, String> {
    if text.len() > URL_BYTES_MAX {
        return Err(format!("it is longer than {URL_BYTES_MAX} bytes"));
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '\\' | '"' | '<' | '>')) {
        return Err(format!("it has {odd:?} in it; write it percent-encoded, or leave it out"));
    }
    Ok(text.split('#').next().unwrap_or_default())
}

/// A path, with its query, without "." and ".." (RFC 3986, section 5.2.4).
fn without_dots(whole: &str) -> String {
    let (path, query) = whole.split_at(whole.find('?').unwrap_or(whole.len()));
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

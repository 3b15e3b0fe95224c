//! Heads that are sent: what a module says, checked, and what the connection adds.

use super::Version;
use super::date;
use super::error::reason;
use super::fields::{is_token, is_value};
use crate::base::limits::{HTTP_HEAD_BYTES_MAX, HTTP_RESPONSE_FIELDS_MAX};
use crate::base::time::WallTime;

/// Fields that belong to the connection, not to who makes a message.
const OWN_FIELDS: &[&[u8]] = &[b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"];

/// Header fields to be sent: names in lower case and in order, values that are safe to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    list: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Outgoing {
    /// Reads names and values, each ended by a NUL.
    ///
    /// # Errors
    ///
    /// The sentence about the field that cannot be sent.
    pub fn unpack(packed: &[u8]) -> Result<Outgoing, String> {
        let mut outgoing = Outgoing::default();
        let mut parts = packed.split(|byte| *byte == 0);
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            outgoing.add(name, value)?;
        }
        outgoing.list.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(outgoing)
    }

    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), String> {
        let shown = String::from_utf8_lossy(name).into_owned();
        if !is_token(name) {
            return Err(format!("{shown:?} is no name of a header field"));
        }
        if !is_value(value) {
            return Err(format!("the value of the header field {shown} holds a control character"));
        }
        let name = name.to_ascii_lowercase();
        let closes = name == b"connection" && !value.eq_ignore_ascii_case(b"close");
        if closes || OWN_FIELDS.contains(&name.as_slice()) {
            return Err(format!("the header field {shown} is the connection's own; leave it out"));
        }
        let bytes: usize = self.list.iter().map(|(name, value)| name.len() + value.len()).sum();
        if self.list.len() >= HTTP_RESPONSE_FIELDS_MAX || bytes + name.len() + value.len() > HTTP_HEAD_BYTES_MAX {
            return Err(format!(
                "a head has at most {HTTP_RESPONSE_FIELDS_MAX} header fields with {HTTP_HEAD_BYTES_MAX} bytes"
            ));
        }
        self.list.push((name, value.trim_ascii().to_vec()));
        Ok(())
    }

    /// The first value of a name in lower case.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.list.iter().find(|(other, _)| other == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    /// Puts a value in place of what was there. The caller vouches for both: a token in lower case,
    /// and no control character.
    pub fn set(&mut self, name: &str, value: String) {
        self.remove(name);
        self.list.push((name.as_bytes().to_vec(), value.into_bytes()));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.list.retain(|(other, _)| other != name.as_bytes());
    }

    /// The length that the fields state.
    ///
    /// # Errors
    ///
    /// The sentence about a length that is none.
    pub fn length(&self) -> Result<Option<u64>, String> {
        let Some(text) = self.first("content-length") else { return Ok(None) };
        let digits = text.len() <= 15 && text.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| "content-length is no number of bytes".to_owned())
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.list {
            for part in [name, b": ".as_slice(), value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }
}

/// What the connection adds to a response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) length: Option<u64>,
    pub(super) is_chunked: bool,
    pub(super) closes: bool,
    /// The request's version.
    pub(super) version: Version,
    pub(super) wall: WallTime,
}

/// Writes the head of a response.
pub(super) fn write_head(out: &mut Vec<u8>, status: u16, fields: &Outgoing, added: &Added) {
    out.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason(status)).as_bytes());
    for (name, value) in &fields.list {
        if name != b"content-length" && name != b"connection" {
            for part in [name, b": ".as_slice(), value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }
    if fields.first("date").is_none() {
        let seconds = added.wall.as_nanos() / 1_000_000_000;
        out.extend_from_slice(format!("date: {}\r\n", date::format(seconds)).as_bytes());
    }
    if let Some(length) = added.length {
        out.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
    }
    if added.is_chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if added.closes {
        out.extend_from_slice(b"connection: close\r\n");
    } else if added.version == Version::Http10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

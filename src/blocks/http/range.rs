//! Parts of a body (RFC 9110, section 14).

use std::ops::Range;

use crate::base::limits::HTTP_RANGES_MAX;

/// What a Range field asks of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// All of it: the field is malformed, of another unit, or asks for more than it is worth.
    Whole,
    /// These parts, in the order asked for; at least one, none empty.
    Parts(Vec<Range<u64>>),
    /// 416: none of it exists.
    Unsatisfiable,
}

impl Ranges {
    /// Reads a Range field for a body of `length` bytes.
    #[must_use]
    pub fn parse(field: &[u8], length: u64) -> Ranges {
        let unit_len = field.iter().position(|byte| *byte == b'=').unwrap_or(0);
        let (unit, list) = field.split_at(unit_len);
        if !unit.eq_ignore_ascii_case(b"bytes") {
            return Ranges::Whole;
        }
        let specs: Vec<&[u8]> = list[1..].split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
        if specs.len() > HTTP_RANGES_MAX {
            return Ranges::Whole;
        }
        let mut parts = Vec::new();
        for spec in specs {
            match part(spec, length) {
                None => return Ranges::Whole,
                Some(range) if range.is_empty() => {}
                Some(range) => parts.push(range),
            }
        }
        let bytes: u64 = parts.iter().map(|part| part.end - part.start).sum();
        match parts.len() {
            0 => Ranges::Unsatisfiable,
            // Parts that overlap so much are an attack or a mistake (RFC 9110, section 14.2).
            2.. if bytes > length => Ranges::Whole,
            _ => Ranges::Parts(parts),
        }
    }
}

/// One range; empty if it does not exist, `None` if it is malformed.
fn part(spec: &[u8], length: u64) -> Option<Range<u64>> {
    let dash = spec.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (number(&spec[..dash])?, number(&spec[dash + 1..])?);
    match (first, last) {
        (None, None) => None,
        (None, Some(count)) => Some(length.saturating_sub(count)..length),
        (Some(first), Some(last)) if last < first => None,
        (Some(first), last) => {
            let end = last.map_or(length, |last| last.saturating_add(1).min(length));
            Some(first.min(end)..end)
        }
    }
}

/// A number, if there is one; `None` if it is none. Longer ones than fit are as far away as any.
fn number(digits: &[u8]) -> Option<Option<u64>> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some((!digits.is_empty()).then(|| digits.iter().fold(0, add)))
}

/// The Content-Range field of one part.
#[must_use]
pub fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end - 1)
}

/// The body of several parts (RFC 9110, section 14.6). `boundary` must not occur in `body`.
///
/// # Panics
///
/// When a part is not within `body`.
#[must_use]
pub fn multipart(body: &[u8], parts: &[Range<u64>], content_type: Option<&[u8]>, boundary: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        if let Some(content_type) = content_type {
            out.extend_from_slice(b"content-type: ");
            out.extend_from_slice(content_type);
            out.extend_from_slice(b"\r\n");
        }
        let range = content_range(part, body.len() as u64);
        out.extend_from_slice(format!("content-range: {range}\r\n\r\n").as_bytes());
        out.extend_from_slice(&body[part.start as usize..part.end as usize]);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    out
}

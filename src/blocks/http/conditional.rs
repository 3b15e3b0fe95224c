//! Conditional requests (RFC 9110, section 13).

use super::date;
use super::fields::Fields;

/// What is known of what would be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validators<'a> {
    /// The ETag field: `"x"`, or `W/"x"`.
    pub etag: Option<&'a [u8]>,
    /// The Last-Modified field.
    pub last_modified: Option<&'a [u8]>,
}

/// What the conditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answer as without them.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412: the client means another version.
    PreconditionFailed,
}

/// Evaluates the conditions of a request for something that exists (RFC 9110, section 13.2.2). `now` is in seconds since
/// 1970.
#[must_use]
pub fn evaluate(method: &str, fields: &Fields, validators: &Validators<'_>, now: u64) -> Outcome {
    let reads = matches!(method, "GET" | "HEAD");
    let modified = validators.last_modified.and_then(|text| date::parse(text, now));
    let date_of = |name| fields.first(name).and_then(|text| date::parse(text, now));
    // 1. and 2. If-Match, or without it If-Unmodified-Since.
    if let Some(list) = fields.joined("if-match") {
        if !matches(&list, validators.etag, strongly_equal) {
            return Outcome::PreconditionFailed;
        }
    } else if let (Some(since), Some(modified)) = (date_of("if-unmodified-since"), modified)
        && modified > since
    {
        return Outcome::PreconditionFailed;
    }
    // 3. and 4. If-None-Match, or without it, for GET and HEAD, If-Modified-Since.
    if let Some(list) = fields.joined("if-none-match") {
        if matches(&list, validators.etag, weakly_equal) {
            return if reads { Outcome::NotModified } else { Outcome::PreconditionFailed };
        }
    } else if let (true, Some(since), Some(modified)) = (reads, date_of("if-modified-since"), modified)
        && modified <= since
    {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

/// Whether a Range field counts, by its If-Range (RFC 9110, section 13.1.5).
#[must_use]
pub fn range_counts(fields: &Fields, validators: &Validators<'_>, now: u64) -> bool {
    let Some(condition) = fields.first("if-range") else { return true };
    if condition.ends_with(b"\"") {
        return validators.etag.is_some_and(|etag| strongly_equal(etag, condition));
    }
    // A date must be the very one; whether it is a strong validator its maker has to know.
    let (given, known) =
        (date::parse(condition, now), validators.last_modified.and_then(|text| date::parse(text, now)));
    given.is_some() && given == known
}

/// Whether a list of entity tags, or `*`, holds one that is equal to that of what exists.
fn matches(list: &[u8], etag: Option<&[u8]>, equal: fn(&[u8], &[u8]) -> bool) -> bool {
    if list.trim_ascii() == b"*" {
        return true;
    }
    let Some(etag) = etag else { return false };
    tags(list).any(|tag| equal(tag, etag))
}

/// The entity tags of a list. A comma may stand within one. The list ends where it is malformed.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let skipped = rest.iter().position(|byte| !b", \t".contains(byte))?;
        rest = &rest[skipped..];
        let quote = if rest.starts_with(b"W/") { 2 } else { 0 };
        let inside = rest.get(quote..)?.strip_prefix(b"\"")?;
        let len = quote + 2 + inside.iter().position(|byte| *byte == b'"')?;
        let (tag, after) = rest.split_at(len);
        rest = after;
        Some(tag)
    })
}

fn strongly_equal(a: &[u8], b: &[u8]) -> bool {
    a == b && a.starts_with(b"\"")
}

fn weakly_equal(a: &[u8], b: &[u8]) -> bool {
    a.strip_prefix(b"W/").unwrap_or(a) == b.strip_prefix(b"W/").unwrap_or(b)
}

//! Behind `packet`: what Luau would do slowly.

use crate::container::api::Answer;
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

/// Longest text that `payload_contains` looks for: with it the search of the longest payload takes 1 ms at worst.
const NEEDLE_BYTES_MAX: usize = 64;

/// `find_bytes(buffer, first, end, needle)`: the offset of the first occurrence, or nil.
pub(crate) fn find_bytes(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (first, end) = (arguments.number(2, "first")? as usize, arguments.number(3, "end")? as usize);
    let needle = arguments.bytes(4, "text")?;
    if needle.len() > NEEDLE_BYTES_MAX {
        return Err(format!("the text to look for has {} bytes; it may have {NEEDLE_BYTES_MAX}", needle.len()));
    }
    let Some(hay) = arguments.buffer(1)?.get(first..end) else { return Ok(Answer::Nil) };
    host.guard().charge((hay.len() * (1 + needle.len())) as u64 / 64);
    let found = match needle {
        [] => Some(0),
        [head, tail @ ..] => find(hay, *head, tail),
    };
    Ok(found.map_or(Answer::Nil, |at| Answer::Number((first + at) as f64)))
}

fn find(hay: &[u8], head: u8, tail: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = hay[from..].iter().position(|byte| *byte == head) {
        let at = from + at;
        if hay[at + 1..].starts_with(tail) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_occurrence_and_none_that_is_cut_off() {
        assert_eq!(find(b"aab", b'a', b"b"), Some(1));
        assert_eq!(find(b"xyz", b'x', b""), Some(0));
        assert_eq!(find(b"xy", b'y', b"z"), None);
        assert_eq!(find(b"", b'y', b""), None);
    }
}

//! Header fields, as they came.

use std::ops::Range;

/// Where the name and the value of a field stand in the bytes of a head.
pub(super) type Place = (Range<u32>, Range<u32>);

/// The fields of a head: names in lower case, values without white space around them, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl Fields {
    /// The fields that stand at these places in `bytes`. Their names become lower case.
    pub(super) fn new(bytes: Vec<u8>, places: Vec<Place>) -> Fields {
        let mut fields = Fields { bytes, places };
        for (name, _) in &fields.places {
            fields.bytes[as_usize(name)].make_ascii_lowercase();
        }
        fields
    }

    /// A part of the head that is no field.
    pub(super) fn part(&self, place: &Range<u32>) -> &[u8] {
        &self.bytes[as_usize(place)]
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.places.iter().map(|(name, value)| (self.part(name), self.part(value)))
    }

    /// All values of a name, which is given in lower case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(other, _)| *other == name.as_bytes()).map(|(_, value)| value)
    }

    /// The first value of a name, which is given in lower case.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(other, _)| *other == name.as_bytes()).map(|(_, value)| value)
    }

    /// All values of a name as one list (RFC 9110, section 5.3).
    #[must_use]
    pub fn joined(&self, name: &str) -> Option<Vec<u8>> {
        let mut all = self.all(name);
        let mut joined = all.next()?.to_vec();
        for value in all {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(value);
        }
        Some(joined)
    }

    /// Whether a comma-separated list holds a word, in any case (RFC 9110, section 5.6.1).
    #[must_use]
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.all(name).flat_map(elements).any(|element| element.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Bytes of the head that the fields came in.
    #[must_use]
    pub fn head_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// The elements of a comma-separated list without quoted texts; empty ones are left out.
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Whether it is a token (RFC 9110, section 5.6.2).
#[must_use]
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Whether it can be the value of a field (RFC 9110, section 5.5): no control character but the tab.
#[must_use]
pub fn is_value(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

fn as_usize(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

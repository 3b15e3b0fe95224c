//! Objects in GIST's style: flags and type, length in words, value (RFC 5971, appendix A.2). The NetServ application
//! uses the same style for its own objects.

/// Length of an object's header, in bytes.
pub const HEADER_BYTES: usize = 4;
/// Most bytes of one object's value: the length has 12 bits and counts words.
pub const VALUE_BYTES_MAX: usize = 4_095 * 4;
/// The bits of the first half of a header that hold the type.
pub const KIND_MASK: u16 = 0x0fff;

/// The A- and B-flags: what to do with an object whose type is not known (RFC 5971, section 5.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flags {
    /// AB = 00: the message is refused.
    Mandatory,
    /// AB = 01: the object is left out.
    Ignore,
    /// AB = 10: the object goes on with the message.
    Forward,
    /// AB = 11: not defined.
    Reserved,
}

impl Flags {
    /// The flags in the first half of an object's header.
    #[must_use]
    pub const fn of_head(head: u16) -> Flags {
        match head >> 14 {
            0 => Flags::Mandatory,
            1 => Flags::Ignore,
            2 => Flags::Forward,
            _ => Flags::Reserved,
        }
    }

    /// The first half of the header of an object with these flags; `kind` has 12 bits.
    #[must_use]
    pub const fn head(self, kind: u16) -> u16 {
        let bits = match self {
            Flags::Mandatory => 0,
            Flags::Ignore => 1,
            Flags::Forward => 2,
            Flags::Reserved => 3,
        };
        bits << 14 | kind & KIND_MASK
    }
}

/// One object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object<'a> {
    /// The first half of its header as it came: flags, reserved bits, type.
    pub head: u16,
    /// A- and B-flags.
    pub flags: Flags,
    /// Type.
    pub kind: u16,
    /// Whole words.
    pub value: &'a [u8],
    /// Where its header begins, in bytes from where the reader began.
    pub offset: usize,
}

/// Why the next object cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Less than a header is left.
    #[error("{left_bytes} bytes are left at byte {offset}, an object's header has 4")]
    ShortHeader {
        /// Where.
        offset: usize,
        /// What is left.
        left_bytes: usize,
    },
    /// The object claims more than is left.
    #[error("the object at byte {offset} claims {claimed_bytes} bytes, {left_bytes} are left")]
    ShortValue {
        /// Where its header begins.
        offset: usize,
        /// Bytes of the value by its header.
        claimed_bytes: usize,
        /// Bytes behind its header.
        left_bytes: usize,
    },
}

/// Reads objects one after the other; ends at the end of the bytes, or at the first error.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first object of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    fn read(&mut self) -> Result<Object<'a>, Error> {
        let offset = self.at;
        let left = self.bytes.get(offset..).unwrap_or_default();
        // After an error there is nothing more to read.
        self.at = self.bytes.len();
        let Some((header, rest)) = left.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Error::ShortHeader { offset, left_bytes: left.len() });
        };
        let head = u16::from_be_bytes([header[0], header[1]]);
        let claimed_bytes = usize::from(u16::from_be_bytes([header[2], header[3]]) & 0x0fff) * 4;
        let Some(value) = rest.get(..claimed_bytes) else {
            return Err(Error::ShortValue { offset, claimed_bytes, left_bytes: rest.len() });
        };
        self.at = offset + HEADER_BYTES + claimed_bytes;
        Ok(Object { head, flags: Flags::of_head(head), kind: head & KIND_MASK, value, offset })
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Object<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.bytes.len()).then(|| self.read())
    }
}

/// Appends an object to `out`; zeros fill its last word. `head` as [`Flags::head`] makes it.
///
/// `value` has at most [`VALUE_BYTES_MAX`] bytes; what is longer is cut there, so that the objects behind stay readable.
pub fn write(out: &mut Vec<u8>, head: u16, value: &[u8]) {
    debug_assert!(value.len() <= VALUE_BYTES_MAX, "an object of {} bytes", value.len());
    let value = value.get(..VALUE_BYTES_MAX).unwrap_or(value);
    let words = u16::try_from(value.len().div_ceil(4)).expect("at most 4095 words were left");
    out.extend_from_slice(&head.to_be_bytes());
    out.extend_from_slice(&words.to_be_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

/// Appends the zeros that make `len` bytes a whole number of words.
pub fn pad(out: &mut Vec<u8>, len: usize) {
    out.resize(out.len() + len.next_multiple_of(4) - len, 0);
}

/// Takes the fields of a value from its front; `None` when it ends too early, and then nothing is taken.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes, at: 0 }
    }

    /// How many bytes were taken.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }

    /// What was not taken yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Whether all was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.rest().get(..len)?;
        self.at += len;
        Some(taken)
    }

    /// The next `len` bytes, and the padding up to a whole word, counted from the start of these bytes.
    pub fn padded(&mut self, len: usize) -> Option<&'a [u8]> {
        self.take(len.next_multiple_of(4))?.get(..len)
    }

    /// The next bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.rest().first_chunk::<N>()?;
        self.at += N;
        Some(taken)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next 16 bits.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests;

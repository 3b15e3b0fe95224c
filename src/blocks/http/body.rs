//! Where a body ends, and what of the bytes is the body.

use super::error::HttpError;
use super::fields::is_token;
use super::input::Input;
use crate::base::limits::{HTTP_CHUNK_EXTENSION_BYTES_MAX, HTTP_TRAILER_BYTES_MAX};

/// How a body is delimited (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// To the end of the connection; responses only.
    UntilClose,
}

/// How a read of a body ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPart {
    /// These bytes come next; never none.
    Bytes(Vec<u8>),
    /// More has to come first.
    Waits,
    /// All of it was read.
    End,
}

/// Hexadecimal digits of a chunk's size.
const SIZE_DIGITS_MAX: u32 = 15;

/// Takes a body out of a stream of bytes. A chunked body's extensions and trailers are checked, and dropped.
#[derive(Debug)]
pub(super) struct BodyReader {
    state: State,
    /// Bytes of the body that may still come.
    bytes_left: u64,
    bytes_max: u64,
    extension_bytes: usize,
    trailer_bytes: usize,
    /// What went wrong behind bytes that were still given.
    failed: Option<HttpError>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    /// The digits of a chunk's size.
    Size {
        digits: u32,
        size: u64,
    },
    Extension {
        size: u64,
    },
    /// The LF behind the size.
    SizeEnd {
        size: u64,
    },
    Chunk(u64),
    /// What follows a chunk's bytes: CR, then LF.
    ChunkCr,
    ChunkLf,
    /// A line of the trailers, as far as it has come.
    Trailer(Vec<u8>),
    /// The LF of that line.
    TrailerEnd(Vec<u8>),
    End,
}

impl BodyReader {
    /// # Errors
    ///
    /// When the body is known to be longer than `bytes_max`.
    pub(super) fn new(framing: Framing, bytes_max: u64) -> Result<BodyReader, HttpError> {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::End,
            Framing::Length(length) if length > bytes_max => {
                return Err(HttpError::BodyTooLong { max_bytes: bytes_max });
            }
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { digits: 0, size: 0 },
            Framing::UntilClose => State::UntilClose,
        };
        Ok(BodyReader { state, bytes_left: bytes_max, bytes_max, extension_bytes: 0, trailer_bytes: 0, failed: None })
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.state == State::End
    }

    /// Bytes that are known to follow; `None` if that is not known.
    pub(super) const fn known_left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::End => Some(0),
            State::UntilClose
            | State::Size { .. }
            | State::Extension { .. }
            | State::SizeEnd { .. }
            | State::Chunk(_)
            | State::ChunkCr
            | State::ChunkLf
            | State::Trailer(_)
            | State::TrailerEnd(_) => None,
        }
    }

    /// Reads at most `count_max` bytes of the body, which is not 0. `at_end` says that no input follows.
    ///
    /// # Errors
    ///
    /// When it is malformed, too long or cut short.
    pub(super) fn read(&mut self, input: &mut Input, count_max: usize, at_end: bool) -> Result<BodyPart, HttpError> {
        let mut out = Vec::new();
        while out.len() < count_max && self.failed.is_none() && self.state != State::End && !input.is_empty() {
            self.failed = self.advance(input, count_max, &mut out).err();
        }
        if !out.is_empty() {
            return Ok(BodyPart::Bytes(out));
        }
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if at_end && self.state == State::UntilClose && input.is_empty() {
            self.state = State::End;
        }
        if self.state == State::End {
            return Ok(BodyPart::End);
        }
        if at_end && input.is_empty() { Err(HttpError::CutShort) } else { Ok(BodyPart::Waits) }
    }

    /// Takes what stands together: bytes of the body, or one byte of what is around them.
    fn advance(&mut self, input: &mut Input, count_max: usize, out: &mut Vec<u8>) -> Result<(), HttpError> {
        let came = input.bytes();
        let room = (count_max - out.len()).min(came.len());
        let (left, next): (u64, fn(u64) -> State) = match self.state {
            State::Length(left) => (left, |left| if left == 0 { State::End } else { State::Length(left) }),
            State::Chunk(left) => (left, |left| if left == 0 { State::ChunkCr } else { State::Chunk(left) }),
            State::UntilClose => {
                self.bytes_left = self.spend(room as u64)?;
                (u64::MAX, |_| State::UntilClose)
            }
            State::Size { .. }
            | State::Extension { .. }
            | State::SizeEnd { .. }
            | State::ChunkCr
            | State::ChunkLf
            | State::Trailer(_)
            | State::TrailerEnd(_)
            | State::End => {
                let byte = came[0];
                input.use_up(1);
                return self.step(byte);
            }
        };
        let count = usize::try_from(left).map_or(room, |left| room.min(left));
        out.extend_from_slice(&came[..count]);
        input.use_up(count);
        self.state = next(left - count as u64);
        Ok(())
    }

    fn spend(&self, count: u64) -> Result<u64, HttpError> {
        self.bytes_left.checked_sub(count).ok_or(HttpError::BodyTooLong { max_bytes: self.bytes_max })
    }

    /// Takes one byte of what is around the chunks (RFC 9112, section 7.1).
    fn step(&mut self, byte: u8) -> Result<(), HttpError> {
        let wrong = |what| Err(HttpError::Chunk { what });
        let state = std::mem::replace(&mut self.state, State::End);
        self.state = match (state, byte) {
            (State::Size { digits, size }, byte) if byte.is_ascii_hexdigit() => {
                if digits == SIZE_DIGITS_MAX {
                    return wrong("the size of a chunk has too many digits");
                }
                let value = (byte as char).to_digit(16).expect("it is a hexadecimal digit");
                State::Size { digits: digits + 1, size: size * 16 + u64::from(value) }
            }
            (State::Size { digits: 0, .. }, _) => return wrong("a chunk has no size"),
            (State::Size { size, .. } | State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Size { size, .. }, b';') => State::Extension { size },
            (State::Size { .. }, _) => return wrong("the size of a chunk is no hexadecimal number"),
            (State::Extension { size }, byte) => {
                if byte != b'\t' && !(b' '..0x7f).contains(&byte) {
                    return wrong("a chunk extension holds a control character");
                }
                self.extension_bytes += 1;
                if self.extension_bytes > HTTP_CHUNK_EXTENSION_BYTES_MAX {
                    return Err(HttpError::ChunkExtensions);
                }
                State::Extension { size }
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailer(Vec::new()),
            (State::SizeEnd { size }, b'\n') => {
                self.bytes_left = self.spend(size)?;
                State::Chunk(size)
            }
            (State::SizeEnd { .. }, _) => return wrong("the size of a chunk does not end with CR and LF"),
            (State::ChunkCr, b'\r') => State::ChunkLf,
            (State::ChunkLf, b'\n') => State::Size { digits: 0, size: 0 },
            (State::ChunkCr | State::ChunkLf, _) => return wrong("a chunk is longer than it says"),
            (State::Trailer(line), b'\r') => State::TrailerEnd(line),
            (State::Trailer(_), b'\n' | 0) => return wrong("a trailer does not end with CR and LF"),
            (State::Trailer(mut line), byte) => {
                self.trailer_bytes += 1;
                if self.trailer_bytes > HTTP_TRAILER_BYTES_MAX {
                    return Err(HttpError::Trailers);
                }
                line.push(byte);
                State::Trailer(line)
            }
            (State::TrailerEnd(line), b'\n') if line.is_empty() => State::End,
            (State::TrailerEnd(line), b'\n') => {
                let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
                if name.len() == line.len() || !is_token(name) {
                    return wrong("a trailer is no header field");
                }
                State::Trailer(Vec::new())
            }
            (State::TrailerEnd(_), _) => return wrong("a trailer does not end with CR and LF"),
            (other @ (State::Length(_) | State::UntilClose | State::Chunk(_) | State::End), _) => other,
        };
        Ok(())
    }
}

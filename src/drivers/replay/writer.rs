//! Writes a capture file: pcap with times in nanoseconds, little-endian.

use std::io::{self, Write};

use crate::drivers::replay::reader::Frame;

/// Writes frames of one link type.
pub struct CaptureWriter<W> {
    sink: W,
    link_type: u32,
    frame_count: u64,
    byte_count: u64,
}

impl<W: Write> CaptureWriter<W> {
    /// Writes the head of the file.
    ///
    /// # Errors
    ///
    /// When the sink cannot be written.
    pub fn new(mut sink: W, link_type: u32) -> io::Result<Self> {
        sink.write_all(&MAGIC_NANOS.to_le_bytes())?;
        // Version 2.4, and two fields that nobody uses.
        sink.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        sink.write_all(&SNAP_BYTES.to_le_bytes())?;
        sink.write_all(&link_type.to_le_bytes())?;
        Ok(CaptureWriter { sink, link_type, frame_count: 0, byte_count: 0 })
    }

    /// The link type of all frames.
    pub const fn link_type(&self) -> u32 {
        self.link_type
    }

    /// Where it writes to.
    pub const fn sink(&mut self) -> &mut W {
        &mut self.sink
    }

    /// Frames written so far, and their bytes on the wire.
    pub const fn written(&self) -> (u64, u64) {
        (self.frame_count, self.byte_count)
    }

    /// Writes one frame; `frame.link_type` is not looked at.
    ///
    /// # Errors
    ///
    /// When the sink cannot be written.
    pub fn write(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        // The format ends in the year 2106: later frames get its last second.
        let seconds = u32::try_from(frame.time_ns / 1_000_000_000).unwrap_or(u32::MAX);
        let words = [seconds, (frame.time_ns % 1_000_000_000) as u32, frame.bytes.len() as u32, frame.wire_bytes];
        let mut head = [0; 16];
        for (field, word) in head.chunks_exact_mut(4).zip(words) {
            field.copy_from_slice(&word.to_le_bytes());
        }
        self.frame_count += 1;
        self.byte_count += u64::from(frame.wire_bytes);
        self.sink.write_all(&head)?;
        self.sink.write_all(frame.bytes)
    }

    /// Makes sure that all is written.
    ///
    /// # Errors
    ///
    /// When the sink cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.sink.flush()?;
        Ok(self.sink)
    }
}

const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
/// The longest frame that readers expect, in bytes.
const SNAP_BYTES: u32 = 262_144;

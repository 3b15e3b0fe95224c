//! The one buffer into which a turn's packets are read, where they are looked at, and from which they are written.

use crate::base::limits::PACKET_BYTES_MAX;

/// Size of the buffer: fits into the second-level cache of most machines.
const ARENA_BYTES: usize = 512 * 1024;
/// Where packets begin: cache lines.
const ALIGN: usize = 64;
/// Bytes before each packet that hold its offload header.
pub(super) const HEAD_BYTES: usize = crate::base::packet::Offload::WIRE_BYTES;
/// Bytes that each read must have: the offload header, a link header, and the longest packet.
pub(super) const READ_BYTES: usize = HEAD_BYTES + 40 + PACKET_BYTES_MAX;

/// See the module's documentation.
pub(super) struct Arena {
    bytes: Vec<u8>,
    /// The first aligned byte.
    start: usize,
    /// Where the next packet is read to; its offload header comes first.
    next: usize,
}

impl Arena {
    pub(super) fn new() -> Self {
        let bytes = vec![0; ARENA_BYTES + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        Arena { bytes, start, next: start }
    }

    /// Forgets all packets.
    pub(super) fn clear(&mut self) {
        self.next = self.start;
    }

    /// Whether another packet can be read.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() - self.next >= READ_BYTES
    }

    /// Where the next packet will be: the offset of its offload header.
    pub(super) fn next(&self) -> usize {
        self.next
    }

    /// How much of it holds packets.
    pub(super) fn used_bytes(&self) -> usize {
        self.next - self.start
    }

    /// Keeps what was read, up to `end`.
    pub(super) fn keep(&mut self, end: usize) {
        self.next = (end - self.start).next_multiple_of(ALIGN) + self.start;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_read_has_room_for_the_longest_packet() {
        let mut arena = Arena::new();
        let mut reads = 0;
        while arena.has_room() {
            let at = arena.next();
            assert_eq!(arena.bytes()[at..].as_ptr().align_offset(ALIGN), 0);
            arena.keep(at + READ_BYTES);
            reads += 1;
        }
        assert_eq!(reads, ARENA_BYTES / READ_BYTES);
        arena.clear();
        assert!(arena.has_room());
    }
}

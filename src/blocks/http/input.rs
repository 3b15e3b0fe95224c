//! Bytes that came and are not used yet.

/// Used bytes that are kept at the front before the rest moves there.
const USED_BYTES_MAX: usize = 64 * 1024;

/// Room that is kept while there is nothing in it.
const KEPT_BYTES_MAX: usize = 1024;

/// Bytes that came and are not used yet.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    used: usize,
}

impl Input {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Bytes of memory that it takes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used == self.bytes.len()
    }

    pub(super) fn use_up(&mut self, count: usize) {
        self.used += count;
        assert!(self.used <= self.bytes.len(), "no more is used than came");
        if self.used == self.bytes.len() {
            // Of many idle connections none keeps the room of its longest request.
            if self.bytes.capacity() > KEPT_BYTES_MAX {
                self.bytes = Vec::new();
            }
            self.bytes.clear();
            self.used = 0;
        } else if self.used > USED_BYTES_MAX {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
    }

    pub(super) fn clear(&mut self) {
        self.use_up(self.bytes().len());
    }
}

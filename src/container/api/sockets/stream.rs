//! One stream: bytes that came, and bytes that go.

use crate::base::limits::{
    SOCKET_HIGH_WATER_BYTES, SOCKET_LOW_WATER_BYTES, SOCKET_READ_BYTES_MAX, SOCKET_WAITING_BYTES_MIN,
};
use crate::base::net::{NetOutput, SocketId};

/// What reading brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Bytes(Vec<u8>),
    /// Nothing now: wait for [`super::read_key`].
    Nothing,
    /// The peer writes nothing more, and everything was read.
    Ended,
    /// It is over; why.
    Failed(String),
}

#[derive(Default)]
pub(super) struct Stream {
    /// What came, from `read` on.
    received: Vec<u8>,
    read: usize,
    /// The peer writes nothing more.
    pub(super) is_finished: bool,
    /// Bytes of [`Stream::received`] without the end of a line.
    searched: usize,
    /// Bytes that the reader needs at once.
    needed: usize,
    is_paused: bool,
    told_paused: bool,
    /// What the driver does not have yet.
    pending: Vec<u8>,
    /// Bytes written since the driver last said that little is left.
    written: usize,
    finishes: bool,
    told_finished: bool,
}

impl Stream {
    pub(super) fn received(&self) -> &[u8] {
        &self.received[self.read..]
    }

    /// Forgets the first `bytes` of what came.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.read = (self.read + bytes).min(self.received.len());
        (self.searched, self.needed) = (0, 0);
        if self.read == self.received.len() {
            self.received = Vec::new();
            self.read = 0;
        }
    }

    /// Takes some of what came; `None` if there is nothing.
    pub(super) fn take(&mut self, bytes_max: usize) -> Option<Vec<u8>> {
        let len = self.received().len();
        if len == 0 {
            return None;
        }
        if self.read == 0 && len <= bytes_max {
            (self.searched, self.needed) = (0, 0);
            return Some(std::mem::take(&mut self.received));
        }
        let bytes = self.received()[..len.min(bytes_max)].to_vec();
        self.consume(bytes.len());
        Some(bytes)
    }

    /// Takes so many bytes, if they are there.
    pub(super) fn take_exactly(&mut self, count: usize) -> Option<Taken> {
        if self.received().len() >= count {
            return self.take(count).map(Taken::Bytes);
        }
        self.needed = count;
        None
    }

    /// Takes one line, without its end, if it is there. The last one need not have an end.
    pub(super) fn take_line(&mut self, bytes_max: usize) -> Option<Taken> {
        let received = self.received();
        let found = received[self.searched..].iter().position(|byte| *byte == b'\n').map(|at| at + self.searched);
        let (line, taken) = match found {
            Some(at) => (&received[..at], at + 1),
            None if self.is_finished && !received.is_empty() => (received, received.len()),
            None => (received, 0),
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > bytes_max {
            return Some(Taken::Failed(format!("a line has more than {bytes_max} bytes")));
        }
        if taken == 0 {
            (self.searched, self.needed) = (received.len(), bytes_max + 2);
            return None;
        }
        let line = line.to_vec();
        self.consume(taken);
        Some(Taken::Bytes(line))
    }

    /// What a reader is told who wants more than will come.
    pub(super) fn end(&self) -> Taken {
        match self.received().len() {
            0 => Taken::Ended,
            len => Taken::Failed(format!("the peer has finished, and only {len} bytes are left")),
        }
    }

    /// Takes in what came. Whether the driver is to pause.
    pub(super) fn receive(&mut self, bytes: &[u8], high_water: usize) -> bool {
        // Moved to the front only when that pays.
        if self.read > self.received.len() / 2 {
            self.received.drain(..self.read);
            self.read = 0;
        }
        self.received.extend_from_slice(bytes);
        if self.received().len() >= high_water.max(self.needed) {
            self.is_paused = true;
        }
        self.is_paused != self.told_paused
    }

    /// Notes that the driver may go on reading, if so much was read. Whether it is to be told.
    pub(super) fn wants_resume(&mut self, high_water: usize) -> bool {
        if self.is_paused && self.received().len() < (high_water / 4).max(self.needed) {
            self.is_paused = false;
        }
        self.is_paused != self.told_paused
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.finishes {
            return Err("it was finished here".to_owned());
        }
        self.pending.extend_from_slice(bytes);
        self.written += bytes.len();
        Ok(())
    }

    /// Bytes that may be written before one should wait.
    pub(super) fn room(&self) -> usize {
        SOCKET_HIGH_WATER_BYTES.saturating_sub(self.written)
    }

    /// Bytes that were written without waiting for room.
    pub(super) fn excess(&self) -> usize {
        self.written.saturating_sub(SOCKET_HIGH_WATER_BYTES)
    }

    /// Little is left at the driver.
    pub(super) fn drained(&mut self) {
        self.written = self.pending.len();
    }

    pub(super) fn finish(&mut self) {
        self.finishes = true;
    }

    /// What the driver does not have yet.
    pub(super) fn take_pending(&mut self) -> Option<Vec<u8>> {
        (!self.pending.is_empty()).then(|| std::mem::take(&mut self.pending))
    }

    /// What is for the driver.
    pub(super) fn next_output(&mut self, socket: SocketId) -> Option<NetOutput> {
        if let Some(bytes) = self.take_pending() {
            return Some(NetOutput::Write { socket, bytes });
        }
        if self.finishes && !self.told_finished {
            self.told_finished = true;
            return Some(NetOutput::Finish(socket));
        }
        if self.is_paused == self.told_paused {
            return None;
        }
        self.told_paused = self.is_paused;
        Some(if self.is_paused { NetOutput::Pause(socket) } else { NetOutput::Resume(socket) })
    }
}

/// Bytes that may wait in one of `count` streams: an equal part of `waiting_bytes_max`, within bounds.
pub(super) fn high_water(waiting_bytes_max: u64, count: usize) -> usize {
    let part = waiting_bytes_max / count.max(1) as u64;
    part.clamp(SOCKET_WAITING_BYTES_MIN as u64, SOCKET_HIGH_WATER_BYTES as u64) as usize
}

const _: () = assert!(SOCKET_LOW_WATER_BYTES < SOCKET_HIGH_WATER_BYTES);
const _: () = assert!(SOCKET_READ_BYTES_MAX <= SOCKET_HIGH_WATER_BYTES);

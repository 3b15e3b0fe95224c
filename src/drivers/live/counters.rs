//! What the live loop itself counts, beside the node.

use crate::dashboard::status::Count;

/// What happened on one link on its way to the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Writes, each of a packet or a super-packet.
    pub writes: u64,
    /// Packets that were joined to the one before them, so that they took no write of their own.
    pub joined_packets: u64,
    /// Segments that were made of super-packets in software.
    pub split_segments: u64,
    /// Super-packets that the kernel refused; they were split.
    pub offload_refused: u64,
    /// Packets that could not be written.
    pub not_sent: u64,
    /// Frames that the kernel dropped because they were not read in time (capture links only).
    pub missed: u64,
}

impl LinkCounters {
    /// All that occurred, by name.
    #[must_use]
    pub fn named(&self) -> Vec<Count> {
        let all = [
            ("writes", self.writes),
            ("joined_packets", self.joined_packets),
            ("split_segments", self.split_segments),
            ("offload_refused", self.offload_refused),
            ("not_sent", self.not_sent),
            ("missed", self.missed),
        ];
        let occurred = all.into_iter().filter(|(_, count)| *count > 0);
        occurred.map(|(name, count)| Count { name: name.to_owned(), count }).collect()
    }
}

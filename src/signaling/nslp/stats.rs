//! What the application counts.

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NslpStats {
    /// Requests that came for the first time.
    pub requests: u64,
    /// Requests that came again.
    pub repeats: u64,
    /// Requests that the controller was asked about.
    pub asked: u64,
    /// Answers and notifications passed on towards their initiators.
    pub relayed: u64,
    /// Answers and notifications that came again because an acknowledgement was lost.
    pub duplicates: u64,
    /// Datagrams sent again because nobody acknowledged them.
    pub resent: u64,
    /// Own answers and notifications sent.
    pub answers: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Messages that GIST could not check against its state.
    pub unvalidated: u64,
    /// Answers that belong to no request known here, or that claim a place on the path where they cannot be.
    pub strays: u64,
    /// Requests refused because there was no room.
    pub busy: u64,
    /// Sessions that gave way to new ones because there was no room.
    pub gave_way: u64,
    /// Requests that came around in a circle, or from too far away.
    pub too_many_hops: u64,
    /// Changes of the next node in sessions that are kept.
    pub moved: u64,
}

impl NslpStats {
    /// All counters by name, in a fixed order.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 14] {
        [
            ("requests", self.requests),
            ("repeats", self.repeats),
            ("asked", self.asked),
            ("relayed", self.relayed),
            ("duplicates", self.duplicates),
            ("resent", self.resent),
            ("answers", self.answers),
            ("malformed", self.malformed),
            ("unvalidated", self.unvalidated),
            ("strays", self.strays),
            ("busy", self.busy),
            ("gave_way", self.gave_way),
            ("too_many_hops", self.too_many_hops),
            ("moved", self.moved),
        ]
    }
}

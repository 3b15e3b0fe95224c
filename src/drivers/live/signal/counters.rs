//! What the signalling sockets count.

use crate::dashboard::status::Count;

/// What happened on the signalling sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalCounters {
    /// Datagrams that came in.
    pub datagrams_received: u64,
    /// Datagrams that were too long for any buffer, and dropped.
    pub datagrams_cut: u64,
    /// Datagrams that were sent.
    pub datagrams_sent: u64,
    /// Datagrams that could not be sent.
    pub datagrams_failed: u64,
    /// Datagrams sent without the router alert that they should have had: that needs `CAP_NET_RAW`.
    pub sent_without_router_alert: u64,
    /// Datagrams sent without the flow label that they should have had.
    pub sent_without_flow_label: u64,
    /// ICMP says that a datagram cannot be delivered.
    pub unreachable: u64,
    /// ICMP says something else of a datagram.
    pub icmp_ignored: u64,
    /// Connections that were accepted.
    pub streams_accepted: u64,
    /// Connections that were refused, because there are too many.
    pub streams_refused: u64,
    /// Accepted connections that said nothing and had to give way.
    pub streams_evicted: u64,
    /// Handshakes on accepted connections that failed.
    pub handshakes_failed: u64,
    /// The system could not accept a connection.
    pub accepts_failed: u64,
}

impl SignalCounters {
    /// All that occurred, by name.
    #[must_use]
    pub fn named(&self) -> Vec<Count> {
        let all = [
            ("datagrams_received", self.datagrams_received),
            ("datagrams_cut", self.datagrams_cut),
            ("datagrams_sent", self.datagrams_sent),
            ("datagrams_failed", self.datagrams_failed),
            ("sent_without_router_alert", self.sent_without_router_alert),
            ("sent_without_flow_label", self.sent_without_flow_label),
            ("unreachable", self.unreachable),
            ("icmp_ignored", self.icmp_ignored),
            ("streams_accepted", self.streams_accepted),
            ("streams_refused", self.streams_refused),
            ("streams_evicted", self.streams_evicted),
            ("handshakes_failed", self.handshakes_failed),
            ("accepts_failed", self.accepts_failed),
        ];
        let occurred = all.into_iter().filter(|(_, count)| *count > 0);
        occurred.map(|(name, count)| Count { name: name.to_owned(), count }).collect()
    }
}

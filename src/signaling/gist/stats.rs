//! What the machine counts.

use crate::wire::gist::header::MessageType;

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Count { $($(#[doc = $doc])+ $variant,)+ }

        impl Count {
            const ALL: &'static [Count] = &[$(Count::$variant,)+];

            /// The name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Count::$variant => $name,)+ }
            }
        }
    };
}

counts! {
    /// Query messages sent.
    SentQuery = "sent_query",
    /// Response messages sent.
    SentResponse = "sent_response",
    /// Confirm messages sent.
    SentConfirm = "sent_confirm",
    /// Data messages sent.
    SentData = "sent_data",
    /// Error messages sent.
    SentError = "sent_error",
    /// MA-Hello messages sent.
    SentHello = "sent_hello",
    /// Query messages received.
    ReceivedQuery = "received_query",
    /// Response messages received.
    ReceivedResponse = "received_response",
    /// Confirm messages received.
    ReceivedConfirm = "received_confirm",
    /// Data messages received.
    ReceivedData = "received_data",
    /// Error messages received.
    ReceivedError = "received_error",
    /// MA-Hello messages received.
    ReceivedHello = "received_hello",
    /// Queries passed on to the next node.
    Relayed = "relayed",
    /// Queries answered without state being kept.
    AnsweredStateless = "answered_stateless",
    /// Searches without an answer.
    SearchesFailed = "searches_failed",
    /// Handshakes started again because the peer had no state.
    Restarts = "restarts",
    /// Changes of a peer.
    PeerChanges = "peer_changes",
    /// Associations opened or accepted.
    AssociationsOpened = "associations_opened",
    /// Associations that failed.
    AssociationsFailed = "associations_failed",
    /// Datagrams without the magic number.
    DroppedNoMagic = "dropped_no_magic",
    /// Messages that could not be decoded.
    DroppedMalformed = "dropped_malformed",
    /// Error messages that could not be decoded, or that fit nothing here.
    DroppedError = "dropped_error",
    /// Messages that have no more hops to go.
    DroppedHops = "dropped_hops",
    /// Messages for an application that is not here.
    DroppedUnknownNslp = "dropped_unknown_nslp",
    /// Messages in the wrong encapsulation.
    DroppedEncapsulation = "dropped_encapsulation",
    /// Messages for which there is no routing state.
    DroppedNoState = "dropped_no_state",
    /// Responses and Confirms with a cookie that is not ours.
    DroppedCookie = "dropped_cookie",
    /// Messages whose source is not the peer's address.
    DroppedSource = "dropped_source",
    /// Messages refused by another check.
    DroppedRefused = "dropped_refused",
    /// Own messages that the rate limit held back.
    DroppedRateLimit = "dropped_rate_limit",
    /// Packets and Queries over the intake limits.
    DroppedIntake = "dropped_intake",
    /// Sessions over the bounds.
    DroppedTableFull = "dropped_table_full",
    /// Requests of applications over the bound.
    RequestsDropped = "requests_dropped",
}

/// One number per [`Count`].
#[derive(Clone, Debug)]
pub(super) struct Counters(Vec<u64>);

impl Default for Counters {
    fn default() -> Self {
        Counters(vec![0; Count::ALL.len()])
    }
}

impl Counters {
    pub(super) fn add(&mut self, count: Count) {
        self.0[count as usize] += 1;
    }

    pub(super) fn sent(&mut self, kind: MessageType) {
        self.add(match kind {
            MessageType::Query => Count::SentQuery,
            MessageType::Response => Count::SentResponse,
            MessageType::Confirm => Count::SentConfirm,
            MessageType::Data => Count::SentData,
            MessageType::Error => Count::SentError,
            MessageType::Hello => Count::SentHello,
        });
    }

    pub(super) fn received(&mut self, kind: MessageType) {
        self.add(match kind {
            MessageType::Query => Count::ReceivedQuery,
            MessageType::Response => Count::ReceivedResponse,
            MessageType::Confirm => Count::ReceivedConfirm,
            MessageType::Data => Count::ReceivedData,
            MessageType::Error => Count::ReceivedError,
            MessageType::Hello => Count::ReceivedHello,
        });
    }

    pub(super) fn list(&self) -> Vec<(&'static str, u64)> {
        Count::ALL.iter().map(|c| (c.name(), self.0[*c as usize])).collect()
    }
}

/// A picture of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GistStats {
    /// Routing entries: one per flow, session and direction.
    pub sessions: usize,
    /// Entries that wait for a Confirm.
    pub unconfirmed: usize,
    /// Messaging associations.
    pub associations: usize,
    /// Deadlines that are set.
    pub timers: usize,
    /// Bytes of messages that wait for a peer.
    pub waiting_bytes: usize,
    /// Counters by name, in a fixed order.
    pub counters: Vec<(&'static str, u64)>,
}

impl GistStats {
    /// A counter by its name; 0 if there is none.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        self.counters.iter().find(|(n, _)| *n == name).map_or(0, |(_, count)| *count)
    }
}

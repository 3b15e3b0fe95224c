//! What an operator may set.

use std::time::Duration;

use crate::signaling::io::PeerKey;
use crate::wire::gist::object::PeerIdentity;

/// The source address of Queries (RFC 5971, section 5.8.1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuerySource {
    /// Always this node's own, S-flag set: needs no rights, and passes filters against spoofed sources.
    #[default]
    Own,
    /// The flow's source for the first Query, S-flag clear, so that it is routed as the flow is; retransmissions
    /// alternate with this node's own.
    Flow,
}

/// One entry of the authorised peer database (RFC 5971, section 4.4.2): the first that fits decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRule {
    /// The peer's key; `None` fits every key.
    pub key: Option<PeerKey>,
    /// Whether TLS associations with it are allowed.
    pub allow: bool,
}

/// How a [`Gist`](crate::signaling::gist::Gist) behaves.
#[derive(Clone, Debug)]
pub struct GistConfig {
    /// What this node calls itself.
    pub identity: PeerIdentity,
    /// Seeds cookies and jitter. Must be secret, and new for each run.
    pub secret: [u8; 32],
    /// First wait for a Response (RFC 5971, section 5.3.3).
    pub t1: Duration,
    /// Longest wait for a Response.
    pub t2: Duration,
    /// Routing state validity time (RFC 5971, section 4.4.4).
    pub validity: Duration,
    /// How long this node keeps a silent association (RFC 5971, section 4.4.5).
    pub hold_time: Duration,
    /// How long a session that no application uses is refreshed, until `SetStateLifetime` says otherwise.
    pub inactivity: Duration,
    /// The port for TCP associations on which the driver listens.
    pub tcp_port: Option<u16>,
    /// The port for TLS associations on which the driver listens.
    pub tls_port: Option<u16>,
    /// Whether Queries may propose plain TCP.
    pub propose_tcp: bool,
    /// Whether Queries may propose TLS.
    pub propose_tls: bool,
    /// Source address of Queries.
    pub query_source: QuerySource,
    /// Authorised peer database for TLS. A key that no rule fits is refused.
    pub peers: Vec<PeerRule>,
    /// Router alert values for IPv4 and IPv6, instead of those of the applications.
    pub router_alert: Option<(u16, u16)>,
    /// GIST hop count of Queries.
    pub query_hops: u8,
    /// IP TTL of Queries downstream.
    pub query_ttl: u8,
    /// Whether messages against the flow may start a search of their own (RFC 5971, section 5.8.1.3).
    pub query_upstream: bool,
    /// Keep no state for a Query (delayed installation); otherwise only under load.
    pub delayed_installation: bool,
    /// Whether a wrong responder cookie is answered by an error. For debugging: others can provoke it.
    pub report_invalid_cookies: bool,
    /// Own D-mode output on average: at most 5 % of the slowest interface (RFC 5971, section 5.3.3).
    pub d_mode_bytes_per_second: u64,
    /// Own D-mode output at once.
    pub d_mode_burst_bytes: u64,
    /// Packets per second that are looked at when taken out of the data plane.
    pub intercepts_per_second: u64,
    /// Queries per second of peers that are not known yet.
    pub queries_per_second: u64,
    /// Error messages per second.
    pub errors_per_second: u64,
}

impl Default for GistConfig {
    fn default() -> Self {
        GistConfig {
            identity: PeerIdentity::default(),
            secret: [0; 32],
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(32),
            validity: Duration::from_secs(30),
            hold_time: Duration::from_secs(30),
            inactivity: Duration::from_secs(120),
            tcp_port: None,
            tls_port: None,
            propose_tcp: true,
            propose_tls: true,
            query_source: QuerySource::Own,
            peers: vec![PeerRule { key: None, allow: true }],
            router_alert: None,
            query_hops: 32,
            query_ttl: 64,
            query_upstream: true,
            delayed_installation: false,
            report_invalid_cookies: false,
            d_mode_bytes_per_second: 2_500_000,
            d_mode_burst_bytes: 2_500_000,
            intercepts_per_second: 20_000,
            queries_per_second: 2_000,
            errors_per_second: 200,
        }
    }
}

impl GistConfig {
    /// Whether the authorised peer database lets this key in.
    pub(super) fn allows(&self, key: Option<PeerKey>) -> bool {
        self.peers.iter().find(|r| r.key.is_none() || r.key == key).is_some_and(|r| r.allow)
    }
}

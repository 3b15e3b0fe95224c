//! A node's state as data: what `netserv status`, `netserv top` and the control socket show.

use serde::{Deserialize, Serialize};

use crate::base::stats::LinkStats;
use crate::base::time::Instant;
use crate::node::{InstanceState, InstanceView, LinkConfig, LinkKind, Node, Usage};

/// Filters of an instance that are shown; it may have thousands.
pub const FILTERS_SHOWN_MAX: usize = 64;

/// A node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Seconds since the node started.
    pub uptime_s: f64,
    /// Its links, in the order of their ids.
    pub links: Vec<LinkStatus>,
    /// Dropped packets by the name of the reason.
    pub drops: Vec<Count>,
    /// The flow cache.
    pub flows: FlowStatus,
    /// The instances, in the order in which they were loaded.
    pub instances: Vec<InstanceStatus>,
    /// What was put into the kernel.
    pub steering: SteeringStatus,
    /// How it takes part in signalling, if it does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signaling: Option<SignalStatus>,
}

/// How a node takes part in signalling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalStatus {
    /// The node's id.
    pub node: String,
    /// Its name for people.
    pub name: String,
    /// What is counted, by name.
    pub counters: Vec<Count>,
    /// What others had installed here.
    pub instances: Vec<SignalledStatus>,
}

/// An instance that somebody had installed by signalling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalledStatus {
    /// What it is called here.
    pub name: String,
    /// Who asked for it: the name in the trust file.
    pub requester: String,
    /// The module.
    pub module: String,
    /// Its version; empty while it is not known.
    pub version: String,
    /// SHA-256 of the package.
    pub digest: String,
    /// Bytes of the package.
    pub package_bytes: u64,
    /// Seconds left to live.
    pub expires_in_s: u64,
    /// `queued`, `fetching`, `starting` or `running`.
    pub state: String,
}

/// What was put into the kernel so that it hands over the chosen traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteeringStatus {
    /// Policy rules.
    pub rules: usize,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Why nothing is steered although it should be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// A number with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The name.
    pub name: String,
    /// The number.
    pub count: u64,
}

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The interface's name.
    pub name: String,
    /// `tun`, `inline` or `tap`.
    pub kind: String,
    /// Packets taken in; a super-packet counts as its segments.
    pub packets_in: u64,
    /// Bytes taken in.
    pub bytes_in: u64,
    /// Reads.
    pub reads: u64,
    /// Packets passed on or sent.
    pub packets_out: u64,
    /// Bytes passed on or sent.
    pub bytes_out: u64,
    /// Frames without an IP packet.
    pub not_ip: u64,
    /// What the driver counts, by name.
    pub driver: Vec<Count>,
}

/// The flow cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStatus {
    /// Flows in it.
    pub count: usize,
    /// Most flows that it holds.
    pub max: usize,
    /// Flows that were pushed out because it was full.
    pub pushed_out: u64,
}

/// A module instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// What it is called.
    pub name: String,
    /// The module's name.
    pub module: String,
    /// The module's version.
    pub version: String,
    /// `running`, `waiting` (for its restart) or `failed`.
    pub state: String,
    /// Seconds since it is in this state.
    pub state_s: f64,
    /// Seconds until it is started again; only while it is waiting.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub restart_in_s: Option<f64>,
    /// What it did wrong last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_fault: Option<String>,
    /// Faults by the name of the limit; errors under `error`.
    pub faults: Vec<Count>,
    /// How often it was started again.
    pub restarts: u32,
    /// Its filters, as text; at most [`FILTERS_SHOWN_MAX`].
    pub filters: Vec<String>,
    /// How many filters it has.
    pub filter_count: usize,
    /// Packets that its handler saw.
    pub packets_seen: u64,
    /// Packets that native rules answered for.
    pub packets_native: u64,
    /// Its own counters.
    pub counters: Vec<Count>,
    /// Memory of its VM, in bytes.
    pub memory_bytes: u64,
    /// For whom it runs: `owner`, or a requester.
    pub requester: String,
    /// It waits until it may use the CPU again.
    pub is_waiting: bool,
    /// Packets that it did not see while it waited.
    pub packets_unseen: u64,
    /// Flows that it looks at.
    pub flows: u32,
    /// How often it reached which of its limits.
    pub limit_hits: Vec<Count>,
    /// What it has used since it was loaded.
    pub usage: Usage,
    /// Most of one core that it may use over time, in percent.
    pub cpu_share_percent_max: u32,
    /// Most memory that it may use, in bytes.
    pub memory_bytes_max: u64,
    /// Most CPU time of one call, in ms.
    pub cpu_ms_per_call_max: u64,
    /// Most timers at once.
    pub timers_max: u32,
}

impl Status {
    /// The status of `node` at `now`.
    #[must_use]
    pub fn of(node: &Node, now: Instant) -> Status {
        let (count, pushed_out) = node.flow_counts();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: now.as_secs_f64(),
            links: node.links().map(|(config, stats)| link(config, &stats)).collect(),
            drops: node.drops().iter().map(|(reason, count)| named(reason.name(), count)).collect(),
            flows: FlowStatus { count, max: node.flows_max() as usize, pushed_out },
            instances: node.instances().into_iter().map(|view| instance(view, now)).collect(),
            steering: SteeringStatus::default(),
            signaling: signaling(node, now),
        }
    }

    /// All packets taken in.
    #[must_use]
    pub fn packets_in(&self) -> u64 {
        self.links.iter().map(|link| link.packets_in).sum()
    }
}

fn signaling(node: &Node, now: Instant) -> Option<SignalStatus> {
    let (id, name) = node.signal_identity()?;
    let instances = node.controller().map(|controller| controller.signalled(now)).unwrap_or_default();
    Some(SignalStatus {
        node: id.to_string(),
        name: name.to_owned(),
        counters: node.signal_counters().into_iter().map(|(name, count)| named(name, count)).collect(),
        instances: instances
            .into_iter()
            .map(|view| SignalledStatus {
                name: view.name,
                requester: view.requester,
                module: view.module,
                version: view.version,
                digest: view.digest,
                package_bytes: view.package_bytes,
                expires_in_s: view.expires_in.as_secs(),
                state: view.state.to_owned(),
            })
            .collect(),
    })
}

fn named(name: &str, count: u64) -> Count {
    Count { name: name.to_owned(), count }
}

fn link(config: &LinkConfig, stats: &LinkStats) -> LinkStatus {
    let kind = match config.kind {
        LinkKind::Tun => "tun",
        LinkKind::Inline { .. } => "inline",
        LinkKind::Tap => "tap",
    };
    LinkStatus {
        name: config.name.clone(),
        kind: kind.to_owned(),
        packets_in: stats.packets_in,
        bytes_in: stats.bytes_in,
        reads: stats.reads,
        packets_out: stats.packets_out,
        bytes_out: stats.bytes_out,
        not_ip: stats.not_ip,
        driver: Vec::new(),
    }
}

fn instance(view: InstanceView, now: Instant) -> InstanceStatus {
    let (state, restart_in_s) = match view.state {
        InstanceState::Running => ("running", None),
        InstanceState::Waiting { restart_at } => ("waiting", Some(restart_at.since(now).as_secs_f64())),
        InstanceState::Failed => ("failed", None),
        InstanceState::Draining { .. } => ("draining", None),
    };
    let counts = |list: Vec<(String, u64)>| list.into_iter().map(|(name, count)| Count { name, count }).collect();
    InstanceStatus {
        name: view.name,
        module: view.module,
        version: view.version,
        state: state.to_owned(),
        state_s: now.since(view.since).as_secs_f64(),
        restart_in_s,
        last_fault: view.last_fault,
        faults: counts(view.faults),
        restarts: view.restarts,
        filters: view.filters.iter().take(FILTERS_SHOWN_MAX).map(ToString::to_string).collect(),
        filter_count: view.filters.len(),
        packets_seen: view.packets_seen,
        packets_native: view.packets_native,
        counters: counts(view.counters),
        memory_bytes: view.memory_bytes,
        requester: view.requester,
        is_waiting: view.is_waiting,
        packets_unseen: view.packets_unseen,
        flows: view.flows,
        limit_hits: counts(view.limit_hits),
        usage: view.usage,
        cpu_share_percent_max: view.limits.cpu_share_percent,
        memory_bytes_max: view.limits.memory_bytes,
        cpu_ms_per_call_max: view.limits.cpu_ms_per_call,
        timers_max: view.limits.timers,
    }
}

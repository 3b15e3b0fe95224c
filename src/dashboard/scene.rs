//! What the live page shows, as data: a [`Scene`] is what stays, a [`Moment`] is what happened since the one before.
//!
//! A demo and a running node tell the page the same things, and so does a recorded file. Times are seconds of the
//! scene's own clock: virtual ones in a demo, those since its start for a node. Numbers of machines and links are
//! their places in the scene's lists.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What stays as it is while one looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scene {
    /// A few words.
    pub title: String,
    /// One or two sentences: what one sees, and what it proves.
    pub summary: String,
    /// Where it is played.
    pub stage: Stage,
    /// The machines; for a running node itself first, then its neighbours.
    pub machines: Vec<Machine>,
    /// What joins them.
    pub links: Vec<Link>,
    /// The steps of a demo in the order of their times; none for a running node.
    pub steps: Vec<Step>,
    /// What is measured.
    pub charts: Vec<Chart>,
    /// When it ends, in seconds; `None` if it does not end by itself.
    pub duration_s: Option<f64>,
}

/// Where a scene is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// In the simulator: it can be paused, hurried, and begun again.
    #[default]
    Simulated,
    /// On real machines.
    Live,
}

/// What a machine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineKind {
    /// Forwards, and runs modules.
    #[default]
    Node,
    /// Forwards, and knows nothing of NetServ.
    Router,
    /// Does not forward; runs applications.
    Host,
    /// Translates addresses.
    Nat,
}

/// Where a machine stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Place {
    /// What the place is called.
    pub name: String,
    /// Degrees, north is positive.
    pub latitude: f64,
    /// Degrees, east is positive.
    pub longitude: f64,
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: MachineKind,
    /// Where it stands, if that is known.
    pub place: Option<Place>,
    /// Its autonomous system.
    pub as_number: Option<u32>,
    /// Its addresses as text.
    pub addresses: Vec<String>,
}

/// A link between two machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Link {
    /// The machines at its ends.
    pub ends: [usize; 2],
    /// One way, in ms, if known.
    pub delay_ms: Option<f64>,
    /// Bits per second each way, if bounded.
    pub rate_bps: Option<u64>,
}

/// A step of a demo.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Step {
    /// When it begins, in seconds.
    pub at_s: f64,
    /// A few words.
    pub title: String,
    /// One or two sentences: what happens now, and where to look.
    pub caption: String,
}

/// A chart over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Chart {
    /// A few words.
    pub title: String,
    /// Of its values, for example "requests/s".
    pub unit: String,
    /// The names of its lines.
    pub series: Vec<String>,
}

/// What happened since the moment before. What is not named stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Moment {
    /// The end of the time that it tells of, in seconds.
    pub at_s: f64,
    /// The step that this time belongs to.
    pub step: Option<usize>,
    /// Loads that changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loads: Vec<Load>,
    /// Messages of signalling that set out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// Instances that came, changed or went.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<InstanceChange>,
    /// Flows that are new, changed their way or ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<FlowChange>,
    /// Machines and links that went down or came up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<StateChange>,
    /// For the list of what happened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Values for the charts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Sample>,
    /// What there is to know of single machines, where it changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
}

/// How busy a link is in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Load {
    /// Which link.
    pub link: usize,
    /// The machine from which the packets come.
    pub from: usize,
    /// Bits per second.
    pub bps: u64,
    /// Packets per second.
    pub pps: u64,
    /// Packets lost since the moment before.
    pub lost: u64,
}

/// Which protocol a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// GIST itself: discovery, associations (RFC 5971).
    Gist,
    /// The NetServ application: what sets up and removes modules.
    Netserv,
}

/// A message on one link.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    /// Whose.
    pub layer: Layer,
    /// What it is called: "Query", "Response", "SETUP", "answer: installed".
    pub label: String,
    /// The link.
    pub link: usize,
    /// The machine that it leaves.
    pub from: usize,
    /// When it leaves, in seconds.
    pub left_s: f64,
    /// When it arrives, in seconds; `None` if it is lost.
    pub arrives_s: Option<f64>,
}

/// How an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// It runs.
    Running,
    /// It failed and waits to be started again.
    Failed,
    /// It is no more.
    Gone,
}

/// An instance that came, changed or went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceChange {
    /// Where.
    pub machine: usize,
    /// What it is called.
    pub instance: String,
    /// Its module.
    pub module: String,
    /// How it is now.
    pub state: InstanceState,
    /// It came by signalling, not with the machine.
    pub signalled: bool,
}

/// A flow, or several of the same kind, on its way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowChange {
    /// The same as long as it lives.
    pub flow: u64,
    /// What it is, for example "HTTP boston-1 > web". Flows of one label have one colour.
    pub label: String,
    /// The machines on its way; empty when it ended.
    pub path: Vec<usize>,
}

/// A machine or a link that went down or came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StateChange {
    /// A machine.
    Machine {
        /// Which.
        machine: usize,
        /// It works.
        is_up: bool,
    },
    /// A link.
    Link {
        /// Which.
        link: usize,
        /// It works.
        is_up: bool,
    },
}

/// What somebody may want to read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Note {
    /// When, in seconds.
    pub at_s: f64,
    /// Where.
    pub machine: Option<usize>,
    /// How much it matters: "info", "warning" or "error".
    pub level: &'static str,
    /// One sentence.
    pub text: String,
}

/// A value for a chart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Which chart.
    pub chart: usize,
    /// Which of its lines.
    pub series: usize,
    /// When, in seconds.
    pub at_s: f64,
    /// What was measured.
    pub value: f64,
}

/// What there is to know of one machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detail {
    /// Which.
    pub machine: usize,
    /// Its status, in the form of `netserv status --json`; `null` for a machine without a node.
    pub status: Value,
    /// The last lines that its modules wrote, the latest last.
    pub log: Vec<String>,
}

/// How a scene is being played.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Playback {
    /// Its time goes on.
    pub is_running: bool,
    /// Seconds of the scene per second; 0 = as fast as it can.
    pub speed: f64,
    /// It is over.
    pub has_ended: bool,
    /// What came out, once that is known.
    pub results: Vec<Figure>,
}

/// A figure that came out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The value with its unit.
    pub value: String,
}

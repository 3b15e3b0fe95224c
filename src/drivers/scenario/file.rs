//! `demo.toml`: what a scenario consists of, as it is written. Names are looked up later.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::dashboard::scene::MachineKind;

/// A scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScenarioFile {
    /// A few words.
    pub(super) title: String,
    /// What one sees, and what it proves.
    pub(super) summary: String,
    /// For everything random.
    #[serde(default = "one")]
    pub(super) seed: u64,
    /// When it ends, in virtual seconds.
    pub(super) duration_s: f64,
    /// Virtual seconds per second before a person.
    #[serde(default = "normal_speed")]
    pub(super) speed: f64,
    #[serde(default)]
    pub(super) defaults: Defaults,
    #[serde(default)]
    pub(super) places: BTreeMap<String, PlaceEntry>,
    pub(super) machine: Vec<MachineEntry>,
    #[serde(default)]
    pub(super) link: Vec<LinkEntry>,
    #[serde(default)]
    pub(super) app: Vec<AppEntry>,
    #[serde(default)]
    pub(super) step: Vec<StepEntry>,
    #[serde(default)]
    pub(super) chart: Vec<ChartEntry>,
    #[serde(default)]
    pub(super) figure: Vec<FigureEntry>,
}

fn one() -> u64 {
    1
}

fn normal_speed() -> f64 {
    1.0
}

/// What a machine or link has if it does not say otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Defaults {
    #[serde(default)]
    pub(super) link: LinkEntry,
    #[serde(default)]
    pub(super) node: NodeDefaults,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeDefaults {
    /// Whom its owner allows what: entries of a trust file, with `machine` in place of `name` and `key`.
    #[serde(default)]
    pub(super) trusts: Vec<toml::Table>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaceEntry {
    pub(super) name: String,
    pub(super) latitude: f64,
    pub(super) longitude: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MachineEntry {
    pub(super) name: String,
    pub(super) kind: MachineKind,
    pub(super) place: Option<String>,
    #[serde(rename = "as")]
    pub(super) as_number: Option<u32>,
    /// For a node; the default of all nodes if not given.
    pub(super) trusts: Option<Vec<toml::Table>>,
    /// For a NAT box.
    pub(super) nat: Option<NatEntry>,
}

/// How a NAT box behaves (RFC 4787).
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NatEntry {
    pub(super) mapping: Option<NatBehaviour>,
    pub(super) filtering: Option<NatBehaviour>,
    /// For UDP.
    pub(super) timeout_s: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NatBehaviour {
    EndpointIndependent,
    AddressDependent,
    AddressAndPortDependent,
}

/// A link, and how it carries packets each way.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkEntry {
    /// The machines that it joins; none in the defaults.
    pub(super) ends: Option<[String; 2]>,
    /// One way.
    pub(super) delay_ms: Option<f64>,
    /// Megabits per second.
    pub(super) rate_mbps: Option<f64>,
    /// What waits at most.
    pub(super) queue_kb: Option<u64>,
    /// Held back by up to this long, each packet by another time.
    pub(super) jitter_ms: Option<f64>,
    pub(super) loss_percent: Option<f64>,
    pub(super) duplicate_percent: Option<f64>,
    pub(super) reorder_percent: Option<f64>,
    pub(super) corrupt_percent: Option<f64>,
}

/// A module that runs on machines from the beginning, or from a step on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppEntry {
    pub(super) machine: Option<String>,
    #[serde(default)]
    pub(super) machines: Vec<String>,
    /// Its folder: in the scenario's, or among the modules of the program.
    pub(super) module: String,
    /// A text `@NAME` stands for that machine's address.
    #[serde(default)]
    pub(super) properties: toml::Table,
    /// Put among its files: under which name the package of which module.
    #[serde(default)]
    pub(super) files: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepEntry {
    pub(super) at_s: f64,
    pub(super) title: String,
    pub(super) caption: String,
    /// What the world does at its beginning.
    #[serde(default, rename = "do")]
    pub(super) deeds: Vec<Deed>,
}

/// Something that befalls the world, or is done by people.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Deed {
    /// The machine loses all but what it stored.
    Crash(String),
    Restart(String),
    LinkDown([String; 2]),
    LinkUp([String; 2]),
    /// The link is from now on so; what is not given is as it was.
    Link(LinkEntry),
    Load(AppEntry),
    /// An instance, by machine and name.
    Unload {
        machine: String,
        instance: String,
    },
    /// A machine's wall clock is set forward.
    ClockJump {
        machine: String,
        seconds: f64,
    },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChartEntry {
    pub(super) title: String,
    pub(super) unit: String,
    pub(super) series: Vec<SeriesEntry>,
}

/// A line of a chart: one of `instances_of`, `count_of`, `rate_of` and `load_of`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeriesEntry {
    pub(super) name: String,
    /// How many instances of this module run.
    pub(super) instances_of: Option<String>,
    /// The sum of the counter of this name.
    pub(super) count_of: Option<String>,
    /// The same per second.
    pub(super) rate_of: Option<String>,
    /// Megabits per second on a link, from the first end to the second.
    pub(super) load_of: Option<[String; 2]>,
    /// On which machines; all if not given.
    #[serde(default)]
    pub(super) machines: Vec<String>,
}

/// A line of the result: values of `series` at a time, or the sums of counters at the end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FigureEntry {
    pub(super) name: String,
    pub(super) at_s: Option<f64>,
    /// "CHART/SERIES".
    #[serde(default)]
    pub(super) series: Vec<String>,
    #[serde(default)]
    pub(super) total_of: Vec<String>,
}

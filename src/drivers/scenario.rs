//! Scenarios: a world, what happens in it, and what is measured, as `demo.toml` says. A demo is a scenario that is part
//! of the program.

mod build;
mod details;
mod file;
mod measure;
mod player;
mod source;

use std::collections::BTreeMap;
use std::fmt::Display;

pub use measure::Measured;
pub use player::{OrderedEvent, Player};
pub use source::{SCENARIO_PATH, ScenarioSource, SourceError, names};

use crate::base::limits::{SCENARIO_MACHINES_MAX, SCENARIO_SECONDS_MAX};
use crate::dashboard::scene::{self, MachineKind, Scene, Stage};
use crate::drivers::scenario::file::{AppEntry, Deed, LinkEntry, ScenarioFile, SeriesEntry};

/// What is wrong with a scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Its files.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// `demo.toml` cannot be read as what it should be.
    #[error("{name}/{SCENARIO_PATH}: {error}")]
    Toml {
        /// The scenario.
        name: String,
        /// What the parser says, with line and column.
        error: String,
    },
    /// Something in `demo.toml` cannot be.
    #[error("{name}/{SCENARIO_PATH}: {what} {problem}")]
    Wrong {
        /// The scenario.
        name: String,
        /// Which entry.
        what: String,
        /// What is wrong with it, and what to write instead.
        problem: String,
    },
}

/// A scenario that was read and checked.
pub struct Scenario {
    source: ScenarioSource,
    file: ScenarioFile,
    /// The machines by name.
    index: BTreeMap<String, usize>,
}

impl Scenario {
    /// Reads and checks `demo.toml`, and all modules that it names.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(source: ScenarioSource) -> Result<Scenario, ScenarioError> {
        let file: ScenarioFile = toml::from_str(&source.text())
            .map_err(|error| ScenarioError::Toml { name: source.name.clone(), error: error.to_string() })?;
        let index = file.machine.iter().enumerate().map(|(at, machine)| (machine.name.clone(), at)).collect();
        let scenario = Scenario { source, file, index };
        scenario.check()?;
        Ok(scenario)
    }

    /// The number of a machine.
    fn machine(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The numbers of machines whose names were checked.
    fn machines(&self, names: &[String]) -> Vec<usize> {
        names.iter().filter_map(|name| self.machine(name)).collect()
    }

    /// The number of the link between two machines.
    fn link(&self, ends: &[String; 2]) -> Option<usize> {
        let joins = |link: &LinkEntry| {
            link.ends.as_ref().is_some_and(|[a, b]| (a, b) == (&ends[0], &ends[1]) || (a, b) == (&ends[1], &ends[0]))
        };
        self.file.link.iter().position(joins)
    }

    /// What stays while one looks at it.
    #[must_use]
    pub fn scene(&self) -> Scene {
        let file = &self.file;
        Scene {
            title: file.title.clone(),
            summary: file.summary.trim().to_owned(),
            stage: Stage::Simulated,
            machines: file.machine.iter().map(|entry| self.scene_machine(entry)).collect(),
            links: file.link.iter().filter_map(|entry| self.scene_link(entry)).collect(),
            steps: file.step.iter().map(scene_step).collect(),
            charts: file.chart.iter().map(scene_chart).collect(),
            duration_s: Some(file.duration_s),
        }
    }

    fn scene_machine(&self, entry: &file::MachineEntry) -> scene::Machine {
        let place = entry.place.as_ref().and_then(|place| self.file.places.get(place));
        let place = place.map(|place| scene::Place {
            name: place.name.clone(),
            latitude: place.latitude,
            longitude: place.longitude,
        });
        let (name, as_number) = (entry.name.clone(), entry.as_number);
        scene::Machine { name, kind: entry.kind, place, as_number, addresses: Vec::new() }
    }

    fn scene_link(&self, entry: &LinkEntry) -> Option<scene::Link> {
        let [a, b] = entry.ends.as_ref()?;
        let defaults = &self.file.defaults.link;
        let rate = entry.rate_mbps.or(defaults.rate_mbps);
        Some(scene::Link {
            ends: [self.machine(a)?, self.machine(b)?],
            delay_ms: entry.delay_ms.or(defaults.delay_ms),
            rate_bps: rate.map(|mbps| (mbps * 1e6) as u64),
        })
    }

    fn wrong(&self, what: impl Display, problem: impl Display) -> ScenarioError {
        ScenarioError::Wrong { name: self.source.name.clone(), what: what.to_string(), problem: problem.to_string() }
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let file = &self.file;
        if !(file.duration_s > 0.0 && file.duration_s <= SCENARIO_SECONDS_MAX) {
            return Err(self.wrong("duration_s", format!("is more than 0 and at most {SCENARIO_SECONDS_MAX}")));
        }
        if !(file.speed > 0.0 && file.speed <= 1_000.0) {
            return Err(self.wrong("speed", "is more than 0 and at most 1000"));
        }
        if file.machine.is_empty() || file.machine.len() > SCENARIO_MACHINES_MAX {
            return Err(self.wrong("machine", format!("has 1 to {SCENARIO_MACHINES_MAX} entries")));
        }
        self.check_machines()?;
        for (at, link) in file.link.iter().enumerate() {
            self.check_link(at, link)?;
        }
        for app in &file.app {
            self.check_app(app)?;
        }
        self.check_steps()?;
        self.check_measured()
    }

    fn check_machines(&self) -> Result<(), ScenarioError> {
        let mut names = BTreeMap::new();
        for entry in &self.file.machine {
            let what = format!("machine {}:", entry.name);
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if entry.name.is_empty() || entry.name.len() > 63 || !entry.name.chars().all(fits) {
                return Err(self.wrong(what, "a name has 1 to 63 lower case letters, digits and -"));
            }
            if names.insert(&entry.name, ()).is_some() {
                return Err(self.wrong(what, "there are two of this name"));
            }
            if let Some(place) = &entry.place
                && !self.file.places.contains_key(place)
            {
                return Err(self.wrong(what, format!("[places] has no \"{place}\"")));
            }
            if entry.nat.is_some() && entry.kind != MachineKind::Nat {
                return Err(self.wrong(what, "only a machine of kind \"nat\" has a key nat"));
            }
            for trusted in entry.trusts.iter().flatten().chain(&self.file.defaults.node.trusts) {
                let machine = trusted.get("machine").and_then(toml::Value::as_str).unwrap_or_default();
                self.known(&what, machine)?;
            }
        }
        Ok(())
    }

    fn known(&self, what: impl Display, machine: &str) -> Result<usize, ScenarioError> {
        self.machine(machine).ok_or_else(|| self.wrong(what, format!("no machine is called \"{machine}\"")))
    }

    fn check_link(&self, at: usize, link: &LinkEntry) -> Result<(), ScenarioError> {
        let Some(ends) = &link.ends else { return Err(self.wrong(format!("link {at}:"), "needs its two ends")) };
        let what = format!("link {} - {}:", ends[0], ends[1]);
        let numbers = [self.known(&what, &ends[0])?, self.known(&what, &ends[1])?];
        if numbers[0] == numbers[1] || self.link(ends) != Some(at) {
            return Err(self.wrong(what, "joins two machines, and each pair once"));
        }
        self.check_numbers(what, link)
    }

    fn check_numbers(&self, what: String, link: &LinkEntry) -> Result<(), ScenarioError> {
        let percents = [link.loss_percent, link.duplicate_percent, link.reorder_percent, link.corrupt_percent];
        if percents.into_iter().flatten().any(|percent| !(0.0..=100.0).contains(&percent)) {
            return Err(self.wrong(what, "percentages are 0 to 100"));
        }
        let times = [link.delay_ms, link.jitter_ms];
        if times.into_iter().flatten().any(|ms| !(0.0..=60_000.0).contains(&ms)) {
            return Err(self.wrong(what, "delay_ms and jitter_ms are 0 to 60000"));
        }
        if link.rate_mbps.is_some_and(|mbps| !(0.001..=1_000_000.0).contains(&mbps)) {
            return Err(self.wrong(what, "rate_mbps is 0.001 to 1000000"));
        }
        Ok(())
    }

    fn check_app(&self, app: &AppEntry) -> Result<(), ScenarioError> {
        let what = format!("app {}:", app.module);
        let machines = app.machine.iter().chain(&app.machines);
        if machines.clone().next().is_none() {
            return Err(self.wrong(what, "needs a machine"));
        }
        for machine in machines {
            let kind = self.file.machine[self.known(&what, machine)?].kind;
            if !matches!(kind, MachineKind::Node | MachineKind::Host) {
                return Err(self.wrong(&what, format!("{machine} runs no modules: it is neither a node nor a host")));
            }
        }
        self.source.module(&app.module)?;
        for package in app.files.values() {
            self.source.module_source(package)?;
        }
        Ok(())
    }

    fn check_steps(&self) -> Result<(), ScenarioError> {
        let mut last = 0.0;
        for step in &self.file.step {
            let what = format!("step \"{}\":", step.title);
            if !(step.at_s >= last && step.at_s <= self.file.duration_s) {
                return Err(self.wrong(what, "steps stand in the order of at_s, within duration_s"));
            }
            last = step.at_s;
            for deed in &step.deeds {
                self.check_deed(&what, deed)?;
            }
        }
        Ok(())
    }

    fn check_deed(&self, what: &str, deed: &Deed) -> Result<(), ScenarioError> {
        let joined = |ends: &[String; 2]| {
            let link = self.link(ends);
            link.ok_or_else(|| self.wrong(what, format!("no link joins {} and {}", ends[0], ends[1])))
        };
        match deed {
            Deed::Crash(machine) | Deed::Restart(machine) => drop(self.known(what, machine)?),
            Deed::LinkDown(ends) | Deed::LinkUp(ends) => drop(joined(ends)?),
            Deed::Link(link) => {
                joined(link.ends.as_ref().ok_or_else(|| self.wrong(what, "a link needs its two ends"))?)?;
                self.check_numbers(what.to_owned(), link)?;
            }
            Deed::Load(app) => self.check_app(app)?,
            Deed::Unload { machine, .. } | Deed::ClockJump { machine, .. } => drop(self.known(what, machine)?),
        }
        Ok(())
    }

    fn check_measured(&self) -> Result<(), ScenarioError> {
        for chart in &self.file.chart {
            for series in &chart.series {
                self.check_series(&format!("chart \"{}\", series \"{}\":", chart.title, series.name), series)?;
            }
        }
        for figure in &self.file.figure {
            let what = format!("figure \"{}\":", figure.name);
            if figure.series.is_empty() == figure.total_of.is_empty() {
                return Err(self.wrong(what, "has either series, with at_s, or total_of"));
            }
            if figure.at_s.is_some_and(|at| !(0.0..=self.file.duration_s).contains(&at)) {
                return Err(self.wrong(what, "at_s is 0 to duration_s"));
            }
            if let Some(unknown) = figure.series.iter().find(|name| self.series(name).is_none()) {
                return Err(
                    self.wrong(what, format!("no chart and series are called \"{unknown}\"; write CHART/SERIES"))
                );
            }
        }
        Ok(())
    }

    fn check_series(&self, what: &str, series: &SeriesEntry) -> Result<(), ScenarioError> {
        let kinds = [series.instances_of.is_some(), series.count_of.is_some(), series.rate_of.is_some()];
        let count = kinds.into_iter().filter(|is| *is).count() + usize::from(series.load_of.is_some());
        if count != 1 {
            return Err(self.wrong(what, "has one of instances_of, count_of, rate_of and load_of"));
        }
        if let Some(ends) = &series.load_of
            && self.link(ends).is_none()
        {
            return Err(self.wrong(what, format!("no link joins {} and {}", ends[0], ends[1])));
        }
        series.machines.iter().try_for_each(|machine| self.known(what, machine).map(drop))
    }

    /// A series by "CHART/SERIES".
    fn series(&self, name: &str) -> Option<(usize, usize)> {
        let (chart, series) = name.split_once('/')?;
        let at = self.file.chart.iter().position(|entry| entry.title == chart)?;
        Some((at, self.file.chart[at].series.iter().position(|entry| entry.name == series)?))
    }

    /// Virtual seconds per second before a person.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.file.speed
    }
}

fn scene_step(entry: &file::StepEntry) -> scene::Step {
    scene::Step { at_s: entry.at_s, title: entry.title.clone(), caption: entry.caption.trim().to_owned() }
}

fn scene_chart(entry: &file::ChartEntry) -> scene::Chart {
    let series = entry.series.iter().map(|series| series.name.clone()).collect();
    scene::Chart { title: entry.title.clone(), unit: entry.unit.clone(), series }
}

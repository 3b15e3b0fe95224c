//! What is measured while a scenario runs: the lines of its charts, and the figures of its result.

use std::collections::VecDeque;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::dashboard::scene::Sample;
use crate::drivers::scenario::Scenario;
use crate::drivers::scenario::file::{FigureEntry, SeriesEntry};

/// Where the values come from: a simulated world, or a real one.
pub(in crate::drivers) trait Readings {
    /// How many instances of a module run on a machine.
    fn instances(&self, machine: usize, module: &str) -> u64;
    /// The sum of the counters of this name of all instances on a machine.
    fn counter(&self, machine: usize, name: &str) -> u64;
    /// Bytes that left a machine over a link so far.
    fn link_bytes(&self, link: usize, from: usize) -> u64;
}

/// A line of the result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// What it is.
    pub name: String,
    /// When it was measured; at the end if not given.
    pub at_s: Option<f64>,
    /// Its values, in the order in which the name tells them.
    pub values: Vec<f64>,
}

impl Display for Measured {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value())
    }
}

impl Measured {
    /// Its values for people.
    #[must_use]
    pub fn value(&self) -> String {
        let values: Vec<String> = self.values.iter().map(|value| number(*value)).collect();
        values.join(", ")
    }
}

/// At most one digit behind the point.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// A rate is that of the last so many samples: of two seconds.
const RATE_SAMPLES: usize = 4;

/// A line of a chart while it grows.
#[derive(Default)]
struct Line {
    /// The last counts, for those that are rates: when, and how many.
    counts: VecDeque<(f64, f64)>,
    points: Vec<(f64, f64)>,
}

/// All lines of all charts.
pub(in crate::drivers) struct Meter {
    charts: Vec<Vec<Line>>,
}

impl Meter {
    pub(in crate::drivers) fn new(scenario: &Scenario) -> Meter {
        let lines = |chart: &super::file::ChartEntry| chart.series.iter().map(|_| Line::default()).collect();
        Meter { charts: scenario.file.chart.iter().map(lines).collect() }
    }

    /// Measures everything at `at_s`.
    pub(in crate::drivers) fn sample(
        &mut self,
        scenario: &Scenario,
        at_s: f64,
        readings: &dyn Readings,
    ) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (chart, (entry, lines)) in scenario.file.chart.iter().zip(&mut self.charts).enumerate() {
            for (series, (entry, line)) in entry.series.iter().zip(lines).enumerate() {
                let value = line.next(at_s, reading(scenario, entry, readings), is_rate(entry));
                samples.push(Sample { chart, series, at_s, value });
            }
        }
        samples
    }

    /// The figures of the result that are known at `at_s`, of those that are not yet known after `after_s`.
    pub(in crate::drivers) fn figures(
        &self,
        scenario: &Scenario,
        readings: &dyn Readings,
        after_s: f64,
        at_s: f64,
    ) -> Vec<Measured> {
        let end = scenario.file.duration_s;
        let is_due = |entry: &&FigureEntry| {
            let due = entry.at_s.unwrap_or(end);
            due > after_s && due <= at_s
        };
        let due = scenario.file.figure.iter().filter(is_due);
        due.map(|entry| {
            let lines = entry.series.iter().filter_map(|name| scenario.series(name));
            let values = lines.map(|(chart, series)| self.charts[chart][series].at(entry.at_s.unwrap_or(end)));
            let machines = || 0..scenario.file.machine.len();
            let totals = entry.total_of.iter();
            let totals =
                totals.map(|name| machines().map(|machine| readings.counter(machine, name)).sum::<u64>() as f64);
            Measured { name: entry.name.clone(), at_s: entry.at_s, values: values.chain(totals).collect() }
        })
        .collect()
    }
}

impl Line {
    fn next(&mut self, at_s: f64, reading: f64, is_rate: bool) -> f64 {
        let value = match self.counts.front() {
            // What counts begins again when its instance or machine does.
            Some((before_s, before)) if is_rate && at_s > *before_s => (reading - before).max(0.0) / (at_s - before_s),
            _ if is_rate => 0.0,
            _ => reading,
        };
        if self.counts.len() >= RATE_SAMPLES {
            self.counts.pop_front();
        }
        self.counts.push_back((at_s, reading));
        self.points.push((at_s, value));
        value
    }

    /// The last value that was measured until `at_s`; 0 if there is none.
    fn at(&self, at_s: f64) -> f64 {
        let until = self.points.partition_point(|(time, _)| *time <= at_s + 1e-9);
        until.checked_sub(1).map_or(0.0, |last| self.points[last].1)
    }
}

fn is_rate(entry: &SeriesEntry) -> bool {
    entry.rate_of.is_some() || entry.load_of.is_some()
}

fn reading(scenario: &Scenario, entry: &SeriesEntry, readings: &dyn Readings) -> f64 {
    let named = scenario.machines(&entry.machines);
    let machines = if named.is_empty() { (0..scenario.file.machine.len()).collect() } else { named };
    if let Some(ends) = &entry.load_of {
        let (link, from) = (scenario.link(ends), scenario.machine(&ends[0]));
        let bytes = link.zip(from).map_or(0, |(link, from)| readings.link_bytes(link, from));
        return bytes as f64 * 8.0 / 1e6;
    }
    let sum: u64 = match (&entry.instances_of, entry.count_of.as_ref().or(entry.rate_of.as_ref())) {
        (Some(module), _) => machines.iter().map(|machine| readings.instances(*machine, module)).sum(),
        (None, Some(name)) => machines.iter().map(|machine| readings.counter(*machine, name)).sum(),
        (None, None) => 0,
    };
    sum as f64
}

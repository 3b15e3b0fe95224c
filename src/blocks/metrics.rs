//! Numbers that an instance shows to monitoring: gauges, counters, histograms, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::base::limits::{METRIC_BOUNDS_MAX, METRIC_TEXT_BYTES_MAX, METRICS_MAX};
use crate::base::text::is_plain_char;

/// What a metric is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only goes up.
    Counter,
    /// How many of what was observed are at most each bound; the bounds go up.
    Histogram(Vec<f64>),
}

#[derive(Clone, Debug)]
struct Metric {
    kind: Kind,
    help: String,
    /// By labels, as they are written.
    series: BTreeMap<String, Series>,
}

#[derive(Clone, Debug, Default)]
struct Series {
    /// The value; of a histogram the sum.
    value: f64,
    /// Of a histogram: how many were at most each bound, and how many there were.
    counts: Vec<u64>,
}

/// The metrics of one instance.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    metrics: BTreeMap<String, Metric>,
    /// Lines that they are shown as.
    series: usize,
}

impl Metrics {
    /// Makes a metric known.
    ///
    /// # Errors
    ///
    /// The sentence about a name that is none, a kind that it does not have, or too many.
    pub fn declare(&mut self, name: &str, kind: Kind, help: &str) -> Result<(), String> {
        if !is_name(name) || name.starts_with("__") {
            return Err(format!(
                "\"{}\" is no name of a metric; use letters, digits and \"_\", no digit first",
                shown(name)
            ));
        } else if name.starts_with("netserv_") {
            return Err(format!("\"{name}\" cannot be the name of a metric: those of the node begin with netserv_"));
        } else if help.len() > METRIC_TEXT_BYTES_MAX {
            return Err(format!("the help of {name} has {} bytes; {METRIC_TEXT_BYTES_MAX} may be", help.len()));
        }
        if let Kind::Histogram(bounds) = &kind {
            let rises = bounds.windows(2).all(|pair| pair[0] < pair[1]) && bounds.iter().all(|bound| bound.is_finite());
            if bounds.is_empty() || bounds.len() > METRIC_BOUNDS_MAX || !rises {
                return Err(format!("the bounds of {name} must be 1 to {METRIC_BOUNDS_MAX} numbers that go up"));
            }
        }
        match self.metrics.get(name) {
            Some(metric) if metric.kind == kind => Ok(()),
            Some(_) => Err(format!("the metric {name} is there already, and of another kind")),
            None if self.metrics.len() >= METRICS_MAX => Err(format!("limit metrics ({METRICS_MAX}) exceeded")),
            None => {
                let metric = Metric { kind, help: help.to_owned(), series: BTreeMap::new() };
                self.metrics.insert(name.to_owned(), metric);
                Ok(())
            }
        }
    }

    /// Sets, adds to, or observes a value, by what the metric is and `sets` says.
    ///
    /// # Errors
    ///
    /// The sentence about labels that are none, a value that cannot be, or too many sets of labels.
    pub fn change(
        &mut self,
        name: &str,
        labels: &BTreeMap<String, String>,
        value: f64,
        sets: bool,
    ) -> Result<(), String> {
        let metric = self.metrics.get_mut(name).ok_or_else(|| format!("there is no metric {}", shown(name)))?;
        if matches!(metric.kind, Kind::Counter) && (sets || value.is_nan() || value < 0.0) {
            return Err(format!("{name} is a counter: it can only go up"));
        }
        let labels = labels_text(labels)?;
        if !metric.series.contains_key(&labels) {
            let lines = metric.kind.lines();
            if self.series + lines > METRICS_MAX {
                return Err(format!(
                    "limit metrics ({METRICS_MAX}) exceeded: sets of labels count each, and of histograms each bound"
                ));
            }
            self.series += lines;
        }
        let series = metric.series.entry(labels).or_default();
        if let Kind::Histogram(bounds) = &metric.kind {
            series.counts.resize(bounds.len() + 1, 0);
            for (count, bound) in series.counts.iter_mut().zip(bounds) {
                *count += u64::from(value <= *bound);
            }
            series.counts[bounds.len()] += 1;
            series.value += value;
        } else if sets {
            series.value = value;
        } else {
            series.value += value;
        }
        Ok(())
    }

    /// The value of a gauge or counter; 0 when it was never set.
    #[must_use]
    pub fn value(&self, name: &str, labels: &BTreeMap<String, String>) -> f64 {
        let labels = labels_text(labels).unwrap_or_default();
        self.metrics.get(name).and_then(|metric| metric.series.get(&labels)).map_or(0.0, |series| series.value)
    }

    /// Whether nothing was declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty()
    }
}

/// All metrics of some instances in the text format of Prometheus 0.0.4, each with the label `instance`. What is called the
/// same in several instances stands together, as the format asks.
#[must_use]
pub fn exposition(instances: &[(&str, Metrics)]) -> String {
    let mut by_name: BTreeMap<&str, Vec<(&str, &Metric)>> = BTreeMap::new();
    for (instance, metrics) in instances {
        for (name, metric) in &metrics.metrics {
            by_name.entry(name).or_default().push((instance, metric));
        }
    }
    let mut out = String::new();
    for (name, metrics) in by_name {
        let first = metrics[0].1;
        let help = shown_as_line(&first.help).replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", first.kind.word());
        for (instance, metric) in metrics {
            // One name has one type; who came later with another is left out.
            if metric.kind.word() == first.kind.word() {
                metric.write(&mut out, name, instance);
            }
        }
    }
    out
}

impl Kind {
    /// Lines that a set of labels is shown as.
    fn lines(&self) -> usize {
        if let Kind::Histogram(bounds) = self { bounds.len() + 3 } else { 1 }
    }

    fn word(&self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram(_) => "histogram",
        }
    }
}

impl Metric {
    fn write(&self, out: &mut String, name: &str, instance: &str) {
        for (labels, series) in &self.series {
            let comma = if labels.is_empty() { "" } else { "," };
            let all = format!("instance=\"{instance}\"{comma}{labels}");
            if let Kind::Histogram(bounds) = &self.kind {
                for (bound, count) in bounds.iter().zip(&series.counts) {
                    let _ = writeln!(out, "{name}_bucket{{{all},le=\"{bound}\"}} {count}");
                }
                let count = series.counts.last().copied().unwrap_or(0);
                let _ = writeln!(out, "{name}_bucket{{{all},le=\"+Inf\"}} {count}");
                let _ = writeln!(out, "{name}_sum{{{all}}} {}", number(series.value));
                let _ = writeln!(out, "{name}_count{{{all}}} {count}");
            } else {
                let _ = writeln!(out, "{name}{{{all}}} {}", number(series.value));
            }
        }
    }
}

/// A number as the format writes it.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let first = name.chars().next();
    first.is_some_and(|c| !c.is_ascii_digit()) && name.len() <= METRIC_TEXT_BYTES_MAX && name.chars().all(plain)
}

/// The start of a text that is no name.
fn shown(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What monitoring shows goes to terminals, too. Ends of lines have a form of their own.
fn shown_as_line(text: &str) -> String {
    text.chars().map(|c| if c == '\n' || is_plain_char(c) { c } else { ' ' }).collect()
}

/// Labels as they are written.
fn labels_text(labels: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::new();
    for (name, value) in labels {
        if !is_name(name) || name.starts_with("__") || matches!(name.as_str(), "instance" | "le") {
            return Err(format!("\"{}\" cannot be the name of a label", shown(name)));
        }
        let value = shown_as_line(value).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let comma = if out.is_empty() { "" } else { "," };
        let _ = write!(out, "{comma}{name}=\"{value}\"");
        if out.len() > METRIC_TEXT_BYTES_MAX {
            return Err(format!("the labels take more than {METRIC_TEXT_BYTES_MAX} bytes"));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_text_is_that_of_the_format() {
        let mut metrics = Metrics::default();
        metrics.declare("calls", Kind::Gauge, "Calls that\ngo on.").unwrap();
        metrics.change("calls", &labels(&[("codec", "a\"b\\c\nd")]), 2.0, true).unwrap();
        metrics.change("calls", &labels(&[]), f64::INFINITY, true).unwrap();
        metrics.declare("wait_seconds", Kind::Histogram(vec![0.1, 1.0]), "Waits.").unwrap();
        for value in [0.05, 0.1, 0.5, 7.0] {
            metrics.change("wait_seconds", &labels(&[]), value, false).unwrap();
        }
        let mut other = Metrics::default();
        other.declare("calls", Kind::Gauge, "").unwrap();
        other.change("calls", &labels(&[]), -1.5, false).unwrap();
        let want = "# HELP calls Calls that\\ngo on.\n# TYPE calls gauge\n\
                    calls{instance=\"a\"} +Inf\n\
                    calls{instance=\"a\",codec=\"a\\\"b\\\\c\\nd\"} 2\n\
                    calls{instance=\"b\"} -1.5\n\
                    # HELP wait_seconds Waits.\n# TYPE wait_seconds histogram\n\
                    wait_seconds_bucket{instance=\"a\",le=\"0.1\"} 2\n\
                    wait_seconds_bucket{instance=\"a\",le=\"1\"} 3\n\
                    wait_seconds_bucket{instance=\"a\",le=\"+Inf\"} 4\n\
                    wait_seconds_sum{instance=\"a\"} 7.65\n\
                    wait_seconds_count{instance=\"a\"} 4\n";
        assert_eq!(exposition(&[("a", metrics), ("b", other)]), want);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut metrics = Metrics::default();
        for name in ["", "1a", "a-b", "__a", "é", "netserv_uptime_seconds"] {
            assert!(metrics.declare(name, Kind::Gauge, "").is_err(), "{name}");
        }
        for bounds in [vec![], vec![1.0, 1.0], vec![2.0, 1.0], vec![f64::NAN], vec![1.0, f64::INFINITY]] {
            assert!(metrics.declare("h", Kind::Histogram(bounds), "").is_err());
        }
        metrics.declare("c", Kind::Counter, "").unwrap();
        metrics.declare("c", Kind::Counter, "").unwrap();
        assert!(metrics.declare("c", Kind::Gauge, "").is_err());
        assert!(metrics.change("c", &labels(&[]), -1.0, false).is_err());
        assert!(metrics.change("c", &labels(&[]), f64::NAN, false).is_err());
        assert!(metrics.change("c", &labels(&[]), 1.0, true).is_err());
        assert!(metrics.change("c", &labels(&[("le", "1")]), 1.0, false).is_err());
        assert!(metrics.change("c", &labels(&[("l", &"x".repeat(300))]), 1.0, false).is_err());
        assert!(metrics.change("no", &labels(&[]), 1.0, false).is_err());
    }

    #[test]
    fn sets_of_labels_are_bounded() {
        let mut metrics = Metrics::default();
        metrics.declare("g", Kind::Gauge, "").unwrap();
        for i in 0..METRICS_MAX {
            metrics.change("g", &labels(&[("i", &i.to_string())]), 1.0, true).unwrap();
        }
        assert!(metrics.change("g", &labels(&[("i", "more")]), 1.0, true).unwrap_err().contains("limit metrics"));
        metrics.change("g", &labels(&[("i", "0")]), 2.0, true).unwrap();
        assert_eq!(metrics.value("g", &labels(&[("i", "0")])), 2.0);
        // A histogram is as many lines as it has bounds, and three more.
        let mut metrics = Metrics::default();
        metrics.declare("h", Kind::Histogram((0..61).map(f64::from).collect()), "").unwrap();
        for i in 0..METRICS_MAX / 64 {
            metrics.change("h", &labels(&[("i", &i.to_string())]), 1.0, false).unwrap();
        }
        assert!(metrics.change("h", &labels(&[("i", "more")]), 1.0, false).is_err());
    }

    #[test]
    fn a_terminal_obeys_nothing_in_the_text() {
        let mut metrics = Metrics::default();
        metrics.declare("g", Kind::Gauge, "a\u{1b}[2J\u{202e}").unwrap();
        metrics.change("g", &labels(&[("l", "\u{1b}]0;x\u{7}\r")]), 1.0, true).unwrap();
        let text = exposition(&[("m", metrics)]);
        assert!(text.chars().all(|c| c == '\n' || is_plain_char(c)), "{text:?}");
    }
}

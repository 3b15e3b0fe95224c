//! What a replay found, for people and for programs. The order of all fields is fixed.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::node::{Event, InstanceState, InstanceView};
use crate::wire::frame;

/// What a replay found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The capture files, in the order in which they were read.
    pub files: Vec<FileReport>,
    /// All files together.
    pub totals: Totals,
    /// Packets that the node dropped, by reason. Reasons that did not occur are left out.
    #[serde(serialize_with = "as_map")]
    pub drops: Vec<(String, u64)>,
    /// The flow cache after the last packet.
    pub flows: Flows,
    /// The modules, in the order in which they were loaded.
    pub modules: Vec<ModuleReport>,
    /// Log lines and faults of modules, in their order; at most
    /// [`crate::base::limits::REPLAY_EVENTS_MAX`].
    pub events: Vec<EventReport>,
    /// Events that are not in `events`, because there were too many.
    pub events_left_out: u64,
}

/// One capture file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FileReport {
    /// As it was given.
    pub name: String,
    /// `pcap`, `pcap, nanoseconds` or `pcapng`; empty when the file could not be read.
    pub format: &'static str,
    /// What its frames begin with.
    pub link_types: Vec<LinkTypeReport>,
    /// Frames read.
    pub frames: u64,
    /// Their bytes on the wire, with the link header.
    pub bytes: u64,
    /// The earliest frame, in ns since 1970-01-01 UTC.
    pub first_ns: u64,
    /// From the earliest to the latest frame, in ns.
    pub duration_ns: u64,
    /// Frames that hold no IP packet.
    pub not_ip: u64,
    /// Frames that end within their link header.
    pub short: u64,
    /// Frames of which only a part was captured.
    pub truncated: u64,
    /// Frames with an earlier time than the one before; they were given at that one's time.
    pub backwards: u64,
    /// By how much the file was moved forward, in ns, because it begins before the end of the file before it.
    pub moved_ns: u64,
    /// Gaps between frames that were slept through, because they were too long to give all wakeups.
    pub gaps_slept_through: u64,
    /// Why the file could not be read to its end; what came before was replayed.
    pub error: Option<String>,
}

/// A link type, and how many frames have it.
#[derive(Clone, Debug, Serialize)]
pub struct LinkTypeReport {
    /// Number of the link type, as in capture files.
    pub number: u32,
    /// Its name; `unknown` when its frames are not looked into.
    pub name: &'static str,
    /// Frames.
    pub frames: u64,
}

/// Sums over all files.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// Frames read.
    pub frames: u64,
    /// Their bytes on the wire, with the link header.
    pub bytes: u64,
    /// Frames with an IP packet.
    pub ip: u64,
    /// Frames that hold no IP packet.
    pub not_ip: u64,
    /// Frames that end within their link header.
    pub short: u64,
    /// Packets that passed, changed or not.
    pub passed: u64,
    /// Packets that passed with other bytes than they came with.
    pub changed: u64,
    /// Packets that the node dropped.
    pub dropped: u64,
    /// Packets that the node took to send something in their place.
    pub taken: u64,
    /// Packets that the node sent besides those that passed.
    pub sent: u64,
    /// Frames in the output file; all zero without one.
    pub written: u64,
    /// Frames that are not in the output file, because its link type has no place for them.
    pub not_written: u64,
    /// Virtual time at the end, in ns since the first frame.
    pub duration_ns: u64,
}

/// The flow cache.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Flows {
    /// Flows remembered after the last packet.
    pub remembered: u64,
    /// Flows that were pushed out because the cache was full.
    pub pushed_out: u64,
}

/// A module instance.
#[derive(Clone, Debug, Serialize)]
pub struct ModuleReport {
    /// What it is called.
    pub name: String,
    /// The module's name.
    pub module: String,
    /// The module's version.
    pub version: String,
    /// `running`, `waiting` (for a restart after a fault) or `failed`.
    pub state: &'static str,
    /// What it did wrong last.
    pub last_fault: Option<String>,
    /// Faults by the name of the limit; errors under `error`.
    #[serde(serialize_with = "as_map")]
    pub faults: Vec<(String, u64)>,
    /// How often it was started again.
    pub restarts: u32,
    /// What it asked to see.
    pub filters: Vec<String>,
    /// Packets that its handler saw.
    pub packets_seen: u64,
    /// Packets that native rules answered for.
    pub packets_native: u64,
    /// Its own counters.
    #[serde(serialize_with = "as_map")]
    pub counters: Vec<(String, u64)>,
    /// What its `report` returned.
    pub report: Option<serde_json::Value>,
    /// Why it has no report.
    pub report_error: Option<String>,
}

/// Something that happened at a module.
#[derive(Clone, Debug, Serialize)]
pub struct EventReport {
    /// Virtual time, in ns since the first frame.
    pub at_ns: u64,
    /// The instance's name.
    pub instance: String,
    /// `debug`, `info`, `warn` (log lines), `started`, `erred`, `failed` or `unloaded`.
    pub kind: &'static str,
    /// The log line, or what it did wrong.
    pub text: String,
}

impl Report {
    /// Whether all files were read to their end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.files.iter().all(|f| f.error.is_none())
    }
}

impl FileReport {
    /// Counts a frame by its link type.
    pub(super) fn count_link_type(&mut self, number: u32) {
        match self.link_types.iter_mut().find(|l| l.number == number) {
            Some(known) => known.frames += 1,
            None => self.link_types.push(LinkTypeReport { number, name: frame::name(number), frames: 1 }),
        }
    }
}

impl ModuleReport {
    /// The report of an instance; `report` is what [`crate::node::Node::report`] answered.
    #[must_use]
    pub fn new(view: InstanceView, report: Result<serde_json::Value, String>) -> ModuleReport {
        let (report, report_error) = match report {
            Ok(serde_json::Value::Null) => (None, None),
            Ok(value) => (Some(value), None),
            Err(why) => (None, Some(why)),
        };
        ModuleReport {
            name: view.name,
            module: view.module,
            version: view.version,
            state: match view.state {
                InstanceState::Running => "running",
                InstanceState::Waiting { .. } => "waiting",
                InstanceState::Failed => "failed",
                InstanceState::Draining { .. } => "draining",
            },
            last_fault: view.last_fault,
            faults: view.faults,
            restarts: view.restarts,
            filters: view.filters.iter().map(ToString::to_string).collect(),
            packets_seen: view.packets_seen,
            packets_native: view.packets_native,
            counters: view.counters,
            report,
            report_error,
        }
    }
}

impl EventReport {
    /// The event as reports show it.
    #[must_use]
    pub fn new(at_ns: u64, event: Event) -> EventReport {
        use crate::container::instance::LogLevel;
        let (instance, kind, text) = match event {
            Event::Log { instance, level, text } => {
                let kind = match level {
                    LogLevel::Debug => "debug",
                    LogLevel::Info => "info",
                    LogLevel::Warn => "warn",
                };
                (instance, kind, text)
            }
            Event::Started { instance } => (instance, "started", String::new()),
            Event::Erred { instance, fault } => (instance, "erred", fault.to_string()),
            Event::Failed { instance, fault, restart_in } => {
                let next = restart_in.map_or("unloaded".to_owned(), |t| format!("restarts in {} s", t.as_secs_f64()));
                (instance, "failed", format!("{fault}; {next}"))
            }
            Event::OverBudget { instance, limit, .. } => (instance, "over budget", (*limit).to_owned()),
            Event::Unloaded { instance } => (instance, "unloaded", String::new()),
            Event::Note(text) => (String::new(), "note", text),
            Event::Signal(event) => (String::new(), "signal", format!("{event:?}")),
        };
        EventReport { at_ns, instance, kind, text }
    }
}

fn as_map<S: Serializer>(pairs: &[(String, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, count)| (name, count)))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            file.fmt(f)?;
        }
        let t = &self.totals;
        writeln!(f, "total: {} frames, {} bytes in {}", t.frames, t.bytes, seconds(t.duration_ns))?;
        writeln!(f, "  {} IP packets, {} other frames, {} too short", t.ip, t.not_ip, t.short)?;
        writeln!(
            f,
            "  {} packets passed ({} changed), {} dropped, {} taken, {} sent by modules",
            t.passed, t.changed, t.dropped, t.taken, t.sent
        )?;
        if t.written + t.not_written > 0 {
            writeln!(f, "  {} frames written, {} that the output has no place for", t.written, t.not_written)?;
        }
        for (name, count) in &self.drops {
            writeln!(f, "  dropped: {name} {count}")?;
        }
        writeln!(f, "  {} flows at the end, {} pushed out before", self.flows.remembered, self.flows.pushed_out)?;
        for module in &self.modules {
            module.fmt(f)?;
        }
        if !self.events.is_empty() {
            writeln!(f, "events")?;
        }
        for e in &self.events {
            let gap = if e.text.is_empty() { "" } else { ": " };
            writeln!(f, "  {} {} {}{gap}{}", seconds(e.at_ns), e.instance, e.kind, e.text)?;
        }
        if self.events_left_out > 0 {
            writeln!(f, "  and {} more", self.events_left_out)?;
        }
        Ok(())
    }
}

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} frames, {} bytes in {}", self.name, self.frames, self.bytes, seconds(self.duration_ns))?;
        let links: Vec<String> = self.link_types.iter().map(|l| format!("{} ({})", l.name, l.number)).collect();
        if !self.format.is_empty() {
            write!(f, "; {}, {}", self.format, links.join(" and "))?;
        }
        writeln!(f)?;
        let notes = [
            (self.not_ip, "frames without an IP packet"),
            (self.short, "frames that end within their link header"),
            (self.truncated, "frames captured in part"),
            (self.backwards, "frames with an earlier time than the one before"),
            (self.gaps_slept_through, "gaps that were slept through"),
        ];
        for (count, what) in notes.into_iter().filter(|(count, _)| *count > 0) {
            writeln!(f, "  {count} {what}")?;
        }
        if self.moved_ns > 0 {
            writeln!(f, "  moved forward by {}, behind the file before it", seconds(self.moved_ns))?;
        }
        self.error.as_ref().map_or(Ok(()), |e| writeln!(f, "  error: it {e}"))
    }
}

impl fmt::Display for ModuleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "module {} ({} {}): {}", self.name, self.module, self.version, self.state)?;
        writeln!(f, "  packets: {} seen, {} by native rules", self.packets_seen, self.packets_native)?;
        for (name, count) in &self.counters {
            writeln!(f, "  {name}: {count}")?;
        }
        for (name, count) in &self.faults {
            writeln!(f, "  fault {name}: {count}")?;
        }
        if let Some(fault) = &self.last_fault {
            writeln!(f, "  last fault: {fault}")?;
        }
        if let Some(why) = &self.report_error {
            writeln!(f, "  no report: {why}")?;
        }
        if let Some(report) = &self.report {
            let text = serde_json::to_string_pretty(report).map_err(|_| fmt::Error)?;
            for line in text.lines() {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:06} s", nanos / 1_000_000_000, nanos % 1_000_000_000 / 1_000)
}

//! A running node as a scene: itself in the middle, what its links lead to around it, and what its counters say happened.

use std::collections::{BTreeMap, VecDeque};

use crate::base::limits::{PAGE_LOG_LINES_MAX, PAGE_NOTES_MAX};
use crate::base::machine::Location;
use crate::dashboard::scene::{
    Chart, Detail, InstanceChange, InstanceState, Layer, Link, Load, Machine, MachineKind, Message, Moment, Note,
    Place, Sample, Scene, Stage,
};
use crate::dashboard::status::{Count, InstanceStatus, LinkStatus, Status};

/// The node's place in the scene.
const NODE: usize = 0;
/// Messages of one name that are shown of one moment; they are drawn as one anyway.
const MESSAGES_MAX: u64 = 12;
/// Counters of signalling, and what was sent or received then.
const MESSAGES: &[(&str, Layer, &str)] = &[
    ("query", Layer::Gist, "Query"),
    ("response", Layer::Gist, "Response"),
    ("confirm", Layer::Gist, "Confirm"),
    ("data", Layer::Netserv, "NetServ message"),
    ("error", Layer::Gist, "Error"),
    ("hello", Layer::Gist, "MA-Hello"),
];

/// What was told of a node, so that the next moment tells only what is new.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    before: Option<Status>,
    instances: BTreeMap<String, InstanceState>,
    notes: VecDeque<Note>,
    log: VecDeque<String>,
}

impl NodeView {
    /// The node, and a machine for what each link leads to, in the order of the links; the last one is for those who
    /// signal with it.
    #[must_use]
    pub fn scene(status: &Status, name: &str, location: Option<&Location>) -> Scene {
        let place = location.and_then(|location| {
            let (latitude, longitude) = (location.latitude?, location.longitude?);
            Some(Place { name: location.place.clone().unwrap_or_default(), latitude, longitude })
        });
        let node = Machine { name: name.to_owned(), kind: MachineKind::Node, place, ..Machine::default() };
        let behind = |link: &LinkStatus| {
            let (name, kind) = match link.kind.as_str() {
                "tun" => (format!("this machine's routes ({})", link.name), MachineKind::Router),
                _ => (format!("behind {}", link.name), MachineKind::Router),
            };
            Machine { name, kind, ..Machine::default() }
        };
        let signals = status.signaling.as_ref().map(|_| "signalling neighbours".to_owned());
        let signals = signals.map(|name| Machine { name, ..Machine::default() });
        let machines: Vec<Machine> = [node].into_iter().chain(status.links.iter().map(behind)).chain(signals).collect();
        let links = (1..machines.len()).map(|other| Link { ends: [NODE, other], ..Link::default() });
        let chart = |title: &str, unit: &str, series: &[&str]| Chart {
            title: title.into(),
            unit: unit.into(),
            series: series.iter().map(|name| (*name).to_owned()).collect(),
        };
        Scene {
            title: name.to_owned(),
            summary: format!("A running node, netserv {}: its links, its modules and what they use.", status.version),
            stage: Stage::Live,
            links: links.collect(),
            machines,
            steps: Vec::new(),
            charts: vec![
                chart("Packets", "packets/s", &["in", "out"]),
                chart("Throughput", "bit/s", &["in", "out"]),
                chart("CPU of modules", "% of a core", &["all modules"]),
            ],
            duration_s: None,
        }
    }

    /// Something that somebody may want to read.
    pub fn note(&mut self, at_s: f64, level: &'static str, text: String) {
        if self.notes.len() == PAGE_NOTES_MAX {
            self.notes.pop_front();
        }
        self.notes.push_back(Note { at_s, machine: Some(NODE), level, text });
    }

    /// A line that a module wrote.
    pub fn log(&mut self, line: String) {
        if self.log.len() == PAGE_LOG_LINES_MAX {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }

    /// Forgets what was told, so that the next moment tells everything.
    pub fn begin(&mut self) {
        self.before = None;
        self.instances.clear();
    }

    /// What has happened since the moment before.
    pub fn moment(&mut self, status: Status) -> Moment {
        let at_s = status.uptime_s;
        let mut moment = Moment { at_s, instances: self.changes(&status), ..Moment::default() };
        moment.notes = self.notes.drain(..).collect();
        if let Some(before) = &self.before {
            let elapsed_s = at_s - before.uptime_s;
            if elapsed_s > 0.0 {
                rates(before, &status, elapsed_s, &mut moment);
                signalling(before, &status, &mut moment);
            }
        }
        let value = serde_json::to_value(&status).expect("a status is plain data");
        moment.details.push(Detail { machine: NODE, status: value, log: self.log.iter().cloned().collect() });
        self.before = Some(status);
        moment
    }

    fn changes(&mut self, status: &Status) -> Vec<InstanceChange> {
        let signalled = |name: &str| {
            status.signaling.as_ref().is_some_and(|signal| signal.instances.iter().any(|one| one.name == name))
        };
        let change = |instance: &InstanceStatus, state| InstanceChange {
            machine: NODE,
            instance: instance.name.clone(),
            module: instance.module.clone(),
            state,
            signalled: signalled(&instance.name),
        };
        let mut now = BTreeMap::new();
        let mut changes = Vec::new();
        for instance in &status.instances {
            let is_well = matches!(instance.state.as_str(), "running" | "draining");
            let state = if is_well { InstanceState::Running } else { InstanceState::Failed };
            if self.instances.get(&instance.name) != Some(&state) {
                changes.push(change(instance, state));
            }
            now.insert(instance.name.clone(), state);
        }
        for name in self.instances.keys().filter(|name| !now.contains_key(*name)) {
            let gone = InstanceStatus { name: name.clone(), ..InstanceStatus::default() };
            changes.push(change(&gone, InstanceState::Gone));
        }
        self.instances = now;
        changes
    }
}

/// Loads of the links, and the charts.
fn rates(before: &Status, now: &Status, elapsed_s: f64, moment: &mut Moment) {
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / elapsed_s;
    let mut sums = [0.0; 4];
    for (link, (old, new)) in before.links.iter().zip(&now.links).enumerate() {
        let packets = [rate(new.packets_in, old.packets_in), rate(new.packets_out, old.packets_out)];
        let bits = [8.0 * rate(new.bytes_in, old.bytes_in), 8.0 * rate(new.bytes_out, old.bytes_out)];
        for (n, from) in [link + 1, NODE].into_iter().enumerate() {
            let load = Load { link, from, bps: bits[n] as u64, pps: packets[n] as u64, lost: 0 };
            moment.loads.push(load);
            sums[n] += packets[n];
            sums[n + 2] += bits[n];
        }
    }
    let cpu_us = |status: &Status| status.instances.iter().map(|instance| instance.usage.cpu_us).sum();
    let cpu_percent = rate(cpu_us(now), cpu_us(before)) / 10_000.0;
    let lines = [(0, 0, sums[0]), (0, 1, sums[1]), (1, 0, sums[2]), (1, 1, sums[3]), (2, 0, cpu_percent)];
    let sample = |(chart, series, value)| Sample { chart, series, at_s: now.uptime_s, value };
    moment.samples.extend(lines.map(sample));
}

/// Messages that the counters of signalling tell of: which ones, but neither when exactly nor with whom.
fn signalling(before: &Status, now: &Status, moment: &mut Moment) {
    let (Some(old), Some(new)) = (&before.signaling, &now.signaling) else { return };
    let count = |counts: &[Count], name: &str| counts.iter().find(|one| one.name == name).map_or(0, |one| one.count);
    let link = now.links.len();
    for (word, layer, label) in MESSAGES {
        for (direction, from) in [("sent", NODE), ("received", link + 1)] {
            let name = format!("{direction}_{word}");
            let more = count(&new.counters, &name).saturating_sub(count(&old.counters, &name));
            let message = Message {
                layer: *layer,
                label: (*label).to_owned(),
                link,
                from,
                left_s: now.uptime_s,
                arrives_s: Some(now.uptime_s + 0.05),
            };
            moment.messages.extend((0..more.min(MESSAGES_MAX)).map(|_| message.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::status::SignalStatus;

    fn status(uptime_s: f64, packets: u64, state: Option<&str>) -> Status {
        let instance = state.map(|state| InstanceStatus {
            name: "m".into(),
            module: "monitor".into(),
            state: state.into(),
            ..InstanceStatus::default()
        });
        let counters = vec![Count { name: "sent_query".into(), count: packets / 100 }];
        Status {
            uptime_s,
            links: vec![LinkStatus {
                name: "ns0".into(),
                kind: "tun".into(),
                packets_in: packets,
                bytes_in: 100 * packets,
                packets_out: packets / 2,
                bytes_out: 50 * packets,
                ..LinkStatus::default()
            }],
            instances: instance.into_iter().collect(),
            signaling: Some(SignalStatus { counters, ..SignalStatus::default() }),
            ..Status::default()
        }
    }

    #[test]
    fn a_node_stands_between_what_its_links_lead_to() {
        let location = Location { latitude: Some(48.1), longitude: Some(11.6), place: None };
        let scene = NodeView::scene(&status(0.0, 0, None), "r1", Some(&location));
        let names: Vec<&str> = scene.machines.iter().map(|machine| machine.name.as_str()).collect();
        assert_eq!(names, ["r1", "this machine's routes (ns0)", "signalling neighbours"]);
        assert_eq!(scene.links.iter().map(|link| link.ends).collect::<Vec<_>>(), [[0, 1], [0, 2]]);
        assert_eq!(scene.machines[0].place.as_ref().map(|place| place.latitude), Some(48.1));
    }

    #[test]
    fn each_moment_tells_what_is_new() {
        let mut view = NodeView::default();
        view.note(0.5, "info", "it runs".into());
        let first = view.moment(status(1.0, 1000, Some("running")));
        assert_eq!(first.instances.len(), 1);
        assert_eq!((first.notes.len(), first.samples.len(), first.messages.len()), (1, 0, 0));
        let second = view.moment(status(3.0, 1400, Some("running")));
        assert_eq!((second.instances.len(), second.notes.len()), (0, 0));
        assert_eq!(second.loads[0], Load { link: 0, from: 1, bps: 160_000, pps: 200, lost: 0 });
        assert_eq!(second.loads[1], Load { link: 0, from: 0, bps: 80_000, pps: 100, lost: 0 });
        assert_eq!(second.messages.len(), 4);
        assert_eq!((second.messages[0].link, second.messages[0].from), (1, 0));
        let states = |moment: Moment| moment.instances.iter().map(|change| change.state).collect::<Vec<_>>();
        assert_eq!(states(view.moment(status(4.0, 1400, Some("waiting")))), [InstanceState::Failed]);
        assert_eq!(states(view.moment(status(5.0, 1400, None))), [InstanceState::Gone]);
    }

    #[test]
    fn what_nobody_reads_does_not_grow() {
        let mut view = NodeView::default();
        for n in 0..3 * PAGE_NOTES_MAX {
            view.note(n as f64, "info", n.to_string());
            view.log(n.to_string());
        }
        let moment = view.moment(Status::default());
        assert_eq!((moment.notes.len(), moment.details[0].log.len()), (PAGE_NOTES_MAX, PAGE_LOG_LINES_MAX));
    }
}

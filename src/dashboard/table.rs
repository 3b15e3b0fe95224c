//! A node's state as text for a terminal.

use std::fmt::Write;

use crate::dashboard::status::{Count, InstanceStatus, LinkStatus, SignalStatus, Status};

/// The status as a few tables. With an earlier status, links and instances show rates per second since then.
#[must_use]
pub fn of(status: &Status, earlier: Option<&Status>) -> String {
    let mut text = String::new();
    let seconds = earlier.map(|e| status.uptime_s - e.uptime_s).filter(|seconds| *seconds > 0.0);
    let flows = &status.flows;
    line(&mut text, &format!("netserv {}, up {}", status.version, duration(status.uptime_s)));
    let pushed = if flows.pushed_out > 0 { format!(", {} pushed out", flows.pushed_out) } else { String::new() };
    let steering = &status.steering;
    line(&mut text, &format!("flows {} of {}{pushed}; steering rules {}", flows.count, flows.max, steering.rules));
    if let Some(error) = &steering.error {
        line(&mut text, &format!("nothing is steered: {error}"));
    }
    steering.notes.iter().for_each(|note| line(&mut text, &format!("note: {note}")));
    text.push('\n');
    links(&mut text, status, earlier, seconds);
    if !status.drops.is_empty() {
        line(&mut text, &format!("dropped: {}", counts(&status.drops)));
    }
    text.push('\n');
    instances(&mut text, status, earlier, seconds);
    if let Some(signal) = &status.signaling {
        signaling(&mut text, signal);
    }
    text
}

fn links(text: &mut String, status: &Status, earlier: Option<&Status>, seconds: Option<f64>) {
    let unit = if seconds.is_some() { "/s" } else { "" };
    let titles = [
        "LINK".into(),
        "KIND".into(),
        format!("PACKETS IN{unit}"),
        format!("BYTES IN{unit}"),
        format!("PACKETS OUT{unit}"),
        format!("BYTES OUT{unit}"),
        "DRIVER".into(),
    ];
    let mut rows = vec![titles];
    for (index, link) in status.links.iter().enumerate() {
        let before = earlier.and_then(|e| e.links.get(index));
        let of = |pick: fn(&LinkStatus) -> u64| rate(pick(link), before.map(pick), seconds);
        rows.push([
            printable(&link.name),
            link.kind.clone(),
            of(|l| l.packets_in),
            of(|l| l.bytes_in),
            of(|l| l.packets_out),
            of(|l| l.bytes_out),
            counts(&link.driver),
        ]);
    }
    table(text, &rows, &[false, false, true, true, true, true, false]);
}

fn instances(text: &mut String, status: &Status, earlier: Option<&Status>, seconds: Option<f64>) {
    if status.instances.is_empty() {
        line(text, "no modules; `netserv module load DIR` loads one");
        return;
    }
    let unit = if seconds.is_some() { "/s" } else { "" };
    let mut rows = vec![[
        "INSTANCE".into(),
        "MODULE".into(),
        "STATE".into(),
        format!("SEEN{unit}"),
        format!("NATIVE{unit}"),
        "FAULTS".into(),
        "MEMORY".into(),
        "COUNTERS".into(),
    ]];
    for instance in &status.instances {
        let before = earlier.and_then(|e| e.instances.iter().find(|i| i.name == instance.name));
        let of = |pick: fn(&InstanceStatus) -> u64| rate(pick(instance), before.map(pick), seconds);
        let faults: u64 = instance.faults.iter().map(|count| count.count).sum();
        rows.push([
            printable(&instance.name),
            format!("{} {}", printable(&instance.module), instance.version),
            state(instance),
            of(|i| i.packets_seen),
            of(|i| i.packets_native),
            faults.to_string(),
            format!("{} of {}", bytes(instance.memory_bytes as f64), bytes(instance.memory_bytes_max as f64)),
            counts(&instance.counters),
        ]);
    }
    table(text, &rows, &[false, false, false, true, true, true, true, false]);
    for instance in &status.instances {
        if let Some(fault) = &instance.last_fault {
            line(text, &format!("{}: {} (faults: {})", instance.name, fault, counts(&instance.faults)));
        }
        if instance.is_waiting || !instance.limit_hits.is_empty() {
            let waits = if instance.is_waiting {
                format!("; it waits: it may use {} % of one core", instance.cpu_share_percent_max)
            } else {
                String::new()
            };
            line(text, &format!("{} has reached limits: {}{waits}", instance.name, counts(&instance.limit_hits)));
        }
        if !instance.filters.is_empty() {
            let shown: Vec<&str> = instance.filters.iter().take(3).map(String::as_str).collect();
            let more = instance.filter_count.saturating_sub(shown.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            line(text, &format!("{} looks at: {}{more}", instance.name, shown.join("; ")));
        }
    }
}

fn signaling(text: &mut String, signal: &SignalStatus) {
    text.push('\n');
    let count = |name: &str| signal.counters.iter().find(|c| c.name == name).map_or(0, |c| c.count);
    line(
        text,
        &format!(
            "signalling as {} ({}): {} sessions, {} associations",
            signal.name,
            &signal.node.get(..8).unwrap_or_default(),
            count("sessions"),
            count("associations")
        ),
    );
    if signal.instances.is_empty() {
        return;
    }
    let mut rows = vec![["INSTANCE", "ASKED FOR BY", "MODULE", "STATE", "LEFT", "PACKAGE"].map(str::to_owned)];
    rows.extend(signal.instances.iter().map(|instance| {
        [
            printable(&instance.name),
            printable(&instance.requester),
            printable(&format!("{} {}", instance.module, instance.version)),
            instance.state.clone(),
            duration(instance.expires_in_s as f64),
            instance.digest.chars().take(12).collect(),
        ]
    }));
    table(text, &rows, &[false, false, false, false, true, false]);
}

fn state(instance: &InstanceStatus) -> String {
    match instance.restart_in_s {
        Some(seconds) => format!("waiting {seconds:.0} s"),
        None => instance.state.clone(),
    }
}

/// A line of text whose control characters do nothing to the terminal: names and faults come from modules.
fn line(text: &mut String, content: &str) {
    text.push_str(&printable(content));
    text.push('\n');
}

pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

pub(crate) fn table<const N: usize>(text: &mut String, rows: &[[String; N]], right: &[bool; N]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let mut shown = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let gap = if column == 0 { "" } else { "  " };
            let _ = match right[column] {
                true => write!(shown, "{gap}{cell:>width$}"),
                false => write!(shown, "{gap}{cell:<width$}"),
            };
        }
        line(text, shown.trim_end());
    }
}

fn counts(counts: &[Count]) -> String {
    let shown: Vec<String> = counts.iter().map(|c| format!("{} {}", printable(&c.name), c.count)).collect();
    shown.join(", ")
}

fn rate(now: u64, before: Option<u64>, seconds: Option<f64>) -> String {
    match seconds {
        Some(seconds) => number(now.saturating_sub(before.unwrap_or(0)) as f64 / seconds),
        None => now.to_string(),
    }
}

/// A number with at most four digits and a unit prefix.
fn number(value: f64) -> String {
    match value {
        v if v < 10_000.0 => format!("{v:.0}"),
        v if v < 10_000_000.0 => format!("{:.1} k", v / 1e3),
        v if v < 10_000_000_000.0 => format!("{:.1} M", v / 1e6),
        v => format!("{:.1} G", v / 1e9),
    }
}

pub(crate) fn bytes(value: f64) -> String {
    match value {
        v if v < 1024.0 => format!("{v:.0} B"),
        v if v < 1_048_576.0 => format!("{:.0} KiB", v / 1024.0),
        v => format!("{:.1} MiB", v / 1_048_576.0),
    }
}

pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..=59 => format!("{seconds:.1} s"),
        60..=3599 => format!("{} min {} s", whole / 60, whole % 60),
        3600..=86_399 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::status::{FlowStatus, SignalledStatus, SteeringStatus};

    fn status(uptime_s: f64, packets: u64) -> Status {
        Status {
            version: "0.1.0".into(),
            uptime_s,
            links: vec![LinkStatus {
                name: "ns0".into(),
                kind: "tun".into(),
                packets_in: packets,
                packets_out: packets - 1,
                driver: vec![Count { name: "writes".into(), count: 7 }],
                ..LinkStatus::default()
            }],
            drops: vec![Count { name: "ip_header".into(), count: 1 }],
            flows: FlowStatus { count: 3, max: 10, pushed_out: 0 },
            instances: vec![InstanceStatus {
                name: "evil\x1b[2J".into(),
                state: "running".into(),
                last_fault: Some("limit\nbroken".into()),
                filters: vec!["all".into(); 5],
                filter_count: 5,
                memory_bytes: 2 << 20,
                memory_bytes_max: 16 << 20,
                ..InstanceStatus::default()
            }],
            steering: SteeringStatus { rules: 4, notes: vec!["a note".into()], error: None },
            signaling: Some(SignalStatus {
                node: "0123456789abcdef".repeat(2),
                name: "r1".into(),
                counters: vec![Count { name: "sessions".into(), count: 3 }],
                instances: vec![SignalledStatus {
                    name: "m.01234567".into(),
                    requester: "ali\u{1b}ce".into(),
                    module: "m".into(),
                    version: "1.0.0".into(),
                    expires_in_s: 90,
                    state: "running".into(),
                    ..SignalledStatus::default()
                }],
            }),
        }
    }

    #[test]
    fn shows_everything_and_no_control_characters() {
        let text = of(&status(61.0, 100), None);
        for part in [
            "up 1 min 1 s",
            "flows 3 of 10",
            "rules 4",
            "note: a note",
            "ns0",
            "100",
            "99",
            "writes 7",
            "dropped: ip_header 1",
            "evil [2J",
            "limit broken",
            "and 2 more",
            "2.0 MiB of 16.0 MiB",
            "r1 (01234567): 3 sessions",
            "ali ce",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    }

    #[test]
    fn rates_are_those_since_the_earlier_status() {
        let text = of(&status(12.0, 41_000), Some(&status(10.0, 1_000)));
        assert!(text.contains("PACKETS IN/s") && text.contains("20.0 k"), "{text}");
    }
}

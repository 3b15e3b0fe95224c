//! A small scene of 20 s with everything that the page can show; the same each time.

use netserv::dashboard::scene::{
    Chart, Detail, Figure, FlowChange, InstanceChange, InstanceState, Layer, Link, Load, Machine, MachineKind, Message,
    Moment, Note, Place, Sample, Scene, Stage, StateChange, Step,
};

/// Moments of the scene; one each tenth of a second.
pub(crate) const MOMENTS: usize = 200;

const CITIES: &[(&str, f64, f64)] = &[
    ("Boston", 42.36, -71.06),
    ("New York", 40.71, -74.01),
    ("Washington", 38.9, -77.04),
    ("Atlanta", 33.75, -84.39),
    ("Chicago", 41.88, -87.63),
    ("Kansas City", 39.1, -94.58),
    ("Houston", 29.76, -95.37),
    ("Denver", 39.74, -104.99),
    ("Seattle", 47.61, -122.33),
    ("San Francisco", 37.77, -122.42),
    ("Los Angeles", 34.05, -118.24),
];
const HOSTS: &[(&str, usize)] =
    &[("boston-1", 0), ("boston-2", 0), ("ny-1", 1), ("dc-1", 2), ("web", 4), ("sf-1", 9), ("sf-2", 9), ("la-1", 10)];
const LINES: &[(usize, usize)] =
    &[(0, 1), (1, 2), (2, 3), (1, 4), (4, 5), (3, 6), (6, 7), (5, 7), (5, 6), (7, 8), (7, 9), (9, 10), (8, 9), (6, 10)];
/// From boston-1 to web, and from sf-1 to web, as places of machines.
const EAST: &[usize] = &[11, 0, 1, 4, 15];
const WEST: &[usize] = &[16, 9, 7, 5, 4, 15];

pub(crate) fn scene() -> Scene {
    let place = |city: usize| {
        let (name, latitude, longitude) = CITIES[city];
        Some(Place { name: name.into(), latitude, longitude })
    };
    let kind = |city: usize| match city {
        5 => MachineKind::Router,
        2 => MachineKind::Nat,
        _ => MachineKind::Node,
    };
    let cities = CITIES.iter().enumerate().map(|(city, (name, ..))| Machine {
        name: name.to_lowercase().replace(' ', "-"),
        kind: kind(city),
        place: place(city),
        as_number: Some(64_500 + city as u32),
        addresses: vec![format!("192.0.2.{city}")],
    });
    let hosts = HOSTS.iter().map(|(name, city)| Machine {
        name: (*name).into(),
        kind: MachineKind::Host,
        place: place(*city),
        as_number: None,
        addresses: vec!["198.51.100.7".into()],
    });
    let link = |ends| Link { ends, delay_ms: Some(12.5), rate_bps: Some(100_000_000) };
    let lines = LINES.iter().map(|(a, b)| link([*a, *b]));
    let access = HOSTS.iter().enumerate().map(|(n, (_, city))| link([*city, CITIES.len() + n]));
    let step = |at_s, title: &str, caption: &str| Step { at_s, title: title.into(), caption: caption.into() };
    let chart = |title: &str, unit: &str, series: &[&str]| Chart {
        title: title.into(),
        unit: unit.into(),
        series: series.iter().map(|name| (*name).to_owned()).collect(),
    };
    Scene {
        title: "Modules follow the traffic".into(),
        summary:
            "Scripts fetch small files. Modules with a short lifetime appear on the nodes of the paths in use, and \
                  expire elsewhere."
                .into(),
        stage: Stage::Simulated,
        machines: cities.chain(hosts).collect(),
        links: lines.chain(access).collect(),
        steps: vec![
            step(
                0.0,
                "Scripts in the east fetch files",
                "Watch the orange path from boston-1 to web: no node helps yet.",
            ),
            step(
                3.0,
                "A module is asked for",
                "The blue arrow is a SETUP. It goes from node to node along the path; each node answers in green, and \
                 the module appears there.",
            ),
            step(10.0, "The traffic moves west", "Now sf-1 fetches. The same request goes along the western path."),
            step(15.0, "The east is no longer asked", "Nobody refreshes the eastern modules: they expire."),
        ],
        charts: vec![
            chart("Requests", "requests/s", &["east", "west"]),
            chart("Time to fetch a file", "ms", &["without modules", "with modules"]),
            chart("Modules", "instances", &["east", "west"]),
        ],
        duration_s: Some(20.0),
    }
}

/// How many steps have begun, less one.
fn step_at(at_s: f64) -> usize {
    scene().steps.iter().filter(|step| step.at_s <= at_s).count() - 1
}

fn link_of(a: usize, b: usize) -> usize {
    let links = scene().links;
    links.iter().position(|link| link.ends == [a, b] || link.ends == [b, a]).expect("they are neighbours")
}

/// Messages along a path, 15 ms a hop.
fn along(path: &[usize], layer: Layer, label: &str, left_s: f64) -> Vec<Message> {
    let hop = |(n, ends): (usize, &[usize])| Message {
        layer,
        label: label.into(),
        link: link_of(ends[0], ends[1]),
        from: ends[0],
        left_s: left_s + 0.015 * n as f64,
        arrives_s: Some(left_s + 0.015 * (n + 1) as f64),
    };
    path.windows(2).enumerate().map(hop).collect()
}

fn note(at_s: f64, machine: usize, level: &'static str, text: &str) -> Note {
    Note { at_s, machine: Some(machine), level, text: text.into() }
}

fn change(machine: usize, state: InstanceState) -> InstanceChange {
    let (instance, module) = ("cache.a1b2c3d4".into(), "cache".into());
    InstanceChange { machine, instance, module, state, signalled: true }
}

fn set_up(moment: &mut Moment, path: &[usize], whose: &str) {
    let at_s = moment.at_s;
    let back: Vec<usize> = path.iter().rev().copied().collect();
    moment.messages.extend(along(path, Layer::Netserv, "SETUP", at_s));
    moment.messages.extend(along(&back, Layer::Netserv, "installed", at_s + 0.1));
    for machine in path.iter().filter(|machine| matches!(machine, 0 | 1 | 4 | 7 | 9)) {
        moment.instances.push(change(*machine, InstanceState::Running));
        moment.notes.push(note(at_s, *machine, "info", &format!("cache 1.2.0 runs, asked for by {whose}")));
    }
}

fn loads(path: &[usize], bps: u64) -> Vec<Load> {
    let load = |ends: &[usize]| {
        let link = link_of(ends[0], ends[1]);
        let lost = if link == 3 && bps > 90_000_000 { 7 } else { 0 };
        [
            Load { link, from: ends[0], bps: bps / 20, pps: 40, lost: 0 },
            Load { link, from: ends[1], bps, pps: 800, lost },
        ]
    };
    path.windows(2).flat_map(load).collect()
}

fn detail(machine: usize, at_s: f64) -> Detail {
    let status = serde_json::json!({
        "version": "0.1.0", "uptime_s": at_s,
        "links": [{"name": "ns0", "kind": "tun", "packets_in": 120_000, "bytes_in": 98_000_000, "reads": 1, "packets_out": 119_000,
                   "bytes_out": 97_000_000, "not_ip": 0, "driver": []}],
        "drops": [{"name": "ip_header", "count": 2}, {"name": "module", "count": 118}],
        "flows": {"count": 12, "max": 65536, "pushed_out": 0},
        "instances": [{
            "name": "cache.a1b2c3d4", "module": "cache", "version": "1.2.0", "state": "running", "state_s": 3.0, "faults": [],
            "restarts": 0, "filters": ["tcp to 192.0.2.80 port 80 and back"], "filter_count": 1, "packets_seen": 51_234,
            "packets_native": 48_100, "counters": [{"name": "hits", "count": 812}, {"name": "misses", "count": 64}],
            "memory_bytes": 3_400_000, "requester": "alice", "is_waiting": false, "packets_unseen": 0, "flows": 9, "limit_hits": [],
            "usage": {"cpu_us": 84_000, "running_ms": 3000}, "cpu_share_percent_max": 20, "memory_bytes_max": 16_777_216,
            "cpu_ms_per_call_max": 5, "timers_max": 16
        }],
        "steering": {"rules": 2, "notes": []},
        "signaling": {"node": "0123456789abcdef0123456789abcdef", "name": "boston", "counters": [{"name": "sessions", "count": 1}],
            "instances": [{"name": "cache.a1b2c3d4", "requester": "alice", "module": "cache", "version": "1.2.0", "digest": "00",
                           "package_bytes": 9000, "expires_in_s": 17, "state": "running"}]}
    });
    let log = vec!["cache.a1b2c3d4: started with 16 MiB".into(), "cache.a1b2c3d4: 812 hits, 64 misses".into()];
    Detail { machine, status, log }
}

/// What happens in the moment `n`, from 0 on.
pub(crate) fn moment(n: usize) -> Moment {
    let at_s = n as f64 / 10.0;
    let mut moment = Moment { at_s, step: Some(step_at(at_s)), ..Moment::default() };
    let is_east = n < 120;
    let wave = ((n * 7919) % 17) as f64;
    let flow = |flow, label: &str, path: &[usize]| FlowChange { flow, label: label.into(), path: path.to_vec() };
    match n {
        0 => {
            moment.flows = vec![flow(1, "HTTP boston-1 > web", EAST), flow(2, "HTTP dc-1 > web", &[14, 2, 1, 4, 15])];
            moment.notes.push(note(at_s, 11, "info", "begins to fetch 20 files per second"));
        }
        30 => moment.messages = along(EAST, Layer::Gist, "Query", at_s),
        32 => moment.messages = along(&[15, 4, 1, 0, 11], Layer::Gist, "Response", at_s),
        40 => set_up(&mut moment, &EAST[..4], "alice"),
        60 => {
            moment.states.push(StateChange::Link { link: link_of(3, 6), is_up: false });
            moment.notes.push(note(at_s, 3, "warning", "the link to houston is down; routes change"));
            let lost = Message {
                layer: Layer::Netserv,
                label: "SETUP".into(),
                link: link_of(2, 3),
                from: 2,
                left_s: at_s,
                arrives_s: None,
            };
            moment.messages.push(lost);
        }
        75 => {
            moment.instances.push(change(1, InstanceState::Failed));
            moment.notes.push(note(at_s, 1, "error", "cache failed: limit memory_bytes; it is started again in 1 s"));
        }
        85 => moment.instances.push(change(1, InstanceState::Running)),
        100 => {
            moment.flows = vec![flow(3, "HTTP sf-1 > web", WEST)];
            moment.states.push(StateChange::Link { link: link_of(3, 6), is_up: true });
        }
        105 => set_up(&mut moment, &WEST[..5], "bob"),
        120 => moment.flows = vec![flow(1, "HTTP boston-1 > web", &[]), flow(2, "HTTP dc-1 > web", &[])],
        155 => {
            moment.messages = along(EAST, Layer::Netserv, "REMOVE", at_s);
            for machine in &EAST[1..3] {
                moment.instances.push(change(*machine, InstanceState::Gone));
                moment.notes.push(note(at_s, *machine, "info", "cache has expired: nobody refreshed it"));
            }
        }
        _ => {}
    }
    if n % 10 == 5 {
        moment.loads = loads(EAST, if is_east { 60_000_000 + 3_000_000 * (n as u64 / 10) } else { 0 });
        moment.loads.extend(loads(WEST, if n > 100 { 30_000_000 } else { 0 }));
    }
    if n.is_multiple_of(5) {
        let sample = |chart, series, value| Sample { chart, series, at_s, value };
        moment.samples = vec![
            sample(0, 0, if is_east { 180.0 + wave } else { 4.0 }),
            sample(0, 1, if n > 100 { 190.0 + wave } else { 2.0 }),
            sample(1, 0, 82.0 + wave / 3.0),
            sample(2, 0, if (40..155).contains(&n) { 3.0 } else { 0.0 }),
            sample(2, 1, if n > 105 { 3.0 } else { 0.0 }),
        ];
        if n > 40 {
            moment.samples.push(sample(1, 1, 31.0 + wave / 4.0));
        }
        moment.details.push(detail(0, at_s));
    }
    moment
}

pub(crate) fn results() -> Vec<Figure> {
    let figure = |name: &str, value: &str| Figure { name: name.into(), value: value.into() };
    vec![
        figure("fetched", "3,812 of 3,812 files"),
        figure("median without modules", "84 ms"),
        figure("median with modules", "33 ms"),
        figure("modules at the end", "3, all in the west"),
    ]
}

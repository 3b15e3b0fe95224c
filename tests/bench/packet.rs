//! What the node's own work costs per packet, without any link: nanoseconds for each step, with few and many filters.
//!
//! `cargo bench` runs it and ends with a table of all numbers beside a floor that was measured in the same run: the copy
//! of the packet into the driver's buffer, and nothing else. Every number includes that copy. With `NETSERV_UPDATE=1` in
//! the environment the table is also written to docs/performance/packet.md.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::measurement::WallTime as Clock;
use criterion::{Bencher, BenchmarkGroup, BenchmarkId, Criterion};
use netserv::base::filter::{Filter, Prefix};
use netserv::base::id::LinkId;
use netserv::base::limits;
use netserv::base::packet::{Offload, PacketMut};
use netserv::base::time::{Instant, WallTime};
use netserv::container::module::Module;
use netserv::container::source::{MANIFEST_PATH, ModuleSource};
use netserv::container::surroundings::CpuGuard;
use netserv::container::watch::Watch;
use netserv::node::{Command, Decision, Input, LinkConfig, LinkKind, Node, NodeConfig, Output};
use netserv::wire::checksum;
use netserv::wire::header::Header;

/// How many filters the node has.
const FILTER_COUNTS: [usize; 3] = [1, 100, 10_000];
/// Packets between two drains of the node's outputs, as the live driver reads them in batches.
const BATCH: u64 = 64;
/// Time between two packets.
const STEP: Duration = Duration::from_micros(1);
/// IP bytes of the packet: 64 bytes on an Ethernet.
const SMALL_BYTES: usize = 46;
/// Where the packet goes.
const DESTINATION: [u8; 4] = [198, 18, 2, 2];

/// A module as it is written.
struct Script {
    name: &'static str,
    manifest: &'static str,
    code: &'static str,
}

macro_rules! script {
    ($name:literal, $folder:literal) => {
        Script {
            name: $name,
            manifest: include_str!(concat!("modules/", $folder, "/module.toml")),
            code: include_str!(concat!("modules/", $folder, "/init.luau")),
        }
    };
}

const SCRIPTS: &[Script] = &[
    script!("native_rule", "native"),
    script!("empty_handler", "empty"),
    script!("empty_raw_handler", "empty-raw"),
    script!("reads_three_fields", "reads"),
    script!("reads_three_fields_raw", "reads-raw"),
    script!("rewrites_destination", "rewrites"),
    script!("rewrites_destination_raw", "rewrites-raw"),
];

/// A checked module that asks for the prefixes of its property `hosts`.
fn module(script: &Script) -> Module {
    let mut source = ModuleSource::default();
    source.files.insert(MANIFEST_PATH.to_owned(), script.manifest.as_bytes().to_vec());
    source.files.insert("init.luau".to_owned(), script.code.as_bytes().to_vec());
    Module::check(source).unwrap_or_else(|error| panic!("{}: {error}", script.name))
}

/// `count` prefixes of four lengths. The first one holds [`DESTINATION`] if `wanted`; no other one does.
fn prefixes(count: usize, wanted: bool) -> Vec<Prefix> {
    let own = Prefix::host(DESTINATION.into());
    let other = |i: usize| {
        let [a, b, c, d] = (0x0a00_0000 + (i as u32) * 256).to_be_bytes();
        Prefix::new([a, b, c, d].into(), [32, 30, 28, 24][i % 4]).expect("at most 32 bits")
    };
    let first = if wanted { own } else { other(count) };
    std::iter::once(first).chain((1..count).map(other)).collect()
}

/// A UDP packet over IPv4 with right checksums.
fn packet(ip_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; ip_bytes];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&(ip_bytes as u16).to_be_bytes());
    (bytes[8], bytes[9]) = (64, 17);
    bytes[12..16].copy_from_slice(&[198, 18, 1, 2]);
    bytes[16..20].copy_from_slice(&DESTINATION);
    bytes[20..24].copy_from_slice(&[0x4e, 0x20, 0x27, 0x0f]);
    bytes[24..26].copy_from_slice(&(ip_bytes as u16 - 20).to_be_bytes());
    checksum::write_ipv4(&mut bytes);
    let header = Header::parse(&bytes, false).expect("the packet is right");
    let sum = checksum::add(checksum::pseudo_header(&bytes, &header, ip_bytes - 20), &bytes[20..]);
    bytes[26..28].copy_from_slice(&(!checksum::fold(sum)).to_be_bytes());
    bytes
}

/// A node with a TUN link, and a driver's buffer.
struct World {
    node: Node,
    link: LinkId,
    room: Vec<u8>,
    now: Instant,
    count: u64,
}

impl World {
    /// A node on which `script` runs, asking for `filter_count` prefixes; see [`prefixes`] for `wanted`.
    fn new(script: &Script, filter_count: usize, wanted: bool, cpu: CpuGuard) -> World {
        let capture = vec![Filter::default()];
        let config =
            NodeConfig { flows_max: limits::FLOWS_DEFAULT, capture, seed: 1, wall: WallTime::from_nanos(0), cpu };
        let mut node = Node::new(config);
        let link = node.add_link(LinkConfig { name: "tun".to_owned(), kind: LinkKind::Tun });
        let hosts = prefixes(filter_count, wanted).iter().map(|p| p.to_string().into()).collect();
        let properties = toml::Table::from_iter([("hosts".to_owned(), toml::Value::Array(hosts))]);
        let load = Command::Load { module: module(script), name: None, properties, grant: None };
        node.handle(Instant::START, Input::Command(0, load));
        let mut world = World { node, link, room: vec![0; 2_048], now: Instant::START, count: 0 };
        world.drain();
        let views = world.node.instances();
        assert_eq!(views.iter().map(|view| view.filters.len()).sum::<usize>(), filter_count, "the module runs");
        world
    }

    fn drain(&mut self) {
        loop {
            match self.node.poll() {
                Output::Idle { .. } => return,
                Output::Transmit { packet, .. } => self.node.recycle(packet),
                Output::Answer(_, answer) => drop(answer.expect("the module can be loaded")),
                Output::Event(event) => assert!(!format!("{event:?}").contains("fault"), "{event:?}"),
                Output::Steer(_) | Output::Errand(_) | Output::Net(_) => {}
            }
        }
    }

    /// What the live driver does with a packet, but for reading and writing it.
    fn pass(&mut self, bytes: &[u8]) -> Decision {
        self.room[..bytes.len()].copy_from_slice(bytes);
        self.now += STEP;
        self.count += 1;
        if self.count.is_multiple_of(BATCH) {
            self.drain();
        }
        let mut packet = PacketMut::new(&mut self.room, bytes.len(), Offload::default());
        self.node.packet(self.now, self.link, black_box(&mut packet))
    }
}

/// Names of what was measured in this run, in its order.
type Ran = RefCell<Vec<String>>;

const GROUP: &str = "packet";

fn measure(
    group: &mut BenchmarkGroup<'_, Clock>,
    ran: &Ran,
    name: &str,
    mut body: impl FnMut(&mut Bencher<'_, Clock>),
) {
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
        if !ran.borrow().iter().any(|n| n == name) {
            ran.borrow_mut().push(name.to_owned());
        }
        body(bencher);
    });
}

fn without_node(group: &mut BenchmarkGroup<'_, Clock>, ran: &Ran) {
    let (bytes, mut room) = (packet(SMALL_BYTES), vec![0; 2_048]);
    measure(group, ran, "floor", |bencher| {
        bencher.iter(|| {
            room[..bytes.len()].copy_from_slice(black_box(&bytes));
            black_box(PacketMut::new(&mut room, bytes.len(), Offload::default()).bytes().len())
        });
    });
    measure(group, ran, "parse", |bencher| {
        bencher.iter(|| {
            room[..bytes.len()].copy_from_slice(black_box(&bytes));
            let packet = PacketMut::new(&mut room, bytes.len(), Offload::default());
            Header::parse(black_box(packet.bytes()), false)
        });
    });
}

/// Packets of one known flow that no module wants.
fn flow_hit(group: &mut BenchmarkGroup<'_, Clock>, ran: &Ran, filters: usize) {
    let bytes = packet(SMALL_BYTES);
    let mut world = World::new(&SCRIPTS[0], filters, false, CpuGuard::Safepoints);
    measure(group, ran, &format!("flow_hit/{filters}"), |bencher| bencher.iter(|| world.pass(black_box(&bytes))));
}

/// Packets that no module wants, each of a new flow while the cache is full.
fn flow_miss(group: &mut BenchmarkGroup<'_, Clock>, ran: &Ran, filters: usize) {
    let mut bytes = packet(SMALL_BYTES);
    let mut world = World::new(&SCRIPTS[0], filters, false, CpuGuard::Safepoints);
    let mut source = 0_u32;
    let mut next = |bytes: &mut Vec<u8>| {
        source = source.wrapping_add(1);
        bytes[12..16].copy_from_slice(&source.to_be_bytes());
    };
    for _ in 0..2 * limits::FLOWS_DEFAULT {
        next(&mut bytes);
        let _ = world.pass(&bytes);
    }
    measure(group, ran, &format!("flow_miss/{filters}"), |bencher| {
        bencher.iter(|| {
            next(&mut bytes);
            world.pass(black_box(&bytes))
        });
    });
}

fn wanted(group: &mut BenchmarkGroup<'_, Clock>, ran: &Ran, script: &Script, filters: usize) {
    let bytes = packet(SMALL_BYTES);
    let mut world = World::new(script, filters, true, CpuGuard::Watch(Watch::with_clock(platform::thread::cpu_ns)));
    measure(group, ran, &format!("{}/{filters}", script.name), |bencher| {
        bencher.iter(|| {
            let decision = world.pass(black_box(&bytes));
            assert!(matches!(decision, Decision::Forward(_)), "{decision:?}");
        });
    });
    let view = &world.node.instances()[0];
    let native = script.name == "native_rule";
    let (most, least) = (view.packets_native.max(view.packets_seen), view.packets_native.min(view.packets_seen));
    // Not this one, if a filter was given.
    if most == 0 {
        return;
    }
    let as_meant = if native { view.packets_native > view.packets_seen } else { view.packets_native == 0 };
    assert!(as_meant && least <= 1 && view.faults.is_empty(), "{}: {most} {least} {:?}", script.name, view.faults);
}

/// Median of one bench, in nanoseconds.
fn median_ns(folder: &Path, name: &str) -> Option<f64> {
    let path = folder.join(GROUP).join(name.replace('/', "_")).join("new/estimates.json");
    let estimates: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

/// A Markdown table: rows are what is done to a packet, columns the number of filters.
fn table(folder: &Path, names: &[String]) -> String {
    let floor = median_ns(folder, "floor");
    let mut page = String::from("| per packet, ns (times the floor) |");
    for count in FILTER_COUNTS {
        let _ = write!(page, " {count} filters |");
    }
    page.push_str("\n|---|---:|---:|---:|\n");
    let mut rows: Vec<&str> = names.iter().map(|name| name.split('/').next().unwrap_or(name)).collect();
    rows.dedup();
    for row in rows {
        let _ = write!(page, "| {} |", row.replace('_', " "));
        for count in FILTER_COUNTS {
            let ns = median_ns(folder, &format!("{row}/{count}")).or_else(|| median_ns(folder, row));
            match (ns, floor) {
                (Some(ns), Some(floor)) => drop(write!(page, " {ns:.1} ({:.1}) |", ns / floor)),
                (Some(ns), None) => drop(write!(page, " {ns:.1} |")),
                (None, _) => page.push_str(" - |"),
            }
        }
        page.push('\n');
    }
    page
}

fn main() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("criterion");
    let ran = Ran::default();
    let mut criterion = Criterion::default()
        .output_directory(&folder)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(40)
        .configure_from_args();
    let mut group = criterion.benchmark_group(GROUP);
    without_node(&mut group, &ran);
    // The numbers that are to be compared are measured one after the other.
    FILTER_COUNTS.iter().for_each(|filters| flow_hit(&mut group, &ran, *filters));
    FILTER_COUNTS.iter().for_each(|filters| flow_miss(&mut group, &ran, *filters));
    for script in SCRIPTS {
        FILTER_COUNTS.iter().for_each(|filters| wanted(&mut group, &ran, script, *filters));
    }
    group.finish();
    criterion.final_summary();
    publish(&table(&folder, &ran.borrow()));
}

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn publish(table: &str) {
    println!("{table}");
    if std::env::var_os("NETSERV_UPDATE").is_some() {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("an unknown processor", |rest| rest.trim_start_matches([' ', '\t', ':']));
        let page = format!(
            "# One packet in the node, measured\n\nMade by `NETSERV_UPDATE=1 cargo bench`; do not edit. Medians, on \
             {model}. A packet of {SMALL_BYTES} bytes, UDP over IPv4, on a TUN link. \
             [How to read it](../performance.md#per-packet).\n\n{table}"
        );
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/performance/packet.md");
        fs::write(&path, page).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        println!("written: {}", path.display());
    }
}

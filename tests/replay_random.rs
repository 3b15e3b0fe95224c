//! A million packets that are random, or real ones with damage, through a replay: nothing panics, nothing grows.
//!
//! `NETSERV_SEED=n cargo test --test replay_random` repeats a run; a failure names its seed.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test: what fails must stop it, and say why")]

#[path = "replay/traffic.rs"]
mod traffic;

use std::path::{Path, PathBuf};

use netserv::drivers::module_dir;
use netserv::drivers::replay::report::Report;
use netserv::drivers::replay::{Capture, ModuleOrder, Options, run};
use traffic::Traffic;

/// Packets of each run.
const PACKETS: u64 = 1_000_000;
/// Flows that the node may remember: fewer than there are, so that the table is full most of the time.
const FLOWS_MAX: u32 = 8_192;
/// By how much memory may grow between the first fifth of a run and its end, in bytes. A leak of 64 bytes per packet
/// would be 51 MB.
const GROWTH_BYTES_MAX: u64 = 12 << 20;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn seed() -> u64 {
    match std::env::var("NETSERV_SEED") {
        Ok(text) => text.parse().expect("NETSERV_SEED is a number"),
        Err(_) => 20_261_123,
    }
}

/// Says how to repeat the run when the test fails.
struct NameSeed(u64);

impl Drop for NameSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("to repeat: NETSERV_SEED={} cargo test --test replay_random", self.0);
        }
    }
}

fn captures() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["tests/data", "tests/data/gist"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root().join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "pcap" || e == "pcapng"))
        .collect();
    found.sort();
    found
}

/// Replays random traffic; the report, and by how much memory grew.
fn replay(seed: u64, modules: &[&str]) -> (Report, u64) {
    let orders = modules
        .iter()
        .map(|name| ModuleOrder {
            module: module_dir::load(&root().join("modules").join(name)).unwrap(),
            name: None,
            properties: toml::Table::new(),
        })
        .collect();
    let growth = std::cell::Cell::new(0);
    let early = std::cell::Cell::new(0);
    let traffic = Traffic::new(seed, PACKETS, &captures(), |count| {
        if count == PACKETS / 5 {
            early.set(resident_bytes());
        } else if count == PACKETS {
            growth.set(resident_bytes().saturating_sub(early.get()));
        }
    });
    let mut out = std::io::sink();
    let options = Options { out: Some(&mut out), seed, flows_max: FLOWS_MAX };
    let report = run([Capture::reader("random", traffic)], orders, options).unwrap();
    (report, growth.get())
}

/// Memory of this process, in bytes; 0 where that cannot be read.
fn resident_bytes() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

#[test]
fn a_million_random_packets_leave_the_node_as_it_was() {
    let seed = seed();
    let _named = NameSeed(seed);
    for modules in [&[][..], &["uppercase"], &["monitor", "uppercase"]] {
        let (report, growth) = replay(seed, modules);
        let t = &report.totals;
        println!(
            "{modules:?}: {} passed, {} changed, {} dropped, {} not IP, {} too short, {} flows pushed out, grew {} KiB",
            t.passed,
            t.changed,
            t.dropped,
            t.not_ip,
            t.short,
            report.flows.pushed_out,
            growth >> 10
        );
        assert_eq!(report.files[0].error, None);
        assert_eq!(t.frames, PACKETS);
        assert_eq!(t.passed + t.dropped + t.taken + t.not_ip + t.short, PACKETS);
        // The traffic is a mixture: enough of it must get past the parser to mean something.
        assert!(t.passed > PACKETS / 4 && t.dropped > PACKETS / 20, "{report}");
        assert!(report.flows.remembered <= u64::from(FLOWS_MAX) && report.flows.pushed_out > 0, "{report}");
        assert_eq!(report.modules.len(), modules.len());
        for module in &report.modules {
            assert_eq!((module.state, module.faults.as_slice()), ("running", &[][..]), "{report}");
            assert!(module.packets_seen > 0, "{report}");
            assert_eq!(module.report_error, None);
        }
        if modules.contains(&"uppercase") {
            assert!(t.changed > 0, "{report}");
        } else {
            assert_eq!(t.changed, 0, "{report}");
        }
        assert!(growth <= GROWTH_BYTES_MAX, "memory grew by {growth} bytes with {modules:?}");
    }
}

//! Captures through a replay: what `monitor` counts is what tshark counts, and hostile files do no harm.

#![expect(clippy::unwrap_used, reason = "a test: what fails must stop it, and say why")]

#[path = "replay/tshark.rs"]
mod tshark;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use netserv::drivers::module_dir;
use netserv::drivers::replay::report::Report;
use netserv::drivers::replay::{Capture, ModuleOrder, Options, run};
use serde_json::Value;
use tshark::{Counts, Pair, Said};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The captures of a folder, in the order of their names.
fn captures(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "pcap" || e == "pcapng"))
        .collect();
    found.sort();
    found
}

fn our_captures() -> Vec<PathBuf> {
    let mut found = captures(&root().join("tests/data"));
    found.extend(captures(&root().join("tests/data/gist")));
    assert!(found.len() > 20, "{} captures", found.len());
    found
}

/// Modules of the repository, checked.
fn modules(names: &[&str]) -> Vec<ModuleOrder> {
    let load = |name| module_dir::load(&root().join("modules").join(name)).unwrap();
    names.iter().map(|name| ModuleOrder { module: load(name), name: None, properties: toml::Table::new() }).collect()
}

/// The report, and the capture that came out.
fn replay(path: &Path, modules: &[ModuleOrder]) -> (Report, Vec<u8>) {
    let mut out = Vec::new();
    let name = path.file_name().unwrap().to_string_lossy();
    let capture = Capture::reader(&name, std::fs::File::open(path).unwrap());
    let report = run([capture], modules.to_vec(), Options { out: Some(&mut out), ..Options::default() }).unwrap();
    (report, out)
}

/// What `monitor` reports, in the same form as what tshark says.
fn monitor_said(report: &Report) -> Said {
    let value = report.modules[0].report.as_ref().expect("monitor has a report");
    let counts = |v: &Value| Counts { frames: v["packets"].as_u64().unwrap(), bytes: v["bytes"].as_u64().unwrap() };
    let protocols = value["protocols"].as_object().unwrap();
    let conversations = value["conversations"].as_array().unwrap();
    Said {
        protocols: protocols
            .iter()
            .filter(|(name, _)| tshark::PROTOCOLS.contains(&name.as_str()))
            .map(|(name, v)| (name.clone(), counts(v)))
            .filter(|(_, c)| c.frames > 0)
            .collect(),
        conversations: conversations
            .iter()
            .map(|c| (Pair::new(c["a"].as_str().unwrap(), c["b"].as_str().unwrap()), counts(c)))
            .collect(),
    }
}

/// Prints why a test does nothing. Where everything must be there (`NETSERV_REQUIRE_ALL`), that is a failure.
#[expect(clippy::print_stdout, reason = "whoever runs the test must see it")]
fn skipped(why: &str) {
    assert!(std::env::var_os("NETSERV_REQUIRE_ALL").is_none(), "NETSERV_REQUIRE_ALL is set, but {why}");
    println!("skipped: {why}");
}

#[test]
fn monitor_counts_what_tshark_counts() {
    if !tshark::is_installed() {
        return skipped("tshark is not installed");
    }
    let modules = modules(&["monitor"]);
    let mut all = Said::default();
    for path in our_captures() {
        let (report, _) = replay(&path, &modules);
        let name = path.display();
        assert!(report.is_complete() && report.drops.is_empty(), "{name}: {report}");
        let said = tshark::ask(&path);
        assert_eq!(monitor_said(&report), said, "{name}: monitor left, tshark right");
        all.add(said);
    }
    // Silences between the files, in which flows are forgotten, lose nothing.
    let captures: Vec<Capture<'_>> = our_captures().iter().map(|path| Capture::file(path)).collect();
    let report = run(captures, modules, Options::default()).unwrap();
    assert_eq!(monitor_said(&report), all, "all captures together: monitor left, tshark right");
}

#[test]
fn monitor_counts_what_it_counted_before() {
    let modules = modules(&["monitor"]);
    for path in our_captures() {
        let (report, _) = replay(&path, &modules);
        let mut text = String::new();
        for file in &report.files {
            write!(text, "{file}").unwrap();
        }
        let Said { protocols, conversations } = monitor_said(&report);
        for (name, counts) in protocols {
            writeln!(text, "{name}: {} packets, {} bytes", counts.frames, counts.bytes).unwrap();
        }
        for (pair, counts) in conversations {
            writeln!(text, "{} {}: {} packets, {} bytes", pair.0, pair.1, counts.frames, counts.bytes).unwrap();
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, text);
        });
    }
}

#[test]
fn two_runs_give_the_same_bytes() {
    let modules = modules(&["monitor", "uppercase"]);
    for path in our_captures() {
        let runs: Vec<_> = (0..2)
            .map(|_| {
                let (report, out) = replay(&path, &modules);
                (serde_json::to_string_pretty(&report).unwrap(), report.to_string(), out)
            })
            .collect();
        assert!(runs[0] == runs[1], "{} gives different reports or packets", path.display());
    }
}

#[test]
fn uppercase_changes_the_payloads_with_the_word_and_nothing_else() {
    let mut changed = BTreeMap::new();
    let modules = modules(&["uppercase"]);
    for path in our_captures() {
        let (report, out) = replay(&path, &modules);
        changed.insert(path.file_name().unwrap().to_string_lossy().into_owned(), report.totals.changed);
        let (_, unchanged) = replay(&path, &[]);
        assert_eq!(out.len(), unchanged.len());
        // A changed packet differs in the case of letters and in its checksum.
        let lower = |bytes: &[u8]| bytes.to_ascii_lowercase();
        let differs = lower(&out).iter().zip(lower(&unchanged)).filter(|(a, b)| **a != *b).count() as u64;
        assert!(differs <= 2 * report.totals.changed, "{}: {differs} bytes differ", path.display());
        assert_eq!(out == unchanged, report.totals.changed == 0, "{}", path.display());
        if report.totals.changed > 0 && tshark::is_installed() {
            assert_eq!(tshark::bad_checksums(&out), tshark::bad_checksums(&unchanged), "{}", path.display());
        }
    }
    assert!(changed["http.pcap"] > 0 && changed["fragments.pcap"] > 0 && changed["extensions.pcap"] > 0, "{changed:?}");
    assert!(changed["ping.pcap"] == 0 && changed["tls.pcapng"] == 0, "{changed:?}");
}

#[test]
fn the_captures_of_tcpdump_do_no_harm() {
    let Ok(folder) = std::env::var("NETSERV_TCPDUMP_TESTS") else {
        return skipped(
            "NETSERV_TCPDUMP_TESTS is not set; tests/replay/fetch-tcpdump-captures.sh FOLDER gets the captures",
        );
    };
    let found = captures(Path::new(&folder));
    assert!(found.len() > 300, "{folder} holds {} captures, not several hundred", found.len());
    let (mut frames, mut ip, mut dropped, mut broken) = (0, 0, 0, 0);
    let modules = modules(&["monitor", "uppercase"]);
    for path in &found {
        let runs: Vec<_> = (0..2)
            .map(|_| {
                let (report, out) = replay(path, &modules);
                (serde_json::to_string(&report).unwrap(), out, report)
            })
            .collect();
        assert!(runs[0].0 == runs[1].0 && runs[0].1 == runs[1].1, "{} gives different bytes", path.display());
        let report = &runs[0].2;
        let t = &report.totals;
        assert_eq!(t.frames, t.ip + t.not_ip + t.short, "{}", path.display());
        assert_eq!(t.ip, t.passed + t.dropped + t.taken, "{}", path.display());
        for module in &report.modules {
            assert_eq!((module.state, &module.last_fault), ("running", &None), "{}: {report}", path.display());
        }
        (frames, ip, dropped) = (frames + t.frames, ip + t.ip, dropped + t.dropped);
        broken += u64::from(!report.is_complete());
    }
    println!(
        "{} captures ({broken} broken): {frames} frames, {ip} IP packets, {dropped} of them dropped as malformed",
        found.len()
    );
    assert!(ip > frames / 4, "{ip} of {frames} frames hold IP packets");
}

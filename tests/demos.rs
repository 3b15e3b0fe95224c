//! Every demo runs without root, repeats exactly, and has the figures that its page promises.
//!
//! `NETSERV_UPDATE=1 cargo test --test demos` writes `demos/NAME/expected.txt` anew.

use std::path::Path;
use std::process::Command;

use netserv::drivers::scenario::{Player, Scenario, ScenarioSource, names};

fn demo(arguments: &[&str]) -> (String, String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_netserv")).arg("demo").args(arguments).output();
    let output = output.expect("the program can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.success())
}

#[test]
fn each_demo_prints_what_it_is_expected_to() {
    for name in names() {
        let (out, err, is_ok) = demo(&[&name, "--headless"]);
        assert!(is_ok, "{name}: {err}");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("demos").join(&name).join("expected.txt");
        if std::env::var_os("NETSERV_UPDATE").is_some() {
            std::fs::write(&file, &out).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            out == expected,
            "{name} prints another thing than {}; look at it, then NETSERV_UPDATE=1 writes it anew:\n{out}",
            file.display()
        );
    }
}

#[test]
fn each_demo_has_a_page_that_is_listed() {
    let list = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/demos.md")).unwrap();
    for name in names() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("demos").join(&name).join("README.md");
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains(&format!("netserv demo {name}")) && page.lines().count() <= 40, "{name}");
        assert!(list.contains(&format!("[{name}](../demos/{name})")), "{name} is not in docs/demos.md");
    }
}

/// All that a run shows, as text.
fn trace(name: &str, seed: u64) -> String {
    let scenario = Scenario::new(ScenarioSource::embedded(name).expect("it is a demo")).expect("it is right");
    let mut player = Player::new(&scenario, Some(seed)).expect("it can be built");
    let mut text = String::new();
    while !player.is_over() {
        let mut moment = player.advance(&scenario, player.at_s() + 0.5);
        // What a VM takes of memory and CPU depends on where the system puts it: tables with objects as keys grow by
        // their addresses. Nothing that happens in the network does.
        moment.details.clear();
        text.push_str(&serde_json::to_string(&moment).expect("it is plain data"));
        text.push('\n');
    }
    text
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_does_not() {
    let first = trace("migration", 7);
    assert!(first == trace("migration", 7));
    assert!(first != trace("migration", 8));
}

#[test]
fn a_recorded_run_is_one_file_that_needs_nothing_else() {
    let file = std::env::temp_dir().join(format!("netserv-record-{}.html", std::process::id()));
    let (_, err, is_ok) = demo(&["first-look", "--record", file.to_str().unwrap()]);
    assert!(is_ok, "{err}");
    let page = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(page.contains("A module on the way") && page.contains("\"moments\""));
    for elsewhere in ["src=\"", "href=\"http", "@import", "url(http"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn json_has_the_figures_and_the_order_of_events() {
    let (out, err, is_ok) = demo(&["migration", "--json"]);
    assert!(is_ok, "{err}");
    let result: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(result["demo"], "migration");
    assert!(result["figures"].as_array().is_some_and(|figures| figures.len() >= 4), "{result}");
    let order = result["order"].as_array().unwrap();
    assert!(order.iter().any(|event| event["machine"] == "boston" && event["state"] == "running"), "{result}");
}

#[test]
fn a_demo_that_is_not_there_is_refused_with_those_that_are() {
    let (_, err, is_ok) = demo(&["no-such-demo"]);
    assert!(!is_ok && err.contains("no-such-demo") && err.contains("migration"), "{err}");
}

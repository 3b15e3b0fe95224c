use super::*;
use crate::container::manifest::Limits;

const KEY: &str = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";

fn requester(words: &[&str]) -> Result<Requester, String> {
    let add = Add::from_args(&["add"], words).map_err(|early| early.output)?;
    add.requester().map_err(|error| match error {
        CliError::Usage(text) | CliError::Failure(text) | CliError::Partial(text) => text,
        CliError::Output(error) => error.to_string(),
    })
}

#[test]
fn options_describe_a_requester() {
    let plain = requester(&["--name", "a", "--key", KEY]).unwrap();
    assert_eq!(plain, Requester::new("a", crate::base::crypto::from_hex(KEY).unwrap()));
    let full = requester(&[
        "--name",
        "a",
        "--key",
        KEY,
        "--packages",
        "monitor, nat-*",
        "--urls",
        "https://example.org/",
        "--permissions",
        "drop,inject",
        "--memory",
        "32M",
        "--cpu-ms-per-call",
        "5",
        "--timers",
        "7",
        "--storage",
        "1G",
        "--sockets",
        "8",
        "--tasks",
        "9",
        "--cpu-share-percent",
        "10",
        "--bandwidth-in",
        "1000000",
        "--bandwidth-out",
        "2000000",
        "--flows",
        "11",
        "--lifetime",
        "2h",
        "--instances",
        "9",
        "--package-bytes",
        "64K",
        "--no-probe",
        "--notify",
        "http://h/",
    ]);
    let full = full.unwrap();
    assert_eq!(full.packages, ["monitor", "nat-*"]);
    let limits = Limits {
        memory_bytes: 32 << 20,
        cpu_ms_per_call: 5,
        cpu_share_percent: 10,
        storage_bytes: 1 << 30,
        bandwidth_in: 1_000_000,
        bandwidth_out: 2_000_000,
        timers: 7,
        sockets: 8,
        tasks: 9,
        flows: 11,
    };
    assert_eq!(full.limits, limits);
    assert_eq!((full.instances, full.package_bytes, full.probe), (9, 65_536, false));
    assert_eq!((span_text(full.lifetime), joined(&full.permissions)), ("2h".to_owned(), "drop, inject".to_owned()));
    assert_eq!((joined(&full.urls), joined(&full.notify)), ("https://example.org/".to_owned(), "http://h/".to_owned()));
}

#[test]
fn a_wrong_option_is_named_with_its_value_and_the_remedy() {
    for (option, value, part) in [
        ("--memory", "1T", "16M"),
        ("--lifetime", "1 year", "1h"),
        ("--permissions", "fly", "inject"),
        ("--packages", "A/B", "lower case"),
        ("--urls", "ftp://h/", "only http"),
        ("--package-bytes", "big", "1M"),
        ("--cpu-ms-per-call", "0", "from 1"),
        ("--storage", "2T", "0 to 1T"),
        ("--cpu-share-percent", "101", "from 1 to 100"),
        ("--flows", "0", "from 1"),
    ] {
        let error = requester(&["--name", "a", "--key", KEY, option, value]).unwrap_err();
        assert!(error.starts_with(option) && error.contains(part), "{error}");
    }
    assert!(requester(&["--name", "a", "--key", "12"]).unwrap_err().contains("--key"));
    assert!(requester(&["--name", "a b\n", "--key", KEY]).unwrap_err().contains("--name"));
}

#[test]
fn a_table_is_cut_out_with_its_comments_but_not_those_of_the_next() {
    let text = "# mine\n[[requester]] # a\nname = 1\n# of a\nx = 2\n\n# of b\n# too\n[[requester]]\nname = 2\n";
    assert_eq!(without_table(text, 0), "# mine\n# of b\n# too\n[[requester]]\nname = 2\n");
    assert_eq!(without_table(text, 1), &text[..text.find("[[requester]]\nname = 2").unwrap()]);
    assert_eq!(without_table(text, 2), text);
}

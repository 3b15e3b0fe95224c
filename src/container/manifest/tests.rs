use super::*;
use crate::container::properties::table_of_words;

const HEAD: &str = "name = \"m\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"For a test.\"\n";

fn with(rest: &str) -> Result<Manifest, String> {
    Manifest::parse(&format!("{HEAD}{rest}")).map_err(|error| error.to_string())
}

fn filters(rest: &str, words: &[&str]) -> Result<Vec<String>, String> {
    let manifest = with(rest)?;
    let table = table_of_words(words.iter().copied()).map_err(|e| e.to_string())?;
    let properties = Properties::check(&manifest.properties, &table).map_err(|e| e.to_string())?;
    let filters = manifest.filters(&properties).map_err(|e| e.to_string())?;
    Ok(filters.iter().map(ToString::to_string).collect())
}

#[test]
fn reads_every_key() {
    let manifest = Manifest::parse(
        r#"
        name = "nat-keepalive"
        version = "1.2.3"
        api = 1
        summary = "Answers probes."
        authors = ["A", "B"]
        licence = "Apache-2.0"
        entry = "main.luau"

        [packets]
        sees = "payload"
        changes = "length"
        drops = true
        on_fault = "drop"

        [[filters]]
        protocol = "udp"
        ip_version = 4
        from = "10.0.0.0/8"
        to = "$server"
        from_port = 1024
        to_port = "5060-5061"
        both_directions = true

        [permissions]
        inject = true

        [limits]
        memory_bytes = 4_000_000
        cpu_ms_per_call = 5
        timers = 0

        [config.server]
        type = "list of prefix"
        default = ["192.0.2.0/24"]
        meaning = "Who is asked."

        [config.wait]
        type = "duration"
        unit = "s"
        default = "500ms"
        min = 0.1
        max = 10
        meaning = "How long."

        [counters]
        answered = "Probes answered."
        "#,
    )
    .unwrap();
    assert_eq!((manifest.name.as_str(), manifest.version.to_string()), ("nat-keepalive", "1.2.3".to_owned()));
    assert_eq!((manifest.authors.len(), manifest.licence.as_str()), (2, "Apache-2.0"));
    assert_eq!(
        (manifest.entry.as_str(), manifest.sees, manifest.changes),
        ("main.luau", Sees::Payload, Changes::Length)
    );
    assert!(
        manifest.drops && !manifest.passes_on_fault && manifest.permissions.inject && manifest.needs_to_hold_packets()
    );
    assert_eq!(manifest.limits, Limits { memory_bytes: 4_000_000, cpu_ms_per_call: 5, timers: 0, ..Limits::default() });
    assert_eq!(manifest.properties["wait"].default, Some(toml::Value::Float(0.5)));
    assert_eq!(manifest.properties["wait"].unit.as_deref(), Some("s"));
    assert_eq!(manifest.counters["answered"], "Probes answered.");
    let properties = Properties::check(&manifest.properties, &toml::Table::new()).unwrap();
    let filters: Vec<String> = manifest.filters(&properties).unwrap().iter().map(ToString::to_string).collect();
    let want = "ipv4 udp from 10.0.0.0/8 from port 1024 to 192.0.2.0/24 to port 5060-5061 and back";
    assert_eq!(filters, [want]);
}

#[test]
fn a_short_manifest_gets_harmless_defaults() {
    let manifest = with("").unwrap();
    assert_eq!(
        (manifest.entry.as_str(), manifest.sees, manifest.changes),
        ("init.luau", Sees::Headers, Changes::Nothing)
    );
    assert!(
        !manifest.drops
            && manifest.passes_on_fault
            && !manifest.permissions.inject
            && !manifest.needs_to_hold_packets()
    );
    assert_eq!(manifest.limits.memory_bytes, crate::base::limits::MODULE_MEMORY_DEFAULT);
    assert_eq!(manifest.filters(&Properties::default()), Ok(vec![]));
}

#[test]
fn names_line_key_value_and_remedy_of_what_is_wrong() {
    let cases = [
        ("colour = 1", "line 5: unknown field `colour`, expected one of `name`"),
        ("[limits]\nmemory = 5", "line 6: unknown field `memory`, expected one of `memory_bytes`"),
        ("[permissions]\nlisten = true", "line 6: invalid type: boolean `true`, expected a sequence"),
        ("[limits]\nmemory_bytes = 5", "line 6: limits.memory_bytes = 5 cannot be; write a number from 2097152 to"),
        (
            "[limits]\ncpu_ms_per_call = -1",
            "line 6: limits.cpu_ms_per_call = -1 cannot be; write a number from 1 to 1000",
        ),
        ("[limits]\ntimers = \"many\"", "line 6: invalid type: string \"many\""),
        ("entry = \"x.lua\"", "line 5: entry = \"x.lua\" cannot be; write the path of a .luau file"),
        ("[packets]\ndrops = true", "line 5: packets = {...} cannot be; without [[filters]]"),
        (
            "[packets]\nsees = \"all\"\n[[filters]]",
            "line 6: packets.sees = \"all\" cannot be; write one of \"headers\", \"payload\"",
        ),
        ("[packets]\nchanges = \"payload\"\n[[filters]]", "a handler that changes the payload must see it"),
        ("[packets]\non_fault = \"drop\"\n[[filters]]", "a module that drops packets says so: add drops = true"),
        ("[[filters]]\nprotocol = \"tpc\"", "line 6: filters.protocol = \"tpc\" cannot be; write \"udp\""),
        ("[[filters]]\nto = \"$server\"", "line 6: filters.to = \"$server\" cannot be; there is no [config.server]"),
        ("[[filters]]\nto_port = 65536", "line 6: filters.to_port = 65536 cannot be; write 5060"),
        ("[[filters]]\nip_version = 5", "line 6: filters.ip_version = 5 cannot be; write 4, 6"),
        ("[[filters]]\nport = 5", "line 6: unknown field `port`, expected one of `ip_version`"),
        ("[[filters]]\nprotocol = \"icmp\"\nto_port = 5", "can match nothing: only tcp, udp and sctp have ports"),
        ("[[filters]]\nfrom = \"::1\"\nto = \"10.0.0.1\"", "can match nothing: ip_version, from and to"),
        ("[counters]\nBad = \"x\"", "line 6: counters.Bad = ... cannot be; its name must be"),
        ("[counters]\ngood = \" \"", "line 6: counters.good = \" \" cannot be; write one sentence"),
        (
            "[config.x]\ntype = \"int\"\nmeaning = \"x\"",
            "line 6: config.x.type = \"int\" cannot be; write one of string, integer",
        ),
        ("[config.x]\ntype = \"port\"", "missing field `meaning`"),
        (
            "[config.x]\ntype = \"port\"\nmeaning = \"x\"\ndefault = 70000",
            "line 8: config.x.default = 70000 cannot be; it must be: port",
        ),
        (
            "[config.x]\ntype = \"boolean\"\nmeaning = \"x\"\nmin = 1",
            "config.x.min = 1 cannot be; the type \"boolean\" has no range",
        ),
        (
            "[config.x]\ntype = \"port\"\nmeaning = \"x\"\nmin = 9\nmax = 1",
            "config.x.max = 1 cannot be; it must not be below min = 9",
        ),
        ("[config.x]\ntype = \"port\"\nmeaning = \"x\"\nchoices = [\"a\"]", "each must be: port"),
        (
            "[config.x]\ntype = \"string\"\nmeaning = \"x\"\ndefault = \"c\"\nchoices = [\"a\", \"b\"]",
            "string, one of a, b",
        ),
        ("x", "line 5: "),
    ];
    for (rest, want) in cases {
        let got = with(rest).expect_err(rest);
        assert!(got.contains(want), "{rest}\n got {got}\nwant {want}");
    }
}

#[test]
fn refuses_a_bad_name_version_or_api() {
    let cases = [
        ("name = \"m\"", "name = \"../m\"", "line 1: name = \"../m\" cannot be"),
        ("name = \"m\"", "name = \"My\"", "a name is 1 to 64 lower case letters"),
        ("version = \"1.0.0\"", "version = \"1.0\"", "line 2: version = \"1.0\" cannot be"),
        ("api = 1", "api = 2", "line 3: api = 2 cannot be; this program has api 1"),
        ("api = 1\n", "", "missing field `api`"),
        ("For a test.", "two\\nlines", "write one sentence, on one line"),
    ];
    for (from, to, want) in cases {
        let got = Manifest::parse(&HEAD.replace(from, to)).unwrap_err().to_string();
        assert!(got.contains(want), "got {got}\nwant {want}");
    }
    let long = format!("{HEAD}# {}", "x".repeat(crate::base::limits::MANIFEST_BYTES_MAX));
    assert!(matches!(Manifest::parse(&long), Err(ManifestError::TooLong { .. })));
}

const WITH_PROPERTIES: &str = r#"
[[filters]]
protocol = "$protocol"
ip_version = "$version"
to = "$server"
to_port = "$ports"

[config.protocol]
type = "protocol"
default = "udp"
meaning = "x"

[config.version]
type = "list of integer"
choices = [4, 6]
default = [4, 6]
meaning = "x"

[config.server]
type = "list of prefix"
default = "any"
meaning = "x"

[config.ports]
type = "list of ports"
default = "any"
meaning = "x"
"#;

#[test]
fn any_restricts_nothing_and_a_list_makes_a_filter_of_each_item() {
    assert_eq!(filters(WITH_PROPERTIES, &[]).unwrap(), ["ipv4 udp", "ipv6 udp"]);
    assert_eq!(
        filters(WITH_PROPERTIES, &["version=4", "ports=53,8000-8099"]).unwrap(),
        ["ipv4 udp to port 53", "ipv4 udp to port 8000-8099"]
    );
    assert_eq!(filters(WITH_PROPERTIES, &["ports="]).unwrap(), [""; 0]);
}

#[test]
fn combinations_of_two_ip_versions_are_left_out_unless_nothing_else_is_there() {
    assert_eq!(
        filters(WITH_PROPERTIES, &["server=10.0.0.0/8,fd00::/8"]).unwrap(),
        ["ipv4 udp to 10.0.0.0/8", "ipv6 udp to fd00::/8"]
    );
    assert_eq!(
        filters(WITH_PROPERTIES, &["server=10.0.0.0/8", "version=6"]).unwrap_err(),
        "filters: \"ipv6 udp to 10.0.0.0/8\" can match nothing: ip_version, from and to are not of one IP version"
    );
    assert!(filters(WITH_PROPERTIES, &["protocol=icmp", "ports=7"]).unwrap_err().contains("have ports"));
}

#[test]
fn lists_cannot_make_more_filters_than_an_instance_may_have() {
    let ports: Vec<String> = (1..=6_000).map(|port| port.to_string()).collect();
    let ports = format!("ports={}", ports.join(","));
    assert!(filters(WITH_PROPERTIES, &[&ports]).unwrap_err().contains("more than 10240 filters"));
    assert_eq!(filters(WITH_PROPERTIES, &[&ports, "version=4"]).unwrap().len(), 6_000);
}

#[test]
fn a_filter_that_is_the_same_in_both_directions_is_asked_for_once() {
    let rest = "[[filters]]\nfrom = \"$a\"\nto = \"$b\"\nboth_directions = true\n\
        [config.a]\ntype = \"prefix\"\ndefault = \"any\"\nmeaning = \"x\"\n\
        [config.b]\ntype = \"prefix\"\ndefault = \"any\"\nmeaning = \"x\"\n";
    assert_eq!(filters(rest, &[]).unwrap(), ["all"]);
    assert_eq!(filters(rest, &["a=10.0.0.1"]).unwrap(), ["from 10.0.0.1/32 and back"]);
    assert_eq!(filters(rest, &["a=10.0.0.1", "b=10.0.0.1"]).unwrap(), ["from 10.0.0.1/32 to 10.0.0.1/32"]);
}

#[test]
fn no_change_of_a_manifest_makes_reading_it_panic() {
    let whole = include_str!("../../../modules/monitor/module.toml");
    let mut rng = crate::base::rng::Rng::seeded(7);
    let mut wrong = 0;
    for _ in 0..2_000 {
        let mut bytes = whole.as_bytes().to_vec();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            match rng.below(4) {
                0 => bytes[at] = rng.next_u64() as u8,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"\"[]{}=$.\n-9\xc3"[rng.below(12) as usize]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        wrong += u32::from(Manifest::parse(&text).is_err());
    }
    assert!(wrong > 500, "only {wrong} of 2000 were refused");
}

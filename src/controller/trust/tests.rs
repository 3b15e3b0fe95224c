use super::*;
use crate::base::limits::{REQUESTER_ITEMS_MAX, TRUST_BYTES_MAX};
use crate::container::manifest::asks::LIMIT_KEYS;

const KEY: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";

fn with(rest: &str) -> Result<Requester, String> {
    let text = format!("[[requester]]\nname = \"alice\"\nkey = \"{KEY}\"\n{rest}");
    Trust::parse(&text).map(|trust| trust.list()[0].clone()).map_err(|error| error.to_string())
}

fn manifest(rest: &str) -> Manifest {
    Manifest::parse(&format!("name = \"m\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"Test.\"\n{rest}")).unwrap()
}

#[test]
fn the_example_of_the_documentation_is_read_and_means_what_it_says() {
    let text = include_str!("../trust.rs");
    let example = text.split("//! ```").nth(1).unwrap().replace("toml\n", "\n").replace("//! ", "");
    let trust = Trust::parse(&example.replace("64 hexadecimal digits", KEY)).unwrap();
    let alice = &trust.list()[0];
    assert_eq!((alice.name.as_str(), alice.lifetime), ("alice", Duration::from_secs(3_600)));
    let defaults = Requester::new("alice", alice.key);
    assert_eq!(
        Requester { packages: vec![], urls: vec![], notify: vec![], permissions: BTreeSet::new(), ..alice.clone() },
        defaults,
        "the example shows the defaults"
    );
    assert!(alice.allows_package("monitor") && alice.allows_package("nat-keepalive"));
    assert!(!alice.allows_package("monitors") && !alice.allows_package("nat"));
    assert!(alice.allows(Permission::Payload) && !alice.allows(Permission::Inject));
}

#[test]
fn an_empty_file_trusts_nobody_and_a_bare_requester_may_only_probe() {
    assert!(Trust::parse("").unwrap().list().is_empty());
    let alice = with("").unwrap();
    assert!(!alice.allows_package("monitor") && !alice.allows_package(""));
    assert!(alice.permissions.is_empty() && alice.notify.is_empty() && alice.probe);
}

#[test]
fn urls_are_compared_by_their_parts() {
    let alice = with("urls = [\"https://example.org/\"]").unwrap();
    let allows = |url: &str| alice.allows_url(&Url::parse(url).unwrap());
    assert!(allows("https://example.org/a.nsm"));
    assert!(!allows("https://example.org.evil/a.nsm") && !allows("http://example.org/a.nsm"));
    assert!(with("").unwrap().allows_url(&Url::parse("http://anywhere/a").unwrap()));
    assert!(!with("").unwrap().allows_notify(&Url::parse("http://anywhere/a").unwrap()));
}

#[test]
fn permissions_follow_the_manifest() {
    let quiet = manifest("");
    assert!(Permission::needed_by(&quiet).is_empty());
    let all = manifest(
        "[packets]\nsees = \"payload\"\nchanges = \"length\"\ndrops = true\n[[filters]]\nprotocol = \"udp\"\n\
         [permissions]\ninject = true\n",
    );
    let needed: Vec<String> = Permission::needed_by(&all).iter().map(ToString::to_string).collect();
    assert_eq!(needed, ["payload", "drop", "change-length", "inject"]);
    let alice = with("permissions = [\"change-payload\"]").unwrap();
    assert!(alice.allows(Permission::ChangeHeaders) && alice.allows(Permission::ChangePayload));
    assert!(!alice.allows(Permission::ChangeLength) && !alice.allows(Permission::Drop));
}

#[test]
fn there_is_a_word_for_each_limit_of_manifests() {
    let all: String = LIMIT_KEYS.iter().map(|limit| format!("{} = {}\n", limit_word(limit.key), limit.max)).collect();
    let alice = with(&all).unwrap();
    for limit in LIMIT_KEYS {
        assert_eq!((limit.of)(&alice.limits), limit.max, "{}", limit.key);
    }
    assert_eq!(Trust::parse(&alice.to_toml()).unwrap().list()[0], alice);
}

#[test]
fn what_only_makes_a_module_slower_is_narrowed() {
    let alice = with("cpu_share_percent = 5\nbandwidth_in = 1000\nflows = 7\nstorage = \"1K\"\n").unwrap();
    let greedy = manifest("[limits]\ncpu_share_percent = 90\nbandwidth_in = 0\nbandwidth_out = 5000\n");
    let granted = alice.grant(&greedy, &Properties::default()).unwrap().limits;
    let want = Limits { cpu_share_percent: 5, bandwidth_in: 1_000, flows: 7, ..greedy.limits };
    assert_eq!(granted, want);
    let modest = manifest("[limits]\ncpu_share_percent = 1\nbandwidth_in = 10\nflows = 3\n");
    assert_eq!(alice.grant(&modest, &Properties::default()).unwrap().limits, modest.limits);
    assert!(Requester::NARROWED.iter().all(|key| LIMIT_KEYS.iter().any(|limit| limit.key == *key)));
}

#[test]
fn mistakes_are_named_with_line_key_value_and_remedy() {
    for (rest, want) in [
        ("package = []", "line 4: unknown field `package`"),
        ("packages = [\"*x\"]", "line 4: packages = \"*x\": write the name of a module"),
        ("packages = \"monitor\"", "line 4: invalid type"),
        ("urls = [\"example.org\"]", "line 4: urls = \"example.org\": it has no scheme"),
        ("urls = []", "line 4: urls = []: write the beginning of at least one URL, or leave it out"),
        ("notify = [\"file:///x\"]", "line 4: notify = \"file:///x\": write an address"),
        ("permissions = [\"injekt\"]", "line 4: permissions = \"injekt\": write some of payload, drop"),
        ("\nmemory = \"1X\"", "line 5: memory = \"1X\": write a size from 2M to 1G"),
        ("memory = 17.5", "line 4: memory = 17.5: write a size"),
        ("cpu_ms_per_call = 0", "line 4: cpu_ms_per_call = 0: write a number from 1 to 1000"),
        ("timers = -1", "line 4: timers = -1: write a number from 0"),
        ("sockets = 16385", "line 4: sockets = 16385: write a number from 0 to 16384"),
        ("storage = \"2T\"", "line 4: storage = \"2T\": write a size from 0 to 1T"),
        ("bandwidth_in = \"1M\"", "line 4: bandwidth_in = \"1M\": write a number from 0"),
        ("flows = 0", "line 4: flows = 0: write a number from 1"),
        ("lifetime = 3600", "line 4: lifetime = 3600: write a time from \"1s\" to \"366d\""),
        ("instances = \"4\"", "line 4: instances = \"4\": write a number"),
        ("package_bytes = \"1G\"", "line 4: package_bytes = \"1G\": write a size from 1 to 4352K"),
        ("probe = \"no\"", "line 4: invalid type"),
    ] {
        let error = with(rest).unwrap_err();
        assert!(error.starts_with(want), "{error}");
    }
    let error = Trust::parse("[[requester]]\nname = \"a b\"\nkey = \"00\"").unwrap_err().to_string();
    assert!(error.starts_with("line 2: name = \"a b\": write 1 to"), "{error}");
    let error = Trust::parse("[[requester]]\nname = \"a\"\nkey = \"00\"").unwrap_err().to_string();
    assert_eq!(error, "line 3: key = \"00\": write the 64 hexadecimal digits that `netserv key show` prints");
    assert!(Trust::parse(&" ".repeat(TRUST_BYTES_MAX + 1)).is_err());
    let many = format!("packages = [{}]", "\"a\",".repeat(REQUESTER_ITEMS_MAX + 1));
    assert!(with(&many).unwrap_err().contains("at most 256 items"));
}

#[test]
fn names_and_the_starts_of_keys_are_unique() {
    let one = format!("[[requester]]\nname = \"a\"\nkey = \"{KEY}\"\n");
    let same_name = one.replace("3d40", "3d41");
    assert!(Trust::parse(&format!("{one}{same_name}")).unwrap_err().to_string().contains("line 5: name = \"a\""));
    let same_start = one.replace("\"a\"", "\"b\"").replace("660c", "660d");
    let error = Trust::parse(&format!("{one}{same_start}")).unwrap_err().to_string();
    assert!(error.starts_with("line 6: key") && error.contains("netserv key new"), "{error}");
}

#[test]
fn a_file_is_changed_by_adding_and_removing() {
    let mut alice =
        with("packages = [\"*\"]\nurls = [\"https://h/\"]\npermissions = [\"drop\"]\nprobe = false").unwrap();
    alice.limits.memory_bytes = 100 << 20;
    let mut trust = Trust::default();
    trust.add(alice.clone()).unwrap();
    trust.add(Requester::new("bob", [7; 32])).unwrap();
    assert_eq!(Trust::parse(&trust.to_toml()).unwrap(), trust);
    assert_eq!(trust.by_key(&alice.key), Some(&alice));
    assert!(trust.add(Requester::new("bob", [8; 32])).is_err());
    let error = trust.remove("carol").unwrap_err().to_string();
    assert_eq!(error, "no requester is called \"carol\"; there are: alice, bob");
    trust.remove("alice").unwrap();
    assert_eq!(trust.list().len(), 1);
}

#[test]
fn adding_to_the_text_leaves_comments_alone() {
    let text = format!("# Mine.\n[[requester]]\nname = \"a\" # me\nkey = \"{KEY}\"");
    let longer = Trust::appended(&text, &Requester::new("bob", [7; 32])).unwrap();
    assert!(longer.starts_with(&format!("{text}\n\n[[requester]]\nname = \"bob\"\n")), "{longer}");
    assert_eq!(Trust::parse(&longer).unwrap().list().len(), 2);
    assert!(Trust::appended("[[requester", &Requester::new("bob", [7; 32])).is_err());
}

use super::*;

fn manifest(text: &str) -> Manifest {
    let head = "name = \"m\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"s\"\n";
    Manifest::parse(&format!("{head}{text}")).unwrap()
}

fn grant(text: &str, optional: bool) -> Grant {
    Grant::of(&manifest(text), &Properties::default(), optional).unwrap()
}

const ASKS: &str = "[permissions]\ninject = true\nconnect = [\"tcp:192.0.2.0/24:80-443\", \"udp:*:53\"]\n\
                    listen = [\"tcp:8080\"]\nsystem = [\"load\"]\n[permissions.optional]\nstore = true\n";

#[test]
fn a_grant_is_read_as_it_is_written() {
    let granted = grant(&format!("{ASKS}[[filters]]\nprotocol = \"udp\"\nto_port = 5060\n"), true);
    let text = serde_json::to_string(&granted).unwrap();
    assert_eq!(serde_json::from_str::<Grant>(&text).unwrap(), granted, "{text}");
    for (from, to) in [("\"load\"", "\"x\""), ("tcp:*:8080", "tcp:x:y:z"), ("\"drops\"", "\"drop\"")] {
        assert!(serde_json::from_str::<Grant>(&text.replace(from, to)).is_err(), "{from}");
    }
}

#[test]
fn what_is_optional_is_granted_apart() {
    assert!(!grant(ASKS, false).allowed.store);
    assert!(grant(ASKS, true).allowed.store);
    assert_eq!(grant(ASKS, false).lacks(&grant(ASKS, true)), ["keep data on this machine"]);
    assert_eq!(grant(ASKS, true).lacks(&grant(ASKS, false)), Vec::<String>::new());
}

#[test]
fn a_later_version_gets_no_more_than_was_granted() {
    let old = grant("[packets]\ndrops = true\n[[filters]]\nprotocol = \"udp\"\nto_port = 5060\n", true);
    let new = manifest(
        "[packets]\nsees = \"payload\"\nchanges = \"length\"\ndrops = true\n[[filters]]\nprotocol = \"udp\"\n\
         [limits]\nmemory_bytes = 67108864\ntimers = 1\n",
    );
    let wish = Grant::of(&new, &Properties::default(), true).unwrap();
    assert_eq!(
        old.lacks(&wish),
        ["see other packets", "see whole packets", "change more of packets", "use 64M of memory"]
    );
    let source = crate::container::source::ModuleSource::default();
    let module = Module::of_parts(new, source);
    let narrowed = old.narrow(module).manifest;
    assert_eq!((narrowed.sees, narrowed.changes, narrowed.drops), (Sees::Headers, Changes::Nothing, true));
    assert_eq!((narrowed.limits.memory_bytes, narrowed.limits.timers), (16 << 20, 1));
    assert_eq!(old.narrow_filters(wish.filters), old.filters);
    assert_eq!(old.narrow_filters(vec!["tcp".parse().unwrap()]), []);
}

#[test]
fn words_of_the_command_line_name_permissions() {
    let wish = grant(ASKS, true).allowed;
    let words = ["connect=tcp:192.0.2.7:443", "store"];
    let given = words.iter().fold(Allowed::default(), |all, word| all.with(Allowed::of_word(word).unwrap()));
    let narrowed = wish.narrowed(&given);
    assert_eq!(narrowed.sentences(), ["keep data on this machine", "connect and send to 192.0.2.7/32, TCP port 443"]);
    for word in ["", "fly", "inject=x", "connect=443x", "system=root", "answer_for=x"] {
        assert!(Allowed::of_word(word).is_err(), "{word}");
    }
    for word in WORDS {
        let all = Allowed::of_word(word).unwrap();
        assert!(!all.sentences().is_empty() && all.without(word).sentences().is_empty(), "{word}");
    }
}

#[test]
fn what_is_asked_for_is_said_in_plain_words() {
    let asks = manifest(
        &format!("{ASKS}[config.server]\ntype = \"address\"\nmeaning = \"m\"\n").replace("udp:*:53", "udp:$server:53"),
    );
    assert_eq!(
        asks.permissions.sentences(),
        [
            "send packets of its own into your traffic",
            "be reached from outside: TCP port 8080",
            "connect and send to 192.0.2.0/24, TCP ports 80-443",
            "connect and send to $server, UDP port 53",
            "read about this machine: load",
        ]
    );
    assert_eq!(asks.optional_permissions.sentences(), ["keep data on this machine"]);
}

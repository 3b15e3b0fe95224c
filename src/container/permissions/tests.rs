use super::*;
use crate::container::manifest::Manifest;

fn allowed(permissions: &str, properties: &str) -> Result<Allowed, String> {
    let text = format!(
        "name = \"m\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"A module.\"\n[permissions]\n{permissions}\n\
         [config.hosts]\ntype = \"list of prefix\"\nmeaning = \"Hosts.\"\ndefault = \"any\"\n\
         [config.port]\ntype = \"port\"\nmeaning = \"A port.\"\ndefault = 8080\n\
         [config.text]\ntype = \"string\"\nmeaning = \"A text.\"\ndefault = \"$text\"\n"
    );
    let manifest = Manifest::parse(&text).map_err(|e| e.to_string())?;
    let given: toml::Table = properties.parse().unwrap();
    let properties = Properties::check(&manifest.properties, &given).map_err(|e| e.to_string())?;
    manifest.allowed(&properties)
}

fn may(allowed: &Allowed, usage: Use<'_>) -> bool {
    allowed.check(&usage).is_ok()
}

#[test]
fn nothing_is_allowed_by_default_and_refusals_name_the_line() {
    let none = allowed("", "").unwrap();
    let v6 = "2001:db8::1".parse().unwrap();
    for (usage, line) in [
        (Use::Inject, "inject = true"),
        (Use::Store, "store = true"),
        (Use::Signal, "signal = true"),
        (Use::AnswerFor(v6), "answer_for = [\"2001:db8::1\"]"),
        (Use::Listen(Transport::Tcp, 80), "listen = [\"tcp:80\"]"),
        (Use::Connect(Transport::Udp, "2001:db8::1", 53), "connect = [\"udp:[2001:db8::1]:53\"]"),
        (Use::System(SystemPart::Load), "system = [\"load\"]"),
        (Use::Native("relay"), "native = [\"relay\"]"),
    ] {
        let text = none.check(&usage).unwrap_err().to_string();
        assert!(text.contains(&format!("module.toml does not say {line} under [permissions]")), "{text}");
        // The line that is named is one that allows it.
        assert!(may(&allowed(line, "").unwrap(), usage.clone()), "{line}");
    }
}

#[test]
fn rules_hold_for_hosts_and_ports() {
    let rules = "listen = [\"tcp:8000-8099\", \"udp:$port\"]\n\
                 connect = [\"tcp:Example.org:443\", \"tcp:*.cdn.example:*\", \"udp:192.0.2.0/24:3478\", \"tcp:[2001:db8::]/32:80\"]\n\
                 answer_for = [\"$hosts\"]";
    let it = allowed(rules, "hosts = [\"192.0.2.0/28\", \"2001:db8::5\"]").unwrap();
    assert!(may(&it, Use::Listen(Transport::Tcp, 8099)) && !may(&it, Use::Listen(Transport::Tcp, 8100)));
    assert!(may(&it, Use::Listen(Transport::Udp, 8080)) && !may(&it, Use::Listen(Transport::Udp, 0)));
    assert!(may(&it, Use::Connect(Transport::Tcp, "example.ORG.", 443)));
    assert!(!may(&it, Use::Connect(Transport::Tcp, "www.example.org", 443)));
    assert!(
        may(&it, Use::Connect(Transport::Tcp, "a.cdn.example", 1))
            && !may(&it, Use::Connect(Transport::Tcp, "cdn.example", 1))
    );
    assert!(!may(&it, Use::Connect(Transport::Tcp, "xcdn.example", 1)));
    assert!(
        may(&it, Use::Connect(Transport::Udp, "192.0.2.77", 3478))
            && !may(&it, Use::Connect(Transport::Udp, "192.0.3.1", 3478))
    );
    assert!(may(&it, Use::Connect(Transport::Tcp, "2001:db8:1::1", 80)));
    assert!(
        may(&it, Use::AnswerFor("192.0.2.15".parse().unwrap()))
            && !may(&it, Use::AnswerFor("192.0.2.16".parse().unwrap()))
    );
    assert!(may(&it, Use::AnswerFor("2001:db8::5".parse().unwrap())));
    let any = allowed("answer_for = [\"$hosts\"]", "").unwrap();
    assert!(may(&any, Use::AnswerFor("8.8.8.8".parse().unwrap())));
}

#[test]
fn what_is_no_rule_is_refused_with_its_place() {
    for (line, says) in [
        ("listen = [\"8080\"]", "permissions.listen = \"8080\""),
        ("listen = [\"tcp:10.0.0.1:80\"]", "a port of this machine"),
        ("connect = [\"tcp:a b:80\"]", "is no rule"),
        ("connect = [\"sctp:*:80\"]", "is no rule"),
        ("connect = [\"tcp:$nobody:80\"]", "there is no property \"nobody\""),
        ("system = [\"files\"]", "write one of \"load\""),
        ("native = [\"magic\"]", "write one of \"reply\""),
        ("answer_for = [\"10.0.0.0/99\"]", "permissions.answer_for"),
        ("listens = []", "unknown field"),
        ("[permissions.optional.optional]", "permissions.optional.optional"),
    ] {
        let text = allowed(line, "").unwrap_err();
        assert!(text.contains(says), "{line}: {text}");
    }
    // A value is not looked into for more properties.
    assert!(allowed("connect = [\"tcp:$text:80\"]", "").unwrap_err().contains("is no rule"));
}

#[test]
fn a_grant_narrows_by_host_port_and_kind() {
    let wish = allowed(
        "inject = true\nsignal = true\nconnect = [\"tcp:*:*\", \"udp:*.example.org:1-100\"]\nlisten = [\"tcp:1-1000\"]\n\
         answer_for = [\"10.0.0.0/8\"]\nsystem = [\"load\", \"routes\"]",
        "",
    )
    .unwrap();
    let grant = allowed(
        "inject = true\nconnect = [\"tcp:192.0.2.0/24:80\", \"udp:a.example.org:53\", \"udp:b.org:53\"]\n\
         listen = [\"tcp:1000-2000\"]\nanswer_for = [\"10.1.0.0/16\", \"11.0.0.0/8\"]\nsystem = [\"load\"]",
        "",
    )
    .unwrap();
    let both = wish.narrowed(&grant);
    let rules: Vec<String> = both.connect.iter().map(Rule::to_string).collect();
    assert_eq!(rules, ["tcp:192.0.2.0/24:80", "udp:a.example.org:53"]);
    assert_eq!(both.listen.iter().map(Rule::to_string).collect::<Vec<_>>(), ["tcp:*:1000"]);
    assert_eq!(both.answer_for, [Some("10.1.0.0/16".parse().unwrap())]);
    assert!(both.inject && !both.signal && both.system.len() == 1);
    assert_eq!(wish.narrowed(&Allowed::default()), Allowed::default());
}

#[test]
fn optional_permissions_are_asked_for_apart() {
    let it = allowed("[permissions.optional]\ninject = true", "").unwrap();
    assert!(it.inject);
}

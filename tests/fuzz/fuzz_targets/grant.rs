//! What an owner grants: as it is kept, and the rules in it. What is read means the same when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netserv::container::grant::Grant;
use netserv::container::grant::choice::Choice;
use netserv::container::permissions::{Rule, Transport};

fuzz_target!(|text: &str| {
    if let Ok(grant) = toml::from_str::<Grant>(text) {
        let written = toml::to_string(&grant).expect("a grant can be written");
        assert_eq!(toml::from_str::<Grant>(&written).as_ref(), Ok(&grant));
        assert!(grant.lacks(&grant).is_empty(), "{written}");
        assert_eq!(grant.allowed.narrowed(&grant.allowed).lacks(&grant.allowed), Vec::<String>::new());
    }
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let _ = Choice::parse(false, &lines, &lines, &lines);
    let rules: Vec<Rule> = lines.iter().take(2).filter_map(|line| line.parse().ok()).collect();
    for rule in &rules {
        assert_eq!(rule.to_string().parse::<Rule>().as_ref(), Ok(rule));
        let host = lines.last().map(String::as_str);
        let _ = rule.covers(Transport::Tcp, host, 80);
    }
});

use super::*;

/// What alice's setup is answered after a change of the request; nothing may be installed then.
fn refused(change: impl FnOnce(&mut Request)) -> (AnswerCode, String) {
    let mut w = World::new(vec![alice()]);
    let mut request = w.setup(b"never fetched");
    change(&mut request);
    let answer = w.ask(&request).expect("it is refused at once");
    assert!(w.is_clean() && w.fetches.is_empty());
    answer
}

fn refused_module(change: impl FnOnce(&mut ModuleRequest)) -> (AnswerCode, String) {
    refused(|request| change(request.module.as_mut().unwrap()))
}

/// What is answered when the package is this one; nothing may be installed then.
fn refused_package(requester: Requester, package: &[u8], change: impl FnOnce(&mut Request)) -> (AnswerCode, String) {
    let mut w = World::new(vec![requester]);
    let mut request = w.setup(package);
    change(&mut request);
    let answer = w.installs(&request, package);
    assert!(w.is_clean());
    answer
}

#[track_caller]
fn is((code, sentence): (AnswerCode, String), want: AnswerCode, part: &str) {
    assert_eq!(code, want, "{sentence}");
    assert!(sentence.contains(part), "{sentence}");
}

#[test]
fn refuses_what_is_not_signed() {
    let mut w = World::new(vec![alice()]);
    for operation in [Operation::Setup, Operation::Refresh, Operation::Remove] {
        let request = Request { operation, ..w.setup(b"x") };
        let asked = Asked { authorisation: None, ..w.signed(&request) };
        is(w.arrives(asked).unwrap(), AnswerCode::NotSigned, "sign it with a key that this node trusts");
    }
    let conditions = vec!["as=64500".to_owned()];
    let curious = Request { conditions, ..w.request(Operation::Probe) };
    let asked = Asked { authorisation: None, ..w.signed(&curious) };
    is(w.arrives(asked).unwrap(), AnswerCode::NotSigned, "not signed");
    assert!(w.is_clean() && w.disk.is_empty(), "strangers write nothing to the disk");
    assert!(w.notes.is_empty(), "nor to the log");
}

#[test]
fn refuses_a_key_that_is_not_trusted_and_a_signature_that_is_not_of_it() {
    let mut w = World::new(vec![alice()]);
    w.alice = key(2);
    let request = w.setup(b"x");
    let part = format!("no key {}; ask its owner for `netserv trust add`", short_key(&key(2).public()));
    is(w.ask(&request).unwrap(), AnswerCode::UnknownKey, &part);
    w.alice = key(1);
    let mut asked = w.signed(&request);
    asked.signed = w.setup(b"y").encode();
    is(w.arrives(asked).unwrap(), AnswerCode::BadSignature, "sign it anew");
    let mut asked = w.signed(&request);
    asked.authorisation.as_mut().unwrap().signature[63] ^= 1;
    is(w.arrives(asked).unwrap(), AnswerCode::BadSignature, "sign it anew");
    // Over the bare request, without its label.
    let mut asked = w.signed(&request);
    asked.authorisation.as_mut().unwrap().signature = key(1).sign(&asked.signed);
    is(w.arrives(asked).unwrap(), AnswerCode::BadSignature, "sign it anew");
    assert!(w.is_clean() && w.disk.is_empty());
}

#[test]
fn refuses_what_is_not_in_its_time() {
    let early = refused(|request| {
        request.issued_ms += 61_000;
        request.expires_ms += 61_000;
    });
    is(early, AnswerCode::OutOfTime, "made 61 s in the future");
    let late = refused(|request| {
        request.issued_ms -= 100_000;
        request.expires_ms = START_MS - 1;
    });
    is(late, AnswerCode::OutOfTime, "expired 1 s ago");
    let long = refused(|request| request.expires_ms = request.issued_ms + 86_400_001);
    is(long, AnswerCode::OutOfTime, "valid for 86401 s; sign it for at most 1d");
    let backwards = refused(|request| {
        request.issued_ms += 10_000;
        request.expires_ms = START_MS + 9_000;
    });
    is(backwards, AnswerCode::OutOfTime, "valid for 0 s");
    is(refused(|request| request.issued_ms = u64::MAX), AnswerCode::OutOfTime, "in the future");
}

#[test]
fn refuses_what_is_signed_for_other_nodes() {
    is(refused(|request| request.scope = vec!["12345678".to_owned()]), AnswerCode::OutOfScope, "the nodes 12345678");
    let mut w = World::new(vec![alice()]);
    let scope = vec!["12345678".to_owned(), "abababab".to_owned()];
    let request = Request { scope, ..w.setup(b"x") };
    assert_eq!(w.ask(&request), None, "it is fetched");
}

#[test]
fn refuses_a_replay_also_after_a_restart() {
    let mut w = World::new(vec![alice()]);
    let bytes = package("1.0.0", "");
    let request = w.setup(&bytes);
    w.installs(&request, &bytes);
    is(w.ask(&request).unwrap(), AnswerCode::Refreshed, "what it lives by");
    let left = w.controller.expires_in(w.now, &name());
    w.passes(1_000);
    w.ask(&request);
    assert_eq!(w.controller.expires_in(w.now, &name()).unwrap() + Duration::from_secs(1), left.unwrap());
    let refresh = w.setup(&bytes);
    assert_eq!(w.ask(&refresh).unwrap().0, AnswerCode::Refreshed);
    is(w.ask(&request).unwrap(), AnswerCode::Replayed, "sign a new one");
    let remove = w.request(Operation::Remove);
    assert_eq!(w.ask(&remove).unwrap().0, AnswerCode::Removed);
    is(w.ask(&refresh).unwrap(), AnswerCode::Replayed, "here before");
    is(w.ask(&remove).unwrap(), AnswerCode::Replayed, "here before");
    w.restarts(config(vec![alice()]), 1_000);
    is(w.ask(&request).unwrap(), AnswerCode::Replayed, "here before");
    assert!(w.is_clean() && w.fetches.is_empty());
}

#[test]
fn the_nonce_of_a_request_that_was_refused_is_used_up_too() {
    let mut w = World::new(vec![alice()]);
    let request = Request { conditions: vec!["as=1".to_owned()], ..w.setup(b"x") };
    is(w.ask(&request).unwrap(), AnswerCode::ConditionFalse, "as is \"64500\" here");
    is(w.ask(&request).unwrap(), AnswerCode::Replayed, "here before");
}

#[test]
fn refuses_when_a_condition_does_not_hold_or_is_none() {
    for (condition, code, part) in [
        ("as=64501", AnswerCode::ConditionFalse, "condition \"as=64501\": as is \"64500\" here"),
        ("country=de", AnswerCode::ConditionFalse, "the node has no country"),
        ("memory>=101M", AnswerCode::ConditionFalse, "100M are free"),
        ("absent:monitor", AnswerCode::ConditionFalse, "it runs here"),
        ("present:nat", AnswerCode::ConditionFalse, "it does not run here"),
        ("memory>=much", AnswerCode::Invalid, "write NAME=VALUE, memory>=SIZE"),
        ("load>=1", AnswerCode::Invalid, "write NAME=VALUE"),
        ("=x", AnswerCode::Invalid, "write NAME=VALUE"),
        ("never", AnswerCode::Invalid, "write NAME=VALUE"),
    ] {
        is(refused(|request| request.conditions = vec![condition.to_owned()]), code, part);
    }
    is(refused(|request| request.conditions = vec!["as=1".to_owned(); 17]), AnswerCode::Invalid, "at most 16");
    let mut w = World::new(vec![alice()]);
    let holds = ["as=64500", "memory>=64M", "absent:m", "present:monitor"].map(str::to_owned).to_vec();
    let bytes = package("1.0.0", "");
    let request = Request { conditions: holds.clone(), ..w.setup(&bytes) };
    assert_eq!(w.installs(&request, &bytes).0, AnswerCode::Installed);
    w.facts.modules.push("m".to_owned());
    w.facts.memory_free_bytes = 0;
    let refresh = Request { conditions: holds, ..w.setup(&bytes) };
    assert_eq!(w.ask(&refresh).unwrap().0, AnswerCode::Refreshed, "it is not in its own way");
}

#[test]
fn refuses_what_makes_no_sense() {
    is(refused(|request| request.module = None), AnswerCode::Invalid, "names no module");
    is(refused(|request| request.instance = "a b".to_owned()), AnswerCode::Invalid, "cannot be called \"a b\"");
    is(refused(|request| request.instance = "a".repeat(56)), AnswerCode::Invalid, "1 to 55 letters");
    is(refused(|request| request.instance.clear()), AnswerCode::Invalid, "cannot be called \"\"");
    is(refused_module(|module| module.version = "new".to_owned()), AnswerCode::Invalid, "version \"new\"");
    is(refused_module(|module| module.lifetime_ms = 0), AnswerCode::Invalid, "at least 1s");
    let twice = vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
    is(refused_module(|module| module.properties = twice), AnswerCode::Invalid, "given twice");
    let odd = vec![("a=b".to_owned(), "1".to_owned())];
    is(refused_module(|module| module.properties = odd), AnswerCode::Invalid, "no name of a property");
}

#[test]
fn refuses_what_the_trust_file_does_not_allow() {
    let not = AnswerCode::NotAllowed;
    is(
        refused_module(|module| module.name = "nat".to_owned()),
        not,
        "alice may not have \"nat\" installed here, only: m",
    );
    is(refused_module(|module| module.lifetime_ms = HOUR_MS + 1), not, "alice may ask for at most 1h");
    is(refused_module(|module| module.url = "file:///m.nsm".to_owned()), not, "takes no files");
    is(refused_module(|module| module.url = "ftp://h/m".to_owned()), AnswerCode::Invalid, "only http, https");
    is(refused_module(|module| module.notify = "http://h/".to_owned()), not, "notify URL \"http://h/\": not among");
    let at_home = || Requester { urls: vec![Url::parse("https://home.example/").unwrap()], ..alice() };
    let mut w = World::new(vec![at_home()]);
    let request = w.setup(b"x");
    is(w.ask(&request).unwrap(), not, "may come only from https://home.example/");
    let mut w = World::new(vec![alice()]);
    for (instance, fetched) in [("a", true), ("b", true), ("c", false)] {
        let request = Request { instance: instance.to_owned(), ..w.setup(b"x") };
        let answer = w.ask(&request);
        assert_eq!(answer.is_none(), fetched);
        if let Some(answer) = answer {
            is(answer, not, "alice may have 2 instances here, and has 2; remove one");
        }
    }
}

#[test]
fn refuses_a_module_that_asks_for_more_than_its_requester_may_give() {
    let not = AnswerCode::NotAllowed;
    for (manifest, part) in [
        ("[permissions]\ninject = true\n", "m needs the permission \"inject\", which alice does not have"),
        ("[packets]\nsees = \"payload\"\n[[filters]]\nprotocol = \"udp\"\n", "permission \"payload\""),
        ("[packets]\ndrops = true\n[[filters]]\nprotocol = \"udp\"\n", "permission \"drop\""),
        ("[packets]\nchanges = \"headers\"\n[[filters]]\nprotocol = \"udp\"\n", "permission \"change-headers\""),
        ("[limits]\nmemory_bytes = 33_554_432\n", "m asks for memory = 32M: alice's modules may have 16M"),
        ("[limits]\ncpu_ms_per_call = 21\n", "m asks for cpu_ms_per_call = 21: alice's modules may have 20"),
        ("[limits]\ntimers = 65\n", "m asks for timers = 65: alice's modules may have 64"),
        ("[limits]\nsockets = 65\n", "m asks for sockets = 65: alice's modules may have 64"),
        ("[limits]\ntasks = 257\n", "m asks for tasks = 257: alice's modules may have 256"),
        ("[limits]\nstorage_bytes = 33_554_432\n", "m asks for storage = 32M: alice's modules may have 16M"),
    ] {
        let bytes = package("1.0.0", manifest);
        is(refused_package(alice(), &bytes, |_| {}), not, part);
    }
}

#[test]
fn refuses_a_package_that_is_not_the_one_that_was_signed_for() {
    let mut w = World::new(vec![alice()]);
    let request = w.setup(b"something else");
    is(w.installs(&request, &package("1.0.0", "")), AnswerCode::WrongDigest, "its SHA-256 begins with");
    assert!(w.is_clean());
    let other = package("2.0.0", "");
    is(refused_package(alice(), &other, |_| {}), AnswerCode::BadPackage, "holds m 2.0.0, not \"^1\"");
    let named = Requester { packages: vec!["*".to_owned()], ..alice() };
    let change = |request: &mut Request| request.module.as_mut().unwrap().name = "n".to_owned();
    is(
        refused_package(named, &package("1.0.0", ""), change),
        AnswerCode::BadPackage,
        "holds the module \"m\", not \"n\"",
    );
}

#[test]
fn refuses_a_package_that_is_too_large() {
    let small = || Requester { package_bytes: 100, ..alice() };
    let bytes = package("1.0.0", "");
    is(refused_package(small(), &bytes, |_| {}), AnswerCode::TooLarge, "larger than the 100 that alice's");
    let mut w = World::new(vec![small()]);
    let request = w.setup(&bytes);
    w.ask(&request);
    assert_eq!(w.fetches[0].2, 100, "no more is read");
    w.fetched(Err(FetchProblem::TooLarge));
    assert_eq!(w.decisions[0].1, AnswerCode::TooLarge);
    assert!(w.is_clean(), "and it is not tried again");
}

#[test]
fn refuses_a_package_that_another_may_have_but_this_one_may_not() {
    let bob = Requester { name: "bob".to_owned(), key: key(2).public(), package_bytes: 100, ..alice() };
    let mut w = World::new(vec![alice(), bob]);
    let bytes = package("1.0.0", "");
    let request = w.setup(&bytes);
    w.installs(&request, &bytes);
    w.alice = key(2);
    let request = w.setup(&bytes);
    is(w.ask(&request).unwrap(), AnswerCode::TooLarge, "bob's");
    assert_eq!((w.running.len(), w.files().len()), (1, 2));
}

#[test]
fn refuses_a_broken_package_manifest_or_property() {
    let bad = AnswerCode::BadPackage;
    is(refused_package(alice(), b"<html>", |_| {}), bad, "no zip archive");
    is(refused_package(alice(), &package("1.0.0", "color = 1\n"), |_| {}), bad, "unknown field `color`");
    let files = [("module.toml".to_owned(), b"".to_vec())];
    let empty = pack(&ModuleSource { files: files.into() }).unwrap();
    is(refused_package(alice(), &empty, |_| {}), bad, "module.toml: line 1");
    let limit = |value: &str| {
        let properties = vec![("limit".to_owned(), value.to_owned())];
        move |request: &mut Request| request.module.as_mut().unwrap().properties = properties
    };
    let bytes = package("1.0.0", MODULE);
    is(refused_package(alice(), &bytes, limit("many")), AnswerCode::Invalid, "\"limit\" cannot be \"many\"");
}

#[test]
fn a_requester_cannot_touch_the_instances_of_another() {
    let bob = Requester { name: "bob".to_owned(), key: key(2).public(), ..alice() };
    let mut w = World::new(vec![alice(), bob]);
    let bytes = package("1.0.0", "");
    let request = w.setup(&bytes);
    w.installs(&request, &bytes);
    w.alice = key(2);
    let remove = w.request(Operation::Remove);
    is(w.ask(&remove).unwrap(), AnswerCode::NotInstalled, "no instance of this name and key");
    assert!(w.running.contains_key(&name()));
}

#[test]
fn what_strangers_can_send_again_and_again_does_not_fill_the_log() {
    let mut w = World::new(vec![alice()]);
    let elsewhere = Request { scope: vec!["12345678".to_owned()], ..w.setup(b"x") };
    let overheard = w.setup(b"x");
    w.facts.wall_ms = overheard.expires_ms + 1;
    for _ in 0..3 {
        is(w.ask(&overheard).unwrap(), AnswerCode::OutOfTime, "expired 1 s ago");
    }
    w.facts.wall_ms = elsewhere.issued_ms;
    for _ in 0..3 {
        is(w.ask(&elsewhere).unwrap(), AnswerCode::OutOfScope, "signed for the nodes 12345678");
    }
    assert!(w.notes.is_empty(), "{:?}", w.notes);
}

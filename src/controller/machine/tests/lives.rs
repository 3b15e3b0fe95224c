use super::*;

/// A world in which alice's instance runs, and wants its end told to a URL.
fn running() -> (World, Vec<u8>, Request) {
    let notify = vec![Url::parse("http://192.0.2.9/").unwrap()];
    let mut w = World::new(vec![Requester { notify, ..alice() }]);
    let bytes = package("1.0.0", "");
    let mut request = w.setup(&bytes);
    request.module.as_mut().unwrap().notify = "http://192.0.2.9/events".to_owned();
    assert_eq!(w.installs(&request, &bytes).0, AnswerCode::Installed);
    (w, bytes, request)
}

fn event(w: &World) -> String {
    let (url, body) = w.posts.last().unwrap();
    assert_eq!(url, "http://192.0.2.9/events");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((body["instance"].as_str(), body["module"].as_str()), (Some("mine"), Some("m")));
    body["event"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_not_refreshed_is_removed_at_the_end_of_its_lifetime_and_told() {
    let (mut w, _, request) = running();
    assert_eq!(event(&w), "installed");
    w.passes(HOUR_MS - 1);
    assert!(w.running.contains_key(&name()) && w.told.is_empty());
    w.passes(1);
    assert_eq!(w.unloads, [(name(), "its lifetime is over".to_owned())]);
    assert_eq!((w.told[0].nonce, w.told[0].code), (request.nonce, AnswerCode::Expired));
    assert_eq!(event(&w), "expired");
    assert!(w.is_clean());
}

#[test]
fn many_that_expire_together_go_in_steps() {
    let mut w = World::new(vec![Requester { instances: 100, ..alice() }]);
    let bytes = package("1.0.0", "");
    for number in 0..40 {
        let request = Request { instance: format!("i{number}"), ..w.setup(&bytes) };
        w.installs(&request, &bytes);
    }
    w.now += Duration::from_millis(HOUR_MS);
    let facts = w.facts.clone();
    w.controller.expire(w.now, &facts);
    w.drain();
    assert_eq!(w.running.len(), 24);
    assert!(w.controller.deadline().unwrap() <= w.now, "the rest is due at once");
    w.passes(0);
    assert!(w.is_clean());
}

#[test]
fn a_removal_takes_everything_away() {
    let (mut w, ..) = running();
    let remove = w.request(Operation::Remove);
    assert_eq!(w.ask(&remove).unwrap(), (AnswerCode::Removed, "m 1.0.0 was removed".to_owned()));
    assert_eq!(event(&w), "removed");
    assert!(w.is_clean());
    let again = w.request(Operation::Remove);
    assert_eq!(w.ask(&again).unwrap().0, AnswerCode::NotInstalled);
}

#[test]
fn a_removal_ends_what_is_still_fetched() {
    let mut w = World::new(vec![alice()]);
    let request = w.setup(b"x");
    w.ask(&request);
    let remove = w.request(Operation::Remove);
    assert_eq!(w.ask(&remove).unwrap().0, AnswerCode::Removed);
    assert_eq!((w.cancelled.len(), w.decisions.len()), (1, 2), "the setup is answered too");
    assert!(w.is_clean());
}

#[test]
fn an_instance_that_fails_or_is_unloaded_by_the_owner_is_forgotten_and_told() {
    let (mut w, ..) = running();
    w.controller.instance_ended(w.now, &name(), &Ended::Failed("oops".to_owned()));
    w.drain();
    assert_eq!(w.told[0].code, AnswerCode::Failed);
    assert!(w.told[0].sentence.ends_with("oops"));
    assert_eq!(event(&w), "failed");
    assert_eq!(w.unloads.len(), 1, "its name is free again");
    assert!(w.is_clean());
    let (mut w, ..) = running();
    w.running.clear();
    w.controller.instance_ended(w.now, &name(), &Ended::Unloaded);
    w.controller.instance_ended(w.now, "of the owner", &Ended::Unloaded);
    w.drain();
    assert_eq!((w.told[0].code, w.unloads.len()), (AnswerCode::Removed, 0));
    assert!(w.is_clean());
}

#[test]
fn what_the_trust_file_no_longer_allows_is_removed() {
    let shorter = Requester { lifetime: Duration::from_secs(60), ..alice() };
    let fewer = Requester { instances: 0, ..alice() };
    for requesters in [vec![], vec![shorter], vec![fewer], vec![Requester::new("alice", key(1).public())]] {
        let (mut w, ..) = running();
        w.controller.set_trust(w.now, config(requesters).trust);
        w.drain();
        assert_eq!(w.told[0].code, AnswerCode::Removed);
        assert!(w.told[0].sentence.contains("trust file"), "{}", w.told[0].sentence);
        assert!(w.is_clean());
    }
    let (mut w, ..) = running();
    let trust = w.controller.trust().clone();
    w.controller.set_trust(w.now, trust);
    w.drain();
    assert_eq!(w.running.len(), 1);
}

#[test]
fn trust_that_ends_while_a_package_is_on_its_way_ends_its_installation() {
    let mut w = World::new(vec![alice()]);
    let bytes = package("1.0.0", "");
    let request = w.setup(&bytes);
    w.ask(&request);
    w.controller.set_trust(w.now, config(vec![Requester { packages: vec![], ..alice() }]).trust);
    w.drain();
    w.fetched(Ok(bytes));
    assert_eq!(w.decisions[0].1, AnswerCode::NotAllowed);
    assert!(w.is_clean());
    let mut w = World::new(vec![alice()]);
    let request = w.setup(b"x");
    w.ask(&request);
    w.controller.set_trust(w.now, Trust::default());
    w.drain();
    assert_eq!((w.decisions[0].1, w.cancelled.len()), (AnswerCode::NotAllowed, 1));
    assert!(w.is_clean());
}

#[test]
fn after_a_restart_what_has_lifetime_left_runs_for_the_rest_of_it() {
    let (mut w, bytes, request) = running();
    let trust = w.controller.trust().clone();
    let again = || ControllerConfig { trust: trust.clone(), ..config(vec![]) };
    w.restarts(again(), 30_000);
    assert!(w.running.contains_key(&name()));
    let left = Duration::from_millis(HOUR_MS - 30_000);
    assert_eq!(w.controller.expires_in(w.now, &name()), Some(left));
    assert_eq!(w.posts.len(), 1, "it is no news");
    assert_eq!(w.ask(&request).unwrap().0, AnswerCode::Refreshed, "the request that it lives by");
    let refresh = w.setup(&bytes);
    assert_eq!(w.ask(&refresh).unwrap().0, AnswerCode::Refreshed, "without a fetch");
    w.restarts(again(), HOUR_MS + 1);
    assert!(w.is_clean(), "{:?} {:?}", w.files(), w.notes);
    assert!(w.notes.last().unwrap().ends_with("its lifetime is over"));
}

#[test]
fn a_clock_that_is_wrong_lets_nothing_live_longer_than_it_was_granted() {
    let (mut w, ..) = running();
    let trust = w.controller.trust().clone();
    w.facts.wall_ms = 0;
    w.restarts(ControllerConfig { trust, ..config(vec![]) }, 0);
    assert_eq!(w.controller.expires_in(w.now, &name()), Some(Duration::from_millis(HOUR_MS)));
}

#[test]
fn after_a_restart_only_what_is_still_trusted_and_whole_runs() {
    let (w, ..) = running();
    let (disk, wall_ms) = (w.disk.clone(), w.facts.wall_ms);
    let tried = |spoil: &dyn Fn(&str, &mut Vec<u8>), requesters: Vec<Requester>| {
        let mut w = World::new(vec![]);
        w.facts.wall_ms = wall_ms;
        w.disk = disk.clone();
        w.disk.iter_mut().for_each(|(key, bytes)| spoil(key, bytes));
        w.restarts(config(requesters), 1);
        w
    };
    let w = tried(&|_, _| {}, vec![]);
    assert!(w.is_clean(), "no longer trusted");
    assert!(w.notes[0].contains("no longer in the node's trust file"), "{:?}", w.notes);
    let notify = vec![Url::parse("http://192.0.2.9/").unwrap()];
    let alice = || vec![Requester { notify: notify.clone(), ..alice() }];
    let flip = |folder: &'static str| {
        move |key: &str, bytes: &mut Vec<u8>| {
            if key.starts_with(folder) {
                bytes[0] ^= 1;
            }
        }
    };
    let w = tried(&flip("packages/"), alice());
    assert!(w.is_clean() && w.notes[0].contains("its SHA-256"), "{:?}", w.notes);
    let w = tried(&flip("instances/"), alice());
    assert!(w.is_clean() && w.notes[0].contains("is not used, and removed"), "{:?}", w.notes);
    assert_eq!(tried(&|_, _| {}, alice()).running.len(), 1, "the test itself is right");
}

#[test]
fn one_of_two_that_is_not_restored_does_not_take_the_package_from_the_other() {
    let bob = || Requester { name: "bob".to_owned(), key: key(2).public(), ..alice() };
    let mut w = World::new(vec![alice(), bob()]);
    let bytes = package("1.0.0", "");
    for seed in [1, 2] {
        w.alice = key(seed);
        let request = w.setup(&bytes);
        w.installs(&request, &bytes);
    }
    for requester in [alice(), bob()] {
        let disk = w.disk.clone();
        for _ in 0..2 {
            w.restarts(config(vec![requester.clone()]), 1);
            assert_eq!((w.running.len(), w.files().len()), (1, 2), "{}", requester.name);
        }
        w.disk = disk;
    }
}

#[test]
fn nothing_is_stored_before_it_runs() {
    let mut w = World::new(vec![alice()]);
    let bytes = package("1.0.0", "");
    w.start_problem = Some("it takes the node with it".to_owned());
    let request = w.setup(&bytes);
    w.installs(&request, &bytes);
    w.start_problem = None;
    w.restarts(config(vec![alice()]), 1);
    assert!(w.is_clean());
}

#[test]
fn foreign_and_broken_files_are_passed_over() {
    let mut w = World::new(vec![alice()]);
    for key in ["instances/x.json", "packages/zz", "packages/00", "nonces", "lost+found", "instances/"] {
        w.disk.insert(key.to_owned(), b"{\"instance\": []}".to_vec());
    }
    w.disk.insert(format!("packages/{}", "0".repeat(64)), b"unused".to_vec());
    w.restarts(config(vec![alice()]), 1);
    assert_eq!(w.files(), ["lost+found", "packages/00", "packages/zz"]);
    let request = w.setup(b"x");
    assert_eq!(w.ask(&request), None, "it works on");
}

#[test]
fn after_a_restart_no_more_instances_run_than_the_trust_file_allows_now() {
    let mut w = World::new(vec![alice()]);
    let bytes = package("1.0.0", "");
    for label in ["one", "two"] {
        let request = Request { instance: label.to_owned(), ..w.setup(&bytes) };
        assert_eq!(w.installs(&request, &bytes).0, AnswerCode::Installed);
    }
    w.restarts(config(vec![Requester { instances: 1, ..alice() }]), 1);
    assert_eq!((w.running.len(), w.files().len()), (1, 2), "one instance and its package");
    assert!(w.notes.last().unwrap().contains("alice may have 1 instances here"), "{:?}", w.notes);
}

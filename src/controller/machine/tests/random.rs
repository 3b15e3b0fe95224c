//! Lists of operations, at random: what must hold whatever happens.

use super::*;
use crate::base::rng::Rng;

/// One operation. The numbers only choose.
fn step(w: &mut World, packages: &[Vec<u8>], rng: &mut Rng, seen: &mut Vec<Asked>) {
    match rng.below(14) {
        0..=4 => {
            w.alice = key(1 + rng.below(3) as u8);
            let bytes = &packages[rng.below(packages.len() as u64) as usize];
            let mut request = w.setup(bytes);
            request.instance = format!("i{}", rng.below(3));
            let module = request.module.as_mut().unwrap();
            module.lifetime_ms = 1_000 * (1 + rng.below(3_700));
            if rng.below(3) == 0 {
                module.properties = vec![("limit".to_owned(), rng.below(3).to_string())];
            }
            let asked = w.signed(&request);
            seen.push(asked.clone());
            w.arrives(asked);
        }
        5 => {
            let remove = Request { instance: format!("i{}", rng.below(3)), ..w.request(Operation::Remove) };
            w.ask(&remove);
        }
        6..=8 if !w.fetches.is_empty() => {
            let bytes = packages[rng.below(packages.len() as u64) as usize].clone();
            let asked_for = w.controller.signalled(w.now).into_iter().map(|view| view.digest).collect::<Vec<_>>();
            let right = packages.iter().find(|package| asked_for.contains(&to_hex(&sha256(package))));
            w.fetched(match rng.below(6) {
                0 => Err(FetchProblem::TooLarge),
                1 => Err(FetchProblem::Failed("no route".to_owned())),
                2 => Ok(bytes),
                _ => Ok(right.cloned().unwrap_or_default()),
            });
        }
        9 => w.start_problem = (rng.below(4) == 0).then(|| "oops".to_owned()),
        10 => w.passes(rng.below(2_000_000)),
        11 if !w.running.is_empty() => {
            let at = rng.below(w.running.len() as u64) as usize;
            let name = w.running.keys().nth(at).unwrap().clone();
            let ended = if rng.below(2) == 0 { Ended::Unloaded } else { Ended::Failed("oops".to_owned()) };
            w.running.remove(&name);
            w.controller.instance_ended(w.now, &name, &ended);
            w.drain();
        }
        12 => {
            let mut some: Vec<Requester> = requesters();
            some.retain(|_| rng.below(5) != 0);
            if rng.below(8) == 0 {
                w.start_problem = None;
                w.restarts(config(some), rng.below(100_000));
            } else {
                w.controller.set_trust(w.now, config(some).trust);
                w.drain();
            }
        }
        _ if !seen.is_empty() => {
            // A replay, with a token of its own.
            let mut asked = seen[rng.below(seen.len() as u64) as usize].clone();
            w.next += 1;
            asked.token = Token(w.next);
            w.arrives(asked);
        }
        _ => {}
    }
}

fn requesters() -> Vec<Requester> {
    let requester = |seed: u8| Requester { name: format!("r{seed}"), key: key(seed).public(), ..alice() };
    vec![requester(1), requester(2), requester(3)]
}

/// What must hold between any two inputs.
fn check(w: &World) {
    let views = w.controller.signalled(w.now);
    let running: Vec<&str> = views.iter().filter(|v| v.state == "running").map(|v| v.name.as_str()).collect();
    assert_eq!(running, w.running.keys().map(String::as_str).collect::<Vec<_>>());
    for seed in 1..=3 {
        let own = views.iter().filter(|view| view.requester == format!("r{seed}")).count();
        assert!(own <= 4, "two instances, and new packages on their way for them");
    }
    let stored = |folder: &str| w.disk.keys().filter(|key| key.starts_with(folder)).count();
    assert_eq!(stored("instances/"), w.running.len());
    assert_eq!(stored("packages/"), w.controller.packages.len());
    assert!(w.fetches.len() <= w.controller.config.fetches_max + w.cancelled.len());
}

#[test]
fn whatever_happens_the_tables_the_node_and_the_disk_agree_and_in_the_end_all_is_gone() {
    let mut packages = vec![package("1.0.0", MODULE), package("1.1.0", MODULE), package("1.2.0", "")];
    packages.push(package("2.0.0", ""));
    packages.push(package("1.3.0", "[permissions]\ninject = true\n"));
    let mut installed = 0;
    for seed in 0..50 {
        let (mut rng, mut seen) = (Rng::seeded(seed), Vec::new());
        let mut w = World::new(requesters());
        for _ in 0..120 {
            step(&mut w, &packages, &mut rng, &mut seen);
            check(&w);
        }
        for _ in 0..6 {
            w.passes(HOUR_MS);
        }
        assert!(w.is_clean(), "seed {seed}: {:?} {:?}", w.files(), w.controller.signalled(w.now));
        installed += w.decisions.iter().filter(|(_, code, _)| *code == AnswerCode::Installed).count();
    }
    assert!(installed > 100, "{installed}: it is no walk if nothing ever runs");
}

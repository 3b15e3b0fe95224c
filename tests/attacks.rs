//! Modules that attack the node: each meets a limit that has a name, or is refused, and what runs beside it goes on.
//!
//! Every attack is run with both guards: a thread that ticks, as over real links, and counted safepoints, as in a replay.
//! One that is not stopped at all fails the test after [`HUNG`].

#![expect(clippy::unwrap_used, reason = "a test; helpers are not seen as such")]
#![expect(clippy::disallowed_methods, reason = "measures how long a kill takes")]

use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant as Clock};

use netserv::base::id::{FlowId, InstanceId, LinkId};
use netserv::base::packet::{Offload, PacketMut};
use netserv::base::time::{Instant, WallTime};
use netserv::container::fault::Fault;
use netserv::container::instance::{Action, Effect, Instance};
use netserv::container::manifest::Manifest;
use netserv::container::module::Module;
use netserv::container::properties::Properties;
use netserv::container::source::ModuleSource;
use netserv::container::surroundings::{CpuGuard, FlowRecord, FlowView, Surroundings};
use netserv::container::watch::Watch;
use netserv::wire::header::Header;

#[path = "attacks/list.rs"]
mod list;

use list::ATTACKS;

/// How long an attack may take, on a machine that is busy with other things; they take 20 to 100 ms on one that is not.
const SLOW: Duration = Duration::from_secs(4);
/// When an attack counts as not stopped.
const HUNG: Duration = Duration::from_secs(20);

/// What becomes of an attack.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// Killed: `cpu_ms_per_call`.
    Cpu,
    /// Ended: `memory_bytes`.
    Memory,
    /// One of the two, whichever comes first.
    CpuOrMemory,
    /// An error of the module whose text contains this.
    Raised(&'static str),
    /// Nothing: it runs to its end without harm, or is cut at a limit that is no fault.
    Harmless,
}

/// Where the code of an attack stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// In the entry file itself.
    File,
    /// In `start(ctx)`.
    Start,
    /// In `on_packet(packet)`, with `ctx` at hand.
    Packet,
    /// In `report()`, with `ctx` at hand.
    Report,
}

/// One attack.
pub(crate) struct Attack {
    name: &'static str,
    place: Place,
    code: &'static str,
    outcome: Outcome,
}

struct NoFlows;

impl FlowView for NoFlows {
    fn flows(&self, _: InstanceId, _: usize) -> Vec<FlowRecord> {
        Vec::new()
    }

    fn flow(&self, _: InstanceId, _: FlowId) -> Option<FlowRecord> {
        None
    }
}

#[test]
fn attacks_meet_their_limits_where_a_thread_watches() {
    let watch = Watch::default();
    let (stop, stopped) = mpsc::channel::<()>();
    let ticking = watch.clone();
    let thread = std::thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_millis(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
            ticking.tick();
        }
    });
    run_all(&CpuGuard::Watch(watch));
    drop(stop);
    thread.join().unwrap();
}

#[test]
fn attacks_meet_their_limits_where_time_is_virtual() {
    run_all(&CpuGuard::Safepoints);
}

#[test]
fn an_attack_ends_alike_in_every_run_where_time_is_virtual() {
    let twice = |attack| {
        let run = || format!("{:?}", run(attack, &surroundings(CpuGuard::Safepoints)));
        (run(), run())
    };
    for_each_attack(
        move || twice,
        |attack, (first, second)| (first != second).then(|| format!("\"{}\": {first} / {second}", attack.name)),
    );
}

#[test]
fn every_attack_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = ATTACKS.iter().map(|attack| attack.name).collect();
    assert_eq!(names.len(), ATTACKS.len());
}

/// Runs all attacks beside an instance that does its work.
fn run_all(cpu: &CpuGuard) {
    let cpu = cpu.clone();
    let prepare = move || {
        let surroundings = surroundings(cpu);
        let mut bystander = start(Place::Packet, "return packet:reply('well')", &surroundings).unwrap();
        move |attack: &'static Attack| {
            let began = Clock::now();
            let fault = run(attack, &surroundings);
            let took = began.elapsed();
            (fault, took, [show(&mut bystander), show(&mut bystander)])
        }
    };
    for_each_attack(prepare, |Attack { name, outcome, .. }, (fault, took, answers)| {
        if !is_as_expected(fault.as_ref(), *outcome) {
            Some(format!("\"{name}\" ended with {fault:?}, not with {outcome:?}"))
        } else if took > SLOW {
            Some(format!("\"{name}\" took {took:?}"))
        } else if answers != [Ok(Action::Reply), Ok(Action::Reply)] {
            Some(format!("after \"{name}\" another instance answered {answers:?}"))
        } else {
            None
        }
    });
}

/// Does something with each attack in a thread of its own, so that one that hangs is noticed, and lists what was wrong.
fn for_each_attack<W, T>(prepare: impl FnOnce() -> W + Send + 'static, wrong: impl Fn(&Attack, T) -> Option<String>)
where
    W: FnMut(&'static Attack) -> T,
    T: Send + 'static,
{
    let (sender, results) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut work = prepare();
        for attack in ATTACKS {
            if sender.send(work(attack)).is_err() {
                return;
            }
        }
    });
    let mut all_wrong = Vec::new();
    for attack in ATTACKS {
        match results.recv_timeout(HUNG) {
            Ok(result) => all_wrong.extend(wrong(attack, result)),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                panic!("\"{}\" was not stopped within {HUNG:?}; before it: {all_wrong:#?}", attack.name)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("\"{}\" made the node panic", attack.name),
        }
    }
    assert!(all_wrong.is_empty(), "{all_wrong:#?}");
    thread.join().unwrap();
}

fn is_as_expected(fault: Option<&Fault>, outcome: Outcome) -> bool {
    let limit = fault.and_then(Fault::limit);
    match outcome {
        Outcome::Cpu => limit == Some("cpu_ms_per_call"),
        Outcome::Memory => limit == Some("memory_bytes"),
        Outcome::CpuOrMemory => limit.is_some(),
        Outcome::Raised(text) => {
            matches!(fault, Some(Fault::Raised { message }) if message.contains(text) && message.len() <= 1024)
        }
        Outcome::Harmless => fault.is_none(),
    }
}

/// Starts an attack and gives it everything that a node would; returns its first fault.
fn run(attack: &Attack, surroundings: &Surroundings) -> Option<Fault> {
    let mut instance = match start(attack.place, attack.code, surroundings) {
        Ok(instance) => instance,
        Err(fault) => return Some(fault),
    };
    let mut now = Instant::START;
    for _ in 0..3 {
        now += Duration::from_secs(1);
        let effects: Vec<Effect> = std::iter::from_fn(|| instance.next_effect()).collect();
        assert!(effects.len() <= 2_000, "{}: {} effects", attack.name, effects.len());
        for effect in effects {
            if let Effect::SetTimer { number, .. } = effect
                && let Err(fault) = instance.on_timer(now, number)
            {
                return Some(fault);
            }
        }
        if let Err(fault) = show(&mut instance) {
            return Some(fault);
        }
    }
    let limit = instance.report(now).and_then(|report| {
        let report_bytes = report.map_or(0, |report| report.to_string().len());
        assert!(report_bytes <= 8 << 20, "{}: a report of {report_bytes} bytes", attack.name);
        instance.stop(now, "the end")
    });
    assert!(instance.memory_bytes() <= 16 << 20, "{}", attack.name);
    limit.err()
}

fn show(instance: &mut Instance) -> Result<Action, Fault> {
    let mut room = vec![0; 2048];
    // UDP 10.0.0.1:4096 -> 10.0.0.2:53, payload "abcd".
    let bytes = [
        0x45, 0, 0, 32, 0x12, 0x34, 0, 0, 61, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x10, 0, 0, 53, 0, 12, 0, 0, b'a',
        b'b', b'c', b'd',
    ];
    room[..bytes.len()].copy_from_slice(&bytes);
    let header = Header::parse(&bytes, false).unwrap();
    let mut packet = PacketMut::new(&mut room, bytes.len(), Offload::default());
    let now = Instant::from_nanos(5_000_000_000);
    instance.on_packet(now, LinkId(0), FlowId::new(1, 1), &header, &mut packet).map(|verdict| verdict.action)
}

fn surroundings(cpu: CpuGuard) -> Surroundings {
    Surroundings::new(WallTime::default(), cpu, Rc::new(NoFlows), 1)
}

fn start(place: Place, code: &str, surroundings: &Surroundings) -> Result<Instance, Fault> {
    let code = match place {
        Place::File => code.to_owned(),
        Place::Start => format!("local M = {{}} function M.start(ctx) {code}\nend return M"),
        Place::Packet => {
            format!(
                "local M, ctx = {{}} function M.start(c) ctx = c end function M.on_packet(packet) {code}\nend return M"
            )
        }
        Place::Report => {
            format!("local M, ctx = {{}} function M.start(c) ctx = c end function M.report() {code}\nend return M")
        }
    };
    let files = [
        ("init.luau".to_owned(), code.into_bytes()),
        ("bytecode.luau".to_owned(), b"\x06\x03\x01\x04test\x00".to_vec()),
        ("huge.luau".to_owned(), b"x=1 ".repeat(20_000)),
        ("deep.luau".to_owned(), b"(".repeat(60_000)),
        ("self.luau".to_owned(), b"return require('./self')".to_vec()),
    ];
    let module = Module::of_parts(manifest(), ModuleSource { files: files.into() });
    Instance::start(InstanceId(1), &module, &Properties::default(), surroundings, Instant::START)
}

/// Asks for everything, so that only the limits stand in the way.
fn manifest() -> Manifest {
    let text = r#"
        name = "attack"
        version = "1.0.0"
        api = 1
        summary = "Attacks the node."
        [packets]
        sees = "payload"
        changes = "length"
        drops = true
        [[filters]]
        protocol = "udp"
        [permissions]
        inject = true
        answer_for = ["any"]
        [limits]
        memory_bytes = 16_777_216
        cpu_ms_per_call = 20
        timers = 64
        [counters]
        seen = "Packets seen."
    "#;
    Manifest::parse(text).unwrap()
}

use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::base::id::{FlowId, InstanceId, LinkId};
use crate::base::packet::{Offload, PacketMut};
use crate::base::time::{Instant, WallTime};
use crate::container::fault::Fault;
use crate::container::instance::Instance;
use crate::container::manifest::{Changes, Limits, Manifest, Sees};
use crate::container::module::Module;
use crate::container::permissions::Permissions;
use crate::container::properties::Properties;
use crate::container::source::ModuleSource;
use crate::container::surroundings::{CpuGuard, FlowRecord, FlowView, Surroundings};
use crate::wire::header::Header;
use std::collections::BTreeMap;

/// The limit of the tests' modules, in ms.
const LIMIT_MS: u64 = 20;

struct NoFlows;

impl FlowView for NoFlows {
    fn flows(&self, _: InstanceId, _: usize) -> Vec<FlowRecord> {
        Vec::new()
    }

    fn flow(&self, _: InstanceId, _: FlowId) -> Option<FlowRecord> {
        None
    }
}

/// A module whose packet handler runs for ever for TTL 1, and else counts to 1,000.
fn start(watch: &Watch) -> Instance {
    try_start(watch).unwrap()
}

fn try_start(watch: &Watch) -> Result<Instance, Fault> {
    let code = "return { on_packet = function(packet)
        if packet:ttl() == 1 then while true do end end
        for i = 1, 1000 do end
      end }";
    let manifest = Manifest {
        name: "watched".to_owned(),
        version: semver::Version::new(1, 0, 0),
        summary: String::new(),
        authors: Vec::new(),
        licence: String::new(),
        entry: "init.luau".to_owned(),
        library: false,
        sees: Sees::Headers,
        changes: Changes::Nothing,
        drops: false,
        passes_on_fault: true,
        permissions: Permissions::default(),
        optional_permissions: Permissions::default(),
        requires: BTreeMap::new(),
        provides: BTreeMap::new(),
        uses: BTreeMap::new(),
        limits: Limits { memory_bytes: 16 << 20, cpu_ms_per_call: LIMIT_MS, timers: 1, ..Limits::default() },
        properties: Default::default(),
        counters: Default::default(),
        filter_rules: Vec::new(),
    };
    let files = [("init.luau".to_owned(), code.as_bytes().to_vec())].into();
    let module = Module::of_parts(manifest, ModuleSource { files });
    let cpu = CpuGuard::Watch(watch.clone());
    let surroundings = Surroundings::new(WallTime::default(), cpu, Rc::new(NoFlows), 1);
    Instance::start(InstanceId(1), &module, &Properties::default(), &surroundings, Instant::START)
}

fn show(instance: &mut Instance, ttl: u8) -> Result<(), Fault> {
    let mut bytes = [0x45, 0, 0, 28, 0, 0, 0, 0, ttl, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2, 0, 8, 0, 0];
    let header = Header::parse(&bytes, false).unwrap();
    let mut packet = PacketMut::new(&mut bytes, 28, Offload::default());
    instance.on_packet(Instant::START, LinkId(0), FlowId::new(0, 0), &header, &mut packet).map(|_| ())
}

/// Ticks without a pause, from a thread of its own, while `work` runs.
fn while_ticking<T>(watch: &Watch, work: impl FnOnce() -> T) -> T {
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                watch.tick();
            }
        });
        let _done = Done(&done);
        work()
    })
}

#[test]
fn a_call_that_runs_for_ever_is_ended_and_others_go_on() {
    let watch = Watch::default();
    let (mut bad, mut good) = (start(&watch), start(&watch));
    let killed = Err(Fault::OutOfCpu { limit_ms: LIMIT_MS });
    assert_eq!(while_ticking(&watch, || show(&mut bad, 1)), killed);
    assert_eq!(show(&mut good, 64), Ok(()));
    // The VM is not entered again.
    assert_eq!(show(&mut bad, 64), killed);
}

#[test]
fn a_call_is_not_ended_before_its_time() {
    let watch = Watch::default();
    let seat = seat(&watch);
    seat.enter();
    for tick in 1..=LIMIT_MS {
        watch.tick();
        assert!(!seat.must_end(), "after {tick} ticks");
    }
    watch.tick();
    assert!(seat.must_end());
}

#[test]
fn a_call_that_was_kept_off_the_processor_is_given_its_time() {
    let watch = Watch::default();
    let seat = seat(&watch);
    seat.enter();
    // The thread ticks on, but the loop does not run.
    for _ in 0..10 * LIMIT_MS {
        watch.tick();
    }
    let mut ticks = 0;
    while !seat.must_end() {
        watch.tick();
        ticks += 1;
    }
    assert!(ticks >= LIMIT_MS * 3 / 4 - 1, "{ticks}");
}

#[test]
fn time_that_is_not_the_modules_own_does_not_count() {
    let watch = Watch::default();
    let seat = seat(&watch);
    seat.enter();
    for _ in 0..LIMIT_MS / 2 {
        watch.tick();
        assert!(!seat.must_end());
    }
    seat.leave();
    for _ in 0..10 * LIMIT_MS {
        watch.tick();
    }
    seat.resume();
    assert!(!seat.must_end());
    let mut ticks = 0;
    while !seat.must_end() {
        watch.tick();
        ticks += 1;
    }
    assert!((LIMIT_MS / 2..=LIMIT_MS / 2 + 2).contains(&ticks), "{ticks}");
}

#[test]
fn an_interrupt_that_is_armed_too_late_does_not_end_the_next_call() {
    let watch = Watch::default();
    let seat = seat(&watch);
    for _ in 0..100 {
        seat.enter();
        for _ in 0..LIMIT_MS * 2 {
            watch.tick();
        }
        seat.leave();
        // Armed for the call that is over; the interrupt runs in this one.
        seat.enter();
        assert!(!seat.must_end());
        seat.leave();
    }
}

#[test]
fn the_calls_of_a_new_vm_are_not_taken_for_those_of_the_last_one() {
    let watch = Watch::default();
    for _ in 0..20 {
        // Each instance takes the same seat, and numbers its calls alike.
        let mut instance = start(&watch);
        assert!(while_ticking(&watch, || show(&mut instance, 1)).is_err());
    }
}

#[test]
fn vms_come_and_go_while_the_thread_ticks() {
    let watch = Watch::default();
    while_ticking(&watch, || {
        for i in 0..30 {
            // A tick is far less than a millisecond here, so that even the start may take too long.
            let Ok(mut instance) = try_start(&watch) else { continue };
            let _ = show(&mut instance, if i % 3 == 0 { 1 } else { 64 });
        }
    });
    assert_eq!(watch.shared.running.load(Ordering::Relaxed), 0);
    assert!(watch.shared.lock().seats.iter().all(Option::is_none));
}

/// A seat whose trigger belongs to a VM that runs nothing.
fn seat(watch: &Watch) -> Seat {
    watch.seat(crate::container::vm::trigger::of_no_vm(), LIMIT_MS)
}

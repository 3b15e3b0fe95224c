use std::collections::BTreeSet;
use std::rc::Rc;

use super::*;
use crate::base::id::{FlowId, InstanceId};
use crate::base::time::WallTime;
use crate::container::manifest::{Changes, Limits, Manifest, Sees};
use crate::container::module::Module;
use crate::container::permissions::Permissions;
use crate::container::properties::Properties;
use crate::container::source::ModuleSource;
use crate::container::surroundings::{FlowRecord, FlowView, Surroundings};
use crate::container::vm::call::Entry;
use crate::container::watch::Watch;
use std::collections::BTreeMap;

struct NoFlows;

impl FlowView for NoFlows {
    fn flows(&self, _: InstanceId, _: usize) -> Vec<FlowRecord> {
        Vec::new()
    }

    fn flow(&self, _: InstanceId, _: FlowId) -> Option<FlowRecord> {
        None
    }
}

fn start(code: &str, cpu: CpuGuard, memory_bytes: u64) -> Result<Vm, Fault> {
    let manifest = Manifest {
        name: "test".to_owned(),
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
        limits: Limits { memory_bytes, cpu_ms_per_call: 20, timers: 1, ..Limits::default() },
        properties: Default::default(),
        counters: Default::default(),
        filter_rules: Vec::new(),
    };
    let files = [("init.luau".to_owned(), code.as_bytes().to_vec())].into();
    let surroundings = Surroundings::new(WallTime::default(), cpu.clone(), Rc::new(NoFlows), 1);
    let module = Module::of_parts(manifest, ModuleSource { files });
    Vm::start(Host::new(InstanceId(1), &module, &Properties::default(), &surroundings), &cpu)
}

#[test]
fn a_vm_has_the_listed_globals_and_no_others() {
    let state = State::new();
    let listed: BTreeSet<String> = GLOBALS.split_whitespace().map(str::to_owned).collect();
    // SAFETY: the state lives, and nothing runs in it.
    let names = unsafe { state::globals(state.main()) };
    let text = |name: &std::ffi::CString| name.to_str().unwrap().to_owned();
    let full = |(library, name): &(Option<std::ffi::CString>, std::ffi::CString)| match library {
        Some(library) => format!("{}.{}", text(library), text(name)),
        None => text(name),
    };
    let got: BTreeSet<String> = names.iter().map(full).collect();
    let (too_many, missing): (Vec<_>, Vec<_>) = (got.difference(&listed).collect(), listed.difference(&got).collect());
    assert!(too_many.is_empty() && missing.is_empty(), "too many: {too_many:?}, missing: {missing:?}");
}

#[test]
fn a_late_interrupt_is_disarmed_by_the_next_call_and_does_not_end_it() {
    let watch = Watch::default();
    let mut vm = start("for i = 1, 1000 do end return {}", CpuGuard::Watch(watch), 16 << 20).unwrap();
    let callbacks = vm.state.callbacks().as_ptr();
    // SAFETY: the VM lives, and nothing runs in it.
    unsafe {
        (*callbacks).interrupt = Some(guard::interrupt);
    }
    assert!(vm.call(Entry::Load, &[]).is_ok());
    // SAFETY: as above.
    assert!(unsafe { (*callbacks).interrupt.is_none() });
}

#[test]
fn counted_safepoints_end_a_call_at_the_same_turn_in_every_run() {
    let run = || {
        let code = "n = 0 while true do n += 1 if n % 1000 == 0 then pcall(error, tostring(n)) end end";
        let mut vm = start(code, CpuGuard::Safepoints, 16 << 20).unwrap();
        assert_eq!(vm.call(Entry::Load, &[]), Err(Fault::OutOfCpu { limit_ms: 20 }));
        let n;
        // SAFETY: the VM is not run any more; its globals can be read.
        unsafe {
            let state = vm.state.main();
            ffi::lua_getfield(state, ffi::LUA_GLOBALSINDEX, c"n".as_ptr());
            n = ffi::lua_tonumberx(state, -1, std::ptr::null_mut());
            ffi::lua_settop(state, -2);
        }
        (n, vm.memory_bytes())
    };
    let first = run();
    assert!(first.0 > 100_000.0, "{first:?}");
    assert_eq!(first, run());
}

#[test]
fn a_vm_that_does_not_fit_its_memory_is_refused() {
    let limit_bytes = 512 << 10;
    let refused = start("return {}", CpuGuard::Safepoints, limit_bytes).map(|_| ());
    assert_eq!(refused, Err(Fault::OutOfMemory { limit_bytes }));
    let mut least = start("return {}", CpuGuard::Safepoints, crate::base::limits::MODULE_MEMORY_MIN).unwrap();
    assert_eq!(least.call(Entry::Load, &[]), Ok([0.0, 0.0]));
}

#[test]
fn a_full_vm_returns_its_fault_and_nothing_else() {
    let code = "local t = {} while true do t[#t + 1] = buffer.create(100000) end";
    let mut vm = start(code, CpuGuard::Safepoints, 4 << 20).unwrap();
    let full = Err(Fault::OutOfMemory { limit_bytes: 4 << 20 });
    assert_eq!(vm.call(Entry::Load, &[]), full);
    assert_eq!(vm.call(Entry::Start, &[]), full);
    assert!(vm.is_dead());
}

//! What the functions that modules call reach: one per VM, at a fixed address.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use crate::base::id::InstanceId;
use crate::base::rng::Rng;
use crate::base::time::{Instant, WallTime};
use crate::container::api::effects::Effects;
use crate::container::api::sockets::Sockets;
use crate::container::api::timers::Timers;
use crate::container::manifest::Manifest;
use crate::container::permissions::Allowed;
use crate::container::properties::Properties;
use crate::container::source::ModuleSource;
use crate::container::surroundings::{FlowRecord, FlowView, Surroundings};
use crate::container::vm::call::Registered;
use crate::container::vm::guard::Guard;

/// What the functions that modules call reach. They hold no borrow while Luau code runs.
pub(crate) struct Host {
    pub(crate) id: InstanceId,
    pub(crate) manifest: Rc<Manifest>,
    pub(crate) source: Rc<ModuleSource>,
    pub(crate) properties: Properties,
    /// What it may do.
    pub(crate) allowed: Allowed,
    pub(crate) wall: WallTime,
    pub(crate) flows: Rc<dyn FlowView>,
    /// The time of the call at hand.
    pub(crate) now: Cell<Instant>,
    pub(crate) rng: RefCell<Rng>,
    pub(crate) effects: RefCell<Effects>,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) sockets: RefCell<Sockets>,
    /// The flow that ended, for `on_flow_end`.
    pub(crate) flow_end: Cell<Option<FlowRecord>>,
    /// Why the instance is stopped, for `stop`.
    pub(crate) stop_reason: RefCell<String>,
    /// What `report` returned.
    pub(crate) report: RefCell<Option<serde_json::Value>>,
    /// Source bytes compiled to machine code so far.
    pub(crate) native_bytes: Cell<usize>,
    pub(crate) registered: Registered,
    guard: OnceCell<Guard>,
}

impl Host {
    pub(crate) fn new(
        id: InstanceId,
        manifest: &Rc<Manifest>,
        source: &Rc<ModuleSource>,
        properties: &Properties,
        surroundings: &Surroundings,
    ) -> Self {
        // What cannot be resolved was refused before; it allows nothing.
        let wanted = manifest.allowed(properties).unwrap_or_default();
        Host {
            id,
            properties: properties.clone(),
            allowed: match &surroundings.grant {
                Some(grant) => wanted.narrowed(grant),
                None => wanted,
            },
            wall: surroundings.wall,
            flows: Rc::clone(&surroundings.flows),
            now: Cell::new(Instant::START),
            rng: RefCell::new(Rng::seeded(surroundings.seed)),
            effects: RefCell::new(Effects::default()),
            timers: RefCell::new(Timers::new(manifest.limits.timers)),
            sockets: RefCell::new(Sockets::new(id, manifest.limits.sockets, manifest.limits.memory_bytes)),
            flow_end: Cell::new(None),
            stop_reason: RefCell::new(String::new()),
            report: RefCell::new(None),
            native_bytes: Cell::new(0),
            registered: Registered::default(),
            guard: OnceCell::new(),
            manifest: Rc::clone(manifest),
            source: Rc::clone(source),
        }
    }

    /// Who ends calls that take too long.
    ///
    /// # Panics
    ///
    /// Before [`Host::set_guard`], which comes before any code of the VM.
    pub(crate) fn guard(&self) -> &Guard {
        self.guard.get().expect("the guard is set before the VM learns of the host")
    }

    pub(super) fn set_guard(&self, guard: Guard) {
        assert!(self.guard.set(guard).is_ok(), "a VM has one guard");
    }
}

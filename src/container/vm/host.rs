//! What the functions that modules call reach: one per VM, at a fixed address.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::base::id::InstanceId;
use crate::base::machine::MachineView;
use crate::base::rng::Rng;
use crate::base::storage::Storage;
use crate::base::time::{Instant, WallTime};
use crate::blocks::files::Files;
use crate::blocks::hash::Generator;
use crate::blocks::metrics::Metrics;
use crate::container::api::effects::Effects;
use crate::container::api::http::Http;
use crate::container::api::service::Exchange;
use crate::container::api::sockets::Sockets;
use crate::container::api::timers::Timers;
use crate::container::api::watches::Watches;
use crate::container::instance::SignalAnswers;
use crate::container::manifest::Manifest;
use crate::container::module::{CodeCache, Module};
use crate::container::permissions::Allowed;
use crate::container::properties::Properties;
use crate::container::services::{Copied, Registry};
use crate::container::source::ModuleSource;
use crate::container::surroundings::{FlowRecord, FlowView, Surroundings};
use crate::container::vm::call::Registered;
use crate::container::vm::guard::Guard;
use crate::container::vm::tier::Tier;

/// Limits of which a module's code is told by an error that it may catch.
const LIMITS: &[&str] = &["effects_per_call", "sockets", "storage_bytes", "tasks", "timers"];

/// How long the machine's addresses are believed to be as they were.
const OWN_FRESH: Duration = Duration::from_secs(1);

/// What the functions that modules call reach. They hold no borrow while Luau code runs.
pub(crate) struct Host {
    pub(crate) id: InstanceId,
    pub(crate) manifest: Rc<Manifest>,
    pub(crate) source: Rc<ModuleSource>,
    /// By name.
    pub(crate) libraries: Rc<BTreeMap<String, Module>>,
    pub(crate) properties: Properties,
    /// What it may do.
    pub(crate) allowed: Allowed,
    pub(crate) wall: WallTime,
    pub(crate) flows: Rc<dyn FlowView>,
    /// The time of the call at hand.
    pub(crate) now: Cell<Instant>,
    pub(crate) rng: RefCell<Rng>,
    /// Random bytes for secrets.
    pub(crate) secrets: RefCell<Generator>,
    /// What it keeps over restarts.
    pub(crate) storage: Rc<dyn Storage>,
    /// Its files, once it has used one.
    pub(crate) files: RefCell<Option<Files>>,
    pub(crate) metrics: RefCell<Metrics>,
    pub(crate) effects: RefCell<Effects>,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) sockets: RefCell<Sockets>,
    pub(crate) http: RefCell<Http>,
    pub(crate) services: Rc<RefCell<Registry>>,
    pub(crate) exchange: RefCell<Exchange>,
    /// What came of a signal, until the Luau side has taken it.
    pub(crate) signal_answers: RefCell<Option<Result<SignalAnswers, String>>>,
    pub(crate) signal_count: Cell<u32>,
    pub(crate) machine: Rc<dyn MachineView>,
    /// Changes of the machine that it wants to know of, as the Luau side numbers them.
    pub(crate) observed: Cell<u32>,
    pub(crate) watches: RefCell<Watches>,
    /// The flow that ended, for `on_flow_end`.
    pub(crate) flow_end: Cell<Option<FlowRecord>>,
    /// Why the instance is stopped, for `stop`.
    pub(crate) stop_reason: RefCell<String>,
    /// Limits that the code ran against, and how often.
    pub(crate) limit_hits: RefCell<Vec<(&'static str, u64)>>,
    /// What the old version hands to the new one.
    pub(crate) handed_over: RefCell<Option<Copied>>,
    /// What `report` returned.
    pub(crate) report: RefCell<Option<serde_json::Value>>,
    /// Bytecode of the module's files.
    pub(crate) code: Rc<CodeCache>,
    pub(super) tier: Tier,
    /// Source bytes that are, or are to become, machine code.
    pub(crate) native_bytes: Cell<usize>,
    pub(crate) registered: Registered,
    /// The machine's addresses, and since when they are known.
    own: RefCell<Option<(Instant, Vec<IpAddr>)>>,
    guard: OnceCell<Guard>,
}

impl Host {
    pub(crate) fn new(id: InstanceId, module: &Module, properties: &Properties, surroundings: &Surroundings) -> Self {
        let Module { manifest, source, libraries, code } = module;
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
            secrets: RefCell::new(surroundings.secret.generator()),
            storage: surroundings.stores.open(&surroundings.name),
            files: RefCell::new(None),
            metrics: RefCell::default(),
            effects: RefCell::new(Effects::default()),
            timers: RefCell::new(Timers::new(manifest.limits.timers)),
            sockets: RefCell::new(Sockets::new(id, manifest.limits.sockets, manifest.limits.memory_bytes)),
            http: RefCell::new(Http::new(manifest.limits.memory_bytes)),
            services: Rc::clone(&surroundings.services),
            exchange: RefCell::default(),
            signal_answers: RefCell::new(None),
            signal_count: Cell::new(0),
            machine: Rc::clone(&surroundings.machine),
            observed: Cell::new(0),
            watches: RefCell::default(),
            flow_end: Cell::new(None),
            stop_reason: RefCell::new(String::new()),
            handed_over: RefCell::new(None),
            limit_hits: RefCell::default(),
            report: RefCell::new(None),
            code: Rc::clone(code),
            tier: Tier::default(),
            native_bytes: Cell::new(0),
            registered: Registered::default(),
            own: RefCell::new(None),
            guard: OnceCell::new(),
            manifest: Rc::clone(manifest),
            source: Rc::clone(source),
            libraries: Rc::clone(libraries),
        }
    }

    /// The library that a file belongs to, and its path within that: files of libraries have its name as their first
    /// folder. `None` for the module's own files.
    pub(crate) fn library_of<'a>(&self, path: &'a str) -> Option<(&Module, &'a str)> {
        let (name, within) = path.split_once('/')?;
        Some((self.libraries.get(name)?, within))
    }

    /// A file of the module, or of one of its libraries.
    pub(crate) fn file(&self, path: &str) -> Option<&Vec<u8>> {
        match self.library_of(path) {
            Some((library, within)) => library.source.files.get(within),
            None => self.source.files.get(path),
        }
    }

    /// Whether an address is one of this machine's, as far as that is known. Looked up at most once a second.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        let now = self.now.get();
        let mut own = self.own.borrow_mut();
        if own.as_ref().is_none_or(|(since, _)| now.since(*since) >= OWN_FRESH) {
            let all = self.machine.interfaces().unwrap_or_default();
            *own = Some((now, all.iter().flat_map(|i| &i.addresses).map(|(address, _)| *address).collect()));
        }
        own.as_ref().is_some_and(|(_, all)| all.contains(&address))
    }

    /// Counts the limit that the text of an error names, if it names one: `limit NAME (VALUE) exceeded`.
    pub(super) fn count_limit(&self, error: &str) {
        let named = error.strip_prefix("limit ").and_then(|rest| rest.split_once(' '));
        let Some(limit) = named.and_then(|(name, _)| LIMITS.iter().find(|limit| **limit == name)) else { return };
        let mut hits = self.limit_hits.borrow_mut();
        match hits.iter_mut().find(|(known, _)| known == limit) {
            Some((_, count)) => *count += 1,
            None => hits.push((limit, 1)),
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

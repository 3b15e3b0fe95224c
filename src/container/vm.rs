//! One sandboxed Luau VM.
//!
//! All code that touches Luau's stack is below this module. It goes past mlua, of which it takes the C functions and the
//! compiler: a packet must cost no allocation, and a VM little memory. What a VM need not have at once comes later: parts
//! of the Luau side when they are used ([`PARTS`]), machine code when the instance has run for a while ([`tier`]).
#![expect(unsafe_code, reason = "sets up what the raw calls rest on")]

use std::ffi::c_int;
use std::sync::OnceLock;

use mlua::ffi;

use crate::container::api::{GUARDS, PARTS, PRELUDE};
use crate::container::fault::Fault;
use crate::container::surroundings::CpuGuard;
use crate::container::vm::arguments::PRELUDE_NAME;
use crate::container::vm::guard::Guard;
use crate::container::vm::host::Host;
use crate::container::vm::natives::{compiler, push_natives};
use crate::container::vm::state::{Raised, State};

pub(crate) mod arguments;
pub(crate) mod call;
pub(crate) mod copied;
pub(crate) mod guard;
pub(crate) mod host;
mod meter;
mod natives;
mod pages;
mod state;
mod tier;
pub(crate) mod trigger;
mod value;

/// All globals that a module has, `library.name` for those in libraries. What is not listed is taken away, so that
/// nothing slips in with a new version of Luau. What is missing on purpose: everything that loads code or reads files,
/// environments, `newproxy`, the collector, Luau's own random numbers, and `print`.
const GLOBALS: &str = "
    _VERSION assert error getmetatable ipairs next pairs pcall rawequal rawget rawlen rawset select setmetatable
    tonumber tostring type typeof unpack xpcall
    bit32.arshift bit32.band bit32.bnot bit32.bor bit32.btest bit32.bxor bit32.byteswap bit32.countlz bit32.countrz
    bit32.extract bit32.lrotate bit32.lshift bit32.replace bit32.rrotate bit32.rshift
    buffer.copy buffer.create buffer.fill buffer.fromstring buffer.len buffer.readbits buffer.readf32 buffer.readf64
    buffer.readi16 buffer.readi32 buffer.readi8 buffer.readstring buffer.readu16 buffer.readu32 buffer.readu8
    buffer.tostring buffer.writebits buffer.writef32 buffer.writef64 buffer.writei16 buffer.writei32 buffer.writei8
    buffer.writestring buffer.writeu16 buffer.writeu32 buffer.writeu8
    coroutine.close coroutine.create coroutine.isyieldable coroutine.resume coroutine.running coroutine.status
    coroutine.wrap coroutine.yield
    math.abs math.acos math.asin math.atan math.atan2 math.ceil math.clamp math.cos math.cosh math.deg math.exp
    math.floor math.fmod math.frexp math.huge math.ldexp math.lerp math.log math.log10 math.map math.max math.min
    math.modf math.noise math.pi math.pow math.rad math.round math.sign math.sin math.sinh math.sqrt math.tan math.tanh
    string.byte string.char string.find string.format string.gmatch string.gsub string.len string.lower string.match
    string.pack string.packsize string.rep string.reverse string.split string.sub string.unpack string.upper
    table.clear table.clone table.concat table.create table.find table.freeze table.insert table.isfrozen table.maxn
    table.move table.pack table.remove table.sort table.unpack
    utf8.char utf8.charpattern utf8.codepoint utf8.codes utf8.len utf8.offset
";

/// One sandboxed VM.
///
/// The fields are dropped in this order: the VM first, then what its functions reach.
pub(crate) struct Vm {
    state: State,
    host: Box<Host>,
    /// The thread in which all calls run, so that each can be ended by a yield; kept by `thread_reference`.
    thread: *mut ffi::lua_State,
    thread_reference: c_int,
    /// The fault after which the VM must not be used.
    dead: Option<Fault>,
}

impl Vm {
    /// Makes a VM and runs the Luau side in it; no code of the module yet.
    ///
    /// # Errors
    ///
    /// [`Fault::OutOfMemory`] when the module's limit is below what an empty VM needs.
    pub(crate) fn start(host: Host, cpu: &CpuGuard) -> Result<Vm, Fault> {
        let host = Box::new(host);
        let limits = host.manifest.limits;
        let state = State::new();
        // SAFETY: `drop` ends the guard before the VM goes.
        host.set_guard(unsafe { Guard::new(cpu, limits.cpu_ms_per_call, state.callbacks()) });
        let mut vm = Vm { state, host, thread: std::ptr::null_mut(), thread_reference: 0, dead: None };
        vm.prepare().expect("the Luau side runs without errors before there is a limit");
        let limit = usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX);
        vm.state.set_limit(limit);
        if vm.state.used_bytes() >= limit {
            return Err(vm.out_of_memory());
        }
        Ok(vm)
    }

    /// What the functions that modules call reach.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Memory that the VM uses, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.state.used_bytes() as u64
    }

    /// Whether a fault has ended the VM.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.is_some()
    }

    fn prepare(&mut self) -> Result<(), Raised> {
        let host: *const Host = &*self.host;
        // SAFETY: the closure runs protected; the host lives as long as the VM, at a fixed address.
        self.state.protect(|state| unsafe {
            push_natives(state, host);
            ffi::lua_createtable(state, 0, 0);
            ffi::lua_rawsetfield(state, ffi::LUA_REGISTRYINDEX, c"netserv_shared".as_ptr());
            ffi::lua_rawsetfield(state, ffi::LUA_REGISTRYINDEX, c"netserv_natives".as_ptr());
        })?;
        // Some functions of the libraries get their guards before the libraries are frozen.
        let guards = if self.host.guard().counts() { GUARDS } else { &GUARDS[..1] };
        for code in &prelude_code().guards[..guards.len()] {
            // SAFETY: as above.
            self.state.protect(|state| unsafe { run_part(state, code) })?;
        }
        self.state.sandbox()?;
        for code in &prelude_code().prelude {
            // SAFETY: as above.
            self.state.protect(|state| unsafe { run_part(state, code) })?;
        }
        // SAFETY: the host outlives the VM. From here on the guard counts. What only loading needed makes room for the
        // module, in pages that are touched already.
        self.state.protect(|state| unsafe {
            ffi::lua_gc(state, ffi::LUA_GCCOLLECT, 0);
            ffi::lua_setthreaddata(ffi::lua_mainthread(state), host.cast_mut().cast());
        })?;
        self.new_thread()
    }

    /// Makes the thread for calls, in place of one that ended badly.
    fn new_thread(&mut self) -> Result<(), Raised> {
        let old = self.thread_reference;
        let (mut thread, mut reference) = (std::ptr::null_mut(), 0);
        // SAFETY: the closure runs protected; the old thread does not run.
        self.state.protect(|state| unsafe {
            thread = ffi::lua_newthread(state);
            reference = ffi::lua_ref(state, -1);
            ffi::lua_settop(state, -2);
            if old > 0 {
                ffi::lua_unref(state, old);
            }
        })?;
        (self.thread, self.thread_reference) = (thread, reference);
        Ok(())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.host.guard().end();
    }
}

/// Runs a part of the Luau side, which gets the natives and the table that all parts share.
///
/// # Safety
///
/// `state` must be where a Luau error may be raised, with three free slots; the natives must be there.
unsafe fn run_part(state: *mut ffi::lua_State, code: &[u8]) {
    // SAFETY: see above; the code comes from the compiler.
    unsafe {
        if ffi::luau_load(state, PRELUDE_NAME.as_ptr(), code.as_ptr().cast(), code.len(), 0) != 0 {
            ffi::lua_error(state);
        }
        ffi::lua_rawgetfield(state, ffi::LUA_REGISTRYINDEX, c"netserv_natives".as_ptr());
        ffi::lua_rawgetfield(state, ffi::LUA_REGISTRYINDEX, c"netserv_shared".as_ptr());
        ffi::lua_call(state, 2, 0);
    }
}

/// The Luau side as bytecode.
struct PreludeCode {
    guards: Vec<Vec<u8>>,
    prelude: Vec<Vec<u8>>,
    parts: Vec<Vec<u8>>,
}

/// The Luau side, compiled once per process.
fn prelude_code() -> &'static PreludeCode {
    static CODE: OnceLock<PreludeCode> = OnceLock::new();
    CODE.get_or_init(|| {
        let compile = |source: &str| compiler().compile(source).expect("the Luau side has no syntax errors");
        PreludeCode {
            guards: GUARDS.iter().map(|source| compile(source)).collect(),
            prelude: PRELUDE.iter().map(|source| compile(source)).collect(),
            parts: PARTS.iter().map(|(_, source)| compile(source)).collect(),
        }
    })
}

#[cfg(test)]
mod tests;

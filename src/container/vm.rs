//! One sandboxed Luau VM.
//!
//! All code that touches Luau's stack is below this module. mlua makes and frees the VM; calls go past it, because a
//! packet must cost no allocation.
#![expect(unsafe_code, reason = "sets up what the raw calls rest on")]

use std::collections::BTreeSet;
use std::ffi::c_int;
use std::ptr::NonNull;
use std::sync::{Once, OnceLock};

use mlua::{Lua, LuaOptions, StdLib, ffi};

use crate::container::api::PRELUDE;
use crate::container::fault::Fault;
use crate::container::surroundings::CpuGuard;
use crate::container::vm::arguments::PRELUDE_NAME;
use crate::container::vm::guard::Guard;
use crate::container::vm::host::Host;
use crate::container::vm::natives::{compiler, push_natives};

pub(crate) mod arguments;
pub(crate) mod call;
pub(crate) mod guard;
pub(crate) mod host;
mod natives;
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
    lua: Lua,
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
        static FLAGS: Once = Once::new();
        // Without this `table.move` of a sparse table runs for ever.
        FLAGS.call_once(|| assert!(Lua::set_fflag("LuauTableMoveTimeoutFix", true).is_ok(), "this Luau has the flag"));
        let host = Box::new(host);
        let libraries = StdLib::TABLE
            | StdLib::STRING
            | StdLib::MATH
            | StdLib::BIT
            | StdLib::UTF8
            | StdLib::BUFFER
            | StdLib::COROUTINE;
        let limits = host.manifest.limits;
        let lua = Lua::new_with(libraries, LuaOptions::default()).expect("these libraries are safe ones");
        // SAFETY: the callbacks are part of the VM's global state.
        let callbacks = unsafe {
            let mut callbacks = None;
            lua.exec_raw::<()>((), |state| callbacks = NonNull::new(ffi::lua_callbacks(state)))
                .expect("nothing is allocated");
            callbacks.expect("every VM has callbacks")
        };
        // SAFETY: `drop` ends the guard before the VM goes.
        host.set_guard(unsafe { Guard::new(cpu, limits.cpu_ms_per_call, callbacks) });
        let mut vm = Vm { lua, host, thread: std::ptr::null_mut(), thread_reference: 0, dead: None };
        vm.prepare().expect("the Luau side runs without errors before there is a limit");
        let limit = usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX);
        if vm.lua.set_memory_limit(limit).is_err() || vm.lua.used_memory() >= limit {
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
        self.lua.used_memory() as u64
    }

    /// Whether a fault has ended the VM.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.is_some()
    }

    fn prepare(&mut self) -> mlua::Result<()> {
        keep_listed_globals(&self.lua)?;
        let host: *const Host = &*self.host;
        for (i, code) in prelude_code().iter().enumerate() {
            if i == 1 {
                self.lua.sandbox(true)?;
            }
            // SAFETY: the closure runs protected; the host lives as long as the VM, at a fixed address.
            unsafe {
                self.lua.exec_raw::<()>((), |state| {
                    if i == 0 {
                        push_natives(state, host);
                        ffi::lua_createtable(state, 0, 0);
                        ffi::lua_rawsetfield(state, ffi::LUA_REGISTRYINDEX, c"netserv_shared".as_ptr());
                        ffi::lua_rawsetfield(state, ffi::LUA_REGISTRYINDEX, c"netserv_natives".as_ptr());
                    }
                    if ffi::luau_load(state, PRELUDE_NAME.as_ptr(), code.as_ptr().cast(), code.len(), 0) != 0 {
                        ffi::lua_error(state);
                    }
                    ffi::lua_rawgetfield(state, ffi::LUA_REGISTRYINDEX, c"netserv_natives".as_ptr());
                    ffi::lua_rawgetfield(state, ffi::LUA_REGISTRYINDEX, c"netserv_shared".as_ptr());
                    ffi::lua_call(state, 2, 0);
                })?;
            }
        }
        // SAFETY: the host outlives the VM. From here on the guard counts.
        unsafe {
            self.lua.exec_raw::<()>((), |state| {
                ffi::lua_setthreaddata(ffi::lua_mainthread(state), host.cast_mut().cast());
            })?;
        }
        self.new_thread()
    }

    /// Makes the thread for calls, in place of one that ended badly.
    fn new_thread(&mut self) -> mlua::Result<()> {
        let old = self.thread_reference;
        let (mut thread, mut reference) = (std::ptr::null_mut(), 0);
        // SAFETY: the closure runs protected; the old thread does not run.
        unsafe {
            self.lua.exec_raw::<()>((), |state| {
                thread = ffi::lua_newthread(state);
                reference = ffi::lua_ref(state, -1);
                ffi::lua_settop(state, -2);
                if old > 0 {
                    ffi::lua_unref(state, old);
                }
            })?;
        }
        (self.thread, self.thread_reference) = (thread, reference);
        Ok(())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.host.guard().end();
    }
}

/// Takes away all globals that [`GLOBALS`] does not list.
fn keep_listed_globals(lua: &Lua) -> mlua::Result<()> {
    let listed: BTreeSet<&str> = GLOBALS.split_whitespace().collect();
    let libraries: BTreeSet<&str> = listed.iter().filter_map(|name| Some(name.split_once('.')?.0)).collect();
    let globals = lua.globals();
    for pair in globals.clone().pairs::<String, mlua::Value>() {
        let (name, value) = pair?;
        if let (mlua::Value::Table(library), true) = (value, libraries.contains(name.as_str())) {
            for member in library.clone().pairs::<String, mlua::Value>() {
                let member = member?.0;
                if !listed.contains(format!("{name}.{member}").as_str()) {
                    library.raw_set(member, mlua::Value::Nil)?;
                }
            }
        } else if !listed.contains(name.as_str()) {
            globals.raw_set(name, mlua::Value::Nil)?;
        }
    }
    Ok(())
}

/// The Luau side, compiled once per process.
fn prelude_code() -> &'static [Vec<u8>] {
    static CODE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    CODE.get_or_init(|| {
        let compile = |source: &&str| compiler().compile(source).expect("the Luau side has no syntax errors");
        PRELUDE.iter().map(compile).collect()
    })
}

#[cfg(test)]
mod tests;

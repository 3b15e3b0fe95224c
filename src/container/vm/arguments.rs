//! What a native function was called with.
#![expect(unsafe_code, reason = "reads Luau's stack")]

use std::ffi::{CStr, c_int};

use mlua::ffi;

use crate::container::vm::copied::Copied;
use crate::container::vm::value;

/// Name of the Luau side's own files in messages. No file of a module can have it.
pub(super) const PRELUDE_NAME: &CStr = c"=[netserv]";
/// The same, as Luau shows it.
pub(super) const PRELUDE_SHOWN: &[u8] = b"[netserv]";
/// Callers that are looked through for the line of the module.
const LEVELS_MAX: c_int = 16;

/// The arguments of a native function, from 1 on. What is borrowed lives as long as the call.
///
/// Nothing here raises a Luau error: natives run where such an error must not pass through.
pub(crate) struct Arguments<'a> {
    state: *mut ffi::lua_State,
    _call: std::marker::PhantomData<&'a ()>,
}

impl<'a> Arguments<'a> {
    /// # Safety
    ///
    /// `state` must be the one that a C function was called with, with [`value::STACK_SLOTS`] free slots, for as long
    /// as the arguments live.
    pub(super) unsafe fn new(state: *mut ffi::lua_State) -> Self {
        Arguments { state, _call: std::marker::PhantomData }
    }

    /// Whether the argument is nil or missing.
    pub(crate) fn is_nil(&self, at: c_int) -> bool {
        // SAFETY: any index may be asked for its type.
        unsafe { ffi::lua_type(self.state, at) <= ffi::LUA_TNIL }
    }

    /// Whether the argument is neither nil nor false.
    pub(crate) fn truth(&self, at: c_int) -> bool {
        // SAFETY: as above.
        unsafe { ffi::lua_toboolean(self.state, at) != 0 }
    }

    /// A number.
    pub(crate) fn number(&self, at: c_int, name: &str) -> Result<f64, String> {
        // SAFETY: the type is checked first, so that nothing is converted.
        unsafe {
            if ffi::lua_type(self.state, at) == ffi::LUA_TNUMBER {
                return Ok(ffi::lua_tonumberx(self.state, at, std::ptr::null_mut()));
            }
        }
        Err(format!("{name} must be a number, not {}", self.type_name(at)))
    }

    /// The bytes of a string.
    pub(crate) fn bytes(&self, at: c_int, name: &str) -> Result<&'a [u8], String> {
        // SAFETY: strings do not move, and the stack keeps this one until the call ends.
        unsafe {
            if ffi::lua_type(self.state, at) == ffi::LUA_TSTRING {
                let mut len = 0;
                let data = ffi::lua_tolstring(self.state, at, &mut len);
                return Ok(std::slice::from_raw_parts(data.cast(), len));
            }
        }
        Err(format!("{name} must be a string, not {}", self.type_name(at)))
    }

    /// Bytes of all arguments that are strings.
    pub(crate) fn text_bytes(&self) -> u64 {
        // SAFETY: only the length of what is a string is asked for, so that nothing is converted.
        unsafe {
            let is_text = |at: &c_int| ffi::lua_type(self.state, *at) == ffi::LUA_TSTRING;
            (1..=ffi::lua_gettop(self.state)).filter(is_text).map(|at| ffi::lua_objlen(self.state, at) as u64).sum()
        }
    }

    /// The bytes of a buffer.
    pub(crate) fn buffer(&self, at: c_int) -> Result<&'a [u8], String> {
        // SAFETY: buffers do not move, the stack keeps this one until the call ends, and no Luau code writes it
        // meanwhile.
        unsafe {
            if ffi::lua_type(self.state, at) == ffi::LUA_TBUFFER {
                let mut len = 0;
                let data = ffi::lua_tobuffer(self.state, at, &mut len);
                return Ok(if len == 0 { &[] } else { std::slice::from_raw_parts(data.cast(), len) });
            }
        }
        Err(format!("a buffer is wanted, not {}", self.type_name(at)))
    }

    /// The argument as JSON, at most about `bytes_max` bytes long.
    pub(crate) fn json(&self, at: c_int, bytes_max: usize) -> Result<serde_json::Value, String> {
        // SAFETY: the slots are there (see `new`), and `at` is an argument.
        unsafe { value::read(self.state, at, bytes_max) }
    }

    /// A copy of the argument, at most `bytes_max` bytes long.
    pub(crate) fn copied(&self, at: c_int, bytes_max: usize) -> Result<Copied, String> {
        // SAFETY: the slots are there (see `new`), and `at` is an argument.
        unsafe { Copied::read(self.state, at, bytes_max) }
    }

    /// The module's file that led here; empty if none did.
    pub(crate) fn caller(&self) -> String {
        // SAFETY: we are in a C function of this state.
        let (file, _) = unsafe { module_line(self.state) };
        String::from_utf8_lossy(file).into_owned()
    }

    fn type_name(&self, at: c_int) -> String {
        // SAFETY: type names are static strings.
        let name = unsafe { CStr::from_ptr(ffi::lua_typename(self.state, ffi::lua_type(self.state, at))) };
        match name.to_bytes() {
            b"no value" => "nil".to_owned(),
            name => format!("a {}", String::from_utf8_lossy(name)).replace("a nil", "nil"),
        }
    }
}

/// File and line of the module's code that a thread is in, or was in when it ended with an error; empty and 0 if it was
/// in none.
///
/// # Safety
///
/// `state` must be live. The file's name lives until the thread goes on.
pub(super) unsafe fn module_line<'a>(state: *mut ffi::lua_State) -> (&'a [u8], c_int) {
    for level in 0..LEVELS_MAX {
        // SAFETY: a plain structure that Luau fills.
        let mut found: ffi::lua_Debug = unsafe { std::mem::zeroed() };
        // SAFETY: "sl" fills source and line, without allocating.
        if unsafe { ffi::lua_getinfo(state, level, c"sl".as_ptr(), &mut found) } == 0 {
            break;
        }
        if found.currentline <= 0 || found.source.is_null() {
            continue;
        }
        // SAFETY: the source belongs to the function on the stack. Our chunk names begin with `=`.
        let source = unsafe { CStr::from_ptr(found.source) }.to_bytes();
        let file = source.strip_prefix(b"=").unwrap_or(source);
        if file != PRELUDE_SHOWN {
            return (file, found.currentline);
        }
    }
    (&[], 0)
}

//! Machine code, once an instance has run for a while: it takes 2 ms and some hundred KB, which an idle one should not pay.
#![expect(unsafe_code, reason = "functions are kept by reference until they are compiled")]

use std::cell::{Cell, RefCell};
use std::ffi::c_int;

use mlua::ffi;

use crate::container::vm::Vm;

/// Calls after which an instance gets machine code, whatever they took.
pub(super) const CALLS_MIN: u64 = 256;
/// CPU time after which an instance gets machine code, whatever the number of calls; twice what making it takes.
pub(super) const CPU_NS_MIN: u64 = 4_000_000;

/// What becomes machine code.
#[derive(Default)]
pub(crate) struct Tier {
    is_on: Cell<bool>,
    /// References to functions that wait for it. With each function go those in it.
    waiting: RefCell<Vec<c_int>>,
}

impl Tier {
    /// Makes machine code of the function at `at` of the stack, and of those in it; later if it is too early.
    ///
    /// # Safety
    ///
    /// There must be a Luau function, and errors may be raised.
    pub(super) unsafe fn add(&self, state: *mut ffi::lua_State, at: c_int) {
        // SAFETY: see above.
        unsafe {
            if self.is_on.get() {
                ffi::luau_codegen_compile(state, at);
            } else if ffi::luau_codegen_supported() != 0 {
                let reference = ffi::lua_ref(state, at);
                self.waiting.borrow_mut().push(reference);
            }
        }
    }
}

impl Vm {
    /// From now on the instance runs as machine code, as far as Luau can make some for this machine.
    #[cold]
    pub(super) fn speed_up(&mut self) {
        let tier = &self.host.tier;
        if tier.is_on.replace(true) || self.dead.is_some() {
            return;
        }
        let waiting = tier.waiting.take();
        if waiting.is_empty() {
            // There is no machine code for this machine, or nothing was loaded.
            return tier.is_on.set(false);
        }
        // SAFETY: no code of this VM runs; the references are those of functions.
        let made = self.state.protect(|state| unsafe {
            ffi::luau_codegen_create(state);
            for reference in waiting {
                ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, reference);
                ffi::luau_codegen_compile(state, -1);
                ffi::lua_settop(state, -2);
                ffi::lua_unref(state, reference);
            }
        });
        // What was not compiled, for want of memory, is interpreted.
        let _ = made;
    }
}

//! The one field of a VM that another thread may write.
#![expect(unsafe_code, reason = "Luau's callbacks are a C structure")]

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};

use mlua::ffi;

/// What Luau calls at safepoints.
pub(super) type Interrupt = unsafe extern "C-unwind" fn(*mut ffi::lua_State, c_int);

/// Arms and disarms the interrupt of one VM.
pub(crate) struct Trigger {
    callbacks: NonNull<ffi::lua_Callbacks>,
    interrupt: Interrupt,
}

// SAFETY: only the field `interrupt` is touched, atomically, and Luau's header allows that from any thread.
unsafe impl Send for Trigger {}

impl Trigger {
    /// # Safety
    ///
    /// The callbacks must live until the trigger is dropped.
    pub(super) unsafe fn new(callbacks: NonNull<ffi::lua_Callbacks>, interrupt: Interrupt) -> Self {
        Trigger { callbacks, interrupt }
    }

    /// From the next safepoint on the interrupt runs at each.
    pub(crate) fn arm(&self) {
        self.store(self.interrupt as *mut c_void);
    }

    /// Safepoints cost nothing again.
    pub(crate) fn disarm(&self) {
        self.store(std::ptr::null_mut());
    }

    fn store(&self, value: *mut c_void) {
        // SAFETY: the callbacks live (see `new`); an optional function pointer has the layout of a pointer, null for
        // none, and nobody in Rust holds a reference to the field.
        let field =
            unsafe { AtomicPtr::from_ptr((&raw mut (*self.callbacks.as_ptr()).interrupt).cast::<*mut c_void>()) };
        field.store(value, Ordering::Release);
    }
}

/// A trigger of callbacks that no VM has.
#[cfg(test)]
pub(crate) fn of_no_vm() -> Trigger {
    unsafe extern "C-unwind" fn nothing(_: *mut ffi::lua_State, _: c_int) {}
    // SAFETY: all fields of the callbacks may be null; they are never freed.
    unsafe {
        let callbacks: &'static mut ffi::lua_Callbacks = Box::leak(Box::new(std::mem::zeroed()));
        Trigger::new(NonNull::from(callbacks), nothing)
    }
}

//! Calls into the VM.
#![expect(unsafe_code, reason = "the packet path talks to Luau without a layer between")]

use std::cell::Cell;
use std::ffi::c_int;

use mlua::ffi;

use crate::container::api::effects::one_line;
use crate::container::fault::Fault;
use crate::container::vm::Vm;
use crate::container::vm::arguments::{PRELUDE_SHOWN, module_line};
use crate::container::vm::natives::ERROR_BYTES_MAX;

/// Luau's text for an allocation that failed.
const MEMORY_ERROR: &str = "not enough memory";

/// What the Luau side has registered for calls from Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Runs the module's entry file.
    Load,
    /// Calls `start`; answers which other functions the module has, as [`Has`].
    Start,
    /// The packet handler.
    Packet,
    /// A timer is due.
    Timer,
    /// A flow is over.
    FlowEnd,
    /// Wakes the task that waits for a key.
    Wake,
    /// A limit that is watched is crossed.
    Watch,
    /// Something of the machine has changed.
    MachineChanged,
    /// What came of a signal.
    SignalAnswered,
    /// Somebody calls a service.
    Serve,
    /// The answer to a call of a service.
    Returned,
    /// A service that is used has come, gone or changed.
    ServiceChanged,
    /// Goes on with tasks that can.
    Ready,
    /// Calls `report`.
    Report,
    /// Calls `stop`.
    Stop,
    /// Calls `export_state`.
    ExportState,
    /// Calls `import_state`.
    ImportState,
    /// Makes the packet buffer larger.
    Grow,
    /// The packet buffer.
    Buffer,
    /// The counters: one `f64` each.
    Counters,
}

impl Entry {
    const ALL: [(&'static [u8], Entry); 20] = [
        (b"load", Entry::Load),
        (b"start", Entry::Start),
        (b"packet", Entry::Packet),
        (b"timer", Entry::Timer),
        (b"flow_end", Entry::FlowEnd),
        (b"wake", Entry::Wake),
        (b"watch", Entry::Watch),
        (b"machine_changed", Entry::MachineChanged),
        (b"signal_answered", Entry::SignalAnswered),
        (b"serve", Entry::Serve),
        (b"returned", Entry::Returned),
        (b"service_changed", Entry::ServiceChanged),
        (b"ready", Entry::Ready),
        (b"report", Entry::Report),
        (b"stop", Entry::Stop),
        (b"export_state", Entry::ExportState),
        (b"import_state", Entry::ImportState),
        (b"grow", Entry::Grow),
        (b"buffer", Entry::Buffer),
        (b"counters", Entry::Counters),
    ];
}

/// Bits of what [`Entry::Start`] answers.
pub(crate) struct Has;

impl Has {
    pub(crate) const PACKET: u32 = 1;
    pub(crate) const FLOW_END: u32 = 2;
    pub(crate) const REPORT: u32 = 4;
    pub(crate) const STOP: u32 = 8;
    pub(crate) const EXPORT_STATE: u32 = 16;
    pub(crate) const IMPORT_STATE: u32 = 32;
}

/// References to what was registered. What a reference points to lives, and does not move, until it is replaced.
pub(crate) struct Registered {
    references: [Cell<c_int>; Entry::ALL.len()],
    buffer: Cell<(*mut u8, usize)>,
    counters: Cell<(*mut u8, usize)>,
}

impl Default for Registered {
    fn default() -> Self {
        let none = (std::ptr::null_mut(), 0);
        Registered { references: Default::default(), buffer: Cell::new(none), counters: Cell::new(none) }
    }
}

impl Registered {
    /// Notes a reference, and the memory of a buffer. Returns the reference that it replaces; 0 if none.
    pub(super) fn set(&self, name: &[u8], reference: c_int, data: *mut u8, len: usize) -> c_int {
        let Some((_, entry)) = Entry::ALL.iter().find(|(known, _)| *known == name) else { return 0 };
        match entry {
            Entry::Buffer => self.buffer.set((data, len)),
            Entry::Counters => self.counters.set((data, len)),
            Entry::Load
            | Entry::Start
            | Entry::Packet
            | Entry::Timer
            | Entry::FlowEnd
            | Entry::Wake
            | Entry::Watch
            | Entry::MachineChanged
            | Entry::SignalAnswered
            | Entry::Serve
            | Entry::Returned
            | Entry::ServiceChanged
            | Entry::Ready
            | Entry::Report
            | Entry::Stop
            | Entry::ExportState
            | Entry::ImportState
            | Entry::Grow => {}
        }
        self.references[*entry as usize].replace(reference)
    }

    fn reference(&self, entry: Entry) -> c_int {
        self.references[entry as usize].get()
    }

    /// Capacity of the packet buffer in bytes.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer.get().1
    }
}

impl Vm {
    /// Calls what was registered for `entry` with numbers, and returns the first two numbers of its answer; what is no
    /// number there is NaN.
    ///
    /// # Errors
    ///
    /// The module's fault. One that does not leave the VM usable comes again with every further call.
    pub(crate) fn call(&mut self, entry: Entry, arguments: &[f64]) -> Result<[f64; 2], Fault> {
        if let Some(fault) = &self.dead {
            return Err(fault.clone());
        }
        let reference = self.host.registered.reference(entry);
        if reference == 0 {
            // A part of the Luau side that this VM never used.
            return Ok([0.0, 0.0]);
        }
        self.host.guard().measure_next();
        // SAFETY: `thread` is a live thread of this VM that does not run, with an empty stack of at least
        // `LUA_MINSTACK` slots; neither pushing numbers and references nor `lua_resume` raises.
        unsafe {
            let state = self.thread;
            ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, reference);
            for argument in arguments {
                ffi::lua_pushnumber(state, *argument);
            }
            self.resume(arguments.len() as c_int)
        }
    }

    /// Calls the packet handler with the packet buffer and `arguments`.
    ///
    /// # Errors
    ///
    /// As [`Vm::call`].
    #[inline]
    pub(crate) fn call_packet(&mut self, arguments: &[f64; 11]) -> Result<[f64; 2], Fault> {
        if let Some(fault) = &self.dead {
            return Err(fault.clone());
        }
        // SAFETY: as in `call`; 13 slots are taken.
        unsafe {
            let state = self.thread;
            let registered = &self.host.registered;
            ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, registered.reference(Entry::Packet));
            ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, registered.reference(Entry::Buffer));
            for argument in arguments {
                ffi::lua_pushnumber(state, *argument);
            }
            self.resume(1 + arguments.len() as c_int)
        }
    }

    /// Runs the function below the `count` arguments on the thread's stack.
    ///
    /// # Safety
    ///
    /// They must be there, and the thread must not run.
    #[inline]
    unsafe fn resume(&mut self, count: c_int) -> Result<[f64; 2], Fault> {
        let state = self.thread;
        let guard = self.host.guard();
        guard.enter();
        // SAFETY: see above. `lua_resume` catches all errors of Luau.
        let status = unsafe { ffi::lua_resume_(state, std::ptr::null_mut(), count) };
        guard.leave();
        if status != ffi::LUA_OK || guard.killed() {
            return Err(self.fault(status));
        }
        let is_hot = guard.take_hot();
        // SAFETY: the thread has ended well; its stack holds the answer.
        let answer = unsafe {
            let answer = [number_at(state, 1), number_at(state, 2)];
            ffi::lua_settop(state, 0);
            answer
        };
        if is_hot {
            self.speed_up();
        }
        Ok(answer)
    }

    /// What went wrong when the thread ended with `status`. Makes a new thread if the VM can still be used.
    #[cold]
    fn fault(&mut self, status: c_int) -> Fault {
        let fault = if self.host.guard().killed() {
            Fault::OutOfCpu { limit_ms: self.host.manifest.limits.cpu_ms_per_call }
        } else if status == ffi::LUA_ERRMEM {
            self.out_of_memory()
        } else {
            let message = if status == ffi::LUA_YIELD {
                "coroutine.yield outside of the module's own coroutines: nobody would resume this one".to_owned()
            } else {
                // SAFETY: the thread ended with an error, which lies on top of its stack.
                unsafe { error_text(self.thread) }
            };
            // A memory error that the module caught and raised again has become a text.
            if message == MEMORY_ERROR || self.new_thread().is_err() {
                self.out_of_memory()
            } else {
                Fault::Raised { message }
            }
        };
        if !fault.leaves_vm_usable() {
            self.dead = Some(fault.clone());
        }
        fault
    }

    pub(super) fn out_of_memory(&self) -> Fault {
        Fault::OutOfMemory { limit_bytes: self.host.manifest.limits.memory_bytes }
    }

    /// Copies the first bytes of a packet into the packet buffer, which must hold them.
    #[inline]
    pub(crate) fn show(&mut self, bytes: &[u8]) {
        let (data, len) = self.host.registered.buffer.get();
        let count = bytes.len().min(len);
        // SAFETY: the buffer is referenced, so it lives where it was; no Luau code runs, and the packet is not in it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, count) };
    }

    /// The first `len` bytes of the packet buffer, as the handler left them; fewer if it is shorter.
    pub(crate) fn shown(&self, len: usize) -> &[u8] {
        let (data, capacity) = self.host.registered.buffer.get();
        if data.is_null() {
            return &[];
        }
        // SAFETY: as in `show`; while the slice is borrowed the VM cannot be called.
        unsafe { std::slice::from_raw_parts(data, len.min(capacity)) }
    }

    /// The value of the counter in place `index`.
    pub(crate) fn counter(&self, index: usize) -> u64 {
        let (data, len) = self.host.registered.counters.get();
        if data.is_null() || (index + 1) * 8 > len {
            return 0;
        }
        // SAFETY: the place is within the buffer; it need not be aligned.
        let value = unsafe { data.add(index * 8).cast::<[u8; 8]>().read_unaligned() };
        // Luau's buffers are little-endian everywhere.
        f64::from_le_bytes(value) as u64
    }
}

/// The number in a slot; NaN for anything else.
///
/// # Safety
///
/// `state` must be live.
#[inline]
unsafe fn number_at(state: *mut ffi::lua_State, at: c_int) -> f64 {
    // SAFETY: any index may be asked for its type; numbers are not converted.
    unsafe {
        match ffi::lua_type(state, at) {
            ffi::LUA_TNUMBER => ffi::lua_tonumberx(state, at, std::ptr::null_mut()),
            ffi::LUA_TNONE | ffi::LUA_TNIL => 0.0,
            _ => f64::NAN,
        }
    }
}

/// The text of the error on top of a thread's stack. No metamethod runs for it.
///
/// # Safety
///
/// There must be one.
unsafe fn error_text(state: *mut ffi::lua_State) -> String {
    // SAFETY: the types are checked, so that nothing is converted or allocated.
    unsafe {
        match ffi::lua_type(state, -1) {
            ffi::LUA_TSTRING => {
                let mut len = 0;
                let data = ffi::lua_tolstring(state, -1, &mut len);
                one_line(&in_modules_name(state, std::slice::from_raw_parts(data.cast(), len)), ERROR_BYTES_MAX)
            }
            ffi::LUA_TNUMBER => ffi::lua_tonumberx(state, -1, std::ptr::null_mut()).to_string(),
            kind => {
                let name = std::ffi::CStr::from_ptr(ffi::lua_typename(state, kind)).to_string_lossy();
                format!("an error that is no text but a {name}")
            }
        }
    }
}

/// An error that Luau itself raised in our own part of the Luau side, put down to the module's line that led there.
///
/// # Safety
///
/// The thread must have ended with an error.
unsafe fn in_modules_name(state: *mut ffi::lua_State, text: &[u8]) -> Vec<u8> {
    let ours = text.strip_prefix(PRELUDE_SHOWN).and_then(|rest| rest.strip_prefix(b":"));
    let Some(place_end) = ours.and_then(|rest| rest.windows(2).position(|pair| pair == b": ")) else {
        return text[..text.len().min(ERROR_BYTES_MAX)].to_vec();
    };
    // SAFETY: a thread that ended with an error keeps its frames.
    let (file, line) = unsafe { module_line(state) };
    let place = if line > 0 { format!("{}:{line}: ", String::from_utf8_lossy(file)) } else { String::new() };
    let what = &text[PRELUDE_SHOWN.len() + 1 + place_end + 2..];
    [place.as_bytes(), &what[..what.len().min(ERROR_BYTES_MAX)]].concat()
}

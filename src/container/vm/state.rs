//! A bare Luau state: its memory, its libraries, and the way to run code in it that may raise errors.
#![expect(unsafe_code, reason = "makes and closes the raw state")]

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::NonNull;
use std::sync::{Once, OnceLock};

use mlua::{Lua, LuaOptions, StdLib, ffi};

use crate::container::vm::GLOBALS;
use crate::container::vm::pages::Pages;

/// What Luau asks for is aligned to this.
const ALIGN: usize = 16;

/// Memory of one state, in bytes.
struct Memory {
    pages: Pages,
    used: Cell<usize>,
    limit: Cell<usize>,
}

/// A state with its libraries. Its globals are what [`GLOBALS`] lists.
///
/// mlua would make one too, but with tables of its own for handles that nobody here uses: a third of a start's time.
pub(super) struct State {
    main: NonNull<ffi::lua_State>,
    memory: Box<Memory>,
}

/// A Luau error, or no memory, in code that runs protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raised;

impl State {
    /// Without a limit of memory.
    pub(super) fn new() -> State {
        static FLAGS: Once = Once::new();
        FLAGS.call_once(|| {
            // Without this `table.move` of a sparse table runs for ever.
            assert!(Lua::set_fflag("LuauTableMoveTimeoutFix", true).is_ok(), "this Luau has the flag");
            // The first VM that mlua makes sets flags of the whole process, which must not change later.
            drop(Lua::new_with(StdLib::NONE, LuaOptions::default()));
        });
        let memory = Box::new(Memory { pages: Pages::default(), used: Cell::new(0), limit: Cell::new(usize::MAX) });
        let data: *const Memory = &*memory;
        // SAFETY: the allocator gets memory that lives as long as the state, and is used by this thread only.
        let main = unsafe { ffi::lua_newstate(allocate, data.cast_mut().cast()) };
        let state = State { main: NonNull::new(main).expect("there is memory for a VM"), memory };
        state.protect(open_libraries).expect("the libraries can be opened");
        state
    }

    /// Its main thread.
    pub(super) fn main(&self) -> *mut ffi::lua_State {
        self.main.as_ptr()
    }

    pub(super) fn callbacks(&self) -> NonNull<ffi::lua_Callbacks> {
        // SAFETY: the callbacks are part of the state.
        NonNull::new(unsafe { ffi::lua_callbacks(self.main()) }).expect("every state has callbacks")
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.memory.used.get()
    }

    /// From now on allocations beyond the limit fail.
    pub(super) fn set_limit(&self, bytes: usize) {
        self.memory.limit.set(bytes);
    }

    /// Runs code that may raise Luau errors, on the main thread, which must not run.
    pub(super) fn protect(&self, run: impl FnOnce(*mut ffi::lua_State)) -> Result<(), Raised> {
        unsafe extern "C-unwind" fn call<F: FnOnce(*mut ffi::lua_State)>(state: *mut ffi::lua_State) -> c_int {
            // SAFETY: `protect` hands over its own closure, once.
            unsafe {
                let run = &mut *ffi::lua_touserdata(state, 1).cast::<Option<F>>();
                if let Some(run) = run.take() {
                    run(state);
                }
            }
            0
        }
        fn of<F: FnOnce(*mut ffi::lua_State)>(_: &F) -> ffi::lua_CFunction {
            call::<F>
        }
        let function = of(&run);
        let mut run = Some(run);
        // SAFETY: the state lives; the closure outlives the call. What is raised ends here.
        unsafe {
            let top = ffi::lua_gettop(self.main());
            let status = ffi::lua_cpcall(self.main(), function, (&raw mut run).cast());
            ffi::lua_settop(self.main(), top);
            if status == ffi::LUA_OK { Ok(()) } else { Err(Raised) }
        }
    }

    /// Makes libraries and globals read-only, and gives module code a table of its own for what it sets.
    pub(super) fn sandbox(&self) -> Result<(), Raised> {
        // SAFETY: `protect` gives a live state.
        self.protect(|state| unsafe {
            ffi::luaL_sandbox(state, 1);
            ffi::luaL_sandboxthread(state);
        })
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: nothing runs in it, and nobody uses it later.
        unsafe {
            (*self.callbacks().as_ptr()).interrupt = None;
            (*self.callbacks().as_ptr()).onallocate = None;
            ffi::lua_close(self.main());
        }
    }
}

/// Luau's allocator.
///
/// # Safety
///
/// As Luau calls it: `old` is what an earlier call returned for `old_bytes`.
unsafe extern "C" fn allocate(
    memory: *mut c_void,
    old: *mut c_void,
    old_bytes: usize,
    new_bytes: usize,
) -> *mut c_void {
    // SAFETY: `State::new` gave the memory; sizes below the limit are valid for a layout.
    unsafe {
        let memory = &*memory.cast::<Memory>();
        let old_bytes = if old.is_null() { 0 } else { old_bytes };
        let used = memory.used.get() - old_bytes;
        if new_bytes == 0 {
            if !old.is_null() {
                if !memory.pages.give_back(old.cast(), old_bytes) {
                    dealloc(old.cast(), Layout::from_size_align_unchecked(old_bytes, ALIGN));
                }
                memory.used.set(used);
            }
            return std::ptr::null_mut();
        }
        let Ok(layout) = Layout::from_size_align(new_bytes, ALIGN) else { return std::ptr::null_mut() };
        if new_bytes > old_bytes && used.saturating_add(new_bytes) > memory.limit.get() {
            return std::ptr::null_mut();
        }
        let new = if old.is_null() {
            memory.pages.take(new_bytes).unwrap_or_else(|| alloc(layout))
        } else if Pages::is_page(old_bytes) || Pages::is_page(new_bytes) {
            // Luau does not resize pages, but an array may be as long as one.
            move_to(memory, old.cast(), old_bytes, new_bytes)
        } else {
            realloc(old.cast(), Layout::from_size_align_unchecked(old_bytes, ALIGN), new_bytes)
        };
        if !new.is_null() {
            memory.used.set(used + new_bytes);
        }
        new.cast()
    }
}

/// Moves what lies in `old` to a place of another size.
///
/// # Safety
///
/// As [`allocate`].
unsafe fn move_to(memory: &Memory, old: *mut u8, old_bytes: usize, new_bytes: usize) -> *mut u8 {
    // SAFETY: see above; both places are at least as long as what is copied.
    unsafe {
        let layout = |bytes| Layout::from_size_align_unchecked(bytes, ALIGN);
        let new = memory.pages.take(new_bytes).unwrap_or_else(|| alloc(layout(new_bytes)));
        if !new.is_null() {
            std::ptr::copy_nonoverlapping(old, new, old_bytes.min(new_bytes));
            if !memory.pages.give_back(old, old_bytes) {
                dealloc(old, layout(old_bytes));
            }
        }
        new
    }
}

fn open_libraries(state: *mut ffi::lua_State) {
    let libraries: [(&CStr, unsafe extern "C-unwind" fn(*mut ffi::lua_State) -> c_int); 8] = [
        (c"", ffi::luaopen_base),
        (c"coroutine", ffi::luaopen_coroutine),
        (c"table", ffi::luaopen_table),
        (c"string", ffi::luaopen_string),
        (c"math", ffi::luaopen_math),
        (c"bit32", ffi::luaopen_bit32),
        (c"utf8", ffi::luaopen_utf8),
        (c"buffer", ffi::luaopen_buffer),
    ];
    // SAFETY: runs protected, on a live state.
    unsafe {
        for (name, open) in libraries {
            ffi::lua_pushcfunction(state, open);
            ffi::lua_pushstring_(state, name.as_ptr());
            ffi::lua_call(state, 1, 0);
        }
        for (library, name) in unlisted(state) {
            ffi::lua_pushvalue(state, ffi::LUA_GLOBALSINDEX);
            if let Some(library) = library {
                ffi::lua_rawgetfield(state, -1, library.as_ptr());
            }
            ffi::lua_pushnil(state);
            ffi::lua_rawsetfield(state, -2, name.as_ptr());
            ffi::lua_settop(state, 0);
        }
    }
}

/// A global: the library that it is in, if any, and its name.
type Global = (Option<CString>, CString);

/// The globals that [`GLOBALS`] does not list. They are looked for once per process: the same Luau has the same ones.
///
/// # Safety
///
/// `state` must be live, with all libraries open.
unsafe fn unlisted(state: *mut ffi::lua_State) -> &'static [Global] {
    static UNLISTED: OnceLock<Vec<Global>> = OnceLock::new();
    UNLISTED.get_or_init(|| {
        let listed: BTreeSet<&str> = GLOBALS.split_whitespace().collect();
        // SAFETY: see above.
        let all = unsafe { globals(state) };
        let text = |name: &CString| name.to_string_lossy().into_owned();
        all.into_iter()
            .filter(|(library, name)| match library {
                Some(library) => !listed.contains(format!("{}.{}", text(library), text(name)).as_str()),
                None => !listed.contains(text(name).as_str()),
            })
            .collect()
    })
}

/// All globals, and all members of libraries.
///
/// # Safety
///
/// `state` must be live and not run.
pub(super) unsafe fn globals(state: *mut ffi::lua_State) -> Vec<Global> {
    let listed = GLOBALS.split_whitespace().filter_map(|name| name.split_once('.'));
    let libraries: BTreeSet<&str> = listed.map(|(library, _)| library).collect();
    let mut found = Vec::new();
    // SAFETY: see above; keys are strings, as all names of globals are.
    unsafe {
        ffi::lua_pushvalue(state, ffi::LUA_GLOBALSINDEX);
        for (name, is_table) in names(state) {
            let is_library = name.to_str().is_ok_and(|name| libraries.contains(name));
            if is_table && is_library {
                ffi::lua_rawgetfield(state, -1, name.as_ptr());
                found.extend(names(state).into_iter().map(|(member, _)| (Some(name.clone()), member)));
                ffi::lua_settop(state, -2);
            } else {
                found.push((None, name));
            }
        }
        ffi::lua_settop(state, -2);
    }
    found.sort();
    found
}

/// The string keys of the table on top of the stack, and which of their values are tables.
///
/// # Safety
///
/// There must be a table.
unsafe fn names(state: *mut ffi::lua_State) -> Vec<(CString, bool)> {
    let mut found = Vec::new();
    // SAFETY: see above.
    unsafe {
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, -2) != 0 {
            if ffi::lua_type(state, -2) == ffi::LUA_TSTRING {
                let name = CStr::from_ptr(ffi::lua_tostring(state, -2)).to_owned();
                found.push((name, ffi::lua_type(state, -1) == ffi::LUA_TTABLE));
            }
            ffi::lua_settop(state, -2);
        }
    }
    found
}

//! Values that leave one VM and enter another one: copied, byte for byte, with nothing of the first VM in them.
#![expect(unsafe_code, reason = "reads and writes Luau's stack")]

use std::ffi::{CStr, c_int};

use mlua::ffi;

use crate::container::vm::value::{STACK_SLOTS, push_bytes};

/// How deep a table may be nested.
const DEPTH_MAX: usize = 16;

// What a value begins with.
const NIL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const NUMBER: u8 = 3;
const STRING: u8 = 4;
const BUFFER: u8 = 5;
const TABLE: u8 = 6;
const END: u8 = 7;

/// A value of Luau outside of any VM: nil, truth values, numbers, strings, buffers, and tables of those.
#[derive(Clone, PartialEq, Eq)]
pub struct Copied(Vec<u8>);

impl std::fmt::Debug for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Copied({} bytes)", self.0.len())
    }
}

impl Copied {
    /// nil.
    #[must_use]
    pub fn nil() -> Copied {
        Copied(vec![NIL])
    }

    /// How long the copy is.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.0.len()
    }

    /// Copies the value at `at`. No metamethod runs.
    ///
    /// # Errors
    ///
    /// The sentence about what cannot be copied, or that it is too long.
    ///
    /// # Safety
    ///
    /// `state` must have [`STACK_SLOTS`] free slots and `at` be a valid positive index.
    pub(super) unsafe fn read(state: *mut ffi::lua_State, at: c_int, bytes_max: usize) -> Result<Copied, String> {
        const { assert!(2 * DEPTH_MAX < STACK_SLOTS as usize) };
        let mut writer = Writer { state, bytes: Vec::new(), bytes_max };
        // SAFETY: see above; every level takes two slots.
        unsafe { writer.value(at, 0)? };
        Ok(Copied(writer.bytes))
    }

    /// Pushes the value; its tables can be changed.
    ///
    /// # Safety
    ///
    /// `state` must be where a Luau error may be raised.
    pub(super) unsafe fn push(&self, state: *mut ffi::lua_State) {
        let mut rest = self.0.as_slice();
        // SAFETY: see above. What was read is well formed; of anything else nil is made.
        if !unsafe { push_value(state, &mut rest) } {
            // SAFETY: as above.
            unsafe { ffi::lua_pushnil(state) };
        }
    }
}

struct Writer {
    state: *mut ffi::lua_State,
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Writer {
    fn put(&mut self, kind: u8, bytes: &[u8]) -> Result<(), String> {
        if self.bytes.len() + 1 + bytes.len() > self.bytes_max {
            return Err(format!("the value takes more than {} bytes", self.bytes_max));
        }
        self.bytes.push(kind);
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn put_long(&mut self, kind: u8, bytes: &[u8]) -> Result<(), String> {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.put(kind, &len.to_le_bytes())?;
        if self.bytes.len() + bytes.len() > self.bytes_max {
            return Err(format!("the value takes more than {} bytes", self.bytes_max));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// # Safety
    ///
    /// As [`Copied::read`], with two slots per level that is left.
    unsafe fn value(&mut self, at: c_int, depth: usize) -> Result<(), String> {
        // SAFETY: `at` is valid; the types are checked before anything is read, so that nothing is converted. Strings
        // and buffers stay on the stack while they are copied.
        unsafe {
            match ffi::lua_type(self.state, at) {
                ffi::LUA_TNIL | ffi::LUA_TNONE => self.put(NIL, &[]),
                ffi::LUA_TBOOLEAN => self.put(if ffi::lua_toboolean(self.state, at) == 0 { FALSE } else { TRUE }, &[]),
                ffi::LUA_TNUMBER => {
                    self.put(NUMBER, &ffi::lua_tonumberx(self.state, at, std::ptr::null_mut()).to_le_bytes())
                }
                ffi::LUA_TSTRING => {
                    let mut len = 0;
                    let data = ffi::lua_tolstring(self.state, at, &mut len);
                    self.put_long(STRING, std::slice::from_raw_parts(data.cast::<u8>(), len))
                }
                ffi::LUA_TBUFFER => {
                    let mut len = 0;
                    let data = ffi::lua_tobuffer(self.state, at, &mut len);
                    let bytes = if len == 0 { &[] } else { std::slice::from_raw_parts(data.cast::<u8>(), len) };
                    self.put_long(BUFFER, bytes)
                }
                ffi::LUA_TTABLE if depth == DEPTH_MAX => {
                    Err(format!("tables are nested more than {DEPTH_MAX} deep; does one hold itself?"))
                }
                ffi::LUA_TTABLE => self.table(at, depth),
                kind => {
                    let name = CStr::from_ptr(ffi::lua_typename(self.state, kind)).to_string_lossy();
                    Err(format!(
                        "a {name} cannot be copied to another module; tables, strings, buffers, numbers and booleans can"
                    ))
                }
            }
        }
    }

    /// # Safety
    ///
    /// As [`Writer::value`]; `at` must be a table.
    unsafe fn table(&mut self, at: c_int, depth: usize) -> Result<(), String> {
        self.put(TABLE, &[])?;
        let mut iteration = 0;
        loop {
            // SAFETY: the table does not change meanwhile; key and value take the two slots of this level.
            unsafe {
                iteration = ffi::lua_rawiter(self.state, at, iteration);
                if iteration < 0 {
                    break;
                }
                let value_at = ffi::lua_gettop(self.state);
                let is_key = matches!(
                    ffi::lua_type(self.state, value_at - 1),
                    ffi::LUA_TSTRING | ffi::LUA_TNUMBER | ffi::LUA_TBOOLEAN
                );
                let copied = if is_key {
                    self.value(value_at - 1, depth + 1).and_then(|()| self.value(value_at, depth + 1))
                } else {
                    Err("a key of a table that is copied is neither a string, a number nor a boolean".to_owned())
                };
                ffi::lua_settop(self.state, value_at - 2);
                copied?;
            }
        }
        self.put(END, &[])
    }
}

/// Takes `len` bytes off the front.
fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

fn take_long<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u32::from_le_bytes(take(rest, 4)?.try_into().ok()?);
    take(rest, len as usize)
}

/// Pushes the next value; false, with nothing pushed, at the end of a table or of the bytes.
///
/// # Safety
///
/// As [`Copied::push`].
unsafe fn push_value(state: *mut ffi::lua_State, rest: &mut &[u8]) -> bool {
    let Some(&[kind]) = take(rest, 1) else { return false };
    // SAFETY: errors of Luau unwind through here; only slices are borrowed.
    unsafe {
        ffi::luaL_checkstack_(state, 4, c"value is nested too deeply".as_ptr());
        match kind {
            NIL => ffi::lua_pushnil(state),
            FALSE | TRUE => ffi::lua_pushboolean(state, c_int::from(kind == TRUE)),
            NUMBER => {
                let bytes = take(rest, 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
                ffi::lua_pushnumber(state, f64::from_le_bytes(bytes));
            }
            STRING => push_bytes(state, take_long(rest).unwrap_or_default()),
            BUFFER => {
                let bytes = take_long(rest).unwrap_or_default();
                let data = ffi::lua_newbuffer(state, bytes.len());
                if !bytes.is_empty() {
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.cast::<u8>(), bytes.len());
                }
            }
            TABLE => {
                ffi::lua_createtable(state, 0, 0);
                while push_value(state, rest) {
                    if push_value(state, rest) {
                        ffi::lua_rawset(state, -3);
                    } else {
                        ffi::lua_settop(state, -2);
                    }
                }
            }
            _ => return false,
        }
    }
    true
}

//! Values between Luau and Rust.
#![expect(unsafe_code, reason = "reads and writes Luau's stack")]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_int};

use mlua::ffi;
use serde_json::{Map, Value};

use crate::base::filter::address_of;
use crate::base::limits::JSON_DEPTH_MAX;
use crate::container::surroundings::FlowRecord;

/// Slots of Luau's stack that [`read`] may take.
pub(super) const STACK_SLOTS: c_int = 2 * JSON_DEPTH_MAX as c_int + 8;
/// The field of the metatable by which `@netserv/json` marks objects.
const JSON_MARK: &CStr = c"__json";
/// Bytes that any value counts at least, so that a million small ones are not free.
const VALUE_BYTES_MIN: usize = 8;

/// Reads the value at `at`. No metamethod runs.
///
/// # Safety
///
/// `state` must have [`STACK_SLOTS`] free slots and `at` be a valid positive index.
pub(super) unsafe fn read(state: *mut ffi::lua_State, at: c_int, bytes_max: usize) -> Result<Value, String> {
    let mut reader = Reader { state, bytes_left: bytes_max, bytes_max };
    // SAFETY: see above; every level takes two slots, and there are at most `JSON_DEPTH_MAX`.
    unsafe { reader.value(at, 0) }
}

struct Reader {
    state: *mut ffi::lua_State,
    bytes_left: usize,
    bytes_max: usize,
}

impl Reader {
    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes.max(VALUE_BYTES_MIN))
            .ok_or_else(|| format!("the value takes more than {} bytes", self.bytes_max))?;
        Ok(())
    }

    /// # Safety
    ///
    /// As [`read`], with two slots per level that is left.
    unsafe fn value(&mut self, at: c_int, depth: usize) -> Result<Value, String> {
        // SAFETY: `at` is valid; the types are checked before anything is read, so that nothing is converted.
        unsafe {
            match ffi::lua_type(self.state, at) {
                ffi::LUA_TNIL | ffi::LUA_TNONE => Ok(Value::Null),
                // `null` of `@netserv/json`; modules have no other.
                ffi::LUA_TLIGHTUSERDATA => Ok(Value::Null),
                ffi::LUA_TBOOLEAN => {
                    self.spend(1)?;
                    Ok(Value::from(ffi::lua_toboolean(self.state, at) != 0))
                }
                ffi::LUA_TNUMBER => {
                    self.spend(1)?;
                    Ok(number(ffi::lua_tonumberx(self.state, at, std::ptr::null_mut())))
                }
                ffi::LUA_TSTRING => self.text(at).map(Value::from),
                ffi::LUA_TTABLE if depth == JSON_DEPTH_MAX => {
                    Err(format!("tables are nested more than {JSON_DEPTH_MAX} deep; does one hold itself?"))
                }
                ffi::LUA_TTABLE => self.table(at, depth),
                kind => {
                    let name = CStr::from_ptr(ffi::lua_typename(self.state, kind)).to_string_lossy();
                    Err(format!("a {name} has no place in it; only tables, strings, numbers and booleans have"))
                }
            }
        }
    }

    /// # Safety
    ///
    /// `at` must be a string.
    unsafe fn text(&mut self, at: c_int) -> Result<String, String> {
        // SAFETY: the string stays on the stack while it is copied.
        let bytes = unsafe {
            let mut len = 0;
            let data = ffi::lua_tolstring(self.state, at, &mut len);
            std::slice::from_raw_parts(data.cast::<u8>(), len)
        };
        self.spend(bytes.len())?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// # Safety
    ///
    /// As [`Reader::value`]; `at` must be a table.
    unsafe fn table(&mut self, at: c_int, depth: usize) -> Result<Value, String> {
        self.spend(2)?;
        let mut items: BTreeMap<u64, Value> = BTreeMap::new();
        let mut fields: BTreeMap<String, Value> = BTreeMap::new();
        let mut iteration = 0;
        loop {
            // SAFETY: the table does not change meanwhile; key and value take the two slots of this level.
            unsafe {
                iteration = ffi::lua_rawiter(self.state, at, iteration);
                if iteration < 0 {
                    break;
                }
                let value_at = ffi::lua_gettop(self.state);
                let read = self.entry(value_at, depth);
                ffi::lua_settop(self.state, value_at - 2);
                match read? {
                    (Key::Item(index), value) => items.insert(index, value),
                    (Key::Field(name), value) => fields.insert(name, value),
                };
            }
        }
        // SAFETY: `at` is a table, and the slots of this level are free.
        let is_list = !unsafe { self.is_object(at) }
            && fields.is_empty()
            && items.keys().next_back().is_none_or(|last| *last == items.len() as u64);
        if is_list {
            return Ok(items.into_values().collect());
        }
        fields.extend(items.into_iter().map(|(index, value)| (index.to_string(), value)));
        Ok(Value::Object(fields.into_iter().collect::<Map<_, _>>()))
    }

    /// Whether `@netserv/json` marked the table as an object.
    ///
    /// # Safety
    ///
    /// As [`Reader::value`]; `at` must be a table.
    unsafe fn is_object(&self, at: c_int) -> bool {
        // SAFETY: the metatable and its field take two slots; nothing is allocated and no metamethod runs.
        unsafe {
            if ffi::lua_getmetatable(self.state, at) == 0 {
                return false;
            }
            let is_marked = ffi::lua_rawgetfield(self.state, -1, JSON_MARK.as_ptr()) == ffi::LUA_TSTRING;
            ffi::lua_settop(self.state, -3);
            is_marked
        }
    }

    /// # Safety
    ///
    /// As [`Reader::value`]; the value is at `at`, its key below it.
    unsafe fn entry(&mut self, at: c_int, depth: usize) -> Result<(Key, Value), String> {
        // SAFETY: see above.
        unsafe {
            let key = match ffi::lua_type(self.state, at - 1) {
                ffi::LUA_TSTRING => Key::Field(self.text(at - 1)?),
                ffi::LUA_TNUMBER => {
                    self.spend(1)?;
                    let key = ffi::lua_tonumberx(self.state, at - 1, std::ptr::null_mut());
                    let whole = key >= 1.0 && key <= (1u64 << 53) as f64 && key.fract() == 0.0;
                    if whole { Key::Item(key as u64) } else { Key::Field(key.to_string()) }
                }
                _ => return Err("a key is neither a string nor a number".to_owned()),
            };
            Ok((key, self.value(at, depth + 1)?))
        }
    }
}

enum Key {
    Item(u64),
    Field(String),
}

/// Whole numbers are written without a point; what JSON has no word for becomes null.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() <= (1u64 << 53) as f64 {
        Value::from(value as i64)
    } else {
        Value::from(value)
    }
}

/// Pushes a value; tables are frozen.
///
/// # Safety
///
/// `state` must be where a Luau error may be raised.
pub(super) unsafe fn push(state: *mut ffi::lua_State, value: &Value) {
    // SAFETY: see above; errors of Luau unwind through here.
    unsafe {
        ffi::luaL_checkstack_(state, 4, c"value is nested too deeply".as_ptr());
        match value {
            Value::Null => ffi::lua_pushnil(state),
            Value::Bool(yes) => ffi::lua_pushboolean(state, c_int::from(*yes)),
            Value::Number(number) => ffi::lua_pushnumber(state, number.as_f64().unwrap_or(f64::NAN)),
            Value::String(text) => push_bytes(state, text.as_bytes()),
            Value::Array(items) => {
                ffi::lua_createtable(state, items.len() as c_int, 0);
                for (i, item) in items.iter().enumerate() {
                    push(state, item);
                    ffi::lua_rawseti_(state, -2, i as c_int + 1);
                }
                ffi::lua_setreadonly(state, -1, 1);
            }
            Value::Object(fields) => {
                ffi::lua_createtable(state, 0, fields.len() as c_int);
                for (name, field) in fields {
                    push_bytes(state, name.as_bytes());
                    push(state, field);
                    ffi::lua_rawset(state, -3);
                }
                ffi::lua_setreadonly(state, -1, 1);
            }
        }
    }
}

/// Pushes what JSON text says: tables that can be changed; `null` is a light userdata; empty objects get the metatable
/// at `metatable_at`.
///
/// # Safety
///
/// As [`push`]; `metatable_at` must be a table or beyond the top.
pub(super) unsafe fn push_json(state: *mut ffi::lua_State, value: &Value, metatable_at: c_int) {
    // SAFETY: see above; errors of Luau unwind through here.
    unsafe {
        ffi::luaL_checkstack_(state, 4, c"value is nested too deeply".as_ptr());
        match value {
            Value::Null => ffi::lua_pushlightuserdata(state, std::ptr::null_mut()),
            Value::Array(items) => {
                ffi::lua_createtable(state, items.len() as c_int, 0);
                for (i, item) in items.iter().enumerate() {
                    push_json(state, item, metatable_at);
                    ffi::lua_rawseti_(state, -2, i as c_int + 1);
                }
            }
            Value::Object(fields) => {
                ffi::lua_createtable(state, 0, fields.len() as c_int);
                for (name, field) in fields {
                    push_bytes(state, name.as_bytes());
                    push_json(state, field, metatable_at);
                    ffi::lua_rawset(state, -3);
                }
                if fields.is_empty() && ffi::lua_type(state, metatable_at) == ffi::LUA_TTABLE {
                    ffi::lua_pushvalue(state, metatable_at);
                    ffi::lua_setmetatable(state, -2);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) => push(state, value),
        }
    }
}

/// Pushes a string.
///
/// # Safety
///
/// As [`push`].
pub(super) unsafe fn push_bytes(state: *mut ffi::lua_State, bytes: &[u8]) {
    // SAFETY: Luau copies the bytes.
    unsafe { ffi::lua_pushlstring_(state, bytes.as_ptr().cast(), bytes.len()) }
}

/// Pushes a flow as modules see it.
///
/// # Safety
///
/// As [`push`].
pub(super) unsafe fn push_flow(state: *mut ffi::lua_State, flow: &FlowRecord) {
    let numbers = [
        (c"id", flow.id.as_number()),
        (c"ip_version", f64::from(flow.ip_version)),
        (c"protocol", f64::from(flow.protocol)),
        (c"packets", flow.packets as f64),
        (c"bytes", flow.bytes as f64),
        (c"first_seen", flow.first_seen.as_secs_f64()),
        (c"last_seen", flow.last_seen.as_secs_f64()),
    ];
    let ports = flow.ports.map(|(source, destination)| [(c"source_port", source), (c"destination_port", destination)]);
    // SAFETY: see above.
    unsafe {
        ffi::luaL_checkstack_(state, 4, c"stack overflow".as_ptr());
        ffi::lua_createtable(state, 0, 12);
        for (name, value) in numbers {
            ffi::lua_pushnumber(state, value);
            ffi::lua_rawsetfield(state, -2, name.as_ptr());
        }
        for (name, port) in ports.into_iter().flatten() {
            ffi::lua_pushnumber(state, f64::from(port));
            ffi::lua_rawsetfield(state, -2, name.as_ptr());
        }
        for (name, address) in [(c"source", flow.source), (c"destination", flow.destination)] {
            push_bytes(state, address_of(address, flow.ip_version).to_string().as_bytes());
            ffi::lua_rawsetfield(state, -2, name.as_ptr());
        }
        ffi::lua_pushboolean(state, c_int::from(flow.fragments));
        ffi::lua_rawsetfield(state, -2, c"fragments".as_ptr());
    }
}

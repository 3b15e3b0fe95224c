//! The functions of Rust that the Luau side calls.
#![expect(unsafe_code, reason = "C functions of Luau")]

use std::ffi::{CString, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::OnceLock;

use mlua::chunk::Compiler;
use mlua::ffi;

use crate::base::limits::SOURCE_BYTES_MAX;
use crate::container::api::block::{self, BLOCKS};
use crate::container::api::effects::one_line;
use crate::container::api::{Answer, NATIVES, Native, PARTS, SEVERAL_MAX};
use crate::container::vm::arguments::{Arguments, PRELUDE_NAME, module_line};
use crate::container::vm::host::Host;
use crate::container::vm::value::{STACK_SLOTS, push, push_bytes, push_flow, push_json};
use crate::container::vm::{prelude_code, run_part};

/// Bytes of the message of an error.
pub(super) const ERROR_BYTES_MAX: usize = 1024;
/// Source bytes of one instance that become machine code; what is loaded later is interpreted.
const NATIVE_SOURCE_BYTES_MAX: usize = 512 * 1024;

/// Bytes of text given to a native that stand for one safepoint where time is virtual: it may look at each of them.
const TEXT_BYTES_PER_SAFEPOINT: u64 = 4;

/// How all module code is compiled.
pub(super) fn compiler() -> Compiler {
    Compiler::new()
        .set_optimization_level(2)
        .set_debug_level(1)
        .set_type_info_level(1)
        // As a fast call it would read a number of any length between two safepoints.
        .set_disabled_builtins(["tonumber"])
}

/// Leaves a table with all natives on the stack.
///
/// # Safety
///
/// `state` must be where a Luau error may be raised; the host must outlive the VM.
pub(super) unsafe fn push_natives(state: *mut ffi::lua_State, host: *const Host) {
    // SAFETY: see above.
    unsafe {
        push_table(state, host, NATIVES, None);
        let special: [(_, ffi::lua_CFunction); 6] = [
            (c"block", load_block),
            (c"load", load_file),
            (c"part", load_part),
            (c"register", register),
            (c"speed_up", speed_up),
            (c"type_text", type_text),
        ];
        for (name, function) in special {
            ffi::lua_pushlightuserdata(state, host.cast_mut().cast());
            ffi::lua_pushcclosure(state, function, 1);
            ffi::lua_rawsetfield(state, -2, name.as_ptr());
        }
    }
}

/// Leaves a table with the natives of a block, or with [`NATIVES`], on the stack.
///
/// # Safety
///
/// As [`push_natives`].
unsafe fn push_table(state: *mut ffi::lua_State, host: *const Host, natives: &[(&str, Native)], block: Option<usize>) {
    // SAFETY: see above.
    unsafe {
        ffi::lua_createtable(state, 0, natives.len() as c_int + 4);
        for (index, (name, _)) in natives.iter().enumerate() {
            push_bytes(state, name.as_bytes());
            ffi::lua_pushlightuserdata(state, host.cast_mut().cast());
            ffi::lua_pushnumber(state, index as f64);
            ffi::lua_pushnumber(state, block.map_or(-1.0, |block| block as f64));
            ffi::lua_pushcclosure(state, call_native, 3);
            ffi::lua_rawset(state, -3);
        }
    }
}

/// The host of the C function at hand.
///
/// # Safety
///
/// Only in a closure that [`push_natives`] made.
unsafe fn host<'a>(state: *mut ffi::lua_State) -> &'a Host {
    // SAFETY: see above; the host outlives the VM.
    unsafe { &*ffi::lua_tolightuserdata(state, ffi::lua_upvalueindex(1)).cast::<Host>() }
}

unsafe extern "C-unwind" fn call_native(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Luau calls this with a live state and the upvalues of `push_natives`. Errors of Luau unwind through this
    // frame as exceptions, which run its destructors; none passes through `catch_unwind`, because natives raise none.
    unsafe {
        ffi::luaL_checkstack_(state, STACK_SLOTS, c"stack overflow".as_ptr());
        let host = host(state);
        let place = |at| ffi::lua_tonumberx(state, ffi::lua_upvalueindex(at), std::ptr::null_mut());
        let natives = if place(3) < 0.0 { NATIVES } else { BLOCKS[place(3) as usize].natives };
        let native = natives[place(2) as usize].1;
        let arguments = Arguments::new(state);
        if host.guard().counts() {
            host.guard().charge(arguments.text_bytes() / TEXT_BYTES_PER_SAFEPOINT);
        }
        let answer = catch_unwind(AssertUnwindSafe(|| native(host, &arguments)))
            .unwrap_or_else(|_| Err("a fault in the node itself".to_owned()));
        match answer {
            Ok(Answer::Several(values)) => {
                let values = &values[..values.len().min(SEVERAL_MAX)];
                values.iter().for_each(|value| push_answer(state, value));
                values.len() as c_int
            }
            Ok(answer) => {
                push_answer(state, &answer);
                1
            }
            Err(message) => {
                host.count_limit(&message);
                raise(state, message)
            }
        }
    }
}

/// Pushes what a native answered, as one value.
///
/// # Safety
///
/// `state` must be where a Luau error may be raised.
unsafe fn push_answer(state: *mut ffi::lua_State, answer: &Answer) {
    // SAFETY: see above.
    unsafe {
        ffi::luaL_checkstack_(state, SEVERAL_MAX as c_int + 4, c"stack overflow".as_ptr());
        match answer {
            Answer::Nil => ffi::lua_pushnil(state),
            Answer::Number(number) => ffi::lua_pushnumber(state, *number),
            Answer::Truth(yes) => ffi::lua_pushboolean(state, c_int::from(*yes)),
            Answer::Bytes(bytes) => push_bytes(state, bytes),
            Answer::Value(value) => push(state, value),
            Answer::Copied(copied) => copied.push(state),
            Answer::Json(value) => push_json(state, value, 2),
            Answer::Flow(flow) => push_flow(state, flow),
            Answer::Flows(flows) => {
                ffi::lua_createtable(state, flows.len() as c_int, 0);
                for (i, flow) in flows.iter().enumerate() {
                    push_flow(state, flow);
                    ffi::lua_rawseti_(state, -2, i as c_int + 1);
                }
            }
            Answer::List(values) | Answer::Several(values) => {
                ffi::lua_createtable(state, values.len() as c_int, 0);
                for (i, value) in values.iter().enumerate() {
                    push_answer(state, value);
                    ffi::lua_rawseti_(state, -2, i as c_int + 1);
                }
            }
            Answer::Record(fields) => {
                ffi::lua_createtable(state, 0, fields.len() as c_int);
                for (name, value) in fields {
                    push_bytes(state, name.as_bytes());
                    push_answer(state, value);
                    ffi::lua_rawset(state, -3);
                }
            }
        }
    }
}

/// Raises an error in the name of the module's line that led here.
///
/// # Safety
///
/// Only in a C function of Luau.
unsafe fn raise(state: *mut ffi::lua_State, message: String) -> ! {
    // SAFETY: see above; the strings are copied and freed before the error unwinds.
    unsafe {
        let (file, line) = module_line(state);
        let place = if line > 0 { format!("{}:{line}: ", String::from_utf8_lossy(file)) } else { String::new() };
        let text = one_line((place + &message).as_bytes(), ERROR_BYTES_MAX);
        push_bytes(state, text.as_bytes());
        drop((text, message));
        ffi::lua_error(state)
    }
}

/// `register(name, value)`: what the Rust side calls or reads later.
unsafe extern "C-unwind" fn register(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: only the Luau side calls this, with a string and a value.
    unsafe {
        let host = host(state);
        let arguments = Arguments::new(state);
        let name = arguments.bytes(1, "name").unwrap_or_default();
        let reference = ffi::lua_ref(state, 2);
        let mut len = 0;
        let data = ffi::lua_tobuffer(state, 2, &mut len);
        let old = host.registered.set(name, reference, data.cast(), len);
        if old > 0 {
            ffi::lua_unref(state, old);
        }
    }
    0
}

/// `block(name)`: loads a building block, and returns what it returns.
unsafe extern "C-unwind" fn load_block(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `call_native`; only the Luau side calls this, with a string.
    unsafe {
        let host = host(state);
        let name = Arguments::new(state).bytes(1, "name").unwrap_or_default();
        let Some(index) = std::str::from_utf8(name).ok().and_then(block::find) else {
            let names: Vec<String> = BLOCKS.iter().map(|block| format!("\"@netserv/{}\"", block.name)).collect();
            let name = String::from_utf8_lossy(name);
            raise(state, format!("there is no building block \"@netserv/{name}\"; there are {}", names.join(", ")));
        };
        let code = block_code(index);
        let _pause = host.guard().pause();
        if ffi::luau_load(state, PRELUDE_NAME.as_ptr(), code.as_ptr().cast(), code.len(), 0) != 0 {
            ffi::lua_error(state);
        }
        push_table(state, host, BLOCKS[index].natives, Some(index));
        ffi::lua_rawgetfield(state, ffi::LUA_REGISTRYINDEX, c"netserv_shared".as_ptr());
        ffi::lua_call(state, 2, 1);
    }
    1
}

/// The Luau side of a block, compiled once per process.
fn block_code(index: usize) -> &'static [u8] {
    static CODE: [OnceLock<Vec<u8>>; BLOCKS.len()] = [const { OnceLock::new() }; BLOCKS.len()];
    CODE[index].get_or_init(|| compiler().compile(BLOCKS[index].code).expect("the blocks have no syntax errors"))
}

/// `load(path)`: compiles a file of the module and returns it as a function.
unsafe extern "C-unwind" fn load_file(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `call_native`.
    unsafe {
        let host = host(state);
        match compile(host, &Arguments::new(state)) {
            Ok((name, code, native)) => {
                // Compiling to machine code is no work of the module's.
                let _pause = host.guard().pause();
                if ffi::luau_load(state, name.as_ptr(), code.as_ptr().cast(), code.len(), 0) != 0 {
                    ffi::lua_error(state);
                }
                if native {
                    host.tier.add(state, -1);
                }
            }
            Err(message) => raise(state, message),
        }
    }
    1
}

/// The file's name for messages, its bytecode, and whether it is to become machine code.
fn compile(host: &Host, arguments: &Arguments<'_>) -> Result<(CString, Rc<[u8]>, bool), String> {
    let path = String::from_utf8_lossy(arguments.bytes(1, "path")?).into_owned();
    let source = host.file(&path).ok_or_else(|| format!("there is no file \"{path}\" in this module"))?;
    if source.len() > SOURCE_BYTES_MAX {
        return Err(format!("{path} has {} bytes; a source file may have {SOURCE_BYTES_MAX}", source.len()));
    }
    let name = CString::new(format!("={path}")).map_err(|_| format!("{path:?} is no file name"))?;
    if let Some(code) = host.code.find(&path) {
        return Ok((name, code, counts_as_native(host, source.len())));
    }
    let _pause = host.guard().pause();
    // What is compiled is always text: bytecode, which could break out of the VM, is only a syntax error here.
    let code = compiler().compile(source).map_err(|e| {
        let (mlua::Error::SyntaxError { message, .. } | mlua::Error::RuntimeError(message)) = e else {
            return format!("{path}: {e}");
        };
        // It begins with the line, behind a colon for the name that the compiler does not know.
        format!("{path}:{}", message.trim_start_matches([':', ' ']))
    })?;
    let code = host.code.keep(path, code);
    Ok((name, code, counts_as_native(host, source.len())))
}

/// Whether one more file of this length is to become machine code.
fn counts_as_native(host: &Host, source_bytes: usize) -> bool {
    let native_bytes = host.native_bytes.get() + source_bytes;
    let native = native_bytes <= NATIVE_SOURCE_BYTES_MAX;
    if native {
        host.native_bytes.set(native_bytes);
    }
    native
}

/// `part(name)`: loads a part of the Luau side that not every VM has.
unsafe extern "C-unwind" fn load_part(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `call_native`; only the Luau side calls this, with a string.
    unsafe {
        let name = Arguments::new(state).bytes(1, "name").unwrap_or_default();
        if let Some(index) = PARTS.iter().position(|(known, _)| known.as_bytes() == name) {
            ffi::luaL_checkstack_(state, STACK_SLOTS, c"stack overflow".as_ptr());
            let _pause = host(state).guard().pause();
            run_part(state, &prelude_code().parts[index]);
        }
    }
    0
}

/// `speed_up(functions...)`: makes machine code of functions of the Luau side. All of it would take 2 ms more.
unsafe extern "C-unwind" fn speed_up(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `call_native`; only the Luau side calls this, with functions.
    unsafe {
        let host = host(state);
        let _pause = host.guard().pause();
        for at in 1..=ffi::lua_gettop(state) {
            host.tier.add(state, at);
        }
    }
    0
}

/// `type_text(value)`: the name of the type of a value whose text would hold an address of memory, which no two runs
/// have alike; nil for all others.
unsafe extern "C-unwind" fn type_text(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: as in `call_native`.
    unsafe {
        let kind = ffi::lua_type(state, 1);
        let has_text = kind < ffi::LUA_TTABLE || ffi::luaL_getmetafield_(state, 1, c"__tostring".as_ptr()) != 0;
        if has_text {
            ffi::lua_pushnil(state);
        } else {
            ffi::lua_pushstring_(state, ffi::lua_typename(state, kind));
        }
    }
    1
}

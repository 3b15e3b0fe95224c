//! The attacks.

use crate::Attack;
use crate::Outcome::{Cpu, CpuOrMemory, Harmless, Memory, Raised};
use crate::Place::{File, Packet, Report, Start};

macro_rules! attacks {
    ($($name:literal, $place:ident, $outcome:expr, $code:literal;)+) => {
        pub(crate) const ATTACKS: &[Attack] =
            &[$(Attack { name: $name, place: $place, code: $code, outcome: $outcome },)+];
    };
}

attacks! {
    // Loops that want to run for ever.
    "endless loop in the file", File, Cpu, "while true do end";
    "endless loop in start", Start, Cpu, "while true do end";
    "endless loop on a packet", Packet, Cpu, "while true do end";
    "endless loop in a report", Report, Cpu, "repeat until false";
    "endless loop in a timer", Start, Cpu, "ctx:after(0.1, function() while true do end end)";
    "endless recursion in tail position", Packet, Raised("stack overflow"), "local function f(n) return f(n + 1) end return f(0)";
    "endless loop in a required file's caller", File, Cpu, "local n = require('@netserv') while n do end";
    "counting to infinity", Packet, Cpu, "for i = 1, math.huge do end";
    "endless arithmetic", Packet, Cpu, "local x = 0 while true do x += math.sin(x) end";
    "endless iterator", Packet, Cpu, "for _ in function() return 1 end do end";
    "endless gsub callback", Packet, Cpu, "('x'):gsub('x', function() while true do end end)";
    "endless sort comparator", Packet, Cpu, "table.sort({ 3, 1, 2 }, function() while true do end end)";

    // Kills that are caught.
    "pcall loop", Packet, Cpu, "while true do pcall(function() while true do end end) end";
    "pcall of itself", Packet, Cpu, "local function f() while true do pcall(f) end end f()";
    "xpcall loop with a handler that loops", Packet, Cpu,
        "while true do xpcall(function() while true do end end, function() while true do end end) end";
    "xpcall of pcall of xpcall", Packet, Cpu,
        "local function f() xpcall(pcall, xpcall, f, f) return f() end while true do pcall(f) end";
    "nested pcalls", Packet, CpuOrMemory,
        "local function f() pcall(f) while true do end end while true do pcall(f) end";
    "pcall in a metamethod", Packet, Cpu,
        "local t = setmetatable({}, { __index = function(t) while true do pcall(function() while true do end end) end end })
         while true do pcall(function() return t.x end) end";
    "pcall in a comparator", Packet, Cpu,
        "while true do pcall(table.sort, { 3, 1, 2 }, function()
           while true do pcall(function() while true do end end) end end) end";
    "error handler that raises", Packet, Cpu,
        "while true do xpcall(error, function(e) error(e) end, 'x') end";

    // Coroutines.
    "loop in a coroutine", Packet, Cpu, "coroutine.wrap(function() while true do end end)()";
    "coroutines that resume each other's kind", Packet, CpuOrMemory,
        "local function f() local c = coroutine.create(f) coroutine.resume(c) while true do end end f()";
    "coroutine bomb", Packet, CpuOrMemory,
        "local all = {} while true do table.insert(all, coroutine.create(function() end)) end";
    "wrap in wrap in wrap", Packet, CpuOrMemory,
        "local function f() coroutine.wrap(f)() end while true do pcall(f) end";
    "resume loop that catches all", Packet, Cpu,
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end";
    "yield and resume for ever", Packet, Cpu,
        "local c = coroutine.wrap(function() while true do coroutine.yield() end end) while true do c() end";
    "closing coroutines for ever", Packet, Cpu,
        "while true do local c = coroutine.create(function() coroutine.yield() end) coroutine.resume(c) coroutine.close(c) end";
    "yield of the handler itself", Packet, Raised("coroutine.yield outside of the module's own coroutines"),
        "coroutine.yield('drop')";
    "yield under pcall", Packet, Raised("coroutine.yield outside"), "pcall(coroutine.yield)";
    "resume of the running coroutine", Packet, Harmless, "coroutine.resume((coroutine.running()))";
    "close of the running coroutine", Packet, Harmless, "pcall(coroutine.close, (coroutine.running()))";

    // Memory.
    "memory bomb of tables", Packet, CpuOrMemory, "local t = {} while true do t = { t, {}, {}, {} } end";
    "memory bomb of strings", Packet, CpuOrMemory, "local t = {} while true do t[#t + 1] = ('x'):rep(100000 + #t) end";
    "memory bomb of buffers", Packet, CpuOrMemory, "local t = {} while true do t[#t + 1] = buffer.create(1000000) end";
    "memory bomb of closures", Packet, CpuOrMemory,
        "local t = {} while true do local i = #t t[i + 1] = function() return i end end";
    "memory bomb under pcall", Packet, CpuOrMemory,
        "local t = {} while true do pcall(function() while true do t[#t + 1] = ('x'):rep(1000000 + #t) end end) end";
    "doubling a string", Packet, CpuOrMemory, "local s = 'x' while true do s ..= s end";
    "string.rep of a gigabyte", Packet, Memory, "return ('x'):rep(2^30)";
    "string.rep of more than there is", Packet, Raised("resulting string too large"), "return ('x'):rep(2^31 - 1, ('y'):rep(1000))";
    "string.rep for ever", Packet, CpuOrMemory, "while true do local s = ('x'):rep(10000000) end";
    "buffer of a gigabyte", Packet, Memory, "buffer.create(2^30 - 1)";
    "buffer of a negative size", Packet, Raised("init.luau:1:"), "buffer.create(-1)";
    "huge table", Packet, Memory, "table.create(2^26)";
    "table.create beyond all bounds", Packet, Raised("init.luau:1:"), "table.create(2^40)";
    "huge hash", Packet, CpuOrMemory, "local t = {} for i = 1, 1e9 do t['k' .. i] = i end";
    "sparse array", Packet, CpuOrMemory, "local t = {} for i = 1, 1e9 do t[i * 7] = i end";
    "table.concat bomb", Packet, Memory, "table.concat(table.create(1000, ('x'):rep(100000)))";
    "table.unpack bomb", Packet, Raised("too many results to unpack"), "table.unpack({}, 1, 1e8)";
    "select bomb", Packet, CpuOrMemory,
        "local function f(...) return f(1, ...) end f()";
    "string.char of everything", Packet, CpuOrMemory,
        "local t = {} while true do t[#t + 1] = string.char(table.unpack(table.create(7000, 65))) .. #t end";
    "string.split bomb", Packet, CpuOrMemory, "local t = {} while true do t[#t + 1] = ('a,'):rep(400000):split(',') end";
    "string.format widths", Packet, Raised("invalid format (width or precision too long)"), "('%999999d'):format(1)";
    "string.format bomb", Packet, CpuOrMemory,
        "local s = ('x'):rep(1000000) while true do s = ('%s%s%s%s'):format(s, s, s, s) end";
    "string.pack bomb", Packet, Raised("init.luau:1:"), "string.pack('!16' .. ('i17'):rep(10), 1)";
    "json bomb", Packet, Raised("json: the value takes more than"),
        "local t = {} for i = 1, 10 do local u = {} for j = 1, 8 do u[j] = t end t = u end require('@netserv').json(t)";
    "hex bomb", Packet, Raised("too many to write in hexadecimal"), "require('@netserv').hex(('x'):rep(2000000))";
    "interned strings", Packet, CpuOrMemory, "local t = {} for i = 1, math.huge do t[i] = tostring(i) end";

    // Work between two safepoints.
    "pattern that backtracks", Packet, Cpu, "('a'):rep(30):match(('a?'):rep(30) .. ('a'):rep(30) .. 'b')";
    "gsub that backtracks", Packet, Cpu, "return ('a'):rep(10000):gsub('.-.-.-.-b', '')";
    "deep pattern", Packet, Raised("pattern too complex"), "('a'):rep(1000):match(('a?'):rep(300) .. 'b')";
    "class scan", Packet, Raised("is too expensive for this text"), "('a'):rep(300000):find('[' .. ('b'):rep(300000) .. ']*c')";
    "find of big in big", Packet, Raised("is too expensive for this text"),
        "('a'):rep(2000000):find(('a'):rep(1000000) .. 'b', 1, true)";
    "split of big by big", Packet, Raised("is too expensive for this text"),
        "string.split(('a'):rep(2000000), ('a'):rep(1000000) .. 'b')";
    "gsub with a big replacement", Packet, Memory, "('x'):rep(100000):gsub('x', ('y'):rep(100000))";
    "plain find for ever", Packet, Cpu, "local s = ('a'):rep(1000000) while true do s:find('b', 1, true) end";
    "gmatch for ever", Packet, Cpu, "local s = ('a'):rep(1000) while true do for _ in s:gmatch('a-b') do end end";
    "sort of many", Packet, CpuOrMemory,
        "local t = table.create(400000, 0) for i = 1, #t do t[i] = (i * 7919) % 400009 end while true do table.sort(t) end";
    "sort with a comparator that lies", Packet, Raised("invalid order function"),
        "local t = table.create(1000, 1) table.sort(t, function() return true end)";
    "table.move of a sparse table", Packet, Harmless, "table.move({}, 1, 2147483646, 2)";
    "table.move to far away", Packet, Raised("too many elements to move"), "table.move({ 1 }, -2147483647, 0, 2^30)";
    "table.insert in front", Packet, CpuOrMemory, "local t = table.create(500000, 1) while true do table.insert(t, 1, 1) table.remove(t, 1) end";
    "table.find in many", Packet, CpuOrMemory, "local t = table.create(900000, 1) while true do table.find(t, 2) end";
    "table.clear and clone", Packet, CpuOrMemory, "local t = table.create(400000, 1) while true do table.clear(table.clone(t)) end";
    "buffer.fill for ever", Packet, CpuOrMemory, "local b = buffer.create(8000000) while true do buffer.fill(b, 0, 1) end";
    "tonumber of a long text", Packet, CpuOrMemory, "local s = ('9'):rep(4000000) while true do tonumber(s) end";
    "utf8.len for ever", Packet, CpuOrMemory, "local s = ('x'):rep(4000000) while true do utf8.len(s) end";
    "payload search for ever", Packet, Cpu,
        "packet:set_payload(('a'):rep(60000)) while true do packet:payload_contains(('a'):rep(60) .. 'b') end";
    "comparing texts that differ at their ends", Packet, CpuOrMemory,
        "local a, b = ('x'):rep(3000000) .. 'a', ('x'):rep(3000000) .. 'b' while a < b do end";
    "iterating an emptied table", Packet, CpuOrMemory,
        "local t = {} for i = 1, 100000 do t['k' .. i] = i end table.clear(t) while true do next(t) end";

    // Recursion.
    "deep recursion", Packet, Raised("stack overflow"), "local function f() return 1 + f() end f()";
    "deep recursion through metamethods", Packet, Raised("stack overflow"),
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k + 1] end return t[1]";
    "deep recursion through pcall", Packet, CpuOrMemory, "local function f() pcall(f) pcall(f) end f()";
    "__index that leads in a circle", Packet, Raised("init.luau:1:"),
        "local t = {} setmetatable(t, { __index = t }) return t.x and nil, t.y.z";
    "deep recursion through tostring", Packet, Raised("stack overflow"),
        "local t t = setmetatable({}, { __tostring = function() return tostring(t) end }) tostring(t)";
    "deep recursion through sort", Packet, Raised("stack overflow"),
        "local function f() table.sort({ 2, 1 }, f) end f()";
    "deep recursion through gsub", Packet, Raised("stack overflow"),
        "local function f() return (('x'):gsub('x', f)) end f()";
    "deep recursion through coroutines", Packet, Raised("stack overflow"),
        "local function f() local ok, e = coroutine.resume(coroutine.create(f)) if not ok then error(e, 0) end end f()";

    // Errors.
    "an error on every packet", Packet, Raised("init.luau:1: no"), "error('no')";
    "an error in start", Start, Raised("init.luau:1: no"), "error('no')";
    "an error in a report", Report, Raised("init.luau:1: no"), "error('no')";
    "an error in a timer", Start, Raised("init.luau:1: no"), "ctx:after(0.1, function() error('no') end)";
    "an error in stop", File, Raised("init.luau:1: no"), "return { stop = function() error('no') end }";
    "an error of a megabyte", Packet, Raised("xxxx"), "error(('x'):rep(1000000))";
    "an error of control characters", Packet, Raised("init.luau:1:      "), "error(('\\n\\0\\27'):rep(1000))";
    "an error that is a table", Packet, Raised("an error that is no text but a table"), "error({})";
    "an error that is nil", Packet, Raised("an error that is no text but a nil"), "error()";
    "an error that is a function", Packet, Raised("no text but a function"), "error(error)";
    "an error that is a buffer", Packet, Raised("no text but a buffer"), "error(buffer.create(100))";
    "an error whose text loops", Packet, Raised("no text but a table"),
        "error(setmetatable({}, { __tostring = function() while true do end end }))";
    "a verdict that is a table", Packet, Raised("a table is no verdict"), "return {}";
    "a verdict whose text loops", Packet, Raised("a table is no verdict"),
        "return setmetatable({}, { __tostring = function() while true do end end, __index = function() while true do end end })";
    "a reason that is a table", Packet, Raised("is no counter"), "return 'pass', {}";
    "a reason whose text loops", Packet, Cpu,
        "return 'pass', setmetatable({}, { __tostring = function() while true do end end })";

    // Metatables.
    "__index loop", Packet, Cpu, "return setmetatable({}, { __index = function() while true do end end }).x";
    "__newindex loop", Packet, Cpu, "setmetatable({}, { __newindex = function() while true do end end }).x = 1";
    "__tostring loop", Packet, Cpu, "tostring(setmetatable({}, { __tostring = function() while true do end end }))";
    "__iter loop", Packet, Cpu, "for _ in setmetatable({}, { __iter = function() while true do end end }) do end";
    "__len loop", Packet, Cpu, "return #setmetatable({}, { __len = function() while true do end end })";
    "__eq loop", Packet, Cpu,
        "local m = { __eq = function() while true do end end } return setmetatable({}, m) == setmetatable({}, m)";
    "__call loop", Packet, Cpu, "setmetatable({}, { __call = function() while true do end end })()";
    "__concat loop", Packet, Cpu, "return setmetatable({}, { __concat = function() while true do end end }) .. 'x'";
    "__gc is ignored", Packet, CpuOrMemory,
        "for i = 1, 1e9 do setmetatable({}, { __gc = function() while true do end end }) end";
    "__mode and a bomb", Packet, CpuOrMemory,
        "local t = setmetatable({}, { __mode = 'k' }) while true do t[{}] = ('x'):rep(1000) end";
    "metatable of strings", Packet, Raised("attempt to modify a readonly table"),
        "getmetatable('').__index = function() return 1 end";
    "metatable of the packet", Packet, Raised("init.luau:1:"), "getmetatable(packet).__index = nil";
    "setmetatable on the packet", Packet, Raised("protected metatable"), "setmetatable(packet, {})";
    "a table with __index as M", File, Harmless,
        "return setmetatable({}, { __index = function(_, name) return nil end })";
    "M whose __index loops", File, Cpu, "return setmetatable({}, { __index = function() while true do end end })";

    // The libraries and globals.
    "rawset on string", Packet, Raised("attempt to modify a readonly table"), "rawset(string, 'find', nil)";
    "rawset on a library of the node", Packet, Raised("attempt to modify a readonly table"),
        "rawset(require('@netserv'), 'PASS', 1)";
    "rawset on ctx", Packet, Raised("attempt to modify a readonly table"), "rawset(ctx, 'log', 1)";
    "table.clear of a library", Packet, Raised("readonly"), "table.clear(string)";
    "getfenv", Packet, Raised("attempt to call a nil value"), "getfenv(0)";
    "setfenv", Packet, Raised("attempt to call a nil value"), "setfenv(0, {})";
    "loadstring", Packet, Raised("attempt to call a nil value"), "loadstring('x = 1')()";
    "newproxy", Packet, Raised("attempt to call a nil value"), "newproxy(true)";
    "collectgarbage", Packet, Raised("attempt to call a nil value"), "collectgarbage('stop')";
    "os", Packet, Raised("init.luau:1:"), "os.execute('true')";
    "io", Packet, Raised("init.luau:1:"), "io.open('/etc/passwd')";
    "debug", Packet, Raised("init.luau:1:"), "debug.info(1, 'f')";
    "math.random", Packet, Raised("init.luau:1:"), "math.randomseed(1)";
    "print", Packet, Raised("attempt to call a nil value"), "print('x')";
    "_G", Packet, Raised("init.luau:1:"), "_G.string = nil";
    "globals that hide the libraries", Packet, Harmless,
        "string, table, type, error, pcall, require, buffer, bit32 = nil return 'pass', 'seen'";
    "globals without end", Packet, Memory, "for i = 1, 1e9 do (function() x = { x, ('y'):rep(1000 + i) } end)() end";

    // Code.
    "bytecode by require", Packet, Raised("bytecode.luau:"), "require('./bytecode')";
    "a file that is too long", Packet, Raised("a source file may have 65536"), "require('./huge')";
    "a file that nests too deeply", Packet, Raised("deep.luau:1:"), "require('./deep')";
    "a file that requires itself", Packet, Raised("self.luau requires itself"), "require('./self')";
    "a file outside", Packet, Raised("outside of the module's folder"), "require('../../../../etc/passwd')";
    "a file by a name with a nul", Packet, Raised("takes the path of a file"), "require('./self\\0')";
    "a file by a giant name", Packet, Raised("takes the path of a file"), "require(('../'):rep(100000))";
    "require for ever", Packet, Cpu, "while true do pcall(require, './deep') pcall(require, './self') end";

    // Buffers and packets.
    "buffer out of bounds", Packet, Raised("buffer access out of bounds"), "buffer.readu8(buffer.create(8), 8)";
    "buffer far out of bounds", Packet, Raised("buffer access out of bounds"),
        "buffer.writeu32(buffer.create(8), 2^31 - 2, 1)";
    "buffer.copy out of bounds", Packet, Raised("buffer access out of bounds"),
        "buffer.copy(buffer.create(8), 4, buffer.create(100), 0, 100)";
    "packet out of bounds", Packet, Raised("offset 2000"), "packet:u32(2000)";
    "packet fields of nonsense", Packet, Raised("is no verdict"),
        "packet.length, packet.flow, packet.protocol = {}, 'x', -1 packet:set_ttl(1) return 'changed'";
    "packet methods without a packet", Packet, Raised("init.luau:1: attempt to compare"), "packet.u8()";
    "a payload that does not fit", Packet, Raised("fit"), "packet:set_payload(('x'):rep(70000))";
    "an IP header that lies", Packet, Raised("the IP version and header length"), "packet:set_u8(0, 0x4f)";
    "total length that lies", Packet, Harmless, "packet:set_u16(2, 65535)";
    "a raw handler that returns nonsense", File, Raised("is no verdict"),
        "return { on_packet_raw = function() return 1e308 end }";
    "a raw handler with a length of nonsense", File, Raised("is no length"),
        "return { on_packet_raw = function() return 2, 1e308 end }";
    "a raw handler that writes everywhere", File, Raised("must stay as it is"),
        "return { on_packet_raw = function(buf) buffer.fill(buf, 0, 255) return 2 end }";

    // What the node gives.
    "timers without end", Packet, Raised("limit timers (64) exceeded"), "while true do ctx:after(60, function() end) end";
    "timers set and cancelled without end", Packet, Cpu, "while true do ctx:after(60, function() end):cancel() end";
    "earlier and earlier timers", Packet, Raised("limit"),
        "for i = 1, 1e6 do ctx:after(1e6 - i, function() end):cancel() end";
    "a timer of no time", Start, Harmless, "ctx:every(0, function() end)";
    "timers of nonsense", Packet, Raised("cannot run for"), "ctx:every(0/0, function() end)";
    "log flood", Packet, Cpu, "while true do ctx:log('warn', 'x') end";
    "log of a megabyte", Packet, Harmless, "ctx:log('info', ('x'):rep(1000000))";
    "log of something whose text loops", Packet, Cpu,
        "ctx:log('info', setmetatable({}, { __tostring = function() while true do end end }))";
    "inject flood", Packet, Raised("limit effects_per_call (256) exceeded"),
        "local p = buffer.create(20) buffer.writeu32(p, 0, 0x14000045) buffer.writeu8(p, 9, 99)
         while true do ctx:inject(buffer.tostring(p)) end";
    "inject flood under pcall", Packet, Cpu,
        "local p = buffer.create(20) buffer.writeu32(p, 0, 0x14000045) buffer.writeu8(p, 9, 99)
         while true do pcall(ctx.inject, ctx, buffer.tostring(p)) end";
    "inject of junk", Packet, Raised("malformed"), "ctx:inject(('x'):rep(60000))";
    "inject of a megabyte", Packet, Raised("it may have 65535"), "ctx:inject(('x'):rep(1000000))";
    "counters down", Packet, Raised("a counter can only go up"), "ctx:counter('seen'):add(-1)";
    "counters to infinity", Packet, Raised("a counter can only go up"), "ctx:counter('seen'):add(math.huge)";
    "counters by the million", Packet, Cpu, "local c = ctx:counter('seen') while true do c:add(2^53) end";
    "a counter that is not declared", Packet, Raised("there is no counter"), "ctx:counter('x'):add(1)";
    "a counter of another's making", Packet, Raised("init.luau:1:"), "ctx:counter('seen').add({ name = 'x' }, 1)";
    "flows of nonsense", Packet, Harmless, "ctx:flows(-1) ctx:flows(1e308) ctx:flow(1e308) ctx:flow(-5)";
    "random numbers of nonsense", Packet, Raised("random numbers go from 1"), "ctx:random(-5)";
    "a report that holds itself", Report, Raised("nested more than 32 deep"), "local t = {} t.t = t return t";
    "a report that is too deep", Report, Raised("nested more than 32 deep"),
        "local t = {} for i = 1, 1000 do t = { t } end return t";
    "a report that is too large", Report, Raised("takes more than 4194304 bytes"), "return { ('x'):rep(5000000) }";
    "a report of too many", Report, Raised("takes more than 4194304 bytes"), "return table.create(600000, 1)";
    "a report that grows by sharing", Report, Raised("takes more than 4194304 bytes"),
        "local t = {} for i = 1, 12 do local u = {} for j = 1, 10 do u[j] = t end t = u end return t";
    "a report of functions", Report, Raised("report: a function has no place"), "return { error }";
    "a report with metamethods", Report, Harmless,
        "return setmetatable({}, { __index = error, __iter = error, __len = error, __pairs = error })";
    "arguments of nonsense", Packet, Raised("must be a"), "ctx.log(nil, {}, {})";
    "addresses of nonsense", Packet, Raised("an address has 4 or 16 bytes"),
        "require('@netserv').address_text(('x'):rep(100000))";

    // Work between two safepoints that grows with a text, too short to count as a large object.
    "hexadecimal digits that are none", Packet, Cpu,
        "local s = ('0'):rep(1000000) .. 'x' local n = require('@netserv') while true do n.from_hex(s) end";
    "an address that never ends", Packet, Cpu,
        "local s = ('1'):rep(1000000) local n = require('@netserv') while true do n.address_bytes(s) end";
    "a value too long for JSON", Packet, Cpu,
        "local t = table.create(200000, 1) local n = require('@netserv') while true do pcall(n.json, t) end";
    "comparing two texts for ever", Packet, Cpu,
        "local a, b = ('b'):rep(1000000) .. 'x', ('b'):rep(1000000) .. 'y' while true do local _ = a < b end";
    "adding to a long number", Packet, Cpu, "local s = ('0'):rep(900000) while true do local _ = s + 1 end";
    "the size of a long layout", Packet, Cpu,
        "local s = ('b'):rep(1000000) while true do string.packsize(s) end";
    "a long layout that does not fit", Packet, Cpu,
        "local s = ('x'):rep(1000000) while true do pcall(string.unpack, s, s) end";
    "the far end of a text", Packet, Cpu,
        "local s = ('a'):rep(1000000) .. '\\0' while true do string.unpack('z', s) end";
}

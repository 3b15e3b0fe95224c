//! Building blocks that need no network: their examples, and what strangers may give them.

use super::*;
use crate::base::storage::MemoryStores;
use crate::container::api::block::BLOCKS;
use std::time::Duration;

/// Blocks whose examples need a network run in `tests/blocks.rs`.
const HERE: &[&str] = &["address", "bytes", "crypto", "files", "image", "json", "kv", "lru", "metrics", "task"];

fn storing() -> Manifest {
    Manifest {
        permissions: Permissions { store: true, ..Permissions::default() },
        limits: Limits { timers: 64, tasks: 100, storage_bytes: 100_000, cpu_ms_per_call: 200, ..Limits::default() },
        ..manifest()
    }
}

/// Starts a module, and lets its tasks run until nothing more happens, at most for an hour. Returns what it logged, and
/// what failed.
fn live(manifest: Manifest, code: &str, surroundings: &Surroundings) -> (Vec<String>, Vec<String>) {
    let module = module(manifest, &[("init.luau", code)]);
    let started = Instance::start(InstanceId(1), &module, &Properties::default(), surroundings, Instant::START);
    let mut instance = started.unwrap_or_else(|fault| panic!("{fault}\n{code}"));
    let (mut log, mut failed) = (Vec::new(), Vec::new());
    let mut timers: std::collections::BTreeSet<(Instant, u32)> = std::collections::BTreeSet::new();
    let mut now = Instant::START;
    loop {
        while let Some(effect) = instance.next_effect() {
            match effect {
                Effect::Log { text, .. } => log.push(text),
                Effect::SetTimer { number, delay } => drop(timers.insert((now + delay, number))),
                Effect::GoOn => instance.go_on(now).unwrap(),
                Effect::TaskFailed { message } => failed.push(message),
                Effect::Send { .. }
                | Effect::Net(_)
                | Effect::Watch
                | Effect::Signal(_)
                | Effect::Provide { .. }
                | Effect::Withdraw { .. }
                | Effect::Call(_)
                | Effect::Return { .. } => {}
            }
        }
        let Some((at, number)) = timers.pop_first() else { return (log, failed) };
        assert!(at < Instant::START + Duration::from_secs(3600), "it comes to an end");
        now = now.max(at);
        instance.on_timer(now, number).unwrap();
    }
}

/// Runs the body of `M.run`, in which every block that is named is there; fails if it does.
fn run(blocks: &str, body: &str) {
    run_in(blocks, body, &surroundings());
}

fn run_in(blocks: &str, body: &str, surroundings: &Surroundings) {
    let required: String =
        blocks.split(' ').map(|name| format!("local {name} = require('@netserv/{name}') ")).collect();
    let code = format!(
        "local function refuses(part, run, ...)
           local ok, why = pcall(run, ...)
           assert(not ok and string.find(why, part, 1, true), `{{ok}} {{why}}`)
         end
         {required} return {{ run = function(ctx) {body} ctx:log('info', 'end') end }}"
    );
    let (log, failed) = live(storing(), &code, surroundings);
    assert_eq!((log.last().map(String::as_str), failed), (Some("end"), vec![]));
}

#[test]
fn the_examples_of_blocks_run() {
    for name in HERE {
        let block = BLOCKS.iter().find(|block| block.name == *name).unwrap();
        let (log, failed) = live(storing(), block.example, &surroundings());
        assert_eq!((log.len(), failed), (1, vec![]), "{name}: {log:?}");
    }
}

#[test]
fn digests_and_base64_take_what_they_should() {
    run(
        "crypto",
        "assert(crypto.hex(crypto.sha1('abc')) == 'a9993e364706816aba3e25717850c26c9cd0d89d')
         assert(crypto.base64('a?b>') == 'YT9iPg==' and crypto.base64url('a?b>') == 'YT9iPg')
         assert(crypto.from_base64('YT9iPg') == 'a?b>' and crypto.from_base64('YT9iPg==') == 'a?b>')
         assert(crypto.from_base64('!') == nil and crypto.from_base64url('a+b/') == nil)
         assert(crypto.from_hex('zz') == nil)
         assert(#crypto.random(0) == 0 and #crypto.random(33) == 33 and crypto.random(16) ~= crypto.random(16))
         refuses('count must be', crypto.random, -1)
         refuses('count must be', crypto.random, 1e9)
         refuses('count must be', crypto.random, 0/0)
         refuses('must be a string', crypto.sha256, 1)
         refuses('4194304 may be', crypto.sha256, string.rep('x', 4194305))
         assert(not crypto.ed25519_verify('', '', ''))
         assert(not crypto.equal('a', 'ab') and crypto.equal('', ''))",
    );
}

#[test]
fn random_bytes_are_those_of_the_instances_secret() {
    let random = |surroundings: &Surroundings| {
        let code = "return { run = function(ctx) ctx:log('info', require('@netserv/crypto').hex(
                    require('@netserv/crypto').random(16))) end }";
        live(storing(), code, surroundings).0.remove(0)
    };
    assert_eq!(random(&surroundings()), random(&surroundings()));
    let other = Surroundings { secret: surroundings().secret.derived(b"other"), ..surroundings() };
    assert_ne!(random(&other), random(&surroundings()));
}

#[test]
fn json_keeps_what_can_be_kept() {
    run(
        "json",
        "local text = '[1,2.5,true,null,\"a\\\\u0000b\",{},[],{\"k\":[{}]}]'
         assert(json.encode(json.decode(text)) == text, json.encode(json.decode(text)))
         assert(json.decode('null') == json.null)
         local value, problem = json.decode('[1,')
         assert(value == nil and string.find(problem, 'line 1 column 3'), problem)
         local deep = string.rep('[', 32) .. string.rep(']', 32)
         assert(json.encode(json.decode(deep)) == deep)
         assert(json.decode('[' .. deep .. ']') == nil)
         assert(json.decode('\"\\255\"') == nil)
         local object = json.object({ 'x' })
         assert(json.encode(object) == '{\"1\":\"x\"}' and json.encode({}) == '[]' and json.encode(json.object()) == '{}')
         local own = {} own.own = own
         refuses('does one hold itself', json.encode, own)
         refuses('a function has no place', json.encode, { print = function() end })
         assert(json.encode(0/0) == 'null' and json.encode(1e15) == '1000000000000000')",
    );
}

#[test]
fn addresses_of_strangers_give_nil() {
    run(
        "address",
        "assert(address.parse('2001:DB8::0:1') == '2001:db8::1' and address.parse('1.2.3') == nil)
         assert(address.kind('\\255') == nil and address.version('x') == nil and address.prefix('1.2.3.4/33') == nil)
         assert(address.prefix('192.0.2.7/24') == '192.0.2.0/24')
         local first, last = address.range('192.0.2.0/23')
         assert(first == '192.0.2.0' and last == '192.0.3.255')
         first, last = address.range('2001:db8::/127')
         assert(last == '2001:db8::1')
         assert(select(2, address.range('0.0.0.0/0')) == '255.255.255.255')
         assert(select(2, address.range('1.2.3.4')) == '1.2.3.4' and address.range('x') == nil)
         assert(not address.contains('10.0.0.0/8', 'x') and not address.contains('x', '10.0.0.1'))
         assert(address.offset('192.0.2.255', 1) == '192.0.3.0' and address.offset('0.0.0.0', -1) == nil)
         refuses('whole number', address.offset, '0.0.0.0', 1.5)
         local host, port = address.split('example.org', 80)
         assert(host == 'example.org' and port == 80 and address.split('a b') == nil)
         assert(address.join('::1', 5) == '[::1]:5' and address.from_bytes('abc') == nil)
         assert(address.from_bytes(address.bytes('::1')) == '::1')",
    );
}

#[test]
fn readers_end_where_the_bytes_end_and_writers_refuse_what_does_not_fit() {
    run(
        "bytes",
        "local r = bytes.reader('\\1\\2\\3\\4\\5\\6\\7\\8')
         assert(r:u16() == 0x102 and r:u24() == 0x30405 and r:left() == 3 and r:at() == 6)
         assert(r:u32() == nil and r.failed and r:u8() == nil and r:left() == 0 and r:rest() == '')
         assert(bytes.reader('ab'):take(-1) == nil and bytes.reader('ab'):take(0/0) == nil)
         assert(bytes.reader('\\255\\255\\255\\255\\255\\255\\255\\127'):varint() == nil)
         assert(bytes.reader('\\255\\255'):varint() == nil)
         local lines = bytes.reader('a\\r\\n\\nb')
         assert(lines:line() == 'a' and lines:line() == '' and lines:line() == nil)
         assert(bytes.reader('abc', 3):rest() == 'c' and bytes.reader('abc', 5).failed)
         assert(bytes.writer():u32(0x01020304):u16_le(1):u32_le(2):bytes() == '\\1\\2\\3\\4\\1\\0\\2\\0\\0\\0')
         local w = bytes.writer():varint(2 ^ 53 - 1)
         assert(bytes.reader(w:bytes()):varint() == 2 ^ 53 - 1 and w:len() == 8)
         refuses('no whole number from 0 to 255', function() bytes.writer():u8(256) end)
         refuses('no whole number', function() bytes.writer():u16(1.5) end)
         refuses('no whole number', function() bytes.writer():u16(nil) end)
         assert(bytes.u64_text(0xffffffff, 0xffffffff) == '18446744073709551615')
         local high, low = bytes.u64_parse('18446744073709551615')
         assert(high == 0xffffffff and low == 0xffffffff and bytes.u64_parse('18446744073709551616') == nil)
         assert(bytes.crc32('6789', bytes.crc32('12345')) == 0xcbf43926)
         refuses('must have at least', bytes.xor, 'ab', 'a')
         assert(bytes.xor('ab', 'ab?') == '\\0\\0')",
    );
}

#[test]
fn maps_are_bounded_by_count_bytes_and_age() {
    run(
        "lru task",
        "local gone = {}
         local m = lru.new({ bytes = 10, seconds = 5 }, function(key) table.insert(gone, key) end)
         assert(m:set('a', 1, 4) and m:set('b', 2, 4) and m:get('a') == 1)
         assert(m:set('c', 3, 6) and table.concat(gone) == 'b' and m:bytes() == 10)
         assert(not m:set('d', 4, 11) and m:count() == 2 and m:oldest() == 'a')
         assert(table.concat(m:keys()) == 'ca' and table.concat(m:keys(1)) == 'c' and #m:keys(0) == 0)
         assert(m:set('a', 5, 1) and m:bytes() == 7 and m:remove('c') == 3 and m:remove('c') == nil)
         task.sleep(5)
         assert(#m:keys() == 0)
         assert(m:peek('a') == nil and m:count() == 0 and table.concat(gone) == 'ba')
         for i = 1, 100 do m:set(i, i) end
         assert(m:count() == 100) m:clear() assert(m:count() == 0 and m:oldest() == nil)
         refuses('needs a bound', lru.new, { seconds = 1 })
         refuses('from 0 on', lru.new, { count = -1 })
         refuses('whole', function() m:set('x', 1, 0.5) end)
         assert(not lru.new({ count = 0 }):set('x', 1))",
    );
}

#[test]
fn what_is_kept_stays_over_restarts_within_the_quota() {
    let kept = Surroundings { stores: Rc::new(MemoryStores::default()), name: "a".to_owned(), ..surroundings() };
    run_in(
        "kv files",
        "kv.set('x', 'one') files.write('f', string.rep('y', 70000))
         local used, max = kv.used()
         assert(used > 70000 and used < 71000 and max == 100000)
         refuses('limit storage_bytes (100000) exceeded', kv.set, 'big', string.rep('z', 90000))
         refuses('limit storage_bytes', files.write, 'g', string.rep('z', 100001))
         assert(kv.get('big') == nil and files.size('g') == nil)
         refuses('512 bytes', kv.set, string.rep('k', 513), '')
         refuses('UTF-8', kv.set, '\\255', '')
         refuses('1048576 bytes', kv.set, 'v', string.rep('x', 1048577))
         refuses('must be a string', kv.update, { x = 5 })
         refuses('must be a string', kv.update, { 5 })
         refuses('must be a string', kv.set, 'x')
         files.write('f', 'short') kv.set('nul', 'a\\0b')",
        &kept,
    );
    run_in(
        "kv files",
        "assert(kv.get('x') == 'one' and kv.get('nul') == 'a\\0b' and files.read('f') == 'short')
         assert(table.concat(kv.keys('', 'nul')) == 'x' and #kv.keys('', nil, 1) == 1)
         kv.remove('x') kv.remove('nul') files.remove('f')
         assert(kv.used() == 0)",
        &kept,
    );
    let other = Surroundings { name: "b".to_owned(), ..kept };
    run_in("kv", "kv.set('mine', '1') assert(#kv.keys() == 1)", &other);
}

#[test]
fn keeping_needs_the_permission() {
    let code = "return { run = function(ctx) BODY end }";
    for body in ["require('@netserv/kv').get('x')", "require('@netserv/files').write('x', '')"] {
        let (_, failed) = live(manifest(), &code.replace("BODY", body), &surroundings());
        assert!(failed[0].contains("store = true"), "{failed:?}");
    }
}

#[test]
fn metrics_refuse_what_cannot_be() {
    run(
        "metrics",
        "refuses('no name of a metric', metrics.gauge, 'a b')
         local g = metrics.gauge('g')
         refuses('another kind', metrics.counter, 'g')
         refuses('must be a number', function() g:set('x') end)
         refuses('must be a string', function() g:set(1, { a = 1 }) end)
         refuses('labels', function() g:set(1, 5) end)
         refuses('can only go up', function() metrics.counter('c'):add(-1) end)
         refuses('go up', metrics.histogram, 'h', {})
         for i = 1, 1023 do g:set(i, { i = tostring(i) }) end
         g:set(1)
         refuses('limit metrics', function() g:set(1, { i = 'more' }) end)
         assert(g:value({ i = '7' }) == 7 and g:value({ i = 'none' }) == 0)",
    );
}

#[test]
fn pictures_that_cannot_be_or_would_take_too_long_are_refused() {
    run(
        "image",
        "local function says(part, got, why) assert(got == nil and string.find(why, part, 1, true), why) end
         says('no picture', image.info('x'))
         says('no picture', image.edit('x', {}))
         says('cannot be', image.draw(0, 5, '#000000', {}))
         says('cannot be', image.draw(8193, 1, '#000000', {}))
         local dot = assert(image.draw(1, 1, '#000000', {}))
         says('cannot be', image.edit(dot, { { kind = 'resize', width = 8000, height = 8000 } }))
         says('not within', image.edit(dot, { { kind = 'crop', x = 1, width = 1, height = 1 } }))
         says('no picture', image.edit(dot, { { kind = 'overlay', picture = 'x' } }))
         refuses('limits.cpu_ms_per_call is 200', image.draw, 2000, 2000, '#000000', {})
         refuses('is no colour', image.draw, 1, 1, 'red', {})
         refuses('is no step', image.edit, dot, { { kind = 'rotate' } })
         refuses('unknown field', image.edit, dot, { { kind = 'resize', widht = 5 } })
         refuses('written as', image.edit, dot, {}, { format = 'gif' })
         refuses('width is missing', image.edit, dot, { { kind = 'resize' } })
         refuses('must be a string', image.edit, dot, { { kind = 'overlay', picture = 5 } })
         local many = {} for i = 1, 65 do many[i] = { kind = 'rectangle', width = 1, height = 1 } end
         refuses('64 may be', image.edit, dot, many)",
    );
}

#[test]
fn a_picture_that_would_take_more_memory_than_the_module_has_is_refused() {
    run(
        "image",
        "refuses('limits.memory_bytes is', image.draw, 1300, 1300, '#000000', {})
         local wide = assert(image.draw(8192, 1, '#000000', { { kind = 'resize', width = 1, height = 8192 } }))
         assert(image.info(wide).height == 8192)",
    );
}

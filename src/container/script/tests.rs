use super::*;

/// A host without nodes: what does not need them is tested here, the rest with the driver.
struct NoNodes;

fn none<T>() -> Result<T, String> {
    Err("there are no nodes here".to_owned())
}

impl TestHost for NoNodes {
    fn new_node(&mut self, _entry: Option<String>, properties: toml::Table) -> Result<usize, String> {
        Err(format!("asked for {properties:?}"))
    }
    fn build(&mut self, spec: &PacketSpec) -> Result<Vec<u8>, String> {
        Ok(format!("{spec:?}").into_bytes())
    }
    fn decode(&mut self, _bytes: &[u8]) -> Result<Decoded, String> {
        none()
    }
    fn send(&mut self, _node: usize, _bytes: Vec<u8>, _from_back: bool) -> Result<Sent, String> {
        none()
    }
    fn advance(&mut self, _node: usize, _by: Duration) -> Result<Vec<Leaving>, String> {
        none()
    }
    fn counters(&mut self, _node: usize) -> Result<Vec<(String, u64)>, String> {
        none()
    }
    fn packets_seen(&mut self, _node: usize) -> Result<(u64, u64), String> {
        none()
    }
    fn report(&mut self, _node: usize) -> Result<serde_json::Value, String> {
        none()
    }
    fn log(&mut self, _node: usize) -> Result<Vec<(String, String)>, String> {
        none()
    }
    fn faults(&mut self, _node: usize) -> Result<Vec<String>, String> {
        none()
    }
    fn set_machine(&mut self, _node: usize, _facts: MachineFacts) -> Result<(), String> {
        none()
    }
    fn net(&mut self, _node: usize, _op: NetOp) -> Result<NetAnswer, String> {
        none()
    }
    fn unload(&mut self, _node: usize) -> Result<(), String> {
        none()
    }
    fn end_case(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// Runs `script` as `tests/a.luau`; returns names and failures of its cases.
fn run_script(script: &str) -> Vec<(String, Option<String>)> {
    let script = format!("local test = require('@netserv/test')\n{script}");
    let files =
        [("tests/a.luau", script.as_str()), ("part.luau", "return { two = 2 }"), ("me.luau", "require('./me')")];
    let source = ModuleSource { files: files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into() };
    run(&source, "tests/a.luau", Box::new(NoNodes)).into_iter().map(|case| (case.name, case.failure)).collect()
}

/// The failure of the one case with this body.
fn failure(body: &str) -> String {
    let mut cases = run_script(&format!("test.case('c', function() {body} end)"));
    assert_eq!(cases.len(), 1, "{cases:?}");
    cases.remove(0).1.unwrap_or_else(|| "passed".to_owned())
}

#[test]
fn names_and_failures_hold_no_commands_for_a_terminal() {
    let cases = run_script(r#"test.case("a\27[31m\ncase", function() error("red\27[31m\nblue", 0) end)"#);
    assert_eq!(cases, [("a [31m case".to_owned(), Some("red [31m\nblue".to_owned()))]);
}

#[test]
fn one_failing_case_does_not_stop_the_others() {
    let cases = run_script(
        "test.case('first', function() test.equal(1, 2) end)\n\
         test.case('second', function() test.equal({ a = { 1, 2 } }, { a = { 1, 2 } }) end)",
    );
    assert_eq!(cases[0].0, "first");
    assert_eq!(cases[0].1.as_deref(), Some("tests/a.luau:2: not equal\n   got 1\n  want 2"));
    assert_eq!(cases[1], ("second".to_owned(), None));
}

#[test]
fn failures_say_where_and_show_what_was_got_and_wanted() {
    let table = failure("test.equal({ b = 'x\\n', 5, a = true }, { 5 }, 'fields')");
    assert_eq!(table, "tests/a.luau:2: fields: not equal\n   got { 5, a = true, b = \"x\\n\" }\n  want { 5 }");
    assert_eq!(failure("test.equal('\\0\\255\"', '')").lines().nth(1), Some("   got \"\\x00\\xff\\\"\""));
    assert_eq!(failure("test.is_true(nil)"), "tests/a.luau:2: not true\n   got nil\n  want true");
    assert_eq!(
        failure("test.error_contains(function() end, 'x')"),
        "tests/a.luau:2: no error\n  want one that contains \"x\""
    );
    assert!(failure("test.error_contains(function() error('y', 0) end, 'x')").contains("got \"y\""));
    assert_eq!(failure("test.error_contains(function() error('xyz') end, 'y')"), "passed");
    assert!(failure("local t = nil; t.x = 1").starts_with("tests/a.luau:2: attempt to index nil"));
}

#[test]
fn mistakes_in_calls_of_the_library_are_explained_at_the_line_of_the_script() {
    let cases = [
        (
            "test.udp{ from = '10.0.0.1', to = '10.0.0.2:1' }",
            "tests/a.luau:2: from = \"10.0.0.1\": write \"10.0.0.1:1000\" or",
        ),
        ("test.icmp_echo{ from = '10.0.0.1:5', to = '10.0.0.2' }", "from = \"10.0.0.1:5\": write \"10.0.0.1\" or"),
        ("test.udp{ from = '10.0.0.1:1' }", "tests/a.luau:2: to is missing"),
        (
            "test.udp{ from = '10.0.0.1:1', to = '10.0.0.2:1', pay = 'x' }",
            "tests/a.luau:2: a packet has no field pay; its fields: from",
        ),
        (
            "test.udp{ from = '10.0.0.1:1', to = '10.0.0.2:1', ttl = 256 }",
            "ttl = 256: must be a whole number from 0 to 255",
        ),
        ("test.udp('x')", "tests/a.luau:2: write test.udp{ from ="),
        ("test.packet('4')", "tests/a.luau:2: write pairs of hexadecimal digits"),
        ("test.node{ conf = {} }", "tests/a.luau:2: test.node has no option \"conf\""),
        ("test.node{ config = { a = { b = 1 } } }", "asked for {\"a\": Array([])}"),
        (
            "test.node{ config = { a = 1, b = 0.5, c = { 'x' } } }",
            "asked for {\"a\": Integer(1), \"b\": Float(0.5), \"c\": Array([String(\"x\")])}",
        ),
        ("test.node{ config = { a = function() end } }", "config.a is no value that a property can have"),
        ("test.case('x')", "write test.case(name, function() ... end)"),
    ];
    for (body, want) in cases {
        let got = failure(body);
        assert!(got.contains(want), "{body}\n got {got}\nwant {want}");
    }
}

#[test]
fn scripts_may_require_files_of_the_module_and_nothing_else() {
    assert_eq!(failure("test.equal(require('../part').two, 2)"), "passed");
    for (name, want) in [
        ("../me", "me.luau requires itself"),
        ("../../etc/passwd", "leads out of the module"),
        ("./gone", "there is no file tests/gone.luau"),
        ("/etc/passwd", "a test may require"),
        ("@netserv", "a test may require"),
    ] {
        let got = failure(&format!("require('{name}')"));
        assert!(got.contains(want), "{name}: {got}");
    }
}

#[test]
fn a_script_without_cases_or_with_an_error_of_its_own_fails() {
    assert_eq!(run_script("")[0].1.as_deref(), Some("there is no test.case(name, function) in it"));
    assert!(run_script("error('x')")[0].1.as_deref().unwrap().starts_with("tests/a.luau:2: x"));
}

#[test]
fn endless_loops_and_memory_bombs_end() {
    assert!(failure("while true do pcall(function() while true do end end) end").contains("runs for too long"));
    assert!(failure("local t = {}; while true do t[#t + 1] = string.rep('x', 1000000) .. #t end").contains("memory"));
}

#[test]
fn nothing_of_the_system_is_there() {
    for name in ["io", "os", "debug", "loadstring", "getfenv", "collectgarbage", "newproxy", "print", "_G.require"] {
        assert_eq!(failure(&format!("test.equal({name}, nil)")), "passed", "{name}");
    }
}

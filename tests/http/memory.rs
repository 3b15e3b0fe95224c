//! Servers and clients of modules in virtual time, with a network in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use netserv::container::module::Module;
use netserv::container::source::ModuleSource;
use netserv::drivers::modtest;

const MANIFEST: &str = r#"
name = "test"
version = "1.0.0"
api = 1
summary = "Tries something."
[permissions]
listen = ["tcp:*"]
connect = ["tcp:127.0.0.1:8080", "tcp:127.0.0.1:8081", "tcp:127.0.0.1:8443"]
"#;

/// Runs the body of `M.run`, with a server at 8080 that runs `serve` for each request. Returns what it logged, and its faults.
fn run(serve: &str, body: &str) -> (Vec<String>, Vec<String>) {
    let code = format!(
        "--!strict
         local http = require('@netserv/http')
         local task = require('@netserv/task')
         local tcp = require('@netserv/tcp')
         local M = {{}}
         function M.run(ctx: Context)
           local function log(text) ctx:log('info', tostring(text)) end
           local server = assert(http.listen({{ port = 8080 }}))
           task.spawn(function()
             server:serve(function(request: any)
               {serve}
             end)
             log('closed')
           end)
           local here = 'http://127.0.0.1:8080'
           {body}
         end
         return M"
    );
    let files = [("module.toml", MANIFEST), ("init.luau", &code)];
    let files: BTreeMap<_, _> =
        files.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).collect();
    let module = Module::check(ModuleSource { files }).unwrap_or_else(|error| panic!("{error}\n{code}"));
    let report = modtest::run_alone(&module, Duration::from_secs(600)).unwrap();
    (report.log.into_iter().map(|(_, text)| text).collect(), report.faults)
}

/// As [`run`], of what must have no faults.
fn log_of(serve: &str, body: &str) -> Vec<String> {
    let (log, faults) = run(serve, body);
    assert!(faults.is_empty(), "{faults:?}, after {log:?}");
    log
}

#[test]
fn a_client_follows_redirects_within_bounds_and_permissions() {
    let serve = r#"
        local to = {
          ["/a"] = "/b?x=1", ["/b"] = "c/d", ["/c/d"] = nil, ["/loop"] = "/loop",
          ["/away"] = "http://192.0.2.9:8080/", ["/odd"] = "ftp://a/", ["/other"] = "http://localhost:8080/c/d",
        }
        local location = to[request.path]
        if location then
          request:respond(tonumber(request.query and 302 or 301) :: number, { location = location }, "moved")
        else
          local headers = request.headers
          request:respond(200, nil, `{request.method} {request.path} {headers.authorization or "-"} {request:body()}`)
        end"#;
    let body = r#"
        local headers = { authorization = "secret" }
        local response = assert(http.get(here .. "/a", { headers = headers }))
        log(`{response.status} {response.url} {response:body()}`)
        response = assert(http.request({ url = here .. "/a", method = "POST", body = "x" }))
        log(response:body())
        response = assert(http.get(here .. "/loop"))
        log(response.status)
        response:close()
        response = assert(http.get(here .. "/a", { redirects = 0 }))
        log(`{response.status} {response.headers.Location} {response:body()}`)
        for _, path in { "/away", "/odd", "/other" } do
          local none, reason = http.get(here .. path)
          log(`{none} {reason}`)
        end"#;
    let log = log_of(serve, body);
    assert_eq!(log[0], "200 http://127.0.0.1:8080/c/d GET /c/d secret ");
    assert_eq!(log[1], "GET /c/d - ");
    assert_eq!(log[2], "301");
    assert_eq!(log[3], "301 /b?x=1 moved");
    assert!(log[4].contains("connect = [\"tcp:192.0.2.9:8080\"]"), "{log:?}");
    assert!(log[5].contains("scheme"), "{log:?}");
    assert!(log[6].contains("connect = "), "{log:?}");
}

#[test]
fn a_connection_is_used_again_and_opened_anew_when_it_went_away() {
    let serve = "request:respond(200, nil, tostring(request.peer_port))";
    let body = r#"
        local function port() return assert(assert(http.get(here)):body()) end
        local first = port()
        log(port() == first)
        -- Longer than the server keeps it, and than the client does.
        task.sleep(100)
        log(port() == first)
        local one, two = assert(http.get(here)), assert(http.get(here))
        log(one:body() == two:body())"#;
    assert_eq!(log_of(serve, body), ["true", "false", "false"]);
}

#[test]
fn what_never_comes_ends_with_a_timeout() {
    let serve = "task.sleep(100)";
    let body = r#"
        local before = ctx:now()
        local none, reason = http.get(here, { seconds = 3 })
        log(`{none} {reason} {math.round(ctx:now() - before)}`)
        none, reason = http.get("http://127.0.0.1:8081/")
        log(`{none} {reason}`)"#;
    let log = log_of(serve, body);
    assert_eq!(log[0], "nil timeout 3");
    assert!(log[1].starts_with("nil "), "{log:?}");
}

#[test]
fn an_error_in_a_handler_is_answered_with_500_and_the_server_goes_on() {
    let serve = r#"
        if request.path == "/error" then error("on purpose") end
        if request.path == "/nothing" then return end
        if request.path == "/half" then
          local response = request:start(200)
          response:write("half")
          return
        end
        request:respond(200, nil, "fine")"#;
    let body = r#"
        for _, path in { "/error", "/nothing", "/half", "/" } do
          local response, reason = http.get(here .. path)
          if response then
            local text = response:body()
            log(`{response.status} {text}`)
          else
            log(reason)
          end
        end"#;
    let (log, faults) = run(serve, body);
    assert_eq!(log.len(), 4, "{log:?}");
    assert_eq!([&log[0], &log[1], &log[3]], ["500 the server failed ", "500 the server failed ", "200 fine"]);
    assert!(log[2].contains("broke"), "what was half sent is not taken for all: {log:?}");
    assert!(faults.len() == 1 && faults[0].contains("on purpose"), "{faults:?}");
}

#[test]
fn mistakes_of_a_handler_are_errors_that_say_what_is_right() {
    let serve = r#"
        local tries = {
          function() request:respond(42) end,
          function() request:respond(200, { ["a b"] = "c" }) end,
          function() request:respond(200, { a = "b\r\nc: d" }) end,
          function() request:respond(200, { a = "b\0c" }) end,
          function() request:respond(200, { connection = "upgrade" }) end,
          function() request:respond(200, { ["content-length"] = 7 }, "x") end,
          function() request:respond(204, nil, "x") end,
          function() request:respond(200, "x" :: any) end,
          function() request:read(0) end,
        }
        for _, try in tries do
          local ok, problem = pcall(try)
          log(`{ok} {problem}`)
        end
        request:respond(200)
        log(select(2, request:respond(200)))
        log(tostring(request:body()))"#;
    let log = log_of(serve, "assert(http.get(here)):body()");
    let want = [
        "goes from 200 to 599",
        "no name of a header field",
        "control character",
        "NUL",
        "connection's own",
        "leave it out",
        "has no body",
        "table of names",
        "1 byte or more",
        "the client is gone",
        "nil",
    ];
    assert_eq!(log.len(), want.len(), "{log:?}");
    for (line, part) in log.iter().zip(want) {
        assert!(line.contains(part), "{line} should hold {part}");
    }
}

#[test]
fn closing_a_server_lets_what_it_does_come_to_an_end() {
    let serve = r#"
        task.sleep(2)
        request:respond(200, nil, "late")"#;
    let body = r#"
        task.spawn(function()
          local response = assert(http.get(here))
          log(`{response.headers.connection} {response:body()}`)
        end)
        task.sleep(1)
        server:close()
        log(http.get(here) == nil)"#;
    assert_eq!(log_of(serve, body), ["closed", "true", "close late"]);
}

#[test]
fn a_client_refuses_what_is_no_response() {
    let body = r#"
        local answers = {
          "nonsense\r\n\r\n",
          "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
          "HTTP/1.1 101 Switching Protocols\r\n\r\n",
          "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
          "",
        }
        local listener = assert(tcp.listen({ port = 8081 }))
        task.spawn(function()
          for _, answer in answers do
            local stream = assert(listener:accept())
            stream:read()
            stream:write(answer)
            stream:close()
          end
        end)
        for _ in answers do
          local response, reason = http.request({ url = "http://127.0.0.1:8081/", method = "POST", body = "x" })
          if response then
            response, reason = response:body()
          end
          log(`{response} {reason}`)
        end"#;
    let log = log_of("", body);
    for (line, part) in log.iter().zip(["neither", "two Content-Length", "switched", "ended within", "ended within"]) {
        assert!(line.starts_with("nil ") && line.contains(part), "{line} should hold {part}");
    }
    assert_eq!(log.len(), 5);
}

#[test]
fn a_body_streams_through_with_nobody_holding_all_of_it() {
    let serve = r#"
        local response = request:start(200)
        for part in request:parts() do
          response:write(part)
        end
        response:finish()"#;
    let body = r#"
        local sent = string.rep("x", 3000000)
        local response = assert(http.request({ url = here, method = "POST", body = string.sub(sent, 1, 1000000) }))
        local total = 0
        for part in response:parts() do
          total += #part
        end
        log(total)"#;
    assert_eq!(log_of(serve, body), ["1000000"]);
}

#[test]
fn numbers_that_no_server_can_have_are_refused() {
    let body = r#"
        for _, wrong in { { head_bytes = 5 }, { head_seconds = 0 }, { body_rate = -1 }, { idle_seconds = 0/0 } } :: { any } do
          wrong.port = 8081
          local ok, problem = pcall(http.listen, wrong)
          log(`{ok} {problem}`)
        end
        log(http.listen({ port = 8081 }) ~= nil)"#;
    let log = log_of("", body);
    assert!(log[..4].iter().all(|line| line.contains("is a number from")), "{log:?}");
    assert_eq!(log[4], "true", "a refused server leaves its port free");
}

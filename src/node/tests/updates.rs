//! Updates of running modules: nothing is lost, and what fails changes nothing.

use std::net::SocketAddr;

use crate::base::net::Security;
use crate::node::tests::modules::{ALL_UDP, ON, World, module, version};
use crate::node::*;

impl World {
    fn update(&mut self, module: Module) -> Result<InstanceId, String> {
        let name = module.manifest.name.clone();
        let command =
            Command::Update { name, module, properties: None, grant: None, drain: Some(Duration::from_secs(20)) };
        self.node.handle(self.now, Input::Command(1, command));
        self.drain().expect("a command is answered").map_err(|e| e.to_string())
    }

    fn notes(&mut self) -> Vec<String> {
        let events = std::mem::take(&mut self.events).into_iter();
        let text = events.filter_map(|event| match event {
            Event::Note(text) | Event::Log { text, .. } => Some(text),
            Event::Erred { .. }
            | Event::OverBudget { .. }
            | Event::Failed { .. }
            | Event::Started { .. }
            | Event::Unloaded { .. }
            | Event::Signal(_) => None,
        });
        text.collect()
    }

    fn view_of(&self, version: &str) -> InstanceView {
        self.node.instances().into_iter().find(|view| view.version == version).unwrap()
    }

    /// What the node asks of sockets.
    fn net(&mut self) -> Vec<NetOutput> {
        let mut net = Vec::new();
        loop {
            match self.node.poll() {
                Output::Idle { .. } => return net,
                Output::Net(output) => net.push(output),
                Output::Event(event) => self.events.push(event),
                Output::Transmit { .. } | Output::Steer(_) | Output::Answer(..) | Output::Errand(_) => {}
            }
        }
    }
}

/// Writes its letter and a number that counts over all versions into each datagram.
fn counting(letter: &str) -> String {
    format!(
        "local n = 0
         function M.on_packet(p) n += 1 p:set_payload(`{letter}{{n}}`) return 'pass' end
         function M.export_state() return {{ n = n }} end
         function M.import_state(state) n = state.n end"
    )
}

#[test]
fn the_new_version_goes_on_with_the_next_packet_where_the_old_one_left_off() {
    let mut w = World::new(LinkKind::Tun);
    w.load(version("m", "1.0.0", ALL_UDP, &counting("a"))).unwrap();
    for n in 1..=3 {
        assert_eq!(w.udp(b"x"), (ON, format!("a{n}").into_bytes()));
    }
    let old = w.view("m").id;
    let new = w.update(version("m", "1.1.0", ALL_UDP, &counting("b"))).unwrap();
    for n in 4..=6 {
        assert_eq!(w.udp(b"x"), (ON, format!("b{n}").into_bytes()));
    }
    assert!(new > old);
    assert_eq!((w.view("m").version.as_str(), w.view("m").packets_seen), ("1.1.0", 3));
    assert_eq!(
        w.notes(),
        [
            "m: version 1.1.0 has taken the place of version 1.0.0",
            "m: version 1.0.0 has ended: it had nothing more to do"
        ]
    );
    assert_eq!(w.node.instances().len(), 1);
    assert_eq!(w.steered.len(), 1);
}

#[test]
fn an_updated_module_keeps_its_place_and_the_rules_of_its_flows() {
    let add =
        |letter: &str| format!("function M.on_packet(p) p:set_payload(p:payload() .. '{letter}') return 'pass' end");
    let mut w = World::new(LinkKind::Tun).with("first", &add("1")).with("second", &add("2"));
    assert_eq!(w.udp(b"x"), (ON, b"x12".to_vec()));
    w.update(version("first", "1.0.1", ALL_UDP, &add("one"))).unwrap();
    assert_eq!(w.udp(b"x"), (ON, b"xone2".to_vec()));
    let mut w = World::new(LinkKind::Tun).with("m", "function M.on_packet(p) return p:drop_flow() end");
    assert_eq!(w.udp(b"x").0, Decision::Drop(DropReason::ModuleVerdict));
    w.update(version("m", "2.0.0", ALL_UDP, "function M.on_packet(p) return 'pass' end")).unwrap();
    assert_eq!(w.udp(b"x").0, Decision::Drop(DropReason::FlowRule));
    assert_eq!(w.view("m").packets_seen, 0);
}

#[test]
fn a_version_that_fails_changes_nothing() {
    for (manifest, code, part) in [
        (ALL_UDP, "function M.start(ctx) error('bad start') end", "init.luau:2: bad start"),
        (ALL_UDP, "function M.import_state(state) error(`bad {state.n}`) end", "init.luau:2: bad 1"),
        (ALL_UDP, "function M.import_state(state) while true do end end", "limit cpu_ms_per_call (20 ms) exceeded"),
        ("[config.needed]\ntype = \"string\"\nmeaning = \"Something.\"\n", "", "\"needed\""),
    ] {
        let mut w = World::new(LinkKind::Tun);
        let old = w.load(version("m", "1.0.0", ALL_UDP, &counting("a"))).unwrap();
        assert_eq!(w.udp(b"x").1, b"a1");
        let error = w.update(version("m", "2.0.0", manifest, code)).unwrap_err();
        assert!(
            error.contains("m goes on as it was, with version 1.0.0; version 2.0.0 cannot take its place: "),
            "{error}"
        );
        assert!(error.contains(part), "{error}");
        assert_eq!(w.udp(b"x").1, b"a2");
        assert_eq!((w.view("m").id, w.node.instances().len()), (old, 1));
    }
    let mut w = World::new(LinkKind::Tun);
    w.load(module("m", ALL_UDP, "function M.export_state() return print or function() end end")).unwrap();
    let error = w.update(version("m", "2.0.0", ALL_UDP, "")).unwrap_err();
    assert!(
        error.contains("version 1.0.0 cannot hand over its state: ") && error.contains("a function cannot"),
        "{error}"
    );
    let other = Command::Update {
        name: "m".to_owned(),
        module: module("n", ALL_UDP, ""),
        properties: None,
        grant: None,
        drain: None,
    };
    w.node.handle(w.now, Input::Command(1, other));
    let error = w.drain().unwrap().unwrap_err().to_string();
    assert!(error.contains("it is the module n, and m runs m; unload m, and load n"), "{error}");
}

#[test]
fn a_module_that_waits_for_its_restart_can_be_updated_at_once() {
    let mut w = World::new(LinkKind::Tun).with("m", "function M.on_packet() while true do end end");
    let _ = w.udp(b"x");
    assert!(matches!(w.view("m").state, InstanceState::Waiting { .. }));
    w.update(version("m", "1.0.1", ALL_UDP, &counting("b"))).unwrap();
    assert_eq!(w.udp(b"x").1, b"b1");
    w.advance(30);
    assert_eq!((w.view("m").restarts, w.node.instances().len()), (0, 1));
}

#[test]
fn users_of_an_updated_service_see_no_time_without_it() {
    let provider = |text: &str| {
        let manifest = format!("[provides]\n\"test.echo\" = \"{text}\"\n");
        let code =
            format!("function M.start(ctx) ctx:provide('test.echo', {{ who = function() return '{text}' end }}) end");
        version("provider", text, &manifest, &code)
    };
    let code = "local task = require('@netserv/task')
                function M.run(ctx)
                  local echo = ctx:use('test.echo')
                  echo:on_change(function(available, version) ctx:log('info', `change {available} {version}`) end)
                  while true do ctx:log('info', echo.who()) task.sleep(1) end
                end";
    let mut w = World::new(LinkKind::Tun);
    w.load(provider("1.0.0")).unwrap();
    w.load(module("user", "[uses]\n\"test.echo\" = \"1\"\n", code)).unwrap();
    w.advance(1);
    w.update(provider("1.0.1")).unwrap();
    w.advance(1);
    let lines: Vec<String> = w.notes().into_iter().filter(|line| !line.starts_with("provider: ")).collect();
    assert_eq!(lines, ["1.0.0", "1.0.0", "change true 1.0.1", "1.0.1"]);
}

const AT: &str = "[::]:8080";
const LISTENS: &str = "[permissions]\nlisten = [\"tcp:8080\"]\n";
/// Takes streams and keeps them.
const SERVER: &str = "local tcp = require('@netserv/tcp')
                      function M.run(ctx)
                        local listener, kept = tcp.listen({ port = 8080 }), {}
                        while true do
                          local stream, why = listener:accept()
                          if stream == nil then
                            ctx:log('info', `end: {why}`)
                            listener:close()
                            return
                          end
                          table.insert(kept, stream)
                        end
                      end";

fn listen(instance: InstanceId) -> NetOutput {
    let socket = SocketId { instance, number: 1 };
    NetOutput::Listen { socket, at: AT.parse().unwrap(), security: Security::Plain }
}

/// A node with a server that has a connection; its instance, and the connection.
fn serving() -> (World, InstanceId, SocketId) {
    let mut w = World::new(LinkKind::Tun);
    let module = version("m", "1.0.0", LISTENS, SERVER);
    w.node.handle(
        w.now,
        Input::Command(1, Command::Load { module, name: None, properties: toml::Table::new(), grant: None }),
    );
    let old = w.view("m").id;
    let (listener, stream) =
        (SocketId { instance: old, number: 1 }, SocketId { instance: old, number: SocketId::ACCEPTED });
    let local: SocketAddr = AT.parse().unwrap();
    w.node.handle(w.now, Input::Net(listener, NetEvent::Opened { local, peer: None, protocol: None }));
    w.node.handle(w.now, Input::Net(listener, NetEvent::Accepted { stream, local, peer: local, protocol: None }));
    assert_eq!(w.net(), [listen(old)]);
    (w, old, stream)
}

/// Updates the server, and returns what the node then asks of sockets.
fn update(w: &mut World, manifest: &str, code: &str) -> (InstanceId, Vec<NetOutput>) {
    let module = version("m", "2.0.0", manifest, code);
    let drain = Some(Duration::from_secs(20));
    let command = Command::Update { name: "m".to_owned(), module, properties: None, grant: None, drain };
    w.node.handle(w.now, Input::Command(1, command));
    let net = w.net();
    (w.view_of("2.0.0").id, net)
}

#[test]
fn a_listener_is_handed_over_and_a_connection_lives_on_with_the_old_version() {
    let (mut w, old, stream) = serving();
    let (new, net) = update(&mut w, LISTENS, SERVER);
    assert!(w.node.is_draining("m"));
    let (from, to) = (SocketId { instance: old, number: 1 }, SocketId { instance: new, number: 1 });
    assert_eq!(net, [NetOutput::HandOver { from, to }, NetOutput::Resume(to)]);
    assert!(w.notes().contains(&"end: version 2.0.0 has taken it over".to_owned()));
    // The next stream is the new version's.
    let (next, local) = (SocketId { instance: new, number: SocketId::ACCEPTED }, AT.parse().unwrap());
    w.node.handle(w.now, Input::Net(to, NetEvent::Accepted { stream: next, local, peer: local, protocol: None }));
    w.advance(10);
    assert!(w.node.is_draining("m"));
    assert_eq!(w.net(), []);
    w.node.handle(w.now, Input::Net(stream, NetEvent::Closed { reason: "the peer is gone".to_owned() }));
    // It is not told to close what it has no more: the last bytes may still be on their way.
    assert_eq!(w.net(), []);
    assert!(!w.node.is_draining("m"));
    assert_eq!(w.node.instances().len(), 1);
}

#[test]
fn what_the_new_version_does_not_claim_is_closed_and_connections_have_their_time() {
    let (mut w, old, _) = serving();
    let (_, net) = update(&mut w, LISTENS, "");
    assert_eq!(net, []);
    let mut closed = Vec::new();
    for second in 1..=25u64 {
        w.now += Duration::from_secs(1);
        w.node.handle(w.now, Input::Wakeup);
        closed.extend(w.net().into_iter().map(|output| (second, output)));
    }
    let listener = SocketId { instance: old, number: 1 };
    assert_eq!(closed, [(5, NetOutput::Close { socket: listener, abort: false }), (20, NetOutput::CloseAll(old))]);
    assert_eq!(w.node.instances().len(), 1);
    let last = w.notes().pop().unwrap();
    assert_eq!(last, "m: version 1.0.0 has ended: its connections were closed, because its time was over");
}

#[test]
fn a_listener_with_another_certificate_is_opened_anew() {
    let (mut w, old, _) = serving();
    let code = "function M.run()
                  require('@netserv/tls').listen({ port = 8080, certificate = 'c', key = 'k' })
                end";
    let (new, net) = update(&mut w, LISTENS, code);
    assert_eq!(net[0], NetOutput::Close { socket: SocketId { instance: old, number: 1 }, abort: false });
    let is_tls = |security: &Security| matches!(security, Security::TlsServer { .. });
    assert!(
        matches!(&net[1], NetOutput::Listen { socket, security, .. } if socket.instance == new && is_tls(security))
    );
}

#[test]
fn unloading_ends_the_versions_before_too() {
    let (mut w, _, _) = serving();
    update(&mut w, LISTENS, SERVER);
    w.node.handle(w.now, Input::Command(1, Command::Unload { name: "m".to_owned() }));
    w.drain().unwrap().unwrap();
    assert_eq!(w.node.instances().len(), 0);
}

//! Each permission, by a module that runs: refused without the line of its manifest, done with it.
//!
//! Which lines must have a row is made from the tables that the program works by, so a permission without one fails.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::*;
use crate::base::crypto::SigningKey;
use crate::base::machine::{Interface, Location, MachineLoad, Neighbour, RouteEntry};
use crate::container::grant::Grant;
use crate::container::manifest::Manifest;
use crate::container::permissions::table::PERMISSIONS;
use crate::container::permissions::{Allowed, NATIVE_BLOCKS, SYSTEM_PARTS, Transport, Use};
use crate::container::properties::Properties;
use crate::controller::api::ControllerConfig;
use crate::node::SignalSetup;
use crate::signaling::SignalingConfig;
use crate::signaling::gist::GistConfig;
use crate::signaling::io::{Paths, Route};
use crate::signaling::nslp::NslpConfig;
use crate::wire::gist::object::PeerIdentity;
use crate::wire::nslp::request::NodeId;

/// A use of a permission.
struct Row<'a> {
    /// The line of the manifest that grants it, and which the refusal names.
    line: &'a str,
    /// Permissions that the code needs besides, and always has.
    besides: &'a str,
    /// A body of a function that uses it, and returns what came of it.
    code: &'a str,
    /// What it returns with the permission.
    gives: &'a str,
}

const fn row(line: &'static str, code: &'static str, gives: &'static str) -> Row<'static> {
    Row { line, besides: "", code, gives }
}

const ROWS: &[Row<'_>] = &[
    Row {
        line: "inject = true",
        besides: "answer_for = [\"10.0.0.1\"]",
        code: "ctx:inject(netserv.from_hex('4500001e00000000401100000a0000010a00000207d003e8000a00007879'))
               return 'sent'",
        gives: "sent, and 1 packet left",
    },
    row("store = true", "kv.set('a', 'b') return kv.get('a')", "b"),
    row("store = true", "kv.update({ a = 'b' }) return kv.get('a')", "b"),
    row("store = true", "return `{kv.get('a')}`", "nil"),
    row("store = true", "files.write('a', 'bc') return files.read('a')", "bc"),
    row("store = true", "local file = files.create('a') file:put('bc') return `{file:finish()}`", "2"),
    row(
        "signal = true",
        "local path = signal.probe({ to = '192.0.2.10', transport = 'udp' }) return `{#path.nodes} nodes`",
        "0 nodes",
    ),
    row(
        "signal = true",
        "local path = signal.remove({ to = '192.0.2.10', name = 'm', transport = 'udp' }) return `{#path.nodes} nodes`",
        "0 nodes",
    ),
    Row {
        line: "answer_for = [\"192.0.2.1\"]",
        besides: "listen = [\"udp:7000\"]\nconnect = [\"udp:192.0.2.20:7000\"]",
        code: "local server, client = udp.open({ port = 7000 }), udp.open()
               client:send('x', '192.0.2.20', 7000, '192.0.2.1')
               local bytes, address = server:receive(1)
               return `{bytes} from {address}`",
        gives: "x from 192.0.2.1",
    },
    row("listen = [\"tcp:8080\"]", "local l = tcp.listen({ port = 8080 }) return `{select(2, l:here())}`", "8080"),
    row("listen = [\"tcp:8080\"]", "http.listen({ port = 8080 }) return 'it listens'", "it listens"),
    row("listen = [\"udp:5060\"]", "local s = udp.open({ port = 5060 }) return `{select(2, s:here())}`", "5060"),
    row("connect = [\"tcp:192.0.2.10:443\"]", "return `{tcp.connect('192.0.2.10', 443) ~= nil}`", "true"),
    row("connect = [\"tcp:example.org:443\"]", "return `{tcp.connect('example.org', 443) ~= nil}`", "true"),
    row("connect = [\"tcp:example.org:443\"]", "return dns.lookup('example.org')[1]", "192.0.2.10"),
    Row {
        line: "connect = [\"udp:192.0.2.20:3478\"]",
        besides: "listen = [\"udp:7000\"]",
        code: "return `{udp.open({ port = 7000 }):send('x', '192.0.2.20', 3478)}`",
        gives: "true",
    },
    row("system = [\"load\"]", "return `{node.load().cpus} processors`", "4 processors"),
    row("system = [\"load\"]", "node.on_load_above(2, tostring) return 'watched'", "watched"),
    row("system = [\"interfaces\"]", "return node.interfaces()[1].name", "eth0"),
    row("system = [\"interfaces\"]", "node.on_interface_change(tostring) return 'watched'", "watched"),
    row("system = [\"addresses\"]", "return node.addresses()[1]", "192.0.2.7"),
    row("system = [\"addresses\"]", "node.on_address_change(tostring) return 'watched'", "watched"),
    row("system = [\"routes\"]", "return node.routes()[1].to", "0.0.0.0/0"),
    row("system = [\"routes\"]", "return node.route_to('198.51.100.1').interface", "eth0"),
    row("system = [\"routes\"]", "node.on_route_change('198.51.100.1', tostring) return 'watched'", "watched"),
    row("system = [\"neighbours\"]", "return node.neighbours()[1].address", "192.0.2.8"),
    row("system = [\"location\"]", "return node.location().place", "here"),
];

/// Words of `native` for which there is no block yet, so that no code can use them. What holds of them today: the
/// manifest may ask, the owner may grant, the check refuses by name.
const NO_BLOCK_YET: &[&str] = &["reply", "relay", "cache"];

/// Of each permission what has to have a row: the key, and the beginning of a value in its list.
fn wanted() -> BTreeSet<(&'static str, String)> {
    let mut all = BTreeSet::new();
    for permission in PERMISSIONS {
        let values: Vec<String> = match &permission.example {
            Use::System(_) => SYSTEM_PARTS.iter().map(|(word, _)| format!("[\"{word}\"]")).collect(),
            Use::Native(_) => NATIVE_BLOCKS.iter().map(|word| format!("[\"{word}\"]")).collect(),
            Use::Listen(..) | Use::Connect(..) | Use::LookUp(_) => {
                [Transport::Tcp, Transport::Udp].iter().map(|transport| format!("[\"{transport}:")).collect()
            }
            Use::Inject | Use::Store | Use::Signal | Use::AnswerFor(_) => vec![String::new()],
        };
        all.extend(values.into_iter().map(|value| (permission.key, value)));
    }
    all
}

#[test]
fn there_is_a_row_for_each_permission_and_each_of_its_words() {
    let native = NO_BLOCK_YET.iter().map(|word| format!("native = [\"{word}\"]"));
    let lines: Vec<String> = ROWS.iter().map(|row| row.line.to_owned()).chain(native).collect();
    for (key, value) in wanted() {
        let begin = format!("{key} = {value}");
        assert!(lines.iter().any(|line| line.starts_with(&begin)), "no row for {begin}");
    }
}

#[test]
fn a_module_without_the_permission_is_refused_and_with_it_does_what_it_wants() {
    let mut wrong: Vec<String> = Vec::new();
    for row in ROWS {
        let refusal =
            format!("module.toml does not say {} under [permissions], or the owner did not grant it", row.line);
        let granted = format!("{}\n{}", row.besides, row.line);
        let optional = format!("{}\n[permissions.optional]\n{}", row.besides, row.line);
        for (how, asked) in [("not asked for", row.besides), ("not granted", &granted), ("an option", &optional)] {
            let says = run(row, asked, row.besides);
            if !says.contains("this module may not ") || !says.ends_with(&refusal) {
                wrong.push(format!("{} {how}: {} gave {says:?}", row.line, row.code));
            }
        }
        for asked in [&granted, &optional] {
            let says = run(row, asked, &granted);
            if says != row.gives {
                wrong.push(format!("{} granted: {} gave {says:?}, not {:?}", row.line, row.code, row.gives));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn words_without_a_block_are_checked_by_name_and_no_code_can_use_them() {
    for word in NO_BLOCK_YET {
        let line = format!("native = [\"{word}\"]");
        let refusal = Allowed::default().check(&Use::Native(word)).unwrap_err().to_string();
        assert!(refusal.contains(&format!("module.toml does not say {line} under [permissions]")), "{refusal}");
        let allowed = manifest(&line).allowed(&Properties::default()).unwrap();
        assert_eq!(allowed.check(&Use::Native(word)), Ok(()));
        let code = format!("return require('@netserv/{word}')");
        let row = Row { line: "", besides: "", code: &code, gives: "" };
        let says = run(&row, &line, &line);
        assert!(says.contains("there is no"), "{word} has a block now; give it a row: {says}");
    }
}

/// Runs the code of a row in a module with these permissions, of which the owner grants some. Returns what it says, and
/// how many packets left, if any did.
fn run(row: &Row<'_>, permissions: &str, granted: &str) -> String {
    let module = module_that_runs(row.code, permissions);
    let mut bench = Bench::new(module.clone());
    let number = bench.new_node(None, toml::Table::new()).unwrap();
    surround(&mut bench, number);
    let node = bench.node(number).unwrap();
    node.command(Command::Unload { name: INSTANCE.to_owned() }).unwrap();
    node.settle().unwrap();
    node.left.clear();
    node.log.clear();
    let grant = Box::new(Grant::of(&manifest(granted), &Properties::default(), true).unwrap());
    let name = Some(INSTANCE.to_owned());
    node.command(Command::Load { module, name, properties: toml::Table::new(), grant: Some(grant) }).unwrap();
    node.settle().unwrap();
    let left = node.advance(Duration::from_secs(100)).unwrap().len();
    assert_eq!(node.faults, Vec::<String>::new(), "{}", row.code);
    let [(_, says)] = &node.log[..] else { panic!("{}: {:?}", row.code, node.log) };
    if left == 0 { says.clone() } else { format!("{says}, and {left} packet left") }
}

fn manifest_text(permissions: &str) -> String {
    format!(
        "name = \"m\"\nversion = \"1.0.0\"\napi = 1\nsummary = \"For a test.\"\nlicence = \"Apache-2.0\"\n\
         [permissions]\n{permissions}\n[limits]\nstorage_bytes = 1000000\n"
    )
}

fn module_that_runs(code: &str, permissions: &str) -> Module {
    let blocks = ["dns", "files", "http", "kv", "node", "signal", "tcp", "udp"];
    let blocks: String = blocks.iter().map(|name| format!("local {name} = require('@netserv/{name}')\n")).collect();
    let init = format!(
        "local netserv = require('@netserv')\n{blocks}local M = {{}}\n\
         function M.run(ctx)\n\
         local ok, says = pcall(function()\n{code}\nend)\n\
         ctx:log('info', `{{says}}`)\n\
         end\nreturn M\n"
    );
    let files = [("module.toml", manifest_text(permissions)), ("init.luau", init)];
    let files = files.into_iter().map(|(path, text)| (path.to_owned(), text.into_bytes())).collect();
    Module::check(ModuleSource { files }).unwrap()
}

fn manifest(permissions: &str) -> Manifest {
    Manifest::parse(&manifest_text(permissions)).unwrap()
}

/// Gives the node a machine to tell of, hosts to talk to, and signalling.
fn surround(bench: &mut Bench, number: usize) {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let name = || "eth0".to_owned();
    let interface = Interface { name: name(), addresses: vec![(address("192.0.2.7"), 24)], ..Interface::default() };
    let neighbour = Neighbour { address: address("192.0.2.8"), interface: name(), hardware: None, is_reachable: true };
    let route = RouteEntry { to: (address("0.0.0.0"), 0), via: None, interface: Some(name()), metric: 0 };
    let facts = MachineFacts {
        load: Some(MachineLoad { cpus: 4, ..MachineLoad::default() }),
        interfaces: Some(vec![interface]),
        neighbours: Some(vec![neighbour]),
        routes: Some(vec![route]),
        location: Some(Location { place: Some("here".to_owned()), ..Location::default() }),
    };
    bench.set_machine(number, facts).unwrap();
    let host = address("192.0.2.10");
    bench.net(number, NetOp::SetName("example.org".to_owned(), vec![host])).unwrap();
    bench.net(number, NetOp::Listen((host, 443).into())).unwrap();
    let id = NodeId([1; 16]);
    let here = Rc::new(Here);
    let gist = GistConfig { identity: PeerIdentity(id.0.to_vec()), secret: [1; 32], ..GistConfig::default() };
    let signaling = SignalingConfig { gist, nslp: NslpConfig::new(id), secret: [2; 32], paths: here.clone() };
    let controller = ControllerConfig::new(id);
    let setup = SignalSetup { signaling, controller, machine: here, name: "r1".to_owned(), intercepts: false };
    let node = bench.node(number).unwrap();
    node.node.enable_signaling(node.now, setup, Vec::new());
    node.node.set_signing_key(SigningKey::from_seed(&[7; 32]));
    node.drain();
}

/// Where the node signals from: nobody answers.
struct Here;

impl Paths for Here {
    fn source_for(&self, _: IpAddr) -> Option<IpAddr> {
        "192.0.2.7".parse().ok()
    }

    fn is_local(&self, address: IpAddr) -> bool {
        Some(address) == self.source_for(address)
    }

    fn route_to(&self, _: IpAddr) -> Option<Route> {
        None
    }
}

impl crate::node::Machine for Here {
    fn memory_free_bytes(&self) -> u64 {
        1 << 30
    }

    fn load_percent(&self) -> u32 {
        0
    }

    fn addresses(&self) -> Vec<IpAddr> {
        Vec::new()
    }
}

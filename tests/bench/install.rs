//! A module installed by signalling: from the order of a user to the answer that it runs, with the package in a local
//! repository. Two nodes in memory, real time; the package is fetched by the node's own fetcher.
#![expect(clippy::print_stdout, reason = "the figures are what this is for")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use netserv::base::crypto::{SigningKey, sha256, to_hex};
use netserv::base::time::{Instant, WallTime};
use netserv::container::package;
use netserv::container::source::ModuleSource;
use netserv::container::surroundings::CpuGuard;
use netserv::container::watch::Watch;
use netserv::controller::api::ControllerConfig;
use netserv::controller::trust::{Permission, Trust};
use netserv::drivers::live::fetcher::{Fetcher, FetcherConfig};
use netserv::node::{Errand, Event, Input, LinkConfig, LinkKind, Machine, Node, NodeConfig, Output, SignalSetup};
use netserv::signaling::SignalingConfig;
use netserv::signaling::gist::GistConfig;
use netserv::signaling::gist::api::TransferAttributes;
use netserv::signaling::io::{DatagramIn, DatagramOut, Paths, Route, SignalInput, SocketOutput};
use netserv::signaling::nslp::NslpConfig;
use netserv::signaling::nslp::api::{NslpEvent, Order};
use netserv::wire::gist::header::PORT;
use netserv::wire::gist::mri::Mri;
use netserv::wire::gist::object::PeerIdentity;
use netserv::wire::nslp::answer::AnswerCode;
use netserv::wire::nslp::request::{Authorisation, ModuleRequest, NodeId, Nonce, Operation, Request, Target};
use netserv::wire::nslp::signing_bytes;

/// Installations of each kind.
const ROUNDS: usize = 50;
/// The wall clock at the start, in ms since 1970-01-01 UTC.
const WALL_MS: u64 = 1_800_000_000_000;
/// Longest time that one installation may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a machine is: on the one network that there is.
struct Here(IpAddr);

impl Paths for Here {
    fn source_for(&self, _: IpAddr) -> Option<IpAddr> {
        Some(self.0)
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address == self.0
    }

    fn route_to(&self, _: IpAddr) -> Option<Route> {
        None
    }
}

impl Machine for Here {
    fn memory_free_bytes(&self) -> u64 {
        1 << 30
    }

    fn load_percent(&self) -> u32 {
        0
    }

    fn addresses(&self) -> Vec<IpAddr> {
        vec![self.0]
    }
}

fn address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 9, 0, number + 1))
}

fn machine(number: u8, trust: Trust) -> Node {
    let hosts = number > 0;
    let mut node = Node::new(NodeConfig {
        flows_max: 64,
        capture: Vec::new(),
        seed: number.into(),
        wall: WallTime::from_nanos(WALL_MS * 1_000_000),
        cpu: CpuGuard::Watch(Watch::with_clock(platform::thread::cpu_ns)),
    });
    if hosts {
        node.add_link(LinkConfig { name: "tun".to_owned(), kind: LinkKind::Tun });
    }
    let id = NodeId::of_key(&[number + 1; 32]);
    let here = Rc::new(Here(address(number)));
    let gist = GistConfig { identity: PeerIdentity(id.0.to_vec()), secret: [number + 1; 32], ..GistConfig::default() };
    let nslp = NslpConfig { hosts, ..NslpConfig::new(id) };
    let setup = SignalSetup {
        signaling: SignalingConfig { gist, nslp, secret: [number + 3; 32], paths: here.clone() },
        controller: ControllerConfig { trust, file_urls_allowed: true, ..ControllerConfig::new(id) },
        machine: here,
        name: format!("n{number}"),
        intercepts: hosts,
    };
    node.enable_signaling(Instant::START, setup, Vec::new());
    node
}

/// A user's machine, a node, and the wire between them.
struct World {
    began: std::time::Instant,
    nodes: [Node; 2],
    key: SigningKey,
    fetcher: Fetcher,
    finished: Arc<(Mutex<bool>, Condvar)>,
    wire: VecDeque<(usize, DatagramOut)>,
    heard: VecDeque<NslpEvent>,
    orders: u8,
    fetch_began: Option<std::time::Instant>,
    fetching: Duration,
}

impl World {
    fn new() -> World {
        let key = SigningKey::from_seed(&[200; 32]);
        let words: Vec<String> = Permission::words().split(", ").map(|word| format!("\"{word}\"")).collect();
        let trust = format!(
            "[[requester]]\nname = \"user\"\nkey = \"{}\"\npackages = [\"*\"]\npermissions = [{}]\ninstances = 250\n",
            to_hex(&key.public()),
            words.join(", ")
        );
        let trust = Trust::parse(&trust).expect("the trust file is right");
        let finished = Arc::new((Mutex::new(false), Condvar::new()));
        let told = Arc::clone(&finished);
        let wake = move || {
            *told.0.lock().expect("nobody panics with the lock") = true;
            told.1.notify_one();
        };
        let config = FetcherConfig { files_allowed: true, ..FetcherConfig::default() };
        World {
            began: std::time::Instant::now(),
            nodes: [machine(0, Trust::default()), machine(1, trust)],
            key,
            fetcher: Fetcher::new(&config, wake).expect("there are no files of authorities"),
            finished,
            wire: VecDeque::new(),
            heard: VecDeque::new(),
            orders: 0,
            fetch_began: None,
            fetching: Duration::ZERO,
        }
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.began.elapsed().as_nanos() as u64)
    }

    fn drain(&mut self, at: usize) {
        loop {
            match self.nodes[at].poll() {
                Output::Idle { .. } => return,
                Output::Errand(Errand::Socket(SocketOutput::Datagram(datagram))) => self.wire.push_back((at, datagram)),
                Output::Errand(Errand::Fetch { id, url, bytes_max, timeout, .. }) => {
                    self.fetch_began = Some(std::time::Instant::now());
                    self.fetcher.start(id, &url, bytes_max, timeout);
                }
                Output::Event(Event::Signal(event)) => self.heard.push_back(*event),
                Output::Errand(_) | Output::Event(_) | Output::Transmit { .. } => {}
                Output::Steer(_) | Output::Answer(..) | Output::Net(_) => {}
            }
        }
    }

    /// Carries what waits; waits for the fetcher or for a deadline if nothing does.
    fn step(&mut self) {
        if let Some((from, out)) = self.wire.pop_front() {
            let to = 1 - from;
            if out.destination.ip() == address(to as u8) {
                let datagram = DatagramIn {
                    source: SocketAddr::new(address(from as u8), PORT),
                    destination: out.destination,
                    ttl: Some(64),
                    router_alert: out.router_alert,
                    interface: 0,
                    payload: &out.payload,
                };
                let now = self.now();
                self.nodes[to].handle(now, Input::Signal(SignalInput::Datagram(datagram)));
                self.drain(to);
            }
            return;
        }
        if let Some((id, result)) = self.fetcher.finished() {
            self.fetching += self.fetch_began.take().map_or(Duration::ZERO, |began| began.elapsed());
            let now = self.now();
            self.nodes[1].handle(now, Input::Fetched(id, result));
            return self.drain(1);
        }
        let (lock, told) = &*self.finished;
        let finished = lock.lock().expect("nobody panics with the lock");
        let mut finished = told.wait_timeout_while(finished, Duration::from_millis(1), |done| !*done);
        if let Ok((finished, _)) = &mut finished {
            **finished = false;
        }
        drop(finished);
        for at in 0..2 {
            let now = self.now();
            self.nodes[at].handle(now, Input::Wakeup);
            self.drain(at);
        }
    }

    /// Has the node install a package; answers how long that took.
    fn install(&mut self, name: &str, url: &str, digest: [u8; 32]) -> Duration {
        self.orders += 1;
        let wall_ms = WALL_MS + self.now().as_nanos() / 1_000_000;
        let request = Request {
            operation: Operation::Setup,
            nonce: Nonce([self.orders; 16]),
            issued_ms: wall_ms,
            expires_ms: wall_ms + 600_000,
            scope: Vec::new(),
            target: Target::First,
            conditions: Vec::new(),
            search_ms: 1_000,
            instance: format!("i{}", self.orders),
            module: Some(ModuleRequest {
                name: name.to_owned(),
                version: String::new(),
                url: url.to_owned(),
                digest,
                lifetime_ms: 600_000,
                properties: Vec::new(),
                notify: String::new(),
            }),
            asks: 0,
        };
        self.heard.clear();
        let began = std::time::Instant::now();
        let canonical = request.encode();
        let signature = self.key.sign(&signing_bytes(&canonical));
        let order = Order {
            mri: Mri::flow(address(0), address(1)),
            request: canonical,
            authorisation: Some(Authorisation { key: self.key.public(), signature }),
            attributes: TransferAttributes { reliable: false, secure: false },
            keep: false,
        };
        let now = self.now();
        self.nodes[0].order(now, order).expect("the order is right");
        self.drain(0);
        while began.elapsed() < PATIENCE {
            self.step();
            while let Some(event) = self.heard.pop_front() {
                if let NslpEvent::Answered { answer, .. } = event {
                    if answer.code == AnswerCode::Installed {
                        return began.elapsed();
                    }
                    assert!(answer.code.name().contains("progress"), "{:?}: {}", answer.code, answer.sentence);
                }
            }
        }
        panic!("not installed within {PATIENCE:?}");
    }
}

/// The template as a package. Each number makes another one, so that nothing of an earlier one can be used.
fn package(number: usize) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("modules/_template");
    let mut source = ModuleSource::default();
    for file in ["module.toml", "init.luau"] {
        source.files.insert(file.to_owned(), fs::read(folder.join(file)).expect("the template is there"));
    }
    source.files.insert("number.txt".to_owned(), number.to_string().into_bytes());
    package::pack(&source).expect("the template can be packed")
}

/// A web server on loopback that has one folder: answers each request, and closes.
fn serve(folder: &Path) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let port = listener.local_addr().expect("it listens").port();
    let folder = folder.to_owned();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut room = [0; 2_048];
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut room) {
                    Ok(count) if count > 0 => head.extend_from_slice(&room[..count]),
                    _ => break,
                }
            }
            let text = String::from_utf8_lossy(&head);
            let name = text.split_whitespace().nth(1).unwrap_or("/").trim_start_matches('/');
            let body = fs::read(folder.join(name)).unwrap_or_default();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    port
}

fn main() {
    let folder = std::env::temp_dir().join(format!("netserv-install-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("temporary files can be written");
    let port = serve(&folder);
    let mut world = World::new();
    println!("| package from | ms to the answer, median | fastest tenth | slowest tenth | of it fetching, mean |");
    println!("|---|---:|---:|---:|---:|");
    let mut number = 0;
    for (from, base) in
        [("a folder", format!("file://{}", folder.display())), ("a web server", format!("http://127.0.0.1:{port}"))]
    {
        world.fetching = Duration::ZERO;
        let mut took: Vec<f64> = Vec::new();
        for _ in 0..ROUNDS {
            number += 1;
            let bytes = package(number);
            let file = format!("{number}.nsm");
            fs::write(folder.join(&file), &bytes).expect("temporary files can be written");
            took.push(world.install("template", &format!("{base}/{file}"), sha256(&bytes)).as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        let fetching = world.fetching.as_secs_f64() * 1e3 / ROUNDS as f64;
        let (median, fast, slow) = (took[ROUNDS / 2], took[ROUNDS / 10], took[ROUNDS * 9 / 10]);
        println!("| {from} | {median:.2} | {fast:.2} | {slow:.2} | {fetching:.2} |");
    }
    assert_eq!(world.nodes[1].instances().len(), 2 * ROUNDS);
    let _ = fs::remove_dir_all(&folder);
}

//! What a module in Luau costs a server: echoes per second and CPU time per echo, beside a bare loop around mio in this
//! process. Says figures, and asserts none: `NETSERV_MEASURE=1 cargo test --release --test module_sockets measure -- --nocapture`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::node::Node;
use super::stream;

const STREAMS: usize = 32;
const BYTES: usize = 64;
const TIME: Duration = Duration::from_secs(3);
/// Units of CPU time in `/proc`, per second.
const TICKS: f64 = 100.0;

#[test]
fn measure_echoes() {
    if std::env::var_os("NETSERV_MEASURE").is_none() {
        println!("skipped: NETSERV_MEASURE is not set");
        return;
    }
    let node = Node::start();
    let (bare_port, bare_udp, bare_stat) = bare_server();
    let node_stat = PathBuf::from(format!("/proc/{}/stat", node.id()));
    for round in 1..=2 {
        say(round, "TCP, bare", tcp_echoes(bare_port), &bare_stat);
        say(round, "TCP, Luau", tcp_echoes(node.port("tcp")), &node_stat);
        say(round, "UDP, bare", udp_echoes(bare_udp), &bare_stat);
        say(round, "UDP, Luau", udp_echoes(node.port("udp")), &node_stat);
    }
}

fn say(round: u32, what: &str, run: impl FnOnce() -> u64, stat: &PathBuf) {
    let before = cpu_ticks(stat);
    let count = run();
    let cpu = (cpu_ticks(stat) - before) / TICKS;
    let per_echo = cpu * 1e6 / count.max(1) as f64;
    println!(
        "{round} {what}: {:.0} echoes/s, {per_echo:.2} us of the server's CPU each",
        count as f64 / TIME.as_secs_f64()
    );
}

/// User and system time of a process or thread.
fn cpu_ticks(stat: &PathBuf) -> f64 {
    let text = std::fs::read_to_string(stat).unwrap_or_default();
    let fields: Vec<&str> =
        text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum()
}

fn tcp_echoes(port: u16) -> impl FnOnce() -> u64 {
    let mut streams: Vec<TcpStream> = (0..STREAMS).map(|_| stream(port)).collect();
    move || {
        let (mut count, began) = (0, Instant::now());
        let mut buffer = [0; BYTES];
        while began.elapsed() < TIME {
            streams.iter_mut().for_each(|stream| stream.write_all(&[1; BYTES]).unwrap());
            streams.iter_mut().for_each(|stream| stream.read_exact(&mut buffer).unwrap());
            count += STREAMS as u64;
        }
        count
    }
}

fn udp_echoes(port: u16) -> impl FnOnce() -> u64 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    move || {
        let (mut count, began) = (0, Instant::now());
        let mut buffer = [0; BYTES];
        while began.elapsed() < TIME {
            (0..STREAMS).for_each(|_| drop(socket.send(&[1; BYTES])));
            count += (0..STREAMS).filter(|_| socket.recv(&mut buffer).is_ok()).count() as u64;
        }
        count
    }
}

/// The smallest server with the same library: its ports for TCP and UDP, and where its CPU time stands.
fn bare_server() -> (u16, u16, PathBuf) {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut poll = Poll::new().unwrap();
        let mut listener = mio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let mut udp = mio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        poll.registry().register(&mut listener, Token(0), Interest::READABLE).unwrap();
        poll.registry().register(&mut udp, Token(1), Interest::READABLE).unwrap();
        let thread = std::fs::read_link("/proc/thread-self").map(|path| PathBuf::from("/proc").join(path).join("stat"));
        let ports = (listener.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
        sender.send((ports.0, ports.1, thread.unwrap_or_default())).unwrap();
        let mut streams = BTreeMap::new();
        let mut events = Events::with_capacity(64);
        let mut buffer = vec![0; 65_536];
        loop {
            poll.poll(&mut events, None).unwrap();
            for event in &events {
                match event.token() {
                    Token(0) => {
                        while let Ok((mut stream, _)) = listener.accept() {
                            let token = Token(streams.len() + 2);
                            poll.registry().register(&mut stream, token, Interest::READABLE).unwrap();
                            stream.set_nodelay(true).unwrap();
                            streams.insert(token, stream);
                        }
                    }
                    Token(1) => {
                        while let Ok((len, from)) = udp.recv_from(&mut buffer) {
                            let _ = udp.send_to(&buffer[..len], from);
                        }
                    }
                    token => {
                        let Some(stream) = streams.get_mut(&token) else { continue };
                        while let Ok(len @ 1..) = stream.read(&mut buffer) {
                            let _ = stream.write_all(&buffer[..len]);
                        }
                    }
                }
            }
        }
    });
    receiver.recv().unwrap()
}

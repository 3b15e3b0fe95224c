//! Sockets of modules on a real node: `netserv run` with a server module, and clients of other makes. All on the loop-back
//! interface; needs no root.
#![cfg(all(unix, feature = "live"))]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "clients with clocks and sockets")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "says what is skipped; what fails must stop it")]

#[path = "module_sockets/measure.rs"]
mod measure;
#[path = "module_sockets/node.rs"]
mod node;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use node::Node;

fn stream(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the module listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("it ends in order");
    all
}

/// Runs another program with this input; `None` if it is not installed.
fn other_program(program: &str, words: &[&str], input: &[u8]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            println!("skipped: {program} is not installed");
            return None;
        }
        Err(e) => panic!("{program}: {e}"),
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn tcp_streams_carry_bytes_and_their_ends() {
    let node = Node::start();
    let mut one = stream(node.port("tcp"));
    one.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    one.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    // Half closed: what was sent before still comes back, and then the module's own end.
    one.write_all(b"world").unwrap();
    one.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut one), b"world");
    let address = format!("TCP:127.0.0.1:{}", node.port("tcp"));
    if let Some(answer) = other_program("socat", &["-t5", "-", &address], b"by socat") {
        assert_eq!(answer, "by socat");
    }
    let address = format!("TCP:[::1]:{}", node.port("tcp"));
    if TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, node.port("tcp"))).is_ok()
        && let Some(answer) = other_program("socat", &["-t5", "-", &address], b"by IPv6")
    {
        assert_eq!(answer, "by IPv6");
    }
    let mut lines = stream(node.port("lines"));
    lines.write_all(b"one\r\ntw").unwrap();
    lines.write_all(b"o\n").unwrap();
    lines.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut lines), b"ONE\nTWO\n");
}

#[test]
fn who_does_not_read_makes_the_module_wait_and_loses_nothing() {
    let node = Node::start();
    let mut slow = stream(node.port("tcp"));
    let piece: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    slow.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut sent = 0;
    // More than all buffers on the way can take.
    while sent < 64 << 20 {
        let at = sent % piece.len();
        match slow.write(&piece[at..]) {
            Ok(len) => sent += len,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(sent < 64 << 20, "nobody had to wait");
    // Others do not wait meanwhile.
    let mut other = stream(node.port("tcp"));
    other.write_all(b"x").unwrap();
    other.read_exact(&mut [0]).unwrap();
    slow.shutdown(Shutdown::Write).unwrap();
    let back = read_to_end(&mut slow);
    assert_eq!(back.len(), sent);
    assert!(back.iter().zip(piece.iter().cycle()).all(|(got, want)| got == want));
}

#[test]
fn a_thousand_streams_are_served_at_once() {
    let limit = platform::module_socket::raise_descriptor_limit(4_096);
    if limit < 1_200 {
        println!("skipped: this process may have only {limit} descriptors");
        return;
    }
    let node = Node::start();
    let began = Instant::now();
    let mut streams: Vec<TcpStream> = (0..1_000).map(|_| stream(node.port("tcp"))).collect();
    for (index, stream) in streams.iter_mut().enumerate() {
        stream.write_all(format!("{index:04}").as_bytes()).unwrap();
    }
    for (index, stream) in streams.iter_mut().enumerate() {
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, format!("{index:04}").as_bytes());
    }
    println!("1,000 streams: {} ms, {} KiB of memory", began.elapsed().as_millis(), node.memory_kib());
}

#[test]
fn tls_streams_carry_bytes_and_agree_on_a_protocol() {
    let node = Node::start();
    let (address, authority) = (format!("127.0.0.1:{}", node.port("tls")), node.certificate());
    let words = [
        "s_client",
        "-connect",
        &address,
        "-CAfile",
        &authority,
        "-verify_return_error",
        "-alpn",
        "other,echo",
        "-ign_eof",
    ];
    // The module ends the stream after this word.
    let Some(answer) = other_program("openssl", &words, b"hello\nquit\n") else { return };
    assert!(answer.contains("hello\n"), "{answer}");
    assert!(answer.contains("ALPN protocol: echo"), "{answer}");
    // Plain bytes are no TLS, and do no harm.
    let mut odd = stream(node.port("tls"));
    odd.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let _ = odd.read_to_end(&mut Vec::new());
    // The module's own client: with the right authority, with none, and with a name that is not in the certificate.
    assert_eq!(node.said("tls client"), "hello by echo");
    assert_eq!(node.said("tls stranger"), "the server's certificate is signed by nobody who is trusted here");
    assert_eq!(node.said("tls name"), "the server's certificate is one for another name");
}

#[test]
fn datagrams_come_back_one_and_many_and_large() {
    let node = Node::start();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let to = (Ipv4Addr::LOCALHOST, node.port("udp"));
    let mut buffer = vec![0; 65_536];
    for len in [0, 1, 1_000, 20_000, 65_507] {
        socket.send_to(&vec![7; len], to).unwrap();
        let (got, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((got, from.port()), (len, to.1));
    }
    for number in 0..100_u8 {
        socket.send_to(&[number; 100], to).unwrap();
    }
    let mut came: Vec<u8> = (0..100).map(|_| (socket.recv_from(&mut buffer).unwrap(), buffer[0]).1).collect();
    came.sort_unstable();
    assert_eq!(came, (0..100).collect::<Vec<u8>>());
}

#[test]
fn what_cannot_be_done_is_said_and_what_is_not_allowed_names_the_line() {
    let node = Node::start();
    assert_eq!(node.said("refused"), "the peer refuses connections to this port");
    assert!(node.said("taken").contains("is taken by another program"));
    assert!(node.said("not allowed").contains("connect = [\"tcp:192.0.2.1:80\"]"), "{}", node.said("not allowed"));
    assert!(node.said("not allowed to listen").contains("listen = [\"udp:53\"]"));
    assert!(node.said("not allowed name").contains("look example.org up"));
    assert!(node.said("localhost").contains("127.0.0.1"));
    assert_eq!(node.said("no such name"), "an error");
    assert_eq!(node.said("limit"), "limit sockets");
}

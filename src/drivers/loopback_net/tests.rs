use super::*;

const A: InstanceId = InstanceId(1);

fn id(number: u32) -> SocketId {
    SocketId { instance: A, number }
}

fn outside(number: u32) -> SocketId {
    SocketId { instance: OUTSIDE, number }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// All events, as text.
fn events(net: &mut LoopbackNet) -> Vec<String> {
    let mut all = Vec::new();
    while net.next_event(|socket, event| {
        let event = match event {
            NetEvent::Opened { protocol, .. } => format!("opened {}", protocol.unwrap_or_default()),
            NetEvent::Accepted { peer, .. } => format!("accepted {}", peer.ip()),
            NetEvent::Received(bytes) => format!("{} bytes", bytes.len()),
            NetEvent::Datagrams(datagrams) => format!("{} from {}", datagrams[0].bytes.len(), datagrams[0].from),
            NetEvent::Drained => "drained".to_owned(),
            NetEvent::Finished => "finished".to_owned(),
            NetEvent::Closed { reason } => reason,
            NetEvent::Resolved(result) => format!("{result:?}"),
        };
        let number = socket.number & !SocketId::ACCEPTED;
        all.push(format!("{}{number} {}", if number == socket.number { "" } else { "+" }, event.trim()));
    }) {}
    all
}

fn listen(net: &mut LoopbackNet, security: Security) {
    net.perform(NetOutput::Listen { socket: id(1), at: at("[::]:80"), security });
    assert_eq!(events(net), ["1 opened"]);
}

/// A listener 1, and a stream 9 from outside to it, which it accepted as +0.
fn with_stream() -> (LoopbackNet, SocketId) {
    let mut net = LoopbackNet::default();
    listen(&mut net, Security::Plain);
    net.connect(outside(9), Some(at("192.0.2.9:0")), at("192.0.2.1:80"), &Security::Plain);
    assert_eq!(events(&mut net), ["9 opened", "1 accepted 192.0.2.9"]);
    (net, id(SocketId::ACCEPTED))
}

#[test]
fn streams_carry_bytes_both_ways_and_end_when_both_sides_have_finished() {
    let (mut net, accepted) = with_stream();
    net.perform(NetOutput::Write { socket: outside(9), bytes: b"hello".to_vec() });
    net.perform(NetOutput::Write { socket: accepted, bytes: b"you".to_vec() });
    net.perform(NetOutput::Finish(outside(9)));
    assert_eq!(events(&mut net), ["+0 5 bytes", "9 3 bytes", "+0 finished"]);
    net.perform(NetOutput::Finish(accepted));
    assert_eq!(events(&mut net), ["9 finished".to_owned(), format!("+0 {ENDED}"), format!("9 {ENDED}")]);
}

#[test]
fn nothing_comes_from_a_paused_stream_and_its_writer_is_told_when_it_was_read() {
    let (mut net, accepted) = with_stream();
    net.perform(NetOutput::Pause(accepted));
    net.perform(NetOutput::Write { socket: outside(9), bytes: vec![0; SOCKET_HIGH_WATER_BYTES] });
    assert_eq!(events(&mut net), Vec::<String>::new());
    net.perform(NetOutput::Resume(accepted));
    let all = events(&mut net);
    let bytes = |event: &String| event.ends_with(" bytes");
    assert_eq!((all.iter().filter(|e| bytes(e)).count(), all.iter().filter(|e| *e == "9 drained").count()), (4, 1));
}

#[test]
fn an_abort_and_what_was_not_read_break_the_other_side_off() {
    let (mut net, accepted) = with_stream();
    net.perform(NetOutput::Close { socket: accepted, abort: true });
    assert_eq!(events(&mut net), ["9 the peer broke it off"]);
    let (mut net, accepted) = with_stream();
    net.perform(NetOutput::Write { socket: outside(9), bytes: b"x".to_vec() });
    net.perform(NetOutput::CloseAll(A));
    assert_eq!(events(&mut net), ["9 the peer broke it off"]);
    net.perform(NetOutput::Write { socket: accepted, bytes: b"x".to_vec() });
    assert_eq!(events(&mut net), Vec::<String>::new());
}

#[test]
fn a_paused_listener_lets_others_wait() {
    let mut net = LoopbackNet::default();
    listen(&mut net, Security::Plain);
    net.perform(NetOutput::Pause(id(1)));
    net.connect(outside(9), Some(at("192.0.2.9:7")), at("192.0.2.1:80"), &Security::Plain);
    assert_eq!(events(&mut net), ["9 opened"]);
    net.perform(NetOutput::Resume(id(1)));
    assert_eq!(events(&mut net), ["1 accepted 192.0.2.9"]);
}

#[test]
fn what_was_written_to_a_stream_that_waited_arrives_when_its_listener_goes_on() {
    let mut net = LoopbackNet::default();
    let protocols = || vec!["h2".to_owned()];
    listen(&mut net, Security::TlsServer { certificate: String::new(), key: String::new(), protocols: protocols() });
    net.perform(NetOutput::Pause(id(1)));
    let client = Security::TlsClient { server_name: "a".to_owned(), authorities: None, protocols: protocols() };
    for (number, from) in [(7, "192.0.2.7:7"), (8, "192.0.2.8:8"), (9, "192.0.2.9:9")] {
        net.connect(outside(number), Some(at(from)), at("192.0.2.1:80"), &client);
        net.perform(NetOutput::Write { socket: outside(number), bytes: b"hello".to_vec() });
    }
    net.perform(NetOutput::Close { socket: outside(7), abort: false });
    net.perform(NetOutput::Close { socket: outside(8), abort: true });
    assert_eq!(events(&mut net)[..3], ["7 opened h2", "8 opened h2", "9 opened h2"]);
    net.perform(NetOutput::Resume(id(1)));
    let told = ["1 accepted 192.0.2.7", "+0 5 bytes", "1 accepted 192.0.2.9", "+2 5 bytes", "+0 finished"];
    let mut all = events(&mut net);
    assert_eq!(all.len(), told.len(), "{all:?}");
    all.sort_by_key(|event| told.iter().position(|other| other == event));
    assert_eq!(all, told);
}

#[test]
fn who_calls_where_nobody_listens_or_takes_what_is_taken_is_told_so() {
    let mut net = LoopbackNet::default();
    listen(&mut net, Security::Plain);
    net.connect(outside(9), None, at("192.0.2.1:81"), &Security::Plain);
    net.perform(NetOutput::Listen { socket: id(2), at: at("192.0.2.1:80"), security: Security::Plain });
    let told = ["9 the peer refuses connections to this port", "2 port 80 is taken by another program"];
    assert_eq!(events(&mut net), told);
}

#[test]
fn tls_agrees_on_a_protocol_and_does_not_meet_plain_streams() {
    let mut net = LoopbackNet::default();
    let protocols = vec!["h2".to_owned(), "http/1.1".to_owned()];
    listen(&mut net, Security::TlsServer { certificate: String::new(), key: String::new(), protocols });
    let client = |protocol: &str| Security::TlsClient {
        server_name: "localhost".to_owned(),
        authorities: None,
        protocols: vec![protocol.to_owned()],
    };
    net.connect(outside(7), None, at("127.0.0.1:80"), &client("http/1.1"));
    net.connect(outside(8), None, at("127.0.0.1:80"), &client("ftp"));
    net.connect(outside(9), None, at("127.0.0.1:80"), &Security::Plain);
    assert_eq!(
        events(&mut net),
        [
            "7 opened http/1.1",
            "1 accepted 127.0.0.1",
            "8 the peer speaks TLS, but another protocol inside of it",
            "9 one side speaks TLS and the other does not",
        ]
    );
}

#[test]
fn datagrams_reach_whoever_has_the_port_and_are_lost_otherwise() {
    let mut net = LoopbackNet::default();
    net.perform(NetOutput::Bind { socket: id(1), at: at("[::]:5060") });
    net.perform(NetOutput::Bind { socket: outside(2), at: at("192.0.2.9:4000") });
    assert_eq!(events(&mut net), ["1 opened", "2 opened"]);
    let send = |socket, from: Option<&str>, to: &str| NetOutput::Send {
        socket,
        from: from.map(|from| from.parse().unwrap()),
        to: at(to),
        bytes: b"ping".to_vec(),
    };
    net.perform(send(outside(2), None, "192.0.2.1:5060"));
    net.perform(send(id(1), Some("192.0.2.1"), "192.0.2.9:4000"));
    net.perform(send(id(1), None, "192.0.2.9:4001"));
    assert_eq!(events(&mut net), ["1 4 from 192.0.2.9:4000", "2 4 from 192.0.2.1:5060"]);
    assert_eq!(net.take_lost(), 0, "where nobody listens there is no room to find");
    for _ in 0..SOCKET_DATAGRAMS_MAX + 3 {
        net.perform(send(outside(2), None, "192.0.2.1:5060"));
    }
    assert_eq!((events(&mut net).len(), net.take_lost(), net.take_lost()), (SOCKET_DATAGRAMS_MAX, 3, 0));
}

#[test]
fn a_socket_that_changes_hands_goes_on_under_its_new_number() {
    let mut net = LoopbackNet::default();
    listen(&mut net, Security::Plain);
    let new = SocketId { instance: InstanceId(2), number: 5 };
    net.perform(NetOutput::HandOver { from: id(1), to: new });
    net.perform(NetOutput::CloseAll(A));
    net.connect(outside(9), None, at("192.0.2.1:80"), &Security::Plain);
    assert_eq!(events(&mut net), ["9 opened", "5 accepted 192.0.2.1"]);
}

#[test]
fn names_resolve_by_the_table() {
    let mut net = LoopbackNet::default();
    net.set_name("Example.org.", vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
    for (name, family) in [("example.org", Family::V6), ("example.net", Family::Any)] {
        net.perform(NetOutput::Resolve { query: id(3), name: name.to_owned(), family });
    }
    assert_eq!(events(&mut net), ["3 Ok([2001:db8::1])", "3 Err(\"there is no address for example.net\")"]);
}

use super::*;
use crate::base::limits::{SOCKET_DATAGRAMS_MAX, SOCKET_HIGH_WATER_BYTES};
use crate::base::net::{Datagram, Security};
use crate::container::api::sockets::udp::Udp;
use crate::container::permissions::{Allowed, Permissions, Text};
use crate::container::properties::Properties;

const INSTANCE: InstanceId = InstanceId(7);

fn sockets(count_max: u32) -> Sockets {
    Sockets::new(INSTANCE, count_max, 16 << 20)
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn id(number: u32) -> SocketId {
    SocketId { instance: INSTANCE, number }
}

fn outputs(sockets: &mut Sockets) -> Vec<NetOutput> {
    std::iter::from_fn(|| sockets.next_output()).collect()
}

fn opened() -> NetEvent<'static> {
    NetEvent::Opened { local: at("192.0.2.1:1000"), peer: Some(at("192.0.2.2:80")), protocol: None }
}

/// A table with one open stream, number 1.
fn with_stream() -> Sockets {
    let mut sockets = sockets(8);
    let (to, security) = (at("192.0.2.2:80"), Security::Plain);
    let number =
        sockets.open(Kind::Stream(Stream::default()), |socket| NetOutput::Connect { socket, to, security }).unwrap();
    assert_eq!(number, 1);
    assert_eq!(sockets.happened(id(1), opened()).as_slice(), [2.0, 3.0]);
    assert_eq!(outputs(&mut sockets).len(), 1);
    sockets
}

fn allowed(listen: &[&str], connect: &[&str]) -> Allowed {
    let texts = |rules: &[&str]| rules.iter().map(|rule| Text::Written((*rule).to_owned())).collect();
    let asked = Permissions { listen: texts(listen), connect: texts(connect), ..Permissions::default() };
    asked.resolve(&Properties::default()).unwrap()
}

#[test]
fn lines_and_exact_counts_come_whole_or_not_at_all() {
    let mut sockets = with_stream();
    sockets.happened(id(1), NetEvent::Received(b"one\r\ntw"));
    assert_eq!(sockets.take_line(1, 10), Taken::Bytes(b"one".to_vec()));
    assert_eq!((sockets.take_line(1, 10), sockets.take_exactly(1, 3)), (Taken::Nothing, Taken::Nothing));
    sockets.happened(id(1), NetEvent::Received(b"o\nthree"));
    assert_eq!(sockets.take_exactly(1, 2), Taken::Bytes(b"tw".to_vec()));
    assert_eq!(sockets.take_line(1, 10), Taken::Bytes(b"o".to_vec()));
    assert_eq!(sockets.take_line(1, 4), Taken::Failed("a line has more than 4 bytes".to_owned()));
    assert_eq!(sockets.take_line(1, 5), Taken::Nothing);
    sockets.happened(id(1), NetEvent::Finished);
    let left = Taken::Failed("the peer has finished, and only 5 bytes are left".to_owned());
    assert_eq!(sockets.take_exactly(1, 6), left);
    assert_eq!(sockets.take_line(1, 5), Taken::Bytes(b"three".to_vec()));
    assert_eq!(sockets.take_line(1, 5), Taken::Ended);
}

#[test]
fn a_stream_of_many_gets_what_a_reader_needs_at_once() {
    let mut sockets = with_stream();
    sockets.waiting_bytes_max = 0;
    assert_eq!(sockets.take_exactly(1, 50_000), Taken::Nothing);
    sockets.happened(id(1), NetEvent::Received(&[b'x'; 40_000]));
    assert_eq!(outputs(&mut sockets), []);
    sockets.happened(id(1), NetEvent::Received(&[b'x'; 10_000]));
    assert_eq!(outputs(&mut sockets), [NetOutput::Pause(id(1))]);
    assert_eq!(sockets.take_exactly(1, 50_000), Taken::Bytes(vec![b'x'; 50_000]));
    assert_eq!(outputs(&mut sockets), [NetOutput::Resume(id(1))]);
}

#[test]
fn what_came_is_read_in_order_and_then_the_end() {
    let mut sockets = with_stream();
    assert_eq!(sockets.take_received(1, 100), Taken::Nothing);
    assert_eq!(sockets.happened(id(1), NetEvent::Received(b"hello ")).as_slice(), [read_key(1)]);
    sockets.happened(id(1), NetEvent::Received(b"world"));
    sockets.happened(id(1), NetEvent::Finished);
    assert_eq!(sockets.received_bytes(1), 11);
    assert_eq!(sockets.take_received(1, 5), Taken::Bytes(b"hello".to_vec()));
    assert_eq!(sockets.take_received(1, 100), Taken::Bytes(b" world".to_vec()));
    assert_eq!(sockets.take_received(1, 100), Taken::Ended);
}

#[test]
fn a_stream_that_broke_gives_what_came_before_and_then_the_reason() {
    let mut sockets = with_stream();
    sockets.happened(id(1), NetEvent::Received(b"x"));
    assert_eq!(sockets.happened(id(1), NetEvent::Closed { reason: "reset".to_owned() }).len(), 2);
    assert_eq!(sockets.take_received(1, 100), Taken::Bytes(b"x".to_vec()));
    assert_eq!(sockets.write(1, b"y"), Err("reset".to_owned()));
    assert_eq!(sockets.take_received(1, 100), Taken::Failed("reset".to_owned()));
    assert_eq!(sockets.state(1), State::Closed(CLOSED.to_owned()));
    assert_eq!(outputs(&mut sockets), []);
}

#[test]
fn a_stream_that_is_not_read_is_paused_and_goes_on_when_it_is_read() {
    let mut sockets = with_stream();
    sockets.happened(id(1), NetEvent::Received(&vec![0; SOCKET_HIGH_WATER_BYTES]));
    assert_eq!(outputs(&mut sockets), [NetOutput::Pause(id(1))]);
    sockets.take_received(1, SOCKET_HIGH_WATER_BYTES / 2);
    assert_eq!(outputs(&mut sockets), []);
    sockets.take_received(1, SOCKET_HIGH_WATER_BYTES / 2);
    assert_eq!(outputs(&mut sockets), [NetOutput::Resume(id(1))]);
}

#[test]
fn many_small_writes_of_one_call_go_out_as_one_and_the_end_behind_them() {
    let mut sockets = with_stream();
    for _ in 0..1000 {
        assert_eq!(sockets.write(1, b"ab"), Ok(true));
    }
    sockets.finish(1);
    assert_eq!(sockets.write(1, b"c"), Err("it was finished here".to_owned()));
    let written = NetOutput::Write { socket: id(1), bytes: b"ab".repeat(1000) };
    assert_eq!(outputs(&mut sockets), [written, NetOutput::Finish(id(1))]);
}

#[test]
fn who_writes_much_is_told_to_wait_until_little_is_left() {
    let mut sockets = with_stream();
    assert_eq!(sockets.write(1, &vec![0; SOCKET_HIGH_WATER_BYTES - 1]), Ok(true));
    assert_eq!(sockets.room(1), 1);
    assert_eq!(sockets.write(1, b"ab"), Ok(false));
    assert_eq!(outputs(&mut sockets).len(), 1);
    assert_eq!(sockets.happened(id(1), NetEvent::Drained).as_slice(), [write_key(1)]);
    assert_eq!(sockets.room(1), SOCKET_HIGH_WATER_BYTES);
}

#[test]
fn closing_sends_what_was_written_unless_it_aborts() {
    let mut sockets = with_stream();
    sockets.write(1, b"bye").unwrap();
    assert_eq!(sockets.close(1, false).len(), 2);
    let written = NetOutput::Write { socket: id(1), bytes: b"bye".to_vec() };
    assert_eq!(outputs(&mut sockets), [written, NetOutput::Close { socket: id(1), abort: false }]);
    assert!(sockets.close(1, false).is_empty());
    let mut sockets = with_stream();
    sockets.write(1, b"bye").unwrap();
    sockets.close(1, true);
    assert_eq!(outputs(&mut sockets), [NetOutput::Close { socket: id(1), abort: true }]);
}

fn accepted(number: u32) -> NetEvent<'static> {
    let stream = id(SocketId::ACCEPTED | number);
    NetEvent::Accepted { stream, local: at("192.0.2.1:80"), peer: at("192.0.2.9:5000"), protocol: None }
}

/// A table for `count_max` sockets whose first one listens.
fn with_listener(count_max: u32) -> Sockets {
    let mut sockets = sockets(count_max);
    let listen = |socket| NetOutput::Listen { socket, at: at("[::]:80"), security: Security::Plain };
    sockets.open(Kind::Listener(Listener::default()), listen).unwrap();
    sockets.happened(id(1), NetEvent::Opened { local: at("[::]:80"), peer: None, protocol: None });
    outputs(&mut sockets);
    sockets
}

#[test]
fn a_listener_pauses_while_the_instance_has_all_its_sockets() {
    let mut sockets = with_listener(3);
    assert_eq!(sockets.accept(1), None);
    assert_eq!(sockets.happened(id(1), accepted(1)).as_slice(), [read_key(1)]);
    assert_eq!(outputs(&mut sockets), []);
    sockets.happened(id(1), accepted(2));
    assert_eq!(outputs(&mut sockets), [NetOutput::Pause(id(1))]);
    // One that was on its way already finds no place.
    assert!(sockets.happened(id(1), accepted(3)).is_empty());
    let refused = NetOutput::Close { socket: id(SocketId::ACCEPTED | 3), abort: true };
    assert_eq!(outputs(&mut sockets), [refused]);
    assert_eq!(sockets.take_dropped(), Dropped { sockets: 2, datagrams: 0 }, "it waited once, and one found no place");
    let stream = sockets.accept(1).unwrap();
    assert_eq!(stream, SocketId::ACCEPTED | 1);
    sockets.close(stream, false);
    let closed = NetOutput::Close { socket: id(stream), abort: false };
    assert_eq!(outputs(&mut sockets), [closed, NetOutput::Resume(id(1))]);
}

#[test]
fn closing_a_listener_ends_what_nobody_accepted() {
    let mut sockets = with_listener(8);
    sockets.happened(id(1), accepted(1));
    sockets.happened(id(1), accepted(2));
    let kept = sockets.accept(1).unwrap();
    sockets.close(1, false);
    let other = NetOutput::Close { socket: id(SocketId::ACCEPTED | 2), abort: true };
    assert_eq!(outputs(&mut sockets), [other, NetOutput::Close { socket: id(1), abort: false }]);
    assert_eq!(sockets.state(kept), State::Open);
}

#[test]
fn more_sockets_than_the_limit_are_refused() {
    let mut sockets = sockets(1);
    let bind = |socket| NetOutput::Bind { socket, at: at("0.0.0.0:0") };
    assert_eq!(sockets.open(Kind::Udp(Udp::new(true)), bind), Ok(1));
    let refused = sockets.open(Kind::Udp(Udp::new(true)), bind).unwrap_err();
    assert!(refused.starts_with("limit sockets (1) exceeded"), "{refused}");
    sockets.close(1, false);
    assert_eq!(sockets.open(Kind::Udp(Udp::new(true)), bind), Ok(2));
}

/// A table with one open UDP socket.
fn with_udp(listens: bool) -> Sockets {
    let mut sockets = sockets(8);
    let bind = |socket| NetOutput::Bind { socket, at: at("0.0.0.0:0") };
    sockets.open(Kind::Udp(Udp::new(listens)), bind).unwrap();
    sockets.happened(id(1), NetEvent::Opened { local: at("0.0.0.0:5060"), peer: None, protocol: None });
    outputs(&mut sockets);
    sockets
}

fn datagram(from: &str) -> Datagram<'static> {
    Datagram { from: at(from), to: Some("192.0.2.1".parse().unwrap()), bytes: b"ping" }
}

#[test]
fn who_wrote_to_a_listening_socket_may_be_answered_from_the_same_address_and_others_not() {
    let mut sockets = with_udp(true);
    let allowed = allowed(&["udp:5060"], &[]);
    let refused = sockets.send(&allowed, &|_| false, 1, b"x", at("192.0.2.9:4000"), None).unwrap_err();
    assert!(refused.contains("connect = [\"udp:192.0.2.9:4000\"]"), "{refused}");
    assert_eq!(sockets.happened(id(1), NetEvent::Datagrams(&[datagram("192.0.2.9:4000")])).len(), 1);
    assert_eq!(sockets.send(&allowed, &|_| false, 1, b"pong", at("192.0.2.9:4000"), None), Ok(true));
    let NetOutput::Send { from, to, .. } = outputs(&mut sockets).remove(0) else { panic!("it is sent") };
    assert_eq!((from, to), (Some("192.0.2.1".parse().unwrap()), at("192.0.2.9:4000")));
    let foreign = Some("198.51.100.1".parse().unwrap());
    let refused = sockets.send(&allowed, &|_| false, 1, b"x", at("192.0.2.9:4000"), foreign).unwrap_err();
    assert!(refused.contains("answer_for"), "{refused}");
}

#[test]
fn strangers_cannot_write_to_a_socket_that_does_not_listen() {
    let mut sockets = with_udp(false);
    let allowed = allowed(&[], &["udp:192.0.2.9:4000"]);
    assert!(sockets.happened(id(1), NetEvent::Datagrams(&[datagram("192.0.2.9:4000")])).is_empty());
    assert_eq!((sockets.take_datagram(1), sockets.take_dropped()), (None, Dropped::default()));
    assert_eq!(sockets.send(&allowed, &|_| false, 1, b"hello", at("192.0.2.9:4000"), None), Ok(true));
    let two = [datagram("192.0.2.9:4000"), datagram("192.0.2.10:4000")];
    assert_eq!(sockets.happened(id(1), NetEvent::Datagrams(&two)).as_slice(), [read_key(1)]);
    assert_eq!(sockets.take_datagram(1).unwrap().from, at("192.0.2.9:4000"));
    assert_eq!(sockets.take_datagram(1), None);
}

#[test]
fn datagrams_beyond_the_bounds_are_dropped_and_counted() {
    let mut sockets = with_udp(true);
    let many: Vec<_> = (0..SOCKET_DATAGRAMS_MAX + 5).map(|_| datagram("192.0.2.9:4000")).collect();
    sockets.happened(id(1), NetEvent::Datagrams(&many));
    let allowed = allowed(&["udp:5060"], &[]);
    let sent = (0..SOCKET_OUTPUTS_MAX + 5)
        .filter(|_| sockets.send(&allowed, &|_| false, 1, b"x", at("192.0.2.9:4000"), None) == Ok(true))
        .count();
    let waiting = std::iter::from_fn(|| sockets.take_datagram(1)).count();
    assert_eq!((waiting, sent), (SOCKET_DATAGRAMS_MAX, SOCKET_OUTPUTS_MAX));
    assert_eq!(sockets.take_dropped(), Dropped { sockets: 0, datagrams: 10 });
    assert_eq!(sockets.take_dropped(), Dropped::default());
}

#[test]
fn a_rule_for_a_name_holds_for_its_addresses_but_not_for_those_of_this_machine() {
    let mut sockets = with_udp(false);
    let allowed = allowed(&[], &["udp:stun.example.org:3478"]);
    sockets.names.learn("STUN.example.org.", vec!["192.0.2.7".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
    assert_eq!(sockets.send(&allowed, &|_| false, 1, b"x", at("192.0.2.7:3478"), None), Ok(true));
    assert!(sockets.send(&allowed, &|_| false, 1, b"x", at("192.0.2.7:3479"), None).is_err());
    assert!(sockets.send(&allowed, &|_| false, 1, b"x", at("127.0.0.1:3478"), None).is_err());
}

#[test]
fn a_rule_for_a_name_does_not_hold_for_the_machine_itself_and_its_site() {
    let mut sockets = with_udp(false);
    let allowed = allowed(&[], &["udp:evil.example:9"]);
    let addresses = ["192.0.2.7", "127.0.0.1", "192.168.1.1", "::ffff:10.0.0.1", "0.0.0.0", "198.51.100.1"];
    sockets.names.learn("evil.example", addresses.iter().map(|text| text.parse().unwrap()).collect());
    let is_own = |address: std::net::IpAddr| address.to_string() == "198.51.100.1";
    let mut may = |text: &str| {
        let to = SocketAddr::new(text.parse().unwrap(), 9);
        sockets.send(&allowed, &is_own, 1, b"x", to, None).is_ok()
    };
    assert_eq!(addresses.map(&mut may), [true, false, false, false, false, false]);
}

#[test]
fn what_waits_for_peers_that_do_not_read_is_bounded_by_the_instances_memory() {
    let mut sockets = with_stream();
    sockets.waiting_bytes_max = 1 << 20;
    assert_eq!(sockets.may_write(1, SOCKET_HIGH_WATER_BYTES + (1 << 20)), Ok(()));
    assert!(
        sockets.may_write(1, SOCKET_HIGH_WATER_BYTES + (1 << 20) + 1).unwrap_err().starts_with("limit memory_bytes")
    );
    sockets.write(1, &vec![0; SOCKET_HIGH_WATER_BYTES + (1 << 20)]).unwrap();
    assert!(sockets.may_write(1, 1).is_err());
    outputs(&mut sockets);
    sockets.happened(id(1), NetEvent::Drained);
    assert_eq!(sockets.may_write(1, 1), Ok(()));
}

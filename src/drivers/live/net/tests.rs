use std::net::IpAddr;

use mio::{Events, Poll};

use super::*;
use crate::base::limits::SOCKET_HIGH_WATER_BYTES;
use crate::base::net::Family;

const A: InstanceId = InstanceId(1);

/// Sockets in a loop, and what they told.
struct World {
    poll: Poll,
    net: NetSockets,
    now: Instant,
    told: Vec<(u32, String)>,
    received: BTreeMap<u32, Vec<u8>>,
    accepted: Vec<SocketId>,
    local: BTreeMap<u32, SocketAddr>,
}

fn id(number: u32) -> SocketId {
    SocketId { instance: A, number }
}

impl World {
    fn new() -> World {
        let poll = Poll::new().unwrap();
        let net = NetSockets::new(poll.registry(), 10, Token(5)).unwrap();
        World {
            poll,
            net,
            now: Instant::START,
            told: Vec::new(),
            received: BTreeMap::new(),
            accepted: Vec::new(),
            local: BTreeMap::new(),
        }
    }

    fn turn(&mut self) {
        let mut events = Events::with_capacity(64);
        let wait = if self.net.has_more() { Duration::ZERO } else { Duration::from_millis(20) };
        self.poll.poll(&mut events, Some(wait)).unwrap();
        self.now += Duration::from_millis(1);
        events.iter().filter(|event| event.token().0 >= 10).for_each(|event| self.net.ready(event.token().0));
        self.net.expire(self.now);
        let (told, received) = (&mut self.told, &mut self.received);
        let (accepted, local) = (&mut self.accepted, &mut self.local);
        while self.net.next_event(self.now, |socket, event| {
            let text = match event {
                NetEvent::Opened { local: at, .. } => {
                    local.insert(socket.number, at);
                    "opened".to_owned()
                }
                NetEvent::Accepted { stream, .. } => {
                    accepted.push(stream);
                    "accepted".to_owned()
                }
                NetEvent::Received(bytes) => {
                    received.entry(socket.number).or_default().extend_from_slice(bytes);
                    return;
                }
                NetEvent::Datagrams(datagrams) => {
                    let all = received.entry(socket.number).or_default();
                    datagrams.iter().for_each(|datagram| all.extend_from_slice(datagram.bytes));
                    return;
                }
                NetEvent::Drained => "drained".to_owned(),
                NetEvent::Finished => "finished".to_owned(),
                NetEvent::Closed { reason } => reason,
                NetEvent::Resolved(result) => format!("{result:?}"),
            };
            told.push((socket.number, text));
        }) {}
    }

    /// Goes on until this was told of a socket.
    fn until(&mut self, number: u32, text: &str) {
        for _ in 0..1_000 {
            if self.told.iter().any(|(of, told)| *of == number && told == text) {
                return;
            }
            self.turn();
        }
        panic!("{number} was never told \"{text}\", but {:?}", self.told);
    }

    fn perform(&mut self, output: NetOutput) {
        self.net.perform(output, self.now);
    }

    /// Listens as 1, connects as 2; answers the accepted stream.
    fn connected(&mut self) -> SocketId {
        let at = "127.0.0.1:0".parse().unwrap();
        self.perform(NetOutput::Listen { socket: id(1), at, security: Security::Plain });
        self.until(1, "opened");
        let to = self.local[&1];
        self.perform(NetOutput::Connect { socket: id(2), to, security: Security::Plain });
        self.until(2, "opened");
        self.until(1, "accepted");
        self.accepted[0]
    }
}

#[test]
fn a_paused_stream_is_not_read_and_its_writer_is_told_when_little_is_left() {
    let mut world = World::new();
    let accepted = world.connected();
    world.perform(NetOutput::Pause(accepted));
    let pieces = 200;
    for _ in 0..pieces {
        world.perform(NetOutput::Write { socket: id(2), bytes: vec![1; SOCKET_HIGH_WATER_BYTES] });
    }
    (0..20).for_each(|_| world.turn());
    assert_eq!(world.received.get(&accepted.number), None);
    assert!(!world.told.contains(&(2, "drained".to_owned())));
    world.perform(NetOutput::Resume(accepted));
    world.until(2, "drained");
    while world.received[&accepted.number].len() < pieces * SOCKET_HIGH_WATER_BYTES {
        world.turn();
    }
}

#[test]
fn ends_are_told_in_order_and_an_abort_breaks_off() {
    let mut world = World::new();
    let accepted = world.connected();
    world.perform(NetOutput::Write { socket: id(2), bytes: b"last words".to_vec() });
    world.perform(NetOutput::Finish(id(2)));
    world.until(accepted.number, "finished");
    assert_eq!(world.received[&accepted.number], b"last words");
    world.perform(NetOutput::Write { socket: accepted, bytes: b"answer".to_vec() });
    world.perform(NetOutput::Finish(accepted));
    world.until(2, "both sides have finished");
    assert_eq!(world.received[&2], b"answer");

    let mut world = World::new();
    let accepted = world.connected();
    world.perform(NetOutput::Close { socket: accepted, abort: true });
    world.until(2, "the peer broke it off");
    world.perform(NetOutput::CloseAll(A));
    assert_eq!((world.net.places.len(), world.net.free.len()), (0, world.net.sockets.len()));
}

#[test]
fn what_was_written_before_closing_arrives() {
    let mut world = World::new();
    let accepted = world.connected();
    let bytes = vec![3; 1_000_000];
    world.perform(NetOutput::Write { socket: id(2), bytes: bytes.clone() });
    world.perform(NetOutput::Close { socket: id(2), abort: false });
    world.until(accepted.number, "finished");
    assert!(world.received[&accepted.number] == bytes);
}

#[test]
fn a_listener_and_a_udp_socket_go_on_in_other_hands() {
    let mut world = World::new();
    world.connected();
    world.perform(NetOutput::Bind { socket: id(3), at: "127.0.0.1:0".parse().unwrap() });
    world.until(3, "opened");
    let (to, udp) = (world.local[&1], world.local[&3]);
    let new = |number| SocketId { instance: InstanceId(2), number };
    world.perform(NetOutput::HandOver { from: id(1), to: new(11) });
    world.perform(NetOutput::HandOver { from: id(3), to: new(13) });
    world.perform(NetOutput::CloseAll(A));
    world.perform(NetOutput::Connect { socket: new(14), to, security: Security::Plain });
    world.until(14, "opened");
    world.until(11, "accepted");
    world.perform(NetOutput::Bind { socket: new(15), at: "127.0.0.1:0".parse().unwrap() });
    for number in 0..50 {
        // Alike ones go out together, the shorter last one too.
        let bytes = vec![number; if number == 49 { 10 } else { 100 }];
        world.perform(NetOutput::Send { socket: new(15), from: None, to: udp, bytes });
    }
    while world.received.get(&13).is_none_or(|bytes| bytes.len() < 4_910) {
        world.turn();
    }
}

#[test]
fn names_are_looked_up_and_forgotten_with_their_instance() {
    let mut world = World::new();
    let resolve = |number| NetOutput::Resolve { query: id(number), name: "127.0.0.1".to_owned(), family: Family::V4 };
    world.perform(resolve(1));
    let localhost: IpAddr = "127.0.0.1".parse().unwrap();
    world.until(1, &format!("{:?}", Ok::<_, String>(vec![localhost])));
    world.perform(resolve(2));
    world.perform(NetOutput::CloseAll(A));
    (0..10).for_each(|_| world.turn());
    assert!(!world.told.iter().any(|(of, _)| *of == 2));
}

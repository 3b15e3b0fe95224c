//! Behind `@netserv/http`: servers and clients of HTTP/1.1 on top of the streams of `@netserv/tcp` and `@netserv/tls`.
//!
//! A listener that a module makes a server's, and the streams that it accepts, are read here: module code is woken once
//! for a request, not for its bytes. Tasks wait for a listener's read key (a request is there), and for a stream's read key
//! (more of a body) and write key (room for more of a response).

use std::collections::{BTreeMap, VecDeque};

use crate::base::limits::{
    HTTP_BODY_BYTES_DEFAULT, HTTP_BODY_RATE_DEFAULT, HTTP_FIELDS_MAX, HTTP_HEAD_BYTES_DEFAULT, HTTP_HEAD_BYTES_MAX,
    HTTP_HEAD_WAIT_DEFAULT, HTTP_IDLE_DEFAULT, HTTP_REQUESTS_DEFAULT, HTTP_TARGET_BYTES_MAX, HTTP_TICK,
    HTTP_WRITE_WAIT_MAX,
};
use crate::base::time::{Instant, WallTime};
use crate::blocks::http::client::ClientConnection;
use crate::blocks::http::head::{HeadLimits, RequestHead};
use crate::blocks::http::server::{End, ServerConnection, ServerLimits};
use crate::container::api::sockets::{Keys, Sockets, State, Taken, read_key, write_key};
use crate::container::instance::Effect;
use crate::container::vm::host::Host;

mod block;
mod clients;
mod servers;

pub(crate) use block::BLOCK;

/// The HTTP servers and clients of one instance.
#[derive(Default)]
pub(crate) struct Http {
    /// By the number of the listener.
    servers: BTreeMap<u32, Server>,
    /// By the number of the stream.
    connections: BTreeMap<u32, Connection>,
    clients: BTreeMap<u32, ClientConnection>,
    /// The timer that looks for what takes too long, while there are connections.
    tick: Option<u32>,
    /// Bytes that all connections hold together.
    held: usize,
    /// What they may hold: [`HTTP_HELD_PART`] of the instance's memory.
    held_max: usize,
    /// Connections whose heads were not read because there was no room.
    starved: bool,
}

/// Which part of `limits.memory_bytes` the requests may take that are kept outside of the VM: one in so many.
const HTTP_HELD_PART: u64 = 4;

struct Server {
    limits: ServerLimits,
    /// Connections whose request waits to be handled.
    ready: VecDeque<u32>,
    /// It takes no further connections.
    drains: bool,
}

/// A stream that a server accepted.
struct Connection {
    listener: u32,
    machine: ServerConnection,
    /// The head of the last request.
    head: Option<RequestHead>,
    /// Since when there has been no room for more of a response.
    full_since: Option<Instant>,
    told_finish: bool,
    /// What of [`Http::held`] is its own.
    held: usize,
}

/// The time of the call at hand.
#[derive(Clone, Copy)]
struct Clock {
    now: Instant,
    wall: WallTime,
}

impl Clock {
    fn of(host: &Host) -> Clock {
        let now = host.now.get();
        Clock { now, wall: host.wall.at(now) }
    }
}

const HEAD_LIMITS: HeadLimits = HeadLimits {
    bytes_max: HTTP_HEAD_BYTES_DEFAULT,
    fields_max: HTTP_FIELDS_MAX,
    target_bytes_max: HTTP_TARGET_BYTES_MAX,
};

const SERVER_LIMITS: ServerLimits = ServerLimits {
    head: HEAD_LIMITS,
    body_bytes_max: HTTP_BODY_BYTES_DEFAULT,
    head_wait: HTTP_HEAD_WAIT_DEFAULT,
    idle_wait: HTTP_IDLE_DEFAULT,
    body_rate: HTTP_BODY_RATE_DEFAULT,
    requests_max: HTTP_REQUESTS_DEFAULT,
};

/// Something happened to a socket. `keys` are what may wait for it; answers what is to be woken in their place.
pub(crate) fn happened(host: &Host, number: u32, keys: Keys) -> Keys {
    let mut http = host.http.borrow_mut();
    if !http.has_servers() {
        return keys;
    }
    let mut sockets = host.sockets.borrow_mut();
    let clock = Clock::of(host);
    if http.connections.contains_key(&number) {
        if keys.contains(&write_key(number)) {
            http.drained(number);
        }
        let woken = http.pump(&mut sockets, clock, number);
        let waits_for_room = keys.contains(&write_key(number)).then(|| write_key(number));
        return woken.into_iter().chain(waits_for_room).collect();
    }
    if http.servers.contains_key(&number) {
        let mut woken = http.accept(&mut sockets, clock, number);
        if !matches!(sockets.state(number), State::Open) {
            woken.push(read_key(number));
        }
        drop(sockets);
        http.keep_ticking(host);
        return woken;
    }
    keys
}

/// Ends what has taken too long; answers the keys to wake.
pub(crate) fn tick(host: &Host) -> Keys {
    let mut http = host.http.borrow_mut();
    http.tick = None;
    let clock = Clock::of(host);
    let mut sockets = host.sockets.borrow_mut();
    let numbers: Vec<u32> = http.connections.keys().copied().collect();
    let mut woken = Keys::new();
    for number in numbers {
        let Some(connection) = http.connections.get_mut(&number) else { continue };
        if connection.full_since.is_some_and(|since| clock.now.since(since) >= HTTP_WRITE_WAIT_MAX) {
            connection.machine.abandon();
        } else if connection.machine.deadline().is_some_and(|deadline| deadline <= clock.now) {
            connection.machine.expire(clock.now, clock.wall);
        } else {
            continue;
        }
        woken.extend([read_key(number), write_key(number)]);
        woken.extend(http.pump(&mut sockets, clock, number));
    }
    let count = http.connections.len() + http.servers.len() + http.clients.len();
    let starved = std::mem::take(&mut http.starved);
    if starved || count >= host.manifest.limits.sockets as usize {
        http.make_room(&mut sockets, clock);
    }
    if starved {
        let numbers: Vec<u32> = http.connections.keys().copied().collect();
        for number in numbers {
            woken.extend(http.pump(&mut sockets, clock, number));
        }
    }
    drop(sockets);
    http.keep_ticking(host);
    woken
}

/// Whether a timer is that of [`tick`].
pub(crate) fn is_tick(host: &Host, timer: u32) -> bool {
    host.http.borrow().tick == Some(timer)
}

impl Http {
    /// No servers yet. The instance may use so much memory.
    pub(crate) fn new(memory_bytes: u64) -> Http {
        Http { held_max: (memory_bytes / HTTP_HELD_PART) as usize, ..Http::default() }
    }

    /// Bytes that the connections of its servers hold, outside of the VM.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held
    }

    /// Whether there is a server, or was one whose connections go on.
    pub(crate) fn has_servers(&self) -> bool {
        !(self.servers.is_empty() && self.connections.is_empty())
    }

    /// Takes in all streams that the listener has accepted.
    fn accept(&mut self, sockets: &mut Sockets, clock: Clock, listener: u32) -> Keys {
        let mut woken = Keys::new();
        let Some(limits) = self.servers.get(&listener).map(|server| server.limits) else { return woken };
        while let Some(stream) = sockets.accept(listener) {
            let machine = ServerConnection::new(limits, clock.now);
            let connection =
                Connection { listener, machine, head: None, full_since: None, told_finish: false, held: 0 };
            self.connections.insert(stream, connection);
            woken.extend(self.pump(sockets, clock, stream));
        }
        woken
    }

    /// There is room again.
    fn drained(&mut self, number: u32) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.full_since = None;
        }
    }

    /// Carries bytes between a stream and its machine, both ways, until nothing more moves. Answers the keys to wake.
    fn pump(&mut self, sockets: &mut Sockets, clock: Clock, number: u32) -> Keys {
        let mut woken = Keys::new();
        loop {
            let Some(connection) = self.connections.get_mut(&number) else { return woken };
            let was_reading = connection.machine.request_number().is_some();
            let mut moved = false;
            // Those who send heads have to wait while others hold all the room that there is.
            let wants_input = connection.machine.wants_input();
            let has_room = self.held < self.held_max || !connection.machine.reads_head();
            self.starved |= wants_input && !has_room;
            if wants_input && has_room {
                match sockets.take_received(number, connection.machine.input_bytes_max()) {
                    Taken::Bytes(bytes) => {
                        connection.machine.receive(clock.now, &bytes);
                        moved = true;
                    }
                    Taken::Nothing => {}
                    Taken::Ended => {
                        connection.machine.end_input(clock.now);
                        moved = true;
                    }
                    Taken::Failed(_) => return self.lost(sockets, number),
                }
                if moved && was_reading {
                    woken.push(read_key(number));
                }
            } else if matches!(sockets.state(number), State::Closed(_)) {
                return self.lost(sockets, number);
            }
            // A client that does not read its responses gets no further ones.
            if connection.full_since.is_none()
                && let Some(head) = connection.machine.next_request(clock.now, clock.wall)
            {
                connection.head = Some(head);
                let listener = connection.listener;
                if let Some(server) = self.servers.get_mut(&listener) {
                    server.ready.push_back(number);
                    woken.push(read_key(listener));
                } else {
                    connection.machine.abandon();
                }
            }
            if !self.flush(sockets, clock, number) {
                return woken;
            }
            if !moved {
                return woken;
            }
        }
    }

    /// Sends what the machine wrote, and ends the stream if the machine has. Whether the stream is still there.
    fn flush(&mut self, sockets: &mut Sockets, clock: Clock, number: u32) -> bool {
        let Some(connection) = self.connections.get_mut(&number) else { return false };
        let output = connection.machine.take_output();
        if !output.is_empty() && sockets.write(number, &output) == Ok(false) {
            connection.full_since.get_or_insert(clock.now);
        }
        let (is_over, aborts) = match connection.machine.end() {
            End::Not => (false, false),
            End::Finish => {
                if !std::mem::replace(&mut connection.told_finish, true) {
                    sockets.finish(number);
                }
                (false, false)
            }
            End::Close => (true, false),
            End::Abort => (true, true),
        };
        if is_over {
            sockets.close(number, aborts);
            self.forget(number);
        } else {
            self.weigh(number);
        }
        !is_over
    }

    /// Counts what a connection holds now.
    fn weigh(&mut self, number: u32) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if connection.machine.reads_head() {
            connection.head = None;
        }
        let head = connection.head.as_ref().map_or(0, |head| head.fields.head_bytes());
        let held = CONNECTION_BYTES + connection.machine.held_bytes() + head;
        self.held = self.held + held - std::mem::replace(&mut connection.held, held);
    }

    /// A stream broke. Whoever waits for it is woken.
    fn lost(&mut self, sockets: &mut Sockets, number: u32) -> Keys {
        sockets.close(number, true);
        self.forget(number);
        Keys::from_slice(&[read_key(number), write_key(number)])
    }

    fn forget(&mut self, number: u32) {
        let Some(connection) = self.connections.remove(&number) else { return };
        self.held -= connection.held;
        if let Some(server) = self.servers.get_mut(&connection.listener) {
            server.ready.retain(|other| *other != number);
        }
        self.forget_server(connection.listener);
    }

    /// Forgets a server that takes no further connections, once it has none.
    fn forget_server(&mut self, listener: u32) {
        let is_used = || self.connections.values().any(|connection| connection.listener == listener);
        if self.servers.get(&listener).is_some_and(|server| server.drains) && !is_used() {
            self.servers.remove(&listener);
        }
    }

    /// The instance has all the sockets that it may have, so nobody else can connect: some of those who say nothing go,
    /// the longest silent first.
    fn make_room(&mut self, sockets: &mut Sockets, clock: Clock) {
        let idle = self.connections.iter().filter_map(|(number, c)| Some((c.machine.idle_since()?, *number)));
        let mut idle: Vec<(Instant, u32)> = idle.filter(|(since, _)| clock.now.since(*since) >= HTTP_TICK).collect();
        idle.sort_unstable();
        for (_, number) in &idle[..idle.len().div_ceil(4)] {
            sockets.close(*number, false);
            self.forget(*number);
        }
    }

    /// Sets the timer of [`tick`] if there is something to look at.
    fn keep_ticking(&mut self, host: &Host) {
        if self.tick.is_some() || self.connections.is_empty() {
            return;
        }
        let mut timers = host.timers.borrow_mut();
        self.tick = Some(timers.add_own(host.now.get(), HTTP_TICK));
        if let Some(wakeup) = timers.wakeup(host.now.get()) {
            let effect = Effect::SetTimer { number: wakeup.number, delay: wakeup.delay };
            host.effects.borrow_mut().add_always(effect);
        }
    }
}

/// Bytes of a connection without what it holds, about.
const CONNECTION_BYTES: usize = 512;

/// Bounds that a module may ask for.
fn head_bytes(wish: f64) -> Result<usize, String> {
    if (1024.0..=HTTP_HEAD_BYTES_MAX as f64).contains(&wish) {
        return Ok(wish as usize);
    }
    Err(format!("head_bytes is a number from 1024 to {HTTP_HEAD_BYTES_MAX}, not {wish}"))
}

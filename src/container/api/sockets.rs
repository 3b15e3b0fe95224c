//! The sockets of one instance, as its code sees them: what came and was not read yet, and what is still to go out.
//!
//! Blocks call this from their natives, in Luau's name (`tcp`, `udp`, `dns`) or to take a stream's bytes themselves. A
//! native never waits: it answers that there is nothing, the Luau side waits by `shared.wait_for(key)`, and
//! [`Sockets::happened`] answers the keys to wake: [`read_key`] when there may be something to read (a stream to
//! accept, an answer, an end), [`write_key`] when there is room again.
//!
//! What a native block does with a stream:
//!
//! 1. [`listen`] or [`connect`] with the host, which checks permissions and limits; or [`Sockets::accept`].
//! 2. [`Sockets::state`] until it is open.
//! 3. [`Sockets::take_received`]; what is left keeps the peer from sending more than
//!    [`SOCKET_HIGH_WATER_BYTES`].
//! 4. [`Sockets::write`], until it says that there is no more room; then wait for [`write_key`].
//! 5. [`Sockets::finish`], [`Sockets::close`].

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use smallvec::SmallVec;

use crate::base::id::InstanceId;
use crate::base::limits::{SOCKET_BACKLOG_MAX, SOCKET_OUTPUTS_MAX};
use crate::base::net::{NetEvent, NetOutput, SocketId};

pub(crate) use self::opening::{bind, connect, listen, resolve};
use self::stream::Stream;
pub(crate) use self::stream::Taken;
use self::udp::Udp;
use crate::container::api::names::Names;

mod opening;
mod stream;
#[cfg(test)]
mod tests;
mod udp;

/// What was lost or held back because there was no room, since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Datagrams, in either direction.
    pub(crate) datagrams: u64,
    /// Streams that found no place in the table, and times that a listener had to wait for one.
    pub(crate) sockets: u64,
}

/// How far a socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is being opened.
    Opening,
    Open,
    /// It is over, or there is no such socket; why. What came before can still be read.
    Closed(String),
}

/// What is known of an open socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) local: Option<SocketAddr>,
    pub(crate) peer: Option<SocketAddr>,
    /// The application protocol that TLS agreed on.
    pub(crate) protocol: Option<String>,
}

/// The keys that an event wakes.
pub(crate) type Keys = SmallVec<[f64; 2]>;

/// What a task waits for that waits for something to read from, or to happen to, a socket.
pub(crate) fn read_key(number: u32) -> f64 {
    f64::from(number) * 2.0
}

/// What a task waits for that waits for room to write.
pub(crate) fn write_key(number: u32) -> f64 {
    f64::from(number) * 2.0 + 1.0
}

/// The sockets of one instance.
pub(crate) struct Sockets {
    instance: InstanceId,
    count_max: usize,
    /// Bytes that may wait to be read in all streams together, and so many to be sent that they have no room for.
    waiting_bytes_max: u64,
    next_number: u32,
    sockets: BTreeMap<u32, Socket>,
    /// For the driver.
    outputs: VecDeque<NetOutput>,
    /// Streams and listeners that have something for the driver.
    dirty: VecDeque<u32>,
    dropped: Dropped,
    /// What names resolved to.
    pub(crate) names: Names,
}

struct Socket {
    state: State,
    ends: Ends,
    kind: Kind,
    /// It is in [`Sockets::dirty`].
    is_dirty: bool,
}

enum Kind {
    Listener(Listener),
    Stream(Stream),
    Udp(Udp),
    /// A look-up, with its name.
    Query(String),
}

#[derive(Default)]
struct Listener {
    accepted: VecDeque<u32>,
    is_paused: bool,
    /// What the driver was last told.
    told_paused: bool,
}

impl Sockets {
    /// `memory_bytes` is the instance's limit: no more than that waits outside of its VM to be read.
    pub(crate) fn new(instance: InstanceId, count_max: u32, memory_bytes: u64) -> Self {
        Sockets {
            instance,
            count_max: count_max as usize,
            waiting_bytes_max: memory_bytes,
            next_number: 1,
            sockets: BTreeMap::new(),
            outputs: VecDeque::new(),
            dirty: VecDeque::new(),
            dropped: Dropped::default(),
            names: Names::default(),
        }
    }

    /// What found no room since this was last asked.
    pub(crate) fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }

    /// How far a socket is.
    pub(crate) fn state(&self, number: u32) -> State {
        match self.sockets.get(&number) {
            Some(socket) => socket.state.clone(),
            None => State::Closed(CLOSED.to_owned()),
        }
    }

    /// What is known of a socket; nothing before it is open.
    pub(crate) fn ends(&self, number: u32) -> Ends {
        self.sockets.get(&number).map(|socket| socket.ends.clone()).unwrap_or_default()
    }

    /// Takes a stream that the listener accepted. `None` if there is none now, or it is no listener.
    pub(crate) fn accept(&mut self, listener: u32) -> Option<u32> {
        let accepted = match &mut self.sockets.get_mut(&listener)?.kind {
            Kind::Listener(listener) => listener.accepted.pop_front(),
            Kind::Stream(_) | Kind::Udp(_) | Kind::Query(_) => None,
        };
        self.regulate(listener);
        accepted
    }

    /// Takes at most `bytes_max` of the bytes that came. A stream that is over, and of which everything was taken, is
    /// forgotten once its end was answered.
    pub(crate) fn take_received(&mut self, number: u32, bytes_max: usize) -> Taken {
        self.take(number, |stream| stream.take(bytes_max).map(Taken::Bytes))
    }

    /// As [`Sockets::take_received`], but `count` bytes or none.
    pub(crate) fn take_exactly(&mut self, number: u32, count: usize) -> Taken {
        self.take(number, |stream| stream.take_exactly(count))
    }

    /// As [`Sockets::take_received`], but one line of at most `bytes_max` bytes, without its end.
    pub(crate) fn take_line(&mut self, number: u32, bytes_max: usize) -> Taken {
        self.take(number, |stream| stream.take_line(bytes_max))
    }

    /// Reads by `read`, which answers nothing while there is not enough.
    fn take(&mut self, number: u32, read: impl FnOnce(&mut Stream) -> Option<Taken>) -> Taken {
        let high_water = self.high_water();
        let Some((stream, socket_state)) = stream_of(&mut self.sockets, number) else {
            return Taken::Failed(CLOSED.to_owned());
        };
        let taken = read(stream);
        let is_open = *socket_state == State::Open;
        let answer = match (&taken, socket_state) {
            (Some(_), _) => None,
            _ if stream.is_finished => Some(stream.end()),
            (None, State::Open | State::Opening) => Some(Taken::Nothing),
            (None, State::Closed(reason)) => Some(Taken::Failed(reason.clone())),
        };
        let is_over = taken.is_none() && matches!(socket_state, State::Closed(_)) && stream.received().is_empty();
        if is_open && stream.wants_resume(high_water) {
            self.mark(number);
        }
        if is_over {
            self.sockets.remove(&number);
            self.regulate_all();
        }
        taken.or(answer).unwrap_or(Taken::Nothing)
    }

    /// Bytes that can be taken now.
    pub(crate) fn received_bytes(&self, number: u32) -> usize {
        match self.sockets.get(&number).map(|socket| &socket.kind) {
            Some(Kind::Stream(stream)) => stream.received().len(),
            _ => 0,
        }
    }

    /// Whether the peer has said that it writes nothing more.
    pub(crate) fn is_finished(&self, number: u32) -> bool {
        matches!(self.sockets.get(&number).map(|socket| &socket.kind), Some(Kind::Stream(s)) if s.is_finished)
    }

    /// Writes all of `bytes`; they go out when the call at hand is over. Answers whether more may be written now; if not,
    /// [`write_key`] is woken when it may.
    ///
    /// # Errors
    ///
    /// Why nothing can be written: it is over, was finished here, or is not open yet.
    pub(crate) fn write(&mut self, number: u32, bytes: &[u8]) -> Result<bool, String> {
        let Some((stream, socket_state)) = stream_of(&mut self.sockets, number) else {
            return Err(CLOSED.to_owned());
        };
        match socket_state {
            State::Closed(reason) => return Err(reason.clone()),
            State::Opening => return Err("it is not open yet".to_owned()),
            State::Open => {}
        }
        stream.write(bytes)?;
        let room = stream.room() > 0;
        self.mark(number);
        Ok(room)
    }

    /// Whether a stream may be given so much at once that it has no room for.
    ///
    /// # Errors
    ///
    /// When all that waits to be sent would be more than the instance may use of memory.
    pub(crate) fn may_write(&self, number: u32, bytes: usize) -> Result<(), String> {
        let excess = |socket: &Socket| if let Kind::Stream(stream) = &socket.kind { stream.excess() } else { 0 };
        let more = bytes.saturating_sub(self.room(number)) as u64;
        if more == 0 {
            return Ok(());
        }
        let waiting: u64 = self.sockets.values().map(|socket| excess(socket) as u64).sum();
        if waiting + more <= self.waiting_bytes_max {
            return Ok(());
        }
        Err(format!(
            "limit memory_bytes ({}) exceeded: too much waits for peers that do not read",
            self.waiting_bytes_max
        ))
    }

    /// Bytes that may be written before one should wait.
    pub(crate) fn room(&self, number: u32) -> usize {
        match self.sockets.get(&number).map(|socket| &socket.kind) {
            Some(Kind::Stream(stream)) => stream.room(),
            _ => 0,
        }
    }

    /// Says that nothing more is written to a stream. What was written still goes out.
    pub(crate) fn finish(&mut self, number: u32) {
        if let Some((stream, State::Open)) = stream_of(&mut self.sockets, number) {
            stream.finish();
            self.mark(number);
        }
    }

    /// Closes whatever it is. What was written to a stream still goes out, unless `abort`. Its number is free of meaning
    /// from here on. Nothing happens if it is gone already. Answers the keys of those who wait for it.
    pub(crate) fn close(&mut self, number: u32, abort: bool) -> Keys {
        let Some(mut socket) = self.sockets.remove(&number) else { return Keys::new() };
        let id = self.id(number);
        if let Kind::Stream(stream) = &mut socket.kind
            && let Some(bytes) = stream.take_pending().filter(|_| !abort)
        {
            self.outputs.push_back(NetOutput::Write { socket: id, bytes });
        }
        if let Kind::Listener(listener) = &socket.kind {
            for accepted in &listener.accepted {
                if self.sockets.remove(accepted).is_some() {
                    self.outputs.push_back(NetOutput::Close { socket: self.id(*accepted), abort: true });
                }
            }
        }
        if !matches!(socket.state, State::Closed(_)) {
            self.outputs.push_back(NetOutput::Close { socket: id, abort });
        }
        self.regulate_all();
        Keys::from_slice(&[read_key(number), write_key(number)])
    }

    /// What is for the driver, in order; until there is none.
    pub(crate) fn next_output(&mut self) -> Option<NetOutput> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        while let Some(number) = self.dirty.front().copied() {
            let id = self.id(number);
            if let Some(socket) = self.sockets.get_mut(&number) {
                let output = match &mut socket.kind {
                    Kind::Stream(stream) => stream.next_output(id),
                    Kind::Listener(listener) => listener.next_output(id),
                    Kind::Udp(_) | Kind::Query(_) => None,
                };
                if output.is_some() && !matches!(socket.state, State::Closed(_)) {
                    return output;
                }
                socket.is_dirty = false;
            }
            self.dirty.pop_front();
        }
        None
    }

    /// Takes in what happened; answers the keys of what may wait for it.
    pub(crate) fn happened(&mut self, id: SocketId, event: NetEvent<'_>) -> Keys {
        let number = id.number;
        let both = || Keys::from_slice(&[read_key(number), write_key(number)]);
        let high_water = self.high_water();
        if let NetEvent::Accepted { stream, local, peer, protocol } = event {
            let ends = Ends { local: Some(local), peer: Some(peer), protocol };
            return self.accepted(number, stream, ends);
        }
        let Some(socket) = self.sockets.get_mut(&number) else { return Keys::new() };
        match (event, &mut socket.kind) {
            (NetEvent::Opened { local, peer, protocol }, _) => {
                socket.state = State::Open;
                socket.ends = Ends { local: Some(local), peer, protocol };
                both()
            }
            (NetEvent::Received(bytes), Kind::Stream(stream)) => {
                if stream.receive(bytes, high_water) {
                    self.mark(number);
                }
                Keys::from_slice(&[read_key(number)])
            }
            (NetEvent::Datagrams(datagrams), Kind::Udp(udp)) => {
                let was_empty = udp.is_empty();
                let lost = datagrams.iter().filter(|datagram| !udp.receive(datagram)).count();
                self.dropped.datagrams += lost as u64;
                if was_empty && !udp.is_empty() { Keys::from_slice(&[read_key(number)]) } else { Keys::new() }
            }
            (NetEvent::Drained, Kind::Stream(stream)) => {
                stream.drained();
                Keys::from_slice(&[write_key(number)])
            }
            (NetEvent::Finished, Kind::Stream(stream)) => {
                stream.is_finished = true;
                Keys::from_slice(&[read_key(number)])
            }
            (NetEvent::Closed { reason }, _) => {
                socket.state = State::Closed(reason);
                both()
            }
            (NetEvent::Resolved(result), Kind::Query(name)) => {
                socket.state = match result {
                    Ok(addresses) => {
                        self.names.learn(name, addresses);
                        State::Open
                    }
                    Err(reason) => State::Closed(reason),
                };
                Keys::from_slice(&[read_key(number)])
            }
            // What does not belong to this kind of socket: the driver is wrong, or it is another socket by now.
            _ => Keys::new(),
        }
    }

    fn accepted(&mut self, listener: u32, stream: SocketId, ends: Ends) -> Keys {
        let has_room = self.sockets.len() < self.count_max;
        let is_listener = matches!(self.sockets.get(&listener).map(|socket| &socket.kind), Some(Kind::Listener(_)));
        if !has_room || !is_listener {
            self.dropped.sockets += 1;
            self.outputs.push_back(NetOutput::Close { socket: stream, abort: true });
            return Keys::new();
        }
        let kind = Kind::Stream(Stream::default());
        self.sockets.insert(stream.number, Socket { state: State::Open, ends, kind, is_dirty: false });
        if let Some(Kind::Listener(listener)) = self.sockets.get_mut(&listener).map(|socket| &mut socket.kind) {
            listener.accepted.push_back(stream.number);
        }
        self.regulate(listener);
        Keys::from_slice(&[read_key(listener)])
    }

    /// Lets a listener go on, or wait, as there is room for more streams.
    fn regulate(&mut self, number: u32) {
        let is_full = self.sockets.len() >= self.count_max;
        let Some(Kind::Listener(listener)) = self.sockets.get_mut(&number).map(|socket| &mut socket.kind) else {
            return;
        };
        let waited =
            std::mem::replace(&mut listener.is_paused, is_full || listener.accepted.len() >= SOCKET_BACKLOG_MAX);
        self.dropped.sockets += u64::from(is_full && !waited);
        if listener.is_paused != listener.told_paused {
            self.mark(number);
        }
    }

    fn regulate_all(&mut self) {
        let is_listener = |socket: &Socket| matches!(&socket.kind, Kind::Listener(listener) if listener.told_paused);
        let paused: Vec<u32> = self.sockets.iter().filter(|(_, s)| is_listener(s)).map(|(number, _)| *number).collect();
        for number in paused {
            self.regulate(number);
        }
    }

    /// There is something for the driver.
    fn mark(&mut self, number: u32) {
        if let Some(socket) = self.sockets.get_mut(&number)
            && !std::mem::replace(&mut socket.is_dirty, true)
        {
            self.dirty.push_back(number);
        }
    }

    /// Puts a socket into the table and asks the driver for it.
    fn open(&mut self, kind: Kind, output: impl FnOnce(SocketId) -> NetOutput) -> Result<u32, String> {
        if self.sockets.len() >= self.count_max {
            return Err(format!(
                "limit sockets ({}) exceeded; close what is no longer needed, or raise it in module.toml",
                self.count_max
            ));
        }
        // Closing all that there are leaves room to open some.
        if self.outputs.len() >= SOCKET_OUTPUTS_MAX + 2 * self.count_max || self.next_number >= SocketId::ACCEPTED {
            return Err("too many sockets are opened and closed at once".to_owned());
        }
        let number = self.next_number;
        self.next_number += 1;
        let socket = Socket { state: State::Opening, ends: Ends::default(), kind, is_dirty: false };
        self.sockets.insert(number, socket);
        self.outputs.push_back(output(self.id(number)));
        Ok(number)
    }

    fn id(&self, number: u32) -> SocketId {
        SocketId { instance: self.instance, number }
    }

    /// Bytes that may wait in one stream: an equal part of what may wait in all.
    fn high_water(&self) -> usize {
        stream::high_water(self.waiting_bytes_max, self.sockets.len())
    }
}

impl Listener {
    fn next_output(&mut self, id: SocketId) -> Option<NetOutput> {
        if self.is_paused == self.told_paused {
            return None;
        }
        self.told_paused = self.is_paused;
        Some(if self.is_paused { NetOutput::Pause(id) } else { NetOutput::Resume(id) })
    }
}

fn stream_of(sockets: &mut BTreeMap<u32, Socket>, number: u32) -> Option<(&mut Stream, &State)> {
    let socket = sockets.get_mut(&number)?;
    match &mut socket.kind {
        Kind::Stream(stream) => Some((stream, &socket.state)),
        Kind::Listener(_) | Kind::Udp(_) | Kind::Query(_) => None,
    }
}

/// Why there is nothing more to a socket whose number means nothing.
const CLOSED: &str = "it is closed";

//! The network around a test's node: sockets of the module in memory, and those of the script outside.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::base::limits::{PACKET_BYTES_MAX, SCRIPT_SOCKETS_MAX, SCRIPT_STREAM_BYTES_MAX};
use crate::base::net::{NetEvent, NetOutput, Security, SocketId};
use crate::container::script::{NetAnswer, NetOp};
use crate::drivers::loopback_net::{LoopbackNet, OUTSIDE};

/// The network, and what the script has not read yet.
#[derive(Default)]
pub(super) struct TestNet {
    pub(super) net: LoopbackNet,
    pub(super) outside: Outsides,
}

/// The sockets of the script.
#[derive(Default)]
pub(super) struct Outsides {
    sockets: BTreeMap<u32, Outside>,
    next_number: u32,
    /// Datagrams that the script has not taken in time.
    lost: u64,
}

/// A socket of the script.
#[derive(Default)]
struct Outside {
    received: Vec<u8>,
    accepted: VecDeque<u32>,
    datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
    is_open: bool,
    ended: Option<String>,
}

fn id(number: u32) -> SocketId {
    SocketId { instance: OUTSIDE, number }
}

impl TestNet {
    /// Begins what the script asks for. Returns the socket that it opens.
    pub(super) fn begin(&mut self, op: &NetOp) -> Result<Option<u32>, String> {
        let output = match op.clone() {
            NetOp::SetName(name, addresses) => {
                self.net.set_name(&name, addresses);
                return Ok(None);
            }
            NetOp::Connect { from, to } => {
                let number = self.outside.open()?;
                self.net.connect(id(number), Some(from), to, &Security::Plain);
                return Ok(Some(number));
            }
            NetOp::Listen(at) => {
                let number = self.outside.open()?;
                self.net.perform(NetOutput::Listen { socket: id(number), at, security: Security::Plain });
                return Ok(Some(number));
            }
            NetOp::Bind(at) => {
                let number = self.outside.open()?;
                self.net.perform(NetOutput::Bind { socket: id(number), at });
                return Ok(Some(number));
            }
            NetOp::Accept(_) | NetOp::Read(_) | NetOp::Receive(_) => return Ok(None),
            NetOp::Write(_, bytes) | NetOp::Send(_, _, bytes) if bytes.len() > SCRIPT_STREAM_BYTES_MAX => {
                return Err(format!("at most {SCRIPT_STREAM_BYTES_MAX} bytes at once, not {}", bytes.len()));
            }
            NetOp::Write(number, bytes) => NetOutput::Write { socket: id(number), bytes },
            NetOp::Send(_, _, bytes) if bytes.len() > PACKET_BYTES_MAX - 28 => {
                return Err(format!("a datagram has at most {} bytes", PACKET_BYTES_MAX - 28));
            }
            NetOp::Send(number, to, bytes) => NetOutput::Send { socket: id(number), from: None, to, bytes },
            NetOp::Finish(number) => NetOutput::Finish(id(number)),
            NetOp::Close(number, abort) => {
                self.outside.sockets.remove(&number);
                NetOutput::Close { socket: id(number), abort }
            }
        };
        self.net.perform(output);
        Ok(None)
    }
}

impl Outsides {
    fn open(&mut self) -> Result<u32, String> {
        if self.sockets.len() >= SCRIPT_SOCKETS_MAX {
            return Err(format!("a node of a test has at most {SCRIPT_SOCKETS_MAX} sockets around it; close some"));
        }
        self.next_number += 1;
        self.sockets.insert(self.next_number, Outside::default());
        Ok(self.next_number)
    }

    /// What the script is told once the node has come to rest.
    pub(super) fn answer(&mut self, op: &NetOp, opened: Option<u32>) -> NetAnswer {
        match op {
            NetOp::Connect { .. } | NetOp::Listen(_) | NetOp::Bind(_) => {
                let Some(number) = opened else { return NetAnswer::Nothing };
                match self.sockets.get(&number) {
                    Some(Outside { is_open: false, ended: Some(reason), .. }) => {
                        let reason = reason.clone();
                        self.sockets.remove(&number);
                        NetAnswer::Failed(reason)
                    }
                    Some(_) | None => NetAnswer::Socket(number),
                }
            }
            NetOp::Accept(number) => {
                let accepted = self.sockets.get_mut(number).and_then(|socket| socket.accepted.pop_front());
                accepted.map_or(NetAnswer::Nothing, NetAnswer::Socket)
            }
            NetOp::Read(number) => match self.sockets.get_mut(number) {
                Some(socket) => NetAnswer::Bytes(std::mem::take(&mut socket.received), socket.ended.clone()),
                None => NetAnswer::Bytes(Vec::new(), Some("it is closed".to_owned())),
            },
            NetOp::Receive(number) => {
                let datagram = self.sockets.get_mut(number).and_then(|socket| socket.datagrams.pop_front());
                datagram.map_or(NetAnswer::Nothing, |(from, bytes)| NetAnswer::Datagram(from, bytes))
            }
            NetOp::SetName(..) | NetOp::Write(..) | NetOp::Finish(_) | NetOp::Close(..) | NetOp::Send(..) => {
                NetAnswer::Nothing
            }
        }
    }

    /// How many datagrams the script's sockets had no room for, since this was last asked.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Something happened to a socket of the script.
    pub(super) fn happened(&mut self, number: u32, event: NetEvent<'_>) {
        if let NetEvent::Accepted { stream, .. } = event {
            if let Some(listener) = self.sockets.get_mut(&number) {
                listener.accepted.push_back(stream.number);
                self.sockets.insert(stream.number, Outside { is_open: true, ..Outside::default() });
            }
            return;
        }
        let Some(socket) = self.sockets.get_mut(&number) else { return };
        match event {
            NetEvent::Opened { .. } => socket.is_open = true,
            NetEvent::Received(bytes) => {
                // A script that does not read is not to take all memory.
                let room = SCRIPT_STREAM_BYTES_MAX.saturating_sub(socket.received.len());
                socket.received.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            NetEvent::Datagrams(datagrams) => {
                socket.datagrams.extend(datagrams.iter().map(|datagram| (datagram.from, datagram.bytes.to_vec())));
                self.lost += socket.datagrams.len().saturating_sub(SCRIPT_SOCKETS_MAX) as u64;
                socket.datagrams.truncate(SCRIPT_SOCKETS_MAX);
            }
            NetEvent::Finished => socket.ended = Some("finished".to_owned()),
            NetEvent::Closed { reason } if socket.ended.is_none() => socket.ended = Some(reason),
            NetEvent::Closed { .. } | NetEvent::Drained | NetEvent::Resolved(_) | NetEvent::Accepted { .. } => {}
        }
    }
}

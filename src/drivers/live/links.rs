//! All links of a live node, the arena that they share, and the ways between them and the node.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use platform::capture::{CaptureError, Port, PortMode};
use platform::tun::{Tun, TunError, TunOptions};

use crate::base::id::LinkId;
use crate::base::limits::READS_PER_TURN_MAX;
use crate::base::net::NetOutput;
use crate::base::packet::{Packet, PacketMut};
use crate::base::stats::DropReason;
use crate::base::time::Instant;
use crate::drivers::live::arena::{Arena, READ_BYTES};
use crate::drivers::live::config::LinkChoice;
use crate::drivers::live::counters::LinkCounters;
use crate::drivers::live::port_link::{FramePlace, PortLink, PortRead};
use crate::drivers::live::tun_link::{self, TunLink};
use crate::node::{Decision, Errand, Event, Input, LinkConfig, LinkKind, Node, Output};

/// A batch is written once it is this large: half of a common second-level cache, and more than a burst of 64 packets.
const BATCH_BYTES: usize = 128 * 1024;

/// Why a link cannot be used, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The TUN device.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// The capture interface.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The device was deleted, or the driver fails.
    #[error("link {name} is gone: {source}")]
    Gone {
        /// Its name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// One link.
pub(super) enum Link {
    Tun(TunLink),
    Port(PortLink),
}

impl Link {
    pub(super) fn name(&self) -> &str {
        match self {
            Link::Tun(tun) => tun.tun().name(),
            Link::Port(port) => port.interface(),
        }
    }

    pub(super) fn counters(&mut self) -> LinkCounters {
        match self {
            Link::Tun(tun) => tun.counters,
            Link::Port(port) => {
                port.refresh_counters();
                port.counters
            }
        }
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Link::Tun(tun) => tun.as_raw_fd(),
            Link::Port(port) => port.as_raw_fd(),
        }
    }
}

/// What a node asks of the driver, besides sending packets.
#[derive(Debug)]
pub(super) enum Order {
    Steer(Vec<crate::base::filter::Filter>),
    Answer(u64, crate::node::Answer),
    Event(Event),
    Errand(Errand),
    Net(NetOutput),
}

/// The links by their ids, and what they share.
pub(super) struct Links {
    links: Vec<Link>,
    arena: Arena,
    /// What waits for the loop: bounded, since the loop takes it after each turn.
    pub(super) orders: Vec<Order>,
}

impl Links {
    pub(super) fn new() -> Self {
        Links { links: Vec::new(), arena: Arena::new(), orders: Vec::new() }
    }

    /// Opens a link and adds it to the node.
    pub(super) fn open(&mut self, node: &mut Node, choice: &LinkChoice, plain: bool) -> Result<(), LinkError> {
        match choice {
            LinkChoice::Tun { name } => {
                let tun = Tun::open(&TunOptions { name: name.clone(), plain })?;
                self.add(node, Link::Tun(TunLink::new(tun)), LinkKind::Tun);
            }
            LinkChoice::None => {}
            LinkChoice::Tap { interface } => {
                let port = Port::open(interface, PortMode::Tap)?;
                self.add(node, Link::Port(PortLink::new(port)), LinkKind::Tap);
            }
            LinkChoice::Inline { first, second } => {
                let ports = [Port::open(first, PortMode::Inline)?, Port::open(second, PortMode::Inline)?];
                let id = self.links.len() as u8;
                for (port, to) in ports.into_iter().zip([id + 1, id]) {
                    self.add(node, Link::Port(PortLink::new(port)), LinkKind::Inline { to: LinkId(to) });
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, node: &mut Node, link: Link, kind: LinkKind) {
        node.add_link(LinkConfig { name: link.name().to_owned(), kind });
        self.links.push(link);
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.links.iter_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.iter()
    }

    /// Reads a link until it is empty or its turn is over, and carries out what the node decides. Answers whether there
    /// may be more to read.
    pub(super) fn turn(&mut self, node: &mut Node, now: Instant, index: usize) -> Result<bool, LinkError> {
        self.arena.clear();
        let id = LinkId(index as u8);
        match &self.links[index] {
            Link::Tun(_) => self.turn_tun(node, now, id),
            Link::Port(_) => self.turn_port(node, now, id),
        }
    }

    fn turn_tun(&mut self, node: &mut Node, now: Instant, id: LinkId) -> Result<bool, LinkError> {
        let mut more = true;
        for _ in 0..READS_PER_TURN_MAX {
            if !self.arena.has_room() {
                break;
            }
            let Link::Tun(tun) = &mut self.links[usize::from(id.0)] else { break };
            let Some(mut place) = tun.read(&mut self.arena).map_err(|source| gone(tun.tun().name(), source))? else {
                more = false;
                break;
            };
            let room_end = self.arena.next() + READ_BYTES;
            let room = &mut self.arena.bytes_mut()[place.at..room_end];
            let mut packet = PacketMut::new(room, place.len, place.offload);
            let decision = node.packet(now, id, &mut packet);
            (place.len, place.offload) = (packet.len(), packet.offload);
            match decision {
                Decision::Forward(_) => {
                    self.arena.keep(place.at + place.len);
                    let Link::Tun(tun) = &mut self.links[usize::from(id.0)] else { break };
                    // The same memory serves the next packets while it is in the processor's cache.
                    if tun.push(place) || self.arena.used_bytes() > BATCH_BYTES {
                        self.flush(node, now, id);
                        self.arena.clear();
                    }
                }
                Decision::Drop(_) | Decision::Taken => {}
            }
            self.drain(node, now, None);
        }
        self.flush(node, now, id);
        Ok(more)
    }

    fn turn_port(&mut self, node: &mut Node, now: Instant, id: LinkId) -> Result<bool, LinkError> {
        for _ in 0..READS_PER_TURN_MAX {
            let Link::Port(port) = &mut self.links[usize::from(id.0)] else { break };
            match port.read(&mut self.arena)? {
                None => return Ok(false),
                Some(PortRead::NotIp(place)) => {
                    node.frame_without_ip(id, place.wire_bytes);
                    if let Some(LinkKind::Inline { to }) = kind_of(node, id) {
                        self.forward(node, now, id, to, place);
                    }
                }
                Some(PortRead::Packet(mut place)) => {
                    let room_end = self.arena.next() + READ_BYTES;
                    let room = &mut self.arena.bytes_mut()[place.at..room_end];
                    let mut packet = PacketMut::new(room, place.end - place.at, place.offload);
                    (packet.wire_bytes, packet.truncated) = (place.wire_bytes, place.truncated);
                    let decision = node.packet(now, id, &mut packet);
                    (place.end, place.offload) = (place.at + packet.len(), packet.offload);
                    if let Decision::Forward(to) = decision {
                        self.forward(node, now, id, to, place);
                    }
                    self.drain(node, now, Some(place));
                }
            }
        }
        Ok(true)
    }

    fn forward(&mut self, node: &mut Node, now: Instant, from: LinkId, to: LinkId, place: FramePlace) {
        let failure = match self.links.get_mut(usize::from(to.0)) {
            Some(Link::Port(port)) => port.forward(&mut self.arena, &place, from == to).err(),
            Some(Link::Tun(_)) | None => Some(DropReason::LinkDown),
        };
        if let Some(reason) = failure {
            node.handle(now, Input::NotSent(to, reason));
        }
    }

    /// Writes what waits for a TUN device.
    fn flush(&mut self, node: &mut Node, now: Instant, id: LinkId) {
        if let Some(Link::Tun(tun)) = self.links.get_mut(usize::from(id.0)) {
            tun.flush(&mut self.arena, |reason| node.handle(now, Input::NotSent(id, reason)));
        }
    }

    /// Takes all outputs of the node. `current` is the frame that it was shown last, if it came from a port.
    pub(super) fn drain(&mut self, node: &mut Node, now: Instant, current: Option<FramePlace>) -> Option<Instant> {
        loop {
            match node.poll() {
                Output::Idle { deadline } => return deadline.map(|(at, _)| at),
                Output::Transmit { link, packet } => {
                    // What the same module let pass before goes first.
                    self.flush(node, now, link);
                    if let Err(reason) = self.transmit(link, &packet, current) {
                        node.handle(now, Input::NotSent(link, reason));
                    }
                    node.recycle(packet);
                }
                Output::Steer(filters) => self.orders.push(Order::Steer(filters)),
                Output::Answer(number, answer) => self.orders.push(Order::Answer(number, answer)),
                Output::Event(event) => self.orders.push(Order::Event(event)),
                Output::Errand(errand) => self.orders.push(Order::Errand(errand)),
                Output::Net(output) => self.orders.push(Order::Net(output)),
            }
        }
    }

    fn transmit(&mut self, link: LinkId, packet: &Packet, current: Option<FramePlace>) -> Result<(), DropReason> {
        match self.links.get_mut(usize::from(link.0)) {
            Some(Link::Tun(tun)) => tun.transmit(packet).map_err(|e| {
                tun.counters.not_sent += 1;
                tun_link::reason(&e)
            }),
            Some(Link::Port(port)) => {
                let frame = current.map(|p| (&self.arena.bytes()[p.start..p.end], p.at - p.start));
                port.transmit(packet, frame)
            }
            None => Err(DropReason::LinkDown),
        }
    }
}

fn kind_of(node: &Node, id: LinkId) -> Option<LinkKind> {
    node.links().nth(usize::from(id.0)).map(|(config, _)| config.kind)
}

fn gone(name: &str, source: io::Error) -> LinkError {
    LinkError::Gone { name: name.to_owned(), source }
}

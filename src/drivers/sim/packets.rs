//! A packet's way through a machine: translated, shown to the node, passed on, or taken in.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::filter::address_of;
use crate::base::id::LinkId as NodeLink;
use crate::base::limits::{GROWTH_BYTES_MAX, SIM_ICMP_ERRORS_PER_SECOND_MAX, SIM_LAG_MAX};
use crate::base::packet::{Offload, PacketMut};
use crate::drivers::replay::reader::Frame;
use crate::drivers::sim::config::MachineId;
use crate::drivers::sim::icmp::{self, Problem};
use crate::drivers::sim::nat::Translated;
use crate::drivers::sim::{Happening, LINK_TYPE_RAW, Sim, WALL_START};
use crate::node::{Decision, Input};
use crate::signaling::io::{DatagramIn, SignalInput, Unreachable};
use crate::wire::header::{Header, ICMP, ICMPV6, TCP, UDP};
use crate::wire::{checksum, router_alert};

/// Time that a packet of a machine to itself takes.
const LOOP_TIME: Duration = Duration::from_micros(10);
/// Shortest time that a link takes, so that nobody can talk forever without time passing.
const LINK_TIME_MIN: Duration = Duration::from_nanos(1);

/// The byte of the TTL or hop limit.
const fn ttl_at(ip_version: u8) -> usize {
    if ip_version == 4 { 8 } else { 7 }
}

/// Takes one hop; false if there is none left to go.
fn take_hop(bytes: &mut [u8], ip_version: u8) -> bool {
    let at = ttl_at(ip_version);
    if bytes[at] <= 1 {
        return false;
    }
    let word = |bytes: &[u8]| u16::from_be_bytes([bytes[8], bytes[9]]);
    let old = word(bytes);
    bytes[at] -= 1;
    if ip_version == 4 {
        let sum = checksum::update(u16::from_be_bytes([bytes[10], bytes[11]]), old, word(bytes));
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    true
}

/// Whether the checksum of the IPv4 header is right.
fn is_sound(bytes: &[u8]) -> bool {
    bytes[0] >> 4 != 4 || checksum::fold(checksum::add(0, &bytes[..usize::from(bytes[0] & 15) * 4])) == 0xffff
}

/// Whether the checksum of a datagram or an ICMP message is right.
fn is_whole(bytes: &[u8], header: &Header) -> bool {
    let transport = &bytes[usize::from(header.transport_at)..header.end as usize];
    // Over IPv4 a datagram may have none (RFC 768).
    if header.protocol == UDP && header.ip_version == 4 && transport.get(6..8) == Some(&[0, 0]) {
        return true;
    }
    let start = if header.protocol == ICMP { 0 } else { checksum::pseudo_header(bytes, header, transport.len()) };
    checksum::fold(checksum::add(start, transport)) == 0xffff
}

impl Sim {
    /// Sends an ICMP echo request from a machine; whether it has an address to send it from. The answer is seen on its way.
    pub fn ping(&mut self, from: MachineId, to: IpAddr, sequence: u16) -> bool {
        let machine = from.index();
        let source = self.topology.borrow().source_for(machine, to);
        let request = source.and_then(|source| icmp::echo_request(source, to, machine as u16, sequence, b"netserv"));
        let is_sent = request.is_some();
        request.into_iter().for_each(|request| self.send_own(machine, request));
        self.settle(machine);
        is_sent
    }

    /// Mappings of a NAT box at this moment; `None` if the machine is none.
    #[must_use]
    pub fn nat_mappings(&mut self, machine: MachineId) -> Option<usize> {
        let now = self.now;
        self.nats.get_mut(&machine.index()).map(|nat| nat.len(now))
    }

    /// A packet comes to a machine: over a link, or from itself.
    pub(super) fn arrives(&mut self, machine: usize, link: Option<usize>, bytes: Vec<u8>) {
        let computer = &mut self.computers[machine];
        if !computer.is_up {
            computer.dropped += 1;
        } else if computer.config.cost.is_zero() {
            self.look_at(machine, link, bytes);
        } else {
            match computer.take_turn(self.now, SIM_LAG_MAX) {
                Some(at) => self.queue.push(at, Happening::Turn { machine, link, bytes }),
                None => computer.dropped += 1,
            }
        }
    }

    /// Decides what becomes of a packet.
    pub(super) fn look_at(&mut self, machine: usize, link: Option<usize>, bytes: Vec<u8>) {
        let header = Header::parse(&bytes, false).ok().filter(|_| is_sound(&bytes));
        let Some(header) = header.filter(|_| self.computers[machine].is_up) else {
            self.computers[machine].dropped += 1;
            return;
        };
        let to = address_of(header.destination, header.ip_version);
        let is_local = self.topology.borrow().is_local(machine, to);
        match link.filter(|_| self.nats.contains_key(&machine) && header.ip_version == 4) {
            Some(link) => self.translate(machine, link, bytes, &header),
            None if is_local => self.deliver(machine, link, &bytes, &header),
            None => self.forward(machine, bytes, &header),
        }
        self.settle(machine);
    }

    /// A packet that comes to a NAT box.
    fn translate(&mut self, machine: usize, link: usize, mut bytes: Vec<u8>, header: &Header) {
        let to = address_of(header.destination, 4);
        let (outside, is_local, next) = {
            let topology = self.topology.borrow();
            (topology.outside(machine), topology.is_local(machine, to), topology.next(machine, to))
        };
        let Some((outside, address)) = outside else { return };
        let comes_from_outside = link == outside;
        if bytes[ttl_at(4)] <= 1 && !is_local {
            return self.report_problem(machine, &bytes, header, Problem::TimeExceeded);
        }
        let Some(nat) = self.nats.get_mut(&machine) else { return };
        let outcome = match (comes_from_outside, to == address) {
            (true, true) => nat.inward(self.now, address, &mut bytes, header),
            (false, true) => nat.hairpin(self.now, address, &mut bytes, header),
            (false, false) if !is_local && next == Some(outside) => nat.outward(self.now, address, &mut bytes, header),
            (true | false, false) => Translated::NotMine,
        };
        match outcome {
            Translated::Done => self.forward_again(machine, bytes),
            Translated::NotMine if is_local => self.deliver(machine, Some(link), &bytes, header),
            Translated::NotMine => self.forward(machine, bytes, header),
            Translated::Refused => self.computers[machine].dropped += 1,
        }
    }

    /// Passes on what was changed.
    fn forward_again(&mut self, machine: usize, bytes: Vec<u8>) {
        match Header::parse(&bytes, false) {
            Ok(header) => self.forward(machine, bytes, &header),
            Err(_) => self.computers[machine].dropped += 1,
        }
    }

    /// Passes a packet on, after the node has seen it if its filters name it.
    fn forward(&mut self, machine: usize, mut bytes: Vec<u8>, header: &Header) {
        if !self.computers[machine].forwards() {
            self.computers[machine].dropped += 1;
            return;
        }
        if !take_hop(&mut bytes, header.ip_version) {
            return self.report_problem(machine, &bytes, header, Problem::TimeExceeded);
        }
        let computer = &mut self.computers[machine];
        let subject = header.subject();
        let is_steered = computer.steer.iter().any(|filter| filter.matches(&subject));
        let Some(node) = computer.node.as_mut().filter(|_| is_steered) else {
            return self.send(machine, bytes, header, true);
        };
        let len = bytes.len();
        bytes.resize(len + GROWTH_BYTES_MAX, 0);
        let mut packet = PacketMut::new(&mut bytes, len, Offload::default());
        let decision = node.packet(self.now, NodeLink(0), &mut packet);
        let len = packet.len();
        bytes.truncate(len);
        self.drain(machine);
        if matches!(decision, Decision::Forward(_)) {
            self.leaves_node(machine, bytes);
        }
    }

    /// A packet that the node wrote back: the system passes it on like any other, which takes a hop.
    pub(super) fn leaves_node(&mut self, machine: usize, mut bytes: Vec<u8>) {
        let Ok(header) = Header::parse(&bytes, false) else {
            self.computers[machine].dropped += 1;
            return;
        };
        let to = address_of(header.destination, header.ip_version);
        if self.topology.borrow().is_local(machine, to) {
            return self.queue.push(self.now + LOOP_TIME, Happening::Loops { machine, bytes });
        }
        if !take_hop(&mut bytes, header.ip_version) {
            return self.report_problem(machine, &bytes, &header, Problem::TimeExceeded);
        }
        self.send(machine, bytes, &header, true);
    }

    /// A packet of the machine's own sockets.
    pub(super) fn send_own(&mut self, machine: usize, bytes: Vec<u8>) {
        match Header::parse(&bytes, false) {
            Ok(header) => self.send(machine, bytes, &header, false),
            Err(_) => self.computers[machine].dropped += 1,
        }
    }

    /// Sends a packet over the link that leads to its destination.
    fn send(&mut self, machine: usize, bytes: Vec<u8>, header: &Header, is_foreign: bool) {
        let to = address_of(header.destination, header.ip_version);
        let (is_local, next) = {
            let topology = self.topology.borrow();
            (topology.is_local(machine, to), topology.next(machine, to))
        };
        if is_local && !is_foreign {
            return self.queue.push(self.now + LOOP_TIME, Happening::Loops { machine, bytes });
        }
        match next {
            Some(link) => self.transmit(machine, link, bytes),
            None => self.report_problem(machine, &bytes, header, Problem::NoRoute),
        }
    }

    /// Puts a packet on a link.
    fn transmit(&mut self, machine: usize, link: usize, mut bytes: Vec<u8>) {
        let now = self.now;
        let is_usable = self.topology.borrow().is_usable(link);
        let from = self.computers[machine].index;
        let found = &mut self.links[link];
        let direction = found.direction_from(MachineId(from));
        if !is_usable {
            found.directions[direction].counters.lost += 1;
            return;
        }
        let Some(fate) = found.directions[direction].send(now, bytes.len() as u64) else {
            self.observer.packet(now, link, machine, &bytes, None);
            return;
        };
        if let Some(capture) = &mut found.capture {
            let time_ns = WALL_START.at(fate.leaves).as_nanos();
            let wire_bytes = bytes.len() as u32;
            let frame = Frame { time_ns, link_type: LINK_TYPE_RAW, bytes: &bytes, wire_bytes };
            // Who writes the capture hears of it at its end.
            let _ = capture.write(&frame);
        }
        self.observer.packet(now, link, machine, &bytes, Some(fate));
        let life = found.life;
        if let Some(bit) = fate.changed_bit {
            let bit = bit % (bytes.len() as u64 * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        for at in [fate.copy_arrives, fate.arrives].into_iter().flatten() {
            let bytes = if fate.arrives == Some(at) { std::mem::take(&mut bytes) } else { bytes.clone() };
            self.queue.push(at.max(now + LINK_TIME_MIN), Happening::Arrives { link, direction, life, bytes });
        }
    }

    /// Tells the sender of a packet what is wrong with it.
    fn report_problem(&mut self, machine: usize, bytes: &[u8], header: &Header, problem: Problem) {
        let second = self.now.as_nanos() / 1_000_000_000;
        let computer = &mut self.computers[machine];
        if computer.icmp_errors.0 != second {
            computer.icmp_errors = (second, 0);
        }
        computer.dropped += 1;
        computer.icmp_errors.1 += 1;
        if computer.icmp_errors.1 > SIM_ICMP_ERRORS_PER_SECOND_MAX {
            return;
        }
        let source = address_of(header.source, header.ip_version);
        let from = self.topology.borrow().source_for(machine, source);
        // Who has no way back has an address all the same.
        let own = || {
            let mut all = self.computers[machine].config.addresses.iter();
            all.find(|address| address.is_ipv4() == source.is_ipv4()).copied()
        };
        let Some(from) = from.filter(|from| *from != source).or_else(own) else { return };
        let Some(message) = icmp::error(bytes, header, problem, from) else { return };
        let is_own = self.topology.borrow().is_local(machine, source);
        if is_own {
            self.queue.push(self.now + LOOP_TIME, Happening::Loops { machine, bytes: message });
        } else if self.topology.borrow().next(machine, source).is_some() {
            self.send_own(machine, message);
        }
    }

    /// Takes in a packet that is for this machine.
    fn deliver(&mut self, machine: usize, link: Option<usize>, bytes: &[u8], header: &Header) {
        let (from_port, to_port) = header.ports.unwrap_or((0, 0));
        let end = |bits, port| SocketAddr::new(address_of(bits, header.ip_version), port);
        let (from, to) = (end(header.source, from_port), end(header.destination, to_port));
        match header.protocol {
            UDP if is_whole(bytes, header) => {
                let computer = &mut self.computers[machine];
                if computer.stack.signal_port == Some(to_port) && computer.node.is_some() {
                    return self.signal_datagram(machine, link, bytes, header, (from, to));
                }
                if !computer.stack.datagram(from, to, header.payload(bytes)) {
                    self.report_problem(machine, bytes, header, Problem::PortClosed);
                }
            }
            TCP => {
                let packet = bytes[..header.end as usize].to_vec();
                self.computers[machine].stack.tcp_packet((to, from), header.tcp_flags, packet, self.now);
            }
            ICMP | ICMPV6 if is_whole(bytes, header) => {
                if let Some(reply) = icmp::echo_reply(bytes, header) {
                    return self.send_own(machine, reply);
                }
                self.reported(machine, bytes, header, from.ip());
            }
            _ => self.computers[machine].dropped += 1,
        }
    }

    fn signal_datagram(
        &mut self,
        machine: usize,
        link: Option<usize>,
        bytes: &[u8],
        header: &Header,
        (source, destination): (SocketAddr, SocketAddr),
    ) {
        let datagram = DatagramIn {
            source,
            destination,
            ttl: Some(bytes[ttl_at(header.ip_version)]),
            router_alert: router_alert::find(bytes, header),
            interface: link.map_or(0, |link| link as u32 + 1),
            payload: header.payload(bytes),
        };
        self.input(machine, Input::Signal(SignalInput::Datagram(datagram)));
    }

    /// ICMP says something of a packet of this machine.
    fn reported(&mut self, machine: usize, bytes: &[u8], header: &Header, reporter: IpAddr) {
        let Some(report) = icmp::report(bytes, header) else { return };
        let stack = &mut self.computers[machine].stack;
        match report.protocol {
            TCP => {
                let why = match report.problem {
                    Problem::TimeExceeded => return,
                    Problem::PortClosed => "the peer refuses connections to this port",
                    Problem::NoRoute | Problem::HostUnreachable => "there is no way to the peer",
                };
                stack.tcp_unreachable((report.source, report.destination), why);
            }
            UDP if stack.signal_port == Some(report.source.port()) && report.problem != Problem::TimeExceeded => {
                // A filter on the way may say so too; then others behind it may still answer.
                let port_closed = report.problem == Problem::PortClosed && reporter == report.destination.ip();
                let unreachable = Unreachable {
                    destination: report.destination,
                    reporter: Some(reporter),
                    port_closed,
                    payload: report.payload,
                };
                self.input(machine, Input::Signal(SignalInput::Unreachable(unreachable)));
            }
            _ => {}
        }
    }
}

//! Reads a TUN device into the arena, and writes what passes back into it: whole, joined, or taken apart.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsRawFd, RawFd};

use platform::tun::Tun;

use crate::base::packet::{Offload, Packet};
use crate::base::stats::DropReason;
use crate::drivers::live::arena::{Arena, HEAD_BYTES, READ_BYTES};
use crate::drivers::live::coalesce::{self, JOINED_MAX, Joinable, NONE, Waiting};
use crate::drivers::live::counters::LinkCounters;
use crate::wire::header::Header;
use crate::wire::segment;

/// `EINVAL`: the kernel does not take this packet, or not this offload header.
const INVALID: i32 = 22;
/// `ENOBUFS` of Linux: the kernel has no memory for it now.
const NO_BUFFERS: i32 = 105;

/// A TUN device, with the packets that wait to be written into it.
pub(super) struct TunLink {
    tun: Tun,
    waiting: Vec<Waiting>,
    joinable: Joinable,
    /// Where a super-packet is put together that the kernel did not take.
    whole: Vec<u8>,
    segment: Vec<u8>,
    pub(super) counters: LinkCounters,
}

/// A packet in the arena.
#[derive(Clone, Copy)]
pub(super) struct TunPacket {
    /// Where its IP header is.
    pub(super) at: usize,
    pub(super) len: usize,
    pub(super) offload: Offload,
}

impl TunLink {
    pub(super) fn new(tun: Tun) -> Self {
        let joinable = if tun.has_header() { Joinable::ALL } else { Joinable::NOTHING };
        TunLink {
            tun,
            waiting: Vec::new(),
            joinable,
            whole: Vec::new(),
            segment: Vec::new(),
            counters: LinkCounters::default(),
        }
    }

    pub(super) fn tun(&self) -> &Tun {
        &self.tun
    }

    /// Reads one packet; `None` when there is none.
    pub(super) fn read(&mut self, arena: &mut Arena) -> io::Result<Option<TunPacket>> {
        let start = arena.next();
        let room = &mut arena.bytes_mut()[start..start + READ_BYTES];
        let skipped = if self.tun.has_header() { 0 } else { HEAD_BYTES };
        let len = match self.tun.recv(&mut room[skipped..]) {
            Ok(len) => (len + skipped).saturating_sub(HEAD_BYTES),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(e),
        };
        let offload = match (skipped, room.first_chunk()) {
            (0, Some(head)) => Offload::from_bytes(head),
            _ => Offload::default(),
        };
        Ok(Some(TunPacket { at: start + HEAD_BYTES, len, offload }))
    }

    /// Keeps a packet of the arena until [`TunLink::flush`]; answers whether it is time for that.
    pub(super) fn push(&mut self, packet: TunPacket) -> bool {
        self.waiting.push(Waiting::new(packet.at, packet.len, packet.offload));
        // A super-packet has nothing to wait for. Others are written many at a time, even if none of them can be joined:
        // batches of 16 were measured to be 6 % slower than those of 128.
        packet.offload.is_super_packet()
    }

    /// Writes all that waits; calls `failed` for each packet that could not be written.
    pub(super) fn flush(&mut self, arena: &mut Arena, mut failed: impl FnMut(DropReason)) {
        if self.waiting.len() > 1 && self.joinable != Joinable::NOTHING {
            coalesce::join(arena.bytes(), &mut self.waiting, self.joinable);
        }
        for index in 0..self.waiting.len() {
            let waiting = self.waiting[index];
            if waiting.joined {
                continue;
            }
            let result = match waiting.next {
                NONE => self.write_one(arena, waiting),
                _ => self.write_joined(arena, index),
            };
            if let Err(e) = result {
                self.counters.not_sent += 1;
                failed(reason(&e));
            }
        }
        self.waiting.clear();
    }

    fn write_one(&mut self, arena: &mut Arena, waiting: Waiting) -> io::Result<()> {
        let (at, end) = (waiting.at as usize, (waiting.at + waiting.len) as usize);
        let head = at - HEAD_BYTES;
        arena.bytes_mut()[head..at].copy_from_slice(&waiting.offload.to_bytes());
        self.counters.writes += 1;
        let start = if self.tun.has_header() { head } else { at };
        match self.tun.send(&arena.bytes()[start..end]) {
            Ok(_) => Ok(()),
            Err(e) if is_refused(&e) && waiting.offload.is_super_packet() => {
                self.offload_refused();
                self.write_split(&arena.bytes()[at..end], waiting.offload)
            }
            Err(e) => Err(e),
        }
    }

    fn write_joined(&mut self, arena: &mut Arena, index: usize) -> io::Result<()> {
        let Some(offload) = coalesce::finish(arena.bytes_mut(), &self.waiting, index) else {
            return Err(io::Error::from(ErrorKind::InvalidData));
        };
        let head = self.waiting[index];
        let at = head.at as usize;
        arena.bytes_mut()[at - HEAD_BYTES..at].copy_from_slice(&offload.to_bytes());
        let bytes = arena.bytes();
        let mut pieces = [IoSlice::new(&[]); JOINED_MAX];
        pieces[0] = IoSlice::new(&bytes[at - HEAD_BYTES..(head.at + head.len) as usize]);
        let (mut count, mut next) = (1, head.next);
        while next != NONE && count < JOINED_MAX {
            let part = self.waiting[next as usize];
            let payload_at = part.at as usize + usize::from(part.header_bytes);
            pieces[count] = IoSlice::new(&bytes[payload_at..(part.at + part.len) as usize]);
            (count, next) = (count + 1, part.next);
        }
        self.counters.writes += 1;
        self.counters.joined_packets += count as u64 - 1;
        match self.tun.send_vectored(&pieces[..count]) {
            Ok(_) => Ok(()),
            Err(e) if is_refused(&e) => {
                // Only joining is given up: super-packets that the kernel made itself may still be fine.
                self.counters.offload_refused += 1;
                match offload.gso_type {
                    Offload::UDP_SEGMENT => self.joinable.udp = false,
                    _ => self.joinable.tcp = false,
                }
                self.whole.clear();
                pieces[..count].iter().for_each(|piece| self.whole.extend_from_slice(piece));
                let whole = std::mem::take(&mut self.whole);
                let result = self.write_split(&whole[HEAD_BYTES..], offload);
                self.whole = whole;
                result
            }
            Err(e) => Err(e),
        }
    }

    /// Writes a packet that the node made.
    pub(super) fn transmit(&mut self, packet: &Packet) -> io::Result<()> {
        self.counters.writes += 1;
        if !self.tun.has_header() {
            return match packet.offload.needs_checksum() || packet.offload.is_super_packet() {
                true => self.write_split(&packet.bytes, packet.offload),
                false => self.tun.send(&packet.bytes).map(|_| ()),
            };
        }
        let head = packet.offload.to_bytes();
        match self.tun.send_vectored(&[IoSlice::new(&head), IoSlice::new(&packet.bytes)]) {
            Ok(_) => Ok(()),
            Err(e) if is_refused(&e) && packet.offload.is_super_packet() => {
                self.offload_refused();
                self.write_split(&packet.bytes, packet.offload)
            }
            Err(e) => Err(e),
        }
    }

    /// Takes a super-packet apart and writes its segments, with complete checksums.
    fn write_split(&mut self, bytes: &[u8], offload: Offload) -> io::Result<()> {
        let header = Header::parse(bytes, false).map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
        let (tun, counters, mut result) = (&self.tun, &mut self.counters, Ok(()));
        let head = Offload::default().to_bytes();
        segment::split(bytes, &header, offload, &mut self.segment, |segment| {
            let sent = match tun.has_header() {
                true => tun.send_vectored(&[IoSlice::new(&head), IoSlice::new(segment)]),
                false => tun.send(segment),
            };
            counters.writes += 1;
            counters.split_segments += 1;
            if let Err(e) = sent {
                result = Err(e);
            }
        });
        result
    }

    /// The kernel hands over super-packets but does not take them back: some of 2024 do so.
    fn offload_refused(&mut self) {
        self.counters.offload_refused += 1;
        if self.joinable == Joinable::NOTHING {
            return;
        }
        self.joinable = Joinable::NOTHING;
        match self.tun.set_offload(false) {
            Ok(()) => tracing::warn!(
                "the kernel does not take super-packets back into {}; going on without them, more slowly",
                self.tun.name()
            ),
            Err(e) => tracing::warn!("{} cannot be switched to single packets: {e}", self.tun.name()),
        }
    }
}

impl AsRawFd for TunLink {
    fn as_raw_fd(&self) -> RawFd {
        self.tun.as_raw_fd()
    }
}

fn is_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(INVALID)
}

/// As which drop a failed write counts.
pub(super) fn reason(error: &io::Error) -> DropReason {
    let is_full = error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::OutOfMemory;
    if is_full || error.raw_os_error() == Some(NO_BUFFERS) { DropReason::LinkFull } else { DropReason::LinkDown }
}

#[cfg(test)]
mod tests;

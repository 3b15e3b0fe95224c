//! Joins packets of one flow that wait in one batch into a super-packet: one write in place of many.
//!
//! What is joined is what the kernel takes apart again into exactly the same packets: same addresses, ports and header
//! fields, equal sizes (the last may be shorter), for TCP the next sequence number and nothing but ACK and PSH. Packets
//! of one flow keep their order. There is no waiting: a batch is what was there to be read.

use crate::base::packet::Offload;
use crate::wire::checksum;
use crate::wire::header::{Header, TCP, UDP};

/// No entry.
pub(super) const NONE: u32 = u32::MAX;
/// Packets in one super-packet: UDP_MAX_SEGMENTS of Linux before 6.9.
pub(super) const JOINED_MAX: usize = 64;
/// Flows that can grow at the same time within a batch.
const RUNS_OPEN: usize = 16;
const TCP_PSH: u8 = 0x08;
const TCP_ACK: u8 = 0x10;

/// A packet that waits to be written into a TUN device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Where its IP header is in the arena.
    pub(super) at: u32,
    /// Its length, from the IP header on.
    pub(super) len: u32,
    /// The header beside it.
    pub(super) offload: Offload,
    /// The packet that is joined to this one, or [`NONE`].
    pub(super) next: u32,
    /// Length of the headers of a joined packet: only what is behind them is written.
    pub(super) header_bytes: u16,
    /// Whether it is part of another one.
    pub(super) joined: bool,
}

impl Waiting {
    pub(super) fn new(at: usize, len: usize, offload: Offload) -> Self {
        Waiting { at: at as u32, len: len as u32, offload, next: NONE, header_bytes: 0, joined: false }
    }

    fn bytes<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        &arena[self.at as usize..(self.at + self.len) as usize]
    }
}

/// Which protocols may be joined: the kernel may refuse some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Joinable {
    pub(super) tcp: bool,
    pub(super) udp: bool,
}

impl Joinable {
    pub(super) const ALL: Joinable = Joinable { tcp: true, udp: true };
    pub(super) const NOTHING: Joinable = Joinable { tcp: false, udp: false };
}

/// A packet that might be joined.
#[derive(Clone, Copy)]
struct Candidate {
    /// IP and transport header.
    header_bytes: usize,
    transport_at: usize,
    protocol: u8,
    payload_bytes: usize,
    sequence: u32,
    /// Nothing may follow it.
    last: bool,
}

/// A super-packet in the making.
#[derive(Clone, Copy)]
struct Run {
    head: u32,
    tail: u32,
    first: Candidate,
    count: usize,
    payload_bytes: usize,
    /// Whether the checksum of the head is known to be right.
    is_verified: bool,
}

/// The flows that were seen last. A packet that stands alone, as most do when many flows take turns, only leaves its tag
/// and its number here; it is looked at more closely when another one of its flow comes.
struct Open {
    /// One cache line, compared at once; 0 for a free place.
    tags: [u32; RUNS_OPEN],
    heads: [u32; RUNS_OPEN],
    runs: [Option<Run>; RUNS_OPEN],
    oldest: usize,
}

impl Open {
    fn new() -> Self {
        Open { tags: [0; RUNS_OPEN], heads: [NONE; RUNS_OPEN], runs: [None; RUNS_OPEN], oldest: 0 }
    }

    fn find(&self, tag: u32) -> Option<usize> {
        // All are compared, without a way out: the compiler makes a few vector instructions of it.
        let mut found = 0_u32;
        for (place, other) in self.tags.iter().enumerate() {
            found |= u32::from(*other == tag) << place;
        }
        (found != 0).then(|| found.trailing_zeros() as usize)
    }

    /// A packet that may be the first of a run.
    fn begin(&mut self, place: Option<usize>, tag: u32, head: u32) {
        let place = place.unwrap_or_else(|| {
            self.oldest = (self.oldest + 1) % RUNS_OPEN;
            self.oldest
        });
        (self.tags[place], self.heads[place], self.runs[place]) = (tag, head, None);
    }
}

/// Joins what can be joined, by setting `next` and `joined`. See [`finish`] for what is then to be done.
pub(super) fn join(arena: &[u8], batch: &mut [Waiting], joinable: Joinable) {
    let mut open = Open::new();
    for index in 0..batch.len() {
        let waiting = batch[index];
        let Some(tag) = flow_tag(waiting.bytes(arena)) else { continue };
        let place = open.find(tag);
        if let Some(place) = place
            && let Some(mut run) = open.runs[place].or_else(|| begin_run(arena, batch, open.heads[place], joinable))
            && let Some(candidate) = examine(waiting.bytes(arena), &waiting.offload, joinable)
            && append(arena, batch, &mut run, index as u32, candidate)
        {
            let is_full = run.count == JOINED_MAX || candidate.payload_bytes < run.first.payload_bytes;
            match candidate.last || is_full {
                true => open.tags[place] = 0,
                false => open.runs[place] = Some(run),
            }
            continue;
        }
        // The flow's later packets must not overtake this one.
        open.begin(place, tag, index as u32);
    }
}

/// The run that begins with packet `head`, if others can be joined to it.
fn begin_run(arena: &[u8], batch: &[Waiting], head: u32, joinable: Joinable) -> Option<Run> {
    let waiting = &batch[head as usize];
    let first = examine(waiting.bytes(arena), &waiting.offload, joinable).filter(|first| !first.last)?;
    Some(Run { head, tail: head, first, count: 1, payload_bytes: first.payload_bytes, is_verified: false })
}

/// Joins packet `index` to the run, if it continues it.
fn append(arena: &[u8], batch: &mut [Waiting], run: &mut Run, index: u32, candidate: Candidate) -> bool {
    let head = batch[run.head as usize];
    let (first, next) = (head.bytes(arena), batch[index as usize].bytes(arena));
    let fits = candidate.header_bytes == run.first.header_bytes
        && candidate.payload_bytes <= run.first.payload_bytes
        && run.first.header_bytes + run.payload_bytes + candidate.payload_bytes <= usize::from(u16::MAX);
    let follows =
        candidate.protocol != TCP || candidate.sequence == run.first.sequence.wrapping_add(run.payload_bytes as u32);
    if !fits || !follows || !same_headers(first, next, &candidate, run.count as u16) {
        return false;
    }
    // A packet with a wrong checksum must stay wrong, and the kernel does not say when it has checked one.
    if !run.is_verified && !is_right(first, &head.offload) {
        return false;
    }
    run.is_verified = true;
    if !is_right(next, &batch[index as usize].offload) {
        return false;
    }
    batch[run.tail as usize].next = index;
    let joined = &mut batch[index as usize];
    (joined.joined, joined.header_bytes) = (true, candidate.header_bytes as u16);
    (run.tail, run.count) = (index, run.count + 1);
    run.payload_bytes += candidate.payload_bytes;
    true
}

/// Something that is equal for packets of one flow and rarely for others, never 0; `None` for what has no ports.
fn flow_tag(bytes: &[u8]) -> Option<u32> {
    let word = |at: usize| Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let mix = |tag: u64, value: u64| (tag ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let ports = |at: usize| Some(u64::from(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?)));
    let tag = match bytes.first()? >> 4 {
        4 if matches!(bytes.get(9), Some(&(TCP | UDP))) => {
            mix(word(12)?, ports(usize::from(bytes[0] & 15) * 4)? ^ u64::from(bytes[9]) << 32)
        }
        6 if matches!(bytes.get(6), Some(&(TCP | UDP))) => {
            let addresses = mix(mix(word(8)?, word(16)?), word(24)?);
            mix(mix(addresses, word(32)?), ports(40)? ^ u64::from(bytes[6]) << 32)
        }
        _ => return None,
    };
    Some((tag >> 32) as u32 | 1)
}

/// Whether the packet is one that can be joined at all.
fn examine(bytes: &[u8], offload: &Offload, joinable: Joinable) -> Option<Candidate> {
    if offload.gso_type != 0 || bytes.len() < 28 {
        return None;
    }
    let half = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let (transport_at, protocol) = match bytes[0] {
        // Without options, not a fragment, nothing behind it.
        0x45 if half(6) & 0x3fff == 0 && half(2) == bytes.len() => (20, bytes[9]),
        0x60..=0x6f if bytes.len() >= 48 && half(4) + 40 == bytes.len() => (40, bytes[6]),
        _ => return None,
    };
    let transport = &bytes[transport_at..];
    let (transport_bytes, sequence, last) = match protocol {
        TCP if joinable.tcp && transport.len() > 20 => {
            if transport[13] & !TCP_PSH != TCP_ACK || transport[12] & 15 != 0 {
                return None;
            }
            let sequence = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
            (usize::from(transport[12] >> 4) * 4, sequence, transport[13] & TCP_PSH != 0)
        }
        UDP if joinable.udp && half(transport_at + 4) == transport.len() && half(transport_at + 6) != 0 => {
            (8, 0, false)
        }
        _ => return None,
    };
    let payload_bytes = transport.len().checked_sub(transport_bytes).filter(|bytes| *bytes > 0)?;
    let header_bytes = transport_at + transport_bytes;
    (transport_bytes >= 8).then_some(Candidate { header_bytes, transport_at, protocol, payload_bytes, sequence, last })
}

/// Whether packet `next`, the `distance`th behind `first`, has the headers that segmentation would give it.
fn same_headers(first: &[u8], next: &[u8], candidate: &Candidate, distance: u16) -> bool {
    let at = candidate.transport_at;
    let same = |range: std::ops::Range<usize>| first[range.clone()] == next[range];
    let network = if at == 20 {
        let id = |bytes: &[u8]| u16::from_be_bytes([bytes[4], bytes[5]]);
        // Identifications matter only to fragments, which packets with DF never become.
        let id_fits = first[6] & 0x40 != 0 || id(next) == id(first).wrapping_add(distance);
        same(0..2) && same(6..10) && same(12..20) && id_fits
    } else {
        same(0..4) && same(6..40)
    };
    let transport = match candidate.protocol {
        // Ports; acknowledgement and header length; window; urgent pointer and options. PSH may differ.
        TCP => {
            same(at..at + 4) && same(at + 8..at + 13) && same(at + 14..at + 16) && same(at + 18..candidate.header_bytes)
        }
        _ => same(at..at + 4),
    };
    network && transport
}

/// Whether the transport checksum is right, or still to be computed.
fn is_right(bytes: &[u8], offload: &Offload) -> bool {
    if offload.flags & (Offload::NEEDS_CHECKSUM | Offload::DATA_VALID) != 0 {
        return true;
    }
    Header::parse(bytes, false).is_ok_and(|header| {
        let transport = &bytes[usize::from(header.transport_at)..header.end as usize];
        let sum = checksum::pseudo_header(bytes, &header, transport.len());
        checksum::fold(checksum::add(sum, transport)) == 0xffff
    })
}

/// Gives the first of several joined packets the headers of the super-packet, and answers the header beside it.
///
/// `payload_bytes` are those of all of them together, `last` is the last of them.
pub(super) fn finish(arena: &mut [u8], batch: &[Waiting], head: usize) -> Option<Offload> {
    let first = batch[head];
    let header = Header::parse(first.bytes(arena), false).ok()?;
    let (transport_at, header_bytes) = (usize::from(header.transport_at), usize::from(header.payload_at));
    let mut total = first.len as usize;
    let mut tail = first;
    while tail.next != NONE {
        tail = batch[tail.next as usize];
        total += tail.len as usize - header_bytes;
    }
    let pushed = header.protocol == TCP && tail.bytes(arena)[transport_at + 13] & TCP_PSH != 0;
    let bytes = &mut arena[first.at as usize..(first.at + first.len) as usize];
    let transport_bytes = total - transport_at;
    if header.ip_version == 4 {
        bytes[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        checksum::write_ipv4(bytes);
    } else {
        bytes[4..6].copy_from_slice(&(transport_bytes as u16).to_be_bytes());
    }
    // What the kernel wants there is the sum of the pseudo-header; it does the rest for each segment.
    let sum = checksum::fold(checksum::pseudo_header(bytes, &header, transport_bytes)).to_be_bytes();
    let (gso_type, checksum_offset) = match (header.protocol, header.ip_version) {
        (UDP, _) => (Offload::UDP_SEGMENT, 6),
        (_, 4) => (Offload::TCP4, 16),
        (_, _) => (Offload::TCP6, 16),
    };
    let transport = &mut bytes[transport_at..];
    if header.protocol == UDP {
        transport[4..6].copy_from_slice(&(transport_bytes as u16).to_be_bytes());
    } else if pushed {
        transport[13] |= TCP_PSH;
    }
    transport[checksum_offset..checksum_offset + 2].copy_from_slice(&sum);
    Some(Offload {
        flags: Offload::NEEDS_CHECKSUM,
        gso_type,
        header_bytes: header_bytes as u16,
        segment_bytes: (first.len as usize - header_bytes) as u16,
        checksum_start: transport_at as u16,
        checksum_offset: checksum_offset as u16,
    })
}

#[cfg(test)]
mod tests;

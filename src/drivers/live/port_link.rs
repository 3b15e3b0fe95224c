//! Reads frames of a capture interface into the arena, and sends frames on it.

use std::os::fd::{AsRawFd, RawFd};

use platform::capture::{CaptureError, Port};

use crate::base::packet::{Offload, Packet};
use crate::base::stats::DropReason;
use crate::drivers::live::arena::{Arena, HEAD_BYTES, READ_BYTES};
use crate::drivers::live::counters::LinkCounters;
use crate::drivers::live::unfinished;
use crate::wire::frame::{self, FrameContent};
use crate::wire::header::Header;
use crate::wire::segment;

/// Longest link header that is remembered, in bytes.
const LINK_HEADER_BYTES_MAX: usize = 64;
const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
const TYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// A capture interface.
pub(super) struct PortLink {
    port: Port,
    link_type: u32,
    /// Longest IP packet that the interface can send.
    mtu: usize,
    /// Link header of the last frame that went out here, or the turned one of the last that came in: for packets that
    /// a module makes out of nothing.
    learned: Vec<u8>,
    frame: Vec<u8>,
    segment: Vec<u8>,
    pub(super) counters: LinkCounters,
}

/// What was read into the arena.
#[derive(Clone, Copy, Debug)]
pub(super) enum PortRead {
    /// An IP packet in a frame.
    Packet(FramePlace),
    /// A frame without one.
    NotIp(FramePlace),
}

/// A frame in the arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct FramePlace {
    /// Where it begins.
    pub(super) start: usize,
    /// Where its IP packet begins; its end for a frame without one.
    pub(super) at: usize,
    /// Where it ends.
    pub(super) end: usize,
    /// Bytes on the wire.
    pub(super) wire_bytes: u32,
    /// Whether the frame is not all there.
    pub(super) truncated: bool,
    /// What a sender of this machine left undone.
    pub(super) offload: Offload,
}

impl PortLink {
    pub(super) fn new(port: Port) -> Self {
        let mtu = platform::capture::mtu(port.interface()).unwrap_or(1500);
        PortLink {
            link_type: port.link_type().unsigned_abs(),
            port,
            mtu,
            learned: Vec::new(),
            frame: Vec::new(),
            segment: Vec::new(),
            counters: LinkCounters::default(),
        }
    }

    pub(super) fn interface(&self) -> &str {
        self.port.interface()
    }

    /// Reads one frame; `None` when there is none.
    pub(super) fn read(&mut self, arena: &mut Arena) -> Result<Option<PortRead>, CaptureError> {
        let start = arena.next() + HEAD_BYTES;
        let end = arena.next() + READ_BYTES;
        let Some(read) = self.port.recv(&mut arena.bytes_mut()[start..end])? else { return Ok(None) };
        let frame = &arena.bytes()[start..start + read.len];
        let truncated = read.len < read.wire_bytes as usize;
        let place = |at: usize, offload| FramePlace {
            start,
            at: start + at,
            end: start + read.len,
            wire_bytes: read.wire_bytes,
            truncated,
            offload,
        };
        Ok(Some(match frame::find_ip(self.link_type, frame) {
            FrameContent::Ip { at } => {
                if self.learned.is_empty() && at <= LINK_HEADER_BYTES_MAX {
                    self.learned.extend_from_slice(&frame[..at]);
                    frame::turn_around(self.link_type, &mut self.learned);
                }
                PortRead::Packet(place(at, unfinished::offload_of(&frame[at..], self.mtu)))
            }
            FrameContent::NotIp | FrameContent::Short => PortRead::NotIp(place(read.len, Offload::default())),
        }))
    }

    /// Sends a frame of the arena on, whose IP packet may have become shorter or longer; `back` when it came in here.
    pub(super) fn forward(&mut self, arena: &mut Arena, place: &FramePlace, back: bool) -> Result<(), DropReason> {
        let header = &mut arena.bytes_mut()[place.start..place.at];
        if back {
            frame::turn_around(self.link_type, header);
        }
        if !back && header.len() <= LINK_HEADER_BYTES_MAX && place.at < place.end {
            self.learned.clear();
            self.learned.extend_from_slice(header);
        }
        let (header, packet) = arena.bytes()[place.start..place.end].split_at(place.at - place.start);
        if place.offload.needs_checksum() || place.offload.is_super_packet() {
            let mut link_header = std::mem::take(&mut self.frame);
            link_header.clear();
            link_header.extend_from_slice(header);
            return self.send_split(link_header, packet, place.offload);
        }
        let frame = &mut arena.bytes_mut()[place.start..place.end];
        frame::set_length(self.link_type, frame, place.end - place.at);
        self.send(place.start, place.end, arena)
    }

    fn send(&mut self, start: usize, end: usize, arena: &Arena) -> Result<(), DropReason> {
        self.counters.writes += 1;
        self.port.send(&arena.bytes()[start..end]).map_err(|_| self.failed())
    }

    /// Sends a packet that the node made. `current` is the frame that it was made of, with its IP packet's place.
    pub(super) fn transmit(&mut self, packet: &Packet, current: Option<(&[u8], usize)>) -> Result<(), DropReason> {
        let mut header = std::mem::take(&mut self.frame);
        header.clear();
        match current.filter(|(_, at)| *at <= LINK_HEADER_BYTES_MAX) {
            Some((frame, at)) => {
                header.extend_from_slice(&frame[..at]);
                if answers(&packet.bytes, &frame[at..]) {
                    frame::turn_around(self.link_type, &mut header);
                }
            }
            None => header.extend_from_slice(&self.learned),
        }
        if header.is_empty() && self.link_type == frame::ETHERNET {
            // Nothing was ever seen here: there is nobody to send it to.
            self.frame = header;
            return Err(self.failed());
        }
        set_version(&mut header, packet.bytes.first().map_or(4, |byte| byte >> 4));
        self.send_split(header, &packet.bytes, packet.offload)
    }

    /// Sends a packet behind `header`: in segments if it is a super-packet, with its checksum completed.
    fn send_split(&mut self, mut header: Vec<u8>, packet: &[u8], offload: Offload) -> Result<(), DropReason> {
        let parsed = Header::parse(packet, false);
        let header_bytes = header.len();
        let mut failed = false;
        let (port, counters, link_type) = (&mut self.port, &mut self.counters, self.link_type);
        let mut send = |segment: &[u8]| {
            header.truncate(header_bytes);
            header.extend_from_slice(segment);
            frame::set_length(link_type, &mut header, segment.len());
            counters.writes += 1;
            failed |= port.send(&header).is_err();
        };
        match parsed {
            Ok(parsed) if offload.needs_checksum() || offload.is_super_packet() => {
                segment::split(packet, &parsed, offload, &mut self.segment, send);
                self.counters.split_segments += u64::from(offload.is_super_packet());
            }
            _ => send(packet),
        }
        self.frame = header;
        if failed { Err(self.failed()) } else { Ok(()) }
    }

    fn failed(&mut self) -> DropReason {
        self.counters.not_sent += 1;
        DropReason::LinkDown
    }

    /// Asks the system for what it alone knows.
    pub(super) fn refresh_counters(&mut self) {
        self.counters.missed = self.port.missed_count();
    }
}

impl AsRawFd for PortLink {
    fn as_raw_fd(&self) -> RawFd {
        self.port.as_raw_fd()
    }
}

/// Whether `packet` goes to where `to` came from.
fn answers(packet: &[u8], to: &[u8]) -> bool {
    match (packet.first().map(|b| b >> 4), to.first().map(|b| b >> 4)) {
        (Some(4), Some(4)) => packet.get(16..20) == to.get(12..16),
        (Some(6), Some(6)) => packet.get(24..40) == to.get(8..24),
        _ => false,
    }
}

/// Writes the IP version into the EtherType at the end of a link header, if that is what stands there.
fn set_version(header: &mut [u8], ip_version: u8) {
    if let Some(ether_type) = header.last_chunk_mut::<2>()
        && (*ether_type == TYPE_IPV4 || *ether_type == TYPE_IPV6)
    {
        *ether_type = if ip_version == 6 { TYPE_IPV6 } else { TYPE_IPV4 };
    }
}

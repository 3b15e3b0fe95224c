//! Link headers for packets that did not come with one: those that modules send, and those of another link type.

use crate::drivers::replay::reader::Frame;
use crate::wire::frame;

/// What is in a frame that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Onward {
    /// Nothing that can be taken out of it.
    Frame,
    /// An IP packet, which begins at `at`.
    Packet {
        /// In bytes from the start of the frame.
        at: usize,
    },
}

/// Remembers the link header of the last packet of each IP version.
pub(super) struct Relink {
    /// Of the output file.
    link_type: u32,
    /// The last frame's addresses; `None` when its packet is too short to have them.
    addresses: Option<Addresses>,
    /// The headers of the last IPv4 and IPv6 packets that have the output's link type, with their addresses.
    last: [Option<(Vec<u8>, Option<Addresses>)>; 2],
    /// The frame that is built.
    built: Vec<u8>,
}

/// Source and destination of a packet; IPv4 addresses in the first four bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Addresses {
    source: [u8; 16],
    destination: [u8; 16],
}

impl Relink {
    pub(super) fn new(link_type: u32) -> Relink {
        Relink { link_type, addresses: None, last: [None, None], built: Vec::new() }
    }

    /// A frame came in, whose IP packet begins at `at`.
    pub(super) fn saw(&mut self, link_type: u32, frame: &[u8], at: usize) {
        self.addresses = Addresses::of(&frame[at..]);
        if link_type == self.link_type && at <= HEADER_KEPT_BYTES_MAX {
            let slot = &mut self.last[usize::from(frame[at] >> 4 == 6)];
            let (header, addresses) = slot.get_or_insert_default();
            header.clear();
            header.extend_from_slice(&frame[..at]);
            *addresses = self.addresses;
        }
    }

    /// Whether `packet`, into which the last packet was turned, goes back to where that came from.
    pub(super) fn goes_back(&self, packet: &[u8]) -> bool {
        goes_back(self.addresses, packet)
    }

    /// The frame of `packet`, with the header of the last packet of its IP version; `None` when there is no header
    /// for it.
    pub(super) fn frame_for(&mut self, packet: &[u8]) -> Option<&[u8]> {
        let version = packet.first()? >> 4;
        self.built.clear();
        match &self.last[usize::from(version == 6)] {
            Some((header, addresses)) => {
                self.built.extend_from_slice(header);
                if goes_back(*addresses, packet) {
                    frame::turn_around(self.link_type, &mut self.built);
                }
                self.built.extend_from_slice(packet);
                frame::set_length(self.link_type, &mut self.built, packet.len());
            }
            None => {
                if !frame::header_for(self.link_type, version, packet.len(), &mut self.built) {
                    return None;
                }
                self.built.extend_from_slice(packet);
            }
        }
        Some(&self.built)
    }

    /// A frame of another link type as one of the output's, with its length on the wire; `None` when that cannot be.
    pub(super) fn other_link(&mut self, of: &Frame<'_>, content: Onward) -> Option<(&[u8], u32)> {
        let Onward::Packet { at } = content else { return None };
        let packet = &of.bytes[at..];
        self.built.clear();
        if !frame::header_for(self.link_type, packet.first()? >> 4, packet.len(), &mut self.built) {
            return None;
        }
        let header_bytes = self.built.len();
        self.built.extend_from_slice(packet);
        let wire_bytes = (of.wire_bytes as usize).saturating_sub(at).saturating_add(header_bytes);
        Some((&self.built, u32::try_from(wire_bytes).unwrap_or(u32::MAX)))
    }
}

impl Addresses {
    fn of(packet: &[u8]) -> Option<Addresses> {
        let mut addresses = Addresses { source: [0; 16], destination: [0; 16] };
        match packet.first()? >> 4 {
            4 => {
                addresses.source[..4].copy_from_slice(packet.get(12..16)?);
                addresses.destination[..4].copy_from_slice(packet.get(16..20)?);
            }
            6 => {
                addresses.source.copy_from_slice(packet.get(8..24)?);
                addresses.destination.copy_from_slice(packet.get(24..40)?);
            }
            _ => return None,
        }
        Some(addresses)
    }
}

fn goes_back(came: Option<Addresses>, packet: &[u8]) -> bool {
    let (Some(came), Some(goes)) = (came, Addresses::of(packet)) else { return false };
    came.source == goes.destination && came.destination == goes.source && came.source != came.destination
}

/// Longest link header that is remembered, in bytes: Ethernet with a dozen tags.
const HEADER_KEPT_BYTES_MAX: usize = 64;

//! A packet where the driver read it, and an owned one.

/// The offload header that travels beside a packet: Linux's `virtio_net_hdr` (linux/virtio_net.h).
///
/// All zero means: an ordinary packet with complete checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// [`Offload::NEEDS_CHECKSUM`] and [`Offload::DATA_VALID`].
    pub flags: u8,
    /// 0, [`Offload::TCP4`], [`Offload::UDP`] (UFO, never asked for), [`Offload::TCP6`], [`Offload::UDP_SEGMENT`];
    /// [`Offload::ECN`] may be added.
    pub gso_type: u8,
    /// Length of all headers as the kernel sees it, in bytes. Not to be trusted; goes back unchanged.
    pub header_bytes: u16,
    /// Payload bytes of each segment; 0 when this is one packet.
    pub segment_bytes: u16,
    /// Where the checksum starts, from the first byte of the IP header.
    pub checksum_start: u16,
    /// Where the checksum is stored, from `checksum_start`.
    pub checksum_offset: u16,
}

impl Offload {
    /// The transport checksum field holds the folded sum of the pseudo-header, not complemented.
    pub const NEEDS_CHECKSUM: u8 = 1;
    /// The receiver has checked the transport checksum.
    pub const DATA_VALID: u8 = 2;
    /// A TCP super-packet over IPv4.
    pub const TCP4: u8 = 1;
    /// A UDP datagram to be fragmented.
    pub const UDP: u8 = 3;
    /// A TCP super-packet over IPv6.
    pub const TCP6: u8 = 4;
    /// Several UDP datagrams of one flow in one packet.
    pub const UDP_SEGMENT: u8 = 5;
    /// Flag in the type: the first segment carries CWR.
    pub const ECN: u8 = 0x80;
    /// Length of the header on a TUN device, in bytes.
    pub const WIRE_BYTES: usize = 10;

    /// Reads the header as the kernel wrote it: in this machine's byte order.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::WIRE_BYTES]) -> Self {
        let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Offload {
            flags: bytes[0],
            gso_type: bytes[1],
            header_bytes: half(2),
            segment_bytes: half(4),
            checksum_start: half(6),
            checksum_offset: half(8),
        }
    }

    /// The header as the kernel wants it: in this machine's byte order.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::WIRE_BYTES] {
        let mut bytes = [0; Self::WIRE_BYTES];
        bytes[0] = self.flags;
        bytes[1] = self.gso_type;
        bytes[2..4].copy_from_slice(&self.header_bytes.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.segment_bytes.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.checksum_start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.checksum_offset.to_ne_bytes());
        bytes
    }

    /// Whether the transport checksum is still to be completed by whoever sends the packet at last.
    #[must_use]
    pub const fn needs_checksum(&self) -> bool {
        self.flags & Self::NEEDS_CHECKSUM != 0
    }

    /// Whether this is several segments in one.
    #[must_use]
    pub const fn is_super_packet(&self) -> bool {
        self.gso_type & !Self::ECN != 0 && self.segment_bytes != 0
    }

    /// How many packets on the wire a packet with `payload_bytes` of transport payload stands for; at least 1.
    #[must_use]
    pub fn segment_count(&self, payload_bytes: usize) -> u32 {
        if self.is_super_packet() { (payload_bytes.div_ceil(usize::from(self.segment_bytes)) as u32).max(1) } else { 1 }
    }
}

/// A packet in the driver's buffer. May be edited, shrunk, and grown up to the buffer's end.
#[derive(Debug)]
pub struct PacketMut<'a> {
    room: &'a mut [u8],
    len: usize,
    /// The offload header beside it.
    pub offload: Offload,
    /// Bytes that the packet took on its link, with the link's header; for counters.
    pub wire_bytes: u32,
    /// The capture holds less than what was on the wire: may be looked at, not changed.
    pub truncated: bool,
}

impl<'a> PacketMut<'a> {
    /// The packet in the first `len` bytes of `room`, from its IP header on.
    ///
    /// # Panics
    ///
    /// When `room` is shorter than `len`.
    #[must_use]
    pub fn new(room: &'a mut [u8], len: usize, offload: Offload) -> Self {
        assert!(len <= room.len(), "the driver read the packet into this room");
        PacketMut { room, len, offload, wire_bytes: len as u32, truncated: false }
    }

    /// The packet, from its IP header on.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }

    /// The packet, to be edited in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.room[..self.len]
    }

    /// Length in bytes, from the IP header on.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Shrinks or grows the packet; new bytes hold anything. Returns false, and does nothing, when there is no room.
    #[must_use]
    pub fn resize(&mut self, len: usize) -> bool {
        let fits = len <= self.room.len();
        if fits {
            self.len = len;
        }
        fits
    }
}

/// A packet that the node made or holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// From the IP header on.
    pub bytes: Vec<u8>,
    /// The offload header beside it.
    pub offload: Offload,
}

//! Reads capture files, record by record: pcap and pcapng, of either byte order.

use std::io::{self, Read};

use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{
    Block, InterfaceDescriptionBlock, OptionCode, PcapError, parse_block_be, parse_block_le, parse_pcap_header,
    parse_sectionheaderblock,
};

use crate::base::limits::{CAPTURE_BLOCK_BYTES_MAX, CAPTURE_INTERFACES_MAX};

/// One frame of a capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the frame begins with; see [`crate::wire::frame`].
    pub link_type: u32,
    /// Nanoseconds since 1970-01-01 UTC.
    pub time_ns: u64,
    /// As much of the frame as was captured.
    pub bytes: &'a [u8],
    /// Length on the wire; never below that of `bytes`.
    pub wire_bytes: u32,
}

/// Which kind of capture file this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The classic format, with times in microseconds.
    PcapMicros,
    /// The classic format, with times in nanoseconds.
    PcapNanos,
    /// The format of blocks.
    PcapNg,
}

impl Format {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Format::PcapMicros => "pcap",
            Format::PcapNanos => "pcap, nanoseconds",
            Format::PcapNg => "pcapng",
        }
    }
}

/// What is wrong with a capture file, and where.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It cannot be read.
    #[error("cannot be read at byte {offset}: {source}")]
    Read {
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It is no capture file.
    #[error("is no pcap or pcapng file: it begins with {begins}{hint}")]
    NotACapture {
        /// The first bytes, in hex.
        begins: String,
        /// What to do, where that can be guessed.
        hint: &'static str,
    },
    /// It ends within a record.
    #[error("ends at byte {end}, within the record that begins at byte {offset}; the capture was cut short")]
    Cut {
        /// Where the record begins.
        offset: u64,
        /// Where the file ends.
        end: u64,
    },
    /// A record contradicts itself.
    #[error("is broken at byte {offset}: {what}")]
    Broken {
        /// Where the record begins.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

/// Reads frames from any reader, in constant memory: one buffer, as long as the longest record.
pub struct CaptureReader<R> {
    window: Window<R>,
    state: State,
}

enum State {
    Pcap(Classic),
    Ng(Section),
}

struct Classic {
    big_endian: bool,
    nanos: bool,
    link_type: u32,
    header_bytes: usize,
    lengths: LengthOrder,
}

/// Whether a record gives the captured length before the one on the wire.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LengthOrder {
    CapturedFirst,
    /// Files of version 2.3 may do either.
    SmallerIsCaptured,
    /// Files before version 2.3.
    WireFirst,
}

#[derive(Default)]
struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
    last_time_ns: u64,
}

#[derive(Clone, Copy)]
struct Interface {
    link_type: u32,
    snap_bytes: u32,
    units_per_second: u128,
    offset_s: i64,
}

impl<R: Read> CaptureReader<R> {
    /// Reads the head of a capture file.
    ///
    /// # Errors
    ///
    /// When it is no capture file, or cannot be read.
    pub fn new(source: R) -> Result<Self, CaptureError> {
        let mut window = Window { source, buffer: Vec::new(), start: 0, end: 0, offset: 0 };
        if !window.holds(4)? {
            return Err(window.not_a_capture());
        }
        let magic = window.word(0, false);
        if magic == SECTION {
            return Ok(CaptureReader { window, state: State::Ng(Section::default()) });
        }
        if ![0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34].iter().any(|m| magic == *m || magic.swap_bytes() == *m) {
            return Err(window.not_a_capture());
        }
        if !window.holds(PCAP_HEADER_BYTES)? {
            return Err(window.cut());
        }
        let state = State::Pcap(Classic::read(&window)?);
        window.consume(PCAP_HEADER_BYTES);
        Ok(CaptureReader { window, state })
    }

    /// Which kind of file this is.
    #[must_use]
    pub fn format(&self) -> Format {
        match &self.state {
            State::Pcap(classic) if classic.nanos => Format::PcapNanos,
            State::Pcap(_) => Format::PcapMicros,
            State::Ng(_) => Format::PcapNg,
        }
    }

    /// The next frame; `None` at the end of the file.
    ///
    /// # Errors
    ///
    /// When the file is broken; nothing more can be read from it then.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        match &mut self.state {
            State::Pcap(classic) => classic.next_frame(&mut self.window),
            State::Ng(section) => section.next_frame(&mut self.window),
        }
    }
}

impl Classic {
    fn read<R: Read>(window: &Window<R>) -> Result<Classic, CaptureError> {
        let mut head = [0; PCAP_HEADER_BYTES];
        head.copy_from_slice(&window.data()[..PCAP_HEADER_BYTES]);
        let magic = window.word(0, false);
        let modified = magic == MODIFIED || magic == MODIFIED.swap_bytes();
        let big_endian = magic & 0xff == 0xa1;
        if magic == MODIFIED.swap_bytes() {
            // The parser knows this variant in one byte order only; the fields behind the number are the usual ones.
            head[..4].copy_from_slice(&0xa1b2_c3d4u32.to_be_bytes());
        }
        let (_, header) = parse_pcap_header(&head).map_err(|_| window.broken("the file header cannot be read"))?;
        // The upper six bits say how long the frame check sequence is: padding for us.
        let link_type = header.network.0 as u32 & 0x03ff_ffff;
        let lengths = match (header.version_major, header.version_minor) {
            (2, 0..=2) => LengthOrder::WireFirst,
            (2, 3) => LengthOrder::SmallerIsCaptured,
            _ => LengthOrder::CapturedFirst,
        };
        let nanos = header.is_nanosecond_precision();
        Ok(Classic { big_endian, nanos, link_type, header_bytes: if modified { 24 } else { 16 }, lengths })
    }

    fn next_frame<'w, R: Read>(&self, window: &'w mut Window<R>) -> Result<Option<Frame<'w>>, CaptureError> {
        if !window.holds(1)? {
            return Ok(None);
        }
        if !window.holds(self.header_bytes)? {
            return Err(window.cut());
        }
        let [seconds, fraction, first, second] = [0, 4, 8, 12].map(|at| window.word(at, self.big_endian));
        let (captured, wire) = match self.lengths {
            LengthOrder::WireFirst => (second, first),
            LengthOrder::SmallerIsCaptured => (first.min(second), first.max(second)),
            LengthOrder::CapturedFirst => (first, second),
        };
        let record_bytes = window.bounded(self.header_bytes as u64 + u64::from(captured))?;
        if !window.holds(record_bytes)? {
            return Err(window.cut());
        }
        let nanos = u64::from(fraction) * if self.nanos { 1 } else { 1_000 };
        let (link_type, head) = (self.link_type, self.header_bytes);
        Ok(Some(Frame {
            link_type,
            time_ns: u64::from(seconds) * 1_000_000_000 + nanos,
            bytes: &window.take(record_bytes)[head..],
            wire_bytes: wire.max(captured),
        }))
    }
}

impl Section {
    fn next_frame<'w, R: Read>(&mut self, window: &'w mut Window<R>) -> Result<Option<Frame<'w>>, CaptureError> {
        loop {
            if !window.holds(1)? {
                return Ok(None);
            }
            let block_bytes = self.whole_block(window)?;
            match window.word(0, self.big_endian) {
                SECTION => self.begin(window, block_bytes)?,
                INTERFACE => self.describe_interface(window, block_bytes)?,
                OLD_PACKET | SIMPLE_PACKET | ENHANCED_PACKET => {
                    let found = self.packet(window, block_bytes)?;
                    self.last_time_ns = found.time_ns;
                    return Ok(Some(Frame {
                        link_type: found.link_type,
                        time_ns: found.time_ns,
                        bytes: &window.take(block_bytes)[found.at..found.at + found.captured],
                        wire_bytes: found.wire_bytes,
                    }));
                }
                // Names, statistics, keys, comments, what others invented.
                _ => {}
            }
            window.consume(block_bytes);
        }
    }

    /// Reads the block that begins here as a whole; the result is its length, which its end repeats.
    fn whole_block<R: Read>(&mut self, window: &mut Window<R>) -> Result<usize, CaptureError> {
        if !window.holds(12)? {
            return Err(window.cut());
        }
        if window.word(0, false) == SECTION {
            self.big_endian = match window.word(8, true) {
                BYTE_ORDER => true,
                other if other.swap_bytes() == BYTE_ORDER => false,
                other => return Err(window.broken(&format!("{other:#010x} is no byte order mark of a section"))),
            };
        }
        let said = window.word(4, self.big_endian);
        if said < 12 || !said.is_multiple_of(4) {
            return Err(window.broken(&format!("a block cannot be {said} bytes long")));
        }
        let block_bytes = window.bounded(u64::from(said))?;
        if !window.holds(block_bytes)? {
            return Err(window.cut());
        }
        let repeated = window.word(block_bytes - 4, self.big_endian);
        if repeated != said {
            return Err(window.broken(&format!("the block says {said} bytes at its start and {repeated} at its end")));
        }
        Ok(block_bytes)
    }

    fn begin<R: Read>(&mut self, window: &Window<R>, block_bytes: usize) -> Result<(), CaptureError> {
        let (_, header) = parse_sectionheaderblock(&window.data()[..block_bytes])
            .map_err(|_| window.broken("the section header cannot be read"))?;
        if header.major_version != 1 {
            return Err(window.broken(&format!("version {} of pcapng is not known, only 1", header.major_version)));
        }
        self.interfaces.clear();
        Ok(())
    }

    fn describe_interface<R: Read>(&mut self, window: &Window<R>, block_bytes: usize) -> Result<(), CaptureError> {
        let Block::InterfaceDescription(block) = self.parse(window, block_bytes)? else {
            return Err(window.broken("the interface description cannot be read"));
        };
        if self.interfaces.len() == CAPTURE_INTERFACES_MAX {
            return Err(window.broken(&format!("more than {CAPTURE_INTERFACES_MAX} interfaces in one section")));
        }
        let units_per_second = units_per_second(block.if_tsresol)
            .ok_or_else(|| window.broken(&format!("if_tsresol {:#04x} is too fine", block.if_tsresol)))?;
        self.interfaces.push(Interface {
            link_type: block.linktype.0 as u32,
            snap_bytes: block.snaplen,
            units_per_second,
            offset_s: time_offset(&block, self.big_endian),
        });
        Ok(())
    }

    fn parse<'w, R: Read>(&self, window: &'w Window<R>, block_bytes: usize) -> Result<Block<'w>, CaptureError> {
        let block = &window.data()[..block_bytes];
        let parsed = if self.big_endian { parse_block_be(block) } else { parse_block_le(block) };
        parsed.map(|(_, block)| block).map_err(|e| {
            let why = match e {
                pcap_parser::nom::Err::Incomplete(_) => "a length within the block reaches behind its end".to_owned(),
                pcap_parser::nom::Err::Error(e) | pcap_parser::nom::Err::Failure(e) => {
                    // Its own text would print the block.
                    let kind =
                        if let PcapError::NomError(_, kind) = e { format!("{kind:?}") } else { "unknown".to_owned() };
                    format!("the block contradicts itself ({kind})")
                }
            };
            window.broken(&why)
        })
    }

    fn packet<R: Read>(&self, window: &Window<R>, block_bytes: usize) -> Result<FoundPacket, CaptureError> {
        let block = self.parse(window, block_bytes)?;
        if let Block::EnhancedPacket(block) = block {
            let interface = self.interface(window, block.if_id)?;
            let captured = block.packet_data().len();
            let time_ns = interface.time_ns(block.ts_high, block.ts_low);
            Ok(FoundPacket::new(interface, time_ns, 28, captured, block.origlen))
        } else if let Block::SimplePacket(block) = block {
            let interface = self.interface(window, 0)?;
            let snap = if interface.snap_bytes == 0 { usize::MAX } else { interface.snap_bytes as usize };
            let captured = block.data.len().min(block.origlen as usize).min(snap);
            // It has no time of its own.
            Ok(FoundPacket::new(interface, self.last_time_ns, 12, captured, block.origlen))
        } else {
            self.old_packet(window, block_bytes)
        }
    }

    /// The packet block of drafts before the enhanced one, which the parser does not know.
    fn old_packet<R: Read>(&self, window: &Window<R>, block_bytes: usize) -> Result<FoundPacket, CaptureError> {
        if block_bytes < 32 {
            return Err(window.broken("the packet block is too short"));
        }
        let [ids, high, low, captured, wire] = [8, 12, 16, 20, 24].map(|at| window.word(at, self.big_endian));
        let interface = self.interface(window, if self.big_endian { ids >> 16 } else { ids & 0xffff })?;
        if captured as usize > block_bytes - 32 {
            return Err(window.broken("a length within the block reaches behind its end"));
        }
        Ok(FoundPacket::new(interface, interface.time_ns(high, low), 28, captured as usize, wire))
    }

    fn interface<R: Read>(&self, window: &Window<R>, id: u32) -> Result<Interface, CaptureError> {
        self.interfaces.get(id as usize).copied().ok_or_else(|| {
            let count = self.interfaces.len();
            window.broken(&format!("a packet of interface {id}, but the section describes {count} interfaces"))
        })
    }
}

/// A packet within its block.
struct FoundPacket {
    link_type: u32,
    time_ns: u64,
    at: usize,
    captured: usize,
    wire_bytes: u32,
}

impl FoundPacket {
    fn new(interface: Interface, time_ns: u64, at: usize, captured: usize, wire_bytes: u32) -> FoundPacket {
        let wire_bytes = wire_bytes.max(captured as u32);
        FoundPacket { link_type: interface.link_type, time_ns, at, captured, wire_bytes }
    }
}

impl Interface {
    fn time_ns(&self, high: u32, low: u32) -> u64 {
        let units = u128::from(high) << 32 | u128::from(low);
        let nanos = (units * 1_000_000_000 / self.units_per_second) as i128 + i128::from(self.offset_s) * 1_000_000_000;
        nanos.clamp(0, i128::from(u64::MAX)) as u64
    }
}

/// `if_tsresol`: a negative power of 10, or of 2 when the highest bit is set.
fn units_per_second(resolution: u8) -> Option<u128> {
    if resolution & 0x80 == 0 {
        10u128.checked_pow(u32::from(resolution))
    } else {
        1u128.checked_shl(u32::from(resolution & 0x7f))
    }
}

/// `if_tsoffset`, in seconds. The parser reads it in one byte order only.
fn time_offset(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> i64 {
    let option = block.options.iter().find(|o| o.code == OptionCode::IfTsoffset);
    let bytes = option.and_then(|o| <[u8; 8]>::try_from(o.as_bytes().ok()?).ok());
    bytes.map_or(0, |b| if big_endian { i64::from_be_bytes(b) } else { i64::from_le_bytes(b) })
}

/// The part of a file that is in memory: what is between `start` and `end` of the buffer is not yet consumed.
struct Window<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Of `start`, in bytes from the start of the file.
    offset: u64,
}

impl<R: Read> Window<R> {
    /// Reads on until `bytes` bytes are in memory; false when the file ends before.
    fn holds(&mut self, bytes: usize) -> Result<bool, CaptureError> {
        if self.end - self.start >= bytes {
            return Ok(true);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < bytes.max(READ_BYTES) {
            self.buffer.resize(bytes.max(READ_BYTES), 0);
        }
        while self.end < bytes {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(count) => self.end += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(CaptureError::Read { offset: self.offset + self.end as u64, source }),
            }
        }
        Ok(true)
    }

    fn data(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn word(&self, at: usize, big_endian: bool) -> u32 {
        let data = self.data();
        let bytes = [data[at], data[at + 1], data[at + 2], data[at + 3]];
        if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Consumes the next `bytes` bytes, which are in memory.
    fn take(&mut self, bytes: usize) -> &[u8] {
        self.consume(bytes);
        &self.buffer[self.start - bytes..self.start]
    }

    fn bounded(&self, bytes: u64) -> Result<usize, CaptureError> {
        match usize::try_from(bytes) {
            Ok(bytes) if bytes <= CAPTURE_BLOCK_BYTES_MAX => Ok(bytes),
            _ => {
                Err(self.broken(&format!("a record of {bytes} bytes; at most {CAPTURE_BLOCK_BYTES_MAX} are possible")))
            }
        }
    }

    fn broken(&self, what: &str) -> CaptureError {
        CaptureError::Broken { offset: self.offset, what: what.to_owned() }
    }

    fn cut(&self) -> CaptureError {
        CaptureError::Cut { offset: self.offset, end: self.offset + (self.end - self.start) as u64 }
    }

    fn not_a_capture(&self) -> CaptureError {
        let first = &self.data()[..self.data().len().min(4)];
        let hint = match first {
            [0x1f, 0x8b, ..] => " (gzip); unpack it first, with gunzip",
            [0x28, 0xb5, 0x2f, 0xfd] => " (zstd); unpack it first, with unzstd",
            [0xfd, b'7', b'z', b'X'] => " (xz); unpack it first, with unxz",
            _ => "",
        };
        let begins = match first {
            [] => "nothing".to_owned(),
            _ => first.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" "),
        };
        CaptureError::NotACapture { begins, hint }
    }
}

/// How much is read at once, in bytes.
const READ_BYTES: usize = 256 * 1024;
const PCAP_HEADER_BYTES: usize = 24;
/// pcap with eight more bytes per record, written by a patched libpcap.
const MODIFIED: u32 = 0xa1b2_cd34;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

#[cfg(test)]
mod tests;

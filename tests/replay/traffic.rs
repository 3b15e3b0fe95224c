//! Random traffic as a capture file that is made while it is read.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use netserv::base::rng::Rng;
use netserv::drivers::replay::reader::{CaptureReader, Frame};
use netserv::drivers::replay::writer::CaptureWriter;
use netserv::wire::frame;

/// A capture file of Ethernet frames.
pub(crate) struct Traffic<F> {
    rng: Rng,
    /// Frames to start from, with their lengths on the wire.
    real: Vec<(Vec<u8>, u32)>,
    left: u64,
    count: u64,
    time_ns: u64,
    writer: CaptureWriter<Pipe>,
    counted: F,
}

/// What is written, to be read.
#[derive(Default)]
struct Pipe(VecDeque<u8>);

impl io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F: FnMut(u64)> Traffic<F> {
    /// `packets` frames; `counted` is told the number of each.
    pub(crate) fn new(seed: u64, packets: u64, captures: &[PathBuf], counted: F) -> Self {
        let mut real = Vec::new();
        for path in captures {
            let mut reader = CaptureReader::new(File::open(path).unwrap()).unwrap();
            while let Some(found) = reader.next_frame().unwrap() {
                if found.link_type == frame::ETHERNET {
                    real.push((found.bytes.to_vec(), found.wire_bytes));
                }
            }
        }
        assert!(real.len() > 100, "the captures hold {} Ethernet frames", real.len());
        let writer = CaptureWriter::new(Pipe::default(), frame::ETHERNET).unwrap();
        Traffic { rng: Rng::seeded(seed), real, left: packets, count: 0, time_ns: 0, writer, counted }
    }

    /// A frame, and its length on the wire.
    fn frame(&mut self) -> (Vec<u8>, u32) {
        let (mut bytes, mut wire) = match self.rng.below(8) {
            0 => (self.noise(), 0),
            1..=3 => (self.made(), 0),
            _ => {
                let pick = self.rng.below(self.real.len() as u64) as usize;
                self.real[pick].clone()
            }
        };
        if self.rng.below(3) == 0 {
            self.damage(&mut bytes);
        }
        if self.rng.below(16) == 0 {
            wire = bytes.len() as u32 + self.rng.below(2_000) as u32;
        }
        let wire = wire.max(bytes.len() as u32);
        (bytes, wire)
    }

    /// Random bytes, most of them behind something that looks like the start of an IP packet.
    fn noise(&mut self) -> Vec<u8> {
        let len = self.rng.below(200) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| self.rng.next_u64() as u8).collect();
        let heads: [&[u8]; 4] = [&[8, 0, 0x45], &[0x86, 0xdd, 0x60], &[0x81, 0, 0, 7, 8, 0, 0x46], &[8, 6]];
        let head = heads[self.rng.below(4) as usize];
        if bytes.len() >= 12 + head.len() {
            bytes[12..12 + head.len()].copy_from_slice(head);
        }
        bytes
    }

    /// A right packet of one of many flows, one in four a fragment; every other one holds the word of `uppercase`.
    fn made(&mut self) -> Vec<u8> {
        let mut bytes = [[2u8; 12].as_slice(), &[8, 0]].concat();
        let [a, b, c, d] = std::array::from_fn(|_| self.rng.next_u64() as u8);
        let from = [10, 0, a & 15, b];
        let ports = (u16::from(c) << 6 | 1_024, [53, 80, 443, 5_060][usize::from(d & 3)]);
        let payload: &[u8] = if a & 1 == 0 { b"GET /netserv HTTP/1.1\r\n\r\n" } else { &[0x5a; 40] };
        let builder = etherparse::PacketBuilder::ipv4(from, [192, 0, 2, d], 64);
        match d >> 6 {
            0 => builder.tcp(ports.0, ports.1, 7, 512).write(&mut bytes, payload).unwrap(),
            _ => builder.udp(ports.0, ports.1).write(&mut bytes, payload).unwrap(),
        }
        if d >> 6 == 3 {
            // A fragment: of a random datagram, at offset 0, 8, 16 or 24, with more behind it.
            bytes[14 + 4..14 + 8].copy_from_slice(&[a, b, 0x20, c & 3]);
            let header = &mut bytes[14..34];
            header[10..12].fill(0);
            let sum = header.chunks(2).map(|h| u32::from(u16::from_be_bytes([h[0], h[1]]))).sum::<u32>();
            let sum = (sum & 0xffff) + (sum >> 16);
            header[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
        }
        bytes
    }

    /// Flips, cuts, repeats or removes something; more often in the headers.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.rng.below(3) {
            if bytes.len() < 2 {
                return;
            }
            let reach = if self.rng.below(4) == 0 { bytes.len() } else { bytes.len().min(80) };
            let at = self.rng.below(reach as u64) as usize;
            match self.rng.below(6) {
                0 => bytes[at] = self.rng.next_u64() as u8,
                1 => bytes[at] ^= 1 << self.rng.below(8),
                2 => bytes[at] = [0, 0xff, 0x7f, 0x80][self.rng.below(4) as usize],
                3 => bytes.truncate(at),
                4 => drop(bytes.drain(at..(at + 1 + self.rng.below(8) as usize).min(bytes.len()))),
                _ => {
                    let piece = bytes[at..(at + 8).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
    }
}

impl<F: FnMut(u64)> Read for Traffic<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.writer.sink().0.len() < buffer.len() && self.left > 0 {
            self.left -= 1;
            self.count += 1;
            (self.counted)(self.count);
            // 10 us between packets on average; now and then a second, now and then back.
            self.time_ns += match self.rng.below(4_096) {
                0 => 1_000_000_000,
                _ => self.rng.below(20_000),
            };
            let back = if self.rng.below(256) == 0 { self.rng.below(5_000_000) } else { 0 };
            let (bytes, wire_bytes) = self.frame();
            let time_ns = 1_700_000_000_000_000_000 + self.time_ns.saturating_sub(back);
            self.writer.write(&Frame { link_type: frame::ETHERNET, time_ns, bytes: &bytes, wire_bytes })?;
        }
        self.writer.sink().0.read(buffer)
    }
}

use etherparse::PacketBuilder;

use super::*;
use crate::wire::segment;

/// Packets as they were read, and where they are.
#[derive(Default)]
struct Batch {
    arena: Vec<u8>,
    waiting: Vec<Waiting>,
}

impl Batch {
    fn add(&mut self, packet: &[u8], offload: Offload) {
        self.waiting.push(Waiting::new(self.arena.len(), packet.len(), offload));
        self.arena.extend_from_slice(packet);
    }

    /// What is written: each super-packet, with its header.
    fn written(&mut self) -> Vec<(Vec<u8>, Offload)> {
        join(&self.arena, &mut self.waiting, Joinable::ALL);
        let mut out = Vec::new();
        for head in 0..self.waiting.len() {
            if self.waiting[head].joined {
                continue;
            }
            let mut offload = self.waiting[head].offload;
            if self.waiting[head].next != NONE {
                offload = finish(&mut self.arena, &self.waiting, head).unwrap();
            }
            let mut bytes = self.waiting[head].bytes(&self.arena).to_vec();
            let mut next = self.waiting[head].next;
            while next != NONE {
                let waiting = self.waiting[next as usize];
                bytes.extend_from_slice(&waiting.bytes(&self.arena)[usize::from(waiting.header_bytes)..]);
                next = waiting.next;
            }
            out.push((bytes, offload));
        }
        out
    }
}

fn udp(source_port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(source_port, 9).write(&mut bytes, payload).unwrap();
    bytes[6] |= 0x40;
    checksum::write_ipv4(&mut bytes);
    bytes
}

fn tcp(sequence: u32, payload: &[u8], push: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv6([1; 16], [2; 16], 64).tcp(1, 2, sequence, 500).ack(7);
    let builder = if push { builder.psh() } else { builder };
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

/// The packets that the kernel would make of what is written.
fn segments(written: &[(Vec<u8>, Offload)]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (bytes, offload) in written {
        let header = Header::parse(bytes, false).unwrap();
        segment::split(bytes, &header, *offload, &mut Vec::new(), |segment| out.push(segment.to_vec()));
    }
    out
}

#[test]
fn datagrams_of_one_flow_become_one_and_come_apart_as_they_were() {
    let packets: Vec<_> = (0..5u8).map(|i| udp(5000, &vec![i; if i == 4 { 7 } else { 100 }])).collect();
    let mut batch = Batch::default();
    packets.iter().for_each(|p| batch.add(p, Offload::default()));
    let written = batch.written();
    assert_eq!(written.len(), 1);
    assert_eq!((written[0].1.gso_type, written[0].1.segment_bytes), (Offload::UDP_SEGMENT, 100));
    let back = segments(&written);
    assert_eq!(back.len(), 5);
    for (packet, got) in packets.iter().zip(&back) {
        // With DF the identification says nothing, and segmentation counts it up.
        assert_eq!((&packet[..4], &packet[12..]), (&got[..4], &got[12..]));
    }
}

#[test]
fn segments_of_a_connection_become_one_until_push() {
    let part = |i: u32, push| tcp((u32::MAX - 50).wrapping_add(i * 100), &[i as u8; 100], push);
    let packets: Vec<_> = (0..6).map(|i| part(i, i == 2)).collect();
    let mut batch = Batch::default();
    packets.iter().for_each(|p| batch.add(p, Offload::default()));
    let written = batch.written();
    assert_eq!(written.len(), 2);
    assert_eq!(written[0].1.gso_type, Offload::TCP6);
    assert_eq!(segments(&written), packets);
}

#[test]
fn flows_that_take_turns_are_joined_each_for_itself_and_keep_their_order() {
    let mut batch = Batch::default();
    for i in 0..4u8 {
        for port in 1..4 {
            batch.add(&udp(port, &[i; 50]), Offload::default());
        }
    }
    let written = batch.written();
    assert_eq!(written.len(), 3);
    let payloads: Vec<u8> = segments(&written)[4..8].iter().map(|s| s[28]).collect();
    assert_eq!(payloads, [0, 1, 2, 3]);
}

#[test]
fn a_wrong_checksum_stays_wrong_and_alone() {
    let mut bad = udp(1, &[1; 50]);
    bad[40] ^= 1;
    let good = udp(1, &[2; 50]);
    let mut batch = Batch::default();
    for packet in [&good, &bad, &good, &good] {
        batch.add(packet, Offload::default());
    }
    let written = batch.written();
    assert_eq!(written.iter().map(|(bytes, _)| bytes.len()).collect::<Vec<_>>(), [78, 78, 128]);
    assert_eq!(written[1].0, bad);
    let mut batch = Batch::default();
    let valid = Offload { flags: Offload::DATA_VALID, ..Offload::default() };
    [&good, &good].iter().for_each(|p| batch.add(p, valid));
    assert_eq!(batch.written().len(), 1);
}

#[test]
fn what_differs_is_not_joined() {
    let alone = |packets: &[Vec<u8>]| {
        let mut batch = Batch::default();
        packets.iter().for_each(|p| batch.add(p, Offload::default()));
        assert_eq!(segments(&batch.written()), packets);
        assert!(batch.waiting.iter().all(|w| !w.joined));
    };
    let changed = |mut packet: Vec<u8>, at: usize, value: u8| {
        packet[at] = value;
        checksum::write_ipv4(&mut packet);
        packet
    };
    let base = udp(1, &[1; 50]);
    alone(&[base.clone(), udp(2, &[1; 50])]);
    alone(&[base.clone(), udp(1, &[1; 51])]);
    // Hop limit, class of service, fragment, no checksum.
    alone(&[base.clone(), changed(base.clone(), 8, 63)]);
    alone(&[base.clone(), changed(base.clone(), 1, 8)]);
    alone(&[base.clone(), changed(base.clone(), 6, 0x20)]);
    // Without DF the identifications must count up.
    alone(&[changed(base.clone(), 6, 0), changed(base.clone(), 6, 0)]);
    // A gap, a repetition, another acknowledgement, a shorter one in the middle.
    let segment = |sequence, len: usize| tcp(sequence, &vec![1; len], false);
    alone(&[segment(0, 50), segment(51, 50)]);
    alone(&[segment(0, 50), segment(0, 50)]);
    alone(&[segment(0, 50), tcp(50, &[], false), segment(50, 60)]);
}

#[test]
fn a_super_packet_ends_the_run_of_its_flow() {
    let mut batch = Batch::default();
    let whole = Offload { flags: 1, gso_type: Offload::UDP_SEGMENT, segment_bytes: 25, ..Offload::default() };
    batch.add(&udp(1, &[1; 50]), Offload::default());
    batch.add(&udp(1, &[2; 50]), whole);
    batch.add(&udp(1, &[3; 50]), Offload::default());
    assert_eq!(batch.written().len(), 3);
}

#[test]
fn no_more_than_the_kernel_takes_apart() {
    let mut batch = Batch::default();
    (0..150).for_each(|_| batch.add(&udp(1, &[1; 18]), Offload::default()));
    assert_eq!(batch.written().iter().map(|(bytes, _)| (bytes.len() - 28) / 18).collect::<Vec<_>>(), [64, 64, 22]);
    let mut batch = Batch::default();
    (0..50).for_each(|_| batch.add(&udp(1, &[1; 1400]), Offload::default()));
    assert!(batch.written().iter().all(|(bytes, _)| bytes.len() <= 65_535));
}

#[test]
fn random_bytes_are_left_alone() {
    let mut rng = crate::base::rng::Rng::seeded(1);
    for _ in 0..2_000 {
        let mut batch = Batch::default();
        for _ in 0..4 {
            let mut packet: Vec<u8> = (0..rng.below(70)).map(|_| rng.next_u64() as u8).collect();
            if let Some(first) = packet.first_mut() {
                *first = if rng.below(2) == 0 { 0x45 } else { 0x60 };
            }
            batch.add(&packet, Offload::default());
        }
        join(&batch.arena, &mut batch.waiting, Joinable::ALL);
        assert!(batch.waiting.iter().all(|w| !w.joined));
    }
}

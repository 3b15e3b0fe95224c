use super::*;

/// One block of pcapng in the byte order of `big`; `body` is padded.
fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
    let word = |w: u32| if big { w.to_be_bytes() } else { w.to_le_bytes() };
    let padded = body.len().next_multiple_of(4);
    let mut bytes = Vec::new();
    bytes.extend(word(kind));
    bytes.extend(word(padded as u32 + 12));
    bytes.extend(body);
    bytes.resize(8 + padded, 0);
    bytes.extend(word(padded as u32 + 12));
    bytes
}

fn words(big: bool, words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| if big { w.to_be_bytes() } else { w.to_le_bytes() }).collect()
}

fn section(big: bool) -> Vec<u8> {
    let version = if big { 0x0001_0000 } else { 0x0000_0001 };
    block(big, SECTION, &words(big, &[BYTE_ORDER, version, u32::MAX, u32::MAX]))
}

/// An interface with options `(code, value)`.
fn interface(big: bool, link_type: u16, snap: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
    let half = |h: u16| if big { h.to_be_bytes() } else { h.to_le_bytes() };
    let mut body: Vec<u8> = [half(link_type), half(0)].concat();
    body.extend(words(big, &[snap]));
    for (code, value) in options {
        body.extend([half(*code), half(value.len() as u16)].concat());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    block(big, INTERFACE, &body)
}

fn enhanced(big: bool, interface: u32, units: u64, data: &[u8], wire: u32) -> Vec<u8> {
    let mut body = words(big, &[interface, (units >> 32) as u32, units as u32, data.len() as u32, wire]);
    body.extend(data);
    block(big, ENHANCED_PACKET, &body)
}

/// Link type, time, bytes and length on the wire of a frame.
type Read4 = (u32, u64, Vec<u8>, u32);

/// All frames, and the error that ended the file.
fn read(file: &[u8]) -> (Vec<Read4>, Option<String>) {
    let mut frames = Vec::new();
    let mut reader = match CaptureReader::new(file) {
        Ok(reader) => reader,
        Err(e) => return (frames, Some(e.to_string())),
    };
    loop {
        match reader.next_frame() {
            Ok(Some(f)) => frames.push((f.link_type, f.time_ns, f.bytes.to_vec(), f.wire_bytes)),
            Ok(None) => return (frames, None),
            Err(e) => return (frames, Some(e.to_string())),
        }
    }
}

fn pcap(magic: u32, big: bool, version: (u16, u16), record: &[u32], data: &[u8]) -> Vec<u8> {
    let half = |h: u16| if big { h.to_be_bytes() } else { h.to_le_bytes() };
    let mut file = words(big, &[magic]);
    file.extend([half(version.0), half(version.1)].concat());
    file.extend(words(big, &[0, 0, 65_535, 101]));
    file.extend(words(big, record));
    file.extend(data);
    file
}

#[test]
fn reads_all_variants_of_pcap() {
    for big in [false, true] {
        let micros = pcap(0xa1b2_c3d4, big, (2, 4), &[7, 5, 3, 9], b"abc");
        assert_eq!(read(&micros), (vec![(101, 7_000_005_000, b"abc".to_vec(), 9)], None));
        let nanos = pcap(0xa1b2_3c4d, big, (2, 4), &[7, 5, 3, 3], b"abc");
        assert_eq!(read(&nanos), (vec![(101, 7_000_000_005, b"abc".to_vec(), 3)], None));
        let modified = pcap(0xa1b2_cd34, big, (2, 4), &[7, 5, 3, 3, 1, 2], b"abc");
        assert_eq!(read(&modified), (vec![(101, 7_000_005_000, b"abc".to_vec(), 3)], None));
        let old = pcap(0xa1b2_c3d4, big, (2, 2), &[7, 5, 9, 3], b"abc");
        assert_eq!(read(&old), (vec![(101, 7_000_005_000, b"abc".to_vec(), 9)], None));
        let between = pcap(0xa1b2_c3d4, big, (2, 3), &[7, 5, 9, 3], b"abc");
        assert_eq!(read(&between), (vec![(101, 7_000_005_000, b"abc".to_vec(), 9)], None));
    }
}

#[test]
fn reads_sections_of_both_byte_orders_with_their_own_interfaces_and_clocks() {
    let offset = 100i64;
    let file = [
        section(false),
        interface(false, 1, 0, &[]),
        interface(false, 101, 0, &[(9, &[9]), (14, &offset.to_le_bytes())]),
        block(false, 0x0bad, &[1, 2, 3]),
        enhanced(false, 0, 2_000_001, b"one", 3),
        enhanced(false, 1, 2_000_001, b"three", 50),
        section(true),
        interface(true, 113, 0, &[(9, &[0x80 | 10]), (14, &offset.to_be_bytes())]),
        enhanced(true, 0, 1_536, b"four", 4),
    ]
    .concat();
    let want = vec![
        (1, 2_000_001_000, b"one".to_vec(), 3),
        (101, 100_002_000_001, b"three".to_vec(), 50),
        (113, 101_500_000_000, b"four".to_vec(), 4),
    ];
    assert_eq!(read(&file), (want, None));
}

#[test]
fn reads_simple_and_old_packet_blocks() {
    for big in [false, true] {
        let ids = if big { 0x0001_0000 } else { 0x0000_0001 };
        let old = [words(big, &[ids, 0, 9_000_000, 5, 70]), b"older".to_vec()].concat();
        let simple = [words(big, &[60]), b"simple!!".to_vec()].concat();
        let file = [
            section(big),
            interface(big, 1, 6, &[]),
            interface(big, 12, 0, &[]),
            block(big, OLD_PACKET, &old),
            block(big, SIMPLE_PACKET, &simple),
        ]
        .concat();
        // A simple block takes the time of the packet before it, and no more than the interface captures.
        let want = vec![(12, 9_000_000_000, b"older".to_vec(), 70), (1, 9_000_000_000, b"simple".to_vec(), 60)];
        assert_eq!(read(&file), (want, None));
    }
}

#[test]
fn a_file_that_ends_early_gives_all_before_it_and_names_the_place() {
    let pcap = [pcap(0xa1b2_c3d4, false, (2, 4), &[1, 0, 3, 3], b"abc"), words(false, &[2, 0, 3, 3])].concat();
    let whole = read(&pcap[..43]).0;
    for len in 44..pcap.len() {
        let (frames, error) = read(&pcap[..len]);
        assert_eq!(frames, whole);
        assert_eq!(
            error.unwrap(),
            format!("ends at byte {len}, within the record that begins at byte 43; the capture was cut short")
        );
    }
    let ng = [section(false), interface(false, 1, 0, &[]), enhanced(false, 0, 1, b"abc", 3)].concat();
    for len in 49..ng.len() {
        let (frames, error) = read(&ng[..len]);
        assert!(frames.is_empty() && error.unwrap().contains("begins at byte 48"), "{len}");
    }
}

#[test]
fn says_what_is_wrong_with_a_broken_file() {
    let head = [section(false), interface(false, 1, 0, &[])].concat();
    let mut uneven = enhanced(false, 0, 1, b"abcd", 4);
    uneven[4] = 37;
    let mut contradicts = enhanced(false, 0, 1, b"abcd", 4);
    let last = contradicts.len() - 4;
    contradicts[last] = 40;
    let mut beyond = enhanced(false, 0, 1, b"abcd", 4);
    beyond[20] = 9;
    let cases: [(Vec<u8>, &str); 10] = [
        (b"GET / HTTP/1.1".to_vec(), "is no pcap or pcapng file: it begins with 47 45 54 20"),
        (vec![0x1f, 0x8b, 8, 0], "gunzip"),
        (Vec::new(), "it begins with nothing"),
        (pcap(0xa1b2_c3d4, false, (2, 4), &[1, 0, u32::MAX, 3], b"abc"), "byte 24: a record of 4294967311 bytes"),
        ([&head[..], &uneven].concat(), "byte 48: a block cannot be 37 bytes long"),
        ([&head[..], &contradicts].concat(), "says 36 bytes at its start and 40 at its end"),
        ([&head[..], &beyond].concat(), "a length within the block reaches behind its end"),
        (
            [&head[..], &enhanced(false, 3, 1, b"abcd", 4)].concat(),
            "a packet of interface 3, but the section describes 1",
        ),
        ([section(false), interface(false, 1, 0, &[(9, &[99])])].concat(), "if_tsresol 0x63 is too fine"),
        (block(false, SECTION, &words(false, &[77, 1, 0, 0])), "0x4d000000 is no byte order mark"),
    ];
    for (file, want) in cases {
        let (_, error) = read(&file);
        let error = error.expect(want);
        assert!(error.contains(want), "{error}, not {want}");
    }
}

#[test]
fn a_source_that_gives_single_bytes_is_read_the_same() {
    struct Drip<'a>(&'a [u8]);
    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(1);
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }
    let file = [section(true), interface(true, 1, 0, &[]), enhanced(true, 0, 1, b"abc", 3)].concat();
    let mut reader = CaptureReader::new(Drip(&file)).unwrap();
    assert_eq!(reader.next_frame().unwrap().unwrap().bytes, b"abc");
    assert!(reader.next_frame().unwrap().is_none());
}

#[test]
fn no_damaged_file_makes_it_panic_or_go_on_for_ever() {
    let mut rng = crate::base::rng::Rng::seeded(3);
    let good = [
        [section(false), interface(false, 1, 0, &[(9, &[6])]), enhanced(false, 0, 1, &[0x45; 60], 60)].concat(),
        [section(true), interface(true, 1, 9, &[]), block(true, SIMPLE_PACKET, &[0; 40]), section(false)].concat(),
        pcap(0xa1b2_3c4d, true, (2, 4), &[1, 0, 3, 3], b"abc"),
    ];
    for _ in 0..20_000 {
        let mut file = good[rng.below(3) as usize].clone();
        for _ in 0..=rng.below(6) {
            let at = rng.below(file.len() as u64) as usize;
            file[at] = if rng.below(2) == 0 { rng.next_u64() as u8 } else { 0xff };
        }
        file.truncate(rng.below(file.len() as u64 + 1) as usize);
        assert!(read(&file).0.len() <= 4);
    }
}

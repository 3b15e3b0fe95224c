use super::*;

/// A UDP packet over IPv4 with a right header checksum.
fn udp(payload: &[u8]) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(4000, 5000);
    let mut packet = Vec::new();
    builder.write(&mut packet, payload).unwrap();
    packet
}

/// A pcap file of frames `(time_ns, bytes, length on the wire)`.
fn capture(link_type: u32, frames: &[(u64, Vec<u8>, u32)]) -> Vec<u8> {
    let mut writer = CaptureWriter::new(Vec::new(), link_type).unwrap();
    for (time_ns, bytes, wire_bytes) in frames {
        writer.write(&Frame { link_type, time_ns: *time_ns, bytes, wire_bytes: *wire_bytes }).unwrap();
    }
    writer.finish().unwrap()
}

fn raw(times: &[u64]) -> Vec<u8> {
    let packet = udp(b"hello");
    capture(frame::RAW, &times.iter().map(|t| (*t, packet.clone(), packet.len() as u32)).collect::<Vec<_>>())
}

fn replay(files: &[&[u8]]) -> (Report, Vec<u8>) {
    let captures = files.iter().enumerate().map(|(at, file)| Capture::reader(&format!("file {at}"), *file));
    let mut out = Vec::new();
    let report = run(captures, Vec::new(), Options { out: Some(&mut out), ..Options::default() }).unwrap();
    (report, out)
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn what_nobody_changes_comes_out_as_it_came() {
    let arp = [[2u8; 12].as_slice(), &[8, 6, 0, 1]].concat();
    let whole = [[2u8; 12].as_slice(), &[8, 0], &udp(b"hello"), &[0; 9]].concat();
    let cut = whole[..38].to_vec();
    let len = whole.len() as u32;
    let file = capture(frame::ETHERNET, &[(5 * SECOND + 1, arp, 60), (6 * SECOND, whole, len), (7 * SECOND, cut, len)]);
    let (report, out) = replay(&[&file]);
    // The frame that was cut within its UDP header cannot be judged, and does not pass.
    let kept = file.len() - 16 - 38;
    assert_eq!(out, file[..kept]);
    let t = &report.totals;
    assert_eq!((t.frames, t.ip, t.not_ip, t.passed, t.changed, t.dropped, t.written), (3, 2, 1, 1, 0, 1, 2));
    assert_eq!(report.drops, [("transport_header".to_owned(), 1)]);
    assert_eq!(t.bytes, 60 + 2 * u64::from(len));
    let f = &report.files[0];
    assert_eq!((f.truncated, f.first_ns, f.duration_ns), (2, 5 * SECOND + 1, 2 * SECOND - 1));
    assert_eq!((f.format, f.link_types[0].name), ("pcap, nanoseconds", "Ethernet"));
}

#[test]
fn time_never_goes_back_within_a_file_and_goes_on_over_files() {
    let (first, second, third) =
        (raw(&[100 * SECOND, 103 * SECOND, 101 * SECOND]), raw(&[50 * SECOND, 51 * SECOND]), raw(&[110 * SECOND]));
    let (report, out) = replay(&[&first, &second, &third]);
    let mut times = Vec::new();
    let mut reader = CaptureReader::new(&out[..]).unwrap();
    while let Some(frame) = reader.next_frame().unwrap() {
        times.push(frame.time_ns / SECOND);
    }
    assert_eq!(times, [100, 103, 103, 103, 104, 110]);
    assert_eq!(report.files.iter().map(|f| f.backwards).collect::<Vec<_>>(), [1, 0, 0]);
    assert_eq!(report.files.iter().map(|f| f.moved_ns / SECOND).collect::<Vec<_>>(), [0, 53, 0]);
    assert_eq!(report.totals.duration_ns, 10 * SECOND);
}

#[test]
fn a_flow_is_forgotten_in_a_long_silence_and_an_endless_one_is_slept_through() {
    let (report, _) = replay(&[&raw(&[0, SECOND])]);
    assert_eq!((report.flows.remembered, report.files[0].gaps_slept_through), (1, 0));
    let years = 30 * 365 * 86_400 * SECOND;
    let (report, _) = replay(&[&raw(&[0, years])]);
    assert_eq!((report.flows.remembered, report.files[0].frames), (1, 2));
    assert_eq!(report.totals.duration_ns, years);
}

#[test]
fn a_broken_file_is_replayed_up_to_there_and_the_next_one_follows() {
    let whole = raw(&[0, SECOND]);
    let cut = &whole[..whole.len() - 1];
    let (report, out) = replay(&[b"no capture", cut, &whole]);
    let errors: Vec<_> = report.files.iter().map(|f| (f.name.as_str(), f.frames, f.error.is_some())).collect();
    assert_eq!(errors, [("file 0", 0, true), ("file 1", 1, true), ("file 2", 2, false)]);
    assert!(!report.is_complete() && report.totals.written == 3);
    assert!(CaptureReader::new(&out[..]).is_ok());
    let offset = 24 + 16 + udp(b"hello").len();
    let want = format!("within the record that begins at byte {offset}");
    assert!(report.files[1].error.as_ref().unwrap().contains(&want));
}

#[test]
fn a_file_that_is_not_there_is_an_error_of_that_file() {
    let report = run([Capture::file(Path::new("no/such.pcap"))], Vec::new(), Options::default()).unwrap();
    assert!(report.files[0].error.as_ref().unwrap().starts_with("cannot be read at byte 0: "));
    assert_eq!(report.files[0].name, "no/such.pcap");
}

#[test]
fn frames_of_another_link_type_get_the_header_of_the_first() {
    let packet = udp(b"hello");
    let ethernet = [[2u8; 12].as_slice(), &[8, 0], &packet].concat();
    let arp = [[2u8; 12].as_slice(), &[8, 6, 0, 1]].concat();
    let len = ethernet.len() as u32;
    let second = capture(frame::ETHERNET, &[(2 * SECOND, ethernet, len), (3 * SECOND, arp, 60)]);
    let (report, out) = replay(&[&raw(&[SECOND]), &second]);
    assert_eq!((report.totals.written, report.totals.not_written), (2, 1));
    assert_eq!(out, raw(&[SECOND, 2 * SECOND]));
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let files = [raw(&[0, SECOND]), raw(&[5, 3 * SECOND])];
    let runs: Vec<_> = (0..2)
        .map(|_| {
            let (report, out) = replay(&[&files[0], &files[1]]);
            (serde_json::to_string(&report).unwrap(), report.to_string(), out)
        })
        .collect();
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn packets_that_modules_send_get_the_link_header_of_the_last_frame() {
    let mut relink = Relink::new(frame::ETHERNET);
    let packet = udp(b"hello");
    assert_eq!(relink.frame_for(&packet).unwrap()[..14], [[0u8; 12].as_slice(), &[8, 0]].concat());
    let tagged = [&[1u8; 6][..], &[2; 6], &[0x81, 0, 0, 7, 8, 0]].concat();
    relink.saw(frame::ETHERNET, &[&tagged[..], &packet].concat(), 18);
    assert_eq!(relink.frame_for(&packet).unwrap(), [&tagged[..], &packet].concat());
    let mut back = packet.clone();
    back[12..20].rotate_left(4);
    assert!(relink.goes_back(&back) && !relink.goes_back(&packet));
    let want = [&[2u8; 6][..], &[1; 6], &[0x81, 0, 0, 7, 8, 0], &back].concat();
    assert_eq!(relink.frame_for(&back).unwrap(), want);
    // No IPv6 packet was seen yet.
    assert_eq!(relink.frame_for(&[0x60]).unwrap(), [&[0u8; 12][..], &[0x86, 0xdd, 0x60]].concat());
}

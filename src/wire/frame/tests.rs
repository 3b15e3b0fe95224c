use super::*;

/// The frame of a hex text; spaces do not count.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn ip_at(link_type: u32, text: &str) -> FrameContent {
    let frame = hex(text);
    let whole = find_ip(link_type, &frame);
    if let FrameContent::Ip { at } = whole {
        for len in 0..=at {
            assert_eq!(find_ip(link_type, &frame[..len]), FrameContent::Short, "{len} bytes of {text}");
        }
    }
    whole
}

const MACS: &str = "020000000002 020000000001";

#[test]
fn finds_ip_in_ethernet_frames_with_and_without_tags() {
    let ip = |at| FrameContent::Ip { at };
    assert_eq!(ip_at(1, &format!("{MACS} 0800 45")), ip(14));
    assert_eq!(ip_at(1, &format!("{MACS} 86dd 60")), ip(14));
    assert_eq!(ip_at(1, &format!("{MACS} 8100 0064 0800 45")), ip(18));
    assert_eq!(ip_at(1, &format!("{MACS} 88a8 0001 8100 0064 86dd 60")), ip(22));
    assert_eq!(ip_at(1, &format!("{MACS} 9100 0001 9100 0002 8100 0003 0800 45")), ip(26));
    assert_eq!(ip_at(1, &format!("{MACS} 8864 1100 0001 0016 0021 45")), ip(22));
    assert_eq!(ip_at(1, &format!("{MACS} 8100 0064 8864 1100 0001 0016 0057 60")), ip(26));
}

#[test]
fn finds_ip_behind_a_snap_header() {
    let text = format!("{MACS} 0009 aaaa03 000000 0800 45");
    assert_eq!(find_ip(1, &hex(&text)), FrameContent::Ip { at: 22 });
    let tagged = format!("{MACS} 8100 0001 0009 aaaa03 000000 0800 45");
    assert_eq!(find_ip(1, &hex(&tagged)), FrameContent::Ip { at: 26 });
}

#[test]
fn says_that_other_ethernet_frames_hold_no_ip() {
    for other in ["0806 0001", "0026 424203 0000", "88cc 0207", "8863 1109 0000 0000", "8864 1165 0001 0002 0021 45"] {
        assert_eq!(find_ip(1, &hex(&format!("{MACS} {other}"))), FrameContent::NotIp, "{other}");
    }
    assert_eq!(find_ip(1, &hex(&format!("{MACS} 8864 1100 0001 0008 c021 0901"))), FrameContent::NotIp);
    assert_eq!(find_ip(1, &hex(&format!("{MACS} 8100 0064 0806 0001"))), FrameContent::NotIp);
}

#[test]
fn finds_ip_in_ppp_frames() {
    for link_type in [9, 50] {
        assert_eq!(ip_at(link_type, "ff03 0021 45"), FrameContent::Ip { at: 4 });
        assert_eq!(ip_at(link_type, "0057 60"), FrameContent::Ip { at: 2 });
        assert_eq!(ip_at(link_type, "21 45"), FrameContent::Ip { at: 1 });
        assert_eq!(find_ip(link_type, &hex("ff03 c021 0901")), FrameContent::NotIp);
    }
    assert_eq!(ip_at(104, "0f00 0800 45"), FrameContent::Ip { at: 4 });
    assert_eq!(find_ip(104, &hex("8f00 8035 0000")), FrameContent::NotIp);
    assert_eq!(ip_at(51, "1100 0007 0016 0021 45"), FrameContent::Ip { at: 8 });
}

#[test]
fn finds_ip_behind_a_loopback_header_of_either_byte_order() {
    for link_type in [0, 108] {
        for family in ["02000000", "00000002", "1e000000", "0000001e", "18000000", "0000001c", "0a000000"] {
            assert_eq!(ip_at(link_type, &format!("{family} 45")), FrameContent::Ip { at: 4 }, "{family}");
        }
        assert_eq!(find_ip(link_type, &hex("07000000 45")), FrameContent::NotIp);
    }
}

#[test]
fn finds_ip_in_linux_cooked_frames() {
    assert_eq!(ip_at(113, "0000 0001 0006 020000000001 0000 0800 45"), FrameContent::Ip { at: 16 });
    assert_eq!(ip_at(113, "0000 0001 0006 020000000001 0000 8100 0064 0800 45"), FrameContent::Ip { at: 20 });
    assert_eq!(find_ip(113, &hex("0000 0001 0006 020000000001 0000 0806 0001")), FrameContent::NotIp);
    assert_eq!(find_ip(113, &hex("0000 0001 0006 020000000001 0000 0004 4242")), FrameContent::NotIp);
    let v2 = "0800 0000 00000002 0001 00 06 0200000000010000 45";
    assert_eq!(ip_at(276, v2), FrameContent::Ip { at: 20 });
    assert_eq!(find_ip(276, &hex("0806 0000 00000002 0001 00 06 0200000000010000 00")), FrameContent::NotIp);
}

#[test]
fn takes_raw_frames_as_they_are() {
    for link_type in [12, 14, 101, 228, 229] {
        assert_eq!(find_ip(link_type, &[0x45]), FrameContent::Ip { at: 0 });
        assert_eq!(find_ip(link_type, &[]), FrameContent::Short);
    }
    assert!(!supports(105) && supports(101));
    assert_eq!(find_ip(105, &[0x45; 64]), FrameContent::NotIp);
}

#[test]
fn the_headers_that_it_builds_are_found_again() {
    for link_type in (0..300).filter(|t| supports(*t)) {
        for version in [4, 6] {
            let mut frame = Vec::new();
            if !header_for(link_type, version, 40, &mut frame) {
                assert!(matches!((link_type, version), (228, 6) | (229, 4)));
                continue;
            }
            assert!(frame.len() <= HEADER_BYTES_MAX);
            let at = frame.len();
            frame.push(version << 4);
            assert_eq!(find_ip(link_type, &frame), FrameContent::Ip { at }, "{}", name(link_type));
        }
    }
    assert!(!header_for(105, 4, 40, &mut Vec::new()));
}

#[test]
fn a_changed_length_is_written_where_the_link_header_has_one() {
    let mut pppoe = hex(&format!("{MACS} 8864 1100 0001 0016 0021 45"));
    set_length(1, &mut pppoe, 23);
    assert_eq!(pppoe[18..20], [0, 0x19]);
    let mut snap = hex(&format!("{MACS} 0009 aaaa03 000000 0800 45"));
    set_length(1, &mut snap, 20);
    assert_eq!(snap[12..14], [0, 28]);
    let mut plain = hex(&format!("{MACS} 0800 45"));
    let before = plain.clone();
    set_length(1, &mut plain, 9);
    assert_eq!(plain, before);
    turn_around(1, &mut plain);
    assert_eq!(plain[..12], hex("020000000001 020000000002"));
}

#[test]
fn no_frame_makes_it_panic() {
    let mut rng = crate::base::rng::Rng::seeded(1);
    let heads: [&[u8]; 4] = [&[0x81, 0], &[0x88, 0x64, 0x11, 0], &[0x88, 0xa8], &[0xff, 3, 0, 0x21]];
    for _ in 0..20_000 {
        let mut frame: Vec<u8> = (0..rng.below(48)).map(|_| rng.next_u64() as u8).collect();
        for _ in 0..rng.below(4) {
            let head = heads[rng.below(4) as usize];
            let at = rng.below(frame.len() as u64 + 1) as usize;
            frame.splice(at..at, head.iter().copied());
        }
        for link_type in [0, 1, 9, 12, 50, 51, 101, 108, 113, 228, 276, 9999] {
            if let FrameContent::Ip { at } = find_ip(link_type, &frame) {
                assert!(at < frame.len());
            }
            set_length(link_type, &mut frame, 70_000);
        }
    }
}

//! Frames: the first byte picks the link type.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netserv::wire::frame::{self, FrameContent};

const LINK_TYPES: [u32; 14] = [0, 1, 9, 12, 14, 50, 51, 101, 104, 108, 113, 228, 229, 276];

fuzz_target!(|bytes: &[u8]| {
    let Some((pick, bytes)) = bytes.split_first() else { return };
    let link_type = LINK_TYPES[usize::from(*pick) % LINK_TYPES.len()];
    assert!(frame::supports(link_type));
    let content = frame::find_ip(link_type, bytes);
    if let FrameContent::Ip { at } = content {
        assert!(at < bytes.len());
        assert_eq!(frame::find_ip(link_type, &bytes[..at]), FrameContent::Short);
    }
    let mut copy = bytes.to_vec();
    frame::set_length(link_type, &mut copy, 40);
    frame::turn_around(link_type, &mut copy);
    assert_eq!(frame::find_ip(link_type, &copy), content);
});

//! Capture files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netserv::drivers::replay::reader::CaptureReader;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = CaptureReader::new(bytes) else { return };
    let mut frame_bytes = 0;
    // A broken file ends with an error, at its end with `None`; each frame takes at least 12 bytes of the file.
    for _ in 0..=bytes.len() / 12 {
        let Ok(Some(frame)) = reader.next_frame() else { return };
        assert!(frame.bytes.len() as u64 <= u64::from(frame.wire_bytes));
        frame_bytes += frame.bytes.len();
    }
    panic!("{frame_bytes} bytes of frames, and no end");
});

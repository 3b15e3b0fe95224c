//! Pictures: the head of a file bounds what decoding it takes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netserv::blocks::image::{Format, Start, Step, cost, edit, info};

fuzz_target!(|bytes: &[u8]| {
    let start = Start::File(bytes);
    let steps = [Step::Resize(8, 8), Step::Text([0, 0], 10, [0, 0, 0, 255], "x".to_owned())];
    let Ok(found) = info(bytes) else {
        assert!(edit(&start, &[], &steps, Format::Png, 1).is_err());
        return;
    };
    // Large ones are right, and slow.
    if cost(&start, &[], &steps).is_ok_and(|cost| cost.ns < 20_000_000) {
        if let Ok(written) = edit(&start, &[], &steps, Format::Png, 1) {
            assert!(info(&written).is_ok_and(|small| (small.width, small.height) == (8, 8)), "{found:?}");
        }
    }
});

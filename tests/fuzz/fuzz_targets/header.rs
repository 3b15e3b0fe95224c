//! Packets, from the IP header on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netserv::wire::header::Header;

fuzz_target!(|bytes: &[u8]| {
    for truncated in [false, true] {
        if let Ok(header) = Header::parse(bytes, truncated) {
            assert!(header.transport_at <= header.payload_at);
            assert!(header.payload_end <= header.end && header.end as usize <= bytes.len());
            assert!(header.payload(bytes).len() <= header.payload_bytes());
        }
    }
});

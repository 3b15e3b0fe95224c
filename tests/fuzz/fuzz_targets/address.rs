//! Hosts with ports, and addresses. What is taken apart means the same when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netserv::blocks::address::{Kind, moved, split_host};

fuzz_target!(|text: &str| {
    let Some((host, port)) = split_host(text) else { return };
    let is_v6 = host.contains(':');
    let again = match (port, is_v6) {
        (Some(port), true) => format!("[{host}]:{port}"),
        (Some(port), false) => format!("{host}:{port}"),
        (None, _) => host.clone(),
    };
    assert_eq!(split_host(&again), Some((host.clone(), port)));
    if let Ok(address) = host.parse() {
        let _ = Kind::of(address);
        if let Some(next) = moved(address, 1) {
            assert_eq!(moved(next, -1), Some(address));
        }
    }
});

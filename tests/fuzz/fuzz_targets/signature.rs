//! Signatures with their signed comments, and public keys. Nothing but the one signature counts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netserv::container::signature::{PublisherKey, key_id};

/// Of minisign 0.11.
const KEY: &str = "RWSOitkl2sTueqp0g1BfE++aBpph073fA0pNAMIVHR+wAjlkXTXXWgW7";
const BYTES: &[u8] = b"a package\n";

fuzz_target!(|text: &str| {
    let key: PublisherKey = KEY.parse().expect("it is a key");
    let _ = key_id(text);
    if let Ok(comment) = key.verify(text, BYTES, "netserv module m 1.0.0 sha256:ab") {
        assert_eq!(comment, "any comment");
        assert_eq!(key_id(text), Ok(key.id()));
    }
    if let Ok(found) = PublisherKey::of_file(text) {
        assert_eq!(found.to_string().parse::<PublisherKey>().as_ref(), Ok(&found));
        assert_eq!(PublisherKey::of_file(&found.to_file()), Ok(found));
    }
});

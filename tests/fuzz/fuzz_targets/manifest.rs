//! Manifests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netserv::container::manifest::Manifest;

fuzz_target!(|text: &str| {
    if let Err(error) = Manifest::parse(text) {
        assert!(!error.to_string().is_empty());
    }
});

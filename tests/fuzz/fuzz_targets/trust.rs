//! Trust files. What is read means the same when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netserv::controller::trust::Trust;

fuzz_target!(|text: &str| {
    match Trust::parse(text) {
        Ok(trust) => assert_eq!(Trust::parse(&trust.to_toml()), Ok(trust)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

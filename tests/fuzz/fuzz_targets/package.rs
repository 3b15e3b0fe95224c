//! Packages. What is unpacked is within its bounds, and comes back when it is packed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netserv::base::limits::{MODULE_BYTES_MAX, MODULE_FILES_MAX};
use netserv::container::package::{pack, unpack};

fuzz_target!(|bytes: &[u8]| {
    match unpack(bytes) {
        Ok(source) => {
            assert!(source.files.len() <= MODULE_FILES_MAX);
            assert!(source.files.values().map(Vec::len).sum::<usize>() <= MODULE_BYTES_MAX);
            assert!(source.files.keys().all(|path| !path.starts_with('/') && !path.contains("..")));
            if let Ok(packed) = pack(&source) {
                assert_eq!(unpack(&packed), Ok(source));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

//! The index of a repository. What is read is within its bounds, and means the same when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netserv::base::limits::INDEX_PACKAGES_MAX;
use netserv::container::repository::Index;
use netserv::container::resolver::{Offer, resolve};

fuzz_target!(|bytes: &[u8]| {
    match Index::parse(bytes) {
        Ok(index) => {
            assert!(index.packages.len() <= INDEX_PACKAGES_MAX);
            assert!(index.packages.iter().all(|entry| !entry.file.contains('/') && entry.digest().is_some()));
            assert_eq!(Index::parse(index.to_json().as_bytes()).as_ref(), Ok(&index));
            let offers: Vec<Offer> = index.packages.iter().map(|entry| entry.offer()).collect();
            if let Some(root) = offers.first() {
                match resolve(root, &offers) {
                    Ok(versions) => assert!(root.requires.keys().all(|name| versions.contains_key(name))),
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

//! GIST messages, from the common header on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netserv::wire::gist::error::ErrorObject;
use netserv::wire::gist::message::{self, Message};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(len)) = message::frame(bytes) {
        assert!((8..=bytes.len()).contains(&len));
    }
    match Message::decode(bytes) {
        Ok(message) => {
            let encoded = message.encode();
            assert!(encoded.len() <= bytes.len());
            if let Some(mri) = &message.mri {
                assert_eq!(mri.key().mri().key(), mri.key());
            }
            assert_eq!(Message::decode(&encoded), Ok(message));
        }
        Err(rejection) => {
            let error = ErrorObject::new(&rejection, true, false);
            assert_eq!(ErrorObject::decode_value(&error.encode_value()), Ok(error));
        }
    }
});

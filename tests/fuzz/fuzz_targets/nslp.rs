//! Messages of the NetServ application: what can be read is written again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netserv::wire::nslp::message::Message;
use netserv::wire::nslp::parts::Merger;
use netserv::wire::nslp::request::Request;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(request.encode(), bytes);
    }
    let Ok(message) = Message::decode(bytes) else { return };
    assert_eq!(Message::decode(&message.encode()), Ok(message.clone()));
    if let Message::Response(part) = message {
        let answer = part.answer.clone();
        Merger::default().push(part);
        for bytes in answer.split(384) {
            assert!(bytes.len() <= 384);
            assert!(matches!(Message::decode(&bytes), Ok(Message::Response(_))));
        }
    }
});

use std::time::Duration;

use super::body::BodyPart;
use super::error::HttpError;
use super::fields::Fields;
use super::head::{HeadLimits, RequestHead};
use super::response::Outgoing;
use super::server::{End, ServerConnection, ServerLimits};
use crate::base::time::{Instant, WallTime};

mod client;
mod parts;
mod server;
mod smuggling;
mod splits;

const HEAD_LIMITS: HeadLimits = HeadLimits { bytes_max: 4096, fields_max: 40, target_bytes_max: 1024 };

const LIMITS: ServerLimits = ServerLimits {
    head: HEAD_LIMITS,
    body_bytes_max: 1000,
    head_wait: Duration::from_secs(10),
    idle_wait: Duration::from_secs(60),
    body_rate: 1000,
    requests_max: 100,
};

/// Sun, 06 Nov 1994 08:49:37 GMT.
const WALL: WallTime = WallTime::from_nanos(784_111_777_000_000_000);
const DATE: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

fn at(seconds: u64) -> Instant {
    Instant::START + Duration::from_secs(seconds)
}

/// A connection to which these bytes came.
fn connection(bytes: impl AsRef<[u8]>) -> ServerConnection {
    let mut connection = ServerConnection::new(LIMITS, at(0));
    connection.receive(at(0), bytes.as_ref());
    connection
}

fn next(connection: &mut ServerConnection) -> Option<RequestHead> {
    connection.next_request(at(0), WALL)
}

/// What is to be sent, as text.
fn output(connection: &mut ServerConnection) -> String {
    String::from_utf8(connection.take_output()).unwrap()
}

fn fields(packed: &str) -> Outgoing {
    Outgoing::unpack(packed.as_bytes()).unwrap()
}

/// The whole body of the request at hand.
fn body(connection: &mut ServerConnection) -> Result<Vec<u8>, HttpError> {
    let mut all = Vec::new();
    loop {
        match connection.read_body(at(0), WALL, 100)? {
            BodyPart::Bytes(bytes) => all.extend(bytes),
            BodyPart::End => return Ok(all),
            BodyPart::Waits => panic!("the body is there; so far {all:?}"),
        }
    }
}

/// Answers the request at hand with a short text.
fn answer(connection: &mut ServerConnection, text: &str) -> String {
    connection.start(WALL, 200, &Outgoing::default(), Some(text.len() as u64)).unwrap();
    connection.write(text.as_bytes()).unwrap();
    connection.finish(at(0)).unwrap();
    output(connection)
}

fn request_fields(text: &str) -> Fields {
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{text}\r\n");
    RequestHead::parse(head.as_bytes(), &HEAD_LIMITS).unwrap().fields
}

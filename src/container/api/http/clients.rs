//! Natives of clients. A client's stream is opened, and closed, by `@netserv/tcp` and `@netserv/tls`.

use super::HEAD_LIMITS;
use super::servers::{failed, field_list};
use crate::base::limits::{HTTP_READ_BYTES_MAX, HTTP_RESPONSE_BYTES_DEFAULT};
use crate::blocks::http::body::BodyPart;
use crate::blocks::http::client::{ClientConnection, Request};
use crate::blocks::http::error::HttpError;
use crate::blocks::http::fields::is_token;
use crate::blocks::http::response::Outgoing;
use crate::blocks::http::url::Url;
use crate::container::api::Answer;
use crate::container::api::sockets::{State, Taken};
use crate::container::api::tcp;
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

/// `url(text, base?)`: whether it is https, host, port, the Host field, path with query, and the whole; or nil and why it
/// is none. With a base, the text may be relative to it.
pub(super) fn url(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let text = tcp::text(arguments, 1, "url")?;
    let parsed = if arguments.is_nil(2) {
        Url::parse(text)
    } else {
        Url::parse(tcp::text(arguments, 2, "base")?).and_then(|base| base.join(text))
    };
    let bytes = |text: String| Answer::Bytes(text.into_bytes());
    Ok(match parsed {
        Ok(url) => Answer::Several(vec![
            Answer::Truth(url.is_secure),
            bytes(url.host.clone()),
            Answer::Number(f64::from(url.port)),
            bytes(url.authority()),
            bytes(url.path_and_query.clone()),
            bytes(url.to_string()),
        ]),
        Err(reason) => failed(format!("{text:?} is no URL to be used here: {reason}")),
    })
}

/// `send(stream, method, authority, path, fields, body?)`: sends a request over an open stream that has none at hand. True,
/// or nil and why.
pub(super) fn send(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let stream = arguments.number(1, "stream")? as u32;
    let method = tcp::text(arguments, 2, "method")?;
    if !is_token(method.as_bytes()) || method == "CONNECT" {
        return Err(format!("{method:?} is no method of a request that can be sent"));
    }
    let (authority, path_and_query) = (tcp::text(arguments, 3, "authority")?, tcp::text(arguments, 4, "path")?);
    let fields = Outgoing::unpack(arguments.bytes(5, "fields")?)?;
    let body = if arguments.is_nil(6) { None } else { Some(arguments.bytes(6, "body")?) };
    let mut http = host.http.borrow_mut();
    let new = || ClientConnection::new(HEAD_LIMITS, HTTP_RESPONSE_BYTES_DEFAULT);
    let client = http.clients.entry(stream).or_insert_with(new);
    if !client.is_idle() {
        return Ok(failed("the connection is still in use".to_owned()));
    }
    if let Err(reason) = host.sockets.borrow().may_write(stream, body.map_or(0, <[u8]>::len)) {
        return Ok(failed(reason));
    }
    let request = Request { method, authority, path_and_query, fields: &fields, body };
    let bytes = client.request(&request, HTTP_RESPONSE_BYTES_DEFAULT);
    Ok(match host.sockets.borrow_mut().write(stream, &bytes) {
        Ok(_) => Answer::Truth(true),
        Err(reason) => failed(reason),
    })
}

/// Tries until it succeeds, or until nothing more has come. `None` = wait for the stream's read key.
fn with_input<R>(
    host: &Host,
    stream: u32,
    mut attempt: impl FnMut(&mut ClientConnection) -> Result<Option<R>, HttpError>,
) -> Result<Option<R>, String> {
    let mut http = host.http.borrow_mut();
    let Some(client) = http.clients.get_mut(&stream) else { return Err("it is closed".to_owned()) };
    loop {
        if let Some(done) = attempt(client).map_err(|error| error.to_string())? {
            return Ok(Some(done));
        }
        match host.sockets.borrow_mut().take_received(stream, HTTP_READ_BYTES_MAX) {
            Taken::Bytes(bytes) => client.receive(&bytes),
            Taken::Nothing => return Ok(None),
            Taken::Ended => client.end_input(),
            Taken::Failed(reason) => return Err(reason),
        }
    }
}

/// `response(stream)`: status, and the header fields as a list of names and values; false if it is not there yet; nil, and
/// why, if it will not be.
pub(super) fn response(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let stream = arguments.number(1, "stream")? as u32;
    Ok(match with_input(host, stream, ClientConnection::response) {
        Ok(Some(head)) => Answer::Several(vec![Answer::Number(f64::from(head.status)), field_list(&head.fields)]),
        Ok(None) => Answer::Truth(false),
        Err(reason) => failed(reason),
    })
}

/// `read_response(stream, count)`: bytes of the body; false if none is there yet; nil at its end, and why if it does not
/// end well.
pub(super) fn read_response(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let stream = arguments.number(1, "stream")? as u32;
    let count = arguments.number(2, "count")?;
    let count =
        if count >= 1.0 { count as usize } else { return Err(format!("one reads 1 byte or more, not {count}")) };
    let part = with_input(host, stream, |client| {
        client.read_body(count).map(|part| if part == BodyPart::Waits { None } else { Some(part) })
    });
    Ok(match part {
        Ok(Some(BodyPart::Bytes(bytes))) => Answer::Bytes(bytes),
        Ok(Some(BodyPart::End)) => Answer::Nil,
        Ok(Some(BodyPart::Waits) | None) => Answer::Truth(false),
        Err(reason) => failed(reason),
    })
}

/// `is_idle(stream)`: whether another request can be sent over it. Once it cannot, nothing more is remembered of it.
pub(super) fn is_idle(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let stream = arguments.number(1, "stream")? as u32;
    let mut http = host.http.borrow_mut();
    let sockets = host.sockets.borrow();
    let is_quiet =
        sockets.state(stream) == State::Open && sockets.received_bytes(stream) == 0 && !sockets.is_finished(stream);
    let idle = is_quiet && http.clients.get(&stream).is_some_and(ClientConnection::is_idle);
    if !idle {
        http.clients.remove(&stream);
    }
    Ok(Answer::Truth(idle))
}

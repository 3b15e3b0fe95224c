//! One connection: requests, answers, and events for as long as the browser looks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::limits::{
    PAGE_CONTROL_BYTES_MAX, PAGE_HEAD_BYTES_MAX, PAGE_HEAD_WAIT_MAX, PAGE_IDLE_MAX, PAGE_STALL_MAX, WEB_HEADERS_MAX,
};
use crate::base::time::{Instant, WallTime};
use crate::blocks::http::body::BodyPart;
use crate::blocks::http::head::{HeadLimits, RequestHead};
use crate::blocks::http::response::Outgoing;
use crate::blocks::http::server::{End, ServerConnection, ServerLimits};
use crate::dashboard::page;
use crate::drivers::page_server::{Control, Shared, standing, welcome};

const LIMITS: ServerLimits = ServerLimits {
    head: HeadLimits { bytes_max: PAGE_HEAD_BYTES_MAX, fields_max: WEB_HEADERS_MAX, target_bytes_max: 1024 },
    body_bytes_max: PAGE_CONTROL_BYTES_MAX,
    head_wait: PAGE_HEAD_WAIT_MAX,
    idle_wait: PAGE_IDLE_MAX,
    body_rate: 1024,
    requests_max: 1000,
};
/// How long a browser waits before it connects again.
const RETRY_MS: u32 = 1000;
/// How often it is looked whether a silent browser is still there.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// A quiet stream gets a comment after so many looks, so that nothing on the way takes it for dead.
const LOOKS_PER_COMMENT: u32 = 20;

/// Serves a connection until it ends.
pub(super) fn serve(stream: TcpStream, shared: &Shared) {
    let mut client = Client { http: ServerConnection::new(LIMITS, now(shared)), stream, shared };
    // Whatever it is, the browser sees it too.
    let _ = client.serve();
}

fn now(shared: &Shared) -> Instant {
    Instant::from_nanos(u64::try_from(shared.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn wall() -> WallTime {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_nanos(u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX))
}

struct Client<'a> {
    http: ServerConnection,
    stream: TcpStream,
    shared: &'a Shared,
}

impl Client<'_> {
    fn serve(&mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let mut is_finished = false;
        loop {
            while let Some(head) = self.http.next_request(now(self.shared), wall()) {
                self.answer(&head)?;
            }
            self.flush()?;
            match self.http.end() {
                End::Not => {}
                End::Finish if is_finished => {}
                End::Finish => {
                    is_finished = true;
                    self.stream.shutdown(Shutdown::Write)?;
                }
                End::Close | End::Abort => return Ok(()),
            }
            self.read()?;
        }
    }

    /// Waits for more from the browser, as long as it may take.
    fn read(&mut self) -> io::Result<()> {
        let deadline = self.http.deadline().unwrap_or(now(self.shared) + PAGE_IDLE_MAX);
        let wait = deadline.since(now(self.shared)).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(wait))?;
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.http.end_input(now(self.shared)),
            Ok(count) => self.http.receive(now(self.shared), &bytes[..count]),
            Err(e) if is_timeout(&e) => {}
            Err(e) => return Err(e),
        }
        self.http.expire(now(self.shared), wall());
        Ok(())
    }

    fn answer(&mut self, head: &RequestHead) -> io::Result<()> {
        if let Err((status, why)) = self.shared.gate.check_host(head) {
            return self.refuse(status, why);
        }
        match (head.method(), head.path()) {
            ("GET", "/events") => match self.shared.gate.check_reading(head) {
                Ok(()) => self.tell(self.shared.gate.may_control(head)),
                Err((status, why)) => self.refuse(status, why),
            },
            ("POST", "/control") => match self.shared.gate.check_control(head) {
                Ok(()) => self.obey(),
                Err((status, why)) => self.refuse(status, why),
            },
            ("GET" | "HEAD", path) => match page::asset(path) {
                Some(asset) => self.respond(200, asset.content_type, asset.text),
                None => self.refuse(404, "there is nothing of this name"),
            },
            _ => self.refuse(405, "only GET, and POST to /control, are answered here"),
        }
    }

    fn refuse(&mut self, status: u16, why: &str) -> io::Result<()> {
        self.respond(status, "text/plain; charset=utf-8", &format!("{why}\n"))
    }

    fn respond(&mut self, status: u16, content_type: &str, text: &str) -> io::Result<()> {
        let mut fields = own_fields(content_type);
        match status {
            405 => fields.set("allow", "GET, HEAD, POST".to_owned()),
            401 => fields.set("www-authenticate", "Bearer".to_owned()),
            503 => fields.set("retry-after", "5".to_owned()),
            _ => {}
        }
        let started = self.http.start(wall(), status, &fields, Some(text.len() as u64));
        let sent = started.and_then(|()| self.http.write(text.as_bytes()));
        let sent = sent.and_then(|()| self.http.finish(now(self.shared)));
        sent.map_err(io::Error::other)
    }

    /// Takes a control and hands it on.
    fn obey(&mut self) -> io::Result<()> {
        let mut body = Vec::new();
        loop {
            match self.http.read_body(now(self.shared), wall(), 4096) {
                Ok(BodyPart::Bytes(bytes)) => body.extend_from_slice(&bytes),
                Ok(BodyPart::End) => break,
                Ok(BodyPart::Waits) => {
                    self.flush()?;
                    self.read()?;
                }
                // It was answered.
                Err(_) => return Ok(()),
            }
        }
        let control = serde_json::from_slice::<Control>(&body).ok().filter(Control::is_possible);
        let Some(control) = control else { return self.refuse(400, "this is no control, or not a possible one") };
        if self.shared.controls.try_send(control).is_err() {
            return self.refuse(503, "too many controls wait; try again");
        }
        self.shared.wake();
        self.respond(200, "application/json", "{}")
    }

    /// Tells the browser what happens until it leaves.
    fn tell(&mut self, may_control: bool) -> io::Result<()> {
        let Some((_place, events, standing)) = welcome(self.shared) else {
            return self.refuse(503, "too many look already; close another page");
        };
        let fields = own_fields("text/event-stream; charset=utf-8");
        self.http.start(wall(), 200, &fields, None).map_err(io::Error::other)?;
        self.send(&format!("retry: {RETRY_MS}\nevent: hello\ndata: {{\"may_control\":{may_control}}}\n\n"))?;
        let mut looks = 0;
        loop {
            match events.recv_timeout(LOOK_PERIOD) {
                Ok(event) => {
                    looks = 0;
                    self.send(&event)?;
                }
                Err(RecvTimeoutError::Timeout) => {
                    looks += 1;
                    self.check_presence()?;
                    if looks % LOOKS_PER_COMMENT == 0 {
                        self.send(": still here\n\n")?;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // What waits is old, and something after it is missing: the whole picture takes its place.
            if standing.load(Ordering::SeqCst) == standing::BEHIND {
                events.try_iter().for_each(drop);
                standing.store(standing::FRESH, Ordering::SeqCst);
                self.shared.wake();
            }
        }
        self.http.finish(now(self.shared)).map_err(io::Error::other)
    }

    /// Fails when the browser has closed the connection. What it sends meanwhile means nothing.
    fn check_presence(&mut self) -> io::Result<()> {
        self.stream.set_read_timeout(Some(Duration::from_millis(1)))?;
        match self.stream.peek(&mut [0]) {
            Ok(0) => Err(ErrorKind::ConnectionReset.into()),
            Ok(_) => Ok(()),
            Err(e) if is_timeout(&e) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        self.http.write(text.as_bytes()).map_err(io::Error::other)?;
        self.flush()
    }

    /// Writes what there is. A browser that takes it too slowly is given up.
    fn flush(&mut self) -> io::Result<()> {
        let output = self.http.take_output();
        let mut rest = output.as_slice();
        let deadline = now(self.shared) + PAGE_STALL_MAX;
        while !rest.is_empty() {
            let left = deadline.since(now(self.shared));
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_write_timeout(Some(left))?;
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => rest = &rest[count..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// The fields of every answer. Nothing is kept by the browser: the next version of the program has another page.
fn own_fields(content_type: &str) -> Outgoing {
    let mut fields = Outgoing::default();
    for (name, value) in [
        ("cache-control", "no-store"),
        ("content-security-policy", page::CONTENT_SECURITY_POLICY),
        ("content-type", content_type),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        fields.set(name, value.to_owned());
    }
    fields
}

//! What moves the bytes of a stream: a TCP connection that never blocks, perhaps TLS over it, and what is still to be
//! written. Whose stream it is, and how long anything may take, its owner knows.

#![expect(clippy::wildcard_enum_match_arm, reason = "the system knows many errors, and few matter here")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use rustls::Connection;

/// A connection.
pub(super) struct Pump {
    pub(super) socket: TcpStream,
    tls: Option<Box<Connection>>,
    /// What is still to be written, from `written` on.
    output: Vec<u8>,
    written: usize,
    /// Everything was written, and the peer was told that nothing more comes.
    has_ended: bool,
    discarded_bytes: usize,
}

/// Why a connection goes on no more, or not now.
pub(super) enum Stop {
    /// What the system says; perhaps only that there is nothing now.
    Io(io::Error),
    /// The peer ended the connection where it may not.
    Cut,
    /// The peer does not speak TLS as it should; an alert for it may be waiting to be written.
    Tls(rustls::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

/// What reading brought.
pub(super) enum Took {
    /// So many bytes, in the buffer.
    Bytes(usize),
    /// Nothing for anybody yet; there may be more.
    Nothing,
    /// The peer writes nothing more.
    End,
}

impl Pump {
    pub(super) fn new(socket: TcpStream, tls: Option<Connection>) -> Pump {
        Pump { socket, tls: tls.map(Box::new), output: Vec::new(), written: 0, has_ended: false, discarded_bytes: 0 }
    }

    pub(super) fn tls(&self) -> Option<&Connection> {
        self.tls.as_deref()
    }

    /// Whether a connection that is being opened is open.
    pub(super) fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Goes on with the TLS handshake; true when it is done, or there is none.
    pub(super) fn shake_hands(&mut self) -> Result<bool, Stop> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        while tls.wants_write() {
            if tls.write_tls(&mut self.socket)? == 0 {
                return Err(io::Error::from(ErrorKind::WriteZero).into());
            }
        }
        if !tls.is_handshaking() {
            return Ok(true);
        }
        self.read_tls().map(|()| false)
    }

    /// Reads some of what the peer sent by TLS.
    fn read_tls(&mut self) -> Result<(), Stop> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        if tls.read_tls(&mut self.socket)? == 0 {
            return Err(Stop::Cut);
        }
        tls.process_new_packets().map(drop).map_err(Stop::Tls)
    }

    /// Reads into `buffer`.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<Took, Stop> {
        let read = match &mut self.tls {
            None => self.socket.read(buffer),
            Some(tls) => match tls.reader().read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => return self.read_tls().map(|()| Took::Nothing),
                read => read,
            },
        };
        match read? {
            0 => Ok(Took::End),
            len => Ok(Took::Bytes(len)),
        }
    }

    /// Bytes that wait to be written, without those that TLS has already.
    pub(super) fn output_bytes(&self) -> usize {
        self.output.len() - self.written
    }

    /// Whether anything waits to be written.
    pub(super) fn has_output(&self) -> bool {
        self.output_bytes() > 0 || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Puts bytes behind those that wait.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        // Moved to the front only when that pays.
        if self.written > self.output.len() / 2 {
            self.output.drain(..self.written);
            self.written = 0;
        }
        self.output.extend_from_slice(bytes);
    }

    /// Forgets what waits to be written.
    pub(super) fn drop_output(&mut self) {
        self.output = Vec::new();
        self.written = 0;
    }

    /// Writes what waits as far as that goes now. Whether the peer took something.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let mut moved = false;
        match self.flush_some(&mut moved) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(moved),
            result => result.map(|()| moved),
        }
    }

    fn flush_some(&mut self, moved: &mut bool) -> io::Result<()> {
        loop {
            if let Some(tls) = &mut self.tls {
                while tls.wants_write() {
                    if tls.write_tls(&mut self.socket)? == 0 {
                        return Err(io::Error::from(ErrorKind::WriteZero));
                    }
                    *moved = true;
                }
            }
            let rest = &self.output[self.written..];
            if rest.is_empty() {
                self.drop_output();
                return Ok(());
            }
            let len = match &mut self.tls {
                Some(tls) => tls.writer().write(rest)?,
                None => self.socket.write(rest)?,
            };
            if len == 0 {
                return Err(io::Error::from(ErrorKind::WriteZero));
            }
            self.written += len;
            *moved |= self.tls.is_none();
        }
    }

    /// Writes the rest, and tells the peer that nothing more comes. Whether that is done.
    pub(super) fn end_writing(&mut self) -> io::Result<bool> {
        if self.has_ended {
            return Ok(true);
        }
        self.flush()?;
        if self.has_output() {
            return Ok(false);
        }
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            while tls.wants_write() && tls.write_tls(&mut self.socket)? > 0 {}
        }
        self.socket.shutdown(Shutdown::Write)?;
        self.has_ended = true;
        Ok(true)
    }

    /// Goes on closing: writes the rest, and reads what the peer still sends, at most `bytes_max` of it. Otherwise the
    /// system would break the connection, and what was sent last might be lost. Whether it is over.
    pub(super) fn close(&mut self, buffer: &mut [u8], bytes_max: usize) -> io::Result<bool> {
        self.end_writing()?;
        let len = self.socket.read(buffer)?;
        self.discarded_bytes += len;
        Ok(len == 0 || self.discarded_bytes > bytes_max)
    }
}

/// What the system says of a connection, in words.
pub(super) fn broken(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "the peer refuses connections to this port".to_owned(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "the peer broke it off".to_owned(),
        ErrorKind::TimedOut => "the peer did not answer".to_owned(),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "the peer cannot be reached".to_owned(),
        // rustls says so of an end without a farewell.
        ErrorKind::UnexpectedEof => CUT.to_owned(),
        _ => error.to_string(),
    }
}

/// What is said of a TLS stream that may have been cut off by somebody else.
pub(super) const CUT: &str = "the peer ended it without a farewell";

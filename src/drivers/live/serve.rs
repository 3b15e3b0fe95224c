//! The loop of `netserv serve`: one web server, one folder.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a driver reads the clock and has sockets")]

use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::base::time::Instant;
use crate::drivers::listening::ListenError;
use crate::drivers::live::shelf::{Shelf, Stamp};
use crate::drivers::live::signals::Signals;
use crate::drivers::live::web::{Served, WebServer};

/// How often it is looked whether the folder changed.
const LOOK_PERIOD: Duration = Duration::from_secs(2);
/// How long answers that are on their way may still take after Ctrl-C.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
const EVENTS: usize = 128;
const SIGNAL: Token = Token(usize::MAX);
const WEB: usize = 0;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The folder cannot be read.
    #[error("cannot read {}: {error}", dir.display())]
    Read {
        /// The folder.
        dir: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is no package.
    #[error("{} holds no package: no .nsm file (`netserv module pack`), and no folder with a module{}", dir.display(), listed(problems))]
    Nothing {
        /// The folder.
        dir: PathBuf,
        /// What is there but not right.
        problems: Vec<String>,
    },
    /// The server cannot listen.
    #[error(transparent)]
    Web(#[from] ListenError),
    /// The system refused what a loop needs.
    #[error("cannot {action}: {error}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system says.
        error: io::Error,
    },
}

fn listed(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Serves the packages in `dir` until Ctrl-C or SIGTERM. Writes to `out` what it offers, at first and after each change.
///
/// # Errors
///
/// What could not be set up.
pub fn serve(dir: &Path, listen: SocketAddr, out: &mut dyn Write) -> Result<(), ServeError> {
    let system = |action| move |error| ServeError::System { action, error };
    let mut stamp = Stamp::of(dir);
    let shelf = Shelf::read(dir).map_err(|error| ServeError::Read { dir: dir.to_owned(), error })?;
    if shelf.items.is_empty() {
        return Err(ServeError::Nothing { dir: dir.to_owned(), problems: shelf.problems });
    }
    let mut poll = Poll::new().map_err(system("make a poll"))?;
    let mut signals = Signals::install(poll.registry(), SIGNAL).map_err(system("catch signals"))?;
    let mut server = WebServer::open(listen, poll.registry(), WEB)?;
    show(&shelf, server.address(), out).map_err(system("write"))?;
    shelf.offer(&mut server);

    let began = std::time::Instant::now();
    let clock = || Instant::START + began.elapsed();
    let (mut events, mut look_at, mut seen) =
        (Events::with_capacity(EVENTS), Instant::START + LOOK_PERIOD, stamp.clone());
    let mut until: Option<Instant> = None;
    loop {
        let now = clock();
        let waits = [Some(look_at.since(now)), server.longest_wait(now), until.map(|until| until.since(now))];
        match poll.poll(&mut events, waits.into_iter().flatten().min()) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(system("wait for clients")(e)),
            _ => {}
        }
        let now = clock();
        for event in &events {
            if event.token() != SIGNAL {
                server.ready(event.token().0, poll.registry(), now);
            } else if signals.came() && until.is_none() {
                until = Some(now + LAST_ANSWERS);
                tracing::info!("stopping");
            }
        }
        server.expire(poll.registry(), now);
        while let Some(served) = server.next_served() {
            log(&served);
        }
        if until.is_some_and(|until| now >= until || server.is_quiet()) {
            return Ok(());
        }
        if now >= look_at {
            look_at = now + LOOK_PERIOD;
            let looked = Stamp::of(dir);
            // Only when it is the same in two looks: somebody may be copying a file.
            let is_steady = std::mem::replace(&mut seen, looked.clone()) == looked;
            if is_steady && looked != stamp {
                stamp = looked;
                renew(dir, &mut server, out).map_err(system("write"))?;
            }
        }
    }
}

/// Offers what is in the folder now. If it cannot be read, what was offered stays.
fn renew(dir: &Path, server: &mut WebServer, out: &mut dyn Write) -> io::Result<()> {
    match Shelf::read(dir) {
        Ok(shelf) => {
            writeln!(out, "\n{} has changed", dir.display())?;
            show(&shelf, server.address(), out)?;
            shelf.offer(server);
        }
        Err(error) => tracing::warn!("cannot read {}: {error}; what was offered stays", dir.display()),
    }
    Ok(())
}

fn show(shelf: &Shelf, address: SocketAddr, out: &mut dyn Write) -> io::Result<()> {
    for problem in &shelf.problems {
        tracing::warn!("{problem}");
    }
    let base = base_url(address);
    for item in shelf.items.values() {
        let packed = &item.packed;
        writeln!(out, "{base}/{}", packed.file_name())?;
        writeln!(out, "  {}", packed.manifest.summary.escape_debug())?;
        writeln!(out, "  {} bytes, SHA-256 {}", packed.bytes.len(), packed.digest_hex())?;
    }
    writeln!(out, "{base}/index.json lists {} for programs; Ctrl-C ends", shelf.items.len())?;
    out.flush()
}

/// The address as others may reach it.
fn base_url(address: SocketAddr) -> String {
    let ip = if address.ip().is_unspecified() { own_address(address.ip()) } else { address.ip() };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// The address from which this machine would send to the world; that of the loop-back interface if it would not.
fn own_address(unspecified: IpAddr) -> IpAddr {
    // Addresses for documentation (RFC 5737, RFC 3849): nothing is sent, only a route is chosen.
    let far: SocketAddr =
        if unspecified.is_ipv4() { ([192, 0, 2, 1], 9).into() } else { ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9).into() };
    let chosen = UdpSocket::bind((unspecified, 0)).and_then(|socket| {
        socket.connect(far)?;
        socket.local_addr()
    });
    let loopback =
        if unspecified.is_ipv4() { IpAddr::from([127, 0, 0, 1]) } else { IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]) };
    chosen.map_or(loopback, |address| address.ip())
}

fn log(served: &Served) {
    let Served { peer, request, status, written_bytes, is_whole } = served;
    let cut = if *is_whole { "" } else { ", cut short" };
    tracing::info!("{peer} \"{request}\" {status}, {written_bytes} bytes{cut}");
}

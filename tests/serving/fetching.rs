//! The fetcher.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netserv::controller::api::{FetchId, FetchProblem};
use netserv::drivers::live::fetcher::{Fetcher, FetcherConfig};

use crate::Server;
use crate::bad::BadServer;

struct World {
    fetcher: Fetcher,
    woken: Receiver<()>,
    next: u64,
}

impl World {
    fn new(config: &FetcherConfig) -> World {
        let (sender, woken) = channel();
        let sender = Mutex::new(sender);
        let wake = move || {
            let _ = sender.lock().unwrap().send(());
        };
        World { fetcher: Fetcher::new(config, wake).unwrap(), woken, next: 0 }
    }

    fn with_files() -> World {
        World::new(&FetcherConfig { files_allowed: true, ca_file: None })
    }

    fn start(&mut self, url: &str, bytes_max: u64, timeout: Duration) -> FetchId {
        self.next += 1;
        self.fetcher.start(FetchId(self.next), url, bytes_max, timeout);
        FetchId(self.next)
    }

    fn wait(&mut self) -> (FetchId, Result<Vec<u8>, FetchProblem>) {
        loop {
            if let Some(finished) = self.fetcher.finished() {
                return finished;
            }
            self.woken.recv_timeout(Duration::from_secs(30)).expect("a fetch ends");
        }
    }

    fn fetch(&mut self, url: &str) -> Result<Vec<u8>, FetchProblem> {
        let id = self.start(url, 1 << 22, Duration::from_secs(10));
        let (finished, result) = self.wait();
        assert_eq!(finished, id);
        result
    }

    /// The sentence of a fetch that fails.
    fn sentence(&mut self, url: &str) -> String {
        match self.fetch(url) {
            Err(FetchProblem::Failed(sentence)) => sentence,
            other => panic!("{url}: {other:?}"),
        }
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("netserv-fetch-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn fetches_from_the_web_server_and_waits_for_none() {
    let server = Server::start(vec![("/a.nsm", crate::big()), ("/empty", Vec::new())], 1);
    let mut w = World::new(&FetcherConfig::default());
    assert_eq!(w.fetch(&server.url("/a.nsm")).unwrap(), crate::big());
    assert_eq!(w.fetch(&server.url("/empty")).unwrap(), b"");
    let sentence = w.sentence(&server.url("/b.nsm"));
    assert_eq!(sentence, format!("{} answered 404 Not Found", server.url("/b.nsm")));
    // Many at once, more than there are threads.
    let ids: Vec<FetchId> = (0..20).map(|_| w.start(&server.url("/a.nsm"), 1 << 22, Duration::from_secs(30))).collect();
    let mut ended: Vec<FetchId> =
        ids.iter().map(|_| w.wait()).inspect(|(_, r)| assert!(r.is_ok())).map(|(id, _)| id).collect();
    ended.sort();
    assert_eq!(ended, ids);
    assert!(w.fetcher.drain(Duration::from_secs(5)), "threads end when nothing is to be done");
}

#[test]
fn what_is_too_large_is_given_up_whatever_its_server_says() {
    let honest = Server::start(vec![("/a", vec![0; 5_000])], 1);
    let endless = BadServer::start(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let chunked = BadServer::start(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while stream.write_all(b"10\r\n0123456789abcdef\r\n").is_ok() {}
    });
    let mut w = World::new(&FetcherConfig::default());
    for (url, bytes_max) in [(honest.url("/a"), 4_999), (endless.url("/"), 100_000), (chunked.url("/"), 100_000)] {
        w.start(&url, bytes_max, Duration::from_secs(20));
        assert_eq!(w.wait().1, Err(FetchProblem::TooLarge), "{url}");
    }
    w.start(&honest.url("/a"), 5_000, Duration::from_secs(20));
    assert_eq!(w.wait().1.unwrap().len(), 5_000);
}

#[test]
fn what_ends_early_or_is_no_http_is_an_error() {
    let mut w = World::new(&FetcherConfig::default());
    for text in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n1234567890",
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
    ] {
        let server = BadServer::saying(text);
        let sentence = w.sentence(&server.url("/x.nsm"));
        assert!(sentence.starts_with(&format!("{} cannot be fetched: ", server.url("/x.nsm"))), "{text:?}: {sentence}");
    }
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(w.sentence(&format!("http://{gone}/")).to_lowercase().contains("refused"));
}

#[test]
fn plain_http_where_tls_is_wanted_is_told_in_words() {
    let server = Server::start(Vec::new(), 1);
    let sentence = World::with_files().sentence(&server.url("/index.json").replace("http://", "https://"));
    assert!(sentence.contains("no TLS is spoken at that port; if it offers plain HTTP, write http://"), "{sentence}");
}

#[test]
fn slow_servers_are_given_up_in_time_at_every_stage() {
    let silent = BadServer::start(|_, _| std::thread::sleep(Duration::from_secs(20)));
    let drip = BadServer::start(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let mut w = World::new(&FetcherConfig::default());
    for url in [silent.url("/s"), drip.url("/d")] {
        let began = std::time::Instant::now();
        w.start(&url, 1 << 20, Duration::from_millis(500));
        let Err(FetchProblem::Failed(sentence)) = w.wait().1 else { panic!("{url}") };
        assert!(sentence.contains("within 500ms"), "{sentence}");
        assert!(began.elapsed() < Duration::from_secs(5), "{url}");
    }
}

#[test]
fn redirects_are_followed_three_times_and_nowhere_else() {
    let target = Server::start(vec![("/a.nsm", b"A".to_vec())], 1);
    let to = target.url("/a.nsm");
    let redirecting = BadServer::start(move |stream, request| {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (count, place) = path.trim_start_matches('/').split_once('-').unwrap_or(("0", "loop"));
        let next = match (count.parse().unwrap_or(0), place) {
            (_, "loop") => "/0-loop".to_owned(),
            (_, "file") => "file:///etc/passwd".to_owned(),
            (_, "user") => "http://me:pw@127.0.0.1/".to_owned(),
            (_, "odd") => "http://127.0.0.1/a/../b".to_owned(),
            (1, _) => to.clone(),
            (n, place) => format!("{}-{place}", n - 1),
        };
        let _ = write!(stream, "HTTP/1.1 302 Found\r\nLocation: {next}\r\nContent-Length: 0\r\n\r\n");
    });
    let mut w = World::with_files();
    assert_eq!(w.fetch(&redirecting.url("/1-x")).unwrap(), b"A");
    assert_eq!(w.fetch(&redirecting.url("/3-x")).unwrap(), b"A");
    for (path, part) in [
        ("/4-x", "more than 3 times"),
        ("/0-loop", "more than 3 times"),
        ("/1-file", "a file of this machine"),
        ("/1-user", "a user in it"),
        ("/1-odd", "\"..\""),
    ] {
        let sentence = w.sentence(&redirecting.url(path));
        assert!(sentence.contains(part), "{path}: {sentence}");
    }
    let nowhere = BadServer::saying("HTTP/1.1 301 Moved Permanently\r\nContent-Length: 0\r\n\r\n");
    assert!(w.sentence(&nowhere.url("/")).contains("without a place"));
}

#[test]
fn nothing_of_this_machine_is_sent_along() {
    let seen = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&seen);
    let server = BadServer::start(move |stream, request| {
        *kept.lock().unwrap() = request.to_owned();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let mut w = World::new(&FetcherConfig::default());
    w.fetch(&server.url("/a?b=1")).unwrap();
    let request = seen.lock().unwrap().to_lowercase();
    let mut lines: Vec<&str> = request.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.remove(0), "get /a?b=1 http/1.1");
    let names: Vec<&str> = lines.iter().filter_map(|line| line.split(':').next()).collect();
    assert!(names.iter().all(|name| ["host", "user-agent", "accept", "connection"].contains(name)), "{request}");
    for (url, part) in [("http://a:b@127.0.0.1/", "user"), ("gopher://h/", "only http"), ("http://h/%2e%2e/", "%2e")] {
        assert!(w.sentence(url).contains(part), "{url}");
    }
}

#[test]
fn files_are_read_only_where_allowed_and_only_regular_ones() {
    let folder = folder("files");
    let file = folder.join("a b.nsm");
    fs::write(&file, b"A").unwrap();
    std::os::unix::fs::symlink(&file, folder.join("link")).unwrap();
    let url = |name: &str| format!("file://{}/{name}", folder.display());
    let mut w = World::with_files();
    assert_eq!(w.fetch(&url("a%20b.nsm")).unwrap(), b"A");
    assert_eq!(w.fetch(&url("link")).unwrap(), b"A");
    for (name, part) in [("none", "No such file"), ("", "not a regular file"), ("a%2", "%-signs")] {
        let sentence = w.sentence(&url(name));
        assert!(sentence.contains(part), "{name}: {sentence}");
    }
    assert!(w.sentence("file:///dev/zero").contains("not a regular file"));
    w.start(&url("link"), 0, Duration::from_secs(1));
    assert_eq!(w.wait().1, Err(FetchProblem::TooLarge));
    assert!(World::new(&FetcherConfig::default()).sentence(&url("link")).contains("does not allow"));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_cancelled_fetch_is_not_told() {
    let silent = BadServer::start(|_, _| std::thread::sleep(Duration::from_secs(20)));
    let server = Server::start(vec![("/a", b"A".to_vec())], 1);
    let mut w = World::new(&FetcherConfig::default());
    let ids: Vec<FetchId> = (0..3).map(|_| w.start(&silent.url("/"), 9, Duration::from_millis(400))).collect();
    ids.into_iter().for_each(|id| w.fetcher.cancel(id));
    let good = w.start(&server.url("/a"), 9, Duration::from_secs(10));
    assert_eq!(w.wait(), (good, Ok(b"A".to_vec())));
    assert!(w.fetcher.drain(Duration::from_secs(10)));
    assert_eq!((w.fetcher.finished(), w.fetcher.fetch_count()), (None, 0));
}

#[test]
fn notifications_are_sent_and_tried_again_once() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let server = BadServer::start(move |stream, request| {
        kept.lock().unwrap().push(request.to_owned());
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
    });
    let rude = BadServer::saying("");
    let w = World::new(&FetcherConfig::default());
    w.fetcher.post(&server.url("/told"), "{\"a\":1}");
    w.fetcher.post(&rude.url("/"), "{}");
    w.fetcher.post("file:///etc/passwd", "{}");
    assert!(w.fetcher.drain(Duration::from_secs(20)));
    let seen = seen.lock().unwrap();
    assert!(seen.len() == 1 && seen[0].starts_with("POST /told ") && seen[0].ends_with("{\"a\":1}"), "{seen:?}");
    assert_eq!(rude.asked(), 2);
}

/// A certificate as PEM.
fn pem(der: &[u8]) -> String {
    let letters: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*b"+/").collect();
    let mut text = String::new();
    for group in der.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        let digits = (0..4).map(|n| if n <= group.len() { letters[bits >> (18 - 6 * n) & 63] } else { b'=' });
        text.extend(digits.map(char::from));
    }
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// A server that speaks TLS with a certificate of its own authority; returns its port and the authority's PEM.
fn tls_server(answer: &'static str) -> (u16, String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = pem(params.self_signed(&authority_key).unwrap().der());
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &Issuer::new(params, &authority_key)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let secret = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], secret.into()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, socket);
            let mut head = [0; 1024];
            if stream.read(&mut head).is_ok() {
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    (port, authority)
}

#[test]
fn tls_is_checked_against_the_web_and_the_authorities_of_the_configuration() {
    let (port, authority) = tls_server("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nA");
    let url = format!("https://localhost:{port}/a.nsm");
    let sentence = World::new(&FetcherConfig::default()).sentence(&url);
    assert!(sentence.contains("no known authority") && sentence.contains("signaling.ca"), "{sentence}");
    let folder = folder("tls");
    let ca_file = folder.join("ca.pem");
    fs::write(&ca_file, authority).unwrap();
    let config = FetcherConfig { ca_file: Some(ca_file.clone()), files_allowed: false };
    let mut w = World::new(&config);
    assert_eq!(w.fetch(&url).unwrap(), b"A");
    let other_name = w.sentence(&format!("https://127.0.0.1:{port}/a.nsm"));
    assert!(other_name.contains("certificate"), "{other_name}");
    let (port, _) = tls_server("");
    assert!(w.sentence(&format!("https://localhost:{port}/")).contains("no known authority"), "another authority");
    // From TLS to none is no way to go.
    let (port, authority) =
        tls_server("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n");
    fs::write(&ca_file, authority).unwrap();
    let sentence = World::new(&config).sentence(&format!("https://localhost:{port}/"));
    assert!(sentence.contains("from TLS to none"), "{sentence}");
    fs::write(&ca_file, "nothing").unwrap();
    assert!(Fetcher::new(&config, || {}).unwrap_err().to_string().contains("BEGIN CERTIFICATE"));
    fs::remove_dir_all(folder).unwrap();
}

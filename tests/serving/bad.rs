//! Servers that do what servers should not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Answers each connection with `answer`, in a thread of its own, and counts them.
pub(crate) struct BadServer {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl BadServer {
    pub(crate) fn start(answer: impl Fn(&mut TcpStream, &str) + Send + Sync + 'static) -> BadServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, asked, answer) =
            (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)), Arc::new(answer));
        let counter = Arc::clone(&asked);
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                counter.fetch_add(1, Ordering::SeqCst);
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || {
                    let request = request_of(&mut stream);
                    answer(&mut stream, &request);
                });
            }
        });
        BadServer { address, asked }
    }

    /// Always the same text, and then the end.
    pub(crate) fn saying(text: &'static str) -> BadServer {
        BadServer::start(move |stream, _| {
            let _ = stream.write_all(text.as_bytes());
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// What a client sends, up to the end of its head, and its body if it says how long that is.
fn request_of(stream: &mut TcpStream) -> String {
    let (mut text, mut byte) = (String::new(), [0]);
    while !text.ends_with("\r\n\r\n") && stream.read(&mut byte).is_ok_and(|len| len == 1) {
        text.push(char::from(byte[0]));
    }
    let len = text
        .to_ascii_lowercase()
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split('\r').next()?.parse().ok());
    for _ in 0..len.unwrap_or(0) {
        if stream.read(&mut byte).is_ok_and(|len| len == 1) {
            text.push(char::from(byte[0]));
        }
    }
    text
}

//! What stands for TLS: the first bytes of a stream, in which each side says who it is and what it speaks.
//!
//! The real handshake takes its randomness and time from where a simulation cannot give it, so no run would be like
//! another. Here three messages of about the usual lengths cross the network (the client's hello, the server's answer,
//! the client's end), so that a handshake takes its round trip and can be lost; then bytes follow as they are. Keys are
//! believed, certificates are not checked, and a capture shows what real ones would hide.

use serde::{Deserialize, Serialize};

/// Begins each message: nobody speaks so by accident.
const MAGIC: &[u8; 6] = b"\x16simTL";
/// Length of what stands before the content.
const HEAD_BYTES: usize = 8;
/// Longest message.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Length of the client's first message, about as that of TLS 1.3.
const CLIENT_HELLO_BYTES: usize = 320;
/// Length of the server's answer with a certificate.
const SERVER_BYTES: usize = 1_100;
/// Length of the client's last message, with a certificate where it has one.
const CLIENT_END_BYTES: usize = 700;

/// What one side says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Its public key, for signalling.
    #[serde(default)]
    pub(super) key: Option<[u8; 32]>,
    /// Protocols that it speaks; in the answer the one that was chosen.
    #[serde(default)]
    pub(super) protocols: Vec<String>,
    /// Why it wants no such stream.
    #[serde(default)]
    pub(super) alert: Option<String>,
}

/// Who this side is.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) is_client: bool,
    pub(super) hello: Hello,
}

/// Where a handshake is.
#[derive(Clone, Debug)]
pub(super) struct Handshake {
    side: Side,
    came: Vec<u8>,
    peer: Option<Hello>,
}

/// What became of a handshake.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// More has to come.
    Waits,
    /// It is done; bytes that came behind it belong to the stream.
    Done { key: Option<[u8; 32]>, protocol: Option<String>, rest: Vec<u8> },
    /// It is not to be.
    Failed(String),
}

fn message(hello: &Hello, length: usize) -> Vec<u8> {
    let mut content = serde_json::to_vec(hello).expect("text and numbers can always be written");
    // Spaces behind JSON mean nothing.
    content.resize(content.len().max(length - HEAD_BYTES), b' ');
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend_from_slice(&content);
    bytes
}

/// Takes one message from the front.
fn take(bytes: &mut Vec<u8>) -> Result<Option<Hello>, String> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err("the peer does not speak TLS".to_owned());
    }
    let Some(length) = bytes.get(MAGIC.len()..HEAD_BYTES) else { return Ok(None) };
    let length = usize::from(length[0]) << 8 | usize::from(length[1]);
    if length > MESSAGE_BYTES_MAX {
        return Err("the peer's TLS message is too long".to_owned());
    }
    if bytes.len() < HEAD_BYTES + length {
        return Ok(None);
    }
    let rest = bytes.split_off(HEAD_BYTES + length);
    let message = std::mem::replace(bytes, rest);
    serde_json::from_slice(&message[HEAD_BYTES..]).map(Some).map_err(|_| "the peer's TLS message is broken".to_owned())
}

impl Handshake {
    pub(super) fn new(side: Side) -> Handshake {
        Handshake { side, came: Vec::new(), peer: None }
    }

    /// What this side says first.
    pub(super) fn begin(&self) -> Vec<u8> {
        if self.side.is_client { message(&self.side.hello, CLIENT_HELLO_BYTES) } else { Vec::new() }
    }

    /// Bytes came; what is to be sent is put behind `out`.
    pub(super) fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Outcome {
        self.came.extend_from_slice(bytes);
        loop {
            let hello = match take(&mut self.came) {
                Ok(None) => return Outcome::Waits,
                Ok(Some(Hello { alert: Some(alert), .. })) | Err(alert) => return Outcome::Failed(alert),
                Ok(Some(hello)) => hello,
            };
            let rest = |came: &mut Vec<u8>| std::mem::take(came);
            if self.side.is_client {
                out.extend(message(&Hello::default(), CLIENT_END_BYTES));
                let (key, protocol) = (hello.key, hello.protocols.into_iter().next());
                return Outcome::Done { key, protocol, rest: rest(&mut self.came) };
            }
            let Some(peer) = &self.peer else {
                match self.choose(&hello) {
                    Ok(answer) => out.extend(message(&answer, SERVER_BYTES)),
                    Err(alert) => {
                        out.extend(message(&Hello { alert: Some(alert.clone()), ..Hello::default() }, SERVER_BYTES));
                        return Outcome::Failed(alert);
                    }
                }
                self.peer = Some(hello);
                continue;
            };
            let protocol = self.choose(peer).ok().and_then(|answer| answer.protocols.into_iter().next());
            return Outcome::Done { key: peer.key, protocol, rest: rest(&mut self.came) };
        }
    }

    /// The server's answer.
    fn choose(&self, client: &Hello) -> Result<Hello, String> {
        let own = &self.side.hello;
        let common = own.protocols.iter().find(|protocol| client.protocols.contains(protocol)).cloned();
        if common.is_none() && !own.protocols.is_empty() && !client.protocols.is_empty() {
            return Err("the peer speaks TLS, but another protocol inside of it".to_owned());
        }
        Ok(Hello { key: own.key, protocols: common.into_iter().collect(), alert: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(is_client: bool, key: u8, protocols: &[&str]) -> Handshake {
        let protocols = protocols.iter().map(|p| (*p).to_owned()).collect();
        Handshake::new(Side { is_client, hello: Hello { key: Some([key; 32]), protocols, alert: None } })
    }

    #[test]
    fn both_sides_learn_who_the_other_is_however_the_bytes_are_cut() {
        for cut in [1, 7, 100, 5_000] {
            let (mut client, mut server) = (side(true, 1, &["x", "h"]), side(false, 2, &["h", "x"]));
            let (mut to_server, mut to_client) = (client.begin(), Vec::new());
            for part in to_server.chunks(cut) {
                assert_eq!(server.receive(part, &mut to_client), Outcome::Waits);
            }
            to_server.clear();
            let mut done = Outcome::Waits;
            for part in to_client.clone().chunks(cut) {
                done = client.receive(part, &mut to_server);
            }
            let protocol = Some("h".to_owned());
            assert_eq!(done, Outcome::Done { key: Some([2; 32]), protocol: protocol.clone(), rest: Vec::new() });
            to_server.extend_from_slice(b"behind it");
            let (mut rest, mut key) = (Vec::new(), None);
            for part in to_server.chunks(cut) {
                if key.is_some() {
                    rest.extend_from_slice(part);
                } else if let Outcome::Done { key: theirs, rest: more, .. } = server.receive(part, &mut to_client) {
                    (key, rest) = (theirs, more);
                }
            }
            assert_eq!((key, rest.as_slice()), (Some([1; 32]), &b"behind it"[..]));
        }
    }

    #[test]
    fn who_speaks_something_else_is_refused() {
        let mut server = side(false, 2, &["h"]);
        assert!(matches!(server.receive(b"GET / HTTP/1.1", &mut Vec::new()), Outcome::Failed(_)));
        let (client, mut server) = (side(true, 1, &["x"]), side(false, 2, &["h"]));
        let mut out = Vec::new();
        assert!(matches!(server.receive(&client.begin(), &mut out), Outcome::Failed(_)));
        let mut client = client;
        assert!(matches!(client.receive(&out, &mut Vec::new()), Outcome::Failed(why) if why.contains("protocol")));
    }
}

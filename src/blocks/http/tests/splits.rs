//! However the network cuts the bytes, the same requests are seen and the same answers given.

use proptest::prelude::*;

use super::*;

const PIECES: &[&str] = &[
    "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "\r\nGET /b?c HTTP/1.1\r\nhost: a\r\nx: y\r\n\r\n",
    "POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nhello world",
    "POST /q HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nt: u\r\n\r\n",
    "POST /e HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc",
    "POST /z HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello!\r\n",
    "HEAD / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    "GET / HTTP/1.1\nhost: a\n\n",
    "\r\n\r\n\r\n",
    "\r",
    "garbage",
];

/// Feeds the parts and answers all requests at once; returns what was seen and said.
fn run(parts: &[&[u8]]) -> (Vec<String>, String) {
    let mut c = ServerConnection::new(LIMITS, at(0));
    let mut seen = Vec::new();
    let mut said = String::new();
    let mut reads: Option<Vec<u8>> = None;
    for part in parts {
        c.receive(at(0), part);
        loop {
            let Some(body) = &mut reads else {
                let Some(head) = next(&mut c) else { break };
                seen.push(format!("{} {}", head.method(), head.target()));
                reads = Some(Vec::new());
                continue;
            };
            match c.read_body(at(0), WALL, 7) {
                Ok(BodyPart::Bytes(bytes)) => body.extend(bytes),
                Ok(BodyPart::Waits) => break,
                Ok(BodyPart::End) => {
                    seen.push(format!("body {}", String::from_utf8_lossy(body)));
                    reads = None;
                    // Whether the client had to be asked for the body depends on what came together.
                    said += &answer(&mut c, "yes").replace("HTTP/1.1 100 Continue\r\n\r\n", "");
                }
                Err(error) => {
                    seen.push(format!("body {} {error}", String::from_utf8_lossy(body)));
                    reads = None;
                }
            }
        }
    }
    said += &output(&mut c).replace("HTTP/1.1 100 Continue\r\n\r\n", "");
    seen.push(format!("{:?}", c.end()));
    (seen, said)
}

proptest! {
    #[test]
    fn cuts_change_nothing(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole = pieces.concat().into_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len())).collect();
        cuts.extend([0, whole.len()]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
        prop_assert_eq!(run(&parts), run(&[&whole]));
    }

    #[test]
    fn single_bytes_change_nothing(pieces in prop::collection::vec(prop::sample::select(PIECES), 1..4)) {
        let whole = pieces.concat().into_bytes();
        let parts: Vec<&[u8]> = whole.chunks(1).collect();
        prop_assert_eq!(run(&parts), run(&[&whole]));
    }
}

//! Cookies (RFC 5971, section 8.5). A querier's is random. A responder's holds, under a key that rolls, all that is
//! needed to make its state from the Confirm alone.

use std::net::IpAddr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;
use ring::hmac;

use crate::base::time::Instant;
use crate::signaling::gist::routing::Key;
use crate::wire::gist::object::{Cookie, PeerIdentity};

/// How often the secret rolls. A cookie is good for one to two of these: longer than any handshake takes.
const SECRET_LIFETIME: Duration = Duration::from_secs(90);
const MAC_BYTES: usize = 16;
const CLEAR_BYTES: usize = 12;

/// What a responder's cookie says of the Query that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueryFacts {
    /// The Query's UDP source port.
    pub(super) port: u16,
    /// Where it came in.
    pub(super) interface: u32,
    /// IP hops to the querier; 0 = not known.
    pub(super) distance: u8,
}

/// Makes and checks cookies.
pub(super) struct CookieMaker {
    generation: u16,
    current: hmac::Key,
    previous: hmac::Key,
    rolled_at: Instant,
}

fn secret(rng: &mut ChaCha20Rng) -> hmac::Key {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    hmac::Key::new(hmac::HMAC_SHA256, &bytes)
}

impl CookieMaker {
    pub(super) fn new(rng: &mut ChaCha20Rng) -> Self {
        CookieMaker { generation: 1, current: secret(rng), previous: secret(rng), rolled_at: Instant::START }
    }

    fn roll(&mut self, now: Instant, rng: &mut ChaCha20Rng) {
        let age = now.since(self.rolled_at);
        if age < SECRET_LIFETIME {
            return;
        }
        // After two lifetimes without a cookie the last secret is too old as well.
        let fresh = secret(rng);
        let last = std::mem::replace(&mut self.current, fresh);
        self.previous = if age < SECRET_LIFETIME * 2 { last } else { secret(rng) };
        self.generation = self.generation.wrapping_add(1);
        self.rolled_at = now;
    }

    /// A responder cookie: liveness in clear (the secret's generation), what must be known of the Query, and a code
    /// over these, the querier's identity and address, flow, application and session (RFC 5971, section 8.5).
    pub(super) fn make(
        &mut self,
        now: Instant,
        rng: &mut ChaCha20Rng,
        facts: QueryFacts,
        of: (&PeerIdentity, IpAddr, &Key),
    ) -> Cookie {
        self.roll(now, rng);
        let mut bytes = Vec::with_capacity(CLEAR_BYTES + MAC_BYTES);
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&facts.port.to_be_bytes());
        bytes.extend_from_slice(&facts.interface.to_be_bytes());
        bytes.extend_from_slice(&[facts.distance, 0, 0, 0]);
        let mac = hmac::sign(&self.current, &covered(&bytes, of));
        bytes.extend_from_slice(&mac.as_ref()[..MAC_BYTES]);
        Cookie(bytes)
    }

    /// Whether this node made the cookie, not long ago and for this querier, flow and session.
    pub(super) fn verify(
        &mut self,
        now: Instant,
        rng: &mut ChaCha20Rng,
        cookie: &Cookie,
        of: (&PeerIdentity, IpAddr, &Key),
    ) -> Option<QueryFacts> {
        self.roll(now, rng);
        let bytes: &[u8; CLEAR_BYTES + MAC_BYTES] = cookie.0.as_slice().try_into().ok()?;
        let (clear, mac) = bytes.split_at(CLEAR_BYTES);
        let generation = u16::from_be_bytes([clear[0], clear[1]]);
        let key = match self.generation.wrapping_sub(generation) {
            0 => &self.current,
            1 => &self.previous,
            _ => return None,
        };
        let want = hmac::sign(key, &covered(clear, of));
        // In constant time: how many bytes were right must not be told.
        let difference = want.as_ref()[..MAC_BYTES].iter().zip(mac).fold(0, |d, (a, b)| d | (a ^ b));
        (difference == 0).then(|| QueryFacts {
            port: u16::from_be_bytes([clear[2], clear[3]]),
            interface: u32::from_be_bytes([clear[4], clear[5], clear[6], clear[7]]),
            distance: clear[8],
        })
    }
}

/// What the code covers. Each part has its length in front, so that no two inputs give the same bytes.
fn covered(clear: &[u8], (identity, address, key): (&PeerIdentity, IpAddr, &Key)) -> Vec<u8> {
    let address = match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    let mut bytes = Vec::with_capacity(128);
    for part in [clear, &identity.0, &address, &key.mri_bytes(), &key.nslp.0.to_be_bytes(), &key.sid.0] {
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// A querier's cookie: random, new for each Query.
pub(super) fn query_cookie(rng: &mut ChaCha20Rng) -> Cookie {
    Cookie(rng.next_u64().to_be_bytes().to_vec())
}

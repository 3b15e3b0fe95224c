//! Digests that protocols still ask for, and random bytes for secrets.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use ring::{digest, hmac};

use crate::base::crypto::hmac_sha256;

/// SHA-1 of `bytes`: for protocols that prescribe it, such as STUN and HTTP's web sockets.
#[must_use]
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut out = [0; 20];
    out.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
    out
}

/// HMAC-SHA-1 of `message` under `key` (RFC 2104).
#[must_use]
pub fn hmac_sha1(key: &[u8], message: &[u8]) -> [u8; 20] {
    let mut out = [0; 20];
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    out.copy_from_slice(hmac::sign(&key, message).as_ref());
    out
}

/// MD5 of `bytes` (RFC 1321): for protocols that prescribe it, such as SIP's digest authentication.
#[must_use]
pub fn md5(bytes: &[u8]) -> [u8; 16] {
    md5::compute(bytes).0
}

/// Whether two texts are equal, in a time that only depends on their lengths.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

/// What the random bytes for secrets are made of: 32 bytes that nobody can guess, from the driver.
///
/// Where time is virtual it is made of the seed, so that a run can be repeated; such a node keeps no secrets.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Of bytes from the system's generator for secrets.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Secret {
        Secret(bytes)
    }

    /// Of a seed: can be repeated, and guessed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Secret {
        Secret(hmac_sha256(b"seed", &seed.to_be_bytes()))
    }

    /// Another secret that tells nothing of this one, nor of others with other labels.
    #[must_use]
    pub fn derived(&self, label: &[u8]) -> Secret {
        Secret(hmac_sha256(&self.0, label))
    }

    /// The generator of this secret: ChaCha20.
    #[must_use]
    pub fn generator(&self) -> Generator {
        Generator(ChaCha20Rng::from_seed(self.0))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Random bytes that nobody can guess who does not know the secret.
pub struct Generator(ChaCha20Rng);

impl Generator {
    /// The next bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::crypto::to_hex;

    #[test]
    fn digests_are_those_of_the_standards() {
        // FIPS 180-2, appendix A.1; RFC 1321, appendix A.5; RFC 2202, section 3, test 2.
        assert_eq!(to_hex(&sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(to_hex(&md5(b"abc")), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(to_hex(&md5(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        let mac = hmac_sha1(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(to_hex(&mac), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    }

    #[test]
    fn texts_are_compared_whole() {
        assert!(equal(b"", b"") && equal(b"abc", b"abc"));
        assert!(!equal(b"abc", b"abd") && !equal(b"abc", b"ab") && !equal(b"xbc", b"abc"));
    }

    #[test]
    fn each_label_has_its_own_sequence_and_it_can_be_repeated() {
        let sequence = |secret: &Secret| {
            let mut bytes = [0; 40];
            secret.generator().fill(&mut bytes);
            bytes
        };
        let secret = Secret::from_seed(7);
        assert_eq!(sequence(&secret.derived(b"a")), sequence(&Secret::from_seed(7).derived(b"a")));
        assert_ne!(sequence(&secret.derived(b"a")), sequence(&secret.derived(b"b")));
        assert_ne!(sequence(&secret), sequence(&Secret::from_seed(8)));
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}

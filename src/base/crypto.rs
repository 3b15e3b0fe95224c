//! Digests, keyed digests and signatures: thin over the library, with types that cannot be mixed up in length.

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use ring::{digest, hmac};

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// HMAC-SHA-256 of `message` under `key` (RFC 2104).
#[must_use]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref());
    out
}

/// Whether `signature` over `message` was made with the private key of `key`: Ed25519 (RFC 8032).
#[must_use]
pub fn ed25519_verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}

/// `bytes` in lower-case hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| char::from(DIGITS[usize::from(half)])).collect()
}

/// Exactly `N` bytes from `2 * N` hexadecimal digits of either case; `None` for anything else.
#[must_use]
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let half = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = half(pair[0])? << 4 | half(pair[1])?;
    }
    Some(out)
}

/// An Ed25519 private key.
pub struct SigningKey(Ed25519KeyPair);

/// Why bytes are no private key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no Ed25519 private key in PKCS#8 form ({reason}); `netserv key new` makes one")]
pub struct KeyError {
    /// What the library says.
    reason: String,
}

impl SigningKey {
    /// The key in a PKCS#8 document (RFC 8410, section 7), with or without its public half.
    ///
    /// # Errors
    ///
    /// When it is something else, or when its public half belongs to another key.
    pub fn from_pkcs8(document: &[u8]) -> Result<SigningKey, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document);
        pair.map(SigningKey).map_err(|error| KeyError { reason: error.to_string() })
    }

    /// The key that 32 random bytes make (RFC 8032, section 5.1.5). The bytes must come from the system's generator
    /// for secrets, and be kept secret.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> SigningKey {
        SigningKey(Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed"))
    }

    /// The PKCS#8 document of the key of `seed` (RFC 8410, section 7).
    #[must_use]
    pub fn pkcs8_of_seed(seed: &[u8; 32]) -> Vec<u8> {
        // SEQUENCE { version 0, SEQUENCE { OID 1.3.101.112 }, OCTET STRING { OCTET STRING seed } }
        const HEAD: [u8; 16] =
            [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        [HEAD.as_slice(), seed].concat()
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.public_key().as_ref());
        out
    }

    /// The signature over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        out.copy_from_slice(self.0.sign(message).as_ref());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(to_hex(&sha256(b"abc")), abc);
        // RFC 4231, section 4.3.
        let mac = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(to_hex(&hmac_sha256(b"Jefe", b"what do ya want for nothing?")), mac);
    }

    #[test]
    fn signatures_are_those_of_the_standard() {
        // RFC 8032, section 7.1, test 2.
        let seed = from_hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let key = SigningKey::from_seed(&seed);
        assert_eq!(to_hex(&key.public()), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = key.sign(&[0x72]);
        assert_eq!(
            to_hex(&signature),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert!(ed25519_verify(&key.public(), &[0x72], &signature));
        assert!(!ed25519_verify(&key.public(), &[0x73], &signature));
        let mut wrong = signature;
        wrong[0] ^= 1;
        assert!(!ed25519_verify(&key.public(), &[0x72], &wrong));
        assert!(!ed25519_verify(&[0xff; 32], &[0x72], &signature));
    }

    #[test]
    fn a_key_comes_back_from_its_document_and_nothing_else_does() {
        let seed = [7; 32];
        let document = SigningKey::pkcs8_of_seed(&seed);
        assert_eq!(SigningKey::from_pkcs8(&document).unwrap().public(), SigningKey::from_seed(&seed).public());
        for wrong in [&document[..47], b"".as_slice(), &[0x30; 48]] {
            let error = SigningKey::from_pkcs8(wrong).err().unwrap().to_string();
            assert!(error.contains("netserv key new"), "{error}");
        }
    }

    #[test]
    fn hexadecimal_is_read_strictly() {
        assert_eq!(from_hex::<2>("00fF"), Some([0, 255]));
        for wrong in ["", "00f", "00fg", "00ff0", "+0ff", "é0f"] {
            assert_eq!(from_hex::<2>(wrong), None, "{wrong}");
        }
    }
}

//! Signatures of publishers over packages, as `minisign` makes and checks them: Ed25519 over BLAKE2b of the file, with a
//! comment that is signed as well.
//!
//! Nothing of a signature is believed: it comes with the package from the network.

use std::fmt;
use std::io::Cursor;
use std::str::FromStr;

use minisign::{PublicKey, PublicKeyBox, SignatureBox};

use crate::base::limits::SIGNATURE_BYTES_MAX;
use crate::container::properties::shortened;

/// The extension of signature files, behind that of the package.
pub const EXTENSION: &str = "minisig";

/// What the signed comment of this program's own signatures begins with.
const OWN_COMMENT: &str = "netserv module ";
/// Characters of 64 bytes in Base64.
const GLOBAL_SIGNATURE_CHARS: usize = 88;
/// Characters of a public key in Base64.
const PUBLIC_KEY_CHARS: usize = 56;

/// The public key of somebody who publishes modules, as `minisign` writes it: `RW` and 54 more characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublisherKey(String);

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A text is no key.
    #[error(
        "{got:?} is no publisher's key; one is 56 characters that begin with \"RW\", or a file that `minisign` wrote"
    )]
    Key {
        /// What stood there, cut where it is too long.
        got: String,
    },
    /// A text is no signature.
    #[error("it is no signature of minisign's: {problem}; sign the package again with `netserv module sign`")]
    Malformed {
        /// What is wrong with it.
        problem: String,
    },
    /// It was made with another key.
    #[error("it was made with the key {got}, not with {want}")]
    OtherKey {
        /// The id of the key that it was made with.
        got: String,
        /// The id of the key that was wanted.
        want: String,
    },
    /// Package, signature or signed comment are not what was signed.
    #[error("package or signature were changed after {key} signed: do not use the package, and fetch it again")]
    Wrong {
        /// The id of the key.
        key: String,
    },
    /// It belongs to another package.
    #[error("its signed comment says {got:?}, but the package is {want:?}")]
    OtherPackage {
        /// What was signed.
        got: String,
        /// What is there.
        want: String,
    },
}

impl PublisherKey {
    /// Reads the file of a public key: a comment, and the key in the second line; or the key alone.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Key`].
    pub fn of_file(text: &str) -> Result<PublisherKey, SignatureError> {
        let key = text.trim_end().lines().next_back().unwrap_or_default();
        key.trim().parse()
    }

    /// The key as the library has it.
    #[must_use]
    pub fn of_public(key: &PublicKey) -> PublisherKey {
        PublisherKey(key.to_base64())
    }

    /// The key's id, 16 hexadecimal digits: what `minisign` calls it. Two keys may have the same.
    #[must_use]
    pub fn id(&self) -> String {
        let Ok(key) = self.public() else { return String::new() };
        id_text(key.keynum())
    }

    /// The file of the key, as `minisign` reads it.
    #[must_use]
    pub fn to_file(&self) -> String {
        let text = self.public().and_then(|key| key.to_box().map_err(|_| self.no_key()));
        text.map(PublicKeyBox::into_string).unwrap_or_default()
    }

    fn public(&self) -> Result<PublicKey, SignatureError> {
        PublicKey::from_base64(&self.0).map_err(|_| self.no_key())
    }

    fn no_key(&self) -> SignatureError {
        SignatureError::Key { got: shortened(&self.0) }
    }

    /// Checks the text of a signature over the package `bytes`. Returns its signed comment.
    ///
    /// `want` is what the comment of a signature of this program must say: see [`comment`]. Other programs may say
    /// anything.
    ///
    /// # Errors
    ///
    /// Why it does not count.
    pub fn verify(&self, text: &str, bytes: &[u8], want: &str) -> Result<String, SignatureError> {
        let signature = read(text)?;
        let key = self.public()?;
        if signature.keynum() != key.keynum() {
            return Err(SignatureError::OtherKey { got: id_text(signature.keynum()), want: self.id() });
        }
        let wrong = || SignatureError::Wrong { key: self.id() };
        minisign::verify(&key, &signature, Cursor::new(bytes), true, false, false).map_err(|_| wrong())?;
        let comment = signature.trusted_comment().map_err(|_| wrong())?;
        if comment.starts_with(OWN_COMMENT) && comment != want {
            return Err(SignatureError::OtherPackage { got: shortened(&comment), want: want.to_owned() });
        }
        Ok(comment)
    }
}

/// What this program signs with a package, so that a person sees what it is: name, version, digest.
#[must_use]
pub fn comment(name: &str, version: &semver::Version, digest_hex: &str) -> String {
    format!("{OWN_COMMENT}{name} {version} sha256:{digest_hex}")
}

/// The id of the key that a signature says to be made with.
///
/// # Errors
///
/// [`SignatureError::Malformed`].
pub fn key_id(text: &str) -> Result<String, SignatureError> {
    read(text).map(|signature| id_text(signature.keynum()))
}

/// Reads a signature as strictly as it is written: what else might be in it would not be covered by it.
fn read(text: &str) -> Result<SignatureBox, SignatureError> {
    let malformed = |problem: &str| SignatureError::Malformed { problem: shortened(problem) };
    if text.len() > SIGNATURE_BYTES_MAX {
        return Err(malformed(&format!("it has {} bytes, and {SIGNATURE_BYTES_MAX} are read", text.len())));
    }
    let text = text.replace("\r\n", "\n");
    let is_whole = |line: &str| line.len() == GLOBAL_SIGNATURE_CHARS && line.ends_with("==");
    if !text.lines().nth(3).is_some_and(is_whole) {
        return Err(malformed("its fourth line is not 64 bytes in Base64"));
    }
    let signature = SignatureBox::from_string(&text).map_err(|error| malformed(&error.to_string()))?;
    if !signature.is_prehashed() {
        return Err(malformed("it is of the old kind (\"Ed\"); minisign 0.11 and later make the other one"));
    }
    if signature.to_string().trim_end() != text.trim_end() {
        return Err(malformed("it is not written as minisign writes it"));
    }
    Ok(signature)
}

/// Ids are shown as minisign shows them: the bytes from last to first.
fn id_text(keynum: &[u8]) -> String {
    keynum.iter().rev().map(|byte| format!("{byte:02X}")).collect()
}

impl FromStr for PublisherKey {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<PublisherKey, SignatureError> {
        let wrong = || SignatureError::Key { got: shortened(text) };
        if text.len() != PUBLIC_KEY_CHARS || !text.starts_with("RW") {
            return Err(wrong());
        }
        let key = PublicKey::from_base64(text).map_err(|_| wrong())?;
        let written = PublisherKey(key.to_base64());
        if written.0 == text { Ok(written) } else { Err(wrong()) }
    }
}

impl fmt::Display for PublisherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PublisherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for PublisherKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for PublisherKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of minisign 0.11, which also signed the bytes below.
    const KEY: &str = "RWSOitkl2sTueqp0g1BfE++aBpph073fA0pNAMIVHR+wAjlkXTXXWgW7";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key
RUSOitkl2sTuer20oA1X6gS7CzPU6NRfAf+7sQmi86QDF/t4T1hgnY4D9cFzSw+08plF3WlccdaLuF+bKSPgGqzx7qK+29mCKA4=
trusted comment: any comment
K7c49Bfh2O8vEpHyw3ekILgFPPK1J2s2RHWgQtAMlJxWb9T6B0R9eNNn997lufQj9rDk+mLr2AoGv8NuKNFxCA==
";
    const BYTES: &[u8] = b"a package\n";

    #[test]
    fn a_signature_of_minisign_counts() {
        let key: PublisherKey = KEY.parse().unwrap();
        assert_eq!((key.id().as_str(), key_id(SIGNATURE).unwrap()), ("7AEEC4DA25D98A8E", key.id()));
        assert_eq!(key.verify(SIGNATURE, BYTES, "anything").unwrap(), "any comment");
    }

    fn signed() -> (PublisherKey, String) {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let comment = comment("m", &semver::Version::new(1, 0, 0), "ab");
        let signature = minisign::sign(None, &pair.sk, Cursor::new(BYTES), Some(&comment), None).unwrap();
        (PublisherKey::of_public(&pair.pk), signature.into_string())
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        let (key, _) = signed();
        assert_eq!(PublisherKey::of_file(&key.to_file()).unwrap(), key);
        assert_eq!(PublisherKey::of_file(&key.to_string()).unwrap(), key);
        assert!(key.to_file().contains(&key.id()), "{}", key.to_file());
        for text in ["", "RW", &KEY[..55], &"R".repeat(56), &format!("{KEY} "), &"é".repeat(28)] {
            assert!(text.parse::<PublisherKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_changed_byte_anywhere_is_refused() {
        let (key, text) = signed();
        let want = comment("m", &semver::Version::new(1, 0, 0), "ab");
        assert_eq!(key.verify(&text, BYTES, &want).unwrap(), want);
        for at in 0..BYTES.len() {
            let mut changed = BYTES.to_vec();
            changed[at] ^= 1;
            assert!(matches!(key.verify(&text, &changed, &want), Err(SignatureError::Wrong { .. })), "{at}");
        }
        // The first line is not signed, as its name says; all else is.
        let first_line = text.find('\n').unwrap();
        for at in first_line + 1..text.trim_end().len() {
            for to in [b'A', b'b', b' ', b'\n'] {
                let mut changed = text.clone().into_bytes();
                if changed[at] != to {
                    changed[at] = to;
                    let changed = String::from_utf8(changed).unwrap();
                    assert!(key.verify(&changed, BYTES, &want).is_err(), "{at} {}", char::from(to));
                }
            }
        }
        for changed in [format!("{text}more"), text.replace("sha256", "sha256 "), text[..text.len() - 3].to_owned()] {
            assert!(key.verify(&changed, BYTES, &want).is_err(), "{changed}");
        }
    }

    #[test]
    fn the_signature_of_another_key_or_package_is_refused() {
        let ((key, text), (other, _)) = (signed(), signed());
        assert!(matches!(other.verify(&text, BYTES, ""), Err(SignatureError::OtherKey { .. })));
        let error = key.verify(&text, BYTES, "netserv module m 2.0.0 sha256:ab").unwrap_err();
        assert!(matches!(error, SignatureError::OtherPackage { .. }), "{error}");
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let (key, text) = signed();
        let long = "x".repeat(SIGNATURE_BYTES_MAX + 1);
        let global = text.lines().nth(3).unwrap();
        for text in
            ["", "\n\n\n\n", "untrusted comment: x\nRUQ=\ntrusted comment: y\nAAAA\n", &long, &text.replace(global, "")]
        {
            assert!(matches!(key.verify(text, BYTES, ""), Err(SignatureError::Malformed { .. })), "{text:.40}");
        }
    }
}

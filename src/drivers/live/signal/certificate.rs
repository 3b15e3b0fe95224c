//! The key in a certificate. Nothing else of a certificate counts here, so nothing else is looked at.

use crate::signaling::io::PeerKey;

/// DER tags.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;

/// A SubjectPublicKeyInfo with an Ed25519 key, up to the key (RFC 8410, section 4): there is only one way to write it.
const ED25519_HEAD: [u8; 12] = [SEQUENCE, 42, SEQUENCE, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 33, 0];

/// Returns the Ed25519 key of a certificate (RFC 5280, section 4.1); `None` if its key is another one, or it is no
/// certificate.
pub(super) fn key_of(certificate: &[u8]) -> Option<PeerKey> {
    let (outer, rest) = take(certificate, SEQUENCE)?;
    if !rest.is_empty() {
        return None;
    }
    let (inner, _) = take(outer, SEQUENCE)?;
    let mut fields = take(inner, VERSION)?.1;
    // Serial number, signature algorithm, issuer, validity, subject.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        fields = take(fields, tag)?.1;
    }
    let key = fields.strip_prefix(&ED25519_HEAD)?;
    key.first_chunk().copied().map(PeerKey)
}

/// Takes the value with this tag off the front; answers its content and what follows.
fn take(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first != tag {
        return None;
    }
    let (len, rest) = match *rest {
        [len @ 0..=0x7f, ref rest @ ..] => (usize::from(len), rest),
        // Longer forms, each only for what does not fit into a shorter one.
        [0x81, len @ 0x80..=0xff, ref rest @ ..] => (usize::from(len), rest),
        [0x82, high @ 1..=0xff, low, ref rest @ ..] => (usize::from(u16::from_be_bytes([high, low])), rest),
        _ => return None,
    };
    rest.split_at_checked(len)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData};

    use super::*;

    #[test]
    fn the_key_of_an_ed25519_certificate_is_found() {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let certificate = CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        assert_eq!(key_of(certificate.der()).unwrap().0, key.der_bytes());
        for end in 0..certificate.der().len() {
            assert_eq!(key_of(&certificate.der()[..end]), None);
        }
        for at in 0..certificate.der().len() {
            let mut broken = certificate.der().to_vec();
            broken[at] ^= 0x81;
            let _ = key_of(&broken);
        }
    }

    #[test]
    fn a_certificate_with_another_kind_of_key_has_none() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        assert_eq!(key_of(certificate.der()), None);
        assert_eq!(key_of(b"no certificate"), None);
        assert_eq!(key_of(&[SEQUENCE, 0x84, 255, 255, 255, 255]), None);
    }
}

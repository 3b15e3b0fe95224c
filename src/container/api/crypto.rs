//! Behind `@netserv/crypto`.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use crate::base::crypto::{ed25519_verify, hmac_sha256, sha256};
use crate::base::limits::{CRYPTO_BYTES_MAX, RANDOM_BYTES_MAX};
use crate::blocks::hash;
use crate::container::api::block::{Block, item};
use crate::container::api::{Answer, library};
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

pub(crate) const BLOCK: Block = Block {
    name: "crypto",
    summary: "Random bytes for secrets, digests, signatures, base64.",
    about: "Digests are strings of bytes; `hex` makes them readable. One call takes at most 4 MiB. Where time is virtual \
            (tests, replay, demos) the random bytes come from the seed, so that a run can be repeated. MD5 and SHA-1 are \
            here for protocols that prescribe them, and protect nothing by themselves.",
    types: "",
    items: &[
        item("random", "(count: number) -> string", "So many random bytes that nobody can guess, at most 65,536."),
        item("sha256", "(bytes: string) -> string", "SHA-256: 32 bytes."),
        item("sha1", "(bytes: string) -> string", "SHA-1: 20 bytes."),
        item("md5", "(bytes: string) -> string", "MD5: 16 bytes."),
        item("hmac_sha256", "(key: string, message: string) -> string", "HMAC with SHA-256: 32 bytes."),
        item("hmac_sha1", "(key: string, message: string) -> string", "HMAC with SHA-1: 20 bytes."),
        item(
            "ed25519_verify",
            "(key: string, message: string, signature: string) -> boolean",
            "Whether the signature (64 bytes) over the message is that of the public key (32 bytes).",
        ),
        item(
            "equal",
            "(a: string, b: string) -> boolean",
            "Whether two texts are equal, in a time that tells nothing of what differs. For secrets and digests of them.",
        ),
        item("base64", "(bytes: string) -> string", "Base64 with padding (RFC 4648, section 4)."),
        item("from_base64", "(text: string) -> string?", "The bytes, padding or not; nil for what is no base64."),
        item("base64url", "(bytes: string) -> string", "Base64 for URLs, without padding (RFC 4648, section 5)."),
        item("from_base64url", "(text: string) -> string?", "The bytes, padding or not; nil for what is none."),
        item("hex", "(bytes: string) -> string", "Bytes as hexadecimal digits."),
        item("from_hex", "(digits: string) -> string?", "The bytes of hexadecimal digits; nil for anything else."),
    ],
    example: "local crypto = require(\"@netserv/crypto\")\n\
              local M = {}\n\
              function M.run(ctx: Context)\n  \
                local key = crypto.random(32)\n  \
                local ticket = crypto.base64url(crypto.hmac_sha256(key, \"alice\"))\n  \
                -- Later: is this the ticket of alice?\n  \
                local shown = crypto.from_base64url(ticket)\n  \
                assert(shown and crypto.equal(shown, crypto.hmac_sha256(key, \"alice\")))\n  \
                assert(crypto.hex(crypto.md5(\"abc\")) == \"900150983cd24fb0d6963f7d28e17f72\")\n  \
                ctx:log(\"info\", \"done\")\n\
              end\n\
              return M\n",
    natives: &[
        ("base64", base64),
        ("base64url", base64url),
        ("ed25519_verify", verify),
        ("equal", equal),
        ("from_base64", from_base64),
        ("from_base64url", from_base64url),
        ("from_hex", library::from_hex),
        ("hex", library::hex),
        ("hmac_sha1", hmac_sha1),
        ("hmac_sha256", mac_sha256),
        ("md5", md5),
        ("random", random),
        ("sha1", sha1),
        ("sha256", digest_sha256),
    ],
    code: "return (...)",
};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT.with_encode_padding(false));

/// A text that is not too long to work on in one call.
fn text<'a>(arguments: &Arguments<'a>, at: std::ffi::c_int, name: &str) -> Result<&'a [u8], String> {
    let bytes = arguments.bytes(at, name)?;
    if bytes.len() > CRYPTO_BYTES_MAX {
        return Err(format!("{name} has {} bytes; {CRYPTO_BYTES_MAX} may be worked on in one call", bytes.len()));
    }
    Ok(bytes)
}

fn random(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let count = arguments.number(1, "count")?;
    if !(count >= 0.0 && count <= RANDOM_BYTES_MAX as f64 && count.fract() == 0.0) {
        return Err(format!("count must be a whole number from 0 to {RANDOM_BYTES_MAX}, not {count}"));
    }
    let mut bytes = vec![0; count as usize];
    host.secrets.borrow_mut().fill(&mut bytes);
    host.guard().charge(count as u64 / 8);
    Ok(Answer::Bytes(bytes))
}

fn digest_sha256(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Bytes(sha256(text(arguments, 1, "bytes")?).to_vec()))
}

fn sha1(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Bytes(hash::sha1(text(arguments, 1, "bytes")?).to_vec()))
}

fn md5(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Bytes(hash::md5(text(arguments, 1, "bytes")?).to_vec()))
}

fn mac_sha256(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Bytes(hmac_sha256(text(arguments, 1, "key")?, text(arguments, 2, "message")?).to_vec()))
}

fn hmac_sha1(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Bytes(hash::hmac_sha1(text(arguments, 1, "key")?, text(arguments, 2, "message")?).to_vec()))
}

/// Safepoints that one signature stands for where time is virtual: some 100 µs.
const SIGNATURE_SAFEPOINTS: u64 = 10_000;

fn verify(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    host.guard().charge(SIGNATURE_SAFEPOINTS);
    let (key, signature) = (arguments.bytes(1, "key")?, arguments.bytes(3, "signature")?);
    let message = text(arguments, 2, "message")?;
    let is_right = match (key.try_into(), signature.try_into()) {
        (Ok(key), Ok(signature)) => ed25519_verify(key, message, signature),
        _ => false,
    };
    Ok(Answer::Value(is_right.into()))
}

fn equal(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Value(hash::equal(arguments.bytes(1, "a")?, arguments.bytes(2, "b")?).into()))
}

fn base64(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Bytes(STANDARD.encode(text(arguments, 1, "bytes")?).into_bytes()))
}

fn base64url(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Bytes(URL.encode(text(arguments, 1, "bytes")?).into_bytes()))
}

fn from_base64(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(STANDARD.decode(text(arguments, 1, "text")?).map_or(Answer::Nil, Answer::Bytes))
}

fn from_base64url(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(URL.decode(text(arguments, 1, "text")?).map_or(Answer::Nil, Answer::Bytes))
}

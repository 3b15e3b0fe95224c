//! Ed25519 keys in files: PKCS#8 in PEM, as OpenSSL writes them, readable by their owner only.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use crate::base::crypto::{SigningKey, to_hex};
use crate::drivers::safe_file;

/// Where the key of a node is, if nothing else is said.
pub const NODE_KEY_PATH: &str = "/var/lib/netserv/node.key";

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// A key has some 200 bytes; OpenSSL may write a description before it.
const FILE_BYTES_MAX: usize = 16 * 1024;
/// Bytes per line of PEM, before they are encoded (RFC 7468, section 2: 64 characters).
const LINE_BYTES: usize = 48;

/// A key that was read.
pub struct KeyFile {
    /// What signs.
    pub signing: SigningKey,
    /// The same key as PKCS#8, as TLS wants it. Secret: never to be shown or logged.
    pub pkcs8: Vec<u8>,
}

/// Shows the public part only.
impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFile").field("public", &self.public_hex()).finish_non_exhaustive()
    }
}

impl KeyFile {
    /// The public key as 64 hexadecimal digits.
    #[must_use]
    pub fn public_hex(&self) -> String {
        to_hex(&self.signing.public())
    }

    fn of(path: &Path, pkcs8: Vec<u8>) -> Result<KeyFile, KeyFileError> {
        let wrong = |_| KeyFileError::NoKey { path: path.to_owned(), why: "what is in it is no Ed25519 key" };
        Ok(KeyFile { signing: SigningKey::from_pkcs8(&pkcs8).map_err(wrong)?, pkcs8 })
    }
}

/// Makes a new key at `path`, mode 0600, and folders around it, mode 0700.
///
/// # Errors
///
/// When something is there already and `replace` is not set, or the system refuses.
pub fn create(path: &Path, replace: bool) -> Result<KeyFile, KeyFileError> {
    let failed = |error| KeyFileError::Write { path: path.to_owned(), error };
    let mut seed = [0; 32];
    let filled = SystemRandom::new().fill(&mut seed);
    filled.map_err(|_| failed(io::Error::other("the system gives no random numbers")))?;
    let key = SigningKey::pkcs8_of_seed(&seed);
    let pem = to_pem(&key);
    safe_file::create_folder(safe_file::folder_of(path)).map_err(failed)?;
    let written = match replace {
        true => safe_file::replace(path, pem.as_bytes(), 0o600),
        false => safe_file::create(path, pem.as_bytes(), 0o600),
    };
    match written {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(KeyFileError::Exists { path: path.to_owned() }),
        Err(error) => Err(failed(error)),
        Ok(()) => KeyFile::of(path, key),
    }
}

/// Reads the key at `path`.
///
/// # Errors
///
/// When it cannot be read, others can read or change it, or it is no Ed25519 key.
pub fn load(path: &Path) -> Result<KeyFile, KeyFileError> {
    let path_of = || path.to_owned();
    let failed = |error: io::Error| {
        if error.kind() == ErrorKind::NotFound {
            return KeyFileError::Missing { path: path_of() };
        }
        KeyFileError::Read { path: path_of(), error }
    };
    let (bytes, metadata) = safe_file::read(path, FILE_BYTES_MAX).map_err(failed)?;
    let mode = safe_file::mode_of(&metadata);
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open { path: path_of(), mode });
    }
    let pkcs8 = from_pem(&bytes).map_err(|why| KeyFileError::NoKey { path: path_of(), why })?;
    KeyFile::of(path, pkcs8)
}

/// Reads the key at `path`, or makes one if there is none: for a node, which needs no person to give it a name.
///
/// # Errors
///
/// As for [`load`] and [`create`].
pub fn load_or_create(path: &Path) -> Result<KeyFile, KeyFileError> {
    match load(path) {
        Err(KeyFileError::Missing { .. }) => {}
        result => return result,
    }
    match create(path, false) {
        // Another process was faster; there is one key, and that is it.
        Err(KeyFileError::Exists { .. }) => load(path),
        result => result,
    }
}

/// Where a user's key is: `$XDG_CONFIG_HOME/netserv/key.pem`, or below `~/.config`.
///
/// # Errors
///
/// When neither `XDG_CONFIG_HOME` nor `HOME` is an absolute path.
pub fn default_path() -> Result<PathBuf, KeyFileError> {
    path_of_user(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"))
}

fn path_of_user(config: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, KeyFileError> {
    // A relative path there is to be ignored, says the XDG base directory specification.
    let absolute = |variable: Option<OsString>| variable.map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute(config).or_else(|| absolute(home).map(|home| home.join(".config")));
    Ok(config.ok_or(KeyFileError::NoHome)?.join("netserv").join("key.pem"))
}

fn to_pem(der: &[u8]) -> String {
    let lines: Vec<String> = der.chunks(LINE_BYTES).map(to_base64).collect();
    format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
}

/// The first private key in a text; what stands around it is passed over (RFC 7468, section 2).
fn from_pem(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "it is no PEM text")?;
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Err("it is encrypted; `openssl pkey -in FILE -out NEW` takes the pass phrase off");
    }
    let (_, rest) = text.split_once(BEGIN).ok_or("no line says BEGIN PRIVATE KEY")?;
    let (body, _) = rest.split_once(END).ok_or("no line says END PRIVATE KEY")?;
    from_base64(body).ok_or("between its first and last line it is not Base64")
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * digit)) as usize & 63];
            text.push(if digit <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut bit_count, mut letters, mut is_padded) = (0u32, 0, 0usize, false);
    for letter in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        letters += 1;
        if letter == b'=' {
            is_padded = true;
            continue;
        }
        let value = ALPHABET.iter().position(|known| *known == letter).filter(|_| !is_padded)?;
        bits = bits << 6 | value as u32;
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            bytes.push((bits >> bit_count) as u8);
            bits &= (1 << bit_count) - 1;
        }
    }
    (letters % 4 == 0 && bits == 0).then_some(bytes)
}

/// Why a key cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is none.
    #[error("there is no key at {}; `netserv key new` makes one", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is something already.
    #[error("{} is there already; with --force it is replaced, and nodes that trust the old key refuse the new one", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others can read or change it.
    #[error("{} has mode {mode:04o}, so others can read or change this key; `chmod 600 {}`, and a new key if somebody may have read it", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds something else.
    #[error("{} holds no key that can be used: {why}", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The system refuses.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The system refuses.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is not known whose key is wanted.
    #[error("neither XDG_CONFIG_HOME nor HOME says where keys of this user are; name the file")]
    NoHome,
}

#[cfg(test)]
mod tests;

//! Keys of publishers in files, and signing with them: files of `minisign`, so that either program can use those of the
//! other.

use std::ffi::OsString;
use std::io::{self, Cursor, ErrorKind};
use std::path::{Path, PathBuf};

use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};

use crate::container::signature::{self, PublisherKey, SignatureError};
use crate::drivers::key_file::{self, KeyFileError};
use crate::drivers::packing::Packed;
use crate::drivers::safe_file;

/// A key has some 300 bytes.
const FILE_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a decoded secret key that say whether it is encrypted.
const METHOD: std::ops::Range<usize> = 2..4;
/// What a secret key's file begins with.
const COMMENT: &str = "netserv publisher's secret key";

/// Asks a person for a password; the argument says what for.
pub type AskPassword<'a> = &'a mut dyn FnMut(&str) -> io::Result<String>;

/// A publisher's key that was read.
pub struct Publisher {
    secret: SecretKey,
    /// The public half.
    pub key: PublisherKey,
}

/// Shows the public part only.
impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    /// There is none.
    #[error("there is no publisher's key at {}; `netserv key new --publisher` makes one, and `minisign -G` too", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is something already.
    #[error("{} is there already; with --force it is replaced, and nodes that know the old key refuse what the new one signs", path.display())]
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
    /// It holds something else, or the password is wrong.
    #[error("{}: {why}", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The system refuses.
    #[error("cannot {action} {}: {error}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is not known whose key is wanted.
    #[error(transparent)]
    Home(#[from] KeyFileError),
    /// The library could not sign.
    #[error("cannot sign: {0}")]
    Sign(String),
    /// A public key is none.
    #[error("{}: {error}", path.display())]
    Public {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: SignatureError,
    },
}

/// Where a user's publisher's key is: `publisher.key` beside the key that requests are signed with.
///
/// # Errors
///
/// When neither `XDG_CONFIG_HOME` nor `HOME` is an absolute path.
pub fn default_path() -> Result<PathBuf, PublisherError> {
    Ok(key_file::default_path()?.with_file_name("publisher.key"))
}

/// Where the public half of the key at `path` is: the same with `.pub` at its end.
#[must_use]
pub fn public_path(path: &Path) -> PathBuf {
    path.with_extension("pub")
}

/// Makes a new key at `path`, mode 0600, its public half beside it, and folders around it. With a password it is
/// encrypted.
///
/// # Errors
///
/// When something is there already and `replace` is not set, or the system refuses.
pub fn create(path: &Path, replace: bool, password: Option<String>) -> Result<PublisherKey, PublisherError> {
    let failed = |action| move |error| PublisherError::System { action, path: path.to_owned(), error };
    let made = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password)),
        None => KeyPair::generate_unencrypted_keypair(),
    };
    let pair = made.map_err(|e| failed("make a key for")(io::Error::other(e.to_string())))?;
    let text = pair.sk.to_box(Some(COMMENT)).map_err(|e| PublisherError::Sign(e.to_string()))?.into_string();
    let key = PublisherKey::of_public(&pair.pk);
    safe_file::create_folder(safe_file::folder_of(path)).map_err(failed("make the folder of"))?;
    let written = match replace {
        true => safe_file::replace(path, text.as_bytes(), 0o600),
        false => safe_file::create(path, text.as_bytes(), 0o600),
    };
    match written {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            return Err(PublisherError::Exists { path: path.to_owned() });
        }
        other => other.map_err(failed("write"))?,
    }
    let public = public_path(path);
    safe_file::replace(&public, key.to_file().as_bytes(), 0o644).map_err(failed("write the public half of"))?;
    Ok(key)
}

/// Reads the key at `path`; `ask` is called when it is encrypted.
///
/// # Errors
///
/// When it cannot be read, others can read or change it, it is no key, or the password is wrong.
pub fn load(path: &Path, ask: AskPassword<'_>) -> Result<Publisher, PublisherError> {
    let no_key = |why: String| PublisherError::NoKey { path: path.to_owned(), why };
    let read = safe_file::read(path, FILE_BYTES_MAX).map_err(|error| {
        if error.kind() == ErrorKind::NotFound {
            return PublisherError::Missing { path: path.to_owned() };
        }
        PublisherError::System { action: "read", path: path.to_owned(), error }
    });
    let (bytes, metadata) = read?;
    let mode = safe_file::mode_of(&metadata);
    if mode & 0o077 != 0 {
        return Err(PublisherError::Open { path: path.to_owned(), mode });
    }
    let wrong = || no_key("it holds no secret key of minisign's".to_owned());
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    let decoded = text.lines().nth(1).and_then(key_file::from_base64).ok_or_else(wrong)?;
    let secret = match decoded.get(METHOD) {
        // Not by the library's own reader: minisign leaves out the checksum of such a key.
        Some([0, 0]) => SecretKey::from_bytes(&decoded).map_err(|_| wrong())?,
        Some(b"Sc") => {
            let password = ask(&format!("Password of {}: ", path.display()));
            let password = password.map_err(|error| PublisherError::System {
                action: "ask for the password of",
                path: path.to_owned(),
                error,
            })?;
            let unlocked = SecretKeyBox::from(text).into_secret_key(Some(password));
            unlocked.map_err(|error| no_key(format!("it cannot be unlocked: {error}")))?
        }
        _ => return Err(wrong()),
    };
    let public = PublicKey::from_secret_key(&secret).map_err(|_| wrong())?;
    Ok(Publisher { key: PublisherKey::of_public(&public), secret })
}

/// Reads a publisher's public key: of a file, or as it stands in the argument.
///
/// # Errors
///
/// When it is neither.
pub fn public(text_or_path: &str) -> Result<PublisherKey, PublisherError> {
    let error = match text_or_path.parse() {
        Ok(key) => return Ok(key),
        Err(error) => error,
    };
    let path = PathBuf::from(text_or_path);
    match safe_file::read(&path, FILE_BYTES_MAX) {
        Ok((bytes, _)) => PublisherKey::of_file(&String::from_utf8_lossy(&bytes))
            .map_err(|error| PublisherError::Public { path, error }),
        Err(_) => Err(PublisherError::Public { path, error }),
    }
}

impl Publisher {
    /// The text of a signature over a package.
    ///
    /// # Errors
    ///
    /// When the key's two halves do not belong together.
    pub fn sign(&self, packed: &Packed) -> Result<String, PublisherError> {
        let failed = |e: minisign::PError| PublisherError::Sign(e.to_string());
        let comment = comment(packed);
        let untrusted = format!("signature of {} by {}", packed.file_name(), self.key.id());
        // With the public half it checks what it made, too.
        let public = PublicKey::from_secret_key(&self.secret).map_err(failed)?;
        let reader = Cursor::new(&packed.bytes[..]);
        let signed = minisign::sign(Some(&public), &self.secret, reader, Some(&comment), Some(&untrusted));
        Ok(signed.map_err(failed)?.into_string())
    }
}

/// What is signed with a package: see [`signature::comment`].
#[must_use]
pub fn comment(packed: &Packed) -> String {
    signature::comment(&packed.manifest.name, &packed.manifest.version, &packed.digest_hex())
}

/// Where the signature of the package at `path` is.
#[must_use]
pub fn signature_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(signature::EXTENSION);
    PathBuf::from(name)
}

//! Repositories: where packages are found and fetched from. A folder, a web server with an index, or a whole host.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::base::crypto::{sha256, to_hex};
use crate::base::limits::INDEX_BYTES_MAX;
use crate::container::repository::{Entry, INDEX_FILE, Index, IndexError, WELL_KNOWN};
use crate::controller::api::{FetchId, FetchProblem};
use crate::controller::url::{Scheme, Url};
use crate::drivers::live::fetcher::{Fetcher, FetcherConfig, FetcherError};
use crate::drivers::live::shelf::Shelf;
use crate::drivers::safe_file;

/// Longest time for an index.
const INDEX_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time for a package.
const PACKAGE_TIMEOUT: Duration = Duration::from_secs(120);

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A web server.
    Web {
        /// Its index.
        index: Url,
    },
}

/// Why a repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A text names none.
    #[error("{text:?} is no repository: {problem}; write a folder, https://HOST/FOLDER/, or only HOST")]
    Place {
        /// The text.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The folder cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The web server does not give it.
    #[error("repository: {problem}")]
    Fetch {
        /// A sentence, which names the URL.
        problem: String,
    },
    /// The index is wrong.
    #[error("the index of {place} is not used: {error}")]
    Index {
        /// Which repository.
        place: String,
        /// What is wrong.
        error: IndexError,
    },
    /// The package is not what its index says.
    #[error(
        "{file} of {place} is not what the index says: its SHA-256 begins with {got}, not {want}; ask whoever keeps the repository to make the index anew"
    )]
    OtherContent {
        /// Which repository.
        place: String,
        /// The file.
        file: String,
        /// The digest's first digits.
        got: String,
        /// Those in the index.
        want: String,
    },
    /// What fetches.
    #[error(transparent)]
    Fetcher(#[from] FetcherError),
}

/// Fetches, and waits for it.
#[derive(Debug)]
pub struct Web {
    fetcher: Fetcher,
    done: Receiver<()>,
    next: std::cell::Cell<u64>,
}

/// A repository whose index was read.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Where it is.
    pub place: Place,
    /// What it offers.
    pub index: Index,
}

impl Place {
    /// What a person calls a repository: a folder, a URL, or a host (then the index is at [`WELL_KNOWN`], over https).
    ///
    /// # Errors
    ///
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Place, RepositoryError> {
        let wrong = |problem: String| RepositoryError::Place { text: text.to_owned(), problem };
        if Path::new(text).is_dir() {
            return Ok(Place::Folder(PathBuf::from(text)));
        }
        let url = match text.contains("://") {
            true => Url::parse(text).map_err(wrong)?,
            false if text.contains('/') || !text.contains(['.', ':']) => {
                return Err(wrong("there is no such folder".to_owned()));
            }
            false => Url::parse(&format!("https://{text}{WELL_KNOWN}")).map_err(wrong)?,
        };
        if url.scheme == Scheme::File {
            return Ok(Place::Folder(PathBuf::from(&url.path)));
        }
        let is_index = url.path.ends_with(".json") || url.path == WELL_KNOWN;
        let path = if is_index { url.path.clone() } else { format!("{}/{INDEX_FILE}", url.path.trim_end_matches('/')) };
        Ok(Place::Web { index: Url { path, query: None, ..url } })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Folder(path) => write!(f, "{}", path.display()),
            Place::Web { index } => write!(f, "{index}"),
        }
    }
}

impl Web {
    /// What fetches, with the certificates of the web and those in a PEM file.
    ///
    /// # Errors
    ///
    /// When the file is not right.
    pub fn new(ca_file: Option<PathBuf>) -> Result<Web, FetcherError> {
        let (sender, done) = channel();
        let config = FetcherConfig { ca_file, files_allowed: false };
        let fetcher = Fetcher::new(&config, move || {
            // Whoever waited may have given up.
            let _ = sender.send(());
        })?;
        Ok(Web { fetcher, done, next: std::cell::Cell::new(0) })
    }

    fn get(&self, url: &str, bytes_max: u64, timeout: Duration) -> Result<Vec<u8>, String> {
        let id = FetchId(self.next.get());
        self.next.set(id.0 + 1);
        self.fetcher.start(id, url, bytes_max, timeout);
        // The fetcher keeps the time; this is for the case that it fails to.
        let patience = timeout + Duration::from_secs(10);
        while self.done.recv_timeout(patience).is_ok() {
            match self.fetcher.finished() {
                Some((got, result)) if got == id => {
                    return result.map_err(|problem| match problem {
                        FetchProblem::TooLarge => format!("{url} has more than {bytes_max} bytes"),
                        FetchProblem::Failed(sentence) => sentence,
                    });
                }
                _ => {}
            }
        }
        self.fetcher.cancel(id);
        Err(format!("{url} does not come within {} s", timeout.as_secs()))
    }
}

impl Repository {
    /// Reads the index. A folder without one is looked through.
    ///
    /// # Errors
    ///
    /// Why there is none that can be used.
    pub fn read(place: Place, web: &Web) -> Result<Repository, RepositoryError> {
        let bytes = match &place {
            Place::Folder(dir) => match safe_file::read(&dir.join(INDEX_FILE), INDEX_BYTES_MAX) {
                Ok((bytes, _)) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let shelf = Shelf::read(dir).map_err(|error| RepositoryError::Read { path: dir.clone(), error })?;
                    shelf.problems.iter().for_each(|problem| tracing::warn!("{problem}"));
                    let index = shelf.index();
                    return Ok(Repository { place, index });
                }
                Err(error) => return Err(RepositoryError::Read { path: dir.join(INDEX_FILE), error }),
            },
            Place::Web { index } => {
                let got = web.get(&index.to_string(), INDEX_BYTES_MAX as u64, INDEX_TIMEOUT);
                got.map_err(|problem| RepositoryError::Fetch { problem })?
            }
        };
        match Index::parse(&bytes) {
            Ok(index) => Ok(Repository { place, index }),
            Err(error) => Err(RepositoryError::Index { place: place.to_string(), error }),
        }
    }

    /// Fetches a package of the index, and checks that it is the one.
    ///
    /// # Errors
    ///
    /// When it does not come, or is another.
    pub fn fetch(&self, entry: &Entry, web: &Web) -> Result<Vec<u8>, RepositoryError> {
        let bytes = match &self.place {
            Place::Folder(dir) => self.read_package(dir, entry)?,
            Place::Web { index } => {
                let folder =
                    if index.path == WELL_KNOWN { "" } else { index.path.rsplit_once('/').map_or("", |(f, _)| f) };
                let url = Url { path: format!("{folder}/{}", entry.file), ..index.clone() };
                let got = web.get(&url.to_string(), entry.bytes, PACKAGE_TIMEOUT);
                got.map_err(|problem| RepositoryError::Fetch { problem })?
            }
        };
        let got = sha256(&bytes);
        if Some(got) != entry.digest() {
            let (got, want) = (to_hex(&got[..8]), entry.sha256.chars().take(16).collect());
            return Err(RepositoryError::OtherContent {
                place: self.place.to_string(),
                file: entry.file.clone(),
                got,
                want,
            });
        }
        Ok(bytes)
    }

    fn read_package(&self, dir: &Path, entry: &Entry) -> Result<Vec<u8>, RepositoryError> {
        let path = dir.join(&entry.file);
        match safe_file::read(&path, entry.bytes as usize) {
            Ok((bytes, _)) => Ok(bytes),
            // A folder of a module, which is packed as it is offered.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let shelf = Shelf::read(dir).map_err(|error| RepositoryError::Read { path: dir.to_owned(), error })?;
                let item = shelf.items.get(&(entry.name.clone(), entry.version.clone()));
                item.map(|item| item.packed.bytes.to_vec()).ok_or(RepositoryError::Read { path, error })
            }
            Err(error) => Err(RepositoryError::Read { path, error }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_people_do() {
        let place = |text: &str| Place::parse(text).map(|place| place.to_string()).map_err(|e| e.to_string());
        assert_eq!(place("example.org").unwrap(), "https://example.org/.well-known/netserv");
        assert_eq!(place("example.org:8443").unwrap(), "https://example.org:8443/.well-known/netserv");
        assert_eq!(place("http://127.0.0.1:8080").unwrap(), "http://127.0.0.1:8080/index.json");
        assert_eq!(place("https://example.org/modules/").unwrap(), "https://example.org/modules/index.json");
        assert_eq!(place("https://example.org/m/all.json?x").unwrap(), "https://example.org/m/all.json");
        assert_eq!(place("src").unwrap(), "src");
        for text in ["no/folder", "nothing", "ftp://x/", "https://u@h/", "https://h/../x"] {
            assert!(place(text).unwrap_err().contains("is no repository"), "{text}");
        }
    }
}

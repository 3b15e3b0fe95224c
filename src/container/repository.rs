//! The index of a repository: which packages a folder or a web server offers.
//!
//! ```json
//! {
//!   "packages": [{
//!     "name": "phone", "version": "1.2.0", "summary": "Answers calls.",
//!     "file": "phone-1.2.0.nsm", "bytes": 4096, "sha256": "64 hexadecimal digits",
//!     "requires": { "lib-sip": "^1" }, "library": false,
//!     "publisher": "RW...", "signature": "the four lines of phone-1.2.0.nsm.minisig"
//!   }]
//! }
//! ```
//!
//! It comes from the network: what is not as it must be makes all of it refused. Members that are not known are passed
//! over, so that later versions may add some.

use std::collections::{BTreeMap, BTreeSet};

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use crate::base::crypto::from_hex;
use crate::base::limits::{
    INDEX_BYTES_MAX, INDEX_PACKAGES_MAX, MODULE_REQUIRES_MAX, PACKAGE_BYTES_MAX, SIGNATURE_BYTES_MAX,
};
use crate::base::text::is_plain;
use crate::container::manifest::Manifest;
use crate::container::package;
use crate::container::properties::shortened;
use crate::container::resolver::Offer;
use crate::container::signature::PublisherKey;

/// The file name of an index in its folder.
pub const INDEX_FILE: &str = "index.json";
/// Where the index of a whole host may stand, with the files at the root of the host (RFC 8615).
pub const WELL_KNOWN: &str = "/.well-known/netserv";

/// Bytes of a file's name.
const FILE_NAME_BYTES_MAX: usize = 160;
/// Bytes of a summary.
const SUMMARY_BYTES_MAX: usize = 1_024;

/// An index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// In the order of the file.
    pub packages: Vec<Entry>,
}

/// One package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The module's name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// One sentence.
    pub summary: String,
    /// The package's file, beside the index.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// The libraries that it requires.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requires: BTreeMap<String, VersionReq>,
    /// Whether it is a library.
    #[serde(default)]
    pub library: bool,
    /// Who signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<PublisherKey>,
    /// The signature, as `minisign` writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// Why an index is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Longer than any index may be.
    #[error("it has {got_bytes} bytes; at most {INDEX_BYTES_MAX} are read")]
    TooLong {
        /// Its length.
        got_bytes: usize,
    },
    /// More packages than an index may have.
    #[error("it has {got} packages; at most {INDEX_PACKAGES_MAX} are read")]
    TooMany {
        /// How many.
        got: usize,
    },
    /// No index.
    #[error("it is no index of packages: {problem}; `netserv module index DIR` makes one")]
    Malformed {
        /// What is wrong.
        problem: String,
    },
    /// A package in it is not right.
    #[error("its package {package}: {problem}; `netserv module index DIR` makes the index anew")]
    Entry {
        /// Which.
        package: String,
        /// What is wrong.
        problem: String,
    },
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    ///
    /// Why nothing of it is used.
    pub fn parse(bytes: &[u8]) -> Result<Index, IndexError> {
        if bytes.len() > INDEX_BYTES_MAX {
            return Err(IndexError::TooLong { got_bytes: bytes.len() });
        }
        let index: Index = serde_json::from_slice(bytes)
            .map_err(|error| IndexError::Malformed { problem: shortened(&error.to_string()) })?;
        if index.packages.len() > INDEX_PACKAGES_MAX {
            return Err(IndexError::TooMany { got: index.packages.len() });
        }
        let mut seen = BTreeSet::new();
        for entry in &index.packages {
            let wrong = |problem: String| IndexError::Entry { package: shortened(&entry.name), problem };
            entry.check().map_err(wrong)?;
            if !seen.insert((&entry.name, &entry.version)) {
                return Err(wrong(format!("{} is there twice", entry.version)));
            }
        }
        Ok(index)
    }

    /// The index as text; [`Index::parse`] reads it back.
    #[must_use]
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        format!("{text}\n")
    }
}

impl Entry {
    fn check(&self) -> Result<(), String> {
        if !Manifest::is_name(&self.name) || self.requires.keys().any(|name| !Manifest::is_name(name)) {
            return Err("a name must be lower case letters, digits and \"-\", a letter first".to_owned());
        }
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
        let has_extension = self.file.strip_suffix(package::EXTENSION).is_some_and(|stem| stem.ends_with('.'));
        if self.file.len() > FILE_NAME_BYTES_MAX
            || self.file.starts_with('.')
            || !self.file.bytes().all(is_of_name)
            || !has_extension
        {
            return Err(format!("file = {:?} is not the plain name of a .nsm file", shortened(&self.file)));
        }
        if self.digest().is_none() {
            return Err(format!("sha256 = {:?} is not 64 hexadecimal digits", shortened(&self.sha256)));
        }
        if self.bytes == 0 || self.bytes > PACKAGE_BYTES_MAX as u64 {
            return Err(format!("bytes = {}; a package has at most {PACKAGE_BYTES_MAX}", self.bytes));
        }
        if self.requires.len() > MODULE_REQUIRES_MAX {
            return Err(format!("it requires more than {MODULE_REQUIRES_MAX} libraries"));
        }
        if self.summary.len() > SUMMARY_BYTES_MAX || !is_plain(&self.summary) {
            return Err("its summary is not one short line".to_owned());
        }
        if self.signature.as_ref().is_some_and(|text| text.len() > SIGNATURE_BYTES_MAX) {
            return Err("its signature is too long".to_owned());
        }
        Ok(())
    }

    /// Its digest; `None` if it is none.
    #[must_use]
    pub fn digest(&self) -> Option<[u8; 32]> {
        from_hex(&self.sha256)
    }

    /// What the resolver is to know of it.
    #[must_use]
    pub fn offer(&self) -> Offer {
        Offer {
            name: self.name.clone(),
            version: self.version.clone(),
            library: self.library,
            requires: self.requires.clone(),
        }
    }

    /// Whether all words stand in its name or summary, in any case.
    #[must_use]
    pub fn is_about(&self, words: &[String]) -> bool {
        let text = format!("{} {}", self.name, self.summary).to_lowercase();
        words.iter().all(|word| text.contains(&word.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> serde_json::Value {
        serde_json::json!({
            "name": "m", "version": "1.0.0", "summary": "s", "file": "m-1.0.0.nsm", "bytes": 10, "sha256": "ab".repeat(32),
        })
    }

    fn parse(packages: &[serde_json::Value]) -> Result<Index, String> {
        let text = serde_json::json!({ "packages": packages, "later": 1 }).to_string();
        Index::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_index_is_read_as_it_is_written() {
        let mut full = entry();
        full["requires"] = serde_json::json!({ "lib-a": "^1" });
        full["signature"] = "x".into();
        full["library"] = true.into();
        let index = parse(&[full]).unwrap();
        assert_eq!(Index::parse(index.to_json().as_bytes()).unwrap(), index);
        assert_eq!(parse(&[]).unwrap(), Index::default());
    }

    #[test]
    fn a_hostile_index_is_refused_as_a_whole() {
        for (key, value, part) in [
            ("name", "../m", "a name must be"),
            ("name", "M", "a name must be"),
            ("version", "1", "no index"),
            ("file", "../../etc/passwd", "plain name"),
            ("file", "/m.nsm", "plain name"),
            ("file", "a/m.nsm", "plain name"),
            ("file", ".nsm", "plain name"),
            ("file", "m.nsm?x", "plain name"),
            ("file", "m%2e.nsm", "plain name"),
            ("file", "http://evil/m.nsm", "plain name"),
            ("sha256", "abc", "64 hexadecimal"),
            ("summary", "a\u{1b}[31m", "one short line"),
            ("summary", "a\u{202e}b", "one short line"),
            ("publisher", "RW", "no publisher's key"),
        ] {
            let mut bad = entry();
            bad[key] = value.into();
            let told = parse(&[entry(), bad]).unwrap_err();
            assert!(told.contains(part), "{key} = {value}: {told}");
        }
        let with = |key: &str, value: serde_json::Value| {
            let mut bad = entry();
            bad[key] = value;
            parse(&[bad]).unwrap_err()
        };
        assert!(with("bytes", u64::MAX.into()).contains("at most"));
        assert!(with("bytes", (-1).into()).contains("no index"));
        assert!(with("signature", "x".repeat(4_000).into()).contains("too long"));
        assert!(with("requires", serde_json::json!({ "../x": "*" })).contains("a name must be"));
        assert!(parse(&[entry(), entry()]).unwrap_err().contains("twice"));
        let deep = "[".repeat(100_000);
        assert!(Index::parse(format!("{{\"packages\":[],\"x\":{deep}").as_bytes()).is_err());
        assert!(matches!(Index::parse(&vec![b' '; INDEX_BYTES_MAX + 1]), Err(IndexError::TooLong { .. })));
        let many =
            "{\"name\":\"m\",\"version\":\"1.0.0\",\"summary\":\"\",\"file\":\"m.nsm\",\"bytes\":1,\"sha256\":\"\"},";
        let many = format!("{{\"packages\":[{}]}}", many.repeat(INDEX_PACKAGES_MAX + 1).trim_end_matches(','));
        assert!(matches!(Index::parse(many.as_bytes()), Err(IndexError::TooMany { .. })));
    }
}

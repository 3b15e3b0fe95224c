//! The configuration file. docs/configuration.md names every key; a test compares.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::crypto::from_hex;
use crate::base::limits::{FLOWS_MAX, NSLP_SEARCH_MAX};
use crate::base::machine::Location;
use crate::cli::CliError;
use crate::drivers::live::config::{LiveConfig, ModuleChoice, PageChoice, SignalChoice, SteeringChoice};

/// Bytes of a configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of the name of a place.
const PLACE_BYTES_MAX: usize = 256;

/// The file as it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileConfig {
    pub(super) log: Option<String>,
    links: Option<Vec<String>>,
    capture: Option<Vec<String>>,
    control: Option<PathBuf>,
    state: Option<PathBuf>,
    data: Option<PathBuf>,
    repositories: Option<Vec<String>>,
    flows_max: Option<u32>,
    plain: Option<bool>,
    steering: Option<FileSteering>,
    module: Option<Vec<FileModule>>,
    node: Option<FileNode>,
    pub(super) signaling: Option<FileSignaling>,
    dashboard: Option<FileDashboard>,
    /// Folders of modules are relative to the file.
    #[serde(skip)]
    folder: PathBuf,
}

/// The table `steering`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSteering {
    forwarded: Option<bool>,
    own: Option<bool>,
    to_self: Option<bool>,
    masquerade: Option<FileMasquerade>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FileMasquerade {
    Auto,
    Yes,
    No,
}

/// The table `node`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileNode {
    latitude: Option<f64>,
    longitude: Option<f64>,
    place: Option<String>,
}

/// The table `signaling`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSignaling {
    trust: Option<PathBuf>,
    data: Option<PathBuf>,
    name: Option<String>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
    tcp_port: Option<u16>,
    tls_port: Option<u16>,
    #[serde(default)]
    peers: Vec<String>,
    query_source: Option<FileQuerySource>,
    search_s: Option<u64>,
    file_urls: Option<bool>,
    ca: Option<PathBuf>,
}

/// The table `dashboard`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDashboard {
    listen: SocketAddr,
    token: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FileQuerySource {
    Own,
    Flow,
}

/// A table `module`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileModule {
    folder: PathBuf,
    name: Option<String>,
    #[serde(default)]
    properties: toml::Table,
}

impl FileConfig {
    /// Reads a file; the error is a sentence.
    pub(super) fn read(path: &Path) -> Result<FileConfig, String> {
        let failed = |problem: &dyn std::fmt::Display| format!("configuration {}: {problem}", path.display());
        let bytes = std::fs::metadata(path).map_err(|e| failed(&e))?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(failed(&format!("{bytes} bytes, at most {FILE_BYTES_MAX} are read")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| failed(&e))?;
        let mut config: FileConfig = toml::from_str(&text).map_err(|e| failed(&e))?;
        config.folder = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(config)
    }

    /// What the file means; what it does not say is as in [`LiveConfig::default`].
    pub(super) fn live(self) -> Result<LiveConfig, CliError> {
        let default = LiveConfig::default();
        let flows_max = self.flows_max.unwrap_or(default.flows_max);
        if flows_max == 0 || flows_max > FLOWS_MAX {
            return Err(wrong("flows_max", &format!("{flows_max} is not between 1 and {FLOWS_MAX}")));
        }
        let data = self.data.map_or(default.data, |data| self.folder.join(data));
        let modules = self.module.unwrap_or_default().into_iter().map(|module| ModuleChoice {
            folder: self.folder.join(module.folder),
            name: module.name,
            properties: module.properties,
        });
        Ok(LiveConfig {
            links_are_default: self.links.is_none(),
            links: self.links.map_or(Ok(default.links), |texts| parse_all("links", &texts))?,
            modules: modules.collect(),
            capture: parse_all("capture", &self.capture.unwrap_or_default())?,
            steering: self.steering.map_or(default.steering, |steering| steering.choice()),
            plain: self.plain.unwrap_or(default.plain),
            control: self.control,
            state: self.state.unwrap_or(default.state),
            flows_max,
            location: self.node.map(FileNode::location).transpose()?,
            signal: self.signaling.map(|signaling| signaling.choice(&self.folder, &data)).transpose()?,
            data,
            repositories: self.repositories.unwrap_or_default(),
            dashboard: self.dashboard.map(|dashboard| PageChoice {
                listen: dashboard.listen,
                token: dashboard.token.map(|path| self.folder.join(path)),
            }),
        })
    }
}

impl FileNode {
    fn location(self) -> Result<Location, CliError> {
        for (key, degrees, max) in [("node.latitude", self.latitude, 90.0), ("node.longitude", self.longitude, 180.0)] {
            if let Some(odd) = degrees.filter(|degrees| !(-max..=max).contains(degrees)) {
                return Err(wrong(key, &format!("{odd} is not between -{max} and {max} degrees")));
            }
        }
        if let Some(place) = self.place.as_ref().filter(|place| place.len() > PLACE_BYTES_MAX) {
            return Err(wrong("node.place", &format!("{} bytes, at most {PLACE_BYTES_MAX} are allowed", place.len())));
        }
        Ok(Location { latitude: self.latitude, longitude: self.longitude, place: self.place })
    }
}

impl FileSignaling {
    fn choice(self, folder: &Path, data: &Path) -> Result<SignalChoice, CliError> {
        let default = SignalChoice::default();
        let search = self.search_s.map_or(default.search, Duration::from_secs);
        if search.is_zero() || search > NSLP_SEARCH_MAX {
            let max = NSLP_SEARCH_MAX.as_secs();
            return Err(wrong("signaling.search_s", &format!("{} is not between 1 and {max}", search.as_secs())));
        }
        let peers = self.peers.iter().map(|text| {
            let remedy = "a key is 64 hexadecimal digits; `netserv key show` prints one";
            from_hex::<32>(text).ok_or_else(|| wrong("signaling.peers", &format!("\"{text}\": {remedy}")))
        });
        Ok(SignalChoice {
            trust: self.trust.map_or(default.trust, |path| folder.join(path)),
            data: self.data.map_or_else(|| data.to_owned(), |path| folder.join(path)),
            name: self.name,
            properties: self.properties,
            tcp_port: self.tcp_port.unwrap_or(default.tcp_port),
            tls_port: self.tls_port.unwrap_or(default.tls_port),
            peers: peers.collect::<Result<_, _>>()?,
            query_as_flow: self.query_source == Some(FileQuerySource::Flow),
            search,
            file_urls: self.file_urls.unwrap_or(default.file_urls),
            ca: self.ca.map(|path| folder.join(path)),
        })
    }
}

impl FileSteering {
    fn choice(&self) -> SteeringChoice {
        let default = SteeringChoice::default();
        SteeringChoice {
            forwarded: self.forwarded.unwrap_or(default.forwarded),
            own: self.own.unwrap_or(default.own),
            to_self: self.to_self.unwrap_or(default.to_self),
            masquerade: match self.masquerade {
                None | Some(FileMasquerade::Auto) => None,
                Some(FileMasquerade::Yes) => Some(true),
                Some(FileMasquerade::No) => Some(false),
            },
        }
    }
}

fn parse_all<T: std::str::FromStr<Err: std::fmt::Display>>(key: &str, texts: &[String]) -> Result<Vec<T>, CliError> {
    texts.iter().map(|text| text.parse().map_err(|e| wrong(key, &e))).collect()
}

fn wrong(key: &str, problem: &dyn std::fmt::Display) -> CliError {
    CliError::Failure(format!("configuration: {key}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key set, so that none can be forgotten here.
    fn full() -> FileConfig {
        FileConfig {
            log: Some("debug".into()),
            links: Some(vec!["tun:ns0".into()]),
            capture: Some(vec!["tcp port 80".into()]),
            control: Some("/run/netserv.sock".into()),
            state: Some("/run/netserv".into()),
            data: Some("/var/lib/netserv".into()),
            repositories: Some(vec!["https://example.org/modules/".into()]),
            flows_max: Some(1000),
            plain: Some(false),
            steering: Some(FileSteering {
                forwarded: Some(true),
                own: Some(false),
                to_self: Some(false),
                masquerade: Some(FileMasquerade::Auto),
            }),
            module: Some(vec![FileModule {
                folder: "modules/monitor".into(),
                name: Some("m".into()),
                properties: toml::Table::new(),
            }]),
            node: Some(FileNode { latitude: Some(48.1), longitude: Some(11.6), place: Some("Munich".into()) }),
            signaling: Some(FileSignaling {
                trust: Some("trust.toml".into()),
                data: Some("data".into()),
                name: Some("r1".into()),
                properties: BTreeMap::new(),
                tcp_port: Some(270),
                tls_port: Some(271),
                peers: vec!["00".repeat(32)],
                query_source: Some(FileQuerySource::Own),
                search_s: Some(8),
                file_urls: Some(false),
                ca: Some("ca.pem".into()),
            }),
            dashboard: Some(FileDashboard {
                listen: ([127, 0, 0, 1], 8080).into(),
                token: Some("dashboard-token".into()),
            }),
            folder: PathBuf::new(),
        }
    }

    /// Paths of all keys, `module.name` and so on, sorted.
    fn keys(value: &toml::Table, prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (key, value) in value {
            let path = format!("{prefix}{key}");
            let inner = value.as_table().or_else(|| value.as_array()?.first()?.as_table());
            match inner.filter(|table| !table.is_empty()) {
                Some(table) => found.extend(keys(table, &format!("{path}."))),
                None => found.push(path),
            }
        }
        found.sort();
        found
    }

    #[test]
    fn every_key_is_documented_and_no_other() {
        let document = include_str!("../../docs/configuration.md");
        let headings = document.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
        let mut documented: Vec<String> = headings.map(str::to_owned).collect();
        documented.sort();
        assert_eq!(documented, keys(&toml::Table::try_from(full()).unwrap(), ""));
    }

    #[test]
    fn the_examples_of_the_document_are_right() {
        let document = include_str!("../../docs/configuration.md");
        let examples: Vec<&str> = document.split("```toml\n").skip(1).filter_map(|s| s.split("```").next()).collect();
        assert!(examples.len() > 1);
        for example in examples {
            let config: FileConfig = toml::from_str(example).unwrap_or_else(|e| panic!("{e}"));
            config.live().unwrap();
        }
    }

    #[test]
    fn a_file_says_only_what_it_says() {
        let config: FileConfig = toml::from_str("links = [\"tap:eth0\"]\n[steering]\nto_self = true\n").unwrap();
        let live = config.live().unwrap();
        assert_eq!(live.links[0].to_string(), "tap:eth0");
        assert!(live.steering.to_self && live.steering.own && live.steering.forwarded);
        assert_eq!(live.flows_max, LiveConfig::default().flows_max);
    }

    #[test]
    fn mistakes_are_named() {
        for text in ["link = []", "[steering]\nall = true", "[[module]]\nname = \"x\"", "plain = 1"] {
            assert!(toml::from_str::<FileConfig>(text).is_err(), "{text}");
        }
        for (text, part) in [
            ("links = [\"wire\"]", "links: \"wire\""),
            ("capture = [\"tcpp\"]", "capture: \"tcpp\""),
            ("flows_max = 0", "flows_max: 0"),
            ("[node]\nlatitude = 91", "node.latitude: 91"),
            ("[signaling]\nsearch_s = 99", "signaling.search_s: 99"),
            ("[signaling]\npeers = [\"ab\"]", "signaling.peers: \"ab\""),
        ] {
            let config: FileConfig = toml::from_str(text).unwrap();
            let CliError::Failure(error) = config.live().unwrap_err() else { panic!("{text}") };
            assert!(error.contains(part), "{error}");
        }
        assert!(FileConfig::read(Path::new("/nowhere/x.toml")).unwrap_err().contains("/nowhere/x.toml"));
    }
}

//! The configuration file. docs/configuration.md names every key; a test compares.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::limits::FLOWS_MAX;
use crate::cli::CliError;
use crate::drivers::live::config::{LiveConfig, ModuleChoice, SteeringChoice};

/// Bytes of a configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file as it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileConfig {
    pub(super) log: Option<String>,
    links: Option<Vec<String>>,
    capture: Option<Vec<String>>,
    control: Option<PathBuf>,
    state: Option<PathBuf>,
    flows_max: Option<u32>,
    plain: Option<bool>,
    steering: Option<FileSteering>,
    module: Option<Vec<FileModule>>,
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
        let modules = self.module.unwrap_or_default().into_iter().map(|module| ModuleChoice {
            folder: self.folder.join(module.folder),
            name: module.name,
            properties: module.properties,
        });
        Ok(LiveConfig {
            links: self.links.map_or(Ok(default.links), |texts| parse_all("links", &texts))?,
            modules: modules.collect(),
            capture: parse_all("capture", &self.capture.unwrap_or_default())?,
            steering: self.steering.map_or(default.steering, |steering| steering.choice()),
            plain: self.plain.unwrap_or(default.plain),
            control: self.control,
            state: self.state.unwrap_or(default.state),
            flows_max,
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
        ] {
            let config: FileConfig = toml::from_str(text).unwrap();
            let CliError::Failure(error) = config.live().unwrap_err() else { panic!("{text}") };
            assert!(error.contains(part), "{error}");
        }
        assert!(FileConfig::read(Path::new("/nowhere/x.toml")).unwrap_err().contains("/nowhere/x.toml"));
    }
}

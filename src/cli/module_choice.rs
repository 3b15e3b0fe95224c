//! A module as the command line names it: `DIR[,key=value...]`.

use std::path::PathBuf;
use std::str::FromStr;

use crate::container::properties::table_of_words;

/// A module's folder and its properties.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ModuleArgument {
    /// The folder.
    pub(super) folder: PathBuf,
    /// The properties.
    pub(super) properties: toml::Table,
}

impl FromStr for ModuleArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (folder, rest) = text.split_once(',').unwrap_or((text, ""));
        if folder.is_empty() {
            return Err("no folder is given".to_owned());
        }
        // A part without "=" goes on with the list before it: ports=53,80.
        let mut words: Vec<String> = Vec::new();
        for part in rest.split(',').filter(|_| !rest.is_empty()) {
            match words.last_mut().filter(|_| !part.contains('=')) {
                Some(list) => *list = format!("{list},{part}"),
                None => words.push(part.to_owned()),
            }
        }
        let properties = table_of_words(words.iter().map(String::as_str)).map_err(|error| error.to_string())?;
        Ok(ModuleArgument { folder: PathBuf::from(folder), properties })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_text_and_lists_stay_together() {
        let argument: ModuleArgument = "modules/x,ports=53,80-90,on=true,word=123".parse().unwrap();
        assert_eq!(argument.folder, PathBuf::from("modules/x"));
        assert_eq!(argument.properties["ports"].as_str(), Some("53,80-90"));
        assert_eq!(argument.properties["on"].as_str(), Some("true"));
        assert_eq!(argument.properties["word"].as_str(), Some("123"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [("", "no folder"), ("a,b", "b"), ("a,=1", "=1"), ("a,b=1,b=2", "b")] {
            let error = text.parse::<ModuleArgument>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}

//! A module as the command line names it: `DIR[,key=value...]`.

use std::path::PathBuf;
use std::str::FromStr;

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
        let mut parts = text.split(',');
        let folder = PathBuf::from(parts.next().filter(|folder| !folder.is_empty()).ok_or("no folder is given")?);
        // What has no key is a further item of the list before it.
        let mut pairs: Vec<String> = Vec::new();
        for part in parts {
            match pairs.last_mut().filter(|_| !part.contains('=')) {
                Some(list) => list.extend([",", part]),
                None => pairs.push(part.to_owned()),
            }
        }
        let properties = properties(pairs.iter().map(String::as_str))?;
        Ok(ModuleArgument { folder, properties })
    }
}

/// Reads `key=value` pairs. A value is a number, a truth value, a list and so on as TOML writes them, else a text.
pub(super) fn properties<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Result<toml::Table, String> {
    let mut table = toml::Table::new();
    for pair in pairs {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or_else(|| format!("\"{pair}\" is not a property; write key=value"))?;
        let (key, value) = (key.trim(), value.trim());
        let parsed = format!("value = {value}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
        let parsed = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
        if table.insert(key.to_owned(), parsed).is_some() {
            return Err(format!("the property \"{key}\" is given twice"));
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_what_toml_says_or_text() {
        let argument: ModuleArgument = "modules/x,port=80,on=true,to=192.0.2.1,name=\"7\"".parse().unwrap();
        assert_eq!(argument.folder, PathBuf::from("modules/x"));
        assert_eq!(argument.properties["port"].as_integer(), Some(80));
        assert_eq!(argument.properties["on"].as_bool(), Some(true));
        assert_eq!(argument.properties["to"].as_str(), Some("192.0.2.1"));
        assert_eq!(argument.properties["name"].as_str(), Some("7"));
    }

    #[test]
    fn lists_have_commas_too() {
        let argument: ModuleArgument =
            "modules/x,ports=53,8000-8099,hosts=[\"::1\",\"10.0.0.1\"],on=true".parse().unwrap();
        assert_eq!(argument.properties["ports"].as_str(), Some("53,8000-8099"));
        assert_eq!(argument.properties["hosts"].as_array().map(Vec::len), Some(2));
        assert_eq!(argument.properties.len(), 3);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [("", "no folder"), ("a,b", "\"b\""), ("a,=1", "\"=1\""), ("a,b=1,b=2", "twice")] {
            let error = text.parse::<ModuleArgument>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}

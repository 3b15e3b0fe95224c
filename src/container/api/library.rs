//! Behind `require` and `require("@netserv")`.

use std::net::IpAddr;

use crate::base::limits::JSON_BYTES_MAX;
use crate::container::api::Answer;
use crate::container::api::effects::one_line;
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

/// Bytes that can be written as hexadecimal digits at once.
const HEX_BYTES_MAX: usize = 1 << 20;
/// Bytes of the name of a file to `require`.
const FILE_NAME_BYTES_MAX: usize = 256;

/// The 4 or 16 bytes of an address, or of the address that stands as text; nil for what is none.
pub(crate) fn address_bytes(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let text = std::str::from_utf8(arguments.bytes(1, "address")?).unwrap_or_default();
    Ok(match text.parse() {
        Ok(IpAddr::V4(v4)) => Answer::Bytes(v4.octets().to_vec()),
        Ok(IpAddr::V6(v6)) => Answer::Bytes(v6.octets().to_vec()),
        Err(_) => Answer::Nil,
    })
}

/// The text of an address of 4 or 16 bytes: of a string, or of `len` bytes at `first` in a buffer.
pub(crate) fn address_text(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let bytes = if arguments.is_nil(2) {
        arguments.bytes(1, "address")?
    } else {
        let (first, len) = (arguments.number(2, "first")? as usize, arguments.number(3, "len")? as usize);
        arguments.buffer(1)?.get(first..first.saturating_add(len)).ok_or("the buffer ends before the address does")?
    };
    let address = if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        IpAddr::from(v4)
    } else if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        IpAddr::from(v6)
    } else {
        return Err(format!("an address has 4 or 16 bytes, not {}", bytes.len()));
    };
    Ok(Answer::Bytes(address.to_string().into_bytes()))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let bytes = arguments.bytes(1, "bytes")?;
    if bytes.len() > HEX_BYTES_MAX {
        return Err(format!("{} bytes are too many to write in hexadecimal; {HEX_BYTES_MAX} may be", bytes.len()));
    }
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    Ok(Answer::Bytes(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()))
}

/// The bytes of hexadecimal digits, blanks allowed; nil for anything else.
pub(crate) fn from_hex(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let text = arguments.bytes(1, "digits")?;
    if text.len() > 2 * HEX_BYTES_MAX {
        return Err(format!("{} digits are too many; {} may be", text.len(), 2 * HEX_BYTES_MAX));
    }
    let digits = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    let Some(digits) = digits.map(|byte| (*byte as char).to_digit(16)).collect::<Option<Vec<u32>>>() else {
        return Ok(Answer::Nil);
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    Ok(match rest {
        [] => Answer::Bytes(pairs.iter().map(|[high, low]| (high * 16 + low) as u8).collect()),
        _ => Answer::Nil,
    })
}

/// A value as JSON text, keys in order.
pub(crate) fn json(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let text = arguments.json(1, JSON_BYTES_MAX).map(|value| value.to_string());
    host.guard().charge(text.as_ref().map_or(JSON_BYTES_MAX, String::len) as u64);
    Ok(Answer::Bytes(text.map_err(|e| format!("json: {e}"))?.into_bytes()))
}

/// The path of the file that `require` means: `"./part"` and `"../part"` beside the file that asks, `"part"` from the
/// module's folder; `part.luau` or `part/init.luau`; the entry of a library by its name alone. Files of a library have
/// its name as their first folder, and reach only files of their own.
pub(crate) fn resolve(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let asked = arguments.bytes(1, "path")?;
    let shown = one_line(asked, FILE_NAME_BYTES_MAX);
    if shown.as_bytes() != asked {
        return Err("require takes the path of a file of this module, or the name of a library".to_owned());
    }
    if shown.starts_with('@') {
        return Err(format!("there is no library \"{shown}\"; there is \"@netserv\""));
    }
    let caller = arguments.caller();
    let (manifest, within, folder) = match host.library_of(&caller) {
        Some((library, within)) => (&library.manifest, within, format!("{}/", library.manifest.name)),
        None => (&host.manifest, caller.as_str(), String::new()),
    };
    if manifest.requires.contains_key(&shown) {
        let library = host.libraries.get(&shown).ok_or_else(|| format!("the library \"{shown}\" is not there"))?;
        return Ok(Answer::Bytes(format!("{shown}/{}", library.manifest.entry).into_bytes()));
    }
    let path = normalize(within, &shown)
        .ok_or_else(|| format!("\"{shown}\" is outside of the module's folder; only its own files can be required"))?;
    let candidates = [path.clone(), format!("{path}.luau"), format!("{path}/init.luau")];
    let is_there = |file: &String| file.ends_with(".luau") && host.file(&format!("{folder}{file}")).is_some();
    match candidates.into_iter().find(is_there) {
        Some(file) if folder.is_empty() && host.library_of(&file).is_some() => {
            Err(format!("\"{shown}\" is a file of a library; a library is required by its name alone"))
        }
        Some(file) => Ok(Answer::Bytes(format!("{folder}{file}").into_bytes())),
        None => {
            let file = path.strip_suffix(".luau").unwrap_or(&path);
            let hint =
                if shown.contains(['/', '.']) { "" } else { "; libraries stand under [requires] in module.toml" };
            Err(format!("there is no file \"{folder}{file}.luau\" in this module, which \"{shown}\" would mean{hint}"))
        }
    }
}

/// The path from the module's folder, or `None` if it leads out of it.
fn normalize(caller: &str, asked: &str) -> Option<String> {
    let mut parts: Vec<&str> = match asked.split('/').next() {
        Some("." | "..") => caller.split('/').collect(),
        Some("") | None => return None,
        Some(_) => vec![""],
    };
    parts.pop();
    for part in asked.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_modules_folder() {
        let path = |caller, asked| normalize(caller, asked);
        assert_eq!(path("init.luau", "./util").as_deref(), Some("util"));
        assert_eq!(path("lib/a.luau", "./b").as_deref(), Some("lib/b"));
        assert_eq!(path("lib/a.luau", "../b").as_deref(), Some("b"));
        assert_eq!(path("lib/a.luau", "b/./c").as_deref(), Some("b/c"));
        assert_eq!(path("lib/a.luau", "../../b"), None);
        assert_eq!(path("init.luau", "/etc/passwd"), None);
        assert_eq!(path("init.luau", "x/../../etc"), None);
    }
}

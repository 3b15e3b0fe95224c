//! Texts in objects.

use crate::base::text::{is_plain, is_plain_char};
use crate::wire::nslp::NslpFault;

/// The text of an object's value, without the zeros that fill it up.
pub(super) fn read(value: &[u8], bytes_max: usize, kind: u16) -> Result<String, NslpFault> {
    let len = value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    read_exact(value.get(..len).unwrap_or_default(), bytes_max, kind)
}

/// The text of these bytes.
pub(super) fn read_exact(bytes: &[u8], bytes_max: usize, kind: u16) -> Result<String, NslpFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| NslpFault::Text(kind))?;
    if text.len() > bytes_max || !is_plain(text) {
        return Err(NslpFault::Text(kind));
    }
    Ok(text.to_owned())
}

/// The text as it may be sent: what cannot be shown becomes `?`, what is too long is cut between characters.
pub(super) fn fit(text: &str, bytes_max: usize) -> String {
    let mut fitting = String::with_capacity(text.len().min(bytes_max));
    for c in text.chars() {
        let c = if is_plain_char(c) { c } else { '?' };
        if fitting.len() + c.len_utf8() > bytes_max {
            break;
        }
        fitting.push(c);
    }
    fitting
}

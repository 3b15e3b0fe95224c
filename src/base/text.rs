//! Texts of strangers that are shown to people.

/// Whether a character may be shown as it is: no control character, none that turns the direction of writing or ends a
/// line.
#[must_use]
pub fn is_plain_char(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a text may be shown to a person as it is.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    text.chars().all(is_plain_char)
}

/// The text as it may be shown: a terminal obeys nothing in it, and it is one line.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if is_plain_char(c) { c } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_blanked() {
        assert_eq!(plain("a\u{1b}[2K\nb\u{202e}c\u{2066}\r\u{9b}d\u{2028}"), "a [2K b c   d ");
        assert!(is_plain("Größe 世界") && !is_plain("a\tb") && !is_plain("\u{202e}"));
    }
}

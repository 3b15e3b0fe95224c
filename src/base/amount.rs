//! Sizes and time spans as people write them: `16M`, `1h`.

use std::time::Duration;

/// Units of sizes, largest first: powers of 1024.
const SIZES: &[(&str, u64)] = &[("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10), ("", 1)];
/// Units of time spans, largest first, in ms.
const SPANS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The bytes that a text such as `4096`, `16M`, `16MB` or `16MiB` means; `None` if it is something else or too much.
#[must_use]
pub fn bytes_of(text: &str) -> Option<u64> {
    let (number, unit) = parted(text)?;
    let unit = unit.to_ascii_uppercase();
    let unit = unit.strip_suffix("IB").or_else(|| unit.strip_suffix('B')).unwrap_or(&unit);
    number.checked_mul(SIZES.iter().find(|(name, _)| *name == unit)?.1)
}

/// The time span that a text such as `500ms`, `10s`, `5m`, `2h` or `1d` means; `None` if it is something else, has no
/// unit, or is too long.
#[must_use]
pub fn span_of(text: &str) -> Option<Duration> {
    let (number, unit) = parted(text)?;
    number.checked_mul(SPANS.iter().find(|(name, _)| *name == unit)?.1).map(Duration::from_millis)
}

/// `bytes` in the largest unit that makes a whole number of them.
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
    largest(SIZES, bytes)
}

/// `span` in the largest unit that makes a whole number of it; parts of a millisecond are left out.
#[must_use]
pub fn span_text(span: Duration) -> String {
    match u64::try_from(span.as_millis()).unwrap_or(u64::MAX) {
        0 => "0s".to_owned(),
        ms => largest(SPANS, ms),
    }
}

fn parted(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    Some((number.parse().ok()?, unit.trim_start()))
}

fn largest(units: &[(&str, u64)], amount: u64) -> String {
    let unit = units.iter().find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor));
    unit.map_or_else(|| amount.to_string(), |(name, factor)| format!("{}{name}", amount / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, want) in [("0", 0), ("4096", 4096), ("16M", 16 << 20), ("16 MiB", 16 << 20), ("1kb", 1024)] {
            assert_eq!(bytes_of(text), Some(want), "{text}");
        }
        for wrong in ["", "M", "-1", "1.5M", "16X", "16MM", "99999999999999999999", "9999999999T"] {
            assert_eq!(bytes_of(wrong), None, "{wrong}");
        }
        assert_eq!([bytes_text(0), bytes_text(1000), bytes_text(3 << 19)], ["0", "1000", "1536K"]);
    }

    #[test]
    fn time_spans_are_read_and_written() {
        for (text, ms) in [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("2h", 7_200_000), ("1d", 86_400_000)] {
            assert_eq!(span_of(text), Some(Duration::from_millis(ms)), "{text}");
            assert_eq!(span_text(Duration::from_millis(ms)), text);
        }
        for wrong in ["", "h", "10", "1.5h", "1w", "99999999999999999999d", "999999999999999d"] {
            assert_eq!(span_of(wrong), None, "{wrong}");
        }
        assert_eq!(span_text(Duration::ZERO), "0s");
        assert_eq!(span_text(Duration::from_secs(90)), "90s");
    }
}

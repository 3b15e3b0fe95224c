//! Days of the calendar, as `2026-11-25`, and their numbers: days since 1970-01-01.

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;
/// Days of 400 years, after which the calendar repeats.
const ERA: i64 = 146_097;

/// The number of a day that is written as `YYYY-MM-DD`; `None` if there is no such day from 1970 on.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let mut parts = text.split('-');
    let mut next = |digits: usize| {
        let part =
            parts.next().filter(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        part.parse::<i64>().ok()
    };
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin with March here, so that the leap day is their last.
    let year_from_march = year - i64::from(month <= 2);
    let (era, of_era) = (year_from_march.div_euclid(400), year_from_march.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let number = era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - EPOCH;
    // The 31st of a short month would be a day of the next one.
    u64::try_from(number).ok().filter(|number| self::text(*number) == text)
}

/// A day as `YYYY-MM-DD`.
#[must_use]
pub fn text(number: u64) -> String {
    let days = i64::try_from(number).unwrap_or(i64::MAX - EPOCH) + EPOCH;
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!("{:04}-{month:02}-{day:02}", year + era * 400 + i64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_has_a_number_and_a_text() {
        assert_eq!(
            (parse("1970-01-01"), parse("2000-02-29"), parse("2026-11-25")),
            (Some(0), Some(11_016), Some(20_782))
        );
        for number in 0..60_000 {
            assert_eq!(parse(&text(number)), Some(number));
        }
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for odd in
            ["", "2026-02-30", "2026-13-01", "2026-00-10", "2026-1-01", "1969-12-31", "2026-01-01-", "+026-01-01"]
        {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}

//! Dates of HTTP (RFC 9110, section 5.6.7), as seconds since 1970-01-01 UTC.

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_SECONDS: u64 = 86_400;
/// The first second of the year 10000, which has no form.
const END: u64 = 253_402_300_800;

/// The date in the one form that is sent: `Sun, 06 Nov 1994 08:49:37 GMT`. Years end with 9999.
#[must_use]
pub fn format(seconds: u64) -> String {
    let seconds = seconds.min(END - 1);
    let (days, rest) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    let (year, month, day) = civil(days);
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        // 1970-01-01 was a Thursday.
        &DAYS[(days as usize + 4) % 7][..3],
        MONTHS[month as usize - 1],
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Reads any of the three forms; `None` for anything else, and for dates before 1970. `now` decides the century of the
/// form with two digits: dates that seem to be more than 50 years ahead are in the past.
#[must_use]
pub fn parse(text: &[u8], now: u64) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some((day_name, rest)) = text.split_once(", ") {
        if DAYS.iter().any(|name| &name[..3] == day_name) {
            // IMF-fixdate: 06 Nov 1994 08:49:37 GMT
            let [day, month, year, time, "GMT"] = words(rest)? else { return None };
            return moment(number(year, 4)?, month_of(month)?, number(day, 2)?, time);
        }
        // RFC 850: 06-Nov-94 08:49:37 GMT
        DAYS.iter().find(|name| **name == day_name)?;
        let [date, time, "GMT"] = words(rest)? else { return None };
        let mut parts = date.split('-');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        let this_year = civil(now.min(END - 1) / DAY_SECONDS).0;
        let mut full = this_year / 100 * 100 + number(year, 2)?;
        if full > this_year + 50 {
            full -= 100;
        }
        return match parts.next() {
            None => moment(full, month_of(month)?, number(day, 2)?, time),
            Some(_) => None,
        };
    }
    // asctime: Sun Nov  6 08:49:37 1994
    let (day_name, rest) = (text.get(..3)?, text.get(3..)?);
    DAYS.iter().find(|name| &name[..3] == day_name)?;
    let (month, rest) = (rest.strip_prefix(' ')?.get(..3)?, rest.get(4..)?);
    let (day, rest) = (rest.strip_prefix(' ')?.get(..2)?, rest.get(3..)?);
    let [time, year] = words(rest.strip_prefix(' ')?)?;
    let day = day.strip_prefix(' ').map_or_else(|| number(day, 2), |digit| number(digit, 1))?;
    moment(number(year, 4)?, month_of(month)?, day, time)
}

fn words<const COUNT: usize>(text: &str) -> Option<[&str; COUNT]> {
    text.split(' ').collect::<Vec<_>>().try_into().ok()
}

fn number(text: &str, digits: usize) -> Option<u64> {
    if text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn month_of(name: &str) -> Option<u64> {
    MONTHS.iter().position(|month| *month == name).map(|index| index as u64 + 1)
}

fn moment(year: u64, month: u64, day: u64, time: &str) -> Option<u64> {
    let mut parts = time.split(':');
    let (hour, minute, second) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    // A leap second is the next one.
    let in_range = (1970..=9999).contains(&year) && day >= 1 && hour < 24 && minute < 60 && second <= 60;
    if !in_range || parts.next().is_some() {
        return None;
    }
    let days = days(year, month, day);
    // A day that the month does not have falls into the next month.
    if civil(days) != (year, month, day) {
        return None;
    }
    Some(days * DAY_SECONDS + hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, from 1970 on.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years begin in March, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let to_year = year * 365 + year / 4 - year / 100 + year / 400;
    to_year + day_of_year - 719_468
}

/// Year, month and day; the other way round.
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

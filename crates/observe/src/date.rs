//! Moments as people and other programs read them.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment in UTC, to the second, such as `2026-11-23T13:05:00Z` (RFC 3339 §5.6). What was before
/// 1970 is shown as its beginning.
pub(crate) fn rfc3339(moment: SystemTime) -> String {
    let seconds = moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (day, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(day);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The same to the millisecond: `2026-11-23T13:05:00.042Z`.
pub(crate) fn rfc3339_millis(moment: SystemTime) -> String {
    let millis = moment.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_millis();
    let seconds = rfc3339(moment);
    format!("{}.{millis:03}Z", seconds.trim_end_matches('Z'))
}

/// Year, month and day of a day since 1970, by the Gregorian calendar.
///
/// Counted in years that begin in March, so that the day that some have comes last.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + DAYS_BEFORE_1970;
    let (era, of_era) = (day / DAYS_OF_ERA, day % DAYS_OF_ERA);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// From the first of March of the year 0.
const DAYS_BEFORE_1970: u64 = 719_468;

/// Of 400 years.
const DAYS_OF_ERA: u64 = 146_097;

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::rfc3339;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}

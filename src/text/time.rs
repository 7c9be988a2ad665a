//! Durations and moments as people write them, in milliseconds.

use crate::text::decimal;

/// Longest duration in milliseconds: seven days.
pub const DURATION_MAX_MS: i64 = 7 * 24 * 3600 * 1000;

/// Latest moment in milliseconds since the epoch: the end of the year 2199.
const MOMENT_MAX_MS: i64 = 7_258_118_399_999;

/// Reads a duration such as `200ms`, `1.5s` or `1m30s`; the units stand from large to small, each at most once.
///
/// `None` for anything else, for parts of a millisecond, and beyond [`DURATION_MAX_MS`].
pub fn duration_ms(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let mut rest = text;
    let mut allowed = 0;
    let mut total: i64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, after) = rest.split_at_checked(number_end)?;
        let unit_end = after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end)?;
        let place = UNITS.iter().position(|(name, _)| *name == unit)?;
        if place < allowed {
            return None;
        }
        allowed = place + 1;
        let factor = UNITS.get(place).map(|(_, factor)| *factor)?;
        // Nine digits after the point; what is left below a millisecond is refused.
        let nanos = i128::from(decimal::parse(number, decimal::NANO_DIGITS).ok()?) * i128::from(factor);
        if nanos % 1_000_000_000 != 0 {
            return None;
        }
        total = total.checked_add(i64::try_from(nanos / 1_000_000_000).ok()?)?;
        rest = after;
    }
    (total <= DURATION_MAX_MS).then_some(total)
}

/// Reads a moment in UTC such as `2026-01-05T09:00:00Z`, with up to three digits after the seconds.
///
/// `None` for anything else, and outside the years 1970 to 2199.
pub fn moment_ms(text: &str) -> Option<i64> {
    let bytes = text.strip_suffix('Z')?.as_bytes();
    let number = |from: usize, to: usize| {
        let digits = bytes.get(from..to)?;
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| digits.iter().fold(0_i64, |value, digit| value * 10 + i64::from(digit.wrapping_sub(b'0'))))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !marks.iter().all(|(place, mark)| bytes.get(*place) == Some(mark)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let millis = match bytes.get(19..)? {
        [] => 0,
        [b'.', digits @ ..] if (1..=3).contains(&digits.len()) => {
            let value = number(20, bytes.len())?;
            match digits.len() {
                1 => value * 100,
                2 => value * 10,
                _ => value,
            }
        }
        _ => return None,
    };
    if !(1..=days_of(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
        || !(1970..2200).contains(&year)
    {
        return None;
    }
    // Days by the year that begins in March, so that the leap day is the last one.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = shifted_year * 365 + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + (shifted_month * 153 + 2) / 5
        + day
        - 719_469;
    in_range((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Returns how many days a month has, from 1 for January on; 0 for what is no month.
const fn days_of(year: i64, month: i64) -> i64 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 0,
    }
}

/// Returns a moment in milliseconds if it lies in the years 1970 to 2199.
pub fn in_range(moment_ms: i64) -> Option<i64> {
    (0..=MOMENT_MAX_MS).contains(&moment_ms).then_some(moment_ms)
}

/// Returns a moment as people read it: `2026-01-05T09:00:10.250Z`. Outside the years 1970 to 9999: `@` and milliseconds.
#[must_use]
pub fn moment(at_ms: i64) -> String {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    if !(0..253_402_300_800_000).contains(&at_ms) {
        return format!("@{at_ms}");
    }
    let (mut days, ms) = (at_ms / DAY_MS, at_ms % DAY_MS);
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let mut month = 1;
    while days >= days_of(year, month) {
        days -= days_of(year, month);
        month += 1;
    }
    let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", days + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_exactly_or_refused() {
        for (text, expected) in [
            ("0s", Some(0)),
            ("0ms", Some(0)),
            ("200ms", Some(200)),
            ("5s", Some(5_000)),
            ("1.5s", Some(1_500)),
            ("0.001s", Some(1)),
            ("1m30s", Some(90_000)),
            ("1h2m3s4ms", Some(3_723_004)),
            ("0.5h", Some(1_800_000)),
            ("168h", Some(DURATION_MAX_MS)),
            ("168h1ms", None),
            ("0.0001s", None),
            ("1.5ms", None),
            ("30s1m", None),
            ("1s1s", None),
            ("5", None),
            ("s", None),
            ("", None),
            ("-5s", None),
            ("5 s", None),
            ("5S", None),
            ("5d", None),
            (".5s", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(duration_ms(text), expected, "{text}");
        }
    }

    #[test]
    fn moments_are_read_exactly_or_refused() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-01-05T09:00:00Z", Some(1_767_603_600_000)),
            ("2024-02-29T12:00:00.5Z", Some(1_709_208_000_500)),
            ("2000-03-01T00:00:00.123Z", Some(951_868_800_123)),
            ("2021-04-05T17:47:36.07Z", Some(1_617_644_856_070)),
            ("2199-12-31T23:59:59.999Z", Some(MOMENT_MAX_MS)),
            ("2023-02-29T00:00:00Z", None),
            ("2100-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-00-01T00:00:00Z", None),
            ("2026-01-00T00:00:00Z", None),
            ("2026-01-05T24:00:00Z", None),
            ("2026-01-05T09:00:60Z", None),
            ("2026-01-05T09:00:00", None),
            ("2026-01-05T09:00:00+01:00", None),
            ("2026-01-05 09:00:00Z", None),
            ("2026-01-05T09:00:00.Z", None),
            ("2026-01-05T09:00:00.1234Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("2200-01-01T00:00:00Z", None),
            ("Z", None),
        ] {
            assert_eq!(moment_ms(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn prop_any_text_is_answered(text in "[0-9.hms+-]{0,20}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{0,14}Z|\\PC{0,12}") {
            let _ = duration_ms(&text);
            let _ = moment_ms(&text);
        }

        #[test]
        fn prop_a_moment_is_read_as_it_was_written(ms in 0..=MOMENT_MAX_MS) {
            prop_assert_eq!(moment_ms(&moment(ms)), Some(ms));
        }

        #[test]
        fn prop_whole_milliseconds_are_read(ms in 0..=DURATION_MAX_MS) {
            prop_assert_eq!(duration_ms(&format!("{ms}ms")), Some(ms));
        }
    }
}

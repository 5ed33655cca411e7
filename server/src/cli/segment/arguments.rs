//! Owns what is typed: lists of partitions, ranges of offsets, times, sizes. Refuses what could mean two things.

use std::ops::Range;

/// Partitions to take; none given is all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partitions(Vec<(i32, i32)>);

impl Partitions {
    /// Whether one is among them.
    pub fn contains(&self, partition: i32) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&partition))
    }

    /// The largest that was named.
    pub fn largest(&self) -> i32 {
        self.0.iter().map(|(_, last)| *last).max().unwrap_or(-1)
    }
}

/// `0,2-4`.
pub fn partitions(text: &str) -> Result<Partitions, String> {
    let number = |text: &str| {
        let parsed = text.trim().parse::<i32>().ok().filter(|number| *number >= 0);
        parsed.ok_or_else(|| format!("`{text}` is no partition: write numbers and ranges, as in 0,2-4"))
    };
    let ranges = text.split(',').map(|part| match part.split_once('-') {
        None => number(part).map(|one| (one, one)),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("`{part}` ends before it begins"));
            }
            Ok((first, last))
        }
    });
    ranges.collect::<Result<_, _>>().map(Partitions)
}

/// `10..20` (the end is exclusive), `10..`, `..20`, or one offset.
pub fn offsets(text: &str) -> Result<Range<i64>, String> {
    let number = |text: &str, absent: i64| match text.trim() {
        "" => Ok(absent),
        text => text
            .parse::<i64>()
            .ok()
            .filter(|number| *number >= 0)
            .ok_or_else(|| format!("`{text}` is no offset: write 10..20, 10.., ..20 or 10")),
    };
    let Some((first, next)) = text.split_once("..") else {
        return number(if text.trim().is_empty() { "?" } else { text }, 0)
            .map(|one| one..one.saturating_add(1));
    };
    let range = number(first, 0)?..number(next, i64::MAX)?;
    if range.start > range.end {
        return Err(format!("`{text}` ends before it begins"));
    }
    Ok(range)
}

/// Bytes: a number, or one with KiB, MiB, GiB or kB, MB, GB behind it.
pub fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => 0,
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("`{text}` is no size: write 250MiB, 1GiB or bytes"))
}

/// Milliseconds since 1970, from a number of them or from RFC 3339 (`2026-01-31T12:00:00Z`, `2026-01-31`).
pub fn time(text: &str) -> Result<i64, String> {
    let text = text.trim();
    if let Ok(ms) = text.parse::<i64>() {
        return match ms {
            0.. => Ok(ms),
            _ => Err(format!("`{text}` is before 1970")),
        };
    }
    rfc_3339(text).ok_or_else(|| {
        format!("`{text}` is no time: write 2026-01-31T12:00:00Z, 2026-01-31, or milliseconds since 1970")
    })
}

fn rfc_3339(text: &str) -> Option<i64> {
    let (date, clock) = match text.split_once(['T', 't', ' ']) {
        Some((date, clock)) => (date, clock),
        None => (text, "00:00:00Z"),
    };
    let numbers = |text: &str, separator: char, lengths: [usize; 3]| {
        let mut parts = text.split(separator);
        let mut found = [0i64; 3];
        for (place, length) in found.iter_mut().zip(lengths) {
            let part = parts.next()?;
            let plain = part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
            *place = plain.then(|| part.parse().ok())??;
        }
        parts.next().is_none().then_some(found)
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let zone_at = clock.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = clock.split_at(zone_at);
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(whole, ':', [2, 2, 2])?;
    let millis = fraction_ms(fraction)?;
    let zone_ms = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let [hours, minutes, _] = numbers(&format!("{}:00", zone.get(1..)?), ':', [2, 2, 2])?;
            sign * (hours * 60 + minutes) * 60_000
        }
    };
    // Second 60 is a leap second, which clocks since 1970 do not count.
    let sound = (1..=days_in(year, month)?).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    (sound && year >= 1970).then_some(seconds * 1000 + millis - zone_ms)
}

fn fraction_ms(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{fraction:0<3}").get(..3)?.parse().ok()
}

fn days_in(year: i64, month: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

/// Howard Hinnant's `days_from_civil`, for years from 1970 on.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Milliseconds since 1970 as RFC 3339, for people.
pub fn shown_time(ms: i64) -> String {
    if ms < 0 {
        return "none".to_owned();
    }
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    // Hinnant's `civil_from_days`.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (second, millis) = (of_day / 1000, of_day % 1000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Bytes as people read them.
pub fn shown_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut number, mut unit) = (bytes as f64, 0);
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{number:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn partitions_are_numbers_and_ranges() {
        let some = partitions("0, 2-4,9").unwrap();
        let taken: Vec<i32> = (0..12).filter(|partition| some.contains(*partition)).collect();
        assert_eq!((taken, some.largest()), (vec![0, 2, 3, 4, 9], 9));
        for wrong in ["", "a", "1-", "-1", "4-2", "1,,2", "1..2"] {
            assert!(partitions(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_of_offsets_are_half_open() {
        for (text, range) in [
            ("10..20", 10..20),
            ("..5", 0..5),
            ("7..", 7..i64::MAX),
            ("..", 0..i64::MAX),
            ("3", 3..4),
            ("4..4", 4..4),
        ] {
            assert_eq!(offsets(text), Ok(range), "{text}");
        }
        for wrong in ["", "x", "5..3", "-1..2", "1...2", "1-2"] {
            assert!(offsets(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("1", 1), ("250MiB", 250 << 20), ("1 GB", 1_000_000_000), ("64k", 64 << 10)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "0", "MiB", "1.5MiB", "-1", "1 parsec", "99999999999999999999", "99999999999GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!((shown_size(1023), shown_size(1536)), ("1023 B".to_owned(), "1.5 KiB".to_owned()));
    }

    #[test]
    fn times_are_read_as_rfc_3339_says() {
        for (text, ms) in [
            ("0", 0),
            ("1700000000000", 1_700_000_000_000),
            ("1970-01-01", 0),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("2023-11-14T22:13:20.5Z", 1_700_000_000_500),
            ("2023-11-14t22:13:20.123456z", 1_700_000_000_123),
            ("2023-11-15 00:13:20+02:00", 1_700_000_000_000),
            ("2023-11-14T17:13:20-05:00", 1_700_000_000_000),
        ] {
            assert_eq!(time(text), Ok(ms), "{text}");
        }
        for wrong in [
            "",
            "-1",
            "yesterday",
            "2023-02-29",
            "2023-13-01",
            "2023-1-1",
            "2023-01-01T24:00:00Z",
            "2023-01-01T10:00:00",
            "2023-01-01T10:00Z",
            "2023-01-01T10:00:00.Z",
            "1969-12-31",
            "2023-01-01T10:00:00+2",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(shown_time(1_700_000_000_500), "2023-11-14T22:13:20.500Z");
        assert_eq!(shown_time(-1), "none");
    }

    proptest! {
        #[test]
        fn a_time_that_is_shown_is_read_again(ms in 0i64..253_402_300_800_000) {
            prop_assert_eq!(time(&shown_time(ms)), Ok(ms));
        }

        #[test]
        fn anything_typed_is_read_or_refused(text in ".{0,40}") {
            let _ = (time(&text), size(&text), offsets(&text), partitions(&text));
        }
    }
}

//! Event times: RFC 3339 to microseconds since 1970, UTC.

/// Microseconds of a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds of a minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Microseconds of an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Microseconds of a day.
pub const DAY: i64 = 24 * HOUR;

/// 2000-01-01, the earliest time that an event may have.
pub const EARLIEST: i64 = 946_684_800 * SECOND;
/// 2100-01-01, where possible times end.
pub const LATEST: i64 = 4_102_444_800 * SECOND;

/// The time of an RFC 3339 text, or `None` where it is none or lies outside 2000–2100. Digits past the microsecond are cut.
#[must_use]
pub fn parse(s: &str) -> Option<i64> {
    let us = fast(s.as_bytes())
        .or_else(|| chrono::DateTime::parse_from_rfc3339(s).ok().map(|t| t.timestamp_micros()))?;
    (EARLIEST..LATEST).contains(&us).then_some(us)
}

/// The usual form, `YYYY-MM-DDTHH:MM:SS[.f…]Z`; anything else is left to chrono.
fn fast(b: &[u8]) -> Option<i64> {
    if b.len() < 20
        || b[4] != b'-'
        || b[7] != b'-'
        || b[10] != b'T'
        || b[13] != b':'
        || b[16] != b':'
        || *b.last()? != b'Z'
    {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        b[range].iter().try_fold(0, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
    };
    let (h, m, s) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if h > 23 || m > 59 || s > 59 {
        return None;
    }
    let date = chrono::NaiveDate::from_ymd_opt(
        i32::try_from(number(0..4)?).ok()?,
        u32::try_from(number(5..7)?).ok()?,
        u32::try_from(number(8..10)?).ok()?,
    )?;
    let fraction = &b[19..b.len() - 1];
    let micros = match fraction {
        [] => 0,
        [b'.', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            (0..6).fold(0, |n, i| n * 10 + i64::from(digits.get(i).map_or(0, |d| d - b'0')))
        }
        _ => return None,
    };
    let days = i64::from(date.to_epoch_days());
    Some(((days * 24 + h) * 60 + m) * MINUTE + s * SECOND + micros)
}

/// A time as RFC 3339 text in UTC, for people.
#[must_use]
pub fn text(us: i64) -> String {
    chrono::DateTime::from_timestamp_micros(us)
        .map_or_else(|| us.to_string(), |t| t.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
}

/// The UTC date of a time, `YYYY-MM-DD`.
#[must_use]
pub fn date(us: i64) -> String {
    chrono::DateTime::from_timestamp_micros(us)
        .map_or_else(|| "1970-01-01".into(), |t| t.format("%Y-%m-%d").to_string())
}

/// The start of the stretch of `length` that a time lies in.
#[must_use]
pub fn floor(us: i64, length: i64) -> i64 {
    us.div_euclid(length) * length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_chrono_reads() {
        for s in [
            "2024-11-15T16:57:50.676Z",
            "2024-02-29T00:00:00Z",
            "2024-11-15T16:57:50.123456789Z",
            "2024-11-15T16:57:50+02:00",
            "2024-11-15t16:57:50z",
            "2024-12-31T23:59:60Z",
        ] {
            let want = chrono::DateTime::parse_from_rfc3339(s).unwrap().timestamp_micros();
            assert_eq!(parse(s), Some(want), "{s}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for s in [
            "",
            "yesterday",
            "2024-02-30T00:00:00Z",
            "1999-12-31T23:59:59Z",
            "9999-01-01T00:00:00Z",
            "2024-11-15",
            "2024-11-15T25:00:00Z",
            "2024-11-15T16:57:50",
        ] {
            assert_eq!(parse(s), None, "{s}");
        }
    }

    #[test]
    fn text_and_date_are_utc() {
        let t = parse("2024-11-15T16:57:50.676Z").unwrap();
        assert_eq!(text(t), "2024-11-15T16:57:50.676Z");
        assert_eq!(date(t), "2024-11-15");
        assert_eq!(floor(-1, HOUR), -HOUR);
    }
}

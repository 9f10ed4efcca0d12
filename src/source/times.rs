//! Reads event times from lines without decoding them, and the time range of a sample.

use crate::event::time::{DAY, parse};

/// With fewer times than this, all count.
const FEW: usize = 5;

/// The event time of a line; `None` if none is found. Takes the first field of that name, so nested
/// objects may mislead it: it affects only the order of reading, never the results.
#[must_use]
pub fn time_of(line: &[u8]) -> Option<i64> {
    const NAME: &[u8] = b"\"timestamp\"";
    let mut from = 0;
    while let Some(at) = line[from..].windows(NAME.len()).position(|w| w == NAME) {
        from += at + NAME.len();
        let value = line[from..].trim_ascii_start();
        let Some(value) = value.strip_prefix(b":") else { continue };
        let Some(value) = value.trim_ascii_start().strip_prefix(b"\"") else { continue };
        let end = value.iter().take(64).position(|b| *b == b'"')?;
        return std::str::from_utf8(&value[..end]).ok().and_then(parse);
    }
    None
}

/// The median.
#[must_use]
pub fn median(times: &mut [i64]) -> Option<i64> {
    let middle = times.len() / 2;
    (!times.is_empty()).then(|| *times.select_nth_unstable(middle).1)
}

/// The first and last of some times, without outliers of wrong clocks: at most a quarter of the
/// times at either end, if the gap to the next is longer than a day and than three times the range
/// of the middle half.
#[must_use]
pub fn range(times: &[i64]) -> Option<(i64, i64)> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    if sorted.len() < FEW {
        return Some((first, last));
    }
    let most = sorted.len() / 4;
    let wide = 3 * (sorted[sorted.len() - 1 - most] - sorted[most]);
    let apart = |a: i64, b: i64| b - a > DAY.max(wide);
    let from_end = |k: usize| sorted[sorted.len() - 1 - k];
    let low = (1..=most).rev().find(|k| apart(sorted[k - 1], sorted[*k])).unwrap_or(0);
    let high = (1..=most).rev().find(|k| apart(from_end(*k), from_end(k - 1))).unwrap_or(0);
    Some((sorted[low], from_end(high)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::time::{HOUR, MINUTE, SECOND};

    #[test]
    fn a_line_tells_its_time() {
        let t = parse("2026-01-12T06:00:00Z").unwrap();
        assert_eq!(time_of(br#"{"a":1,"timestamp":"2026-01-12T06:00:00Z","b":2}"#), Some(t));
        assert_eq!(
            time_of(br#"{"note":"\"timestamp\"","x":"timestamp","timestamp" : "2026-01-12T06:00:00Z"}"#),
            Some(t)
        );
        assert_eq!(time_of(br#"{"timestamp":12}"#), None);
        assert_eq!(time_of(br#"{"timestamp":"yesterday"}"#), None);
        assert_eq!(time_of(b"{\"timestamp\":\"2026"), None);
        assert_eq!(time_of(b""), None);
    }

    #[test]
    fn a_few_wrong_clocks_move_neither_end() {
        let t = 20_000 * DAY;
        let minutes: Vec<i64> = (0..20).map(|n| t + n * MINUTE).collect();
        let (first, last) = (t, t + 19 * MINUTE);
        assert_eq!(range(&minutes), Some((first, last)));
        for wrong in [vec![0], vec![t + 4000 * DAY], vec![0, 900 * DAY, t + 900 * DAY], vec![t - 2 * DAY]] {
            assert_eq!(range(&[wrong.clone(), minutes.clone()].concat()), Some((first, last)), "{wrong:?}");
        }
        assert_eq!(range(&[t - HOUR, t, t + SECOND, t + 2, t + 3, t + 4]), Some((t - HOUR, t + SECOND)));
    }

    #[test]
    fn sparse_times_are_all_believed() {
        let t = 20_000 * DAY;
        let days: Vec<i64> = (0..15).map(|n| t + n * DAY + n * n * HOUR).collect();
        assert_eq!(range(&days), Some((days[0], days[14])));
        assert_eq!(range(&[t, t + 90 * DAY]), Some((t, t + 90 * DAY)), "two: neither can be called wrong");
        assert_eq!(range(&[]), None);
    }
}

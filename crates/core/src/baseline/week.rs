//! Parts of the week: the blocks of [`HoursOfDay`] on each of its days, UTC. Where a feature's
//! weekends differ from its other days, a window is compared with days of its own kind.

use super::hours::{BLOCK, HoursOfDay};
use crate::config::{Weekday, Weekend};
use crate::event::time::{DAY, floor};
use std::fmt;

/// Days of a week.
const DAYS: u8 = 7;
/// Blocks of a day.
const BLOCKS: u8 = (DAY / BLOCK) as u8;

/// Blocks of the week, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlocksOfWeek(u64);

impl BlocksOfWeek {
    /// The whole week.
    pub const ALL: Self = Self((1 << (DAYS * BLOCKS)) - 1);

    /// These hours on every day.
    #[must_use]
    pub fn every_day(hours: HoursOfDay) -> Self {
        Self::on(hours, |_| true)
    }

    fn on(hours: HoursOfDay, wanted: impl Fn(u8) -> bool) -> Self {
        let days = (0..DAYS).filter(|day| wanted(*day));
        Self(days.fold(0, |all, day| all | u64::from(hours.bits()) << (day * BLOCKS)))
    }

    /// All hours of the days of the weekend, or of the other days.
    #[must_use]
    pub fn of_kind(weekend: Weekend, of_weekend: bool) -> Self {
        Self::on(HoursOfDay::ALL, |day| is_of(weekend, day) == of_weekend)
    }

    /// The block that a time lies in, microseconds.
    fn of(time: i64) -> Self {
        Self(u64::from(HoursOfDay::of(time).bits()) << (weekday(time) * BLOCKS))
    }

    /// Whether it has the block that a time lies in, microseconds.
    #[must_use]
    pub fn contains(self, time: i64) -> bool {
        self.0 & Self::of(time).0 != 0
    }

    /// Its hours of the day that a time lies in, microseconds.
    #[must_use]
    pub fn hours_on(self, time: i64) -> HoursOfDay {
        self.hours(weekday(time))
    }

    fn hours(self, day: u8) -> HoursOfDay {
        HoursOfDay::from_bits((self.0 >> (day * BLOCKS)) as u8)
    }

    /// On how many days of a week it has hours.
    #[must_use]
    pub fn days(self) -> u16 {
        (0..DAYS).filter(|day| self.hours(*day).count() > 0).count() as u16
    }
}

impl Default for BlocksOfWeek {
    fn default() -> Self {
        Self::ALL
    }
}

/// "00-24" is the whole week, "20-04" these hours of every day, "Sat,Sun 00-24" the weekend; days
/// of different hours are joined by semicolons.
impl fmt::Display for BlocksOfWeek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for first in 0..DAYS {
            let hours = self.hours(first);
            let same = |day: &u8| self.hours(*day) == hours;
            if hours.count() == 0 || (0..first).any(|day| same(&day)) {
                continue;
            }
            let days: Vec<u8> = (first..DAYS).filter(same).collect();
            if days.len() == usize::from(DAYS) {
                return hours.fmt(f);
            }
            let names: Vec<&str> =
                days.iter().map(|day| &Weekday::ALL[usize::from(*day)].name()[..3]).collect();
            let named = match names.as_slice() {
                [from, _, .., to] if days.len() == usize::from(days[days.len() - 1] - first) + 1 => {
                    format!("{from}-{to}")
                }
                _ => names.join(","),
            };
            write!(f, "{separator}{named} {hours}")?;
            separator = "; ";
        }
        Ok(())
    }
}

/// The day of the week of a time, from 0 for Monday.
fn weekday(time: i64) -> u8 {
    // The first of January 1970 was a Thursday.
    (floor(time, DAY) / DAY + 3).rem_euclid(i64::from(DAYS)) as u8
}

fn is_of(weekend: Weekend, day: u8) -> bool {
    weekend.contains(Weekday::ALL[usize::from(day)])
}

/// What a window is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowBlocks {
    /// The hours of the day that it overlaps.
    pub hours: HoursOfDay,
    /// The same, on days of its kind: where it has hours of both kinds, its own blocks of the week,
    /// so that the baseline has as much of either kind.
    pub alike: BlocksOfWeek,
    /// Whether it has hours of working days.
    pub working_days: bool,
    /// Whether it has hours of the weekend.
    pub weekend: bool,
}

impl WindowBlocks {
    /// Of a window, microseconds.
    #[must_use]
    pub fn of(weekend: Weekend, start: i64, end: i64) -> Self {
        let hours = HoursOfDay::of_window(start, end);
        let (mut touched, mut mostly) = (BlocksOfWeek(0), BlocksOfWeek(0));
        let mut block = floor(start, BLOCK);
        while block < end && mostly != BlocksOfWeek::ALL {
            touched.0 |= BlocksOfWeek::of(block).0;
            if 2 * (end.min(block + BLOCK) - start.max(block)) >= BLOCK {
                mostly.0 |= BlocksOfWeek::of(block).0;
            }
            block += BLOCK;
        }
        let has = |of_weekend: bool| {
            (0..DAYS).any(|day| touched.hours(day).count() > 0 && is_of(weekend, day) == of_weekend)
        };
        let alike = match (has(false), has(true)) {
            (true, true) if mostly.0 != 0 => mostly,
            (true, true) => touched,
            (_, of_weekend) => BlocksOfWeek::on(hours, |day| is_of(weekend, day) == of_weekend),
        };
        Self { hours, alike, working_days: has(false), weekend: has(true) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::time::HOUR;

    /// Hours from the Monday of a week.
    fn of(from: i64, to: i64) -> WindowBlocks {
        let monday = 4 * DAY;
        WindowBlocks::of(Weekend::default(), monday + from * HOUR, monday + to * HOUR)
    }

    #[test]
    fn a_window_is_compared_with_days_of_its_kind() {
        let text = |from, to| of(from, to).alike.to_string();
        assert_eq!(text(0, 24), "Mon-Fri 00-24");
        assert_eq!(text(3, 9), "Mon-Fri 00-12");
        assert_eq!(text(22, 28), "Mon-Fri 20-04");
        assert_eq!(text(120, 144), "Sat,Sun 00-24");
        assert_eq!(text(130, 154), "Sat,Sun 00-24");
        assert_eq!(text(123, 124), "Sat,Sun 00-04");
        assert_eq!((of(0, 24).working_days, of(0, 24).weekend), (true, false));
        assert_eq!((of(121, 124).working_days, of(121, 124).weekend), (false, true));
    }

    #[test]
    fn a_window_of_both_kinds_is_compared_with_the_same_hours_of_the_week() {
        let of_friday = of(96 + 13, 120 + 13);
        assert!(of_friday.working_days && of_friday.weekend);
        assert_eq!(of_friday.alike.to_string(), "Fri 12-24; Sat 00-12");
        assert_eq!(of(96 + 15, 120 + 15).alike.to_string(), "Fri 16-24; Sat 00-16", "no block of an hour");
        assert_eq!(of(119, 121).alike.to_string(), "Fri 20-24; Sat 00-04", "an hour of each is all it has");
        assert_eq!(of(167, 191).alike.to_string(), "Mon 00-24", "an hour of Sunday is too little");
        assert_eq!(of(100, 100 + 168).alike, BlocksOfWeek::ALL);
        assert_eq!(of(100, 268).hours, HoursOfDay::ALL);
    }

    #[test]
    fn without_a_weekend_all_days_are_of_one_kind() {
        let none = Weekend::from_days([]);
        let window = WindowBlocks::of(none, 9 * DAY, 10 * DAY);
        assert_eq!(window.alike, BlocksOfWeek::ALL);
        assert!(!window.weekend);
    }

    #[test]
    fn blocks_of_the_week_are_counted_and_named() {
        let weekend = of(121, 124).alike;
        assert_eq!(weekend.days(), 2);
        assert!(
            weekend.contains(9 * DAY) && !weekend.contains(9 * DAY + 5 * HOUR) && !weekend.contains(8 * DAY)
        );
        assert_eq!((weekend.hours_on(9 * DAY).count(), weekend.hours_on(8 * DAY).count()), (4, 0));
        assert_eq!(BlocksOfWeek::every_day(HoursOfDay::of(0)).to_string(), "00-04");
        assert_eq!(BlocksOfWeek::ALL.to_string(), "00-24");
        assert_eq!(BlocksOfWeek::ALL.days(), 7);
        assert!(BlocksOfWeek::ALL.contains(-1));
    }
}

//! When an incident acts within its time: at some hours, on some days, or growing.

use super::error::IncidentError;
use super::json::US_PER_DAY;
use std::fmt;

const HOUR_US: i64 = 3_600_000_000;

/// The days of the week on which an incident acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeekDays {
    /// All.
    #[default]
    All,
    /// Monday to Friday.
    Weekdays,
    /// Saturday and Sunday.
    Weekend,
}

/// When an incident acts within its time; by default always, and fully from its start.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Schedule {
    /// Hours of the day, UTC: from the first to before the second, past midnight where that is not
    /// later.
    pub hours: Option<(u8, u8)>,
    /// Days of the week.
    pub days: WeekDays,
    /// Days over which it grows evenly to its full strength; 0: at once.
    pub ramp: f64,
}

impl Schedule {
    /// Sets a parameter of an incident; false where there is none of this name here.
    ///
    /// # Errors
    /// When its value is wrong.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<bool, IncidentError> {
        let wrong = |key, expected| IncidentError::BadParameter { key, value: value.to_owned(), expected };
        match key {
            "hours" => {
                let hours = value.split_once('-').and_then(|(from, to)| {
                    let (from, to) = (from.parse::<u8>().ok()?, to.parse::<u8>().ok()?);
                    (from < 24 && to <= 24 && from != to).then_some((from, to))
                });
                self.hours = Some(hours.ok_or_else(|| wrong("hours", "two hours of the day, as in 20-6"))?);
            }
            "days" => {
                self.days = match value {
                    "all" => WeekDays::All,
                    "weekdays" => WeekDays::Weekdays,
                    "weekend" => WeekDays::Weekend,
                    _ => return Err(wrong("days", "all, weekdays or weekend")),
                }
            }
            "ramp" => {
                let days = value.parse().ok().filter(|d| (0.0..=1000.0).contains(d));
                self.ramp = days.ok_or_else(|| wrong("ramp", "a number of days from 0 to 1000"))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The part of its strength that an incident that began at `start` has, 0 to 1.
    pub(super) fn strength(&self, start: i64, time: i64) -> f64 {
        let hour = (time.rem_euclid(US_PER_DAY) / HOUR_US) as u8;
        let in_hours = self.hours.is_none_or(|(from, to)| {
            if from < to { (from..to).contains(&hour) } else { hour >= from || hour < to }
        });
        // 1 January 1970 was a Thursday.
        let is_weekend = (time.div_euclid(US_PER_DAY) + 3).rem_euclid(7) >= 5;
        let in_days = match self.days {
            WeekDays::All => true,
            WeekDays::Weekdays => !is_weekend,
            WeekDays::Weekend => is_weekend,
        };
        if !(in_hours && in_days) {
            0.0
        } else if self.ramp > 0.0 {
            ((time - start) as f64 / (self.ramp * US_PER_DAY as f64)).clamp(0.0, 1.0)
        } else {
            1.0
        }
    }
}

/// Its parameters that are not the default, each after a comma.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((from, to)) = self.hours {
            write!(f, ",hours={from}-{to}")?;
        }
        match self.days {
            WeekDays::All => {}
            WeekDays::Weekdays => f.write_str(",days=weekdays")?,
            WeekDays::Weekend => f.write_str(",days=weekend")?,
        }
        if self.ramp > 0.0 { write!(f, ",ramp={}", self.ramp) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(parameters: &[(&str, &str)]) -> Schedule {
        let mut s = Schedule::default();
        for (key, value) in parameters {
            assert!(s.set(key, value).unwrap());
        }
        s
    }

    #[test]
    fn an_incident_acts_at_its_hours_and_days_and_grows() {
        // A Monday.
        let monday = 19_996 * US_PER_DAY;
        assert_eq!((monday.div_euclid(US_PER_DAY) + 3).rem_euclid(7), 0);
        let at = |s: &Schedule, day: i64, hour: i64| {
            s.strength(monday, monday + day * US_PER_DAY + hour * HOUR_US)
        };
        let nights = schedule(&[("hours", "20-6")]);
        assert_eq!([19, 20, 23, 0, 5, 6].map(|h| at(&nights, 1, h)), [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        let office = schedule(&[("hours", "9-17"), ("days", "weekdays")]);
        assert_eq!([(0, 9), (4, 16), (4, 17), (5, 12)].map(|(d, h)| at(&office, d, h)), [1.0, 1.0, 0.0, 0.0]);
        assert_eq!(at(&schedule(&[("days", "weekend")]), 6, 3), 1.0);
        let slow = schedule(&[("ramp", "4")]);
        assert_eq!([0, 1, 2, 4, 9].map(|d| at(&slow, d, 0)), [0.0, 0.25, 0.5, 1.0, 1.0]);
        assert!(!Schedule::default().set("share", "1").unwrap());
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        for (key, value, words) in [
            ("hours", "20", "two hours"),
            ("hours", "6-6", "two hours"),
            ("hours", "25-3", "two hours"),
            ("days", "sunday", "all, weekdays or weekend"),
            ("ramp", "-1", "a number of days"),
        ] {
            let error = Schedule::default().set(key, value).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(key), "{error}");
        }
    }
}

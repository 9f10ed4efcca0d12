//! Which baselines there are, and which days each holds for the windows of one day.

use super::name::BaselineName;
use crate::config::Baselines;
use crate::event::time::{DAY, floor};

/// The days that a baseline holds for the windows that start on one day: those of a stretch, less
/// the days that were excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaselineDays {
    days: u16,
    until: i64,
}

impl BaselineDays {
    /// The days of a baseline for windows that start in the UTC day beginning at `day`
    /// (microseconds): of a rolling one the complete days before it. `None` for a pin, which holds
    /// hours of its own.
    #[must_use]
    pub fn of(name: &BaselineName, day: i64) -> Option<Self> {
        match *name {
            BaselineName::Rolling { days } => Some(Self { days, until: day }),
            BaselineName::Pinned(_) => None,
        }
    }

    /// The stretch that holds the days of every configured baseline, for windows of this day.
    #[must_use]
    pub fn of_longest(config: &Baselines, day: i64) -> Self {
        Self { days: config.longest_days(), until: day }
    }

    /// As many days that end at `day`, for a baseline that is held at that of an earlier day.
    #[must_use]
    pub fn ending(self, day: i64) -> Self {
        Self { until: day, ..self }
    }

    /// How many days, whether they have data or not.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.days
    }

    /// Start of the first day, microseconds.
    #[must_use]
    pub fn from(&self) -> i64 {
        self.until - i64::from(self.days) * DAY
    }

    /// End of the last day, microseconds.
    #[must_use]
    pub fn until(&self) -> i64 {
        self.until
    }

    /// Whether the stretch contains the day that begins at `start`.
    #[must_use]
    pub fn contains(&self, start: i64) -> bool {
        start >= self.from() && start < self.until
    }

    /// Whether a row counts that starts in one of the days: the stretch contains it, and it was
    /// known when the stretch ended. What comes to a day later does not change baselines that were in use.
    #[must_use]
    pub fn takes(&self, start: i64, close_at: i64) -> bool {
        self.contains(start) && close_at <= self.until
    }

    /// Whether a row is left out since its day drifted: the newest flagged days are, at most half of the
    /// days, so that what came before the drift stays the norm as long as possible and a lasting
    /// change is the norm in the end. `flagged` are the days of the segment's feature.
    #[must_use]
    pub fn excludes(&self, flagged: Option<&Vec<i64>>, start: i64) -> bool {
        let Some(flagged) = flagged else { return false };
        let own = floor(start, DAY);
        let newer = flagged.iter().filter(|day| self.contains(**day) && **day > own).count();
        flagged.contains(&own) && newer < usize::from(self.days / 2)
    }
}

impl BaselineName {
    /// The baselines that a configuration asks for, in its order. Pins are no setting: an output
    /// has them.
    pub fn configured(config: &Baselines) -> impl Iterator<Item = Self> + '_ {
        config.rolling_days.iter().map(|&days| Self::Rolling { days })
    }

    /// The days with data that it needs before a window is judged by it.
    #[must_use]
    pub fn needed_days(&self, config: &Baselines) -> u16 {
        match *self {
            Self::Rolling { days } => config.min_days(days),
            Self::Pinned(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn week(day: i64) -> BaselineDays {
        BaselineDays::of(&BaselineName::Rolling { days: 7 }, day * DAY).unwrap()
    }

    #[test]
    fn a_rolling_baseline_holds_what_was_known_of_the_days_before() {
        let week = week(17);
        assert_eq!((week.from(), week.until(), week.count()), (10 * DAY, 17 * DAY, 7));
        let held: Vec<i64> = (0..20).filter(|d| week.takes(d * DAY, (d + 1) * DAY)).collect();
        assert_eq!(held, (10..17).collect::<Vec<_>>());
        assert!(week.contains(12 * DAY) && !week.takes(12 * DAY, 17 * DAY + 1), "known too late");
        assert_eq!(BaselineDays::of(&BaselineName::Pinned("launch".into()), 17 * DAY), None);
        assert_eq!(BaselineDays::of_longest(&Baselines::default(), 40 * DAY).from(), 12 * DAY);
    }

    #[test]
    fn the_newest_flagged_days_are_left_out_up_to_half() {
        let day = |d: i64| d * DAY;
        let flagged: Vec<i64> = (10..17).map(day).collect();
        let left: Vec<i64> = (7..17).filter(|d| week(17).excludes(Some(&flagged), day(*d))).collect();
        assert_eq!(left, [14, 15, 16]);
        assert!(!week(17).excludes(Some(&flagged), day(9)));
        assert!(!week(17).excludes(None, day(16)));
    }

    #[test]
    fn the_configuration_names_the_baselines_and_the_days_they_need() {
        let config = Baselines::default();
        let all: Vec<(String, u16)> =
            BaselineName::configured(&config).map(|n| (n.to_string(), n.needed_days(&config))).collect();
        assert_eq!(all, [("rolling_7d".into(), 4), ("rolling_28d".into(), 14)]);
    }
}

//! The alarm budget: which p-value may page, when an operator states how many false pages a quarter
//! are tolerable.
//!
//! α = share × budget ÷ looks. A rolling window is looked at each time it slides, but windows that
//! overlap contain nearly the same data, so what counts is the number of *effective* looks: c_L for
//! each window length L that passes, whatever the slide (a sixth of the length, an hour at most).
//! c_L was measured on quiet and on shuffled traffic.

use std::time::Duration;

/// The time over which a budget of false pages is stated.
pub const QUARTER: Duration = Duration::from_secs(90 * 24 * 3600);

/// What kind of grouping a stream of windows belongs to. Groupings of several dimensions have many
/// more segments, and incidents are rarely seen best there, so the larger part of the budget goes
/// to the simpler ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dimensions {
    /// All traffic, or one dimension such as `tenant`: three quarters of the budget.
    AtMostOne,
    /// Two or more, such as `model_version` with `region`: one quarter.
    Several,
}

impl Dimensions {
    /// The kind of a grouping by `count` dimensions.
    pub fn of(count: usize) -> Self {
        if count <= 1 { Self::AtMostOne } else { Self::Several }
    }

    /// The part of the budget that the groupings of this kind have together.
    pub fn share(self) -> f64 {
        match self {
            Self::AtMostOne => 0.75,
            Self::Several => 0.25,
        }
    }
}

/// Effective looks for each window length that passes: c_L = max(1, 1.2·(L/3 h)^0.774), since
/// longer windows are looked at more often while they pass.
pub fn looks_per_length(length: Duration) -> f64 {
    (1.2 * (length.as_secs_f64() / (3.0 * 3600.0)).powf(0.774)).max(1.0)
}

/// The level at which a p-value pages.
///
/// - `budget_per_quarter`: false pages that are tolerable in 90 days, over everything that is
///   judged;
/// - `streams`: judged streams (segment × feature × baseline) of this kind of grouping;
/// - `length`: the window's length;
/// - `lengths`: how many window lengths are judged; each has an equal part of the budget.
///
/// In (0, 1] for a positive budget; fewer than one stream or length count as one, and a length of
/// zero gives 0.
pub fn alpha(
    budget_per_quarter: f64,
    dimensions: Dimensions,
    streams: u64,
    length: Duration,
    lengths: usize,
) -> f64 {
    let windows = QUARTER.as_secs_f64() / length.as_secs_f64();
    let looks = looks_per_length(length) * streams.max(1) as f64 * windows * lengths.max(1) as f64;
    (dimensions.share() * budget_per_quarter / looks).min(1.0)
}

/// The level at which a change must exceed its tolerance to count: 0.05 over all looks of this window
/// length in a quarter, at one stream. A stream that lies exactly at its tolerance is called drifting
/// about once in twenty quarters.
///
/// Above [`alpha`], which is shared by all streams: that something changed must be certain among all
/// that is watched; how large the change is, is asked only of what did.
pub fn tolerance_level(length: Duration) -> f64 {
    let looks = looks_per_length(length) * QUARTER.as_secs_f64() / length.as_secs_f64();
    (0.05 / looks).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(h: u64) -> Duration {
        Duration::from_secs(h * 3600)
    }

    /// The measured factors, and how far the curve is from each.
    #[test]
    fn the_curve_is_within_a_tenth_of_the_measured_factors() {
        for (h, measured, most) in [(3, 1.2, 0.001), (6, 2.0, 0.03), (12, 3.2, 0.10), (24, 6.0, 0.001)] {
            let off = looks_per_length(hours(h)) / measured - 1.0;
            assert!((0.0..=most).contains(&(off + 1e-4)), "{h} h: {off:+.3}");
        }
    }

    #[test]
    fn short_windows_count_as_one_look_each() {
        assert_eq!(looks_per_length(Duration::from_secs(1800)), 1.0);
        let level = alpha(1.0, Dimensions::AtMostOne, 1, Duration::from_secs(1800), 1);
        assert!((level - 0.75 / (90.0 * 48.0)).abs() < 1e-15);
    }

    #[test]
    fn the_levels_of_all_looks_add_up_to_the_budget() {
        let lengths = [3, 6, 12, 24].map(hours);
        let mut spent = 0.0;
        for (dimensions, streams) in [(Dimensions::AtMostOne, 40u64), (Dimensions::Several, 900)] {
            for length in lengths {
                let looks = looks_per_length(length) * 90.0 * 24.0 * 3600.0 / length.as_secs_f64();
                spent += alpha(2.0, dimensions, streams, length, lengths.len()) * looks * streams as f64;
            }
        }
        assert!((spent - 2.0).abs() < 1e-12, "spent {spent}");
    }

    #[test]
    fn a_tolerance_is_tested_once_in_twenty_quarters() {
        for length in [hours(6), hours(24)] {
            let looks = looks_per_length(length) * 90.0 * 24.0 * 3600.0 / length.as_secs_f64();
            assert!((tolerance_level(length) * looks - 0.05).abs() < 1e-15);
        }
        assert!(tolerance_level(hours(24)) > alpha(1.0, Dimensions::AtMostOne, 100, hours(24), 3));
        assert_eq!(tolerance_level(Duration::ZERO), 0.0);
    }

    #[test]
    fn several_dimensions_share_a_quarter() {
        assert_eq!(Dimensions::of(0), Dimensions::AtMostOne);
        assert_eq!(Dimensions::of(1), Dimensions::AtMostOne);
        assert_eq!(Dimensions::of(3), Dimensions::Several);
        assert_eq!(Dimensions::AtMostOne.share() + Dimensions::Several.share(), 1.0);
    }

    #[test]
    fn a_level_is_never_above_one_and_never_nan() {
        assert_eq!(alpha(1e9, Dimensions::AtMostOne, 0, hours(24), 0), 1.0);
        assert_eq!(alpha(1.0, Dimensions::AtMostOne, 1, Duration::ZERO, 1), 0.0);
        assert_eq!(alpha(0.0, Dimensions::Several, 1, hours(1), 1), 0.0);
    }
}

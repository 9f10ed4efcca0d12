//! When sessions start: a daily and weekly rhythm per region, and random arrivals.

use std::f64::consts::TAU;

use rand::Rng;
use rand_distr::Exp1;

use super::dimensions::REGIONS;
use super::json::US_PER_DAY;

/// Amplitude of the daily rhythm around its mean.
const SWING: f64 = 0.55;
/// Local hour of peak traffic.
const PEAK_H: f64 = 16.0;
/// Monday first; the mean is 1.
const WEEKDAYS: [f64; 7] = [1.05, 1.05, 1.05, 1.05, 1.05, 0.95, 0.80];
const HOUR_US: f64 = 3_600e6;

/// Traffic of a region at a time, relative to the whole service's weekly mean.
pub(super) fn relative_rate(region: usize, time_us: i64) -> f64 {
    let region = &REGIONS[region];
    let local_us = time_us + (region.utc_offset_h * HOUR_US) as i64;
    let hour = local_us.rem_euclid(US_PER_DAY) as f64 / HOUR_US;
    // 1 January 1970 was a Thursday.
    let weekday = (local_us.div_euclid(US_PER_DAY) + 3).rem_euclid(7) as usize;
    region.share * WEEKDAYS[weekday] * (1.0 + SWING * (TAU * (hour - PEAK_H) / 24.0).cos())
}

/// The starts of sessions in time order: a Poisson process thinned to the rhythm.
#[derive(Debug, Clone)]
pub(super) struct Arrivals {
    /// Candidate sessions per microsecond, at least the rate at any time.
    peak_rate: f64,
    /// Time of the last candidate in microseconds, as a float so that short gaps add up.
    offset_us: f64,
    start_us: i64,
}

impl Arrivals {
    pub(super) fn new(start_us: i64, sessions_per_day: f64) -> Self {
        Self {
            peak_rate: sessions_per_day / US_PER_DAY as f64 * (1.0 + SWING) * 1.05,
            offset_us: 0.0,
            start_us,
        }
    }

    /// Start and region of the next session.
    pub(super) fn next(&mut self, rng: &mut impl Rng) -> (i64, u16) {
        loop {
            let gap: f64 = rng.sample(Exp1);
            self.offset_us += gap / self.peak_rate;
            // Saturates for tiny rates, beyond any allowed duration.
            let time_us = self.start_us.saturating_add(self.offset_us as i64);
            if self.offset_us > 4e18 {
                return (i64::MAX, 0);
            }
            let mut at = rng.random::<f64>() * (1.0 + SWING) * 1.05;
            for region in 0..REGIONS.len() {
                at -= relative_rate(region, time_us);
                if at < 0.0 {
                    return (time_us, region as u16);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_week_of_the_rhythm_averages_to_one() {
        let minutes = 7 * 1_440;
        let sum: f64 =
            (0..minutes).map(|m| (0..3).map(|r| relative_rate(r, m * 60_000_000)).sum::<f64>()).sum();
        assert!((sum / minutes as f64 - 1.0).abs() < 1e-3, "{}", sum / minutes as f64);
    }

    #[test]
    fn arrivals_hold_the_daily_rate_and_peak_by_day() {
        let mut arrivals = Arrivals::new(0, 1_000.0);
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let (mut n, mut day, mut night) = (0, 0, 0);
        loop {
            let (time_us, region) = arrivals.next(&mut rng);
            if time_us >= 28 * US_PER_DAY {
                break;
            }
            n += 1;
            let hour = time_us.rem_euclid(US_PER_DAY) / 3_600_000_000;
            if region == 0 {
                day += u32::from((13..17).contains(&hour));
                night += u32::from((1..5).contains(&hour));
            }
        }
        assert!((27_200..28_800).contains(&n), "{n}");
        assert!(day > 2 * night, "{day} by day, {night} by night");
    }
}

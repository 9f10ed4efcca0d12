//! Which images are sampled: at most so many a minute from each combination of segment values, the
//! first in the log's order.
//!
//! A function of one partition's records, so that live and replay look at the same ones; the counts
//! of recent minutes are part of a commit.

use crate::enrich::Batch;
use crate::enrich::hash::short_hash;
use crate::event::time::{MINUTE, floor};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Minutes of event time whose counts are kept. A request of an earlier one is not sampled.
const MINUTES: usize = 16;

/// Counts of recent minutes, as a commit keeps them: a minute's start with the counts of its
/// strata.
pub type SamplerState = Vec<(i64, Vec<(u64, u32)>)>;

/// The sampler of one partition.
#[derive(Debug, Clone, Default)]
pub struct ImageSampler {
    minutes: BTreeMap<i64, FxHashMap<u64, u32>>,
    names: String,
}

impl ImageSampler {
    /// A sampler as a commit left it.
    #[must_use]
    pub fn restore(state: &SamplerState) -> Self {
        let minutes = state.iter().map(|(m, strata)| (*m, strata.iter().copied().collect())).collect();
        Self { minutes, names: String::new() }
    }

    /// What a commit keeps.
    #[must_use]
    pub fn state(&self) -> SamplerState {
        let sorted = |strata: &FxHashMap<u64, u32>| {
            let mut all: Vec<(u64, u32)> = strata.iter().map(|(s, n)| (*s, *n)).collect();
            all.sort_unstable();
            all
        };
        self.minutes.iter().map(|(m, strata)| (*m, sorted(strata))).collect()
    }

    /// Whether the image of a row is sampled; each row of the batch has `dimensions` dimensions.
    /// It is not when its minute is full, or too long ago.
    pub fn admits(&mut self, batch: &Batch, row: usize, dimensions: usize, per_minute: u32) -> bool {
        let minute = floor(batch.rows[row].time_us, MINUTE);
        if !self.minutes.contains_key(&minute) && self.minutes.len() >= MINUTES {
            // A clock that is years ahead takes only one place.
            if self.minutes.first_key_value().is_some_and(|first| minute < *first.0) {
                return false;
            }
            self.minutes.pop_first();
        }
        self.names.clear();
        for value in &batch.dimensions[row * dimensions..(row + 1) * dimensions] {
            self.names.push_str(value.as_deref().unwrap_or_default());
            self.names.push('\n');
        }
        let stratum = short_hash(self.names.as_bytes());
        let taken = self.minutes.entry(minute).or_default().entry(stratum).or_default();
        if *taken >= per_minute {
            return false;
        }
        *taken += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::Row;
    use crate::event::Stage;

    fn batch(times: &[i64], tenants: &[&str]) -> Batch {
        let mut batch = Batch::default();
        for (time, tenant) in times.iter().zip(tenants) {
            let (stage, session) = (Stage::Generate, 1);
            let (user, request, request_id, opt_out) = (None, 1, 0..0, false);
            batch.rows.push(Row { time_us: *time, stage, session, user, request, request_id, opt_out });
            batch.dimensions.push(Some((*tenant).into()));
        }
        batch
    }

    fn taken(sampler: &mut ImageSampler, batch: &Batch, per_minute: u32) -> Vec<bool> {
        (0..batch.rows.len()).map(|i| sampler.admits(batch, i, 1, per_minute)).collect()
    }

    #[test]
    fn every_minute_of_a_stratum_has_its_cap_also_after_a_restart() {
        let all = batch(&[0, 1, 2, 3, MINUTE, MINUTE + 1], &["a", "a", "b", "a", "a", "b"]);
        let mut whole = ImageSampler::default();
        assert_eq!(taken(&mut whole, &all, 2), [true, true, true, false, true, true]);
        let first = batch(&[0, 1, 2], &["a", "a", "b"]);
        let mut parted = ImageSampler::default();
        taken(&mut parted, &first, 2);
        let mut parted = ImageSampler::restore(&parted.state());
        assert_eq!(taken(&mut parted, &batch(&[3], &["a"]), 2), [false]);
        assert_eq!(parted.state(), {
            let mut s = ImageSampler::default();
            taken(&mut s, &batch(&[0, 1, 2, 3], &["a", "a", "b", "a"]), 2);
            s.state()
        });
    }

    #[test]
    fn counts_of_long_ago_are_dropped_and_such_requests_left_out() {
        let times: Vec<i64> = (0..40).map(|m| m * MINUTE).chain([0, i64::MAX / 2, 39 * MINUTE]).collect();
        let tenants = vec!["a"; times.len()];
        let mut sampler = ImageSampler::default();
        let got = taken(&mut sampler, &batch(&times, &tenants), 5);
        assert!(got[..40].iter().all(|t| *t));
        assert_eq!(got[40..], [false, true, true]);
        assert_eq!(sampler.state().len(), MINUTES);
    }
}

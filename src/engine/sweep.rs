//! Housekeeping: files that no commit names, and files older than their retention.

use super::evaluate::drifting::MOST_HELD_DAYS;
use super::job::Job;
use crate::event::time::{DAY, date};
use crate::store::{Patience, Storage};
use std::collections::BTreeSet;

/// Deletes the files of a folder that `gone` picks by their path. What can't be deleted is logged
/// and tried again next time.
fn delete(storage: &Storage, folder: &str, gone: impl Fn(&str) -> bool) {
    delete_of(storage, folder, |_| gone);
}

/// As [`delete`], where the choice depends on the files that are there.
fn delete_of<G: Fn(&str) -> bool>(storage: &Storage, folder: &str, gone: impl FnOnce(&[String]) -> G) {
    let storage = storage.with(Patience::Once);
    let all = match storage.list(folder) {
        Ok(all) => all,
        Err(error) => return tracing::warn!(folder, %error, "can't look for old files"),
    };
    let gone = gone(&all);
    for path in all.iter().filter(|p| gone(p)) {
        if let Err(error) = storage.delete(path) {
            tracing::warn!(path = %path, %error, "can't delete an old file");
        }
    }
}

/// The first day to keep: `first`, or an earlier one if fewer than `least` later days have data.
/// Age alone must not decide: one leap of the event time, real or of a wrong clock, would make
/// everything old.
fn first_kept<T: Ord>(present: impl Iterator<Item = T>, least: usize, first: T) -> T {
    let newest: BTreeSet<T> = present.collect();
    match newest.into_iter().rev().take(least).last() {
        Some(earliest) => first.min(earliest),
        None => first,
    }
}

/// Days that a length touches.
fn days(length: i64) -> usize {
    usize::try_from(length.div_euclid(DAY) + 2).unwrap_or(usize::MAX)
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The number that a file's name begins with.
fn number(path: &str) -> Option<u64> {
    let name = name(path).trim_start_matches("epoch=");
    name.split(['-', '.']).next()?.parse().ok()
}

/// Deletes what a partition's earlier owners left without a commit: staged files, and open panes
/// other than `open`, of epochs below the claim. Later ones belong to the process that took over
/// the partition since, if this one has slept in between.
pub fn after_partition_claim(job: &Job, partition: i32, claim: u64, open: Option<&str>) {
    let prefix = format!("p{partition:05}-");
    let staged = |p: &str| name(p).strip_prefix(&prefix).and_then(number).is_some_and(|n| n < claim);
    delete(&job.storage, "_staged", staged);
    let folder = format!("_open/{}/partition={partition:05}", job.name);
    delete(&job.storage, &folder, |p| Some(p) != open && number(p).is_some_and(|n| n < claim));
}

/// Deletes what earlier evaluators left without a commit, of epochs below the claim.
pub fn after_evaluator_claim(job: &Job, claim: u64) {
    let epoch = |p: &str| match name(p) {
        days if p.contains("/_days/") => days.split('-').nth(2).and_then(number),
        other => number(other),
    };
    delete(&job.storage, "_staged", |p| !name(p).starts_with('p') && epoch(p).is_some_and(|n| n < claim));
}

/// Deletes what no restart and no baseline can need any more, at the event time `at`.
pub fn outlived(job: &Job, at: i64, partitions: &[(i32, u64)], evaluator_head: u64) {
    let config = &job.settings.config;
    let day = |p: &str| p.split('/').find_map(|s| s.strip_prefix("date=")).map(str::to_owned);
    delete_of(&job.storage, "panes", |all| {
        let present = all.iter().filter_map(|p| day(p));
        let first =
            first_kept(present, days(config.output.keep_panes.0), date(at - config.output.keep_panes.0));
        move |p: &str| day(p).is_some_and(|d| d < first)
    });
    // What drifts may be held at baselines that are so much older.
    let held = if config.baselines.exclude_drifted { MOST_HELD_DAYS } else { 0 };
    let longest = i64::from(config.baselines.longest_days()) + held;
    // Windows that began days ago are judged by the baselines of the day in which they began.
    let reach = config.windows.rolling.iter().map(|r| r.length()).max().unwrap_or(0) + 2 * DAY;
    let last = |p: &str| name(p).split('-').nth(1).and_then(|n| n.parse::<i64>().ok());
    delete_of(&job.storage, &job.days_folder(), |all| {
        let present = all.iter().filter_map(|p| last(p));
        let first = first_kept(present, days(longest * DAY + reach), at - longest * DAY - reach);
        move |p: &str| last(p).is_some_and(|last| last < first)
    });
    for &(partition, keep_from) in partitions {
        let old = |p: &str| number(p).is_some_and(|n| n < keep_from);
        delete(&job.storage, &format!("_panes/{}/partition={partition:05}", job.name), old);
        delete(&job.storage, &job.partition_chain(partition), old);
    }
    // A few manifests stay, to show what happened.
    delete(&job.storage, &job.evaluator_chain(), |p| number(p).is_some_and(|n| n + 20 < evaluator_head));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_of_time_makes_nothing_old() {
        let kept = |present: &[i64], first| first_kept(present.iter().copied(), 3, first);
        assert_eq!(kept(&[1, 2, 3, 4, 5, 6], 4), 4, "as long as days follow each other, age decides");
        assert_eq!(kept(&[1, 2, 3, 4, 5, 900], 898), 4, "the newest three stay, whatever the distance");
        assert_eq!(kept(&[1, 2], 898), 1);
        assert_eq!(kept(&[], 898), 898);
    }

    #[test]
    fn names_tell_their_numbers() {
        assert_eq!(number("_panes/job/partition=00001/000000000012-ab.parquet"), Some(12));
        assert_eq!(number("_chain/job/partition=00001/epoch=000000000007.json"), Some(7));
        assert_eq!(number("_panes/job/x.parquet"), None);
    }
}

//! What drifts, remembered: which days leave the later baselines, and which segments' features are
//! held at the baselines of the day before their drift began.
//!
//! All of it follows from the windows' verdicts, and not from rules: rules can be tried on history
//! without computing windows again.

use crate::event::time::{DAY, floor};
use crate::window::Segment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Days after which what was held becomes normal.
pub const MOST_HELD_DAYS: i64 = 28;
/// Windows of one length that a day must have judged before it can leave the baselines.
const FEW_JUDGED: u32 = 3;

/// A segment's feature.
pub type SegmentFeature = (Segment, usize);

/// A segment's feature that is held at earlier baselines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSince {
    /// The day whose baselines are kept: that in which the first window that drifted began.
    pub day: i64,
    /// End of the last window that drifted.
    pub last: i64,
    /// From which day on it is held no longer.
    pub until: Option<i64>,
}

/// Windows of one length that were judged in a day, and of these those that drifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Judged {
    /// All.
    pub judged: u32,
    /// Those that drifted.
    pub drifted: u32,
}

/// Why a row of `exclusions` was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExclusionReason {
    /// Most of the day's windows of one length drifted.
    Drifted,
    /// The day is part of a drift that the longest windows found.
    Incident,
    /// The drift has lasted [`MOST_HELD_DAYS`]: it is the normal now, and no day leaves.
    NewNormal,
}

impl ExclusionReason {
    /// Its name in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Drifted => "drifted",
            Self::Incident => "incident",
            Self::NewNormal => "new_normal",
        }
    }
}

/// A day that leaves the baselines of a stream, or a stream that has a new normal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftedDay {
    /// The stream.
    pub stream: SegmentFeature,
    /// The day.
    pub day: i64,
    /// The windows that decided it.
    pub judged: Judged,
    /// Why.
    pub reason: ExclusionReason,
}

/// The memory of drifts.
#[derive(Debug, Default)]
pub struct DriftMemory {
    /// Length of the longest windows, microseconds.
    longest: i64,
    /// Windows judged in the current day, by stream and window length.
    today: BTreeMap<(SegmentFeature, i64), Judged>,
    /// What is held, and what was released so recently that windows are still judged by it; oldest
    /// first, so that only the last can be held.
    held: BTreeMap<SegmentFeature, Vec<HeldSince>>,
}

impl DriftMemory {
    /// A memory for windows of which the longest are `longest` microseconds long.
    #[must_use]
    pub fn new(
        longest: i64,
        today: impl IntoIterator<Item = ((SegmentFeature, i64), Judged)>,
        held: impl IntoIterator<Item = (SegmentFeature, HeldSince)>,
    ) -> Self {
        let mut by_stream: BTreeMap<SegmentFeature, Vec<HeldSince>> = BTreeMap::new();
        for (stream, since) in held {
            by_stream.entry(stream).or_default().push(since);
        }
        Self { longest, today: today.into_iter().collect(), held: by_stream }
    }

    /// Windows judged in the current day.
    pub fn today(&self) -> impl Iterator<Item = (&(SegmentFeature, i64), &Judged)> {
        self.today.iter()
    }

    /// What is or was recently held; of one stream, the oldest first.
    pub fn held(&self) -> impl Iterator<Item = (&SegmentFeature, &HeldSince)> {
        self.held.iter().flat_map(|(stream, all)| all.iter().map(move |held| (stream, held)))
    }

    /// Whether nothing was judged in the current day.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.today.is_empty()
    }

    /// Notes a window of `start..end` that was judged against a baseline of days. Returns the day at
    /// whose baselines its stream is held from now on, where it was not before; `accepted` says when
    /// the stream was accepted, if it was within the days of the shortest baseline.
    pub fn observe(
        &mut self,
        stream: &SegmentFeature,
        (start, end): (i64, i64),
        drifts: bool,
        accepted: impl FnOnce() -> bool,
    ) -> Option<i64> {
        let counts = self.today.entry((stream.clone(), end - start)).or_default();
        counts.judged += 1;
        counts.drifted += u32::from(drifts);
        if !drifts || end - start != self.longest {
            return None;
        }
        let newest = self.held.get_mut(stream).and_then(|all| all.last_mut());
        if let Some(held) = newest.filter(|held| held.until.is_none()) {
            held.last = end;
            return None;
        }
        if accepted() {
            // The baseline is a mixture of before and after until it has only days after.
            return None;
        }
        let day = floor(start, DAY);
        self.held.entry(stream.clone()).or_default().push(HeldSince { day, last: end, until: None });
        Some(day)
    }

    /// Ends the day before `t`: the days that leave the baselines from now on, in order. `is_known`
    /// says whether a day has left them before.
    pub fn close_day(&mut self, t: i64, is_known: impl Fn(&SegmentFeature, i64) -> bool) -> Vec<DriftedDay> {
        let mut out = Vec::new();
        let mut best: BTreeMap<SegmentFeature, Judged> = BTreeMap::new();
        let mut of_longest: BTreeMap<SegmentFeature, Judged> = BTreeMap::new();
        for ((stream, length), judged) in std::mem::take(&mut self.today) {
            if length == self.longest {
                of_longest.insert(stream.clone(), judged);
            }
            if judged.judged >= FEW_JUDGED && 2 * judged.drifted > judged.judged {
                best.entry(stream).or_insert(judged);
            }
        }
        for (stream, judged) in best {
            out.push(DriftedDay { stream, day: t - DAY, judged, reason: ExclusionReason::Drifted });
        }
        for (stream, held) in self.held().filter(|(_, h)| h.until.is_none() && h.last > t - DAY) {
            let mut day = held.day;
            while day < t {
                let noted = out.iter().any(|d| d.day == day && d.stream == *stream);
                if !noted && !is_known(stream, day) {
                    let reason = ExclusionReason::Incident;
                    // What was judged on earlier days is not known any more.
                    let judged = if day == t - DAY { of_longest.get(stream).copied() } else { None };
                    let judged = judged.unwrap_or_default();
                    out.push(DriftedDay { stream: stream.clone(), day, judged, reason });
                }
                day += DAY;
            }
        }
        out.sort_by(|a, b| (&a.stream, a.day).cmp(&(&b.stream, b.day)));
        out
    }

    /// Releases what is no longer held from the day that begins at `t`: what was accepted since, what
    /// has not drifted for a day and has enough clean days, and what has lasted [`MOST_HELD_DAYS`].
    /// Returns the last.
    pub fn release(
        &mut self,
        t: i64,
        accepted: impl Fn(&SegmentFeature) -> Option<i64>,
        has_clean_days: impl Fn(&SegmentFeature) -> bool,
    ) -> Vec<DriftedDay> {
        let mut normal = Vec::new();
        let newest = self.held.iter_mut().filter_map(|(stream, all)| Some((stream, all.last_mut()?)));
        for (stream, held) in newest.filter(|(_, held)| held.until.is_none()) {
            let lasted = t - held.day >= MOST_HELD_DAYS * DAY;
            let over = held.last <= t - DAY && has_clean_days(stream);
            if over || lasted || accepted(stream).is_some_and(|at| at > held.day) {
                held.until = Some(t);
            }
            if lasted && held.last > t - DAY {
                let (judged, reason) = (Judged::default(), ExclusionReason::NewNormal);
                normal.push(DriftedDay { stream: stream.clone(), day: t - DAY, judged, reason });
            }
        }
        // Windows that began before it was released are judged by the baselines of their day.
        let reach = self.longest + 2 * DAY;
        self.held.retain(|_, all| {
            all.retain(|held| held.until.is_none_or(|until| until > t - reach));
            !all.is_empty()
        });
        normal
    }

    /// The streams that are held at earlier baselines in windows that start in the day beginning at
    /// `day`, with the day whose baselines they keep: the earliest, where two drifts of a stream
    /// follow each other so closely that both apply.
    pub fn held_in(&self, day: i64) -> impl Iterator<Item = (&SegmentFeature, i64)> {
        let applies = move |held: &&HeldSince| held.day < day && held.until.is_none_or(|until| day < until);
        self.held
            .iter()
            .filter_map(move |(stream, all)| Some((stream, all.iter().filter(applies).map(|h| h.day).min()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> SegmentFeature {
        (Segment { grouping: 0, name: "".into() }, 0)
    }

    fn memory() -> DriftMemory {
        DriftMemory::new(DAY, [], [])
    }

    /// Windows of a day that end every hour of the day after `day`.
    fn days_windows(m: &mut DriftMemory, day: i64, drifts: bool) {
        for hour in 1..=24 {
            let end = (day + 1) * DAY + hour * DAY / 24;
            m.observe(&stream(), (end - DAY, end), drifts, || false);
        }
    }

    fn close(m: &mut DriftMemory, day: i64, known: &[i64]) -> Vec<(i64, ExclusionReason)> {
        let out = m.close_day(day * DAY, |_, d| known.contains(&(d / DAY)));
        out.into_iter().map(|d| (d.day / DAY, d.reason)).collect()
    }

    #[test]
    fn any_length_of_windows_can_vote_a_day_out() {
        let mut m = memory();
        for i in 0..48 {
            let end = 10 * DAY + i * DAY / 48;
            m.observe(&stream(), (end - DAY / 48, end), false, || false);
            if i % 12 == 0 {
                m.observe(&stream(), (end - DAY / 4, end), i > 0, || false);
            }
        }
        assert_eq!(close(&mut m, 11, &[]), [(10, ExclusionReason::Drifted)], "three of four, not of 52");
        assert!(m.is_empty());
        assert_eq!(m.held().count(), 0, "only the longest windows hold");
        m.observe(&stream(), (11 * DAY, 11 * DAY + DAY / 4), true, || false);
        assert_eq!(close(&mut m, 12, &[]), [], "one window is too little to vote");
    }

    #[test]
    fn a_drift_is_held_at_the_baselines_of_the_day_in_which_it_began_until_clean_days_came() {
        let mut m = memory();
        let noon = 11 * DAY + DAY / 2;
        assert_eq!(m.observe(&stream(), (noon - DAY, noon), true, || false), Some(10 * DAY));
        assert_eq!(m.observe(&stream(), (noon - DAY, noon), true, || false), None, "it is held already");
        assert_eq!(m.held_in(10 * DAY).count(), 0);
        assert_eq!(m.held_in(11 * DAY).map(|h| h.1).collect::<Vec<_>>(), [10 * DAY]);
        let left = m.close_day(12 * DAY, |_, _| false);
        assert!(left.iter().all(|d| d.reason == ExclusionReason::Incident));
        assert_eq!(
            left.iter().map(|d| (d.day / DAY, d.judged.drifted)).collect::<Vec<_>>(),
            [(10, 0), (11, 2)]
        );
        let released = |m: &mut DriftMemory, day: i64, clean: bool| {
            let normal = m.release(day * DAY, |_| None, |_| clean);
            assert_eq!(normal, []);
            m.held_in(day * DAY).count() == 0
        };
        assert!(!released(&mut m, 12, true), "it drifted within a day");
        days_windows(&mut m, 11, false);
        assert_eq!(close(&mut m, 13, &[10, 11]), []);
        assert!(!released(&mut m, 13, false), "too few clean days");
        assert!(released(&mut m, 14, true));
        assert_eq!(m.held_in(13 * DAY).count(), 1, "windows that began before keep it");
        assert!(released(&mut m, 20, true));
        assert_eq!(m.held().count(), 0, "forgotten");
    }

    /// A restart builds the baselines of the last days again, from this memory.
    #[test]
    fn a_drift_that_comes_back_leaves_what_windows_before_it_were_held_at() {
        let mut m = memory();
        days_windows(&mut m, 10, true);
        days_windows(&mut m, 11, false);
        days_windows(&mut m, 12, false);
        m.release(14 * DAY, |_| None, |_| true);
        let held_at = |m: &DriftMemory, day: i64| m.held_in(day * DAY).map(|h| h.1 / DAY).next();
        assert_eq!([13, 14].map(|d| held_at(&m, d)), [Some(10), None]);
        let (start, end) = (13 * DAY + DAY / 2, 14 * DAY + DAY / 2);
        assert_eq!(m.observe(&stream(), (start, end), true, || false), Some(13 * DAY));
        let again = DriftMemory::new(DAY, [], m.held().map(|(s, h)| (s.clone(), *h)));
        for m in [&m, &again] {
            assert_eq!([11, 13, 14, 15].map(|d| held_at(m, d)), [Some(10), Some(10), Some(13), Some(13)]);
        }
        m.release(20 * DAY, |_| None, |_| true);
        assert_eq!(held_at(&m, 15), Some(13), "released now, the older is forgotten");
        assert_eq!(m.held().count(), 1);
    }

    #[test]
    fn what_lasts_becomes_normal_and_what_was_accepted_at_once() {
        let mut m = memory();
        for day in 10..40 {
            days_windows(&mut m, day, true);
            let normal = m.release((day + 2) * DAY, |_| None, |_| true);
            assert_eq!(normal.len(), usize::from(day + 2 == 10 + MOST_HELD_DAYS), "{day}");
            if !normal.is_empty() {
                assert_eq!(normal[0].reason, ExclusionReason::NewNormal);
                break;
            }
        }
        let mut m = memory();
        days_windows(&mut m, 10, true);
        assert_eq!(m.release(12 * DAY, |_| Some(9 * DAY), |_| true), [], "accepted before");
        assert_eq!(m.held_in(12 * DAY).count(), 1);
        assert_eq!(m.release(13 * DAY, |_| Some(12 * DAY), |_| false), []);
        assert_eq!(m.held_in(13 * DAY).count(), 0);
        let (end, accepted) = (14 * DAY, true);
        assert_eq!(m.observe(&stream(), (end - DAY, end), true, || accepted), None);
        assert_eq!(m.observe(&stream(), (end - DAY, end), true, || false), Some(13 * DAY));
    }
}

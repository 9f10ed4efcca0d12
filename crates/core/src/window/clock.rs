//! Which clocks are trusted: which of a partition's records the watermark follows, and which are
//! too far ahead of it.
//!
//! A record more than a leap (an hour, or the lateness if that is longer) ahead of what came before
//! is *ahead*: a wrong clock, or the first record after a pause of the traffic. Only the records
//! that follow can decide, so it is kept apart, with all others in its pane, until they have:
//!
//! - [`ClockLimits::agree`] records have come since that are not behind it: the traffic has moved
//!   there, and the watermark follows.
//! - As many were behind it, and not late themselves: it was a wrong clock, and the watermark never
//!   saw it. An event more than a day ahead is then refused. One that is less far ahead is kept at
//!   its time, where it waits and does no harm.
//! - The others have reached its time: then it is kept, too.
//!
//! The first records of a partition have nothing before them and are kept apart, too, because a
//! burst of wrong clocks may be at the start as well. Everything here is a function of the
//! partition's records in the order of their offsets.

use super::watermark::{MEDIAN_OF, Watermark, WatermarkState};
use crate::event::time::{DAY, HOUR, floor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The shortest leap.
const LEAP: i64 = HOUR;
/// An event whose clock turned out to be wrong is kept if it is at most this far ahead.
const KEPT: i64 = DAY;
/// The largest distance between the last records of an input, however dense the others are.
const STEP: i64 = 2 * HOUR;
/// The longest pause before the end of an input that is believed: between two files there may be
/// years, and decades are likelier to be wrong clocks.
const PAUSE: i64 = 1_000 * DAY;
/// This many records behind one that is ahead refute it, unless they are fewer than those that are
/// not behind: some stragglers from before a pause must not refute it, nor a minority of clocks
/// that are behind.
const BACK: u32 = MEDIAN_OF as u32;

/// Lengths and numbers that decide which times are confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockLimits {
    /// Length of a pane.
    pub pane: i64,
    /// Lateness of the watermark.
    pub lateness: i64,
    /// Records that confirm a leap.
    pub agree: u32,
}

impl ClockLimits {
    fn leap(&self) -> i64 {
        LEAP.max(self.lateness)
    }
}

/// How far beyond the confirmed time open panes are taken out when nothing more is expected for
/// now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The partition is silent and may continue in a minute: what follows would be late.
    Idle,
    /// Its input is over. A time with only a few records is left undecided, for further input.
    Ended,
}

/// A record that is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRecord {
    /// Its offset.
    pub offset: i64,
    /// Its event time.
    pub time: i64,
    /// Whether its user opted out.
    pub opt_out: bool,
    /// Whether it was counted as an event.
    pub counted: bool,
    /// Whether its pane was taken out since; then it can't be refused any more.
    pub taken: bool,
}

/// A pane ahead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct PaneAhead {
    /// Records since its first one that are not behind it, but for the lateness; its own included.
    agree: u32,
    /// Records since that are behind it by a leap, and not behind the confirmed time of then.
    back: u32,
    /// The confirmed time when its first record came: records behind that would be late in any
    /// case, and refute nothing.
    #[serde(default)]
    level: Option<i64>,
    records: Vec<SeenRecord>,
}

impl PaneAhead {
    fn is_refuted(&self) -> bool {
        self.back >= BACK.max(self.agree)
    }
}

/// Where a record belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// With the others.
    Open,
    /// Apart, in the pane of its time.
    Apart {
        /// Whether it counts as an event already.
        counted: bool,
    },
}

/// What became of a pane ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledPane {
    /// Its start.
    pub start: i64,
    /// Its records.
    pub records: Vec<SeenRecord>,
    /// Whether it joins the others, or is refused.
    pub kept: bool,
}

/// What is taken out when nothing more is expected for now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlushDecision {
    /// The start of the last pane ahead that is taken out, with all before it.
    pub last: Option<i64>,
    /// Records of these that were not counted as events yet.
    pub counted: Vec<SeenRecord>,
    /// Records beyond that time that were observed before it was known that they are far ahead.
    pub uncounted: Vec<SeenRecord>,
    /// Where the watermark would be if the records taken out were believed; `None` before there are
    /// enough.
    pub likely: Option<i64>,
}

/// The state of a partition's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionClock {
    limits: ClockLimits,
    watermark: Watermark,
    /// Panes ahead, by their start.
    ahead: BTreeMap<i64, PaneAhead>,
    /// Records since the last one ahead, as far as the median reaches.
    since: usize,
    /// The newest event time that is believed; before the first, the last one seen.
    newest: i64,
    /// The latest event that was kept, though refuted, before anything was confirmed: a file whose
    /// newest records come first.
    kept: Option<i64>,
}

/// A clock at rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionClockState {
    ahead: Vec<(i64, PaneAhead)>,
    since: usize,
    newest: i64,
    #[serde(default)]
    kept: Option<i64>,
}

impl PartitionClock {
    /// A clock before any record.
    #[must_use]
    pub fn new(limits: ClockLimits) -> Self {
        let watermark = Watermark::new(limits.lateness);
        Self { limits, watermark, ahead: BTreeMap::new(), since: 0, newest: 0, kept: None }
    }

    /// Rebuilds a clock from a [`PartitionClock::state`].
    #[must_use]
    pub fn restore(watermark: &WatermarkState, state: &PartitionClockState, limits: ClockLimits) -> Self {
        let watermark = Watermark::restore(watermark, limits.lateness);
        let newest = state.newest.max(watermark.level().unwrap_or(0));
        let (ahead, since) = (state.ahead.iter().cloned().collect(), state.since.min(MEDIAN_OF));
        Self { limits, watermark, ahead, since, newest, kept: state.kept }
    }

    /// What a checkpoint keeps.
    #[must_use]
    pub fn state(&self) -> (WatermarkState, PartitionClockState) {
        let ahead = self.ahead.iter().map(|(start, s)| (*start, s.clone())).collect();
        let state = PartitionClockState { ahead, since: self.since, newest: self.newest, kept: self.kept };
        (self.watermark.state(), state)
    }

    /// The watermark, microseconds.
    #[must_use]
    pub fn watermark(&self) -> i64 {
        self.watermark.get()
    }

    /// The time of most of the recent events; `None` before there are enough.
    #[must_use]
    pub fn median(&self) -> Option<i64> {
        self.watermark.median()
    }

    /// The newest event time that is believed.
    #[must_use]
    pub fn newest(&self) -> i64 {
        self.newest
    }

    /// Whether records are kept apart.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Records that count neither as events nor as refused yet.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.ahead.values().flat_map(|s| &s.records).filter(|r| !r.counted).count()
    }

    /// The latest event time of a record that its broker took at `appended`.
    #[must_use]
    pub fn latest(&self, appended: i64) -> i64 {
        appended.saturating_add(self.limits.leap())
    }

    /// Observes a record. The time of one that is `vouched` for is bounded by the broker's clock:
    /// it is confirmed at once.
    pub fn see(&mut self, mut record: SeenRecord, vouched: bool) -> Placement {
        let start = floor(record.time, self.limits.pane);
        let level = self.watermark.level();
        let near = vouched || level.is_some_and(|l| start <= l.saturating_add(self.limits.leap()));
        if near {
            self.watermark.observe(record.time);
            self.newest = if level.is_none() { record.time } else { self.newest.max(record.time) };
            self.since = MEDIAN_OF.min(self.since + 1);
            if self.ahead.is_empty() {
                return Placement::Open;
            }
        } else {
            self.since = 0;
            if level.is_none() {
                self.newest = record.time;
            }
            record.counted = level.is_none_or(|l| start <= l.saturating_add(KEPT));
            let standing =
                self.ahead.entry(start).or_insert_with(|| PaneAhead { level, ..PaneAhead::default() });
            standing.records.push(record);
        }
        let leap = self.limits.leap();
        for (at, standing) in &mut self.ahead {
            if record.time >= at.saturating_sub(self.limits.lateness) {
                standing.agree = standing.agree.saturating_add(1);
            } else if record.time < at.saturating_sub(leap)
                && standing.level.is_none_or(|l| record.time >= l.saturating_sub(leap))
            {
                standing.back = standing.back.saturating_add(1);
            }
        }
        if near { Placement::Open } else { Placement::Apart { counted: record.counted } }
    }

    /// What a record, of event time `time`, has settled.
    pub fn settled(&mut self, time: i64) -> Vec<SettledPane> {
        let mut out = Vec::new();
        if self.ahead.is_empty() {
            return out;
        }
        let base = self.watermark.level().unwrap_or(time);
        let refuted = self.ahead.extract_if(.., |_, s| s.is_refuted());
        out.extend(refuted.map(|(start, s)| {
            let kept = start <= base.saturating_add(KEPT);
            SettledPane { start, records: s.records, kept }
        }));
        if self.watermark.level().is_none() {
            let kept = out.iter().filter(|s| s.kept).flat_map(|s| &s.records).map(|r| r.time).max();
            self.kept = self.kept.max(kept);
        }
        if let Some((start, _)) = self.ahead.iter().rev().find(|(_, s)| s.agree >= self.limits.agree) {
            self.watermark.raise(*start);
            self.catch_up();
        }
        // The times that the others have come close to. Observed records alone don't decide: of two
        // clocks, one that is ahead by more than a leap must not count as soon as the other reaches
        // it.
        let reach = self.watermark.level().map_or(i64::MIN, |l| l.saturating_add(self.limits.leap()));
        let near = self.ahead.extract_if(..=reach, |_, _| true);
        out.extend(near.map(|(start, s)| SettledPane { start, records: s.records, kept: true }));
        out
    }

    /// The traffic has moved there: the watermark follows it, record by record in their order.
    fn catch_up(&mut self) {
        if self.watermark.seen() == 0 {
            self.newest = i64::MIN;
        }
        let mut records: Vec<SeenRecord> = self.records().copied().collect();
        records.sort_unstable_by_key(|r| r.offset);
        for r in &records {
            let level = self.watermark.level().unwrap_or(i64::MIN);
            if floor(r.time, self.limits.pane) <= level.saturating_add(self.limits.leap()) {
                self.watermark.observe(r.time);
                self.newest = self.newest.max(r.time);
            }
        }
        self.newest = self.newest.max(0);
    }

    /// The start of the last pane ahead that is taken out when nothing more is expected for now.
    /// `None` when none is.
    fn last_within(&self, reach: Reach) -> Option<i64> {
        let mut at = match self.watermark.level() {
            Some(level) => level,
            None => {
                let mut times: Vec<i64> = self.records().map(|r| r.time).collect();
                times.sort_unstable();
                *times.get(times.len() / 2)?
            }
        };
        let step = match reach {
            Reach::Idle => KEPT,
            Reach::Ended => self.step(at),
        };
        let mut beyond: usize = self.ahead.range(at..).map(|(_, s)| s.records.len()).sum();
        let mut last = None;
        for (start, standing) in &self.ahead {
            let gap = start.saturating_sub(at);
            // A pause before the end of an input is confirmed if enough records come after it.
            let believed = reach == Reach::Ended && gap <= PAUSE && beyond >= MEDIAN_OF;
            if gap > step && !believed {
                break;
            }
            if *start >= at {
                beyond = beyond.saturating_sub(standing.records.len());
            }
            at = at.max(*start);
            last = Some(*start);
        }
        last
    }

    /// The largest distance between the last records of an input; larger where events are rare.
    fn step(&self, level: i64) -> i64 {
        let before = self.watermark.recent().chain(self.records().map(|r| r.time)).filter(|t| *t <= level);
        let (n, first) = before.fold((0, level), |(n, first), t| (n + 1, first.min(t)));
        STEP.max(4 * (level - first) / (n - 1).max(1))
    }

    fn records(&self) -> impl Iterator<Item = &SeenRecord> {
        self.ahead.values().flat_map(|s| &s.records)
    }

    /// Nothing more is expected for now.
    pub fn quiet(&mut self, reach: Reach) -> FlushDecision {
        let last = self.last_within(reach);
        let mut out = FlushDecision { last, ..FlushDecision::default() };
        let mut taken: Vec<SeenRecord> = Vec::new();
        for (start, standing) in &mut self.ahead {
            let takes = last.is_some_and(|last| *start <= last);
            for r in &mut standing.records {
                match (r.counted, takes) {
                    (false, true) => out.counted.push(*r),
                    (true, false) if !r.taken => out.uncounted.push(*r),
                    _ => {}
                }
                r.counted = takes || r.taken;
                r.taken |= takes;
                if takes {
                    taken.push(*r);
                }
            }
        }
        let stands = match reach {
            Reach::Idle => {
                taken.sort_unstable_by_key(|r| r.offset);
                // Records that came since are among the last ones.
                let from = taken.len().saturating_sub(MEDIAN_OF - self.since);
                let mut times: Vec<i64> =
                    self.watermark.recent().chain(taken[from..].iter().map(|r| r.time)).collect();
                let mut times = times.split_off(times.len().saturating_sub(MEDIAN_OF));
                let median = (times.len() == MEDIAN_OF).then(|| *times.select_nth_unstable(MEDIAN_OF / 2).1);
                median.map(|at| at.saturating_sub(self.limits.lateness))
            }
            // Nothing follows that could be late: the input is evaluated to its end, even if others
            // share its traffic.
            Reach::Ended => {
                let seen = self.watermark.level().map(|_| self.newest);
                taken.iter().map(|r| r.time).max().max(seen).max(self.kept)
            }
        };
        out.likely = stands.map(|at| self.watermark().max(at));
        out
    }
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;

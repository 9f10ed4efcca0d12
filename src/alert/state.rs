//! The state of every alert: a pure function of event times and outcomes, step by step.
//!
//! ```text
//!            holds               held `for`               quiet `keep_firing_for`
//! (inactive) ─────► pending ─────────────────► firing ───────────────────────────► resolved (leaves the book)
//!                     │ holds not                ▲ │ silent `stale_after`               ▲
//!                     ▼                    holds │ ▼                                    │
//!                  resolved, never fired        stale ──────────────────────────────────┘ quiet
//! ```
//! A transition is a row. A pending one that ends gets a row too (resolved with `firing_since` null, or stale), so that an
//! alert's last row in the table is what became of it; nobody is told of those ([`AlertRow::notifies`]). A row that could not be
//! judged changes nothing: not the time an alert has held or been quiet, only its silence grows.

use super::row::{AlertRow, AlertState};
use super::rule::{Outcome, RuleInfo};
use super::summary;
use crate::event::time::DAY;
use crate::store::rows::WindowRow;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::sync::Arc;

/// Silence after which a stale alert leaves the book, so that retired segments don't stay in it forever. No row says so: stale is
/// its last word, and should the condition hold again after that, it is a new alert.
const FORGET_AFTER: i64 = 28 * DAY;

/// One rule's outcome for one row.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The rule.
    pub rule: &'a RuleInfo,
    /// The row that it looked at.
    pub row: &'a WindowRow,
    /// What it found.
    pub outcome: Outcome,
}

/// What makes an alert this one, apart from when it began.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    rule: Arc<str>,
    segment_by: Arc<str>,
    /// By what does not change.
    segment: Arc<str>,
    feature: Arc<str>,
    window: Arc<str>,
    baseline: Arc<str>,
}

impl Key {
    fn of(o: &Observation<'_>) -> Self {
        let r = o.row;
        Self {
            rule: o.rule.name.clone(),
            segment_by: r.segment_by.clone(),
            segment: r.identity.clone(),
            feature: r.feature.clone(),
            window: r.window.clone(),
            baseline: r.baseline.clone(),
        }
    }

    fn of_row(r: &AlertRow) -> Self {
        let segment = if r.identity.is_empty() { &r.segment } else { &r.identity };
        Self {
            rule: r.rule.as_str().into(),
            segment_by: r.segment_by.as_str().into(),
            segment: segment.as_str().into(),
            feature: r.feature.as_str().into(),
            window: r.window.as_str().into(),
            baseline: r.baseline.as_str().into(),
        }
    }
}

/// An alert that is pending, firing or stale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Open {
    /// Its last row but for staleness: the window at which it became pending, or fired.
    row: AlertRow,
    /// When a row of it was last judged.
    judged: i64,
    /// The first evaluation since which its condition has not held.
    quiet_since: Option<i64>,
}

/// All alerts that are not inactive. A checkpoint is its serde form; one read back goes on exactly as it would have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertBook {
    at: Option<i64>,
    #[serde(serialize_with = "write_open", deserialize_with = "read_open")]
    open: BTreeMap<Key, Open>,
}

fn write_open<S: Serializer>(open: &BTreeMap<Key, Open>, s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(open.values())
}

fn read_open<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<Key, Open>, D::Error> {
    Ok(Vec::<Open>::deserialize(d)?.into_iter().map(|o| (Key::of_row(&o.row), o)).collect())
}

impl AlertBook {
    /// A book without alerts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Alerts in one state.
    #[must_use]
    pub fn count(&self, state: AlertState) -> usize {
        self.open.values().filter(|o| o.row.state == state).count()
    }

    /// The rows that brought the open alerts where they are, in the order of their keys.
    pub fn open(&self) -> impl Iterator<Item = &AlertRow> {
        self.open.values().map(|o| &o.row)
    }

    /// The time of the last step.
    #[must_use]
    pub fn at(&self) -> Option<i64> {
        self.at
    }

    /// Whether an observation can change anything: what does not need not be kept until the step.
    #[must_use]
    pub fn concerns(&self, o: &Observation<'_>) -> bool {
        match o.outcome {
            Outcome::Holds => true,
            Outcome::HoldsNot => !self.open.is_empty() && self.open.contains_key(&Key::of(o)),
            Outcome::NotJudged => false,
        }
    }

    /// Takes what was observed at one evaluation time and returns the transitions, ordered by rule, segment, feature, window and
    /// baseline. `at` and `stale_after` are microseconds of event time. Called in the order of `at`, several times for one `at`
    /// where that suits; a time before the last changes nothing, since what was said is not unsaid. `stale_after` should not be
    /// shorter than the longest slide, or alerts go stale between two windows.
    pub fn step(&mut self, at: i64, stale_after: i64, observed: &[Observation<'_>]) -> Vec<AlertRow> {
        if self.at.is_some_and(|last| at < last) {
            return Vec::new();
        }
        self.at = Some(at);
        let mut out = Vec::new();
        for o in observed {
            match o.outcome {
                Outcome::Holds => out.extend(self.holds(at, o)),
                Outcome::HoldsNot => out.extend(self.holds_not(at, o)),
                Outcome::NotJudged => {}
            }
        }
        out.extend(self.silence(at, stale_after));
        out.sort_by_cached_key(Key::of_row);
        out
    }

    fn holds(&mut self, at: i64, o: &Observation<'_>) -> Option<AlertRow> {
        match self.open.entry(Key::of(o)) {
            Slot::Vacant(slot) => {
                let state = if o.rule.hold <= 0 { AlertState::Firing } else { AlertState::Pending };
                let mut row = AlertRow::new(o.rule, state, o.row, at, at);
                row.firing_since = (state == AlertState::Firing).then_some(at);
                row.summary = summary::about_window(&row, o.row);
                slot.insert(Open { row: row.clone(), judged: at, quiet_since: None });
                Some(row)
            }
            Slot::Occupied(mut slot) => {
                let open = slot.get_mut();
                (open.judged, open.quiet_since) = (at, None);
                let since = open.row.pending_since;
                let due = match open.row.state {
                    AlertState::Pending => at.saturating_sub(since) >= o.rule.hold,
                    AlertState::Stale => true,
                    AlertState::Firing | AlertState::Resolved => false,
                };
                due.then(|| {
                    let mut row = AlertRow::new(o.rule, AlertState::Firing, o.row, at, since);
                    row.firing_since = open.row.firing_since.or(Some(at));
                    row.summary = summary::about_window(&row, o.row);
                    open.row = row.clone();
                    row
                })
            }
        }
    }

    fn holds_not(&mut self, at: i64, o: &Observation<'_>) -> Option<AlertRow> {
        if self.open.is_empty() {
            return None;
        }
        let Slot::Occupied(mut slot) = self.open.entry(Key::of(o)) else { return None };
        let open = slot.get_mut();
        open.judged = at;
        let quiet_since = *open.quiet_since.get_or_insert(at);
        if open.row.state != AlertState::Pending && at.saturating_sub(quiet_since) < o.rule.keep_firing_for {
            return None;
        }
        let open = slot.remove();
        let mut row = AlertRow::new(o.rule, AlertState::Resolved, o.row, at, open.row.pending_since);
        row.firing_since = open.row.firing_since;
        row.resolved_at = Some(at);
        row.summary = summary::about_window(&row, o.row);
        Some(row)
    }

    /// Alerts of which nothing was judged for too long.
    fn silence(&mut self, at: i64, stale_after: i64) -> Vec<AlertRow> {
        let mut out = Vec::new();
        self.open.retain(|_, open| {
            let silent = at.saturating_sub(open.judged);
            if open.row.state == AlertState::Stale {
                return silent < FORGET_AFTER.max(stale_after);
            }
            // What was judged in this very step is not silent, whatever the setting.
            if silent < stale_after.max(1) {
                return true;
            }
            open.row.state = AlertState::Stale;
            open.row.at = at;
            open.row.summary = summary::about_silence(&open.row, open.judged);
            out.push(open.row.clone());
            open.row.firing_since.is_some()
        });
        out
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

//! The state of every alert: a pure function of event times and outcomes, step by step.
//!
//! ```text
//!            holds               held `for`               quiet `keep_firing_for`
//! (inactive) ─────► pending ─────────────────► firing ───────────────────────────► resolved
//!                     │ is false                 ▲ │ silent `stale_after`               ▲
//!                     ▼                    holds │ ▼                                    │
//!                  resolved, never fired        stale ──────────────────────────────────┘ quiet
//! ```
//! Each transition is a row of the table. A pending alert that ends gets a row too (resolved with
//! `firing_since` null, or stale), so that an alert's last row says what became of it; nobody is
//! notified of those ([`AlertRow::notifies`]). A row that could not be judged changes neither how
//! long the condition has held nor how long it has been quiet; only the silence grows.

use super::observation::{RuleObservation, RuleOutcome};
use super::row::{AlertRow, AlertState};
use super::summary;
use crate::event::time::DAY;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::sync::Arc;

/// Silence after which a stale alert leaves the book, so that retired segments don't stay in it
/// forever. It gets no row: stale is its last one. If the condition holds again later, that is a
/// new alert.
const FORGET_AFTER: i64 = 28 * DAY;

/// What identifies an alert, apart from when it began.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct AlertKey {
    rule: Arc<str>,
    segment_by: Arc<str>,
    /// By its stable identity.
    segment: Arc<str>,
    feature: Arc<str>,
    window: Arc<str>,
    baseline: Arc<str>,
}

impl AlertKey {
    fn of(o: &RuleObservation<'_>) -> Self {
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
struct OpenAlert {
    /// Its last row other than stale: the window at which it became pending, or fired.
    row: AlertRow,
    /// When one of its rows was last judged.
    judged: i64,
    /// The first evaluation since which its condition has not held.
    quiet_since: Option<i64>,
}

/// All alerts that are pending, firing or stale. A checkpoint is its serde form; a book that is
/// read back continues exactly as the written one would have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertBook {
    at: Option<i64>,
    #[serde(serialize_with = "write_open", deserialize_with = "read_open")]
    open: BTreeMap<AlertKey, OpenAlert>,
}

fn write_open<S: Serializer>(open: &BTreeMap<AlertKey, OpenAlert>, s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(open.values())
}

fn read_open<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<AlertKey, OpenAlert>, D::Error> {
    Ok(Vec::<OpenAlert>::deserialize(d)?.into_iter().map(|o| (AlertKey::of_row(&o.row), o)).collect())
}

impl AlertBook {
    /// Whether an observation can change anything. One that can't need not be kept until the step.
    #[must_use]
    pub fn concerns(&self, o: &RuleObservation<'_>) -> bool {
        match o.outcome {
            RuleOutcome::Holds => true,
            RuleOutcome::DoesNotHold => !self.open.is_empty() && self.open.contains_key(&AlertKey::of(o)),
            RuleOutcome::NotJudged => false,
        }
    }

    /// Takes the observations of one evaluation time and returns the transitions, ordered by rule,
    /// segment, feature, window and baseline. `at` and `stale_after` are microseconds of event
    /// time. Must be called in the order of `at`, any number of times for one `at`; a time before
    /// the last one changes nothing, since alerts are never taken back. `stale_after` should not be
    /// shorter than the longest slide, or alerts go stale between two windows.
    pub fn step(&mut self, at: i64, stale_after: i64, observed: &[RuleObservation<'_>]) -> Vec<AlertRow> {
        if self.at.is_some_and(|last| at < last) {
            return Vec::new();
        }
        self.at = Some(at);
        let mut out = Vec::new();
        for o in observed {
            match o.outcome {
                RuleOutcome::Holds => out.extend(self.holds(at, o)),
                RuleOutcome::DoesNotHold => out.extend(self.does_not_hold(at, o)),
                RuleOutcome::NotJudged => {}
            }
        }
        out.extend(self.silence(at, stale_after));
        out.sort_by_cached_key(AlertKey::of_row);
        out
    }

    fn holds(&mut self, at: i64, o: &RuleObservation<'_>) -> Option<AlertRow> {
        match self.open.entry(AlertKey::of(o)) {
            Slot::Vacant(slot) => {
                let state = if o.rule.hold <= 0 { AlertState::Firing } else { AlertState::Pending };
                let mut row = AlertRow::new(o.rule, state, o.row, at, at);
                row.firing_since = (state == AlertState::Firing).then_some(at);
                row.summary = summary::about_window(&row, o.row);
                slot.insert(OpenAlert { row: row.clone(), judged: at, quiet_since: None });
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

    fn does_not_hold(&mut self, at: i64, o: &RuleObservation<'_>) -> Option<AlertRow> {
        if self.open.is_empty() {
            return None;
        }
        let Slot::Occupied(mut slot) = self.open.entry(AlertKey::of(o)) else { return None };
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

    /// Marks alerts whose rows have not been judged for too long.
    fn silence(&mut self, at: i64, stale_after: i64) -> Vec<AlertRow> {
        let mut out = Vec::new();
        self.open.retain(|_, open| {
            let silent = at.saturating_sub(open.judged);
            if open.row.state == AlertState::Stale {
                return silent < FORGET_AFTER.max(stale_after);
            }
            // An alert that was judged in this step is not silent, whatever the setting.
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

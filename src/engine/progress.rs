//! What a job has done so far, shared between its threads and whoever shows it.

use super::evaluate::verdict_counts::{FeaturesLackingDays, NearestBaseline, VerdictCounts};
use crate::alert::Watch;
use crate::event::{Reject, RejectReason};
use crate::source::PartitionId;
use crate::store::vectors::VectorRow;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// About how many bytes of memory the evaluator's state takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EvaluatorBytes {
    /// Committed panes that wait for their tick.
    pub waiting_panes: usize,
    /// What windows that slide in parts of an hour are merged from.
    pub chunks: usize,
    /// What the others are merged from, the current hour included.
    pub hours: usize,
}

/// An alert that began to fire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// Its rule.
    pub rule: Arc<str>,
    /// The segment; empty for all traffic.
    pub segment: Arc<str>,
    /// When, event time.
    pub at: i64,
}

/// How the evaluation stands, as of its last commit.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Rows judged by this process, and rows that could not be.
    pub counts: VerdictCounts,
    /// How near the newest windows that lack days are to a baseline.
    pub nearest: Option<NearestBaseline>,
    /// What can't be judged yet.
    pub waiting: Vec<FeaturesLackingDays>,
    /// The alert that fired last.
    pub fired: Option<Fired>,
}

/// Counters of a running job; cheap to bump from any thread.
#[derive(Debug, Default)]
pub struct Progress {
    /// Messages read.
    pub messages: AtomicU64,
    /// Bytes of these messages.
    pub bytes: AtomicU64,
    /// Bytes of messages polled, those that wait to be taken in included.
    pub polled: AtomicU64,
    /// Events taken in.
    pub events: AtomicU64,
    /// Messages rejected.
    pub rejected: AtomicU64,
    /// Records without a value, which say that the record of their key is deleted.
    pub tombstones: AtomicU64,
    /// Optional fields of the wrong type.
    pub mistyped: AtomicU64,
    /// Events that came after their pane had closed.
    pub late: AtomicU64,
    /// Offsets that were gone when they were to be read.
    pub gaps: AtomicU64,
    /// Troubles of the input that passed, or are expected to.
    pub input_troubles: AtomicU64,
    /// Partitions owned now.
    pub owned: AtomicU64,
    /// Partitions that another process took over while this one worked on them.
    pub partitions_lost: AtomicU64,
    /// Whether this process evaluates: 1, else 0.
    pub evaluates: AtomicU64,
    /// Times that another process took the evaluation over.
    pub evaluator_lost: AtomicU64,
    /// The sinks of alerts.
    pub sinks: Mutex<Watch>,
    /// Window rows committed.
    pub windows: AtomicU64,
    /// Alert rows committed that are firing.
    pub firing: AtomicU64,
    /// Alert rows committed.
    pub alerts: AtomicU64,
    /// Pane rows folded into `__other__`.
    pub folded: AtomicU64,
    /// Values of categories counted as `__other__` for want of room.
    pub folded_values: AtomicU64,
    /// Last tick evaluated, microseconds; 0 before the first.
    pub evaluated_to: AtomicI64,
    /// Event time from which this run evaluates, microseconds; 0 before it is known.
    pub evaluated_from: AtomicI64,
    /// Whether the evaluation goes on from an earlier run.
    pub goes_on: AtomicBool,
    /// Event time up to which events were taken in, by the watermark, microseconds; 0 before the first.
    pub taken_to: AtomicI64,
    /// Whether all of the input is read.
    pub all_read: AtomicBool,
    /// How the evaluation stands.
    pub standing: Mutex<Standing>,
    /// Records left to read, where known.
    pub lag: AtomicU64,
    /// Bytes of the input read, and all of them, where known.
    pub input: Mutex<Option<(u64, u64)>>,
    /// Rejections by reason.
    pub reasons: Mutex<BTreeMap<&'static str, u64>>,
    /// Fields that were refused without their message, by path and reason.
    pub fields: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    /// Images whose vector was had.
    pub vectors: AtomicU64,
    /// Images refused, by reason.
    pub refused_vectors: Mutex<BTreeMap<Arc<str>, u64>>,
    /// Events of each partition so far ahead of the others that those to come decide whether they
    /// count.
    pub undecided: Mutex<BTreeMap<PartitionId, u64>>,
    /// About how many bytes of memory each partition's open panes took at its last commit.
    pub open_panes: Mutex<BTreeMap<PartitionId, usize>>,
    /// What the evaluator's state took at its last commit.
    pub evaluator_bytes: Mutex<EvaluatorBytes>,
}

/// A copy of the counters.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Counts {
    /// Messages read.
    pub messages: u64,
    /// Bytes of these messages.
    pub bytes: u64,
    /// Events taken in.
    pub events: u64,
    /// Messages rejected.
    pub rejected: u64,
    /// Records without a value.
    pub tombstones: u64,
    /// Events so far ahead of the others that those to come decide whether they count.
    pub undecided: u64,
    /// Optional fields of the wrong type.
    pub mistyped_fields: u64,
    /// Fields that were refused without their message: by reason, and then by path.
    pub fields: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    /// Late events.
    pub late: u64,
    /// Offsets lost.
    pub gaps: u64,
    /// Window rows.
    pub windows: u64,
    /// Of these, rows with a verdict (`ok` or `drift`).
    pub judged: u64,
    /// Of these, rows without a verdict for want of data.
    pub insufficient: u64,
    /// Alerts that fired.
    pub alerts_fired: u64,
    /// Rows of the alerts table.
    pub alert_rows: u64,
    /// Pane rows folded into `__other__`.
    pub folded: u64,
    /// Values of categories counted as `__other__` for want of room.
    pub folded_values: u64,
    /// Images whose vector was had.
    pub vectors: u64,
    /// Images refused, by reason.
    pub refused_vectors: BTreeMap<Arc<str>, u64>,
    /// Last tick evaluated.
    pub evaluated_to: Option<String>,
}

impl Progress {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes from a counter, as far as it reaches.
    pub fn take(counter: &AtomicU64, n: u64) {
        if n > 0 {
            let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |c| Some(c.saturating_sub(n)));
        }
    }

    /// Counts what images became.
    pub fn count_vectors(&self, rows: &[VectorRow]) {
        for row in rows {
            match &row.outcome {
                Ok(_) => Self::add(&self.vectors, 1),
                Err(reason) => *self.refused_vectors.lock().entry(Arc::clone(reason)).or_default() += 1,
            }
        }
    }

    /// Counts fields that were refused without their message.
    pub fn count_fields(&self, refused: impl Iterator<Item = Reject>) {
        let mut refused = refused.peekable();
        if refused.peek().is_none() {
            return;
        }
        let mut fields = self.fields.lock();
        for r in refused {
            Self::add(&self.mistyped, u64::from(r.reason == RejectReason::MistypedField));
            *fields.entry((r.field.unwrap_or_default(), r.reason.name())).or_default() += 1;
        }
    }

    /// Copies the counters.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut fields: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for ((field, reason), n) in &*self.fields.lock() {
            fields.entry(*reason).or_default().insert(*field, *n);
        }
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let at = self.evaluated_to.load(Ordering::Relaxed);
        let judged = self.standing.lock().counts;
        Counts {
            messages: get(&self.messages),
            bytes: get(&self.bytes),
            events: get(&self.events),
            rejected: get(&self.rejected),
            tombstones: get(&self.tombstones),
            undecided: self.undecided.lock().values().sum(),
            mistyped_fields: get(&self.mistyped),
            fields,
            late: get(&self.late),
            gaps: get(&self.gaps),
            windows: get(&self.windows),
            judged: judged.judged,
            insufficient: judged.insufficient,
            alerts_fired: get(&self.firing),
            alert_rows: get(&self.alerts),
            folded: get(&self.folded),
            folded_values: get(&self.folded_values),
            vectors: get(&self.vectors),
            refused_vectors: self.refused_vectors.lock().clone(),
            evaluated_to: (at != 0).then(|| crate::event::time::text(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_fields_are_counted_by_reason_and_path() {
        let progress = Progress::default();
        let of = |reason, field| Reject::field(reason, field);
        progress.count_fields(std::iter::empty());
        progress.count_fields(
            [
                of(RejectReason::MistypedField, "tenant"),
                of(RejectReason::TooLarge, "tenant"),
                of(RejectReason::MistypedField, "region"),
                of(RejectReason::MistypedField, "tenant"),
            ]
            .into_iter(),
        );
        let counts = progress.counts();
        assert_eq!(counts.mistyped_fields, 3);
        let json = serde_json::to_value(&counts.fields).unwrap();
        let expected = serde_json::json!({ "mistyped_field": { "region": 1, "tenant": 2 }, "too_large": { "tenant": 1 } });
        assert_eq!(json, expected);
    }
}

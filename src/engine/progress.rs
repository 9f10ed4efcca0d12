//! What a job has done so far, shared between its threads and what displays it.
//!
//! A counter is one row of the table below: it feeds the progress line, the summary and the
//! metrics.

use super::counters::{CounterInfo, LabelledMetric, LabelledValue, MetricKind, declare_counters};
use super::evaluate::verdict_counts::{FeaturesLackingDays, NearestBaseline, VerdictCounts};
use crate::alert::OutboxMonitor;
use crate::event::{Reject, RejectReason};
use crate::source::PartitionId;
use crate::store::vectors::VectorRow;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Approximate bytes of memory that the evaluator's state takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EvaluatorBytes {
    /// Committed panes that wait for their tick.
    pub waiting_panes: usize,
    /// The chunks from which windows that slide in parts of an hour are merged.
    pub chunks: usize,
    /// The hours from which other windows are merged, the current hour included.
    pub hours: usize,
}

/// An alert that began to fire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiredAlert {
    /// Its rule.
    pub rule: Arc<str>,
    /// The segment; empty for all traffic.
    pub segment: Arc<str>,
    /// When, event time.
    pub at: i64,
}

/// The state of the evaluation as of its last commit.
#[derive(Debug, Clone, Default)]
pub struct EvaluationStatus {
    /// Rows judged by this process, and rows that could not be.
    pub counts: VerdictCounts,
    /// How near the newest windows that lack days are to having a baseline.
    pub nearest: Option<NearestBaseline>,
    /// What can't be judged yet.
    pub waiting: Vec<FeaturesLackingDays>,
    /// The alert that fired last.
    pub fired: Option<FiredAlert>,
}

declare_counters! {
    /// Counters of a running job; any thread can add to them cheaply.
    #[derive(Debug, Default)]
    pub struct Progress as progress {
        /// The sinks of alerts.
        pub sinks: Mutex<OutboxMonitor>,
        /// Last tick evaluated, microseconds; 0 before the first.
        pub evaluated_to: AtomicI64,
        /// Event time from which this run evaluates, microseconds; 0 before it is known.
        pub evaluated_from: AtomicI64,
        /// Whether the evaluation continues that of an earlier run.
        pub goes_on: AtomicBool,
        /// The watermark up to which events were processed, microseconds; 0 before the first.
        pub taken_to: AtomicI64,
        /// Whether the whole input is read.
        pub all_read: AtomicBool,
        /// The state of the evaluation.
        pub standing: Mutex<EvaluationStatus>,
        /// Bytes of the input read, and all of them, where known.
        pub input: Mutex<Option<(u64, u64)>>,
        /// Rejected messages by reason.
        pub reasons: Mutex<BTreeMap<&'static str, u64>>,
        /// Fields that were refused without their message, by path and reason.
        pub fields: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
        /// Images refused, by reason.
        pub refused_vectors: Mutex<BTreeMap<Arc<str>, u64>>,
        /// Events of each partition that are so far ahead of the others that later events decide
        /// whether they count.
        pub undecided: Mutex<BTreeMap<PartitionId, u64>>,
        /// Approximate bytes of each partition's open panes at its last commit.
        pub open_panes: Mutex<BTreeMap<PartitionId, usize>>,
        /// Memory of the evaluator's state at its last commit.
        pub evaluator_bytes: Mutex<EvaluatorBytes>,
    }

    /// A copy of the counters, as the summary (`--json`) has them.
    #[derive(Debug, Clone, Default, serde::Serialize)]
    pub struct JobCounts;

    summary Counter messages,         "driftglass_messages",         "Messages read";
    summary Counter bytes,            "driftglass_message_bytes",    "Bytes of the messages read";
    hidden  Counter polled,           _,
        "Bytes of messages polled, including those that wait to be processed";
    summary Counter events,           "driftglass_events",           "Events processed";
    summary Counter rejected,         _,                             "Messages rejected";
    summary Counter tombstones,       "driftglass_tombstones",
        "Records without a value, which delete the record of their key";
    summary Gauge   undecided = progress.undecided_events(),
        "driftglass_undecided_events",
        "Events so far ahead of the others that later events decide whether they count";
    summary Counter mistyped_fields,  "driftglass_mistyped_fields",  "Optional fields of the wrong type";
    summary fields: BTreeMap<&'static str, BTreeMap<&'static str, u64>> = progress.fields_by_reason(),
        "Fields that were refused without their message: by reason, then by path";
    summary Counter late,             "driftglass_late_events",
        "Events that came after their pane had closed";
    summary Counter gaps,             "driftglass_gap_offsets",
        "Offsets that no longer existed when they were to be read";
    hidden  Counter input_troubles,   "driftglass_input_troubles",
        "Input failures that passed or are expected to pass";
    hidden  Gauge   lag,              "driftglass_lag_records",
        "Records between the current position and the end of the partitions read here";
    hidden  Gauge   owned,            "driftglass_partitions",       "Partitions that this process owns";
    hidden  Counter partitions_lost,  "driftglass_partitions_lost",
        "Partitions that another process took over while this one worked on them";
    hidden  Gauge   evaluates,        "driftglass_evaluates",
        "Whether this process evaluates: 1, else 0";
    hidden  Counter evaluator_lost,   "driftglass_evaluations_lost",
        "Times that another process took over the evaluation";
    summary Counter windows,          "driftglass_window_rows",      "Rows of windows committed";
    summary Counter judged = progress.judged_counts().judged, _,
        "Rows of windows with a verdict (ok or drift)";
    summary Counter insufficient = progress.judged_counts().insufficient, _,
        "Rows of windows with too little data for a verdict";
    summary Counter alerts_fired,     "driftglass_alerts_fired",     "Alerts that began to fire";
    summary Counter alert_rows,       "driftglass_alert_rows",       "Rows of alerts committed";
    hidden  Gauge   alerts_waiting = progress.waiting_alerts(), "driftglass_alerts_waiting",
        "Alert rows that wait for a sink";
    summary Counter folded,           _,                             "Pane rows folded into __other__";
    summary Counter folded_values,    "driftglass_folded_values",
        "Values of categories counted as __other__ because a chunk, an hour or a day had too many";
    summary Counter vectors,          "driftglass_vectors",          "Images with a vector";
    summary refused_vectors: BTreeMap<Arc<str>, u64> = progress.refusals_by_reason(),
        "Images refused, by reason";
    summary evaluated_to: Option<String> = progress.evaluated_to_text(),
        "Last tick evaluated; null before the first";
}

/// The metrics with labels.
pub static LABELLED_METRICS: &[LabelledMetric<Progress>] = &[
    LabelledMetric {
        metric: "driftglass_rejected",
        help: "Messages rejected, by reason",
        kind: MetricKind::Counter,
        labels: &["reason"],
        read: |progress| by_label(&progress.reasons.lock()),
    },
    LabelledMetric {
        metric: "driftglass_fields_refused",
        help: "Fields refused without their message, by field and reason",
        kind: MetricKind::Counter,
        labels: &["field", "reason"],
        read: |progress| {
            let fields = progress.fields.lock();
            let row = |((field, reason), n): (&(&str, &str), &u64)| {
                (vec![(*field).to_owned(), (*reason).to_owned()], *n)
            };
            fields.iter().map(row).collect()
        },
    },
    LabelledMetric {
        metric: "driftglass_vectors_refused",
        help: "Images refused, by reason",
        kind: MetricKind::Counter,
        labels: &["reason"],
        read: |progress| by_label(&progress.refused_vectors.lock()),
    },
    LabelledMetric {
        metric: "driftglass_alerts_undelivered",
        help: "Alert rows that a sink refused or had no room for, by sink and reason",
        kind: MetricKind::Counter,
        labels: &["sink", "reason"],
        read: |progress| {
            let mut rows = Vec::new();
            for sink in progress.sinks.lock().status() {
                for (reason, n) in sink.given_up() {
                    rows.push((vec![sink.name.clone(), reason.to_owned()], n));
                }
            }
            rows
        },
    },
    LabelledMetric {
        metric: "driftglass_state_bytes",
        help: "Approximate memory of the state as of the last commit, by part",
        kind: MetricKind::Gauge,
        labels: &["part"],
        read: |progress| {
            let evaluator = *progress.evaluator_bytes.lock();
            let parts = [
                ("open_panes", progress.open_panes.lock().values().sum()),
                ("waiting_panes", evaluator.waiting_panes),
                ("chunks", evaluator.chunks),
                ("hours", evaluator.hours),
            ];
            parts.map(|(part, bytes)| (vec![part.to_owned()], bytes as u64)).into()
        },
    },
];

fn by_label<K: AsRef<str>>(counts: &BTreeMap<K, u64>) -> Vec<LabelledValue> {
    counts.iter().map(|(label, n)| (vec![label.as_ref().to_owned()], *n)).collect()
}

impl Progress {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Subtracts from a counter, down to zero.
    pub fn take(counter: &AtomicU64, n: u64) {
        if n > 0 {
            let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |c| Some(c.saturating_sub(n)));
        }
    }

    /// Counts images with a vector, and refused ones by reason.
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
            Self::add(&self.mistyped_fields, u64::from(r.reason == RejectReason::MistypedField));
            *fields.entry((r.field.unwrap_or_default(), r.reason.name())).or_default() += 1;
        }
    }

    fn fields_by_reason(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, u64>> {
        let mut fields: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for ((field, reason), n) in &*self.fields.lock() {
            fields.entry(*reason).or_default().insert(*field, *n);
        }
        fields
    }

    fn refusals_by_reason(&self) -> BTreeMap<Arc<str>, u64> {
        self.refused_vectors.lock().clone()
    }

    fn undecided_events(&self) -> u64 {
        self.undecided.lock().values().sum()
    }

    fn judged_counts(&self) -> VerdictCounts {
        self.standing.lock().counts
    }

    fn waiting_alerts(&self) -> u64 {
        self.sinks.lock().status().iter().map(|sink| sink.pending as u64).sum()
    }

    fn evaluated_to_text(&self) -> Option<String> {
        let at = self.evaluated_to.load(Ordering::Relaxed);
        (at != 0).then(|| crate::event::time::text(at))
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

    #[test]
    fn the_summary_has_the_keys_that_scripts_read() {
        let expected = [
            "messages",
            "bytes",
            "events",
            "rejected",
            "tombstones",
            "undecided",
            "mistyped_fields",
            "fields",
            "late",
            "gaps",
            "windows",
            "judged",
            "insufficient",
            "alerts_fired",
            "alert_rows",
            "folded",
            "folded_values",
            "vectors",
            "refused_vectors",
            "evaluated_to",
        ];
        let json = serde_json::to_string(&Progress::default().counts()).unwrap();
        let places: Vec<Option<usize>> =
            expected.iter().map(|key| json.find(&format!("\"{key}\":"))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{json}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value.as_object().unwrap().len(), expected.len(), "{json}");
        let numbers: Vec<&str> = COUNTERS.iter().filter(|c| c.in_summary).map(|c| c.name).collect();
        let others = ["fields", "refused_vectors", "evaluated_to"];
        let of_numbers: Vec<&str> = expected.into_iter().filter(|key| !others.contains(key)).collect();
        assert_eq!(numbers, of_numbers);
    }

    #[test]
    fn the_summary_and_the_metrics_read_the_same_counter() {
        let progress = Progress::default();
        Progress::add(&progress.late, 3);
        progress.undecided.lock().insert(PartitionId(0), 4);
        let counts = serde_json::to_value(progress.counts()).unwrap();
        for counter in COUNTERS.iter().filter(|c| c.in_summary) {
            assert_eq!(counts[counter.name], (counter.read)(&progress), "{}", counter.name);
        }
        assert_eq!((progress.counts().late, progress.counts().undecided), (3, 4));
    }
}

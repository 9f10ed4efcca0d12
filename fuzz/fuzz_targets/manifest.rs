//! Commit manifests, as a chain's links are read: a partition's or, by the first byte, the evaluator's.
//!
//! Checked is that a link that reads is written and read again without a change, and that whoever goes on from it can: a partition
//! takes in events from the state, whatever the watermark and counters claim; the evaluator keeps its state over a second restart
//! and steps on; alerts become rows of their table and come back.
#![no_main]

use driftglass::alert::{AlertRow, alerts_batch, alerts_from_batch};
use driftglass::baseline::{Accept, DaySource, Excluded};
use driftglass::engine::{
    DayBatch, EvaluationError, EvaluationSettings, Evaluator, EvaluatorCommit, EvaluatorState, History,
    PartitionCommit, compile_rules,
};
use driftglass::enrich::{Batch, Enricher};
use driftglass::event::decode;
use driftglass::event::time::{EARLIEST, LATEST};
use driftglass::store::chain::Manifest;
use driftglass::window::{Origins, Partition, PartitionState, Reach};
use driftglass_fuzz::{EVENTS, MIB, SAMPLE, bounded};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::hint::black_box;
use std::sync::{Arc, LazyLock};

/// Ticks that the evaluator goes on.
const TICKS: i64 = 3;

/// Half an hour of plain events.
static BATCH: LazyLock<Batch> = LazyLock::new(|| {
    let mut enricher = Enricher::new(Arc::clone(&SAMPLE.plan));
    let mut batch = Batch::default();
    for event in EVENTS.iter() {
        let event = decode(event.as_bytes(), &mut Vec::new()).expect("a plain event decodes");
        enricher.push(&event, &mut batch);
    }
    batch
});

static SETTINGS: LazyLock<Arc<EvaluationSettings>> = LazyLock::new(|| {
    Arc::new(EvaluationSettings {
        config: SAMPLE.config.clone(),
        features: SAMPLE.plan.features.clone(),
        groupings: Arc::clone(&SAMPLE.groupings),
        names: SAMPLE.names.clone(),
        rules: compile_rules(&SAMPLE.config, &SAMPLE.names, None)
            .expect("the default rules fit the sample job"),
        pins: Vec::new(),
        styles: Vec::new(),
    })
});

fuzz_target!(|data: &[u8]| run(data));

fn run(data: &[u8]) {
    let Some((kind, json)) = data.split_first() else { return };
    // Made at the first use, and not what is measured.
    LazyLock::force(&BATCH);
    LazyLock::force(&SETTINGS);
    // Panes of the plain events are held besides.
    bounded(64 * MIB + 256 * json.len(), || match kind % 2 {
        0 => link::<PartitionCommit>(json).iter().for_each(|c| partition(&c.state)),
        _ => link::<EvaluatorCommit>(json).into_iter().for_each(evaluator),
    });
}

/// What a link commits; `None` for a claim, and where the bytes are no link.
fn link<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let link: Manifest<T> = match serde_json::from_slice(bytes) {
        Ok(link) => link,
        Err(damage) => {
            assert!(!damage.to_string().is_empty());
            return None;
        }
    };
    let written = json(&link);
    let back: Manifest<T> = serde_json::from_slice(&written).expect("a link that was written reads");
    assert!(json(&back) == written, "a link changed by its bytes");
    link.commit
}

fn json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("what was read can be written")
}

fn partition(state: &PartitionState) {
    let restore = |state: &PartitionState| {
        Partition::restore(Arc::clone(&SAMPLE.filler), SAMPLE.times, state, Vec::new())
    };
    let mut partition = restore(state);
    let once = partition.state();
    assert!(restore(&once).state() == once, "a state changed by a second restart");
    let offsets: Vec<i64> = (0..).take(BATCH.rows.len()).collect();
    let origins = Origins { offsets: &offsets, appended: &[] };
    // Whatever the state says stands apart may be refused by what comes.
    partition.ingest(&BATCH, origins, |_, _, _| ()).expect("panes that were filled here are sound");
    let panes = partition.take_closed().len() + partition.open_rows();
    assert!(panes > 0, "events left no pane");
    partition.flush(Reach::Ended);
    assert!(partition.open_rows() == 0 || partition.is_unsettled());
    black_box(partition.watermark());
}

fn evaluator(commit: EvaluatorCommit) {
    alerts(&commit.alerts);
    let once = restored(commit.state).state();
    let mut evaluator = restored(once.clone());
    assert!(json(&evaluator.state()) == json(&once), "a state changed by a second restart");
    black_box((evaluator.rows_to_commit(), evaluator.needs_hours_from()));
    // Only times that an event can have: from there a tick is a step, and not a walk through all of time.
    let Some(at) = evaluator.at().filter(|at| (EARLIEST..LATEST).contains(at)) else { return };
    let mark = at + TICKS * evaluator.tick_length();
    let done = evaluator.advance(mark, mark, 2 * TICKS as usize);
    assert!(done.is_ok_and(|done| done), "ticks without panes failed");
    assert!(evaluator.at() == Some(mark));
    alerts(&evaluator.drain_outputs().alerts);
}

fn restored(state: EvaluatorState) -> Evaluator {
    Evaluator::new(Arc::clone(&SETTINGS), Box::new(NoHistory), state, Excluded::default())
}

/// A job's first day.
struct NoHistory;

impl History for NoHistory {
    fn days(&mut self, _: i64, _: i64) -> Result<Vec<Arc<dyn DaySource>>, EvaluationError> {
        Ok(Vec::new())
    }

    fn accepts(&mut self) -> Result<Vec<Accept>, EvaluationError> {
        Ok(Vec::new())
    }

    fn pending(&self, _: &[DayBatch]) -> Result<Arc<dyn DaySource>, EvaluationError> {
        Err(EvaluationError::History("no day was written".to_owned()))
    }
}

fn alerts(rows: &[AlertRow]) {
    let batch = alerts_batch(rows).expect("alerts fit their table");
    let back = alerts_from_batch(&batch).expect("and come back from it");
    // By their bytes: a number that is none equals nothing.
    assert!(json(&back) == json(rows), "alerts changed by their table");
    for row in rows {
        black_box((row.notifies(), row.json().to_string()));
    }
}

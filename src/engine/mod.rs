//! The engine: wires source, panes, evaluation and store; threads, commits, recovery. Live, replay and the demo are this one engine.

mod counters;
mod decoding;
mod evaluate;
mod evaluating;
mod evaluation;
mod evaluator_task;
mod exclusions;
mod feed;
mod history;
mod ingest;
pub mod inputs;
mod inputs_error;
mod job;
mod judge;
mod judging;
mod merging;
mod pending;
pub mod pins;
mod progress;
mod rolling;
mod run;
mod sampling;
mod seen;
#[cfg(test)]
mod simulation;
mod sweep;
mod tick_rows;
mod worker;

pub use counters::{CounterInfo, LabelledMetric, MetricKind};
pub use evaluate::Evaluator;
pub use evaluation::{DayBatch, EvaluateError, Exclusion, History, Outputs, Settings, State};
pub use evaluator_task::EvaluatorCommit;
pub use ingest::{LastRead, PartitionCommit};
pub use job::{Job, JobError, JobKind, Prepared, compile_rules};
pub use judging::{JudgedCounts, Unjudged, Waiting};
pub use progress::{
    COUNTERS, EvaluationStatus, EvaluatorBytes, FiredAlert, JobCounts, LABELLED_METRICS, Progress,
};
pub use run::{Claims, EngineError, Finish, Options, Summary, run};

//! The engine: wires source, panes, evaluation and store; threads, commits, recovery. Live, replay
//! and the demo are this one engine.

mod archive;
mod counters;
mod error;
mod evaluate;
mod exclusions;
mod ingest;
pub mod inputs;
mod job;
mod pin_files;
pub mod pins;
mod progress;
mod run;
#[cfg(test)]
mod simulation;
mod sweep;
mod threads;

pub use archive::archive;
pub use counters::{CounterInfo, LabelledMetric, MetricKind};
pub use error::{EngineError, EvaluationError, InputsError, JobError, PinError};
pub use evaluate::commits::EvaluatorCommit;
pub use evaluate::evaluator::Evaluator;
pub use evaluate::settings::EvaluationSettings;
pub use evaluate::types::{DayBatch, EvaluatorState, Exclusion, History, Outputs};
pub use evaluate::verdict_counts::{FeaturesLackingDays, Unjudged, VerdictCounts};
pub use ingest::archive::{ArchiveDriver, ArchiveJob};
pub use ingest::claims::PartitionClaims;
pub use ingest::commits::{LastRead, PartitionCommit};
pub use ingest::polling::Finish;
pub use job::{Job, JobKind, PreparedJob, compile_rules};
pub use progress::{
    COUNTERS, EvaluationStatus, EvaluatorBytes, FiredAlert, JobCounts, LABELLED_METRICS, Progress,
};
pub use run::{Options, Summary, run};

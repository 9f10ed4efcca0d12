//! The engine: wires source, panes, evaluation and store; threads, commits, recovery. Live, replay
//! and the demo are this one engine.

mod error;
mod evaluate;
mod ingest;
pub mod inputs;
mod job;
pub mod pins;
mod progress;
mod run;
#[cfg(test)]
mod simulation;
mod sweep;

pub use error::{EngineError, EvaluationError, InputsError, JobError, PinError};
pub use evaluate::commits::EvaluatorCommit;
pub use evaluate::evaluator::Evaluator;
pub use evaluate::types::{DayBatch, Exclusion, History, Outputs, Settings, State};
pub use evaluate::verdict_counts::{JudgedCounts, Unjudged, Waiting};
pub use ingest::partition_writer::{LastRead, PartitionCommit};
pub use job::{Job, JobKind, Prepared, compile_rules};
pub use progress::{Counts, EvaluatorBytes, Fired, Progress, Standing};
pub use run::{Claims, Finish, Options, Summary, run};

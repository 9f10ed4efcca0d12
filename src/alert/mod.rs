//! Alerts: rules over rows of `windows`, the state of each alert, the `alerts` table, and delivery.
//!
//! [`Rules::evaluate`] decides where a rule holds and [`AlertBook::step`] what follows from it.
//! Both are pure functions of event times, so that a live job, a replay and a backtest agree. Only
//! the sinks and the [`Outbox`] do I/O.

mod condition;
mod configured_sinks;
mod defaults;
mod error;
mod json_lines;
mod observation;
mod outbox;
mod row;
mod rule;
mod sink;
mod state;
mod summary;
mod table;
mod webhook;

pub use configured_sinks::configured_sinks;
pub use defaults::{DEFAULT_RULES_TOML, default_rules, default_rules_for};
pub use error::{RuleError, RuleEvaluationError, SinkError};
pub use json_lines::JsonLines;
pub use observation::{RuleInfo, RuleObservation, RuleOutcome};
pub use outbox::{Backoff, Outbox, OutboxMonitor, SinkStatus};
pub use row::{AlertRow, AlertState};
pub use rule::{CompiledRule, RuleJudgement, RuleNames, Rules};
pub use sink::Sink;
pub use state::AlertBook;
pub(crate) use summary::{number, percent, range_in_words};
pub use table::{alerts_batch, alerts_by_date, alerts_from_batch, alerts_schema};
pub use webhook::Webhook;

#[cfg(test)]
pub(crate) mod samples;

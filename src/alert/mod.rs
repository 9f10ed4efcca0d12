//! Alerts: rules over rows of `windows`, the state of each alert, the `alerts` table, and delivery.
//!
//! The middle is pure: [`Rules::evaluate`] says where a rule holds, [`AlertBook::step`] what follows from it, both from event
//! times alone, so that live, replay and backtest say the same. Only [`sink`] and [`Outbox`] touch the world.

mod condition;
mod defaults;
mod outbox;
mod row;
mod rule;
pub mod sink;
mod state;
mod summary;
mod table;
mod webhook;

pub use defaults::{DEFAULT_RULES_TOML, default_rules, default_rules_for};
pub use outbox::{Backoff, Outbox, SinkStatus, Watch};
pub use row::{AlertRow, AlertState};
pub use rule::{CompiledRule, EvaluateError, Judgement, Known, Outcome, RuleError, RuleInfo, Rules};
pub use state::{AlertBook, Observation};
pub use table::{alerts_batch, alerts_by_date, alerts_from_batch, alerts_schema};
pub use webhook::Webhook;

#[cfg(test)]
pub(crate) mod samples;

//! What a rule found in a row, and what alerts need to know of that rule: the types that rules,
//! rows of `alerts` and the book of alerts share.

use crate::config::Severity;
use crate::store::rows::WindowRow;
use std::sync::Arc;

/// What an alert needs to know of its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInfo {
    /// The name; part of an alert's id.
    pub name: Arc<str>,
    /// How bad it is.
    pub severity: Severity,
    /// How long the condition must hold before the alert fires, microseconds of event time.
    pub hold: i64,
    /// How long the condition must not hold before the alert is resolved, microseconds of event
    /// time.
    pub keep_firing_for: i64,
    /// A link for whoever is paged.
    pub runbook: Option<String>,
}

/// What a rule found in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleOutcome {
    /// The condition is true.
    Holds,
    /// The condition is false or null.
    DoesNotHold,
    /// The row has too little data to be judged; it never resolves an alert.
    NotJudged,
}

/// One rule's outcome for one row, with both.
#[derive(Debug, Clone, Copy)]
pub struct RuleObservation<'a> {
    /// The rule.
    pub rule: &'a RuleInfo,
    /// The row that it looked at.
    pub row: &'a WindowRow,
    /// What it found.
    pub outcome: RuleOutcome,
}

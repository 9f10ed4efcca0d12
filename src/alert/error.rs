//! The errors of this room.

use thiserror::Error;

/// Why a rule can't be used: which rule, which of its keys, what is wrong there and what would be
/// right, on one line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("rule {rule:?}: {key}: {message}")]
pub struct RuleError {
    /// The rule's name.
    pub rule: String,
    /// The key of its entry.
    pub key: &'static str,
    /// What is wrong, where, and the nearest valid name.
    pub message: String,
}

/// A condition that failed on data, such as a cast of a text that is no number.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("rule {rule:?} can't be evaluated: {message}")]
pub struct RuleEvaluationError {
    /// The rule's name.
    pub rule: String,
    /// Why, on one line.
    pub message: String,
}

/// Why a delivery failed. Never holds credentials: a URL is named by its scheme and host alone.
#[derive(Debug, Error)]
pub enum SinkError {
    /// A later attempt may succeed.
    #[error("{sink}: {message}")]
    Retry {
        /// The sink's name.
        sink: String,
        /// Why.
        message: String,
    },
    /// The receiver rejects these rows, now and later.
    #[error("{sink}: {message}")]
    Refused {
        /// The sink's name.
        sink: String,
        /// Why, in one word: the label of the counter.
        reason: &'static str,
        /// Why, and what to do.
        message: String,
    },
    /// What the configuration names can't be a sink.
    #[error("alerts.{key}: {message}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
}

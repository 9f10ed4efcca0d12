//! The trait of whatever receives alerts.

use super::error::SinkError;
use super::row::AlertRow;

/// A receiver of alerts. One call is one attempt; [`super::Outbox`] repeats it.
pub trait Sink: Send {
    /// Its name for people, without credentials.
    fn name(&self) -> String;

    /// Delivers rows in order. After an error the same rows may come again: a receiver recognizes a
    /// repeat by `id`, `state` and `at`.
    ///
    /// # Errors
    /// [`SinkError::Retry`] where a later attempt may succeed, else [`SinkError::Refused`].
    fn deliver(&mut self, rows: &[AlertRow]) -> Result<(), SinkError>;
}

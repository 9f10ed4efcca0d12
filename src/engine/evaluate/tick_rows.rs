//! The rows of one tick: to Arrow in slices, and what rules find in them.

use super::settings::EvaluationSettings;
use crate::alert::{AlertBook, RuleJudgement};
use crate::engine::error::EvaluationError;
use crate::store::rows::{WindowRow, windows_batch};
use arrow::array::RecordBatch;

/// Rows that are turned into Arrow at once: those of ten thousand segments are never in memory
/// together.
const SLICE: usize = 16 * 1024;

/// A tick's rows as batches, and the findings of rules that concern an alert.
pub type EvaluatedRows = (Vec<RecordBatch>, Vec<(RuleJudgement, WindowRow)>);

/// Collects the rows of a tick.
pub struct TickRows<'s> {
    settings: &'s EvaluationSettings,
    book: &'s AlertBook,
    waiting: Vec<WindowRow>,
    batches: Vec<RecordBatch>,
    observed: Vec<(RuleJudgement, WindowRow)>,
}

impl<'s> TickRows<'s> {
    /// No rows yet; `book` is its state after the previous tick.
    #[must_use]
    pub fn new(settings: &'s EvaluationSettings, book: &'s AlertBook) -> Self {
        Self { settings, book, waiting: Vec::new(), batches: Vec::new(), observed: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When a rule's condition fails on data.
    pub fn push(&mut self, row: WindowRow) -> Result<(), EvaluationError> {
        self.waiting.push(row);
        if self.waiting.len() < SLICE { Ok(()) } else { self.slice() }
    }

    /// The batches and findings.
    ///
    /// # Errors
    /// As [`TickRows::push`].
    pub fn finish(mut self) -> Result<EvaluatedRows, EvaluationError> {
        if !self.waiting.is_empty() {
            self.slice()?;
        }
        Ok((self.batches, self.observed))
    }

    fn slice(&mut self) -> Result<(), EvaluationError> {
        let rows = std::mem::take(&mut self.waiting);
        let rules = &self.settings.rules;
        let batch = windows_batch(&rows, &self.settings.names.dimensions)?;
        let judged = rules.evaluate(&rows, &batch).map_err(|e| EvaluationError::Rule(e.to_string()))?;
        let concerns = |j: &RuleJudgement| self.book.concerns(&rules.observation(j, &rows[j.row]));
        self.observed.extend(judged.into_iter().filter(concerns).map(|j| {
            let row = rows[j.row].clone();
            (j, row)
        }));
        self.batches.push(batch);
        Ok(())
    }
}

//! The `exclusions` table: days whose drift keeps them out of later baselines.

use super::rows::{counts, texts, timestamp, timestamps};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use std::sync::Arc;

/// One row of `exclusions`. Times are microseconds of event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExclusionRow<'a> {
    /// Start of the excluded day.
    pub day: i64,
    /// The grouping, "tenant".
    pub segment_by: &'a str,
    /// The segment as public tables show it.
    pub segment: &'a str,
    /// The feature's name.
    pub feature: &'a str,
    /// Windows judged that day.
    pub judged: u32,
    /// Windows that drifted.
    pub drifted: u32,
    /// Why: `drifted`, `incident` or `new_normal`.
    pub reason: &'a str,
    /// When it was decided.
    pub decided_at: i64,
}

/// The schema of `exclusions`.
#[must_use]
pub fn exclusions_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        timestamp("day", false),
        Field::new("segment_by", DataType::Utf8, false),
        Field::new("segment", DataType::Utf8, false),
        Field::new("feature", DataType::Utf8, false),
        Field::new("judged", DataType::UInt64, false),
        Field::new("drifted", DataType::UInt64, false),
        Field::new("reason", DataType::Utf8, true),
        timestamp("decided_at", false),
    ]))
}

/// Rows of `exclusions` as a record batch.
///
/// # Errors
/// When the columns don't fit the schema, which is a mistake in this function.
pub fn exclusions_batch(rows: &[ExclusionRow<'_>]) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_new(
        exclusions_schema(),
        vec![
            timestamps(rows.iter().map(|r| Some(r.day))),
            texts(rows.iter().map(|r| Some(r.segment_by))),
            texts(rows.iter().map(|r| Some(r.segment))),
            texts(rows.iter().map(|r| Some(r.feature))),
            counts(rows.iter().map(|r| u64::from(r.judged))),
            counts(rows.iter().map(|r| u64::from(r.drifted))),
            texts(rows.iter().map(|r| Some(r.reason))),
            timestamps(rows.iter().map(|r| Some(r.decided_at))),
        ],
    )
}

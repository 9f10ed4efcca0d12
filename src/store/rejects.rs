//! The `rejects` table: messages and fields that were refused, without their text.

use super::rows::{texts, timestamp, timestamps};
use arrow::array::{BooleanBuilder, Int32Builder, Int64Builder, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use std::sync::Arc;

/// One row of `rejects`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectRow {
    /// The record's time where it has one, else the newest event time of its partition, in
    /// microseconds.
    pub time: i64,
    /// The topic; empty for files.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset; for files the line.
    pub offset: i64,
    /// Why it was refused.
    pub reason: &'static str,
    /// The field at fault.
    pub field: Option<&'static str>,
    /// Whether the whole message was refused, or this field only.
    pub fatal: bool,
}

/// The schema of `rejects`.
#[must_use]
pub fn rejects_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        timestamp("time", false),
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("field", DataType::Utf8, true),
        Field::new("fatal", DataType::Boolean, false),
    ]))
}

/// Rows of `rejects` as a record batch.
///
/// # Errors
/// When the columns don't fit the schema, which is a mistake in this function.
pub fn rejects_batch(rows: &[RejectRow]) -> Result<RecordBatch, ArrowError> {
    let (mut partition, mut offset, mut fatal) =
        (Int32Builder::new(), Int64Builder::new(), BooleanBuilder::new());
    for r in rows {
        partition.append_value(r.partition);
        offset.append_value(r.offset);
        fatal.append_value(r.fatal);
    }
    RecordBatch::try_new(
        rejects_schema(),
        vec![
            timestamps(rows.iter().map(|r| Some(r.time))),
            texts(rows.iter().map(|r| Some(&r.topic))),
            Arc::new(partition.finish()),
            Arc::new(offset.finish()),
            texts(rows.iter().map(|r| Some(r.reason))),
            texts(rows.iter().map(|r| r.field)),
            Arc::new(fatal.finish()),
        ],
    )
}
